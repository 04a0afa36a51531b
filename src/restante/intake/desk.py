"""Where mail is handed in: asks whom it is for, and delivers what is accepted."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from restante.addressing import Addressing, ForeignDomain, Recipient, Target, UnknownRecipient
from restante.errors import Condition, one_line
from restante.intake import trace
from restante.intake.copies import Copy, Held, Message
from restante.intake.trace import Origin
from restante.maildrop import MaildropStore, Roomy
from restante.protocol.smtp.events import Envelope
from restante.protocol.smtp.grammar import Mailbox
from restante.protocol.smtp.replies import FOREIGN, LOOP, UNKNOWN_USER, Reply, of_condition

log = logging.getLogger("restante.intake")


class NotTaken(Exception):
    """A recipient is refused."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


@dataclass(frozen=True)
class Desk:
    """What all who bring mail share.

    Every recipient has its own copy, except that the same address given twice has one.
    """

    hostname: str
    store: MaildropStore
    addressing: Addressing
    size: int = 0
    """The most octets of a message; 0: any."""
    recipients: int = 1000
    """The most of one message."""
    full_is_final: bool = False
    """A full maildrop sends mail back at once (552); else the sender tries again (452; D-010)."""
    clock: Callable[[], float] = time.time
    held: Held = field(default_factory=Held)

    async def recipient(self, mailbox: Mailbox, octets: int, *, any_domain: bool) -> Recipient:
        """Say whom an address means.

        Args:
            mailbox: the address.
            octets: what is known of the size of the message; 0: nothing.
            any_domain: whoever brings the mail knows which domains are ours.

        Raises:
            NotTaken: there is nobody, or no room (D-010).
        """
        try:
            recipient = await self.addressing.resolve(mailbox.local, mailbox.domain, any_domain=any_domain)
            if isinstance(self.store, Roomy):
                for target in recipient.targets:
                    await self.store.check_room(target.account, octets)
        except UnknownRecipient:
            raise NotTaken(UNKNOWN_USER) from None
        except ForeignDomain:
            raise NotTaken(FOREIGN) from None
        except Condition as error:
            raise NotTaken(self.reply(error)) from error
        return recipient

    def reply(self, condition: Condition) -> Reply:
        """Return the reply for what the store could not do; the log has the details."""
        if condition.args:
            log.warning("%s: %s", type(condition).__name__, one_line(str(condition)))
        return of_condition(condition, full_is_final=self.full_is_final)

    def begin(self, envelope: Envelope, address: str, cipher: str) -> "Incoming":
        """Begin a message.

        Args:
            envelope: of the session; its recipients are those of `recipient`.
            address: IP address of who brings it, ``""`` for a UNIX socket.
            cipher: of TLS, ``""`` for none.
        """
        return Incoming(self, envelope, Origin(envelope.helo, address, envelope.protocol, cipher))


class Incoming:
    """A message that comes from a session."""

    def __init__(self, desk: Desk, envelope: Envelope, origin: Origin) -> None:
        self._desk = desk
        self._reverse_path = envelope.reverse_path
        self._identity = secrets.token_hex(6)
        self._recipients: Sequence[Recipient] = [one for one in envelope.recipients if isinstance(one, Recipient)]
        now = desk.clock()
        self._copies: dict[Target, Copy] = {}
        for recipient in self._recipients:
            for target in recipient.targets:
                if target not in self._copies:
                    head = trace.return_path(self._reverse_path)
                    head += trace.delivered_to(target.final, recipient.address if "@" in recipient.address else "")
                    head += trace.received(origin, desk.hostname, self._identity, recipient.address, now)
                    self._copies[target] = Copy(desk.store, target, head)
        self._message = Message(self._copies.values(), desk.held)

    def take(self, octets: bytes) -> bool:
        """Take octets; returns whether it is time to `spill` them."""
        return self._message.take(octets)

    async def spill(self) -> None:
        """Give the store what is held in memory."""
        await self._message.spill()

    async def close(self) -> None:
        """Let go of it; nothing is left of what is not delivered."""
        await self._message.close()

    async def deliver_each(self, delivered_to: frozenset[str]) -> AsyncIterator[Reply]:
        """Deliver to each recipient for itself, and give its reply as soon as its copies are durable (LMTP, D-004).

        Args:
            delivered_to: addresses in lower case that have had the message already (D-019).
        """
        await self._message.spill()
        # Each commits for itself.  Only where a recipient is several people must it be known of all of them, before any
        # has a copy, that they can have one: its one reply makes the sender try again for all (D-004, D-022).
        together = {target for one in self._recipients if len(one.targets) > 1 for target in one.targets}
        await asyncio.gather(*(self._copies[target].prepare() for target in together))
        replies = [self._refusal(recipient, delivered_to) for recipient in self._recipients]
        wanted = {
            target
            for recipient, reply in zip(self._recipients, replies, strict=True)
            if reply is None
            for target in recipient.targets
        }
        commits = {target: asyncio.ensure_future(self._copies[target].commit()) for target in wanted}
        try:
            for recipient, refusal in zip(self._recipients, replies, strict=True):
                if refusal is None:
                    for target in recipient.targets:
                        await commits[target]
                yield refusal or self._outcome(recipient)
        finally:
            await asyncio.gather(*commits.values())  # what has begun is finished
            await self.close()

    async def deliver_all(self, delivered_to: frozenset[str]) -> Reply:
        """Deliver to all recipients or to none (SMTP, D-022).

        Args:
            delivered_to: addresses in lower case that have had the message already (D-019).
        """
        try:
            await self._message.prepare()
            for recipient in self._recipients:
                if (refusal := self._refusal(recipient, delivered_to)) is not None:
                    return self._for_all(refusal)
            await asyncio.gather(*(copy.commit() for copy in self._copies.values()))
            outcomes = [self._outcome(recipient) for recipient in self._recipients]
            return next((self._for_all(one) for one in outcomes if not one.positive), outcomes[0])
        finally:
            await self.close()

    def _for_all(self, refusal: Reply) -> Reply:
        """One cannot have it, so nobody has it: the sender tries again, and RCPT then tells which one it is."""
        if len(self._recipients) == 1 or refusal is LOOP:
            return refusal
        return Reply(451, "4.3.0", "not all recipients can have it at the moment, so none has; try again later")

    def _refusal(self, recipient: Recipient, delivered_to: frozenset[str]) -> Reply | None:
        """Say what is known against a delivery before it is made."""
        if any(target.final.lower() in delivered_to for target in recipient.targets):
            self._log(recipient, LOOP)
            return LOOP
        return self._failure(recipient)

    def _failure(self, recipient: Recipient) -> Reply | None:
        for target in recipient.targets:
            if (failure := self._copies[target].failure) is not None:
                reply = self._desk.reply(failure)
                self._log(recipient, reply)
                return reply
        return None

    def _outcome(self, recipient: Recipient) -> Reply:
        failure = self._failure(recipient)
        if failure is not None:
            return failure
        reply = Reply(250, "2.0.0", f"delivered as {self._identity}")
        self._log(recipient, reply)
        return reply

    def _log(self, recipient: Recipient, reply: Reply) -> None:
        """One line for each recipient of each message."""
        log.info(
            "%s, id=%s from=<%s> to=<%s> accounts=%s octets=%d seconds=%.3f reply=%d %s",
            "delivered" if reply.positive else "not delivered",
            self._identity,
            one_line(self._reverse_path),
            one_line(recipient.address),
            ",".join(target.account for target in recipient.targets),
            self._message.octets,
            time.monotonic() - self._message.began,
            reply.code,
            reply.status,
        )
