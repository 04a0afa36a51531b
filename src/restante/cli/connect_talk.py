"""What a person, or a script, says to a server by ``restante connect``."""

import asyncio
from contextlib import suppress

from restante.cli.connect_keys import Keyboard
from restante.cli.connect_screen import Screen
from restante.client import Patience, Security, ServerUrl
from restante.client.connection import Connection
from restante.client.security import in_words, is_loopback
from restante.protocol.framing import ByteStuffer
from restante.protocol.pop3_client import Challenge, End, Form, Status

PATIENCE = Patience(silence=600, long_silence=600)
"""A person who waits can press Ctrl-C."""
_MANY_LINES = {"CAPA", "RETR", "TOP"}
_MANY_LINES_ALONE = {"LIST", "UIDL", "LANG", "AUTH"}
"""With an argument one line answers (K-002)."""
HIDDEN = "*****"


class Talk:
    """One session.

    Args:
        url: of the server.
        security: whom to trust.
        keyboard: where lines come from.
        screen: where everything is shown.
    """

    def __init__(self, url: ServerUrl, security: Security, keyboard: Keyboard, screen: Screen) -> None:
        self._url = url
        self._security = security
        self._keyboard = keyboard
        self._screen = screen
        self._connection = Connection(url, security, PATIENCE, lenient=False, log=None)
        self._suggestion = f"USER {url.user}" if url.user else ""
        self._in_exchange = False
        """The next line answers a challenge of SASL."""

    async def run(self, *, plain: bool) -> int:
        """Talk until one side ends it; returns the exit status.

        Args:
            plain: do not begin TLS where it is not asked for.

        Raises:
            ConnectionLost, NotPop3: it ended otherwise than by QUIT.
        """
        try:
            await self._connection.open()
            self._screen.note(f"connected to {self._url} ({self._connection.address})")
            self._show_tls()
            if not await self._reply():
                return 1
            if not self._url.tls and not plain and not is_loopback(self._connection.address):
                await self._encrypt_if_offered()
            while (line := await self._next_line()) is not None:
                if await self._say(line):
                    return 0
            if self._connection.lost():
                self._screen.note(self._connection.lost())
                return 1
            return 0
        finally:
            await self._connection.close()

    async def _encrypt_if_offered(self) -> None:
        """Nothing but CAPA and STLS goes before TLS (K-012)."""
        self._screen.sent("CAPA")
        self._connection.send(b"CAPA\r\n", form=Form.LINES)
        lines: list[bytes] = []
        if await self._reply(lines) and any(line.split(b" ")[0].upper() == b"STLS" for line in lines):
            self._screen.sent("STLS")
            await self._say("STLS")
        else:
            self._screen.note("this server offers no encryption: everybody on the way can read what is said")

    async def _next_line(self) -> str | None:
        """Wait for a line of the person, or for the server to say something by itself; None: it is over."""
        self._show_unasked()
        if self._connection.lost():
            return None
        typing = asyncio.create_task(self._keyboard.line(self._suggestion, secret=self._in_exchange))
        hearing = asyncio.create_task(self._connection.anything())
        self._suggestion = ""
        try:
            while True:
                await asyncio.wait({typing, hearing}, return_when=asyncio.FIRST_COMPLETED)
                if typing.done():
                    return typing.result()
                self._show_unasked()
                if self._connection.lost():
                    return None
                hearing = asyncio.create_task(self._connection.anything())
        finally:
            for task in (typing, hearing):
                task.cancel()
                with suppress(asyncio.CancelledError, EOFError, KeyboardInterrupt):
                    await task

    def _show_unasked(self) -> None:
        if octets := self._connection.session.take_held():
            self._screen.received(octets)

    async def _say(self, line: str) -> bool:
        """Send a line and show what answers it; returns whether the session is over."""
        if self._in_exchange:
            self._screen.sent(HIDDEN, typed=True)
            self._connection.send(line.encode("utf-8", "surrogateescape") + b"\r\n", form=Form.STEP)
            await self._reply()
            return False
        words = line.split()
        verb = words[0].upper() if words else ""
        if verb == "PASS" and len(words) == 1 and self._keyboard.asks:
            line = f"PASS {await self._keyboard.password()}"
        if not self._may_be_sent(verb, words):
            self._screen.note(
                "not sent: the connection is not encrypted; STLS begins encryption, --insecure does without"
            )
            return False
        self._screen.sent(_without_secrets(line, verb), typed=True)
        self._connection.send(line.encode("utf-8", "surrogateescape") + b"\r\n", form=_form(verb, len(words)))
        good = await self._reply()
        if good and verb == "STLS":
            await self._connection.encrypt()
            self._show_tls()
        if good and verb == "USER":
            self._suggestion = "PASS "
        return good and verb == "QUIT"

    def _may_be_sent(self, verb: str, words: list[str]) -> bool:
        """K-014: a password that others could read is not sent by mistake."""
        secret = verb == "PASS" or (verb == "AUTH" and len(words) > 1)
        private = self._connection.tls is not None or is_loopback(self._connection.address)
        return private or self._security.shows_passwords or not secret

    async def _reply(self, lines: list[bytes] | None = None) -> bool:
        """Show a reply; returns whether it is positive.

        Args:
            lines: gets those of a multi-line reply.
        """
        good, octets, stuffer = True, b"", ByteStuffer()
        while self._connection.session.waiting:
            event = await self._connection.event()
            self._in_exchange = isinstance(event, Challenge)
            if isinstance(event, Status):
                good = event.positive
                self._screen.status(event.line, positive=good)
            elif isinstance(event, Challenge):
                self._screen.challenge(event.text)
            elif isinstance(event, End):
                self._screen.end()
            else:
                self._screen.body(stuffer.feed(event))  # as it was on the wire
                octets += event if lines is not None else b""
        if lines is not None:
            lines += octets.split(b"\r\n")
        return good

    def _show_tls(self) -> None:
        if self._connection.tls is not None:
            for line in in_words(self._connection.tls):
                self._screen.note(line)


def _form(verb: str, words: int) -> Form:
    if verb in _MANY_LINES or (verb in _MANY_LINES_ALONE and words == 1):
        return Form.LINES
    return Form.STEP if verb == "AUTH" else Form.LINE


def _without_secrets(line: str, verb: str) -> str:
    words = line.split()
    if verb == "PASS":
        return f"{words[0]} {HIDDEN}"
    if verb in ("AUTH", "APOP") and len(words) > 2:
        return f"{words[0]} {words[1]} {HIDDEN}"
    return line
