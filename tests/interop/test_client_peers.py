"""Our client against servers that others have written."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restante.client import (
    BlockingPOP3Client,
    ConnectionLost,
    NotPop3,
    Patience,
    POP3Client,
    Refused,
    Security,
    ServerUrl,
)
from restante.errors import AuthenticationFailed, Condition
from tests.client.peer import Peer, multi
from tests.interop.catalogue import PYPI
from tests.interop.foreign_servers import deliver, make_maildir, needs_dovecot_running, open_folder, running_dovecot
from tests.interop.program import IN_CI, TIMEOUT

TWISTED = """
import sys
from twisted.cred import checkers, portal
from twisted.internet import protocol, reactor
from twisted.mail import pop3
from zope.interface import implementer

MESSAGES = [b"Subject: one\\n\\nbody\\n.dot\\n", b"Subject: two\\n\\n" + b"x" * 5000 + b"\\n"]

@implementer(pop3.IMailbox)
class Mailbox:
    deleted = set()
    def listMessages(self, index=None):
        sizes = [0 if at in self.deleted else len(one) for at, one in enumerate(MESSAGES)]
        return sizes if index is None else sizes[index]
    def getMessage(self, index):
        import io
        return io.BytesIO(MESSAGES[index])
    def getUidl(self, index):
        return b"id%d" % index
    def deleteMessage(self, index):
        self.deleted.add(index)
    def undeleteMessages(self):
        self.deleted.clear()
    def sync(self):
        pass

class Realm:
    def requestAvatar(self, avatar, mind, *interfaces):
        return pop3.IMailbox, Mailbox(), lambda: None

factory = protocol.Factory()
def build(address):
    server = pop3.POP3()
    server.portal = portal.Portal(Realm(), [checkers.InMemoryUsernamePasswordDatabaseDontUse(bob=b"secret")])
    return server
factory.buildProtocol = build
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.callInThread(lambda: (sys.stdin.read(), reactor.callFromThread(reactor.stop)))
reactor.run()
"""

needs_twisted = pytest.mark.skipif(
    not (PYPI / "python").exists() and not IN_CI,
    reason="Twisted is not here (pip install -r requirements-clients.txt into .venv-clients)",
)


@contextmanager
def program(*command: str | Path) -> Iterator[int]:
    """Run a server that prints its port, and ends with its standard input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
            process.stdin.close()
            process.wait(TIMEOUT)
        finally:
            process.kill()


@needs_twisted
def test_twisted(tmp_path: Path) -> None:
    """Field notes: its CAPA announces odd words, its ``UIDL n`` has no number, deleted messages have the size 0."""
    script = tmp_path / "server.py"
    script.write_text(TWISTED, encoding="utf-8")
    with (
        program(PYPI / "python", script) as port,
        BlockingPOP3Client(ServerUrl("127.0.0.1", port, tls=False)) as client,
    ):
        client.login("bob", "secret")
        assert client.stat().messages == 2
        assert client.uidl() == {1: "id0", 2: "id1"}
        assert client.retr(1).read() == b"Subject: one\r\n\r\nbody\r\n.dot\r\n"
        assert len(client.retr(2).read()) == client.list()[2] + 3  # it counts LF (K-009)
        with pytest.raises(NotPop3):
            client.uidl(1)
    with (
        program(PYPI / "python", script) as port,
        BlockingPOP3Client(ServerUrl("127.0.0.1", port, tls=False)) as client,
    ):
        client.login("bob", "secret")
        client.dele(1)
        assert client.list() == {1: 0, 2: client.list(2)}


STDLIB = """
import sys, threading
from test import test_poplib
server = test_poplib.DummyPOP3Server(("127.0.0.1", 0))
server.start()
print(server.port, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.mark.filterwarnings("ignore")
def test_the_dummy_of_the_standard_library() -> None:
    """CPython's own stub for the tests of poplib, where this Python has its tests with it."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from test import test_poplib; test_poplib.DummyPOP3Server"],
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )
    if found.returncode:
        pytest.skip("this Python comes without its own tests (test.test_poplib)")
    with program(sys.executable, "-W", "ignore", "-c", STDLIB) as port:
        url = ServerUrl("127.0.0.1", port, tls=False)
        with pytest.raises(NotPop3, match="certificate is not good"):  # it has STLS, and no other way to log in
            BlockingPOP3Client(url).connect()
        with BlockingPOP3Client(url, security=Security(insecure=True)) as client:
            assert "UIDL" in client.capabilities
            client.login("guido", "python")
            assert client.stat().messages == 10
            assert client.list() == {number: number for number in range(1, 6)}
            assert client.uidl()
            assert client.retr(1).read().startswith(b"From: postmaster@python.org\r\n")
            assert client.top(1)
            client.noop()
            client.dele(1)
            with pytest.raises(Refused):
                client.rset()


@needs_dovecot_running
def test_dovecot() -> None:
    """Everything, pipelined."""
    with open_folder() as folder:
        maildir = make_maildir(folder / "mail" / "bob")
        for number in range(300):
            deliver(maildir, f"{number:05d}.M1P1.host", b"Subject: %d\n\n.%b\n" % (number, b"x" * number))
        with running_dovecot(folder / "dovecot", folder / "mail") as server:
            asyncio.run(_everything(server.port))


async def _everything(port: int) -> None:
    async with POP3Client(ServerUrl("127.0.0.1", port, tls=False)) as client:
        await client.login("bob", "bobpw")
        ids, sizes = await client.listing()
        assert len(ids) == len(sizes) == 300
        async for number, message in client.retr_many(sizes):
            assert not isinstance(message, Condition)
            assert len(await message.read()) == sizes[number]
        assert await client.dele_many([1, 2, 3]) == {}
        with pytest.raises(Condition):
            await client.retr(2)


# -- what the tests of curl have servers say --------------------------------------------------------

PLAIN = {b"CAPA": multi(b"SASL PLAIN"), b"AHVzZXIAc2VjcmV0": b"+OK in\r\n", b"LIST": multi()}
RUBBISH = {b"CAPA": multi(b"SASL LOGIN"), b"AUTH": b"+ Rubbish\r\n", b"*": b"-ERR cancelled\r\n"}


@pytest.mark.parametrize(
    ("replies", "asked", "kind"),
    [
        ({b"RETR": b"-ERR no such message\r\n"}, "retr", Refused),
        ({b"RETR": b"+OK\r\nFrom: me@somewhere\r\n"}, "retr", ConnectionLost),
        ({b"RETR": b"+OK Hello\r\n\r\n.\r\n"}, "retr", None),
        ({b"LIST": b"-ERR\r\n"}, "list", Refused),
        ({b"CAPA": b"-ERR Unrecognized command\r\n", b"LIST": multi(b"1 100", b"2 4294967400")}, "list", None),
        ({b"CAPA": multi(b"SASL"), b"LIST": multi()}, "list", None),
        ({b"CAPA": b"+OK\r\nUSER\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n"}, "list", None),
        ({b"LIST": b"500 what?\r\n"}, "list", NotPop3),
        ({b"LIST": b"+OK but no messages\r\n.\r\n"}, "list", None),
        ({b"PASS": b"-ERR Login failure\r\n"}, "list", AuthenticationFailed),
        (
            {b"CAPA": multi(b"SASL PLAIN"), b"AUTH": b"+\r\n", b"AHVzZXIAc2VjcmV0": b"+OK in\r\n", b"LIST": multi()},
            "list",
            None,
        ),
        ({b"CAPA": multi(b"SASL DIGEST-MD5 NTLM"), b"USER": b"-ERR\r\n"}, "list", NotPop3),
        (RUBBISH, "list", AuthenticationFailed),
    ],
)
def test_scripted(replies: dict[bytes, bytes], asked: str, kind: type[Exception] | None) -> None:
    """Logins, RETR and LIST that are refused, cut off, empty, larger than 32 bits; capabilities of all shapes."""
    login = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n"}
    script = login | replies

    def ask(client: BlockingPOP3Client) -> None:
        client.login("user", "secret")
        if asked == "list":
            client.list()
        else:
            client.retr(1).read()

    hasty = Patience(silence=0.3, long_silence=0.3)
    with Peer(script) as peer:
        if kind is None:
            with BlockingPOP3Client(peer.url, patience=hasty) as client:
                ask(client)
            return
        with pytest.raises(kind), BlockingPOP3Client(peer.url, patience=hasty) as client:
            ask(client)
