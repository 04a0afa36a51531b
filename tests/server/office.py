"""A real server on a loopback port, in a thread with an event loop of its own, and a client that types at it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from restante.auth import Authenticator, Credentials, Password, Principal
from restante.errors import AuthenticationFailed
from restante.maildrop import MaildropStore
from restante.protocol.policy import Features
from restante.server.addresses import Address
from restante.server.guessing import Patience
from restante.server.listener import Listener, Server, bind
from restante.server.service import Limits, Service
from restante.stores.memory import MemoryStore

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: dict[str, LoopFactory] = {"uvloop": uvloop.new_event_loop, "stdlib": asyncio.SelectorEventLoop}
TIMEOUT = 20.0
"""Seconds after which a test gives up."""
QUICK = Limits(patience=Patience(delay=0), linger=0.2)


class TravelLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward, so that nobody has to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = 0.0

    def time(self) -> float:
        return super().time() + self._ahead

    def travel(self, seconds: float) -> None:
        """Put the clock forward, from any thread; returns when the timers that are due have run."""
        done = threading.Event()

        def forward() -> None:
            self._ahead += seconds
            self.call_later(0, lambda: self.call_soon(done.set))

        self.call_soon_threadsafe(forward)
        assert done.wait(TIMEOUT)


BOB = Password("bob", b"secret")
ALICE = Password("alice", b"secret")


class OneUser:
    """An authenticator that knows bob, whose password is secret, and alice, whose password is the same."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        if not isinstance(credentials, Password) or credentials not in (BOB, ALICE):
            raise AuthenticationFailed
        return Principal(credentials.user)


class Client:
    """Types and reads, octet for octet."""

    def __init__(self, address: Any, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def line(self) -> bytes:
        return self.file.readline()

    def ask(self, line: bytes) -> bytes:
        """Send a line and return the first line of the answer."""
        self.send(line + b"\r\n")
        return self.line()

    def lines(self) -> list[bytes]:
        """Read the rest of a multi-line reply."""
        found = []
        while (line := self.line()) != b".\r\n":
            assert line
            found.append(line)
        return found

    def rest(self) -> bytes:
        """Read until the server closes."""
        return self.file.read()

    def login(self, user: bytes = b"bob") -> bytes:
        assert self.line().startswith(b"+OK ")
        assert self.ask(b"USER " + user) == b"+OK send PASS\r\n"
        return self.ask(b"PASS secret")

    def reset(self) -> None:
        """Vanish with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Office:
    """A running server.

    Args:
        loop_factory: the kind of event loop.
        store: where the mail is; default: a memory store.
        listener: where to listen; default: a free port for POP3.
        others: more of them.
        options: more of the service.
    """

    def __init__(
        self,
        loop_factory: LoopFactory,
        store: MaildropStore | None = None,
        *,
        limits: Limits = QUICK,
        authenticator: Authenticator | None = None,
        listener: Listener | None = None,
        others: Sequence[Listener] = (),
        **options: Any,
    ) -> None:
        self.store = store or MemoryStore()
        options.setdefault("features", Features("mail.example.org"))
        self._service = Service(authenticator=authenticator or OneUser(), store=self.store, limits=limits, **options)
        (self._listening,) = bind(listener or Listener(Address("127.0.0.1", 0)))
        self._others = [listening for other in others for listening in bind(other)]
        self._loop_factory = loop_factory
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(TIMEOUT)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self._finish.set)
        self._thread.join(TIMEOUT)
        assert kind or not self._thread.is_alive(), "the server does not stop"

    def connect(self, *, receive_buffer: int = 0) -> Client:
        return Client(self.address(), receive_buffer=receive_buffer)

    def address(self, number: int = 0) -> str | tuple[str, int]:
        """Return where a listener is: 0 is the first, the others follow."""
        address = [self._listening, *self._others][number].listener.address
        return address.path or (address.host, address.port)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(TIMEOUT)

    def deliver(self, *messages: bytes, user: str = "bob") -> None:
        async def work() -> None:
            for message in messages:
                async with self.store.deliver(user) as delivery:
                    await delivery.write(message)
                    await delivery.commit()

        self.call(work())

    def contents(self, user: str = "bob") -> list[str]:
        """The unique-ids in a maildrop; opening it proves that nobody holds its lock."""

        async def work() -> list[str]:
            maildrop = await self.store.open(Principal(user))
            found = [message.unique_id for message in maildrop.listing]
            await maildrop.close()
            return found

        return self.call(work())

    def wait_until_empty(self) -> None:
        """Wait until the server has done with every connection."""

        self.call(self.server._wait_until_empty(TIMEOUT))
        assert not self.server.connections

    def stop(self, grace: float) -> None:
        self.call(self.server.stop(grace))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._finish = asyncio.Event()
        self.server = Server(self._service)
        await self.server.start([self._listening, *self._others])
        self._ready.set()
        await self._finish.wait()
        await self.server.stop(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until something is so."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  (nobody sets an event when the census changes)
            await asyncio.sleep(0)
