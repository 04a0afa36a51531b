"""The rows of the table: what sessions do, and how much cheaper than for a tuned Dovecot they are to be."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench import maildrops
from bench.load import Checked, Script
from bench.maildrops import Kind
from bench.peers import Peer
from bench.talk import Talk


class Row(NamedTuple):
    """Sessions of one kind."""

    title: str
    unit: str
    kind: Kind
    script: Callable[[Kind, Peer], Script]
    target: float
    """Times cheaper than Dovecot, in CPU of the server for each unit; 0: none was set."""
    units: float = 1
    """In one session."""
    connections: int = 8
    tls: str = ""
    durable: bool = False
    """Mail arrives, so Dovecot flushes it to the disk, as we do."""
    key: str = "ECDSA"
    """Of the certificates."""
    limit: bool = True
    """A server that knows its replies by heart can do it, too."""


def _connect(_kind: Kind, _peer: Peer) -> Script:
    return Script()


def stat(kind: Kind, _peer: Peer) -> Script:
    """Log in and ask STAT."""
    return Script(kind.user).ask("STAT", kind.stat())


def _unique_ids(peer: Peer, kind: Kind) -> Checked:
    """Ask once; they stay the same, and are the same for all maildrops of a kind where the server makes them so."""
    talk = Talk(peer.port, f"{kind.name}0")
    talk.login()
    talk.ask(b"UIDL")
    lines = talk.reply()
    talk.close()
    if len(lines.split(b"\r\n")) != len(kind.sizes) + 1:
        raise RuntimeError(f"{peer.name}: UIDL has {len(lines.split())} words")
    # Dovecot's have a part that is another for each Maildir, as long as the others.
    return Checked(len(lines), 0, lines)


def _uidl(kind: Kind, peer: Peer) -> Script:
    return Script(kind.user).lines(("UIDL", _unique_ids(peer, kind)))


def _full(kind: Kind, peer: Peer) -> Script:
    script = Script(kind.user).ask("STAT", kind.stat())
    script.lines(("UIDL", _unique_ids(peer, kind))).lines(("LIST", kind.scan_listing()))
    return _retr(script, kind)


def _retr(script: Script, kind: Kind, depth: int = 1) -> Script:
    commands = [(f"RETR {number}", kind.retr(number)) for number in range(1, len(kind.sizes) + 1)]
    for start in range(0, len(commands), depth):
        script.lines(*commands[start : start + depth])
    return script


def _lock_step(kind: Kind, _peer: Peer) -> Script:
    return _retr(Script(kind.user), kind)


def _pipelined(kind: Kind, _peer: Peer) -> Script:
    return _retr(Script(kind.user), kind, 16)


def _arrival(kind: Kind, peer: Peer) -> Script:
    """One arrives; the client sees it in the listing, reads it, and deletes it."""
    number = len(kind.sizes) + 1
    script = Script().arrives(f"{peer.mail}/{kind.user}").login(kind.user)
    return script.lines(("UIDL", Checked(0, 0))).lines((f"RETR {number}", Checked(0, 0))).ask(f"DELE {number}")


def _megabytes(kind: Kind) -> float:
    return sum(len(maildrops.wire(message)) for message in kind.messages()) / 1e6


ROWS: Sequence[Row] = (
    Row("connect, greeting, QUIT", "session", maildrops.TEN, _connect, 1.6),
    Row("login, STAT, QUIT on 10 messages", "session", maildrops.TEN, stat, 8),
    Row("login, UIDL, QUIT on 1,000", "session", maildrops.THOUSAND, _uidl, 25),
    Row("login, STAT, QUIT on 50,000", "session", maildrops.HUGE, stat, 300, connections=2),
    Row(
        "one message arrives: UIDL, RETR, DELE, QUIT on 10",
        "session",
        maildrops.TEN,
        _arrival,
        3,
        durable=True,
        limit=False,
    ),
    Row("the same on 50,000", "session", maildrops.HUGE, _arrival, 20, connections=2, durable=True, limit=False),
    Row("session: STAT UIDL LIST, 5 RETR of mixed sizes, QUIT", "session", maildrops.MIXED, _full, 3.8),
    Row("RETR 4 KiB, lock-step", "message", maildrops.SMALL, _lock_step, 1.7, units=100),
    Row("RETR 4 KiB, pipelined 16 deep", "message", maildrops.SMALL, _pipelined, 1.6, units=100),
    Row("RETR 75 KiB, LF files", "MB", maildrops.MEDIUM, _lock_step, 2.4, _megabytes(maildrops.MEDIUM)),
    Row("RETR 5 MiB, LF files", "MB", maildrops.LARGE, _lock_step, 2.8, _megabytes(maildrops.LARGE), 4),
    Row("RETR 75 KiB, wire form", "MB", maildrops.MEDIUM_WIRE, _lock_step, 5, _megabytes(maildrops.MEDIUM_WIRE)),
    Row("RETR 5 MiB, wire form", "MB", maildrops.LARGE_WIRE, _lock_step, 3.5, _megabytes(maildrops.LARGE_WIRE), 4),
    Row("TLS: login, STAT, QUIT on 10", "session", maildrops.TEN, stat, 2, tls="tls", limit=False),
    Row("TLS, resumed: login, STAT, QUIT on 10", "session", maildrops.TEN, stat, 2, tls="resume", limit=False),
    Row(
        "TLS with RSA: login, STAT, QUIT on 10",
        "session",
        maildrops.TEN,
        stat,
        0,
        tls="tls",
        key="RSA",
        limit=False,
    ),
    Row("TLS: full session", "session", maildrops.MIXED, _full, 2.1, tls="tls", limit=False),
    Row(
        "TLS: RETR 75 KiB", "MB", maildrops.MEDIUM, _lock_step, 3.3, _megabytes(maildrops.MEDIUM), 8, "tls", limit=False
    ),
    Row("TLS: RETR 5 MiB", "MB", maildrops.LARGE, _lock_step, 3.8, _megabytes(maildrops.LARGE), 4, "tls", limit=False),
)
