"""The octets of a message on their way into one or several maildrops."""

from pathlib import Path

import pytest

from restante.addressing import Target
from restante.auth import Principal
from restante.errors import InternalError, NoSuchMaildrop, QuotaExceeded
from restante.intake.copies import ROOM, SPILL, Copy, Held, Message
from restante.maildrop import MaildropStore
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.quota import Limits
from restante.stores.memory import MemoryStore
from tests.intake.site import MESSAGE, STORES
from tests.stores.test_contract import contents


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MaildropStore:
    (tmp_path / "mail").mkdir()
    return STORES[request.param](tmp_path)


def copy(store: MaildropStore, user: str = "bob") -> Copy:
    return Copy(store, Target(user, f"{user}@example.org"), f"For: {user}\r\n".encode())


async def test_each_copy_has_its_own_head(store: MaildropStore) -> None:
    """D-005: the rest is the same, in the order in which it came."""
    message = Message([copy(store, "bob"), copy(store, "alice")], Held())
    for start in range(len(MESSAGE)):
        assert not message.take(MESSAGE[start : start + 1])
    await message.prepare()
    for one in message.copies:
        await one.commit()
    await message.close()
    assert await contents(store, Principal("bob")) == [b"For: bob\r\n" + MESSAGE]
    assert await contents(store, Principal("alice")) == [b"For: alice\r\n" + MESSAGE]
    assert [(one.committed, one.failure) for one in message.copies] == [(True, None)] * 2
    assert message.octets == len(MESSAGE)


async def test_an_empty_message(store: MaildropStore) -> None:
    """D-012: BDAT 0 LAST is one."""
    message = Message([copy(store)], Held())
    await message.copies[0].commit()
    await message.close()
    assert await contents(store) == [b"For: bob\r\n"]


@pytest.mark.parametrize("step", ["take", "spill", "prepare"])
async def test_nothing_is_left_of_what_is_not_committed(store: MaildropStore, tmp_path: Path, step: str) -> None:
    """M-002, D-004: at whatever step it is given up."""
    message = Message([copy(store, "bob"), copy(store, "alice")], Held())
    message.take(b"x" * 300_000)
    if step == "spill":
        await message.spill()
        if isinstance(store, MaildirStore):
            assert len(list(tmp_path.glob("mail/*/tmp/*"))) == 2
    elif step == "prepare":
        await message.prepare()
    await message.close()
    await message.close()
    assert [path for path in tmp_path.glob("mail/*/*/*") if path.is_file() and "restante" not in path.parts] == []
    assert await contents(store, Principal("bob")) == await contents(store, Principal("alice")) == []


async def test_spilling(store: MaildropStore) -> None:
    """P-277: a little is held, to go to a thread once; more is passed on, and nothing is lost or doubled."""
    held = Held()
    message = Message([copy(store)], held)
    assert not message.take(b"a" * (SPILL - 1))
    assert held.octets == SPILL - 1
    assert message.take(b"\n")
    await message.spill()
    assert held.octets == 0
    await message.spill()
    assert not message.take(b"b\r\n")
    assert held.octets == 3
    await message.copies[0].write(b"")
    await message.spill()
    await message.copies[0].commit()
    await message.close()
    assert held.octets == 0
    assert await contents(store) == [b"For: bob\r\n" + b"a" * (SPILL - 1) + b"\r\nb\r\n"]


async def test_all_messages_together(store: MaildropStore) -> None:
    """P-277: when many hold a little, each passes on what it has; who has gone holds nothing."""
    held = Held()
    others = [Message([copy(store)], held) for _ in range(ROOM // (SPILL - 1))]
    for other in others:
        assert not other.take(b"x" * (SPILL - 1))
    message = Message([copy(store)], held)
    assert message.take(b"x" * (ROOM - held.octets))
    await others[0].close()
    assert not message.take(b"x")
    for other in [*others, message]:
        await other.close()
    assert held.octets == 0


async def test_one_failure_is_nobody_elses(tmp_path: Path) -> None:
    """D-004: the others get theirs; what went wrong first is what is told."""
    (tmp_path / "mail").mkdir()
    store = MaildirStore(f"{tmp_path}/mail/{{user}}", quota=Limits(1000, 0))
    async with store.deliver("full") as delivery:
        await delivery.write(b"x" * 990)
        await delivery.commit()
    bob, full, nobody = copy(store, "bob"), copy(store, "full"), copy(store, "../x")
    message = Message([bob, full, nobody], Held())
    message.take(MESSAGE)
    await message.prepare()
    assert [type(one.failure) for one in message.copies] == [type(None), QuotaExceeded, NoSuchMaildrop]
    for one in message.copies:
        await one.commit()
    await message.close()
    assert [one.committed for one in message.copies] == [True, False, False]
    assert await contents(store) == [b"For: bob\r\n" + MESSAGE]
    assert len(await contents(store, Principal("full"))) == 1


class Careless(MemoryStore):
    """A store that somebody has written carelessly."""

    def _messages(self, user: str) -> dict[str, bytes]:
        if user == "alice":
            raise ZeroDivisionError
        return super()._messages(user)


async def test_a_defect_of_a_store(caplog: pytest.LogCaptureFixture) -> None:
    """D-020: it is one copy's failure, and its traceback is in the log."""
    store = Careless()
    message = Message([copy(store, "alice"), copy(store, "bob")], Held())
    message.take(MESSAGE)
    await message.prepare()
    for one in message.copies:
        await one.commit()
    await message.close()
    assert [type(one.failure) for one in message.copies] == [InternalError, type(None)]
    assert [one.committed for one in message.copies] == [False, True]
    assert caplog.text.count("Traceback") == 1
    assert "account=alice" in caplog.text
