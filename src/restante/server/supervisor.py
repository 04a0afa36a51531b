"""Processes that serve: one alone, or a worker for each core under a parent that replaces the dead."""

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import uvloop

from restante.server.housekeeping import keep_house
from restante.server.listener import Listening, Server, Shared
from restante.server.service import Service

log = logging.getLogger("restante.server")

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
QUICK_DEATH = 1.0
"""Seconds: a worker that lived shorter than this died quickly."""
MAX_QUICK_DEATHS = 5
"""After so many quick deaths in a row the server gives up."""

Reload = Callable[[], Service | None]
"""Called on SIGHUP: reads the configuration again; returns None when it is faulty, which has been logged then."""


def serve(
    service: Service,
    listening: Sequence[Listening],
    reload: Reload | None,
    ready: Callable[[], None],
    parent: int = -1,
    shared: Shared | None = None,
) -> None:
    """Serve in this process until SIGTERM or SIGINT; a second one ends all sessions at once.

    Args:
        service: what to offer.
        listening: open sockets.
        reload: sessions that begin after a SIGHUP get what it returns; None: SIGHUP is like SIGTERM.
        ready: called when connections are accepted and signals are heeded.
        parent: descriptor that reads end of file when the parent process is gone; -1 for none.
        shared: counts of all workers; None: this process is alone.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(service, listening, reload, ready, parent, shared))


async def _serve(
    service: Service,
    listening: Sequence[Listening],
    reload: Reload | None,
    ready: Callable[[], None],
    parent: int,
    shared: Shared | None,
) -> None:
    loop = asyncio.get_running_loop()
    server = Server(service, shared)
    asked_to_stop = asyncio.Event()
    asked_again = asyncio.Event()

    def stop() -> None:
        (asked_again if asked_to_stop.is_set() else asked_to_stop).set()

    def hang_up() -> None:
        if reload is None:
            stop()
        else:
            server.service = reload() or server.service

    loop.add_signal_handler(signal.SIGTERM, stop)
    # Ctrl-C reaches the whole process group; a worker leaves it to its parent.
    loop.add_signal_handler(signal.SIGINT, stop if parent < 0 else lambda: None)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a worker was forked with them held back
    if parent >= 0:
        loop.add_reader(parent, asked_to_stop.set)
    await server.start(listening)
    ready()
    house = asyncio.create_task(keep_house(server)) if shared is None or shared.worker == 0 else None
    await asked_to_stop.wait()
    if house is not None:
        house.cancel()
    if parent >= 0:
        loop.remove_reader(parent)
    stopping = asyncio.create_task(server.stop())
    again = asyncio.create_task(asked_again.wait())
    await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await server.stop(grace=0)
    again.cancel()
    await stopping


def supervise(
    service: Service,
    slots: Sequence[Sequence[Listening]],
    reload: Reload,
    ready: Callable[[], None],
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> int:
    """Serve in one worker process for each element of `slots`, until SIGTERM or SIGINT.

    The sockets stay open here, so no connection that waits in a queue is lost when a worker dies.

    Args:
        service: what to offer.
        slots: the open sockets of each worker.
        reload: called here and in each worker.
        ready: called when connections are taken and signals are heeded.
        around: entered in each worker; for what must begin after the fork.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 when workers keep dying.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    gc.collect()
    gc.freeze()  # what is here now stays shared between the workers
    return _Supervisor(service, slots, reload, around).run(ready)


class _Supervisor:
    def __init__(
        self,
        service: Service,
        slots: Sequence[Sequence[Listening]],
        reload: Reload,
        around: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._service = service
        self._slots = slots
        self._reload = reload
        self._around = around
        self._shared = Shared(len(slots))
        self._alive, self._held = os.pipe()  # the workers see the end of this pipe when we are gone
        self._workers: dict[int, tuple[int, float]] = {}  # process id -> slot, time of start
        self._quick_deaths = 0
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> int:
        for slot in range(len(self._slots)):
            self._start(slot)
        ready()
        while self._workers:
            number = signal.sigwait(SIGNALS)
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._service = self._reload() or self._service
                self._tell(signal.SIGHUP)
            else:
                self._stop()
        return 1 if self._quick_deaths >= MAX_QUICK_DEATHS else 0

    def _start(self, slot: int) -> None:
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.close(self._held)
                self._close_sockets(except_of=slot)  # or they would stay open while their own workers have ended
                self._shared.begin(slot)
                with self._around():
                    serve(
                        self._service,
                        self._slots[slot],
                        self._reload,
                        lambda: None,
                        parent=self._alive,
                        shared=self._shared,
                    )
                status = 0
            except BaseException:  # nothing of the parent's may run in the child
                log.exception("worker failed")
            finally:
                os._exit(status)
        self._workers[process] = (slot, time.monotonic())

    def _reap(self) -> None:
        """Replace workers that have died, unless they die too fast or we are stopping."""
        for process in list(self._workers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            slot, started = self._workers.pop(process)
            if self._stopping:
                continue
            quick = time.monotonic() - started < QUICK_DEATH
            self._quick_deaths = self._quick_deaths + 1 if quick else 0
            log.error("worker %d ended with status %d", process, os.waitstatus_to_exitcode(status))
            if self._quick_deaths < MAX_QUICK_DEATHS:
                self._start(slot)
            else:
                log.error("workers keep dying; giving up")
                self._stop()

    def _stop(self) -> None:
        """End the workers; nobody shall wait in a queue that no one serves any more."""
        self._stopping = True
        self._close_sockets()
        self._tell(signal.SIGTERM)

    def _close_sockets(self, except_of: int = -1) -> None:
        kept = [] if except_of < 0 else [listening.socket for listening in self._slots[except_of]]
        for slot in self._slots:
            for listening in slot:
                if listening.socket not in kept:  # workers share a UNIX socket
                    listening.socket.close()

    def _tell(self, number: signal.Signals) -> None:
        for process in self._workers:
            os.kill(process, number)
