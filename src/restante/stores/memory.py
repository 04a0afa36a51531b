"""Maildrops in memory: for tests and for servers embedded in a program.  Nothing survives the process."""

import io
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from restante.auth import Principal
from restante.errors import MaildropInUse, NoSuchMaildrop
from restante.maildrop import Maildrop, Message, MessageFile
from restante.protocol.framing import wire_octets
from restante.protocol.surrogate import surrogate_octets


class MemoryStore:
    """A `MaildropStore` that keeps octets as they were delivered."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, bytes]] = {}  # user -> unique-id -> octets, in order of arrival
        self._in_use: set[str] = set()
        self._delivered = 0

    async def open(self, principal: Principal) -> Maildrop:
        """See `MaildropStore.open`."""
        messages = self._messages(principal.user)
        if principal.user in self._in_use:
            raise MaildropInUse(principal.user)
        self._in_use.add(principal.user)
        return _MemoryMaildrop(messages, self._in_use, principal.user)

    @asynccontextmanager
    async def deliver(self, user: str) -> AsyncIterator["_MemoryDelivery"]:
        """See `MaildropStore.deliver`."""
        messages = self._messages(user)
        self._delivered += 1
        yield _MemoryDelivery(messages, unique_id=f"{self._delivered:08d}")

    async def check_room(self, user: str, octets: int) -> None:
        """See `Roomy.check_room`; there is room."""
        if not user:
            raise NoSuchMaildrop("a maildrop needs a name")

    async def holds(self, user: str) -> bool:
        """See `Roomy.holds`."""
        return user in self._users

    def _messages(self, user: str) -> dict[str, bytes]:
        if not user:
            raise NoSuchMaildrop("a maildrop needs a name")
        return self._users.setdefault(user, {})


class _MemoryMaildrop:
    def __init__(self, messages: dict[str, bytes], in_use: set[str], user: str) -> None:
        self._messages = messages
        self._snapshot = dict(messages)
        self._in_use = in_use
        self._user = user
        self._open = True
        self.listing = tuple(
            Message(unique_id, wire_octets([octets]), surrogate=surrogate_octets([octets]))
            for unique_id, octets in self._snapshot.items()
        )

    async def retrieve(self, number: int) -> MessageFile:
        return io.BytesIO(self._snapshot[self.listing[number - 1].unique_id])

    async def update(self, deleted: Collection[int]) -> None:
        for number in deleted:
            self._messages.pop(self.listing[number - 1].unique_id, None)

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._in_use.discard(self._user)


class _MemoryDelivery:
    def __init__(self, messages: dict[str, bytes], unique_id: str) -> None:
        self._messages = messages
        self._unique_id = unique_id
        self._pieces: list[bytes] = []

    async def write(self, octets: bytes) -> None:
        self._pieces.append(octets)

    async def prepare(self) -> None:
        """Nothing can fail here."""

    async def commit(self) -> None:
        self._messages[self._unique_id] = b"".join(self._pieces)
