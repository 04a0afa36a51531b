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
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.quota import Limits, Quota
from tests.interop.catalogue import once
from tests.stores.crash import DELIVERED, MARKED, MESSAGES
from tests.stores.test_contract import contents, deliver

NAMES = list(MESSAGES)
MARKED_NAMES = [NAMES[number - 1] for number in MARKED]
OTHER_NAMES = [name for name in NAMES if name not in MARKED_NAMES]


class Crash(NamedTuple):
    calls: int
    finished: bool
    files: dict[str, str]
    listings: list[list[tuple[str, int]]]

    @property
    def ids(self) -> list[str]:
        """What the next session lists; and the one after it that has no index lists the same (P-125)."""
        with_index, without = self.listings
        assert with_index == without
        return [unique_id for unique_id, _ in with_index]


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


OURS = (
    "restante/lock",
    "restante/index",
    "restante/index.new",
    "restante/ids",
    "restante/ids.new",
    "restante/ids.old",
    "maildirsize",
)


def messages_in(crash: Crash) -> dict[str, str]:
    """All files but ours, by name."""
    return {name: octets for name, octets in crash.files.items() if name not in OURS}


@pytest.mark.parametrize(("work", "keep"), [("update", True), ("update-unlink", False)])
def test_update_stopped_anywhere(tmp_path: Path, work: str, keep: bool) -> None:
    """P-134, P-140, P-279: an unmarked message never moves; a marked one is whole, here or in deleted, or gone."""
    removed_counts = set()
    for crash in crashes(tmp_path / "bob", work):
        files = messages_in(crash)
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
    assert removed_counts == {0, 1, 2, 3}  # every state of the table came up


def test_maildrop_opens_after_any_crash_of_an_update(tmp_path: Path) -> None:
    """P-042, P-140: no lock is left, ids are what they were, in their order."""
    ids = [name.partition("/")[2].partition(":")[0] for name in NAMES]
    for crash in crashes(tmp_path / "bob", "update"):
        found = crash.ids
        assert [unique_id for unique_id in ids if unique_id in found] == found
        assert {ids[NAMES.index(name)] for name in OTHER_NAMES} <= set(found)


@pytest.mark.parametrize("work", ["deliver", "deliver-group"])
def test_delivery_stopped_anywhere(tmp_path: Path, work: str) -> None:
    """M-002, D-004: invisible in tmp, or whole in new; never half a message where a reader looks."""
    whole = b"".join(DELIVERED).decode().replace("\r\n", "\n")
    seen = set()
    for crash in crashes(tmp_path / "bob", work):
        visible = {name: octets for name, octets in crash.files.items() if name.startswith(("new/", "cur/"))}
        for name, octets in MESSAGES.items():
            assert visible.pop(name) == octets.decode()
        in_tmp = [name for name in crash.files if name.startswith("tmp/")]
        assert list(visible.values()) in ([], [whole])
        assert len(in_tmp) + len(visible) == 1 or not crash.finished
        seen.add((len(in_tmp), len(visible)))
        if crash.finished:
            assert list(visible) == [f"new/1000000000.M1P1Q1R00000000.host,S={len(whole)},W={len(b''.join(DELIVERED))}"]
    assert seen - {(0, 0)} == {(1, 0), (0, 1)}


def test_first_login_stopped_anywhere(tmp_path: Path) -> None:
    """P-054: the next login finishes what is missing of the Maildir."""

    async def use(folder: Path) -> list[bytes]:
        store = MaildirStore(f"{folder}/{{user}}")
        await deliver(store, b"one\r\n")
        return await contents(store)

    for crash in crashes(tmp_path / "bob", "create"):
        assert crash.files == {}
        assert crash.ids == []
    for parts in range(6):
        folder = tmp_path / str(parts)
        (folder / "bob").mkdir(parents=True)
        for part in ("tmp", "new", "cur", "restante", "restante/deleted")[:parts]:
            (folder / "bob" / part).mkdir()
        assert asyncio.run(use(folder)) == [b"one\r\n"]


@pytest.mark.parametrize("what", ["index", "index anew"])
def test_an_index_that_was_not_finished(tmp_path: Path, what: str) -> None:
    """M-010, P-125, P-129: the old one or the new one, never a part; ids, sizes and order are the same in any case.

    Two files share a base name, so their ids are written down first.
    """
    seen = set()
    names = [name.partition("/")[2].partition(":")[0] for name in NAMES]
    for crash in crashes(tmp_path / "bob", what):
        assert len(set(crash.ids)) == 7
        assert crash.ids[:5] == names
        assert "6.f.host" in crash.ids
        assert [octets for _, octets in crash.listings[0]][:5] == [5, 5, 7, 6, 6]
        seen.add(("restante/ids" in crash.files, "restante/index.new" in crash.files))
    assert {(False, False), (True, False)} <= seen
    assert ((True, True) in seen) == (what == "index anew")  # else it is only added to


def test_an_adoption_stopped_anywhere(tmp_path: Path) -> None:
    """P-128: all ids are the old ones, or all are the new ones."""
    before = ["old2", "old1", "3.c.host", "4.d.host", "5.e.host"]
    seen = []
    for crash in crashes(tmp_path / "bob", "adopt"):
        if crash.ids != before:
            assert crash.ids == ["new3", "new2", "new1", "4.d.host", "5.e.host"]
        seen.append(crash.ids == before)
    assert seen == sorted(seen, reverse=True)  # first old, then new, and never back
    assert set(seen) == {True, False}


def test_new_mail_beside_dovecot_stopped_anywhere(tmp_path: Path) -> None:
    """P-124, P-129: each message has the number that Dovecot's list has for it, whoever comes next; none has two."""
    before = [name.partition("/")[2].partition(":")[0] for name in NAMES]
    seen = set()
    for crash in crashes(tmp_path / "bob", "follow"):
        assert crash.ids == [*before, "1", "2"]
        lines = crash.files["dovecot-uidlist"].splitlines()[1:]
        assert lines in ([], ["1 :6.f.host", "2 :7.g.host"])
        seen.add((bool(lines), "restante/ids" in crash.files and " 1 6.f.host" in crash.files["restante/ids"]))
    assert seen == {(False, False), (True, False), (True, True)}


def test_undo_stopped_anywhere(tmp_path: Path) -> None:
    """P-124, P-125: each message deleted, or here, or both, and then it is shown once; none is lost, no id changes."""
    ids = [name.partition("/")[2].partition(":")[0] for name in NAMES]
    counts = set()
    for crash in crashes(tmp_path / "bob", "undo"):
        files = messages_in(crash)
        for name in OTHER_NAMES:
            assert files.pop(name) == MESSAGES[name].decode()
        places = []
        for name in MARKED_NAMES:
            here, kept = files.pop(name, None), files.pop(f"restante/deleted/{name.partition('/')[2]}", None)
            assert {here, kept} <= {MESSAGES[name].decode(), None}
            places.append((here is not None, kept is not None))
        assert files == {}
        assert (False, False) not in places
        counts.update(places)
        assert crash.ids == [unique_id for unique_id in ids if unique_id in crash.ids]
        assert len(crash.ids) == len(OTHER_NAMES) + sum(here for here, _ in places)
        if crash.finished:
            assert set(places) == {(True, False)}
    assert counts == {(False, True), (True, True), (True, False)}


@once
def test_purge_stopped_anywhere(tmp_path: Path) -> None:
    """Each deleted message whole or gone; nothing else is touched, and no id changes."""
    ids = ["4.d.host", "three"]
    gone = set()
    lists = set()
    for crash in crashes(tmp_path / "bob", "purge"):
        files = messages_in(crash)
        for name in OTHER_NAMES:
            assert files.pop(name) == MESSAGES[name].decode()
        for name in MARKED_NAMES:
            octets = files.pop(f"restante/deleted/{name.partition('/')[2]}", None)
            assert octets in (None, MESSAGES[name].decode())
            gone.add(octets is None)
        assert files == {}
        lists.add(crash.files["restante/ids"].count("\n"))
        assert sorted(crash.ids) == ids
    assert gone == {True, False}
    assert lists == {202, 2}


@pytest.mark.parametrize(("work", "right"), [("update", "11 2"), ("deliver", "45 6")])
def test_a_quota_after_a_crash(tmp_path: Path, work: str, right: str) -> None:
    """M-014, M-015: the file may lag by what was done last; counted anew it is right."""
    for crash in crashes(tmp_path / "bob", work):
        folder = tmp_path / str(crash.calls)
        rebuild(folder / "bob", crash.files)
        quota = Quota(Folder(str(folder / "bob")))
        assert quota.usage() is not None
        quota.recalculate(Limits(messages=100))
        limits, octets, messages = quota.usage() or (None, 0, 0)
        assert limits == Limits(messages=100)
        if crash.finished:
            assert f"{octets} {messages}" == right
            assert sum(int(line.split()[1]) for line in crash.files["maildirsize"].splitlines()[1:]) == messages
