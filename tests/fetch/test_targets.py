"""Destinations: mail servers, mbox files and maildrops of our own, each a real one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.errors import PermanentFailure, TemporaryFailure
from restante.fetch.targets import CommandTarget, MailTarget, SpoolingTarget, StoreTarget, Target, return_path
from restante.server.addresses import Address
from restante.server.service import Door
from restante.stores.maildir import MaildirStore
from restante.stores.mbox import MboxStore
from tests.server.mail_client import MailOffice
from tests.server.office import LOOPS

MESSAGE = b"Return-Path: <alice@example.org>\r\nSubject: x\r\n\r\n.dot\r\n\nlf\r\n" + b"y" * 100_000 + b"\r\n"


def deliver(target: Target, *messages: bytes) -> None:
    async def work() -> None:
        try:
            for message in messages:
                async with target.deliver() as delivery:
                    for at in range(0, len(message), 1000):
                        await delivery.write(message[at : at + 1000])
                    await delivery.commit()
        finally:
            await target.close()

    asyncio.run(work())


async def contents(store: MaildirStore | MboxStore) -> list[bytes]:
    maildrop = await store.open(Principal("bob"))
    try:
        found = []
        for number in range(1, len(maildrop.listing) + 1):
            file = await maildrop.retrieve(number)
            found.append(file.read())
            file.close()
        return found
    finally:
        await maildrop.close()


LF = MESSAGE.replace(b"\r\n", b"\n")


def test_an_mbox_and_a_maildrop(tmp_path: Path) -> None:
    """Whatever a store has, POP3 shows the octets that came."""
    for store in (MboxStore(str(tmp_path / "mbox")), MaildirStore(f"{tmp_path}/{{user}}")):
        deliver(StoreTarget(store, "bob"), MESSAGE, MESSAGE)
        assert asyncio.run(contents(store)) == [LF, LF]


def test_what_a_store_says_of_a_receipt(tmp_path: Path) -> None:
    """K-023: prepared is not delivered, and leaves nothing; delivered is, wherever in the Maildir the message is."""
    store = MaildirStore(f"{tmp_path}/{{user}}")
    target = StoreTarget(store, "bob")
    assert target.exact
    assert not StoreTarget(MboxStore(str(tmp_path / "mbox")), "bob").exact

    async def work() -> None:
        async with store.deliver("bob") as delivery:
            await delivery.write(MESSAGE)
            await delivery.prepare()
            assert await target.settle(delivery.receipt) is False
            assert await target.settle(delivery.receipt) is False
        async with store.deliver("bob") as delivery:
            await delivery.write(MESSAGE)
            await delivery.commit()
            receipt = delivery.receipt
        maildir = tmp_path / "bob"
        places = [f"cur/{receipt}:2,S", f".Archive/cur/{receipt}:2,RS", f"restante/deleted/{receipt}:2,S"]
        (maildir / ".Archive" / "cur").mkdir(parents=True)
        place = maildir / "new" / receipt
        for name in places:
            assert await target.settle(receipt)
            place = place.rename(maildir / name)
        assert await target.settle(receipt)
        place.unlink()
        assert not await target.settle(receipt)
        for wrong in ("", "../x", "."):
            with pytest.raises(PermanentFailure):
                await target.settle(wrong)

    asyncio.run(work())


# -- mail servers -----------------------------------------------------------------------------------


RECIPIENT = "bob@example.org"


@pytest.fixture(params=["lmtp", "lmtp over a socket", "smtp"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[MailOffice, MailTarget]]:
    kind = request.param.partition(" ")[0]
    address = Address("", 0, str(tmp_path / "socket")) if " " in request.param else Address("127.0.0.1", 0)
    with MailOffice(LOOPS["stdlib"], tmp_path, Door(protocol=kind), address=address) as office:
        at = office.address(1)
        host, port = (at, 0) if isinstance(at, str) else at
        yield office, MailTarget(kind, host, port, RECIPIENT, "client.example.org")


def test_a_mail_server(server: tuple[MailOffice, MailTarget]) -> None:
    """One connection for all messages; dots, bare LF and the sender arrive."""
    office, target = server
    deliver(target, MESSAGE, MESSAGE)
    files = office.files()
    assert len(files) == 2
    for path in files:
        head, _, rest = path.read_bytes().partition(b"Return-Path: <alice@example.org>\nSubject")
        assert head.startswith(b"Return-Path: <alice@example.org>\n")
        assert b"Subject" + rest == LF.partition(b"\n")[2]


@pytest.mark.parametrize("server", ["lmtp", "smtp"], indirect=True)
def test_a_mail_server_that_refuses(server: tuple[MailOffice, MailTarget]) -> None:
    """5xx is final, and the next message may be taken; a server that is not there is temporary."""
    office, target = server
    target._recipient = "nobody@example.org"
    with pytest.raises(PermanentFailure, match=r"answers 550 .*"):
        deliver(target, MESSAGE)
    target._recipient = RECIPIENT
    deliver(target, MESSAGE)
    assert len(office.files()) == 1
    gone = MailTarget("lmtp", "127.0.0.1", 1, RECIPIENT, "client.example.org")
    with pytest.raises(TemporaryFailure, match="refused"):
        deliver(gone, MESSAGE)


def test_a_connection_that_the_server_has_closed(tmp_path: Path) -> None:
    """It is made anew for the next message."""
    with MailOffice(LOOPS["stdlib"], tmp_path) as office:
        target = MailTarget("lmtp", *office.mail_port(), RECIPIENT, "client.example.org")

        async def work() -> None:
            for _ in range(2):
                async with target.deliver() as delivery:
                    await delivery.write(MESSAGE)
                    await delivery.commit()
                assert target._session is not None
                assert target._session.sock is not None
                target._session.sock.close()
                target._session.sock = None
            await target.close()

        asyncio.run(work())
        assert len(office.files()) == 2


# -- commands ---------------------------------------------------------------------------------------


def test_a_command(tmp_path: Path) -> None:
    deliver(CommandTarget(f"cat > {tmp_path}/out"), MESSAGE)
    assert (tmp_path / "out").read_bytes() == LF


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("exit 75", TemporaryFailure, "status 75"),
        ("exit 1", PermanentFailure, "status 1"),
        ("echo a >&2; echo why >&2; exit 65", PermanentFailure, "status 65: why"),
        ("restante-is-no-such-program", PermanentFailure, "status 127"),
        ("kill -TERM $$", TemporaryFailure, "status -15"),
    ],
)
def test_a_command_that_fails(command: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        deliver(CommandTarget(command), MESSAGE)


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"Return-Path: <a@b>\r\n\r\n", "a@b"),
        (b"X: y\nreturn-path:a@b\n\n", "a@b"),
        (b"Return-Path: <>\r\n\r\n", ""),
        (b"Received: x\r\nReturn-Path: <old@b>\r\n\r\n", ""),
        (b"\r\nReturn-Path: <a@b>\r\n", ""),
        (b"Return-Path: <a b@c>\r\n\r\n", ""),
        (b"Return-Path: <a@b> SIZE=1\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_senders(header: bytes, sender: str) -> None:
    """Only what the last delivery wrote counts, and nothing that would be another command."""
    assert return_path(header) == sender


def test_a_spooling_target_is_made_by_its_children() -> None:
    with pytest.raises(NotImplementedError):
        deliver(SpoolingTarget(), MESSAGE)
