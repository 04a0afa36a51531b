"""Replies on their way out (RFC 1939 section 3)."""

from restante.errors import Condition, Text
from restante.protocol.languages import Language

STATUS = 510
"""Octets of a status line without its CRLF (RFC 2449 section 4, P-009)."""

SHORT = 16384
"""Octets up to which replies are made one piece; to copy more costs more than to hand over several."""


class Replies:
    """Collects replies until somebody sends them.

    Args:
        language: of their texts; may be changed at any time.
    """

    __slots__ = ("_pieces", "language", "octets")

    def __init__(self, language: Language) -> None:
        self.language = language
        self.octets = 0
        """Octets that wait to be sent."""
        self._pieces: list[bytes] = []

    def add(self, octets: bytes) -> None:
        """Add octets that are ready to be sent."""
        if octets:
            self._pieces.append(octets)
            self.octets += len(octets)

    def answer(self, data: str) -> None:
        """Add a positive status line that programs read: the same in every language."""
        self.add(f"+OK {data}\r\n".encode("ascii"))

    def ok(self, template: str, **values: int | str | Text) -> None:
        """Add a positive status line; there is always a text, for some clients want the space (RFC 1957)."""
        if values:
            self.add(_line(f"+OK {self.language.put(template, values)}"))
            return
        ready = _ready.get((self.language.tag, template))
        if ready is None:
            ready = _ready[self.language.tag, template] = _line(f"+OK {self.language.put(template, {})}")
        self.add(ready)

    def error(self, condition: Condition) -> None:
        """Add a negative status line: the one place where conditions become replies (P-175)."""
        code = f"[{condition.code}] " if condition.code else ""
        self.add(_line(f"-ERR {code}{self.language.say(condition.reply)}"))

    def take(self) -> list[bytes]:
        """Return all that waits, and forget it: nothing, or one piece, or many where it is long."""
        pieces = self._pieces
        if not pieces:
            return []
        self._pieces = []
        if len(pieces) > 1 and self.octets <= SHORT:
            pieces = [b"".join(pieces)]
        self.octets = 0
        return pieces


def _line(line: str) -> bytes:
    """Return a status line; one that is too long is cut where a character ends (P-262)."""
    octets = line.encode()
    if len(octets) > STATUS:
        octets = octets[:STATUS].decode(errors="ignore").encode()
    return octets + b"\r\n"


_ready: dict[tuple[str, str], bytes] = {}
"""Lines that are always the same, by language and template."""
