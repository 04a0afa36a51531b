"""D-004: a delivery is acknowledged when it is durable, and deliveries may share a flush."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from restante.errors import NoRoom, TemporaryFailure
from restante.stores import flushing, systems
from restante.stores.flushing import Always, Durability, Flushes, Group
from restante.stores.maildir import MaildirStore
from tests.stores.test_contract import contents, deliver
from tests.stores.test_maildir import empty_maildir


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return empty_maildir(tmp_path / "bob")


def store(maildir: Path, durability: Durability) -> MaildirStore:
    return MaildirStore(f"{maildir.parent}/{{user}}", durability=durability)


def octets_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


@dataclass
class Witness:
    """Flushes for real, and notes what was in tmp and in new just before."""

    maildir: Path
    seen: list[tuple[str, list[bytes], list[bytes]]] = field(default_factory=list)
    ends: int = 0
    shared: bool = False

    def begin(self, directory: str) -> Flushes:
        assert directory == str(self.maildir / "tmp")
        self._note("begin")
        return self

    def file(self, descriptor: int) -> None:
        self._note("file")
        os.fsync(descriptor)

    def directory(self, path: str) -> None:
        assert path == str(self.maildir / "new")
        self._note("directory")

    def end(self) -> None:
        self.ends += 1

    def _note(self, what: str) -> None:
        self.seen.append((what, octets_in(self.maildir / "tmp"), octets_in(self.maildir / "new")))


@pytest.mark.parametrize("octets", [b"", b"one\n", b"x" * 79 + b"\n", b"line\n" * 100_000])
async def test_octets_are_durable_before_they_are_visible(maildir: Path, octets: bytes) -> None:
    """M-002: all octets are flushed in tmp, then the name in new, then it is acknowledged."""
    witness = Witness(maildir)
    await deliver(store(maildir, witness), octets)
    assert witness.seen == [("begin", [], []), ("file", [octets], []), ("directory", [], [octets])]
    assert witness.ends == 1


async def test_prepared_is_durable_but_invisible(maildir: Path) -> None:
    """D-022: what is prepared needs no room any more; what is not committed leaves nothing."""
    witness = Witness(maildir)
    async with store(maildir, witness).deliver("bob") as delivery:
        await delivery.write(b"one\r\n")
        await delivery.prepare()
        await delivery.prepare()
        assert [what for what, _, _ in witness.seen] == ["begin", "file"]
        assert octets_in(maildir / "new") == []
    assert octets_in(maildir / "tmp") == []
    assert witness.ends == 1


async def test_a_message_that_is_not_complete_leaves_nothing(maildir: Path) -> None:
    """D-020: however long it was."""
    witness = Witness(maildir)
    async with store(maildir, witness).deliver("bob") as delivery:
        await delivery.write(b"x" * 70)
        assert witness.seen == []  # it is held in memory
    async with store(maildir, witness).deliver("bob") as delivery:
        await delivery.write(b"x" * 200_000)
        assert octets_in(maildir / "tmp") == [b"x" * 200_000]
    assert octets_in(maildir / "tmp") == []
    assert witness.ends == 1


class Disk:
    """Stands where syncfs(2) is called: counts, waits for a word of the test, and may fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.errors: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.states: set[str] = set()

    def syncfs(self, descriptor: int) -> int:
        self.calls += 1
        self.states.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        self.begun.set()
        assert self.go.wait(20)
        return self.errors.pop() if self.errors else SYNCFS(descriptor)


SYNCFS = systems.syncfs


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(systems, "syncfs", disk.syncfs)
    yield disk
    disk.go.set()


@pytest.fixture
def group(maildir: Path) -> Group:
    if why := flushing._why_not(str(maildir)):
        pytest.skip(f"no shared flushes here: {why}")
    return Group()


async def written(maildir: Path, number: int) -> None:
    """Return when so many messages are written in tmp."""
    async with asyncio.timeout(20):
        while [octets != b"" for octets in octets_in(maildir / "tmp")] != [True] * number:  # noqa: ASYNC110  (threads of the store tell nobody)
            await asyncio.sleep(0)


async def test_deliveries_share_a_flush(maildir: Path, disk: Disk, group: Group) -> None:
    """Those that come while one runs wait for the next, all together."""
    office = store(maildir, group)
    disk.go.clear()
    deliveries = [asyncio.ensure_future(deliver(office, b"%d\r\n" % number)) for number in range(16)]
    await asyncio.to_thread(disk.begun.wait, 20)
    await written(maildir, 16)
    assert disk.calls == 1
    assert octets_in(maildir / "new") == []
    disk.go.set()
    await asyncio.gather(*deliveries)
    assert disk.calls < 2 * 16
    assert sorted(await contents(office)) == sorted(b"%d\r\n" % number for number in range(16))


async def test_the_file_system_is_let_go_of(maildir: Path, disk: Disk, group: Group) -> None:
    """Between deliveries nothing keeps it from being unmounted; during one it is open since before the octets."""
    await deliver(store(maildir, group), b"one\r\n")
    assert disk.states == {str(maildir / "tmp")}
    there = {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}
    assert str(maildir / "tmp") not in there


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize(("code", "condition"), [(errno.EIO, TemporaryFailure), (errno.ENOSPC, NoRoom)])
async def test_a_flush_that_fails(
    maildir: Path, disk: Disk, group: Group, failing: int, code: int, condition: type[Exception]
) -> None:
    """D-004: what is not certain is not acknowledged, and not shown; the next one is."""
    office = store(maildir, group)
    disk.errors = [code] if failing == 1 else [code, 0]
    with pytest.raises(condition):
        await deliver(office, b"one\r\n")
    assert octets_in(maildir / "tmp") == octets_in(maildir / "new") == []
    await deliver(office, b"two\r\n")
    assert await contents(office) == [b"two\r\n"]


async def test_all_who_shared_a_failed_flush_are_told(maildir: Path, disk: Disk, group: Group) -> None:
    """D-004."""
    office = store(maildir, group)
    disk.go.clear()
    first = asyncio.ensure_future(deliver(office, b"first\r\n"))
    await asyncio.to_thread(disk.begun.wait, 20)
    others = [asyncio.ensure_future(deliver(office, b"%d\r\n" % number)) for number in range(5)]
    await written(maildir, 6)
    disk.errors = [errno.EIO] * 20  # whichever flush it is that they share
    disk.go.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert all(isinstance(outcome, TemporaryFailure) for outcome in outcomes)
    assert octets_in(maildir / "tmp") == octets_in(maildir / "new") == []


async def test_where_sharing_is_not_as_good(
    maildir: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each delivery has its own flush then, and the log says once why."""
    monkeypatch.setattr("platform.release", lambda: "5.7.0-old")
    office = store(maildir, Group())
    await deliver(office, b"one\r\n", b"two\r\n")
    assert disk.calls == 0
    (warning,) = caplog.messages
    assert warning == (
        f'durability = "group" is as "always" in {maildir}/tmp: it needs Linux 5.8, whose syncfs reports errors'
    )


def test_file_systems_of_which_nothing_is_known() -> None:
    """/proc is none where mail is kept."""
    assert "ext4" in flushing._why_not("/proc")


async def test_after_a_fork_nobody_waits_for_a_thread_that_is_not_there(maildir: Path, group: Group) -> None:
    """A worker that is forked while its parent delivers has locks of its own."""
    held = group.begin(str(maildir / "tmp"))
    child = os.fork()
    if child == 0:
        try:
            own = group.begin(str(maildir / "tmp"))
            own.directory(str(maildir / "new"))
            own.end()
            os._exit(0)
        finally:
            os._exit(1)
    held.end()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_always_flushes_what_it_is_given(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both calls reach the system, for the file itself and for the directory itself."""
    flushed = []

    def fsync(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(maildir).parts[0])
        real(descriptor)

    await deliver(store(maildir, Always()), b"the first makes folders\r\n")
    real = os.fsync
    monkeypatch.setattr(os, "fsync", fsync)
    await deliver(store(maildir, Always()), b"one\r\n")
    assert flushed == ["tmp", "new"]
