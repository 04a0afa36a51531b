"""A message on its way into a mailbox.  Everything here blocks, and is meant to run in a thread."""

import tempfile
import time

from restante.protocol.framing import LfLines
from restante.stores.files import PIECE
from restante.stores.mbox import appending
from restante.stores.mbox.format import Quoter, from_line, sender_of
from restante.stores.mbox.mailbox import Mailbox

IN_MEMORY = 1 << 18
"""Octets of a message that are held in memory; a longer one is written to a file without a name."""
BEGINNING = 1024
"""Octets in which a Return-Path is looked for."""


class Incoming:
    """A message that is collected, and appended to the mailbox when it is complete.

    The mailbox is locked only for the moment of appending, however slowly a message comes.

    Args:
        mailbox: whose folders exist.

    Raises:
        OSError: there is no place for it.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._lf = LfLines()
        self._quoter = Quoter(mailbox.kind)
        self._beginning = b""
        self._last = b"\n"
        self._octets = 0
        self._spool = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=mailbox.side.folder)  # noqa: SIM115  (see discard)

    def write(self, octets: bytes) -> None:
        """Add octets, with LF line ends on disk.

        Raises:
            OSError: they could not be written.
        """
        self._add(self._quoter.feed(self._lf.feed(octets)))

    def finish(self) -> None:
        """Say that the message is complete.

        Raises:
            OSError: its end could not be written.
        """
        self._add(self._quoter.feed(self._lf.finish()) + self._quoter.finish())
        # mbox cannot tell that a line end is missing; a CR before it is an octet of the message, and stays one.
        self._add(b"" if self._last == b"\n" else b"\r\n" if self._last == b"\r" else b"\n")
        self._spool.flush()

    def append(self) -> None:
        """Append the message to its mailbox; when this returns it survives a power cut.

        Raises:
            Busy: another program has the mailbox; try again.
            OSError: it is not certain to be in the mailbox.
        """
        line = from_line(sender_of(self._beginning), time.time())
        with self._mailbox.locked(create=True) as descriptor:
            assert descriptor is not None
            if self._mailbox.recover(descriptor) is not None:
                self._mailbox.refresh(descriptor)
            self._spool.seek(0)
            message = iter(lambda: self._spool.read(PIECE), b"")
            appending.append(self._mailbox.side, descriptor, line, message, self._octets)

    def discard(self) -> None:
        """Let go of what was collected; may be called again."""
        self._spool.close()

    def _add(self, octets: bytes) -> None:
        if not octets:
            return
        self._spool.write(octets)
        self._octets += len(octets)
        self._last = octets[-1:]
        if len(self._beginning) < BEGINNING:
            self._beginning += octets[:BEGINNING]
