"""The client's side of the grammar, octets in and events out."""

import pytest

from restante.protocol.pop3_client import Challenge, ClientSession, End, Form, NotAReply, Status, command


def events(session: ClientSession) -> list[Status | Challenge | bytes | End]:
    """Everything that has come; neighbouring pieces of a message are joined."""
    found: list[Status | Challenge | bytes | End] = []
    while (event := session.next_event()) is not None:
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


def fed(session: ClientSession, octets: bytes, piece: int) -> list[Status | Challenge | bytes | End]:
    """The same, for octets that come in pieces."""
    found: list[Status | Challenge | bytes | End] = []
    for at in range(0, len(octets), piece):
        session.receive_data(octets[at : at + piece])
        for event in events(session):
            if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(event)
    return found


def greeted(*, lenient: bool = False) -> ClientSession:
    session = ClientSession(lenient=lenient)
    session.receive_data(b"+OK ready\r\n")
    assert events(session) == [Status(True, b"+OK ready")]
    assert not session.waiting
    return session


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 1000])
def test_replies_are_matched_by_count(piece: int) -> None:
    """K-001, K-002: forms are known from the commands, a refusal has no body, a bare LF ends no line."""
    session = greeted()
    for line, form in (
        (command("STAT"), Form.LINE),
        (command("RETR", 1), Form.LINES),
        (command("RETR", 2), Form.LINES),
        (command("UIDL"), Form.LINES),
        (command("QUIT"), Form.LINE),
    ):
        session.send(line, form)
    assert session.data_to_send() == b"STAT\r\nRETR 1\r\nRETR 2\r\nUIDL\r\nQUIT\r\n"
    assert session.data_to_send() == b""
    octets = b"+OK 2 9\r\n+OK\r\n..\r\n\n.\nx\r\n...y\r\n.\r\n-ERR gone\r\n+OK\r\n.\r\n+OK bye\r\n"
    assert fed(session, octets, piece) == [
        Status(True, b"+OK 2 9"),
        Status(True, b"+OK"),
        b".\r\n\n.\nx\r\n..y\r\n",
        End.OF_LINES,
        Status(False, b"-ERR gone"),
        Status(True, b"+OK"),
        End.OF_LINES,
        Status(True, b"+OK bye"),
    ]
    assert not session.waiting
    assert session.held == 0


def test_what_nobody_asked_for_is_held() -> None:
    """K-012: whoever begins TLS can see it."""
    session = greeted()
    session.receive_data(b"+OK injected\r\n")
    assert session.next_event() is None
    assert session.held == 14
    assert session.take_held() == b"+OK injected\r\n"
    assert session.held == 0


def test_challenges() -> None:
    """RFC 5034 section 4: ``+`` and a space, or nothing at all behind it; elsewhere it is no reply."""
    session = greeted()
    for line in (b"AUTH LOGIN\r\n", b"Ym9i\r\n", b"eA==\r\n"):
        session.send(line, Form.STEP)
    session.receive_data(b"+ VXNlcm5hbWU6\r\n+\r\n+OK\r\n")
    assert events(session) == [Challenge(b"VXNlcm5hbWU6"), Challenge(b""), Status(True, b"+OK")]
    session.send(b"STAT\r\n")
    session.receive_data(b"+ \r\n")
    with pytest.raises(NotAReply):
        session.next_event()


@pytest.mark.parametrize(
    "octets", [b"* OK\r\n", b"+ok\r\n", b"HTTP/1.1 200 OK\r\n", b"+OK\n", b"x" * 65_537, b"\x16\x03\x01\r\n"]
)
def test_what_is_no_reply(octets: bytes) -> None:
    """K-003; and K-025: bare LF only for whoever wants it."""
    session = ClientSession()
    session.receive_data(octets)
    with pytest.raises(NotAReply):
        session.next_event()


@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_lenient(piece: int) -> None:
    """K-025: lines that end in a bare LF, when somebody says so."""
    session = greeted(lenient=True)
    session.send(b"LIST\r\n", Form.LINES)
    session.send(b"QUIT\r\n")
    octets = b"+OK\n1 10\n2 20\r\n.\n+OK\n"
    assert fed(session, octets, piece) == [
        Status(True, b"+OK"),
        b"1 10\r\n2 20\r\n",
        End.OF_LINES,
        Status(True, b"+OK"),
    ]


def test_a_line_may_come_slowly() -> None:
    """What was searched once is not searched again, and nothing is missed for that."""
    session = ClientSession()
    for octet in b"+OK " + b"x" * 500 + b"\r":
        session.receive_data(bytes([octet]))
        assert session.next_event() is None
    session.receive_data(b"\n")
    assert session.next_event() == Status(True, b"+OK " + b"x" * 500)


@pytest.mark.parametrize("argument", ["a\r\nDELE 1", "a\nb", b"a\0b", b"a\rb"])
def test_no_command_in_an_argument(argument: str | bytes) -> None:
    """K-010."""
    with pytest.raises(ValueError, match="another command"):
        command("USER", argument)


def test_commands() -> None:
    """RFC 1939 section 3; a password keeps its spaces."""
    assert command("PASS", b" a  b ") == b"PASS  a  b \r\n"
    assert command("TOP", 1, 0) == b"TOP 1 0\r\n"
    assert command("USER", "b\u00f6b") == "USER b\u00f6b\r\n".encode()
