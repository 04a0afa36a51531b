<?php
// PHP's imap extension (the c-client library): PORT FLAGS FOLDER.  Writes message n to the file n.
[, $port, $flags, $folder] = $argv;
$box = imap_open("{localhost:$port/pop3$flags}INBOX", "bob", "bobpw", 0, 1) or exit(imap_last_error() . "\n");
$count = imap_num_msg($box);
echo "stat $count\n";
for ($number = 1; $number <= $count; $number++) {
    $size = imap_fetch_overview($box, (string) $number)[0]->size;
    echo "message $number $size ", imap_uid($box, $number), "\n";
    $octets = imap_fetchheader($box, $number) . imap_body($box, $number);
    file_put_contents("$folder/$number", $octets);
}
imap_delete($box, "2");
imap_close($box, CL_EXPUNGE);
foreach (imap_errors() ?: [] as $error) {
    echo "$error\n";
}
