"""Command lines and the rows of command tables."""

from collections.abc import Callable
from typing import Any, NamedTuple

from restante.errors import CommandError
from restante.protocol.events import Event

PRINTABLE = bytes(range(0x20, 0x7F))
_CONTROLS = bytes([*range(0x20), 0x7F])
_WITH_UTF8 = {b"USER", b"PASS", b"APOP"}
"""Commands whose arguments may be UTF-8, as the capability ``UTF8 USER`` says (RFC 6856 section 2.2, P-257)."""


class Command(NamedTuple):
    """A row of a command table."""

    handler: Callable[[Any, list[bytes]], Event | None]
    """Takes the state that the table belongs to and the arguments."""
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
    keyword, space, rest = line.partition(b" ")
    if keyword.isalnum() and keyword.isupper() and (rest.isdigit() or not space):
        return keyword, [rest] if space else []  # nearly all lines are so, and need no other look
    stripped = line.rstrip(b" \t")
    if stripped.translate(None, PRINTABLE):
        _check_utf8(stripped)
    if line[:5].upper() == b"PASS ":  # P-036: every octet after the space is the password
        return b"PASS", [line[5:]]
    if not stripped or stripped.startswith(b" "):
        raise CommandError("this line is empty or begins with a space; HELP lists the commands")
    keyword, *arguments = stripped.split()
    return keyword.upper(), arguments


def _check_utf8(line: bytes) -> None:
    """Let UTF-8 pass where it may stand (P-018, P-257).

    Raises:
        CommandError: controls, or octets over 0x7F that are no UTF-8 or belong to another command.
    """
    keyword = line.partition(b" ")[0].upper()
    if line.translate(None, _CONTROLS) != line or keyword not in _WITH_UTF8:
        raise CommandError("a command is printable ASCII; this line has other octets, please retype it")
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("a name or password that is not ASCII must be UTF-8") from None
