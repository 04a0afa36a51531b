"""Fuzz target ``mail``: a session of LMTP or SMTP, any octets, in any segments, and any answers of the world.

What is stated, for every input:

* nothing raises;
* what is sent is a sequence of replies of at most 512 octets a line, printable ASCII with CRLF, that carry a status of
  their class where one belongs, on each line but those of the greeting and of EHLO (D-002);
* a message is begun with at least one recipient, has octets only while it is begun, and is either committed or let go
  of, once; nothing is asked after the end of a session;
* what is committed after DATA is what a slow and simple reading makes of the octets: up to CRLF.CRLF, without the first
  dot of a line that begins with one (D-006, D-013); in SMTP it has no CR or LF that stands alone;
* after a commit there is a reply for each recipient in LMTP, and one in SMTP (D-004);
* no more than a line is kept (P-277);
* how the octets are cut makes no difference (D-007).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from restante.protocol.events import StartTLS
from restante.protocol.smtp.events import Begin, Commit, Content, Discard, MailEvent, Recipient
from restante.protocol.smtp.features import MailFeatures
from restante.protocol.smtp.replies import LOOP, TEMPORARY, UNKNOWN_USER, Reply
from restante.protocol.smtp.session import MailSession
from restante.protocol.strangers import HTTP_HERE
from tests.fuzz.choices import Choices, joined

LINE = 400
_REPLY = re.compile(r"([2345])\d\d(?: (?:(\d)\.\d{1,3}\.\d{1,3} )?[ -~]+|-[ -~]+)\r\n")
_REFUSALS = (UNKNOWN_USER, TEMPORARY, Reply(452, "4.2.2", "full"))
Make = Callable[..., MailSession]


class Played(NamedTuple):
    """What can be seen of a session from outside."""

    sent: bytes
    messages: list[tuple[str, bytes]]
    end_reason: str


class _Table:
    """A world for one session, which answers as the choices say."""

    def __init__(self, choices: Choices, make: Make) -> None:
        self.choices = choices
        kind = choices.choose(8)
        self.lmtp = kind % 2 == 0
        size = 0 if kind < 4 else 50
        features = MailFeatures(
            "mail.example.org", lmtp=self.lmtp, size=size, recipients=3, line=LINE, turn=5, output=600
        )
        self.session = make(features, starttls=kind % 4 < 2)
        self.messages: list[tuple[str, bytes]] = []
        self.sent = b""
        self.received = b""
        self.lone = False
        self._open = False
        self._start = 0
        self._recipients = 0

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
            event = session.next_event()
            self.sent += session.data_to_send()
            if event is not None:
                assert not session.closed
                self.answer(event)
            elif not session.unfinished:
                break
        assert session.data_to_send() == b""
        if not session.closed:
            assert session.input_octets <= LINE + 1

    def answer(self, event: MailEvent) -> None:
        session = self.session
        if isinstance(event, Recipient):
            way = self.choices.choose(8)
            if way < 5:
                session.recipient_accepted(event.mailbox.text)
            else:
                session.refused(_REFUSALS[way - 5])
        elif isinstance(event, Begin):
            assert not self._open
            self._recipients = len(event.envelope.recipients)
            assert self._recipients
            self._open = True
            self._start = len(self.received) - session.input_octets
            self.messages.append(("begun", b""))
            session.began()
        elif isinstance(event, Content):
            self._note("begun", event.octets)
            session.content_taken()
        elif isinstance(event, Discard):
            self._note("discarded")
            session.discarded()
        elif isinstance(event, Commit):
            self._note("committed")
            self.check_commit()
        else:
            assert isinstance(event, StartTLS)
            self.lone = True
            assert self.received.endswith(event.leftover)
            session.tls_started()

    def _note(self, state: str, octets: bytes = b"") -> None:
        assert self._open
        self._open = state == "begun"
        # How much of a message has been handed on when it is refused depends on the segments.
        self.messages[-1] = (state, b"" if state == "discarded" else self.messages[-1][1] + octets)

    def check_commit(self) -> None:
        session = self.session
        content = self.messages[-1][1]
        consumed = self.received[: len(self.received) - session.input_octets]
        if re.search(rb"(?i)(?:^|\n)[ \t]*data[ \t]*\r?\n$", self.received[: self._start]):
            assert content == slowly(consumed[self._start :])
        if not self.lmtp:
            assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
        before = self.sent.count(b"\r\n")
        for _ in range(self._recipients if self.lmtp else 1):
            session.delivered((Reply(250, "2.0.0", "done"), TEMPORARY, LOOP)[self.choices.choose(3)])
        self.sent += session.data_to_send()
        assert self.sent.count(b"\r\n") - before == (self._recipients if self.lmtp else 1)


def slowly(octets: bytes) -> bytes:
    """Read a message as a person would, line by line; the octets end where it does."""
    *lines, end = octets.split(b"\r\n")
    assert end == b""
    assert lines.pop() == b"."
    assert b"." not in lines
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)


def check_replies(sent: bytes) -> None:
    """Check that they are what replies must be."""
    lines = sent.decode("ascii").splitlines(keepends=True)
    for number, line in enumerate(lines):
        assert len(line) <= 512
        match = _REPLY.fullmatch(line)
        assert match, line
        greeting = number == 0
        announcement = line[:4] == "250-" or lines[number - 1][:4] == "250-"
        if not (greeting or announcement or match[1] == "3" or match[2] == match[1]):
            assert match[2] is None
            assert line == "250 mail.example.org\r\n" or re.search("EHLO|LHLO|HELO", line), line


def play(octets: bytes, make: Make, *, whole: bool = False) -> tuple[Played, bool]:
    """Play one session and check it; says, too, whether TLS was begun."""
    choices = Choices(octets)
    segments = choices.segments()
    table = _Table(choices, make)
    table.play([choices.sent] if whole else segments)
    check_replies(table.sent)
    return Played(table.sent, table.messages, table.session.end_reason), table.lone


def check(octets: bytes, make: Make = MailSession) -> None:
    """Check what this module states."""
    played, lone = play(octets, make)
    sent = Choices(octets).sent
    # What comes with STARTTLS is told from what comes later (D-023), and so are headers with line ends in them; and a
    # browser gets no reply at all, what waits to be sent included.
    if not lone and played.end_reason != HTTP_HERE and sent[:1] < b"\x80" and sent[:1] not in (b"\r", b"\n"):
        assert play(octets, make, whole=True)[0] == played


TOKENS = [
    b"LHLO ", b"EHLO ", b"HELO ", b"MAIL FROM:<", b"RCPT TO:<", b">", b"DATA\r\n", b"\r\n.\r\n", b"\n.\r\n", b"\r\n.\n",
    b"\r.\r", b"BDAT ", b" LAST", b"RSET", b"NOOP", b"QUIT", b"VRFY x", b"STARTTLS", b"HELP", b"\r\n", b"\n", b"\r",
    b"SIZE=", b"BODY=8BITMIME", b"SMTPUTF8", b"9" * 25, b"a@b", b"@x:a@b", b'"a b"@c',
    b"\xc3\xb6", b"\0", b"Received: x\r\n", b"Delivered-To: a@b\r\n", b"x" * 410, b"GET / HTTP/1.1", b"\x16\x03\x01",
]  # fmt: skip


def seeds() -> list[bytes]:
    """Valid sessions of every kind."""
    open_ = b"MAIL FROM:<a@b> SIZE=10\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n"
    message = b"Received: x\r\nA: b\r\n\r\n..dot\r\nx\r\n.\r\n"
    sessions = [
        open_ + b"DATA\r\n" + message + b"QUIT\r\n",
        open_ + b"BDAT 7\r\nA: b\r\n\rBDAT 3 LAST\r\n\nx\n" + open_ + b"DATA\r\n.\r\nQUIT\r\n",
        open_ + b"DATA\r\nbare\nLF\n.\nand\r.\rCR\r\n.\r\n" + open_ + b"RSET\r\nVRFY x\r\nNOOP\r\n",
        b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<\xc3\xb6@d>\r\nDATA\r\n" + b"x" * 100 + b"\r\n.\r\n",
        b"STARTTLS\r\nEHLO x\r\n",
        open_ + open_ + b"BDAT 0 LAST\r\nBDAT 5\r\n12345DATA\r\nFOO\r\n" + b"FOO\r\n" * 20,
        b"BDAT x\r\nGET / HTTP/1.1\r\n",
        b"x" * 500 + b"\r\nMAIL FROM:a\r\nRCPT TO:b\r\nDATA\r\nMAIL FROM:<a> X=1\r\n",
    ]
    return [
        joined(keyword + b" client\r\n" + session, bytes([cut, kind, *answers]))
        for session in sessions
        for keyword, kinds in ((b"LHLO", (0, 2, 4, 6)), (b"EHLO", (1, 3, 5, 7)))
        for kind in kinds
        for cut, answers in ((0, b""), (1, b"\0"), (11, b"\0\6\1"), (40, b"\0\2\5\7\1\2"))
    ]
