"""What every store keeps: one suite, which each kind must pass."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.auth import Principal
from restante.errors import MaildropInUse, NoRoom, NoSuchMaildrop
from restante.maildrop import Maildrop, MaildropStore, Roomy
from restante.protocol.framing import CrlfLines, wire_octets
from restante.protocol.message_encoder import MessageEncoder
from restante.stores.maildir import MaildirStore
from restante.stores.mbox import MboxStore
from restante.stores.memory import MemoryStore

BOB = Principal("bob")
ALICE = Principal("alice")

KINDS: dict[str, Callable[[Path], MaildropStore]] = {
    "memory": lambda _: MemoryStore(),
    "maildir": lambda path: MaildirStore(f"{path}/{{user}}"),
    "maildir, undo off": lambda path: MaildirStore(f"{path}/{{user}}", undo=0),
    "mbox": lambda path: MboxStore(f"{path}/{{user}}"),
    "mbox, mboxo": lambda path: MboxStore(f"{path}/{{user}}", "mboxo", dotlock=False, index=f"{path}/index"),
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MaildropStore:
    return KINDS[request.param](tmp_path)


async def deliver(store: MaildropStore, *messages: bytes, user: str = "bob") -> None:
    for message in messages:
        async with store.deliver(user) as delivery:
            await delivery.write(message)
            await delivery.commit()


async def read(maildrop: Maildrop, number: int) -> bytes:
    """A message as RETR would send it, without byte-stuffing."""
    file = await maildrop.retrieve(number)
    lines = CrlfLines()
    octets = lines.feed(file.read()) + lines.finish()
    assert file.read() == b""
    file.close()
    return octets


async def contents(store: MaildropStore, principal: Principal = BOB) -> list[bytes]:
    """All messages of a maildrop, by a session of its own."""
    maildrop = await store.open(principal)
    found = [await read(maildrop, number) for number in range(1, len(maildrop.listing) + 1)]
    await maildrop.close()
    return found


async def test_a_maildrop_that_does_not_exist_yet_is_empty(store: MaildropStore) -> None:
    """P-054."""
    assert await contents(store) == []


async def test_messages_come_out_in_the_order_of_arrival(store: MaildropStore) -> None:
    """P-048, P-049: and in the next session too."""
    messages = [b"%d\r\n" % number for number in range(50)]
    await deliver(store, *messages)
    assert await contents(store) == messages
    assert await contents(store) == messages


SHAPES = [
    b"",
    b"\r\n",
    b".",
    b".\r\n..\r\n",
    b"no end",
    b"CR\r",
    b"a\rb\r\n",
    b"\r\r\n\r\r\r\n",
    b"nul\0\xff\r\n",
    b"x" * 300_000,
]


@pytest.mark.parametrize("octets", SHAPES)
async def test_octets_come_out_as_they_went_in(store: MaildropStore, octets: bytes) -> None:
    """P-081, P-084, P-087, P-094: and the listing tells their number."""
    await deliver(store, octets)
    maildrop = await store.open(BOB)
    sent = await read(maildrop, 1)
    assert sent == octets + (b"" if octets.endswith(b"\r\n") or not octets else b"\r\n")
    assert maildrop.listing[0].octets == len(sent)
    await maildrop.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=st.lists(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\0"])).map(b"".join)))
def test_any_pieces_are_one_message(store: MaildropStore, pieces: list[bytes]) -> None:
    """P-088, P-094: what is written in pieces is listed and read as the whole."""

    async def check() -> None:
        async with store.deliver("bob") as delivery:
            for piece in pieces:
                await delivery.write(piece)
            await delivery.commit()
        maildrop = await store.open(BOB)
        number = len(maildrop.listing)
        lines = CrlfLines()
        whole = b"".join(pieces)
        assert await read(maildrop, number) == lines.feed(whole) + lines.finish()
        assert maildrop.listing[number - 1].octets == wire_octets([whole])
        await maildrop.close()

    asyncio.run(check())


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("header", "needed"),
    [("Subject: x", False), ("Subject: gr\xfc\xdfe", True), ("Content-Type: text/plain; name=\xfc", True), ("", False)],
)
async def test_sizes_of_both_forms(store: MaildropStore, header: str, needed: bool, line_end: str) -> None:
    """P-256, P-088: what LIST tells a client that has not said UTF8 is what it is sent; a body is left as it is."""
    message = line_end.join([header, "", "8-bit body: \xfc", ""]).encode()
    await deliver(store, message, message.rstrip())
    maildrop = await store.open(BOB)
    for number, listed in enumerate(maildrop.listing, 1):
        assert listed.octets == len(await read(maildrop, number))
        encoder = MessageEncoder(surrogate=True)
        file = await maildrop.retrieve(number)
        sent = encoder.feed(file.read()) + encoder.finish()
        file.close()
        assert (listed.surrogate or listed.octets) == len(sent.removesuffix(b".\r\n")) == encoder.octets
        assert (listed.surrogate > 0) == needed
    await maildrop.close()


async def test_a_message_can_be_read_twice_and_side_by_side(store: MaildropStore) -> None:
    """P-092."""
    await deliver(store, b"one\r\n", b"two\r\n")
    maildrop = await store.open(BOB)
    first, second, again = [await maildrop.retrieve(number) for number in (1, 2, 1)]
    assert (first.read(2), second.read(2), again.read(2)) == (b"on", b"tw", b"on")
    for file in (first, second, again):
        file.close()
    await maildrop.close()


async def test_unique_ids(store: MaildropStore) -> None:
    """P-123 to P-126, P-129: well-formed, different even for copies, the same next time, never used again."""
    await deliver(store, *[b"copy\r\n"] * 20)
    maildrop = await store.open(BOB)
    ids = [message.unique_id for message in maildrop.listing]
    assert len(set(ids)) == 20
    assert all(1 <= len(one) <= 70 and all(0x21 <= ord(character) <= 0x7E for character in one) for one in ids)
    await maildrop.update({20, 1})
    await maildrop.close()
    await deliver(store, b"copy\r\n")
    maildrop = await store.open(BOB)
    later = [message.unique_id for message in maildrop.listing]
    assert later[:-1] == ids[1:19]
    assert later[-1] not in ids
    await maildrop.close()


async def test_the_lock_is_exclusive(store: MaildropStore) -> None:
    """P-041: refused at once; another user's maildrop is another matter."""
    maildrop = await store.open(BOB)
    with pytest.raises(MaildropInUse):
        await store.open(BOB)
    other = await store.open(ALICE)
    await other.close()
    await maildrop.close()
    await maildrop.close()  # idempotent
    again = await store.open(BOB)
    await maildrop.close()  # does not release what others hold
    with pytest.raises(MaildropInUse):
        await store.open(BOB)
    await again.close()


async def test_a_session_is_a_snapshot(store: MaildropStore) -> None:
    """P-047, P-136: mail arrives meanwhile, is invisible, and survives the update."""
    await deliver(store, b"old\r\n")
    maildrop = await store.open(BOB)
    await deliver(store, b"new\r\n")
    assert len(maildrop.listing) == 1
    await maildrop.update({1})
    await maildrop.close()
    assert await contents(store) == [b"new\r\n"]


async def test_update_removes_exactly_what_is_named(store: MaildropStore) -> None:
    """P-131."""
    await deliver(store, *[b"%d\r\n" % number for number in range(1, 8)])
    maildrop = await store.open(BOB)
    await maildrop.update(frozenset({2, 7, 3}))
    await maildrop.close()
    assert await contents(store) == [b"1\r\n", b"4\r\n", b"5\r\n", b"6\r\n"]


async def test_update_of_nothing(store: MaildropStore) -> None:
    await deliver(store, b"1\r\n")
    maildrop = await store.open(BOB)
    await maildrop.update([])
    await maildrop.close()
    assert await contents(store) == [b"1\r\n"]


async def test_close_deletes_nothing(store: MaildropStore) -> None:
    """P-133."""
    await deliver(store, b"1\r\n")
    maildrop = await store.open(BOB)
    await maildrop.close()
    assert await contents(store) == [b"1\r\n"]


async def test_a_delivery_is_invisible_until_it_is_committed(store: MaildropStore) -> None:
    """M-002: and leaves nothing when it is not."""
    async with store.deliver("bob") as delivery:
        await delivery.write(b"half")
        assert await contents(store) == []
    assert await contents(store) == []

    async def broken() -> None:
        async with store.deliver("bob") as delivery:
            await delivery.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()
    assert await contents(store) == []


async def test_many_deliveries_at_once(store: MaildropStore) -> None:
    """None is lost and none is mixed with another; the first ones make the maildrop."""
    messages = [b"%d\r\n" % number * 500 for number in range(30)]
    await asyncio.gather(*[deliver(store, message) for message in messages])
    assert sorted(await contents(store)) == sorted(messages)


async def test_a_user_without_a_name_has_no_maildrop(store: MaildropStore) -> None:
    with pytest.raises(NoSuchMaildrop):
        await store.open(Principal(""))
    with pytest.raises(NoSuchMaildrop):
        async with store.deliver(""):
            pass


async def test_a_store_says_whether_there_is_room(store: MaildropStore) -> None:
    """D-010, D-016: a maildrop that does not exist yet has room, and asking does not make it."""
    assert isinstance(store, Roomy)
    assert not await store.holds("bob")
    await store.check_room("bob", 1000)
    assert not await store.holds("bob")
    await deliver(store, b"one\r\n")
    assert await store.holds("bob")
    await store.check_room("bob", 0)
    with pytest.raises(NoSuchMaildrop):
        await store.check_room("", 0)


async def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    """D-016: more octets than any disk has."""
    for kind in KINDS.keys() - {"memory"}:
        store = KINDS[kind](tmp_path)
        assert isinstance(store, Roomy)
        with pytest.raises(NoRoom):
            await store.check_room("bob", 1 << 60)
