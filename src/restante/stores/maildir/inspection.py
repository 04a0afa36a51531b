"""What is wrong with a Maildir, for ``restante check``; looks, and changes nothing."""

import os
import time
from collections.abc import Iterator

from restante.stores.maildir import names
from restante.stores.maildir.folder import STALE_TMP, Folder, read_through


def problems(folder: Folder) -> Iterator[str]:
    """Say what is wrong with a Maildir, a line each, path first.

    Raises:
        OSError: it cannot be listed.
    """
    if not os.path.isdir(folder.path):
        yield f"{folder.path}: a Maildir is a folder"
        return
    for directory in ("tmp", "new", "cur"):
        if not os.path.isdir(folder.join(directory)):
            yield f"{folder.join(directory)}: this folder of a Maildir is missing"
            return
    seen: dict[str, str] = {}
    for directory in ("new", "cur"):
        with os.scandir(folder.join(directory)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith("."):
                    yield from _problems_of(entry, seen)
    for path, status in folder.files("tmp"):
        if status.st_mtime < time.time() - STALE_TMP:
            yield f"{path}: a delivery that was never finished; it may be removed"


def _problems_of(entry: "os.DirEntry[str]", seen: dict[str, str]) -> Iterator[str]:
    if not entry.is_file(follow_symlinks=False):
        yield f"{entry.path}: not a regular file, so it is not shown as a message"
        return
    base = names.base_name(entry.name)
    if base in seen:
        yield f"{entry.path}: has the same base name as {seen[base]}; a message needs a name of its own"
    seen[base] = entry.path
    sizes = names.known_sizes(base)
    try:
        found, _ = read_through(entry.path)
    except OSError as error:
        yield f"{entry.path}: cannot be read: {error.strerror}"
        return
    if sizes is not None and sizes != found:
        right = names.with_sizes("", found)[1:].replace(",", ", ")
        yield f"{entry.path}: was rewritten: it holds {right}, and its name says otherwise"
