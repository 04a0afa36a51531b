"""``restante connect``: in a real pseudo-terminal, and in a pipe."""

import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.client.security import is_loopback
from tests.cli.program import PROGRAM, TIMEOUT, Running, free_port, refused, restante, running
from tests.cli.terminal import terminal
from tests.client.peer import Peer, multi
from tests.interop.test_exercise import EXERCISE, check


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    with running("demo", "--port", str(free_port())) as server:
        server.ready()
        yield server


def piped(url: str, lines: bytes, *options: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, "connect", url, *map(str, options)], input=lines, capture_output=True, timeout=TIMEOUT, check=False
    )


# -- a pipe -----------------------------------------------------------------------------------------


def test_a_script(demo: Running, tmp_path: Path) -> None:
    """Design, section 9: the exercise; standard output has the server's octets and no others."""
    transcript = tmp_path / "said.txt"
    done = piped(f"pop://127.0.0.1:{demo.port}", b"\n".join(EXERCISE) + b"\n", "--transcript", transcript)
    assert done.returncode == 0
    check(done.stdout)
    assert b"\x1b" not in done.stdout
    said = transcript.read_text(encoding="utf-8").split("\n")
    assert "C: PASS *****" in said
    assert "hessovs" not in "".join(said)
    assert said[-2] == "S: +OK 0 messages deleted, 36 left"


def test_stuffing_is_shown_as_it_is() -> None:
    """What was on the wire is what is seen."""
    reply = b"+OK\r\n..x\r\n...\r\ny\r\n.\r\n"
    with Peer({b"RETR": reply}) as peer:
        done = piped(str(peer.url), b"RETR 1\nQUIT\n")
    assert done.stdout == b"+OK ready\r\n" + reply + b"+OK\r\n"


def test_forms_are_known_from_the_command() -> None:
    """K-002: ``LIST 1`` has one line, LIST has many; what else comes is shown before the next line."""
    replies = {b"LIST": multi(b"1 10"), b"LIST 1": b"+OK 1 10\r\n", b"XTND": b"+OK\r\nmore\r\n"}
    with Peer(replies) as peer:
        done = piped(str(peer.url), b"list\nLIST\nLIST 1\nXTND\nNOOP\nQUIT\n")
    unknown = b"-ERR unknown\r\n"
    expected = b"+OK ready\r\n" + unknown + b"+OK\r\n1 10\r\n.\r\n" + b"+OK 1 10\r\n" + b"+OK\r\nmore\r\n"
    assert done.stdout == expected + unknown + b"+OK\r\n"


def test_the_end_of_a_pipe_is_no_quit() -> None:
    """RFC 1939 section 6: so nothing is deleted."""
    with Peer({b"DELE": b"+OK\r\n"}) as peer:
        assert piped(str(peer.url), b"DELE 1\n").returncode == 0
    assert peer.heard == [b"DELE 1"]


def test_a_server_that_leaves() -> None:
    with Peer({b"NOOP": b""}) as peer:
        done = piped(str(peer.url), b"NOOP\nNOOP\n")
    assert done.returncode == 1
    assert b"closed the connection" in done.stderr
    assert done.stderr.count(b"\n") == 2


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [("pop://127.0.0.1:1", 1, "Connection refused"), ("imap://host", 2, "not POP3"), ("host", 2, "pop://host")],
)
def test_no_server(url: str, status: int, words: str) -> None:
    assert words in refused(restante("connect", url), status)


def test_no_password_in_the_clear() -> None:
    """K-014; the address is one of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but tells our address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    if is_loopback(address):
        pytest.skip("this machine has no address but loopback")
    with Peer({b"PASS": b"+OK\r\n"}, address=address) as peer:
        done = piped(f"pop://{address}:{peer.port}", b"PASS secret\nQUIT\n")
        assert b"not sent: the connection is not encrypted" in done.stderr
        assert b"PASS secret" not in peer.heard
        piped(f"pop://{address}:{peer.port}", b"PASS secret\nQUIT\n", "--insecure")
    assert b"PASS secret" in peer.heard


# -- a terminal -------------------------------------------------------------------------------------


def test_the_exercise_in_a_terminal(demo: Running, tmp_path: Path) -> None:
    """Design, section 9: line by line, with completion, history, colours, and a password that nobody sees."""
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    with terminal("connect", f"pop://student@127.0.0.1:{demo.port}", environment=environment) as person:
        person.until(r"commands\n(.|\n)*> USER student")  # the URL says who
        person.type("\r")
        person.until(r"\+OK send PASS\n(.|\n)*> PASS")
        person.type("hessovs!\r")
        person.until(r"\+OK 36 messages(.|\n)*>")
        person.type("sta\t")  # completion
        person.until("STAT")
        person.type("\r")
        person.until(r"\+OK 36 25746(.|\n)*>")
        person.type("LIST\r")
        person.until(r"36 2563\n\.\n(.|\n)*>")
        person.type("RETR 1\r")
        person.until(r"Subject:Welcome\n\nWelcome\n\n\.\n(.|\n)*>")
        person.type("DELE 1\r")
        person.until(r"unmarks it(.|\n)*>")
        person.type("RSET\r")
        person.until(r"octets\)(.|\n)*>")
        person.type("TOP 1 10\r")
        person.until(r"Welcome\n\n\.\n(.|\n)*>")
        person.type("\x1b[A")  # the line before
        person.until(r"TOP 1 10")
        person.type("\x15QUIT\r")
        person.until(r"0 messages deleted, 36 left")
        assert person.end() == 0
        assert "hessovs" not in person.text()
        assert b"\x1b[32m+OK" in person.raw
    remembered = (tmp_path / "restante" / "history").read_text(encoding="utf-8")
    assert "TOP 1 10" in remembered
    assert "PASS" not in remembered


def test_a_password_that_is_asked_for(demo: Running, tmp_path: Path) -> None:
    """PASS alone asks; what a server says cannot command the terminal (P-296)."""
    with terminal("connect", f"pop://127.0.0.1:{demo.port}", environment={"XDG_STATE_HOME": str(tmp_path)}) as person:
        person.until(r">")
        person.type("USER student\r")
        person.until(r"> PASS")
        person.type("\r")
        person.until(r"Password:")
        person.type("hessovs!\r")
        person.until(r"36 messages(.|\n)*>")
        person.type("\x04")  # Ctrl-D: no QUIT
        assert person.end() == 0
        assert "hessovs" not in person.text()
    with (
        Peer(greeting=b"+OK \x1b]0;evil\x07\x1b[2J\r\n") as peer,
        terminal("connect", str(peer.url), environment={"XDG_STATE_HOME": str(tmp_path)}) as person,
    ):
        person.until(r"\+OK \\x1b\]0;evil\\x07\\x1b\[2J(.|\n)*>")
        person.type("QUIT\r")
        assert person.end() == 0


def test_tls_in_words(tmp_path: Path, demo: Running) -> None:
    """RFC 8314: who is there is shown; who cannot be trusted is not spoken to."""
    match = re.search(r":(\d+)", demo.out.until("pop3 on"))  # the second listener
    assert match is not None
    url = f"pops://127.0.0.1:{match[1]}"
    assert "certificate is not good" in refused(restante("connect", url))
    done = piped(url, b"QUIT\n", "--insecure")
    for words in (b"TLSv1.3 with ", b"certificate of CN=localhost", b"SHA-256 ", b"days from now"):
        assert words in done.stderr
    fingerprint = re.search(rb"SHA-256 ([0-9a-f]{64})", done.stderr)
    assert fingerprint is not None
    assert piped(url, b"QUIT\n", "--fingerprint", fingerprint[1].decode()).returncode == 0
    assert b"has the fingerprint" in piped(url, b"QUIT\n", "--fingerprint", "00" * 32).stderr
