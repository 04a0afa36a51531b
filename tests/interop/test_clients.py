"""Real clients at the real program."""

import poplib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.program import TIMEOUT, Running, maildir, needs, post_office, running
from tests.server.office import Client

MESSAGES = [
    b"Subject: one\n\n.dot\n..\n.\nend\n",
    b"Subject: two\r\n\r\nno end",
    b".first octet\n\nbody\n",
    b"Subject: eight bit\n\n\xe4\xf6\xfc \xff\n",
]
WIRE = [
    b"Subject: one\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n",
    b"Subject: two\r\n\r\nno end\r\n",
    b".first octet\r\n\r\nbody\r\n",
    b"Subject: eight bit\r\n\r\n\xe4\xf6\xfc \xff\r\n",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    configuration = post_office(tmp_path)
    maildir(tmp_path, "bob", *MESSAGES)
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


def test_poplib(server: Running) -> None:
    client = log_in(server.port)
    sizes = [len(octets) for octets in WIRE]
    assert client.stat() == (4, sum(sizes))
    assert client.list()[1] == [b"%d %d" % pair for pair in enumerate(sizes, 1)]
    for number, octets in enumerate(WIRE, 1):
        _, lines, size = client.retr(number)
        assert b"".join(line + b"\r\n" for line in lines) == octets
        assert size == len(octets)
    assert client.top(1, 1)[1] == [b"Subject: one", b"", b".dot"]
    assert {"USER", "TOP", "UIDL", "PIPELINING"} <= set(client.capa())
    ids = client.uidl()[1]
    assert len(set(ids)) == 4
    client.dele(2)
    with pytest.raises(poplib.error_proto, match="marked deleted"):
        client.retr(2)
    client.rset()
    client.noop()
    client.dele(1)
    client.quit()
    again = log_in(server.port)
    assert [line.split()[1] for line in again.uidl()[1]] == [line.split()[1] for line in ids[1:]]
    again.quit()


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


def curl(server: Running, path: str, *options: str, user: str = "bob:secret") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["curl", "-s", "--max-time", "30", "-u", user, *options, f"pop3://127.0.0.1:{server.port}/{path}"],
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )


@needs("curl", "curl")
def test_curl(server: Running) -> None:
    """Field notes 4.4: octets equal, and its exit statuses."""
    for number, octets in enumerate(WIRE, 1):
        done = curl(server, str(number))
        assert (done.returncode, done.stdout) == (0, octets)
    listing = curl(server, "")
    assert listing.stdout == b"".join(b"%d %d\r\n" % (number, len(octets)) for number, octets in enumerate(WIRE, 1))
    assert curl(server, "", "-X", "UIDL").stdout.count(b"\r\n") == 4
    assert curl(server, "", "-X", "TOP 1 0").stdout == b"Subject: one\r\n\r\n"
    assert curl(server, "2", "-l", "-I", "-X", "DELE").returncode == 0
    assert curl(server, "").stdout.count(b"\r\n") == 3
    assert curl(server, "9").returncode == 8  # weird server reply: no such message
    assert curl(server, "", user="bob:wrong").returncode == 67  # login denied


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
