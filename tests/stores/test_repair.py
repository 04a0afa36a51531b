"""What `restante check` finds in a Maildir, and what `--repair` mends: no mail is lost, no id changes."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from restante.errors import MaildropInUse
from restante.maildrop import Message
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.records import DIRECTORIES, Key, Paths
from tests.stores.test_contract import BOB, deliver
from tests.stores.test_maildir import empty_maildir, put, rewrite_unseen, settled


@pytest.fixture
def store(tmp_path: Path) -> MaildirStore:
    return MaildirStore(f"{tmp_path}/{{user}}")


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    path = empty_maildir(tmp_path / "bob")
    settled(put(path, "cur/1.a.host:2,S", b"one\n"))
    settled(put(path, "cur/2.b.host:2,", b"two\n"))
    return path


async def listing(store: MaildirStore) -> Sequence[Message]:
    maildrop = await store.open(BOB)
    await maildrop.close()
    return maildrop.listing


async def problems(store: MaildirStore, maildir: Path) -> list[str]:
    return [line.removeprefix(f"{maildir}/") for line in await store.inspect("bob")]


async def repair(store: MaildirStore, maildir: Path) -> list[str]:
    return [line.removeprefix(f"{maildir}/") for line in await store.repair("bob")]


async def test_nothing_to_mend(store: MaildirStore, maildir: Path) -> None:
    """The index of a maildrop that nobody has opened yet is made on the way."""
    assert await problems(store, maildir) == []
    assert await repair(store, maildir) == ["restante/index: made anew"]
    assert await repair(store, maildir) == []
    assert await store.repair("nobody") == []
    assert not maildir.with_name("nobody").exists()


async def test_sizes_that_are_wrong(store: MaildirStore, maildir: Path) -> None:
    """Size against bytes, of every message; ids and places stay."""
    await deliver(store, b"three\r\n")
    before = await listing(store)
    rewrite_unseen(maildir / "cur/1.a.host:2,S", b"o\ne\n")
    (ours,) = (maildir / "new").iterdir()
    rewrite_unseen(ours, b"th\nee\n")
    told = [
        "cur/1.a.host:2,S: clients are told 5 octets, and it has 6",
        f"new/{ours.name}: clients are told 7 octets, and it has 8",
    ]
    assert sorted(await problems(store, maildir)) == told
    assert sorted(await repair(store, maildir)) == [
        "cur/1.a.host:2,S: clients are told 6 octets now",
        f"new/{ours.name}: clients are told 8 octets now",
    ]
    assert await problems(store, maildir) == []
    after = await listing(store)
    assert [message.octets for message in after] == [6, 5, 8]
    assert [message.unique_id for message in after] == [message.unique_id for message in before]


async def test_a_name_that_says_something_wrong(store: MaildirStore, maildir: Path) -> None:
    """Our own name, and no index knows better yet; the file keeps it (M-012)."""
    path = put(maildir, "new/1000.M000000P1Q0R00000000.h,S=6,W=8", b"a\nb\nc\n")
    assert await problems(store, maildir) == [
        f"new/{path.name}: was rewritten: it holds S=6, W=9, and its name says otherwise"
    ]
    await repair(store, maildir)
    assert await problems(store, maildir) == []
    assert (await listing(store))[2].octets == 9
    assert path.exists()


async def test_one_file_under_two_names(store: MaildirStore, maildir: Path) -> None:
    """One name is left, and so the message."""
    os.link(maildir / "cur/1.a.host:2,S", maildir / "new/1.a.host")
    before = await listing(store)
    assert await problems(store, maildir) == [
        f"cur/1.a.host:2,S: is the same file as {maildir}/new/1.a.host; one name is enough"
    ]
    assert await repair(store, maildir) == [f"new/1.a.host: removed; the message is {maildir}/cur/1.a.host:2,S"]
    assert await problems(store, maildir) == []
    assert await listing(store) == before


async def test_two_files_with_one_base_name(store: MaildirStore, maildir: Path) -> None:
    """Their ids are kept apart, and are written down."""
    put(maildir, "new/1.a.host", b"other\n")
    told = f"cur/1.a.host:2,S: has the same base name as {maildir}/new/1.a.host; a message needs a name of its own"
    assert await problems(store, maildir) == [told]
    await repair(store, maildir)
    assert (maildir / "restante/ids").exists()
    assert len({message.unique_id for message in await listing(store)}) == 3
    assert "has the same base name" in (await problems(store, maildir))[0]


async def test_modes(store: MaildirStore, maildir: Path) -> None:
    """P-044: a folder its owner cannot use, and one that everybody can."""
    (maildir / "new").chmod(0o500)
    (maildir / "cur").chmod(0o777)
    (maildir / "cur/1.a.host:2,S").chmod(0o040)
    assert await problems(store, maildir) == [
        "new: its owner cannot list it and change it; mode 0700 would be right",
        "cur: everybody can remove mail here; a mode without write permission for others would be right",
    ]
    assert (await repair(store, maildir))[:3] == [
        "new: mode is 0700 now",
        "cur: mode is 0775 now",
        "cur/1.a.host:2,S: its owner can read it now",
    ]
    assert await problems(store, maildir) == []
    assert (maildir / "cur/1.a.host:2,S").stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda maildir: (maildir / "tmp").rmdir(), "tmp: this folder of a Maildir is missing"),
        (lambda maildir: (maildir / "new").rmdir(), "new: this folder of a Maildir is missing"),
        (
            lambda maildir: (maildir / "restante/index").write_bytes(b"x"),
            "restante/index: the index is damaged; remove it, and it is made anew",
        ),
    ],
)
async def test_what_is_made_anew(
    store: MaildirStore, maildir: Path, damage: Callable[[Path], object], problem: str
) -> None:
    await listing(store)
    damage(maildir)
    assert await problems(store, maildir) == [problem]
    assert await repair(store, maildir)
    assert await problems(store, maildir) == []


async def test_a_folder_with_mail_that_has_gone_is_not_made_anew(store: MaildirStore, maildir: Path) -> None:
    """It is somewhere: an empty one in its place would make clients forget what they have (field notes 4.2)."""
    await listing(store)
    (maildir / "cur").rename(maildir / "away")
    assert await repair(store, maildir) == ["cur: not made, because it held 2 messages; put it back"]
    assert not (maildir / "cur").exists()
    (maildir / "away").rename(maildir / "cur")
    assert len(await listing(store)) == 2


async def test_a_name_that_changes_meanwhile(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is renamed to and fro while it is looked for has one name, whatever the listing says."""
    real = Folder.places

    def places(self: Folder, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        found = real(self, directories)
        return {key: (f"new/{key[0]}", *paths) for key, paths in found.items()} if "1.a" in str(found) else found

    await listing(store)
    (maildir / "cur/1.a.host:2,S").rename(maildir / "new/1.a.host")
    monkeypatch.setattr(Folder, "places", places)
    await store.repair("bob")
    monkeypatch.undo()
    assert len(await listing(store)) == 2


async def test_a_damaged_list_of_ids_needs_a_person(store: MaildirStore, maildir: Path) -> None:
    """To mend it would be to guess: it is named, and nothing is touched."""
    await listing(store)
    (maildir / "restante/ids").write_bytes(b"garbage\n")
    line = 'restante/ids:1: is no list of unique-ids; "restante ids 1" would be right'
    assert await problems(store, maildir) == [line]
    with pytest.raises(Exception, match="is no list of unique-ids"):
        await store.repair("bob")
    assert (maildir / "restante/ids").read_bytes() == b"garbage\n"


async def test_deliveries_that_were_never_finished(
    store: MaildirStore, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-004."""
    put(maildir, "tmp/1.a.host")
    assert await problems(store, maildir) == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 37 * 3600)
    assert await problems(store, maildir) == ["tmp/1.a.host: a delivery that was never finished; it may be removed"]
    assert "tmp/1.a.host: removed; it was never finished" in await repair(store, maildir)
    assert await problems(store, maildir) == []


async def test_a_quota_that_is_wrong(store: MaildirStore, maildir: Path) -> None:
    """M-014."""
    (maildir / "maildirsize").write_text("9C\n77 7\n", encoding="ascii")
    assert "maildirsize: says 8 octets in 2 messages now" in await repair(store, maildir)
    assert (maildir / "maildirsize").read_text(encoding="ascii") == "9C\n8 2\n"


async def test_not_while_a_session_has_the_maildrop(store: MaildirStore, maildir: Path) -> None:
    maildrop = await store.open(BOB)
    with pytest.raises(MaildropInUse):
        await store.repair("bob")
    await maildrop.close()
