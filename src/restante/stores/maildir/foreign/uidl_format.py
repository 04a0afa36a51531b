"""How Dovecot makes a unique-id: the language of its setting ``pop3_uidl_format``.

Up to Dovecot 2.3 a variable is one letter with modifiers before it (``%08Xu``), since 2.4 a name with filters behind it
(``%{uid | hex(8)}``); both are understood, even mixed.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

DEFAULT = "%08Xu%08Xv"
"""What Dovecot does when nobody has said anything."""

_LETTERS = {"u": "uid", "v": "uidvalidity", "f": "filename", "g": "guid", "m": "md5"}
_NAMES = ("uid", "uidvalidity", "filename", "guid")
_TELLING = {"uid", "filename", "guid"}
"""Variables that differ from message to message."""
_VARIABLE = re.compile(
    r"%(?:%|(?P<from_end>-)?(?P<zero>0)?(?P<first>\d*)"
    r"(?:\.(?P<zero_width>0)?(?P<less>-)?(?P<width>\d*))?"
    r"(?P<modifiers>[LUXRMNHT]*)(?:(?P<letter>[A-Za-z])|\{(?P<inner>[^{}]*)\}))"
)
_FILTER = re.compile(r"(\w+)\s*(?:\(\s*(-?\d+)\s*(?:,\s*(-?\d+)\s*)?\))?")

Value = str | bytes
"""Octets are what a hash gives; they are written in hexadecimal in the end."""


class UidlFormat:
    """A format that has been read.

    Args:
        text: the setting; ``""`` stands for Dovecot's default.

    Raises:
        ValueError: it is none, or a Maildir cannot follow it; says what would be right.
    """

    def __init__(self, text: str) -> None:
        self.text = text or DEFAULT
        self._parts: list[str | _Variable] = []
        position = 0
        for match in _VARIABLE.finditer(self.text):
            self._add_words(self.text[position : match.start()])
            position = match.end()
            self._parts.append("%" if match[0] == "%%" else self._variable(match))
        self._add_words(self.text[position:])
        if not any(isinstance(part, _Variable) and part.name in _TELLING for part in self._parts):
            raise self._error("gives all messages one id; it needs %u, %f or %g")

    def expand(self, values: Mapping[str, str]) -> str:
        """Return the unique-id of a message.

        Args:
            values: its uid, uidvalidity, filename and guid.
        """
        return "".join(part if isinstance(part, str) else part.expand(values) for part in self._parts)

    def _add_words(self, words: str) -> None:
        if "%" in words:
            raise self._error(f"is not understood from {words[words.index('%') :]!r} on")
        self._parts.append(words)

    def _variable(self, match: "re.Match[str]") -> "_Variable":
        inner = match["inner"]
        name, *filters = [word.strip() for word in inner.split("|")] if inner is not None else [match["letter"]]
        name = _LETTERS.get(name, name) if inner is None else name
        if name == "md5":
            raise self._error("takes %m, which Dovecot does not have for Maildirs; take the ids over the wire")
        if name not in _NAMES:
            raise self._error(f"takes {name!r}; right are %u, %v, %f and %g, or %{{{'}, %{'.join(_NAMES)}}}")
        return _Variable(name, _Cut.of(match), match["modifiers"], tuple(self._filter(word) for word in filters))

    def _filter(self, word: str) -> Callable[[Value], Value]:
        match = _FILTER.fullmatch(word)
        if match is None or match[1] not in _FILTERS:
            raise self._error(f"takes the filter {word!r}; right are {', '.join(_FILTERS)}; or take ids over the wire")
        arguments = [int(number) for number in match.groups()[1:] if number is not None]
        make = _FILTERS[match[1]]
        try:
            made = make(*arguments)
        except TypeError:
            raise self._error(f"takes the filter {word!r} with a wrong number of arguments") from None
        return made

    def _error(self, what: str) -> ValueError:
        return ValueError(f"pop3_uidl_format {self.text!r} {what}")


class _Cut(NamedTuple):
    """What is taken of a value: ``[offset.][0]width`` before the modifiers."""

    offset: int
    width: int
    zero: bool

    @classmethod
    def of(cls, match: "re.Match[str]") -> "_Cut":
        first = int(match["first"] or 0)
        if match["width"] is None:  # no dot: the number is the width
            return cls(0, first, bool(match["zero"]))
        width = int(match["width"] or 0)
        offset = -first if match["from_end"] else first
        return cls(offset, -width if match["less"] else width, bool(match["zero_width"]))

    def apply(self, text: str) -> str:
        text = text[self.offset :] if self.offset >= 0 or -self.offset < len(text) else text
        if not self.width:
            return text
        if self.zero:
            return text.rjust(self.width, "0")
        return text[: self.width if self.width > 0 else max(0, len(text) + self.width)]


class _Variable(NamedTuple):
    name: str
    cut: _Cut
    modifiers: str
    filters: tuple[Callable[[Value], Value], ...]

    def expand(self, values: Mapping[str, str]) -> str:
        value: Value = values[self.name]
        for one in self.filters:
            value = one(value)
        text = value.hex() if isinstance(value, bytes) else value
        cut = self.cut
        for modifier in self.modifiers:
            if modifier in _HASHES:
                text, cut = _modulo(_HASHES[modifier](_octets(text)), cut)
            else:
                text = _MODIFIERS[modifier](text)
        return cut.apply(text)


# -- modifiers, up to 2.3 ---------------------------------------------------------------------------


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _first_octets_of_md5(octets: bytes) -> int:
    return int.from_bytes(hashlib.md5(octets, usedforsecurity=False).digest()[:8], "big")


def _pjw_hash(octets: bytes) -> int:
    """The hash of P. J. Weinberger in 32 bits."""
    value = 0
    for octet in octets:
        value = ((value << 4) + octet) & 0xFFFF_FFFF
        high = value & 0xF000_0000
        value ^= (high >> 24) ^ high
    return value


def _modulo(value: int, cut: _Cut) -> tuple[str, _Cut]:
    """N and H take width and offset as a modulus and the least number of digits, and use them up."""
    value = value % cut.width if cut.width else value
    return f"{value & 0xFFFF_FFFF:x}".rjust(max(0, cut.offset), "0"), _Cut(0, 0, cut.zero)


_HASHES: dict[str, Callable[[bytes], int]] = {"N": _first_octets_of_md5, "H": _pjw_hash}
_MODIFIERS: dict[str, Callable[[str], str]] = {
    "L": lambda text: _octets(text).lower().decode("utf-8", "surrogateescape"),
    "U": lambda text: _octets(text).upper().decode("utf-8", "surrogateescape"),
    "X": lambda text: f"{_number(text):x}",
    "R": lambda text: text[::-1],
    "M": lambda text: hashlib.md5(_octets(text), usedforsecurity=False).hexdigest(),
    "T": lambda text: text.rstrip(),
}

# -- filters, since 2.4 -----------------------------------------------------------------------------


def _octets(value: Value) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _text(value: Value) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _hash(name: str) -> Callable[[], Callable[[Value], Value]]:
    return lambda: lambda value: hashlib.new(name, _octets(value), usedforsecurity=False).digest()


def _hex(width: int = 0) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        digits = f"{_number(_text(value)):x}"
        if width < 0:
            return digits.ljust(-width, "0")[:-width]
        return digits.rjust(width, "0")[-width:] if width else digits

    return apply


def _hexlify(width: int = 0) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        digits = _octets(value).hex()
        return digits.rjust(width, "0")[:width] if width else digits

    return apply


def _substr(offset: int, length: int | None = None) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        rest = value[offset:]
        return rest if length is None else rest[:length]

    return apply


_FILTERS: dict[str, Callable[..., Callable[[Value], Value]]] = {
    "hex": _hex,
    "hexlify": _hexlify,
    "lower": lambda: lambda value: _octets(value).lower().decode("utf-8", "surrogateescape"),
    "upper": lambda: lambda value: _octets(value).upper().decode("utf-8", "surrogateescape"),
    "reverse": lambda: lambda value: value[::-1],
    "substr": _substr,
    "truncate": lambda length: lambda value: value[:length],
    "md5": _hash("md5"),
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
}
