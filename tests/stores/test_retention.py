"""LOGIN-DELAY and EXPIRE, as a Maildir keeps them."""

import os
import time
from pathlib import Path

import pytest

from restante.errors import LoginDelayed, MaildropInUse
from restante.stores.maildir import MaildirStore
from tests.stores.test_contract import BOB, contents, deliver
from tests.stores.test_maildir import put

DAY = 86400


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Bob's Maildir, made by another program."""
    path = tmp_path / "bob"
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)
    return path


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


async def test_old_messages_go_before_the_session(tmp_path: Path, maildir: Path) -> None:
    """P-143, P-157: after the days that are announced, and never out of a session that has seen them."""
    old, young = int(time.time()) - 31 * DAY, int(time.time()) - 29 * DAY
    age(put(maildir, f"cur/{old}.M1P1.host:2,S"), 31)
    age(put(maildir, f"new/{young}.M1P1.host"), 29)
    store = MaildirStore(f"{tmp_path}/{{user}}", expire=30)
    maildrop = await store.open(BOB)
    assert [message.unique_id for message in maildrop.listing] == [f"{young}.M1P1.host"]
    age(next((maildir / "new").iterdir()), 40)
    (await maildrop.retrieve(1)).close()  # it was shown, so it stays
    await maildrop.close()
    assert (maildir / "restante" / "deleted" / f"{old}.M1P1.host:2,S").exists()


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


async def test_expiry_without_undo(tmp_path: Path, maildir: Path) -> None:
    """With undo = "0" an expired message is removed at once."""
    age(put(maildir, "cur/1000.M1P1.host:2,S"), 31)
    store = MaildirStore(f"{tmp_path}/{{user}}", undo=0, expire=30)
    await deliver(store, b"x\n")
    assert await contents(store) == [b"x\r\n"]
    assert list((maildir / "restante" / "deleted").iterdir()) == []
