"""``restante demo``."""

import contextlib
import os
import poplib
import signal
import smtplib
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, TIMEOUT, free_port, names, refused, restante, running


def try_it(port: int) -> None:
    """The exercise, as Python's own client sees it."""
    client = poplib.POP3("127.0.0.1", port, TIMEOUT)
    with contextlib.closing(client):
        client.user("student")
        client.pass_("hessovs!")
        assert client.stat() == (36, 25746)
        _, listing, _ = client.list()
        assert listing[0] == b"1 376"
        client.quit()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_demo(tmp_path: Path, number: signal.Signals) -> None:
    """Design, sections 2 and 9: it says what to type, it serves, and nothing remains of it."""
    port = free_port()
    with running("demo", "--port", str(port), environment={"TMPDIR": str(tmp_path)}) as demo:
        assert demo.ready() == port
        demo.out.until("Ctrl-C")
        said = "\n".join(demo.out.seen)
        for word in (
            "student",
            "hessovs!",
            "36 messages",
            f"telnet 127.0.0.1 {port}",
            "USER student",
            "RETR 1",
            "openssl s_client",
            f"restante connect pop://student@127.0.0.1:{port}",
        ):
            assert word in said
        assert len(names(tmp_path)) == 1
        try_it(port)
        demo.signal(number)
        assert demo.wait() == 0
        assert "Traceback" not in "\n".join(demo.log.rest())
    assert names(tmp_path) == []


def test_mail_comes_in(tmp_path: Path) -> None:
    """Design, section 2: by SMTP, as one may type it; nothing is relayed (D-022)."""
    port, smtp_port = free_port(), free_port()
    options = ("--port", str(port), "--smtp-port", str(smtp_port))
    with running("demo", *options, environment={"TMPDIR": str(tmp_path)}) as demo:
        demo.out.until("Ctrl-C")
        assert f"telnet 127.0.0.1 {smtp_port}" in "\n".join(demo.out.seen)
        with smtplib.SMTP("127.0.0.1", smtp_port, timeout=TIMEOUT) as sender:
            sender.helo("me")
            for domain in ("profbox.domain.local", "localhost"):
                sender.sendmail("teacher@example.org", f"student@{domain}", "Subject: by hand\n\n.\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                sender.sendmail("teacher@example.org", "student@example.org", "Subject: no\n\n")
        client = poplib.POP3("127.0.0.1", port, TIMEOUT)
        with contextlib.closing(client):
            client.user("student")
            client.pass_("hessovs!")
            assert client.stat()[0] == 38
            assert client.retr(37)[1][-3:] == [b"Subject: by hand", b"", b"."]
            client.quit()


def test_a_session_that_is_open_does_not_hold_it_up(tmp_path: Path) -> None:
    """Ctrl-C while somebody is logged in."""
    port = free_port()
    with running("demo", "--port", str(port), environment={"TMPDIR": str(tmp_path)}) as demo:
        demo.ready()
        client = poplib.POP3("127.0.0.1", port, TIMEOUT)
        with contextlib.closing(client):
            client.user("student")
            client.pass_("hessovs!")
            client.dele(1)
            demo.signal(signal.SIGINT)
            assert demo.wait() == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_ended_before_it_serves(tmp_path: Path, number: signal.Signals) -> None:
    """Told to stop as soon as it says "ready", before anybody has connected."""
    with running("demo", "--port", str(free_port()), environment={"TMPDIR": str(tmp_path)}) as demo:
        demo.ready()
        demo.signal(number)
        assert demo.wait() in (0, 1)
        assert "Traceback" not in "\n".join(demo.log.rest())
    assert names(tmp_path) == []


def test_the_port_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(restante("demo", "--port", str(port), environment={"TMPDIR": str(tmp_path)}))
    assert f"127.0.0.1:{port}" in line
    assert names(tmp_path) == []


def test_no_room_for_the_post_office(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: one line, and nothing remains."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))"
    code = f"import os, resource, sys; {limit}; os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [PROGRAM[0], "-c", code, *PROGRAM, "demo", "--port", str(free_port())],
        # The limit would cut off the files of compiled modules too.
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert names(tmp_path) == []
    refused(done)
