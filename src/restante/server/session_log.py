"""The line of each session, by `logging`, at a fraction of what that usually takes."""

import logging
import os
import time
from typing import Any


class _Line(logging.LogRecord):
    """A record like any other, but it was not looked for where in the program it comes from."""

    _SAME = vars(logging.LogRecord("", logging.INFO, "", 0, "", None, None))

    def __init__(self, name: str, text: str, values: tuple[Any, ...]) -> None:
        now = time.time()
        vars(self).update(self._SAME)
        self.name, self.msg, self.args = name, text, values
        self.created, self.msecs = now, int(now % 1 * 1000) + 0.0
        self.process = os.getpid()


def tell(log: logging.Logger, text: str, *values: Any) -> None:
    """Log at the level INFO.

    Args:
        log: where to.
        text: with places for the values, as for `logging`.
        values: must not change.
    """
    if log.isEnabledFor(logging.INFO):
        log.handle(_Line(log.name, text, values))
