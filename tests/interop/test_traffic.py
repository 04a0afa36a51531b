"""Four programs at random on one Maildir: at the end every message that nobody deleted is there once, with its id."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.foreign_servers import make_maildir, needs_dovecot_running, open_folder, own, running_dovecot
from tests.interop.program import post_office, running
from tests.interop.traffic import subject
from tests.server.office import Client

OPERATIONS = 500
"""Of each of the four."""

Event = dict[str, Any]


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def work(folder: Path, maildir: Path, ports: dict[str, int], seed: int) -> list[Event]:
    """Let all four work at once; returns what they wrote down, in the order of time."""
    processes = []
    for number, (role, port) in enumerate(ports.items()):
        arguments = [role, str(maildir), str(port), str(seed * 10 + number), str(OPERATIONS)]
        with (folder / f"{role}.log").open("w") as log:
            command = [sys.executable, "-m", "tests.interop.traffic", *arguments]
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE))
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    events = [json.loads(line) for role in ports for line in (folder / f"{role}.log").read_text().splitlines()]
    return sorted(events, key=lambda event: event["time"])


def contents(folder: Path) -> Counter[str]:
    return Counter(subject(path.read_bytes()) for path in folder.iterdir())


@needs_dovecot_running
@pytest.mark.parametrize("seed", [1, 2])
def test_four_programs_at_once(folder: Path, seed: int) -> None:
    """P-124, P-125, P-131, M-006: sessions, IMAP flags and expunges, deliveries, undo; two thousand operations."""
    configuration = post_office(folder / "office")
    configuration.write_text(configuration.read_text().replace("workers = 1", "workers = 2"))
    mail = folder / "office/mail"
    maildir = make_maildir(mail / "bob")
    own(mail)
    for path in (folder / "office", mail):
        path.chmod(0o755)
    with running_dovecot(folder / "dovecot", mail) as dovecot, running("serve", "-c", str(configuration)) as server:
        ports = {"deliveries": 0, "sessions": server.port, "imap": dovecot.imap, "undo": 0}
        events = work(folder, maildir, ports, seed)
        with Client(("127.0.0.1", server.port)) as client:
            assert client.login().startswith(b"+OK ")
            client.ask(b"UIDL")
            listed = [line.split()[1].decode() for line in client.lines()]
            subjects = {}
            for number, unique_id in enumerate(listed, 1):
                assert client.ask(b"RETR %d" % number).startswith(b"+OK ")
                subjects[unique_id] = subject(b"".join(client.lines()))
    check(events, maildir, listed, subjects)


def check(events: list[Event], maildir: Path, listed: list[str], subjects: dict[str, str]) -> None:
    """Compare what is there with what was done."""
    delivered = {event["subject"] for event in events if event["event"] == "delivered"}
    expunged = {event["subject"] for event in events if event["event"] == "expunging"}
    marked = {one for event in events if event["event"] == "marked" for one in event["ids"]}
    assert len(delivered) == OPERATIONS
    assert len(marked) > 50, "the sessions did delete"
    assert any(event["event"] == "restored" and event["ids"] for event in events)
    here, kept = contents(maildir / "new") + contents(maildir / "cur"), contents(maildir / "restante/deleted")
    ids = ids_of(events, subjects)
    deleted = {subject for subject, one in ids.items() if one in marked}
    assert set(here) | set(kept) <= delivered
    for one in delivered:
        if one not in expunged:
            assert here[one] + kept[one] == 1, f"message {one} is here {here[one]} times, deleted {kept[one]} times"
            assert here[one] == 1 or one in deleted, f"message {one} was deleted by nobody"
        assert here[one] + kept[one] <= 1
    assert Counter(subjects.values()) == here
    assert len(set(listed)) == len(listed)
    check_listings(events, ids, {ids[one] for one in delivered if one in ids and one not in expunged | deleted})


def ids_of(events: list[Event], subjects: dict[str, str]) -> dict[str, str]:
    """Return the unique-id of each message that was read; no session ever saw another one (P-125)."""
    ids = {subject: one for one, subject in subjects.items()}
    for event in events:
        if event["event"] == "read":
            assert ids.setdefault(event["subject"], event["id"]) == event["id"]
    return ids


def check_listings(events: list[Event], ids: dict[str, str], untouched: set[str]) -> None:
    """No session missed a message that was there before it began and that nobody ever removed (M-006)."""
    arrived = [(event["time"], ids.get(event["subject"])) for event in events if event["event"] == "delivered"]
    for event in events:
        if event["event"] == "listed":
            due = {one for when, one in arrived if when < event["began"] and one in untouched}
            assert due <= set(event["ids"]), f"a listing lacks {due - set(event['ids'])}"
