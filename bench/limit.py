"""What the machine can do: a server in C that knows its replies by heart."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.load import built
from bench.peers import Peer


@contextmanager
def limit(folder: Path, workers: int, replies: Mapping[str, bytes]) -> Iterator[Peer]:
    """Start it.

    Args:
        folder: for the replies.
        workers: processes.
        replies: by command.
    """
    folder.mkdir(exist_ok=True)
    table = folder / "table"
    with table.open("w", encoding="ascii") as lines:
        for number, (command, reply) in enumerate({"GREETING": b"+OK ready\r\n", **replies}.items()):
            (folder / str(number)).write_bytes(reply)
            lines.write(f"{command}\t{folder}/{number}\n")
    program = [str(built("limit")), str(workers), str(table)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Peer("limit", int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
