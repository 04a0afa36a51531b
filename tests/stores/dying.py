"""A process that dies after one of its system calls."""

import os
import signal
from typing import Any


class DyingOs:
    """Stands for the module ``os`` and dies after a number of its functions have been called.

    Args:
        calls: how many.
    """

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real) or isinstance(real, type):
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call
