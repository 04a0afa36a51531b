"""Commands and their replies on a connection: one at a time, or many ahead of their replies."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import BinaryIO

from restante.client.connection import Connection
from restante.client.replies import ConnectionLost, NotPop3, refusal
from restante.errors import Condition, one_line
from restante.protocol.pop3_client import End, Form, Status, command

LONGEST_LISTING = 1 << 27
"""Octets of a reply that is kept as a whole."""
LONGEST_MESSAGE = 1 << 34
"""Octets after which a message is taken for one that never ends (K-008)."""
DEPTH = 100
"""Commands that are sent before a reply is read, where the server can do that (RFC 2449 section 6.6)."""


class Message:
    """A message that is being retrieved: iterate over its octets, or call `read` or `save`, before the next command.

    What is left of it when the next command is sent is read and thrown away.
    """

    def __init__(self, connection: Connection, number: int) -> None:
        self.number = number
        """The message number."""
        self.octets = 0
        """Octets that have come so far; lines end in CRLF, and byte-stuffing is undone."""
        self._connection = connection
        self._finished = False
        self._abandoned = False
        self._deadline = asyncio.get_running_loop().time() + connection.patience.reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the octets as they come.

        Raises:
            ConnectionLost: the rest of the message does not come (K-021).
            NotPop3: it never ends.
        """
        return self._pieces()

    async def read(self, limit: int = LONGEST_LISTING) -> bytes:
        """Return all octets.

        Args:
            limit: the most octets to keep.

        Raises:
            ValueError: there are more.
            ConnectionLost, NotPop3: as for iterating.
        """
        pieces = []
        async for piece in self:
            if self.octets > limit:
                raise ValueError(f"message {self.number} has more than {limit} octets")
            pieces.append(piece)
        return b"".join(pieces)

    async def save(self, file: BinaryIO) -> int:
        """Write all octets to a file; returns their number.

        Raises:
            OSError: they cannot be written.
            ConnectionLost, NotPop3: as for iterating.
        """
        async for piece in self:
            file.write(piece)
        return self.octets

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self.next_piece()) is not None:
            yield piece

    def abandon(self) -> None:
        """Nobody will read what is left."""
        self._abandoned = not self._finished

    async def next_piece(self) -> bytes | None:
        """Return the next octets; None: there are none left.  Raises what iterating raises."""
        if self._abandoned:
            raise RuntimeError(f"message {self.number} had to be read before the next command")
        if self._finished:
            return None
        event = await self._connection.event()
        if not isinstance(event, bytes):
            assert event is End.OF_LINES
            self._finished = True
            return None
        self.octets += len(event)
        if self.octets > LONGEST_MESSAGE or asyncio.get_running_loop().time() > self._deadline:
            self._connection.abort()
            raise NotPop3(f"{self._connection.url} sends a reply that does not end after {self.octets} octets")
        return event


class Dialogue:
    """What is said on a connection, and what is answered.

    Args:
        connection: to the server.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        """The connection, for who wants to know more of it."""
        self.depth = 1
        """Commands that the server takes before it has answered the first of them."""
        self._current: Message | None = None

    # -- one command --------------------------------------------------------------------------------

    async def ask(self, verb: str, *arguments: str | bytes | int, long: bool = False) -> bytes:
        """Send a command; returns the positive line that answers it.

        Raises:
            Condition: the server refuses.
        """
        await self.catch_up()
        self.connection.send(command(verb, *arguments))
        return await self.status(long=long)

    async def lines(self, verb: str) -> list[bytes]:
        """Send a command; returns the lines that answer it, without their ends."""
        await self.catch_up()
        self.connection.send(command(verb), form=Form.LINES)
        lines = await self.lines_or_refusal()
        if isinstance(lines, Condition):
            raise lines
        return lines

    async def retrieve(self, verb: str, *arguments: int) -> Message:
        """Send a command that is answered by a message."""
        await self.catch_up()
        self.connection.send(command(verb, *arguments), form=Form.LINES)
        return await self._message(arguments[0])

    # -- many commands ------------------------------------------------------------------------------

    async def many(
        self, verb: str, arguments: Iterable[tuple[int, ...]]
    ) -> AsyncIterator[tuple[int, Message | Condition]]:
        """Send commands ahead that are answered by messages; gives each with its number, or why there is none."""
        await self.catch_up()
        async for number in self.ahead(verb, arguments, Form.LINES):
            try:
                message = await self._message(number)
            except (ConnectionLost, NotPop3):
                raise
            except Condition as refused:
                yield number, refused
            else:
                yield number, message
                while await message.next_piece() is not None:
                    pass

    async def ahead(self, verb: str, arguments: Iterable[tuple[int, ...]], form: Form) -> AsyncIterator[int]:
        """Send commands ahead of their replies; gives the number whose reply is the next."""
        sent: deque[int] = deque()
        waiting = iter(arguments)
        while True:
            if len(sent) <= self.depth // 2:  # many in one packet, and early enough that the server never waits
                more = list(islice(waiting, self.depth - len(sent)))
                if more:
                    self.connection.send(*(command(verb, *words) for words in more), form=form)
                sent.extend(words[0] for words in more)
            if not sent:
                return
            yield sent.popleft()

    # -- replies ------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Read what is left of earlier replies, so that the next one is the one that is meant."""
        if self._current is not None:
            self._current.abandon()
            self._current = None
        while self.connection.session.waiting:
            await self.connection.event(long=True)

    async def status(self, *, long: bool = False) -> bytes:
        """Return the positive line that comes next.

        Raises:
            Condition: the server refuses.
        """
        event = await self.connection.event(long=long)
        assert isinstance(event, Status)
        if not event.positive:
            raise refusal(event.line)
        return event.line

    async def lines_or_refusal(self) -> list[bytes] | Condition:
        """Return the lines that come next, or why there are none."""
        try:
            await self.status(long=True)
        except (ConnectionLost, NotPop3):
            raise
        except Condition as refused:
            return refused
        pieces: list[bytes] = []
        octets = 0
        while isinstance(piece := await self.connection.event(long=True), bytes):
            octets += len(piece)
            if octets > LONGEST_LISTING:
                self.connection.abort()
                raise NotPop3(f"{self.connection.url} sends a reply that does not end after {octets} octets")
            pieces.append(piece)
        return b"".join(pieces).split(b"\r\n")[:-1]

    async def _message(self, number: int) -> Message:
        await self.status()
        self._current = Message(self.connection, number)
        return self._current

    # -- lines --------------------------------------------------------------------------------------

    def sizes(self, lines: Iterable[bytes]) -> dict[int, int]:
        """Read a scan listing."""
        sizes = {}
        for number, rest, line in self._numbered(lines):
            digits = rest.split()[0]
            if not digits.isdigit():
                raise self.not_pop3(line)
            sizes[number] = int(digits)
        return sizes

    def ids(self, lines: Iterable[bytes]) -> dict[int, str]:
        """Read what answers UIDL."""
        return {
            number: rest.strip(b" ").decode("utf-8", "surrogateescape") for number, rest, _ in self._numbered(lines)
        }

    def _numbered(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
        for line in lines:
            digits, _, rest = line.strip(b" ").partition(b" ")
            rest = rest.lstrip(b" ")
            if not digits.isdigit() or len(digits) > 18 or not rest:
                raise self.not_pop3(line)
            yield int(digits), rest, line

    def not_pop3(self, line: bytes) -> NotPop3:
        """Make the error for a line that is not what it should be; the connection is over."""
        self.connection.abort()
        return NotPop3(
            f"{self.connection.url} says what is no POP3: {one_line(line[:60].decode('ascii', 'replace'))!r}"
        )
