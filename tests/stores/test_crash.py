"""What is on disk when a process dies between two system calls: the table in docs/INTERNALS.md.

Each test kills a real process by SIGKILL after each of its system calls in turn, compares what it left with the
table, and opens the maildrop again.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from restante.stores.maildir import MaildirStore
from tests.stores.crash import DELIVERED, MARKED, MESSAGES
from tests.stores.test_contract import BOB, contents, deliver

NAMES = list(MESSAGES)
MARKED_NAMES = [NAMES[number - 1] for number in MARKED]
OTHER_NAMES = [name for name in NAMES if name not in MARKED_NAMES]


class Crash(NamedTuple):
    calls: int
    finished: bool
    files: dict[str, str]


def crashes(path: Path, work: str) -> Iterator[Crash]:
    """What is on disk after 1, 2, … system calls; the last one got through."""
    command = [sys.executable, "-m", "tests.stores.crash", str(path), work]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [Crash(**json.loads(line)) for line in done.stdout.splitlines()]
    assert found[-1].finished
    assert len(found) > 8  # it did die in between
    return iter(found)


def rebuild(path: Path, files: dict[str, str]) -> None:
    """Put back what the dead process left; hidden folders that hold nothing are made as well."""
    for part in ("tmp", "new", "cur", "restante/deleted"):
        (path / part).mkdir(parents=True, exist_ok=True)
    for name, octets in files.items():
        (path / name).write_bytes(octets.encode("latin-1"))


@pytest.mark.parametrize(("work", "keep"), [("update", True), ("update-unlink", False)])
def test_update_stopped_anywhere(tmp_path: Path, work: str, keep: bool) -> None:
    """P-134, P-140, P-279: an unmarked message never moves; a marked one is whole, here or in deleted, or gone."""
    removed_counts = set()
    for crash in crashes(tmp_path / "bob", work):
        ours = ("restante/lock", "restante/index")
        files = {name: octets for name, octets in crash.files.items() if name not in ours}
        expected = {name: MESSAGES[name].decode() for name in OTHER_NAMES}
        removed = 0
        for name in MARKED_NAMES:
            if name in files:
                expected[name] = MESSAGES[name].decode()
                continue
            removed += 1
            if keep:
                expected[f"restante/deleted/{name.partition('/')[2]}"] = MESSAGES[name].decode()
        assert files == expected, f"after {crash.calls} system calls"
        removed_counts.add(removed)
        if crash.finished:
            assert removed == len(MARKED)
    assert removed_counts == {1, 2, 3}  # every state of the table came up (0 is the state before the first call)


def test_maildrop_opens_after_any_crash_of_an_update(tmp_path: Path) -> None:
    """P-042, P-140: no lock is left, ids are what they were, in their order."""
    ids = [name.partition("/")[2].partition(":")[0] for name in NAMES]
    for crash in crashes(tmp_path / "bob", "update"):
        folder = tmp_path / str(crash.calls)
        rebuild(folder / "bob", crash.files)

        async def listed(folder: Path = folder) -> list[str]:
            maildrop = await MaildirStore(f"{folder}/{{user}}").open(BOB)
            found = [message.unique_id for message in maildrop.listing]
            await maildrop.close()
            return found

        found = asyncio.run(listed())
        assert [unique_id for unique_id in ids if unique_id in found] == found
        assert {ids[NAMES.index(name)] for name in OTHER_NAMES} <= set(found)


def test_delivery_stopped_anywhere(tmp_path: Path) -> None:
    """M-002, D-004: invisible in tmp, or whole in new; never half a message where a reader looks."""
    whole = b"".join(DELIVERED).decode().replace("\r\n", "\n")
    seen = set()
    for crash in crashes(tmp_path / "bob", "deliver"):
        visible = {name: octets for name, octets in crash.files.items() if name.startswith(("new/", "cur/"))}
        for name, octets in MESSAGES.items():
            assert visible.pop(name) == octets.decode()
        in_tmp = [name for name in crash.files if name.startswith("tmp/")]
        assert list(visible.values()) in ([], [whole])
        assert len(in_tmp) + len(visible) == 1 or not crash.finished
        seen.add((len(in_tmp), len(visible)))
        if crash.finished:
            assert list(visible) == [f"new/1000000000.M1P1Q1R00000000.host,S={len(whole)},W={len(b''.join(DELIVERED))}"]
    assert seen == {(1, 0), (0, 1)}


def test_first_login_stopped_anywhere(tmp_path: Path) -> None:
    """P-054: the next login finishes what is missing of the Maildir."""

    async def use(folder: Path) -> list[bytes]:
        store = MaildirStore(f"{folder}/{{user}}")
        await deliver(store, b"one\r\n")
        return await contents(store)

    for crash in crashes(tmp_path / "bob", "create"):
        assert crash.files == {}
    for parts in range(6):
        folder = tmp_path / str(parts)
        (folder / "bob").mkdir(parents=True)
        for part in ("tmp", "new", "cur", "restante", "restante/deleted")[:parts]:
            (folder / "bob" / part).mkdir()
        assert asyncio.run(use(folder)) == [b"one\r\n"]
