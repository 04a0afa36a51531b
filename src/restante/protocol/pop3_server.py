"""The server's side of a POP3 session, without any I/O (RFC 1939, RFC 2449).

STAT, LIST, UIDL, DELE, RSET, NOOP and CAPA are answered here from the listing.  Only four things need the
world, and `Session.next_event` asks for them one at a time.  While one is outstanding nothing further is
parsed, so pipelined commands are handled in order, each as if alone (P-275).
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import ClassVar

from restante.auth import Password
from restante.errors import AuthenticationFailed, CommandError, Condition, InternalError, NoSuchMessage
from restante.maildrop import Message
from restante.protocol.commands import Command, split
from restante.protocol.events import Event, Login, Pause, Retrieve, SessionLimits, Statistics, Update
from restante.protocol.framing import TERMINATOR, LineBuffer, LineTooLong, MessageEncoder
from restante.protocol.replies import Replies
from restante.protocol.scan_listing import ScanListing
from restante.protocol.telnet import without_negotiation

ALL_LINES = 2**62
"""More lines than any message has: what larger counts of TOP are read as (P-112)."""


class State(Enum):
    """RFC 1939 section 3."""

    AUTHORIZATION = "AUTHORIZATION"
    TRANSACTION = "TRANSACTION"
    UPDATE = "UPDATE"
    CLOSED = "CLOSED"


class Session:
    """One POP3 session.

    Feed it with `receive_data`, ask `next_event` until it returns None, and send what `data_to_send`
    returns.  Each event wants exactly one answer, by the methods its class names; any other use raises
    RuntimeError.

    Args:
        hostname: shown in the greeting; printable ASCII without ``<`` and ``>`` (P-023).
        passwords: whether USER and PASS are taken on this connection (P-055).
        limits: see `SessionLimits`.
    """

    def __init__(self, hostname: str, *, passwords: bool = True, limits: SessionLimits | None = None) -> None:
        self.statistics = Statistics()
        self.end_reason = ""
        """Why the session is over, for the log; empty while it is not."""
        self.commands = 0
        """Command lines handled so far: while this grows, the client is alive (P-139)."""
        self.unfinished = False
        """`next_event` has stopped before the end of what it could do."""
        self.failed_logins = 0
        """Logins refused so far because of their credentials."""
        self._limits = limits or SessionLimits()
        self._passwords = passwords
        self._lines = LineBuffer(self._limits.line)
        self._end_of_input = False
        self._replies = Replies()
        self._state = State.AUTHORIZATION
        self._awaiting: Event | None = None
        self._user: tuple[str, int] | None = None  # with the number of the command that named it
        self._bad_commands = 0
        self._listing = ScanListing()
        self._slices: Iterator[bytes] | None = None
        self._encoder: MessageEncoder | None = None
        self._replies.ok(f"{hostname} POP3 server ready; HELP lists the commands")

    # -- input, events, output ----------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the session stands; CLOSED means: send what is left, then close the connection."""
        return self._state

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
        while self._awaiting is None and self._state is not State.CLOSED:
            if self._replies.octets >= self._limits.output or steps == 0:
                self.unfinished = True  # P-277: send what there is, and ask again
                break
            steps -= 1
            if self._slices is not None:
                self._send_slice(self._slices)
                continue
            try:
                line = self._lines.next_line()
            except LineTooLong:
                event = self._line_too_long()
            else:
                if line is None:
                    self._out_of_lines()
                    break
                event = self._execute(line)
            if event is not None:
                self._awaiting = event
                return event
        return None

    def data_to_send(self) -> bytes:
        """Return, and forget, the octets to send now."""
        return self._replies.take()

    def end(self, reason: str) -> None:
        """End the session: nothing more is parsed, what waits to be sent may still be sent."""
        if self._state is not State.CLOSED:
            self._state = State.CLOSED
            self.end_reason = reason
        self._awaiting = self._encoder = self._slices = None

    def abandon(self, reason: str) -> None:
        """End the session and send nothing more: the reply under way cannot be completed (P-095)."""
        self.data_to_send()
        self.end(reason)

    # -- answers to events --------------------------------------------------------------------------

    def login_succeeded(self, listing: Sequence[Message]) -> None:
        """Answer to `Login`: the maildrop is locked, and this is in it (P-040)."""
        self._answer(Login)
        self._state = State.TRANSACTION
        self._bad_commands = 0
        self._listing = ScanListing(listing)
        self._replies.ok(str(self._listing))

    def refused(self, condition: Condition) -> None:
        """Answer to `Login`, `Retrieve` or `Update`: a negative reply.

        In the middle of a message there is no place for one, and the session ends (P-095).
        """
        event = self._answer(Login, Retrieve, Update)
        if self._encoder is not None:
            self.abandon("a message could not be read to its end")
            return
        self._replies.error(condition)
        if isinstance(condition, InternalError):
            self.end("internal error")
        elif isinstance(event, Update):
            self.end("quit, update incomplete")  # P-132: over, whether or not the removal succeeded
        elif isinstance(condition, AuthenticationFailed):
            self.failed_logins += 1
            if self.failed_logins >= self._limits.login_attempts:
                self.end("too many failed logins")  # P-045

    def message_follows(self) -> None:
        """Answer to `Retrieve`, first part: the message is open and can be read (P-095)."""
        event = self._retrieving()
        self._encoder = MessageEncoder(event.lines)
        if event.lines is None:
            self._replies.ok(f"{self._listing[event.number].octets} octets")  # P-085
        else:
            self._replies.ok("top of message follows")

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
        end = encoder.finish()
        announced = self._listing[event.number].octets
        if not encoder.satisfied and encoder.octets != announced:
            self.abandon(f"message {event.number} has {encoder.octets} octets, not {announced} as listed")
            return False
        self._replies.add(end)
        self._awaiting = self._encoder = None
        if event.lines is None:
            self.statistics.retr += 1
            self.statistics.retr_octets += encoder.octets
        else:
            self.statistics.top += 1
            self.statistics.top_octets += encoder.octets
        return True

    def updated(self) -> None:
        """Answer to `Update`: the messages are gone, durably (P-135)."""
        event = self._answer(Update)
        assert isinstance(event, Update)
        self.statistics.deleted = len(event.deleted)
        self._farewell()

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

    def _execute(self, line: bytes) -> Event | None:
        """Handle one command line."""
        self.commands += 1
        if self._state is State.AUTHORIZATION:
            line = without_negotiation(line)
        try:
            command, arguments = self._parse(line)
            event = command.handler(self, arguments)
        except NoSuchMessage as error:  # a wrong number is no offence
            self._replies.error(error)
            return None
        except CommandError as error:
            return self._bad_command(error)
        self._bad_commands = 0
        return event

    def _parse(self, line: bytes) -> tuple[Command, list[bytes]]:
        """Find the command of a line and its arguments.

        Raises:
            CommandError: there is none, or not in this state, or not with these arguments.
        """
        verb, arguments = split(line)
        table, others = self._TABLES[self._state]
        command = table.get(verb)
        if command is None:
            raise CommandError(self._no_such_command(verb, others))
        if not command.takes(arguments):
            raise CommandError(command.usage.format(numbers=self._listing.numbers))
        return command, arguments

    def _no_such_command(self, verb: bytes, others: dict[bytes, Command]) -> str:
        if verb in others:
            return "log in first: USER, then PASS" if self._state is State.AUTHORIZATION else "already logged in"
        now = "POP3 commands now: " + " ".join(name.decode() for name in self._TABLES[self._state][0])
        return now if verb == b"HELP" else f"unknown command; {now}"  # P-305

    def _bad_command(self, error: CommandError) -> Event | None:
        """Refuse a command, and lose patience with a peer that sends nothing else (P-025)."""
        self._replies.error(error)
        self._bad_commands += 1
        limits = self._limits
        in_transaction = self._state is State.TRANSACTION
        if self._bad_commands >= (limits.bad_after_login if in_transaction else limits.bad_before_login):
            self.end("too many bad commands")
        elif self._bad_commands >= limits.pause_from and limits.pause > 0:
            return Pause(limits.pause)
        return None

    def _line_too_long(self) -> Event | None:
        self.commands += 1
        event = self._bad_command(CommandError(f"a command is at most {self._limits.line} octets"))
        return None if self._too_much_dropped() else event

    def _out_of_lines(self) -> None:
        """No complete line is left."""
        if self._lines.dropped > self._limits.dropped:
            self._replies.error(CommandError(f"a command is at most {self._limits.line} octets"))
        if not self._too_much_dropped() and self._end_of_input:
            self.end("client closed the connection")

    def _too_much_dropped(self) -> bool:
        if self._lines.dropped > self._limits.dropped:
            self.end("lines too long")
        return self._state is State.CLOSED

    # -- replies ------------------------------------------------------------------------------------

    def _send_slice(self, slices: Iterator[bytes]) -> None:
        """Send the next slice of a listing."""
        lines = next(slices, None)
        if lines is None:
            self._slices = None
            lines = TERMINATOR
        self._replies.add(lines)

    def _list_all(self, line: Callable[[int, Message], bytes]) -> None:
        """Send a multi-line listing, in slices."""
        self._replies.ok(str(self._listing))
        self._slices = self._listing.slices(line)

    # -- commands of both states --------------------------------------------------------------------

    def _capa(self, _: list[bytes]) -> None:
        """RFC 2449 section 5.  The same list in both states (P-151)."""
        self._replies.ok("capabilities follow")
        commands = [*self._AUTHORIZATION.items(), *self._TRANSACTION.items()]
        tags = [command.capability for verb, command in commands if self._passwords or verb != b"USER"]
        tags += ["RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "IMPLEMENTATION Restante"]
        self._replies.add("".join(f"{tag}\r\n" for tag in tags if tag).encode("ascii") + TERMINATOR)

    def _quit(self, _: list[bytes]) -> Event | None:
        if self._state is State.AUTHORIZATION:  # P-030: no UPDATE
            self._replies.ok("goodbye")
            self.end("quit before login")
            return None
        if not self._listing.deleted:
            self._farewell()
            return None
        self._state = State.UPDATE
        return Update(frozenset(self._listing.deleted))

    def _farewell(self) -> None:
        """The end of a complete QUIT in TRANSACTION (RFC 1939 section 6)."""
        self.statistics.left = len(self._listing)
        self._replies.ok(f"{len(self._listing.deleted)} messages deleted, {len(self._listing)} left")
        self.end("quit")

    # -- commands of AUTHORIZATION ------------------------------------------------------------------

    def _user_name(self, arguments: list[bytes]) -> None:
        """USER: the same answer for every name, known or not (P-031)."""
        if not self._passwords:  # P-055: refused before the password is asked for
            raise CommandError("no passwords over an unencrypted connection from your address")
        self._user = (arguments[0].decode("ascii"), self.commands)
        self._replies.ok("send PASS")

    def _pass(self, arguments: list[bytes]) -> Event:
        # P-034: only as the very next command after USER; that also lets a failed PASS use the USER up.
        if self._user is None or self._user[1] != self.commands - 1:
            raise CommandError("USER comes first, and PASS right after it")
        if not arguments[0]:  # P-037: never passed on
            raise CommandError("PASS needs a password")
        return Login(Password(self._user[0], arguments[0]))

    # -- commands of TRANSACTION --------------------------------------------------------------------

    def _stat(self, _: list[bytes]) -> None:
        self._replies.ok(f"{len(self._listing)} {self._listing.octets}")  # P-072: nothing after the second number

    def _list(self, arguments: list[bytes]) -> None:
        if arguments:
            number = self._listing.number(arguments[0])
            self._replies.ok(f"{number} {self._listing[number].octets}")
        else:
            self._list_all(lambda number, message: b"%d %d\r\n" % (number, message.octets))

    def _uidl(self, arguments: list[bytes]) -> None:
        if arguments:
            number = self._listing.number(arguments[0])
            self._replies.ok(f"{number} {self._listing[number].unique_id}")
        else:
            self._list_all(lambda number, message: b"%d %b\r\n" % (number, message.unique_id.encode("ascii")))

    def _retr(self, arguments: list[bytes]) -> Event:
        return Retrieve(self._listing.number(arguments[0]), None)

    def _top(self, arguments: list[bytes]) -> Event:
        number, lines = arguments[0], arguments[1].lstrip(b"0") or b"0"
        return Retrieve(self._listing.number(number), int(lines) if len(lines) < 19 else ALL_LINES)

    def _dele(self, arguments: list[bytes]) -> None:
        number = self._listing.number(arguments[0])
        self._listing.mark_deleted(number)
        self._replies.ok(f"message {number} marked deleted; QUIT removes it, RSET unmarks it")

    def _noop(self, _: list[bytes]) -> None:
        self._replies.ok("nothing done")

    def _rset(self, _: list[bytes]) -> None:
        self._listing.unmark_all()
        self._replies.ok(str(self._listing))

    _AUTHORIZATION: ClassVar[dict[bytes, Command]] = {
        b"USER": Command(_user_name, 1, 1, "USER needs one name, without spaces", "USER", numeric=False),
        b"PASS": Command(_pass, 1, 1, "PASS needs a password", numeric=False),
        b"CAPA": Command(_capa, 0, 0, "CAPA takes no argument"),
        b"QUIT": Command(_quit, 0, 0, "QUIT takes no argument"),
    }
    _TRANSACTION: ClassVar[dict[bytes, Command]] = {
        b"STAT": Command(_stat, 0, 0, "STAT takes no argument"),
        b"LIST": Command(_list, 0, 1, "LIST takes nothing or one message number, {numbers}"),
        b"RETR": Command(_retr, 1, 1, "RETR needs a message number, {numbers}"),
        b"DELE": Command(_dele, 1, 1, "DELE needs a message number, {numbers}"),
        b"TOP": Command(_top, 2, 2, "TOP needs a message number, {numbers}, and a count of body lines", "TOP"),
        b"UIDL": Command(_uidl, 0, 1, "UIDL takes nothing or one message number, {numbers}", "UIDL"),
        b"NOOP": Command(_noop, 0, 0, "NOOP takes no argument"),
        b"RSET": Command(_rset, 0, 0, "RSET takes no argument"),
        b"CAPA": Command(_capa, 0, 0, "CAPA takes no argument"),
        b"QUIT": Command(_quit, 0, 0, "QUIT takes no argument; nothing was deleted"),  # P-141
    }
    _TABLES: ClassVar[dict[State, tuple[dict[bytes, Command], dict[bytes, Command]]]] = {
        State.AUTHORIZATION: (_AUTHORIZATION, _TRANSACTION),
        State.TRANSACTION: (_TRANSACTION, _AUTHORIZATION),
    }
