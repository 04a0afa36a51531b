# Ruby's net/pop: PORT MODE CA FOLDER.  Writes message n to the file n; prints what else the library gives.
require "net/pop"

port, mode, ca, folder = ARGV
pop = Net::POP3.new("localhost", port.to_i, mode == "apop")
pop.enable_ssl(OpenSSL::SSL::VERIFY_PEER, ca) if mode == "tls"
pop.start("bob", "bobpw")
puts "stat #{pop.n_mails} #{pop.n_bytes}"
pop.each_mail do |mail|
  puts "message #{mail.number} #{mail.length} #{mail.unique_id}"
  File.binwrite("#{folder}/#{mail.number}", mail.pop)
end
puts "top #{pop.mails[0].top(2).lines.size}"
pop.mails[0].delete
pop.reset
pop.mails[1].delete
pop.finish
