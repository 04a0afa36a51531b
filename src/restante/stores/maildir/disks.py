"""The disks of this machine, and what is done on each for many sessions together.

A session that removes a message has a thread make a dozen calls of the system, and each gives the interpreter's lock
away.  With a thread for each of the sessions that end at about the same time, threads and event loop spent a third of
the CPU on waiting for each other, and the file system wrote its journal for each by itself.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Generator
from typing import TypeVar

from restante.errors import TemporaryFailure
from restante.stores import systems
from restante.stores.files import begin_in_thread, condition
from restante.stores.maildir.folder import OURS, Folder
from restante.stores.maildir.records import DIRECTORIES

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Something that blocks: up to its `yield` it moves files, behind that it makes sure that they stay where they are."""

_PARTS = (*DIRECTORIES, f"{OURS}/deleted")

MOST = 32
"""Sessions whose work is done together: each of them waits for all."""


def complete(steps: Steps[T]) -> T:
    """Do all steps, and return what comes out."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class Disk:
    """A disk of this machine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Work] = []
        self._at_work = False

    async def do(self, steps: Steps[None]) -> None:
        """Do something in a thread; what other sessions ask for meanwhile is done after that, all of it together.

        It should not take long, because others wait for it.

        Raises:
            TemporaryFailure: there is no thread, and none can be had; nothing was done.
            Condition: something went wrong; of an error of the system it says what it means to a client.
        """
        loop = asyncio.get_running_loop()
        work = _Work(steps, loop)
        with self._lock:
            self._waiting.append(work)
            begin, self._at_work = not self._at_work, True
        if begin:
            self._begin(work)
        try:
            await work.done
        except OSError as error:
            raise condition(error) from error

    def _begin(self, work: "_Work") -> None:
        try:
            begin_in_thread(self._work)
        except TemporaryFailure:
            with self._lock:
                self._waiting.remove(work)
                self._at_work = False
            raise

    def _work(self) -> None:
        while batch := self._next():
            for work in batch:
                work.go_on()
            for work in batch:
                work.go_on()
            for loop in {work.loop for work in batch}:
                with contextlib.suppress(RuntimeError):  # it is closed, and nobody waits any more
                    loop.call_soon_threadsafe(_tell, [work for work in batch if work.loop is loop])

    def _next(self) -> "list[_Work]":
        with self._lock:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._at_work = bool(batch)
        return batch


class _Work:
    def __init__(self, steps: Steps[None], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()
        self.error: Exception | None = None
        self._steps = steps

    def go_on(self) -> None:
        """Do the next step, if none has failed."""
        try:
            next(self._steps, None)
        except Exception as error:  # noqa: BLE001  (it is for whoever has asked for this, and for nobody else)
            self.error = error


def _tell(batch: list[_Work]) -> None:
    for work in batch:
        if work.done.done():  # whoever waited was cancelled
            continue
        if work.error is None:
            work.done.set_result(None)
        else:
            work.done.set_exception(work.error)


class Disks:
    """Knows which disks belong to this machine."""

    def __init__(self) -> None:
        self._known: dict[int, Disk | None] = {}
        self._scattered: set[str] = set()
        """Maildirs with parts in other places, which may be on other machines."""

    def learn(self, folder: Folder, descriptor: int) -> Disk | None:
        """Find out where a Maildir is; blocks.

        Args:
            folder: the Maildir.
            descriptor: of a file in it.

        Returns:
            None: it is not on one disk of this machine, or nobody knows.

        Raises:
            OSError: a part of it cannot be looked at.
        """
        device = os.fstat(descriptor).st_dev
        if device not in self._known:
            self._known[device] = Disk() if systems.is_local(descriptor) else None
        if {os.stat(part).st_dev for part in map(folder.join, _PARTS)} != {device}:
            self._scattered.add(folder.path)
            return None
        self._scattered.discard(folder.path)
        return self._known[device]

    def at(self, device: int, path: str) -> Disk | None:
        """Return the disk that a Maildir is known to be on.

        Args:
            device: of its lock.
            path: of the Maildir.
        """
        return None if path in self._scattered else self._known.get(device)
