"""A session of LMTP or SMTP (RFC 2033, RFC 5321).

Only a few things need the world, and `MailSession.next_event` asks for them one at a time.  While one is
outstanding nothing further is parsed, so pipelined commands are handled in order (RFC 2920, D-007).
"""

import re
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from restante.protocol.events import StartTLS
from restante.protocol.framing import LineBuffer, LineTooLong
from restante.protocol.smtp import grammar
from restante.protocol.smtp.events import Begin, Commit, Content, Discard, MailEvent, Recipient
from restante.protocol.smtp.features import MailFeatures
from restante.protocol.smtp.grammar import Refused
from restante.protocol.smtp.replies import FOREIGN, TEMPORARY, UNKNOWN_USER, Output, Reply, lines
from restante.protocol.smtp.transaction import Transaction
from restante.protocol.strangers import HTTP, HTTP_HERE, stranger

_NO_VALUE = re.compile("")
_MAIL = {
    "SIZE": re.compile(r"[0-9]{1,20}"),  # RFC 1870
    "BODY": re.compile("7BIT|8BITMIME", re.IGNORECASE),  # RFC 6152
    "SMTPUTF8": _NO_VALUE,  # RFC 6531
}
_CHUNK = re.compile(r"([0-9]{1,20})( +LAST)?", re.IGNORECASE)


class MailSession:
    """One session.

    Feed it with `receive_data`, ask `next_event` until it returns None, and send what `data_to_send` returns.
    Each event wants exactly one answer, by the methods its class names; any other use raises RuntimeError.

    Args:
        features: of the site.
        starttls: TLS is offered.
        tls: the connection is under TLS.
    """

    def __init__(self, features: MailFeatures, *, starttls: bool = False, tls: bool = False) -> None:
        self.end_reason = ""
        """Why the session is over, for the log; empty while it is not."""
        self.commands = 0
        """Command lines and pieces of messages handled so far: while this grows, the client is alive."""
        self.unfinished = False
        """`next_event` has stopped before the end of what it could do."""
        self._features = features
        self._starttls = starttls
        self._tls = tls
        self._lines = LineBuffer(features.line)
        self._output = Output()
        self._events: deque[MailEvent] = deque()
        self._awaiting: MailEvent | None = None
        self._end_of_input = False
        self._bad = 0
        self._left = features.turn  # of this turn; events that are answered in between are part of it
        self._helo = ""
        self._extended = True
        self._forget()
        self._output.say(Reply(220, "", f"{features.hostname} {'LMTP' if features.lmtp else 'ESMTP'} Restante ready"))

    def _forget(self) -> None:
        """No message is under way (D-008)."""
        self._transaction = Transaction(self._features, self._output, self._events)

    # -- input, events, output ----------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Say whether the session is over: send what is left, then close the connection."""
        return bool(self.end_reason)

    @property
    def between_messages(self) -> bool:
        """Say whether nothing is lost when the session ends here."""
        return self._transaction.reverse_path is None and self._awaiting is None and not self._events

    @property
    def input_octets(self) -> int:
        """Octets received that have not been looked at yet."""
        return len(self._lines)

    def receive_data(self, data: bytes) -> None:
        """Store octets; `next_event` looks at them."""
        self._lines.receive(data)

    def receive_eof(self) -> None:
        """No more octets will come."""
        self._end_of_input = True

    def next_event(self) -> MailEvent | None:
        """Go on until the world is needed, or for a turn.

        Returns:
            What the world must answer, once; None when octets, an answer, room to write or (see `unfinished`) another
            turn is missing, and when the session is over.
        """
        self.unfinished = False
        while self._awaiting is None and not self._events and not self.closed:
            if self._output.octets >= self._features.output or self._left == 0:
                self.unfinished = True
                break
            self._left -= 1
            if not self._step():
                if self._end_of_input:
                    self.end("client closed the connection")
                break
            self.commands += 1
        if self._awaiting is not None or not self._events:
            self._left = self._features.turn
            return None
        self._awaiting = self._events.popleft()
        return self._awaiting

    def _step(self) -> bool:
        """Handle a command, or a piece of a message; returns whether there was one."""
        if not self._transaction.receiving:
            return self._take_command()
        taken = self._transaction.take(self._lines)
        if self._transaction.ended:
            self._forget()
        return taken

    def data_to_send(self) -> bytes:
        """Return, and forget, the octets to send now."""
        return self._output.take()

    def pieces_to_send(self) -> list[bytes]:
        """Do the same; what is said here is short, so it is one piece, or none."""
        octets = self._output.take()
        return [octets] if octets else []

    def end(self, reason: str, last_word: Reply | None = None) -> None:
        """End the session: nothing more is parsed, what waits to be sent may still be sent."""
        if not self.closed:
            if last_word is not None:
                self._output.say(last_word)
            self.end_reason = reason
        self._awaiting = None
        self._events.clear()

    def abandon(self, reason: str) -> None:
        """End the session and send nothing more."""
        self._output.take()
        self.end(reason)

    # -- answers to events --------------------------------------------------------------------------

    def recipient_accepted(self, recipient: object) -> None:
        """Answer to `Recipient`.

        Args:
            recipient: what `Envelope.recipients` is to have for it.
        """
        self._answer(Recipient)
        self._transaction.recipients.append(recipient)
        self._bad = 0
        self._output.say(Reply(250, "2.1.5", "recipient ok"))

    def refused(self, reply: Reply) -> None:
        """Answer to `Recipient`: not this one."""
        self._answer(Recipient)
        # Whoever tries out names does not go on for ever; LMTP is spoken by a server of ours, which does not.
        if not self._features.lmtp and reply in (UNKNOWN_USER, FOREIGN):
            self._negative(reply)
        else:
            self._output.say(reply)

    def began(self) -> None:
        """Answer to `Begin`: the message may come."""
        self._answer(Begin)

    def content_taken(self) -> None:
        """Answer to `Content`."""
        self._answer(Content)

    def delivered(self, reply: Reply) -> None:
        """Answer to `Commit`: what has become of the next recipient's copy, or in SMTP of all (D-004)."""
        self._expect(Commit)
        if self._transaction.delivered(reply):
            self._awaiting = None
            self._forget()

    def discarded(self) -> None:
        """Answer to `Discard`."""
        self._answer(Discard)

    def failed(self) -> None:
        """Answer to any event but StartTLS: a defect of ours; the client tries again later."""
        if isinstance(self._expect(Recipient, Begin, Content, Commit, Discard), Recipient):
            self._awaiting = None
            self._output.say(TEMPORARY)
        else:
            self.end("internal error", Reply(421, "4.3.0", "internal error; please try again later"))

    def tls_started(self) -> None:
        """Answer to `StartTLS`: the handshake is done, what was said before is forgotten (RFC 3207 section 4.2)."""
        self._answer(StartTLS)
        self._tls = True
        self._helo = ""

    def _expect(self, *kinds: type[MailEvent]) -> MailEvent:
        event = self._awaiting
        if not isinstance(event, kinds):
            raise RuntimeError(f"no answer to {event!r}")
        return event

    def _answer(self, *kinds: type[MailEvent]) -> None:
        self._expect(*kinds)
        self._awaiting = None

    # -- commands -----------------------------------------------------------------------------------

    def _take_command(self) -> bool:
        """Handle the next command line; returns whether there was one."""
        try:
            line = self._lines.next_line()
        except LineTooLong:
            self._negative(Reply(500, "5.5.6", f"a line has at most {self._features.line} octets"))
            return True
        if line is None:
            return False
        if problem := self._stranger(line):
            self.abandon(problem)
            return True
        try:
            self._execute(*grammar.split(line))
        except Refused as refused:
            self._negative(refused.reply)
        return True

    def _execute(self, keyword: str, rest: str) -> None:
        if keyword in ("LHLO", "EHLO", "HELO"):
            self._hello(keyword, rest)
        elif keyword in self._COMMANDS:
            self._COMMANDS[keyword](self, rest)
        else:
            raise Refused(500, "5.5.1", "no such command; HELP lists those that there are")

    def _stranger(self, line: bytes) -> str:
        """Name another protocol that is spoken here; a browser can be made to send commands of mail."""
        if line.partition(b" ")[0].upper() in HTTP:
            return HTTP_HERE
        return stranger(line) if self.commands == 0 else ""

    def _hello(self, keyword: str, rest: str) -> None:
        if keyword not in self._features.greetings:  # D-001
            raise Refused(
                500, "", f"this is {'LMTP' if self._features.lmtp else 'SMTP'}: {self._features.greetings[0]}"
            )
        self._helo = grammar.greeting_name(rest, keyword)
        self._extended = keyword != "HELO"
        self._bad = 0
        self._reset()
        if not self._extended:
            self._output.say(Reply(250, "", self._features.hostname))
            return
        offers = [self._features.hostname, "PIPELINING", f"SIZE {self._features.size}", "8BITMIME", "SMTPUTF8"]
        offers += ["CHUNKING", "ENHANCEDSTATUSCODES"]
        offers += ["STARTTLS"] if self._starttls and not self._tls else []
        self._output.add(lines(250, offers))

    def _mail(self, rest: str) -> None:
        if not self._helo:
            raise Refused(503, "5.5.1", f"first {self._features.greetings[0]} and the name of your host")
        if self._transaction.reverse_path is not None:
            raise Refused(503, "5.5.1", "a message is under way already; RSET gives it up")
        address, words = grammar.path(rest, "FROM:", "MAIL FROM:<name@example.org>, or MAIL FROM:<>")
        given = grammar.parameters(words, _MAIL)
        sender = grammar.mailbox(address, "5.1.7") if address else None
        if sender is not None and not sender.is_ascii and "SMTPUTF8" not in given:  # D-017
            raise Refused(550, "5.6.7", "an address that is not ASCII needs the parameter SMTPUTF8")
        size = int(given.get("SIZE", "0"))
        if 0 < self._features.size < size:  # D-016
            raise Refused(552, "5.3.4", f"a message has at most {self._features.size} octets")
        self._transaction.reverse_path = sender.text if sender is not None else ""
        self._transaction.size = size
        self._transaction.utf8 = "SMTPUTF8" in given
        self._bad = 0
        self._output.say(Reply(250, "2.1.0", "sender ok"))

    def _rcpt(self, rest: str) -> None:
        if self._transaction.reverse_path is None:
            raise Refused(503, "5.5.1", "first MAIL")
        if self._transaction.begun:
            raise Refused(503, "5.5.1", "the message has begun; RSET gives it up")
        address, words = grammar.path(rest, "TO:", "RCPT TO:<name@example.org>")
        grammar.parameters(words, {})
        mailbox = grammar.mailbox(address, "5.1.3")
        if not mailbox.is_ascii and not self._transaction.utf8:
            raise Refused(553, "5.6.7", "an address that is not ASCII needs the parameter SMTPUTF8 of MAIL")
        if len(self._transaction.recipients) >= self._features.recipients:
            raise Refused(452, "4.5.3", f"a message has at most {self._features.recipients} recipients")
        self._events.append(Recipient(mailbox, self._transaction.size))

    def _data(self, rest: str) -> None:
        self._without_parameters("DATA", rest)
        self._transaction.data(self._helo, self._protocol())

    def _bdat(self, rest: str) -> None:
        match = _CHUNK.fullmatch(rest)
        if match is None:  # how much follows is not known: a message would be taken for commands
            self.end("BDAT without its number", Reply(421, "4.5.4", "right would be BDAT and a number, then LAST"))
            return
        self._transaction.bdat(int(match[1]), last=match[2] is not None, helo=self._helo, protocol=self._protocol())

    def _protocol(self) -> str:
        """Return the word for the Received line (RFC 3848, RFC 6531 section 4.3)."""
        kind = "LMTP" if self._features.lmtp else "SMTP"
        if self._transaction.utf8:
            kind = f"UTF8{kind}"
        elif not self._features.lmtp and self._extended:
            kind = "ESMTP"
        return f"{kind}S" if self._tls else kind

    def _rset(self, rest: str) -> None:
        self._without_parameters("RSET", rest)
        self._reset()
        self._output.say(Reply(250, "2.0.0", "forgotten"))

    def _reset(self) -> None:
        self._transaction.drop()
        self._forget()

    def _noop(self, _rest: str) -> None:
        self._output.say(Reply(250, "2.0.0", "ok"))

    def _vrfy(self, _rest: str) -> None:
        self._output.say(Reply(252, "2.5.0", "RCPT tells; try to send"))

    def _help(self, _rest: str) -> None:
        self._output.say(Reply(214, "2.0.0", f"commands are {' '.join([*self._features.greetings, *self._COMMANDS])}"))

    def _start_tls(self, rest: str) -> None:
        self._without_parameters("STARTTLS", rest)
        if self._tls:
            raise Refused(503, "5.5.1", "TLS is there already")
        if not self._starttls:
            raise Refused(502, "5.5.1", "there is no TLS here")
        self._reset()
        self._output.say(Reply(220, "2.0.0", "ready for TLS"))
        # RFC 3207 section 4.2, D-023: what came with STARTTLS is the handshake's, never a command inside TLS.
        self._events.append(StartTLS(self._lines.take()))

    def _quit(self, rest: str) -> None:
        self._without_parameters("QUIT", rest)
        self.end("quit", Reply(221, "2.0.0", "goodbye"))

    @staticmethod
    def _without_parameters(keyword: str, rest: str) -> None:
        if rest:
            raise Refused(501, "5.5.4", f"{keyword} has no parameters")

    def _negative(self, reply: Reply) -> None:
        """Refuse a command; too many in a row are no mistake."""
        self._output.say(reply)
        self._bad += 1
        if self._bad >= self._features.bad_commands:
            self.end("too many bad commands", Reply(421, "4.7.0", "too many errors; goodbye"))

    _COMMANDS: ClassVar[dict[str, Callable[["MailSession", str], None]]] = {
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "BDAT": _bdat,
        "RSET": _rset,
        "NOOP": _noop,
        "VRFY": _vrfy,
        "HELP": _help,
        "STARTTLS": _start_tls,
        "QUIT": _quit,
    }
