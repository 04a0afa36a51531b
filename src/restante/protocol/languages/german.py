"""German."""

CATALOGUE = {
    "1 to {last}": "1 bis {last}",
    "APOP is not possible here: the greeting had no timestamp": (
        "APOP ist hier nicht möglich: die Begrüßung hatte keinen Zeitstempel"
    ),
    "APOP needs a name and a digest of 32 hexadecimal digits": (
        "APOP braucht einen Namen und eine Prüfsumme aus 32 Hexadezimalziffern"
    ),
    "AUTH needs a mechanism, and takes one initial response": (
        "AUTH braucht ein Verfahren und nimmt höchstens eine erste Antwort"
    ),
    "CAPA takes no argument": "CAPA hat kein Argument",
    "DELE needs a message number, {numbers}": "DELE braucht eine Nachrichtennummer, {numbers}",
    "LANG takes nothing, one language tag, or *": "LANG steht allein, mit einem Sprachkürzel oder mit *",
    "LIST takes nothing or one message number, {numbers}": (
        "LIST steht allein oder mit einer Nachrichtennummer, {numbers}"
    ),
    "NOOP takes no argument": "NOOP hat kein Argument",
    "PASS needs a password": "PASS braucht ein Passwort",
    "POP3 commands now: {commands}": "POP3-Befehle jetzt: {commands}",
    "QUIT takes no argument": "QUIT hat kein Argument",
    "QUIT takes no argument; nothing was deleted": "QUIT hat kein Argument; nichts wurde gelöscht",
    "RETR needs a message number, {numbers}": "RETR braucht eine Nachrichtennummer, {numbers}",
    "RSET takes no argument": "RSET hat kein Argument",
    "STAT takes no argument": "STAT hat kein Argument",
    "STLS comes before UTF8": "STLS kommt vor UTF8",
    "STLS is not possible here": "STLS ist hier nicht möglich",
    "STLS takes no argument": "STLS hat kein Argument",
    "TLS is active already": "TLS ist schon aktiv",
    "TOP needs a message number, {numbers}, and a count of body lines": (
        "TOP braucht eine Nachrichtennummer, {numbers}, und eine Zeilenzahl"
    ),
    "UIDL takes nothing or one message number, {numbers}": (
        "UIDL steht allein oder mit einer Nachrichtennummer, {numbers}"
    ),
    "USER comes first, and PASS right after it": "erst USER, gleich danach PASS",
    "USER needs one name, without spaces": "USER braucht einen Namen ohne Leerzeichen",
    "UTF-8 is welcome": "UTF-8 ist willkommen",
    "UTF8 takes no argument": "UTF8 hat kein Argument",
    "a -PLUS mechanism needs a channel binding": "ein Verfahren mit -PLUS braucht eine Kanalbindung",
    "a command is printable ASCII; this line has other octets, please retype it": (
        "ein Befehl ist druckbares ASCII; diese Zeile enthält anderes, bitte noch einmal eingeben"
    ),
    "a line is at most {limit} octets here": "eine Zeile hat hier höchstens {limit} Oktette",
    "a name or password that is not ASCII must be UTF-8": (
        "ein Name oder Passwort, das nicht ASCII ist, muss UTF-8 sein"
    ),
    "already logged in": "schon angemeldet",
    "another session has this maildrop open; try again when it has ended": (
        "dieses Postfach ist in einer anderen Sitzung offen; bitte nach deren Ende wieder versuchen"
    ),
    "authentication cancelled": "Anmeldung abgebrochen",
    "begin TLS": "TLS kann beginnen",
    "but the maildrop is empty": "aber das Postfach ist leer",
    "capabilities follow": "es folgen die Fähigkeiten",
    "channel binding is possible here: somebody may have changed the list of mechanisms": (
        "Kanalbindung ist hier möglich: vielleicht hat jemand die Liste der Verfahren verändert"
    ),
    "goodbye": "auf Wiedersehen",
    "internal error": "interner Fehler",
    "languages follow": "es folgen die Sprachen",
    "log in first": "erst anmelden",
    "log in first: USER, then PASS": "erst anmelden: USER, dann PASS",
    "mechanisms follow": "es folgen die Verfahren",
    "message {number} is marked deleted (RSET undoes that)": (
        "Nachricht {number} ist zum Löschen vorgemerkt (RSET macht das rückgängig)"
    ),
    "message {number} marked deleted; QUIT removes it, RSET unmarks it": (
        "Nachricht {number} zum Löschen vorgemerkt; QUIT entfernt sie, RSET macht das rückgängig"
    ),
    "no mechanism is possible here": "kein Verfahren ist hier möglich",
    "no passwords over an unencrypted connection from your address": (
        "keine Passwörter über eine unverschlüsselte Verbindung von dieser Adresse"
    ),
    "no room for this message at the moment; please try again later": (
        "im Augenblick kein Platz für diese Nachricht; bitte später wieder versuchen"
    ),
    "no such message, numbers are {numbers}": "keine solche Nachricht, Nummern sind {numbers}",
    "no such message, the maildrop is empty": "keine solche Nachricht, das Postfach ist leer",
    "not over an unencrypted connection; use STLS or port 995": (
        "nicht über eine unverschlüsselte Verbindung; bitte STLS oder Port 995"
    ),
    "not possible at the moment; please try again later": "im Augenblick nicht möglich; bitte später wieder versuchen",
    "not possible until the administrator has mended something": (
        "nicht möglich, bis der Verwalter etwas in Ordnung gebracht hat"
    ),
    "nothing can be deleted from this maildrop": "aus diesem Postfach kann nichts gelöscht werden",
    "nothing done": "nichts getan",
    "refused": "abgelehnt",
    "send PASS": "bitte PASS",
    "some deleted messages not removed": "einige gelöschte Nachrichten wurden nicht entfernt",
    "the maildrop is full": "das Postfach ist voll",
    "that is not base64": "das ist kein Base64",
    "that is not what a {mechanism} message looks like": "so sieht keine Nachricht von {mechanism} aus",
    "that language is not here; right are {tags} and *": "diese Sprache gibt es hier nicht; es gibt {tags} und *",
    "this channel binding is not possible here": "diese Kanalbindung ist hier nicht möglich",
    "this is POP3, and nothing else": "dies ist POP3 und nichts anderes",
    "this line is empty or begins with a space; HELP lists the commands": (
        "diese Zeile ist leer oder beginnt mit einem Leerzeichen; HELP nennt die Befehle"
    ),
    "this message needs UTF8, which is said before logging in": (
        "diese Nachricht braucht UTF8, das vor der Anmeldung gesagt wird"
    ),
    "too many connections; please try again later": "zu viele Verbindungen; bitte später wieder versuchen",
    "too soon after the last login; wait a while": "zu bald nach der letzten Anmeldung; bitte etwas warten",
    "top of message follows": "es folgt der Anfang der Nachricht",
    "unknown command; {help}": "unbekannter Befehl; {help}",
    "unknown mechanism; right are {names}": "unbekanntes Verfahren; es gibt {names}",
    "wrong user name or password": "Benutzername oder Passwort falsch",
    "{count} messages ({octets} octets)": "{count} Nachrichten ({octets} Oktette)",
    "{deleted} messages deleted, {left} left": "{deleted} Nachrichten gelöscht, {left} übrig",
    "{mechanism} takes no initial response": "{mechanism} nimmt keine erste Antwort",
    "{octets} octets": "{octets} Oktette",
    "{tag} replies are in English now": "{tag} Antworten sind jetzt auf Deutsch",
}
