"""What became of a delivery whose process died.  Everything here blocks, and is meant to run in a thread.

A file is in ``tmp`` under its base name until one rename puts it into ``new`` under its receipt, which is that name
with the sizes behind it.  So it was delivered if the receipt is anywhere in the Maildir, whatever flags it has by now.
"""

import os
from collections.abc import Iterator

from restante.errors import PermanentFailure
from restante.stores.files import unlink_if_there
from restante.stores.maildir import names
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.records import DIRECTORIES


def settle(folder: Folder, receipt: str) -> bool:
    """See `restante.maildrop.Traceable.settle`.

    Raises:
        PermanentFailure: that is no receipt.
        OSError: the Maildir cannot be looked at.
    """
    if not receipt or "/" in receipt or receipt.startswith("."):
        raise PermanentFailure(f"{receipt!r} is no receipt of a Maildir")
    base = receipt.partition(",")[0]
    if unlink_if_there(folder.join("tmp", base)):
        return False
    if any(os.path.exists(folder.join("new", name)) for name in (receipt, f"{receipt}:2,")):
        return True
    return any(receipt == names.base_name(name) for path in _folders(folder) for name in _listed(path))


def _folders(folder: Folder) -> Iterator[str]:
    """Give the places where a message may be by now: the subfolders of Maildir++ among them."""
    yield from (folder.join(name) for name in DIRECTORIES)
    yield folder.ours("deleted")
    for name in _listed(folder.path):
        if name.startswith("."):
            yield from (folder.join(name, part) for part in DIRECTORIES)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
