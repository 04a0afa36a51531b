# Mail::POP3Client: PORT MODE FOLDER.  Writes message n to the file n; prints what else the library gives.
use strict;
use warnings;
use Mail::POP3Client;

my ($port, $mode, $folder) = @ARGV;
my $pop = Mail::POP3Client->new(
    HOST => "127.0.0.1", PORT => $port, USER => "bob", PASSWORD => "bobpw", AUTH_MODE => $mode, TIMEOUT => 30);
$pop->Alive && $pop->State eq "TRANSACTION" or die "no login: " . $pop->Message;
print "stat " . $pop->Count . " " . $pop->Size . "\n";
for my $number (1 .. $pop->Count) {
    my (undef, $size) = split / /, $pop->List($number);
    my (undef, $id) = split / /, $pop->Uidl($number);
    $id =~ s/\r//;
    print "message $number " . ($size + 0) . " $id";
    open my $file, ">:raw", "$folder/$number" or die $!;
    $pop->RetrieveToFile($file, $number) or die;
    close $file or die $!;
}
my @head = $pop->Head(1);
print "top " . scalar(@head) . "\n";
$pop->Delete(1) or die;
$pop->Reset or die;
$pop->Delete(2) or die;
$pop->Close or die;
