"""Replies on their way out (RFC 1939 section 3)."""

from restante.errors import Condition


class Replies:
    """Collects replies until somebody sends them."""

    __slots__ = ("_pieces", "octets")

    def __init__(self) -> None:
        self.octets = 0
        """Octets that wait to be sent."""
        self._pieces: list[bytes] = []

    def add(self, octets: bytes) -> None:
        """Add octets that are ready to be sent."""
        self._pieces.append(octets)
        self.octets += len(octets)

    def ok(self, text: str) -> None:
        """Add a positive status line; there is always a text, for some clients want the space (RFC 1957)."""
        self.add(b"+OK %b\r\n" % text.encode("ascii"))

    def error(self, condition: Condition) -> None:
        """Add a negative status line: the one place where conditions become replies (P-175)."""
        code = f"[{condition.code}] " if condition.code else ""
        self.add(b"-ERR %b\r\n" % (code + condition.reply).encode("ascii"))

    def take(self) -> bytes:
        """Return all that waits, and forget it."""
        octets = b"".join(self._pieces)
        self._pieces.clear()
        self.octets = 0
        return octets
