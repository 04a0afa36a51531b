"""What is particular to mbox files: From_ lines, quoting, ids, what is remembered, faults."""

import errno
import os
import re
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.errors import MaildropInUse, NoSuchMaildrop, PermanentFailure, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Correctable, Inspectable, Maildrop
from restante.stores.mbox import MboxStore, scan, side
from restante.stores.mbox.format import Quoter, Unquoter, from_line, is_from_line, sender_of
from restante.stores.mbox.side import Seen, Side
from tests.stores.test_contract import BOB, contents, deliver, read

FROM = b"From alice@example.org Thu Nov 24 18:22:48 1986\n"
LATER = b"From alice@example.org Thu Nov 24 18:22:49 1986\n"


@pytest.fixture
def store(tmp_path: Path) -> MboxStore:
    return MboxStore(f"{tmp_path}/{{user}}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bob"


async def ids(store: MboxStore) -> list[str]:
    maildrop = await store.open(BOB)
    await maildrop.close()
    return [message.unique_id for message in maildrop.listing]


async def raw(maildrop: Maildrop, number: int) -> bytes:
    """A message as it is stored."""
    file = await maildrop.retrieve(number)
    octets = file.read()
    file.close()
    return octets


async def stored(store: MboxStore) -> list[bytes]:
    """All messages as they are stored."""
    maildrop = await store.open(BOB)
    found = [await raw(maildrop, number) for number in range(1, len(maildrop.listing) + 1)]
    await maildrop.close()
    return found


def age(path: Path) -> None:
    """Make a mailbox old enough to be believed that it does not change any more."""
    os.utime(path, (time.time() - 60, time.time() - 60))


# -- From_ lines and quoting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"From bob@example.org Thu Nov 24 18:22:48 1986\n",
        b"From MAILER-DAEMON Mon Jan  1 00:00:00 2001\n",
        b"From bob Thu Nov 24 18:22 1986\n",
        b"From bob Thu Nov 24 18:22:48 PST 1986\n",
        b"From bob Thu Nov 24 18:22:48 1986 -0800\n",
        b"From 1234@xxx Mon Jan 02 15:04:05 +0000 2012\r\n",
        b"From bob at example.org  Thu Nov 24 18:22:48 1986\n",
        b"From host!bob Thu Nov 24 18:22:48 1986 remote from host\n",
        b"From Thu Nov 24 18:22:48 1986\n",
        b'From "a b"@example.org Thu Nov 24 18:22:48 1986\n',
    ],
)
def test_from_lines(line: bytes) -> None:
    """M-020: with a date, in the forms that programs have written."""
    assert is_from_line(line)


@pytest.mark.parametrize(
    "line",
    [
        b"From here on it gets difficult\n",
        b"From bob Thu Nov 24 18:22:48 1986",
        b"From bob Thu Nov 24 18:22:48 1986 and so on\n",
        b"From Mon Jan 5 to Tue Jan 6 at 12:30 we are closed\n",
        b"from bob Thu Nov 24 18:22:48 1986\n",
        b">From bob Thu Nov 24 18:22:48 1986\n",
        b"From " + b"x" * 2000 + b" Thu Nov 24 18:22:48 1986\n",
    ],
)
def test_sentences_are_no_from_lines(line: bytes) -> None:
    """M-020."""
    assert not is_from_line(line)


def test_from_line_that_is_written() -> None:
    """M-022: no blank in the sender, MAILER-DAEMON for none, asctime in UTC."""
    assert from_line(b"a b@c\xff\n", 0) == b"From a-b@c-- Thu Jan  1 00:00:00 1970\n"
    assert from_line(b"", 533226168) == b"From MAILER-DAEMON Mon Nov 24 14:22:48 1986\n"
    assert is_from_line(from_line(b"x" * 10000, 1e9))


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (b"Return-Path: <a@b>\nSubject: x\n", b"a@b"),
        (b"return-path:a@b\r\n", b"a@b"),
        (b"Return-Path: <>\n", b""),
        (b"Subject: x\nReturn-Path: <a@b>\n", b""),
        (b"Return-Path: <a@b", b""),
    ],
)
def test_sender(message: bytes, sender: bytes) -> None:
    """M-022, D-005: of the Return-Path, if the message begins with one."""
    assert sender_of(message) == sender


PIECES = st.lists(
    st.lists(st.sampled_from([b">", b"\n", b"From ", b"Fro", b"m ", b"F", b"a"]), max_size=8).map(b"".join)
)


@given(pieces=PIECES)
def test_quoting_in_pieces(pieces: list[bytes]) -> None:
    """M-021: however a message is cut, the same lines are quoted, and reading mboxrd gives what was written."""
    whole = b"".join(pieces)
    for kind, pattern in (("mboxrd", rb"(?m)^(>*From )"), ("mboxo", rb"(?m)^(From )")):
        quoter = Quoter(kind)  # type: ignore[arg-type]
        quoted = b"".join(quoter.feed(piece) for piece in pieces) + quoter.finish()
        assert quoted == re.sub(pattern, rb">\1", whole)
    quoter, unquoter = Quoter("mboxrd"), Unquoter()
    again = [unquoter.feed(quoter.feed(piece)) for piece in pieces]
    assert b"".join(again) + unquoter.feed(quoter.finish()) + unquoter.finish() == whole


@given(pieces=PIECES)
def test_unquoting_in_pieces(pieces: list[bytes]) -> None:
    """M-021."""
    unquoter = Unquoter()
    read = b"".join(unquoter.feed(piece) for piece in pieces) + unquoter.finish()
    assert read == re.sub(rb"(?m)^>(>*From )", rb"\1", b"".join(pieces))


def test_a_line_of_quotes_costs_no_memory() -> None:
    """P-093."""
    unquoter = Unquoter()
    assert all(len(unquoter.feed(b">" * 65536)) >= 65535 for _ in range(100))
    assert len(unquoter.finish()) == 1


# -- reading ----------------------------------------------------------------------------------------


async def test_what_is_no_part_of_a_message(store: MboxStore, path: Path) -> None:
    """M-020, P-081, P-098: the From_ line, and the blank line before the next or at the end."""
    path.write_bytes(
        FROM + b"A: 1\n\none\n\n" + FROM + b"A: 2\n\n\n\n" + LATER + b"A: 3\n\n" + FROM + b"\n" + LATER + b"A: 5\n\n5"
    )
    assert await stored(store) == [b"A: 1\n\none\n", b"A: 2\n\n\n", b"A: 3\n", b"", b"A: 5\n\n5"]
    maildrop = await store.open(BOB)
    assert [message.octets for message in maildrop.listing] == [13, 10, 6, 0, 11]
    assert [len(await read(maildrop, number)) for number in range(1, 6)] == [13, 10, 6, 0, 11]
    await maildrop.close()


async def test_from_lines_inside_messages(store: MboxStore, path: Path) -> None:
    """M-020: only after a blank line, only with a date; quoted ones are unquoted once (M-021)."""
    body = b"A: 1\n\nx\n" + FROM + b"\nFrom here on\n\n>>From there\n>From a\n >From b\n"
    path.write_bytes(FROM + body + b"\n" + FROM + b"A: 2\n\n")
    assert await stored(store) == [body.replace(b"\n>", b"\n"), b"A: 2\n"]


async def test_mboxo_is_read_as_it_stands(path: Path, tmp_path: Path) -> None:
    """M-021: what was quoted nobody can tell."""
    store = MboxStore(f"{tmp_path}/{{user}}", "mboxo")
    await deliver(store, b"From a\r\n>From b\r\n")
    assert path.read_bytes().partition(b"\n")[2] == b">From a\n>From b\n\n"
    assert await contents(store) == [b">From a\r\n>From b\r\n"]


async def test_the_kind_of_quoting_changes_sizes_and_no_ids(path: Path, tmp_path: Path) -> None:
    """P-088, P-125."""
    path.write_bytes(FROM + b"A: 1\n\n>From b\n\n")
    rd, o = MboxStore(f"{tmp_path}/{{user}}"), MboxStore(f"{tmp_path}/{{user}}", "mboxo")
    found = []
    for store in (rd, o, rd):
        maildrop = await store.open(BOB)
        assert maildrop.listing[0].octets == len(await read(maildrop, 1))
        found.append(maildrop.listing[0])
        await maildrop.close()
    assert [message.octets for message in found] == [16, 17, 16]
    assert len({message.unique_id for message in found}) == 1


async def test_crlf_mailbox(store: MboxStore, path: Path) -> None:
    """P-099: a mailbox that came from another system."""
    path.write_bytes((FROM + b"A: 1\n\none\n\n" + LATER + b"A: 2\n\n").replace(b"\n", b"\r\n"))
    assert await contents(store) == [b"A: 1\r\n\r\none\r\n", b"A: 2\r\n"]
    await deliver(store, b"A: 3\r\n")
    assert (await contents(store))[1:] == [b"A: 2\r\n", b"A: 3\r\n"]
    assert any("CRLF" in problem for problem in await store.inspect("bob"))


@pytest.mark.parametrize("start", [b"", b"\n", b"\n\r\n\n"])
async def test_blank_lines_at_the_beginning(store: MboxStore, path: Path, start: bytes) -> None:
    path.write_bytes(start)
    assert await contents(store) == []
    path.write_bytes(start + FROM + b"A: 1\n\n" + LATER + b"A: 2\n\n")
    maildrop = await store.open(BOB)
    await maildrop.update({1})
    await maildrop.close()
    assert path.read_bytes() == start + LATER + b"A: 2\n\n"


@pytest.mark.parametrize("octets", [b"\0" * 100_000, b"Subject: x\n\nbody\n\n" + FROM + b"A: 1\n\n", b"From bob\n\n"])
async def test_what_is_no_mbox_is_refused(store: MboxStore, path: Path, octets: bytes) -> None:
    """P-044: never an empty maildrop, nor one without its first messages."""
    path.write_bytes(octets)
    path.chmod(0o600)
    with pytest.raises(PermanentFailure, match=f"{path}: no mbox: it does not begin with a line such as"):
        await store.open(BOB)
    assert len(await store.inspect("bob")) == 1
    assert path.read_bytes() == octets


@pytest.mark.parametrize("block", [7, 64, 1000])
async def test_blocks_of_any_size(store: MboxStore, path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-278: From_ lines are found wherever they are cut."""
    messages = [b"A: %d\n\n" % n + b"From x\n\nFrom " * (n % 5) + b"\nx" * (n % 7) + b"\n" for n in range(60)]
    path.write_bytes(b"".join(FROM.replace(b"48", b"%02d" % n) + octets + b"\n" for n, octets in enumerate(messages)))
    monkeypatch.setattr(scan, "BLOCK", block)
    assert await stored(store) == messages


async def test_a_large_message(store: MboxStore, path: Path) -> None:
    """P-093: read in pieces, unquoted on the fly."""
    lines = [b"%d" % n * 50 for n in range(40_000)]
    lines[::1000] = [b"From x"] * 40
    message = b"A: 1\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"
    await deliver(store, message, b"A: 2\r\n")
    maildrop = await store.open(BOB)
    assert maildrop.listing[0].octets == len(message) > 8_000_000
    assert await read(maildrop, 1) == message
    file = await maildrop.retrieve(1)
    assert 0 < len(file.read(65536)) <= 65536
    file.close()
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"A: 2\r\n"]


async def test_a_header_without_end(store: MboxStore, path: Path) -> None:
    """P-293, D-024: a message that is all header, of 3 MiB, in one line or many."""
    await deliver(store, b"A: " + b"x" * (3 << 20), b"A: x\r\n" * (1 << 19), b"Status: O\r\n" * 300_000)
    maildrop = await store.open(BOB)
    for number, message in enumerate(maildrop.listing, 1):
        assert message.octets == len(await read(maildrop, number)) >= 3_000_000
    await maildrop.close()


async def test_notes_of_c_client_are_no_mail(store: MboxStore, path: Path) -> None:
    """A program that keeps its notes in a first message finds them again."""
    notes = FROM + b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\nStatus: RO\n\nnotes\n\n"
    path.write_bytes(notes + LATER + b"A: 1\n\n" + FROM + b"A: 2\n\n")
    assert await stored(store) == [b"A: 1\n", b"A: 2\n"]
    maildrop = await store.open(BOB)
    await maildrop.update({1, 2})
    await maildrop.close()
    assert path.read_bytes() == notes
    path.write_bytes(FROM + b"A: 1\n\n" + notes)
    assert len(await stored(store)) == 2  # elsewhere, somebody has forwarded it


# -- delivery ---------------------------------------------------------------------------------------


async def test_what_a_delivery_writes(store: MboxStore, path: Path) -> None:
    """M-021, M-022: LF, one blank line after."""
    await deliver(store, b"Return-Path: <a@example.org>\r\nA: 1\r\n\r\nFrom x\r\n>From y\r\n", b"no end", b"")
    octets = re.sub(rb"(?m)^(From \S+) .{24}$", rb"\1 DATE", path.read_bytes())
    assert octets == (
        b"From a@example.org DATE\nReturn-Path: <a@example.org>\nA: 1\n\n>From x\n>>From y\n\n"
        b"From MAILER-DAEMON DATE\nno end\n\n"
        b"From MAILER-DAEMON DATE\n\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == [".restante", "bob"]


@pytest.mark.parametrize(
    ("end", "expected"), [(b"x", b"x\r\n"), (b"x\n", b"x\r\n"), (b"x\r", b"x\r\r\n"), (b"x\n\n", b"x\r\n"), (b"", b"")]
)
async def test_a_mailbox_without_its_end_is_completed(
    store: MboxStore, path: Path, end: bytes, expected: bytes
) -> None:
    """P-087: the next message does not run into the last, whose size and id do not change."""
    path.write_bytes(FROM + end)
    first = await store.open(BOB)
    assert [await read(first, 1)] == [expected]
    await deliver(store, b"A: 2\r\n")
    assert await read(first, 1) == expected
    await first.close()
    second = await store.open(BOB)
    assert second.listing[0] == first.listing[0]
    assert [await read(second, number) for number in (1, 2)] == [expected, b"A: 2\r\n"]
    await second.close()


async def test_a_session_can_delete_the_message_whose_end_was_completed(store: MboxStore, path: Path) -> None:
    """P-136: the line end that a delivery adds is no change."""
    path.write_bytes(FROM + b"A: 1\n\none")
    maildrop = await store.open(BOB)
    await deliver(store, b"A: 2\r\n")
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"A: 2\r\n"]


async def test_a_message_that_still_grew_is_not_deleted(store: MboxStore, path: Path) -> None:
    """M-023: a program that locks nothing was still writing it; the rest was never shown."""
    path.write_bytes(FROM + b"A: 1\n\nhalf")
    maildrop = await store.open(BOB)
    with path.open("ab") as file:
        file.write(b" and half\n\n")
    assert await raw(maildrop, 1) == b"A: 1\n\nhalf"  # what was listed
    with pytest.raises(UpdateIncomplete):
        await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"A: 1\r\n\r\nhalf and half\r\n"]


async def test_a_delivery_that_fails_leaves_nothing(
    store: MboxStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-004: no room for the whole message: the mailbox is as it was."""
    await deliver(store, b"A: 1\r\n")
    before = path.read_bytes()
    real, calls = os.pwrite, 0

    def full(descriptor: int, octets: bytes, offset: int) -> int:
        nonlocal calls
        if len(octets) == 65536:
            calls += 1
            if calls == 3:
                raise OSError(errno.ENOSPC, "no space left")
        return real(descriptor, octets, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TemporaryFailure, match="no space left"):
        await deliver(store, b"x" * 300_000)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert await contents(store) == [b"A: 1\r\n"]


# -- unique-ids -------------------------------------------------------------------------------------

TEN = b"".join(FROM + b"Subject: %d\n\nbody %d\n\n" % (n % 7, n % 7) for n in range(10))


async def test_ids_survive_the_loss_of_the_index(store: MboxStore, path: Path) -> None:
    """P-125, M-025: equal copies have ids of their own (P-124)."""
    path.write_bytes(TEN)
    before = await ids(store)
    assert len(set(before)) == 10
    (path.parent / ".restante" / "bob.index").unlink()
    assert await ids(store) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: 3\n", b"Subject: 3\nStatus: RO\nX-Status: A\n"),
        (b"Subject: 3\n", b"X-UID: 7\nX-Keywords: a\n b\nSubject: 3\nContent-Length: 7\nLines: 1\n"),
        (b"Subject: 0\n", b"X-IMAPbase: 123 45\nSubject: 0\n"),
        (FROM + b"Subject: 1\n\nbody 1\n\n", b""),
        (b"body 5\n\n", b"body 5\n\n\n"),
    ],
)
async def test_ids_survive_other_programs(store: MboxStore, path: Path, old: bytes, new: bytes) -> None:
    """P-125: notes in headers, deletion of other messages, with the index and without."""
    path.write_bytes(TEN)
    before = await ids(store)
    gone = TEN.count(old) if not new else 0
    path.write_bytes(TEN.replace(old, new))
    after = await ids(store)
    assert len(after) == 10 - gone
    assert set(after) <= set(before)
    assert after == [one for one in before if one in after]


async def test_a_copy_keeps_its_id_when_the_other_goes(store: MboxStore, path: Path) -> None:
    """P-124 to P-126: by our hand, or by that of another program that leaves the neighbours as they are."""
    path.write_bytes(TEN)
    before = await ids(store)
    maildrop = await store.open(BOB)
    await maildrop.update({1})  # number 8 is its copy
    await maildrop.close()
    assert await ids(store) == before[1:]
    path.write_bytes(path.read_bytes().replace(FROM + b"Subject: 1\n\nbody 1\n\n", b"", 1))  # number 9 is its copy
    assert await ids(store) == before[2:]
    with path.open("ab") as file:
        file.write(FROM + b"Subject: 1\n\nbody 1\n\n")
    *rest, new = await ids(store)
    assert rest == before[2:]
    assert new not in before


async def test_a_mailbox_in_another_order(store: MboxStore, path: Path) -> None:
    """P-125: sorted by another program."""
    path.write_bytes(TEN)
    before = await ids(store)
    messages = re.findall(rb"From .*?\n\nbody \d\n\n", TEN, re.DOTALL)
    path.write_bytes(b"".join(reversed(messages)))
    assert set(await ids(store)) == set(before)


async def test_ids_are_kept_before_they_are_shown(
    store: MboxStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-129: without room for the index a login shows only ids that come out the same without it."""
    path.write_bytes(TEN)
    before = await ids(store)

    def full(self: side.Side, what: str, octets: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(side.Side, "replace", full)
    with path.open("ab") as file:
        file.write(LATER + b"A: 11\n\n")
    eleven = await ids(store)
    assert eleven[:10] == before
    monkeypatch.undo()
    assert await ids(store) == eleven
    maildrop = await store.open(BOB)
    await maildrop.update({1})  # from now on the id of its copy depends on the index
    await maildrop.close()
    monkeypatch.setattr(side.Side, "replace", full)
    with path.open("ab") as file:
        file.write(LATER + b"A: 12\n\n")
    with pytest.raises(TemporaryFailure, match="cannot be kept"):
        await store.open(BOB)
    monkeypatch.undo()
    assert (await ids(store))[:10] == eleven[1:]


# -- what is remembered -----------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Places of the messages that are measured."""
    places: list[int] = []
    real = scan.measure

    def measure(descriptor: int, line: tuple[int, bytes], *rest: object) -> scan.Entry:
        places.append(line[0])
        return real(descriptor, line, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "measure", measure)
    return places


async def test_a_message_is_measured_once(tmp_path: Path, path: Path, measured: list[int]) -> None:
    """P-082: also by another process; but for the last, which may have grown."""
    path.write_bytes(TEN)
    age(path)
    # The ctime of the file is now: trust begins when that is some time ago, so until then the last is looked at.
    before = await ids(MboxStore(f"{tmp_path}/{{user}}"))
    assert len(measured) == 10
    measured.clear()
    assert await ids(MboxStore(f"{tmp_path}/{{user}}")) == before
    assert len(measured) == 1
    with path.open("ab") as file:
        file.write(LATER + b"A: 11\n\n")
    measured.clear()
    assert (await ids(MboxStore(f"{tmp_path}/{{user}}")))[:10] == before
    assert measured == [len(TEN) * 9 // 10, len(TEN)]


async def test_an_old_mailbox_is_not_read_at_all(
    store: MboxStore, path: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-082: two looks at the system, and the index."""
    path.write_bytes(TEN)
    before = await ids(store)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert await ids(store) == before
    measured.clear()
    monkeypatch.setattr(os, "pread", None)
    assert await ids(store) == before
    assert measured == []


@pytest.mark.parametrize("damage", [b"", b"x", b"restante mbox index 1\n", b"restante mbox index 2\n" * 100])
async def test_a_damaged_index_is_made_anew(store: MboxStore, path: Path, damage: bytes) -> None:
    """P-125."""
    path.write_bytes(TEN)
    before = await ids(store)
    index = path.parent / ".restante" / "bob.index"
    octets = index.read_bytes()
    index.write_bytes(damage)
    assert await ids(store) == before
    index.write_bytes(octets[:100] + bytes([octets[100] ^ 1]) + octets[101:])
    problems = await store.inspect("bob")
    assert [problem for problem in problems if "mode" not in problem] == [f"{index}: is damaged; it may be removed"]
    assert await ids(store) == before


async def test_what_was_told_to_be_wrong_is_measured_anew(store: MboxStore, path: Path, measured: list[int]) -> None:
    """Correctable: with the same ids."""
    path.write_bytes(TEN)
    before = await ids(store)
    maildrop = await store.open(BOB)
    assert isinstance(maildrop, Correctable)
    maildrop.distrust(3)
    await maildrop.close()
    measured.clear()
    assert await ids(store) == before
    assert len(measured) == 10


# -- other programs during a session ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["in place", "by a copy"])
async def test_a_mailbox_rewritten_during_a_session(store: MboxStore, path: Path, how: str) -> None:
    """M-023: what was listed is refused or right, and nothing is deleted."""
    path.write_bytes(TEN)
    maildrop = await store.open(BOB)
    octets = TEN.replace(b"Subject: 1\n", b"Subject: 1\nStatus: RO\n")
    if how == "in place":
        path.write_bytes(octets)
    else:
        (path.parent / "x").write_bytes(octets)
        (path.parent / "x").rename(path)
    assert await raw(maildrop, 1) == b"Subject: 0\n\nbody 0\n"
    for number in (2, 3, 10):
        with pytest.raises(TemporaryFailure):
            await maildrop.retrieve(number)
    with pytest.raises(UpdateIncomplete):
        await maildrop.update({1})
    await maildrop.close()
    assert path.read_bytes() == octets
    assert await ids(store) == [message.unique_id for message in maildrop.listing]


async def test_a_large_message_rewritten_while_it_is_read(store: MboxStore, path: Path) -> None:
    """P-095: it ends in an error, never in a clean end."""
    path.write_bytes(FROM + b"A: 1\n\n" + b"x" * 1_000_000 + b"\n\n" + LATER + b"A: 2\n\n")
    maildrop = await store.open(BOB)
    file = await maildrop.retrieve(1)
    assert len(file.read(65536)) == 65536
    octets = bytearray(path.read_bytes())
    octets[500_000] ^= 1
    path.write_bytes(octets)
    with pytest.raises(OSError, match="rewritten by another program"):
        file.read()
    file.close()
    file.close()
    await maildrop.close()


async def test_a_large_message_is_read_while_mail_arrives(store: MboxStore, path: Path) -> None:
    """P-047."""
    message = b"A: 1\r\n\r\n" + b"x" * 1_000_000 + b"\r\n"
    await deliver(store, message)
    maildrop = await store.open(BOB)
    file = await maildrop.retrieve(1)
    octets = file.read(65536)
    await deliver(store, b"A: 2\r\n")
    assert octets + file.read() == message.replace(b"\r\n", b"\n")
    file.close()
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"A: 2\r\n"]


@pytest.mark.parametrize("emptied", [True, False])
async def test_a_mailbox_emptied_during_a_session(store: MboxStore, path: Path, emptied: bool) -> None:
    """P-145: a marked message that another program has removed counts as removed."""
    path.write_bytes(TEN)
    maildrop = await store.open(BOB)
    if emptied:
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(TemporaryFailure):
        await maildrop.retrieve(1)
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == []


async def test_times_after_a_removal(store: MboxStore, path: Path) -> None:
    """A removal is no news: programs that tell of new mail compare these times."""
    path.write_bytes(TEN)
    os.utime(path, ns=(10**18, 10**18 + 5))
    inode = path.stat().st_ino
    path.chmod(0o660)
    maildrop = await store.open(BOB)
    os.utime(path, ns=(10**18, 10**18 + 5))
    with pytest.raises(UpdateIncomplete):  # the size is the same, and something was changed: better look again
        await maildrop.update({1})
    await maildrop.close()
    maildrop = await store.open(BOB)
    before = path.stat()
    await maildrop.update({1})
    await maildrop.close()
    after = path.stat()
    assert (after.st_mtime_ns, after.st_atime_ns) == (before.st_mtime_ns, before.st_atime_ns)
    assert (after.st_ino, after.st_mode) == (inode, before.st_mode)


# -- places and faults ------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", ".restante", "..", "a/b", "a\0b", "bob.lock", "bob.lock.host.7"])
async def test_names_without_a_mailbox(store: MboxStore, user: str) -> None:
    """P-291: nor may a mailbox be the dot-lock of another."""
    with pytest.raises(NoSuchMaildrop):
        async with store.deliver(user):
            pass


async def test_domains(tmp_path: Path) -> None:
    """Side files are beside each mailbox, or in the same order in a folder of their own."""
    (tmp_path / "mail").mkdir()
    for index in ("", f"{tmp_path}/index"):
        store = MboxStore(f"{tmp_path}/mail/{{domain}}/{{local}}", index=index)
        await deliver(store, b"1\r\n", user="bob@a")
        await deliver(store, b"2\r\n", user="bob@b")
        (await store.open(BOB._replace(user="bob@a"))).listing  # noqa: B018
    assert (tmp_path / "mail/a/.restante/bob.session").exists()
    assert (tmp_path / "index/a/bob.session").exists()


async def test_a_folder_that_is_not_mounted(tmp_path: Path) -> None:
    """P-044, P-054: never an empty maildrop by mistake."""
    store = MboxStore(f"{tmp_path}/mail/{{user}}", index=f"{tmp_path}/index")
    with pytest.raises(TemporaryFailure, match="is it mounted"):
        await store.open(BOB)
    (tmp_path / "mail").mkdir()
    assert await contents(store) == []


async def test_our_folder_has_gone(store: MboxStore, path: Path) -> None:
    """P-044: with all mailboxes, as when a file system is unmounted under us."""
    path.write_bytes(TEN)
    await ids(store)
    path.rename(path.parent / "x")
    (path.parent / ".restante").rename(path.parent / "y")
    with pytest.raises(TemporaryFailure, match="is the file system of the mailboxes mounted"):
        await store.open(BOB)


async def test_a_mailbox_that_is_gone(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-044: removed by a program that removes empty mailboxes, or its file system is gone with it."""
    store = MboxStore(f"{tmp_path}/{{user}}", index=f"{tmp_path}/index")
    path.write_bytes(TEN)
    before = await ids(store)
    path.unlink()
    real = os.stat

    def elsewhere(place: str, **options: bool) -> os.stat_result:
        status = list(real(place, **options))
        status[2] += 1  # st_dev
        return os.stat_result(status)

    monkeypatch.setattr(os, "stat", elsewhere)
    with pytest.raises(TemporaryFailure, match="another file system"):
        await store.open(BOB)
    monkeypatch.undo()
    assert await contents(store) == []
    path.write_bytes(FROM + b"Subject: 0\n\nbody 0\n\n")
    assert (await ids(store))[0] not in before


@pytest.mark.parametrize("trick", ["symlink", "hard link", "folder", "fifo"])
async def test_tricks(store: MboxStore, path: Path, trick: str) -> None:
    """P-044: in a folder where others can write a mailbox may be a trap."""
    target = path.parent / "target"
    target.write_bytes(TEN)
    if trick == "symlink":
        path.symlink_to(target)
    elif trick == "hard link":
        path.hardlink_to(target)
    elif trick == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises((PermanentFailure, TemporaryFailure)):
        await store.open(BOB)
    with pytest.raises((PermanentFailure, TemporaryFailure)):
        await deliver(store, b"x")
    assert target.read_bytes() == TEN
    assert len(await store.inspect("bob")) == 1


@pytest.mark.parametrize("trick", ["symlink", "file", "mode"])
async def test_tricks_with_our_folder(store: MboxStore, path: Path, trick: str) -> None:
    """P-044."""
    ours = path.parent / ".restante"
    if trick == "symlink":
        (path.parent / "x").mkdir()
        ours.symlink_to(path.parent / "x")
    elif trick == "file":
        ours.write_bytes(b"")
    else:
        ours.mkdir()
        ours.chmod(0o777)
    with pytest.raises(PermanentFailure, match=str(ours)):
        await store.open(BOB)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
async def test_root_minds_whose_mailbox_it_is(tmp_path: Path) -> None:
    """A user of this system gets a mailbox of his own; one that belongs to somebody else is a trap."""
    store = MboxStore(f"{tmp_path}/{{user}}")
    await deliver(store, b"1\r\n", user="mail")
    path = tmp_path / "mail"
    assert path.owner() == "mail"
    os.chown(path, 12345, -1)
    with pytest.raises(PermanentFailure, match="must belong to mail"):
        await store.open(BOB._replace(user="mail"))


@pytest.mark.parametrize("call", ["ftruncate", "fsync", "pwrite", "rename"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_a_removal_that_fails(
    store: MboxStore, path: Path, call: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-134: at any of its calls: -ERR, and the next session shows all or the rest."""
    for fails in range(1, 20):
        path.unlink(missing_ok=True)
        path.write_bytes(TEN)
        before = await ids(store)
        maildrop = await store.open(BOB)
        real, calls = getattr(os, call), 0

        def faulty(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= fails:  # noqa: B023
                raise OSError(code, os.strerror(code))
            return real(*arguments)  # noqa: B023

        monkeypatch.setattr(os, call, faulty)
        try:
            await maildrop.update({1, 4})
            failed = False
        except UpdateIncomplete:
            failed = True
        monkeypatch.undo()
        await maildrop.close()
        rest = [one for number, one in enumerate(before, 1) if number not in (1, 4)]
        found = await ids(store)
        assert found in ((before, rest) if failed else (rest,))
        assert await ids(store) == found
        if calls < fails:
            return
    pytest.fail("it never got through")


async def test_sessions_exclude_each_other_across_stores(tmp_path: Path) -> None:
    """P-041."""
    first = await MboxStore(f"{tmp_path}/{{user}}").open(BOB)
    with pytest.raises(MaildropInUse):
        await MboxStore(f"{tmp_path}/{{user}}").open(BOB)
    await first.close()


# -- inspection -------------------------------------------------------------------------------------


async def test_nothing_is_wrong(store: MboxStore, path: Path) -> None:
    assert isinstance(store, Inspectable)
    assert await store.inspect("bob") == []
    await deliver(store, b"A: 1\r\n")
    await ids(store)
    before = sorted((one.name, one.stat().st_mtime_ns) for one in path.parent.rglob("*"))
    assert await store.inspect("bob") == []
    assert sorted((one.name, one.stat().st_mtime_ns) for one in path.parent.rglob("*")) == before


async def test_what_is_wrong(store: MboxStore, path: Path) -> None:
    await deliver(store, b"A: 1\r\n")
    await ids(store)
    path.chmod(0o644)
    lock = path.with_name("bob.lock")
    lock.write_bytes(b"")
    age(lock)
    os.utime(lock, (0, 0))
    ours = path.parent / ".restante"
    (ours / "bob.journal").write_bytes(b"")
    (ours / "bob.rescued-1").write_bytes(b"")
    assert await store.inspect("bob") == [
        f"{lock}: left over by a program that has died; it may be removed",
        f"{path}: mode 644 lets everybody in; right are 600 and 660",
        f"{ours}/bob.journal: a removal was interrupted; the next login finishes it",
        f"{ours}/bob.rescued-1: mail of a mailbox that was changed amid a removal",
    ]


async def test_an_index_that_lies(store: MboxStore, path: Path) -> None:
    await deliver(store, b"A: 1\r\n")
    await ids(store)
    box = store.mailbox("bob")
    index = box.known()
    assert index is not None
    box.side.replace("index", index._replace(entries=(index.entries[0]._replace(octets=7),)).pack())
    assert await store.inspect("bob") == [f"{box.side.path('index')}: is not what the mailbox holds; it may be removed"]


def test_two_deliveries_make_our_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That another thread made it between a look and the next step does not mean that it has gone."""
    seen = Seen()
    real = Side.exists
    looks: list[str] = []

    def exists(self: Side) -> bool:
        found = real(self)
        looks.append(self.folder)
        if len(looks) == 1:
            Side(self.folder, "alice", seen).create()
        return found

    monkeypatch.setattr(Side, "exists", exists)
    Side(str(tmp_path / "ours"), "bob", seen).create()
    assert (tmp_path / "ours").is_dir()
