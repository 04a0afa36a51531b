"""QUIT and the UPDATE state: conformance section 4 (P-131 to P-145)."""

import pytest

from restante.errors import InternalError, UpdateIncomplete
from restante.protocol.events import Update
from restante.protocol.stage import State
from tests.protocol.driver import World

MAIL = b"Subject: x\n\nbody\n"


def test_quit_removes_exactly_what_is_marked() -> None:
    """P-131, P-309."""
    world = World(MAIL, MAIL, MAIL).login()
    world.send(b"DELE 3\r\nDELE 1\r\n")
    assert not any(isinstance(event, Update) for event in world.events)  # P-100
    assert world.send(b"QUIT\r\n") == b"+OK 2 messages deleted, 1 left\r\n"
    assert world.updated == frozenset({1, 3})
    assert world.over()
    assert world.session.end_reason == "quit"


def test_the_answer_comes_after_the_removal() -> None:
    """P-135: not before the world has said that it is done."""
    session = World(MAIL).login().session
    session.receive_data(b"DELE 1\r\nQUIT\r\n")
    assert session.next_event() == Update(frozenset({1}))
    assert b"deleted," not in session.data_to_send()
    assert session.state is State.UPDATE
    session.updated()
    assert session.data_to_send() == b"+OK 1 messages deleted, 0 left\r\n"


def test_quit_with_nothing_marked() -> None:
    """No update is asked for."""
    world = World(MAIL).login()
    assert world.send(b"QUIT\r\n") == b"+OK 0 messages deleted, 1 left\r\n"
    assert world.updated is None
    assert world.over()


@pytest.mark.parametrize(
    ("condition", "reply"),
    [
        (UpdateIncomplete("EIO"), b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"),
        (InternalError(), b"-ERR [SYS/TEMP] internal error\r\n"),
    ],
)
def test_a_failed_update_is_told_and_ends_the_session(condition: UpdateIncomplete, reply: bytes) -> None:
    """P-132, P-134."""
    world = World(MAIL, conditions={Update: condition}).login()
    assert world.send(b"DELE 1\r\nQUIT\r\nNOOP\r\n").endswith(b"removes it, RSET unmarks it\r\n" + reply)
    assert world.over()
    assert world.session.statistics.deleted == 0


def test_nothing_after_quit_is_executed_or_answered() -> None:
    """P-137."""
    world = World(MAIL, MAIL).login()
    assert world.send(b"DELE 1\r\nQUIT\r\nDELE 2\r\nNOOP\r\n").endswith(b"+OK 1 messages deleted, 1 left\r\n")
    assert world.updated == frozenset({1})
    assert world.send(b"NOOP\r\n") == b""


def test_quit_with_an_argument_deletes_nothing() -> None:
    """P-141: a syntax error; still in TRANSACTION."""
    world = World(MAIL).login()
    world.send(b"DELE 1\r\n")
    assert world.send(b"QUIT now\r\n") == b"-ERR QUIT takes no argument; nothing was deleted\r\n"
    assert world.updated is None
    assert world.send(b"STAT\r\n") == b"+OK 0 0\r\n"


@pytest.mark.parametrize("end", ["eof", "end", "abandon"])
def test_any_other_end_removes_nothing(end: str) -> None:
    """P-133, P-138: end of input, a timeout, a server stop; and no word is said."""
    world = World(MAIL).login()
    world.send(b"DELE 1\r\n")
    if end == "eof":
        assert world.send_eof() == b""
    elif end == "end":
        world.session.end("idle for too long")
    else:
        world.session.receive_data(b"NOOP\r\n")
        world.session.next_event()
        world.session.abandon("server stop")
    assert world.session.data_to_send() == b""
    assert world.over()
    assert world.updated is None


def test_the_first_reason_of_the_end_stays() -> None:
    """P-288: a connection that breaks after QUIT is still a QUIT in the log."""
    world = World(MAIL).login()
    world.send(b"QUIT\r\n")
    world.session.end("connection lost")
    assert world.session.end_reason == "quit"
