"""Whole sessions over real sockets, on both event loops."""

import asyncio
import contextlib
import gc
import logging
import os
import re
import socket
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from restante.auth import Credentials, Principal
from restante.errors import TemporaryFailure, UpdateIncomplete
from restante.maildrop import Maildrop, MessageFile, Prompt
from restante.protocol.events import Retrieve
from restante.protocol.policy import Features, SessionLimits
from restante.protocol.pop3_server import Session
from restante.server.addresses import Address
from restante.server.connection import Connection
from restante.server.conversation import AT_ONCE
from restante.server.gate import Gate
from restante.server.guessing import Patience
from restante.server.listener import Listener
from restante.server.reading import PIECE, WHOLE
from restante.server.service import CleartextLogin, Door, Limits
from restante.server.wire import Wire
from restante.stores import systems
from restante.stores.maildir import MaildirStore
from restante.stores.memory import MemoryStore
from tests.server.office import QUICK, TIMEOUT, Client, LoopFactory, Office, OneUser, until

MAIL = b"Subject: x\r\n\r\n.body\r\n"
BIG = b"".join(b".line %d\r\n" % number for number in range(400_000))  # about 5 MB


def test_a_session(office: Office) -> None:
    office.deliver(MAIL, b"")
    with office.connect() as client:
        assert client.login() == b"+OK 2 messages (21 octets)\r\n"
        assert client.ask(b"RETR 1") == b"+OK 21 octets\r\n"
        assert client.lines() == [b"Subject: x\r\n", b"\r\n", b"..body\r\n"]
        assert client.ask(b"TOP 1 0") == b"+OK top of message follows\r\n"
        assert client.lines() == [b"Subject: x\r\n", b"\r\n"]
        assert client.ask(b"DELE 2").startswith(b"+OK ")
        assert client.ask(b"QUIT") == b"+OK 1 messages deleted, 1 left\r\n"
        assert client.rest() == b""
    assert len(office.contents()) == 1


@pytest.mark.parametrize("end", [b"QUIT", b"", b"PASS wrong"])
def test_nothing_is_left_for_the_garbage_collector(office: Office, end: bytes) -> None:
    """Ten thousand sessions that end together would stay in memory until it comes."""
    office.deliver(MAIL)
    gc.collect()
    gc.disable()
    before = _alive()
    try:
        with office.connect() as client:
            if end == b"PASS wrong":
                client.line()
            else:
                client.login()
                client.ask(b"RETR 1")
                client.lines()
            assert _alive() >= before + 3
            if end:
                client.send(end + b"\r\nQUIT\r\n")
                client.rest()
        office.wait_until_empty()
        office.call(until(lambda: _alive() == before))
    finally:
        gc.enable()


def _alive() -> int:
    """Count what belongs to sessions and has not been freed."""
    return sum(isinstance(one, (Connection, Wire, Session, Gate)) for one in gc.get_objects())


def test_everything_in_one_segment(office: Office) -> None:
    """P-024, P-276: the commands are there before the greeting is read."""
    office.deliver(MAIL)
    with office.connect() as client:
        client.send(b"USER bob\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nQUIT\r\nNOOP\r\n")
        replies = client.rest()
    assert replies.count(b"+OK ") == 7
    assert b"-ERR" not in replies
    assert replies.endswith(b"+OK 1 messages deleted, 0 left\r\n")
    assert office.contents() == []


def test_octet_by_octet(office: Office) -> None:
    """P-026."""
    office.deliver(MAIL)
    with office.connect() as client:
        for octet in b"USER bob\r\nPASS secret\r\nSTAT\r\nQUIT\r\n":
            client.send(bytes([octet]))
        assert client.rest().endswith(b"+OK 1 21\r\n+OK 0 messages deleted, 1 left\r\n")


def test_half_close(office: Office) -> None:
    """P-021: ``printf … | nc``; what was complete is answered, and only a complete QUIT updates."""
    office.deliver(MAIL)
    with office.connect() as client:
        client.send(b"USER bob\nPASS secret\nDELE 1\nRETR 1\nSTAT\nQUIT")
        client.socket.shutdown(1)
        assert client.rest().endswith(b"(RSET undoes that)\r\n+OK 0 0\r\n")
    assert len(office.contents()) == 1


@pytest.mark.parametrize("end", [Client.close, Client.reset])
def test_a_client_that_vanishes_deletes_nothing_and_leaves_no_lock(office: Office, end: object) -> None:
    """P-042, P-133."""
    office.deliver(MAIL)
    client = office.connect()
    client.login()
    client.ask(b"DELE 1")
    Client.close(client) if end is Client.close else client.reset()
    office.wait_until_empty()
    assert len(office.contents()) == 1


def test_the_second_session_waits_for_nothing(office: Office) -> None:
    """P-041: [IN-USE] at once; P-131: let in the moment the first QUIT is answered, without exception."""
    office.deliver(MAIL)
    with office.connect() as first:
        first.login()
        with office.connect() as second:
            assert second.login().startswith(b"-ERR [IN-USE] ")
            for _ in range(50):
                assert first.ask(b"QUIT").startswith(b"+OK ")
                assert second.ask(b"USER bob").startswith(b"+OK ")
                assert second.ask(b"PASS secret") == b"+OK 1 messages (21 octets)\r\n"
                first.close()
                first, second = second, office.connect()  # noqa: PLW2901  (they change places)
                second.line()
            second.close()
        first.close()


def test_a_big_message_to_a_slow_reader(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-093, P-277: what is not read is not piled up; the octets are right in the end."""
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}")) as office:
        office.deliver(BIG, MAIL)
        with office.connect(receive_buffer=4096) as client:
            client.login()
            client.send(b"RETR 1\r\nRETR 2\r\n")
            assert client.line() == b"+OK %d octets\r\n" % len(BIG)

            async def queued() -> int:
                (connection,) = office.server.connections
                for _ in range(100):  # lets it write as much as it would
                    await asyncio.sleep(0)
                return connection._wire.transport.get_write_buffer_size()

            assert office.call(queued()) < 300_000
            with office.connect() as other:  # P-093: it blocks only itself
                assert other.login(b"alice") == b"+OK 0 messages (0 octets)\r\n"
            assert b"".join(client.lines()) == BIG.replace(b".line", b"..line")
            assert client.line() == b"+OK 21 octets\r\n"


def test_a_client_that_leaves_in_the_middle_of_a_message(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-042, P-093."""
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}")) as office:
        office.deliver(BIG)
        for end in (Client.close, Client.reset):
            client = office.connect(receive_buffer=4096)
            client.login()
            client.send(b"DELE 1\r\nRSET\r\nRETR 1\r\n")
            for _ in range(20):
                client.line()
            end(client)
            office.wait_until_empty()
        assert len(office.contents()) == 1


def test_a_client_that_asks_and_never_reads(office: Office) -> None:
    """P-277: neither input nor output grows without end."""
    office.deliver(*[b"x\r\n"] * 2000)
    with office.connect(receive_buffer=4096) as client:
        client.login()
        client.socket.setblocking(False)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += client.socket.send(b"UIDL\r\n" * 10_000)
        except BlockingIOError:
            pass  # the server has stopped reading
        assert sent < 50_000_000

        async def held() -> tuple[int, int]:
            (connection,) = office.server.connections
            return connection._session.input_octets, connection._wire.transport.get_write_buffer_size()

        unread, unsent = office.call(held())
        assert unread < 200_000
        assert unsent < 400_000


@pytest.mark.parametrize("octets", [b"x" * 3_000_000, b"FOO\r\n" * 20 + b"y" * 200_000])
def test_the_last_reply_arrives_though_the_client_is_still_sending(loop_factory: LoopFactory, octets: bytes) -> None:
    """P-011, P-025: the end comes with a reply and a regular close, not with RST."""
    limits = Limits(linger=TIMEOUT)
    features = Features("mail.example.org", limits=SessionLimits(pause=0))
    with Office(loop_factory, limits=limits, features=features) as office, office.connect() as client:
        sender = threading.Thread(target=client.send, args=(octets,))
        sender.start()
        replies = client.rest()
        sender.join(TIMEOUT)
        assert replies.startswith(b"+OK ")
        assert re.search(rb"-ERR [^\r\n]*\r\n\Z", replies)


def test_pauses_of_a_client_that_sends_rubbish(loop_factory: LoopFactory) -> None:
    """P-025: the tenth bad command in a row waits, and is answered all the same."""
    features = Features("mail.example.org", limits=SessionLimits(pause=0.01))
    with Office(loop_factory, features=features) as office, office.connect() as client:
        client.line()
        client.send(b"FOO\r\n" * 15 + b"QUIT\r\n")
        replies = client.rest().splitlines()
        assert [reply[:4] for reply in replies] == [b"-ERR"] * 15 + [b"+OK "]


def test_failed_logins_wait_longer_and_longer(loop_factory: LoopFactory) -> None:
    """P-039, P-045, P-276: nothing overtakes the delay; then the connection is closed."""
    limits = Limits(patience=Patience(delay=0.01))
    features = Features("mail.example.org", limits=SessionLimits(login_attempts=3))
    with Office(loop_factory, limits=limits, features=features) as office, office.connect() as client:

        async def now() -> float:
            return asyncio.get_running_loop().time()

        started = office.call(now())
        client.send(
            b"USER bob\r\nPASS wrong\r\nUSER eve\r\nPASS x\r\nUSER bob\r\nPASS x\r\nUSER bob\r\nPASS secret\r\n"
        )
        replies = client.rest().splitlines()
        assert office.call(now()) - started >= 0.01 + 0.02 + 0.04 - 0.003  # timers may be a millisecond early each
        assert replies[1:] == [b"+OK send PASS", b"-ERR [AUTH] wrong user name or password"] * 3


def test_a_client_that_leaves_during_the_delay(loop_factory: LoopFactory) -> None:
    """It does not occupy the server for the rest of it."""
    with Office(loop_factory, limits=Limits(patience=Patience(delay=3600, longest=3600))) as office:
        client = office.connect()
        client.send(b"USER bob\r\nPASS wrong\r\n")
        client.line()
        client.line()
        client.reset()
        office.wait_until_empty()


@pytest.mark.parametrize(("policy", "works"), [("never", False), ("loopback", True), ("always", True)])
def test_cleartext_policy(loop_factory: LoopFactory, policy: CleartextLogin, works: bool) -> None:
    """P-055: over loopback."""
    listener = Listener(Address("127.0.0.1", 0), Door(cleartext_login=policy))
    with Office(loop_factory, listener=listener) as office, office.connect() as client:
        client.line()
        assert client.ask(b"USER bob").startswith(b"+OK " if works else b"-ERR no passwords ")


def test_unix_socket(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """Design 3: unix:/path; also where a dead server has left its socket."""
    listener = Listener(Address("", 0, f"{tmp_path}/pop3"))
    for _ in range(2):
        with Office(loop_factory, listener=listener) as office, office.connect() as client:
            assert client.login() == b"+OK 0 messages (0 octets)\r\n"
    with Office(loop_factory, listener=listener) as office:
        with pytest.raises(OSError, match="in use"):
            Office(loop_factory, listener=listener)
        with office.connect() as client:  # comes after the connection that asked whether anybody is there
            assert client.line().startswith(b"+OK ")


# -- stores and authenticators that misbehave -------------------------------------------------------


class Latch:
    """Something a test opens."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    async def wait(self) -> None:
        self.reached.set()
        await asyncio.to_thread(self._open.wait, TIMEOUT)

    def open(self) -> None:
        self._open.set()


class OddStore(MemoryStore):
    """A memory store with parts that wait or fail."""

    opening: Latch | None = None
    updating: Latch | None = None
    open_error: Exception | None = None
    update_error: Exception | None = None
    closing: Latch | None = None
    file: MessageFile | None = None

    async def open(self, principal: Principal) -> Maildrop:
        maildrop = await super().open(principal)
        if self.opening is not None:
            await self.opening.wait()
        if self.open_error is not None:
            await maildrop.close()
            raise self.open_error
        return OddMaildrop(self, maildrop)


class OddMaildrop:
    def __init__(self, store: OddStore, maildrop: Maildrop) -> None:
        self._store = store
        self._maildrop = maildrop
        self.listing = maildrop.listing

    async def retrieve(self, number: int) -> MessageFile:
        return self._store.file or await self._maildrop.retrieve(number)

    async def update(self, deleted: Collection[int]) -> None:
        if self._store.updating is not None:
            await self._store.updating.wait()
        if self._store.update_error is not None:
            raise self._store.update_error
        await self._maildrop.update(deleted)

    async def close(self) -> None:
        if self._store.closing is not None:
            await self._store.closing.wait()
        await self._maildrop.close()


class BreakingFile:
    """Fails at the second read."""

    def __init__(self) -> None:
        self.reads = 0
        self.closed = False

    def read(self, _size: int = -1, /) -> bytes:
        self.reads += 1
        if self.reads > 1:
            raise OSError(5, "Input/output error", "/a/secret/path")
        return b"Subject: x\r\n"

    def close(self) -> None:
        self.closed = True


def test_an_error_in_the_middle_of_a_message(loop_factory: LoopFactory) -> None:
    """P-095: the connection ends without the terminator, and what was marked stays."""
    store = OddStore()
    store.file = BreakingFile()
    with Office(loop_factory, store) as office:
        office.deliver(MAIL, MAIL)
        with office.connect() as client:
            client.login()
            client.send(b"DELE 2\r\nRETR 1\r\nQUIT\r\n")
            assert client.rest().endswith(b"QUIT removes it, RSET unmarks it\r\n")  # and not one octet more
        office.wait_until_empty()
        assert len(office.contents()) == 2
        assert store.file.closed


def test_an_error_before_the_message(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """P-095: decided before +OK; the details are in the log and not in the reply."""
    store = OddStore()
    store.file = BreakingFile()
    store.file.reads = 1
    with Office(loop_factory, store) as office:
        office.deliver(MAIL)
        with office.connect() as client:
            client.login()
            assert client.ask(b"RETR 1") == b"-ERR [SYS/TEMP] not possible at the moment; please try again later\r\n"
            assert client.ask(b"STAT") == b"+OK 1 21\r\n"
    assert "/a/secret/path" in caplog.text


def test_a_failed_update(loop_factory: LoopFactory) -> None:
    """P-132, P-134: told, and the lock is released."""
    store = OddStore()
    store.update_error = UpdateIncomplete("EIO")
    with Office(loop_factory, store) as office:
        office.deliver(MAIL)
        with office.connect() as client:
            client.login()
            client.ask(b"DELE 1")
            assert client.ask(b"QUIT") == b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"
            assert client.rest() == b""
            assert len(office.contents()) == 1


def test_a_defect_of_ours(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Design 5: logged with its traceback, answered, closed; the server lives on."""
    store = OddStore()
    store.open_error = ZeroDivisionError("internal detail")
    with Office(loop_factory, store) as office:
        with office.connect() as client:
            assert client.login() == b"-ERR [SYS/TEMP] internal error\r\n"
            assert client.rest() == b""
        store.open_error = TemporaryFailure("disk full")
        with office.connect() as client:
            assert client.login().startswith(b"-ERR [SYS/TEMP] not possible")
            store.open_error = None
            assert client.ask(b"USER bob").startswith(b"+OK ")
            assert client.ask(b"PASS secret").startswith(b"+OK ")
    assert "ZeroDivisionError: internal detail" in caplog.text


def test_a_client_that_leaves_while_its_maildrop_is_being_opened(loop_factory: LoopFactory) -> None:
    """P-042: the lock that comes too late is released."""
    store = OddStore()
    store.opening = Latch()
    with Office(loop_factory, store) as office:
        client = office.connect()
        client.send(b"USER bob\r\nPASS secret\r\n")
        assert store.opening.reached.wait(TIMEOUT)
        client.reset()
        store.opening.open()
        office.wait_until_empty()
        store.opening = None
        assert office.contents() == []


def test_a_client_that_leaves_after_a_complete_quit(loop_factory: LoopFactory) -> None:
    """Field notes 4.3: the update is finished even if the reply can no longer be given."""
    store = OddStore()
    store.updating = Latch()
    with Office(loop_factory, store) as office:
        office.deliver(MAIL)
        client = office.connect()
        client.login()
        client.send(b"DELE 1\r\nQUIT\r\n")
        assert store.updating.reached.wait(TIMEOUT)
        client.reset()
        store.updating.open()
        office.wait_until_empty()
        assert office.contents() == []


def test_the_maildrop_of_a_login_that_ends_after_a_stop_is_released(loop_factory: LoopFactory) -> None:
    """P-042, P-043: whatever the client says meanwhile."""
    store = OddStore()
    store.opening = Latch()
    with Office(loop_factory, store) as office:
        with office.connect() as client:
            client.send(b"USER bob\r\nPASS secret\r\n")
            assert store.opening.reached.wait(TIMEOUT)
            stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
            client.send(b"NOOP\r\n")

            async def heard() -> None:
                (connection,) = office.server.connections
                async with asyncio.timeout(TIMEOUT):
                    while connection._session.input_octets == 0:  # noqa: ASYNC110  (a test may look)
                        await asyncio.sleep(0)

            office.call(heard())
            store.opening.open()
            stopping.result(TIMEOUT)
        store.opening = None
        assert office.contents() == []


def test_a_message_whose_octets_are_not_those_listed(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-095: cut off without an end; the next session lists what is there, and it can be fetched."""
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}")) as office:
        office.deliver(MAIL)
        (ours,) = (tmp_path / "bob/new").iterdir()
        path = ours.rename(ours.with_name("1.foreign.host"))
        os.utime(path, (1, 1))
        office.contents()  # reads and remembers it
        path.write_bytes(b"Subject: x  .body\n")  # as long as before, with fewer lines
        os.utime(path, (1, 1))  # and nothing tells
        with office.connect() as client:
            assert client.login() == b"+OK 1 messages (21 octets)\r\n"
            assert client.ask(b"RETR 1") == b""  # what was not sent yet is not sent
        office.wait_until_empty()
        with office.connect() as client:
            assert client.login() == b"+OK 1 messages (19 octets)\r\n"
            assert client.ask(b"RETR 1") == b"+OK 19 octets\r\n"
            assert client.lines() == [b"Subject: x  .body\r\n"]


def test_one_busy_client_does_not_hold_the_others_up(loop_factory: LoopFactory) -> None:
    """P-295: the others have their turns while a client that reads all it gets is served."""
    with Office(loop_factory) as office:
        office.deliver(*[b"x\r\n"] * 2000)
        with office.connect() as busy, office.connect() as other:
            busy.login()
            other.login(b"alice")

            def read_on() -> None:
                with contextlib.suppress(ConnectionResetError):  # the end comes while much is still unread
                    busy.rest()

            reader = threading.Thread(target=read_on)
            reader.start()
            lists = 10_000
            busy.send(b"LIST\r\n" * lists)
            for _ in range(5):
                assert other.ask(b"NOOP") == b"+OK nothing done\r\n"

            async def progress() -> int:
                return max(int(connection._session.commands) for connection in office.server.connections)

            assert office.call(progress()) < lists  # and five answers have come in between
            busy.socket.shutdown(socket.SHUT_RDWR)
            reader.join(TIMEOUT)
            assert not reader.is_alive()


def test_many_small_messages_are_not_read_in_one_turn(
    tmp_path: Path, loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-295: what is answered at once gives the others their turn, too."""
    read = 0
    turns = []
    retrieve_now, go_on = Connection._retrieve_now, Connection._go_on

    def counted(self: Connection, event: Retrieve, maildrop: Prompt) -> bool:
        nonlocal read
        read += 1
        return retrieve_now(self, event, maildrop)

    def turn(self: Connection) -> None:
        before = read
        go_on(self)
        turns.append(read - before)

    monkeypatch.setattr(Connection, "_retrieve_now", counted)
    monkeypatch.setattr(Connection, "_go_on", turn)
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}")) as office:
        office.deliver(MAIL)
        with office.connect() as client:
            client.login()
            client.send(b"TOP 1 0\r\n" * 1000 + b"QUIT\r\n")
            assert client.rest().count(b"+OK ") == 1001
    assert read == 1000
    assert max(turns) == AT_ONCE


# -- stopping ---------------------------------------------------------------------------------------


def test_stop_drops_sessions_without_update(office: Office) -> None:
    """P-016, P-133, P-294: and without a word."""
    office.deliver(MAIL)
    with office.connect() as client:
        client.login()
        client.ask(b"DELE 1")
        office.stop(grace=0.01)
        with contextlib.suppress(ConnectionResetError):  # just as silent
            assert client.rest() == b""
        assert len(office.contents()) == 1


def test_stop_waits_for_an_update_that_has_begun(loop_factory: LoopFactory) -> None:
    """P-294, P-135: it is finished and answered."""
    store = OddStore()
    store.updating = Latch()
    with Office(loop_factory, store) as office:
        office.deliver(MAIL)
        with office.connect() as client:
            client.login()
            client.send(b"DELE 1\r\nQUIT\r\n")
            assert store.updating.reached.wait(TIMEOUT)
            stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
            store.updating.open()
            stopping.result(TIMEOUT)
            assert client.rest().endswith(b"+OK 1 messages deleted, 0 left\r\n")
            assert office.contents() == []


def test_stop_lets_the_last_reply_out(loop_factory: LoopFactory) -> None:
    """P-131, P-294: the update is done, the maildrop is just being closed, and the client is still to be told."""
    store = OddStore()
    store.closing = Latch()
    with Office(loop_factory, store) as office:
        office.deliver(MAIL)
        with office.connect() as client:
            client.login()
            client.send(b"DELE 1\r\nQUIT\r\n")
            assert store.closing.reached.wait(TIMEOUT)
            stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
            store.closing.open()
            stopping.result(TIMEOUT)
            assert client.rest().endswith(b"+OK 1 messages deleted, 0 left\r\n")


def test_stop_during_a_read(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """P-133: a disk that takes its time is no defect of ours."""

    class SlowFile(BreakingFile):
        gate = threading.Event()
        reached = threading.Event()

        def read(self, _size: int = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                self.reached.set()
                self.gate.wait(TIMEOUT)
            return b"Subject: x\r\n"

    store = OddStore()
    store.file = file = SlowFile()
    with Office(loop_factory, store) as office:
        office.deliver(MAIL)
        with office.connect() as client:
            client.login()
            client.send(b"RETR 1\r\n")
            assert file.reached.wait(TIMEOUT)
            stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
            office.call(asyncio.sleep(0))
            file.gate.set()
            stopping.result(TIMEOUT)
        assert len(office.contents()) == 1
    assert "internal error" not in caplog.text


def test_stop_lets_sessions_end_by_themselves(office: Office) -> None:
    """P-294."""
    with office.connect() as client:
        client.login()
        stopping = asyncio.run_coroutine_threadsafe(office.server.stop(TIMEOUT), office.loop)
        assert client.ask(b"NOOP").startswith(b"+OK ")
        assert client.ask(b"QUIT").startswith(b"+OK ")
        stopping.result(TIMEOUT)


# -- the log ----------------------------------------------------------------------------------------


def test_one_line_for_each_session(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """P-288."""
    caplog.set_level(logging.INFO)
    office.deliver(MAIL, MAIL)
    with office.connect() as client:
        client.login()
        client.send(b"RETR 1\r\nTOP 2 0\r\nDELE 1\r\nQUIT\r\n")
        client.rest()
    office.wait_until_empty()
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("session, ")]
    assert re.fullmatch(
        r"session, address=127\.0\.0\.1:\d+ user=bob mechanism=USER tls=- "
        r"retr=1/21 top=1/14 deleted=1 left=1 sent=\d+ seconds=\d+\.\d end=quit",
        line,
    )


def test_passwords_are_in_no_log(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """P-053, P-287: not the right one, not a wrong one, not one typed in place of the name."""
    caplog.set_level(logging.DEBUG)
    with office.connect() as client:
        client.line()
        for line in (b"USER hunter2typed", b"PASS hunter2wrong", b"USER bob", b"PASS secret", b"QUIT"):
            client.ask(line)
    office.wait_until_empty()
    assert "login failed" in caplog.text
    assert "unter2" not in caplog.text
    assert "secret" not in caplog.text


# -- sharing ----------------------------------------------------------------------------------------


def test_many_sessions_at_once(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """Each gets its own mail, whole, while the others go on."""

    class Anybody(OneUser):
        async def authenticate(self, credentials: Credentials) -> Principal:
            return Principal(credentials.user)

    store = MaildirStore(f"{tmp_path}/{{user}}")
    with Office(loop_factory, store, limits=QUICK, authenticator=Anybody()) as office:
        users = [f"user{number}" for number in range(40)]
        for user in users:
            office.deliver(user.encode() * 10_000, user=user)
        clients = {user: office.connect() for user in users}
        for user, client in clients.items():
            client.send(b"USER %b\r\nPASS x\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n" % user.encode())
        for user, client in clients.items():
            with client:
                assert user.encode() * 10_000 + b"\r\n.\r\n" in client.rest()
        assert [office.contents(user) for user in users] == [[]] * 40
        assert len(os.listdir(tmp_path)) == 40  # noqa: PTH208


def test_options_of_a_connection(office: Office) -> None:
    """P-022, P-042: accepted sockets have inherited them."""
    with office.connect() as client:
        client.line()

        async def options() -> tuple[int, int, int]:
            (connection,) = office.server.connections
            sock = connection._wire.transport.get_extra_info("socket")
            return (
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            )

        assert office.call(options()) == (1, 1, 120)


def test_what_was_asked_for_arrives_though_more_came_after_quit(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-131, P-137: a slow reader gets all replies up to QUIT's, even when it sent a line too much."""
    limits = Limits(linger=0.01)
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}"), limits=limits) as office:
        office.deliver(BIG)
        with office.connect(receive_buffer=4096) as client:
            client.login()
            client.send(b"RETR 1\r\nQUIT\r\n\r\n")
            received = client.file.read(len(BIG))

            async def turn() -> None:
                await asyncio.sleep(0)

            for _ in range(100):  # time for a server that would lose patience
                office.call(turn())
            assert (received + client.rest()).endswith(b"\r\n.\r\n+OK 0 messages deleted, 1 left\r\n")


@pytest.mark.parametrize("octets", [0, 100, WHOLE, WHOLE + 1])
def test_the_end_of_a_reply_comes_with_its_last_line(
    loop_factory: LoopFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, octets: int
) -> None:
    """P-022: some old clients stall when the terminator has a segment of its own."""
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}")) as office, office.connect() as client:
        office.deliver(b"x" * octets)
        client.login()
        written: list[bytes] = []
        write = Wire.write

        def record(wire: Wire, pieces: Sequence[bytes]) -> None:
            written.append(b"".join(pieces))
            write(wire, pieces)

        monkeypatch.setattr(Wire, "write", record)
        client.ask(b"RETR 1")
        client.lines()
        assert written[-1].endswith(b".\r\n")
        assert len(written[-1]) > 3
        assert len(written) == (1 if octets <= WHOLE else WHOLE // PIECE + 1)


@pytest.mark.parametrize("count", [1, 99, 100, 101, 150, 250, 1000])
def test_all_is_answered_after_the_end_of_the_input(office: Office, count: int) -> None:
    """P-021: however many turns it takes."""
    with office.connect() as client:
        client.login()
        client.send(b"NOOP\r\n" * count)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b"+OK nothing done\r\n" * count


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("cached", [True, False])
def test_messages_of_a_maildir(
    tmp_path: Path, loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch, end: bytes, *, cached: bool
) -> None:
    """P-081, P-088: whatever the size, the line ends on disk, and whoever reads it, it is what LIST says."""
    if not cached:
        monkeypatch.setattr(systems, "open_cached", lambda *_: -1)
    sizes = [0, 1, 100, 65_534, 65_535, 65_536, 65_537, 131_072, 1_000_000]
    messages = [(b"." * (size % 3) + b"x" * size)[:size] + end for size in sizes]
    messages.append(b"")
    messages.append(b"A: 1" + end + end + b".dot" + end + b"last line")
    maildir = tmp_path / "bob"
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    for number, message in enumerate(messages, 1):
        (maildir / "cur" / f"{number}.x.host:2,").write_bytes(message)
    with Office(loop_factory, MaildirStore(f"{tmp_path}/{{user}}")) as office:
        for _ in range(2):  # the second time it is known
            with office.connect() as client:
                client.login()
                client.ask(b"LIST")
                listed = [int(line.split()[1]) for line in client.lines()]
                for number, message in enumerate(messages, 1):
                    wire = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                    wire += b"" if not wire or wire.endswith(b"\r\n") else b"\r\n"
                    assert client.ask(b"RETR %d" % number) == b"+OK %d octets\r\n" % len(wire)
                    stuffed = b"".join(b"." + line if line[:1] == b"." else line for line in wire.splitlines(True))
                    assert b"".join(client.lines()) == stuffed
                    assert listed[number - 1] == len(wire)
                client.ask(b"QUIT")
