"""Command lines and the rows of command tables."""

from collections.abc import Callable
from typing import Any, NamedTuple

from restante.errors import CommandError
from restante.protocol.events import Event

PRINTABLE = bytes(range(0x20, 0x7F))


class Command(NamedTuple):
    """A row of a command table."""

    handler: Callable[[Any, list[bytes]], Event | None]
    """Takes the session and the arguments."""
    min_arguments: int
    max_arguments: int
    usage: str
    """What a line with other arguments is told; ``{numbers}`` stands for the valid range (P-307)."""
    capability: str = ""
    """The tag that CAPA announces for an optional command (P-163)."""
    numeric: bool = True
    """Arguments are decimal numbers without a sign (P-006, P-014, P-113)."""

    def takes(self, arguments: list[bytes]) -> bool:
        """Say whether these arguments are right in number and kind."""
        if not self.min_arguments <= len(arguments) <= self.max_arguments:
            return False
        return not self.numeric or all(argument.isdigit() for argument in arguments)


def split(line: bytes) -> tuple[bytes, list[bytes]]:
    """Split a command line into its keyword, in capitals, and its arguments (P-001, P-003).

    Raises:
        CommandError: other octets than printable ASCII (P-018), or no keyword at the start (P-007).
    """
    stripped = line.rstrip(b" \t")
    if stripped.translate(None, PRINTABLE):
        raise CommandError("a command is printable ASCII; this line has other octets, please retype it")
    if line[:5].upper() == b"PASS ":  # P-036: every octet after the space is the password
        return b"PASS", [line[5:]]
    keyword, *arguments = stripped.split(b" ")
    if not keyword:
        raise CommandError("this line is empty or begins with a space; HELP lists the commands")
    return keyword.upper(), [argument for argument in arguments if argument]
