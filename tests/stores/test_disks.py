"""Work on a disk that sessions have done together."""

import asyncio
import errno
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.errors import NoRoom
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.disks import MOST, Disk, complete


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
