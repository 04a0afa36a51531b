"""Where the lines of ``restante connect`` come from: a terminal, with help in typing, or a pipe."""

import asyncio
import getpass
import os
import sys
from pathlib import Path
from typing import Protocol

WORDS = (
    *("USER", "PASS", "APOP", "AUTH", "CAPA", "STLS", "UTF8", "LANG", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE"),
    *("RSET", "NOOP", "HELP", "QUIT"),
)
"""Commands that are completed."""
SECRET = ("PASS", "AUTH", "APOP")
"""Commands that are not remembered."""


class Keyboard(Protocol):
    """Gives lines."""

    asks: bool
    """There is a person who can be asked for a password."""

    async def line(self, suggestion: str, *, secret: bool) -> str | None:
        """Return the next line without its end; None: there are no more.

        Args:
            suggestion: what may be on the line already.
            secret: the line is not shown.
        """
        ...

    async def password(self) -> str:
        """Ask for a password."""
        ...


class PipeKeyboard:
    """Lines of standard input."""

    asks = False

    async def line(self, suggestion: str, *, secret: bool) -> str | None:
        """See `Keyboard.line`."""
        line = await asyncio.to_thread(sys.stdin.buffer.readline) if sys.stdin is not None else b""
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") if line else None

    async def password(self) -> str:
        """See `Keyboard.password`."""
        raise NotImplementedError


class PlainKeyboard(PipeKeyboard):
    """A terminal without the package that helps in typing."""

    asks = True

    async def line(self, suggestion: str, *, secret: bool) -> str | None:
        """See `Keyboard.line`."""
        if secret:
            return await self.password()
        sys.stdout.write("> ")
        sys.stdout.flush()
        return await super().line(suggestion, secret=False)

    async def password(self) -> str:
        """See `Keyboard.password`."""
        return await asyncio.to_thread(getpass.getpass, "Password: ")


def history_file() -> Path:
    """Return where lines are remembered; never those with secrets."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "restante" / "history"


def make_keyboard() -> Keyboard:
    """Return the best keyboard there is."""
    try:
        from restante.cli.connect_comfort import ComfortableKeyboard  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError:
        return PlainKeyboard()
    return ComfortableKeyboard()
