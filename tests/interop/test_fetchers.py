"""Programs that fetch mail: fetchmail, mpop, getmail."""

from pathlib import Path

import pytest

from tests.interop.bench import HOST, MESSAGES, PASSWORD, UNIX, USER, Office, done, files, post_office
from tests.interop.catalogue import PYPI, needs_client
from tests.interop.conftest import Tried
from tests.interop.relay import Relay

STLS, SSL, NO_TLS = 'sslproto "tls1.2+" sslcertck', 'ssl sslproto "tls1.2+" sslcertck', "sslproto ''"


def fetchmail(office: Office, port: int, security: str, *options: str, keep: bool) -> tuple[int, list[bytes]]:
    """Run it; returns its exit status and the messages, each passed to a program of its own."""
    folder = office.folder / "fetched"
    folder.mkdir(exist_ok=True)
    rc = office.file(
        "fetchmailrc",
        f"""\
set invisible
poll localhost service {port} protocol pop3 user "{USER}" password "{PASSWORD}"
{security} sslcertfile "{office.ca}" {"keep" if keep else "no keep"} no rewrite
mda "f=$(mktemp {folder}/XXXXXX); cat > $f"
""",
    )
    command = ["fetchmail", "-f", str(rc), "-s", "--nosyslog", "--nodetach", "--pidfile", "pid", "--idfile", "ids"]
    return office.run(*command, *options).returncode, files(folder)


def port_for(office: Office, security: str) -> int:
    return {STLS: office.strict, SSL: office.tls, NO_TLS: office.plain}[security]


@needs_client("fetchmail")
@pytest.mark.parametrize("security", [STLS, SSL, NO_TLS])
@pytest.mark.parametrize("options", [(), ("--fetchall",)])
def test_fetchmail_keeps(office: Office, tried: Tried, security: str, options: tuple[str, ...]) -> None:
    """P-092, P-125: the second time none (status 1), for the ids are the same, which --fetchall does not ask for."""
    port = port_for(office, security)
    with Relay(port) as relay:
        assert fetchmail(office, relay.port, security, *options, keep=True) == (0, sorted(UNIX))
        session = office.session()
        commands = relay.in_short()
    assert (session.retr, session.deleted, session.end) == (6, 0, "quit")
    assert (session.tls != "-") == (security != NO_TLS)
    if not options:
        assert fetchmail(office, port, security, keep=True)[0] == 1
        assert office.session().retr == 0
    assert office.stored() == MESSAGES
    tried("fetchmail", f"`{' '.join([security, 'keep', *options])}`", session, commands=commands)


@needs_client("fetchmail")
@pytest.mark.parametrize("security", [STLS, SSL, NO_TLS])
@pytest.mark.parametrize("options", [(), ("--fetchall",)])
def test_fetchmail_deletes(office: Office, tried: Tried, security: str, options: tuple[str, ...]) -> None:
    """P-112, P-131: without --fetchall it takes TOP n 99999999 for RETR."""
    with Relay(port_for(office, security)) as relay:
        assert fetchmail(office, relay.port, security, *options, keep=False) == (0, sorted(UNIX))
        session = office.session()
        commands = relay.in_short()
    assert (session.retr, session.top) == ((6, 0) if options else (0, 6))
    assert session.deleted == 6
    assert office.stored() == []
    tried("fetchmail", f"`{' '.join([security, 'no keep', *options])}`", session, commands=commands)


def mpop(office: Office, port: int, *lines: str) -> tuple[int, list[bytes]]:
    """Run it with these lines in its configuration; returns its exit status and what is in its Maildir."""
    for part in ("tmp", "new", "cur"):
        (office.folder / "fetched" / part).mkdir(parents=True, exist_ok=True)
    rc = office.file(
        "mpoprc",
        f"""\
account c
host localhost
port {port}
tls_trust_file {office.ca}
user {USER}
password {PASSWORD}
received_header off
delivery maildir fetched
uidls_file {office.folder / "uidls"}
"""
        + "\n".join(lines),
    )
    return office.run("mpop", "-C", rc, "-q", "c").returncode, files(office.folder / "fetched" / "new")


STARTTLS, IMPLICIT, PLAIN = ["tls on", "tls_starttls on"], ["tls on", "tls_starttls off"], ["tls off"]


@needs_client("mpop")
@pytest.mark.parametrize(
    ("lines", "mechanism"),
    [
        ([*STARTTLS, "auth plain"], "PLAIN"),
        ([*STARTTLS, "auth scram-sha-256"], "SCRAM-SHA-256"),
        ([*STARTTLS, "auth scram-sha-1"], "SCRAM-SHA-1"),
        ([*STARTTLS, "auth user"], "USER"),
        ([*STARTTLS, "auth on"], "PLAIN"),
        ([*IMPLICIT, "auth plain"], "PLAIN"),
        ([*IMPLICIT, "auth on"], "PLAIN"),
        ([*PLAIN, "auth user"], "USER"),
        ([*PLAIN, "auth on"], "SCRAM-SHA-256"),
    ],
)
def test_mpop(office: Office, tried: Tried, lines: list[str], mechanism: str) -> None:
    """P-185, P-199, P-206, P-125: and the second time it fetches nothing, for the ids are the same."""
    port = office.tls if "tls_starttls off" in lines else office.plain
    assert mpop(office, port, *lines, "keep on") == (0, sorted(UNIX))
    session = office.session()
    assert (session.mechanism, session.retr, session.end) == (mechanism, 6, "quit")
    assert (session.tls == "-") == ("tls off" in lines)
    assert mpop(office, port, *lines, "keep on")[0] == 0
    assert office.session().retr == 0
    assert office.stored() == MESSAGES
    tried("mpop", ", ".join(f"`{line}`" for line in lines), session)


@needs_client("mpop")
@pytest.mark.parametrize("auth", ["apop", "cram-md5", "on"])
def test_mpop_older_mechanisms(tmp_path: Path, tried: Tried, auth: str) -> None:
    """P-061, P-220: where they are wanted."""
    with post_office(tmp_path, pop3='apop = true\nmechanisms = ["SCRAM-SHA-256", "CRAM-MD5"]') as office:
        assert mpop(office, office.plain, *STARTTLS, f"auth {auth}", "keep off") == (0, sorted(UNIX))
        session = office.session()
        assert session.mechanism == {"on": "APOP"}.get(auth, auth.upper())  # it likes APOP better than SCRAM
        assert (session.retr, session.deleted) == (6, 6)
        assert office.stored() == []
        tried("mpop", f"STLS, `auth {auth}`, where the server has APOP and CRAM-MD5", session)


@needs_client("mpop")
@pytest.mark.parametrize("count", [500])
def test_mpop_pipelining(tmp_path: Path, tried: Tried, count: int) -> None:
    """P-275: it sends a lot of commands before it reads, and deletes all messages in the end."""
    messages = [b"Subject: %d\n\n.\n%b\n" % (number, b"x" * number) for number in range(count)]
    with post_office(tmp_path, messages) as office, Relay(office.plain) as relay:
        lines = ["tls off", "auth user", "pipelining on", "keep off"]
        assert mpop(office, relay.port, *lines) == (0, sorted(messages))
        session = office.session()
        assert (session.retr, session.deleted) == (count, count)
        assert office.stored() == []
        tried("mpop", f"`pipelining on`, {count} messages", session, commands=relay.in_short())


@needs_client("mpop")
def test_mpop_and_a_long_line(tmp_path: Path) -> None:
    """P-094.  (fetchmail puts octets of its own into lines of more than 8192.)"""
    message = b"Subject: long\n\n" + b"x" * 100_000 + b"\n.\n"
    with post_office(tmp_path, [message]) as office:
        assert mpop(office, office.strict, *STARTTLS, "auth plain", "keep off") == (0, [message])


@needs_client("mpop")
def test_mpop_serverinfo(office: Office, tried: Tried) -> None:
    """P-150: it says in words what it has read in CAPA, and of which certificate."""
    command = ["mpop", "--serverinfo", "--host=localhost", f"--port={office.plain}", "--tls=on", "--tls-starttls=on"]
    words = done(office.run(*command, f"--tls-trust-file={office.ca}")).decode()
    assert f"{HOST} POP3 server ready" in words
    assert "CN=localhost" in words
    for what in ("CAPA", "IMPLEMENTATION", "PIPELINING", "TOP", "UIDL", "EXPIRE NEVER", "STLS", "AUTH", "RESP-CODES"):
        assert f"\n    {what}:\n" in words
    assert "USER PLAIN SCRAM-SHA-1 SCRAM-SHA-256 LOGIN" in words
    tried("mpop", "`--serverinfo`", office.session(), did="lists the capabilities")


def getmail(office: Office, port: int, kind: str, lines: str) -> list[bytes]:
    """Run it; returns the messages, each passed to a program of its own."""
    (office.folder / "fetched").mkdir(exist_ok=True)
    office.file(
        "getmailrc",
        f"""\
[retriever]
type = {kind}
server = localhost
port = {port}
username = {USER}
password = {PASSWORD}
{f"ca_certs = {office.ca}" if "SSL" in kind else ""}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > $(mktemp fetched/XXXXXX)")
unixfrom = false
allow_root_commands = true
[options]
delivered_to = false
received = false
{lines}
""",
    )
    done(office.run(PYPI / "getmail", f"--getmaildir={office.folder}"))
    added = b"Return-Path: <unknown>\n"
    return [message.removeprefix(added) for message in files(office.folder / "fetched")]


@needs_client("getmail")
@pytest.mark.parametrize("ssl", [False, True])
def test_getmail(office: Office, tried: Tried, *, ssl: bool) -> None:
    """P-123, P-125: new messages only, which it tells by their ids."""
    port, kind = (office.tls, "SimplePOP3SSLRetriever") if ssl else (office.plain, "SimplePOP3Retriever")
    with Relay(port) as relay:
        assert getmail(office, relay.port, kind, "read_all = false\ndelete = false") == sorted(UNIX)
        commands = relay.in_short()
        session = office.session()
        assert (session.mechanism, session.retr, session.deleted) == ("USER", 6, 0)
        getmail(office, relay.port, kind, "read_all = false\ndelete = false")
    assert office.session().retr == 0
    assert office.stored() == MESSAGES
    getmail(office, port, kind, "read_all = true\ndelete = true")
    assert office.session().deleted == 6
    assert office.stored() == []
    tried("getmail", kind, session, commands=commands)
