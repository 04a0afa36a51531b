"""What every session of the server has in common: octets, turns, waiting, the idle timer, and the end."""

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from restante.errors import Condition, InternalError
from restante.protocol.events import StartTLS
from restante.server.wire import Wire

if TYPE_CHECKING:
    from restante.server.listener import Server

READ_AHEAD = 65536
"""Octets of unhandled input at which no more is read from the peer (P-277)."""
AT_ONCE = 32
"""Events that are answered at once before others have their turn (P-295)."""
TOO_QUIET = "idle for too long"
"""Why a silent session ends, for the log."""


class SansIo(Protocol):
    """A session of any protocol, without I/O: octets in, events out, octets out."""

    end_reason: str
    commands: int
    unfinished: bool

    @property
    def closed(self) -> bool: ...
    @property
    def input_octets(self) -> int: ...
    def receive_data(self, data: bytes) -> None: ...
    def receive_eof(self) -> None: ...
    def pieces_to_send(self) -> list[bytes]: ...
    def next_event(self) -> Any: ...
    def end(self, reason: str) -> None: ...
    def abandon(self, reason: str) -> None: ...


S = TypeVar("S", bound=SansIo)


class Conversation(ABC, Generic[S]):
    """A peer and its session.

    Work under way is never cancelled: that the peer has left is noticed when the step is done.  So a lock that a
    thread is just taking is always released, and what a complete command has begun is always finished.

    Args:
        server: which this connection belongs to.
        wire: what carries its octets.
    """

    __slots__ = (
        "_continuing",
        "_departed",
        "_eof",
        "_leaving",
        "_loop",
        "_lost",
        "_peer",
        "_reading",
        "_sent",
        "_server",
        "_service",
        "_session",
        "_started",
        "_task",
        "_unsent",
        "_waiter",
        "_waiting_for_peer",
        "_watched_until",
        "_wire",
        "_writing_paused",
        "active",
    )

    log: ClassVar[logging.Logger]
    _session: S
    _watched_until: int

    def __init__(self, server: "Server", wire: Wire) -> None:
        self._server = server
        self._service = server.service  # stays the same for this session when the server reloads
        self._wire = wire
        self._peer = wire.peer
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._started = self._loop.time()
        self.active = self._started
        """When the peer last did something, by the loop's clock."""
        self._unsent = self._sent = 0
        self._reading = True
        self._writing_paused = self._waiting_for_peer = self._continuing = False
        self._eof = self._lost = self._leaving = self._departed = False

    # -- what is different for each protocol --------------------------------------------------------

    @property
    @abstractmethod
    def before_login(self) -> bool:
        """Nobody has logged in, and nobody is about to."""

    @abstractmethod
    def _new_session(self) -> S:
        """Return the session that greets the peer."""

    @abstractmethod
    def _tls_started(self) -> None:
        """Tell the session that the handshake is done."""

    @abstractmethod
    async def _work(self, event: Any) -> None:
        """Do what the session cannot do by itself."""

    @abstractmethod
    def _refuse(self, error: Condition) -> None:
        """Answer the event under way: it could not be done."""

    @abstractmethod
    def _log_session(self) -> None:
        """Write the line about the session (P-288)."""

    def _answer_at_once(self, event: Any) -> bool:
        """Answer what needs no waiting; returns whether it did.

        Raises:
            Condition: that is the answer.
        """
        return False

    def _time_out(self) -> None:
        """The peer has been silent for too long: no UPDATE, no last word (RFC 1939 section 3, P-138)."""
        self._session.abandon(TOO_QUIET)
        self._wake()
        self._wire.close()

    def _let_go_at_once(self) -> bool:
        """Let go of what takes no waiting, before the last reply; returns whether nothing else is left."""
        return True

    async def _let_go(self) -> None:
        """Let go of what is left."""

    # -- called by the wire -------------------------------------------------------------------------

    def opened(self) -> None:
        """Greet the peer (P-023)."""
        self._session = self._new_session()
        self._server.connections.add(self)
        self._watched_until = self._server.idle.watch(self, self._started + self._service.limits.idle_timeout)
        self._go_on()

    def secured(self) -> None:
        """The handshake after STLS or STARTTLS is done (P-231)."""
        self.active = self._loop.time()
        if not self._over():
            self._tls_started()
            self._go_on()

    def received(self, octets: bytes) -> None:
        """Take what was read."""
        if not self._leaving:  # else these are only a peer's last words
            self._session.receive_data(octets)
            self._go_on()

    def eof(self) -> bool:
        """The peer sends nothing more; what it has sent is still answered (P-021)."""
        self._eof = True
        if not self._leaving:
            self._session.receive_eof()
            self._go_on()
        return not self._departed  # what is still to be sent is sent, and then it is closed

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """The peer has read."""
        self._writing_paused = False
        self.active = self._loop.time()  # P-139: progress of our own output counts
        self._wake()
        if not self._leaving:
            self._go_on()

    def lost(self, error: Exception | None) -> None:
        """Nothing is deleted for this (P-133), and the lock goes with the session (P-042)."""
        self._lost = True
        self._server.idle.forget(self, self._watched_until)
        self._wake()
        if self._departed:
            self._server.forget(self)
        elif self._task is None:
            self._session.end(f"connection lost: {error}" if error else "client closed the connection")
            self._leave()

    # -- called by the server -----------------------------------------------------------------------

    def give_way(self) -> None:
        """End the session, which has been silent, for others: no last word (P-138)."""
        self._session.abandon("silent before login, and others wait")
        self._leave()
        self._wire.abort()

    def stop_soon(self) -> None:
        """The server stops: end the session as soon as that disturbs nobody."""

    @abstractmethod
    async def drop(self, reason: str) -> None:
        """End the session now; what a complete command has begun is finished and answered (P-294)."""

    async def _until_idle(self) -> None:
        while self._task is not None:
            await asyncio.wait([self._task])

    # -- the session --------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Let the session handle what it has, and send what comes of it in as few writes as possible (P-022).

        When there is more to do, it is done after everybody else has had a turn (P-295).
        """
        session = self._session
        commands = session.commands
        left = AT_ONCE
        event = session.next_event()
        while event is not None and self._at_once(event):
            left -= 1
            event = session.next_event() if left else None
        if session.commands != commands:
            self.active = self._loop.time()  # P-139
        if session.closed:
            self._leave()
            return
        self._flush()
        if isinstance(event, StartTLS):
            self._send()  # a peer that read slowly has it before the handshake all the same
            self._wire.start_tls(event.leftover)
        elif event is not None:
            self._begin_work(event)
        elif (session.unfinished or not left) and not self._writing_paused and not self._continuing:
            self._continuing = True
            self._loop.call_soon(self._continue)
        self._throttle()

    def _at_once(self, event: Any) -> bool:
        """Answer an event if that needs no waiting; returns whether it did."""
        try:
            return self._answer_at_once(event)
        except Exception as error:  # noqa: BLE001  (whatever it is)
            self._failed(error)
            return True

    def _failed(self, error: Exception) -> None:
        """Answer what could not be done: by its condition, or as a defect, which is one session's trouble."""
        if not isinstance(error, Condition):
            self.log.error("internal error, address=%s", self._peer, exc_info=error)
            error = InternalError()
        self._refuse(error)

    def _begin_work(self, event: Any) -> None:
        self._task = self._loop.create_task(self._answer(event))

    def _continue(self) -> None:
        self._continuing = False
        if not self._over():
            self._go_on()

    def _flush(self) -> None:
        """Send what there is, if the peer has read what was sent before."""
        if not self._writing_paused and not self._lost:
            self._send()

    def _send(self) -> None:
        pieces = self._session.pieces_to_send()
        if pieces:
            for piece in pieces:
                self._sent += len(piece)
            self._wire.write(pieces)

    def _throttle(self) -> None:
        """Read no further while the session is far behind (P-277)."""
        reading = self._session.input_octets <= READ_AHEAD
        if reading == self._reading or self._lost or self._eof:
            return
        self._reading = reading
        if reading:
            self._wire.transport.resume_reading()
        else:
            self._wire.transport.pause_reading()

    async def _answer(self, event: Any) -> None:
        """Do what the session cannot do by itself, then let it go on."""
        try:
            await self._work(event)
        except Exception as error:  # noqa: BLE001  (whatever it is)
            self._failed(error)
        self._task = None
        self.active = self._loop.time()
        if self._lost:
            self._session.end("connection lost")
        self._go_on()

    # -- waiting ------------------------------------------------------------------------------------

    async def _until_writable(self) -> None:
        """Wait until the peer has read enough, or has left."""
        self._waiting_for_peer = True
        while self._writing_paused and not self._over():
            await self._wait()
        self._waiting_for_peer = False

    async def _delay(self, until: float) -> None:
        """Wait until that time of the loop's clock, or until the peer has left."""
        due = False

        def expire() -> None:
            nonlocal due
            due = True  # the loop's clock need not say so: uvloop's timers may come a little early
            self._wake()

        timer = self._loop.call_at(until, expire)
        while not due and not self._over():
            await self._wait()
        timer.cancel()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _over(self) -> bool:
        """Nobody waits for an answer any more."""
        return self._lost or self._session.closed

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def check_idle(self) -> None:
        """The autologout timer (RFC 1939 section 3, RFC 5321 section 4.5.3.2, P-139)."""
        now = self._loop.time()
        unsent = self._wire.transport.get_write_buffer_size()
        our_turn = self._task is not None and not self._waiting_for_peer
        if our_turn or unsent != self._unsent:
            self.active = now
        self._unsent = unsent
        left = self.active + self._service.limits.idle_timeout - now
        if left > 0:
            self._watched_until = self._server.idle.watch(self, now + left)
            return
        if unsent:
            self._session.abandon(TOO_QUIET)
            self._wake()
            self._wire.abort()
        else:
            self._time_out()

    # -- the end ------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """The session is over: let go of what it has, say goodbye, close."""
        if self._leaving or self._task is not None:  # work under way may still bring something to let go of
            return
        self._leaving = True
        if self._let_go_at_once():
            self._hang_up()
        else:
            self._task = self._loop.create_task(self._let_go_and_hang_up())

    async def _let_go_and_hang_up(self) -> None:
        try:
            await self._let_go()
        except Exception:  # the session is over either way
            self.log.exception("ending a session failed, address=%s", self._peer)
        self._task = None
        self._hang_up()

    def _hang_up(self) -> None:
        """Send the last reply: the lock is free by now, so that a client that reconnects at once gets in (P-131)."""
        self._log_session()
        self._departed = True
        if self._lost:
            self._server.forget(self)
        if self._lost or self._wire.transport.is_closing():
            return
        self._send()
        if self._eof or not (self._lingering and self._wire.transport.can_write_eof()):
            self._wire.close()
            return
        # The peer may still be sending.  Closing now would make its system throw away our last reply (RST).
        self._wire.write_eof()
        self._wire.transport.resume_reading()
        self._loop.call_later(self._service.limits.linger, self._end_linger)

    def _end_linger(self) -> None:
        """Close for good, unless the peer is still reading what it asked for: then the idle timer decides."""
        if self._wire.transport.get_write_buffer_size():
            self._loop.call_later(self._service.limits.linger, self._end_linger)
        else:
            self._wire.abort()

    @property
    def _lingering(self) -> bool:
        """We end the session while the peer may still be sending."""
        expected = self._session.end_reason in ("quit", "quit before login")
        return self._leaving and (not expected or self._session.input_octets > 0)
