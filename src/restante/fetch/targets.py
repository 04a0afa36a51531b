"""Where fetched mail goes: what a destination must be able to do, and those that are not files of mail."""

import asyncio
import smtplib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import BinaryIO, Protocol, cast

from restante.errors import Condition, PermanentFailure, TemporaryFailure, one_line
from restante.maildrop import Delivery, Traceable
from restante.protocol.framing import TERMINATOR, ByteStuffer, CrlfLines, LfLines

IN_MEMORY = 1 << 19
"""Octets of a message that are held in memory; a longer one goes to a file without a name."""
PATIENCE = 600.0
"""Seconds for a command, or for the reply to the end of a message (RFC 5321 section 4.5.3.2.6)."""
_PIECE = 1 << 16
_LATER = 75
"""EX_TEMPFAIL of sysexits."""


class Target(Protocol):
    """A destination."""

    @property
    def exact(self) -> bool:
        """It can tell after a crash whether a message was delivered; its deliveries are `TraceableDelivery`."""
        ...

    def deliver(self) -> AbstractAsyncContextManager[Delivery]:
        """Begin a delivery; see `restante.maildrop.MaildropStore.deliver`."""
        ...

    async def prepare(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `restante.maildrop.Traceable.prepare_together`."""
        ...

    async def commit(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `restante.maildrop.Traceable.commit_together`."""
        ...

    async def settle(self, receipt: str) -> bool:
        """Say whether a delivery was committed; what is left of one that was not is removed.

        Raises:
            TemporaryFailure, PermanentFailure: nobody can tell.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Receiver(Protocol):
    """What is needed of a store; see `restante.maildrop.MaildropStore`."""

    def deliver(self, user: str, /) -> AbstractAsyncContextManager[Delivery]:
        """See `MaildropStore.deliver`."""
        ...


class StoreTarget:
    """A maildrop of a store.

    Args:
        store: which it is in.
        user: whose it is.
    """

    def __init__(self, store: Receiver, user: str) -> None:
        self._store = store
        self._traceable = store if isinstance(store, Traceable) else None
        self._user = user

    @property
    def exact(self) -> bool:
        """See `Target.exact`."""
        return self._traceable is not None

    def deliver(self) -> AbstractAsyncContextManager[Delivery]:
        """See `Target.deliver`."""
        return self._store.deliver(self._user)

    async def prepare(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Target.prepare`."""
        if self._traceable is not None:
            return await self._traceable.prepare_together(deliveries)
        return [await _tried(delivery.prepare) for delivery in deliveries]

    async def commit(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Target.commit`."""
        if self._traceable is not None:
            return await self._traceable.commit_together(deliveries)
        return [await _tried(delivery.commit) for delivery in deliveries]

    async def settle(self, receipt: str) -> bool:
        """See `Target.settle`."""
        assert self._traceable is not None
        return await self._traceable.settle(self._user, receipt)

    async def close(self) -> None:
        """See `Target.close`."""


async def _tried(step: Callable[[], Awaitable[None]]) -> Condition | None:
    try:
        await step()
    except Condition as condition:
        return condition
    return None


class _Spooled:
    """A message that is collected, and handed on as a whole when it is committed; see `Delivery`."""

    def __init__(self, hand_on: Callable[[BinaryIO], None]) -> None:
        self._hand_on = hand_on
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (closed by `close`)

    async def write(self, octets: bytes) -> None:
        try:
            self._file.write(octets)
        except OSError as error:
            raise TemporaryFailure(f"no room for a message: {error.strerror}") from None

    async def prepare(self) -> None:
        """Nothing is left to do before the message is handed on."""

    async def commit(self) -> None:
        self._file.seek(0)
        await asyncio.to_thread(self._hand_on, cast("BinaryIO", self._file))

    def close(self) -> None:
        self._file.close()


class SpoolingTarget:
    """A destination that takes a message as a whole, and of which nobody can ask later whether it has it."""

    exact = False

    @asynccontextmanager
    async def deliver(self) -> AsyncIterator[Delivery]:
        """See `Target.deliver`."""
        spooled = _Spooled(self.hand_on)
        try:
            yield spooled
        finally:
            spooled.close()

    async def prepare(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Target.prepare`."""
        return [await _tried(delivery.prepare) for delivery in deliveries]

    async def commit(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Target.commit`."""
        return [await _tried(delivery.commit) for delivery in deliveries]

    def hand_on(self, file: BinaryIO) -> None:
        """Hand a message on; blocks.

        Raises:
            TemporaryFailure, PermanentFailure: the destination does not have it.
        """
        raise NotImplementedError

    async def settle(self, receipt: str) -> bool:
        """See `Target.settle`."""
        raise NotImplementedError

    async def close(self) -> None:
        """See `Target.close`."""


class CommandTarget(SpoolingTarget):
    """A program that takes a message on its standard input, with LF line ends, and exits with 0 when it has it.

    Args:
        command: for the shell.
    """

    def __init__(self, command: str) -> None:
        self._command = command

    def hand_on(self, file: BinaryIO) -> None:
        """See `SpoolingTarget.hand_on`."""
        lines = LfLines()
        with tempfile.TemporaryFile() as message:
            for piece in _pieces(file):
                message.write(lines.feed(piece))
            message.write(lines.finish())
            message.seek(0)
            try:
                done = subprocess.run(  # noqa: S602  (the command is one of the user's configuration)
                    self._command,
                    shell=True,
                    stdin=message,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    timeout=PATIENCE,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise TemporaryFailure(f"{self._command!r} has not ended after {PATIENCE:.0f} seconds") from None
        if done.returncode:
            words = one_line(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
            text = f"{self._command!r} has ended with status {done.returncode}{': ' if words else ''}{words}"
            # Only a program that says so wants another try with the next message.
            raise (TemporaryFailure if done.returncode in (_LATER, -2, -15) else PermanentFailure)(text)


class MailTarget(SpoolingTarget):
    """A mail server that is spoken to by LMTP or SMTP; one connection, kept from message to message.

    Args:
        protocol: ``lmtp`` or ``smtp``.
        host: of the server, or the path of a UNIX socket.
        port: 0: `host` is a path.
        recipient: whom all messages are for.
        hostname: our own name.
    """

    def __init__(self, protocol: str, host: str, port: int, recipient: str, hostname: str) -> None:
        self._protocol = protocol
        self._host = host
        self._port = port
        self._recipient = recipient
        self._hostname = hostname
        self._session: smtplib.SMTP | None = None

    def hand_on(self, file: BinaryIO) -> None:
        """See `SpoolingTarget.hand_on`."""
        try:
            session = self._connected()
            sender = return_path(file.read(_PIECE))
            file.seek(0)
            try:
                self._send(session, sender, file)
            except BaseException:
                # In the middle of a message there is no way back; elsewhere RSET would do, but costs no less.
                self._session = None
                session.close()
                raise
        except smtplib.SMTPResponseException as error:
            text = f"{self._host} answers {error.smtp_code} {one_line(_text(error.smtp_error))}"
            raise (PermanentFailure if error.smtp_code >= 500 else TemporaryFailure)(text) from None
        except (OSError, smtplib.SMTPException) as error:
            raise TemporaryFailure(f"{self._host}: {one_line(str(error))}") from None

    async def close(self) -> None:
        """Say QUIT."""
        if self._session is not None:
            session, self._session = self._session, None
            with suppress(OSError, smtplib.SMTPException):
                await asyncio.to_thread(session.quit)

    def _connected(self) -> smtplib.SMTP:
        if self._session is not None:
            with suppress(OSError, smtplib.SMTPException):
                if self._session.rset()[0] == 250:
                    return self._session
            self._session.close()
            self._session = None
        kind = smtplib.LMTP if self._protocol == "lmtp" else smtplib.SMTP
        session = kind(self._host, self._port, self._hostname, timeout=60)
        if session.sock is not None:
            session.sock.settimeout(PATIENCE)
        session.ehlo_or_helo_if_needed()
        self._session = session
        return session

    def _send(self, session: smtplib.SMTP, sender: str, file: BinaryIO) -> None:
        options = ["BODY=8BITMIME"] if session.has_extn("8bitmime") else []
        for code, reply in (session.mail(sender, options), session.rcpt(self._recipient)):
            if code not in (250, 251, 252):
                raise smtplib.SMTPResponseException(code, reply)
        code, reply = session.docmd("DATA")
        if code != 354:
            raise smtplib.SMTPResponseException(code, reply)
        lines, stuffer = CrlfLines(), ByteStuffer()
        for piece in _pieces(file):
            session.send(stuffer.feed(lines.feed(piece)))
        session.send(stuffer.feed(lines.finish()) + TERMINATOR)
        code, reply = session.getreply()  # for one recipient LMTP and SMTP have one reply
        if code != 250:
            raise smtplib.SMTPResponseException(code, reply)


def return_path(beginning: bytes) -> str:
    """Return the reverse-path that a message tells in its header; ``""``: none, so that nothing bounces to anybody."""
    for line in beginning.replace(b"\r\n", b"\n").split(b"\n"):
        name, colon, value = line.partition(b":")
        if not line or (colon and name.strip().lower() == b"received"):  # what stands below is of deliveries before
            return ""
        if colon and name.strip().lower() == b"return-path":
            address = value.strip().decode("ascii", "replace").strip("<>")
            return address if address.isascii() and address.isprintable() and " " not in address else ""
    return ""


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _text(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
