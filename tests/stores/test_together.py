"""M-002: deliveries that become durable together are as durable, and as much by themselves, as one alone."""

import errno
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from restante.errors import Condition, NoRoom, QuotaExceeded, TemporaryFailure
from restante.maildrop import Delivery
from restante.stores.flushing import Flushes
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.quota import Limits
from tests.stores.test_maildir import empty_maildir

MESSAGES = [b"one\r\n", b"two\r\n" * 40_000, b"three\r\n"]
STORED = [message.replace(b"\r\n", b"\n") for message in MESSAGES]


@dataclass
class Disk:
    """Flushes for real, but for those that are to fail; notes what it was asked, and how much was in new."""

    shared: bool = False
    failing: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    folder: str = ""

    def begin(self, directory: str) -> Flushes:
        self.folder = directory.removesuffix("tmp")
        return self

    def file(self, descriptor: int) -> None:
        self._asked(f"file {os.fstat(descriptor).st_size}")
        os.fsync(descriptor)

    def directory(self, path: str) -> None:
        self._asked("directory")

    def end(self) -> None:
        pass

    def _asked(self, what: str) -> None:
        self.asked.append((what, len(list(Path(self.folder, "new").iterdir()))))
        if what in self.failing:
            raise OSError(self.failing[what], os.strerror(self.failing[what]))


async def together(
    store: MaildirStore, messages: Sequence[bytes] = MESSAGES
) -> tuple[Sequence[Condition | None], Sequence[Condition | None]]:
    """Deliver to bob; returns what went wrong when they were prepared, and committed those with which it went well."""
    async with AsyncExitStack() as stack:
        deliveries: list[Delivery] = []
        for message in messages:
            delivery = await stack.enter_async_context(store.deliver("bob"))
            await delivery.write(message)
            deliveries.append(delivery)
        prepared = await store.prepare_together(deliveries)
        ready = [delivery for delivery, error in zip(deliveries, prepared, strict=True) if error is None]
        return prepared, await store.commit_together(ready)


def new(maildir: Path) -> list[bytes]:
    """Return what is in new, in order of arrival; nothing may be left in tmp."""
    assert list((maildir / "tmp").iterdir()) == []
    return [path.read_bytes() for path in sorted((maildir / "new").iterdir())]


def sizes(octets: Sequence[bytes]) -> list[str]:
    return [f"file {len(message)}" for message in octets]


@pytest.mark.parametrize("shared", [False, True])
async def test_each_file_then_all_names_once(tmp_path: Path, *, shared: bool) -> None:
    """Octets are flushed before any name is in new; one flush for the names, and for the octets where one is enough."""
    maildir = empty_maildir(tmp_path / "bob")
    disk = Disk(shared)
    store = MaildirStore(f"{tmp_path}/{{user}}", durability=disk)
    assert await together(store) == ([None] * 3, [None] * 3)
    assert new(maildir) == STORED
    files = sizes(STORED)[: 1 if shared else 3]
    assert disk.asked == [(what, 0) for what in files] + [("directory", 3)]
    assert store.held.octets == 0


async def test_one_that_has_no_room(tmp_path: Path) -> None:
    """M-015: the others have."""
    maildir = empty_maildir(tmp_path / "bob")
    store = MaildirStore(f"{tmp_path}/{{user}}", quota=Limits(octets=1000))
    prepared, committed = await together(store)
    assert [type(error) for error in prepared] == [type(None), QuotaExceeded, type(None)]
    assert committed == [None, None]
    assert new(maildir) == [STORED[0], STORED[2]]
    assert (maildir / "maildirsize").read_bytes() == b"1000S\n0 0\n4 1\n6 1\n"
    assert store.held.octets == 0


async def test_a_file_that_is_not_durable(tmp_path: Path) -> None:
    """The others are."""
    maildir = empty_maildir(tmp_path / "bob")
    disk = Disk(failing={sizes(STORED)[0]: errno.ENOSPC})
    prepared, committed = await together(MaildirStore(f"{tmp_path}/{{user}}", durability=disk))
    assert [type(error) for error in prepared] == [NoRoom, type(None), type(None)]
    assert committed == [None, None]
    assert new(maildir) == STORED[1:]


async def test_a_shared_flush_that_fails(tmp_path: Path) -> None:
    """An error is told once, and of nobody: none of them is durable."""
    maildir = empty_maildir(tmp_path / "bob")
    disk = Disk(shared=True, failing={sizes(STORED)[0]: errno.EIO})
    prepared, committed = await together(MaildirStore(f"{tmp_path}/{{user}}", durability=disk))
    assert [type(error) for error in prepared] == [TemporaryFailure] * 3
    assert committed == []
    assert [what for what, _ in disk.asked] == sizes(STORED)[:1]
    assert new(maildir) == []


async def test_names_that_are_not_durable(tmp_path: Path) -> None:
    """None of them is a message: whoever sends it will try again."""
    maildir = empty_maildir(tmp_path / "bob")
    disk = Disk(failing={"directory": errno.EIO})
    prepared, committed = await together(MaildirStore(f"{tmp_path}/{{user}}", durability=disk))
    assert prepared == [None] * 3
    assert [type(error) for error in committed] == [TemporaryFailure] * 3
    assert disk.asked[-1] == ("directory", 3)
    assert new(maildir) == []


async def test_one_that_cannot_be_moved(tmp_path: Path) -> None:
    """What somebody takes out of tmp meanwhile keeps none of the others."""
    maildir = empty_maildir(tmp_path / "bob")

    class Thief(Disk):
        def file(self, descriptor: int) -> None:
            super().file(descriptor)
            if len(self.asked) == len(STORED):
                next(path for path in (maildir / "tmp").iterdir() if path.read_bytes() == STORED[1]).unlink()

    store = MaildirStore(f"{tmp_path}/{{user}}", durability=Thief())
    prepared, committed = await together(store)
    assert prepared == [None] * 3
    assert [error is None for error in committed] == [True, False, True]
    assert new(maildir) == [STORED[0], STORED[2]]
