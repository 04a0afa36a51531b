"""The client of Python's own library."""

import poplib
import ssl
from pathlib import Path

import pytest

from tests.interop.bench import MESSAGES, PASSWORD, SIZES, USER, WIRE, Office, post_office
from tests.interop.conftest import Tried
from tests.interop.program import TIMEOUT
from tests.interop.relay import Relay


def connect(office: Office, mode: str, port: int = 0) -> poplib.POP3:
    """Connect, with TLS where the mode is "stls" or "tls"."""
    context = ssl.create_default_context(cafile=office.ca)
    if mode == "tls":
        return poplib.POP3_SSL("localhost", port or office.tls, timeout=TIMEOUT, context=context)
    client = poplib.POP3("localhost", port or (office.strict if mode == "stls" else office.plain), TIMEOUT)
    if mode == "stls":
        client.stls(context)
    return client


def retrieved(client: poplib.POP3, number: int) -> bytes:
    """Return a message as it is on the wire, but for byte-stuffing."""
    _, lines, _ = client.retr(number)
    return b"".join(line + b"\r\n" for line in lines)


def single(answer: object) -> object:
    """Return the line that LIST or UIDL gives for one message; of its type, typeshed knows the other form only."""
    return answer


@pytest.mark.parametrize("mode", ["plain", "stls", "tls"])
def test_all_commands(office: Office, tried: Tried, mode: str) -> None:
    """P-070, P-077, P-081, P-090, P-101, P-107, P-110, P-121."""
    with Relay({"plain": office.plain, "stls": office.strict, "tls": office.tls}[mode]) as relay:
        client = connect(office, mode, relay.port)
        assert ("STLS" in client.capa()) == (mode == "plain")
        client.user(USER)
        client.pass_(PASSWORD)
        assert client.stat() == (6, sum(SIZES))
        assert client.list()[1] == [b"%d %d" % pair for pair in enumerate(SIZES, 1)]
        assert single(client.list(4)) == b"+OK 4 %d" % SIZES[3]
        ids = [line.split()[1] for line in client.uidl()[1]]
        assert single(client.uidl(4)) == b"+OK 4 " + ids[3]
        assert [retrieved(client, number) for number in range(1, 7)] == WIRE
        assert client.top(1, 2)[1] == WIRE[0].split(b"\r\n")[:8]
        client.noop()
        client.dele(1)
        for refused in (client.dele, client.retr, client.list, client.uidl):
            with pytest.raises(poplib.error_proto, match="marked deleted"):
                refused(1)
        client.rset()
        assert client.stat()[0] == 6
        client.dele(2)
        client.quit()
        session = office.session()
        assert (session.mechanism, session.retr, session.deleted) == ("USER", 6, 1)
        assert office.stored() == [MESSAGES[0], *MESSAGES[2:]]
        tried("poplib", mode, session, commands=relay.in_short())


def test_utf8(office: Office, tried: Tried) -> None:
    """P-255, P-256: whoever says UTF8 gets the header field as it is stored."""
    client = connect(office, "tls")
    client.utf8()
    client.user(USER)
    client.pass_(PASSWORD)
    octets = retrieved(client, 6)
    assert "Subject: Grüße\r\n".encode() in octets
    assert octets == MESSAGES[5].replace(b"\n", b"\r\n")
    assert single(client.list(6)) == b"+OK 6 %d" % len(octets)
    with pytest.raises(poplib.error_proto):
        client.utf8()
    client.quit()
    tried("poplib", "tls, utf8()", office.session())


def test_apop(tmp_path: Path, tried: Tried) -> None:
    """P-060, P-061."""
    with post_office(tmp_path, pop3="apop = true") as office:
        client = connect(office, "plain")
        client.apop(USER, PASSWORD)
        assert retrieved(client, 1) == WIRE[0]
        client.quit()
        session = office.session()
        assert session.mechanism == "APOP"
        tried("poplib", "plain, apop()", session)


def test_without_apop(office: Office) -> None:
    """P-063: it finds no timestamp in the greeting, and does not try."""
    client = connect(office, "plain")
    with pytest.raises(poplib.error_proto, match="APOP not supported"):
        client.apop(USER, PASSWORD)
    client.quit()
