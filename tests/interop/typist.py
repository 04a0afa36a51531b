"""Types at programs that people type at, without waiting by the clock."""

import re
import subprocess
import threading
from pathlib import Path

from tests.interop.program import TIMEOUT


def typed_at(command: list[str | Path], dialogue: list[tuple[bytes, bytes]]) -> bytes:
    """Type lines into a program's standard input, each after the answer to the last, and end it.

    Args:
        command: what to run.
        dialogue: a line to type, with its end, or ``b""``; and a pattern that is found in what the program has printed
            since (CRLF there is LF here) as soon as the answer is complete, ``b""`` for none.

    Returns:
        All that it has printed.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    assert process.stdout is not None
    watch = threading.Timer(TIMEOUT, process.kill)
    watch.start()
    printed = b""
    try:
        for line, end in dialogue:
            process.stdin.write(line)
            answer = b""
            while not re.search(end, answer.replace(b"\r\n", b"\n")):
                piece = process.stdout.read(4096)
                assert piece, printed
                answer += piece
                printed += piece
        return printed
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
