"""Guessing is slowed down, and nobody is locked out: P-053."""

import asyncio
import base64
import contextlib
import logging
from asyncio import sleep as pass_time  # on a loop whose clock nobody waits for
from collections.abc import Awaitable, Callable

import pytest

from restante.auth import (
    Anonymous,
    Credentials,
    Kind,
    Kinds,
    Password,
    Principal,
    ScramRecord,
)
from restante.errors import AuthenticationFailed
from restante.protocol.policy import Features, SessionLimits
from restante.server.addresses import Address
from restante.server.census import FadingCounts
from restante.server.guessing import Guesses, Patience
from restante.server.listener import Listener
from restante.server.service import Door, Limits
from tests.server.office import Client, Office, TravelLoop, until
from tests.server.test_limits import from_address

PATIENT = Patience()


class Loop(asyncio.SelectorEventLoop):
    """A loop in which an hour passes as soon as nobody has anything to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def in_time(
    work: Callable[[Guesses, asyncio.AbstractEventLoop], Awaitable[None]], patience: Patience = PATIENT
) -> None:
    """Run something on a clock of its own."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await work(Guesses(FadingCounts(), patience), loop)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


async def guess(guesses: Guesses, host: str, user: str, secret: int) -> tuple[float, float]:
    """Try a wrong password; returns the seconds before it is looked at, and from then to the answer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    attempt = await guesses.turn(host, user, secret)
    looked = loop.time()
    due = attempt.failed()
    await pass_time(due - looked)
    return looked - began, due - looked


def test_each_guess_waits_longer() -> None:
    """1, 2, 4 … 16 seconds, and no more."""

    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        delays = [(await guess(guesses, "192.0.2.1", "bob", number))[1] for number in range(8)]
        assert delays == [1, 2, 4, 8, 16, 16, 16, 16]
        assert (await guess(guesses, "192.0.2.2", "bob", 99))[1] == 1  # elsewhere
        assert (await guess(guesses, "192.0.2.1", "alice", 99))[1] == 2  # there it counts a little

    in_time(work)


def test_failures_are_forgiven_with_time() -> None:
    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        for number in range(5):
            await guess(guesses, "192.0.2.1", "bob", number)
        await pass_time(7200)
        assert (await guess(guesses, "192.0.2.1", "bob", 99))[1] == 1

    in_time(work)


def test_a_right_password_makes_up_for_wrong_ones() -> None:
    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        for number in range(3):
            await guess(guesses, "192.0.2.1", "bob", number)
        (await guesses.turn("192.0.2.1", "bob", 42)).succeeded()
        assert (await guess(guesses, "192.0.2.1", "bob", 99))[1] == 1

    in_time(work)


def test_a_program_that_has_the_wrong_password_guesses_nothing() -> None:
    """The same wrong one, again and again."""

    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        assert [(await guess(guesses, "192.0.2.1", "bob", 7))[1] for _ in range(10)] == [1] * 10

    in_time(work)


def test_many_guesses_at_a_time_from_one_address() -> None:
    """Hanging up does not help: a failure keeps its place until its answer would be due."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        began = loop.time()
        waits = await asyncio.gather(*[guess(guesses, "192.0.2.1", "bob", number) for number in range(9)])
        assert [looked for looked, _ in waits[:3]] == [0, 0, 0]
        assert max(looked for looked, _ in waits) > 1
        assert loop.time() - began > 30

    in_time(work, Patience(wait=1000))


def test_nobody_is_locked_out() -> None:
    """However many guess at an account, its owner is let in: at once from elsewhere, after a while from there."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        attack = [asyncio.create_task(guess(guesses, "192.0.2.1", "bob", number)) for number in range(200)]
        for _ in range(3):
            await asyncio.sleep(0)
        began = loop.time()
        (await guesses.turn("192.0.2.2", "bob", 42)).succeeded()
        (await guesses.turn("192.0.2.1", "alice", 43)).succeeded()
        assert loop.time() == began
        (await guesses.turn("192.0.2.1", "bob", 42)).succeeded()
        assert loop.time() - began <= PATIENT.wait
        # The password that was right from there is recognised, and waits for nobody.
        began = loop.time()
        (await guesses.turn("192.0.2.1", "bob", 42)).succeeded()
        assert loop.time() == began
        for task in attack:
            task.cancel()
        await asyncio.gather(*attack, return_exceptions=True)

    in_time(work)


def test_one_address_at_many_accounts() -> None:
    """Ten failures may wait at a time."""

    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        for number in range(10):
            (await guesses.turn("192.0.2.1", f"user{number}", number)).failed()
        waited, delay = await guess(guesses, "192.0.2.1", "other", 99)
        assert waited >= 1
        assert delay >= 2
        (await guesses.turn("192.0.2.2", "other", 42)).succeeded()

    in_time(work)


def test_many_addresses_at_one_account() -> None:
    """Twenty failures may wait at a time; then even its owner waits, but not for long."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        (await guesses.turn("198.51.100.1", "bob", 42)).succeeded()
        for number in range(20):
            (await guesses.turn(f"192.0.2.{number}", "bob", number)).failed()
        began = loop.time()
        (await guesses.turn("198.51.100.1", "bob", 42)).succeeded()
        assert loop.time() == began
        (await guesses.turn("198.51.100.2", "bob", 42)).succeeded()
        assert 0 < loop.time() - began <= PATIENT.wait

    in_time(work)


def test_an_attempt_that_nobody_could_judge_is_no_failure() -> None:
    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(10):
            (await guesses.turn("192.0.2.1", "bob", 1)).undecided()
        assert loop.time() == 1000
        assert (await guess(guesses, "192.0.2.1", "bob", 2))[1] == 1

    in_time(work)


def test_a_free_place_is_for_whoever_can_use_it() -> None:
    """Whoever is woken and finds another door closed lets the next one try; nobody waits for nothing."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        first = await guesses.turn("192.0.2.1", "bob", 1)
        began = loop.time()
        other = await guesses.turn("192.0.2.2", "eve", 2)
        waiting = asyncio.create_task(guesses.turn("192.0.2.1", "bob", 3))
        second = asyncio.create_task(guesses.turn("192.0.2.1", "bob", 4))
        for _ in range(3):
            await asyncio.sleep(0)
        other.failed()  # its account is full now, which nobody of these asks for
        first.undecided()
        (await waiting).undecided()
        (await second).undecided()
        assert loop.time() == began
        assert guesses._waiting == {}

    in_time(work, Patience(pair=1, account=1))


def test_many_waiting_at_two_doors() -> None:
    """However places become free, all have their turn, and nothing is left behind."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        hosts, users = [f"192.0.2.{number}" for number in range(4)], [f"user{number}" for number in range(4)]
        pairs = [(host, user, number) for number in range(20) for host in hosts for user in users]
        waits = await asyncio.gather(*[guess(guesses, *pair) for pair in pairs])
        assert len(waits) == 320
        assert (guesses._waiting, guesses._taken) == ({}, {})
        assert loop.time() > 1000

    in_time(work, Patience(pair=1, address=2, account=2, wait=100_000))


def test_one_address_fills_only_its_own_places_at_an_account() -> None:
    """P-053: the owner, at a new address, waits for nobody, however many connections one guesser has."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        attack = [asyncio.create_task(guess(guesses, "192.0.2.1", "bob", number)) for number in range(100)]
        await pass_time(25)  # all of them have waited long enough to be let in
        began = loop.time()
        (await guesses.turn("198.51.100.7", "bob", 42)).succeeded()
        assert loop.time() == began
        for task in attack:
            task.cancel()
        await asyncio.gather(*attack, return_exceptions=True)

    in_time(work)


def test_nobody_sleeps_before_an_open_door() -> None:
    """When failures of an address are over, all who waited for its places are let in at once."""

    async def work(guesses: Guesses, loop: asyncio.AbstractEventLoop) -> None:
        for number in range(10):
            (await guesses.turn("192.0.2.1", f"user{number}", number)).failed()
        waiting = [asyncio.create_task(guesses.turn("192.0.2.1", f"right{number}", number)) for number in range(25)]
        for attempt in await asyncio.gather(*waiting):
            attempt.succeeded()
        assert loop.time() < 1000 + PATIENT.wait
        assert guesses._waiting == {}

    in_time(work)


def test_what_is_remembered_is_bounded() -> None:
    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        for number in range(20_100):
            (await guesses.turn("192.0.2.1", f"user{number}", number)).succeeded()
        assert guesses._right.get(hash(("192.0.2.1", "user0"))) is None
        assert guesses._right.get(hash(("192.0.2.1", "user20099"))) == 20_099
        assert guesses._taken == {}

    in_time(work)


def test_one_address_has_few_passwords_looked_at_at_a_time() -> None:
    """P-290: hashing for one address leaves room for the others."""

    async def work(guesses: Guesses, _: asyncio.AbstractEventLoop) -> None:
        async with contextlib.AsyncExitStack() as held:
            for _place in range(PATIENT.looking):
                await held.enter_async_context(guesses.look("192.0.2.1"))
            gone, next_one = (asyncio.ensure_future(guesses.look("192.0.2.1").__aenter__()) for _ in range(2))
            await asyncio.sleep(0)
            assert not gone.done()
            gone.cancel()
            assert not next_one.done()
            async with guesses.look("192.0.2.2"):  # others do not wait
                pass
        await next_one
        assert list(guesses._looking) == ["192.0.2.1"]
        await guesses.look("192.0.2.1").__aexit__()
        assert guesses._looking == {}  # nobody is in it any more, and it is forgotten

    in_time(work)


# -- on a server ------------------------------------------------------------------------------------


def office() -> Office:
    features = Features("mail.example.org", limits=SessionLimits(login_attempts=100))
    return Office(TravelLoop, limits=Limits(patience=Patience(delay=100, longest=10_000)), features=features)


def guess_at(client: Client, password: bytes) -> None:
    assert client.line() == b"+OK send PASS\r\n"
    client.send(b"PASS " + password + b"\r\n")


def test_a_right_login_waits_for_no_wrong_one() -> None:
    """P-053, P-276: while failures of another address wait, and those of the same address at another account."""
    with office() as running:
        assert isinstance(running.loop, TravelLoop)
        attackers = [from_address(running, "127.0.0.2") for _ in range(3)]
        for number, client in enumerate(attackers):
            client.line()
            client.send(b"USER bob\r\nPASS wrong%d\r\n" % number)
        running.call(until(lambda: sum(running.server.guesses._taken.values()) == 9))
        with from_address(running, "127.0.0.3") as owner:
            assert owner.login() == b"+OK 0 messages (0 octets)\r\n"
        with from_address(running, "127.0.0.2") as neighbour:
            assert neighbour.login(b"alice") == b"+OK 0 messages (0 octets)\r\n"
        running.loop.travel(400)
        for client in attackers:
            assert client.line() == b"+OK send PASS\r\n"
            assert client.line() == b"-ERR [AUTH] wrong user name or password\r\n"
            client.close()


def test_an_account_is_one_however_it_is_written() -> None:
    """P-053, P-052: the domain in other letters is no other account to guess at."""
    names = [b"bob@example.org", b"bob@EXAMPLE.org", b"bob@Example.ORG"]
    with office() as running:
        clients = [from_address(running, "127.0.0.2") for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.line()
            client.send(b"USER " + name + b"\r\nPASS wrong\r\n")
        pair = hash(("127.0.0.2", "bob@example.org"))
        running.call(until(lambda: running.server.guesses._taken.get(pair) == 3))
        for client in clients:
            client.close()


def test_a_failure_is_logged_when_it_happens(caplog: pytest.LogCaptureFixture) -> None:
    """P-053, field notes 2 (23): not when the guesser hangs up; the name is cut short, for it may be a password."""
    with office() as running, running.connect() as client:
        client.line()
        client.send(b"USER hunter2\r\nPASS wrong\r\n")
        running.call(until(lambda: sum(running.server.guesses._taken.values()) == 3))
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert line.startswith("login failed, address=127.0.0.1:")
        assert line.endswith(" attempt=1 user=hu... mechanism=USER tls=-")


def test_a_name_cannot_write_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """P-296, P-015: not a line of its own, nor a command to the terminal of whoever reads it."""
    with Office(TravelLoop, listener=Listener(Address("127.0.0.1", 0), Door(cleartext_login="always"))) as running:
        with running.connect() as client:
            client.line()
            for name in ("\n\x1b]0;x\x07", "\x1b[31m", "\u202ex"):
                login = base64.b64encode(f"\0{name}\0wrong".encode())
                assert client.ask(b"AUTH PLAIN " + login) == b"-ERR [AUTH] wrong user name or password\r\n"
        running.wait_until_empty()
    failures = [record.getMessage() for record in caplog.records if "login failed" in record.getMessage()]
    assert len(failures) == 3
    assert all(line.isprintable() for line in failures)


def test_secrets_are_compared_and_not_kept() -> None:
    """P-287: what is remembered of a password is a keyed hash."""
    assert isinstance(hash(Password("bob", b"secret")), int)
    assert hash(Password("bob", b"secret")) != hash(Password("bob", b"Secret"))


class Both:
    """An authenticator that knows bob by his password, everybody by SCRAM as nobody, and lets anybody be a guest."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        if isinstance(credentials, Anonymous):
            return Principal("guest", read_only=True)
        if credentials != Password("bob", b"secret"):
            raise AuthenticationFailed
        return Principal("bob")

    def kinds(self) -> Kinds:
        kinds = frozenset({Kind.PASSWORD, Kind.SCRAM_SHA_256, Kind.ANONYMOUS})
        return Kinds(kinds, kinds)

    async def scram_record(self, user: str, kind: Kind) -> ScramRecord:
        return ScramRecord(b"salt", 4096, bytes(32), bytes(32), None)


def test_an_exchange_that_is_given_up_pays_for_nobody() -> None:
    """P-053: a guess at bob is a guess at bob, whatever was begun and cancelled before it."""
    limits = Limits(patience=Patience(delay=100, longest=10_000))
    with Office(TravelLoop, limits=limits, authenticator=Both()) as running, running.connect() as client:
        client.line()
        client.send(b"AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=other,r=abc") + b"\r\n")
        assert client.line().startswith(b"+ ")
        client.send(b"*\r\nUSER bob\r\nPASS wrong\r\n")
        taken = running.server.guesses._taken
        running.call(until(lambda: taken.get(hash(("127.0.0.1", "bob"))) == 1))
        assert hash(("127.0.0.1", "other")) not in taken


def test_a_guest_makes_up_for_nothing() -> None:
    """P-053, P-200: the trace text is no account; a guess at bob counts on after it."""
    with Office(TravelLoop, authenticator=Both()) as running:
        for login in (b"USER bob\r\nPASS wrong\r\n", b"AUTH ANONYMOUS " + base64.b64encode(b"bob") + b"\r\n"):
            with running.connect() as client:
                client.send(login + b"QUIT\r\n")
                client.rest()
            running.wait_until_empty()

        async def failures() -> float:
            return running.server.guesses._counts.get(hash(("127.0.0.1", "bob")), asyncio.get_running_loop().time())

        assert running.call(failures()) > 0.9
