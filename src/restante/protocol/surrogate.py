"""The surrogate of a message whose header is not ASCII, for a client that has not said UTF8 (P-256, RFC 6858).

RFC 6856 section 2.1 forbids to send such a header as it is.  What is stored stays as it is, and so do bodies, 8-bit
ones too; header fields, those of the parts of a multipart and of embedded messages included, are made ASCII.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from restante.protocol.framing import CrlfLines
from restante.protocol.surrogate_headers import REPLACED, ascii_field, split_parameters, unfolded, unquoted

FIELD_OCTETS = 12288
"""The longest header field that is held and converted, in octets; in longer ones ``?`` replaces what is not ASCII."""

CONVERTED_OCTETS = 16384
"""How much of the fields of one message is converted, in octets; ``?`` replaces what is not ASCII in later ones.

No message for people comes near it: it bounds the work that one for machines can make, some fifty milliseconds.
"""

DELIMITER_OCTETS = 1000
"""The longest boundary delimiter line that is looked for, in octets; RFC 2046 section 5.1.1 allows 74 and padding."""

DEPTH = 50
"""Multiparts within one another that are looked into; a deeper one is passed like any other body."""

LOOKAHEAD_OCTETS = 1 << 20
"""How much `surrogate_octets` looks through for an octet that is not ASCII before it reads the structure, in octets."""

HEADER_OCTETS = 8192
"""What `surrogate_octets` reads of the structure first, in octets: few headers are longer."""

# A field is whole when the next line does not begin with white space (RFC 5322 section 2.2.3).
_FIELD = re.compile(rb"[^\n]*+\n(?:[ \t][^\n]*+\n)*+(?=[^ \t])")
_FIELD_END = re.compile(rb"\n(?=[^ \t])")
_MIME_FIELD = re.compile(rb"content-(type|transfer-encoding)[ \t]*:", re.IGNORECASE)
_MEDIA_TYPE = re.compile(rb"[^ \t/;]+/[^ \t;(]+")
_BOUNDARY = re.compile(rb"boundary(\*?)[ \t]*=[ \t]*(.*)", re.DOTALL | re.IGNORECASE)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_ENCODED = re.compile(rb"(?!(?:7bit|8bit|binary)\b|$)", re.IGNORECASE)  # RFC 2045 section 6.2


class _Multipart(NamedTuple):
    """A multipart whose end has not been seen."""

    delimiter: bytes
    """Two hyphens and the boundary (RFC 2046 section 5.1.1)."""

    default_type: bytes
    """The media type of parts that tell none."""


class Surrogate:
    """Converts a message piece by piece.

    Takes octets whose lines end in CRLF, as `CrlfLines` gives them, its `finish` included, in pieces of any size.
    A header field is held until it is whole, or longer than `FIELD_OCTETS`.
    """

    __slots__ = (
        "_begin",
        "_boundary",
        "_converted",
        "_delimiters",
        "_encoded",
        "_held",
        "_in_header",
        "_in_long_field",
        "_line",
        "_media_type",
        "_multiparts",
        "_type_seen",
        "needed",
    )

    def __init__(self) -> None:
        self.needed = False
        """Some octet of a header was not ASCII, so the surrogate differs from the message."""
        self._converted = 0
        self._held = b""
        self._in_long_field = False
        self._line: bytes | None = b""
        """How the current line of a body, or of a field that is not held, begins; None if that does not matter."""
        self._multiparts: list[_Multipart] = []
        self._delimiters: dict[bytes, tuple[int, bool]] = {}
        """Delimiter lines: the multipart that each belongs to, by its depth, and whether it ends there."""
        self._begin = b""
        """What all lines that matter within a body begin with, after a line end; the more the faster it is found."""
        self._begin_header(b"text/plain")

    @property
    def settled(self) -> bool:
        """No header can follow: `needed` will not change, and `feed` returns what it is given."""
        return not (self._in_header or self._multiparts)

    def feed(self, data: bytes) -> bytes:
        """Convert the next piece."""
        if self.settled:
            return data
        if self._held:
            data, self._held = self._held + data, b""
        passed: list[bytes] = []
        position = 0
        while position < len(data):
            if self._in_long_field:
                position = self._pass_long_field(data, position, passed)
            elif self._in_header:
                position = self._pass_header(data, position, passed)
            else:
                position = self._pass_body(data, position, passed)
        return b"".join(passed)

    def finish(self) -> bytes:
        """Return what was held: the last field of a message that is all header (P-116)."""
        held, self._held = self._held, b""
        return held if not held or self._cross_delimiter(held) else self._convert(held)

    def _begin_header(self, default_type: bytes) -> None:
        self._in_header = True
        self._media_type = default_type
        self._type_seen = False
        self._boundary = b""
        self._encoded = False

    def _pass_header(self, data: bytes, position: int, passed: list[bytes]) -> int:
        """Pass one field, blank line or delimiter line; return where it ends."""
        if data.startswith((b"\r\n", b"\n"), position):
            end = data.index(b"\n", position) + 1
            passed.append(data[position:end])
            self._begin_body()
            return end
        if self._multiparts and data.startswith(b"--", position):
            end = data.find(b"\n", position) + 1
            if end and self._cross_delimiter(data[position:end]):
                passed.append(data[position:end])
                return end
        field = _FIELD.match(data, position)
        if field is not None:
            passed.append(self._convert(field[0]))
            return field.end()
        if len(data) - position > FIELD_OCTETS:
            self._in_long_field = True
            self._line = None
            return self._pass_long_field(data, position, passed)
        self._held = data[position:]
        return len(data)

    def _convert(self, field: bytes) -> bytes:
        """Convert a whole field, and remember what it says of the body.

        That is read from the converted field, so that the surrogate has the same structure as its own surrogate.
        """
        if len(field) > FIELD_OCTETS:
            return self._replace(field)
        if not field.isascii():
            self._converted += len(field)
            self.needed = True
            field = ascii_field(field) if self._converted <= CONVERTED_OCTETS else field.translate(REPLACED)
        name = _MIME_FIELD.match(field)
        if name is not None and len(field) <= FIELD_OCTETS:
            value = unfolded(field[name.end() :])
            if name[1].lower() == b"transfer-encoding":
                self._encoded = _ENCODED.match(value) is not None
            elif not self._type_seen:
                self._type_seen = True
                self._media_type, self._boundary = _content_type(value)
        return field

    def _replace(self, octets: bytes) -> bytes:
        if octets.isascii():
            return octets
        self.needed = True
        return octets.translate(REPLACED)

    def _pass_long_field(self, data: bytes, position: int, passed: list[bytes]) -> int:
        """Pass what there is of a field that is too long to be held; return where that ends."""
        if self._line is not None and data[position] not in b" \t":  # the line end before was the end of the field
            self._in_long_field = False
            return position
        found = _FIELD_END.search(data, position)
        self._in_long_field = found is None
        end = len(data) if found is None else found.end()
        passed.append(self._replace(data[position:end]))
        self._line = b"" if data[end - 1] == 0x0A else None
        return end

    def _begin_body(self) -> None:
        """Find out what the header that has ended says of its body (RFC 2046 section 5)."""
        self._in_header = False
        self._line = b""
        if self._media_type in (b"message/rfc822", b"message/global"):
            if not self._encoded:
                self._begin_header(b"text/plain")
        elif self._media_type.startswith(b"multipart/") and self._boundary and len(self._multiparts) < DEPTH:
            is_digest = self._media_type == b"multipart/digest"  # RFC 2046 section 5.1.5
            default_type = b"message/rfc822" if is_digest else b"text/plain"
            self._open([*self._multiparts, _Multipart(b"--" + self._boundary, default_type)])

    def _open(self, multiparts: list[_Multipart]) -> None:
        if len(multiparts) != len(self._multiparts):
            self._multiparts = multiparts
            # The innermost counts, as it comes last.
            self._delimiters = {}
            for depth, multipart in enumerate(multiparts):
                self._delimiters[multipart.delimiter + b"--"] = depth, True
                self._delimiters[multipart.delimiter] = depth, False
            self._begin = b"\n" + _common_start([multipart.delimiter for multipart in multiparts])

    def _pass_body(self, data: bytes, start: int, passed: list[bytes]) -> int:
        """Pass the lines of a body up to a delimiter line; return where that ends."""
        position = start
        while self._multiparts:
            end = data.find(b"\n", position) + 1
            if not end:
                self._line = None if self._line is None else _begun_delimiter(self._line + data[position:])
                break
            if self._line is not None and self._cross_delimiter(self._line + data[position:end]):
                passed.append(data[start:end])
                return end
            self._line = b""
            # Searching one octet costs next to nothing, and encoded bodies have no hyphen at all.
            hyphen = data.find(b"-", end)
            found = data.find(self._begin, hyphen - 1) if hyphen >= 0 else -1
            position = (data.rfind(b"\n") if found < 0 else found) + 1
        passed.append(data[start:] if start else data)
        return len(data)

    def _cross_delimiter(self, line: bytes) -> bool:
        """Enter the next part, or leave a multipart, if a line is the delimiter of one (RFC 2046 section 5.1.1)."""
        if not line.startswith(b"--") or len(line) > DELIMITER_OCTETS:
            return False
        line = line.rstrip(b" \t\r\n")
        found = self._delimiters.get(line)
        if found is None:
            return False
        depth, is_end = found
        if is_end:
            self._open(self._multiparts[:depth])
            self._in_header = False
            self._line = b""
        else:
            default_type = self._multiparts[depth].default_type
            self._open(self._multiparts[: depth + 1])
            self._begin_header(default_type)
        return True


def _common_start(strings: list[bytes]) -> bytes:
    """Return the longest octets that all strings begin with."""
    first, last = min(strings, default=b""), max(strings, default=b"")
    return first[: next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _begun_delimiter(line: bytes) -> bytes | None:
    """Return a line that is not whole yet, None if it cannot become a delimiter."""
    return line if b"--".startswith(line[:2]) and len(line) <= DELIMITER_OCTETS else None


def _content_type(value: bytes) -> tuple[bytes, bytes]:
    """Return media type, in lower case, and boundary of a Content-Type; each is empty if there is none."""
    found = _MEDIA_TYPE.match(value)
    media_type = found[0].lower() if found else b""
    for parameter in split_parameters(value)[1:]:
        found = _BOUNDARY.fullmatch(parameter.strip(b" \t"))
        if found is not None:
            return media_type, _boundary(found[2], extended=bool(found[1]))
    return media_type, b""


def _boundary(value: bytes, *, extended: bool) -> bytes:
    """Read a boundary; one that was not ASCII has been made an extended parameter (RFC 2231 section 4)."""
    if value.startswith(b'"'):
        boundary = unquoted(value if len(value) > 1 and value.endswith(b'"') else value + b'"')
    else:
        boundary = re.split(rb"[ \t]", value, maxsplit=1)[0]
    if extended:
        boundary = _PERCENT.sub(lambda code: bytes.fromhex(code[1].decode()), boundary.split(b"'", 2)[-1])
    return boundary.rstrip(b" \t\r")  # RFC 2046 section 5.1.1: it does not end in white space


def _read_ahead(pieces: Iterator[bytes]) -> list[bytes]:
    """Return the pieces up to the first that is not ASCII, or `LOOKAHEAD_OCTETS`; none if the message ends before."""
    ahead: list[bytes] = []
    octets = 0
    for piece in pieces:
        ahead.append(piece)
        octets += len(piece)
        if octets > LOOKAHEAD_OCTETS or not piece.isascii():
            return ahead
    return []


def surrogate_octets(pieces: Iterable[bytes]) -> int:
    """Return the octets of a message's surrogate, 0 if it needs none (P-256: LIST tells them).

    Most messages are ASCII and cost no more than being told so; others are read only as far as headers can follow.

    Args:
        pieces: the message as it is stored, lines ending in LF or CRLF.
    """
    rest = iter(pieces)
    ahead = _read_ahead(rest)
    if not ahead:
        return 0
    lines, surrogate, octets = CrlfLines(), Surrogate(), 0
    first = ahead.pop(0)
    for piece in chain((first[:HEADER_OCTETS], first[HEADER_OCTETS:]), ahead, rest):
        octets += len(surrogate.feed(lines.feed(piece)))
        if surrogate.settled and not surrogate.needed:
            return 0
    octets += len(surrogate.feed(lines.finish())) + len(surrogate.finish())
    return octets if surrogate.needed else 0
