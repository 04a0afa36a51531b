"""Mail that has come to a maildrop with few messages is found in the event loop, and as a look at the disk finds it."""

import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restante.maildrop import Maildrop, Message, Prompt
from restante.stores import systems
from restante.stores.maildir import MaildirStore, glance, index, measuring
from tests.stores.test_contract import BOB
from tests.stores.test_maildir import empty_maildir, put, rewrite_unseen
from tests.stores.test_prompt import Threads, changed, maildir, pytestmark, store, threads

__all__ = ["maildir", "pytestmark", "store", "threads"]  # fixtures


def another_worker(maildir: Path) -> MaildirStore:
    """A store with a memory of its own."""
    return MaildirStore(f"{maildir.parent}/{{user}}")


async def listing(store: MaildirStore) -> list[Message]:
    maildrop = await store.open(BOB)
    listed = list(maildrop.listing)
    await maildrop.close()
    return listed


async def at_once(store: MaildirStore, threads: Threads) -> Maildrop:
    """Open bob's maildrop; no thread is asked."""
    threads.used = 0
    maildrop = await store.open(BOB)
    assert threads.used == 0
    assert isinstance(maildrop, Prompt)
    return maildrop


def deliver(maildir: Path, name: str = "3.c.host", octets: bytes = b"three\n") -> None:
    put(maildir, f"new/{name}", octets)
    changed(maildir, "new")


async def fresh(maildir: Path) -> list[Message]:
    """What a server finds that knows nothing, and finds no index."""
    (maildir / "restante/index").unlink(missing_ok=True)
    return await listing(another_worker(maildir))


async def test_mail_that_has_come(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """P-047, P-048: it is listed in its place, and can be read; the index has it before the lock is released."""
    await listing(store)
    deliver(maildir, "1.aa.host", b".first\n")
    maildrop = await at_once(store, threads)
    assert [message.unique_id for message in maildrop.listing] == ["1.a.host", "1.aa.host", "2.b.host"]
    assert maildrop.listing[1].octets == 8
    assert isinstance(maildrop, Prompt)
    opened = maildrop.retrieve_now(2)
    assert opened is not None
    assert os.read(opened[0], 100) == b".first\n"
    os.close(opened[0])
    assert not maildrop.close_now()
    await maildrop.close()
    assert threads.used == 1
    known = index.read(str(maildir / "restante/index"))
    assert list(known.snapshot.listing) == list(maildrop.listing) == await fresh(maildir)


async def test_once_it_is_known_nothing_is_left_to_do(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """Neither for this worker nor for another, which reads what was added to the index."""
    other = another_worker(maildir)
    for one in (store, other):
        await listing(one)
    deliver(maildir)
    found = await listing(store)
    for one in (store, other):
        maildrop = await at_once(one, threads)
        assert list(maildrop.listing) == found
        assert maildrop.close_now()  # type: ignore[attr-defined]


async def test_after_quit(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """P-131: what was deleted is not in it, and the index is written once for what has come and gone."""
    await listing(store)
    size = (maildir / "restante/index").stat().st_size
    deliver(maildir)
    maildrop = await at_once(store, threads)
    await maildrop.update([3])
    await maildrop.close()
    assert threads.used == 1  # UPDATE waits for the disk
    assert (maildir / "restante/index").stat().st_size < size + 200
    maildrop = await at_once(store, threads)
    assert [message.unique_id for message in maildrop.listing] == ["1.a.host", "2.b.host"]
    assert maildrop.close_now()  # type: ignore[attr-defined]
    assert list(maildrop.listing) == await listing(another_worker(maildir)) == await fresh(maildir)


async def test_a_message_that_is_being_written(
    store: MaildirStore, maildir: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-007, P-095: one that was read soon after it was written is read again, though its folder has not changed."""
    await listing(store)
    deliver(maildir)
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "QUIET", 100)
        maildrop = await at_once(store, threads)
    assert maildrop.listing[2].octets == 7
    await maildrop.close()
    rewrite_unseen(maildir / "new/3.c.host", b"a\nb\nc\n")
    maildrop = await at_once(store, threads)
    assert maildrop.listing[2].octets == 9
    await maildrop.close()
    assert list(maildrop.listing) == await fresh(maildir)


def _much(maildir: Path) -> None:
    for number in range(glance.FEW):
        deliver(maildir, f"{number + 10}.x.host")


def _long(maildir: Path) -> None:
    deliver(maildir, octets=b"x" * (glance.SHORT + 1))


def _gone(maildir: Path) -> None:
    (maildir / "new/2.b.host").unlink()
    deliver(maildir)


def _another_in_its_place(maildir: Path) -> None:
    (maildir / "new/2.b.host").rename(maildir / "aside")
    deliver(maildir, "2.b.host")


def _doubled(maildir: Path) -> None:
    os.link(maildir / "cur/1.a.host:2,", maildir / "new/1.a.host")
    changed(maildir, "new")


def _same_id(maildir: Path) -> None:
    deliver(maildir, "1.a.host", b"another\n")


def _no_message(maildir: Path) -> None:
    (maildir / "new/3.c.host").symlink_to("/etc/passwd")
    os.mkfifo(maildir / "new/4.d.host")
    changed(maildir, "new")


def _adopted(maildir: Path) -> None:
    (maildir / "restante/ids").write_text("restante ids 1\n", encoding="ascii")
    deliver(maildir)


def _moved(maildir: Path) -> None:
    (maildir / "new/2.b.host").rename(maildir / "cur/2.b.host:2,S")
    changed(maildir, "cur")
    deliver(maildir)


@pytest.mark.parametrize("change", [_much, _long, _gone, _another_in_its_place, _doubled, _same_id, _adopted, _moved])
async def test_more_than_that(
    store: MaildirStore, maildir: Path, threads: Threads, change: Callable[[Path], None]
) -> None:
    """M-006, P-124: a thread looks, and finds what there is."""
    await listing(store)
    change(maildir)
    threads.used = 0
    maildrop = await store.open(BOB)
    assert threads.used == 1
    await maildrop.close()
    assert list(maildrop.listing) == await fresh(maildir)


async def test_what_is_no_message(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """M-006: it is passed over."""
    await listing(store)
    _no_message(maildir)
    maildrop = await at_once(store, threads)
    await maildrop.close()
    assert len(maildrop.listing) == 2


@pytest.mark.parametrize("what", ["open_cached", "read_cached", "clock"])
async def test_what_is_not_in_memory(
    store: MaildirStore, maildir: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Of the message, its path or its octets; or what is old enough to have been forgotten."""
    await listing(store)
    deliver(maildir)
    real = systems.open_cached
    if what == "clock":
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + glance.LATELY)
    elif what == "read_cached":
        monkeypatch.setattr(systems, what, lambda *_: None)
    else:
        monkeypatch.setattr(systems, what, lambda path, flags: -1 if "3.c.host" in path else real(path, flags))
    threads.used = 0
    maildrop = await store.open(BOB)
    assert threads.used == 1
    await maildrop.close()
    assert len(maildrop.listing) == 3


@pytest.mark.parametrize("directory", ["new", "cur"])
async def test_what_changes_during_the_look(
    store: MaildirStore, maildir: Path, threads: Threads, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    """M-006: a message that moves just then is not missed, nor listed twice."""
    await listing(store)
    deliver(maildir)
    real = measuring.examine

    def examine(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(glance, "examine", real)
        if directory == "new":
            deliver(maildir, "4.d.host")
        else:
            (maildir / "new/3.c.host").rename(maildir / "cur/3.c.host:2,S")
            os.utime(maildir / "new", ns=(0, (maildir / "new").stat().st_mtime_ns))
            changed(maildir, "cur")
        return found

    monkeypatch.setattr(glance, "examine", examine)
    threads.used = 0
    maildrop = await store.open(BOB)
    assert threads.used == 1
    await maildrop.close()
    assert list(maildrop.listing) == await fresh(maildir)


async def test_a_header_that_takes_long_to_convert(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """Who sends it stops nobody: thousands of addresses that are not ASCII (P-256) are left to a thread."""
    await listing(store)
    deliver(maildir, octets=b"To: %b\n\nbody\n" % (b"\xff," * glance.RAW))
    threads.used = 0
    maildrop = await store.open(BOB)
    assert threads.used == 1
    assert len(maildrop.listing) == 3
    assert maildrop.listing[2].surrogate > 0
    await maildrop.close()


async def test_text_that_is_not_ascii(store: MaildirStore, maildir: Path, threads: Threads) -> None:
    """Of a body nothing is converted."""
    await listing(store)
    deliver(maildir, octets=b"Subject: \xc3\xbc\n\n" + b"\xc3\xbc\n" * glance.RAW)
    maildrop = await at_once(store, threads)
    assert maildrop.listing[2].surrogate > 0
    await maildrop.close()


async def test_a_defect_does_not_keep_the_lock(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-043: whatever goes wrong while a message of a stranger is looked at."""
    await listing(store)
    deliver(maildir)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(glance, "measured", fail)
        with pytest.raises(MemoryError):
            await store.open(BOB)
    await (await store.open(BOB)).close()


@pytest.mark.parametrize("seed", range(30))
async def test_random_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Threads, seed: int) -> None:
    """M-006, M-010, P-124, P-125: two workers, deliveries, QUIT, other programs and a clock that jumps."""
    dice = random.Random(seed)
    real, offset = time.time, 60.0
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    maildir = empty_maildir(tmp_path / "bob")
    workers = [another_worker(maildir), another_worker(maildir)]
    numbers = itertools.count(10)
    found_at_once = 0

    def move() -> None:
        for path in dice.sample(sorted((maildir / "new").iterdir()), min(1, len(list((maildir / "new").iterdir())))):
            path.rename(maildir / "cur" / f"{path.name}:2,S")
            changed(maildir, "new", "cur")

    for _ in range(25):
        for _ in range(dice.randrange(3)):
            deliver(maildir, f"{next(numbers)}.x.host", b"x" * dice.randrange(500) + dice.choice([b"\n", b"\r\n", b""]))
        if dice.random() < 0.2:
            move()
        offset = 60.0 if dice.random() < 0.85 else dice.choice([61.0, 0.0, -7200.0, 7200.0])
        threads.used = 0
        maildrop = await dice.choice(workers).open(BOB)
        found_at_once += not threads.used
        expected = sorted(
            (int(path.name.partition(".")[0]), path.name.partition(":")[0])
            for part in ("new", "cur")
            for path in (maildir / part).iterdir()
        )
        assert [message.unique_id for message in maildrop.listing] == [name for _, name in expected]
        if maildrop.listing and dice.random() < 0.5:
            every = range(1, len(maildrop.listing) + 1)
            await maildrop.update(dice.sample(every, dice.randrange(len(every) + 1)))
        await maildrop.close()
    assert found_at_once >= 3
    assert await listing(workers[0]) == await listing(workers[1]) == await fresh(maildir)
