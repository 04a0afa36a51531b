"""Another program that uses a mailbox: takes its locks, appends, marks, deletes.  Speaks a line for each step.

Run as ``python -m tests.stores.mbox_peer PATH``; commands come on standard input, a line each, and are answered by
one.  It locks and writes with the standard library's `mailbox`, which knows nothing of ours.
"""

import fcntl
import mailbox
import os
import sys
from pathlib import Path


def lock(path: Path) -> mailbox.mbox:
    """Take both locks, waiting for them as programs do."""
    while True:
        box = mailbox.mbox(path)
        try:
            box.lock()
        except mailbox.ExternalClashError:
            box.close()
        else:
            return box


def append(path: Path, text: str) -> None:
    """Deliver a message."""
    box = lock(path)
    box.add(f"From peer@example.org Thu Nov 24 18:22:48 1986\nSubject: {text}\n\n{text}\n")
    box.flush()
    box.unlock()
    box.close()


def late(path: Path, text: str) -> None:
    """Deliver as programs do that open the file first and then wait for the kernel's lock alone."""
    with path.open("ab") as file:
        print("opened", flush=True)
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.write(f"From peer@example.org Thu Nov 24 18:22:48 1986\nSubject: {text}\n\n{text}\n\n".encode())
        file.flush()


def main(path: Path) -> None:
    """Do what is asked."""
    box: mailbox.mbox | None = None
    for line in sys.stdin:
        command, _, text = line.strip().partition(" ")
        if command == "append":
            append(path, text)
        elif command == "late":
            late(path, text)
        elif command == "lock":
            box = lock(path)
        elif command == "unlock":
            assert box is not None
            box.unlock()
            box.close()
        elif command == "dotlock":
            os.close(os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL))
        elif command == "fcntl":
            file = path.open("r+b")
            fcntl.lockf(file, fcntl.LOCK_EX)
        print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
