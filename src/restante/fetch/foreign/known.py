"""What another fetcher knows of a message, and what the readers of all state files need."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from restante.errors import one_line

_NAMED = 5
"""Accounts that an error names."""


class Known(NamedTuple):
    """A message of which another fetcher has a note."""

    unique_id: str
    user: str = ""
    """Whose maildrop it is in; ``""``: the file does not say."""
    host: str = ""
    """Of the server, as that fetcher writes it; ``""``: the file does not say."""
    delivered: bool = True
    owed: bool = False
    """Its deletion was wanted and is not confirmed, as far as the file says so."""
    when: float | None = None
    """Seconds since 1970 of its delivery; None: the file does not say."""
    respelt: bool = False
    """Another way to read the id before it, which that fetcher may have changed; no message more."""


class Format(NamedTuple):
    """How the state of a fetcher is read."""

    find: Callable[[Path, str, str], Path]
    """Takes what the user names, a host and a user; returns the file, or raises `ValueError`."""
    entries: Callable[[bytes, Path], Iterator[Known]]
    """Reads the octets of the file, which the path names; raises `ValueError` at a line that is wrong."""


def lines(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the lines of a file with their numbers, without ends: LF or CRLF, which the last may lack."""
    for number, line in enumerate(octets.split(b"\n"), 1):
        yield number, line.removesuffix(b"\r")


def text(octets: bytes) -> str:
    """Decode octets as the client does with unique-ids, so that both are equal."""
    return octets.decode("utf-8", "surrogateescape")


def wrong(path: Path, number: int, what: str) -> ValueError:
    """Return the error for a line of a file."""
    return ValueError(one_line(f"{path}:{number}: {what}"))


def nothing_of(path: Path, host: str, user: str, others: Iterable[str]) -> ValueError:
    """Return the error for state in which there are accounts, but not the one that is wanted."""
    names = list(dict.fromkeys(others))
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return ValueError(one_line(f"{path}: has nothing of {user}@{host}, but of {shown}; the url must name the same"))
