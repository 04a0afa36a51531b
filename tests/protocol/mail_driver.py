"""Drives a `MailSession` as a server would, with recipients and deliveries of the test's choice."""

from collections.abc import Callable
from dataclasses import dataclass, field

from restante.protocol.events import StartTLS
from restante.protocol.smtp.events import Begin, Commit, Content, Discard, Envelope, MailEvent, Recipient
from restante.protocol.smtp.features import MailFeatures
from restante.protocol.smtp.grammar import Mailbox
from restante.protocol.smtp.replies import UNKNOWN_USER, Reply
from restante.protocol.smtp.session import MailSession

DELIVERED = Reply(250, "2.0.0", "delivered")
LMTP = MailFeatures("mail.example.org")
SMTP = MailFeatures("mail.example.org", lmtp=False)
OPEN = b"LHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
OPEN_SMTP = OPEN.replace(b"LHLO", b"EHLO")


@dataclass
class Taken:
    """A message that came in."""

    envelope: Envelope
    octets: bytes = b""
    outcome: str = "under way"
    delivered_to: frozenset[str] = frozenset()


def known(mailbox: Mailbox) -> Reply | None:
    """Only names that begin with x are unknown."""
    return UNKNOWN_USER if mailbox.local.startswith("x") else None


@dataclass
class Driver:
    """Answers the events of a session; what came in is in `messages`."""

    features: MailFeatures = LMTP
    starttls: bool = False
    find: Callable[[Mailbox], Reply | None] = known
    outcome: Callable[[int], Reply] = lambda _: DELIVERED
    session: MailSession = field(init=False)
    messages: list[Taken] = field(default_factory=list)
    asked: list[Recipient] = field(default_factory=list)
    leftover: bytes = b""

    def __post_init__(self) -> None:
        self.session = MailSession(self.features, starttls=self.starttls)
        assert self.session.data_to_send().startswith(b"220 mail.example.org ")

    def send(self, *pieces: bytes) -> bytes:
        """Send octets and return what comes back."""
        answer = b""
        for piece in pieces:
            self.session.receive_data(piece)
            answer += self.go_on()
        return answer

    def go_on(self) -> bytes:
        """Answer events until there are none."""
        answer = b""
        while (event := self.session.next_event()) is not None or self.session.unfinished:
            if event is not None:
                self.answer(event)
            answer += self.session.data_to_send()
        return answer + self.session.data_to_send()

    def answer(self, event: MailEvent) -> None:
        """Answer one event."""
        session = self.session
        if isinstance(event, Recipient):
            self.asked.append(event)
            refusal = self.find(event.mailbox)
            if refusal is None:
                session.recipient_accepted(event.mailbox.text)
            else:
                session.refused(refusal)
        elif isinstance(event, Begin):
            self.messages.append(Taken(event.envelope))
            session.began()
        elif isinstance(event, Content):
            self.messages[-1].octets += event.octets
            session.content_taken()
        elif isinstance(event, Commit):
            taken = self.messages[-1]
            taken.outcome, taken.delivered_to = "committed", event.delivered_to
            for number in range(len(taken.envelope.recipients) if self.features.lmtp else 1):
                session.delivered(self.outcome(number))
        elif isinstance(event, Discard):
            self.messages[-1].outcome = "discarded"
            session.discarded()
        else:
            assert isinstance(event, StartTLS)
            self.leftover = event.leftover
            session.tls_started()


def codes(answer: bytes) -> list[str]:
    """Return the codes of replies; of one with several lines only once."""
    return [line[:3].decode() for line in answer.split(b"\r\n") if line[3:4] == b" "]
