"""How what is written becomes durable: each file by a flush of its own, or many by one that they share.

The trade-off is in docs/decisions/0019-durability.md.
"""

import logging
import os
import platform
import re
import threading
from typing import Protocol

from restante.stores import systems
from restante.stores.files import sync_directory

log = logging.getLogger("restante.store")

_REPORTING_KERNEL = (5, 8)
"""From this Linux on syncfs(2) tells that something could not be written."""
_FLUSHED_AS_A_WHOLE = {kind: name for kind, name in systems.LOCAL.items() if name not in ("ZFS", "overlay")}
"""File systems where one syncfs(2) is as good as an fsync(2) of each file."""


class Flushes(Protocol):
    """What one delivery needs: between `Durability.begin` and `end`."""

    @property
    def shared(self) -> bool:
        """Say whether one flush is for all that has been written to the file system until then."""
        ...

    def file(self, descriptor: int) -> None:
        """Make what a file holds durable.

        Raises:
            OSError: it is not certain to be.
        """
        ...

    def directory(self, path: str) -> None:
        """Make the names in a directory durable.

        Raises:
            OSError: they are not certain to be.
        """
        ...

    def end(self) -> None:
        """No more is asked for."""
        ...


class Durability(Protocol):
    """How deliveries become durable."""

    def begin(self, directory: str) -> Flushes:
        """Begin a delivery, before its first octet is written.

        Args:
            directory: where it is written to.

        Raises:
            OSError: it cannot be opened.
        """
        ...


class Always:
    """Each file and each directory has a flush of its own."""

    shared = False

    def begin(self, directory: str) -> Flushes:
        """See `Durability.begin`."""
        return self

    def file(self, descriptor: int) -> None:
        """See `Flushes.file`."""
        os.fsync(descriptor)

    def directory(self, path: str) -> None:
        """See `Flushes.directory`."""
        sync_directory(path)

    def end(self) -> None:
        """See `Flushes.end`."""


class Group:
    """Deliveries that wait at the same time share a flush of the whole file system, syncfs(2).

    Where that does not do what `Always` does, `Always` is what is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[int, _FileSystem] = {}
        self._alone = Always()
        self._known: dict[int, bool] = {}
        os.register_at_fork(after_in_child=self._forget)

    def begin(self, directory: str) -> Flushes:
        """See `Durability.begin`."""
        device = os.stat(directory).st_dev
        with self._lock:
            if device not in self._known:
                why = _why_not(directory)
                self._known[device] = not why
                if why:
                    log.warning('durability = "group" is as "always" in %s: %s', directory, why)
            if not self._known[device]:
                return self._alone
            shared = self._shared.get(device)
            if shared is None:
                shared = self._shared[device] = _FileSystem(directory)
            shared.users += 1
        return _Sharing(self, device, shared)

    def end(self, device: int, shared: "_FileSystem") -> None:
        """The last delivery of a while closes the file system, which can then be unmounted."""
        with self._lock:
            shared.users -= 1
            if not shared.users:
                shared.close()
                if self._shared.get(device) is shared:
                    del self._shared[device]

    def _forget(self) -> None:
        """A child process has none of its parent's threads."""
        self._lock = threading.Lock()
        self._shared = {}


class _Sharing:
    """See `Flushes`."""

    shared = True

    def __init__(self, group: Group, device: int, shared: "_FileSystem") -> None:
        self._group = group
        self._device = device
        self._shared = shared
        self._ended = False

    def file(self, descriptor: int) -> None:
        self._shared.flush()

    def directory(self, path: str) -> None:
        self._shared.flush()

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._group.end(self._device, self._shared)


class _FileSystem:
    """A file system, open since before anything was written whose flush it is asked for: else errors may be missed."""

    def __init__(self, directory: str) -> None:
        self.users = 0
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._turn = threading.Condition()
        self._begun = 0
        self._ended = 0
        self._flushing = False
        self._failed = 0
        """The number of the last flush that failed."""
        self._error = 0

    def flush(self) -> None:
        """Return when a flush that began after the call has ended; one of those who wait does it for all.

        Raises:
            OSError: it failed: nobody whose flush it was can be certain.
        """
        with self._turn:
            wanted = self._begun + 1  # one that runs already may have passed by what the caller has written
            while self._ended < wanted:
                if self._flushing:
                    self._turn.wait()
                else:
                    self._flush()
            # A later one that failed may have been the one that met our octets.
            if self._failed >= wanted:
                raise OSError(self._error, f"flushing the file system: {os.strerror(self._error)}")

    def _flush(self) -> None:
        self._flushing = True
        self._begun += 1
        self._turn.release()
        try:
            error = systems.syncfs(self._descriptor)
        finally:
            self._turn.acquire()
            self._flushing = False
        if error:
            self._failed, self._error = self._begun, error
        self._ended = self._begun
        self._turn.notify_all()

    def close(self) -> None:
        os.close(self._descriptor)


def _why_not(directory: str) -> str:
    """Say why syncfs(2) will not do for a directory; ``""``: it will."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if platform.system() != "Linux" or version is None or not systems.has_syncfs():
        return "it needs Linux"
    if (int(version[1]), int(version[2])) < _REPORTING_KERNEL:
        return "it needs Linux 5.8, whose syncfs reports errors"
    kind = systems.kind_of_file_system(directory)
    if kind not in _FLUSHED_AS_A_WHOLE:
        return f"it needs one of {', '.join(_FLUSHED_AS_A_WHOLE.values())}"
    return ""
