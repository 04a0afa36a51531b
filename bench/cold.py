"""Mail that is on the disk only: many sessions read theirs at once."""

import os
from contextlib import suppress
from pathlib import Path

from bench import maildrops
from bench.load import Load, Script
from bench.outcome import Outcome
from bench.pair import running, sides
from bench.peers import Peer

KIND = maildrops.COLD
FROM_DISK = 0.95
"""The part of the mail that the server must have read from the disk itself, at least."""


def measure(folder: Path, rounds: int) -> Outcome:
    """Return the milliseconds for each megabyte, all sessions together."""
    pair = sides(folder, KIND)
    script = Script(KIND.user)
    for number in range(1, len(KIND.sizes) + 1):
        script.lines((f"RETR {number}", KIND.retr(number)))
    load = Load(script, KIND.users, KIND.users)
    megabytes = KIND.users * sum(len(maildrops.wire(message)) for message in KIND.messages()) / 1e6
    found: list[list[float]] = [[] for _ in pair]
    with running(pair) as peers:
        for peer in peers:
            load.run(peer.port)  # it makes its index
        for _ in range(rounds):
            for peer, figures in zip(peers, found, strict=True):
                figures.append(_cold_run(peer, load) * 1e3 / megabytes)
    return Outcome(found)


def _cold_run(peer: Peer, load: Load) -> float:
    """Return the seconds it takes."""
    octets = _drop(peer.mail)
    before = _read_from_disk(peer)
    seconds = load.run(peer.port).seconds
    if (read := _read_from_disk(peer) - before) < FROM_DISK * octets:
        raise RuntimeError(
            f"{peer.name} has read {read:,} of {octets:,} octets from the disk: the page cache was not cold; "
            f"is {peer.mail} on a disk?  TMPDIR says where it goes"
        )
    return seconds


def _drop(mail: Path) -> int:
    """Drop the pages of all messages from the cache; returns the octets of the messages."""
    octets = 0
    for path in mail.glob("*/cur/*"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        octets += os.fstat(file).st_size
        os.close(file)
    return octets


def _read_from_disk(peer: Peer) -> int:
    """Return the octets that the process tree has had read from the disk, children that have ended included."""
    octets = 0
    for process in peer.tree():
        with suppress(OSError):
            lines = Path(f"/proc/{process}/io").read_text(encoding="ascii").splitlines()
            octets += sum(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))
    return octets
