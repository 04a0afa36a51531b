"""A message on its way into a Maildir (M-002).  Everything here blocks, and is meant to run in a thread."""

import contextlib
import os

from restante.protocol.framing import CrlfLines, LfLines
from restante.protocol.surrogate import Surrogate
from restante.stores.files import create, unlink_if_there, write_all
from restante.stores.flushing import Always, Durability
from restante.stores.maildir import names
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.quota import Quota


class Incoming:
    """A file in ``tmp`` that becomes a message when it is committed.

    Args:
        folder: the Maildir, which exists.
        base: a new base name.
        quota: of the maildrop.
        durability: how its octets and its name become durable.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, folder: Folder, base: str, quota: Quota, durability: Durability | None = None) -> None:
        self._folder = folder
        self._base = base
        self._quota = quota
        self._path = folder.join("tmp", base)
        self._lf = LfLines()
        self._crlf = CrlfLines()
        self._surrogate = Surrogate()
        self._stored = 0
        self._wire = 0
        self._ascii_headers = 0
        self._completed = False
        """Nothing more is written."""
        self._unended = b""
        """What its last line lacks."""
        self._name = ""
        """In ``new``; ``""``: it is not prepared."""
        self._committed = False
        self._flushes = (durability or Always()).begin(folder.join("tmp"))
        self._descriptor = -1
        try:
            self._descriptor = create(self._path)
        except OSError:
            self._flushes.end()
            raise

    @property
    def finished(self) -> bool:
        """Say whether nothing of it is left to be let go of."""
        return self._committed and self._descriptor < 0

    @property
    def new(self) -> str:
        """The folder to which it comes."""
        return self._folder.join("new")

    @property
    def shares_flushes(self) -> bool:
        """See `Flushes.shared`."""
        return self._flushes.shared

    @property
    def receipt(self) -> str:
        """Both names: the one in ``tmp`` and the one in ``new``, which begins with it."""
        return self._name

    def write(self, octets: bytes) -> None:
        """Add octets, with LF line ends on disk.

        Raises:
            OSError: they could not be written.
        """
        self._append(self._lf.feed(octets))

    def complete(self) -> None:
        """Write what is left; the disk can begin with it.  May be called again.

        Raises:
            QuotaExceeded: there is no room for it.
            OSError: it could not be written.
        """
        if self._completed:
            return
        self._append(self._lf.finish())
        # RETR completes a last line that lacks its end, and Dovecot counts without that for W=: where it finds another
        # number than ours it takes it out of the name, and the message would have another id.
        self._unended = self._crlf.finish()
        self._measure(self._unended)
        self._ascii_headers += len(self._surrogate.finish())
        self._quota.check(self._stored)  # before it goes to new (M-015)
        self._completed = True

    def start_writing(self) -> None:
        """Let the disk begin with the octets; nobody waits for it."""
        # Advice about pages that are not on the disk yet makes Linux write them, and no other call of `os` does.
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def prepare(self, *, flushed: bool = False) -> None:
        """Do all but the last step: the octets are durable, and there is room; may be called again.

        Args:
            flushed: the octets became durable with those of another delivery.

        Raises:
            QuotaExceeded: there is no room for it.
            OSError: it is not certain to be kept.
        """
        if self._name:
            return
        self.complete()
        if not flushed:
            self._flushes.file(self._descriptor)
        surrogate = self._ascii_headers if self._surrogate.needed else 0
        self._name = f"{self._base},S={self._stored}"
        if not self._unended:
            self._name = names.with_sizes(self._base, names.Sizes(self._stored, self._wire, surrogate))

    def commit(self) -> None:
        """Make the message visible; when this returns it survives a power cut.

        Raises:
            QuotaExceeded: there is no room for it.
            OSError: it is not certain to be in the Maildir.
        """
        self.move()
        self.flush_new()
        self.arrived()

    def move(self) -> None:
        """Make the message visible; it need not survive a power cut yet.

        Raises:
            QuotaExceeded: there is no room for it.
            OSError: it is not in ``new``, or its octets are not certain to be kept.
        """
        self.prepare()
        path = os.path.join(self.new, self._name)
        os.rename(self._path, path)
        self._path = path

    def flush_new(self) -> None:
        """Make the names of all that have been moved durable.

        Raises:
            OSError: they are not certain to be.
        """
        self._flushes.directory(self.new)

    def arrived(self) -> None:
        """It is a message, and durable."""
        self._committed = True
        self._quota.note(self._stored, 1)
        self.discard()

    def discard(self) -> None:
        """Let go of the file; unless it was committed nothing is left of it.  May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._flushes.end()
        if not self._committed:  # also when it stands in new, but not for certain: the sender will try again
            self._committed = True
            unlink_if_there(self._path)

    def _append(self, octets: bytes) -> None:
        self._measure(self._crlf.feed(octets))
        self._stored = write_all(self._descriptor, octets, self._stored)

    def _measure(self, lines: bytes) -> None:
        self._wire += len(lines)
        self._ascii_headers += len(self._surrogate.feed(lines))
