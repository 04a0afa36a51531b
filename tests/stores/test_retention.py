"""LOGIN-DELAY and EXPIRE, as a Maildir keeps them."""

import os
import time
from pathlib import Path

import pytest

from restante.errors import LoginDelayed, MaildropInUse
from restante.stores.maildir import MaildirStore, folder
from tests.stores.test_contract import BOB, contents
from tests.stores.test_maildir import empty_maildir, put

DAY = 86400


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Bob's Maildir, made by another program."""
    return empty_maildir(tmp_path / "bob")


def age(path: Path, days: float) -> Path:
    """Make a file that old."""
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


async def test_a_login_too_soon(tmp_path: Path, maildir: Path) -> None:
    """P-051, P-043: counted from the last successful login, in each process; the lock is free again after a refusal."""
    store, other = (MaildirStore(f"{tmp_path}/{{user}}", login_delay=300) for _ in range(2))
    first = await store.open(BOB)
    for one in (store, other):
        with pytest.raises(MaildropInUse):  # P-041: whoever is in comes first
            await one.open(BOB)
    await first.close()
    for one in (store, other, store):
        with pytest.raises(LoginDelayed):
            await one.open(BOB)
    age(maildir / "restante" / "login", 301 / DAY)
    await (await other.open(BOB)).close()
    with pytest.raises(LoginDelayed):
        await store.open(BOB)
    future = time.time() + DAY  # a clock that went back keeps nobody out
    os.utime(maildir / "restante" / "login", (future, future))
    await (await store.open(BOB)).close()


async def test_no_delay_and_no_file(tmp_path: Path, maildir: Path) -> None:
    """What is not asked for costs nothing."""
    store = MaildirStore(f"{tmp_path}/{{user}}")
    for _ in range(2):
        await (await store.open(BOB)).close()
    assert not (maildir / "restante" / "login").exists()


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Put the clock forward: when a file came here (its ctime) cannot be put back."""
    real = time.time
    monkeypatch.setattr("restante.stores.maildir.folder.time.time", lambda: real() + days * DAY)


async def test_old_messages_go_before_the_session(
    tmp_path: Path, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-143, P-157: after the days that are announced, and never out of a session that has seen them."""
    old, young = int(time.time()), int(time.time()) + 2 * DAY
    put(maildir, f"cur/{old}.M1P1.host:2,S")
    put(maildir, f"new/{young}.M1P1.host")
    store = MaildirStore(f"{tmp_path}/{{user}}", expire=30)
    later(monkeypatch, 31)
    maildrop = await store.open(BOB)
    assert [message.unique_id for message in maildrop.listing] == [f"{young}.M1P1.host"]
    later(monkeypatch, 10)
    (await maildrop.retrieve(1)).close()  # it was shown, so it stays
    await maildrop.close()
    assert (maildir / "restante" / "deleted" / f"{old}.M1P1.host:2,S").exists()


async def test_what_has_just_come_here_stays(tmp_path: Path, maildir: Path) -> None:
    """However old name and time say it is: copied, restored or brought back from the deleted ones."""
    old = int(time.time()) - 31 * DAY
    age(put(maildir, f"cur/{old}.M1P1.host:2,S"), 31)
    age(put(maildir, "new/noname.h"), 31)
    assert len(await contents(MaildirStore(f"{tmp_path}/{{user}}", expire=30))) == 2


async def test_what_cannot_be_removed_keeps_nobody_out(
    tmp_path: Path, maildir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P-293: the owner gets in, and sees what is still there."""
    put(maildir, f"cur/{int(time.time())}.M1P1.host:2,S")
    store = MaildirStore(f"{tmp_path}/{{user}}", expire=30)
    await (await store.open(BOB)).close()
    (maildir / "restante" / "deleted").rmdir()
    (maildir / "restante" / "deleted").write_bytes(b"")
    later(monkeypatch, 31)
    monkeypatch.setattr(folder.Folder, "create", lambda _, **_options: None)
    maildrop = await store.open(BOB)
    assert len(maildrop.listing) == 1
    await maildrop.close()
    assert "expired messages not removed" in caplog.text


async def test_only_what_is_old_by_name_and_by_file_goes(tmp_path: Path, maildir: Path) -> None:
    """A wrong clock, a copy or an odd name makes a message stay."""
    old = int(time.time()) - 31 * DAY
    put(maildir, f"new/{old}.M1P1.copied-today")
    age(put(maildir, f"new/{int(time.time())}.M1P1.restored"), 31)
    put(maildir, "new/1.a")
    store = MaildirStore(f"{tmp_path}/{{user}}", expire=30)
    assert len(await contents(store)) == 3


@pytest.mark.parametrize("expire", [None, 0])
async def test_messages_stay_for_ever(tmp_path: Path, maildir: Path, expire: int | None) -> None:
    """P-142: EXPIRE 0 is the session's to keep: only what was retrieved goes, at QUIT."""
    age(put(maildir, "cur/1000.M1P1.host:2,S"), 10_000)
    assert len(await contents(MaildirStore(f"{tmp_path}/{{user}}", expire=expire))) == 1


async def test_expiry_without_undo(tmp_path: Path, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With undo = "0" an expired message is removed at once."""
    put(maildir, "cur/1000.M1P1.host:2,S")
    put(maildir, f"new/{int(time.time()) + 2 * DAY}.M1P1.host", b"x\n")
    store = MaildirStore(f"{tmp_path}/{{user}}", undo=0, expire=30)
    await (await store.open(BOB)).close()
    later(monkeypatch, 31)
    assert await contents(store) == [b"x\r\n"]
    assert list((maildir / "restante" / "deleted").iterdir()) == []
