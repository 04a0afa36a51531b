"""Connections that are too many: P-286."""

import multiprocessing
import socket

import pytest

from restante.protocol.policy import Features
from restante.server.census import Census, FadingCounts, network
from restante.server.service import Door, Limits
from tests.server.office import QUICK, Client, LoopFactory, Office, TravelLoop, until
from tests.server.tls import office, secure

BUSY = b"-ERR [SYS/TEMP] too many connections; please try again later\r\n"
MAIL = b"Subject: x\r\n\r\nbody\r\n"


def from_address(running: Office, source: str) -> Client:
    """Connect from another loopback address."""
    address = running._listening.listener.address
    client = Client.__new__(Client)
    client.socket = socket.create_connection((address.host, address.port), 20, (source, 0))
    client.file = client.socket.makefile("rb")
    return client


def limited(loop_factory: LoopFactory, **limits: int) -> Office:
    return Office(loop_factory, limits=Limits(patience=QUICK.patience, **limits), features=Features("x"))


def test_connections_of_one_address(loop_factory: LoopFactory) -> None:
    """P-286: another address is let in, and so is this one when one of its connections has gone."""
    with limited(loop_factory, connections_per_address=2) as running:
        first, second = from_address(running, "127.0.0.5"), from_address(running, "127.0.0.5")
        assert first.line().startswith(b"+OK ")
        assert second.line().startswith(b"+OK ")
        with from_address(running, "127.0.0.5") as third:
            assert third.rest() == BUSY
        with from_address(running, "127.0.0.6") as other:
            assert other.line().startswith(b"+OK ")
        first.ask(b"QUIT")
        first.close()
        running.call(until(lambda: running.server.census.of("127.0.0.5") == 1))
        with from_address(running, "127.0.0.5") as third:
            assert third.line().startswith(b"+OK ")
        second.close()


def test_connections_in_total(loop_factory: LoopFactory) -> None:
    with limited(loop_factory, connections=1) as running, running.connect() as client:
        client.login()
        with from_address(running, "127.0.0.6") as other:
            assert other.rest() == BUSY
        assert client.ask(b"NOOP").startswith(b"+OK ")


def test_connections_before_login(loop_factory: LoopFactory) -> None:
    """Who has logged in takes no place from those who have not."""
    with limited(loop_factory, connections_before_login=1) as running:
        with running.connect() as client:
            client.login()
            with from_address(running, "127.0.0.6") as other:
                assert other.line().startswith(b"+OK ")
                with from_address(running, "127.0.0.7") as third:
                    assert third.rest() == BUSY
        running.wait_until_empty()
        running.call(until(lambda: running.server.census.connections == 0))
        assert running.server.census.before_login == 0


def test_the_silent_give_way() -> None:
    """P-138: ten minutes before login are for when there is room; else one minute is enough, and no last word."""
    with limited(TravelLoop, connections_before_login=2) as running:
        assert isinstance(running.loop, TravelLoop)
        with running.connect() as quiet, running.connect() as busy:
            quiet.line()
            busy.line()
            running.loop.travel(59)
            with running.connect() as other:
                assert other.rest() == BUSY
            assert busy.ask(b"CAPA").startswith(b"+OK ")
            running.loop.travel(2)
            with running.connect() as other:
                assert other.line().startswith(b"+OK ")
                assert quiet.rest() == b""
                busy.lines()
                assert busy.ask(b"USER bob") == b"+OK send PASS\r\n"


def test_handshakes_count(loop_factory: LoopFactory) -> None:
    """P-286: half-open TLS connections are connections before login; a refused one is closed without a word."""
    limits = Limits(connections_before_login=1)
    with office(loop_factory, Door("implicit"), limits=limits) as running, running.connect() as client:
        running.call(until(lambda: running.server.census.before_login == 1))
        with running.connect() as other:
            assert other.rest() == b""
        secure(client)
        assert client.login() == b"+OK 0 messages (0 octets)\r\n"
        with running.connect() as other:
            secure(other)
            assert other.line().startswith(b"+OK ")


def test_five_hundred_half_open_handshakes(loop_factory: LoopFactory) -> None:
    """P-286: others are served meanwhile."""
    with office(loop_factory, Door("implicit")) as running:
        running.deliver(MAIL)
        idle = [running.connect() for _ in range(500)]
        for client in idle[::2]:
            client.send(b"\x16\x03\x01\x02\x00\x01")
        with running.connect() as client:
            secure(client)
            assert client.login() == b"+OK 1 messages (20 octets)\r\n"
        for client in idle:
            client.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("x:y", "x:y"),
        ("", ""),
    ],
)
def test_networks(host: str, expected: str) -> None:
    """A /64 is what one customer has."""
    assert network(host) == expected


def _worker(census: Census, number: int) -> None:
    census.begin(number)
    census.enter("192.0.2.1")
    census.enter("192.0.2.2")
    census.leave("192.0.2.2", logged_in=False)
    census.logged_in()


def test_workers_count_together() -> None:
    """P-286: the limit holds for all processes; what a dead one had is gone when its successor begins."""
    census = Census(3)
    context = multiprocessing.get_context("fork")
    for number in (1, 2):
        process = context.Process(target=_worker, args=(census, number))
        process.start()
        process.join(20)
        assert process.exitcode == 0
    assert (census.connections, census.of("192.0.2.1"), census.of("192.0.2.2"), census.before_login) == (2, 2, 0, 0)
    census.begin(2)
    assert (census.connections, census.of("192.0.2.1")) == (1, 1)


def test_counts_fade() -> None:
    """P-053: half of a count is gone after the half-life; workers see the sum."""
    counts = FadingCounts(2, half_life=100)
    assert counts.get("x", 0.0) == 0
    counts.add("x", 10.0)
    counts.add("x", 10.0)
    counts.begin(1)
    counts.add("x", 110.0)
    assert counts.get("x", 110.0) == 2
    assert counts.get("x", 210.0) == 1
    counts.forget("x")
    assert counts.get("x", 110.0) == 1
    assert counts.get("y", 110.0) == 0
