"""From the text of a TOML file to checked values, or to an error that names the line (design: file, line, key)."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from restante.errors import one_line

T = TypeVar("T", bound=msgspec.Struct)

Place = tuple[str | int, ...]
"""Where a value stands: names of tables and keys, and numbers (from 0) in arrays of tables."""

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"\"[^\"]*\"|'[^']*'|[^.\"']+")
_MSGSPEC_PLACE = re.compile(r"(.*?)(?: - at `\$?(.*)`)?$", re.DOTALL)
_WRONG_WORD = re.compile(r"Invalid enum value '(.*)'", re.DOTALL)
_TOML_LINE = re.compile(r"(.*) \(at line (\d+), column \d+\)$")


class ConfigurationError(Exception):
    """Something is wrong with the configuration; the text is one line, file and line number first."""


class Source:
    """A configuration file.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: it cannot be read, or it is not TOML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise ConfigurationError(f"{path}:{line}: the file is not UTF-8") from None
        try:
            self.data: dict[str, Any] = tomllib.loads(self._text)
        except (ValueError, RecursionError) as error:  # the parser's own errors, and numbers and nesting without end
            raise self._syntax_error(str(error)) from None

    def _syntax_error(self, text: str) -> ConfigurationError:
        match = _TOML_LINE.match(text)
        problem, line = (match[1], int(match[2])) if match else (text, 1)
        if "at end of document" in problem:
            line = self._text.count("\n") + 1
        return ConfigurationError(f"{self.path}:{line}: not TOML: {problem}; a line reads key = value or [table]")

    def error(self, place: Place, text: str) -> ConfigurationError:
        """Make the error for something that stands at `place`."""
        return ConfigurationError(f"{self.path}:{self.line(place)}: {one_line(text)}")

    def line(self, place: Place) -> int:
        """Return the line where something stands, or where the table stands that ought to hold it."""
        best, best_length = 1, 0
        table: Place = ()
        counts: dict[str, int] = {}
        for number, text in enumerate(self._text.split("\n"), 1):
            here: Place | None = None
            if header := _HEADER.match(text):
                table = _names(header[2])
                if header[1] == "[[":
                    counts[header[2]] = counts.get(header[2], -1) + 1
                    table += (counts[header[2]],)
                elif table[0] in counts:  # a table inside the latest element of an array
                    table = (table[0], counts[str(table[0])], *table[1:])
                here = table
            elif key := _KEY.match(text):
                here = table + _names(key[1])
            if not here:
                continue
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(here, place, strict=False)))
            # The thing itself or something inside it, or else a table that ought to hold it.
            if common in (len(place), len(here)) and common > best_length:
                best, best_length = number, common
        return best

    def convert(self, place: Place, data: Any, kind: type[T]) -> T:
        """Check values against a msgspec structure.

        Raises:
            ConfigurationError: an unknown or missing key, or a value of the wrong kind.
        """
        if isinstance(data, Mapping):
            self.check_keys(place, data, [field.encode_name for field in msgspec.structs.fields(kind)])
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            match = _MSGSPEC_PLACE.match(str(error))
            assert match is not None  # every part of the expression may be empty
            inner = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", match[2] or ""))
            names = [part for part in inner if isinstance(part, str)]
            name = f"{names[-1]}: " if names else ""
            raise self.error(place + inner, name + _explain(match[1], kind, names)) from None

    def check_keys(self, place: Place, data: Mapping[str, Any], known: Sequence[str]) -> None:
        """Refuse keys that nobody reads: they are misspelt.

        Raises:
            ConfigurationError: for the first of them, with the nearest right key.
        """
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                right = f'did you mean "{near[0]}"?' if near else f"right are: {', '.join(known)}"
                where = f" in [{place[0]}]" if place else ""
                raise self.error((*place, key), f'unknown key "{key}"{where}; {right}')


def _explain(problem: str, kind: type[msgspec.Struct], names: Sequence[str]) -> str:
    """Add the right values to what msgspec says of a wrong one."""
    text = problem.replace("`", '"').replace(" | null", "")
    wrong = _WRONG_WORD.fullmatch(problem)
    field = next((field for field in msgspec.structs.fields(kind) if [field.encode_name] == list(names)), None)
    if wrong is None or field is None:
        return text
    return f'"{wrong[1]}" is not known; right are {", ".join(_right_values(field.type))}'


def _right_values(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (f'"{value}"' for value in get_args(annotation))
    elif annotation is int:
        yield "a number"
    else:
        for inner in get_args(annotation):
            yield from _right_values(inner)


def _names(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in _PART.findall(dotted))
