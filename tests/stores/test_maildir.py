"""What is particular to Maildirs: names, foreign programs, faults."""

import itertools
import os
import shutil
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.errors import MaildropInUse, NoSuchMaildrop, PermanentFailure, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Correctable, Message
from restante.stores.maildir import MaildirStore, measuring, names
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.measuring import Measured
from restante.stores.maildir.records import DIRECTORIES, Indexed, Key, Memory, Paths, Snapshot, Stored
from tests.stores.test_contract import BOB, contents, deliver, read

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def store(tmp_path: Path) -> MaildirStore:
    return MaildirStore(f"{tmp_path}/{{user}}")


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Bob's Maildir, made by another program."""
    return empty_maildir(tmp_path / "bob")


def empty_maildir(path: Path) -> Path:
    """Make one as another program does; returns its path."""
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)
    return path


def put(maildir: Path, name: str, octets: bytes = b"Subject: x\n\nbody\n") -> Path:
    path = maildir / name
    path.write_bytes(octets)
    return path


def settled(path: Path) -> Path:
    """Make a file old enough to be believed that it does not change any more."""
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


def rewrite_unseen(path: Path, octets: bytes) -> None:
    """Change a message and put its times back."""
    status = path.stat()
    path.write_bytes(octets)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# -- names ------------------------------------------------------------------------------------------


def test_names_of_deliveries() -> None:
    """M-003: unique, in order, without what a name must not hold."""
    generator = names.NameGenerator("a/b:c,d")
    made = [generator.next() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert sorted(made, key=lambda base: names.arrival(base) or ()) == made
    assert made[0].endswith(r".a\057b\072c\054d")
    assert not any("/" in name or ":" in name or name.startswith(".") for name in made)


def test_order_survives_a_clock_that_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-048."""
    generator = names.NameGenerator("host")
    first = generator.next()
    monkeypatch.setattr(time, "time_ns", lambda: 10**15)
    second = generator.next()
    assert (names.arrival(first) or ()) < (names.arrival(second) or ())


@pytest.mark.parametrize(
    ("base", "sizes"),
    [
        ("1637773029.M000123P12Q3R0badcafe.host,S=10,W=12", (10, 12, 0)),
        ("1637773029.M000123P12Q3R0badcafe.host,S=10,W=12,U=20", (10, 12, 20)),
        ("1637773029.M000123P12Q3R0badcafe.host.example.org,S=0,W=0", (0, 0, 0)),
        ("1637773029.M000123P12.host,S=10,W=12", None),  # Dovecot's
        ("1637773029.V801I2M3.host", None),  # Postfix's
        ("1637773029.M000123P12Q3R0badcafe.host,S=10", None),
    ],
)
def test_only_sizes_of_our_own_are_trusted(base: str, sizes: tuple[int, int, int] | None) -> None:
    """M-012."""
    assert names.known_sizes(base) == sizes


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("1637773029.V801I2M3.host", True),
        ("x" * 70, True),
        ("x" * 71, False),
        ("with space", False),
        ("h\xe9llo", False),
        ("new\nline", False),
        (os.fsdecode(b"raw\xff"), False),
    ],
)
def test_unique_ids_from_names(name: str, is_id: bool) -> None:
    """P-123, M-010: the base name, or its hash."""
    unique_id = names.unique_id(name)
    assert (unique_id == name) == is_id
    assert 1 <= len(unique_id) <= 70
    assert unique_id.isascii()


# -- beside other programs --------------------------------------------------------------------------


async def test_a_maildir_of_another_program(store: MaildirStore, maildir: Path) -> None:
    """M-004, M-005, P-048: both folders, dot files skipped, in order of delivery, measured by reading."""
    put(maildir, "new/1637773031.V1I3M5.host", b"third\n")
    put(maildir, "cur/1637773029.V1I1M900000.host:2,S", b"first\r\n")
    put(maildir, "cur/1637773030.M7P8.host,S=999,W=999:2,", b"second")
    put(maildir, "new/.hidden", b"no message\n")
    put(maildir, "tmp/1637773029.V1I9.host", b"not yet\n")
    maildrop = await store.open(BOB)
    assert [message.octets for message in maildrop.listing] == [7, 8, 7]
    assert [message.unique_id for message in maildrop.listing] == [
        "1637773029.V1I1M900000.host",
        "1637773030.M7P8.host,S=999,W=999",
        "1637773031.V1I3M5.host",
    ]
    assert [await read(maildrop, number) for number in (1, 2, 3)] == [b"first\r\n", b"second\r\n", b"third\r\n"]
    await maildrop.close()


async def test_names_without_a_time_are_ordered_by_it_all_the_same(store: MaildirStore, maildir: Path) -> None:
    """P-048."""
    os.utime(put(maildir, "cur/zebra", b"1\n"), (1000, 1000))
    os.utime(put(maildir, "cur/apple", b"3\n"), (3000, 3000))
    put(maildir, "cur/2000.x.host", b"2\n")
    assert await contents(store) == [b"1\r\n", b"2\r\n", b"3\r\n"]


async def test_flags_and_moves_change_nothing(store: MaildirStore, maildir: Path) -> None:
    """P-125: not between sessions, and not within one."""
    put(maildir, "new/1.a.host", b"one\n")
    put(maildir, "cur/2.b.host:2,", b"two\n")
    put(maildir, "cur/3.c.host:2,", b"three\n")
    maildrop = await store.open(BOB)
    before = maildrop.listing
    (maildir / "new/1.a.host").rename(maildir / "cur/1.a.host:2,FS")
    (maildir / "cur/2.b.host:2,").rename(maildir / "cur/2.b.host:2,S")
    assert await read(maildrop, 1) == b"one\r\n"
    assert await read(maildrop, 2) == b"two\r\n"
    await maildrop.update({2})
    await maildrop.close()
    assert (maildir / "restante/deleted/2.b.host:2,S").exists()
    maildrop = await store.open(BOB)
    assert list(maildrop.listing) == [before[0], before[2]]
    await maildrop.close()


async def test_reading_changes_nothing(store: MaildirStore, maildir: Path) -> None:
    """M-007, M-009, P-092: neither names nor times nor octets; no QUIT, no change."""
    settled(put(maildir, "new/1.a.host", b"one\n"))
    settled(put(maildir, "cur/2.b.host:2,RS", b"two\n"))
    before = {path: path.stat() for path in (maildir / "new", maildir / "cur", *maildir.glob("[nc]*/*"))}
    assert len(await contents(store)) == 2
    after = {path: path.stat() for path in (maildir / "new", maildir / "cur", *maildir.glob("[nc]*/*"))}
    assert {path: (one.st_mtime_ns, one.st_ctime_ns, one.st_size) for path, one in after.items()} == {
        path: (one.st_mtime_ns, one.st_ctime_ns, one.st_size) for path, one in before.items()
    }


@pytest.mark.parametrize("undo", [60, 0])
async def test_a_message_that_is_being_read_may_be_removed(tmp_path: Path, maildir: Path, undo: float) -> None:
    """M-008: whoever has it open reads it to its end."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo)
    put(maildir, "new/1.a.host", b"x" * 100_000 + b"\n")
    maildrop = await store.open(BOB)
    file = await maildrop.retrieve(1)
    assert file.read(10) == b"x" * 10
    await maildrop.update({1})
    await maildrop.close()
    assert file.read() == b"x" * 99_990 + b"\n"
    file.close()


async def test_a_message_removed_by_another_program(store: MaildirStore, maildir: Path) -> None:
    """P-145: at QUIT it counts as removed; P-095: RETR says so before +OK."""
    put(maildir, "cur/1.a.host:2,", b"one\n")
    put(maildir, "cur/2.b.host:2,", b"two\n")
    maildrop = await store.open(BOB)
    (maildir / "cur/1.a.host:2,").unlink()
    with pytest.raises(TemporaryFailure):
        await maildrop.retrieve(1)
    await maildrop.update({1, 2})
    await maildrop.close()
    assert await contents(store) == []


async def test_a_message_rewritten_by_another_program(store: MaildirStore, maildir: Path) -> None:
    """P-095, M-007, M-012: not sent under a wrong size; the next session has it right, our own names included."""
    await deliver(store, b"ours\r\n")
    ours = next((maildir / "new").iterdir())
    put(maildir, "cur/1.a.host:2,", b"theirs\n")
    maildrop = await store.open(BOB)
    ours.write_bytes(b"rewritten\n")
    put(maildir, "cur/1.a.host:2,", b"longer than before\n")
    for number in (1, 2):
        with pytest.raises(TemporaryFailure):
            await maildrop.retrieve(number)
    await maildrop.close()
    assert await contents(store) == [b"longer than before\r\n", b"rewritten\r\n"]


async def test_what_is_no_regular_file_is_no_message(store: MaildirStore, maildir: Path, tmp_path: Path) -> None:
    """P-291: a symbolic link leads nowhere, and a FIFO blocks nobody."""
    (tmp_path / "secret").write_bytes(b"secret\n")
    (maildir / "cur/1.link.host:2,").symlink_to(tmp_path / "secret")
    (maildir / "cur/2.dir.host:2,").mkdir()
    os.mkfifo(maildir / "cur/3.fifo.host:2,")
    put(maildir, "cur/4.mail.host:2,", b"mail\n")
    maildrop = await store.open(BOB)
    assert [message.unique_id for message in maildrop.listing] == ["4.mail.host"]
    (maildir / "cur/4.mail.host:2,").unlink()
    (maildir / "cur/4.mail.host:2,").symlink_to(tmp_path / "secret")
    with pytest.raises(PermanentFailure):
        await maildrop.retrieve(1)
    await maildrop.close()


async def test_a_rename_during_the_scan_loses_nothing(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-006: a message that moves while the folders are read is looked for again, not shown as gone."""
    put(maildir, "new/1.a.host", b"one\n")
    put(maildir, "new/2.b.host", b"two\n")
    real = Folder.list_once
    scans = []

    def list_once(self: Folder, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        found = real(self, directories)
        scans.append(found)
        if len(scans) == 2:  # readdir missed it, as it may when a name changes under it
            return {key: paths for key, paths in found.items() if key[0] != "2.b.host"}
        return found

    monkeypatch.setattr(Folder, "list_once", list_once)
    assert await contents(store) == [b"one\r\n", b"two\r\n"]


async def test_a_message_that_moves_while_it_is_measured_is_not_missed(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-006: another program opens the folder by IMAP during a client's first login."""
    for number in range(20):
        put(maildir, f"new/{1000 + number}.V1I2.host", b"%d\n" % number)
    real = measuring.measure
    moved = iter(sorted(maildir.glob("new/*"), reverse=True))

    def measure(path: str) -> Measured:
        for source in itertools.islice(moved, 3):  # each one that is read sees others move
            source.rename(maildir / "cur" / f"{source.name}:2,S")
        return real(path)

    monkeypatch.setattr(measuring, "measure", measure)
    maildrop = await store.open(BOB)
    assert [message.unique_id for message in maildrop.listing] == [f"{1000 + number}.V1I2.host" for number in range(20)]
    await maildrop.close()


async def test_what_was_there_is_not_forgotten_for_one_listing(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-006: readdir may miss a name, even twice, while other names change."""
    put(maildir, "cur/1.a.host:2,", b"one\n")
    put(maildir, "cur/2.b.host:2,", b"two\n")
    assert len(await contents(store)) == 2
    real = Folder.list_once
    listings = []

    def list_once(self: Folder, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        listings.append(self)
        found = real(self, directories)
        return {key: paths for key, paths in found.items() if key[0] != "2.b.host" or len(listings) > 4}

    monkeypatch.setattr(Folder, "list_once", list_once)
    assert len(await contents(store)) == 2


async def test_one_file_under_two_names_is_one_message(store: MaildirStore, maildir: Path) -> None:
    """P-124, P-131: a move that died between link and unlink; deleted, it does not come back."""
    os.link(put(maildir, "new/5.M1.host", b"once\n"), maildir / "cur/5.M1.host:2,S")
    maildrop = await store.open(BOB)
    assert [message.unique_id for message in maildrop.listing] == ["5.M1.host"]
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == []
    assert list((maildir / "cur").iterdir()) + list((maildir / "new").iterdir()) == []


async def test_two_files_with_one_base_name_are_two_messages(store: MaildirStore, maildir: Path) -> None:
    """P-124: neither hides the other, and their ids are not equal, nor do they change with flags."""
    put(maildir, "new/5.M1.host", b"first\n")
    put(maildir, "cur/5.M1.host:2,S", b"second\n")
    put(maildir, "cur/5.M1.host:2,FS", b"third\n")
    assert sorted(await contents(store)) == [b"first\r\n", b"second\r\n", b"third\r\n"]
    maildrop = await store.open(BOB)
    ids = {await read(maildrop, number): maildrop.listing[number - 1].unique_id for number in (1, 2, 3)}
    assert len(set(ids.values())) == 3
    assert "5.M1.host" in ids.values()
    (maildir / "cur/5.M1.host:2,S").rename(maildir / "cur/5.M1.host:2,RS")
    assert await read(maildrop, 2)
    await maildrop.update({number for number in (1, 2, 3) if maildrop.listing[number - 1].unique_id == "5.M1.host"})
    await maildrop.close()
    assert len(await contents(store)) == 2


@pytest.mark.parametrize("undo", [60, 0])
async def test_a_message_that_was_not_marked_is_never_taken_for_one_that_was(
    tmp_path: Path, maildir: Path, undo: float
) -> None:
    """P-131, P-134: the marked one is gone already, and another file has its base name; nor is it sent instead."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo)
    first = put(maildir, "new/100.a.host", b"A\n")
    put(maildir, "cur/100.a.host:2,S", b"B\n")
    maildrop = await store.open(BOB)
    texts = [await read(maildrop, number) for number in (1, 2)]
    assert sorted(texts) == [b"A\r\n", b"B\r\n"]
    marked = texts.index(b"A\r\n") + 1
    first.unlink()
    with pytest.raises(TemporaryFailure):
        await maildrop.retrieve(marked)
    await maildrop.update({marked})
    await maildrop.close()
    assert await contents(store) == [b"B\r\n"]


@pytest.mark.parametrize("undo", [60, 0])
async def test_another_message_under_the_name_of_a_marked_one(tmp_path: Path, maildir: Path, undo: float) -> None:
    """P-131, P-134: it was put there during the session, and nobody has marked it."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo)
    put(maildir, "cur/1.a.host:2,", b"old\n")
    maildrop = await store.open(BOB)
    put(maildir, "tmp/x", b"new version\n").rename(maildir / "cur/1.a.host:2,")
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"new version\r\n"]


async def test_another_message_is_not_sent_in_place_of_one_that_has_gone(store: MaildirStore, maildir: Path) -> None:
    """P-095: it has its name, its size and its time; but not its inode."""
    for name, octets in (("new/100.a.host", b"A\n"), ("cur/100.a.host:2,S", b"B\n")):
        os.utime(put(maildir, name, octets), (1000, 1000))
    maildrop = await store.open(BOB)
    texts = [await read(maildrop, number) for number in (1, 2)]
    (maildir / "new/100.a.host").unlink()
    (maildir / "cur/100.a.host:2,S").rename(maildir / "new/100.a.host")
    with pytest.raises(TemporaryFailure):
        await maildrop.retrieve(texts.index(b"A\r\n") + 1)
    assert await read(maildrop, texts.index(b"B\r\n") + 1) == b"B\r\n"
    await maildrop.close()


async def test_ids_of_two_files_with_one_base_name_do_not_move(store: MaildirStore, maildir: Path) -> None:
    """P-125, P-126: not when a copy comes, whatever its inode, and not when one of them is deleted."""

    async def ids() -> dict[bytes, str]:
        maildrop = await store.open(BOB)
        found = {await read(maildrop, n): message.unique_id for n, message in enumerate(maildrop.listing, 1)}
        await maildrop.close()
        return found

    spare = [put(maildir, f"tmp/spare{number}") for number in range(3)]  # so that inodes may come in any order
    put(maildir, "cur/100.a.host:2,S", b"A\n")
    before = await ids()
    assert before == {b"A\r\n": "100.a.host"}
    for path in spare:
        path.unlink()
    put(maildir, "new/100.a.host", b"B\n")
    both = await ids()
    assert both[b"A\r\n"] == "100.a.host" != both[b"B\r\n"]
    maildrop = await store.open(BOB)
    await maildrop.update({n for n, message in enumerate(maildrop.listing, 1) if message.unique_id == "100.a.host"})
    await maildrop.close()
    assert await ids() == {b"B\r\n": both[b"B\r\n"]}


async def test_hard_links_do_not_keep_a_message_alive(store: MaildirStore, maildir: Path) -> None:
    """P-131, P-135: rename(2) of one of two links onto the other does nothing, and says that all is well."""
    os.link(put(maildir, "new/100.a.host", b"A\n"), maildir / "cur/100.a.host")
    put(maildir, "cur/200.b.host:2,", b"B\n")
    assert await contents(store) == [b"A\r\n", b"B\r\n"]
    os.link(maildir / "cur/200.b.host:2,", maildir / "restante/deleted/200.b.host:2,")
    maildrop = await store.open(BOB)
    await maildrop.update({1, 2})
    await maildrop.close()
    assert await contents(store) == []
    assert sorted(path.name for path in (maildir / "restante/deleted").iterdir()) == ["100.a.host", "200.b.host:2,"]


async def test_a_deleted_message_does_not_overwrite_another(store: MaildirStore, maildir: Path) -> None:
    """Both can be brought back."""
    put(maildir, "new/100.a.host", b"A\n")
    put(maildir, "cur/100.a.host", b"B\n")
    put(maildir, "cur/200.b.host:2,", b"C\n")
    await contents(store)
    for number in (1, 2):
        put(maildir, f"restante/deleted/200.b.host:2,{'.1' * (number - 1)}", b"older\n")
    maildrop = await store.open(BOB)
    await maildrop.update({1, 2, 3})
    await maildrop.close()
    kept = {path.name: path.read_bytes() for path in (maildir / "restante/deleted").iterdir()}
    assert sorted(kept.values()) == [b"A\n", b"B\n", b"C\n", b"older\n", b"older\n"]


async def test_a_name_that_two_listings_miss_is_found_by_the_third(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-006: at the first login of a process too, as long as listings go on to differ."""
    for number in range(5):
        put(maildir, f"cur/{number + 1}.a.host:2,", b"%d\n" % number)
    real = Folder.list_once
    listings = []

    def list_once(self: Folder, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        listings.append(self)
        missed = {1: ("1.a.host", "2.a.host"), 2: ("2.a.host", "3.a.host"), 3: ("4.a.host",)}.get(len(listings), ())
        return {key: paths for key, paths in real(self, directories).items() if key[0] not in missed}

    monkeypatch.setattr(Folder, "list_once", list_once)
    assert len(await contents(store)) == 5


async def test_names_without_a_base(store: MaildirStore, maildir: Path) -> None:
    """P-123: an id is never empty."""
    put(maildir, "cur/:2,S", b"one\n")
    put(maildir, "cur/:x", b"two\n")
    maildrop = await store.open(BOB)
    assert len({message.unique_id for message in maildrop.listing}) == 2
    assert all(1 <= len(message.unique_id) <= 70 for message in maildrop.listing)
    await maildrop.close()


@pytest.mark.parametrize("undo", [60, 0])
async def test_quit_after_all_messages_were_moved(
    tmp_path: Path, maildir: Path, undo: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-131: found again by a few looks at the folders, not by two for each message."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo)
    for number in range(300):
        put(maildir, f"new/{1000 + number}.V1.host", b"x\n")
    maildrop = await store.open(BOB)
    for source in list((maildir / "new").iterdir()):
        source.rename(maildir / "cur" / f"{source.name}:2,S")
    listings = []
    real = Folder.list_once

    def list_once(self: Folder, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        listings.append(self)
        return real(self, directories)

    monkeypatch.setattr(Folder, "list_once", list_once)
    for number in range(1, 301):
        assert await read(maildrop, number) == b"x\r\n"
    await maildrop.update(range(1, 301))
    await maildrop.close()
    assert await contents(store) == []
    assert len(listings) < 15


async def test_a_message_that_is_not_what_was_listed_is_measured_anew(store: MaildirStore, maildir: Path) -> None:
    """P-088, P-095: same file, same size, other line ends; also under a name of ours that says something wrong."""
    path = settled(put(maildir, "cur/1.a.host:2,", b"a\nb\nc\n"))
    put(maildir, "new/1000.M000000P1Q0R00000000.h,S=5,W=7", b"a\n\nb\n")
    assert [len(octets) for octets in await contents(store)] == [9, 8]
    rewrite_unseen(path, b"a b c\n")
    maildrop = await store.open(BOB)
    assert [message.octets for message in maildrop.listing] == [9, 7]
    assert isinstance(maildrop, Correctable)
    maildrop.distrust(1)
    maildrop.distrust(2)
    await maildrop.close()
    maildrop = await store.open(BOB)
    assert [message.octets for message in maildrop.listing] == [7, 8]
    await maildrop.close()


async def test_a_quiet_maildir_is_read_once(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(maildir, "cur/1.a.host:2,", b"one\n")
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    scans = []
    real = Folder.list_once

    def list_once(self: Folder, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        scans.append(self)
        return real(self, directories)

    monkeypatch.setattr(Folder, "list_once", list_once)
    maildrop = await store.open(BOB)
    await maildrop.close()
    assert len(scans) == 1


async def test_a_message_is_measured_once(store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-082, M-010: the next login reads no message, in another process neither."""
    settled(put(maildir, "cur/1.a.host:2,", b"one\n"))
    assert await contents(store) == [b"one\r\n"]

    def must_not_read(_pieces: object) -> int:
        raise AssertionError("read again")

    monkeypatch.setattr(measuring, "wire_octets", must_not_read)
    for again in (store, MaildirStore(f"{maildir.parent}/{{user}}")):
        maildrop = await again.open(BOB)
        assert maildrop.listing[0].octets == 5
        await maildrop.close()


def test_what_is_remembered_is_bounded() -> None:
    """The maildrops that were opened longest ago are forgotten."""
    memory = Memory(limit=5 + 2 * Memory.MAILDROP)

    def known(messages: int) -> Indexed:
        one = (Stored(Message("id", 1), ("cur/1",), n, 1, 1, (0, 0, 0)) for n in range(messages))
        return Indexed(Snapshot.of(one))

    def counts(*paths: str) -> list[int]:
        return [len(memory.of(path).snapshot.messages) for path in paths]

    for path in ("a", "b", "c", "b"):
        memory.keep(path, known(2))
    assert counts("a", "b", "c") == [0, 2, 2]
    for _ in range(10):  # what is replaced makes room
        memory.keep("b", known(2))
    assert counts("b", "c") == [2, 2]
    memory.keep("d", known(9))
    assert counts("b", "c", "d") == [0, 0, 9]
    for number in range(10):  # empty ones take room, too
        memory.keep(str(number), known(0))
    assert sum(memory.knows(str(number)) for number in range(10)) == 3


async def test_a_file_with_another_inode_is_another_file(store: MaildirStore, maildir: Path) -> None:
    """P-081: somebody replaced a message under its name; the next session lists what is there."""
    put(maildir, "cur/1.a.host:2,", b"one\n")
    assert await contents(store) == [b"one\r\n"]
    put(maildir, "tmp/x", b"another, longer\n").rename(maildir / "cur/1.a.host:2,")
    assert await contents(store) == [b"another, longer\r\n"]


# -- what is on disk --------------------------------------------------------------------------------


async def test_a_delivery_on_disk(store: MaildirStore, maildir: Path) -> None:
    """M-001, M-002, M-012, design 6: LF on disk, sizes in the name, mode 600, nothing left in tmp."""
    await deliver(store, b"A: b\r\n\r\nbody\r\n")
    (message,) = (maildir / "new").iterdir()
    assert message.read_bytes() == b"A: b\n\nbody\n"
    assert message.name.endswith(",S=11,W=14")
    assert stat.S_IMODE(message.stat().st_mode) == 0o600
    assert list((maildir / "tmp").iterdir()) == []


async def test_a_delivery_without_a_last_line_end(store: MaildirStore, maildir: Path) -> None:
    """M-012, P-087: W= would not be what Dovecot counts, which then renames the file: the id would change."""
    await deliver(store, b"A: b\r\n\r\nbody")
    (message,) = (maildir / "new").iterdir()
    assert message.read_bytes() == b"A: b\n\nbody"
    assert message.name.endswith(",S=10")
    assert await contents(store) == [b"A: b\r\n\r\nbody\r\n"]


async def test_a_message_that_is_renamed_again_and_again(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-095: as when another program sets flags without a pause."""
    path = put(maildir, "cur/1.a.host:2,", b"one\n")
    maildrop = await store.open(BOB)
    flags = iter("DFRS")
    path = path.rename(maildir / "cur/1.a.host:2,P")
    real = Folder.places

    def places(self: Folder) -> dict[Key, Paths]:
        nonlocal path
        found = real(self)
        if (flag := next(flags, "")) != "S":
            path = path.rename(maildir / f"cur/1.a.host:2,{flag}")
        return found

    monkeypatch.setattr(Folder, "places", places)
    assert await read(maildrop, 1) == b"one\r\n"
    await maildrop.close()


async def test_a_new_maildir(store: MaildirStore, tmp_path: Path) -> None:
    """P-054: nobody else may look into it."""
    await contents(store)
    parts = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert parts == {
        "bob",
        "bob/tmp",
        "bob/new",
        "bob/cur",
        "bob/restante",
        "bob/restante/deleted",
        "bob/restante/lock",
    }
    assert stat.S_IMODE((tmp_path / "bob").stat().st_mode) == 0o700


@pytest.mark.parametrize(("undo", "kept"), [(60, True), (0, False)])
async def test_deleted_messages_rest_for_a_while(tmp_path: Path, maildir: Path, undo: float, kept: bool) -> None:
    """Design 6: under the name they had, so that they can come back with their unique-id."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo)
    put(maildir, "cur/1.a.host:2,FS", b"one\n")
    put(maildir, "new/2.b.host", b"two\n")
    maildrop = await store.open(BOB)
    ids = [message.unique_id for message in maildrop.listing]
    await maildrop.update({1, 2})
    await maildrop.close()
    deleted = maildir / "restante/deleted"
    assert {path.name for path in deleted.iterdir()} == ({"1.a.host:2,FS", "2.b.host"} if kept else set())
    if kept:
        (deleted / "1.a.host:2,FS").rename(maildir / "cur/1.a.host:2,FS")
        maildrop = await store.open(BOB)
        assert [message.unique_id for message in maildrop.listing] == ids[:1]
        await maildrop.close()


async def test_purge(tmp_path: Path, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted messages whose time is over go, with deliveries that never ended (M-004); others stay."""
    Folder(str(maildir)).create()
    put(maildir, "restante/deleted/1.a.host:2,")
    old = put(maildir, "tmp/1.a.host")

    async def keep_house(undo: float) -> None:
        await MaildirStore(f"{tmp_path}/{{user}}", undo).keep_house()

    await keep_house(3600)
    assert (maildir / "restante/deleted/1.a.host:2,").exists()
    assert old.exists()
    later = time.time() + 40 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    put(maildir, "tmp/2.b.host")
    await keep_house(50 * 3600)
    assert (maildir / "restante/deleted/1.a.host:2,").exists()
    assert not old.exists()
    await keep_house(30 * 3600)
    assert not (maildir / "restante/deleted/1.a.host:2,").exists()


# -- faults -----------------------------------------------------------------------------------------


async def test_a_file_system_that_is_not_mounted_is_no_empty_maildrop(tmp_path: Path) -> None:
    """Field notes 4.2: one false STAT 0 0 makes a client fetch everything again."""
    store = MaildirStore(f"{tmp_path}/mail/{{user}}")
    with pytest.raises(TemporaryFailure):
        await store.open(BOB)
    async with store.deliver("bob") as delivery:
        with pytest.raises(TemporaryFailure):
            await delivery.commit()
    assert not (tmp_path / "mail").exists()


async def test_a_damaged_maildir_is_no_empty_maildrop(store: MaildirStore, maildir: Path) -> None:
    await deliver(store, b"one\r\n")
    (maildir / "new").rename(maildir / "elsewhere")
    with pytest.raises(TemporaryFailure):
        await store.open(BOB)
    (maildir / "elsewhere").rename(maildir / "new")
    assert await contents(store) == [b"one\r\n"]  # P-043: the failed login left no lock


@pytest.mark.parametrize("part", ["new", "cur"])
async def test_a_folder_that_is_missing_is_not_made_anew(store: MaildirStore, maildir: Path, part: str) -> None:
    """Not even when it was the only one with mail in it, and not what it was meant to be moved back to."""
    put(maildir, f"{part}/1.a.host", b"one\n")
    assert await contents(store) == [b"one\r\n"]
    (maildir / part).rename(maildir / "away")
    for _ in range(2):
        with pytest.raises(TemporaryFailure):
            await store.open(BOB)
    (maildir / "away").rename(maildir / part)
    assert await contents(store) == [b"one\r\n"]


async def test_a_maildir_that_vanishes_is_not_empty(store: MaildirStore, maildir: Path) -> None:
    """As far as this process knows that there was mail."""
    put(maildir, "cur/1.a.host", b"one\n")
    assert await contents(store) == [b"one\r\n"]
    maildir.rename(maildir.with_name("away"))
    with pytest.raises(TemporaryFailure):
        await store.open(BOB)
    maildir.with_name("away").rename(maildir)
    assert await contents(store) == [b"one\r\n"]


async def test_our_folder_is_mended(store: MaildirStore, maildir: Path) -> None:
    """Somebody has emptied ``restante``."""
    put(maildir, "cur/1.a.host", b"one\n")
    assert await contents(store) == [b"one\r\n"]
    (maildir / "restante/deleted").rmdir()
    assert await contents(store) == [b"one\r\n"]
    shutil.rmtree(maildir / "restante")
    assert await contents(store) == [b"one\r\n"]


async def test_a_file_in_place_of_a_maildir(store: MaildirStore, tmp_path: Path) -> None:
    (tmp_path / "bob").write_bytes(b"")
    with pytest.raises(PermanentFailure):
        await store.open(BOB)


@as_root
async def test_a_message_without_permission_hurts_nobody_else(
    store: MaildirStore, maildir: Path, tmp_path: Path
) -> None:
    """P-293, P-095: listed, refused with [SYS/PERM], and the others can be read."""
    put(maildir, "cur/1.a.host:2,", b"locked\n").chmod(0)
    put(maildir, "cur/2.b.host:2,", b"open\n")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    parents = [path for path in tmp_path.parents if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001]
    modes = [(path, path.stat().st_mode) for path in parents]
    for path in parents:
        path.chmod(0o755)
    os.setegid(65534)
    os.seteuid(65534)
    try:
        maildrop = await store.open(BOB)
        assert len(maildrop.listing) == 2
        with pytest.raises(PermanentFailure):
            await maildrop.retrieve(1)
        assert await read(maildrop, 2) == b"open\r\n"
        await maildrop.close()
    finally:
        os.seteuid(0)
        os.setegid(0)
        for path, mode in modes:
            path.chmod(mode)


async def test_a_removal_that_fails_is_told(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-134: the second of three fails; the rest is there, nothing unmarked was touched."""
    for number in range(1, 5):
        put(maildir, f"cur/{number}.a.host:2,", b"%d\n" % number)
    maildrop = await store.open(BOB)
    real = os.rename

    def rename(source: str, target: str) -> None:
        if "/2.a.host" in source:
            raise OSError(5, "Input/output error", source)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(UpdateIncomplete):
        await maildrop.update({1, 2, 3})
    await maildrop.close()
    assert await contents(store) == [b"2\r\n", b"4\r\n"]


async def test_a_deleted_folder_that_is_missing_is_no_reason_to_call_mail_gone(
    store: MaildirStore, maildir: Path
) -> None:
    """P-134, P-145: "no such file" about the target is a failure."""
    put(maildir, "cur/1.a.host:2,", b"one\n")
    maildrop = await store.open(BOB)
    (maildir / "restante/deleted").rmdir()
    with pytest.raises(UpdateIncomplete):
        await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"one\r\n"]


@pytest.mark.parametrize("user", ["../alice", "a/b", ".hidden", "..", ".", "nul\0"])
async def test_names_never_lead_outside(store: MaildirStore, user: str) -> None:
    """P-291."""
    with pytest.raises(NoSuchMaildrop):
        await store.open(Principal(user))


async def test_parts_of_a_name(tmp_path: Path) -> None:
    """Design 3: {user}, {local} and {domain}; braces elsewhere in the path are just characters."""
    (tmp_path / "{x}").mkdir()
    store = MaildirStore(f"{tmp_path}/{{x}}/{{domain}}/{{local}}/Maildir")
    await deliver(store, b"one\r\n", user="bob@example.org")
    assert (tmp_path / "{x}/example.org/bob/Maildir/new").is_dir()
    with pytest.raises(NoSuchMaildrop):
        await store.open(BOB)
    with pytest.raises(NoSuchMaildrop):
        await store.open(Principal("bob@.."))


async def test_inspect(store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `restante check` says about a maildrop; changes nothing."""
    assert await store.inspect("nobody") == []
    await deliver(store, b"good\r\n", b"rewritten\r\n")
    assert await store.inspect("bob") == []
    _, second = sorted((maildir / "new").iterdir())
    second.write_bytes(b"other\n")
    put(maildir, "cur/1.a.host:2,")
    put(maildir, "cur/1.a.host:2,S")
    (maildir / "cur/2.b.host:2,").symlink_to("elsewhere")
    put(maildir, "tmp/old")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 37 * 3600)
    before = sorted(maildir.rglob("*"))
    problems = await store.inspect("bob")
    assert [problem.removeprefix(f"{maildir}/").split(": ", 1)[0] for problem in problems] == [
        f"new/{second.name}",
        "cur/1.a.host:2,S",
        "cur/2.b.host:2,",
        "tmp/old",
    ]
    assert sorted(maildir.rglob("*")) == before
    for part in (maildir / "cur").iterdir():
        part.unlink()
    (maildir / "cur").rmdir()
    assert await store.inspect("bob") == [f"{maildir}/cur: this folder of a Maildir is missing"]


async def test_the_lock_works_between_processes(store: MaildirStore, maildir: Path) -> None:
    """P-041, P-042: and it goes with the process that held it, however that ends."""
    await contents(store)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        Folder(str(maildir)).lock()
        os.write(tell, b"x")
        os.read(os.pipe()[0], 1)  # waits for its end
        os._exit(1)
    os.read(ready, 1)
    try:
        with pytest.raises(MaildropInUse):
            await store.open(BOB)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
    maildrop = await store.open(BOB)
    await maildrop.close()
