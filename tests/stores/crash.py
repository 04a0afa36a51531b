"""Kills a process after each of its system calls, and says what is on disk then.

Run as ``python -m tests.stores.crash FOLDER WORK``: for n = 1, 2, … a child process does the work and is killed by
SIGKILL right after its nth system call; one line of JSON for each, with what is on disk then, what the next session
sees, and what the one after that sees when the index has been lost, too.  A process of its own, because it forks.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from restante import stores
from restante.auth import Principal
from restante.maildrop import Given
from restante.stores.flushing import Always, Durability, Group
from restante.stores.maildir import MaildirStore, adopting, deleted, ids
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.foreign import dotlock
from restante.stores.maildir.ids import Known
from restante.stores.maildir.listing import scan
from restante.stores.maildir.quota import Limits, Quota
from restante.stores.maildir.records import Memory
from restante.stores.maildir.removal import remove
from tests.stores.dying import DyingOs

MESSAGES = {
    "cur/1.a.host:2,S": b"one\n",
    "new/2.b.host": b"two\n",
    "cur/3.c.host:2,": b"three\n",
    "new/4.d.host": b"four\n",
    "cur/5.e.host:2,F": b"five\n",
}
MARKED = (1, 2, 5)
DELIVERED = [b"A: b\r\n", b"\r\n", b"body\r\n" * 3]


def prepare(path: Path) -> Folder:
    """Make a Maildir with the messages above."""
    shutil.rmtree(path, ignore_errors=True)
    maildir = Folder(str(path))
    maildir.create()
    for name, octets in MESSAGES.items():
        (path / name).write_bytes(octets)
    return maildir


Arm = Callable[[], None]
"""Called where the work begins whose system calls are counted."""


def update(maildir: Folder, arm: Arm, *, keep: bool) -> None:
    """What a QUIT does, the index and the quota included."""
    Quota(maildir).recalculate(Limits(messages=100))
    asyncio.run(_quit(maildir, arm, keep=keep))


async def _quit(maildir: Folder, arm: Arm, *, keep: bool) -> None:
    path = Path(maildir.path)
    maildrop = await MaildirStore(f"{path.parent}/{{user}}", 60 if keep else 0).open(Principal(path.name))
    arm()
    await maildrop.update(MARKED)
    await maildrop.close()


def deliver(maildir: Folder, arm: Arm, durability: Durability) -> None:
    """What one delivery does, the quota included."""
    quota = Quota(maildir)
    quota.recalculate(Limits(messages=100))
    arm()
    incoming = Incoming(maildir, "1000000000.M1P1Q1R00000000.host", quota, durability)
    for octets in DELIVERED:
        incoming.write(octets)
    incoming.commit()
    incoming.discard()


def create(maildir: Folder, arm: Arm) -> None:
    """What the first login of a user does."""
    shutil.rmtree(maildir.path)
    arm()
    maildir.create()


def add_to_index(maildir: Folder, arm: Arm, *, damaged: bool = False) -> None:
    """What a login does that finds something new, and an old index."""
    scan(maildir, Memory())
    if damaged:
        Path(maildir.ours("index")).write_bytes(b"")
    (Path(maildir.path) / "new/6.f.host").write_bytes(b"six\n")
    os.link(maildir.join("new/6.f.host"), maildir.join("tmp/spare"))
    (Path(maildir.path) / "cur/6.f.host:2,S").write_bytes(b"copy\n")  # so that ids must be written down, too
    arm()
    scan(maildir, Memory())


def write_index(maildir: Folder, arm: Arm) -> None:
    """The same where the index is of no use."""
    add_to_index(maildir, arm, damaged=True)


def adopt(maildir: Folder, arm: Arm) -> None:
    """Taking over ids, for the second time."""
    messages = scan(maildir, Memory()).messages
    adopting.adopt(maildir, messages, [Given(2, "old2"), Given(1, "old1")], "", "")
    messages = scan(maildir, Memory()).messages
    arm()
    adopting.adopt(maildir, messages, [Given(number, f"new{number}") for number in (3, 2, 1)], "", "")


def undo(maildir: Folder, arm: Arm) -> None:
    """Bringing back what a QUIT has removed."""
    stored = scan(maildir, Memory()).messages
    remove(maildir, [stored[number - 1] for number in MARKED], stored, keep=True)
    ids = {one.unique_id for one in deleted.kept(maildir)}
    arm()
    deleted.restore(maildir, ids)


def purge(maildir: Folder, arm: Arm) -> None:
    """The time of what a QUIT has removed is over; and much of the list of ids can go."""
    stored = scan(maildir, Memory()).messages
    many = {(f"gone{number}", 0): Known(f"gone{number}", number) for number in range(200)}
    ids.add(maildir.ours(ids.NAME), {**many, ("3.c.host", 0): Known("three", 1000)})
    remove(maildir, [stored[number - 1] for number in MARKED], stored, keep=True)
    arm()
    for _ in deleted.purge(maildir, -1):
        pass
    deleted.forget_ids(maildir)


def follow(maildir: Folder, arm: Arm) -> None:
    """What a login does that finds new mail beside a Dovecot that gives ids, too."""
    Path(maildir.join("dovecot-uidlist")).write_text("3 V1234567890 N1 G0123456789abcdef\n", encoding="ascii")
    adopting.adopt(maildir, scan(maildir, Memory()).messages, [], "dovecot", "%u")
    scan(maildir, Memory())
    for name in ("new/6.f.host", "new/7.g.host"):
        (Path(maildir.path) / name).write_bytes(b"new\n")
    arm()
    scan(maildir, Memory())


WORKS: dict[str, Callable[[Folder, Arm], None]] = {
    "update": partial(update, keep=True),
    "update-unlink": partial(update, keep=False),
    "deliver": partial(deliver, durability=Always()),
    "deliver-group": partial(deliver, durability=Group()),
    "create": create,
    "index": add_to_index,
    "index anew": write_index,
    "adopt": adopt,
    "follow": follow,
    "undo": undo,
    "purge": purge,
}


def die_after(calls: int, path: Path, work: str) -> int:
    """Do the work in a child process that dies; returns what `os.waitpid` says of it."""
    maildir = prepare(path)
    child = os.fork()
    if child == 0:

        def arm() -> None:
            dying = DyingOs(calls)
            for module in list(sys.modules.values()):
                if module.__name__.startswith(stores.__name__) and hasattr(module, "os"):
                    setattr(module, "os", dying)  # noqa: B010  (mypy knows that modules have no such attribute)

        try:
            WORKS[work](maildir, arm)
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
        dotlock.YOUNG = 0.0  # a lock of a process that is dead for certain need not be waited for
        listings = [asyncio.run(listed(path))]
        (path / "restante/index").unlink(missing_ok=True)
        listings.append(asyncio.run(listed(path)))
        print(json.dumps({"calls": calls, "finished": status == 0, "files": files, "listings": listings}))


async def listed(path: Path) -> list[tuple[str, int]]:
    """What the next session of another process sees: unique-ids and octets."""
    maildrop = await MaildirStore(f"{path.parent}/{{user}}").open(Principal(path.name))
    found = [(message.unique_id, message.octets) for message in maildrop.listing]
    await maildrop.close()
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
