"""Whom mail is for, and what becomes of it."""

import asyncio
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.errors import TemporaryFailure
from restante.intake.desk import Desk
from restante.maildrop import MaildropStore
from restante.protocol.smtp.replies import FOREIGN, LOOP, UNKNOWN_USER, Reply
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.quota import Limits
from tests.intake.site import MESSAGE, STORES, ask, begin, bodies, codes, desk, each
from tests.stores.test_contract import contents

FULL_LATER = (452, "4.2.2")
FULL_NOW = (552, "5.2.2")
DELIVERED = (250, "2.0.0")
NOT_ALL = (451, "4.3.0")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MaildropStore:
    return STORES[request.param](tmp_path)


@pytest.fixture
def tight(tmp_path: Path) -> MaildirStore:
    """Maildirs of 1,000 octets."""
    return MaildirStore(f"{tmp_path}/mail/{{user}}", quota=Limits(1000, 0))


async def fill(store: MaildropStore, octets: int, user: str = "full") -> None:
    """Put octets into a maildrop."""
    async with store.deliver(user) as delivery:
        await delivery.write(b"x" * octets)
        await delivery.commit()


# -- whom it is for ---------------------------------------------------------------------------------


async def test_recipients(tmp_path: Path, store: MaildropStore) -> None:
    """D-010: nobody of that name; not our domain."""
    office = desk(tmp_path, store)
    assert await ask(office, "bob@example.org") is None
    assert await ask(office, "BOB+x@Example.ORG") is None
    assert await ask(office, "nobody@example.org") == UNKNOWN_USER
    assert await ask(office, "../bob@example.org") == UNKNOWN_USER
    assert await ask(office, "bob@example.com") == FOREIGN


@pytest.mark.parametrize(("final", "code"), [(False, FULL_LATER), (True, FULL_NOW)])
async def test_room(tmp_path: Path, tight: MaildirStore, final: bool, code: tuple[int, str]) -> None:
    """D-010, D-016: a full maildrop, and one that would be; for an alias all must have room."""
    office = desk(tmp_path, tight, full_is_final=final)
    await fill(tight, 700)
    assert await ask(office, "full@example.org", 300) is None
    refused = await ask(office, "full@example.org", 301)
    assert refused is not None
    assert codes([refused]) == [code]
    assert await ask(office, "team@example.org", 1000) is None
    refused = await ask(office, "team@example.org", 1001)
    assert refused is not None
    assert codes([refused]) == [code]


async def test_a_store_that_is_out_of_reach(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """D-010, P-178: the sender tries again; file names are for the log."""
    office = desk(tmp_path, MaildirStore(f"{tmp_path}/not-mounted/{{user}}"))
    refused = await ask(office, "bob@example.org")
    assert refused is not None
    assert refused.code == 451
    assert str(tmp_path) not in refused.text
    assert str(tmp_path) in caplog.text


# -- LMTP: each for itself --------------------------------------------------------------------------


async def test_one_reply_for_each(tmp_path: Path, store: MaildropStore) -> None:
    """D-004, D-005: in their order, repeats included; who is named twice has one copy."""
    incoming = await begin(desk(tmp_path, store), "bob@example.org", "alice@example.org", "Bob@example.org")
    incoming.take(MESSAGE)
    assert codes(await each(incoming)) == [DELIVERED] * 3
    assert await bodies(store, "bob") == await bodies(store, "alice") == [MESSAGE]


async def test_an_alias_and_one_of_its_members(tmp_path: Path, store: MaildropStore) -> None:
    """D-004: one reply for the alias."""
    incoming = await begin(desk(tmp_path, store), "team@example.org", "bob@mail.example.org")
    incoming.take(MESSAGE)
    assert codes(await each(incoming)) == [DELIVERED] * 2
    assert await bodies(store, "bob") == await bodies(store, "alice") == [MESSAGE]


@pytest.mark.parametrize(("final", "code"), [(False, FULL_LATER), (True, FULL_NOW)])
@pytest.mark.parametrize("octets", [500, 600_000])
async def test_some_have_no_room(
    tmp_path: Path, tight: MaildirStore, final: bool, code: tuple[int, str], octets: int
) -> None:
    """D-004, D-010: the others have it; nothing is left of the copy that failed."""
    office = desk(tmp_path, tight, full_is_final=final)
    await fill(tight, 700)
    incoming = await begin(office, "bob@example.org", "full@example.org", "alice@example.org")
    message = b"Subject: x\r\n\r\n" + b"y" * octets + b"\r\n"
    if incoming.take(message):
        await incoming.spill()
    expected = DELIVERED if octets == 500 else code
    assert codes(await each(incoming)) == [expected, code, expected]
    assert await bodies(tight, "bob") == await bodies(tight, "alice") == ([message] if octets == 500 else [])
    assert list(tmp_path.glob("mail/*/tmp/*")) == []


async def test_an_alias_of_which_one_has_no_room(tmp_path: Path, tight: MaildirStore) -> None:
    """D-004: it has one reply, after which the sender tries again for all of them: nobody may have two then."""
    office = desk(tmp_path, tight)
    incoming = await begin(office, "team", "full")
    await fill(tight, 990, "bob")  # while the message comes
    assert not incoming.take(MESSAGE)
    assert codes(await each(incoming)) == [FULL_LATER, DELIVERED]
    assert [len(await contents(tight, Principal(user))) for user in ("alice", "bob", "full")] == [0, 1, 1]
    assert list(tmp_path.glob("mail/*/tmp/*")) == []


async def test_a_loop(tmp_path: Path, store: MaildropStore) -> None:
    """D-019: who has had the message gets it no second time; the others do."""
    incoming = await begin(desk(tmp_path, store), "Bob+X@example.org", "alice@example.org")
    incoming.take(MESSAGE)
    replies = await each(incoming, frozenset({"bob+x@example.org"}))
    assert replies[0] == LOOP
    assert codes(replies[1:]) == [DELIVERED]
    assert (await bodies(store, "bob"), await bodies(store, "alice")) == ([], [MESSAGE])


async def test_given_up_between_two_replies(tmp_path: Path, store: MaildropStore) -> None:
    """D-004, D-020: what has begun is finished, so that no copy is half there."""
    incoming = await begin(desk(tmp_path, store), "bob@example.org", "alice@example.org")
    incoming.take(MESSAGE)
    replies = incoming.deliver_each(frozenset())
    assert (await anext(replies)).code == 250
    await replies.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert await bodies(store, "bob") == await bodies(store, "alice") == [MESSAGE]
    assert list(tmp_path.glob("mail/*/tmp/*")) == []


# -- SMTP: all or none ------------------------------------------------------------------------------


async def together(office: Desk, message: bytes, *addresses: str, loop: frozenset[str] = frozenset()) -> Reply:
    incoming = await begin(office, *addresses, protocol="ESMTP")
    if incoming.take(message):
        await incoming.spill()
    return await incoming.deliver_all(loop)


async def test_to_all(tmp_path: Path, store: MaildropStore) -> None:
    """D-022: one reply."""
    office = desk(tmp_path, store)
    reply = await together(office, MESSAGE, "bob@example.org", "alice@example.org", "bob@example.org")
    assert codes([reply]) == [DELIVERED]
    assert await bodies(store, "bob") == await bodies(store, "alice") == [MESSAGE]


@pytest.mark.parametrize("final", [False, True])
async def test_or_to_none(tmp_path: Path, tight: MaildirStore, final: bool) -> None:
    """D-022: 451 for the lot, whatever the one that has no room would be told by itself."""
    office = desk(tmp_path, tight, full_is_final=final)
    await fill(tight, 700)
    message = b"Subject: x\r\n\r\n" + b"y" * 300 + b"\r\n"
    assert codes([await together(office, message, "bob@example.org", "full@example.org")]) == [NOT_ALL]
    assert codes([await together(office, message, "full@example.org", "bob@example.org")]) == [NOT_ALL]
    assert await bodies(tight, "bob") == []
    assert list(tmp_path.glob("mail/*/tmp/*")) == []
    alone = await together(office, message, "full@example.org")
    assert codes([alone]) == [FULL_NOW if final else FULL_LATER]
    assert codes([await together(office, message, "bob@example.org")]) == [DELIVERED]


async def test_a_loop_for_one_is_one_for_all(tmp_path: Path, store: MaildropStore) -> None:
    """D-019, D-022: trying again would change nothing."""
    office = desk(tmp_path, store)
    loop = frozenset({"alice@example.org"})
    assert await together(office, MESSAGE, "bob@example.org", "alice@example.org", loop=loop) == LOOP
    assert await bodies(store, "bob") == await bodies(store, "alice") == []


async def test_the_disk_fails_at_the_last_step(tmp_path: Path) -> None:
    """D-020: no reply says that it is there when it is not."""
    store = MaildirStore(f"{tmp_path}/mail/{{user}}")
    office = desk(tmp_path, store)
    incoming = await begin(office, "bob@example.org")
    incoming.take(b"x" * 300_000)
    await incoming.spill()
    await asyncio.to_thread((tmp_path / "mail/bob/new").rmdir)
    assert codes([await incoming.deliver_all(frozenset())])[0][0] == 451
    assert list(tmp_path.glob("mail/*/tmp/*")) == []


# -- texts ------------------------------------------------------------------------------------------


def test_replies_hold_nothing_of_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P-178, P-296: what the system says goes to the log, in one line."""
    reply = desk(tmp_path, STORES["memory"](tmp_path)).reply(TemporaryFailure("/srv/mail\nfake"))
    assert codes([reply]) == [NOT_ALL]
    assert "srv" not in reply.text
    assert "/srv/mail\\nfake" in caplog.text
