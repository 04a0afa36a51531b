"""The log on standard error."""

import logging
import os
import re
from pathlib import Path

import pytest

from restante.cli.options import LOG_FORMAT, WhenThereIsRoom, _Batches


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("restante.test", logging.INFO, __file__, 1, text, None, None)


def read_all(descriptor: int) -> str:
    with os.fdopen(descriptor, encoding="utf-8") as stream:
        return stream.read()


def test_lines_come_out_in_their_order(pipe: tuple[int, int]) -> None:
    """Written in batches, none lost; what cannot be encoded is escaped."""
    handler = _Batches(pipe[1])
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    for number in range(500):
        handler.handle(record(f"line {number} \udcff"))
    handler.close()
    os.close(pipe[1])
    lines = read_all(pipe[0]).splitlines()
    assert [re.sub(r".*INFO restante.test: ", "", line) for line in lines] == [
        f"line {number} \\udcff" for number in range(500)
    ]


def test_nobody_reads(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the program nor its end waits for ever, and memory is bounded; later it is told what was dropped."""
    monkeypatch.setattr(_Batches, "PATIENCE", 0.01)
    monkeypatch.setattr(_Batches, "ROOM", 100)
    monkeypatch.setattr(_Batches, "PERIOD", 0)
    handler = _Batches(pipe[1])
    handler.handle(record("x" * 1_000_000))  # more than a pipe holds: the thread hangs in it
    assert os.read(pipe[0], 1) == b"x"
    for _ in range(300):
        handler.handle(record("y"))
    assert len(handler._lines) == 100
    handler.close()
    read = b""
    while not re.search(rb"\n200 lines of the log were dropped: nobody read them\n\Z", read):
        read += os.read(pipe[0], 65536)
    assert read.count(b"y\n") == 100
    for descriptor in pipe:
        os.close(descriptor)


def test_nowhere_to_write(tmp_path: Path) -> None:
    """A full disk behind standard error stops nothing."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    handler = _Batches(descriptor)
    handler.handle(record("x"))
    handler.close()
    assert not handler._thread.is_alive()
    os.close(descriptor)


def test_a_process_without_threads_waits_for_nobody(pipe: tuple[int, int]) -> None:
    """The parent of the workers: what finds no room is dropped, and signals are still heeded."""
    handler = WhenThereIsRoom(pipe[1])
    handler.handle(record("first"))
    for _ in range(1000):
        handler.handle(record("x" * 10_000))
    os.close(pipe[1])
    lines = read_all(pipe[0]).splitlines()
    assert lines[0] == "first"
    assert 5 < len(lines) < 1000
