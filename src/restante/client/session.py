"""A client of POP3 servers for asyncio (RFC 1939 and its extensions)."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self, overload

from restante.client.connection import Connection, Log, Patience
from restante.client.dialogue import DEPTH, Dialogue, Message
from restante.client.login import Login
from restante.client.replies import ConnectionLost, NotPop3, Refused
from restante.client.security import Security, is_loopback
from restante.client.url import ServerUrl
from restante.errors import Condition
from restante.protocol.pop3_client import Form, command
from restante.protocol.sasl.client import Secret

Token = str | Callable[[], "str | Awaitable[str]"]
"""An access token of OAuth2, or what gives one."""


class Stat(NamedTuple):
    """What STAT tells."""

    messages: int
    octets: int


class POP3Client:
    """A session with a POP3 server.

    Leaving the context says QUIT, checks its reply, and raises what is wrong with it if messages were to be deleted.
    Leaving it by an exception deletes nothing: the connection is closed without QUIT (RFC 1939 section 6).

    Args:
        url: of the server, ``pops://host`` for TLS from the start; from ``pop://host`` on STLS is needed.
        security: whom to trust.
        patience: how long to wait for what.
        utf8: say UTF8 where the server knows it, so that messages come as they are stored (RFC 6856, K-026).
        lenient: accept lines that end in a bare LF, which may cut a message short (K-025).
        log: is called with a line for each line that goes out (``C: ``) or comes in (``S: ``), without secrets.

    Raises:
        ValueError: the URL is none.
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
        self.url = ServerUrl.parse(url) if isinstance(url, str) else url
        self.capabilities: dict[str, str] = {}
        """Keyword in capitals to parameters; empty where the server knows no CAPA (K-005)."""
        self.greeting = ""
        """What the server began with."""
        self.deleted: set[int] = set()
        """Message numbers that QUIT will delete."""
        self._security = security or Security()
        self._utf8 = utf8
        self._says_utf8 = False
        self._left = False
        """QUIT was said, and its caller has heard what came of it."""
        self._connection = Connection(self.url, self._security, patience or Patience(), lenient=lenient, log=log)
        self._dialogue = Dialogue(self._connection)

    # -- the connection -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            polite = self._connection.usable and not self._connection.session.waiting
            if error is None and polite:
                if self.deleted:
                    await self.quit()
                else:
                    with suppress(Condition):  # nothing depends on the answer
                        await self.quit()
            elif error is None and self.deleted and not self._left:
                raise ConnectionLost(f"{self.url}: the connection ended before QUIT, so nothing was deleted")
            elif polite and not self.deleted and isinstance(error, Exception):
                with suppress(Condition):
                    await self.quit()
        finally:
            await self._connection.close()

    async def connect(self) -> None:
        """Connect, read the greeting, encrypt, and ask what the server can do.

        Raises:
            ConnectionLost, NotPop3: there is no POP3 server, or not the one it should be.
            Condition: it greets with a refusal (K-025).
        """
        try:
            await self._connection.open()
            self.greeting = (await self._dialogue.status(long=True)).decode("utf-8", "replace")
            await self.capa()
            if not self.url.tls and self._wants_tls():
                await self.stls()
            if self._utf8 and "UTF8" in self.capabilities:
                await self.utf8()
        except BaseException:
            self._connection.abort()
            raise

    @property
    def connection(self) -> Connection:
        """The connection, for who wants to know more of it."""
        return self._connection

    def _wants_tls(self) -> bool:
        """On this machine nobody listens, and certificates have other names than ``127.0.0.1``."""
        local = is_loopback(self._connection.address)
        trusts = self._security.ca is not None or bool(self._security.fingerprint)
        if "STLS" not in self.capabilities:
            return False  # K-012: and no password goes to another machine then
        can_log_in = "USER" in self.capabilities or "SASL" in self.capabilities
        return not local or trusts or not can_log_in

    async def stls(self) -> None:
        """Begin TLS (RFC 2595), and ask anew what the server can do (K-012).

        Raises:
            ConnectionLost, NotPop3, Condition: it did not come about; the session is over.
        """
        try:
            await self._dialogue.ask("STLS")
            await self._connection.encrypt()
            await self.capa()
        except BaseException:
            self._connection.abort()
            raise

    async def login(
        self,
        user: str = "",
        password: str | bytes = b"",
        *,
        token: Token = "",
        mechanism: str = "",
    ) -> None:
        """Log in by the best way that the server offers (K-017).

        Args:
            user: ``""``: the one of the URL.
            password: text is sent as UTF-8.
            token: of OAuth2, in place of a password.
            mechanism: the only one to try, ``+APOP`` for APOP; ``""``: the one of the URL, or the best.

        Raises:
            AuthenticationFailed, MaildropInUse, LoginDelayed, Condition: the server says so.
            CleartextRefused: there is no TLS; nothing was sent.
            NotPop3: there is no way to log in, or the server cannot be trusted.
            ValueError: user or password would be another command.
        """
        await self._dialogue.catch_up()
        if callable(token):
            given = token()
            token = await given if inspect.isawaitable(given) else given
        secret = Secret(user or self.url.user, password.encode() if isinstance(password, str) else password, token)
        greeting = self.greeting.encode()
        way = Login(self._connection, self._security, self.capabilities, greeting, utf8=self._says_utf8)
        await way.run(secret, (mechanism or self.url.mechanism).upper())

    async def close(self) -> None:
        """Close the connection without QUIT: nothing is deleted."""
        await self._connection.close()

    async def quit(self) -> None:
        """Say QUIT: the server deletes what was marked, and the connection ends.

        Raises:
            ConnectionLost: there is no reply, so nobody knows whether anything was deleted (K-006).
            Condition: the server refuses; some messages are still there.
        """
        self._left = True
        try:
            await self._dialogue.ask("QUIT", long=True)
            self.deleted.clear()
        finally:
            await self._connection.close()

    # -- commands -----------------------------------------------------------------------------------

    async def capa(self) -> dict[str, str]:
        """Return what the server can do: keyword in capitals to parameters; nothing if it knows no CAPA (RFC 2449)."""
        self.capabilities = {}
        with suppress(Refused):
            for line in await self._dialogue.lines("CAPA"):
                keyword, _, parameters = line.decode("ascii", "replace").partition(" ")
                self.capabilities[keyword.upper()] = parameters.strip()
        self._dialogue.depth = DEPTH if "PIPELINING" in self.capabilities else 1
        return self.capabilities

    async def utf8(self) -> None:
        """Say UTF8, before the login (RFC 6856 section 2)."""
        await self._dialogue.ask("UTF8")
        self._says_utf8 = True

    async def stat(self) -> Stat:
        """Return how many messages there are, and their octets, which may be wrong (K-009)."""
        words = (await self._dialogue.ask("STAT", long=True)).split()
        try:
            return Stat(int(words[1]), int(words[2]))
        except (IndexError, ValueError):
            raise self._dialogue.not_pop3(b" ".join(words)) from None

    @overload
    async def list(self) -> dict[int, int]: ...
    @overload
    async def list(self, number: int) -> int: ...
    async def list(self, number: int | None = None) -> dict[int, int] | int:
        """Return message numbers and their octets, which may be wrong (K-009); or the octets of one message.

        Raises:
            Condition: the server refuses.
        """
        if number is None:
            return self._dialogue.sizes(await self._dialogue.lines("LIST"))
        line = await self._dialogue.ask("LIST", number)
        return self._dialogue.sizes([line[len(b"+OK") :]])[number]

    @overload
    async def uidl(self) -> dict[int, str]: ...
    @overload
    async def uidl(self, number: int) -> str: ...
    async def uidl(self, number: int | None = None) -> dict[int, str] | str:
        """Return message numbers and unique-ids, in the order of the reply (K-007); or the id of one message.

        Raises:
            Refused: the server has none.
        """
        if number is None:
            try:
                return self._dialogue.ids(await self._dialogue.lines("UIDL"))
            except Refused as refused:
                raise self._no_ids(refused) from None
        line = await self._dialogue.ask("UIDL", number)
        return self._dialogue.ids([line[len(b"+OK") :]])[number]

    async def listing(self) -> tuple[dict[int, str], dict[int, int]]:
        """Return unique-ids and octets by message number, asked for together where the server can do that.

        Raises:
            Refused: the server has no unique-ids.
        """
        if self._dialogue.depth == 1:
            return await self.uidl(), await self.list()
        await self._dialogue.catch_up()
        for verb in ("UIDL", "LIST"):
            self._connection.send(command(verb), form=Form.LINES)
        ids, sizes = [await self._dialogue.lines_or_refusal() for _ in range(2)]
        for found in (ids, sizes):
            if isinstance(found, Condition):
                raise self._no_ids(found) if found is ids and isinstance(found, Refused) else found
        assert not isinstance(ids, Condition)
        assert not isinstance(sizes, Condition)
        return self._dialogue.ids(ids), self._dialogue.sizes(sizes)

    def _no_ids(self, refused: Refused) -> Refused:
        return Refused(f"{self.url} does not tell unique-ids: {refused}")

    async def retr(self, number: int) -> Message:
        """Retrieve a message.

        Raises:
            Condition: the server refuses.
        """
        return await self._dialogue.retrieve("RETR", number)

    async def top(self, number: int, lines: int = 0) -> bytes:
        """Return the header of a message, the blank line, and the first `lines` lines of the body.

        Raises:
            Condition: the server refuses, or has no TOP (K-005).
        """
        return await (await self._dialogue.retrieve("TOP", number, lines)).read()

    async def retr_many(self, numbers: Iterable[int]) -> AsyncIterator[tuple[int, Message | Condition]]:
        """Give messages in this order, or why there is none; many are asked for at a time where the server can (K-002).

        Raises:
            ConnectionLost, NotPop3: the rest does not come.
        """
        async for number, message in self._dialogue.many("RETR", ((number,) for number in numbers)):
            yield number, message

    async def top_many(self, numbers: Iterable[int], lines: int = 0) -> AsyncIterator[tuple[int, bytes | Condition]]:
        """Give headers, the same way."""
        async for number, message in self._dialogue.many("TOP", ((number, lines) for number in numbers)):
            yield number, message if isinstance(message, Condition) else await message.read()

    async def dele(self, number: int) -> None:
        """Mark a message: QUIT will delete it.

        Raises:
            Condition: the server refuses.
        """
        await self._dialogue.ask("DELE", number)
        self.deleted.add(number)

    async def dele_many(self, numbers: Iterable[int]) -> dict[int, Condition]:
        """Mark messages, many at a time where the server can; returns which were refused, and why."""
        await self._dialogue.catch_up()
        refused = {}
        async for number in self._dialogue.ahead("DELE", ((number,) for number in numbers), Form.LINE):
            try:
                await self._dialogue.status()
            except (ConnectionLost, NotPop3):
                raise
            except Condition as condition:
                refused[number] = condition
            else:
                self.deleted.add(number)
        return refused

    async def noop(self) -> None:
        """Do nothing, which keeps the session alive."""
        await self._dialogue.ask("NOOP")

    async def rset(self) -> None:
        """Take all marks away: nothing will be deleted."""
        await self._dialogue.ask("RSET")
        self.deleted.clear()
