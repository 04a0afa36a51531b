"""What a Maildir does in the event loop: only what takes no waiting, and always what a look at the disk would give."""

import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from restante.errors import MaildropInUse
from restante.maildrop import Message, Prompt
from restante.stores import maildir as store_module
from restante.stores import systems
from restante.stores.maildir import MaildirStore, session
from restante.stores.maildir.disks import Disk, Steps
from tests.stores.test_contract import BOB, contents
from tests.stores.test_maildir import empty_maildir, put, rewrite_unseen


def _possible() -> bool:
    descriptor = systems.open_cached("/", os.O_RDONLY)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


pytestmark = pytest.mark.skipif(
    not _possible(), reason="openat2 with RESOLVE_CACHED is Linux 5.12's; without it threads do everything"
)
STAMPS = itertools.count(1_600_000_000_000_000_000, 1_000_000)


class Threads:
    """Counts what is left to threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used = 0
        for module in (store_module, session):
            self._watch(monkeypatch, module, module.in_thread)
        do = Disk.do

        async def counted(disk: Disk, steps: Steps[None]) -> None:
            self.used += 1
            await do(disk, steps)

        monkeypatch.setattr(Disk, "do", counted)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, module: Any, real: Callable[..., Awaitable[Any]]) -> None:
        async def in_thread(*arguments: Any, **options: Any) -> Any:
            self.used += 1
            return await real(*arguments, **options)

        monkeypatch.setattr(module, "in_thread", in_thread)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    return Threads(monkeypatch)


@pytest.fixture
def maildir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bob's, with two messages, a minute ago."""
    real, offset = time.time, 60.0
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    maildir = empty_maildir(tmp_path / "bob")
    put(maildir, "cur/1.a.host:2,", b"one\n")
    put(maildir, "new/2.b.host", b".two\r\n")
    return maildir


@pytest.fixture
def store(tmp_path: Path) -> MaildirStore:
    return MaildirStore(f"{tmp_path}/{{user}}")


def changed(maildir: Path, *parts: str) -> None:
    """Let folders have been changed at another moment than ever before."""
    for part in parts:
        os.utime(maildir / part, ns=(0, next(STAMPS)))


async def listing(store: MaildirStore) -> list[Message]:
    maildrop = await store.open(BOB)
    listed = list(maildrop.listing)
    await maildrop.close()
    return listed


async def test_nothing_is_left_to_threads(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """The second session of a maildrop that has not changed: listing, messages, and the end."""
    first = await listing(store)
    threads.used = 0
    maildrop = await store.open(BOB)
    assert list(maildrop.listing) == first
    assert isinstance(maildrop, Prompt)
    for number, octets in ((1, b"one\n"), (2, b".two\r\n")):
        opened = maildrop.retrieve_now(number)
        assert opened is not None
        descriptor, size = opened
        assert os.read(descriptor, 100) == octets
        assert size == len(octets)
        os.close(descriptor)
    assert maildrop.close_now()
    assert threads.used == 0
    assert (await listing(store)) == first  # the lock is free


async def test_who_comes_second_is_told_at_once(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """P-041."""
    await listing(store)
    threads.used = 0
    maildrop = await store.open(BOB)
    with pytest.raises(MaildropInUse):
        await store.open(BOB)
    await maildrop.close()
    assert threads.used == 0
    assert len(await listing(store)) == 2


def _deliver(maildir: Path) -> None:
    put(maildir, "new/3.c.host", b"three\n")
    changed(maildir, "new")


def _flag(maildir: Path) -> None:
    (maildir / "cur" / "1.a.host:2,").rename(maildir / "cur" / "1.a.host:2,S")
    changed(maildir, "cur")


def _move(maildir: Path) -> None:
    (maildir / "new" / "2.b.host").rename(maildir / "cur" / "2.b.host:2,S")
    changed(maildir, "new", "cur")


def _remove(maildir: Path) -> None:
    (maildir / "new" / "2.b.host").unlink()
    changed(maildir, "new")


def _forget(maildir: Path) -> None:
    (maildir / "restante" / "index").unlink()


def _take_away(maildir: Path) -> None:
    maildir.rename(maildir.with_name("aside"))
    empty_maildir(maildir)
    put(maildir, "new/9.z.host", b"another\n")


@pytest.mark.parametrize("change", [_deliver, _flag, _move, _remove, _forget, _take_away])
async def test_what_others_do_is_seen(
    store: MaildirStore, maildir: Path, threads: Threads, change: Callable[[Path], None]
) -> None:
    """M-006: a thread looks then, and finds what a server finds that knows nothing."""
    await listing(store)
    change(maildir)
    threads.used = 0
    found = await listing(store)
    assert threads.used > 0
    assert found == await listing(MaildirStore(f"{maildir.parent}/{{user}}"))


async def test_ids_that_were_adopted_meanwhile(store: MaildirStore, maildir: Path) -> None:
    """P-128: another process has taken over the ids of another server."""
    await listing(store)
    other = await MaildirStore(f"{maildir.parent}/{{user}}").open(BOB)
    from restante.maildrop import Adoptable, Given  # noqa: PLC0415

    assert isinstance(other, Adoptable)
    await other.adopt([Given(1, "old-1"), Given(2, "old-2")])
    await other.close()
    assert [message.unique_id for message in await listing(store)] == ["old-1", "old-2"]


@pytest.mark.parametrize("file", ["cur/1.a.host:2,", "new/2.b.host"])
async def test_a_message_that_was_rewritten(store: MaildirStore, maildir: Path, file: str) -> None:
    """P-095: what is not as it was measured is not opened at once."""
    await listing(store)
    maildrop = await store.open(BOB)
    assert isinstance(maildrop, Prompt)
    (maildir / file).write_bytes(b"something else\n")
    number = 1 if file.startswith("cur") else 2
    assert maildrop.retrieve_now(number) is None
    assert maildrop.retrieve_now(3 - number) is not None
    await maildrop.close()


async def test_a_message_that_has_moved(store: MaildirStore, maildir: Path) -> None:
    """M-006: a thread finds it."""
    await listing(store)
    maildrop = await store.open(BOB)
    assert isinstance(maildrop, Prompt)
    _flag(maildir)
    assert maildrop.retrieve_now(1) is None
    file = await maildrop.retrieve(1)
    assert file.read() == b"one\n"
    file.close()
    await maildrop.close()


@pytest.mark.parametrize("what", ["is_local", "open_cached"])
async def test_where_there_would_be_waiting(
    store: MaildirStore, maildir: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A file system on another machine, or a path that is not in memory: threads do all of it."""
    stand_in: Callable[..., Any] = (lambda _: False) if what == "is_local" else (lambda *_: -1)
    monkeypatch.setattr(systems, what, stand_in)
    await listing(store)
    threads.used = 0
    maildrop = await store.open(BOB)
    assert isinstance(maildrop, Prompt)
    assert threads.used == 1
    assert maildrop.retrieve_now(1) is None
    await maildrop.close()
    assert await contents(store) == [b"one\r\n", b".two\r\n"]


async def test_a_distrusted_message_is_measured_before_the_lock_goes(store: MaildirStore, maildir: Path) -> None:
    """P-095: what was found wrong is not forgotten by a quick end."""
    await listing(store)
    maildrop = await store.open(BOB)
    assert isinstance(maildrop, Prompt)
    rewrite_unseen(maildir / "cur" / "1.a.host:2,", b"a\n\n\n")
    maildrop.distrust(1)  # type: ignore[attr-defined]
    assert not maildrop.close_now()
    await maildrop.close()
    assert (await listing(store))[0].octets == 7


@pytest.mark.parametrize("seed", range(20))
async def test_random_changes(store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """M-006, M-010: whatever others do, and wherever the clock jumps, it is what a fresh look finds."""
    dice = random.Random(seed)
    real = time.time
    numbers = itertools.count(10)

    def deliver() -> None:
        put(maildir, f"new/{next(numbers)}.x.host", b"x" * dice.randrange(1, 500) + b"\n")
        changed(maildir, "new")

    def rename() -> None:
        there = [path for part in ("new", "cur") for path in (maildir / part).iterdir()]
        for path in dice.sample(there, min(2, len(there))):
            path.rename(maildir / "cur" / f"{path.name.partition(':')[0]}:2,{dice.choice(['', 'S', 'RS'])}")
        changed(maildir, "new", "cur")

    def remove() -> None:
        for path in dice.sample(list((maildir / "cur").iterdir()), 1 if any((maildir / "cur").iterdir()) else 0):
            path.unlink()
        changed(maildir, "cur")

    for _ in range(12):
        for _ in range(dice.randrange(3)):
            dice.choice([deliver, rename, remove])()
        offset = dice.choice([60.0, 60.0, -7200.0, 7200.0])
        monkeypatch.setattr(time, "time", lambda offset=offset: real() + offset)
        fresh = MaildirStore(f"{maildir.parent}/{{user}}")
        (maildir / "restante" / "index").unlink(missing_ok=True) if dice.random() < 0.1 else None
        known = await listing(store)
        assert known == await listing(store)
        (maildir / "restante" / "index").unlink(missing_ok=True)
        assert known == await listing(fresh)
