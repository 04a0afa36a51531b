"""Passwords and access tokens that a command prints."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from restante.errors import TemporaryFailure, one_line

PATIENCE = 120.0
"""Seconds for a command, which may have to ask somebody."""


async def output(command: str) -> str:
    """Run a command by the shell; returns the first line that it prints.

    Raises:
        TemporaryFailure: it fails, or prints nothing.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, errors = await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise TemporaryFailure(f"{command!r} has not ended after {PATIENCE:.0f} seconds") from None
    line = out.split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    if process.returncode or not line:
        words = one_line(errors.decode("utf-8", "replace").strip().rpartition("\n")[2])
        what = f"has ended with status {process.returncode}" if process.returncode else "prints nothing"
        raise TemporaryFailure(f"{command!r} {what}{': ' if words else ''}{words}")
    return line


def from_command(command: str) -> Callable[[], Awaitable[str]]:
    """Return what gives the access token that a command prints, for `POP3Client.login`."""

    async def token() -> str:
        return await output(command)

    return token
