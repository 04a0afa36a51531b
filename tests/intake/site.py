"""Desks before real stores, and what is handed in there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from restante.auth import Principal
from restante.intake.desk import Desk, Incoming, NotTaken
from restante.maildrop import MaildropStore
from restante.protocol.smtp.events import Envelope
from restante.protocol.smtp.grammar import mailbox
from restante.protocol.smtp.replies import Reply
from restante.stores.maildir import MaildirStore
from restante.stores.memory import MemoryStore
from tests.addressing.site import HOST, site
from tests.stores.test_contract import contents

STORES: dict[str, Callable[[Path], MaildropStore]] = {
    "memory": lambda _: MemoryStore(),
    "maildir": lambda path: MaildirStore(f"{path}/mail/{{user}}"),
}
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def desk(folder: Path, store: MaildropStore, **options: Any) -> Desk:
    """Make a desk for bob, alice and full, who are also a team."""
    (folder / "mail").mkdir(exist_ok=True)
    addressing = site(folder, "bob", "alice", "full", aliases={"team": ("bob", "alice")})
    return Desk(HOST, store, addressing, **options)


async def ask(desk: Desk, address: str, octets: int = 0, *, any_domain: bool = False) -> Reply | None:
    """Ask about a recipient; returns why not, None when it is taken."""
    try:
        await desk.recipient(mailbox(address, "5.1.3"), octets, any_domain=any_domain)
    except NotTaken as refused:
        return refused.reply
    return None


async def begin(desk: Desk, *addresses: str, protocol: str = "LMTP") -> Incoming:
    """Begin a message for these recipients."""
    recipients = [await desk.recipient(mailbox(address, "5.1.3"), 0, any_domain=False) for address in addresses]
    return desk.begin(Envelope("client.example", protocol, "a@example.net", recipients), "192.0.2.1", "")


async def each(incoming: Incoming, delivered_to: frozenset[str] = frozenset()) -> list[Reply]:
    """Deliver to each recipient for itself."""
    return [reply async for reply in incoming.deliver_each(delivered_to)]


def codes(replies: Sequence[Reply]) -> list[tuple[int, str]]:
    return [(reply.code, reply.status) for reply in replies]


async def bodies(store: MaildropStore, user: str = "bob") -> list[bytes]:
    """Return the messages of a user without the trace, which must be there."""
    found = []
    for message in await contents(store, Principal(user)):
        head, separator, rest = message.partition(b"Received: from client.example ")
        assert separator
        assert head.startswith(b"Return-Path: <a@example.net>\r\nDelivered-To: ")
        lines = rest.split(b"\r\n", 4)
        assert [line[:1] for line in lines[1:4]] == [b"\t"] * 3
        found.append(lines[4])
    return found
