"""The classic exercise of design section 9, typed at the demo with what people type it with."""

import re
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from restante.protocol.framing import wire_octets
from tests.cli.program import free_port
from tests.interop.catalogue import needs_client
from tests.interop.conftest import Tried
from tests.interop.program import TIMEOUT, Running, running
from tests.interop.typist import typed_at
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


def exercise(line_end: bytes) -> list[tuple[bytes, bytes]]:
    """Return the lines to type and what their answers end with."""
    lines = [b"", *(line + line_end for line in EXERCISE)]
    return list(zip(lines, ANSWERS, strict=True))


# What each answer ends with when it is complete.
ANSWERS = [
    rb"commands\n\Z", rb"PASS\n\Z", rb"octets\)\n\Z", rb"25746\n\Z", rb"36 2563\n\.\n\Z", rb"\n\.\n\Z",
    rb"unmarks it\n\Z", rb"octets\)\n\Z", rb"follows\n(.*\n)*\.\n\Z", rb"left\n\Z",
]  # fmt: skip


@needs_client("nc")
@pytest.mark.parametrize(("line_end", "name"), [(b"\n", "LF"), (b"\r\n", "CRLF")])
def test_nc(demo: Running, tried: Tried, line_end: bytes, name: str) -> None:
    """P-306."""
    check(typed_at(["nc", "127.0.0.1", str(demo.port)], exercise(line_end)))
    tried("nc", f"lines end in {name}", did="the exercise of the tutorial, typed")


@needs_client("PuTTY plink")
@pytest.mark.parametrize("mode", ["-raw", "-telnet"])
def test_putty(demo: Running, tried: Tried, mode: str) -> None:
    """P-311: plink is PuTTY without its window; in Telnet mode it begins with option negotiation."""
    check(typed_at(["plink", mode, "-batch", "-P", str(demo.port), "127.0.0.1"], exercise(b"\n")))
    tried("PuTTY plink", f"`{mode}`", did="the exercise of the tutorial, typed")


@needs_client("nc")
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
