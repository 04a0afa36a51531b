"""The autologout timer, on a loop whose clock the tests put forward (P-138, P-139)."""

import time
from collections.abc import Iterator

import pytest

from restante.server.service import Limits
from tests.server.office import LOOPS, QUICK, TIMEOUT, Client, Office, TravelLoop

MAIL = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture
def office() -> Iterator[Office]:
    with Office(TravelLoop, limits=QUICK) as running:
        running.deliver(MAIL)
        yield running


def travel(office: Office, seconds: float) -> None:
    assert isinstance(office.loop, TravelLoop)
    office.loop.travel(seconds)


def is_open(client: Client) -> bool:
    """Whether the server still answers."""
    try:
        return client.ask(b"NOOP") != b""
    except OSError:
        return False


def test_ten_minutes_of_silence_end_a_session_silently(office: Office) -> None:
    """P-016, P-138: no word, no UPDATE, no lock."""
    with office.connect() as client:
        client.login()
        client.ask(b"DELE 1")
        travel(office, 599)
        travel(office, 2)
        assert client.rest() == b""
        assert len(office.contents()) == 1


def test_not_before(office: Office) -> None:
    """P-138: at least ten minutes, in both states."""
    with office.connect() as client:
        client.line()
        travel(office, 599)
        assert is_open(client)
        client.send(b"USER bob\r\nPASS secret\r\n")
        assert client.line() + client.line() == b"+OK send PASS\r\n+OK 1 messages (20 octets)\r\n"
        travel(office, 599)
        assert is_open(client)


def test_any_command_starts_the_time_again(office: Office) -> None:
    """P-139: an -ERR too; an octet that completes no command does not."""
    with office.connect() as client:
        client.login()
        for command in (b"NOOP", b"FOO", b"STAT"):
            travel(office, 400)
            assert client.ask(command) != b""
        travel(office, 400)
        client.send(b"N")
        assert len(office.server.connections) == 1
        travel(office, 201)
        assert client.rest() == b""


def test_a_client_that_does_not_read_is_dropped(office: Office) -> None:
    """P-139: progress of our output counts, and standing still does not."""
    office.deliver(b"x" * 20_000_000)
    with office.connect(receive_buffer=4096) as client:
        client.login()
        client.send(b"RETR 2\r\n")
        client.line()
        for _ in range(3):
            client.file.read(3_000_000)  # the server moves on
            travel(office, 400)
            assert len(office.server.connections) == 1
        deadline = time.monotonic() + TIMEOUT
        while office.server.connections:  # what the last read had freed still counts as progress
            assert time.monotonic() < deadline
            travel(office, 601)
        assert len(office.contents()) == 2


def test_on_every_loop(loop_factory: object) -> None:
    """The timer works on uvloop as on the standard loop."""
    assert loop_factory in LOOPS.values()
    with Office(loop_factory, limits=Limits(idle_timeout=0.1)) as office, office.connect() as client:  # type: ignore[arg-type]
        client.line()
        assert client.rest() == b""
