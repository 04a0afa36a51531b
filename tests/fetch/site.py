"""An account, its journal and its destination in a folder, and servers that list what a test wants."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restante.client import ServerUrl
from restante.fetch.account import Account, Outcome, Secrets
from restante.fetch.journal import Entry, Journal
from restante.fetch.targets import StoreTarget
from restante.fetch.visit import Visit
from restante.stores.maildir.single import SingleMaildir
from tests.client.peer import multi

LOGIN = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n"}
NUMBERS = range(1, 4)


async def secret() -> Secrets:
    return Secrets(b"secret")


class Told:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.would_do: list[str] = []

    def log(self, account: Account, line: str) -> None:
        self.lines.append(line)

    def planned(self, account: Account, messages: int, octets: int) -> None:
        pass

    def came(self, account: Account, octets: int) -> None:
        pass

    def delivered(self, account: Account) -> None:
        pass

    def would(self, account: Account, line: str) -> None:
        self.would_do.append(line)


def account(folder: Path, url: ServerUrl, **changed: Any) -> Account:
    """Return an account that is delivered to a Maildir in the folder."""
    facts: dict[str, Any] = {
        "name": "work",
        "url": url._replace(user="bob"),
        "secrets": secret,
        "target": StoreTarget(SingleMaildir(str(folder / "Mail"), "host"), ""),
        "journal": folder / "work.journal",
    }
    return Account(**facts | changed)


def visit(one: Account, told: Told | None = None, *, dry: bool = False) -> Outcome:
    """Visit an account once."""
    return asyncio.run(Visit(one, told or Told()).run(dry=dry))


def good(one: Account) -> Outcome:
    """Visit an account once, without problems."""
    outcome = visit(one)
    assert outcome.problems == []
    return outcome


def delivered(folder: Path) -> list[bytes]:
    """Return the messages in the Maildir, in order of arrival."""
    return [path.read_bytes() for path in sorted((folder / "Mail" / "new").iterdir())]


def entries(one: Account) -> dict[str, Entry]:
    """Return what is in the journal."""
    with Journal(one.journal, one.url.account()) as journal:
        return {entry.id: entry for entry in journal}


def body(number: int) -> bytes:
    return b"Subject: %d\r\n\r\nmessage %d\r\n" % (number, number)


def shown(ids: Sequence[bytes] | None, bodies: Mapping[int, bytes] | None = None) -> dict[bytes, bytes]:
    """Return the replies of a server that lists these ids; None: it knows no UIDL."""
    numbers = list(bodies or {}) or list(range(1, len(ids or ()) + 1))
    bodies = bodies or {number: body(number) for number in numbers}
    replies = LOGIN | {b"DELE": b"+OK\r\n", b"CAPA": multi(b"USER", b"TOP", b"UIDL", b"PIPELINING")}
    replies[b"LIST"] = multi(*(b"%d %d" % (number, len(bodies[number])) for number in numbers))
    if ids is not None:
        replies[b"UIDL"] = multi(*(b"%d %b" % (number, ids[at]) for at, number in enumerate(numbers)))
    for number in numbers:
        replies[b"RETR %d" % number] = b"+OK\r\n" + bodies[number] + b".\r\n"
        header = bodies[number].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        replies[b"TOP %d 0" % number] = b"+OK\r\n" + header + b".\r\n"
    return replies
