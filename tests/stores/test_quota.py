"""Maildir++ quota (M-012 to M-016)."""

import os
import time
from pathlib import Path

import pytest

from restante.errors import QuotaExceeded
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.quota import LONGEST, Limits, Quota
from tests.stores.test_contract import BOB, contents, deliver
from tests.stores.test_maildir import empty_maildir, put


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return empty_maildir(tmp_path / "bob")


def store(maildir: Path, quota: Limits | None = None, undo: float = 3600) -> MaildirStore:
    return MaildirStore(f"{maildir.parent}/{{user}}", undo, quota=quota)


def sheet(maildir: Path) -> list[str]:
    return (maildir / "maildirsize").read_text(encoding="ascii").splitlines()


def write(maildir: Path, text: str, age: float = 0) -> None:
    (maildir / "maildirsize").write_text(text, encoding="ascii")
    os.utime(maildir / "maildirsize", (time.time() - age, time.time() - age))


async def delete(store: MaildirStore, *numbers: int) -> None:
    maildrop = await store.open(BOB)
    await maildrop.update(numbers)
    await maildrop.close()


async def test_without_a_quota_there_is_no_file(maildir: Path) -> None:
    """M-016."""
    await deliver(store(maildir), b"one\r\n")
    await delete(store(maildir), 1)
    assert not (maildir / "maildirsize").exists()


async def test_what_comes_and_goes_is_noted(maildir: Path) -> None:
    """M-014, M-015: a line for each delivery and each QUIT, in octets on disk; one for each that is brought back."""
    office = store(maildir, Limits(10_000, 100))
    put(maildir, "cur/1.a.host,S=5000:2,S")  # what the name says is believed
    put(maildir, "cur/2.b.host:2,T", b"x" * 9000)  # to be removed by its owner: not counted
    put(maildir, "new/3.c.host", b"x" * 10)
    await deliver(office, b"one\r\n", b"twotwo\r\n")
    assert sheet(maildir) == ["10000S,100C", "5010 2", "4 1", "7 1"]
    await delete(office, 4, 5)
    assert sheet(maildir)[4:] == ["-11 -2"]
    gone = await office.deleted("bob")
    await office.restore("bob", [one.unique_id for one in gone])
    assert sheet(maildir)[5:] == ["11 2"]
    await delete(office, 2)  # the one with flag T
    assert sheet(maildir)[6:] == []


@pytest.mark.parametrize(("limits", "fits"), [(Limits(10, 0), 2), (Limits(0, 3), 3), (Limits(1000, 1000), 5)])
async def test_a_message_that_has_no_room(maildir: Path, limits: Limits, fits: int) -> None:
    """M-015, D-010: refused before it is in new; nothing is left in tmp, and what is there stays."""
    office = store(maildir, limits)
    for number in range(5):
        if number < fits:
            await deliver(office, b"1234\r\n")
        else:
            with pytest.raises(QuotaExceeded):
                await deliver(office, b"1234\r\n")
    assert len(await contents(office)) == fits
    assert list((maildir / "tmp").iterdir()) == []
    await delete(office, 1)
    await deliver(office, b"1234\r\n")


async def test_the_limits_of_the_file_hold_when_the_site_has_none(maildir: Path) -> None:
    """M-016: another program set them, parts in any order, lines padded."""
    write(maildir, "2C,1000S,7X\n   3    1   \n")
    await deliver(store(maildir), b"one\r\n", b"two\r\n")
    with pytest.raises(QuotaExceeded):
        await deliver(store(maildir), b"three\r\n")
    assert sheet(maildir)[0] == "1000S,2C"


async def test_the_limits_of_the_site_win(maildir: Path) -> None:
    """M-015, M-016: the first line is made anew."""
    write(maildir, "1C\n500 1\n")
    await deliver(store(maildir, Limits(messages=5)), b"one\r\n")
    assert sheet(maildir) == ["5C", "0 0", "4 1"]


async def test_a_file_that_says_no_is_checked(maildir: Path) -> None:
    """M-014: when it has more lines than one, or is old; a fresh count is believed."""
    write(maildir, "3C\n0 1\n0 5\n")
    await deliver(store(maildir), b"one\r\n")
    assert sheet(maildir) == ["3C", "0 0", "4 1"]
    write(maildir, "3C\n0 9\n", age=16 * 60)
    await deliver(store(maildir), b"two\r\n")
    assert sheet(maildir) == ["3C", "4 1", "4 1"]
    write(maildir, "3C\n0 9\n", age=60)
    with pytest.raises(QuotaExceeded):
        await deliver(store(maildir), b"three\r\n")


async def test_a_long_file_is_made_anew(maildir: Path) -> None:
    """M-014."""
    write(maildir, "9C\n" + "0 0\n" * (LONGEST // 4))
    await deliver(store(maildir), b"one\r\n")
    assert sheet(maildir) == ["9C", "0 0", "4 1"]


async def test_what_another_program_removed_is_not_noted_twice(maildir: Path) -> None:
    """M-015: that program has noted it; we note what we removed."""
    office = store(maildir, Limits(messages=100))
    await deliver(office, b"one\r\n", b"two\r\n", b"three\r\n")
    maildrop = await office.open(BOB)
    next(path for path in (maildir / "new").iterdir() if path.read_bytes() == b"two\n").unlink()
    await maildrop.update({1, 2, 3})
    await maildrop.close()
    assert sheet(maildir)[-1] == "-10 -2"


async def test_a_subfolder_without_its_parts(maildir: Path) -> None:
    """Another program is just making it, or has left it so."""
    (maildir / ".Sub/cur").mkdir(parents=True)
    await deliver(store(maildir, Limits(messages=5)), b"one\r\n")
    assert sheet(maildir) == ["5C", "0 0", "4 1"]


async def test_a_fifo_in_place_of_the_file(maildir: Path) -> None:
    """Nobody waits for it."""
    os.mkfifo(maildir / "maildirsize")
    await deliver(store(maildir), b"one\r\n")
    assert len(await contents(store(maildir))) == 1


async def test_subfolders_count_and_the_trash_does_not(maildir: Path) -> None:
    """M-013."""
    for name in (".Sent", ".Trash", "restante", "other"):
        (maildir / name / "cur").mkdir(parents=True)
        (maildir / name / "new").mkdir()
        put(maildir, f"{name}/cur/1.a.host:2,S", b"12345\n")
    await deliver(store(maildir, Limits(10_000)), b"one\r\n")
    assert sheet(maildir) == ["10000S", "6 1", "4 1"]


async def test_a_delivery_while_it_is_counted(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-014: the folder has changed, so the count is made again."""
    put(maildir, "new/1.a.host", b"one\n")
    quota = Quota(Folder(str(maildir)), Limits(messages=9))
    real = Quota._sizes
    rounds = []

    def sizes(self: Quota) -> list[int]:
        found = list(real(self))
        rounds.append(found)
        if len(rounds) == 1:
            put(maildir, "new/2.b.host", b"two\n")
        return found

    monkeypatch.setattr(Quota, "_sizes", sizes)
    quota.recalculate(Limits(messages=9))
    assert rounds == [[4], [4, 4]]
    assert sheet(maildir) == ["9C", "8 2"]


@pytest.mark.parametrize(
    "text", ["", "garbage\nmore\n", "9C\nx y\n1\n", "9" * 40 + "C\n" + "9" * 40 + " 1\n", "\xff\n"]
)
async def test_a_damaged_file(maildir: Path, text: str) -> None:
    """Limits that nobody can read are none; mail is not refused for that."""
    (maildir / "maildirsize").write_bytes(text.encode("latin-1"))
    await deliver(store(maildir), b"one\r\n")
    await deliver(store(maildir, Limits(messages=9)), b"two\r\n")
    assert sheet(maildir)[0] == "9C"


async def test_a_link_is_not_followed(maildir: Path, tmp_path: Path) -> None:
    """P-291: what it points at is not written to."""
    (tmp_path / "precious").write_bytes(b"9C\n")
    (maildir / "maildirsize").symlink_to(tmp_path / "precious")
    Quota(Folder(str(maildir))).note(1, 1)
    assert (tmp_path / "precious").read_bytes() == b"9C\n"


@pytest.mark.parametrize(("octets", "fits"), [(0, True), (6, True), (7, False)])
async def test_room_is_known_before_the_message_comes(maildir: Path, octets: int, fits: bool) -> None:
    """D-010: at RCPT, by what MAIL said of the size."""
    office = store(maildir, Limits(10, 0))
    await deliver(office, b"123\r\n")
    if fits:
        await office.check_room("bob", octets)
    else:
        with pytest.raises(QuotaExceeded):
            await office.check_room("bob", octets)
    assert await contents(office) == [b"123\r\n"]


async def test_room_in_a_maildir_that_another_program_has_made(maildir: Path) -> None:
    """M-016: whose limits are its own."""
    put(maildir, "cur/1.a.host,S=5:2,S", b"1234\n")
    write(maildir, "10S\n5 1\n")
    await store(maildir).check_room("bob", 5)
    with pytest.raises(QuotaExceeded):
        await store(maildir).check_room("bob", 6)


async def test_a_message_larger_than_the_quota_of_a_new_maildrop(tmp_path: Path) -> None:
    """D-010: even without a Maildir."""
    office = MaildirStore(f"{tmp_path}/{{user}}", quota=Limits(10, 0))
    await office.check_room("new", 10)
    with pytest.raises(QuotaExceeded):
        await office.check_room("new", 11)
    assert list(tmp_path.iterdir()) == []
