"""Deleted messages come back, until their time is over."""

import os
import time
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.errors import MaildropInUse, TemporaryFailure
from restante.stores.maildir import MaildirStore, deleted
from restante.stores.maildir.folder import Folder
from tests.stores.test_contract import BOB, contents, deliver
from tests.stores.test_maildir import put


@pytest.fixture
def store(tmp_path: Path) -> MaildirStore:
    return MaildirStore(f"{tmp_path}/{{user}}")


async def delete(store: MaildirStore, *numbers: int) -> list[str]:
    """A session that deletes; returns the ids that its listing had."""
    maildrop = await store.open(BOB)
    ids = [message.unique_id for message in maildrop.listing]
    await maildrop.update(numbers)
    await maildrop.close()
    return ids


async def ids(store: MaildirStore) -> list[str]:
    maildrop = await store.open(BOB)
    found = [message.unique_id for message in maildrop.listing]
    await maildrop.close()
    return found


async def test_deleted_messages_come_back(store: MaildirStore) -> None:
    """P-125, P-049: with their ids, in their places; a client that has them fetches nothing."""
    await deliver(store, *(b"Subject: %d\r\n\r\n" % number for number in range(5)))
    before = await delete(store, 1, 3, 5)
    gone = await store.deleted("bob")
    assert {one.unique_id for one in gone} == {before[0], before[2], before[4]}
    assert [one.octets for one in gone] == [12] * 3
    assert {one.header for one in gone} == {b"Subject: %d\n\n" % number for number in (0, 2, 4)}
    assert all(abs(one.when - time.time()) < 60 for one in gone)
    assert await store.restore("bob", [before[4]]) == [before[4]]
    assert await ids(store) == [before[1], before[3], before[4]]
    assert sorted(await store.restore("bob", before)) == sorted([before[0], before[2]])
    assert await ids(store) == before
    assert await store.deleted("bob") == []
    assert await store.restore("bob", before) == []


async def test_flags_come_back_too(store: MaildirStore, tmp_path: Path) -> None:
    """Also of a message whose name in restante/deleted was taken."""
    maildir = tmp_path / "bob"
    await contents(store)
    for octets in (b"one\n", b"two\n", b"three\n"):
        put(maildir, "cur/100.a.host:2,FS", octets)
        put(maildir, "new/200.b.host", octets)
        await delete(store, 1, 2)
    assert len(await store.deleted("bob")) == 6
    assert {one.unique_id for one in await store.deleted("bob")} == {"100.a.host", "200.b.host"}
    await store.restore("bob", ["100.a.host", "200.b.host"])
    # Two of each fit under that base name; the third waits until there is room.
    assert sorted(path.name for path in maildir.glob("cur/*")) == ["100.a.host:2,", "100.a.host:2,FS", "200.b.host:2,"]
    assert len(list(maildir.glob("new/*"))) == 2
    assert len(await store.deleted("bob")) == 1
    assert len(set(await ids(store))) == 5


async def test_nothing_is_made_for_a_user_who_has_nothing(store: MaildirStore, tmp_path: Path) -> None:
    assert await store.deleted("bob") == []
    assert await store.restore("bob", ["x"]) == []
    assert list(tmp_path.iterdir()) == []


async def test_not_while_a_session_has_the_maildrop(store: MaildirStore) -> None:
    """P-048: its listing stays what it is."""
    await deliver(store, b"one\r\n")
    before = await delete(store, 1)
    maildrop = await store.open(BOB)
    with pytest.raises(MaildropInUse):
        await store.restore("bob", before)
    await maildrop.close()
    assert await store.restore("bob", before) == before


async def test_a_file_system_that_is_not_mounted(tmp_path: Path) -> None:
    store = MaildirStore(f"{tmp_path}/mail/{{user}}")
    for call in (store.deleted("bob"), store.restore("bob", ["x"]), store.keep_house()):
        with pytest.raises(TemporaryFailure):
            await call


async def test_a_message_that_a_crash_left_in_both_places(store: MaildirStore, tmp_path: Path) -> None:
    """It is there once; and deleted again it is not there at all."""
    await deliver(store, b"one\r\n")
    before = await delete(store, 1)
    (path,) = (tmp_path / "bob/restante/deleted").iterdir()
    os.link(path, tmp_path / "bob/new" / path.name)
    assert await ids(store) == before
    assert await store.restore("bob", before) == before
    assert await store.deleted("bob") == []
    assert await ids(store) == before
    os.link(tmp_path / "bob/new" / path.name, path)
    await delete(store, 1)
    assert await ids(store) == []
    assert [one.unique_id for one in await store.deleted("bob")] == before


# -- the end of their time --------------------------------------------------------------------------


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


async def test_all_maildrops_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever they belong to, without a session; other folders are left alone."""
    store = MaildirStore(f"{tmp_path}/{{domain}}/x-{{local}}/Maildir", undo=3600)
    users = ["bob@example.org", "alice@example.org", "bob@example.com"]
    for user in users:
        await deliver(store, b"one\r\n", b"two\r\n", user=user)
        maildrop = await store.open(Principal(user))
        await maildrop.update({1})
        await maildrop.close()
    foreign = tmp_path / "example.org/other/Maildir/restante/deleted"
    foreign.mkdir(parents=True)
    (foreign / "1.a.host").write_bytes(b"not ours\n")
    await store.keep_house()
    assert [len(await store.deleted(user)) for user in users] == [1, 1, 1]
    later(monkeypatch, 3601)
    await store.keep_house()
    assert [len(await store.deleted(user)) for user in users] == [0, 0, 0]
    assert len(list(tmp_path.rglob("new/*"))) == 3
    assert (foreign / "1.a.host").exists()


async def test_the_time_is_that_of_the_deletion(tmp_path: Path) -> None:
    """Not that of the message: old mail that is deleted today can be brought back tomorrow (decision 0003)."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo=3600)
    await contents(store)
    os.utime(put(tmp_path / "bob", "restante/deleted/1.a.host"), (1, 1))
    os.utime(put(tmp_path / "bob", "tmp/2.b.host"), (1, 1))
    await store.keep_house()
    assert len(await store.deleted("bob")) == 1
    assert (tmp_path / "bob/tmp/2.b.host").exists()


async def test_undo_off_leaves_nothing(tmp_path: Path) -> None:
    """undo = "0" was set lately: what was kept before that goes with the next round."""
    store = MaildirStore(f"{tmp_path}/{{user}}")
    await deliver(store, b"one\r\n", b"two\r\n")
    await delete(store, 1)
    store = MaildirStore(f"{tmp_path}/{{user}}", undo=0)
    await delete(store, 1)
    assert len(await store.deleted("bob")) == 1
    await store.keep_house()
    assert await store.deleted("bob") == []


async def test_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work has its turn between portions; what is interrupted leaves the rest for the next round."""
    store = MaildirStore(f"{tmp_path}/{{user}}", undo=0)
    await contents(store)
    for number in range(10):
        put(tmp_path / "bob", f"restante/deleted/{number}.a.host")
    monkeypatch.setattr(deleted, "PORTION", 3)
    left = [len(await store.deleted("bob")) for _ in deleted.purge(Folder(str(tmp_path / "bob")), -1)]
    assert left == [7, 4, 1]
    for number in range(10):
        put(tmp_path / "bob", f"restante/deleted/{number}.a.host")
    next(deleted.purge(Folder(str(tmp_path / "bob")), -1))
    assert len(await store.deleted("bob")) == 7
    await store.keep_house()
    assert await store.deleted("bob") == []


async def test_what_cannot_be_removed_does_not_end_the_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MaildirStore(f"{tmp_path}/{{user}}", undo=0)
    for user in ("alice", "bob", "carol"):
        await (await store.open(Principal(user))).close()
        put(tmp_path / user, "restante/deleted/1.a.host")
    (tmp_path / "bob/tmp").rmdir()
    await store.keep_house()
    assert "purging failed" in caplog.text
    assert [await store.deleted(user) for user in ("alice", "bob", "carol")] == [[], [], []]
