"""The journal: durable, locked, never of another account, and never forgetting."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.errors import MaildropInUse, PermanentFailure, TemporaryFailure
from restante.fetch import journal as module
from restante.fetch.journal import Entry, Journal, seen_now

ACCOUNT = "pops://bob@mail.example.org:995"
ENTRIES = [Entry("a", 1, 2, owed=True, digest="ff"), Entry("b \u00fc\udcff\n", 3, left="x"), Entry("c", gone=True)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "work.journal"
    noted(path, *ENTRIES)
    return path


def noted(path: Path, *entries: Entry) -> None:
    with Journal(path, ACCOUNT) as journal:
        asyncio.run(journal.note(*entries))


def read(path: Path, account: str = ACCOUNT, *, moved: bool = False) -> list[Entry]:
    with Journal(path, account, moved=moved) as journal:
        assert len(journal) == len(list(journal))
        return list(journal)


def test_what_is_noted_is_there_again(path: Path) -> None:
    """The latest line of an id counts; ids may be anything (K-007)."""
    assert read(path) == ENTRIES
    noted(path, Entry("a", 1, 2, gone=True))
    assert read(path) == [Entry("a", 1, 2, gone=True), *ENTRIES[1:]]
    assert path.stat().st_mode & 0o077 == 0


def test_half_a_line_is_none(path: Path) -> None:
    """A process that died while it wrote; the line was not durable, so nothing has come of it yet."""
    whole = path.read_bytes()
    for cut in range(1, len(whole.split(b"\n")[-2]) + 1):
        path.write_bytes(whole[:-cut])
        assert read(path) == ENTRIES[:2]
        noted(path, ENTRIES[2])
        assert read(path) == ENTRIES


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_a_journal_that_has_just_begun(tmp_path: Path, cut: int) -> None:
    """Died before its first line was whole."""
    path = tmp_path / "work.journal"
    path.write_bytes(json.dumps({"restante-fetch": 1}).encode()[:cut])
    assert read(path) == []
    noted(path, ENTRIES[0])
    assert read(path) == ENTRIES[:1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"From bob\n", r":1: this is no journal"),
        (b"[]\n", r":1: this is no journal"),
        (b'{"restante-fetch": 2, "account": "x"}\n', r":1: a journal of version 2"),
        (b'{"restante-fetch": 1, "account": "pops://other@host:995"}\n', r"journal of pops://other.*--moved"),
        (
            b'{"restante-fetch": 1, "account": "%b"}\n{"id": "a"}\n\0\0\n{"id": "b"}\n' % ACCOUNT.encode(),
            r":3: a damaged",
        ),
        (b'{"restante-fetch": 1, "account": "%b"}\n{"id": "a", "unknown": 1}\n' % ACCOUNT.encode(), r":2: a damaged"),
        (b'{"restante-fetch": 1, "account": "%b"}\n[]\n' % ACCOUNT.encode(), r":2: a damaged"),
    ],
)
def test_what_is_no_journal_of_this_account(tmp_path: Path, text: bytes, words: str) -> None:
    """Nothing is fetched by a journal that may be wrong; one line says what it is, and the file stays as it was."""
    path = tmp_path / "work.journal"
    path.write_bytes(text)
    with pytest.raises(PermanentFailure, match=words) as caught:
        Journal(path, ACCOUNT)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == text
    path.unlink()
    Journal(path, ACCOUNT).close()  # the lock was let go of


def test_another_address_of_the_same_maildrop(path: Path) -> None:
    other = "pops://bob@new.example.org:995"
    with pytest.raises(PermanentFailure, match="--moved"):
        read(path, other)
    assert read(path, other, moved=True) == ENTRIES
    assert read(path, other) == ENTRIES


def test_one_at_a_time(path: Path) -> None:
    with Journal(path, ACCOUNT), pytest.raises(MaildropInUse, match="another fetcher"):
        Journal(path, ACCOUNT)
    assert read(path) == ENTRIES


def test_it_is_shortened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts no more goes, when it is much; what counts stays."""
    monkeypatch.setattr(module, "_ENOUGH", 10)
    for number in range(40):
        noted(path, Entry("a", number))
    assert path.stat().st_size < 500  # of which the lines of 20 would be more
    assert read(path)[0] == Entry("a", 39)
    assert read(path)[1:] == ENTRIES[1:]


def test_many_share_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred at one time cost a few flushes, and each is written before its own call returns."""
    flushes = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        flushes.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    path = tmp_path / "work.journal"

    async def one(journal: Journal, number: int) -> None:
        await journal.note(seen_now(str(number)))
        assert f'"id":"{number}"' in path.read_text(encoding="utf-8")

    async def all_of_them() -> None:
        with Journal(path, ACCOUNT) as journal:
            await asyncio.gather(*(one(journal, number) for number in range(100)))

    asyncio.run(all_of_them())
    assert 1 <= len(flushes) <= 3
    assert len(read(path)) == 100


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        yield


def test_a_disk_that_is_full(path: Path, full: None) -> None:
    """Whoever does not know whether it is written goes on with nothing."""

    async def twice(journal: Journal) -> None:
        for _ in range(2):
            with pytest.raises(TemporaryFailure, match="No space left"):
                await journal.note(ENTRIES[0])

    with Journal(path, ACCOUNT) as journal:
        asyncio.run(twice(journal))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TemporaryFailure, match="file/work"):
        Journal(tmp_path / "file" / "work.journal", ACCOUNT)
