"""Libraries of other languages, each used by a small program in the folder `clients`."""

from pathlib import Path

import pytest

from tests.interop.bench import MESSAGES, SIZES, UNIX, WIRE, Office, Part, Session, done, post_office, reply
from tests.interop.catalogue import NPM, PYPI, SCRIPTS, needs_client
from tests.interop.conftest import Tried
from tests.interop.relay import Relay

STUFFED = [reply(message).removesuffix(b".\r\n") for message in MESSAGES]
"""As libraries give it that do not undo byte-stuffing."""
DIALOGUE = [
    f"stat 6 {sum(SIZES)}",
    *[f"message {number} {size} {1_700_000_000 + number}.M{number}P1.host" for number, size in enumerate(SIZES, 1)],
    "top 8",
]
"""What a library has learned: STAT, LIST and UIDL, and how many lines TOP 1 2 has."""


CAPABILITIES = "capabilities AUTH-RESP-CODE EXPIRE IMPLEMENTATION LANG PIPELINING RESP-CODES SASL TOP UIDL USER UTF8"


def talk(office: Office, *command: Part, expected: list[bytes] = WIRE, dialogue: list[str] = DIALOGUE) -> Session:
    """Run a program that fetches all messages and deletes the second.

    Args:
        office: where they are.
        command: runs the program; the folder for the messages is added.
        expected: what the library makes of them.
        dialogue: what the program is to print.
    """
    folder = office.folder / "fetched"
    folder.mkdir()
    lines = done(office.run(*command, folder)).decode().splitlines()
    assert lines == dialogue
    octets = [(folder / str(number)).read_bytes() for number in range(1, 7)]
    if expected is STUFFED:  # the segments of the server decide whether node-pop3 keeps a line end
        ended = zip(octets, expected, strict=True)
        octets = [message + b"\r\n" * (message + b"\r\n" == right) for message, right in ended]
    assert octets == expected
    session = office.session()
    assert (session.retr, session.deleted, session.left, session.end) == (6, 1, 5, "quit")
    assert office.stored() == [MESSAGES[0], *MESSAGES[2:]]
    return session


def port_for(office: Office, mode: str) -> int:
    return {"tls": office.tls, "stls": office.strict}.get(mode, office.plain)


@needs_client("Perl Net::POP3")
@pytest.mark.parametrize("mode", ["plain", "stls", "tls", "auth"])
def test_perl(office: Office, tried: Tried, mode: str) -> None:
    """P-101, P-090: it deletes twice and gets what is deleted, in vain."""
    expected = WIRE if mode in ("stls", "tls") else UNIX
    with Relay(port_for(office, mode)) as relay:
        session = talk(office, "perl", SCRIPTS / "net_pop3.pl", relay.port, mode, office.ca, expected=expected)
        tried("Perl Net::POP3", mode, session, commands=relay.in_short())
    assert (session.tls != "-") == (mode in ("stls", "tls"))


@needs_client("Perl Net::POP3")
def test_perl_apop(tmp_path: Path, tried: Tried) -> None:
    """P-061."""
    with post_office(tmp_path, pop3="apop = true") as office:
        session = talk(office, "perl", SCRIPTS / "net_pop3.pl", office.plain, "apop", office.ca, expected=UNIX)
        assert session.mechanism == "APOP"
        tried("Perl Net::POP3", "apop", session)


@needs_client("Perl Mail::POP3Client")
@pytest.mark.parametrize("mode", ["PASS", "APOP", "CRAM-MD5", "BEST"])
def test_perl_pop3client(tmp_path: Path, tried: Tried, mode: str) -> None:
    """Its Head gives the header lines without the body lines that it asked for."""
    dialogue = [*DIALOGUE[:-1], "top 5"]
    with post_office(tmp_path, pop3='apop = true\nmechanisms = ["CRAM-MD5"]') as office, Relay(office.plain) as relay:
        session = talk(office, "perl", SCRIPTS / "pop3client.pl", relay.port, mode, dialogue=dialogue)
        tried("Perl Mail::POP3Client", mode, session, commands=relay.in_short())


@needs_client("Ruby net/pop")
@pytest.mark.parametrize("mode", ["plain", "tls", "apop"])
def test_ruby(tmp_path: Path, tried: Tried, mode: str) -> None:
    """P-061, P-084."""
    with (
        post_office(tmp_path, pop3="apop = true" if mode == "apop" else "") as office,
        Relay(port_for(office, mode)) as relay,
    ):
        session = talk(office, "ruby", SCRIPTS / "pop.rb", relay.port, mode, office.ca)
        tried("Ruby net/pop", mode, session, commands=relay.in_short())


@needs_client("PHP imap")
@pytest.mark.parametrize("flags", ["/notls", "/ssl/novalidate-cert"])
def test_php(office: Office, tried: Tried, flags: str) -> None:
    """It does not ask for unique-ids, and numbers the messages itself."""
    dialogue = ["stat 6", *[f"message {number} {size} {number}" for number, size in enumerate(SIZES, 1)]]
    if flags == "/notls":
        dialogue.append("SECURITY PROBLEM: insecure server advertised AUTH=PLAIN")
    with Relay(office.plain if flags == "/notls" else office.tls) as relay:
        command: list[Part] = ["php", SCRIPTS / "imap.php", relay.port, flags]
        session = talk(office, *command, dialogue=dialogue)
        tried("PHP imap", f"`{flags}`", session, commands=relay.in_short())


@needs_client("PHP imap")
def test_php_stls(office: Office, tried: Tried) -> None:
    """P-235: its STLS has TLS 1.0 only, whatever OpenSSL could do, and is refused."""
    (office.folder / "fetched").mkdir()
    command: list[Part] = ["php", SCRIPTS / "imap.php", office.plain, "/tls/novalidate-cert", "fetched"]
    assert b"TLS/SSL failure" in office.run(*command).stdout
    assert "unsupported protocol" in office.log.until("TLS handshake failed")
    tried("PHP imap", "`/tls/novalidate-cert`", did="refused, for its STLS knows TLS 1.0 only")


@needs_client("node-pop3")
@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_node_pop3(office: Office, tried: Tried, mode: str) -> None:
    """It leaves the dots of byte-stuffing in, and sometimes the last line end out."""
    with Relay(port_for(office, mode)) as relay:
        command: list[Part] = ["node", SCRIPTS / "node_pop3.mjs", NPM, relay.port, mode, office.ca]
        session = talk(office, *command, expected=STUFFED)
        tried("node-pop3", mode, session, commands=relay.in_short())


@needs_client("yapople")
@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_yapople(office: Office, tried: Tried, mode: str) -> None:
    """It leaves the dots of byte-stuffing in and the last line end out, and does not ask for unique-ids."""
    with Relay(port_for(office, mode)) as relay:
        command: list[Part] = ["node", SCRIPTS / "yapople.mjs", NPM, relay.port, mode, office.ca]
        dialogue = [line if "message" not in line else " ".join([*line.split()[:3], "-"]) for line in DIALOGUE]
        stuffed = [message.removesuffix(b"\r\n") for message in STUFFED]
        session = talk(office, *command, expected=stuffed, dialogue=dialogue)
        tried("yapople", mode, session, commands=relay.in_short())


@needs_client("Twisted")
@pytest.mark.parametrize(
    ("mode", "version"), [("STLS that it begins itself", "TLSv1.2"), ("stls", "TLSv1.3"), ("tls", "TLSv1.3")]
)
def test_twisted(office: Office, tried: Tried, mode: str, version: str) -> None:
    """P-231, P-235: whatever it is told, it begins TLS before it sends a password, with TLS 1.2 and no verification."""
    with Relay(port_for(office, mode)) as relay:
        command: list[Part] = [PYPI / "python", SCRIPTS / "twisted_client.py", relay.port, mode, office.ca]
        session = talk(office, *command, dialogue=[CAPABILITIES, *DIALOGUE, "refused"])
        assert session.tls == version
        tried("Twisted", mode, session, commands=relay.in_short())
