"""Started as systemd does it: with sockets that are open already, and a socket that hears how it goes."""

import errno
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Self

import pytest

from restante.server.addresses import Address
from restante.server.systemd import PassedSockets, ServiceManager
from tests.cli.program import (
    PROGRAM,
    TIMEOUT,
    Client,
    Running,
    free_port,
    greeted,
    post_office,
    refused,
    refuses,
    running,
)

workers = pytest.mark.parametrize("workers", [1, 2])
needs_proc = pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="no /proc to look at descriptors in")

# Puts the descriptors that its first argument names at 3, 4 ... and becomes the rest of its arguments.
ACTIVATE = """
import fcntl, os, sys
descriptors, *command = sys.argv[1:]
held = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in descriptors.split()]
for index, number in enumerate(held):
    os.dup2(number, 3 + index)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ["LISTEN_FDS"] = str(len(held))
os.execv(command[0], command)
"""


def activated(
    passed: Sequence[int], *arguments: str | Path, program: Sequence[str] = PROGRAM, **environment: str
) -> AbstractContextManager[Running]:
    """Start a program as systemd does that passes it these descriptors; see `running`."""
    first = [sys.executable, "-c", ACTIVATE, " ".join(map(str, passed)), *program]
    return running(*arguments, program=first, environment=environment, descriptors=passed)


def one_line(server: Running) -> str:
    """Wait for the end of a server that could not start; returns what it said."""
    status = server.wait()
    return refused(subprocess.CompletedProcess([], status, "".join(server.out.rest()), server.log.rest()[0] + "\n"))


class Manager:
    """Hears what a service manager is told, and by which process."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.settimeout(TIMEOUT)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def next(self) -> tuple[str, int]:
        """Return the next text, and the id of the process that sent it."""
        text, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
        process, _, _ = struct.unpack("3i", ancillary[0][2])
        return text.decode("ascii"), process

    def has_more(self) -> bool:
        """Say whether there is more; of a service that has ended."""
        self.socket.settimeout(0)
        try:
            return bool(self.socket.recv(4096))
        except BlockingIOError:
            return False


# -- sockets ----------------------------------------------------------------------------------------


@workers
def test_a_socket_that_is_open_already(tmp_path: Path, workers: int) -> None:
    """Who connects before the start or between two of them waits in its queue, and is served."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        port = passed.getsockname()[1]
        path = post_office(tmp_path, workers, f"127.0.0.1:{port}")
        for _ in ("first start", "second start"):
            with Client(port) as early, activated([passed.fileno()], "serve", "-c", path) as server:
                assert server.ready() == port
                assert early.line().startswith(b"+OK ")
                assert early.login(b"bob", b"b").startswith(b"+OK")
                assert early.ask(b"QUIT").startswith(b"+OK")
                for _ in range(4 * workers):
                    with greeted(port):
                        pass
                server.stop()
    assert refuses(port)


def test_connections_have_the_options_of_others(tmp_path: Path) -> None:
    """P-022, P-042: no Nagle, and vanished peers are noticed; accepted sockets inherit it from the one that listens."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        path = post_office(tmp_path, address=f"127.0.0.1:{passed.getsockname()[1]}")
        assert passed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        with activated([passed.fileno()], "serve", "-c", path) as server:
            server.ready()
            assert passed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert passed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert passed.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
            server.stop()


@workers
def test_a_unix_socket_stays_as_it_is(tmp_path: Path, workers: int) -> None:
    """Its file and mode belong to systemd, which goes on listening; a link on the way to it changes nothing."""
    path = post_office(tmp_path, workers, address="unix:link/pop3.sock")
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    file = tmp_path / "run" / "pop3.sock"
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(file))
        passed.listen()
        file.chmod(0o600)
        for _ in ("first start", "second start"):
            with activated([passed.fileno()], "serve", "-c", path) as server, socket.socket(socket.AF_UNIX) as client:
                client.settimeout(TIMEOUT)
                client.connect(str(file))
                assert client.recv(512).startswith(b"+OK ")
                server.stop()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_address_that_is_written_otherwise(tmp_path: Path) -> None:
    """IPv6 has several ways to write one address."""
    try:
        passed = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    with passed:
        address = ("::1", passed.getsockname()[1])
        path = post_office(tmp_path, address=f"[0:0:0:0:0:0:0:1]:{address[1]}")
        with activated([passed.fileno()], "serve", "-c", path) as server:
            with socket.create_connection(address, TIMEOUT) as client:
                assert client.recv(512).startswith(b"+OK ")
            server.stop()


@workers
def test_other_listeners_are_opened_as_ever(tmp_path: Path, workers: int) -> None:
    """Two are passed, in another order than in the configuration, and one is not."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [first.getsockname()[1], free_port(), second.getsockname()[1]]
        path = post_office(tmp_path, workers, f"127.0.0.1:{ports[0]}")
        with path.open("a", encoding="ascii") as file:
            for port in ports[1:]:
                file.write(f'[[listener]]\nprotocol = "pop3"\naddress = "127.0.0.1:{port}"\n')
        with activated([second.fileno(), first.fileno()], "serve", "-c", path) as server:
            assert [server.ready() for _ in ports] == ports
            for port in ports:
                with greeted(port):
                    pass
            server.stop()
        assert [refuses(port) for port in ports] == [False, True, False]


@needs_proc
def test_workers_that_die_leave_the_socket(tmp_path: Path) -> None:
    """Their successors accept from the same queue."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        path = post_office(tmp_path, 2, f"127.0.0.1:{passed.getsockname()[1]}")
        with activated([passed.fileno()], "serve", "-c", path) as server:
            server.ready()
            with greeted(server.port) as client:
                for process in server.workers():
                    os.kill(process, signal.SIGKILL)
                assert client.line() == b""
            for _ in range(8):
                with greeted(server.port):
                    pass
            server.stop()


def test_a_socket_that_no_listener_wants(tmp_path: Path) -> None:
    """One line that names the address, and what would be right; not that the address of our own is in use."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        address = f"127.0.0.1:{passed.getsockname()[1]}"
        path = post_office(tmp_path, address=address.replace("127.0.0.1", "0.0.0.0"))
        with activated([passed.fileno()], "serve", "-c", path, LISTEN_FDNAMES="restante.socket") as server:
            assert one_line(server) == (
                f"restante: systemd passes a socket at {address} (restante.socket), "
                f'but no [[listener]] has address = "{address}": add one, or change the ListenStream='
            )


def test_two_sockets_for_one_listener(tmp_path: Path) -> None:
    """Nobody would accept from the second one."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        path = post_office(tmp_path, address=f"127.0.0.1:{passed.getsockname()[1]}")
        with activated([passed.fileno()] * 2, "serve", "-c", path, LISTEN_FDNAMES="one:two") as server:
            assert "(two), but no" in one_line(server)


def test_a_name_that_is_no_file(tmp_path: Path) -> None:
    """A listener has a path; a socket with an abstract name is not meant, even if it looks the same."""
    path = post_office(tmp_path, address=f"unix:{tmp_path}/x")
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(f"\0{tmp_path}/x")
        passed.listen()
        with activated([passed.fileno()], "serve", "-c", path) as server:
            assert f"a socket at unix:@{tmp_path}/x (unknown)" in one_line(server)


def datagram() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def connection() -> socket.socket:
    """What Accept=yes passes."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        return listening.accept()[0]


def silent() -> socket.socket:
    """Bound, but does not listen."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize("make", [datagram, connection, silent])
def test_a_socket_of_no_use(tmp_path: Path, make: Callable[[], socket.socket]) -> None:
    with make() as passed, activated([passed.fileno()], "serve", "-c", post_office(tmp_path)) as server:
        assert one_line(server) == (
            "restante: descriptor 3 from systemd (unknown) does not listen for connections: "
            "ListenStream= and Accept=no would be right"
        )


def test_no_socket_at_all(tmp_path: Path) -> None:
    path = post_office(tmp_path)
    with (
        (tmp_path / "x").open("wb") as file,
        activated([file.fileno()], "serve", "-c", path, LISTEN_FDNAMES="x.socket") as server,
    ):
        said = one_line(server)
    assert said == (
        "restante: descriptor 3 from systemd (x.socket) is no socket, ListenStream= would be right: "
        f"{os.strerror(errno.ENOTSOCK)}"
    )


def test_no_number_of_sockets() -> None:
    with pytest.raises(ValueError, match='LISTEN_FDS: "²" is no number of sockets'):
        PassedSockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "²"})


def test_sockets_of_another_process(tmp_path: Path) -> None:
    """LISTEN_PID is not ours, so descriptor 3 is none of our business."""
    path = post_office(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as passed,
        activated([passed.fileno()], "serve", "-c", path, LISTEN_PID="1") as server,
    ):
        assert server.ready() != passed.getsockname()[1]
        server.stop()


@pytest.mark.parametrize("process", [1, os.getpid()])
def test_the_environment_is_cleaned(process: int) -> None:
    environment = {"LISTEN_PID": str(process), "LISTEN_FDS": "0", "LISTEN_FDNAMES": "", "HOME": "/"}
    sockets = PassedSockets(environment)
    assert environment == {"HOME": "/"}
    assert sockets.take(Address("127.0.0.1", 110)) is None


@needs_proc
def test_children_see_nothing_of_it(tmp_path: Path) -> None:
    """Neither the variables nor the socket."""
    spy = (
        "import atexit, os; from restante.cli import main; "
        "atexit.register(lambda: print(*[name for name in os.environ if name.startswith(('LISTEN_', 'NOTIFY_'))])); "
        "main()"
    )
    with socket.create_server(("127.0.0.1", 0)) as passed:
        path = post_office(tmp_path, address=f"127.0.0.1:{passed.getsockname()[1]}")
        program = (sys.executable, "-c", spy)
        notify = str(tmp_path / "notify")
        with (
            Manager(notify),
            activated([passed.fileno()], "serve", "-c", path, program=program, NOTIFY_SOCKET=notify) as server,
        ):
            server.ready()
            flags = re.findall("flags:\t([0-7]+)", Path(f"/proc/{server.process.pid}/fdinfo/3").read_text("ascii"))
            assert int(flags[0], 8) & os.O_CLOEXEC
            server.stop()
            assert server.out.rest() == [""]


# -- how it goes ------------------------------------------------------------------------------------


@workers
@pytest.mark.parametrize("kind", ["path", "name"])
def test_the_manager_is_told(tmp_path: Path, workers: int, kind: str) -> None:
    """READY=1, RELOADING=1 with the time, READY=1, STOPPING=1; by the main process only, as NotifyAccess=main wants."""
    address = f"{'@' if kind == 'name' else ''}{tmp_path}/notify"
    path = post_office(tmp_path, workers)
    with Manager(address) as manager:
        with running("serve", "-c", path, environment={"NOTIFY_SOCKET": address}) as server:
            main = server.process.pid
            assert manager.next() == ("READY=1", main)
            with greeted(server.ready()):
                pass
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            server.signal(signal.SIGHUP)
            text, process = manager.next()
            assert process == main
            said = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", text)
            assert said is not None
            assert before <= int(said[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert manager.next() == ("READY=1", main)
            server.log.until("configuration reloaded")
            server.signal(signal.SIGTERM)
            assert manager.next() == ("STOPPING=1", main)
            assert server.wait() == 0
        assert not manager.has_more()


@workers
def test_a_faulty_configuration_ends_the_reload_too(tmp_path: Path, workers: int) -> None:
    """Or `systemctl reload` would wait in vain; the log says what is wrong."""
    address = f"{tmp_path}/notify"
    path = post_office(tmp_path, workers)
    with Manager(address) as manager, running("serve", "-c", path, environment={"NOTIFY_SOCKET": address}) as server:
        assert manager.next()[0] == "READY=1"
        path.unlink()
        server.signal(signal.SIGHUP)
        assert manager.next()[0].startswith("RELOADING=1\n")
        assert manager.next()[0] == "READY=1"
        server.log.until("not reloaded")
        server.stop()


def test_nothing_is_ready_when_no_worker_is(tmp_path: Path) -> None:
    """The manager must not take a service for started that gives up."""
    address = f"{tmp_path}/notify"
    broken = (
        "from restante.cli import main; from restante.server import supervisor; "
        "del supervisor.uvloop.new_event_loop; main()"
    )
    path = post_office(tmp_path, workers=3)
    with Manager(address) as manager:
        program = (sys.executable, "-c", broken)
        with activated([], "serve", "-c", path, program=program, NOTIFY_SOCKET=address) as server:
            assert server.wait() == 1
        assert manager.next()[0] == "STOPPING=1"
        assert not manager.has_more()


def test_a_manager_that_is_not_there(tmp_path: Path) -> None:
    """A line in the log for what it was not told; mail is served all the same."""
    environment = {"NOTIFY_SOCKET": f"{tmp_path}/nobody"}
    with running("serve", "-c", post_office(tmp_path), environment=environment) as server:
        with greeted(server.ready()):
            assert "the service manager cannot be told READY=1" in server.log.until("WARNING")
        server.stop()


def test_a_manager_that_does_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full: the server does not wait for ever."""
    monkeypatch.setattr("restante.server.systemd.PATIENCE", 0.0)
    with Manager(f"{tmp_path}/notify") as manager, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        others.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                others.sendto(b"X=1", f"{tmp_path}/notify")
        ServiceManager(f"{tmp_path}/notify").stopping()
        manager.socket.settimeout(0)
        heard = set()
        with suppress(BlockingIOError):
            while True:
                heard.add(manager.socket.recv(4096))
    assert heard == {b"X=1"}


def test_nobody_to_tell() -> None:
    """Not started by systemd: no address, nothing is sent."""
    environment = {"HOME": "/"}
    ServiceManager.of(environment).ready()
    assert environment == {"HOME": "/"}
