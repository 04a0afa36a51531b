"""A command that decides by the header whether a message is fetched."""

import asyncio
from contextlib import suppress
from enum import Enum

from restante.errors import TemporaryFailure

PATIENCE = 60.0
"""Seconds for one header."""


class Verdict(Enum):
    """What is to be done with a message; the values are exit statuses."""

    FETCH = 0
    LEAVE = 1
    DELETE = 2
    LATER = 75
    """The filter cannot tell now."""


async def judged(command: str, header: bytes) -> Verdict:
    """Give a header to a command, with LF line ends, and return what its exit status means.

    Raises:
        TemporaryFailure: it does not end, or with another status.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await process.communicate(header.replace(b"\r\n", b"\n"))
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise TemporaryFailure(f"filter {command!r} has not ended after {PATIENCE:.0f} seconds") from None
    try:
        return Verdict(process.returncode)
    except ValueError:
        text = (
            f"filter {command!r} has ended with status {process.returncode}; right are 0 (fetch), 1 (leave), 2 (delete)"
        )
        raise TemporaryFailure(text) from None
