"""The client for programs without asyncio: the methods of `POP3Client`, each returning when it is done."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, overload

from restante.client.connection import Connection, Log, Patience
from restante.client.dialogue import LONGEST_LISTING, Message
from restante.client.security import Security
from restante.client.session import POP3Client, Stat, Token
from restante.client.url import ServerUrl
from restante.errors import Condition

T = TypeVar("T")


class BlockingMessage:
    """See `Message`; iterate over its octets, or call `read` or `save`, before the next command."""

    def __init__(self, runner: asyncio.Runner, message: Message) -> None:
        self._runner = runner
        self._message = message
        self.number = message.number
        """The message number."""

    @property
    def octets(self) -> int:
        """Octets that have come so far."""
        return self._message.octets

    def __iter__(self) -> Iterator[bytes]:
        """Give the octets as they come; raises what iterating over a `Message` raises."""
        while (piece := self._runner.run(self._message.next_piece())) is not None:
            yield piece

    def read(self, limit: int = LONGEST_LISTING) -> bytes:
        """See `Message.read`."""
        return self._runner.run(self._message.read(limit))

    def save(self, file: BinaryIO) -> int:
        """See `Message.save`."""
        return self._runner.run(self._message.save(file))


class BlockingPOP3Client:
    """A session with a POP3 server; see `POP3Client` for what it takes, does and raises.

    It has an event loop of its own, so it must not be used where one is running: there `POP3Client` is right.
    """

    def __init__(
        self,
        url: str | ServerUrl,
        *,
        security: Security | None = None,
        patience: Patience | None = None,
        utf8: bool = False,
        lenient: bool = False,
        log: Log | None = None,
    ) -> None:
        self._client = POP3Client(url, security=security, patience=patience, utf8=utf8, lenient=lenient, log=log)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._run(self._client.__aexit__(kind, error, traceback))
        finally:
            self._runner.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    @property
    def url(self) -> ServerUrl:
        """See `POP3Client.url`."""
        return self._client.url

    @property
    def capabilities(self) -> dict[str, str]:
        """See `POP3Client.capabilities`."""
        return self._client.capabilities

    @property
    def greeting(self) -> str:
        """See `POP3Client.greeting`."""
        return self._client.greeting

    @property
    def deleted(self) -> set[int]:
        """See `POP3Client.deleted`."""
        return self._client.deleted

    @property
    def connection(self) -> Connection:
        """See `POP3Client.connection`."""
        return self._client.connection

    def connect(self) -> None:
        """See `POP3Client.connect`."""
        try:
            self._run(self._client.connect())
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        """See `POP3Client.close`."""
        self._run(self._client.close())
        self._runner.close()

    def stls(self) -> None:
        """See `POP3Client.stls`."""
        self._run(self._client.stls())

    def login(self, user: str = "", password: str | bytes = b"", *, token: Token = "", mechanism: str = "") -> None:
        """See `POP3Client.login`."""
        self._run(self._client.login(user, password, token=token, mechanism=mechanism))

    def quit(self) -> None:
        """See `POP3Client.quit`."""
        self._run(self._client.quit())

    def capa(self) -> dict[str, str]:
        """See `POP3Client.capa`."""
        return self._run(self._client.capa())

    def utf8(self) -> None:
        """See `POP3Client.utf8`."""
        self._run(self._client.utf8())

    def stat(self) -> Stat:
        """See `POP3Client.stat`."""
        return self._run(self._client.stat())

    @overload
    def list(self) -> dict[int, int]: ...
    @overload
    def list(self, number: int) -> int: ...
    def list(self, number: int | None = None) -> dict[int, int] | int:
        """See `POP3Client.list`."""
        if number is None:
            return self._run(self._client.list())
        return self._run(self._client.list(number))

    @overload
    def uidl(self) -> dict[int, str]: ...
    @overload
    def uidl(self, number: int) -> str: ...
    def uidl(self, number: int | None = None) -> dict[int, str] | str:
        """See `POP3Client.uidl`."""
        if number is None:
            return self._run(self._client.uidl())
        return self._run(self._client.uidl(number))

    def listing(self) -> tuple[dict[int, str], dict[int, int]]:
        """See `POP3Client.listing`."""
        return self._run(self._client.listing())

    def retr(self, number: int) -> BlockingMessage:
        """See `POP3Client.retr`."""
        return BlockingMessage(self._runner, self._run(self._client.retr(number)))

    def top(self, number: int, lines: int = 0) -> bytes:
        """See `POP3Client.top`."""
        return self._run(self._client.top(number, lines))

    def retr_many(self, numbers: Iterable[int]) -> Iterator[tuple[int, BlockingMessage | Condition]]:
        """See `POP3Client.retr_many`."""
        for number, message in self._each(self._client.retr_many(numbers)):
            yield number, message if isinstance(message, Condition) else BlockingMessage(self._runner, message)

    def top_many(self, numbers: Iterable[int], lines: int = 0) -> Iterator[tuple[int, bytes | Condition]]:
        """See `POP3Client.top_many`."""
        yield from self._each(self._client.top_many(numbers, lines))

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> tuple[T] | None:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        while (item := self._run(following())) is not None:
            yield item[0]

    def dele(self, number: int) -> None:
        """See `POP3Client.dele`."""
        self._run(self._client.dele(number))

    def dele_many(self, numbers: Iterable[int]) -> dict[int, Condition]:
        """See `POP3Client.dele_many`."""
        return self._run(self._client.dele_many(numbers))

    def noop(self) -> None:
        """See `POP3Client.noop`."""
        self._run(self._client.noop())

    def rset(self) -> None:
        """See `POP3Client.rset`."""
        self._run(self._client.rset())
