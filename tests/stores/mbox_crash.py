"""Kills a process that works on a mailbox after each of its system calls.

Run as ``python -m tests.stores.mbox_crash FOLDER WORK``: for n = 1, 2, … a child process does the work in the folder n
and is killed by SIGKILL right after its nth system call; a line for each says whether it got through.  A process of
its own, because it forks.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from restante.auth import Principal
from restante.stores import files
from restante.stores.mbox import MboxStore, appending, delivery, index, journal, locks, mailbox, removal, scan, side
from restante.stores.mbox.delivery import Incoming
from restante.stores.mbox.removal import remove
from tests.stores.dying import DyingOs

MODULES = (files, appending, delivery, index, journal, locks, mailbox, removal, scan, side)
LINE = "From bob@example.org Thu Nov 24 18:22:{:02} 1986\n"
MESSAGES = [
    b"A: 1\n\none\n",
    b"A: 2\n\ntwo\n" * 9000,
    b"A: 3\n\n>From three\n",
    b"A: 4\n\n" + b"four" * 9000 + b"\n",
    b"A: 5\n",
]
MAILBOX = b"".join(LINE.format(n).encode() + octets + b"\n" for n, octets in enumerate(MESSAGES))
MARKED = {"first": {0}, "middle": {1, 3}, "last": {3, 4}, "all": {0, 1, 2, 3, 4}}
DELIVERED = b"A: b\r\n\r\n" + b"From here on\r\n" * 20000
LATER = b"From alice@example.org Fri Nov 25 18:22:48 1986\nA: later\n\nlater\n\n"


def do(folder: Path, work: str, arm: Callable[[], None]) -> None:
    """Do the work; `arm` is called where it begins."""
    box = MboxStore(f"{folder}/{{user}}").mailbox("bob")
    box.side.create()
    lock = box.side.lock()
    if work == "deliver":
        incoming = Incoming(box)
        incoming.write(DELIVERED)
        incoming.finish()
        arm()
        incoming.append()
    elif work in ("login", "recover"):
        if work == "recover":  # the first try meets the dot-lock of the dead process, and removes it
            with suppress(locks.Busy), box.locked():
                pass
        arm()
        with box.locked() as descriptor:
            box.refresh(descriptor)
    else:
        with box.locked() as descriptor:
            listed = box.refresh(descriptor)
        arm()
        with box.locked() as descriptor:
            remove(box, descriptor, listed, MARKED[work])
    os.close(lock)


def die_after(calls: int, folder: Path, work: str) -> int:
    """Do the work in a child process that dies; returns what `os.waitpid` says of it."""
    child = os.fork()
    if child == 0:

        def arm() -> None:
            dying = DyingOs(calls)
            for module in MODULES:
                setattr(module, "os", dying)  # noqa: B010  (mypy knows that modules have no such attribute)

        try:
            do(folder, work, arm)
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  (the parent reports it)
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    return os.waitpid(child, 0)[1]


def prepare(folder: Path, work: str) -> None:
    """Make the mailbox; for ``recover`` the one that a removal has left half done, and mail has come since."""
    folder.mkdir(parents=True)
    (folder / "bob").write_bytes(MAILBOX)
    if work == "recover":
        calls = next(calls for calls in range(1, 1000) if _stops_half_done(calls, folder))
        assert calls
        with (folder / "bob").open("ab") as file:
            file.write(LATER)


def _stops_half_done(calls: int, folder: Path) -> bool:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "bob").write_bytes(MAILBOX)
    assert die_after(calls, folder, "first") == signal.SIGKILL
    octets = (folder / "bob").read_bytes()
    return len(octets) == len(MAILBOX) and octets.startswith(LINE.format(1).encode())


def main(path: Path, work: str) -> None:
    """Let it die after every call, until it gets through; ``half`` is only a removal that was left half done."""
    if work == "half":
        prepare(path, "recover")
        return
    calls = 0
    status = -1
    while status != 0:
        calls += 1
        folder = path / str(calls)
        prepare(folder, work)
        status = die_after(calls, folder, work)
        assert status in (0, signal.SIGKILL), f"unexpected end: {status}"
        print(calls, "finished" if status == 0 else "died", flush=True)


async def contents(folder: Path) -> list[tuple[str, bytes]]:
    """Unique-ids and octets of all messages, by a session."""
    maildrop = await MboxStore(f"{folder}/{{user}}").open(Principal("bob"))
    found = []
    for number, message in enumerate(maildrop.listing, 1):
        file = await maildrop.retrieve(number)
        found.append((message.unique_id, file.read()))
        file.close()
    await maildrop.close()
    return found


def look(folder: Path) -> list[tuple[str, bytes]]:
    """The same, from outside an event loop."""
    return asyncio.run(contents(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
