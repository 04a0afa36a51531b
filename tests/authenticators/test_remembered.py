"""Logins that are remembered: whom they spare the hashing, and whom not."""

import ast
import asyncio
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from restante.auth import Password, Principal
from restante.authenticators import schemes
from restante.authenticators.passwd_file import PasswdFile
from restante.authenticators.remembered import BUCKET, LIFETIME, RememberedLogins
from restante.errors import AuthenticationFailed, TemporaryFailure
from tests.authenticators.test_schemes import PASSWORD, RECORDED, WRONG

TIMEOUT = 30.0
STORED, OTHER = RECORDED["BLF-CRYPT, rounds"], RECORDED["BLF-CRYPT"]
CHEAP = {"PLAIN", "CLEARTEXT", "SSHA256", "SSHA512"}


class Clock:
    """Says what it is told to say."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hashing:
    """Watches the real verification, and can hold it back."""

    def __init__(self) -> None:
        self.outcomes: list[bool] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = schemes.Hash.matches

        def matches(stored: schemes.Hash, password: bytes) -> bool:
            self.begun.release()
            assert self.go_on.wait(TIMEOUT)
            outcome = original(stored, password)
            self.outcomes.append(outcome)
            return outcome

        monkeypatch.setattr(schemes.Hash, "matches", matches)

    def done(self) -> list[bool]:
        """Return the outcomes since the last call."""
        done, self.outcomes = self.outcomes, []
        return done


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hashing]:
    watched = Hashing()
    watched.watch(monkeypatch)
    yield watched
    watched.go_on.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(path: Path, clock: Clock) -> PasswdFile:
    write(path, f"bob:{STORED}", f"alice:{STORED}")
    return PasswdFile(path, threads=2, clock=clock)


def write(path: Path, *lines: str) -> None:
    aside = path.with_name("aside")  # moved into its place: another file, however fast
    aside.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    aside.replace(path)


async def logs_in(table: PasswdFile, user: str = "bob", password: bytes = PASSWORD) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await table.authenticate(Password(user, password)) == Principal(user)
    except AuthenticationFailed:
        return False


# -- who is spared ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [one for name, one in RECORDED.items() if name.split(".")[0] not in CHEAP])
async def test_a_second_login_costs_no_hashing(path: Path, hashing: Hashing, stored: str) -> None:
    """P-290: with each scheme that is costly."""
    write(path, f"bob:{stored}")
    table = PasswdFile(path, threads=1)
    assert [await logs_in(table) for _ in range(3)] == [True] * 3
    assert hashing.done() == [True]


@pytest.mark.parametrize("stored", [one for name, one in RECORDED.items() if name.split(".")[0] in CHEAP])
async def test_what_is_cheap_is_not_remembered(path: Path, hashing: Hashing, stored: str) -> None:
    write(path, f"bob:{stored}")
    table = PasswdFile(path, threads=1)
    assert [await logs_in(table) for _ in range(3)] == [True] * 3
    assert hashing.done() == [True] * 3


async def test_a_wrong_password_is_hashed_each_time(table: PasswdFile, hashing: Hashing) -> None:
    """P-039, P-053: before a right one and after it; and it does not make anybody forget the right one."""
    assert not await logs_in(table, password=WRONG)
    assert await logs_in(table)
    assert hashing.done() == [False, True]
    for wrong in (WRONG, WRONG, b"", PASSWORD + b" ", PASSWORD[:-1]):
        assert not await logs_in(table, password=wrong)
    assert hashing.done() == [False] * 5
    assert await logs_in(table)
    assert hashing.done() == []


async def test_nobody_is_told_by_a_fast_answer_that_there_is_no_such_user(path: Path, hashing: Hashing) -> None:
    """P-039: the decoy is bob's hash, and his password is right for it; it is hashed each time all the same."""
    write(path, f"bob:{STORED}")
    table = PasswdFile(path, threads=1)
    assert await logs_in(table)
    assert hashing.done() == [True]
    assert [await logs_in(table, "nobody") for _ in range(3)] == [False] * 3
    assert hashing.done() == [True] * 3  # for the decoy, whose outcome is not used


async def test_a_login_is_remembered_for_its_own_user(table: PasswdFile, hashing: Hashing) -> None:
    """P-289: two accounts with one hash are two logins."""
    assert await logs_in(table, "bob")
    assert await logs_in(table, "alice")
    assert hashing.done() == [True, True]
    assert await logs_in(table, "bob")
    assert await logs_in(table, "alice")
    assert hashing.done() == []


async def test_a_file_out_of_reach_is_a_temporary_failure_all_the_same(table: PasswdFile, path: Path) -> None:
    """P-044: what is remembered is no user table."""
    assert await logs_in(table)
    path.rename(path.with_name("away"))
    with pytest.raises(TemporaryFailure):
        await logs_in(table)


# -- forgetting -------------------------------------------------------------------------------------


async def test_another_hash_forgets(table: PasswdFile, path: Path, hashing: Hashing) -> None:
    """P-289: of the same password with another salt, and of another password; in the same scheme."""
    assert await logs_in(table)
    write(path, f"bob:{OTHER}")
    assert await logs_in(table)
    assert await logs_in(table)
    assert hashing.done() == [True, True]
    for password, outcomes in ((PASSWORD, [True]), (b"new", [False, False])):
        write(path, f"bob:{schemes.make(password, 'SCRAM-SHA-1')}")
        assert [await logs_in(table), await logs_in(table)] == [password == PASSWORD] * 2
        assert hashing.done() == outcomes
    assert await logs_in(table, password=b"new")
    assert hashing.done() == [True]


async def test_an_account_that_is_gone_is_refused(table: PasswdFile, path: Path, hashing: Hashing) -> None:
    """P-039: at the cost of an unknown user."""
    assert await logs_in(table)
    hashing.done()
    write(path, f"alice:{OTHER}")
    assert [await logs_in(table), await logs_in(table)] == [False, False]
    assert len(hashing.done()) == 2


async def test_a_repeat_does_not_prolong_it(table: PasswdFile, clock: Clock, hashing: Hashing) -> None:
    """P-290: ten minutes from the last hashing, to the second."""
    begin = clock.now
    for seconds, hashed in ((0, 1), (60, 0), (599.9, 0), (600, 1), (1199.9, 0), (1200, 1)):
        clock.now = begin + seconds
        assert await logs_in(table)
        assert len(hashing.done()) == hashed, seconds
    assert LIFETIME == 600


async def test_without_a_memory(path: Path, hashing: Hashing) -> None:
    """P-290: `remember = 0`: each login is hashed, those at the same time too."""
    write(path, f"bob:{STORED}")
    table = PasswdFile(path, threads=1, remember=0)
    assert [await logs_in(table), await logs_in(table)] == [True, True]
    assert await asyncio.gather(*(logs_in(table) for _ in range(3))) == [True] * 3
    assert hashing.done() == [True] * 5
    assert table.authenticate_now(Password("bob", PASSWORD)) is None
    assert [value for value in vars(table._remembered).values() if isinstance(value, (mmap.mmap, memoryview))] == []


# -- at the same time -------------------------------------------------------------------------------


async def begun(hashing: Hashing) -> None:
    """Return when a hashing has begun, and each login that was started before knows what it waits for."""
    assert await asyncio.to_thread(hashing.begun.acquire, timeout=TIMEOUT)


async def test_the_same_login_twice_at_a_time_is_hashed_once(table: PasswdFile, hashing: Hashing) -> None:
    """P-290, P-039: the identical one only; a wrong password and another user beside it have a hashing each."""
    table.users()  # reads the file, so that nobody waits for it below
    hashing.go_on.clear()
    same = [asyncio.create_task(logs_in(table)) for _ in range(5)]
    wrong = asyncio.create_task(logs_in(table, password=WRONG))
    other = asyncio.create_task(logs_in(table, "alice"))
    await begun(hashing)
    hashing.go_on.set()
    assert await asyncio.gather(*same, wrong, other) == [True] * 5 + [False, True]
    assert sorted(hashing.done()) == [False, True, True]
    assert await logs_in(table)
    assert hashing.done() == []


@pytest.mark.parametrize(("user", "password"), [("bob", WRONG), ("nobody", WRONG), ("nobody", PASSWORD)])
async def test_the_same_wrong_login_at_a_time_is_hashed_for_each(
    table: PasswdFile, hashing: Hashing, user: str, password: bytes
) -> None:
    """P-039, P-053: guesses share nothing, and those at nobody's account cost as many hashings as those at bob's."""
    table.users()
    hashing.go_on.clear()
    same = [asyncio.create_task(logs_in(table, user, password)) for _ in range(4)]
    await begun(hashing)
    hashing.go_on.set()
    assert await asyncio.gather(*same) == [False] * 4
    assert len(hashing.done()) == 4


async def test_who_hashes_hangs_up(path: Path, hashing: Hashing) -> None:
    """P-290: whoever waited for that hashing has one of its own."""
    write(path, f"bob:{STORED}")
    table = PasswdFile(path, threads=1)
    table.users()
    hashing.go_on.clear()
    first, second = asyncio.create_task(logs_in(table)), asyncio.create_task(logs_in(table))
    await begun(hashing)
    first.cancel()
    await asyncio.wait([first], timeout=TIMEOUT)
    assert first.cancelled()
    hashing.go_on.set()
    assert await second
    assert hashing.done() == [True, True]


async def test_who_waits_hangs_up(table: PasswdFile, hashing: Hashing) -> None:
    """P-290: the others do not notice."""
    table.users()
    hashing.go_on.clear()
    tasks = [asyncio.create_task(logs_in(table)) for _ in range(3)]
    await begun(hashing)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]], timeout=TIMEOUT)
    hashing.go_on.set()
    assert await asyncio.gather(*tasks[::2]) == [True, True]
    assert tasks[1].cancelled()
    assert hashing.done() == [True]


# -- the memory itself ------------------------------------------------------------------------------


class Real:
    """A login with a hash that is verified for real, and how often it was."""

    def __init__(self, memory: RememberedLogins) -> None:
        self._memory = memory
        self._stored = schemes.parse(STORED)
        self.verified = 0

    def login(self, user: bytes, password: bytes = PASSWORD) -> tuple[bytes, ...]:
        return user, self._stored.data.encode(), password

    async def proves(self, user: bytes, password: bytes = PASSWORD) -> bool:
        async def verify() -> bool:
            self.verified += 1
            return self._stored.matches(password)

        return await self._memory.proves(self.login(user, password), verify)

    async def costs(self, user: bytes) -> int:
        before = self.verified
        assert await self.proves(user)
        return self.verified - before


def taken(memory: RememberedLogins) -> int:
    """Count the entries that have been written, even if they are over."""
    return sum(end > 0 for end in memory._ends)


def names(count: int) -> list[bytes]:
    return [b"user%d" % number for number in range(count)]


async def costs_in_order(real: Real, clock: Clock, users: Iterable[bytes]) -> list[int]:
    """Log in one by one, a second apart."""
    costs = []
    for user in users:
        clock.now += 1
        costs.append(await real.costs(user))
    return costs


async def test_the_oldest_go(clock: Clock) -> None:
    """P-290: memory is bounded; the oldest is the one that was hashed longest ago, however often it came since."""
    real = Real(memory := RememberedLogins(600, clock, most=BUCKET))
    first, second, *others = names(BUCKET)
    assert await costs_in_order(real, clock, [first, second, *others]) == [1] * BUCKET
    assert await costs_in_order(real, clock, [first, b"a"]) == [0, 1]
    assert taken(memory) == BUCKET
    assert await costs_in_order(real, clock, [second, *others, b"a"]) == [0] * BUCKET
    assert await costs_in_order(real, clock, [first]) == [1]
    assert await costs_in_order(real, clock, [*others, b"a", first, second]) == [0] * BUCKET + [1]


async def test_what_is_hashed_again_is_the_newest(clock: Clock) -> None:
    real = Real(RememberedLogins(600, clock, most=BUCKET))
    first, *others = names(BUCKET)
    assert await real.costs(first) == 1
    clock.now += 300
    assert await costs_in_order(real, clock, others) == [1] * len(others)
    clock.now += 300
    assert await costs_in_order(real, clock, [first, b"a"]) == [1, 1]
    assert await costs_in_order(real, clock, [first, b"a", *others[1:]]) == [0] * BUCKET
    assert await costs_in_order(real, clock, others[:1]) == [1]


async def test_what_is_over_is_used_again(clock: Clock) -> None:
    """P-290: before anything that is not, whether it came before it or after it; and its own login finds its place."""
    real = Real(memory := RememberedLogins(600, clock, most=BUCKET))
    first, second, *others = names(BUCKET)
    assert await costs_in_order(real, clock, [first, second]) == [1, 1]
    clock.now += 300
    assert await costs_in_order(real, clock, others) == [1] * len(others)
    clock.now += 300
    assert await costs_in_order(real, clock, [second, b"a"]) == [1, 1]
    assert await costs_in_order(real, clock, [*others, second, b"a"]) == [0] * BUCKET
    assert taken(memory) == BUCKET


async def test_what_is_remembered_again_has_one_entry(clock: Clock) -> None:
    """P-290: the same login takes no room twice, even where all that is there is over."""
    real = Real(memory := RememberedLogins(600, clock, most=BUCKET))
    for _ in range(BUCKET + 1):
        assert await real.costs(b"bob") == 1
        assert taken(memory) == 1
        clock.now += 600


@pytest.mark.parametrize(("most", "entries"), [(1, 1), (BUCKET, 1), (BUCKET + 1, 2), (3 * BUCKET, 3)])
async def test_buckets(clock: Clock, most: int, entries: int) -> None:
    """P-290: a memory is as large as it shall be, in whole buckets, and all of them are used."""
    real = Real(memory := RememberedLogins(600, clock, most=most))
    for user in names(50 * entries):
        clock.now += 1
        assert [await real.costs(user), await real.costs(user)] == [1, 0]
    assert taken(memory) == len(memory._ends) == entries * BUCKET


async def test_wrong_logins_take_no_room() -> None:
    """P-053: guessing does not push out what is remembered."""
    real = Real(memory := RememberedLogins(most=1))
    assert await real.proves(b"bob")
    assert [await real.proves(b"bob", WRONG + b"%d" % number) for number in range(BUCKET)] == [False] * BUCKET
    assert (taken(memory), len(memory._running)) == (1, 0)
    assert await real.costs(b"bob") == 0


async def test_where_one_part_ends_makes_a_difference() -> None:
    """P-289: no two logins have one key."""
    memory = RememberedLogins()
    keys = {memory._key(login) for login in [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"", b"abc"), (b"1:ab", b"c")]}
    assert len({key.digest for key in keys}) == 5


async def test_a_verification_that_fails_says_nothing() -> None:
    """P-044: neither yes nor no is remembered."""
    memory = RememberedLogins()

    async def fails() -> bool:
        raise TemporaryFailure("the disk")

    with pytest.raises(TemporaryFailure):
        await memory.proves((b"bob",), fails)
    assert (taken(memory), len(memory._running)) == (0, 0)


async def test_no_secret_is_kept(table: PasswdFile) -> None:
    """P-287: neither password nor hash nor name; nor in any textual form."""
    assert await logs_in(table)
    memory = table._remembered
    assert taken(memory) == 1
    octets = memory._digests[:] + bytes(memory._ends)
    shown = repr(vars(memory)) + repr(vars(table)) + repr(memory) + octets.decode("latin-1")
    kept = repr(vars(memory)) + octets.decode("latin-1")
    assert [text for text in (PASSWORD.decode(), STORED.partition("}")[2]) if text in shown] == []
    assert "bob" not in kept


# -- entries that two processes write at a time ------------------------------------------------------


@pytest.mark.parametrize("octets", range(1, 17))
async def test_a_torn_digest_is_nobodys(clock: Clock, octets: int) -> None:
    """P-289: one with the first octets of one login and the last of another makes neither known; all 16 must match."""
    real = Real(memory := RememberedLogins(600, clock, most=1))
    bob = memory._key(bob_login := real.login(b"bob")).digest
    for user in names(1000):
        other = memory._key(other_login := real.login(user)).digest
        if all(one != another for one, another in zip(bob, other, strict=True)):
            break
    assert await real.costs(b"bob") == 1
    assert memory._digests[:16] == bob
    memory._digests[:octets] = other[:octets]
    assert memory.knows(bob_login) is False
    assert memory.knows(other_login) is (octets == 16)
    assert [await real.costs(b"bob"), await real.costs(b"bob")] == [1, 0]


async def test_a_digest_counts_in_its_place_only(clock: Clock) -> None:
    """P-289: octets of two neighbours are no entry."""
    real = Real(memory := RememberedLogins(600, clock, most=1))
    for user in names(BUCKET):
        assert await real.costs(user) == 1
    memory._digests[8:24] = memory._key(real.login(b"bob")).digest
    assert memory.knows(real.login(b"bob")) is False


async def test_an_entry_that_is_being_written_is_nobodys(clock: Clock) -> None:
    """P-290: whoever dies between digest and end leaves an entry that is free."""
    real = Real(memory := RememberedLogins(600, clock, most=1))
    users = names(BUCKET)
    assert await costs_in_order(real, clock, users) == [1] * BUCKET
    memory._ends[3] = 0
    assert [memory.knows(real.login(user)) for user in users] == [number != 3 for number in range(BUCKET)]
    assert await costs_in_order(real, clock, [b"bob", *users[:3], *users[4:], b"bob"]) == [1] + [0] * BUCKET


# -- workers ----------------------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> object:
    """Return what the work returns in a forked child; None: it failed."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writes, repr(work()).encode())
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  (shown by pytest)
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ast.literal_eval(said.decode()) if status == 0 else None


def test_forked_workers_remember_together() -> None:
    """P-290: what one has hashed, neither the other one hashes nor their parent, nor one that is forked later."""
    real = Real(RememberedLogins())

    def costs(*users: bytes) -> list[int]:
        return [asyncio.run(real.costs(user)) for user in users]

    assert costs(b"bob") == [1]
    assert in_child(lambda: costs(b"alice", b"bob", b"alice")) == [1, 0, 0]
    assert in_child(lambda: costs(b"alice", b"bob", b"carol")) == [0, 0, 1]
    assert costs(b"alice", b"bob", b"carol", b"dave") == [0, 0, 0, 1]


def test_a_hash_that_changes_is_forgotten_by_all(path: Path, hashing: Hashing) -> None:
    """P-289: a new password holds at once, whoever remembered the old one."""
    write(path, f"bob:{STORED}")
    table = PasswdFile(path, threads=1)

    def logins(*passwords: bytes) -> list[tuple[bool, int]]:
        return [(asyncio.run(logs_in(table, password=password)), len(hashing.done())) for password in passwords]

    assert in_child(lambda: logins(PASSWORD, PASSWORD)) == [(True, 1), (True, 0)]
    assert in_child(lambda: logins(PASSWORD, WRONG)) == [(True, 0), (False, 1)]
    write(path, f"bob:{schemes.make(b'new', 'SCRAM-SHA-1')}")
    assert in_child(lambda: logins(PASSWORD, b"new")) == [(False, 1), (True, 1)]
    assert in_child(lambda: logins(PASSWORD, b"new")) == [(False, 1), (True, 0)]


def test_a_wrong_login_is_hashed_by_each() -> None:
    """P-039, P-053: a "no" is shared as little as it is remembered."""
    real = Real(RememberedLogins())

    def guesses() -> tuple[list[bool], int]:
        return [asyncio.run(real.proves(b"bob", WRONG)) for _ in range(2)], real.verified

    assert in_child(guesses) == ([False, False], 2)
    assert in_child(guesses) == ([False, False], 2)


def test_a_child_does_not_wait_for_what_its_parent_hashes() -> None:
    """P-290: a hashing that was under way at the fork ends in the parent only."""
    real = Real(memory := RememberedLogins())
    go_on = asyncio.Event()

    async def slow() -> bool:
        return await go_on.wait()

    async def begin() -> asyncio.Task[bool]:
        task = asyncio.create_task(memory.proves(real.login(b"bob"), slow))
        await asyncio.sleep(0)
        return task

    async def impatient() -> int:
        async with asyncio.timeout(TIMEOUT):
            return await real.costs(b"bob")

    async def end(task: asyncio.Task[bool]) -> bool:
        go_on.set()
        return await task

    with asyncio.Runner() as runner:
        task = runner.run(begin())
        assert len(memory._running) == 1
        assert in_child(lambda: asyncio.run(impatient())) == 1
        assert memory.knows(real.login(b"bob"))
        assert runner.run(end(task))
    assert len(memory._running) == 0


def test_two_memories_share_nothing() -> None:
    """P-289: each has a key of its own, so one that is made anew, as after SIGHUP, knows nothing of the old one."""
    old, new = Real(RememberedLogins()), Real(RememberedLogins())
    assert asyncio.run(old.costs(b"bob")) == 1
    assert old._memory._key(old.login(b"bob")) != new._memory._key(new.login(b"bob"))
    assert asyncio.run(new.costs(b"bob")) == 1
