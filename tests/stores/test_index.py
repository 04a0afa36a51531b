"""The index of a Maildir: what it saves, and that it is never believed when it is wrong (M-010)."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.errors import TemporaryFailure, UpdateIncomplete
from restante.maildrop import Listing, Message
from restante.stores.maildir import MaildirStore, glance, index, measuring
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.listing import scan
from restante.stores.maildir.records import (
    EMPTY,
    NOT_ADOPTED,
    TRUST,
    Change,
    Indexed,
    Key,
    Memory,
    Paths,
    Snapshot,
    Stored,
)
from tests.stores.test_contract import BOB, contents, read
from tests.stores.test_maildir import empty_maildir, put, rewrite_unseen, settled

LONG_AGO = 600.0
"""Seconds."""


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """A Maildir of another program, with three messages that came long ago."""
    path = empty_maildir(tmp_path / "bob")
    settled(put(path, "cur/1.a.host:2,S", b"one\n"))
    settled(put(path, "cur/2.b.host:2,", b"two\r\n"))
    settled(put(path, "new/3.c.host", b"three\n"))
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> "Later":
    return Later(monkeypatch)


class Later:
    """Puts the clock forward, or back: the ctime of a folder cannot be set, so only thus can it be old."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._real = time.time
        self._ahead = 0.0

    def __call__(self, seconds: float = LONG_AGO) -> None:
        self._ahead += seconds
        ahead = self._ahead
        self._monkeypatch.setattr(time, "time", lambda: self._real() + ahead)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts listings of both folders, and files that are read."""
    counts = {"listed": 0, "read": 0}
    names, measure, measured = Folder.names, measuring.measure, measuring.measured

    def count_names(self: Folder, directory: str) -> object:
        counts["listed"] += 1
        return names(self, directory)

    def count_measure(path: str) -> measuring.Measured:
        counts["read"] += 1
        return measure(path)

    def count_measured(octets: bytes, status: os.stat_result) -> measuring.Measured:
        counts["read"] += 1
        return measured(octets, status)

    monkeypatch.setattr(Folder, "names", count_names)
    monkeypatch.setattr(glance, "measured", count_measured)
    monkeypatch.setattr(measuring, "measure", count_measure)
    return counts


def another_process(maildir: Path) -> MaildirStore:
    """A store that remembers nothing."""
    return MaildirStore(f"{maildir.parent}/{{user}}")


async def listing(store: MaildirStore) -> Sequence[Message]:
    maildrop = await store.open(BOB)
    found = maildrop.listing
    await maildrop.close()
    return found


async def ids(store: MaildirStore) -> list[str]:
    return [message.unique_id for message in await listing(store)]


# -- what it saves ----------------------------------------------------------------------------------


async def test_a_quiet_maildir_is_opened_without_a_look_at_any_file(
    maildir: Path, later: Later, looks: dict[str, int]
) -> None:
    """P-082, design 6: in the process that wrote the index, and in any other."""
    first = another_process(maildir)
    later()
    before = await listing(first)
    assert looks == {"listed": 2, "read": 3}
    assert await listing(first) == before
    assert await listing(another_process(maildir)) == before
    assert looks == {"listed": 2, "read": 3}
    assert [message.octets for message in before] == [5, 5, 7]


async def test_only_what_is_new_is_read(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """And only the folder that has changed is listed."""
    later()
    await listing(another_process(maildir))
    settled(put(maildir, "new/4.d.host", b"four\n"))
    looks.update(listed=0, read=0)
    store = another_process(maildir)
    assert await ids(store) == ["1.a.host", "2.b.host", "3.c.host", "4.d.host"]
    assert looks["read"] == 1
    later()  # the next time both are quiet again
    await ids(store)
    looks.update(listed=0, read=0)
    put(maildir, "new/5.e.host", b"five\n")
    later()
    assert len(await ids(store)) == 5
    assert looks == {"listed": 1, "read": 1}


async def test_flags_and_moves_make_nobody_read(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """P-125, P-049, P-082: another program sets flags and moves mail from new to cur."""
    later()
    before = await listing(another_process(maildir))
    looks.update(read=0)
    (maildir / "new/3.c.host").rename(maildir / "cur/3.c.host:2,RS")
    (maildir / "cur/1.a.host:2,S").rename(maildir / "cur/1.a.host:2,FST")
    store = another_process(maildir)
    assert await listing(store) == before
    assert looks["read"] == 0
    assert await contents(store) == [b"one\r\n", b"two\r\n", b"three\r\n"]


async def test_wire_form_is_remembered(maildir: Path, later: Later) -> None:
    """M-010: CRLF throughout and at the end, and no line begins with a dot."""
    for number, octets in enumerate([b"a\r\n.b\r\n", b".a\r\n", b"a\r\nb", b"a\nb\r\n", b"", b"a\r\r\n", b"a.\r\n"], 4):
        settled(put(maildir, f"cur/{number}.x.host:2,", octets))
    later()
    expected = [False, True, False, False, False, False, False, True, True, True]
    assert [message.wire_form for message in await listing(another_process(maildir))] == expected
    assert [message.wire_form for message in await listing(another_process(maildir))] == expected


async def test_surrogates_are_remembered(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """P-256: the size for a client that has not said UTF8 is in the index, too."""
    settled(put(maildir, "cur/4.d.host:2,", "Subject: Grüße\n\n".encode()))
    later()
    before = await listing(another_process(maildir))
    assert before[3].surrogate > 0
    looks.update(read=0)
    assert await listing(another_process(maildir)) == before
    assert looks["read"] == 0


# -- when it must not be believed -------------------------------------------------------------------


async def test_a_message_rewritten_in_place(maildir: Path, later: Later) -> None:
    """The next look at the files has it right; until then RETR refuses, whatever the size says (P-095)."""
    later()
    await listing(another_process(maildir))
    (maildir / "cur/1.a.host:2,S").write_bytes(b"o\ne\n")
    maildrop = await another_process(maildir).open(BOB)
    assert maildrop.listing[0].octets == 5  # no folder has changed
    with pytest.raises(Exception, match="was rewritten: 6 octets, not 5"):
        await maildrop.retrieve(1)
    await maildrop.close()
    assert (await listing(another_process(maildir)))[0].octets == 6


async def test_a_message_rewritten_in_place_is_found_within_the_hour(maildir: Path, later: Later) -> None:
    """Nobody fetches it, and no folder changes."""
    later()
    await listing(another_process(maildir))
    (maildir / "cur/1.a.host:2,S").write_bytes(b"o\ne\n")
    later(TRUST + 1)
    assert (await listing(another_process(maildir)))[0].octets == 6


async def test_a_name_and_an_inode_used_again(maildir: Path, later: Later) -> None:
    """Another message under the old name; file systems give an inode that is free at once."""
    later()
    await listing(another_process(maildir))
    path = maildir / "cur/1.a.host:2,S"
    inode = path.stat().st_ino
    with path.open("r+b") as file:  # the same inode for certain
        file.write(b"another one\n")
    path.rename(maildir / "cur/1.a.host:2,")
    assert (maildir / "cur/1.a.host:2,").stat().st_ino == inode
    store = another_process(maildir)
    assert [message.octets for message in await listing(store)] == [13, 5, 7]
    assert (await contents(store))[0] == b"another one\r\n"


async def test_a_message_touched_is_still_the_same(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """A backup has set the times: read once more, and given out; its place and id are what they were."""
    later()
    before = await listing(another_process(maildir))
    os.utime(maildir / "cur/2.b.host:2,", (1_000_000, 1_000_000))
    maildrop = await another_process(maildir).open(BOB)
    assert await read(maildrop, 2) == b"two\r\n"
    await maildrop.close()
    looks.update(read=0)
    maildrop = await another_process(maildir).open(BOB)
    assert await read(maildrop, 2) == b"two\r\n"
    assert maildrop.listing == before
    await maildrop.close()
    assert looks["read"] == 0


@pytest.mark.parametrize(
    ("first", "second"), [("new/3.c.host", "cur/3.c.host:2,"), ("cur/1.a.host:2,S", "new/1.a.host")]
)
async def test_a_move_by_link_and_unlink(maildir: Path, later: Later, first: str, second: str) -> None:
    """P-124, P-125: half-way the file has a name in a folder that has not changed, too; it is one message."""
    later()
    before = await listing(another_process(maildir))
    os.link(maildir / first, maildir / second)
    assert await listing(another_process(maildir)) == before
    (maildir / first).unlink()
    assert await listing(another_process(maildir)) == before
    assert not (maildir / "restante/ids").exists()


async def test_numbers_that_cannot_be(maildir: Path, later: Later) -> None:
    """P-293: in a name, or as the time of a file; nobody is kept out."""
    put(maildir, f"new/1000.M000000P1Q0R00000000.h,S=5,W={'9' * 30}", b"a\n\nb\n")
    put(maildir, f"new/{'9' * 40}.M{'9' * 40}.h", b"x\n")
    later()
    assert [message.octets for message in await listing(another_process(maildir))] == [5, 5, 7, 8, 3]


async def test_a_clock_that_went_back(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """The index is from the future: the files are looked at, and none is read."""
    later(10 * LONG_AGO)
    before = await listing(another_process(maildir))
    later(-5 * LONG_AGO)
    looks.update(listed=0, read=0)
    assert await listing(another_process(maildir)) == before
    assert looks["listed"] >= 2
    assert looks["read"] == 0


async def test_a_change_within_the_grain_of_the_clock(
    maildir: Path, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that has just changed tells nothing: the next change may not show in its times."""
    await listing(another_process(maildir))
    stamps = {directory: Folder(str(maildir)).stamp(directory) for directory in ("new", "cur")}
    put(maildir, "new/4.d.host", b"four\n")
    monkeypatch.setattr(Folder, "stamp", lambda _, directory: stamps[directory])  # a file system with coarse times
    later(1.0)
    assert await ids(another_process(maildir)) == ["1.a.host", "2.b.host", "3.c.host", "4.d.host"]


async def test_a_message_still_being_written_when_it_was_read(maildir: Path, later: Later) -> None:
    """By a program that delivers straight into new: read again as long as its time of change is young."""
    path = put(maildir, "new/4.d.host", b"four\n")
    assert (await listing(another_process(maildir)))[3].octets == 6
    rewrite_unseen(path, b"fo\nr\n")  # within one tick of the clock: neither size nor time tells
    assert (await listing(another_process(maildir)))[3].octets == 7
    later()
    assert (await listing(another_process(maildir)))[3].octets == 7


async def test_times_in_the_future(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """Somebody's clock was wrong: no reason to read those files, or list those folders, at each login."""
    for path in (maildir / "new/3.c.host", maildir / "new", maildir / "cur"):
        os.utime(path, (2**32, 2**32))
    later()
    before = await listing(another_process(maildir))
    looks.update(listed=0, read=0)
    assert await listing(another_process(maildir)) == before
    assert looks == {"listed": 0, "read": 0}
    (maildir / "new/3.c.host").write_bytes(b"longer than before\n")
    put(maildir, "new/4.d.host")
    after = await listing(another_process(maildir))
    assert [message.octets for message in after] == [5, 5, 20, 20]


async def test_times_of_a_folder_that_was_played_back(maildir: Path, later: Later) -> None:
    """A backup sets the mtime of the folder; its ctime tells."""
    later()
    await listing(another_process(maildir))
    status = (maildir / "new").stat()
    put(maildir, "new/4.d.host", b"four\n")
    os.utime(maildir / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(await ids(another_process(maildir))) == 4


async def test_a_maildir_copied_with_its_index(maildir: Path, later: Later) -> None:
    """All inodes differ, so nothing in the index holds; ids, order and sizes are the same."""
    put(maildir, f"cur/{'x' * 80}:2,", b"long name\n")
    later()
    before = await listing(another_process(maildir))
    shutil.copytree(maildir, maildir.with_name("copy"))
    maildir.rename(maildir.with_name("old"))
    maildir.with_name("copy").rename(maildir)
    assert await listing(another_process(maildir)) == before


# -- when it is lost --------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "cut": lambda octets: octets[:-1],
    "cut in its head": lambda octets: octets[:10],
    "one bit": lambda octets: octets[:-5] + bytes([octets[-5] ^ 1]) + octets[-4:],
    "another version": lambda octets: octets.replace(b"index 2", b"index 1", 1),
    "zeros": lambda octets: bytes(len(octets)),
}


async def test_an_index_with_damage_behind_it(maildir: Path, later: Later) -> None:
    """What stands before it is still right; the next change is not added behind it."""
    later()
    before = await listing(another_process(maildir))
    path = maildir / "restante/index"
    path.write_bytes(path.read_bytes() + b"\0")
    assert (len(index.read(str(path)).snapshot.messages), index.read(str(path)).whole) == (3, 0)
    assert await listing(another_process(maildir)) == before
    put(maildir, "new/4.d.host", b"four\n")
    assert len(await listing(another_process(maildir))) == 4
    assert len(index.read(str(path)).snapshot.messages) == 4


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_index(maildir: Path, later: Later, damage: str) -> None:
    """P-125, M-010: made anew, and no id, order or size changes."""
    put(maildir, f"cur/{'x' * 80}:2,", b"long name\n")
    later()
    before = await listing(another_process(maildir))
    path = maildir / "restante/index"
    octets = DAMAGES[damage](path.read_bytes())
    if octets is None:
        path.unlink()
    else:
        path.write_bytes(octets)
    assert index.read(str(path)).snapshot is EMPTY
    assert await listing(another_process(maildir)) == before
    assert index.read(str(path)).snapshot is not EMPTY


async def test_an_index_that_is_no_file(maildir: Path, later: Later, tmp_path: Path) -> None:
    """P-291: a link leads nowhere; what it points at is neither read nor written."""
    later()
    (tmp_path / "precious").write_bytes(b"precious")
    (maildir / "restante").mkdir()
    (maildir / "restante/deleted").mkdir()
    (maildir / "restante/index").symlink_to(tmp_path / "precious")
    (maildir / "restante/index.new").symlink_to(tmp_path / "precious")
    assert len(await ids(another_process(maildir))) == 3
    assert (tmp_path / "precious").read_bytes() == b"precious"


def snapshots() -> st.SearchStrategy[Snapshot]:
    number = st.integers(0, 2**63 - 1)
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=20) | st.just("\udcff%\n")
    message = st.builds(Message, text.filter(lambda one: "\udcff" not in one), number, st.booleans(), number)
    paths = st.lists(text.map(lambda name: f"cur/{name}"), min_size=1, max_size=2).map(tuple)
    stored = st.builds(
        Stored, message, paths, number, st.integers(-1, 2**40), number, st.tuples(number, number, number), st.booleans()
    )
    stamp = st.none() | st.tuples(number, number, number)
    return st.builds(
        lambda messages, scanned, new, cur, given: Snapshot.of(messages, scanned)._replace(new=new, cur=cur, ids=given),
        st.lists(stored, max_size=5),
        st.floats(0, 2**33),
        stamp,
        stamp,
        stamp,
    )


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(snapshot=snapshots())
def test_an_index_says_what_was_written(tmp_path: Path, snapshot: Snapshot) -> None:
    """Names that are not UTF-8 included."""
    path = str(tmp_path / "index")
    written = index.write(path, snapshot)
    assert written.snapshot == snapshot
    assert index.read(path) == written
    assert index.stamp(path) == written.stamp
    assert [one.name for one in tmp_path.iterdir()] == ["index"]


def numbered(*numbers: int, inode: int = 0, path: str = "cur/{}.host:2,") -> tuple[Stored, ...]:
    """Return messages in the order of their numbers."""
    return tuple(
        Stored(Message(str(n), n), (path.format(n),), inode or n, n, n, (NOT_ADOPTED, n, 0)) for n in sorted(numbers)
    )


def followed(known: Indexed, after: tuple[Stored, ...], **stamps: Any) -> tuple[Indexed, Change, Snapshot]:
    """Return what `index.add` wants to know."""
    change = Change.between(known.snapshot.messages, after)
    snapshot = known.snapshot.changed(change)._replace(**stamps)
    assert snapshot.messages == after
    return known, change, snapshot


CHANGES = st.lists(
    st.tuples(st.sampled_from(["come", "go", "change", "rename", "all"]), st.integers(0, 40)), max_size=30
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=CHANGES, odd=st.booleans())
def test_an_index_that_is_added_to_says_what_was_added(
    tmp_path: Path, changes: list[tuple[str, int]], odd: bool
) -> None:
    """M-010: whoever reads all of it, or only what is new, finds what a process finds that has written all of it."""
    path, name = str(tmp_path / "index"), "cur/\udcff%{}.host:2," if odd else "cur/{}.host:2,"
    writer = index.write(path, Snapshot.of(numbered(*range(10, 30), path=name)))
    reader, late = index.read(path), index.read(path)
    for time_of_it, (change, number) in enumerate(changes):
        one = numbered(number, path=name)[0]
        messages = {stored.order: stored for stored in writer.snapshot.messages}
        if change == "come":
            messages[one.order] = one
        elif change == "go":
            messages.pop(one.order, None)
        elif change == "all":
            messages = {stored.order: stored for stored in numbered(*range(number), path=name)}
        elif one.order in messages:
            other = one._replace(size=7) if change == "change" else one._replace(paths=(f"new/{number}.host",))
            messages[one.order] = other
        stamps: dict[str, Any] = {"scanned": float(time_of_it), "new": (number, 2, 3), "cur": None, "ids": (1, 1, 1)}
        after = tuple(messages[order] for order in sorted(messages))
        writer = index.add(path, *followed(writer, after, **stamps))
        reader = index.read(path, reader)
        assert reader == writer == index.read(path)
        assert reader.snapshot.listing == Listing(stored.message for stored in after)
    assert index.read(path, late) == writer


def test_an_index_grows_to_twice_its_size(tmp_path: Path) -> None:
    """Then it is written whole again; a short one may have a few changes more."""
    path = str(tmp_path / "index")
    known = index.write(path, Snapshot.of(numbered(*range(2000))))
    whole, inodes, sizes = known.whole, set(), []
    for number in range(2000, 6000):
        known = index.add(path, *followed(known, (*known.snapshot.messages, *numbered(number))))
        assert known.stamp is not None
        inodes.add(known.stamp[0])
        sizes.append(known.stamp[2])
    assert 2 <= len(inodes) <= 3
    assert whole * 1.9 < max(sizes)
    assert all(one < 2.1 * whole * (number + 2000) / 2000 for number, one in enumerate(sizes))
    small = index.write(path, Snapshot.of(numbered(1)))
    again = index.add(path, *followed(small, numbered(1, 2)))
    assert (small.stamp or [0])[0] == (again.stamp or [1])[0]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_change_that_was_not_finished(tmp_path: Path, cut: int) -> None:
    """M-010: the index is what it was before; nothing is added behind what nobody can read."""
    path = tmp_path / "index"
    before = index.write(str(path), Snapshot.of(numbered(1, 2)))
    index.add(str(path), *followed(before, numbered(1, 2, 3)))
    octets = path.read_bytes()
    path.write_bytes(octets[:-cut])
    for known in (index.read(str(path), before), index.read(str(path))):
        assert (known.snapshot, known.whole) == (before.snapshot, 0)
    index.add(str(path), *followed(known, numbered(2, 4)))
    assert index.read(str(path)).snapshot.messages == numbered(2, 4)


def test_nothing_is_added_to_another_file(tmp_path: Path) -> None:
    """P-291: neither to one that came into its place, nor to one that has another name, too."""
    path, other = str(tmp_path / "index"), tmp_path / "other"
    known = index.write(path, Snapshot.of(numbered(1)))
    os.link(path, other)
    octets = other.read_bytes()
    more = followed(known, numbered(1, 2))
    known, after = index.add(path, *more), more[2]
    assert other.read_bytes() == octets
    assert index.read(path).snapshot == after
    Path(path).write_bytes(b"what somebody else wrote")
    index.add(path, known, Change(), after)
    assert index.read(path).snapshot == after


def test_what_was_added_to_another_index_is_not_read_on(tmp_path: Path) -> None:
    """M-010: written whole twice by another worker it can have the same inode and size as before."""
    path = tmp_path / "index"
    known = index.write(str(path), Snapshot.of(numbered(1, 2)))
    inode = path.stat().st_ino
    other = index.write(str(tmp_path / "other"), Snapshot.of(numbered(3, 4)))
    path.write_bytes((tmp_path / "other").read_bytes())
    assert (path.stat().st_ino, path.stat().st_size) == (inode, (known.stamp or (0, 0, 0))[2])
    other = other._replace(stamp=index.stamp(str(path)))
    after = index.add(str(path), *followed(other, (*other.snapshot.messages, *numbered(5))))
    assert index.read(str(path), known) == after
    assert after.snapshot.messages == numbered(3, 4, 5)


async def test_what_another_worker_added_is_all_that_is_read(
    maildir: Path, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-083: two workers, one after the other; a message comes and is deleted, and neither reads the index whole."""
    first, second = another_process(maildir), another_process(maildir)
    later()
    for store in (first, second):
        assert len(await ids(store)) == 3
    later()
    for store in (first, second):
        assert len(await ids(store)) == 3
    monkeypatch.setattr(index, "_read_whole", None)
    monkeypatch.setattr(index, "write", None)
    for number, store in enumerate((second, first, second, first), 4):
        put(maildir, f"new/{number}.x.host", b"more\n")
        maildrop = await store.open(BOB)
        assert [message.unique_id[:1] for message in maildrop.listing] == ["1", "2", "3", str(number)]
        await maildrop.update({4})
        await maildrop.close()


@pytest.mark.parametrize("path", ["cur/../../etc/passwd", "../x", "etc/passwd", "cur", "tmp/x", "new/a/b"])
def test_an_index_names_messages_of_this_maildir_only(tmp_path: Path, path: str) -> None:
    """P-291: whoever has written it."""
    one = Stored(Message("id", 1), (path,), 1, 1, 1, (NOT_ADOPTED, 0, 0))
    index.write(str(tmp_path / "index"), Snapshot.of([one]))
    assert index.read(str(tmp_path / "index")).snapshot is EMPTY
    index.write(str(tmp_path / "index"), Snapshot.of([one._replace(paths=())]))
    assert index.read(str(tmp_path / "index")).snapshot is EMPTY


async def test_a_folder_that_has_not_changed_is_looked_at_within_the_hour_all_the_same(
    maildir: Path, later: Later
) -> None:
    """Mail keeps coming into new, and a message in cur was rewritten in place."""
    later()
    await listing(another_process(maildir))
    (maildir / "cur/1.a.host:2,S").write_bytes(b"o\ne\n")
    for number in range(8):
        put(maildir, f"new/{number + 10}.x.host")
        later(TRUST / 7)
        found = await listing(another_process(maildir))
    assert found[0].octets == 6


async def test_a_move_during_the_look(maildir: Path, later: Later, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-006: out of the folder that is listed, into the one that had not changed."""
    later()
    await listing(another_process(maildir))
    put(maildir, "new/4.d.host")
    names = Folder.names

    def moving(self: Folder, directory: str) -> object:
        if directory == "new" and (maildir / "new/3.c.host").exists():
            (maildir / "new/3.c.host").rename(maildir / "cur/3.c.host:2,S")
        return names(self, directory)

    monkeypatch.setattr(Folder, "names", moving)
    assert await ids(another_process(maildir)) == ["1.a.host", "2.b.host", "3.c.host", "4.d.host"]


async def test_a_message_that_could_not_be_read_is_read_at_the_next_login(
    maildir: Path, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-293: although its folder is quiet; a folder is believed when all its messages are settled."""
    later()
    measure = measuring.measure

    def failing(path: str) -> measuring.Measured:
        if "2.b.host" in path:
            raise OSError(5, "Input/output error", path)
        return measure(path)

    monkeypatch.setattr(measuring, "measure", failing)
    put(maildir, "cur/2.b.host:2,", b"a\nb\n")
    later()
    assert (await listing(another_process(maildir)))[1].octets == 4  # as many as there are on disk
    monkeypatch.setattr(measuring, "measure", measure)
    assert (await listing(another_process(maildir)))[1].octets == 6


async def test_a_file_that_gets_another_inode_when_it_is_renamed(maildir: Path, later: Later) -> None:
    """P-131: as on an overlay; it is found by its name, size and time, and QUIT removes it."""
    later()
    maildrop = await another_process(maildir).open(BOB)
    old = maildir / "cur/2.b.host:2,"
    shutil.copy2(old, maildir / "cur/2.b.host:2,S")
    old.unlink()
    assert await read(maildrop, 2) == b"two\r\n"
    await maildrop.update({2})
    await maildrop.close()
    assert await ids(another_process(maildir)) == ["1.a.host", "3.c.host"]


async def test_two_workers_share_what_one_has_found_out(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """Sizes that proved wrong are right in every worker from the next session on."""
    later()
    one, two = another_process(maildir), another_process(maildir)
    await listing(one)
    await listing(two)
    rewrite_unseen(maildir / "new/3.c.host", b"th\nee\n")
    maildrop = await one.open(BOB)
    maildrop.distrust(3)  # type: ignore[attr-defined]  # the octets sent were not those of the listing
    await maildrop.close()
    looks.update(read=0)
    assert (await listing(two))[2].octets == 8
    assert looks["read"] == 0


async def test_deleted_messages_leave_the_index(maildir: Path, later: Later, looks: dict[str, int]) -> None:
    """What was removed at QUIT is not looked for by the next session, in whatever worker."""
    later()
    maildrop = await another_process(maildir).open(BOB)
    await maildrop.update({1, 3})
    await maildrop.close()
    assert [one.message.unique_id for one in index.read(str(maildir / "restante/index")).snapshot.messages] == [
        "2.b.host"
    ]
    later()
    looks.update(listed=0, read=0)
    assert await ids(another_process(maildir)) == ["2.b.host"]
    assert looks == {"listed": 2, "read": 0}


async def test_an_update_that_failed_hides_nothing(maildir: Path, later: Later) -> None:
    """P-134, P-132: what is still there is listed, by this process and others, though its folder looks as it did."""
    later()
    store = another_process(maildir)
    before = await ids(store)
    later()
    assert await ids(store) == before
    maildrop = await store.open(BOB)
    (maildir / "restante/deleted").rmdir()
    with pytest.raises(UpdateIncomplete):
        await maildrop.update({1, 2})
    await maildrop.close()
    assert await ids(store) == before
    assert await ids(another_process(maildir)) == before


async def test_what_is_measured_while_it_is_written_is_measured_again(maildir: Path, later: Later) -> None:
    """P-082: a program writes into a message; RETR finds that, and what it finds is not the end of it."""
    later()
    store = another_process(maildir)
    await listing(store)
    (maildir / "cur/1.a.host:2,S").write_bytes(b"o\ne\n")
    maildrop = await store.open(BOB)
    with pytest.raises(TemporaryFailure):
        await maildrop.retrieve(1)
    (maildir / "cur/1.a.host:2,S").write_bytes(b"o\ne\ntwo\n")
    await maildrop.close()
    assert (await listing(another_process(maildir)))[0].octets == 11
    assert (await listing(store))[0].octets == 11


# -- whatever happens -------------------------------------------------------------------------------

STEPS = st.sampled_from(["deliver", "flag", "move", "remove", "rewrite", "touch", "replace", "tick", "back", "open"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 99)), max_size=25))
def test_an_index_never_differs_from_a_fresh_look(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """After any writes of other programs, with the clock going on and back: what is listed is what is there."""
    root = tmp_path_factory.mktemp("any")
    for part in ("tmp", "new", "cur", "restante"):
        (root / part).mkdir()
    folder, memories = Folder(str(root)), [Memory(), Memory()]
    with pytest.MonkeyPatch.context() as patch:
        later = Later(patch)
        later(LONG_AGO)
        for number, (step, argument) in enumerate(steps):
            _do(root, later, step, argument, number)
            if step == "open":
                snapshot = scan(folder, memories[argument % 2])
                assert snapshot.listing == scan_afresh(folder).listing
                for stored in snapshot.messages:
                    folder.open(stored.path)[0].close()
        later(TRUST + LONG_AGO)
        assert scan(folder, memories[0]).listing == scan_afresh(folder).listing


def scan_afresh(folder: Folder) -> Snapshot:
    """What a process finds that knows nothing, whose index has been lost, too."""
    path = Path(folder.ours("index"))
    kept = path.read_bytes() if path.exists() else None
    times = path.stat() if kept is not None else None
    path.unlink(missing_ok=True)
    found = scan(folder, Memory())
    path.unlink(missing_ok=True)
    if kept is not None and times is not None:
        path.write_bytes(kept)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return found


def _do(root: Path, later: Later, step: str, argument: int, number: int) -> None:
    files = sorted((*root.glob("new/*"), *root.glob("cur/*")))
    if step == "tick":
        later(argument / 10)
    elif step == "back":
        later(-argument / 10)
    elif step == "deliver":
        put(root, f"new/{number}.x.host", b"x\n" * argument)
    elif not files or step == "open":
        return
    else:
        _change(files[argument % len(files)], root, step, argument)


def _change(path: Path, root: Path, step: str, argument: int) -> None:
    base = path.name.partition(":")[0]
    if step == "flag":
        path.rename(root / "cur" / f"{base}:2,{'F' * (argument % 2)}S")
    elif step == "move":
        path.rename(root / "cur" / f"{base}:2,")
    elif step == "remove":
        path.unlink()
    elif step == "replace":
        put(root, "tmp/x", b"y\n" * argument).rename(path)
    elif step == "rewrite":  # and the folder shows it, as for any program that writes a new name
        path.write_bytes(b"z\n" * argument)
        path.rename(root / "cur" / f"{base}:2,R")
    elif step == "touch":
        os.utime(path, (1_000_000 + argument, 1_000_000 + argument))


async def test_an_entry_for_a_name_without_a_time(maildir: Path, later: Later) -> None:
    """P-048, P-049: its place does not move when somebody sets its time."""
    os.utime(put(maildir, "cur/zebra:2,", b"z\n"), (2, 2))
    later()
    before = await ids(another_process(maildir))
    assert before == ["1.a.host", "2.b.host", "zebra", "3.c.host"]
    os.utime(maildir / "cur/zebra:2,", (9, 9))
    later(TRUST + 1)
    assert await ids(another_process(maildir)) == before
    assert index.read(str(maildir / "restante/index")).snapshot.messages[2].order == (NOT_ADOPTED, 2, 0)


def test_paths_are_keys(maildir: Path) -> None:
    """What identifies a file is its base name and its inode."""
    places: dict[Key, Paths] = Folder(str(maildir)).places()
    assert {base for base, _ in places} == {"1.a.host", "2.b.host", "3.c.host"}
