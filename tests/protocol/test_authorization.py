"""The AUTHORIZATION state: conformance section 2 (P-030 to P-055)."""

import pytest

from restante.auth import Password
from restante.errors import InternalError, MaildropInUse, PermanentFailure, TemporaryFailure
from restante.protocol.events import Login
from restante.protocol.stage import State
from tests.protocol.driver import World

MAIL = b"Subject: x\n\nbody\n"


@pytest.mark.parametrize("before", [b"", b"USER bob\r\n"])
def test_quit_before_login(before: bytes) -> None:
    """P-030: no UPDATE."""
    world = World(MAIL)
    assert world.send(before + b"QUIT\r\n").endswith(b"+OK goodbye\r\n")
    assert world.over()
    assert world.updated is None


def test_user_does_not_tell_whether_the_name_exists() -> None:
    """P-031."""
    assert World().send(b"USER bob\r\n") == World().send(b"USER nobody\r\n") == b"+OK send PASS\r\n"


@pytest.mark.parametrize("line", [b"USER", b"USER ", b"USER a b"])
def test_user_needs_one_name(line: bytes) -> None:
    """P-032."""
    assert World().send(line + b"\r\n") == b"-ERR USER needs one name, without spaces\r\n"


def test_the_name_is_taken_as_it_is() -> None:
    """P-001: arguments keep their case; field notes 4.3: a trailing space is not part of a name."""
    world = World()
    world.send(b"user BoB \r\npass x\r\n")
    assert world.events == [Login(Password("BoB", b"x"), "USER")]


@pytest.mark.parametrize(
    "between",
    [b"NOOP\r\n", b"CAPA\r\n", b"FOO\r\n", b"\r\n", b"x" * 5000 + b"\r\n", b"PASS wrong\r\n", b"PASS\r\n", b"STLS\r\n"],
)
def test_pass_is_valid_only_right_after_user(between: bytes) -> None:
    """P-033, P-034: anything in between uses the USER up, a failed PASS too."""
    world = World(MAIL)
    world.send(b"USER bob\r\n" + between)
    assert world.send(b"PASS secret\r\n") == b"-ERR USER comes first, and PASS right after it\r\n"
    assert world.session.state is State.AUTHORIZATION


def test_pass_first() -> None:
    """P-033."""
    world = World()
    assert world.send(b"PASS secret\r\n") == b"-ERR USER comes first, and PASS right after it\r\n"
    assert world.events == []


def test_a_second_user_replaces_the_first() -> None:
    """P-035."""
    world = World(MAIL)
    assert world.send(b"USER alice\r\nUSER bob\r\nPASS secret\r\n").endswith(b"+OK 1 messages (20 octets)\r\n")


@pytest.mark.parametrize(
    "line", [b"PASS  lead", b"pass a  b", b"PASS trail  ", b"PaSs  ", b"PASS wonder land 7", b"PASS PASS x"]
)
def test_all_octets_after_pass_are_the_password(line: bytes) -> None:
    """P-036."""
    world = World()
    world.send(b"USER bob\r\n" + line + b"\r\n")
    assert world.events == [Login(Password("bob", line[5:]), "USER")]


@pytest.mark.parametrize("line", [b"PASS", b"PASS "])
def test_an_empty_password_is_never_passed_on(line: bytes) -> None:
    """P-037."""
    world = World()
    assert world.send(b"USER bob\r\n" + line + b"\r\n").startswith(b"+OK send PASS\r\n-ERR ")
    assert world.events == []


@pytest.mark.parametrize("password", [b"a\0b", b"\xc3", b"\xe9", b"a\tb", b"a\rb"])
def test_a_password_is_text_in_utf_8(password: bytes) -> None:
    """P-018, P-257: anything else is refused without asking anybody, and not echoed."""
    world = World()
    reply = world.send(b"USER bob\r\nPASS " + password + b"\r\n")
    assert reply.startswith(b"+OK send PASS\r\n-ERR ")
    assert password not in reply
    assert world.events == []


def test_wrong_credentials() -> None:
    """P-038, P-039: the same line for an unknown user and a wrong password; another attempt may follow."""
    world = World(MAIL)
    unknown = world.send(b"USER nobody\r\nPASS secret\r\n")
    wrong = world.send(b"USER bob\r\nPASS wrong\r\n")
    assert unknown == wrong == b"+OK send PASS\r\n-ERR [AUTH] wrong user name or password\r\n"
    assert world.send(b"STAT\r\n") == b"-ERR log in first: USER, then PASS\r\n"
    assert world.login().session.state is State.TRANSACTION


def test_five_attempts() -> None:
    """P-045: then the connection is closed, after the answer."""
    world = World(MAIL)
    for attempt in range(1, 6):
        assert world.send(b"USER bob\r\nPASS wrong\r\n").endswith(b"-ERR [AUTH] wrong user name or password\r\n")
        assert world.session.failed_logins == attempt
        assert world.over() == (attempt == 5)
    assert world.session.end_reason == "too many failed logins"


@pytest.mark.parametrize(
    ("condition", "reply"),
    [
        (MaildropInUse(), b"-ERR [IN-USE] another session has this maildrop open; try again when it has ended\r\n"),
        (TemporaryFailure("disk sda1"), b"-ERR [SYS/TEMP] not possible at the moment; please try again later\r\n"),
        (
            PermanentFailure("/mail/bob"),
            b"-ERR [SYS/PERM] not possible until the administrator has mended something\r\n",
        ),
    ],
)
def test_a_maildrop_that_cannot_be_opened(condition: MaildropInUse, reply: bytes) -> None:
    """P-041, P-044, P-050: said with its code, without the details, and the client may try again at once."""
    world = World(MAIL, conditions={Login: condition})
    for _ in range(10):  # no attempt at guessing
        assert world.send(b"USER bob\r\nPASS secret\r\n") == b"+OK send PASS\r\n" + reply
    world.conditions.clear()
    assert world.login().session.state is State.TRANSACTION


def test_a_defect_of_ours_ends_the_session() -> None:
    """Design section 5: [SYS/TEMP], close."""
    world = World(MAIL, conditions={Login: InternalError()})
    assert world.send(b"USER bob\r\nPASS secret\r\n").endswith(b"-ERR [SYS/TEMP] internal error\r\n")
    assert world.over()


def test_success_opens_the_maildrop_with_nothing_marked() -> None:
    """P-040, P-309."""
    world = World(MAIL, MAIL)
    assert world.send(b"USER bob\r\nPASS secret\r\n") == b"+OK send PASS\r\n+OK 2 messages (40 octets)\r\n"
    assert world.send(b"STAT\r\n") == b"+OK 2 40\r\n"


def test_an_empty_maildrop() -> None:
    """P-054, P-076, P-121."""
    world = World().login()
    assert world.send(b"STAT\r\n") == b"+OK 0 0\r\n"
    assert world.send(b"LIST\r\n") == b"+OK 0 messages (0 octets)\r\n.\r\n"
    assert world.send(b"UIDL\r\n") == b"+OK 0 messages (0 octets)\r\n.\r\n"
    assert world.send(b"RETR\r\n") == b"-ERR RETR needs a message number, but the maildrop is empty\r\n"


def test_no_passwords_where_the_line_can_be_listened_to() -> None:
    """P-055: refused before the password is asked for, the same for every name, without a code, and not announced."""
    world = World(MAIL, passwords=False)
    reply = b"-ERR no passwords over an unencrypted connection from your address\r\n"
    assert world.send(b"USER bob\r\n") == world.send(b"USER nobody\r\n") == reply
    assert world.send(b"PASS secret\r\n") == reply
    assert b"\r\nUSER\r\n" not in world.send(b"CAPA\r\n")
    assert world.events == []


def test_a_password_shows_in_no_text() -> None:
    """P-287."""
    event = Login(Password("bob", b"secret"), "USER")
    assert "secret" not in f"{event} {event!r} {event.credentials} {[event]}"
    assert event.credentials != Password("bob", b"other")
    assert event.credentials != "bob"
    assert hash(event.credentials) == hash(Password("bob", b"secret"))
