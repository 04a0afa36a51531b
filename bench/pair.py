"""Restante and Dovecot, each in a folder of its own, so that one can be started anew without the other."""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.maildrops import Kind
from bench.peers import Peer, accounts, dovecot, dovecot_missing, in_the_clear, restante


class Side(NamedTuple):
    """One of the two."""

    name: str
    mail: Path
    """The folder of its Maildirs."""
    users: int
    start: Callable[[], AbstractContextManager[Peer]]


def sides(
    folder: Path,
    kind: Kind,
    stored: Callable[[bytes], bytes] = in_the_clear,
    *,
    few: int | None = None,
    cached: bool = False,
) -> list[Side]:
    """Make the maildrops; returns Restante, and Dovecot where it can be measured.

    Args:
        folder: for all files; is made.
        kind: of the maildrops.
        stored: returns the password of a user, as the file of users has it.
        few: users for Dovecot.
        cached: Dovecot's cache holds the accounts.
    """
    raise_limit_of_files()
    workers = os.cpu_count() or 1
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir(parents=True)
    kind.fill(ours / "mail-restante")
    users = _users(kind)
    begin = partial(restante, ours, workers, users, stored=stored)
    found = [Side("Restante", ours / "mail-restante", kind.users, begin)]
    if not dovecot_missing():
        kind = kind._replace(users=few or kind.users)
        theirs.mkdir()
        kind.fill(theirs / "mail-dovecot")
        (theirs / "users").write_bytes(accounts(_users(kind), stored))
        (theirs / "users").chmod(0o644)  # Dovecot reads it as another user
        found.append(
            Side("Dovecot", theirs / "mail-dovecot", kind.users, partial(dovecot, theirs, workers, cached=cached))
        )
    return found


@contextmanager
def running(pair: Sequence[Side]) -> Iterator[list[Peer]]:
    """Start them all."""
    with ExitStack() as stack:
        yield [stack.enter_context(side.start()) for side in pair]


def raise_limit_of_files() -> int:
    """Let this process and its children open as many files as they may; returns the number."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def _users(kind: Kind) -> list[bytes]:
    return [f"{kind.name}{number}".encode() for number in range(kind.users)]
