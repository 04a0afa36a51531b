"""One message on its way in: sender, recipients, and the octets by DATA or BDAT (RFC 5321 section 4.1.1, RFC 3030)."""

from collections import deque
from typing import NamedTuple

from restante.protocol.framing import LineBuffer, MultilineDecoder
from restante.protocol.smtp.content import ContentWatch
from restante.protocol.smtp.events import Begin, Commit, Content, Discard, Envelope, MailEvent
from restante.protocol.smtp.features import MailFeatures
from restante.protocol.smtp.grammar import Refused
from restante.protocol.smtp.replies import Output, Reply


class _Chunk(NamedTuple):
    last: bool
    refusal: Reply | None
    """The chunk is read and thrown away, and this is said then (D-012)."""


class Transaction:
    """From MAIL to the reply after the message, or until something forgets it (D-008, D-009).

    Args:
        features: of the site.
        output: where replies go.
        events: where events go.
    """

    def __init__(self, features: MailFeatures, output: Output, events: deque[MailEvent]) -> None:
        self.reverse_path: str | None = None
        """None: no MAIL yet; ``""``: the null path."""
        self.utf8 = False
        """MAIL has said SMTPUTF8."""
        self.size = 0
        """What MAIL has said of the size; 0: nothing."""
        self.recipients: list[object] = []
        self.begun = False
        """Something of the message has come."""
        self.ended = False
        """The message has had its replies: the next one is another transaction."""
        self._features = features
        self._output = output
        self._events = events
        self._watch = ContentWatch(features.size, strict=not features.lmtp)
        self._open = False  # the world has something that it must commit or discard
        self._decoder: MultilineDecoder | None = None
        self._chunk: _Chunk | None = None
        self._chunk_left = 0
        self._chunk_failed = False
        self._due = 0

    def check_recipients(self) -> None:
        """See to it that a message may come.

        Raises:
            Refused: MAIL or RCPT is missing (D-003).
        """
        if self.reverse_path is None:
            raise Refused(503, "5.5.1", "first MAIL and RCPT")
        if not self.recipients:
            raise Refused(503, "5.5.1", "no valid recipients")

    # -- beginning and end --------------------------------------------------------------------------

    def data(self, helo: str, protocol: str) -> None:
        """DATA: what comes next is the message.

        Raises:
            Refused: it cannot come.
        """
        if self.begun:  # RFC 3030 section 2
            raise Refused(503, "5.5.1", "this message comes by BDAT; RSET gives it up")
        self.check_recipients()
        self._begin(helo, protocol)
        self._decoder = MultilineDecoder()
        self._output.say(Reply(354, "", "go ahead; a line with a dot alone ends the message"))

    def bdat(self, octets: int, *, last: bool, helo: str, protocol: str) -> None:
        """BDAT: a chunk comes next, even if it is refused."""
        refusal: Reply | None = None
        if self._chunk_failed:
            refusal = Reply(503, "5.5.1", "a chunk of this message has failed; RSET gives it up")
        elif not self.begun:
            try:
                self.check_recipients()
                self._begin(helo, protocol)
            except Refused as refused:
                refusal = refused.reply
        self._chunk = _Chunk(last, refusal)
        self._chunk_left = octets

    def _begin(self, helo: str, protocol: str) -> None:
        assert self.reverse_path is not None
        self.begun = self._open = True
        self._events.append(Begin(Envelope(helo, protocol, self.reverse_path, tuple(self.recipients))))

    def drop(self) -> None:
        """What has come of the message is not kept: it is in nobody's way while the rest is read to its end."""
        if self._open:
            self._open = False
            self._events.append(Discard())

    def delivered(self, reply: Reply) -> bool:
        """Say what has become of the next recipient's copy; returns whether that was the last (D-004)."""
        self._output.say(reply)
        self._due -= 1
        if self._due == 0:
            self._open = False
            self.ended = True
        return self.ended

    # -- octets -------------------------------------------------------------------------------------

    @property
    def receiving(self) -> bool:
        """Say whether the next octets belong to the message."""
        return self._decoder is not None or self._chunk is not None

    def take(self, lines: LineBuffer) -> bool:
        """Take what has come of the message; returns whether there was something."""
        if self._decoder is not None:
            return self._take_data(self._decoder, lines)
        assert self._chunk is not None
        return self._take_chunk(self._chunk, lines)

    def _take_data(self, decoder: MultilineDecoder, lines: LineBuffer) -> bool:
        """D-006, D-013: only CRLF.CRLF is the end, and only a dot after CRLF is undone."""
        octets = lines.take()
        if not octets:
            return False
        content = decoder.feed(octets)
        if decoder.finished:
            lines.receive(decoder.rest)
            self._decoder = None
            self._last(content)
        else:
            self._pass_on(content)
        return True

    def _take_chunk(self, chunk: _Chunk, lines: LineBuffer) -> bool:
        """D-012: exactly the octets of the chunk, whatever they are."""
        content = lines.take(self._chunk_left)
        if not content and self._chunk_left:
            return False
        self._chunk_left -= len(content)
        if self._chunk_left == 0:
            self._chunk = None
        if chunk.refusal is not None:
            if self._chunk is None:
                self._refuse(chunk, chunk.refusal)
        elif self._chunk is not None:
            self._pass_on(content)
        elif chunk.last:
            self._last(content)
        else:
            self._pass_on(content)
            self._end_of_chunk()
        return True

    def _refuse(self, chunk: _Chunk, refusal: Reply) -> None:
        # RFC 2033 section 4.3, D-004: one for each recipient, and there is none.
        if self._features.lmtp and chunk.last and self.reverse_path is not None and not self.recipients:
            self.ended = True
        else:
            self._output.say(refusal)

    def _end_of_chunk(self) -> None:
        """Every chunk is answered (RFC 3030 section 2)."""
        self._chunk_failed = self._watch.refusal is not None
        self._output.say(self._watch.refusal or Reply(250, "2.0.0", "chunk ok"))

    def _pass_on(self, content: bytes) -> None:
        self._watch.feed(content)
        if self._watch.refusal is not None:
            self.drop()
        elif content:
            self._events.append(Content(content))

    def _last(self, content: bytes) -> None:
        """The message is complete: its last octets are handed on, and then it is to be delivered."""
        self._pass_on(content)
        self._watch.finish()
        self._due = len(self.recipients) if self._features.lmtp else 1
        if self._watch.refusal is None:
            self._events.append(Commit(self._watch.delivered_to))
            return
        self.drop()
        for _ in range(self._due):  # D-016: read to its end, then one for each recipient
            self._output.say(self._watch.refusal)
        self.ended = True
