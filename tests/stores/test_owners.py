"""A server or a command that is root, in Maildirs whose owners may do in them what they like (P-291)."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restante.errors import Condition, PermanentFailure
from restante.stores.maildir import MaildirStore, index
from restante.stores.maildir.quota import Limits
from restante.stores.maildir.records import EMPTY, Snapshot
from tests.stores.test_contract import BOB, contents, deliver
from tests.stores.test_maildir import empty_maildir, put

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who could do harm")

OWNER = 12345


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Bob's Maildir, which is his own."""
    path = empty_maildir(tmp_path / "bob")
    put(path, "cur/1.a.host:2,S", b"one\n")
    own(path)
    return path


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of root's, with a file."""
    path = tmp_path / "precious"
    path.mkdir()
    (path / "1.file").write_bytes(b"precious\n")
    return path


def own(path: Path) -> None:
    for one in (path, *path.rglob("*")):
        os.chown(one, OWNER, OWNER, follow_symlinks=False)


def what_changes(folder: Path) -> dict[str, tuple[int, ...]]:
    """All that a change would change; but reading sets a time, too."""
    found = [(str(path), path.stat()) for path in (folder, *folder.iterdir())]
    return {
        path: (one.st_ino, one.st_mode, one.st_uid, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
        for path, one in found
    }


def store(maildir: Path, undo: float = 60) -> MaildirStore:
    return MaildirStore(f"{maildir.parent}/{{user}}", undo, login_delay=1, quota=Limits(messages=100))


async def test_what_root_makes_belongs_to_the_owner(maildir: Path) -> None:
    """Or a server that is not root could not go on: sessions, deliveries, quota, undo, repair, ids of copies."""
    office = store(maildir)
    await office.repair("bob")
    put(maildir, "new/1.a.host", b"copy\n")
    own(maildir)
    await deliver(office, b"two\r\n")
    maildrop = await office.open(BOB)
    await maildrop.update({1})
    await maildrop.close()
    await office.restore("bob", [one.unique_id for one in await office.deleted("bob")])
    assert (maildir / "restante/ids").exists()
    assert (maildir / "maildirsize").exists()
    owners = {str(path.relative_to(maildir)): path.stat().st_uid for path in maildir.rglob("*")}
    assert (
        owners.pop("restante/index") == 0
    )  # a cache, which everybody may replace, and nobody believes who cannot write it
    assert set(owners.values()) == {OWNER}, owners


async def test_a_maildir_that_root_makes_belongs_to_the_owner_of_the_folder_above(tmp_path: Path) -> None:
    """As that of an account that has none yet."""
    os.chown(tmp_path, OWNER, OWNER)
    await contents(MaildirStore(f"{tmp_path}/{{user}}"))
    assert {path.stat().st_uid for path in (tmp_path / "bob", *tmp_path.rglob("bob/*"))} == {OWNER}


async def test_an_index_of_somebody_else_is_not_believed(maildir: Path, precious: Path) -> None:
    """It could name any file as a message, and hold any octets as an id."""
    await contents(MaildirStore(f"{maildir.parent}/{{user}}"))
    path = str(maildir / "restante/index")
    (one,) = index.read(path).snapshot.messages
    index.write(
        path, Snapshot.of([one._replace(paths=("../precious/1.file",), message=one.message._replace(octets=10))])
    )
    os.chown(path, OWNER, OWNER)
    assert index.read(path).snapshot is EMPTY
    assert await contents(MaildirStore(f"{maildir.parent}/{{user}}")) == [b"one\r\n"]


async def everything(office: MaildirStore) -> None:
    """All that the server and the commands do; what it refuses does not matter here."""
    for call in (
        lambda: contents(office),
        lambda: deliver(office, b"x\r\n"),
        lambda: office.repair("bob"),
        lambda: office.inspect("bob"),
        lambda: office.deleted("bob"),
        lambda: office.restore("bob", ["1.file"]),
        office.keep_house,
    ):
        try:
            await call()
        except Condition:
            continue


PARTS = ["tmp", "new", "cur", "restante", "restante/deleted"]


@pytest.mark.parametrize("part", PARTS)
async def test_a_link_to_a_folder_of_somebody_else(
    maildir: Path, precious: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there is read, removed, changed or added."""
    await contents(store(maildir))
    (maildir / part).rename(maildir / "away")
    (maildir / part).symlink_to(precious)
    own(maildir)
    before = what_changes(precious)
    with pytest.raises(PermanentFailure, match="a link to a folder of somebody else is not followed"):
        await store(maildir).open(BOB)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10**6)
    await everything(store(maildir, undo=0))
    assert what_changes(precious) == before


async def test_a_link_to_a_folder_of_his_own(maildir: Path) -> None:
    """He has moved his mail to another disk."""
    maildir.rename(maildir.with_name("elsewhere"))
    maildir.symlink_to(maildir.with_name("elsewhere"))
    os.chown(maildir, OWNER, OWNER, follow_symlinks=False)
    assert await contents(store(maildir)) == [b"one\r\n"]


FILES = ["restante/index", "restante/index.new", "restante/ids", "restante/ids.new", "restante/lock", "restante/login"]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", [*FILES, "maildirsize", "cur/9.b.host:2,", "restante/deleted/9.b.host"])
async def test_a_link_to_a_file_of_somebody_else(
    maildir: Path, precious: Path, name: str, link: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its octets, its mode and its owner, and its own name."""
    await contents(store(maildir))
    (maildir / name).unlink(missing_ok=True)
    target = precious / "1.file"
    target.chmod(0)
    link(maildir / name, target)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10**6)
    await everything(store(maildir, undo=0))
    status = target.stat()
    assert (target.read_bytes(), status.st_uid, status.st_mode & 0o777) == (b"precious\n", 0, 0)
