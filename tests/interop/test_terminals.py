"""Mail programs of the terminal, and programs for typing at a port that speaks TLS."""

import re
from pathlib import Path

import pytest

from tests.interop.bench import MESSAGES, PASSWORD, UNIX, USER, Office, Session, done, post_office, reply, wire
from tests.interop.catalogue import needs_client
from tests.interop.conftest import Tried
from tests.interop.relay import Relay
from tests.interop.typist import typed_at

IDS = [f"{1_700_000_000 + number}.M{number}P1.host" for number in range(1, 7)]


def neomuttrc(office: Office, *lines: str) -> Path:
    """Write down what it is to do: show all messages to another program, delete the second, leave."""
    keys = "".join(f"<pipe-message>cat > fetched/{number}<enter><next-entry>" for number in range(1, 7))
    return office.file(
        "neomuttrc",
        f"""\
set wait_key=no pipe_decode=no quit=yes delete=yes move=no sleep_time=0 folder="~" spoolfile="/dev/null"
set ssl_ca_certificates_file="{office.ca}" certificate_file="{office.ca}"
push "{keys}2<enter><delete-message><sync-mailbox><quit>"
"""
        + "\n".join(lines),
    )


def neomutt(office: Office, url: str, *lines: str) -> None:
    """Run it in a terminal."""
    (office.folder / "fetched").mkdir()
    rc = neomuttrc(office, *lines)
    done(office.run("script", "-qec", f"neomutt -n -F {rc} -f {url}", "/dev/null"))


STARTTLS = "set ssl_starttls=yes ssl_force_tls=yes"
CLEARTEXT = "set ssl_starttls=no ssl_force_tls=no"
BY_USER = 'set pop_authenticators="user"'


@needs_client("NeoMutt")
@pytest.mark.parametrize(
    ("mode", "lines", "mechanism"),
    [
        ("plain", [CLEARTEXT, BY_USER], "USER"),
        ("plain", [CLEARTEXT], "SCRAM-SHA-256"),
        ("STLS", [STARTTLS, BY_USER], "USER"),
        ("TLS", [BY_USER], "USER"),
    ],
)
def test_neomutt(office: Office, tried: Tried, mode: str, lines: list[str], mechanism: str) -> None:
    """P-111, P-077: TOP n 0 and LIST n for the index, RETR for what is read; and a second session for new mail."""
    port = {"plain": office.plain, "STLS": office.strict, "TLS": office.tls}[mode]
    with Relay(port) as relay:
        scheme = "pops" if mode == "TLS" else "pop"
        neomutt(office, f"{scheme}://{USER}:{PASSWORD}@localhost:{relay.port}/", *lines)
        commands = relay.in_short()
    assert [(office.folder / "fetched" / str(number)).read_bytes() for number in range(1, 7)] == UNIX
    session = office.session()
    assert (session.mechanism, session.retr, session.top, session.deleted) == (mechanism, 6, 6, 1)
    assert office.stored() == [MESSAGES[0], *MESSAGES[2:]]
    method = '`pop_authenticators="user"`' if BY_USER in lines else "the method that it chooses itself"
    tried("NeoMutt", f"{mode}, {method}", session, commands=commands)


@needs_client("NeoMutt")
def test_neomutt_chooses_under_tls(tmp_path: Path, tried: Tried) -> None:
    """P-206."""
    with post_office(tmp_path, pop3='mechanisms = ["SCRAM-SHA-256", "PLAIN"]') as office:
        neomutt(office, f"pops://{USER}:{PASSWORD}@localhost:{office.tls}/")
        assert [(office.folder / "fetched" / str(number)).read_bytes() for number in range(1, 7)] == UNIX
        session = office.session()
        assert session.mechanism == "SCRAM-SHA-256"
        tried("NeoMutt", "TLS, the method that it chooses itself, where the server has no -PLUS", session)


@needs_client("NeoMutt")
def test_neomutt_and_channel_binding(tmp_path: Path, tried: Tried) -> None:
    """P-210: with libgsasl it chooses a -PLUS mechanism wherever it is offered, for which it has no channel binding.

    It cancels, does not read the answer to that, takes it for the answer to USER, and gives up.
    """
    with post_office(tmp_path, pop3='mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"]') as office:
        command = f"neomutt -n -F {neomuttrc(office)} -f pops://{USER}:{PASSWORD}@localhost:{office.tls}/"
        printed = office.run("script", "-qec", command, "/dev/null").stdout
        assert b"Authenticating (SCRAM-SHA-256-PLUS)" in printed
        assert b"Login failed USER: authentication cancelled" in printed
        assert office.session().mechanism == "-"
        did = 'no login: it has no channel binding; `set pop_authenticators="user"` helps'
        tried("NeoMutt", "TLS, the method that it chooses itself, where the server has -PLUS", did=did)


@needs_client("S-nail")
@pytest.mark.parametrize("mode", ["plain", "STLS", "TLS"])
def test_s_nail(office: Office, tried: Tried, mode: str) -> None:
    """P-077, P-111: LIST n and TOP n 0 for each message."""
    port = {"plain": office.plain, "STLS": office.strict, "TLS": office.tls}[mode]
    options = ["v15-compat", "pop3-no-apop", f"tls-ca-file={office.ca}", "tls-verify=strict"]
    options += ["pop3-use-starttls"] if mode == "STLS" else []
    command = ["s-nail", "-n", *(part for option in options for part in ("-S", option)), "-#"]
    commands = ["headers", "copy * fetched", "type 1", "delete 2", "quit"]
    with Relay(port) as relay:
        url = f"{'pop3s' if mode == 'TLS' else 'pop3'}://{USER}:{PASSWORD}@localhost:{relay.port}"
        printed = done(office.run(*command, *(part for line in commands for part in ("-Y", line)), "-f", url))
        sent = relay.in_short()
    assert b"\n.\n..\n.dot\n.\nend\n" in printed
    assert mbox((office.folder / "fetched").read_bytes()) == UNIX
    session = office.session()
    assert (session.mechanism, session.retr, session.top, session.deleted) == ("USER", 6, 6, 1)
    assert (session.tls != "-") == (mode != "plain")
    assert office.stored() == [MESSAGES[0], *MESSAGES[2:]]
    tried("S-nail", mode, session, commands=sent)


def mbox(octets: bytes) -> list[bytes]:
    """Return the messages of a file, without its From_ lines and the empty lines between messages.

    A message that ends with an empty line need have no other behind it, nor need the last one.
    """
    _, *messages = re.split(rb"^From alice@example\.org .*\n", octets, flags=re.MULTILINE)
    return [message if message in UNIX else message.removesuffix(b"\n") for message in messages]


@needs_client("Emacs pop3.el")
@pytest.mark.parametrize("mode", ["starttls", "ssl"])
@pytest.mark.parametrize("keep", ["t", "nil"])
def test_emacs(office: Office, tried: Tried, mode: str, keep: str) -> None:
    """P-125: it keeps the ids, and adds them to the messages."""
    (office.folder / ".emacs.d").mkdir()
    port = office.strict if mode == "starttls" else office.tls
    program = office.file(
        "fetch.el",
        f"""\
(require 'pop3)
(require 'gnutls)
(setq gnutls-trustfiles '("{office.ca}") gnutls-verify-error t
      pop3-mailhost "localhost" pop3-port {port} pop3-stream-type '{mode}
      pop3-maildrop "{USER}" pop3-password "{PASSWORD}" pop3-password-required nil
      pop3-leave-mail-on-server {keep})
(pop3-movemail "{office.folder}/fetched")
""",
    )
    done(office.run("emacs", "--batch", "-l", program))
    octets = (office.folder / "fetched").read_bytes()
    added = re.compile(rb"Content-Length: \d+\n(?:X-UIDL: (.*)\n)?")
    assert [id_.decode() for id_ in added.findall(octets) if id_] == (IDS if keep == "t" else [])
    assert mbox(added.sub(b"", octets)) == UNIX
    session = office.session()
    assert (session.mechanism, session.retr, session.deleted) == ("USER", 6, 0 if keep == "t" else 6)
    tried("Emacs pop3.el", f"`pop3-stream-type` {mode}, `pop3-leave-mail-on-server` {keep}", session)


DIALOGUE = [
    (f"USER {USER}\n".encode(), rb"\+OK .*\n"),
    (f"PASS {PASSWORD}\n".encode(), rb"\+OK 6 messages .*\n"),
    *[(b"RETR %d\n" % number, rb"\+OK \d+ octets\n(?s:.*)\n\.\n") for number in range(1, 7)],
    (b"DELE 2\n", rb"\+OK .*\n"),
    (b"QUIT\n", rb"\+OK 1 messages deleted, 5 left\n"),
]
"""What is typed, which the program sends with CRLF, and the answers."""


def check(office: Office, printed: bytes) -> Session:
    """See that the messages came as they should."""
    replies = [b"+OK %d octets\r\n%b" % (len(wire(message)), reply(message)) for message in MESSAGES]
    assert b"".join(replies) in printed
    session = office.session()
    assert (session.mechanism, session.retr, session.deleted, session.end) == ("USER", 6, 1, "quit")
    assert session.tls == "TLSv1.3"
    return session


@needs_client("OpenSSL s_client")
@pytest.mark.parametrize("starttls", [True, False])
def test_openssl(office: Office, tried: Tried, *, starttls: bool) -> None:
    """P-230, P-231, P-311: with -quiet, for without it a line that begins with R or Q never reaches the server."""
    port, options = (office.strict, ["-starttls", "pop3"]) if starttls else (office.tls, [])
    command = ["openssl", "s_client", "-connect", f"localhost:{port}", *options, "-crlf", "-quiet"]
    greeting = [] if starttls else [(b"", rb"\+OK .*\n")]
    printed = typed_at([*command, "-CAfile", office.ca, "-verify_return_error"], [*greeting, *DIALOGUE])
    tried("OpenSSL s_client", f"`{' '.join([*options, '-crlf', '-quiet'])}`", check(office, printed))


@needs_client("gnutls-cli")
@pytest.mark.parametrize("starttls", [True, False])
def test_gnutls(office: Office, tried: Tried, *, starttls: bool) -> None:
    """P-230, P-231."""
    port, options = (office.strict, ["--starttls-proto=pop3"]) if starttls else (office.tls, [])
    command = ["gnutls-cli", f"--x509cafile={office.ca}", *options, "--crlf", "-p", str(port), "localhost"]
    beginning = [(b"", rb"- Simple Client Mode:\n")]
    greeting = [] if starttls else [(b"", rb"\+OK .*\n")]
    printed = typed_at([*command], [*beginning, *greeting, *DIALOGUE])
    tried("gnutls-cli", f"`{' '.join([*options, '--crlf'])}`", check(office, printed))
