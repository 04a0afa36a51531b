"""The mail that is served: the same for each server, as agents deliver it that know nothing of sizes in names."""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench.load import Checked

OWNER = 65534
"""User and group of the mail, where the benchmark runs as root: Dovecot serves none of root's."""
_LINE = b"%07d " + b"x" * 63 + b"\n"
_HEADER = b"From: a@example.org\nTo: b@example.org\nSubject: message %d\nMessage-ID: <%d@example.org>\n\n"


class Kind(NamedTuple):
    """Maildrops of one kind."""

    name: str
    users: int
    sizes: tuple[int, ...]
    """Of their messages, about, in octets."""
    wire_form: bool = False
    """Lines end in CRLF on the disk, too."""
    alike: bool = False
    """All messages are the same, and share a file as far as the file system lets them."""

    @property
    def user(self) -> str:
        """Of a script."""
        return f"{self.name}%u"

    def messages(self) -> list[bytes]:
        """Return the messages as they are stored."""
        if self.alike:
            return _messages(self.sizes[:1], self.wire_form) * len(self.sizes)
        return _messages(self.sizes, self.wire_form)

    def retr(self, number: int) -> Checked:
        """Return what answers RETR."""
        return _checked(wire(self.messages()[number - 1]))

    def stat(self) -> str:
        """Return what answers STAT."""
        octets = {message: len(crlf(message)) for message in set(self.messages())}
        return f"+OK {len(self.sizes)} {sum(octets[message] for message in self.messages())}"

    def scan_listing(self) -> Checked:
        """Return what answers LIST."""
        lines = (b"%d %d\r\n" % (number, len(crlf(one))) for number, one in enumerate(self.messages(), 1))
        return _checked(b"".join(lines))

    def fill(self, folder: Path) -> None:
        """Make them in a folder."""
        names = [f"{1_700_000_000 + number}.M{number}P1.host:2,S" for number in range(1, len(self.sizes) + 1)]
        messages = self.messages()
        owned = os.geteuid() == 0
        for user in range(self.users):
            maildir = folder / f"{self.name}{user}"
            for part in ("", "tmp", "new", "cur"):
                (maildir / part).mkdir(parents=True, exist_ok=True)
                if owned:
                    os.chown(maildir / part, OWNER, OWNER)
            cur = str(maildir / "cur")
            source = ""
            for name, message in zip(names, messages, strict=True):
                if not source or not _linked(source, f"{cur}/{name}"):
                    _write(f"{cur}/{name}", message, owned=owned)
                    source = f"{cur}/{name}" if self.alike else ""


TEN = Kind("ten", 8, (4096,) * 10)
THOUSAND = Kind("thousand", 8, (2048,) * 1000)
HUGE = Kind("huge", 2, (600,) * 50_000)
MIXED = Kind("mixed", 8, (2_000, 5_000, 10_000, 30_000, 60_000))
SMALL = Kind("small", 8, (4096,) * 100)
MEDIUM = Kind("medium", 8, (75 * 1024,) * 10)
LARGE = Kind("large", 4, (5 << 20,) * 2)
MEDIUM_WIRE = Kind("mediumwire", 8, (75 * 1024,) * 10, wire_form=True)
LARGE_WIRE = Kind("largewire", 4, (5 << 20,) * 2, wire_form=True)
IDLE = Kind("idle", 10_000, (600,))
HASHED = Kind("hashed", 100, (600,))
COLD = Kind("cold", 32, (75 * 1024,) * 20)


def of(count: int) -> Kind:
    """Return a maildrop of so many small messages, which is quickly made."""
    return Kind(f"of{count}u", 1, (600,) * count, alike=True)


def _write(path: str, message: bytes, *, owned: bool) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, message)
    if owned:
        os.fchown(file, OWNER, OWNER)
    os.close(file)


def _linked(source: str, path: str) -> bool:
    """Give a file one more name; false where it has as many as the file system lets it."""
    try:
        os.link(source, path)
    except OSError:
        return False
    return True


@cache
def _messages(sizes: tuple[int, ...], wire_form: bool) -> list[bytes]:
    made = []
    for number, size in enumerate(sizes, 1):
        lines = b"".join(_LINE % line for line in range(max(1, size // 72)))
        # A dot at the beginning of a line now and then, as in real mail.
        message = (_HEADER % (number, number)) + (lines if wire_form else lines + b".sig\n")
        made.append(message.replace(b"\n", b"\r\n") if wire_form else message)
    return made


def crlf(message: bytes) -> bytes:
    """Return a message with the line ends of the wire."""
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def wire(message: bytes) -> bytes:
    """Return a message as RETR sends it."""
    return crlf(message).replace(b"\r\n.", b"\r\n..")


@cache
def _checked(lines: bytes) -> Checked:
    return Checked.of(lines)
