"""What is in a mailbox when a process dies between two system calls, for each of them."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from restante.stores.mbox import MboxStore
from tests.interop.catalogue import once
from tests.stores.mbox_crash import DELIVERED, LATER, MAILBOX, MARKED, MESSAGES, look
from tests.stores.test_contract import deliver

READ = [octets.replace(b"\n>From", b"\nFrom") for octets in MESSAGES]
DELIVERED_OCTETS = DELIVERED.replace(b"\r\n", b"\n")
LATER_OCTETS = b"A: later\n\nlater\n"


def crashes(path: Path, work: str) -> list[Path]:
    """The folders that processes have left that died after 1, 2, … system calls; the last one got through."""
    command = [sys.executable, "-m", "tests.stores.mbox_crash", str(path), work]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("finished")
    assert len(lines) > 20  # it did die in between
    return [path / line.partition(" ")[0] for line in lines]


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    """Unique-ids of the messages."""
    folder = tmp_path / "ids"
    folder.mkdir()
    (folder / "bob").write_bytes(MAILBOX)
    return [unique_id for unique_id, _ in look(folder)]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("work", MARKED)
def test_update_stopped_anywhere(tmp_path: Path, work: str, ids: list[str], later: bool) -> None:
    """P-134, P-140, M-024: each unmarked message is there once and whole, with its id; all marked ones are, or none.

    So is mail that another program appends between the crash and our next look.
    """
    whole = list(zip(ids, READ, strict=True))
    rest = [one for place, one in enumerate(whole) if place not in MARKED[work]]
    seen = set()
    for folder in (folders := crashes(tmp_path / "x", work)):
        if later:
            with (folder / "bob").open("ab") as file:
                file.write(LATER)
        found = look(folder)
        if later:
            assert found.pop()[1] == LATER_OCTETS
        assert found in (whole, rest), folder
        assert [path.name for path in (folder / ".restante").iterdir() if path.suffix[1:] == "journal"] == []
        assert look(folder)[: len(found)] == found
        seen.add(len(found))
    assert len(found) == len(rest)
    assert seen == {len(whole), len(rest)}
    assert len(folders) > 20


@once
def test_recovery_stopped_anywhere(tmp_path: Path, ids: list[str]) -> None:
    """M-024: finishing what another process left half done may be interrupted too."""
    rest = [one for place, one in enumerate(zip(ids, READ, strict=True)) if place not in MARKED["first"]]
    for folder in crashes(tmp_path / "x", "recover"):
        *found, (_, later) = look(folder)
        assert found == rest
        assert later == LATER_OCTETS


@pytest.fixture
def half_done(tmp_path: Path) -> Path:
    """The folder of a mailbox that a removal of the first message has left half done, with a later message behind."""
    command = [sys.executable, "-m", "tests.stores.mbox_crash", str(tmp_path / "half"), "half"]
    subprocess.run(command, check=True, timeout=300)
    return tmp_path / "half"


def test_another_program_comes_before_the_recovery(half_done: Path) -> None:
    """M-024: what it has made of the mailbox stays, and what was to stay is kept aside for a person."""
    (half_done / "bob").write_bytes(LATER)
    assert [octets for _, octets in look(half_done)] == [LATER_OCTETS]
    (rescued,) = (half_done / ".restante").glob("bob.rescued-*")
    assert rescued.read_bytes() == MAILBOX[MAILBOX.index(b"From bob", 1) :]
    assert not (half_done / ".restante" / "bob.journal").exists()
    assert asyncio.run(MboxStore(f"{half_done}/{{user}}").inspect("bob"))[-1].startswith(f"{rescued}: mail of")
    assert len(look(half_done)) == 1


def test_a_journal_that_the_disk_has_damaged(half_done: Path) -> None:
    """M-024: it is put aside, and what is in the mailbox is shown."""
    journal = half_done / ".restante" / "bob.journal"
    octets = bytearray(journal.read_bytes())
    octets[len(octets) // 2] ^= 1
    journal.write_bytes(octets)
    assert look(half_done)[-1][1] == LATER_OCTETS
    assert journal.with_suffix(".damaged").read_bytes() == octets


def test_a_delivery_before_the_recovery(half_done: Path, ids: list[str]) -> None:
    """M-024, P-136: it finishes the removal first."""
    asyncio.run(deliver(MboxStore(f"{half_done}/{{user}}"), b"A: new\r\n"))
    *found, (_, later), (_, new) = look(half_done)
    assert found == list(zip(ids, READ, strict=True))[1:]
    assert (later, new) == (LATER_OCTETS, b"A: new\n")


@pytest.mark.parametrize("later", [False, True])
def test_delivery_stopped_anywhere(tmp_path: Path, ids: list[str], later: bool) -> None:
    """M-002, D-004: after the next look the message is there as a whole, or not at all.

    Unless another program has appended behind the half of a message: nothing of that is cut off.
    """
    seen = set()
    for folder in crashes(tmp_path / "x", "deliver"):
        if later:
            octets = (folder / "bob").read_bytes()
            lacks = b"" if octets.endswith(b"\n\n") else b"\n" if octets.endswith(b"\n") else b"\n\n"
            (folder / "bob").write_bytes(octets + lacks + LATER)
        found = look(folder)
        assert found[:5] == list(zip(ids, READ, strict=True))
        more = [message for _, message in found[5:]]
        if later:
            assert more.pop() == LATER_OCTETS
            assert len(more) <= 1
            whole_lines = [message.rstrip(b"\n").rpartition(b"\n")[0] for message in more]
            assert all(DELIVERED_OCTETS.startswith(lines) for lines in whole_lines)
        else:
            assert more in ([], [DELIVERED_OCTETS])
        seen.add(len(more))
    assert seen == {0, 1}


def test_login_stopped_anywhere(tmp_path: Path, ids: list[str]) -> None:
    """P-125, P-129."""
    for folder in crashes(tmp_path / "x", "login"):
        assert look(folder) == list(zip(ids, READ, strict=True))
        assert (folder / "bob").read_bytes() == MAILBOX
