"""What a session of LMTP or SMTP asks of the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from restante.protocol.events import StartTLS
from restante.protocol.smtp.grammar import Mailbox


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a message before it comes."""

    helo: str
    """What the client calls itself."""
    protocol: str
    """For the Received line: LMTP, ESMTPS, UTF8LMTP … (RFC 3848, RFC 6531 section 4.3)."""
    reverse_path: str
    """As it was written, ``""`` for the null path of a bounce."""
    recipients: Sequence[object]
    """What `Recipient` was answered with, in the order of the RCPT commands."""


class Recipient(NamedTuple):
    """Is that somebody here?  Answer with `MailSession.recipient_accepted` or `MailSession.refused`."""

    mailbox: Mailbox
    octets: int
    """What MAIL said of the size of the message; 0: nothing."""


class Begin(NamedTuple):
    """A message follows.  Answer with `MailSession.began`."""

    envelope: Envelope


class Content(NamedTuple):
    """The next octets of the message, dots undone.  Answer with `MailSession.content_taken`."""

    octets: bytes


class Commit(NamedTuple):
    """The message is complete.

    Answer with `MailSession.delivered` for each recipient in order (LMTP), or once (SMTP).
    """

    delivered_to: frozenset[str]
    """Addresses that have had the message already, in lower case (D-019)."""


class Discard(NamedTuple):
    """Nothing comes of the message that was begun.  Answer with `MailSession.discarded`."""


MailEvent = Recipient | Begin | Content | Commit | Discard | StartTLS
