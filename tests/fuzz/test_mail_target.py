"""The fuzz target ``mail`` for a bounded time, and proofs that it sees defects."""

from dataclasses import replace
from functools import partial

import pytest

from restante.protocol.smtp.events import Begin, Commit, Content, MailEvent
from restante.protocol.smtp.replies import Reply
from restante.protocol.smtp.session import MailSession
from tests.fuzz import mail_target
from tests.fuzz.test_targets import fuzz


def test_mail() -> None:
    """D-002, D-003, D-004, D-006, D-007, D-012, D-013, D-022, D-023: see the target."""
    fuzz(mail_target.check, mail_target.seeds(), mail_target.TOKENS, 12_000)


class EndsAtBareLf(MailSession):
    """SMTP smuggling (D-006)."""

    def receive_data(self, data: bytes) -> None:
        super().receive_data(data.replace(b"\n.\n", b"\r\n.\r\n"))


class DropsDots(MailSession):
    def next_event(self) -> MailEvent | None:
        event = super().next_event()
        return Content(event.octets.replace(b".", b"")) if isinstance(event, Content) else event


class RepliesOnce(MailSession):
    """As LMTP of libraries for SMTP does (D-004)."""

    def delivered(self, reply: Reply) -> None:
        before = self._output.octets
        super().delivered(reply)
        if before:
            self._output.take()


class ForgetsStatus(MailSession):
    def data_to_send(self) -> bytes:
        return super().data_to_send().replace(b"250 2.1.0 ", b"250 ")


class TakesNobody(MailSession):
    def next_event(self) -> MailEvent | None:
        event = super().next_event()
        return Begin(replace(event.envelope, recipients=())) if isinstance(event, Begin) else event


class CommitsTwice(MailSession):
    _again: Commit | None = None

    def next_event(self) -> MailEvent | None:
        if self._again is not None:
            event, self._again = self._again, None
            return event
        found = super().next_event()
        self._again = found if isinstance(found, Commit) else None
        return found


class SeesSegments(MailSession):
    def receive_data(self, data: bytes) -> None:
        super().receive_data(data.removesuffix(b"\r"))


@pytest.mark.parametrize(
    "defect", [EndsAtBareLf, DropsDots, RepliesOnce, ForgetsStatus, TakesNobody, CommitsTwice, SeesSegments]
)
def test_the_target_sees(defect: type[MailSession]) -> None:
    """Each of these is found, soon."""
    with pytest.raises((AssertionError, RuntimeError)):
        fuzz(partial(mail_target.check, make=defect), mail_target.seeds(), mail_target.TOKENS, 4000)
