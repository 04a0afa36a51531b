"""``restante ls``, ``read`` and ``rm``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.cli.ls import row
from restante.cli.read import rendered
from tests.cli.program import Result, Running, done, free_port, refused, restante, running
from tests.cli.terminal import terminal
from tests.client.peer import Peer, multi


@pytest.fixture
def demo() -> Iterator[Running]:
    with running("demo", "--port", str(free_port())) as server:
        server.ready()
        yield server


def look(command: str, port: int, *arguments: str, password: str = "hessovs!") -> Result:
    url = f"pop://student@127.0.0.1:{port}"
    return restante(command, url, "--password-stdin", *arguments, stdin=f"{password}\n")


def test_ls(demo: Running) -> None:
    lines = done(look("ls", demo.port)).split("\n")
    assert lines[0].split() == ["number", "octets", "date", "from", "subject"]
    assert lines[1].split() == ["1", "376", "teacher@example.org", "Welcome"]
    assert lines[2].split()[1:3] == ["360", "2021-11-24"]
    assert lines[-2] == "36 messages, 25746 octets"
    assert len(lines) == 39


def test_read(demo: Running) -> None:
    assert done(look("read", demo.port, "1")) == (
        "From: teacher@example.org\nTo: student\nSubject: Welcome\n\nWelcome\n\n"
    )
    raw = done(look("read", demo.port, "1", "--raw"))
    assert raw.startswith("Return-Path: <teacher@example.org>\n")  # text mode has made CRLF LF
    refused(look("read", demo.port, "99"))


def test_rm(demo: Running) -> None:
    """K-006: by QUIT, and only those that were named."""
    assert "nobody to ask" in refused(look("rm", demo.port, "3"), 2)
    assert "there is no message 77; nothing is deleted" in refused(look("rm", demo.port, "3", "77", "--yes"))
    assert done(look("rm", demo.port, "3", "4", "--yes")).split("\n")[-2] == "2 deleted"
    assert "34 messages" in done(look("ls", demo.port))


def test_rm_asks(demo: Running) -> None:
    url = f"pop://student@127.0.0.1:{demo.port}"
    for answer, left in (("n", "36 messages"), ("y", "35 messages")):
        with terminal("rm", url, "5") as person:
            person.until("Password of .*: ")
            person.type("hessovs!\r")
            assert "RETR" in person.until(r"Delete this\? \[y/N\]: ")
            person.type(f"{answer}\r")
            assert person.end() == (0 if answer == "y" else 1)
        assert left in done(look("ls", demo.port))


@pytest.mark.parametrize("quit_reply", [b"-ERR [SYS/TEMP] some deleted messages not removed\r\n", b""])
def test_rm_believes_only_quit(quit_reply: bytes) -> None:
    """K-006: without a positive reply nothing counts as deleted."""
    replies = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n", b"LIST": multi(b"1 10"), b"DELE": b"+OK\r\n"}
    with Peer(replies | {b"QUIT": quit_reply}) as peer:
        result = look("rm", peer.port, "1", "--yes")
    assert result.returncode == 1
    assert "deleted\n" not in result.stdout
    assert result.stderr.count("\n") == 1


def test_wrong_ones(demo: Running, tmp_path: Path) -> None:
    assert "wrong user name or password" in refused(look("ls", demo.port, password="x"))
    assert "say who logs in" in refused(restante("ls", "pop://127.0.0.1", stdin="x\n"), 2)
    assert "no terminal" in refused(restante("ls", "pop://bob@127.0.0.1"))
    assert "Connection refused" in refused(look("ls", 1))


# -- odd messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "date", "sender", "subject"),
    [
        (
            b"From: =?utf-8?q?J=C3=B6rg?= <j@x>\r\nSubject: =?iso-8859-1?q?gr=FC=DFe?=\r\n\r\n",
            "",
            "J\u00f6rg",
            "gr\u00fc\u00dfe",
        ),
        ("Subject: gr\u00fc\u00dfe\r\n\r\n".encode(), "", "", "gr\u00fc\u00dfe"),
        (b"Subject: a\x1b[2Jb\r\n\tc\r\nDate: never\r\n\r\n", "", "", "a\\x1b[2Jb c"),
        (b"Subject: =?nonsense?q?x?=\r\nDate: Mon, 99 Foo 9999\r\n\r\n", "", "", "=?nonsense?q?x?="),
        (b"\xff\xfe", "", "", ""),
        (b"", "", "", ""),
    ],
)
def test_rows(header: bytes, date: str, sender: str, subject: str) -> None:
    """Whatever a header is, it is one line, and it commands no terminal."""
    found = row(1, 10, header)
    assert (found.date, found.sender, found.subject) == (date, sender, subject)


def test_rendering() -> None:
    """RFC 2045: the text of a message, decoded; of HTML what is left without tags; attachments by name."""
    message = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"<style>p {}</style><p>gr=C3=BC=C3=9Fe &amp; <b>more</b></p><script>evil()</script>\x1b[2J\r\n--b\r\n"
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n"
    )
    text = "\n".join(rendered(message))
    assert "gr\u00fc\u00dfe & more" in text
    assert "evil" not in text
    assert "\x1b" not in text
    assert "[a.pdf, application/pdf, 3 octets]" in text


@pytest.mark.parametrize(
    "message",
    [b"", b"\r\n", b"\xff", b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xffx", b"Date: \xff\r\n\r\n"],
)
def test_rendering_what_is_no_message(message: bytes) -> None:
    assert all("\n" not in line for line in rendered(message))
