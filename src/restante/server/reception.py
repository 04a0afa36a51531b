"""A session of LMTP or SMTP: carries octets and events between a `Wire` and a `MailSession`."""

import logging
from typing import TYPE_CHECKING

from restante.errors import Condition
from restante.intake.desk import Incoming, NotTaken
from restante.protocol.smtp.events import Begin, Commit, Content, Discard, MailEvent, Recipient
from restante.protocol.smtp.features import MailFeatures
from restante.protocol.smtp.replies import STOPPING, Reply
from restante.protocol.smtp.session import MailSession
from restante.server.conversation import TOO_QUIET, Conversation
from restante.server.wire import Wire

if TYPE_CHECKING:
    from restante.server.listener import Server

log = logging.getLogger("restante.session")

SILENT = Reply(421, "4.4.2", "nothing has come for too long; goodbye")


class Reception(Conversation[MailSession]):
    """Somebody who brings mail.

    Args:
        server: which this connection belongs to.
        wire: what carries its octets.
    """

    log = log

    def __init__(self, server: "Server", wire: Wire) -> None:
        super().__init__(server, wire)
        assert self._service.desk is not None, "where there is a listener for mail, there is a desk"
        self._desk = self._service.desk
        self._incoming: Incoming | None = None
        self._messages = 0
        self._committing = False
        self._dropped = ""  # why no further message is taken; the one that has come is still delivered
        if wire.door.protocol == "lmtp":
            wire.logged_in()  # who may connect is known

    @property
    def before_login(self) -> bool:
        """Nobody logs in to SMTP: strangers there give way to others as those do that have not logged in to POP3."""
        return self._wire.door.protocol == "smtp" and not self._committing

    def _new_session(self) -> MailSession:
        door = self._wire.door
        features = MailFeatures(
            self._desk.hostname,
            lmtp=door.protocol == "lmtp",
            size=self._desk.size,
            recipients=self._desk.recipients,
        )
        starttls = door.tls == "starttls" and self._service.certificates is not None
        return MailSession(features, starttls=starttls, tls=self._wire.tls is not None)

    def _tls_started(self) -> None:
        self._session.tls_started()

    # -- events -------------------------------------------------------------------------------------

    def _answer_at_once(self, event: MailEvent) -> bool:
        if isinstance(event, Begin):
            cipher = self._wire.tls.identity().tls if self._wire.tls is not None else ""
            self._incoming = self._desk.begin(event.envelope, self._peer.host, cipher.rpartition(" ")[2])
            self._session.began()
            return True
        if isinstance(event, Content):
            assert self._incoming is not None
            if not self._incoming.take(event.octets):
                self._session.content_taken()
                return True
        return False

    async def _work(self, event: MailEvent) -> None:
        if isinstance(event, Recipient):
            await self._find(event)
        elif isinstance(event, Content):
            assert self._incoming is not None
            await self._incoming.spill()
            if not self._over():
                self._session.content_taken()
        elif isinstance(event, Commit):
            await self._commit(event)
        elif isinstance(event, Discard):
            await self._let_go()
            if not self._over():
                self._session.discarded()

    async def _find(self, event: Recipient) -> None:
        # To LMTP speaks the mail server in front, which has decided already which domains are ours.
        any_domain = self._wire.door.protocol == "lmtp"
        try:
            found = await self._desk.recipient(event.mailbox, event.octets, any_domain=any_domain)
        except NotTaken as refused:
            if not self._over():
                self._session.refused(refused.reply)
            return
        if not self._over():
            self._session.recipient_accepted(found)

    async def _commit(self, event: Commit) -> None:
        assert self._incoming is not None
        incoming, self._incoming = self._incoming, None
        self._messages += 1
        self._committing = True
        try:
            if self._wire.door.protocol == "lmtp":
                async for reply in incoming.deliver_each(event.delivered_to):
                    if not self._over():
                        self._session.delivered(reply)
                        self._flush()  # each as soon as it is known (D-004)
            else:
                reply = await incoming.deliver_all(event.delivered_to)
                if not self._over():
                    self._session.delivered(reply)
        finally:
            self._committing = False

    def _refuse(self, error: Condition) -> None:
        if error.args:
            log.warning("%s, address=%s: %s", type(error).__name__, self._peer, error)
        if not self._session.closed:
            self._session.failed()

    # -- the end ------------------------------------------------------------------------------------

    def stop_soon(self) -> None:
        """End the session where no message is under way; the others end when theirs has had its reply (P-294)."""
        if self._task is None and self._session.between_messages and not self._leaving:
            self._session.end("server stop", STOPPING)
            self._leave()

    def _go_on(self) -> None:
        super()._go_on()
        if self._server.stopping:
            self.stop_soon()

    async def drop(self, reason: str) -> None:
        """End the session now; a message whose end has come is delivered and answered."""
        self._dropped = reason
        if self._reading and not (self._over() or self._eof):
            self._wire.transport.pause_reading()
        await self._until_idle()
        self._session.end(reason, STOPPING)
        if not self._lost:
            self._leave()

    def _begin_work(self, event: MailEvent) -> None:
        if self._dropped and isinstance(event, Recipient):  # of the next message
            self._session.end(self._dropped, STOPPING)
            self._leave()
        else:
            super()._begin_work(event)

    def _throttle(self) -> None:
        if not self._dropped:  # else what has been read is all
            super()._throttle()

    def _time_out(self) -> None:
        # Unlike POP3 (P-138): RFC 5321 section 3.8 asks for a last word.
        self._session.end(TOO_QUIET, SILENT)
        self._leave()

    def _let_go_at_once(self) -> bool:
        return self._incoming is None

    async def _let_go(self) -> None:
        """Nothing is left of a message that is not complete."""
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            await incoming.close()

    def _log_session(self) -> None:
        log.info(
            "session, protocol=%s address=%s messages=%d sent=%d seconds=%.1f end=%s",
            self._wire.door.protocol,
            self._peer,
            self._messages,
            self._sent,
            self._loop.time() - self._started,
            self._session.end_reason,
        )
