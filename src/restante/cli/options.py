"""What several commands share."""

import collections
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

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


class _Batches(logging.Handler):
    """Writes the log in a thread, what has come together since the last time at once.

    A slow terminal must not stop the event loop, and a thread that is woken for each line would take turns with it.

    Args:
        target: formats and writes.
    """

    PERIOD = 0.1
    """Seconds that a line may wait for others."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self._target = target
        self._records: collections.deque[logging.LogRecord] = collections.deque()
        self._some = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="restante-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; it is formatted later, so its arguments must not change."""
        self._records.append(record)
        self._some.set()

    def close(self) -> None:
        """Write what is left."""
        self._closing.set()
        self._some.set()
        self._thread.join()
        super().close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._closing.wait(self.PERIOD)
            self._some.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        while self._records:
            self._target.handle(self._records.popleft())


@contextmanager
def logging_to_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Write the log to stderr, a line each."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(logging.Formatter(LOG_FORMAT))
    handler = _Batches(stream)
    root = logging.getLogger()
    root.setLevel(level)
    before, root.handlers = root.handlers, [handler]
    try:
        yield
    finally:
        root.handlers = before
        handler.close()
