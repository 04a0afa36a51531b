"""Visits to servers that list what they want to: nothing is lost, nothing comes twice."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from restante.errors import Condition, PermanentFailure, TemporaryFailure
from restante.fetch import visit as visiting
from restante.fetch.account import Account
from restante.fetch.targets import CommandTarget, StoreTarget
from restante.maildrop import Delivery
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.quota import Limits
from tests.client.peer import Peer, multi
from tests.fetch.site import Told, account, body, delivered, entries, good, shown, visit

TEXTS = [body(number).replace(b"\r\n", b"\n") for number in (1, 2, 3)]
IDS = [b"a", b"b", b"c"]


def test_keeping(tmp_path: Path) -> None:
    """K-023: what is known is not fetched again, and nothing is deleted."""
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url)
        outcome = good(one)
        assert (outcome.listed, outcome.fetched, outcome.octets, outcome.deleted) == (3, 3, 75, 0)
        assert good(one).fetched == 0
    assert delivered(tmp_path) == TEXTS
    assert not any(line.startswith(b"DELE") for line in peer.heard)
    assert all(entry.delivered and not entry.owed and len(entry.digest) == 64 for entry in entries(one).values())


def test_deleting(tmp_path: Path) -> None:
    """K-006: DELE after the journal has it, and QUIT's reply counts."""
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url, keep=0)
        assert good(one).deleted == 3
    assert peer.heard[-4:] == [b"DELE 1", b"DELE 2", b"DELE 3", b"QUIT"]
    assert all(entry.gone and not entry.owed for entry in entries(one).values())


@pytest.mark.parametrize("answer", [b"-ERR [SYS/TEMP] some not removed\r\n", b"", b"rubbish\r\n"])
def test_a_quit_that_is_not_confirmed(tmp_path: Path, answer: bytes) -> None:
    """K-006: deletion stays owed, and is done at the next visit without fetching."""
    with Peer(shown(IDS) | {b"QUIT": answer}) as peer:
        one = account(tmp_path, peer.url, keep=0)
        outcome = visit(one)
    assert outcome.deleted == 0
    assert len(outcome.problems) == 1
    assert all(entry.owed for entry in entries(one).values())
    with Peer(shown(IDS[1:])) as peer:  # the server has deleted one of them
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (0, 2)
    assert not any(line.startswith(b"RETR") for line in peer.heard)
    assert delivered(tmp_path) == TEXTS


def visit_moved(one: Account) -> tuple[int, int]:
    """Visit a server that has another port by now; returns what was fetched and deleted."""
    import asyncio  # noqa: PLC0415

    outcome = asyncio.run(visiting.Visit(one, Told(), moved=True).run())
    assert outcome.problems == []
    return outcome.fetched, outcome.deleted


@pytest.mark.parametrize("keep", [None, 0])
def test_a_maildrop_that_is_empty_once(tmp_path: Path, keep: float | None) -> None:
    """Field notes 4.2: a server shows an empty maildrop by mistake; all is as before when the mail is back."""
    with Peer(shown(IDS) | {b"QUIT": b""}) as peer:
        one = account(tmp_path, peer.url, keep=keep)
        visit(one)
    with Peer(shown([])) as peer:
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (0, 0)
    with Peer(shown(IDS)) as peer:
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (0, 0 if keep is None else 3)
    assert delivered(tmp_path) == TEXTS


def test_after_some_days(tmp_path: Path) -> None:
    """Deletion when the time has come, counted from delivery."""
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url, keep=14 * 86400)
        assert (good(one).deleted, good(one).deleted) == (0, 0)
        one = replace(one, keep=1e-9)
        assert good(one).deleted == 3
    assert delivered(tmp_path) == TEXTS


def test_a_change_of_mind(tmp_path: Path) -> None:
    """What was to be deleted stays when the configuration says that everything stays."""
    with Peer(shown(IDS) | {b"QUIT": b""}) as peer:
        one = account(tmp_path, peer.url, keep=0)
        visit(one)
    with Peer(shown(IDS)) as peer:
        one = replace(one, url=peer.url._replace(user="bob"), keep=None)
        assert visit_moved(one) == (0, 0)
        assert not any(line.startswith(b"DELE") for line in peer.heard)


def test_an_id_that_is_used_again(tmp_path: Path) -> None:
    """RFC 1939 section 7 forbids it, servers do it: content decides, so that no message is taken for another."""
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url, keep=0)
        good(one)
    with Peer(shown(IDS, {1: body(1), 2: b"new\r\n", 3: body(3)})) as peer:
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (1, 3)
    assert delivered(tmp_path) == [*TEXTS, b"new\n"]


def test_an_id_that_two_messages_have(tmp_path: Path) -> None:
    """K-007: both come, once; also when only one of them is left."""
    bodies = {1: body(1), 2: body(2), 3: body(3)}
    with Peer(shown([b"x", b"x", b"y"], bodies)) as peer:
        one = account(tmp_path, peer.url)
        assert good(one).fetched == 3
        again = good(one)
        assert (again.fetched, again.known) == (0, 2)
    for left in (1, 2):
        with Peer(shown([b"x"], {left: body(left)})) as peer:
            one = replace(one, url=peer.url._replace(user="bob"))
            assert visit_moved(one) == (0, 0)
    with Peer(shown([b"x"], {1: b"third\r\n"})) as peer:
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (1, 0)
    assert delivered(tmp_path) == [*TEXTS, b"third\n"]


def test_an_id_that_has_become_that_of_two(tmp_path: Path) -> None:
    """The one that was delivered before is known by its content."""
    with Peer(shown([b"x"])) as peer:
        one = account(tmp_path, peer.url)
        good(one)
    with Peer(shown([b"x", b"x"])) as peer:
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (1, 0)
    assert delivered(tmp_path) == TEXTS[:2]


def test_no_unique_ids(tmp_path: Path) -> None:
    """K-005: what is deleted at once needs none; what is to stay cannot be known."""
    bodies = {1: body(1), 2: body(2)}
    with Peer(shown(None, bodies)) as peer:
        one = account(tmp_path, peer.url)
        (problem,) = visit(one).problems
        assert 'keep = "0" would be right' in problem
        one = replace(one, keep=0)
        assert good(one).deleted == 2
        assert good(one).fetched == 2  # the same octets again, after a deletion that was confirmed: other messages
    with Peer(shown(None, bodies) | {b"QUIT": b""}) as peer:
        other = account(tmp_path / "other", peer.url, keep=0)
        (tmp_path / "other").mkdir()
        visit(other)
    with Peer(shown(None, bodies)) as peer:
        other = replace(other, url=peer.url._replace(user="bob"))
        assert visit_moved(other) == (0, 2)
    assert delivered(tmp_path / "other") == TEXTS[:2]


def test_size_and_filter(tmp_path: Path) -> None:
    """What is too large stays, by LIST; what the filter says is asked for by TOP, once; 2 deletes unread."""
    bodies = {1: body(1), 2: body(2), 3: body(3), 4: b"Subject: 4\r\n\r\n" + b"x" * 1000 + b"\r\n"}
    script = "read -r line; case $line in *1) exit 1;; *2) exit 2;; *) exit 0;; esac"
    with Peer(shown([b"a", b"b", b"c", b"d"], bodies)) as peer:
        one = account(tmp_path, peer.url, largest=100, filter=script)
        outcome = good(one)
        assert (outcome.fetched, outcome.left, outcome.deleted) == (1, 2, 1)
        asked = peer.heard.count(b"TOP 1 0")
        assert good(one).fetched == 0
        assert peer.heard.count(b"TOP 1 0") == asked == 1
        one = replace(one, filter="", largest=0)
        assert good(one).fetched == 3  # another filter, another opinion; and number 2 is there again
    assert b"RETR 4" in peer.heard
    assert peer.heard.count(b"DELE 2") == 2


@pytest.mark.parametrize("script", ["exit 9", "kill -9 $$"])
def test_a_filter_that_fails(tmp_path: Path, script: str) -> None:
    """Nothing is fetched or deleted for it, and the next visit asks again."""
    with Peer(shown(IDS)) as peer:
        outcome = visit(account(tmp_path, peer.url, filter=script))
    assert (outcome.fetched, outcome.deleted, outcome.left, len(outcome.problems)) == (0, 0, 3, 3)


def test_dry_run(tmp_path: Path) -> None:
    """Nothing is retrieved: some servers take RETR and QUIT for a reason to hide a message (K-024)."""
    told = Told()
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url, keep=0)
        assert visit(one, told, dry=True).problems == []
    assert told.would_do == ["fetch: 1 a 25 octets", "fetch: 2 b 25 octets", "fetch: 3 c 25 octets"]
    assert not any(line.startswith((b"RETR", b"DELE")) for line in peer.heard)
    assert entries(one) == {}
    assert not (tmp_path / "Mail").exists()


def test_a_message_that_is_refused(tmp_path: Path) -> None:
    """The others come."""
    with Peer(shown(IDS) | {b"RETR 2": b"-ERR [SYS/TEMP] not now\r\n"}) as peer:
        one = account(tmp_path, peer.url, keep=0)
        outcome = visit(one)
    assert (outcome.fetched, outcome.deleted, len(outcome.problems)) == (2, 2, 1)
    assert delivered(tmp_path) == [TEXTS[0], TEXTS[2]]


@pytest.mark.parametrize("reply", [b"+OK\r\nhalf a mess", b"", b"+OK\r\nhalf\r\n."])
def test_a_connection_that_breaks(tmp_path: Path, reply: bytes) -> None:
    """K-021: half a message is none; what had come before is delivered, and known."""
    with Peer(shown(IDS) | {b"RETR 2": reply, b"RETR 3": b""}) as peer:
        one = account(tmp_path, peer.url, keep=0)
        outcome = visit(one)
        assert (outcome.fetched, outcome.deleted, len(outcome.problems)) == (1, 0, 1)
    with Peer(shown(IDS)) as peer:
        one = replace(one, url=peer.url._replace(user="bob"))
        assert visit_moved(one) == (2, 3)
    assert sorted(delivered(tmp_path)) == TEXTS


class Broken:
    """A destination that fails."""

    exact = False

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.tries = 0

    @asynccontextmanager
    async def deliver(self) -> AsyncIterator[Delivery]:
        self.tries += 1
        raise self._error
        yield  # type: ignore[unreachable]

    async def settle(self, receipt: str) -> bool:
        raise AssertionError

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [TemporaryFailure("disk full"), PermanentFailure("refused")])
def test_a_destination_that_fails(tmp_path: Path, error: Exception) -> None:
    """Everything stays at the server, and a visit does not fetch a thousand messages in vain."""
    target = Broken(error)
    bodies = {number: body(number) for number in range(1, 21)}
    with Peer(shown([b"%d" % number for number in bodies], bodies)) as peer:
        one = account(tmp_path, peer.url, target=target, keep=0)
        outcome = visit(one)
    assert target.tries == visiting.FAILURES == len(outcome.problems)
    assert str(error) in outcome.problems[0]
    assert not any(line.startswith(b"DELE") for line in peer.heard)
    assert not any(entry.delivered for entry in entries(one).values())


class Defective(StoreTarget):
    """Fails as nothing should, once, when messages are committed."""

    failed = False

    async def commit(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        if self.failed:
            return await super().commit(deliveries)
        self.failed = True
        raise RuntimeError("a defect")


def test_a_defect(tmp_path: Path) -> None:
    """K-023: what nobody knows to be delivered is not deleted, and the next visit delivers it, once."""
    bodies = {number: body(number) for number in range(1, 201)}
    with Peer(shown([b"%d" % number for number in bodies], bodies)) as peer:
        target = Defective(MaildirStore(f"{tmp_path}/{{user}}"), "bob")
        one = account(tmp_path, peer.url, target=target, keep=0)
        with pytest.raises(RuntimeError, match="a defect"):
            visit(one)
        assert target.failed
        assert not any(line.startswith(b"DELE") for line in peer.heard)
        assert good(one).deleted == 200
    assert len(list((tmp_path / "bob" / "new").iterdir())) == 200


def test_one_that_does_not_fit(tmp_path: Path) -> None:
    """It stays at the server, with the reason, and the next visit tries it again; the others are delivered."""
    bodies = {1: body(1), 2: body(2) * 100, 3: body(3)}
    store = MaildirStore(f"{tmp_path}/{{user}}", quota=Limits(octets=1000))
    with Peer(shown(IDS, bodies)) as peer:
        one = account(tmp_path, peer.url, target=StoreTarget(store, "bob"), keep=0)
        outcome = visit(one)
        (problem,) = outcome.problems
        assert problem.startswith("message 2 stays there: ")
        assert [line for line in peer.heard if line.startswith(b"DELE")] == [b"DELE 1", b"DELE 3"]
        assert {entry.id: (bool(entry.delivered), entry.receipt) for entry in entries(one).values()} == {
            "a": (True, ""),
            "b": (False, ""),
            "c": (True, ""),
        }
        larger = replace(one, target=StoreTarget(MaildirStore(f"{tmp_path}/{{user}}"), "bob"))
        (tmp_path / "bob" / "maildirsize").unlink()
        assert good(larger).fetched == 1
    assert len(list((tmp_path / "bob" / "new").iterdir())) == 3


def test_a_command(tmp_path: Path) -> None:
    """LF line ends; the exit status says whether it has the message."""
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url, target=CommandTarget(f"cat >> {tmp_path}/box"), keep=0)
        assert good(one).deleted == 3
        assert (tmp_path / "box").read_bytes() == b"".join(TEXTS)
        failing = replace(
            one, journal=tmp_path / "other", target=CommandTarget("cat >/dev/null; echo full >&2; exit 75")
        )
        outcome = visit(failing)
    assert outcome.deleted == 0
    assert "status 75: full" in outcome.problems[0]


def test_what_a_server_demands(tmp_path: Path) -> None:
    """K-019: LOGIN-DELAY is believed after the login, when it says USER."""
    replies = shown(IDS) | {b"CAPA": multi(b"USER", b"UIDL", b"LOGIN-DELAY 300 USER", b"X-GOOGLE-RICO")}
    with Peer(replies) as peer:
        outcome = good(account(tmp_path, peer.url))
    assert outcome.login_delay == 300
    assert outcome.more
    assert peer.heard.count(b"CAPA") == 2


def test_two_at_once(tmp_path: Path) -> None:
    """The journal is locked, so the second visit does nothing at all."""
    from restante.fetch.journal import Journal  # noqa: PLC0415

    with Peer(shown(IDS)) as peer:
        one = account(tmp_path, peer.url)
        with Journal(one.journal, one.url.account()):
            (problem,) = visit(one).problems
    assert "another fetcher" in problem
    assert peer.heard == []


def test_no_destination(tmp_path: Path) -> None:
    """A folder that is missing may be a file system that is not mounted: the Maildir is not made anew above it."""
    with Peer(shown(IDS)) as peer:
        one = account(tmp_path / "missing", peer.url, journal=tmp_path / "journal", keep=0)
        outcome = visit(one)
    assert "is it mounted?" in outcome.problems[0]
    assert not any(line.startswith(b"DELE") for line in peer.heard)


def test_times(tmp_path: Path) -> None:
    before = time.time()
    with Peer(shown([b"a"])) as peer:
        one = account(tmp_path, peer.url)
        good(one)
    (entry,) = entries(one).values()
    assert before - 1 <= entry.seen <= entry.delivered <= time.time()
