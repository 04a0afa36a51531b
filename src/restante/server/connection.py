"""One POP3 session: carries octets and events between a `Wire` and a `Session`."""

import asyncio
import logging
import os
from functools import cache
from io import FileIO
from typing import TYPE_CHECKING, cast

from restante.auth import Principal
from restante.errors import AuthenticationFailed, Condition, TemporaryFailure
from restante.maildrop import Correctable, Maildrop, Prompt
from restante.protocol.events import Event, FindRecord, Login, Pause, Retrieve, Update
from restante.protocol.policy import Terms
from restante.protocol.pop3_server import Session
from restante.protocol.stage import State
from restante.server.conversation import Conversation
from restante.server.gate import Gate
from restante.server.reading import PIECES, MessageReader, read_now
from restante.server.session_log import tell
from restante.server.wire import Wire

if TYPE_CHECKING:
    from restante.server.listener import Server

log = logging.getLogger("restante.session")


class Connection(Conversation[Session]):
    """A client of POP3 and its session.

    Args:
        server: which this connection belongs to.
        wire: what carries its octets.
    """

    __slots__ = ("_gate", "_maildrop", "_mechanism", "_opened", "_principal", "_prompt", "_tls", "_user")

    log = log

    def __init__(self, server: "Server", wire: Wire) -> None:
        super().__init__(server, wire)
        self._maildrop: Maildrop | None = None
        self._prompt: Prompt | None = None
        self._opened: FileIO | None = None
        """The message that is retrieved, if it could be opened at once, but not read."""
        self._principal: Principal | None = None
        """Who logs in, if that was known at once."""
        self._user = ""
        self._mechanism = ""
        self._tls = ""
        self._gate: Gate | None = None
        """Where somebody is who is about to log in."""

    @property
    def before_login(self) -> bool:
        """Nobody has logged in, and nobody is about to."""
        return self._session.state is State.AUTHORIZATION and self._task is None

    async def drop(self, reason: str) -> None:
        """End the session now, without UPDATE; one that has begun is finished and answered (P-294)."""
        # A session that is CLOSED has had its end, and perhaps its last reply is still to come.
        cut = self._session.state not in (State.UPDATE, State.CLOSED)
        if cut:
            self._session.abandon(reason)
            self._wake()
        await self._until_idle()
        if cut and not self._lost:
            self._leave()
            self._wire.abort()

    # -- the session --------------------------------------------------------------------------------

    def _new_session(self) -> Session:
        return Session(self._service.features, self._terms())

    def _tls_started(self) -> None:
        self._session.tls_started(self._terms())

    def _terms(self) -> Terms:
        door = self._wire.door
        terms = self._service.terms(door.cleartext_login, self._peer, stls=door.tls == "starttls", tls=self._wire.tls)
        self._tls = terms.tls
        return terms

    def _at_gate(self) -> Gate:
        if self._gate is None:
            self._gate = Gate(self._service, self._server.guesses, self._peer, self._over)
        return self._gate

    def _answer_at_once(self, event: Event) -> bool:
        if isinstance(event, Login):
            return self._login_now(event)
        return isinstance(event, Retrieve) and self._prompt is not None and self._retrieve_now(event, self._prompt)

    def _login_now(self, event: Login) -> bool:
        """Let in who has been here before, with nothing new in the maildrop; most who poll have."""
        principal = self._principal = self._at_gate().identify_now(event)
        store = self._service.prompt_store
        if principal is None or store is None:
            return False
        self._user, self._mechanism = principal.user, event.mechanism
        maildrop = store.open_now(principal)
        if maildrop is not None:
            self._logged_in(principal, maildrop)
        return maildrop is not None

    def _retrieve_now(self, event: Retrieve, maildrop: Prompt) -> bool:
        """Answer with a message that is not long, and in the page cache; most are."""
        opened = maildrop.retrieve_now(event.number)
        if opened is None:
            return False
        descriptor, octets = opened
        message = read_now(descriptor, octets, self._server.room)
        if message is None:
            self._opened = FileIO(descriptor)  # `_retrieve` goes on with it
            return False
        os.close(descriptor)
        self._completed(event, right=self._session.message(message))
        return True

    def _begin_work(self, event: Event) -> None:
        if isinstance(event, Pause):
            self._loop.call_later(event.seconds, self._pause_over)
        else:
            super()._begin_work(event)

    def _pause_over(self) -> None:
        if not self._session.closed:
            self._session.resumed()
            self._go_on()

    async def _work(self, event: Event) -> None:
        if isinstance(event, FindRecord):
            record = await self._at_gate().find_record(event)
            if not self._over():
                self._session.record_found(record)
        elif isinstance(event, Login):
            await self._login(event)
        elif isinstance(event, Retrieve):
            await self._retrieve(event)
        elif isinstance(event, Update):
            await self._update(event)

    def _refuse(self, error: Condition) -> None:
        if error.args and not isinstance(error, AuthenticationFailed):
            log.warning("%s, address=%s user=%s: %s", type(error).__name__, self._peer, self._user or "-", error)
        if not self._session.closed:
            self._session.refused(error)

    async def _login(self, event: Login) -> None:
        """Order of work: credentials, lock, listing, reply (RFC 1939 section 4)."""
        try:
            gate = self._at_gate()
            principal = self._principal or await gate.identify(event, self._session.failed_logins, self._tls)
        except AuthenticationFailed:
            # P-039: the delay also hides what the check cost.  P-045: it grows.
            await self._delay(gate.due)
            raise
        self._user, self._mechanism = principal.user, event.mechanism
        self._logged_in(principal, await self._service.store.open(principal))

    def _logged_in(self, principal: Principal, maildrop: Maildrop) -> None:
        self._gate = self._principal = None
        self._maildrop = maildrop
        self._prompt = cast("Prompt", maildrop) if _is_prompt(type(maildrop)) else None
        self._wire.logged_in()
        if not self._over():
            self._session.login_succeeded(self._maildrop.listing, read_only=principal.read_only)

    async def _retrieve(self, event: Retrieve) -> None:
        assert self._maildrop is not None
        session = self._session
        opened, self._opened = self._opened, None
        reader = MessageReader(opened or await self._maildrop.retrieve(event.number), self._server.room)
        try:
            piece = await self._read(reader)
            if self._over():
                return
            session.message_follows()  # P-095: only now is it certain that the message can be read
            sent = 0
            while piece and session.message_data(piece):
                piece = await self._read(reader)
                if piece:  # the end goes out with the last piece (P-022)
                    self._flush()
                    sent += 1
                    await self._until_writable()
                    if sent % PIECES == 0:  # a peer that keeps up with us must not keep us from the others
                        await asyncio.sleep(0)
                if self._over():
                    return
            self._completed(event, right=self._session.message_complete())
        finally:
            reader.close()

    def _completed(self, event: Retrieve, *, right: bool) -> None:
        assert self._maildrop is not None
        if not right and isinstance(self._maildrop, Correctable):
            self._maildrop.distrust(event.number)

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

    # -- the end ------------------------------------------------------------------------------------

    def _let_go_at_once(self) -> bool:
        return self._maildrop is None or (self._prompt is not None and self._prompt.close_now())

    async def _let_go(self) -> None:
        """Release the maildrop."""
        assert self._maildrop is not None
        await self._maildrop.close()

    def _hang_up(self) -> None:
        if self._gate is not None:
            self._gate.close()
        super()._hang_up()

    def _log_session(self) -> None:
        done = self._session.statistics
        tell(
            log,
            "session, address=%s user=%s mechanism=%s tls=%s retr=%d/%d top=%d/%d deleted=%d left=%d sent=%d "
            "seconds=%.1f end=%s",
            self._peer.name,
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


@cache  # to look at an object for the methods of a protocol takes longer than all the rest of a login
def _is_prompt(kind: type) -> bool:
    return issubclass(kind, Prompt)
