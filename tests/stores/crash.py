"""Kills a process after each of its system calls, and says what is on disk then.

Run as ``python -m tests.stores.crash FOLDER WORK``: for n = 1, 2, … a child process does the work and is killed by
SIGKILL right after its nth system call; one line of JSON for each.  A process of its own, because it forks.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restante.stores import maildir as package
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.listing import scan
from restante.stores.maildir.quota import Quota
from restante.stores.maildir.records import Memory
from restante.stores.maildir.removal import remove

MESSAGES = {
    "cur/1.a.host:2,S": b"one\n",
    "new/2.b.host": b"two\n",
    "cur/3.c.host:2,": b"three\n",
    "new/4.d.host": b"four\n",
    "cur/5.e.host:2,F": b"five\n",
}
MARKED = (1, 2, 5)
DELIVERED = [b"A: b\r\n", b"\r\n", b"body\r\n" * 3]


class DyingOs:
    """Stands for the module ``os`` and dies after a number of its functions have been called.

    Args:
        calls: how many.
    """

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real) or isinstance(real, type):
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def prepare(path: Path) -> Folder:
    """Make a Maildir with the messages above."""
    shutil.rmtree(path, ignore_errors=True)
    maildir = Folder(str(path))
    maildir.create()
    for name, octets in MESSAGES.items():
        (path / name).write_bytes(octets)
    return maildir


def update(maildir: Folder, *, keep: bool, arm: Callable[[], None]) -> None:
    """What a QUIT does; `arm` is called where the UPDATE state begins."""
    maildir.lock()
    messages = scan(maildir, Memory()).messages
    arm()
    remove(maildir, [messages[number - 1] for number in MARKED], keep=keep)


def deliver(maildir: Folder, arm: Callable[[], None]) -> None:
    """What one delivery does."""
    arm()
    incoming = Incoming(maildir, "1000000000.M1P1Q1R00000000.host", Quota(maildir))
    for octets in DELIVERED:
        incoming.write(octets)
    incoming.commit()
    incoming.discard()


def create(path: Path, arm: Callable[[], None]) -> None:
    """What the first login of a user does."""
    shutil.rmtree(path)
    arm()
    Folder(str(path)).create()


def die_after(calls: int, path: Path, work: str) -> int:
    """Do the work in a child process that dies; returns what `os.waitpid` says of it."""
    maildir = prepare(path)
    child = os.fork()
    if child == 0:

        def arm() -> None:
            dying = DyingOs(calls)
            for module in list(sys.modules.values()):
                if module.__name__.startswith(package.__name__) and hasattr(module, "os"):
                    setattr(module, "os", dying)  # noqa: B010  (mypy knows that modules have no such attribute)

        try:
            if work == "deliver":
                deliver(maildir, arm)
            elif work == "create":
                create(path, arm)
            else:
                update(maildir, keep=work == "update", arm=arm)
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  (the parent reports it)
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    return os.waitpid(child, 0)[1]


def main(path: Path, work: str) -> None:
    """Let it die after every call, until it gets through."""
    calls = 0
    status = -1
    while status != 0:
        calls += 1
        status = die_after(calls, path, work)
        assert status in (0, signal.SIGKILL), f"unexpected end: {status}"
        files = {
            str(file.relative_to(path)): file.read_bytes().decode("latin-1")
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
        print(json.dumps({"calls": calls, "finished": status == 0, "files": files}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
