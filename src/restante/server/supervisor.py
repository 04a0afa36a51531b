"""Processes that serve: one alone, or a worker for each core under a parent that replaces the dead."""

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, NoReturn

import uvloop

from restante.server import heap
from restante.server.housekeeping import keep_house
from restante.server.listener import Listening, Server, Shared
from restante.server.rehearsal import rehearse
from restante.server.service import Service
from restante.server.systemd import ServiceManager

log = logging.getLogger("restante.server")

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
WORKER_READY = signal.SIGUSR1
"""What a worker sends its parent when it accepts connections."""
QUICK_DEATH = 1.0
"""Seconds: a worker that lived shorter than this died quickly."""
FIRST_WAIT = 0.5
"""Seconds until the successor of a second worker that died quickly is started; doubled for each further one."""
LONGEST_WAIT = 30.0
"""Seconds; no longer than clients wait for a greeting, for some of them are in the queue of the worker that died."""
MAX_FAILED_STARTS = 5
"""After so many deaths the server gives up, if no worker has become ready until then."""

Reload = Callable[[], Service | None]
"""Called on SIGHUP: reads the configuration again; returns None when it is faulty, which has been logged then."""


class Family(NamedTuple):
    """What ties a worker to the other processes."""

    parent: int
    """A descriptor that reads end of file when the parent process is gone."""
    shared: Shared
    """Counts of all workers."""


def serve(
    service: Service,
    listening: Sequence[Listening],
    reload: Reload | None,
    ready: Callable[[], None],
    manager: ServiceManager,
    family: Family | None = None,
) -> None:
    """Serve in this process until SIGTERM or SIGINT; a second one ends all sessions at once.

    Args:
        service: what to offer.
        listening: open sockets.
        reload: sessions that begin after a SIGHUP get what it returns; None: SIGHUP is like SIGTERM.
        ready: called when connections are accepted and signals are heeded.
        manager: is told then, too, and of reloads and the end.
        family: this process is a worker; None: it is alone.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(service, listening, reload, ready, manager, family))


async def _serve(
    service: Service,
    listening: Sequence[Listening],
    reload: Reload | None,
    ready: Callable[[], None],
    manager: ServiceManager,
    family: Family | None,
) -> None:
    heap.keep()
    loop = asyncio.get_running_loop()
    server = Server(service, family.shared if family else None)
    asked_to_stop = asyncio.Event()
    asked_again = asyncio.Event()

    def stop() -> None:
        (asked_again if asked_to_stop.is_set() else asked_to_stop).set()

    def hang_up() -> None:
        if reload is None:
            stop()
        else:
            manager.reloading()
            server.service = reload() or server.service
            manager.ready()

    loop.add_signal_handler(signal.SIGTERM, stop)
    # Ctrl-C reaches the whole process group; a worker leaves it to its parent.
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if family else stop)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a worker was forked with them held back
    if family:
        loop.add_reader(family.parent, asked_to_stop.set)
    await rehearse()
    await server.start(listening)
    ready()
    manager.ready()
    house = asyncio.create_task(keep_house(server)) if family is None or family.shared.worker == 0 else None
    await asked_to_stop.wait()
    manager.stopping()
    if house is not None:
        house.cancel()
    if family:
        loop.remove_reader(family.parent)
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
    manager: ServiceManager,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> int:
    """Serve in one worker process for each element of `slots`, until SIGTERM or SIGINT.

    The sockets stay open here, so no connection that waits in a queue is lost when a worker dies.

    Args:
        service: what to offer.
        slots: the open sockets of each worker.
        reload: called here and in each worker.
        ready: called when the first worker accepts connections; signals are heeded from the beginning.
        manager: is told then, too, and of reloads and the end; by this process only.
        around: entered in each worker; for what must begin after the fork.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 when no worker ever became ready.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {WORKER_READY})
    gc.collect()
    gc.freeze()  # what is here now stays shared between the workers
    return _Supervisor(service, slots, reload, manager, around).run(ready)


class BackOff:
    """How long a slot stays without a worker: the longer, the more workers in a row have died quickly in it."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait(self, lived: float) -> float:
        """Return the seconds to wait after the death of a worker that lived so many seconds."""
        seconds = self._next if lived < QUICK_DEATH else 0.0
        self._next = min(2 * seconds, LONGEST_WAIT) or FIRST_WAIT
        return seconds


def in_words(status: int) -> str:
    """Say how a process ended that has such a status (waitpid(2))."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # not all have names
        return f"was killed by signal {-code}"


class _Supervisor:
    def __init__(
        self,
        service: Service,
        slots: Sequence[Sequence[Listening]],
        reload: Reload,
        manager: ServiceManager,
        around: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._service = service
        self._slots = slots
        self._reload = reload
        self._manager = manager
        self._around = around
        self._shared = Shared(len(slots))
        self._process = os.getpid()
        self._alive, self._held = os.pipe()  # the workers see the end of this pipe when we are gone
        self._workers: dict[int, tuple[int, float]] = {}  # process id -> slot, time of start
        self._due = dict.fromkeys(range(len(slots)), 0.0)  # slots without a worker -> when to start one
        self._back_off = [BackOff() for _ in slots]
        self._has_served = False  # a worker has become ready
        self._failed_starts = 0
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> int:
        self._start_what_is_due()
        while self._workers or self._due:
            told = self._next_signal()
            if told is not None and told.si_signo == WORKER_READY:
                self._begin_service(told.si_pid, ready)
            elif told is not None:
                self._heed(told.si_signo)
            self._start_what_is_due()
        return 1 if self._failed_starts >= MAX_FAILED_STARTS else 0

    def _next_signal(self) -> signal.struct_siginfo | None:
        """Wait for a signal; returns None when a worker is due."""
        heeded = SIGNALS | {WORKER_READY}
        if not self._due:
            return signal.sigwaitinfo(heeded)
        return signal.sigtimedwait(heeded, max(0.0, min(self._due.values()) - time.monotonic()))

    def _begin_service(self, process: int, ready: Callable[[], None]) -> None:
        """A process says that it is a worker and ready; only for the first one something is to be done."""
        if process in self._workers and not self._has_served and not self._stopping:
            self._has_served = True
            ready()
            self._manager.ready()

    def _heed(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._read_again()
        else:
            self._stop()

    def _read_again(self) -> None:
        self._manager.reloading()
        self._service = self._reload() or self._service
        self._tell(signal.SIGHUP)
        if self._has_served:
            self._manager.ready()

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, when in self._due.items() if when <= now]:
            if slot in self._due:  # not if one that failed made us give up
                del self._due[slot]
                self._start(slot)

    def _start(self, slot: int) -> None:
        try:
            process = os.fork()
        except OSError as error:  # memory may be short for a while, and the other workers go on
            self._lost(slot, f"a worker cannot be started: {error.strerror}", 0.0)
            return
        if process == 0:
            self._work(slot)
        self._workers[process] = (slot, time.monotonic())

    def _work(self, slot: int) -> NoReturn:
        """Be a worker."""
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {WORKER_READY})
            os.close(self._held)
            self._close_sockets(except_of=slot)  # or they would stay open while their own workers have ended
            self._shared.begin(slot)
            with self._around():
                family = Family(self._alive, self._shared)
                serve(self._service, self._slots[slot], self._reload, self._say_ready, ServiceManager(), family)
            status = 0
        except BaseException:  # nothing of the parent's may run in the child
            log.exception("worker failed")
        finally:
            os._exit(status)

    def _say_ready(self) -> None:
        """Tell the parent, from a worker."""
        if os.getppid() == self._process:  # else it is gone, and its number may be another's
            os.kill(self._process, WORKER_READY)

    def _reap(self) -> None:
        """Find out which workers have died."""
        for process in list(self._workers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            slot, started = self._workers.pop(process)
            if not self._stopping:
                self._lost(slot, f"worker {process} {in_words(status)}", time.monotonic() - started)

    def _lost(self, slot: int, how: str, lived: float) -> None:
        """Have a worker replaced, unless it is clear that none can work."""
        if not self._has_served:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                log.error("%s; no worker has become ready since the start, giving up", how)
                self._stop()
                return
        wait = self._back_off[slot].wait(lived)
        log.error("%s; the next one starts %s", how, f"in {wait:g} seconds" if wait else "at once")
        self._due[slot] = time.monotonic() + wait

    def _stop(self) -> None:
        """End the workers; nobody shall wait in a queue that no one serves any more."""
        if not self._stopping:
            self._manager.stopping()
        self._stopping = True
        self._due.clear()
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
