"""A server that takes mail into real Maildirs, and a client that brings it, octet for octet."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from restante.addressing import Addressing, Rules
from restante.intake.desk import Desk
from restante.maildrop import Delivery
from restante.protocol.policy import Features
from restante.protocol.scan_listing import Headers
from restante.protocol.smtp.session import MailSession
from restante.server.addresses import Address
from restante.server.listener import Listener
from restante.server.service import Door
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.quota import Limits as Quota
from tests.addressing.site import table
from tests.server.office import Client, LoopFactory, Office, TravelLoop
from tests.server.test_sessions import Latch

HOST = "mail.example.org"
LMTP = Door(protocol="lmtp")
SMTP = Door(protocol="smtp")
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
ANYWHERE = Address("127.0.0.1", 0)

_TRACE = re.compile(
    rb"Return-Path: <(?P<path>[^>]*)>\r\n"
    rb"Delivered-To: (?P<final>\S+)\r\n"
    rb"(?:X-Original-To: (?P<original>\S+)\r\n)?"
    rb"Received: from (?P<helo>\S+) \((?P<where>[^)]*)\)\r\n"
    rb"\tby mail\.example\.org \(Restante\) with (?P<protocol>\S+) id (?P<id>\w+)\r\n"
    rb"\tfor <(?P<recipient>[^>]*)>(?:\r\n\ttls (?P<cipher>\S+))?;\r\n"
    rb"\t(?P<date>[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4})\r\n"
)


def split(message: bytes) -> tuple[Mapping[str, str], bytes]:
    """Return what our trace says, which must be as it should, and all that comes after it (D-005)."""
    match = _TRACE.match(message)
    assert match is not None, message[:500]
    found = {name: value.decode() for name, value in match.groupdict(b"").items()}
    return found, message[match.end() :]


def on_the_wire(message: bytes) -> bytes:
    """Return what RETR is to send of a message: only line ends change, and the last line has one (P-087)."""
    lines = re.sub(rb"(?<!\r)\n", b"\r\n", message)
    return lines if lines.endswith(b"\n") or not lines else lines + b"\r\n"


def ended(message: bytes) -> bytes:
    """Return a message as DATA can carry it: its last line ends in CRLF."""
    return message if message.endswith(b"\r\n") or not message else message + b"\r\n"


def stuffed(message: bytes) -> bytes:
    """Return what follows DATA."""
    return (b"\r\n" + ended(message)).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


class MailClient(Client):
    """Brings mail."""

    def reply(self) -> bytes:
        """Read one reply; of several lines, all of them."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return b"".join(lines)

    def replies(self, count: int) -> list[bytes]:
        """Read so many."""
        return [self.reply() for _ in range(count)]

    def ask(self, line: bytes) -> bytes:
        """Send a line and return its reply."""
        self.send(line + b"\r\n")
        return self.reply()

    def hello(self, keyword: bytes = b"LHLO") -> bytes:
        """Read the greeting and say who this is."""
        assert self.reply().startswith(b"220 mail.example.org ")
        return self.ask(keyword + b" client.example")

    def envelope(self, *recipients: bytes, sender: bytes = b"a@example.net") -> list[bytes]:
        """Begin a message; returns the replies to RCPT."""
        assert self.ask(b"MAIL FROM:<" + sender + b">") == b"250 2.1.0 sender ok\r\n"
        return [self.ask(b"RCPT TO:<" + recipient + b">") for recipient in recipients or (b"bob@example.org",)]

    def data(self, message: bytes, replies: int = 1) -> list[bytes]:
        """Hand a message in by DATA; returns the replies."""
        assert self.ask(b"DATA").startswith(b"354 ")
        self.send(stuffed(message))
        return self.replies(replies)

    def bdat(self, message: bytes, replies: int = 1) -> list[bytes]:
        """Hand a message in by BDAT, in two chunks."""
        half = len(message) // 2
        self.send(b"BDAT %d\r\n" % half + message[:half])
        assert self.reply() == b"250 2.0.0 chunk ok\r\n"
        self.send(b"BDAT %d LAST\r\n" % (len(message) - half) + message[half:])
        return self.replies(replies)


def codes(replies: list[bytes]) -> list[bytes]:
    """Return code and status of replies; what was delivered has an id, too."""
    return [re.sub(rb"^(\d{3} \d\.\d\.\d) .*\r\n$", rb"\1", reply) for reply in replies]


class GatedStore(MaildirStore):
    """Whose deliveries wait at the steps that a test closes."""

    def __init__(self, path: str, **gates: Latch) -> None:
        super().__init__(path, 0, HOST)
        self.gates = gates
        """By the name of the step, or ``user.step``."""

    @asynccontextmanager
    async def deliver(self, user: str) -> AsyncIterator[Any]:
        async with super().deliver(user) as delivery:
            yield _Gated(delivery, user, self.gates)


class _Gated:
    def __init__(self, delivery: Delivery, user: str, gates: Mapping[str, Latch]) -> None:
        self._delivery = delivery
        self._user = user
        self._gates = gates

    async def write(self, octets: bytes) -> None:
        await self._wait("write")
        await self._delivery.write(octets)

    async def prepare(self) -> None:
        await self._wait("prepare")
        await self._delivery.prepare()

    async def commit(self) -> None:
        await self._wait("commit")
        await self._delivery.commit()

    async def _wait(self, step: str) -> None:
        for name in (step, f"{self._user}_{step}"):
            if name in self._gates:
                await self._gates[name].wait()


class MailOffice(Office):
    """A server with POP3, and a way in for mail.

    Args:
        loop_factory: the kind of event loop.
        folder: an empty one.
        door: for the mail.
        address: where mail is taken.
        store: default: Maildirs.
        quota: of the Maildirs.
        domains: that are ours; none: nobody has said which.
        desk: more of the desk.
        options: as for `Office`.
    """

    def __init__(
        self,
        loop_factory: LoopFactory,
        folder: Path,
        door: Door = LMTP,
        *,
        address: Address = ANYWHERE,
        store: MaildirStore | None = None,
        quota: Quota | None = None,
        domains: frozenset[str] = frozenset({"example.org"}),
        desk: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        users = table(folder / "users", "bob", "alice", "full")
        rules = Rules(HOST, domains, aliases={"team": ("bob", "alice")}, configured=bool(domains))
        self.mail = folder / "mail"
        self.mail.mkdir(exist_ok=True)
        self.lmtp = door.protocol == "lmtp"
        store = store or MaildirStore(f"{self.mail}/{{user}}", 0, HOST, quota=quota)
        options.setdefault("features", Features(HOST, headers=Headers.RAW))
        super().__init__(
            loop_factory,
            store,
            authenticator=users,
            others=[Listener(address, door, **options.pop("listener_options", {}))],
            desk=Desk(HOST, store, Addressing(rules, [users]), **(desk or {})),
            **options,
        )

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def mail_port(self) -> tuple[str, int]:
        """Return where mail is taken, by TCP."""
        address = self.address(1)
        assert isinstance(address, tuple)
        return address

    def connect_mail(self) -> MailClient:
        """Connect, and read nothing yet."""
        return MailClient(self.address(1))

    def bring(self) -> MailClient:
        """Connect, and say hello."""
        with ExitStack() as stack:
            client = stack.enter_context(self.connect_mail())
            client.hello(b"LHLO" if self.lmtp else b"EHLO")
            stack.pop_all()  # the caller closes it
        return client

    def session(self) -> MailSession:
        """Return the only session that there is; a test may look."""
        (connection,) = self.server.connections
        assert isinstance(connection._session, MailSession)
        return connection._session

    def received(self) -> int:
        """Return how many octets of the message under way have come, and are certain."""
        return self.session()._transaction._watch.octets

    def travel(self, seconds: float) -> None:
        """Put the clock forward, on a loop where that can be done."""
        assert isinstance(self.loop, TravelLoop)
        self.loop.travel(seconds)

    def files(self, user: str = "bob", folder: str = "new") -> list[Path]:
        """Return what is in a Maildir."""
        path = self.mail / user / folder
        return sorted(path.iterdir()) if path.exists() else []

    def left_over(self) -> list[Path]:
        """Return what stands in tmp of any Maildir."""
        return list(self.mail.glob("*/tmp/*"))

    def fetch(self, user: bytes = b"bob") -> list[bytes]:
        """Return all messages by POP3, as RETR sends them, dots undone."""
        with self.connect() as client:
            assert client.login(user).startswith(b"+OK ")
            count = int(client.ask(b"STAT").split()[1])
            messages = []
            for number in range(1, count + 1):
                octets = int(client.ask(b"LIST %d" % number).split()[2])
                assert client.ask(b"RETR %d" % number).startswith(b"+OK ")
                message = b"".join(line.removeprefix(b".") for line in client.lines())
                assert len(message) == octets
                messages.append(message)
            assert client.ask(b"QUIT").startswith(b"+OK ")
            return messages

    def fetch_plain(self, user: bytes = b"bob") -> list[bytes]:
        """Return all messages without our trace."""
        return [split(message)[1] for message in self.fetch(user)]
