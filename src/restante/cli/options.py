"""What several commands share."""

import collections
import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

STDERR = 2
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

F = TypeVar("F", bound=Callable[..., Any])


class CommandFailed(Exception):
    """A command could not do its work; the text is one line."""


@dataclass
class Settings:
    """What was said before or after the command's name."""

    config: Path | None = None


def _remember(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Settings).config = value


def config_option(function: F) -> F:
    """Add ``--config FILE`` (``-c``), which may stand before or after the command."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_remember,
        help="Configuration file (default: ./restante.toml, then /etc/restante/restante.toml).",
    )(function)


def describe(error: OSError) -> str:
    """Say in one line what the system would not do."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


class _Lines(logging.Formatter):
    """Formats records as `LOG_FORMAT` says; those of one second have most of their time in common."""

    _second = 0
    _time = ""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`; most records are plain, and then this is all that `LOG_FORMAT` takes."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        second = int(record.created)
        if second != self._second or not self._time:
            self._second, self._time = second, time.strftime(self.default_time_format, self.converter(second))
        return f"{self._time},{int(record.msecs):03}"


class _Batches(logging.Handler):
    """Writes the log in a thread, what has come together since the last time at once.

    A terminal or pipe that does not read must stop neither the event loop nor the end of the program: lines that
    find no room are counted and dropped.

    Args:
        descriptor: where to write; by the system's own call, so that no lock outlives a thread that hangs in it.
    """

    PERIOD = 0.1
    """Seconds that a line may wait for others."""
    ROOM = 20_000
    """Lines that may wait."""
    PATIENCE = 2.0
    """Seconds that the end of the program waits for the last lines to be written."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: collections.deque[str] = collections.deque()
        self._dropped = 0
        self._some = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="restante-log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """See `logging.Handler`; nothing here needs its lock."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; its line, unlike the record itself, is nothing that the garbage collector looks at."""
        if len(self._lines) >= self.ROOM:
            self._dropped += 1
            return
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001  (its arguments do not fit)
            self.handleError(record)
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what is left, if somebody reads it."""
        self._closing.set()
        self._some.set()
        self._thread.join(self.PATIENCE)
        super().close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._closing.wait(self.PERIOD)
            self._some.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
            lines.append("\n")
        if self._dropped:
            lines.append(f"{self._dropped} lines of the log were dropped: nobody read them\n")
            self._dropped = 0
        octets = memoryview("".join(lines).encode("utf-8", "backslashreplace"))
        with contextlib.suppress(OSError):  # nowhere to write: serving mail matters more
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]


class WhenThereIsRoom(logging.Handler):
    """Writes a line at once, or drops it where nobody reads: for a process that has no thread to wait in.

    Args:
        descriptor: where to write.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a pipe that is ready takes 4096 octets without waiting."""
        line = self.format(record).encode("utf-8", "backslashreplace")[:4095] + b"\n"
        with contextlib.suppress(OSError):
            if select.select([], [self._descriptor], [], 0)[1]:
                os.write(self._descriptor, line)


@contextmanager
def logging_to_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Write the log to stderr, a line each."""
    handler = _Batches(STDERR)
    handler.setFormatter(_Lines(LOG_FORMAT))
    root = logging.getLogger()
    root.setLevel(level)
    before, root.handlers = root.handlers, [handler]
    try:
        yield
    finally:
        root.handlers = before
        handler.close()
