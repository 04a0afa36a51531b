"""``restante serve``: one process, several, and what happens to them."""

import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from restante.server.supervisor import MAX_FAILED_STARTS
from tests.certificates import certificate
from tests.cli.program import (
    TIMEOUT,
    Client,
    Running,
    done,
    free_port,
    greeted,
    names,
    post_office,
    refused,
    refuses,
    restante,
    running,
)
from tests.server.tls import HOST, client_context

workers = pytest.mark.parametrize("workers", [1, 2])
DIED = "the next one starts"
"""In every line of the log about a worker that died."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to find the workers in")


def all_workers(server: Running, count: int, without: frozenset[int] = frozenset()) -> set[int]:
    """Wait until the server has `count` workers, none of them in `without`."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        found = server.workers()
        if len(found) == count and not found & without:
            return found
        assert time.monotonic() < deadline, found
        server.pause()


def kill(process: int) -> None:
    """Kill a process and wait until it is dead."""
    descriptor = os.pidfd_open(process)
    try:
        os.kill(process, signal.SIGKILL)
        assert select.select([descriptor], [], [], TIMEOUT)[0]
    finally:
        os.close(descriptor)


def add_listener(path: Path, address: str) -> None:
    with path.open("a", encoding="ascii") as file:
        file.write(f'[[listener]]\nprotocol = "pop3"\naddress = "{address}"\n')


# -- start ------------------------------------------------------------------------------------------


@workers
def test_a_line_for_each_listener_then_service_then_a_clean_end(tmp_path: Path, workers: int) -> None:
    """Design, section 2: a line per listener when ready; SIGTERM ends it with status 0."""
    path = post_office(tmp_path, workers)
    add_listener(path, "127.0.0.1:0")
    with running("serve", "-c", path) as server:
        ports = {server.ready(), server.ready()}
        assert len(ports) == 2
        for port in ports:
            with greeted(port) as client:
                assert client.login(b"bob", b"b").startswith(b"+OK")
                assert client.ask(b"QUIT").startswith(b"+OK")
                assert client.line() == b""
        log = server.stop()
        assert server.out.rest() == []
        assert all(refuses(port) for port in ports)
    assert not any(word in "\n".join(log) for word in ("Traceback", "ERROR", "WARNING"))


@workers
def test_the_default_file_is_that_of_the_current_folder(tmp_path: Path, workers: int) -> None:
    """Relative paths are relative to the file, also a UNIX socket's, and a stale socket is no obstacle."""
    path = post_office(tmp_path, workers, address="unix:pop3.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "pop3.sock"))
    with running("serve", cwd=path.parent) as server:
        assert (server.out.next() or "").endswith("pop3.sock ready")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(str(tmp_path / "pop3.sock"))
            assert client.recv(512).startswith(b"+OK ")
        server.stop()


@workers
def test_the_address_is_in_use(tmp_path: Path, workers: int) -> None:
    """By another program: one line that names the address."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        line = refused(restante("serve", "-c", post_office(tmp_path, workers, address)))
    assert line == f"restante: cannot listen on {address}: Address already in use"


@pytest.mark.parametrize(("running_workers", "workers"), [(1, 2), (2, 1), (2, 2)])
def test_the_address_is_in_use_by_a_server_of_the_same_kind(tmp_path: Path, workers: int, running_workers: int) -> None:
    """A second server never slips in beside a running one, whose workers share the address by SO_REUSEPORT."""
    with running("serve", "-c", post_office(tmp_path / "first", running_workers)) as server:
        address = f"127.0.0.1:{server.ready()}"
        with greeted(server.port):
            line = refused(restante("serve", "-c", post_office(tmp_path / "second", workers, address)))
        assert line == f"restante: cannot listen on {address}: Address already in use"
        with greeted(server.port):
            pass


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    """One line; the listeners before it are not left open, nor announced."""
    path = post_office(tmp_path)
    add_listener(path, "192.0.2.1:0")
    assert "cannot listen on 192.0.2.1:0: " in refused(restante("serve", "-c", path))


def test_a_socket_in_the_place_of_something_else(tmp_path: Path) -> None:
    """A file that is no socket is never removed."""
    path = post_office(tmp_path, address="unix:users")
    assert "cannot listen on unix:" in refused(restante("serve", "-c", path))
    assert (tmp_path / "users").read_bytes() == b"bob:{PLAIN}b\n"


@workers
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_told_to_stop_as_soon_as_it_is_ready(tmp_path: Path, workers: int, number: signal.Signals) -> None:
    """Whoever reads "ready" may send a signal."""
    with running("serve", "-c", post_office(tmp_path, workers)) as server:
        server.ready()
        server.signal(number)
        assert server.wait() == 0
        assert "Traceback" not in "\n".join(server.log.rest())


@workers
def test_told_to_reload_as_soon_as_it_is_ready(tmp_path: Path, workers: int) -> None:
    """Whoever reads "ready" may send a signal; nobody dies of this one."""
    with running("serve", "-c", post_office(tmp_path, workers)) as server:
        server.ready()
        server.signal(signal.SIGHUP)
        with greeted(server.port):
            pass
        assert not any(DIED in line for line in server.stop())


# -- stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGINT)], ids=["1", "2", "2, Ctrl-C"]
)
def test_stop_drops_sessions_without_update(tmp_path: Path, workers: int, number: signal.Signals) -> None:
    """P-294, P-016: after the grace (none here) sessions end without a word, and without what they marked."""
    path = post_office(tmp_path, workers)
    new = tmp_path / "mail" / "bob" / "new"
    new.mkdir(parents=True)
    (new / "1.a.host").write_bytes(b"Subject: x\n\nbody\n")
    with running("serve", "-c", path) as server:
        with greeted(server.ready()) as client, greeted(server.port) as stranger:
            assert client.login(b"bob", b"b").startswith(b"+OK")
            assert client.ask(b"DELE 1").startswith(b"+OK")
            server.signal(number)
            assert client.line() == b""
            assert stranger.line() == b""
        assert server.wait() == 0
        assert refuses(server.port)
        assert "Traceback" not in "\n".join(server.log.rest())
    assert names(new) == ["1.a.host"]


@workers
def test_stop_lets_a_session_end_by_itself(tmp_path: Path, workers: int) -> None:
    """P-294: nobody new is let in, but who is there may finish; deletions happen at QUIT."""
    path = post_office(tmp_path, workers)
    path.write_text(path.read_text(encoding="ascii").replace("stop_grace = 0", "stop_grace = 60"), encoding="ascii")
    new = tmp_path / "mail" / "bob" / "new"
    new.mkdir(parents=True)
    (new / "1.a.host").write_bytes(b"Subject: x\n\nbody\n")
    with running("serve", "-c", path) as server:
        with greeted(server.ready()) as client:
            assert client.login(b"bob", b"b").startswith(b"+OK")
            server.signal(signal.SIGTERM)
            assert client.ask(b"DELE 1").startswith(b"+OK")
            assert client.ask(b"QUIT").startswith(b"+OK")
            assert client.line() == b""
        assert server.wait() == 0
    assert names(new) == []


@workers
def test_a_second_signal_ends_the_grace(tmp_path: Path, workers: int) -> None:
    """An impatient person presses Ctrl-C again."""
    path = post_office(tmp_path, workers)
    path.write_text(path.read_text(encoding="ascii").replace("stop_grace = 0", "stop_grace = 3600"), encoding="ascii")
    with running("serve", "-c", path) as server:
        with greeted(server.ready()) as client:
            assert client.ask(b"CAPA").startswith(b"+OK")
            client.socket.settimeout(0.1)
            deadline = time.monotonic() + TIMEOUT
            while not ended(client):
                assert time.monotonic() < deadline
                server.signal(signal.SIGTERM)
        assert server.wait() == 0


def ended(client: Client) -> bool:
    """Say whether the end of file arrives within the timeout of the socket."""
    try:
        return client.socket.recv(4096) == b""
    except TimeoutError:
        return False


@workers
def test_nobody_is_let_in_during_the_grace(tmp_path: Path, workers: int) -> None:
    """P-294: who connects then is refused at once, rather than left without a greeting until the server has gone."""
    path = post_office(tmp_path, workers)
    path.write_text(path.read_text(encoding="ascii").replace("stop_grace = 0", "stop_grace = 60"), encoding="ascii")
    with running("serve", "-c", path) as server:
        with greeted(server.ready()) as client:
            server.signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while not refuses(server.port):
                assert time.monotonic() < deadline
                server.pause()
            assert client.ask(b"QUIT").startswith(b"+OK")
        assert server.wait() == 0


# -- reload -----------------------------------------------------------------------------------------


@workers
def test_a_new_account_needs_no_signal_and_survives_one(tmp_path: Path, workers: int) -> None:
    """The users file is read when it changes; SIGHUP does no harm to sessions that are open."""
    path = post_office(tmp_path, workers)
    with running("serve", "-c", path) as server:
        with greeted(server.ready()) as old:
            assert old.login(b"bob", b"b").startswith(b"+OK")
            done(restante("user", "add", "alice", "--password-stdin", "-c", path, stdin="wonder land 7\n"))
            with greeted(server.port) as client:
                assert client.login(b"alice", b"wonder land 7").startswith(b"+OK")
                assert client.ask(b"QUIT").startswith(b"+OK")
            server.signal(signal.SIGHUP)
            server.log.until("configuration reloaded")
            with greeted(server.port) as client:
                assert client.login(b"alice", b"wonder land 7").startswith(b"+OK")
            assert old.ask(b"STAT") == b"+OK 0 0\r\n"
            with greeted(server.port) as client:
                assert client.login(b"bob", b"b").startswith(b"-ERR [IN-USE]")
        server.stop()


def greeting(port: int) -> bytes:
    with Client(port) as client:
        return client.line()


@workers
def test_a_changed_configuration_counts_for_sessions_that_begin_later(tmp_path: Path, workers: int) -> None:
    """SIGHUP: another users file and another name in the greeting."""
    path = post_office(tmp_path, workers, hostname="before.example.org")
    with running("serve", "-c", path) as server:
        server.ready()
        with ExitStack() as stack:
            for _ in range(8 * workers):  # so many that every worker has greeted somebody
                stack.enter_context(greeted(server.port))
            old = stack.enter_context(greeted(server.port))
            text = post_office(tmp_path, workers, hostname="after.example.org").read_text(encoding="ascii")
            path.write_text(text.replace('"users"', '"others"'), encoding="ascii")
            (tmp_path / "others").write_text("carol:{PLAIN}c\n", encoding="ascii")
            assert b"before.example.org" in greeting(server.port)
            server.signal(signal.SIGHUP)
            deadline = time.monotonic() + TIMEOUT
            in_a_row = 0
            while in_a_row < 16 * workers:
                in_a_row = in_a_row + 1 if b"after.example.org" in greeting(server.port) else 0
                assert time.monotonic() < deadline
            with greeted(server.port) as client:
                assert client.login(b"carol", b"c").startswith(b"+OK")
            with greeted(server.port) as client:
                assert client.login(b"bob", b"b").startswith(b"-ERR [AUTH]")
            assert old.login(b"bob", b"b").startswith(b"+OK")
        assert not any(DIED in line for line in server.stop())


@workers
def test_a_broken_configuration_is_not_taken(tmp_path: Path, workers: int) -> None:
    """The old one stays, and each process says so in one line that names file and line."""
    path = post_office(tmp_path, workers)
    with running("serve", "-c", path) as server:
        server.ready()
        with ExitStack() as stack:
            for _ in range(8 * workers):
                stack.enter_context(greeted(server.port))
            good = path.read_text(encoding="ascii")
            path.write_text(good + "idle_timeout = 599\n", encoding="ascii")
            server.signal(signal.SIGHUP)
            first = server.log.until("not reloaded")
        with greeted(server.port) as client:
            assert client.login(b"bob", b"b").startswith(b"+OK")
        log = [line for line in [first, *server.stop()] if "session" not in line]
    said = [line for line in log if "not reloaded" in line]
    assert all(f"{path}:{good.count(chr(10)) + 1}: idle_timeout" in line for line in said)
    assert 1 <= len(said) <= (1 if workers == 1 else workers + 1)
    assert not any("Traceback" in line or line.startswith(" ") or DIED in line for line in log if line not in said)


def test_a_good_configuration_after_a_broken_one(tmp_path: Path) -> None:
    path = post_office(tmp_path, hostname="before.example.org")
    good = path.read_text(encoding="ascii")
    with running("serve", "-c", path) as server:
        server.ready()
        with greeted(server.port):
            path.unlink()
            server.signal(signal.SIGHUP)
            assert f"{path}: cannot be read" in server.log.until("not reloaded")
            assert b"before.example.org" in greeting(server.port)
            path.write_text(good.replace("before", "after"), encoding="ascii")
            server.signal(signal.SIGHUP)
            server.log.until("configuration reloaded")
        assert b"after.example.org" in greeting(server.port)
        server.stop()


def test_what_needs_a_restart_is_said(tmp_path: Path) -> None:
    """Listeners and the number of workers do not change by SIGHUP."""
    path = post_office(tmp_path)
    with running("serve", "-c", path) as server:
        server.ready()
        with greeted(server.port):
            add_listener(path, "127.0.0.1:0")
            server.signal(signal.SIGHUP)
            assert "restart" in server.log.until("listeners")
        with greeted(server.port):
            pass
        server.stop()


def test_tls_is_resumed_whichever_worker_it_meets(tmp_path: Path) -> None:
    """RFC 8446 section 2.2: the keys of tickets are older than the workers.

    Of twelve sessions one worker has all only once in two thousand times.
    """
    path = post_office(tmp_path, workers=2)
    chain, key = certificate(HOST).write(tmp_path, "office")
    text = path.read_text(encoding="ascii").replace(
        "[limits]", f'[tls]\ncertificate = "{chain}"\nkey = "{key}"\n[limits]'
    )
    path.write_text(text.replace('protocol = "pop3"', 'protocol = "pop3"\ntls = "implicit"'), encoding="ascii")
    context, session = client_context(), None
    with running("serve", "-c", path) as server:
        server.ready()
        for number in range(12):
            raw = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
            with context.wrap_socket(raw, server_hostname=HOST, session=session) as client:
                assert client.recv(100).startswith(b"+OK ")
                assert client.session_reused == (number > 0)
                session = client.session
                client.sendall(b"QUIT\r\n")
                assert client.recv(100).startswith(b"+OK ")


# -- deaths -----------------------------------------------------------------------------------------


@needs_proc
def test_dead_workers_are_replaced_and_no_connection_is_lost(tmp_path: Path) -> None:
    """All are killed; who connects meanwhile waits in the queue of a socket that the parent holds open."""
    with running("serve", "-c", post_office(tmp_path, workers=2)) as server:
        server.ready()
        before = all_workers(server, 2)
        with greeted(server.port) as session:
            assert session.login(b"bob", b"b").startswith(b"+OK")
            for process in before:
                os.kill(process, signal.SIGKILL)
            with ExitStack() as stack:
                clients = [stack.enter_context(Client(server.port)) for _ in range(8)]
                assert session.line() == b""
                said = {server.log.until(DIED) for _ in before}
                for client in clients:
                    assert client.line().startswith(b"+OK ")
                # The kernel let go of the lock of the session that died (P-042).
                assert clients[0].login(b"bob", b"b").startswith(b"+OK")
        killed = r"worker (\d+) was killed by SIGKILL; the next one starts at once"
        assert {int(number) for line in said for number in re.findall(killed, line)} == before
        assert not all_workers(server, 2) & before
        assert server.stop() is not None
        assert refuses(server.port)


@needs_proc
def test_one_dead_worker_does_not_touch_the_other(tmp_path: Path) -> None:
    with running("serve", "-c", post_office(tmp_path, workers=2)) as server:
        server.ready()
        first, second = all_workers(server, 2)
        os.kill(first, signal.SIGKILL)
        assert f"worker {first} was killed by SIGKILL" in server.log.until(DIED)
        assert second in all_workers(server, 2, without=frozenset({first}))
        for _ in range(8):
            with greeted(server.port) as client:
                assert client.ask(b"QUIT").startswith(b"+OK")
        server.stop()


@needs_proc
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Killed without a chance to say goodbye, it leaves nobody behind who would hold the address."""
    with running("serve", "-c", post_office(tmp_path, workers=2)) as server:
        server.ready()
        all_workers(server, 2)
        with greeted(server.port) as client:
            server.process.kill()
            assert server.wait() == -signal.SIGKILL
            assert client.line() == b""
        server.log.rest()  # its end: no process has it open any more
        assert refuses(server.port)


@pytest.fixture
def changed_program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Run these lines of Python first in every program that is started."""

    def change(lines: str) -> None:
        lines = f"import os\nfrom restante.cli import main\nfrom restante.server import supervisor\n{lines}\nmain()"
        monkeypatch.setattr("tests.cli.program.PROGRAM", (sys.executable, "-c", lines))

    return change


@needs_proc
@pytest.mark.parametrize("at_a_time", [1, 2])
def test_it_never_gives_up_once_it_has_served(
    tmp_path: Path, at_a_time: int, changed_program: Callable[[str], None]
) -> None:
    """However many workers die in a row, each as soon as it lives."""
    changed_program("supervisor.FIRST_WAIT = 0")
    with running("serve", "-c", post_office(tmp_path, workers=2)) as server:
        server.ready()
        dead: frozenset[int] = frozenset()
        for _ in range(-(-(2 * MAX_FAILED_STARTS) // at_a_time)):
            victims = sorted(all_workers(server, 2, dead))[:at_a_time]
            dead |= set(victims)
            server.signal(signal.SIGSTOP)  # so that it finds all of them dead at once
            for process in victims:
                kill(process)
            server.signal(signal.SIGCONT)
        for _ in range(8):
            with greeted(server.port):
                pass
        log = server.stop()
    assert sum(DIED in line for line in log) == len(dead)
    assert refuses(server.port)


@needs_proc
def test_who_keeps_dying_is_replaced_later_and_signals_are_heeded_meanwhile(
    tmp_path: Path, changed_program: Callable[[str], None]
) -> None:
    """The next worker is due in an hour: the other one serves, SIGHUP is for both, and SIGTERM is not kept waiting."""
    changed_program("supervisor.QUICK_DEATH = supervisor.FIRST_WAIT = supervisor.LONGEST_WAIT = 3600")
    path = post_office(tmp_path, workers=2)
    with running("serve", "-c", path) as server:
        server.ready()
        before = all_workers(server, 2)
        victim = min(before)
        kill(victim)
        assert f"worker {victim} was killed by SIGKILL; the next one starts at once" in server.log.until(DIED)
        (successor,) = all_workers(server, 2, frozenset({victim})) - before
        kill(successor)
        assert f"worker {successor} was killed by SIGKILL; the next one starts in 3600 s" in server.log.until(DIED)
        path.unlink()
        server.signal(signal.SIGHUP)
        for _ in ("parent", "the worker that lives"):
            server.log.until("not reloaded")
        assert server.workers() == before - {victim}
        log = server.stop()
    assert not any(DIED in line or "not reloaded" in line for line in log)
    assert refuses(server.port)


@needs_proc
def test_a_signal_that_is_not_from_a_worker(tmp_path: Path) -> None:
    """Workers tell their parent by SIGUSR1 that they are ready; from others it means nothing, and nobody dies of it."""
    with running("serve", "-c", post_office(tmp_path, workers=2)) as server:
        server.ready()
        server.signal(signal.SIGUSR1)
        with greeted(server.port):
            pass
        log = server.stop()
        assert server.out.rest() == []
    assert not any(DIED in line for line in log)


def test_it_gives_up_when_no_worker_becomes_ready(tmp_path: Path, changed_program: Callable[[str], None]) -> None:
    """An error of configuration or programming: no listener is called ready, and the exit status is 1."""
    changed_program("def new_event_loop(): raise RuntimeError\nsupervisor.uvloop.new_event_loop = new_event_loop")
    address = f"127.0.0.1:{free_port()}"
    result = restante("serve", "-c", post_office(tmp_path, 3, address))
    assert (result.returncode, result.stdout) == (1, "")
    *deaths, last = [line for line in result.stderr.splitlines() if re.search(r": worker \d+ ", line)]
    assert len(deaths) == MAX_FAILED_STARTS - 1
    assert all("ended with exit status 1; the next one starts" in line for line in deaths)
    assert last.endswith("ended with exit status 1; no worker has become ready since the start, giving up")


@needs_proc
def test_a_fork_that_fails_is_tried_again(tmp_path: Path, changed_program: Callable[[str], None]) -> None:
    """When memory or process ids are short, the other workers go on; here the third and fourth fork fail."""
    changed_program(
        """\
supervisor.FIRST_WAIT = 0
fork, outcomes = os.fork, iter([True, True, False, False])
def scarce():
    if next(outcomes, True):
        return fork()
    raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = scarce"""
    )
    with running("serve", "-c", post_office(tmp_path, workers=2)) as server:
        server.ready()
        victim = min(all_workers(server, 2))
        kill(victim)
        assert f"worker {victim} was killed" in server.log.until(DIED)
        for _ in range(2):
            line = server.log.until(DIED)
            assert "a worker cannot be started: Resource temporarily unavailable; the next one starts" in line
        all_workers(server, 2, frozenset({victim}))
        server.stop()
