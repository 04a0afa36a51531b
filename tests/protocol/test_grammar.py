"""Commands and replies: conformance section 1 (P-001 to P-026)."""

import pytest

from restante.protocol.authorization import Authorization
from restante.protocol.events import Pause
from restante.protocol.policy import SessionLimits
from restante.protocol.stage import State
from restante.protocol.transaction import Transaction
from tests.protocol.driver import World

MAIL = b"Subject: x\n\nbody\n"


def test_greeting_is_one_positive_line() -> None:
    """P-023, P-063: no timestamp, because APOP is not offered."""
    greeting = World().greeting
    assert greeting.startswith(b"+OK ")
    assert greeting.endswith(b"\r\n")
    assert greeting.count(b"\r\n") == 1
    assert len(greeting) <= 512
    assert b"<" not in greeting


@pytest.mark.parametrize(
    "command", [b"stat\r\n", b"sTaT\r\n", b"STAT\n", b"STAT \r\n", b"STAT\t\r\n", b"STAT  \t \r\n"]
)
def test_case_line_end_and_trailing_blanks_are_forgiven(command: bytes) -> None:
    """P-001, P-002, P-003, P-306."""
    assert World(MAIL).login().send(command) == b"+OK 1 20\r\n"


@pytest.mark.parametrize("command", [b"LIST  1\r\n", b"LIST 1 \r\n", b"list   1  \n", b"LIST 01\r\n"])
def test_repeated_spaces_and_leading_zeros_are_forgiven(command: bytes) -> None:
    """P-003, P-014."""
    assert World(MAIL).login().send(command) == b"+OK 1 20\r\n"


@pytest.mark.parametrize(
    "command",
    [
        b"NOOP x", b"STAT 1", b"RSET x", b"CAPA x", b"QUIT x", b"RETR", b"RETR 1 2", b"TOP 1", b"TOP", b"TOP 1 -1",
        b"TOP 1 1 1", b"TOP x 1", b"TOP 1 x", b"LIST 1x", b"LIST +1", b"LIST -1", b"LIST 1 2", b"UIDL 1 2", b"DELE",
        b"DELE one", b"DELE 1 1", b"LIST 1.0", b"LIST 0x1", b"LIST \xb2", b"LIST 1,2",
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(command: bytes) -> None:
    """P-006, P-113: one -ERR, and the session goes on as if nothing had been said."""
    world = World(MAIL).login()
    reply = world.send(command + b"\r\n")
    assert reply.startswith(b"-ERR ")
    assert reply.count(b"\r\n") == 1
    assert world.send(b"STAT\r\n") == b"+OK 1 20\r\n"


@pytest.mark.parametrize(
    "command", [b"FOO", b"LAST", b"XTND XLST", b"STATS", b"RETR1", b"STLS", b"AUTH PLAIN", b"APOP a b"]
)
def test_unknown_commands_are_refused_and_change_nothing(command: bytes) -> None:
    """P-004, P-108, P-130; P-063: no timestamp, so no APOP."""
    world = World(MAIL)
    assert world.send(command + b"\r\n").startswith(b"-ERR ")
    assert world.login().send(command + b"\r\n").startswith(b"-ERR ")
    assert world.send(b"STAT\r\n") == b"+OK 1 20\r\n"


def test_keywords() -> None:
    """P-019: three or four characters, and what is longer is another word."""
    assert {len(keyword) for keyword in {**Authorization.TABLE, **Transaction.TABLE}} <= {3, 4}
    assert World(MAIL).login().send(b"STATUS\r\nLISTE 1\r\n").count(b"-ERR unknown command") == 2


@pytest.mark.parametrize(
    "command", [b"STAT", b"LIST", b"LIST 1", b"RETR 1", b"DELE 1", b"NOOP", b"RSET", b"TOP 1 0", b"UIDL"]
)
def test_transaction_commands_need_a_login(command: bytes) -> None:
    """P-005."""
    world = World(MAIL)
    assert world.send(command + b"\r\n") == b"-ERR log in first: USER, then PASS\r\n"
    assert world.events == []


@pytest.mark.parametrize("command", [b"USER bob", b"PASS secret"])
def test_no_second_login(command: bytes) -> None:
    """P-005, P-046."""
    world = World(MAIL).login()
    assert world.send(command + b"\r\n") == b"-ERR already logged in\r\n"
    assert len(world.events) == 1


@pytest.mark.parametrize("line", [b"", b" ", b"\t", b"   ", b" STAT"])
def test_an_empty_line_is_one_error(line: bytes) -> None:
    """P-007."""
    world = World(MAIL).login()
    reply = world.send(line + b"\r\n")
    assert reply.startswith(b"-ERR ")
    assert reply.count(b"\r\n") == 1
    assert not world.over()


@pytest.mark.parametrize(
    "line",
    [
        b"FO\rO",
        b"STAT\0",
        b"ST\0AT",
        b"\xff\xf4\xff\xfdSTAT",
        b"LIST \x1b[2J",
        b"STAT\r",
        b"US\x08ER",
        b"\xc3\xa9",
        b"\0",
    ],
)
def test_other_octets_are_refused_and_never_come_back(line: bytes) -> None:
    """P-002, P-015, P-018, P-308, P-311: a bare CR, NUL, telnet's IAC, backspace, 8-bit."""
    world = World(MAIL).login()
    reply = world.send(line + b"\r\n")
    assert reply.startswith(b"-ERR ")
    assert reply.endswith(b"\r\n")
    assert reply[:-2].decode("ascii").isprintable()
    assert world.send(b"STAT\r\n") == b"+OK 1 20\r\n"


@pytest.mark.parametrize(
    ("number", "messages"),
    [
        (b"0", 1),
        (b"2", 1),
        (b"4294967297", 1),
        (b"18446744073709551617", 1),
        (b"9" * 600, 1),
        (b"1", 0),
        (b"0" * 50, 3),
    ],
)
def test_numbers_out_of_range(number: bytes, messages: int) -> None:
    """P-014, P-009, P-079, P-089, P-102, P-117: refused without overflow, and the digits are not echoed."""
    world = World(*[MAIL] * messages).login()
    here = b"numbers are 1 to %d" % messages if messages else b"the maildrop is empty"
    for command in (b"LIST %b", b"UIDL %b", b"RETR %b", b"DELE %b", b"TOP %b 0"):
        assert world.send(command % number + b"\r\n") == b"-ERR no such message, %b\r\n" % here


def test_every_command_gets_exactly_one_reply_in_a_positive_or_negative_line() -> None:
    """P-008, P-017: told apart by what is in between."""
    world = World(MAIL).login()
    for command in (b"NOOP", b"DELE 1", b"DELE 1", b"RSET", b"STAT", b"FOO", b"LIST 1", b"UIDL 1"):
        reply = world.send(command + b"\r\n")
        assert reply.startswith((b"+OK ", b"-ERR "))
        assert reply.count(b"\r\n") == 1


def test_255_octets_are_taken_and_more_are_tolerated() -> None:
    """P-010, P-011."""
    world = World(MAIL)
    assert world.send(b"USER " + b"x" * 248 + b"\r\n") == b"+OK send PASS\r\n"
    assert world.send(b"USER " + b"x" * 4000 + b"\r\n") == b"+OK send PASS\r\n"


def test_a_line_that_is_too_long_is_one_error() -> None:
    """P-011: dropped to its end, and the session goes on."""
    world = World(MAIL).login()
    assert world.send(b"STAT " + b"x" * 20_000) == b""
    assert world.send(b"x\r\nSTAT\r\n") == b"-ERR a line is at most 4096 octets here\r\n+OK 1 20\r\n"


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_too_much_of_it_ends_the_session(end: bytes) -> None:
    """P-011, P-133: one reply, no UPDATE."""
    world = World(MAIL).login()
    world.send(b"DELE 1\r\n")
    assert world.send(b"x" * 70_000 + end) == b"-ERR a line is at most 4096 octets here\r\n"
    assert world.over()
    assert world.updated is None
    assert world.session.end_reason == "lines too long"


def test_half_a_line_is_no_command() -> None:
    """P-020, P-021: what is complete is answered, the rest is not executed."""
    world = World(MAIL).login()
    world.send(b"DELE 1\r\nQUIT")
    assert world.send_eof() == b""
    assert world.over()
    assert world.updated is None


def test_commands_before_the_end_of_input_are_answered() -> None:
    """P-021: ``printf … | nc``; a complete QUIT still updates."""
    world = World(MAIL)
    world.session.receive_data(b"USER bob\nPASS secret\nDELE 1\nQUIT\n")
    assert world.send_eof().endswith(b"+OK 1 messages deleted, 0 left\r\n")
    assert world.updated == frozenset({1})


def test_bad_commands_are_counted_before_login() -> None:
    """P-025, P-285: never on the first; slower from the tenth; the end at twenty."""
    world = World(MAIL)
    for count in range(1, 20):
        world.send(b"FOO\r\n")
        assert len([event for event in world.events if isinstance(event, Pause)]) == max(0, count - 9)
        assert not world.over()
    assert world.send(b"FOO\r\n").startswith(b"-ERR ")
    assert world.over()
    assert world.session.end_reason == "too many bad commands"


def test_bad_commands_are_counted_after_login() -> None:
    """P-025, P-133."""
    world = World(MAIL).login()
    world.send(b"DELE 1\r\n")
    world.send(b"FOO\r\n" * 49)
    assert not world.over()
    world.send(b"\r\n")
    assert world.over()
    assert world.updated is None


def test_a_good_command_makes_up_for_bad_ones() -> None:
    """P-025, P-310: only those in a row count; a wrong message number does not."""
    world = World(MAIL, limits=SessionLimits(bad_after_login=3, pause=0)).login()
    world.send(b"FOO\r\nFOO\r\nNOOP\r\nFOO\r\nFOO\r\n" + b"RETR 9\r\n" * 20)
    assert not world.over()
    assert [event for event in world.events if isinstance(event, Pause)] == []


def test_lines_that_are_too_long_are_bad_commands() -> None:
    """P-025."""
    world = World(MAIL, limits=SessionLimits(line=10, bad_before_login=3, pause_from=2))
    world.send(b"x" * 11 + b"\r\n")
    assert world.events == []
    world.send(b"x" * 11 + b"\r\n")
    assert world.events == [Pause(0.5)]
    world.send(b"x" * 11 + b"\r\n")
    assert world.session.state is State.CLOSED


@pytest.mark.parametrize(
    ("negotiation", "reply"),
    [
        # What PuTTY sends in Telnet mode before the person types (field notes 4.3).
        (bytes.fromhex("fffb1ffffb20fffb18fffb27fffd01fffb03fffd03"), b"+OK send PASS\r\n"),
        (b"\xff\xfa\x18\x00vt100\xff\xf0", b"+OK send PASS\r\n"),  # a subnegotiation
        (b"\xff\xf1", b"+OK send PASS\r\n"),  # NOP
        (b"\xff\xff", None),  # an escaped octet is data
        (b"\xff\xfa\x18", None),  # never ends
        (b"\xff\xfb\x1fx", None),  # what follows is no command
    ],
)
def test_telnet_negotiation_before_the_first_command(negotiation: bytes, reply: bytes | None) -> None:
    """P-311: stripped at the start of a line in AUTHORIZATION, else an error and nothing worse."""
    world = World(MAIL)
    answer = world.send(negotiation + b"USER bob\r\n")
    if reply is None:
        assert answer.startswith(b"-ERR ")
    else:
        assert answer == reply
    assert World().send(b"\xff\r\n").startswith(b"-ERR ")


def test_first_lines_of_replies_are_short_and_printable() -> None:
    """P-009, P-015, P-160: and none begins with a bracket that is no response code."""
    world = World(*[MAIL] * 3)
    sent = world.greeting + world.send(b"HELP\r\nFOO\r\nUSER a b\r\nPASS\r\nSTAT\r\nCAPA\r\n")
    sent += world.login().send(
        b"HELP\r\nRETR\r\nTOP 1\r\nLIST x\r\nRETR 9\r\nSTAT\r\nNOOP\r\nDELE 1\r\nRETR 1\r\nRSET\r\n"
    )
    for line in sent.split(b"\r\n")[:-1]:
        assert len(line) + 2 <= 512
        assert line.decode("ascii").isprintable()
        assert not line.startswith((b"+OK [", b"-ERR ["))
