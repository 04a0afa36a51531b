"""Our own files about a mailbox: the session lock, the index, what an interrupted change needs to be finished."""

import contextlib
import fcntl
import os
import stat
import threading

from restante.errors import MaildropInUse, PermanentFailure, TemporaryFailure
from restante.stores.files import sync_directory, unlink_if_there, write_all

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Seen:
    """Folders that this process has used; one that is missing later has not simply never been there."""

    def __init__(self) -> None:
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    def add(self, folder: str) -> None:
        """Remember a folder."""
        with self._lock:
            self._folders.add(folder)

    def __contains__(self, folder: str) -> bool:
        return folder in self._folders


class Side:
    """The files beside one mailbox.

    Args:
        folder: where they are; nobody else may write there.
        name: what their names begin with; a dot and a word without one follow, so no two mailboxes share a file.
        seen: folders that have been used.
    """

    def __init__(self, folder: str, name: str, seen: Seen) -> None:
        self.folder = folder
        self._name = name
        self._seen = seen

    def path(self, what: str) -> str:
        """Return the path of one of the files."""
        return os.path.join(self.folder, f"{self._name}.{what}")

    def exists(self) -> bool:
        """Say whether the folder is there.

        Raises:
            PermanentFailure: it is, and others could play tricks in it.
        """
        try:
            status = os.lstat(self.folder)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(status.st_mode):
            raise PermanentFailure(f"{self.folder}: is not a folder; move it away, and it is made anew")
        if status.st_uid not in (os.geteuid(), 0) or status.st_mode & stat.S_IWOTH:
            raise PermanentFailure(f"{self.folder}: must belong to the user that runs Restante and be closed to others")
        return True

    def create(self) -> None:
        """Make the folder if it does not exist yet.

        Raises:
            TemporaryFailure: it has existed, and has gone.
            PermanentFailure: others could play tricks in it.
            OSError: it cannot be made.
        """
        was_seen = self.folder in self._seen  # before the look: another thread may be making it
        if not self.exists():
            if was_seen:
                raise TemporaryFailure(f"{self.folder} has gone; is the file system of the mailboxes mounted?")
            os.makedirs(os.path.dirname(self.folder), mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, mode=0o700)
            sync_directory(os.path.dirname(self.folder) or ".")
            self.exists()
        self._seen.add(self.folder)

    def lock(self) -> int:
        """Take the lock of a session and return its descriptor; the kernel lets go of it with the process (P-042).

        Raises:
            MaildropInUse: another session has it (P-041).
            OSError: the lock file cannot be opened.
        """
        descriptor = os.open(self.path("session"), os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise MaildropInUse(self.path("session")) from None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def open(self, what: str) -> int | None:
        """Open a file for reading; None when there is none.

        Raises:
            OSError: it cannot be opened.
        """
        try:
            return os.open(self.path(what), os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return None

    def read(self, what: str) -> bytes:
        """Return what is in a file, ``b""`` when there is none.

        Raises:
            OSError: it cannot be read.
        """
        descriptor = self.open(what)
        if descriptor is None:
            return b""
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def begin(self, what: str) -> int:
        """Create a new file beside the one of that name; `publish` puts it in its place.

        Raises:
            OSError: it cannot be created.
        """
        unlink_if_there(self.path(f"{what}-new"))
        return os.open(self.path(f"{what}-new"), os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)

    def publish(self, what: str) -> None:
        """Put a file that is complete and synced in its place, durably.

        Raises:
            OSError: it is not certain to be there.
        """
        os.rename(self.path(f"{what}-new"), self.path(what))
        sync_directory(self.folder)

    def replace(self, what: str, octets: bytes) -> None:
        """Write a file anew, all or nothing, durably.

        Raises:
            OSError: it is not certain to be there; what was there before is whole.
        """
        descriptor = self.begin(what)
        try:
            write_all(descriptor, octets, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.publish(what)

    def remove(self, what: str) -> None:
        """Remove a file durably, if there is one.

        Raises:
            OSError: it may still be there.
        """
        if unlink_if_there(self.path(what)):
            sync_directory(self.folder)
