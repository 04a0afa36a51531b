"""Mailboxes that other programs use at the same time: locks, and mail that arrives meanwhile."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from restante import stores
from restante.errors import TemporaryFailure, UpdateIncomplete
from restante.stores.mbox import MboxStore, locks
from restante.stores.mbox.removal import remove
from tests.interop.program import IN_CI
from tests.stores.test_contract import BOB, contents, deliver, read

FROM = b"From alice@example.org Thu Nov 24 18:22:48 1986\n"
TIMEOUT = 60.0


class Peer:
    """Another program; see tests/stores/mbox_peer.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, command: str) -> None:
        """Let it begin something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        """Wait for what it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, command: str) -> None:
        """Let it do something, and wait until it is done."""
        self.ask(command)
        assert self.said() == "done"


@contextmanager
def running(path: Path) -> Iterator[Peer]:
    command = [sys.executable, "-m", "tests.stores.mbox_peer", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Peer(process)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(TIMEOUT)
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bob"


@pytest.fixture
def peer(path: Path) -> Iterator[Peer]:
    with running(path) as peer:
        yield peer


@pytest.fixture(params=["open file description locks", "process locks"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MboxStore:
    if request.param == "process locks":
        monkeypatch.setattr(locks, "_OFD_SETLK", None)
    return MboxStore(f"{tmp_path}/{{user}}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGIN_PATIENCE", "UPDATE_PATIENCE", "DELIVERY_PATIENCE"):
        monkeypatch.setattr(stores.mbox, name, 0.01)


@pytest.mark.parametrize("how", ["lock", "fcntl", "dotlock"])
@pytest.mark.usefixtures("impatient")
async def test_a_lock_of_another_program(store: MboxStore, path: Path, peer: Peer, how: str) -> None:
    """M-023, P-178: either lock keeps us out of everything, for a while; nothing is done meanwhile."""
    await deliver(store, b"A: 1\r\n")
    maildrop = await store.open(BOB)
    peer.do(how)
    before = path.read_bytes()
    assert await read(maildrop, 1) == b"A: 1\r\n"
    with pytest.raises(UpdateIncomplete):
        await maildrop.update({1})
    await maildrop.close()
    with pytest.raises(TemporaryFailure):
        await store.open(BOB)
    with pytest.raises(TemporaryFailure):
        await deliver(store, b"A: 2\r\n")
    assert path.read_bytes() == before
    peer.process.kill()
    peer.process.wait(TIMEOUT)
    path.with_name("bob.lock").unlink(missing_ok=True)
    maildrop = await store.open(BOB)  # no lock of ours is left either
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == []


async def test_a_login_waits_for_a_lock(store: MboxStore, path: Path, peer: Peer) -> None:
    """M-023: and no thread does: others go on meanwhile."""
    await deliver(store, b"A: 1\r\n")
    peer.do("lock")
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(contents(store))]
    waiting += [asyncio.create_task(deliver(store, b"A: %d\r\n" % number)) for number in range(10)]
    await deliver(store, b"other\r\n", user="alice")
    assert not any(task.done() for task in waiting)
    peer.do("unlock")
    await asyncio.gather(*waiting)
    assert len(await contents(store)) == 11


async def test_mail_that_another_program_delivers_during_a_session(store: MboxStore, path: Path, peer: Peer) -> None:
    """P-136: before QUIT, and again and again while messages are removed."""
    await deliver(store, *[b"A: %d\r\n" % number for number in range(20)])
    sent = 0
    for _ in range(10):
        maildrop = await store.open(BOB)
        peer.do(f"append {sent}")
        peer.ask(f"append {sent + 1}")
        sent += 2
        await maildrop.update({1, 2})
        await maildrop.close()
        assert peer.said() == "done"
    found = await contents(store)
    assert found == [b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(20)]


async def test_a_program_that_opened_the_mailbox_before_our_removal(store: MboxStore, path: Path, peer: Peer) -> None:
    """P-136: it waits for the lock with the file open, and appends to it: that must be the mailbox (decision 0017)."""
    await deliver(store, b"A: 1\r\n", b"A: 2\r\n")
    maildrop = await store.open(BOB)
    with store.mailbox("bob").locked() as descriptor:
        peer.ask("late x")
        assert peer.said() == "opened"
        assert descriptor is not None
        index = store.mailbox("bob").refresh(descriptor)
        remove(store.mailbox("bob"), descriptor, index, {0})
    assert peer.said() == "done"
    await maildrop.close()
    assert await contents(store) == [b"A: 2\r\n", b"Subject: x\r\n\r\nx\r\n"]


def is_locked(path: Path) -> bool:
    check = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-c", check, str(path)], check=False, capture_output=True, timeout=TIMEOUT)
    return b"BlockingIOError" in done.stderr


async def test_closing_a_message_does_not_give_up_a_lock(store: MboxStore, path: Path, peer: Peer) -> None:
    """M-023: a lock by fcntl is lost when its process closes any descriptor of the file."""
    await deliver(store, b"x" * 1_000_000)
    maildrop = await store.open(BOB)
    file = await maildrop.retrieve(1)
    with store.mailbox("bob").locked():
        file.close()
        peer.ask("late x")
        assert peer.said() == "opened"
        # Another that does not wait is refused as well: the lock is still there.
        assert await asyncio.to_thread(is_locked, path)
    assert peer.said() == "done"
    await maildrop.close()


def dead_process() -> int:
    """A process number that was used and is free."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(TIMEOUT)
    return process.pid


@pytest.mark.parametrize(
    ("content", "age", "stale"),
    [
        ("{dead}:{host}", 0, True),
        ("{dead}:{host}\n", 0, True),
        ("{dead}:elsewhere.example", 0, False),
        ("{dead}", 0, False),
        ("{alive}:{host}", 0, False),
        ("{alive}:{host}", 700, True),
        ("0", 700, True),
        ("", 0, False),
        ("", 500, False),
        ("9" * 30 + ":{host}", 0, True),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_stale_dot_locks(store: MboxStore, path: Path, content: str, age: float, stale: bool) -> None:
    """M-023: only one that surely belongs to nobody is broken."""
    await deliver(store, b"A: 1\r\n")
    lock = path.with_name("bob.lock")
    lock.write_text(content.format(dead=dead_process(), alive=os.getpid(), host=socket.gethostname()))
    os.utime(lock, (time.time() - age, time.time() - age))
    assert locks.is_stale(str(lock)) == stale
    if stale:
        assert await contents(store) == [b"A: 1\r\n"]
        assert not lock.exists()
    else:
        with pytest.raises(TemporaryFailure, match="another program"):
            await store.open(BOB)
        assert lock.exists()
    assert [one.name for one in path.parent.iterdir() if ".lock." in one.name] == []


async def test_a_stale_dot_lock_found_late(store: MboxStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-023: it is out of the way for the try after, even if the first has taken longer than one is patient."""
    await deliver(store, b"A: 1\r\n")
    path.with_name("bob.lock").write_text(f"{dead_process()}:{socket.gethostname()}")
    monkeypatch.setattr(stores.mbox, "LOGIN_PATIENCE", 0)
    assert await contents(store) == [b"A: 1\r\n"]


async def test_a_dot_lock_that_is_not_ours_any_more(store: MboxStore, path: Path) -> None:
    """M-023: somebody took ours for stale; we leave his alone."""
    await deliver(store, b"A: 1\r\n")
    lock = path.with_name("bob.lock")
    with store.mailbox("bob").locked():
        assert lock.read_text() == f"{os.getpid()}:{socket.gethostname()}"
        lock.unlink()
        lock.write_text("mine")
    assert lock.read_text() == "mine"


async def test_without_dot_locks(path: Path, tmp_path: Path) -> None:
    store = MboxStore(f"{tmp_path}/{{user}}", dotlock=False)
    path.with_name("bob.lock").write_text("")
    await deliver(store, b"A: 1\r\n")
    assert await contents(store) == [b"A: 1\r\n"]


def test_a_mailbox_replaced_while_it_is_locked(store: MboxStore, path: Path) -> None:
    """M-023: the lock must be on what others find under that name."""
    path.write_bytes(FROM + b"A: 1\n\n")
    (path.parent / "x").write_bytes(FROM + b"A: 2\n\n")

    def replaced(*_: object) -> int:
        descriptor = os.open(path, os.O_RDWR)
        (path.parent / "x").rename(path)
        return descriptor

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "open_mailbox", replaced)
        with pytest.raises(locks.Busy, match="just been replaced"):
            stack.enter_context(store.mailbox("bob").locked())


# -- Dovecot ----------------------------------------------------------------------------------------

DOVECOT = """\
base_dir = {base}/run
log_path = {base}/log
mail_location = mbox:{base}/dovecot:INBOX={path}
mbox_read_locks = fcntl dotlock
mbox_write_locks = fcntl dotlock
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 0
first_valid_gid = 0
default_internal_user = {name}
default_login_user = {name}
"""


class Dovecot:
    """Dovecot's tool for a folder that holds bob's mailbox."""

    def __init__(self, program: str, folder: Path) -> None:
        base = folder / "d"
        (base / "home").mkdir(parents=True)
        # Dovecot works for no root; as root, tests lend the mailbox to nobody.
        user = pwd.getpwuid(os.getuid()) if os.getuid() else pwd.getpwnam("nobody")
        self.path = folder / "bob"
        self.path.touch(0o600)
        text = DOVECOT.format(base=base, path=self.path, uid=user.pw_uid, gid=user.pw_gid, name=user.pw_name)
        (base / "dovecot.conf").write_text(text, encoding="utf-8")
        for one in (folder, *folder.rglob("*")):
            os.chown(one, user.pw_uid, user.pw_gid)
        self._command = [program, "-c", str(base / "dovecot.conf")]
        self._environment = os.environ | {"USER": "bob", "HOME": str(base / "home")}  # nobody is asked who that is

    def run(self, *command: str) -> str:
        """Run a command of doveadm."""
        arguments = [*self._command, *command]
        done = subprocess.run(
            arguments, check=False, capture_output=True, text=True, timeout=TIMEOUT, env=self._environment, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def subjects(self) -> list[str]:
        """Subjects of the messages."""
        lines = self.run("fetch", "hdr.subject", "mailbox", "INBOX", "all").split("\n")
        return [line.removeprefix("hdr.subject: ") for line in lines if line.startswith("hdr.subject: ")]


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    program = shutil.which("doveadm")
    if program is None:
        assert not IN_CI, "doveadm is missing: apt-get install dovecot-core"
        pytest.skip("doveadm is missing: apt-get install dovecot-core")
    with tempfile.TemporaryDirectory() as folder:
        yield Dovecot(program, Path(folder))


async def test_dovecot_shares_a_mailbox(dovecot: Dovecot) -> None:
    """P-125, M-025: what we wrote it reads; what it marks and removes changes no id."""
    store = MboxStore(f"{dovecot.path.parent}/{{user}}")
    await deliver(store, *[b"Subject: %d\r\n\r\nFrom %d\r\n" % (number, number) for number in range(1, 7)])
    before = await store.open(BOB)
    await before.close()
    ids = [message.unique_id for message in before.listing]
    assert dovecot.subjects() == ["1", "2", "3", "4", "5", "6"]
    dovecot.run("flags", "add", "\\Seen \\Flagged", "mailbox", "INBOX", "2:4")
    dovecot.run("expunge", "mailbox", "INBOX", "3")
    assert b"\nStatus: " in dovecot.path.read_bytes()
    after = await store.open(BOB)
    assert [message.unique_id for message in after.listing] == ids[:2] + ids[3:]
    assert b"\nFrom 4" in await read(after, 3)
    await after.update({2})  # in the first message are notes that Dovecot needs (docs/how-to/mbox.md)
    await after.close()
    assert dovecot.subjects() == ["1", "4", "5", "6"]
    dovecot.run("flags", "remove", "\\Seen", "mailbox", "INBOX", "all")
    last = await store.open(BOB)
    assert [message.unique_id for message in last.listing] == [ids[0], *ids[3:]]
    await last.close()
