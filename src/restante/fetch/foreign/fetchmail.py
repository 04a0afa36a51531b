"""The file of unique-ids of fetchmail, ``~/.fetchids``: a line ``user@host unique-id`` for each message it has fetched.

There are blanks and ``@`` in names of users, and ``@`` in unique-ids: the first blank after the first ``@`` ends the
account, whose host follows its last ``@``.  The host is the one after ``via``, else the one after ``poll``.  A message
that was left for its size is not there; one whose deletion was not confirmed looks like the others.
"""

from collections.abc import Iterator
from pathlib import Path

from restante.fetch.foreign.known import Format, Known, lines, text, wrong


def _find(path: Path, _host: str, _user: str) -> Path:
    return path


def _entries(octets: bytes, path: Path) -> Iterator[Known]:
    for number, line in lines(octets):
        if not line:
            continue
        blank = line.find(b" ", line.find(b"@") + 1)
        account, unique_id = line[: max(blank, 0)], line[max(blank, 0) :].strip(b" ")
        user, _, host = account.rpartition(b"@")
        if not user or not host or not unique_id:
            raise wrong(path, number, 'no line of fetchmail; "user@host unique-id" would be right')
        yield Known(text(unique_id), text(user), text(host))


FORMAT = Format(_find, _entries)
