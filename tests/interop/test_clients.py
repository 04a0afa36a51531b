"""Clients that come at the same time, that are killed, that are slow."""

import poplib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.program import TIMEOUT, Running, maildir, post_office, running
from tests.server.office import Client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    configuration = post_office(tmp_path)
    maildir(tmp_path, "bob", *[b"Subject: %d\n\nbody\n" % number for number in range(1, 5)])
    with running("serve", "-c", str(configuration)) as server:
        yield server


def log_in(port: int, password: str = "secret") -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", port, timeout=TIMEOUT)
    try:
        client.user("bob")
        client.pass_(password)
    except poplib.error_proto:
        client.close()
        raise
    return client


def test_a_second_session_is_refused_and_let_in_when_the_first_ends(server: Running) -> None:
    """P-041, P-042."""
    first = log_in(server.port)
    for _ in range(3):
        with pytest.raises(poplib.error_proto, match=r"-ERR \[IN-USE\]"):
            log_in(server.port)
    first.quit()
    second = log_in(server.port)
    assert second.stat()[0] == 4
    second.close()  # without QUIT
    log_in_soon(server.port).quit()


def log_in_soon(port: int) -> poplib.POP3:
    """Log in as soon as the server has noticed that another client is gone: its system tells it at once."""
    for _ in range(1000):
        try:
            return log_in(port)
        except poplib.error_proto as error:
            if b"[IN-USE]" not in error.args[0]:
                raise
    pytest.fail("the lock outlives its session")


def test_a_client_that_is_killed_leaves_no_lock(server: Running) -> None:
    """P-042: SIGKILL."""
    script = (
        "import poplib, sys; c = poplib.POP3('127.0.0.1', int(sys.argv[1])); c.user('bob'); c.pass_('secret');"
        "c.dele(1); print('in', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"in\n"
    with pytest.raises(poplib.error_proto, match=r"-ERR \[IN-USE\]"):
        log_in(server.port)
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT)
    client = log_in_soon(server.port)
    assert client.stat()[0] == 4  # P-133
    client.quit()
    process.stdin.close()
    process.stdout.close()


def test_one_gibibyte_to_a_slow_reader(tmp_path: Path) -> None:
    """P-093: costs the server less than 20 MiB."""
    configuration = post_office(tmp_path)
    size = 2**30
    with (maildir(tmp_path, "bob") / "cur" / "1700000000.M1P1.host:2,").open("wb") as file:
        for _ in range(size // 2**20):
            file.write((b"x" * 1023 + b"\n") * 1024)
    wire = size + size // 1024
    with running("serve", "-c", str(configuration)) as server:
        with Client(("127.0.0.1", server.port), receive_buffer=65536) as client:
            client.login(b"alice")
        before = server.memory("VmRSS")
        with Client(("127.0.0.1", server.port), receive_buffer=65536) as client:
            assert client.login() == b"+OK 1 messages (%d octets)\r\n" % wire
            assert client.ask(b"RETR 1") == b"+OK %d octets\r\n" % wire
            buffer = bytearray(2**20)
            received = client.file.readinto(buffer)
            with Client(("127.0.0.1", server.port)) as other:  # the server has sent what it can, and serves others
                assert other.login(b"alice") == b"+OK 0 messages (0 octets)\r\n"
            while received < wire:
                read = client.file.readinto(buffer)
                assert read
                received += read
        assert server.memory("VmHWM") - before < 20 * 2**20
