"""Work on a disk that sessions have done together."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.errors import NoRoom, TemporaryFailure
from restante.maildrop import Correctable
from restante.stores import files
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.disks import MOST, Disk, Disks, Steps, complete
from restante.stores.maildir.session import LITTLE

MAIL = b"Subject: x\n\nbody\n"


class Diary:
    """What steps have done, in order; the first of them waits until it may go on."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def first(self) -> Generator[None, None, None]:
        self.begun.set()
        assert self.go_on.wait(20)
        yield
        self.entries.append("first is done")

    def steps(self, name: str, problem: Exception | None = None) -> Generator[None, None, None]:
        self.entries.append(f"{name} moves")
        if problem is not None:
            raise problem
        yield
        self.entries.append(f"{name} flushes")


async def asked_meanwhile(disk: Disk, diary: Diary, *all_steps: Generator[None, None, None]) -> list[object]:
    """Ask for all of them while the disk is at work; returns what comes of them."""
    first = asyncio.create_task(disk.do(diary.first()))
    await asyncio.to_thread(diary.begun.wait)
    tasks = [asyncio.create_task(disk.do(steps)) for steps in all_steps]
    await asyncio.sleep(0)
    diary.go_on.set()
    await first
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def test_all_moves_come_before_the_first_flush() -> None:
    diary = Diary()
    assert await asked_meanwhile(Disk(), diary, diary.steps("a"), diary.steps("b")) == [None, None]
    assert diary.entries == ["first is done", "a moves", "b moves", "a flushes", "b flushes"]


async def test_what_goes_wrong_is_the_trouble_of_one() -> None:
    diary = Diary()
    full, defect = OSError(errno.ENOSPC, "full"), ValueError("a defect")
    all_steps = diary.steps("a", full), diary.steps("b"), diary.steps("c", defect)
    first, second, third = await asked_meanwhile(Disk(), diary, *all_steps)
    assert isinstance(first, NoRoom)
    assert second is None
    assert third is defect
    assert diary.entries[-1] == "b flushes"


async def test_nobody_waits_for_too_many_others() -> None:
    diary = Diary()
    names = [str(number) for number in range(MOST + 1)]
    assert await asked_meanwhile(Disk(), diary, *map(diary.steps, names)) == [None] * len(names)
    moves = [entry for entry in diary.entries if entry.endswith("moves")]
    assert diary.entries.index(moves[-1]) > diary.entries.index("0 flushes")
    assert diary.entries.index(moves[-2]) < diary.entries.index("0 flushes")


async def test_what_was_asked_for_is_done_though_nobody_waits() -> None:
    disk, diary = Disk(), Diary()
    task = asyncio.create_task(disk.do(diary.first()))
    await asyncio.to_thread(diary.begun.wait)
    task.cancel()
    diary.go_on.set()
    await asyncio.wait([task])
    await disk.do(diary.steps("a"))
    assert diary.entries == ["first is done", "a moves", "a flushes"]


def test_a_loop_that_has_gone_leaves_nobody_waiting() -> None:
    disk, diary = Disk(), Diary()

    async def leave() -> None:
        asyncio.create_task(disk.do(diary.first())).add_done_callback(lambda _: None)
        await asyncio.to_thread(diary.begun.wait)

    asyncio.run(leave())
    diary.go_on.set()
    asyncio.run(disk.do(diary.steps("a")))
    assert diary.entries == ["first is done", "a moves", "a flushes"]


def test_all_steps_without_a_pause() -> None:
    def steps() -> Generator[None, None, int]:
        yield
        return 7

    assert complete(steps()) == 7


@pytest.mark.parametrize("deleted", [1, 20])
async def test_sessions_that_end_at_the_same_time(tmp_path: Path, deleted: int) -> None:
    """Few messages of each are removed together with those of others, many by themselves."""
    store = MaildirStore(f"{tmp_path}/{{user}}")
    users = [f"user{number}" for number in range(40)]
    for user in users:
        for number in range(21):
            async with store.deliver(user) as delivery:
                await delivery.write(b"Subject: %d\n\n" % number)
                await delivery.commit()
    maildrops = [await store.open(Principal(user)) for user in users]
    ids = [maildrop.listing[-1].unique_id for maildrop in maildrops]
    await asyncio.gather(*(maildrop.update(range(1, deleted + 1)) for maildrop in maildrops))
    await asyncio.gather(*(maildrop.close() for maildrop in maildrops))
    for user, last in zip(users, ids, strict=True):
        maildrop = await MaildirStore(f"{tmp_path}/{{user}}").open(Principal(user))
        assert len(maildrop.listing) == 21 - deleted
        assert maildrop.listing[-1].unique_id == last
        await maildrop.close()
        assert len(await store.deleted(user)) == deleted


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """No thread can be started; there is a pool of its own, without any."""
    monkeypatch.setattr(files, "_threads", files._Threads())

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    @contextmanager
    def failing() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            yield

    return failing


async def test_no_thread_can_be_started(no_thread: Callable[[], AbstractContextManager[None]]) -> None:
    """What was refused is not done later, and others are not kept waiting."""
    disk, diary = Disk(), Diary()
    with no_thread(), pytest.raises(TemporaryFailure, match="can't start new thread"):
        await disk.do(diary.steps("a"))
    await disk.do(diary.steps("b"))
    assert diary.entries == ["b moves", "b flushes"]


async def test_no_further_thread_can_be_started(no_thread: Callable[[], AbstractContextManager[None]]) -> None:
    """Then it is done by the one that there is."""
    disk, diary = Disk(), Diary()
    busy = asyncio.create_task(files.in_thread(complete, diary.first()))
    await asyncio.to_thread(diary.begun.wait)
    with no_thread():
        work = asyncio.create_task(disk.do(diary.steps("a")))
        await asyncio.sleep(0)
    diary.go_on.set()
    await asyncio.gather(busy, work)
    assert diary.entries == ["first is done", "a moves", "a flushes"]


async def test_a_login_without_a_thread_takes_no_lock(
    tmp_path: Path, no_thread: Callable[[], AbstractContextManager[None]]
) -> None:
    """P-043: nobody would ever release it."""
    store = MaildirStore(f"{tmp_path}/{{user}}")
    with no_thread(), pytest.raises(TemporaryFailure):
        await store.open(Principal("bob"))
    await (await store.open(Principal("bob"))).close()


async def visit(store: MaildirStore) -> None:
    await (await store.open(Principal("bob"))).close()


def test_a_maildir_in_several_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them may be on another machine, and others must not wait for it."""
    maildir = tmp_path / "bob"
    store = MaildirStore(f"{tmp_path}/{{user}}")
    asyncio.run(visit(store))
    folder, disks = store.folder("bob"), Disks()
    with (maildir / "restante/lock").open() as lock:
        device = os.fstat(lock.fileno()).st_dev
        assert disks.learn(folder, lock.fileno()) is disks.at(device, folder.path) is not None
        real = os.stat
        elsewhere = os.stat_result([*real(maildir)[:2], device + 1, *real(maildir)[3:]])
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", lambda path: elsewhere if path == folder.join("new") else real(path))
            assert disks.learn(folder, lock.fileno()) is None
        assert disks.at(device, folder.path) is None
        assert disks.at(device, f"{tmp_path}/alice") is not None
        assert disks.learn(folder, lock.fileno()) is disks.at(device, folder.path) is not None


@pytest.mark.parametrize("slow", ["hard links", "distrusted"])
async def test_what_takes_long_is_done_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    """A message with many names, and one that is measured anew, keep nobody waiting."""
    together = []
    do = Disk.do

    async def noted(disk: Disk, steps: Steps[None]) -> None:
        together.append(steps)
        await do(disk, steps)

    monkeypatch.setattr(Disk, "do", noted)
    store = MaildirStore(f"{tmp_path}/{{user}}")
    async with store.deliver("bob") as delivery:
        await delivery.write(MAIL)
        await delivery.commit()
    (message,) = (tmp_path / "bob/new").iterdir()
    if slow == "hard links":
        for number in range(LITTLE):
            (tmp_path / f"bob/cur/{message.name}:2,{'x' * number}").hardlink_to(message)
    maildrop = await store.open(Principal("bob"))
    assert len(maildrop.listing) == 1
    if slow == "distrusted":
        assert isinstance(maildrop, Correctable)
        maildrop.distrust(1)
    await maildrop.update([1])
    await maildrop.close()
    assert not together
    assert not [*(tmp_path / "bob/new").iterdir(), *(tmp_path / "bob/cur").iterdir()]
