"""The targets ``session`` and ``sasl`` for a bounded time, and proofs that they see defects, as all targets must."""

import random
from collections.abc import Callable
from functools import partial
from itertools import chain

import pytest

from restante.auth import Credentials, External, Kind, Password, Proven
from restante.errors import AuthenticationFailed, Condition
from restante.protocol.events import Event, Pause, Update
from restante.protocol.framing import LineBuffer
from restante.protocol.policy import Features, Terms
from restante.protocol.pop3_server import Session
from restante.protocol.sasl import MECHANISMS, Context, Exchange, FindRecord, scram
from restante.protocol.stage import State
from tests.fuzz import sasl_target, session_target
from tests.fuzz.choices import Choices, joined, mutated


def fuzz(check: Callable[[bytes], None], seeds: list[bytes], tokens: list[bytes], count: int) -> None:
    """Check the seeds and what an unguided fuzzer makes of them, always the same; the input that fails is told."""
    chance = random.Random(1)
    for octets in chain(seeds, (mutated(seeds, tokens, chance) for _ in range(count))):
        try:
            check(octets)
        except Exception as error:
            error.add_note(f"the input was {octets!r}")
            raise


def test_choices() -> None:
    """The octets of an input are split as `joined` joins them."""
    choices = Choices(joined(b"abcdef", b"\x01\x08"))
    assert choices.segments() == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [choices.choose(5), choices.choose(5)] == [3, 0]
    assert b"".join(Choices(joined(b"abcdef", b"\x03")).segments()) == b"abcdef"
    assert Choices(b"").segments() == Choices(b"\x09").segments() == [b""]


def test_session() -> None:
    """See the target.

    P-008, P-009, P-011, P-012, P-013, P-015, P-016, P-017, P-018, P-020, P-026, P-037, P-095, P-131, P-133, P-175,
    P-181, P-277, P-278.
    """
    fuzz(session_target.check, session_target.seeds(), session_target.TOKENS, 12_000)


def test_sasl() -> None:
    """P-188, P-193, P-194, P-201, P-206, P-207, P-209, P-210, P-215, P-216, P-220, P-221: see the target."""
    fuzz(sasl_target.check, sasl_target.seeds(), sasl_target.TOKENS, 60_000)


# -- sessions with a defect each --------------------------------------------------------------------


class ExecutesHalfALine(Session):
    def receive_eof(self) -> None:
        self.receive_data(b"\r\n")
        super().receive_eof()


class DeletesWithoutQuit(Session):
    def next_event(self) -> Event | None:
        event = super().next_event()
        listing = self._transaction.listing if self._transaction else None
        if event is None and listing and listing.deleted and self._state is State.CLOSED and self.end_reason != "quit":
            self._awaiting = event = Update(frozenset(listing.deleted))
            listing.unmark_all()
        return event


class DeletesWhatNobodyNamed(Session):
    def next_event(self) -> Event | None:
        event = super().next_event()
        if isinstance(event, Update):
            self._awaiting = event = Update(event.deleted | {3})
        return event


class SendsBareLf(Session):
    def data_to_send(self) -> bytes:
        return super().data_to_send().replace(b"marked deleted;", b"marked\ndeleted;")


class SaysGoodbyeToThoseWhoLeave(Session):
    def end(self, reason: str) -> None:
        if reason == "client closed the connection":
            self._replies.add(b"-ERR bye\r\n")
        super().end(reason)


class SwallowsEmptyLines(Session):
    def _execute(self, line: bytes) -> Event | None:
        if line:
            return super()._execute(line)
        self.commands += 1
        return None


class SendsTwoReplies(Session):
    def _negative(self, condition: Condition) -> Event | None:
        if condition.code == "SYS/PERM":
            self._replies.error(condition)
        return super()._negative(condition)


class AsksWhenItIsOver(Session):
    def next_event(self) -> Event | None:
        event = super().next_event()
        if self.end_reason == "HTTP where there is none" and event is None and not self._replies.octets:
            self.end_reason += "!"
            self._awaiting = event = Pause(1)
        return event


class KeepsEverything(Session):
    def __init__(self, features: Features, terms: Terms | None = None) -> None:
        super().__init__(features, terms)
        self._lines = LineBuffer(10**9, 10**9)

    def _next_line(self) -> bytes | None:
        return self._lines.next_line()


class SendsLoneDots(Session):
    def message_data(self, data: bytes) -> bool:
        more = super().message_data(data)
        self._replies.add(b"".join(self._replies.take()).replace(b"\r\n..\r\n", b"\r\n.\r\n"))
        return more


class SendsLongLines(Session):
    def _line_too_long(self) -> Event | None:
        self._replies.add(b"-ERR " + b"x" * 600 + b"\r\n")
        self.commands += 1
        return None


class EchoesWhatCame(Session):
    def _execute(self, line: bytes) -> Event | None:
        before = self._replies.octets
        event = super()._execute(line)
        if self._replies.octets > before:
            self._replies.add(b"".join(self._replies.take()).replace(b"a command is printable ASCII", line))
        return event


class DependsOnSegments(Session):
    def receive_data(self, data: bytes) -> None:
        super().receive_data(data.removeprefix(b" "))


class Raises(Session):
    def _execute(self, line: bytes) -> Event | None:
        if line.startswith(b"LIST") and len(line) > 20:
            raise OverflowError
        return super()._execute(line)


@pytest.mark.parametrize(
    "defect",
    [
        ExecutesHalfALine,
        DeletesWithoutQuit,
        DeletesWhatNobodyNamed,
        SendsBareLf,
        SaysGoodbyeToThoseWhoLeave,
        SwallowsEmptyLines,
        SendsTwoReplies,
        AsksWhenItIsOver,
        KeepsEverything,
        SendsLoneDots,
        SendsLongLines,
        EchoesWhatCame,
        DependsOnSegments,
        Raises,
    ],
)
def test_the_session_target_sees(defect: type[Session]) -> None:
    """Each of these is found, soon."""
    with pytest.raises((AssertionError, UnicodeDecodeError, OverflowError, RuntimeError)):
        fuzz(partial(session_target.check, make=defect), session_target.seeds(), session_target.TOKENS, 8000)


# -- mechanisms with a defect each ------------------------------------------------------------------


def takes_any_password(initial: bytes | None, _: Context) -> Exchange:
    message = initial if initial is not None else (yield b"")
    assert isinstance(message, bytes)
    yield Password("bob", sasl_target.SECRET.encode())


def acts_for_anybody(initial: bytes | None, _: Context) -> Exchange:
    message = initial if initial is not None else (yield b"")
    assert isinstance(message, bytes)
    fields = message.split(b"\0")
    if len(fields) != 3:
        raise AuthenticationFailed
    yield Password("bob", fields[2])


def stumbles(initial: bytes | None, _: Context) -> Exchange:
    message = initial if initial is not None else (yield b"")
    assert isinstance(message, bytes)
    user, password = message.decode().split("\0")[1:]
    yield Password(user, password.encode())


def never_ends(initial: bytes | None, _: Context) -> Exchange:
    while True:
        yield b"more"


def believes_any_name(initial: bytes | None, _: Context) -> Exchange:
    message = initial if initial is not None else (yield b"")
    assert isinstance(message, bytes)
    yield External(message.decode(errors="replace") or "bob")


def refuses_everybody(initial: bytes | None, _: Context) -> Exchange:
    if initial is None:
        yield b""
    yield Proven("", None)


def believes_any_proof(initial: bytes | None, context: Context) -> Exchange:
    """SCRAM, but for its point."""
    exchange = MECHANISMS["SCRAM-SHA-256"].begin(initial, context)
    answer: object = None
    while True:
        wanted = exchange.send(answer)  # type: ignore[arg-type]
        if isinstance(wanted, (Proven, Credentials)):
            yield Proven("bob", sasl_target._RECORDS[Kind.SCRAM_SHA_256].principal)
            return
        answer = yield wanted
        if isinstance(wanted, FindRecord):
            answer = sasl_target._RECORDS[wanted.kind]


@pytest.mark.parametrize(
    ("name", "defect"),
    [
        ("PLAIN", takes_any_password),
        ("PLAIN", acts_for_anybody),
        ("PLAIN", stumbles),
        ("LOGIN", never_ends),
        ("EXTERNAL", believes_any_name),
        ("OAUTHBEARER", refuses_everybody),
        ("SCRAM-SHA-256", believes_any_proof),
    ],
)
def test_the_sasl_target_sees(name: str, defect: Callable[[bytes | None, Context], Exchange]) -> None:
    """Each of these is found, soon."""
    mechanisms = MECHANISMS | {name: MECHANISMS[name]._replace(begin=defect)}
    with pytest.raises((AssertionError, ValueError)):
        fuzz(partial(sasl_target.check, mechanisms=mechanisms), sasl_target.seeds(), sasl_target.TOKENS, 8000)


def test_the_sasl_target_sees_a_downgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-209: a server that does not look at the flag."""
    monkeypatch.setattr(scram, "_binding_data", lambda *_, **__: b"")
    with pytest.raises(AssertionError):
        fuzz(sasl_target.check, sasl_target.seeds(), sasl_target.TOKENS, 8000)
