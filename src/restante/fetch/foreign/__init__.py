"""What other fetchers know of an account, so that a switch from them fetches nothing twice.

Everything here blocks, and only reads.
"""

from pathlib import Path

from restante.errors import one_line
from restante.fetch.foreign import fetchmail, getmail, mpop
from restante.fetch.foreign.known import Known, nothing_of

__all__ = ["KINDS", "Known", "read"]

_FORMATS = {"fetchmail": fetchmail.FORMAT, "getmail": getmail.FORMAT, "mpop": mpop.FORMAT}
KINDS = tuple(_FORMATS)
"""Fetchers whose state can be read."""


def read(kind: str, path: Path, *, host: str, user: str) -> list[Known]:
    """Return what another fetcher knows of the messages of an account, each unique-id once.

    Args:
        kind: one of `KINDS`.
        path: of its state file; for getmail and mpop also the folder in which it is.
        host: of the account, as that fetcher names it; upper and lower case are the same.
        user: of the account.

    Raises:
        ValueError: the file cannot be read, is none of that fetcher, or knows other accounts only; says what would be
            right.
    """
    if kind not in _FORMATS:
        raise ValueError(f"{kind!r} is no fetcher whose state is known; right are {', '.join(KINDS)}")
    try:
        file = _FORMATS[kind].find(path, host, user)
        octets = file.read_bytes()
    except OSError as error:
        raise ValueError(one_line(f"{error.filename or path}: {error.strerror}")) from None
    everything = list(_FORMATS[kind].entries(octets, file))
    own = [one for one in everything if not one.host or _account(one.host, one.user) == _account(host, user)]
    if everything and not own:
        raise nothing_of(file, host, user, (f"{one.user}@{one.host}" for one in everything))
    first: dict[str, Known] = {}
    for one in own:
        first.setdefault(one.unique_id, one)
    return list(first.values())


def _account(host: str, user: str) -> tuple[str, str]:
    return host.lower(), user
