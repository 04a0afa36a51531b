"""Kills a fetcher after each of its system calls, lets the next one go on, and says what has come of it.

Run as ``python -m tests.fetch.crash FOLDER PORT KEEP``: at that port of this machine is bob's maildrop.  For
n = 1, 2, … a child process visits it and is killed right after its nth system call; then another visit goes on.
Prints a line of JSON for each n, with what is in the destination then.  A process of its own, because it forks.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restante.client import ServerUrl
from restante.fetch import journal
from restante.stores import files, flushing
from restante.stores.maildir import delivery, folder, single, tracing
from tests.fetch.site import account, delivered, visit
from tests.stores.dying import DyingOs

MODULES = [journal, files, flushing, delivery, folder, single, tracing]


@contextmanager
def dying(calls: int) -> Iterator[None]:
    """Let this process die after so many system calls."""
    stand_in = DyingOs(calls)
    for module in MODULES:
        module.os = stand_in  # type: ignore[attr-defined]
    yield


def main(place: Path, port: int, keep: str) -> None:
    """See above."""
    calls = 0
    while True:
        calls += 1
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        one = account(place, ServerUrl("127.0.0.1", port, tls=False), keep=0 if keep == "0" else None)
        child = os.fork()
        if child == 0:
            with dying(calls):
                visit(one)
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        outcome = visit(one)
        found = sorted(octets.decode() for octets in delivered(place))
        sys.stdout.write(json.dumps([calls, found, outcome.problems]) + "\n")
        sys.stdout.flush()
        if not died:
            return
        if sys.stdin.readline() == "":  # whoever asked has filled the maildrop again
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
