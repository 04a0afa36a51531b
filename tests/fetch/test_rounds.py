"""Many accounts: at once, at their intervals, and none in another's way."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from restante.client import ServerUrl
from restante.errors import PermanentFailure, TemporaryFailure
from restante.fetch import deliveries, rounds, secrets
from restante.fetch.account import Account, Outcome, Secrets
from restante.fetch.rounds import Rounds, interval
from restante.fetch.targets import SpoolingTarget
from tests.client.peer import TIMEOUT, Peer
from tests.fetch.site import Told, account, delivered, good, shown

NOWHERE = ServerUrl("127.0.0.1", 1, tls=False)


def test_intervals(tmp_path: Path) -> None:
    """K-019, K-024: what fails is tried more and more seldom; what a server demands is kept; more comes at once."""
    one = account(tmp_path, NOWHERE, every=60.0)
    assert interval(one, Outcome(), 0) == 60
    assert interval(one, Outcome(login_delay=300), 0) == 300
    assert interval(one, Outcome(more=True, fetched=5), 0) == 1
    assert interval(one, Outcome(more=True, fetched=0), 0) == 60
    assert interval(one, Outcome(more=True, fetched=5, login_delay=300), 0) == 300
    failing = Outcome(problems=["no"])
    for failures, seconds in ((1, 60), (2, 120), (3, 240), (20, 3600)):
        assert seconds * 0.9 <= interval(one, failing, failures) <= seconds * 1.1
    rare = replace(one, every=86400.0)
    assert 86400 * 0.9 <= interval(rare, failing, 9) <= 86400 * 1.1


def test_one_that_fails_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server that is not there nor a defect of ours."""

    async def defect() -> Secrets:
        raise ZeroDivisionError

    reports: dict[str, Outcome] = {}

    def report(one: Account, outcome: Outcome) -> None:
        reports[one.name] = outcome

    monkeypatch.setattr(rounds.log, "exception", lambda *_: None)
    with Peer(shown([b"a"])) as peer, Peer(shown([b"a"])) as other:
        accounts = [
            account(tmp_path, NOWHERE, name="gone", journal=tmp_path / "1"),
            account(tmp_path, other.url, name="broken", journal=tmp_path / "2", secrets=defect),
            account(tmp_path, peer.url, name="good", journal=tmp_path / "3"),
        ]
        asyncio.run(Rounds(accounts, Told(), report).once())
    assert "refused" in reports["gone"].problems[0]
    assert reports["broken"].problems == ["internal error"]
    assert (reports["good"].fetched, reports["good"].problems) == (1, [])
    assert len(delivered(tmp_path)) == 1


def test_a_destination_that_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K-022: the server is told that we are still there."""
    monkeypatch.setattr(deliveries, "KEEP_ALIVE", 0.05)

    class Slow(SpoolingTarget):
        def hand_on(self, file: BinaryIO) -> None:
            waited = 0.0
            while b"NOOP" not in peer.heard and waited < TIMEOUT:
                threading.Event().wait(0.01)
                waited += 0.01

    with Peer(shown([b"a", b"b"]) | {b"NOOP": b"+OK\r\n"}) as peer:
        assert good(account(tmp_path, peer.url, target=Slow(), keep=0)).deleted == 2
    assert b"NOOP" in peer.heard


# -- secrets ----------------------------------------------------------------------------------------


def told(source: Callable[[], Awaitable[Secrets]]) -> Secrets:
    async def work() -> Secrets:
        return await source()

    return asyncio.run(work())


def test_secrets() -> None:
    """The first line that a command prints; a password that nobody can type is none."""
    assert told(secrets.password_command("printf ' a b \\r\\nmore'")) == Secrets(b" a b ")
    assert told(secrets.token_command("echo tok")) == Secrets(token="tok")
    for command, words in (("exit 3", "status 3"), ("true", "prints nothing"), ("echo a; echo why >&2; exit 1", "why")):
        with pytest.raises(TemporaryFailure, match=words):
            told(secrets.password_command(command))
    asked = secrets.Asked()
    with pytest.raises(PermanentFailure, match="no password"):
        told(asked)
    asked.password = "typed"
    assert told(asked) == Secrets(b"typed")


def test_a_keyring() -> None:
    """The package's own interface, with a backend that is nothing but a table."""
    import keyring  # noqa: PLC0415
    from keyring.backend import KeyringBackend  # noqa: PLC0415

    class Table(KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return "secret" if (service, username) == ("pops://h:995", "bob") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Table())  # type: ignore[no-untyped-call]
    try:
        assert told(secrets.from_keyring("pops://h:995", "bob")) == Secrets(b"secret")
        with pytest.raises(PermanentFailure, match="keyring set pops://h:995 eve"):
            told(secrets.from_keyring("pops://h:995", "eve"))
    finally:
        keyring.set_keyring(before)
