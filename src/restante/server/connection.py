"""One session: carries octets and events between a `Wire` and a `Session`."""

import asyncio
import logging
from typing import TYPE_CHECKING

from restante.errors import AuthenticationFailed, Condition, InternalError, TemporaryFailure
from restante.maildrop import Correctable, Maildrop
from restante.protocol.events import Event, FindRecord, Login, Pause, Retrieve, StartTLS, Update
from restante.protocol.policy import Terms
from restante.protocol.pop3_server import Session, State
from restante.server.gate import Gate
from restante.server.reading import MessageReader
from restante.server.wire import Wire

if TYPE_CHECKING:
    from restante.server.listener import Server

log = logging.getLogger("restante.session")

READ_AHEAD = 65536
"""Octets of unhandled input at which no more is read from the peer (P-277)."""


class Connection:
    """A peer and its session.

    Work under way is never cancelled: that the peer has left is noticed when the step is done.  So a lock that a
    thread is just taking is always released, and an UPDATE that a complete QUIT has begun is always finished.

    Args:
        server: which this connection belongs to.
        wire: what carries its octets.
    """

    _session: Session
    _timer: asyncio.TimerHandle

    def __init__(self, server: "Server", wire: Wire) -> None:
        self._server = server
        self._service = server.service  # stays the same for this session when the server reloads
        self._wire = wire
        self._peer = wire.peer
        self._loop = asyncio.get_running_loop()
        self._maildrop: Maildrop | None = None
        self._user = ""
        self._mechanism = ""
        self._tls = ""
        self._gate = Gate(self._service, server.guesses, wire.peer, self._over)
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._started = self._loop.time()
        self.active = self._started
        """When the peer last did something, by the loop's clock."""
        self._unsent = self._sent = 0
        self._reading = True
        self._writing_paused = self._waiting_for_peer = self._continuing = False
        self._eof = self._lost = self._leaving = self._departed = False

    # -- called by the wire -------------------------------------------------------------------------

    def opened(self) -> None:
        """Greet the peer (P-023)."""
        terms = self._terms()
        self._session = Session(self._service.features, terms)
        self._server.connections.add(self)
        self._timer = self._loop.call_later(self._service.limits.idle_timeout, self._check_idle)
        self._go_on()

    def secured(self) -> None:
        """The handshake after STLS is done (P-231)."""
        self.active = self._loop.time()
        if not self._over():
            self._session.tls_started(self._terms())
            self._go_on()

    def _terms(self) -> Terms:
        door = self._wire.door
        terms = self._service.terms(door.cleartext_login, self._peer, stls=door.tls == "starttls", tls=self._wire.tls)
        self._tls = terms.tls
        return terms

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
        self._timer.cancel()
        self._wake()
        if self._departed:
            self._server.forget(self)
        elif self._task is None:
            self._session.end(f"connection lost: {error}" if error else "client closed the connection")
            self._leave()

    # -- called by the server -----------------------------------------------------------------------

    @property
    def before_login(self) -> bool:
        """Nobody has logged in, and nobody is about to."""
        return self._session.state is State.AUTHORIZATION and self._task is None

    def give_way(self) -> None:
        """End the session, which has been silent, for others: no last word (P-138)."""
        self._session.abandon("silent before login, and others wait")
        self._leave()
        self._wire.abort()

    async def drop(self, reason: str) -> None:
        """End the session now, without UPDATE; one that has begun is finished and answered (P-294)."""
        # A session that is CLOSED has had its end, and perhaps its last reply is still to come.
        cut = self._session.state not in (State.UPDATE, State.CLOSED)
        if cut:
            self._session.abandon(reason)
            self._wake()
        while self._task is not None:
            await asyncio.wait([self._task])
        if cut and not self._lost:
            self._leave()
            self._wire.abort()

    # -- the session --------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Let the session handle what it has, and send what comes of it in as few writes as possible (P-022).

        When there is more to do, it is done after everybody else has had a turn (P-295).
        """
        session = self._session
        commands = session.commands
        event = session.next_event()
        if session.commands != commands:
            self.active = self._loop.time()  # P-139
        if session.state is State.CLOSED:
            self._leave()
            return
        self._flush()
        if isinstance(event, Pause):
            self._loop.call_later(event.seconds, self._pause_over)
        elif isinstance(event, StartTLS):
            if data := session.data_to_send():  # a peer that read slowly has it before the handshake all the same
                self._wire.write(data)
            self._wire.start_tls(event.leftover)
        elif event is not None:
            self._task = self._loop.create_task(self._answer(event))
        elif session.unfinished and not self._writing_paused and not self._continuing:
            self._continuing = True
            self._loop.call_soon(self._continue)
        self._throttle()

    def _continue(self) -> None:
        self._continuing = False
        if not self._over():
            self._go_on()

    def _pause_over(self) -> None:
        if self._session.state is not State.CLOSED:
            self._session.resumed()
            self._go_on()

    def _flush(self) -> None:
        """Send what there is, if the peer has read what was sent before."""
        if self._writing_paused or self._lost:
            return
        data = self._session.data_to_send()
        if data:
            self._sent += len(data)
            self._wire.write(data)

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

    async def _answer(self, event: Event) -> None:
        """Do what the session cannot do by itself, then let it go on."""
        try:
            if isinstance(event, FindRecord):
                record = await self._gate.find_record(event)
                if not self._over():
                    self._session.record_found(record)
            elif isinstance(event, Login):
                await self._login(event)
            elif isinstance(event, Retrieve):
                await self._retrieve(event)
            elif isinstance(event, Update):
                await self._update(event)
        except Condition as error:
            self._refuse(error)
        except Exception:  # whatever it is: one session's trouble
            log.exception("internal error, address=%s", self._peer)
            self._refuse(InternalError())
        self._task = None
        self.active = self._loop.time()
        if self._lost:
            self._session.end("connection lost")
        self._go_on()

    def _refuse(self, error: Condition) -> None:
        if error.args and not isinstance(error, AuthenticationFailed):
            log.warning("%s, address=%s user=%s: %s", type(error).__name__, self._peer, self._user or "-", error)
        if self._session.state is not State.CLOSED:
            self._session.refused(error)

    async def _login(self, event: Login) -> None:
        """Order of work: credentials, lock, listing, reply (RFC 1939 section 4)."""
        try:
            principal = await self._gate.identify(event, self._session.failed_logins, self._tls)
        except AuthenticationFailed:
            # P-039: the delay also hides what the check cost.  P-045: it grows.
            await self._delay(self._gate.due)
            raise
        self._user, self._mechanism = principal.user, event.mechanism
        self._maildrop = await self._service.store.open(principal)
        self._wire.logged_in()
        if not self._over():
            self._session.login_succeeded(self._maildrop.listing, read_only=principal.read_only)

    async def _retrieve(self, event: Retrieve) -> None:
        assert self._maildrop is not None
        session = self._session
        reader = MessageReader(await self._maildrop.retrieve(event.number))
        try:
            piece = await self._read(reader)
            if self._over():
                return
            session.message_follows()  # P-095: only now is it certain that the message can be read
            while piece and session.message_data(piece):
                piece = await self._read(reader)
                if piece:  # the end goes out with the last piece (P-022)
                    self._flush()
                    await self._until_writable()
                    await asyncio.sleep(0)  # a peer that keeps up with us must not keep us from the others
                if self._over():
                    return
            if not session.message_complete() and isinstance(self._maildrop, Correctable):
                self._maildrop.distrust(event.number)
        finally:
            reader.close()

    async def _read(self, reader: MessageReader) -> bytes:
        try:
            return await reader.read()
        except OSError as error:
            raise TemporaryFailure(str(error)) from error

    async def _update(self, event: Update) -> None:
        """P-131: remove, release the lock, and only then reply."""
        assert self._maildrop is not None
        await self._maildrop.update(event.deleted)
        self._session.updated()

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
        return self._lost or self._session.state is State.CLOSED

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check_idle(self) -> None:
        """The autologout timer: no UPDATE, no last word (RFC 1939 section 3, P-138, P-139)."""
        now = self._loop.time()
        unsent = self._wire.transport.get_write_buffer_size()
        our_turn = self._task is not None and not self._waiting_for_peer
        if our_turn or unsent != self._unsent:
            self.active = now
        self._unsent = unsent
        left = self.active + self._service.limits.idle_timeout - now
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle)
            return
        self._session.abandon("idle for too long")
        self._wake()
        if unsent:
            self._wire.abort()
        else:
            self._wire.close()

    # -- the end ------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """The session is over: release the maildrop, say goodbye, close."""
        if self._leaving or self._task is not None:  # a login under way may still bring a maildrop to release
            return
        self._leaving = True
        if self._maildrop is None:
            self._hang_up()
        else:
            self._task = self._loop.create_task(self._close_maildrop(self._maildrop))

    async def _close_maildrop(self, maildrop: Maildrop) -> None:
        try:
            await maildrop.close()
        except Exception:  # the session is over either way
            log.exception("closing a maildrop failed, address=%s user=%s", self._peer, self._user)
        self._task = None
        self._hang_up()

    def _hang_up(self) -> None:
        """Send the last reply: the lock is free by now, so that a client that reconnects at once gets in (P-131)."""
        self._gate.leave()
        self._log_session()
        self._departed = True
        if self._lost:
            self._server.forget(self)
        if self._lost or self._wire.transport.is_closing():
            return
        data = self._session.data_to_send()
        self._sent += len(data)
        if data:
            self._wire.write(data)
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
        return self._leaving and (self._session.end_reason != "quit" or self._session.input_octets > 0)

    def _log_session(self) -> None:
        """One line for each session (P-288)."""
        done = self._session.statistics
        log.info(
            "session, address=%s user=%s mechanism=%s tls=%s retr=%d/%d top=%d/%d deleted=%d left=%d sent=%d "
            "seconds=%.1f end=%s",
            self._peer,
            self._user or "-",
            self._mechanism or "-",
            self._tls or "-",
            done.retr,
            done.retr_octets,
            done.top,
            done.top_octets,
            done.deleted,
            done.left,
            self._sent,
            self._loop.time() - self._started,
            self._session.end_reason,
        )
