"""The classic exercise of design section 9, typed at the demo with what people type it with."""

import re
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from restante.protocol.framing import wire_octets
from tests.cli.program import free_port
from tests.interop.program import TIMEOUT, Running, needs, running
from tests.server.office import Client

README = Path(__file__).parent.parent.parent / "README.md"
SIZES = [376, 360, 393, 340, 353, 362, 362, 380, 406, 362, 403, 2370, 2367, 2369, 313]
LAST_SIZES = [488, 339, 340, 312, 2526, 2563]
EXERCISE = [b"USER student", b"PASS hessovs!", b"STAT", b"LIST", b"RETR 1", b"DELE 1", b"RSET", b"TOP 1 10", b"QUIT"]
FIRST = b"""\
Return-Path: <teacher@example.org>
X-Original-To: student@profbox.domain.local
Delivered-To: student@profbox.domain.local
Received: from unknown (unknown [10.28.1.121])
\tby profbox.domain.local (Postfix) with SMTP id 040D91E6C
\tfor <student@profbox.domain.local>; Wed, 24 Nov 2021 17:57:09 +0100 (CET)
From:teacher@example.org
To:student
Subject:Welcome

Welcome

""".replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    with running("demo", "--port", str(free_port())) as server:
        yield server


def check(replies: bytes) -> None:
    """What the exercise gives, whatever it was typed with."""
    lines = replies.replace(b"\r\n", b"\n").decode("ascii").split("\n")
    assert lines.count("+OK 36 25746") == 1
    assert lines.count("+OK 376 octets") == 1
    listing = [int(line.split()[1]) for line in lines if re.fullmatch(r"\d+ \d+", line)]
    assert listing[:15] == SIZES
    assert listing[30:] == LAST_SIZES
    assert sum(listing) == 25746
    assert len(listing) == 36
    assert not any(line.startswith("-ERR") for line in lines)
    assert replies.replace(b"\r\n", b"\n").count(FIRST.replace(b"\r\n", b"\n")) == 2  # RETR 1 and TOP 1 10
    assert lines[-2] == "+OK 0 messages deleted, 36 left"


def typed_at(command: list[str], line_end: bytes) -> bytes:
    """Type the exercise into a program's standard input, a line at a time, each after the answer to the last."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    assert process.stdout is not None
    replies = b""
    try:
        for line, end in zip([b"", *EXERCISE], ANSWERS, strict=True):
            if line:
                process.stdin.write(line + line_end)
            while not re.search(end, replies.replace(b"\r\n", b"\n")):
                piece = process.stdout.read(4096)
                assert piece, replies
                replies += piece
        return replies
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


# What the replies so far end with when the answer to each line is complete.
ANSWERS = [
    rb"commands\n\Z", rb"PASS\n\Z", rb"octets\)\n\Z", rb"25746\n\Z", rb"36 2563\n\.\n\Z", rb"\n\.\n\Z",
    rb"unmarks it\n\Z", rb"octets\)\n\Z", rb"follows\n(.*\n)*\.\n\Z", rb"left\n\Z",
]  # fmt: skip


@needs("nc", "netcat-openbsd")
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_nc(demo: Running, line_end: bytes) -> None:
    """P-306."""
    check(typed_at(["nc", "127.0.0.1", str(demo.port)], line_end))


@needs("plink", "putty-tools")
@pytest.mark.parametrize("mode", ["-raw", "-telnet"])
def test_putty(demo: Running, mode: str) -> None:
    """P-311: plink is PuTTY without its window; in Telnet mode it begins with option negotiation."""
    check(typed_at(["plink", mode, "-batch", "-P", str(demo.port), "127.0.0.1"], b"\n"))


@needs("nc", "netcat-openbsd")
def test_all_at_once(demo: Running) -> None:
    """P-021: ``printf … | nc -N``, which ends its side at once."""
    done = subprocess.run(
        ["nc", "-N", "127.0.0.1", str(demo.port)],
        input=b"\n".join(EXERCISE) + b"\n",
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
    )
    check(done.stdout)


def test_after_the_exercise_all_messages_are_still_there(demo: Running) -> None:
    with Client(("127.0.0.1", demo.port)) as client:
        client.line()
        client.ask(b"USER student")
        assert client.ask(b"PASS hessovs!") == b"+OK 36 messages (25746 octets)\r\n"
        client.ask(b"DELE 36")  # and a window that is closed deletes nothing
    with Client(("127.0.0.1", demo.port)) as client:
        client.line()
        client.ask(b"USER student")
        assert client.ask(b"PASS hessovs!") == b"+OK 36 messages (25746 octets)\r\n"


def test_the_welcome_maildrop() -> None:
    """Design 9: the sizes are an interface; the first message is given word for word."""
    lessons = sorted((resources.files("restante") / "welcome").iterdir(), key=lambda lesson: lesson.name)
    sizes = [wire_octets([lesson.read_bytes()]) for lesson in lessons]
    assert len(sizes) == 36
    assert sizes[:15] == SIZES
    assert sizes[30:] == LAST_SIZES
    assert sum(sizes) == 25746
    assert lessons[0].read_bytes() == FIRST.replace(b"\r\n", b"\n")


def transcript() -> list[tuple[str, str]]:
    """The lines of the README's exercise: "C" typed, "S" said, "" for what is left out."""
    text = README.read_text(encoding="utf-8").partition("```transcript\n")[2].partition("```")[0]
    lines = []
    for line in text.splitlines():
        match = re.fullmatch(r"([CS]): ?(.*)|   \((.*)\)", line)
        assert match is not None, line
        lines.append((match[1] or "", match[2] or ""))
    assert len(lines) > 30
    return lines


def test_the_transcript_in_the_readme(demo: Running) -> None:
    """P-312: every line of it is what the server says."""
    with Client(("127.0.0.1", demo.port)) as client:
        skipping = False
        for who, text in transcript():
            if who == "C":
                assert not skipping
                client.send(text.encode() + b"\r\n")
            elif who == "":
                skipping = True
            else:
                line = client.line().decode().removesuffix("\r\n")
                while skipping and line != text:
                    assert line != "."
                    line = client.line().decode().removesuffix("\r\n")
                assert line == text
                skipping = False
        assert client.rest() == b""
