"""Unique-ids that do not follow from base names: adopted ones, and those of files that share a name."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from restante.errors import PermanentFailure, TemporaryFailure
from restante.maildrop import Adoptable, Given, Maildrop
from restante.stores.maildir import MaildirStore, foreign, ids
from restante.stores.maildir.ids import Following, Known
from tests.stores.test_contract import BOB, contents, read
from tests.stores.test_maildir import empty_maildir, put, settled


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """A Maildir of another program, with three messages."""
    path = empty_maildir(tmp_path / "bob")
    for number, octets in enumerate([b"one\n", b"two\n", b"three\n"], 1):
        settled(put(path, f"cur/{number}.a.host:2,", octets))
    return path


@pytest.fixture
def store(maildir: Path) -> MaildirStore:
    return MaildirStore(f"{maildir.parent}/{{user}}")


def followed(maildir: Path) -> Path:
    """The list of another server that works here, too."""
    path = maildir / "dovecot-uidlist"
    path.write_text("3 V1234567890 N1 G0123456789abcdef\n", encoding="ascii")
    return path


def adoptable(maildrop: Maildrop) -> Adoptable:
    assert isinstance(maildrop, Adoptable)
    return maildrop


async def adopt(store: MaildirStore, *given: Given, follow: str = "", uidl_format: str = "") -> None:
    maildrop = await store.open(BOB)
    try:
        await adoptable(maildrop).adopt(given, follow=follow, uidl_format=uidl_format)
    finally:
        await maildrop.close()


async def listed(store: MaildirStore) -> list[tuple[str, int]]:
    maildrop = await store.open(BOB)
    found = [(message.unique_id, message.octets) for message in maildrop.listing]
    await maildrop.close()
    return found


ADOPTED = [Given(3, "0003"), Given(1, "0001"), Given(2, "0002")]
AS_ADOPTED = [("0003", 7), ("0001", 5), ("0002", 5)]


# -- adoption ---------------------------------------------------------------------------------------


async def test_adopted_ids_and_their_order(store: MaildirStore, maildir: Path) -> None:
    """P-128: from the next session on, in every process, whatever happens to the index."""
    await adopt(store, *ADOPTED)
    assert await listed(store) == AS_ADOPTED
    assert await contents(store) == [b"three\r\n", b"one\r\n", b"two\r\n"]
    (maildir / "restante/index").unlink()
    assert await listed(MaildirStore(f"{maildir.parent}/{{user}}")) == AS_ADOPTED


async def test_adopted_in_a_maildir_that_does_not_change(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-128: the index is believed, but not what it says of ids."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 600)
    await listed(store)
    await adopt(store, *ADOPTED)
    assert await listed(store) == AS_ADOPTED
    assert await listed(MaildirStore(f"{maildir.parent}/{{user}}")) == AS_ADOPTED


async def test_hidden_messages_are_looked_for_at_each_login(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-129: as soon as their ids can be had they are shown, though nothing in the Maildir has changed."""
    followed(maildir)
    await adopt(store, *ADOPTED, follow="dovecot")
    settled(put(maildir, "new/4.a.host", b"4\n"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 600)

    def assign(*_: object) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(foreign, "assign", assign)
        assert await listed(store) == AS_ADOPTED
    monkeypatch.setattr(foreign, "assign", lambda *_: {"4.a.host": "0004"})
    assert await listed(store) == [*AS_ADOPTED, ("0004", 3)]


def test_what_is_added_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-129: the file, and its name when it is new or replaced."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = str(tmp_path / "ids")
    ids.add(path, {("a", 0): Known("A")})
    assert synced == ["ids", tmp_path.name]
    ids.add(path, {("b", 0): Known("B")})
    assert synced[2:] == ["ids"]
    ids.replace(path, {("b", 0): Known("B")}, None)
    assert synced[3:] == ["ids.new", tmp_path.name, tmp_path.name]


async def test_the_session_that_adopts_does_not_change(store: MaildirStore) -> None:
    """P-048."""
    maildrop = await store.open(BOB)
    before = maildrop.listing
    await adoptable(maildrop).adopt(ADOPTED)
    assert maildrop.listing == before
    assert await read(maildrop, 1) == b"one\r\n"
    await maildrop.close()


async def test_messages_that_come_later_stand_behind(store: MaildirStore, maildir: Path) -> None:
    """P-049: however old they are by name."""
    await adopt(store, *ADOPTED)
    put(maildir, "new/0.z.host", b"older\n")
    assert await listed(store) == [*AS_ADOPTED, ("0.z.host", 7)]


async def test_adopted_messages_keep_ids_when_flags_change_or_they_come_back(
    store: MaildirStore, maildir: Path
) -> None:
    """P-125, P-126: deleted and brought back as well."""
    await adopt(store, *ADOPTED)
    (maildir / "cur/1.a.host:2,").rename(maildir / "cur/1.a.host:2,FS")
    maildrop = await store.open(BOB)
    await maildrop.update({1, 2})
    await maildrop.close()
    assert await listed(store) == [("0002", 5)]
    assert {one.unique_id for one in await store.deleted("bob")} == {"0003", "0001"}
    assert await store.restore("bob", ["0001"]) == ["0001"]
    assert await listed(store) == AS_ADOPTED[1:]
    assert (maildir / "cur/1.a.host:2,FS").exists()


async def test_adopting_again(store: MaildirStore, maildir: Path) -> None:
    """The old server was used in between: what it knows comes in its order; what only we know stays behind."""
    await adopt(store, *ADOPTED)
    put(maildir, "new/4.a.host", b"4\n")
    put(maildir, "new/5.a.host", b"5\n")
    assert len(await listed(store)) == 5
    await adopt(store, Given(1, "0003"), Given(2, "0001"), Given(3, "0002"), Given(4, "0004"))
    assert [one for one, _ in await listed(store)] == ["0003", "0001", "0002", "0004", "5.a.host"]


async def test_messages_that_are_not_named_keep_their_ids(store: MaildirStore) -> None:
    """And stand behind the others."""
    await adopt(store, Given(3, "0003"))
    assert [one for one, _ in await listed(store)] == ["0003", "1.a.host", "2.a.host"]
    await adopt(store, Given(3, "0002"))
    assert [one for one, _ in await listed(store)] == ["0002", "0003", "1.a.host"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([Given(1, "a"), Given(1, "b")], "a message is named twice"),
        ([Given(1, "a"), Given(2, "a")], "a is the unique-id of another message"),
        ([Given(1, "2.a.host")], "2.a.host is the unique-id of another message"),
        ([Given(1, "")], "'' is no unique-id: 1 to 70 characters of 0x21 to 0x7E would be right"),
        ([Given(1, "a b")], "'a b' is no unique-id"),
        ([Given(1, "a" * 71)], "is no unique-id"),
        ([Given(1, "\xe9")], "is no unique-id"),
    ],
)
async def test_ids_that_cannot_be_adopted(store: MaildirStore, given: Sequence[Given], problem: str) -> None:
    """P-123, P-124: nothing changes."""
    before = await listed(store)
    with pytest.raises(ValueError, match=problem):
        await adopt(store, *given)
    assert await listed(store) == before


async def test_the_id_of_a_deleted_message_is_not_given_to_another(store: MaildirStore) -> None:
    """P-126: it may come back."""
    maildrop = await store.open(BOB)
    await maildrop.update({1})
    await maildrop.close()
    with pytest.raises(ValueError, match=r"1\.a\.host is the unique-id of another message"):
        await adopt(store, Given(1, "1.a.host"))


async def test_ids_may_change_places(store: MaildirStore) -> None:
    """All of them are named, so no two are ever equal."""
    await adopt(store, Given(1, "2.a.host"), Given(2, "1.a.host"))
    assert await listed(store) == [("2.a.host", 5), ("1.a.host", 5), ("3.a.host", 7)]


async def test_odd_base_names(store: MaildirStore, maildir: Path) -> None:
    """Whatever another program has called the file."""
    names = ["4 b\n%20c", "5\udcff", "%", "-", "6#é"]
    for name in names:
        put(maildir, f"cur/{name}:2,", b"x\n")
    maildrop = await store.open(BOB)
    count = len(maildrop.listing)
    given = [Given(number, f"id{number}") for number in range(1, count + 1)]
    await adoptable(maildrop).adopt(given)
    await maildrop.close()
    (maildir / "restante/index").unlink()
    assert [one for one, _ in await listed(store)] == [f"id{number}" for number in range(1, count + 1)]


# -- what another server says -----------------------------------------------------------------------


async def test_found_ids_are_matched_by_name(store: MaildirStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are no longer there, and messages that the other server has not seen, are left out."""
    known = [
        foreign.Identified("3.a.host", "0003"),
        foreign.Identified("9.gone", "9"),
        foreign.Identified("1.a.host", "1"),
    ]
    monkeypatch.setattr(foreign, "read", lambda *_: known)
    maildrop = await store.open(BOB)
    assert await adoptable(maildrop).found_ids("dovecot", "") == [Given(3, "0003"), Given(1, "1")]
    await maildrop.close()


async def test_nothing_from_another_server(store: MaildirStore) -> None:
    """The caller goes on to look elsewhere."""
    maildrop = await store.open(BOB)
    with pytest.raises(FileNotFoundError):
        await adoptable(maildrop).found_ids("dovecot", "")
    await maildrop.close()


@pytest.fixture
def assigned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Another server that numbers messages; returns the base names it was asked for."""
    asked: list[str] = []

    def assign(_path: str, source: str, uidl_format: str, bases: Sequence[str]) -> dict[str, str]:
        assert (source, uidl_format) == ("dovecot", "%u")
        asked.extend(bases)
        return {base: f"{asked.index(base) + 100}" for base in bases}

    monkeypatch.setattr(foreign, "assign", assign)
    return asked


async def test_new_messages_get_the_ids_of_the_server_that_is_followed(
    store: MaildirStore, maildir: Path, assigned: list[str]
) -> None:
    """Asked once for each, in the order of arrival; then it is our own record that counts (P-125)."""
    await adopt(store, *ADOPTED, follow="dovecot", uidl_format="%u")
    put(maildir, "new/5.a.host", b"5\n")
    put(maildir, "new/4.a.host", b"4\n")
    expected = [*AS_ADOPTED, ("100", 3), ("101", 3)]
    assert await listed(store) == expected
    assert assigned == ["4.a.host", "5.a.host"]
    shutil.rmtree(maildir / "restante/deleted")
    (maildir / "restante/index").unlink()
    assert await listed(MaildirStore(f"{maildir.parent}/{{user}}")) == expected
    assert len(assigned) == 2
    put(maildir, "new/3.b.host", b"3\n")  # came late, by a slow clock
    assert (await listed(store))[-1] == ("102", 3)


async def test_what_was_there_before_keeps_its_id(store: MaildirStore, maildir: Path, assigned: list[str]) -> None:
    """P-125: what that server never knew, when the index is lost; and what was deleted, when it comes back."""
    maildrop = await store.open(BOB)
    await maildrop.update({3})
    await maildrop.close()
    await adopt(store, Given(1, "0001"), follow="dovecot", uidl_format="%u")
    expected = [("0001", 5), ("2.a.host", 5)]
    assert await listed(store) == expected
    (maildir / "restante/index").unlink()
    assert await listed(store) == expected
    assert await store.restore("bob", ["3.a.host"]) == ["3.a.host"]
    assert await listed(store) == [*expected, ("3.a.host", 7)]
    assert assigned == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("dovecot-uidlist:1: damaged")])
async def test_messages_whose_ids_cannot_be_had_stay_hidden(
    store: MaildirStore,
    maildir: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """P-129: an id is shown when it is certain; the mail that is known is served meanwhile."""
    followed(maildir)
    await adopt(store, *ADOPTED, follow="dovecot")
    put(maildir, "new/4.a.host", b"4\n")

    def assign(*_: object) -> dict[str, str]:
        raise error

    monkeypatch.setattr(foreign, "assign", assign)
    for _ in range(2):
        assert await listed(store) == AS_ADOPTED
    assert "new messages stay hidden" in caplog.text
    monkeypatch.setattr(foreign, "assign", lambda *_: {"4.a.host": "0004"})
    assert await listed(store) == [*AS_ADOPTED, ("0004", 3)]


async def test_the_server_that_was_followed_has_gone(
    store: MaildirStore, maildir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file was removed: from now on ids are our own, and what was adopted stays."""
    path = followed(maildir)
    await adopt(store, *ADOPTED, follow="dovecot")
    path.unlink()
    put(maildir, "new/4.a.host", b"4\n")
    with caplog.at_level(logging.INFO):
        assert await listed(store) == [*AS_ADOPTED, ("4.a.host", 3)]
    assert "no longer followed" in caplog.text
    assert ids.read(str(maildir / "restante/ids")).following is None


async def test_an_id_of_the_other_server_that_is_taken(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-124: it began to count anew; ours stay, and no two are equal."""
    followed(maildir)
    await adopt(store, *ADOPTED, follow="dovecot")
    put(maildir, "new/4.a.host", b"4\n")
    monkeypatch.setattr(foreign, "assign", lambda *_: {"4.a.host": "0001"})
    found = await listed(store)
    assert found[:3] == AS_ADOPTED
    assert len({one for one, _ in found}) == 4
    (maildir / "restante/index").unlink()
    assert await listed(store) == found


async def test_a_list_that_cannot_be_followed(store: MaildirStore) -> None:
    """Found out before anything changes: it would hide all new mail later."""
    before = await listed(store)
    with pytest.raises(TemporaryFailure, match="dovecot-uidlist"):
        await adopt(store, *ADOPTED, follow="dovecot")
    assert await listed(store) == before


# -- files that share a base name -------------------------------------------------------------------


async def by_content(store: MaildirStore) -> dict[bytes, str]:
    maildrop = await store.open(BOB)
    found = {await read(maildrop, number): message.unique_id for number, message in enumerate(maildrop.listing, 1)}
    await maildrop.close()
    return found


@pytest.mark.parametrize("first_inode", [0, 1])
async def test_ids_of_copies_survive_the_loss_of_the_index(
    store: MaildirStore, maildir: Path, first_inode: int
) -> None:
    """P-125: written down before they are shown, whichever of the two files has the smaller inode."""
    pair = sorted(
        (put(maildir, f"tmp/{name}", name.encode() + b"\n") for name in "AB"), key=lambda one: one.stat().st_ino
    )
    pair[first_inode].rename(maildir / "cur/9.a.host:2,S")
    assert "9.a.host" in (await by_content(store)).values()
    pair[1 - first_inode].rename(maildir / "new/9.a.host")
    before = await by_content(store)
    assert len(set(before.values())) == 5
    (maildir / "restante/index").unlink()
    for _ in range(2):
        assert await by_content(MaildirStore(f"{maildir.parent}/{{user}}")) == before


async def test_a_copy_of_an_adopted_message(store: MaildirStore, maildir: Path) -> None:
    """P-124: the one that was there keeps the adopted id."""
    await adopt(store, *ADOPTED)
    await listed(store)
    shutil.copy(maildir / "cur/1.a.host:2,", maildir / "cur/1.a.host:2,S")
    found = await listed(store)
    assert found[:3] == AS_ADOPTED
    assert len({one for one, _ in found}) == 4
    (maildir / "restante/index").unlink()
    assert await listed(store) == found


async def test_a_copy_whose_id_cannot_be_saved_stays_hidden(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-129: on a full disk; what is known is served."""
    before = await listed(store)
    shutil.copy(maildir / "cur/1.a.host:2,", maildir / "cur/1.a.host:2,S")

    def add(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ids, "add", add)
        assert await listed(store) == before
    assert len(await listed(store)) == 4


# -- the file ---------------------------------------------------------------------------------------


async def test_a_list_that_is_lost_comes_back_from_the_index(store: MaildirStore, maildir: Path) -> None:
    """P-125: either of the two is enough."""
    await adopt(store, *ADOPTED)
    assert await listed(store) == AS_ADOPTED
    (maildir / "restante/ids").unlink()
    assert await listed(store) == AS_ADOPTED
    (maildir / "restante/index").unlink()
    assert await listed(store) == AS_ADOPTED


@pytest.mark.parametrize(
    "octets",
    [
        b"restante ids 2\n",
        b"restante ids 1\nid 1 -\n",
        b"restante ids 1\nid x - id base\n",
        b"restante ids 1\nid - - \xff base\n",
        b"restante ids 1\nwhat 1 - id base\n",
        b"\0" * 100,
    ],
)
async def test_a_damaged_list(store: MaildirStore, maildir: Path, octets: bytes) -> None:
    """P-044: a person is needed; to go on would change ids, and make clients fetch everything again."""
    await listed(store)
    (maildir / "restante/ids").write_bytes(octets)
    with pytest.raises(PermanentFailure, match="would be right"):
        await store.open(BOB)
    (maildir / "restante/ids").unlink()
    assert len(await listed(store)) == 3  # P-043: and no lock is left


@pytest.mark.parametrize("tail", [b"id 7 - hal", b"res", b"\0\0\0"])
def test_a_line_that_was_never_finished(tmp_path: Path, tail: bytes) -> None:
    """A crash while it was added: nobody has seen the id; the next line takes its place."""
    path = str(tmp_path / "ids")
    if tail != b"res":
        ids.add(path, {("a", 0): Known("A", 1)})
    with (tmp_path / "ids").open("ab") as file:
        file.write(tail)
    before = {} if tail == b"res" else {("a", 0): Known("A", 1)}
    assert ids.read(path).known == before
    ids.add(path, {("b", 7): Known("B")}, Following("dovecot", "%u %v"))
    read = ids.read(path)
    assert read.known == {**before, ("b", 7): Known("B")}
    assert read.following == Following("dovecot", "%u %v")
    assert read.of(("b", 7)) == Known("B")
    assert read.of(("b", 8)) is None
    ids.add(path, {}, end=True)
    assert ids.read(path).following is None


def test_what_is_gone_for_good_is_forgotten(tmp_path: Path) -> None:
    path = str(tmp_path / "ids")
    ids.add(path, {(str(number), 0): Known(f"id{number}", number) for number in range(9)}, Following("courier", ""))
    assert not ids.is_mostly_idle(ids.read(path), [])  # a short list is no trouble
    ids.forget(path, ids.read(path), ["3", "5", "other"])
    left = ids.read(path)
    assert left.known == {("3", 0): Known("id3", 3), ("5", 0): Known("id5", 5)}
    assert left.following == Following("courier", "")
    assert left.next_rank == 6


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
async def test_all_pairs_of_losses(store: MaildirStore, maildir: Path, damage: Callable[[Path], None]) -> None:
    """Index and list, one after the other, in both orders."""
    await adopt(store, *ADOPTED)
    for name in ("index", "ids", "ids", "index"):
        damage(maildir / "restante" / name)
        assert [one for one, _ in await listed(store)] == ["0003", "0001", "0002"]


@pytest.mark.parametrize(
    "line", [b"id 1 - a\rb base", b"id 1 -  base", b"id -1 - a base", b"id 9999999999999999999 - a base"]
)
async def test_what_cannot_stand_in_a_list(store: MaildirStore, maildir: Path, line: bytes) -> None:
    """P-123: an id goes out as it is, so it must be one."""
    await listed(store)
    (maildir / "restante/ids").write_bytes(b"restante ids 1\n" + line + b"\n")
    with pytest.raises(PermanentFailure, match="would be right"):
        await store.open(BOB)


@pytest.mark.parametrize("name", ["ids", "index", "lock"])
async def test_a_folder_in_place_of_a_file(store: MaildirStore, maildir: Path, name: str) -> None:
    """And no descriptor is left open each time."""
    before = await listed(store)
    (maildir / "restante" / name).unlink(missing_ok=True)
    (maildir / "restante" / name).mkdir()
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        if name == "index":
            assert await listed(store) == before
        else:
            with pytest.raises(PermanentFailure):
                await store.open(BOB)
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files + 1


async def test_two_messages_never_have_one_id_whatever_the_list_says(store: MaildirStore, maildir: Path) -> None:
    """P-124: somebody has edited it."""
    await adopt(store, *ADOPTED)
    await listed(store)
    with (maildir / "restante/ids").open("ab") as file:
        file.write(b"id 1 - 0003 2.a.host\n")
    assert len({one for one, _ in await listed(store)}) == 3


async def test_followed_ids_that_cannot_be_saved(
    store: MaildirStore, maildir: Path, assigned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-129: hidden until they can."""
    await adopt(store, *ADOPTED, follow="dovecot", uidl_format="%u")
    await listed(store)
    put(maildir, "new/4.a.host", b"4\n")

    def add(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ids, "add", add)
        assert await listed(store) == AS_ADOPTED
    assert await listed(store) == [*AS_ADOPTED, ("100", 3)]


async def test_the_list_does_not_grow_for_ever(store: MaildirStore, maildir: Path) -> None:
    """What is said of messages that are gone for good goes when half of it is that; ids stay what they are."""
    for number in range(4, 150):
        put(maildir, f"new/{number}.a.host", b"x\n")
    maildrop = await store.open(BOB)
    await adoptable(maildrop).adopt([Given(number, f"id{number}") for number in range(1, 150)])
    await maildrop.close()
    maildrop = await store.open(BOB)
    await maildrop.update(range(10, 150))
    await maildrop.close()
    await store.keep_house()
    assert len(ids.read(str(maildir / "restante/ids")).known) == 149  # they can still be brought back
    before = await listed(store)
    shutil.rmtree(maildir / "restante/deleted")
    (maildir / "restante/deleted").mkdir()
    maildrop = await store.open(BOB)
    await store.keep_house()  # not under a session's feet
    assert len(ids.read(str(maildir / "restante/ids")).known) == 149
    await maildrop.close()
    await store.keep_house()
    assert len(ids.read(str(maildir / "restante/ids")).known) == 9
    assert len(ids.read(str(maildir / "restante/ids.old")).known) == 140  # for a person, should the mail be back
    assert await listed(store) == before
