"""The line of each session, by `logging`, at a fraction of what that usually takes."""

import logging
import os
import time
from functools import cache
from typing import Any


@cache
def _same() -> dict[str, Any]:
    """Return what the records of one process have in common."""
    return vars(logging.LogRecord("", logging.INFO, "", 0, "", None, None))


os.register_at_fork(after_in_child=_same.cache_clear)


class _Line(logging.LogRecord):
    """A record like any other, but it was not looked for where in the program it comes from."""

    def __init__(self, name: str, text: str, values: tuple[Any, ...]) -> None:
        now = time.time()
        vars(self).update(_same())
        self.name, self.msg, self.args = name, text, values
        self.created, self.msecs = now, int(now % 1 * 1000) + 0.0


def tell(log: logging.Logger, text: str, *values: Any) -> None:
    """Log at the level INFO.

    Args:
        log: where to.
        text: with places for the values, as for `logging`.
        values: must not change.
    """
    if log.isEnabledFor(logging.INFO):
        log.handle(_Line(log.name, text, values))
