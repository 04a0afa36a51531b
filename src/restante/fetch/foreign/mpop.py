"""The files of unique-ids of mpop, ``~/.mpop_uidls/USER_at_HOST``, or one file for several accounts.

After comments comes a list for each account: a line `` <number of ids> <host> <user>`` that begins with a blank, then
so many lines with an id each.  A message that was left for its size is not there; one whose deletion was not
confirmed looks like the others.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from restante.fetch.foreign.known import Format, Known, lines, nothing_of, text, wrong

_HEAD = re.compile(rb" +(\d{1,18}) +(\S+) +(.*\S) *")
_NAME = "{user}_at_{host}"


def _find(path: Path, host: str, user: str) -> Path:
    if not path.is_dir():
        return path
    file = path / _NAME.format(user=user, host=host)
    if file.is_file():
        return file
    others = sorted("@".join(one.name.rsplit("_at_", 1)) for one in path.iterdir() if "_at_" in one.name)
    if not others:
        raise ValueError(f"{path}: no folder of mpop; files in it have names like {file.name}")
    raise nothing_of(path, host, user, others)


def _entries(octets: bytes, path: Path) -> Iterator[Known]:
    numbered = lines(octets)
    for number, line in numbered:
        if not line or line.startswith(b"#"):
            continue
        match = _HEAD.fullmatch(line)
        if match is None:
            raise wrong(path, number, 'no line of mpop; " number-of-ids host user" or a comment would be right')
        host, user = text(match[2]), text(match[3])
        for _ in range(int(match[1])):
            _, unique_id = next(numbered, (0, b""))
            # What is missing would be fetched again: a file that is cut off is not taken for a whole one.
            if not unique_id or unique_id.startswith(b" "):
                raise wrong(path, number, f"says that {int(match[1])} unique-ids follow, and there are fewer")
            yield Known(text(unique_id), user, host)


FORMAT = Format(_find, _entries)
