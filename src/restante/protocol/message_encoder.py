"""A stored message on its way to the client."""

from restante.protocol.framing import TERMINATOR, ByteStuffer, CrlfLines, TopLines, stuffed
from restante.protocol.surrogate import Surrogate


class MessageEncoder:
    """Turns a stored message into the body of a RETR or TOP reply, terminator included.

    Args:
        lines: body lines that TOP asked for; None for the whole message (RETR).
        surrogate: the client gets the form whose headers are ASCII (RFC 6856 section 2.1, P-256).
        wire_form: the stored octets are what RETR sends (`restante.maildrop.Message.wire_form`).
    """

    __slots__ = ("_as_it_is", "_crlf", "_stuffer", "_surrogate", "_top", "octets")

    def __init__(self, lines: int | None = None, *, surrogate: bool = False, wire_form: bool = False) -> None:
        self.octets = 0
        """Octets passed so far, before byte-stuffing."""
        self._crlf = CrlfLines()
        self._surrogate = Surrogate() if surrogate else None
        self._top = None if lines is None else TopLines(lines)
        self._stuffer = ByteStuffer()
        self._as_it_is = wire_form and lines is None and not surrogate

    @property
    def satisfied(self) -> bool:
        """TOP has all its lines; the rest of the message need not be read."""
        return self._top is not None and self._top.satisfied

    def feed(self, data: bytes) -> bytes:
        """Encode the next piece of the stored message."""
        if self._as_it_is:
            self.octets += len(data)
            return data
        lines = self._crlf.feed(data)
        return self._pass(lines if self._surrogate is None else self._surrogate.feed(lines))

    def finish(self) -> bytes:
        """Return the end of the reply: the line end that the message lacks, and the terminator."""
        if self.satisfied or self._as_it_is:
            return TERMINATOR
        lines = self._crlf.finish()
        if self._surrogate is not None:
            lines = self._surrogate.feed(lines) + self._surrogate.finish()
        return self._pass(lines) + TERMINATOR

    def _pass(self, lines: bytes) -> bytes:
        if self._top is not None:
            lines = self._top.feed(lines)
        self.octets += len(lines)
        return self._stuffer.feed(lines)


def whole(message: bytes) -> tuple[bytes, int]:
    """Encode a stored message that is here in one piece; the same as `MessageEncoder` makes of it for RETR.

    Returns:
        the lines, byte-stuffed, without the terminator; and their octets before byte-stuffing.
    """
    lines = message.replace(b"\r\n", b"\n") if b"\r" in message else message
    lines = lines.replace(b"\n", b"\r\n")
    if message and message[-1] != 0x0A:
        lines += b"\r\n"  # P-087
    octets = len(lines)
    lines = stuffed(lines)
    return (b"." + lines if message[:1] == b"." else lines), octets
