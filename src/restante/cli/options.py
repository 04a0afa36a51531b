"""What several commands share."""

import logging
import logging.handlers
import queue
import sys
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


@contextmanager
def logging_to_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Write the log to stderr, a line each, in a thread: a slow terminal must not stop the event loop."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(logging.Formatter(LOG_FORMAT))
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(lines, stream)
    root = logging.getLogger()
    root.setLevel(level)
    before = root.handlers
    root.handlers = [logging.handlers.QueueHandler(lines)]
    listener.start()
    try:
        yield
    finally:
        root.handlers = before
        listener.stop()
