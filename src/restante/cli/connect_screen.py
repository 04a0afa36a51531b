"""How ``restante connect`` shows what is said."""

import sys
from base64 import b64decode
from binascii import Error as NotBase64
from typing import IO, Protocol

import click

from restante.errors import one_line


class Screen(Protocol):
    """Shows a session."""

    def sent(self, line: str, *, typed: bool = False) -> None:
        """A line went out, secrets left out; `typed`: whoever typed it has seen it already."""
        ...

    def status(self, line: bytes, *, positive: bool) -> None:
        """A status line has come."""
        ...

    def challenge(self, text: bytes) -> None:
        """A challenge of SASL has come, in base64."""
        ...

    def body(self, octets: bytes) -> None:
        """Lines of a reply have come."""
        ...

    def end(self) -> None:
        """The lines of a reply have ended."""
        ...

    def received(self, octets: bytes) -> None:
        """Octets have come that nobody has asked for."""
        ...

    def note(self, text: str) -> None:
        """Something that was not said by either side."""
        ...


class _Transcript:
    """Writes down what is said, a line each, with who says it."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file
        self._rest = b""

    def write(self, who: str, text: str) -> None:
        if self._file is not None:
            self._file.write(f"{who}: {text}\n")
            self._file.flush()

    def lines(self, octets: bytes) -> None:
        if self._file is None:
            return
        *whole, self._rest = (self._rest + octets).split(b"\r\n")
        for line in whole:
            self.write("S", _harmless(line))


class TerminalScreen:
    """In colours, and with everything escaped that would command the terminal (P-296).

    Args:
        transcript: a file that gets it, too.
    """

    def __init__(self, transcript: IO[str] | None = None) -> None:
        self._transcript = _Transcript(transcript)
        self._rest = b""

    def sent(self, line: str, *, typed: bool = False) -> None:
        """See `Screen.sent`."""
        self._transcript.write("C", line)
        if not typed:
            self._show(f"> {line}", "cyan")

    def status(self, line: bytes, *, positive: bool) -> None:
        """See `Screen.status`."""
        self._transcript.write("S", _harmless(line))
        self._show(_harmless(line), "green" if positive else "red")

    def challenge(self, text: bytes) -> None:
        """See `Screen.challenge`."""
        shown = "+ " + _harmless(text)
        self._transcript.write("S", shown)
        try:
            words = _harmless(b64decode(text, validate=True))
        except NotBase64:
            words = ""
        self._show(shown + (f"   ({words})" if words else ""), "yellow")

    def body(self, octets: bytes) -> None:
        """See `Screen.body`."""
        self._transcript.lines(octets)
        *whole, self._rest = (self._rest + octets).split(b"\r\n")
        if whole:
            self._show("\n".join(map(_harmless, whole)))

    def end(self) -> None:
        """See `Screen.end`."""
        self._transcript.write("S", ".")
        self._show(".", "green")

    def received(self, octets: bytes) -> None:
        """See `Screen.received`."""
        for line in octets.rstrip(b"\r\n").split(b"\r\n"):
            self._transcript.write("S", _harmless(line))
            self._show(_harmless(line), "yellow")

    def note(self, text: str) -> None:
        """See `Screen.note`."""
        self._transcript.write("--", text)
        self._show(f"-- {one_line(text)}", "bright_black")

    def _show(self, text: str, colour: str | None = None) -> None:
        click.secho(text, fg=colour)


class PipeScreen:
    """The server's octets to standard output, everything else to standard error.

    Args:
        transcript: a file that gets it, too.
    """

    def __init__(self, transcript: IO[str] | None = None) -> None:
        self._transcript = _Transcript(transcript)
        self._line_start = True

    def sent(self, line: str, *, typed: bool = False) -> None:
        """See `Screen.sent`."""
        self._transcript.write("C", line)

    def status(self, line: bytes, *, positive: bool) -> None:
        """See `Screen.status`."""
        self._transcript.write("S", _harmless(line))
        self._write(line + b"\r\n")

    def challenge(self, text: bytes) -> None:
        """See `Screen.challenge`."""
        self._transcript.write("S", "+ " + _harmless(text))
        self._write(b"+ " + text + b"\r\n")

    def body(self, octets: bytes) -> None:
        """See `Screen.body`."""
        self._transcript.lines(octets)
        self._write(octets)

    def end(self) -> None:
        """See `Screen.end`."""
        self._transcript.write("S", ".")
        self._write(b".\r\n")

    def received(self, octets: bytes) -> None:
        """See `Screen.received`."""
        self._write(octets)

    def note(self, text: str) -> None:
        """See `Screen.note`."""
        self._transcript.write("--", text)
        click.echo(f"-- {one_line(text)}", err=True)

    def _write(self, octets: bytes) -> None:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()


def _harmless(octets: bytes) -> str:
    """Return text that is only text; a tab may stay."""
    return "\t".join(one_line(part) for part in octets.decode("utf-8", "backslashreplace").split("\t"))
