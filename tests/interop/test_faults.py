"""What the system refuses in the middle of a session: real file systems, and a library that makes calls fail.

Never an empty maildrop: one false ``STAT 0 0`` makes Thunderbird forget what it has, and fetch everything again.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.program import IN_CI, Running, maildir, post_office, running
from tests.server.office import Client

MESSAGES = [b"Subject: %d\n\nbody\n" % number for number in range(1, 6)]
SOURCE = Path(__file__).parent / "faults" / "faults.c"

needs_compiler = pytest.mark.skipif(
    shutil.which("gcc") is None and not IN_CI, reason="gcc is not here (apt install gcc libc6-dev; .ci/run does that)"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount file systems")


def login(server: Running) -> tuple[Client, bytes]:
    client = Client(("127.0.0.1", server.port))
    return client, client.login()


def ids(server: Running) -> list[bytes]:
    client, answer = login(server)
    with client:
        assert answer.startswith(b"+OK "), answer
        assert client.ask(b"UIDL").startswith(b"+OK ")
        found = [line.split()[1] for line in client.lines()]
        assert client.ask(b"QUIT").startswith(b"+OK ")  # P-131: whichever worker has the next session, the lock is free
        return found


# -- calls that fail --------------------------------------------------------------------------------


class Faults:
    """What fails from now on."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "faults"
        self.library = folder / "faults.so"
        self.off()
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", self.library, SOURCE, "-ldl"], check=True, timeout=60)

    def off(self) -> None:
        self.file.write_text("", encoding="ascii")

    def on(self, call: str, part: str, number: int) -> None:
        self.file.write_text(f"{call} {part} {number}\n", encoding="ascii")


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


@contextmanager
def serving(tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    configuration = post_office(tmp_path)
    maildir(tmp_path, "bob", *MESSAGES)
    monkeypatch.setenv("LD_PRELOAD", str(faults.library))
    monkeypatch.setenv("FAULTS", str(faults.file))
    with running("serve", "-c", str(configuration)) as server:
        yield server


TEMP, PERM = b"-ERR [SYS/TEMP]", b"-ERR [SYS/PERM]"
AT_LOGIN = [
    ("opendir", "bob/new", errno.EIO, TEMP),
    ("opendir", "bob/cur", errno.ESTALE, TEMP),
    ("opendir", "bob/new", errno.EACCES, PERM),
    ("opendir", "bob/new", errno.ENOENT, TEMP),
    ("opendir", "bob/new", errno.EMFILE, TEMP),
    ("readdir", "bob/new", errno.EIO, TEMP),
    ("readdir", "bob/new", errno.ESTALE, TEMP),
    ("stat", "bob/new", errno.ESTALE, TEMP),
    ("stat", "bob/cur", errno.EACCES, PERM),
    ("stat", "new/17", errno.EIO, TEMP),  # of every message
    ("open", "restante/lock", errno.EROFS, PERM),
    ("open", "restante/lock", errno.ENOSPC, TEMP),
    ("open", "restante/lock", errno.EACCES, PERM),
    ("open", "restante/ids", errno.EIO, TEMP),
]


@needs_compiler
@pytest.mark.parametrize("known", [False, True], ids=["first login", "known"])
def test_faults_at_login(tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """P-044, P-178, P-043: refused with the right code, and not once empty; when it has passed, all is as it was."""
    with serving(tmp_path, faults, monkeypatch) as server:
        expected = ids(server) if known else [b"%d.M%dP1.host" % (1_700_000_000 + n, n) for n in range(1, 6)]
        for call, part, number, code in AT_LOGIN:
            faults.on(call, part, number)
            client, answer = login(server)
            client.close()
            faults.off()
            assert answer.startswith((code, b"+OK 5 messages")), (call, part, errno.errorcode[number], answer)
            assert answer.startswith(code) or known, (call, part, errno.errorcode[number], answer)
        assert ids(server) == expected


@needs_compiler
@pytest.mark.parametrize(
    ("call", "part", "number"),
    [
        ("create", "restante/index", errno.ENOSPC),
        ("create", "restante/index", errno.EROFS),
        ("write", "restante/index", errno.ENOSPC),
        ("write", "restante/index", errno.EDQUOT),
        ("rename", "restante/index", errno.EIO),
        ("open", "restante/index", errno.EIO),
        ("read", "restante/index", errno.EIO),
    ],
)
def test_an_index_that_cannot_be_had_keeps_nobody_out(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, call: str, part: str, number: int
) -> None:
    """M-010: it is a cache; mail is read and removed all the same."""
    with serving(tmp_path, faults, monkeypatch) as server:
        faults.on(call, part, number)
        before = ids(server)
        assert len(before) == 5
        client, _ = login(server)
        with client:
            assert client.ask(b"DELE 2").startswith(b"+OK ")
            assert client.ask(b"QUIT") == b"+OK 1 messages deleted, 4 left\r\n"
        assert ids(server) == before[:1] + before[2:]
        faults.off()
        assert ids(server) == before[:1] + before[2:]


@needs_compiler
@pytest.mark.parametrize(
    ("call", "number", "code"),
    [
        ("open", errno.EIO, TEMP),
        ("open", errno.ESTALE, TEMP),
        ("open", errno.EACCES, PERM),
        ("open", errno.ENFILE, TEMP),
        ("read", errno.EIO, TEMP),
        ("read", errno.ESTALE, TEMP),
    ],
)
def test_faults_at_retr(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: bytes
) -> None:
    """P-095, P-293: that message is refused before +OK or cut off without an end; the others are served."""
    with serving(tmp_path, faults, monkeypatch) as server:
        before = ids(server)
        faults.on(call, "1700000002.M2P1", number)
        client, _ = login(server)
        with client:
            answer = client.ask(b"RETR 2")
            if answer == b"":  # +OK was under way when the disk failed: what would follow is no message
                client, _ = login(server)
            else:
                assert answer.startswith(code), answer
            assert client.ask(b"RETR 3") == b"+OK 20 octets\r\n"
            client.lines()
            client.ask(b"QUIT")
            client.close()
        faults.off()
        assert ids(server) == before


@needs_compiler
@pytest.mark.parametrize(
    ("call", "part", "number"),
    [
        ("rename", "1700000002.M2P1", errno.EIO),
        ("rename", "1700000002.M2P1", errno.ENOSPC),
        ("rename", "bob/new", errno.EROFS),
        ("rename", "bob/new", errno.ESTALE),
        ("rename", "bob/new", errno.EACCES),
        ("fsync", "bob/new", errno.EIO),
        ("fsync", "restante/deleted", errno.EIO),
        ("open", "bob/restante/deleted", errno.ESTALE),
    ],
)
def test_faults_at_quit(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, call: str, part: str, number: int
) -> None:
    """P-134, P-135: -ERR [SYS/TEMP]; some of the marked are gone or none, no other, and the lock is free."""
    with serving(tmp_path, faults, monkeypatch) as server:
        before = ids(server)
        client, _ = login(server)
        with client:
            for n in (1, 2, 4):
                assert client.ask(b"DELE %d" % n).startswith(b"+OK ")
            faults.on(call, part, number)
            assert client.ask(b"QUIT") == b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"
            assert client.rest() == b""
        faults.off()
        left = ids(server)
        assert {before[2], before[4]} <= set(left) <= set(before)
        assert [one for one in before if one in left] == left
        kept = {path.name.encode() for path in (tmp_path / "mail/bob/restante/deleted").iterdir()}
        assert kept | set(left) == set(before)


@needs_compiler
def test_one_message_that_cannot_be_looked_at(tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-293: a damaged inode; listed, and nobody is kept from the others."""
    with serving(tmp_path, faults, monkeypatch) as server:
        faults.on("stat", "1700000002.M2P1", errno.EIO)
        assert len(ids(server)) == 5
        faults.off()
        client, answer = login(server)
        with client:
            assert answer == b"+OK 5 messages (100 octets)\r\n"


# -- file systems that are full, read-only, or gone -------------------------------------------------


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    """A small file system in memory."""
    path.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(("size=256k", "mode=755", *options)), "tmpfs", path], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)


def remount(path: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", path], check=True)


def fill(path: Path) -> None:
    """Take all the room there is."""
    with (path / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):  # noqa: PT012
        while file.write(bytes(4096)):
            pass


@as_root
def test_a_full_disk(tmp_path: Path) -> None:
    """P-178: mail can be read and removed, and nothing seems empty; when there is room again all is as it was."""
    configuration = post_office(tmp_path)
    with mounted(tmp_path / "mail"):
        maildir(tmp_path, "bob", *MESSAGES)
        fill(tmp_path / "mail")
        with running("serve", "-c", str(configuration)) as server:
            client, answer = login(server)  # there is not even room for our own folder
            client.close()
            assert answer.startswith((TEMP, b"+OK 5 messages (100 octets)"))
            (tmp_path / "mail/filler").unlink()
            before = ids(server)
            fill(tmp_path / "mail")
            client, _ = login(server)
            with client:
                assert client.ask(b"RETR 1") == b"+OK 20 octets\r\n"
                client.lines()
                assert client.ask(b"DELE 1").startswith(b"+OK ")
                answer = client.ask(b"QUIT")
            left = ids(server)
            assert before[1:] == left if answer.startswith(b"+OK ") else set(before[1:]) <= set(left)
            (tmp_path / "mail/filler").unlink()
            assert ids(server) == left


@as_root
def test_a_file_system_that_becomes_read_only(tmp_path: Path) -> None:
    """P-134, P-178: mail can still be read; QUIT tells that nothing was removed."""
    configuration = post_office(tmp_path)
    with mounted(tmp_path / "mail"):
        maildir(tmp_path, "bob", *MESSAGES)
        with running("serve", "-c", str(configuration)) as server:
            before = ids(server)
            client, _ = login(server)
            with client:
                assert client.ask(b"DELE 1").startswith(b"+OK ")
                with (tmp_path / "mail/bob/restante/lock").open("rb"):
                    subprocess.run(["mount", "--bind", tmp_path / "mail", tmp_path / "mail"], check=True)
                    remount(tmp_path / "mail", "bind,ro")
                assert client.ask(b"RETR 2") == b"+OK 20 octets\r\n"
                client.lines()
                assert client.ask(b"QUIT") == b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"
            client, answer = login(server)
            client.close()
            assert answer.startswith(PERM)
            subprocess.run(["umount", "-l", tmp_path / "mail"], check=True)
            assert ids(server) == before


@as_root
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_system_that_goes_away(tmp_path: Path, workers: int) -> None:
    """Field notes 4.2: in no worker is the maildrop empty while it is out of reach; then all is as it was."""
    configuration = post_office(tmp_path)
    text = configuration.read_text(encoding="ascii").replace("workers = 1", f"workers = {workers}")
    configuration.write_text(text, encoding="ascii")
    with mounted(tmp_path / "disk"):
        maildir(tmp_path / "disk", "bob", *MESSAGES)
        (tmp_path / "mail").rmdir()
        (tmp_path / "mail").symlink_to(tmp_path / "disk/mail")
        with running("serve", "-c", str(configuration)) as server:
            before = ids(server)
            client, _ = login(server)
            with client:
                subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)
                (tmp_path / "disk/mail").mkdir()  # what lies below the mount
                assert client.ask(b"DELE 1").startswith(b"+OK ")
                assert client.ask(b"QUIT").startswith(b"-ERR [SYS/TEMP]")
            for _ in range(12):
                client, answer = login(server)
                client.close()
                assert answer.startswith(TEMP), answer
            assert list((tmp_path / "disk/mail").iterdir()) == []
            (tmp_path / "disk/mail").rmdir()
            with mounted(tmp_path / "disk"):
                maildir(tmp_path / "disk", "bob", *MESSAGES)
                assert ids(server) == before


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not here (apt install util-linux)")
def test_permission_lost_in_the_middle_of_a_session(tmp_path: Path) -> None:
    """P-044, P-134: by a root that modes hold for; when it has the permission back all is as it was."""
    configuration = post_office(tmp_path)
    path = maildir(tmp_path, "bob", *MESSAGES)
    under = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    with running("serve", "-c", str(configuration), under=under) as server:
        before = ids(server)
        client, _ = login(server)
        with client:
            assert client.ask(b"DELE 1").startswith(b"+OK ")
            for part in ("new", "cur"):
                (path / part).chmod(0)
            assert client.ask(b"RETR 2").startswith(PERM)
            assert client.ask(b"QUIT") == b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"
        client, answer = login(server)
        client.close()
        assert answer.startswith(PERM)
        for part in ("new", "cur"):
            (path / part).chmod(0o700)
        assert ids(server) == before
