"""Fuzz target ``session``: any octets, in any segments, and any answers of the world to what the session asks.

What is stated, for every input:

* nothing raises;
* what is sent is a sequence of replies: status lines of at most 512 octets with CRLF that begin with ``+OK ``,
  ``-ERR `` or ``+ ``, printable, in UTF-8, a code only after ``-ERR``; behind ``+OK`` only there may be lines that end
  with a lone dot, and every other line with a dot at its beginning has two (P-008, P-009, P-012, P-013, P-015, P-175);
* there is one reply for a line, never more, and none is missing once the session waits (P-016, P-017);
* deletions are asked for only when the last line handled is a complete QUIT, and only of messages that a DELE before it
  named (P-020, P-131, P-133);
* nothing is asked once the session is over, and nothing is sent twice;
* no more than a line, and no more than a reply over the limit, is kept (P-011, P-277);
* how the octets are cut makes no difference (P-026, P-278).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from restante.auth import Password, Principal, Proven
from restante.errors import (
    AuthenticationFailed,
    Condition,
    InternalError,
    MaildropInUse,
    PermanentFailure,
    TemporaryFailure,
    UpdateIncomplete,
)
from restante.maildrop import Message
from restante.protocol.events import Event, FindRecord, Login, Pause, Retrieve, StartTLS, Update
from restante.protocol.framing import wire_octets
from restante.protocol.policy import Features, SessionLimits, Terms
from restante.protocol.pop3_server import Session
from restante.protocol.sasl import MECHANISMS
from restante.protocol.scan_listing import Headers
from restante.protocol.stage import State
from restante.protocol.surrogate import surrogate_octets
from tests.fuzz.choices import Choices, joined
from tests.protocol.driver import KNOWN, b64
from tests.protocol.scram_client import DECOY, ScramClient, record

MESSAGES = (
    b"Subject: one\n\n.dot\n",
    b"",
    "Subject: K\u00f6ln\n\n.\n".encode(),
    b"A: b\r\n\r\n1\r\n..\r\n3",
    b".\n.\n",
)
LIMITS = SessionLimits(line=300, sasl_line=1000, dropped=2000, output=600, turn=7, bad_after_login=25)
CONDITIONS: tuple[type[Condition], ...] = (
    AuthenticationFailed,
    MaildropInUse,
    TemporaryFailure,
    PermanentFailure,
    InternalError,
    UpdateIncomplete,
)
CODES = "AUTH|IN-USE|LOGIN-DELAY|SYS/TEMP|SYS/PERM|UTF8"
_STATUS = re.compile(rf"(\+OK [^\[].*|-ERR (?:\[(?:{CODES})\] )?[^\[].*|\+ [A-Za-z0-9+/]*=*)\r\n")
_QUIT = re.compile(rb"(?:^|\n)[^\n]*QUIT[ \t]*\r?\n$", re.IGNORECASE)
_DELE = re.compile(rb"dele +0*([1-9][0-9]*)[ \t]*\r?\n", re.IGNORECASE)
_BOB = record("secret", iterations=1)
_EVERY = tuple(MECHANISMS)
_TERMS = (
    Terms(),
    Terms(mechanisms=_EVERY, apop=True, tls="TLSv1.3", bindings={"tls-exporter": b"x"}, identities=("bob",)),
    Terms(passwords=False, mechanisms=("SCRAM-SHA-256", "CRAM-MD5"), stls=True),
    Terms(mechanisms=_EVERY, stls=True, host="mail.example.org", identities=("bob",)),
)
_LARGEST_REPLY = 4096


class Played(NamedTuple):
    """What can be seen of a session from outside."""

    sent: bytes
    events: list[Event]
    end_reason: str


class _Table:
    """A world for one session, which answers as the choices say."""

    def __init__(self, choices: Choices, make: Callable[[Features, Terms], Session]) -> None:
        self.choices = choices
        kind = choices.choose(24)
        headers = list(Headers)[kind // 4 % 3]
        expire = None if kind < 12 else 0
        features = Features(
            "mail.example.org",
            expire=expire,
            login_delay=kind // 12 * 60,
            headers=headers,
            limits=LIMITS,
            token=lambda: "t0",
        )
        self.terms = _TERMS[kind % 4]
        self.expire = expire
        self.session = make(features, self.terms)
        self.events: list[Event] = []
        self.sent = b""
        self.received = b""
        self.left_over = 0
        self.cut_short = False

    def play(self, segments: list[bytes]) -> None:
        self.run()
        for segment in segments:
            self.received += segment
            self.session.receive_data(segment)
            self.run()
        self.session.receive_eof()
        self.run()

    def run(self) -> None:
        session = self.session
        while True:
            was_over = session.state is State.CLOSED
            event = session.next_event()
            data = session.data_to_send()
            assert len(data) <= LIMITS.output + _LARGEST_REPLY
            self.sent += data
            if event is None:
                if not session.unfinished:
                    break
            else:
                assert not was_over
                assert session.state is not State.CLOSED, f"{event} of a session that is over"
                self.events.append(event)
                self.answer(event)
        assert session.next_event() is None
        assert session.data_to_send() == b""
        if session.state is not State.CLOSED:
            assert session.input_octets <= LIMITS.sasl_line + 1
            assert b"\n" not in session._lines.peek(2000)

    def answer(self, event: Event) -> None:
        session = self.session
        if isinstance(event, StartTLS):
            self.left_over += len(event.leftover)
            assert self.received.endswith(event.leftover)
            session.tls_started(Terms(mechanisms=_EVERY, tls="TLSv1.3", identities=("bob",)))
            return
        if isinstance(event, Pause):
            session.resumed()
            return
        way = self.choices.choose(10)
        if isinstance(event, Update):
            self.check_update(event)
        if way >= 4:
            session.refused(CONDITIONS[way - 4]("x"))
        elif isinstance(event, Login):
            self.log_in(event)
        elif isinstance(event, FindRecord):
            session.record_found(_BOB if event.user == "bob" else DECOY)
        elif isinstance(event, Retrieve):
            self.retrieve(event, way)
        else:
            assert isinstance(event, Update)
            session.updated()

    def log_in(self, event: Login) -> None:
        credentials = event.credentials
        if credentials in KNOWN:
            self.session.login_succeeded(listing())
        else:
            assert not isinstance(credentials, Proven) or credentials.principal in (None, Principal("bob"))
            assert not isinstance(credentials, Password) or credentials.password  # P-037
            self.session.refused(AuthenticationFailed("x"))

    def retrieve(self, event: Retrieve, way: int) -> None:
        session, stored = self.session, MESSAGES[event.number - 1]
        session.message_follows()
        if way == 1:
            self.cut_short = True
            session.message_data(stored[:3])
            session.refused(TemporaryFailure("x"))  # P-095: the disk fails in the middle
            return
        if way == 2:
            stored += b"x"  # somebody has changed the file
        more = True
        for start in range(0, len(stored), 5):
            if more:
                more = session.message_data(stored[start : start + 5])
        self.cut_short = not session.message_complete()

    def check_update(self, event: Update) -> None:
        consumed = self.received[: len(self.received) - self.session.input_octets]
        assert _QUIT.search(consumed), f"{event} without QUIT"
        named = {int(number) for number in _DELE.findall(consumed) if len(number) < 5}
        if self.expire == 0:  # P-142
            named |= {event.number for event in self.events if isinstance(event, Retrieve)}
        assert event.deleted
        assert event.deleted <= named & set(range(1, len(MESSAGES) + 1))
        assert sum(isinstance(event, Update) for event in self.events) == 1

    def check(self) -> None:
        """Look at the whole session, from outside."""
        session = self.session
        replies = count_replies(self.sent, cut_short=self.cut_short, in_english=b"LANG" not in self.received.upper())
        received = self.received
        without_line_end = received.count(b"\x01")
        assert session.commands <= received.count(b"\n") + without_line_end
        assert session.commands <= replies - 1 + self.cut_short <= session.commands + 1  # 1: the greeting
        if session.end_reason == "client closed the connection":
            assert replies - 1 == session.commands
            if not without_line_end and not self.left_over:
                assert session.commands == received.count(b"\n")


def listing() -> list[Message]:
    """What the maildrop of a fuzzed session holds."""
    return [
        Message(f"id-{number}", wire_octets([stored]), surrogate=surrogate_octets([stored]))
        for number, stored in enumerate(MESSAGES, 1)
    ]


def count_replies(sent: bytes, *, cut_short: bool, in_english: bool) -> int:
    """Count replies, and check that they are what replies must be.

    What comes behind ``+OK`` belongs to it when it does not begin with ``+`` or ``-``: no line here does.
    """
    replies = 0
    while sent:
        line, end, sent = sent.partition(b"\r\n")
        status = (line + end).decode("ascii" if in_english else "utf-8")
        assert len(line + end) <= 512
        assert _STATUS.fullmatch(status), status
        assert status.removesuffix("\r\n").isprintable()
        replies += 1
        if sent[:1] in (b"+", b"-", b""):
            continue
        assert status.startswith("+OK ")
        while line != b".":
            line, end, sent = sent.partition(b"\r\n")
            if not end or (cut_short and not sent and line != b"."):
                assert cut_short, "a reply without its end"
                return replies
            assert b"\n" not in line
            assert not line.startswith(b".") or line == b"." or line.startswith(b"..")
    return replies


def play(octets: bytes, make: Callable[[Features, Terms], Session], *, whole: bool = False) -> Played:
    """Play one session and check it."""
    choices = Choices(octets)
    segments = choices.segments()
    table = _Table(choices, make)
    table.play([choices.sent] if whole else segments)
    table.check()
    return Played(table.sent, table.events, table.session.end_reason)


def check(octets: bytes, make: Callable[[Features, Terms], Session] = Session) -> None:
    """Check what this module states."""
    played = play(octets, make)
    if depends_on_segments(octets, played):
        return
    whole = play(octets, make, whole=True)
    assert whole == played


def depends_on_segments(octets: bytes, played: Played) -> bool:
    """Say whether segments may make a difference, as they do where octets are told from what comes later.

    These are: what comes with STLS (P-232); 0x01 without a line end, which ends a failed exchange (P-215); and headers
    of SSL 2 and the PROXY protocol, which have line ends in them.
    """
    sent = Choices(octets).sent
    lone = any(isinstance(event, StartTLS) for event in played.events) or b"\x01" in sent
    return lone or sent[:1] >= b"\x80" or sent[:1] in (b"\r", b"\n")


TOKENS = [
    b"USER ", b"PASS ", b"APOP ", b"AUTH ", b"STLS", b"UTF8", b"LANG ", b"CAPA", b"QUIT", b"STAT", b"LIST", b"RETR ",
    b"DELE ", b"TOP ", b"UIDL", b"NOOP", b"RSET", b"HELP", b"\r\n", b"\n", b"\r", b" ", b"1", b"5", b"9" * 20, b"bob",
    b"secret", b"*", b"=", b"AQ==", b"\x01", b"\xff\xfb\x1f", b"\x16\x03\x01", b"GET ", b"POST ", b"PROXY ", b"de",
    b"fr", b"x" * 310, b"x" * 1010, b"\xc3\xb6", b"\0", *[name.encode() for name in MECHANISMS],
]  # fmt: skip


def seeds() -> list[bytes]:
    """Valid sessions of every kind, as a person would type them."""
    login = b"USER bob\r\nPASS secret\r\n"
    plain = b"AUTH PLAIN " + b64("\0bob\0secret") + b"\r\n"
    bad_token = b64("n,,\x01auth=Bearer bad\x01\x01")
    work = b"STAT\r\nLIST\r\nLIST 1\r\nUIDL\r\nUIDL 2\r\nRETR 1\r\nTOP 4 1\r\nRETR 3\r\n"
    work += b"DELE 2\r\nNOOP\r\nRSET\r\nDELE 1\r\n"
    client = ScramClient("bob", "secret", nonce="abc")
    final = client.final(f"r=abct0,s={b64(_BOB.salt).decode()},i=1")
    scram = b"AUTH SCRAM-SHA-256 " + b64(client.first) + b"\r\n" + b64(final) + b"\r\n\r\n"
    sessions = [
        login + work + b"QUIT\r\n",
        b"CAPA\r\nUTF8\r\nLANG de\r\n" + login + b"RETR 3\r\nLIST 3\r\nLANG *\r\nLANG\r\nQUIT\r\n",
        b"HELP\r\nUSER x\r\nPASS y\r\nAPOP mrose c4c9334bac560ecc979e58001b3e22fb\r\nSTLS\r\n" + plain + b"QUIT\r\n",
        plain + b"RETR 2\r\nTOP 1 0\r\nDELE 1\r\nDELE 2\r\nQUIT x\r\nQUIT\r\n",
        b"AUTH\r\nAUTH LOGIN\r\n" + b64("bob") + b"\r\n" + b64("secret") + b"\r\nDELE 5\r\nQUIT\r\n",
        b"AUTH OAUTHBEARER " + bad_token + b"\r\nAQ==\r\nAUTH OAUTHBEARER " + bad_token + b"\r\n\x01",
        b"AUTH SCRAM-SHA-256 " + b64("n,,n=bob,r=abc") + b"\r\n*\r\nAUTH EXTERNAL =\r\nQUIT\r\n",
        scram + b"STAT\r\nDELE 4\r\nQUIT\r\n",
        b"AUTH CRAM-MD5\r\n" + b64("tim " + "0" * 32) + b"\r\nAUTH ANONYMOUS " + b64("x") + b"\r\nFOO\r\n",
        b"STLS\r\nUSER eve",
        login + b"x" * 400 + b"\r\nDELE 3\r\n" + b"FOO\r\n" * 12,
        b"USER " + "J\u00f6rg".encode() + b"\nPASS \xff\nGET / HTTP/1.1\n",
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 192.0.2.1\r\n",
    ]
    return [
        joined(session, bytes([cut, kind, *answers]))
        for session in sessions
        for kind in (0, 1, 2, 3, 17)
        for cut, answers in ((0, b""), (1, b"\0"), (11, b"\0\0\x01"), (40, b"\0\x02\x05\x09"))
    ]
