"""The server's side of a POP3 session, without any I/O (RFC 1939, RFC 2449).

STAT, LIST, UIDL, DELE, RSET, NOOP and CAPA are answered here from the listing.  Only a few things need the
world, and `Session.next_event` asks for them one at a time.  While one is outstanding nothing further is
parsed, so pipelined commands are handled in order, each as if alone (P-275).
"""

from collections.abc import Sequence

from restante.auth import ScramRecord
from restante.errors import AuthenticationFailed, CommandError, Condition, InternalError, NoSuchMessage, Text
from restante.maildrop import Message
from restante.protocol.authorization import Authorization
from restante.protocol.commands import Command, split
from restante.protocol.events import Event, FindRecord, Login, Pause, Retrieve, StartTLS, Statistics, Update
from restante.protocol.framing import LineBuffer, LineTooLong
from restante.protocol.languages import DEFAULT, LANGUAGES
from restante.protocol.message_encoder import MessageEncoder
from restante.protocol.policy import Features, Terms
from restante.protocol.replies import Replies
from restante.protocol.scan_listing import Headers, ScanListing
from restante.protocol.stage import Stage, State
from restante.protocol.strangers import HTTP, HTTP_HERE, stranger
from restante.protocol.telnet import without_negotiation
from restante.protocol.transaction import Transaction

_NOTHING = Statistics()


class Session:
    """One POP3 session.

    Feed it with `receive_data`, ask `next_event` until it returns None, and send what `data_to_send`
    returns.  Each event wants exactly one answer, by the methods its class names; any other use raises
    RuntimeError.

    Args:
        features: of the site.
        terms: of the connection, as it is at its beginning.
    """

    __slots__ = (
        "_authorization",
        "_awaiting",
        "_bad_commands",
        "_encoder",
        "_end_of_input",
        "_features",
        "_limits",
        "_lines",
        "_next",
        "_replies",
        "_state",
        "_transaction",
        "commands",
        "end_reason",
        "failed_logins",
        "unfinished",
    )

    def __init__(self, features: Features, terms: Terms | None = None) -> None:
        self.end_reason = ""
        """Why the session is over, for the log; empty while it is not."""
        self.commands = 0
        """Command lines handled so far: while this grows, the client is alive (P-139)."""
        self.unfinished = False
        """`next_event` has stopped before the end of what it could do."""
        self.failed_logins = 0
        """Logins refused so far because of their credentials."""
        self._features = features
        self._limits = features.limits
        self._lines = LineBuffer(self._limits.line, self._limits.sasl_line)
        self._end_of_input = False
        self._replies = Replies(LANGUAGES[DEFAULT])
        self._state = State.AUTHORIZATION
        self._next: Event | None = None
        self._awaiting: Event | None = None
        self._bad_commands = 0
        self._authorization = Authorization(features, terms or Terms(), self._replies)
        self._transaction: Transaction | None = None
        self._encoder: MessageEncoder | None = None
        self._authorization.greet()

    # -- input, events, output ----------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the session stands; CLOSED means: send what is left, then close the connection."""
        return self._state

    @property
    def closed(self) -> bool:
        """Say whether the session is over."""
        return self._state is State.CLOSED

    @property
    def statistics(self) -> Statistics:
        """What has been done so far."""
        return self._transaction.statistics if self._transaction else _NOTHING

    @property
    def input_octets(self) -> int:
        """Octets received that have not been looked at yet."""
        return len(self._lines)

    def receive_data(self, data: bytes) -> None:
        """Store octets; `next_event` looks at them."""
        self._lines.receive(data)

    def receive_eof(self) -> None:
        """No more octets will come: complete commands are answered (P-021), half a line is not one (P-020)."""
        self._end_of_input = True

    def next_event(self) -> Event | None:
        """Go on until the world is needed, or for a turn: what others ask must not wait for long (P-295).

        Returns:
            What the world must answer, once; None when octets, an answer, room to write or (see
            `unfinished`) another turn is missing, and when the session is over.
        """
        self.unfinished = False
        steps = self._limits.turn
        while self._awaiting is None and self._next is None and not self.closed:
            if self._replies.octets >= self._limits.output or steps == 0:
                self.unfinished = True  # P-277: send what there is, and ask again
                break
            steps -= 1
            if self._transaction is not None and self._transaction.slices is not None:
                self._transaction.send_slice()
                continue
            if self.commands == 0 and self._lines and self._is_stranger():
                break
            try:
                line = self._next_line()
            except LineTooLong:
                self._next = self._line_too_long()
                continue
            if line is None:
                self._out_of_lines()
                break
            self._next = self._execute(line)
        if self._awaiting is not None or self._next is None:
            return None
        self._awaiting, self._next = self._next, None
        return self._awaiting

    def data_to_send(self) -> bytes:
        """Return, and forget, the octets to send now."""
        return b"".join(self._replies.take())

    def pieces_to_send(self) -> list[bytes]:
        """Do the same; where they are many, they come in pieces, none of them empty, to spare their copying."""
        return self._replies.take()

    def end(self, reason: str) -> None:
        """End the session: nothing more is parsed, what waits to be sent may still be sent."""
        if not self.closed:
            self._state = State.CLOSED
            self.end_reason = reason
        self._awaiting = self._next = self._encoder = None
        self._authorization.cancel()

    def abandon(self, reason: str) -> None:
        """End the session and send nothing more: the reply under way cannot be completed (P-095)."""
        self._replies.take()
        self.end(reason)

    # -- answers to events --------------------------------------------------------------------------

    def login_succeeded(self, listing: Sequence[Message], *, read_only: bool = False) -> None:
        """Answer to `Login`: the maildrop is locked, and this is in it (P-040)."""
        self._answer(Login)
        self._authorization.cancel()
        self._state = State.TRANSACTION
        self._bad_commands = 0
        headers = Headers.RAW if self._authorization.utf8 else self._features.headers
        self._transaction = Transaction(
            self._features,
            self._authorization.terms,
            self._replies,
            ScanListing(listing, headers),
            read_only=read_only,
        )
        self._transaction.summary()

    def record_found(self, record: ScramRecord) -> None:
        """Answer to `FindRecord`."""
        self._answer(FindRecord)
        self._next = self._authorization.record_found(record)

    def tls_started(self, terms: Terms) -> None:
        """Answer to `StartTLS`: the handshake is done; no second greeting (P-231).

        Args:
            terms: of the connection now.
        """
        self._answer(StartTLS)
        self._authorization.tls_started(terms)

    def refused(self, condition: Condition) -> None:
        """Answer to `Login`, `FindRecord`, `Retrieve` or `Update`: a negative reply.

        In the middle of a message there is no place for one, and the session ends (P-095).
        """
        event = self._answer(Login, FindRecord, Retrieve, Update)
        if self._encoder is not None:
            self.abandon("a message could not be read to its end")
        elif isinstance(event, (Login, FindRecord)):
            try:
                self._next = self._authorization.refused(condition)
            except Condition as reply:
                self._next = self._negative(reply)
        else:
            self._next = self._negative(condition)
            if isinstance(event, Update):
                self.end("quit, update incomplete")  # P-132: over, whether or not the removal succeeded

    def message_follows(self) -> None:
        """Answer to `Retrieve`, first part: the message is open and can be read (P-095)."""
        event = self._retrieving()
        assert self._transaction is not None
        self._encoder = self._transaction.encoder(event)

    def message_data(self, data: bytes) -> bool:
        """Answer to `Retrieve`, next part: octets as they are stored.

        Returns:
            Whether more are wanted; TOP may have enough before the message ends.
        """
        encoder = self._encoding()
        self._replies.add(encoder.feed(data))
        return not encoder.satisfied

    def message_complete(self) -> bool:
        """Answer to `Retrieve`, last part: the message has been read to its end, or as far as wanted.

        A message whose octets are not those of the listing was changed behind our back.  The session then
        ends without the terminator, because a client would take what it has for the whole message and
        delete it (P-095).  That goes for TOP too: fetchmail asks for 99999999 lines instead of RETR.

        Returns:
            Whether the message was what the listing says.
        """
        event, encoder = self._retrieving(), self._encoding()
        assert self._transaction is not None
        end = encoder.finish()
        announced = self._transaction.listing.size(event.number)
        if not encoder.satisfied and encoder.octets != announced:
            self.abandon(f"message {event.number} has {encoder.octets} octets, not {announced} as listed")
            return False
        self._replies.add(end)
        self._awaiting = self._encoder = None
        self._transaction.retrieved(event, encoder.octets)
        return True

    def message(self, stored: bytes) -> bool:
        """Answer to `Retrieve`, all parts at once: the message is here in one piece.

        Returns:
            See `message_complete`.
        """
        event = self._retrieving()
        assert self._transaction is not None
        if self._transaction.send_whole(event, stored):
            self._awaiting = None
            return True
        self.message_follows()
        self.message_data(stored)
        return self.message_complete()

    def updated(self) -> None:
        """Answer to `Update`: the messages are gone, durably (P-135)."""
        event = self._answer(Update)
        assert isinstance(event, Update)
        assert self._transaction is not None
        self._transaction.statistics.deleted = len(event.deleted)
        self._transaction.farewell()
        self.end("quit")

    def resumed(self) -> None:
        """Answer to `Pause`."""
        self._answer(Pause)

    def _answer(self, *kinds: type[Event]) -> Event:
        """Return the outstanding event and count it as answered."""
        event = self._awaiting
        if not isinstance(event, kinds):
            raise RuntimeError(f"no such event is outstanding, but {event!r}")
        self._awaiting = None
        return event

    def _retrieving(self) -> Retrieve:
        if not isinstance(self._awaiting, Retrieve):
            raise RuntimeError("no message is being retrieved")
        return self._awaiting

    def _encoding(self) -> MessageEncoder:
        if self._encoder is None:
            raise RuntimeError("message_follows comes first")
        return self._encoder

    # -- lines --------------------------------------------------------------------------------------

    def _is_stranger(self) -> bool:
        """Look at the first octets: what speaks another protocol is answered once, and told to the log."""
        named = "" if self._lines.dropped else stranger(self._lines.peek(16))
        if named:
            self._replies.error(CommandError("this is POP3, and nothing else"))
            self.end(named)
        return bool(named)

    @property
    def _stage(self) -> Stage:
        return self._transaction or self._authorization

    def _next_line(self) -> bytes | None:
        """Return the next line, None when there is none.

        Raises:
            LineTooLong: it was dropped.
        """
        authorization, limits = self._authorization, self._limits
        self._lines.limit = limits.line if authorization.exchange is None else limits.sasl_line
        line = self._lines.next_line()
        if line is None and authorization.failing and self._lines.holds(b"\x01"):
            return self._lines.take()  # neomutt ends a failed OAUTHBEARER with this octet and no line end
        return line

    def _execute(self, line: bytes) -> Event | None:
        """Handle one line: a command, or what a SASL exchange waits for."""
        self.commands += 1
        try:
            event = self._command(line) if self._authorization.exchange is None else self._authorization.respond(line)
        except Condition as condition:
            return self._negative(condition)
        if self._authorization.exchange is None:  # a challenge makes up for nothing
            self._bad_commands = 0
        return event

    def _command(self, line: bytes) -> Event | None:
        """Handle one command line.

        Raises:
            Condition: what is to be answered instead.
        """
        stage = self._stage
        if stage is self._authorization:
            self._authorization.begin_command()
            line = without_negotiation(line)
        verb, arguments = split(line)
        event = self._find(verb, arguments).handler(stage, arguments)
        if isinstance(event, StartTLS):
            return StartTLS(self._lines.take())  # P-232: half a line too
        if verb == b"QUIT":
            if event is None:
                self.end("quit" if self._transaction else "quit before login")
            else:
                self._state = State.UPDATE
        return event

    def _find(self, verb: bytes, arguments: list[bytes]) -> Command:
        """Find a command.

        Raises:
            CommandError: there is none, or not in this state, or not with these arguments.
        """
        stage = self._stage
        command = stage.TABLE.get(verb)
        if command is None:
            raise self._no_such_command(verb)
        if not command.takes(arguments):
            raise stage.arguments_wrong(command)
        return command

    def _no_such_command(self, verb: bytes) -> CommandError:
        if self._transaction is None and verb in HTTP:
            self.end(HTTP_HERE)
            return CommandError("this is POP3, and nothing else")
        if self._transaction is not None and verb in Authorization.TABLE:
            return CommandError("already logged in")
        if self._transaction is None and verb in Transaction.TABLE:
            return CommandError("log in first: USER, then PASS" if self._stage.offers(b"USER") else "log in first")
        now = Text("POP3 commands now: {commands}", {"commands": self._stage.commands()})
        # P-305: HELP is no POP3, but there is help.
        return CommandError("{help}" if verb == b"HELP" else "unknown command; {help}", help=now)

    def _negative(self, condition: Condition) -> Event | None:
        """Send a negative reply, and see what follows from it."""
        self._replies.error(condition)
        if self.closed:
            return None
        if isinstance(condition, InternalError):
            self.end("internal error")
        elif isinstance(condition, AuthenticationFailed):
            self.failed_logins += 1
            if self.failed_logins >= self._limits.login_attempts:
                self.end("too many failed logins")  # P-045
        elif isinstance(condition, CommandError) and not isinstance(condition, NoSuchMessage):
            return self._bad_command()  # a wrong number is no offence
        return None

    def _bad_command(self) -> Event | None:
        """Lose patience with a peer that sends nothing else than bad commands (P-025)."""
        self._bad_commands += 1
        limits = self._limits
        if self._bad_commands >= (limits.bad_after_login if self._transaction else limits.bad_before_login):
            self.end("too many bad commands")
        elif self._bad_commands >= limits.pause_from and limits.pause > 0:
            return Pause(limits.pause)
        return None

    def _line_too_long(self) -> Event | None:
        self.commands += 1
        event = self._negative(self._authorization.line_too_long(self._too_long()))
        return None if self._too_much_dropped() else event

    def _too_long(self) -> CommandError:
        return CommandError("a line is at most {limit} octets here", limit=self._lines.exceeded)

    def _out_of_lines(self) -> None:
        """No complete line is left."""
        if self._lines.dropped > self._limits.dropped:
            self._replies.error(self._too_long())
            self._too_much_dropped()
        elif self._end_of_input:
            self.end("client closed the connection")

    def _too_much_dropped(self) -> bool:
        if self._lines.dropped > self._limits.dropped:
            self.end("lines too long")
        return self.closed
