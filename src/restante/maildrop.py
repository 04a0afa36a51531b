"""Contract between a session and the place where mail is kept.

Octets of a message are counted as RETR sends them: every line ended by CRLF, the last one too, without
byte-stuffing and without the final ``.`` line (RFC 1939 section 11, P-081, P-087, P-088).
"""

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

from restante.auth import Principal
from restante.errors import Condition


class Message(NamedTuple):
    """One line of the scan listing; message number n is ``listing[n - 1]``."""

    unique_id: str
    """RFC 1939 section 7: 1 to 70 characters of 0x21 to 0x7E, never used again in its maildrop."""
    octets: int
    """Exactly what RETR sends before byte-stuffing."""
    wire_form: bool = False
    """The stored octets are what RETR sends: CRLF throughout and at the end, no line begins with a dot."""
    surrogate: int = 0
    """What RETR sends to a client that has not said UTF8: octets of the form whose headers are ASCII (P-256).

    0: all headers are ASCII, and there is only one form.
    """


SLICE = 1000
"""Messages of a long listing that are looked at in one step (P-295)."""


class Listing(tuple[Message, ...]):  # noqa: SLOT001  (its properties are kept)
    """The messages of a maildrop, in their order, with what is worth to be worked out only once.

    A store that keeps it gives every session the same one; any other sequence of messages does as well.
    """

    @cached_property
    def octets(self) -> int:
        """The sum of what RETR sends of each."""
        return sum(message.octets for message in self)

    @cached_property
    def ascii(self) -> bool:
        """All headers are ASCII."""
        return not any(message.surrogate for message in self)

    @cached_property
    def ready(self) -> dict[str, list[bytes]]:
        """Replies that are ready, by their commands: each piece for `SLICE` messages, from the first on."""
        return {}

    def continued(self, messages: Iterable[Message], same: int) -> "Listing":
        """Return a listing of which all that is known already need not be worked out again.

        Args:
            messages: of that listing, behind those that are the same.
            same: how many messages, from the first on, it has in common with this one.
        """
        other = Listing((*self[:same], *messages))
        known = self.__dict__
        if "octets" in known:
            gone = sum(message.octets for message in self[same:])
            other.octets = self.octets - gone + sum(message.octets for message in other[same:])
        if known.get("ascii"):
            other.ascii = not any(message.surrogate for message in other[same:])
        if "ready" in known:
            other.ready = {command: pieces[: same // SLICE] for command, pieces in self.ready.items()}
        return other


class MessageFile(Protocol):
    """A stored message, open for reading from its start; any binary file of the standard library will do."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` octets, ``b""`` at the end.

        Raises:
            OSError: the octets cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Maildrop(Protocol):
    """An opened and locked maildrop: a snapshot; later mail belongs to the next session (P-047)."""

    @property
    def listing(self) -> Sequence[Message]:
        """The messages in their order of arrival, fixed until `close` (P-048)."""
        ...

    async def retrieve(self, number: int) -> MessageFile:
        """Open message `number` (from 1) as it is stored: any line ends, no byte-stuffing.

        Raises:
            TemporaryFailure: gone, or not readable now.
            PermanentFailure: not readable until someone mends it.
        """
        ...

    async def update(self, deleted: Collection[int]) -> None:
        """The UPDATE state (RFC 1939 section 6): remove the messages with these numbers, durably.

        A message that is already gone counts as removed (P-145).

        Raises:
            UpdateIncomplete: some of `deleted` are still there; no other message was touched (P-134).
        """
        ...

    async def close(self) -> None:
        """Release the lock.  Never deletes; may be called again."""
        ...


@runtime_checkable
class Prompt(Protocol):
    """A maildrop that can do some things at once; an add-on to `Maildrop`."""

    def retrieve_now(self, number: int) -> tuple[int, int] | None:
        """Open message `number` if nobody has to wait for a disk or a network; else None.

        Returns:
            a descriptor of a regular file, which the caller closes, and its octets.
        """
        ...

    def close_now(self) -> bool:
        """Release the lock if nothing else is to be done for that; returns whether it is released."""
        ...


class Delivery(Protocol):
    """One message on its way in; it leaves no trace unless it is committed.

    A message for several maildrops is prepared in all of them before it is committed in any: then a refusal doubles
    nothing (D-004, D-022).
    """

    async def write(self, octets: bytes) -> None:
        """Add octets, lines ended by CRLF or LF; they may be held in memory until `prepare`.

        Raises:
            TemporaryFailure, PermanentFailure: no room, or the store is out of reach.
        """
        ...

    async def prepare(self) -> None:
        """Do all but the last step; may be called again.

        When it returns, the octets are durable, though invisible, and there was room.  `write` is over.

        Raises:
            QuotaExceeded: the maildrop has no room for it.
            TemporaryFailure, PermanentFailure: it cannot be kept.
        """
        ...

    async def commit(self) -> None:
        """Make the message part of the maildrop; returns only when it is durable.  Prepares it where nobody has.

        Raises:
            QuotaExceeded: the maildrop has no room for it.
            TemporaryFailure, PermanentFailure: it is not in the maildrop.
        """
        ...


class MaildropStore(Protocol):
    """Where maildrops are."""

    async def open(self, principal: Principal) -> Maildrop:
        """Lock and list the maildrop; one that does not exist yet opens empty (P-054).

        Raises:
            MaildropInUse: another session has it; answered at once, without waiting (P-041).
            NoSuchMaildrop: the name cannot have one.
            TemporaryFailure, PermanentFailure: it cannot be opened.
        """
        ...

    def deliver(self, user: str) -> AbstractAsyncContextManager[Delivery]:
        """Begin a delivery; it never waits for a session (P-047, D-015).

        That the store is out of reach may show only when octets are written, prepared or committed.

        Raises:
            NoSuchMaildrop: on entering the context.
            TemporaryFailure, PermanentFailure: on entering it, too.
        """
        ...


@runtime_checkable
class PromptStore(Protocol):
    """A store that can open some maildrops at once, without a disk or a network; an add-on to `MaildropStore`."""

    def open_now(self, principal: Principal) -> Maildrop | None:
        """Open a maildrop; None: ask `MaildropStore.open`.

        Raises:
            MaildropInUse: another session has it.
        """
        ...


@runtime_checkable
class Roomy(Protocol):
    """A store that can say beforehand whether a delivery has a chance; an add-on to `MaildropStore`."""

    async def check_room(self, user: str, octets: int) -> None:
        """See to it that a message has room (D-010, D-016); a maildrop that does not exist yet has.

        What it says holds for this moment: `Delivery.prepare` looks again.

        Args:
            user: whose maildrop.
            octets: that the message may have; 0: not known.

        Raises:
            QuotaExceeded: the maildrop is full, or would be.
            NoRoom: the file system is full, or would be.
            NoSuchMaildrop: the name cannot have one.
            TemporaryFailure, PermanentFailure: nobody can tell.
        """
        ...

    async def holds(self, user: str) -> bool:
        """Say whether there is a maildrop of that name.

        Raises:
            TemporaryFailure, PermanentFailure: nobody can tell.
        """
        ...


class TraceableDelivery(Delivery, Protocol):
    """A delivery of a `Traceable` store."""

    @property
    def receipt(self) -> str:
        """By what the store knows it for ever, from `prepare` on."""
        ...


@runtime_checkable
class Traceable(Protocol):
    """A store that can say after a crash whether a delivery was committed; an add-on to `MaildropStore`.

    Whoever keeps the receipt before the commit, and asks before the next try, delivers a message once and only once.
    """

    async def prepare_together(self, deliveries: Sequence[Delivery], /) -> Sequence[Condition | None]:
        """Prepare deliveries of this store, so that they cost less than each by itself.

        Returns:
            for each of them in their order what `Delivery.prepare` would have raised.
        """
        ...

    async def commit_together(self, deliveries: Sequence[Delivery], /) -> Sequence[Condition | None]:
        """Commit deliveries that have been prepared.

        Returns:
            for each of them in their order what `Delivery.commit` would have raised.
        """
        ...

    async def settle(self, user: str, receipt: str) -> bool:
        """Say whether that delivery was committed; one that was only prepared is discarded.

        Raises:
            TemporaryFailure, PermanentFailure: nobody can tell.
        """
        ...


@runtime_checkable
class Inspectable(Protocol):
    """A store that can say what is wrong with a maildrop; an add-on to `MaildropStore`."""

    async def inspect(self, user: str) -> Sequence[str]:
        """Return a line for each problem, its place first; changes nothing."""
        ...


@runtime_checkable
class Repairable(Protocol):
    """A store that can mend some of what `Inspectable` finds; an add-on to `MaildropStore`."""

    async def repair(self, user: str) -> Sequence[str]:
        """Mend what can be mended without losing mail or changing an id; returns a line for each thing done.

        Raises:
            MaildropInUse: a session has the maildrop.
            TemporaryFailure, PermanentFailure: the rest is as it was.
        """
        ...


@runtime_checkable
class Housekept(Protocol):
    """A store with work that nobody waits for; an add-on to `MaildropStore`."""

    async def keep_house(self) -> None:
        """Go once through all maildrops and clear away what is due, a little at a time.

        May be cancelled at any time, and called in several processes at once.
        """
        ...


@runtime_checkable
class Correctable(Protocol):
    """A maildrop that takes being told that its listing was wrong; an add-on to `Maildrop`."""

    def distrust(self, number: int) -> None:
        """The octets of message `number` are not those of the listing: the next session must have them right."""
        ...


class Given(NamedTuple):
    """A unique-id that another server has given to a message of the listing."""

    number: int
    """Of the message in our listing, from 1."""
    unique_id: str


@runtime_checkable
class Adoptable(Protocol):
    """A maildrop that can take over the unique-ids of another server (P-128); an add-on to `Maildrop`."""

    async def found_ids(self, source: str, uidl_format: str) -> Sequence[Given]:
        """Read what another server has left beside the messages; changes nothing.

        Args:
            source: where ids are looked for; the store names what it knows (`sources`).
            uidl_format: how that server makes ids where its own configuration says so; ``""``: its default.

        Returns:
            Messages of the listing in the order in which that server lists them.

        Raises:
            ValueError: `source` or `uidl_format` is wrong; says what would be right.
            FileNotFoundError: there is nothing from that server.
        """
        ...

    async def adopt(self, given: Sequence[Given], *, follow: str = "", uidl_format: str = "") -> None:
        """Give messages these ids, in this order, from the next session on; durable when it returns.

        Messages that are not named keep their ids and come after the others.

        Args:
            given: no id twice, no number twice.
            follow: the source to ask for the ids of later messages, and to tell of them; ``""``: none.
            uidl_format: of that source.

        Raises:
            ValueError: an id is no unique-id (P-123), or another message has it or had it (P-126).
            TemporaryFailure, PermanentFailure: nothing has changed.
        """
        ...


class Deleted(NamedTuple):
    """A message that was deleted and can still be brought back."""

    unique_id: str
    octets: int
    """On disk."""
    when: float
    """Time of deletion, in seconds since 1970."""
    header: bytes
    """How it begins: at most 8192 octets."""


@runtime_checkable
class Restorable(Protocol):
    """A store that can bring deleted messages back; an add-on to `MaildropStore`."""

    async def deleted(self, user: str) -> Sequence[Deleted]:
        """List what can be brought back, in the order of deletion; changes nothing."""
        ...

    async def restore(self, user: str, unique_ids: Collection[str]) -> Sequence[str]:
        """Bring messages back under their old unique-ids; returns the ids that are back, durably.

        Raises:
            MaildropInUse: a session has the maildrop.
            TemporaryFailure, PermanentFailure: some are not back; none is lost.
        """
        ...
