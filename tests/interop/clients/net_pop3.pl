# Net::POP3: PORT MODE CA FOLDER.  Writes message n to the file n; prints what else the library gives.
use strict;
use warnings;
use Net::POP3;

my ($port, $mode, $ca, $folder) = @ARGV;
my %tls = (SSL_ca_file => $ca, SSL_verifycn_name => "localhost");
my $pop = Net::POP3->new("localhost", Port => $port, Timeout => 30, $mode eq "tls" ? (SSL => 1, %tls) : ())
    or die "no connection: $@";
if ($mode eq "stls") {
    $pop->starttls(%tls) or die "no TLS: $@ " . $pop->message;
}
my $count
    = $mode eq "apop" ? $pop->apop("bob", "bobpw")
    : $mode eq "auth" ? $pop->auth("bob", "bobpw") && $pop->popstat
    :                   $pop->login("bob", "bobpw");
defined $count or die "no login: " . $pop->message;

my ($stat, $octets) = $pop->popstat;
print "stat $stat $octets\n";
my ($list, $ids) = ($pop->list, $pop->uidl);
for my $number (sort { $a <=> $b } keys %$list) {
    print "message $number $list->{$number} $ids->{$number}\n";
    die if $pop->list($number) != $list->{$number} or $pop->uidl($number) ne $ids->{$number};
    open my $file, ">:raw", "$folder/$number" or die $!;
    print $file @{$pop->get($number)};
    close $file or die $!;
}
print "top " . scalar(@{$pop->top(1, 2)}) . "\n";
$pop->delete(1) or die;
$pop->delete(1) and die "deleted twice";
$pop->get(1) and die "got what is deleted";
$pop->reset;
$pop->ok or die;
$pop->delete(2) or die;
$pop->quit or die;
