"""Logging in by a name, or by any spelling of an address: P-052, D-025; by every way in."""

import asyncio
import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.addressing import Addressing, Rules
from restante.auth import Kind
from restante.authenticators import schemes
from restante.authenticators.passwd_file import PasswdFile
from restante.server.guessing import Patience
from restante.server.service import Limits
from tests.protocol.scram_client import ScramClient
from tests.server.office import Client, LoopFactory, Office, TravelLoop

HOST = "mail.example.org"
USERS = "bob:{PLAIN}secret\nalice:{PLAIN}wonder\ncarol@example.net:{PLAIN}secret\n"
LOGGED_IN = b"+OK 1 messages (3 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
SPELLINGS = [
    "bob",
    "BOB",
    "bob@example.org",
    "BOB@Example.ORG",
    "bob@mail.example.org",
    "Bob@EXAMPLE.com",
    "bob@[127.0.0.1]",
]
NOBODY = [
    "bob@example.net",
    "bob@localhost.example",
    "bob@192.0.2.1",
    "bob+work@example.org",
    "info",
    "info@example.org",
]
NOBODY += ["mallory", "mallory@example.org", "carol", "carol@example.org", "@example.org", "bob@example.org."]
MECHANISMS = frozenset({"PLAIN", "CRAM-MD5", "SCRAM-SHA-256"})
RULES = Rules(
    HOST,
    frozenset({"example.org"}),
    {"example.com": "example.org"},
    {"info": ("bob",)},
    configured=True,
)


def b64(text: str | bytes) -> bytes:
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


def challenge(client: Client, line: bytes) -> str:
    """Send a line and return what the server asks."""
    answer = client.ask(line)
    assert answer.startswith(b"+ "), answer
    return base64.b64decode(answer[2:]).decode()


def user_pass(client: Client, _: bytes, user: str, password: str) -> bytes:
    assert client.ask(b"USER " + user.encode()) == b"+OK send PASS\r\n"
    return client.ask(b"PASS " + password.encode())


def plain(client: Client, _: bytes, user: str, password: str) -> bytes:
    return client.ask(b"AUTH PLAIN " + b64(f"\0{user}\0{password}"))


def cram_md5(client: Client, _: bytes, user: str, password: str) -> bytes:
    text = challenge(client, b"AUTH CRAM-MD5")
    return client.ask(b64(f"{user} {hmac.new(password.encode(), text.encode(), 'md5').hexdigest()}"))


def scram(client: Client, _: bytes, user: str, password: str) -> bytes:
    """SCRAM-SHA-256; the proof is made with the name as the client has it (P-208)."""
    peer = ScramClient(user, password)
    final = peer.final(challenge(client, b"AUTH SCRAM-SHA-256 " + b64(peer.first)))
    answer = client.ask(b64(final))
    if not answer.startswith(b"+ "):
        return answer
    assert base64.b64decode(answer[2:]) == f"v={peer.signature}".encode()
    return client.ask(b"")


def apop(client: Client, greeting: bytes, user: str, password: str) -> bytes:
    timestamp = re.search(rb"<[^>]+>", greeting)
    assert timestamp is not None
    digest = hashlib.md5(timestamp[0] + password.encode(), usedforsecurity=False).hexdigest()
    return client.ask(f"APOP {user} {digest}".encode())


Way = Callable[[Client, bytes, str, str], bytes]
WAYS: list[Way] = [user_pass, plain, cram_md5, scram, apop]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest) -> Way:
    made: Way = request.param
    return made


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(USERS, encoding="ascii")
    return path


def office_of(users: Path, loop_factory: LoopFactory, **options: Any) -> Office:
    table = PasswdFile(users, threads=1)
    return Office(
        loop_factory,
        authenticator=table,
        addressing=Addressing(RULES, [table]),
        mechanisms=MECHANISMS,
        apop=True,
        **options,
    )


@pytest.fixture
def office(users: Path, loop_factory: LoopFactory) -> Iterator[Office]:
    """A server in which bob has a message, and nobody else has any."""
    with office_of(users, loop_factory) as running:
        running.deliver(b"x")
        yield running


def log_in(office: Office, way: Way, user: str, password: str) -> bytes:
    """Log in by a connection of its own; returns the answer."""
    with office.connect() as client:
        answer = way(client, client.line(), user, password)
        assert client.ask(b"QUIT").startswith(b"+OK ")
        assert client.rest() == b""
    return answer


def test_every_spelling_opens_one_maildrop(office: Office, way: Way) -> None:
    """P-052, D-025: by every way in, that of the account."""
    for user in SPELLINGS:
        assert log_in(office, way, user, "secret") == LOGGED_IN
    assert log_in(office, way, "Alice@example.com", "wonder") == b"+OK 0 messages (0 octets)\r\n"
    assert log_in(office, way, "CAROL@Example.net", "secret") == b"+OK 0 messages (0 octets)\r\n"


def test_a_second_spelling_is_no_second_session(office: Office, way: Way) -> None:
    """P-041: the maildrop is in use, however it is called."""
    with office.connect() as first:
        assert way(first, first.line(), "bob", "secret") == LOGGED_IN
        for user in SPELLINGS:
            assert log_in(office, way, user, "secret").startswith(b"-ERR [IN-USE] ")


def test_who_is_nobody_is_answered_like_a_wrong_password(office: Office, way: Way) -> None:
    """P-039, P-052: to the octet, a wrong domain, a detail and an alias too, with the password that would be right."""
    assert [log_in(office, way, user, "wrong") for user in SPELLINGS] == [WRONG] * len(SPELLINGS)
    assert [log_in(office, way, user, "secret") for user in NOBODY] == [WRONG] * len(NOBODY)
    assert log_in(office, way, "bob", "secret") == LOGGED_IN


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed of passwords, in order; must be asked for before the user table is made."""
    done: list[str] = []
    matches, scram_keys, compare_digest = schemes.Hash.matches, schemes.scram_keys, hmac.compare_digest

    def counted_matches(stored: schemes.Hash, password: bytes) -> bool:
        done.append(stored.scheme)
        return matches(stored, password)

    def counted_keys(password: bytes, salt: bytes, iterations: int, kind: Kind) -> schemes.ScramKeys:
        done.append(f"{kind.value} {iterations} {len(salt)}")
        return scram_keys(password, salt, iterations, kind)

    def counted_compare(one: bytes, other: bytes) -> bool:
        done.append(f"compared {len(one)} {len(other)}")
        return compare_digest(one, other)

    monkeypatch.setattr(schemes.Hash, "matches", counted_matches)
    monkeypatch.setattr(schemes, "scram_keys", counted_keys)
    monkeypatch.setattr(hmac, "compare_digest", counted_compare)
    return done


@pytest.mark.parametrize(
    ("way", "scheme"), [*((way, "PLAIN") for way in WAYS), (user_pass, "SSHA256"), (plain, "SSHA256")]
)
def test_who_is_nobody_costs_what_a_wrong_password_costs(
    work: list[str], tmp_path: Path, loop_factory: LoopFactory, way: Way, scheme: str
) -> None:
    """P-039, P-207: the same verifications, the same keys made, the same comparisons."""
    stored = "secret" if scheme == "PLAIN" else b64(hashlib.sha256(b"secretsalt").digest() + b"salt").decode()
    (tmp_path / "users").write_text(f"bob:{{{scheme}}}{stored}\n", encoding="ascii")
    with office_of(tmp_path / "users", loop_factory) as running:
        assert log_in(running, way, "bob", "SECRET") == WRONG
        first = work.copy()
        work.clear()
        assert log_in(running, way, "BOB@Example.ORG", "SECRET") == WRONG
        again = work.copy()
        assert again
        for number, user in enumerate(NOBODY):
            work.clear()
            assert log_in(running, way, user, "secret") == WRONG
            # Keys of SCRAM are made once for each name, known or not.
            assert work in (first, again), (number, user)


def test_scram_tells_nobody_who_has_an_account(office: Office) -> None:
    """P-207: salt and iterations are one for all spellings, of those who are known and of those who are not."""

    def first(user: str) -> tuple[str, str]:
        with office.connect() as client:
            client.line()
            text = challenge(client, b"AUTH SCRAM-SHA-256 " + b64(ScramClient(user, "x").first))
            assert client.ask(b"*").startswith(b"-ERR ")
        _, salt, iterations = text.split(",")
        return salt, iterations

    known = {first(user) for user in SPELLINGS}
    unknown = {first(user.lower().replace("bob", "Eve")) for user in SPELLINGS}
    assert len(known) == len(unknown) == 1
    assert known != unknown
    ((salt, iterations),) = known
    ((other_salt, other_iterations),) = unknown
    assert (len(salt), iterations) == (len(other_salt), other_iterations)
    assert first("bob@example.net") == first("BOB@EXAMPLE.net") != (salt, iterations)


def test_accounts_that_cannot_be_read(office: Office, users: Path, way: Way) -> None:
    """P-178: [SYS/TEMP] for every name, known or not, so that no client throws its password away."""
    assert log_in(office, way, "bob@example.org", "secret") == LOGGED_IN
    users.rename(users.with_name("away"))
    for user in ("bob", "BOB@example.org", "mallory"):
        with office.connect() as client:
            greeting = client.line()
            if way is scram:
                answer = client.ask(b"AUTH SCRAM-SHA-256 " + b64(ScramClient(user, "secret").first))
            else:
                answer = way(client, greeting, user, "secret")
            assert answer.startswith(b"-ERR [SYS/TEMP] ")
    users.with_name("away").rename(users)
    assert log_in(office, way, "bob@example.org", "secret") == LOGGED_IN


def test_a_new_account_has_its_address_at_once(office: Office, users: Path) -> None:
    """D-025: the table is read again when it has changed."""
    assert log_in(office, user_pass, "dave@example.org", "d") == WRONG
    users.write_text(USERS + "dave:{PLAIN}d\n", encoding="ascii")
    assert log_in(office, user_pass, "Dave@example.org", "d").startswith(b"+OK ")


def test_all_spellings_share_one_count_of_failures(users: Path) -> None:
    """P-053: guesses at bob are guesses at bob, however he is called."""
    limits = Limits(patience=Patience(delay=0))
    with office_of(users, TravelLoop, limits=limits) as running:

        async def failures() -> float:
            return running.server.guesses._counts.get(hash(("127.0.0.1", "bob")), asyncio.get_running_loop().time())

        for number, user in enumerate(SPELLINGS):
            assert log_in(running, user_pass, user, f"wrong{number}") == WRONG
        assert running.call(failures()) > len(SPELLINGS) - 0.5
        for user in ("bob@example.net", "mallory"):
            assert log_in(running, user_pass, user, "wrong") == WRONG
        assert running.call(failures()) < len(SPELLINGS) + 0.5


def test_the_log_names_the_account(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """P-288, P-053: of whoever got in the account; of whoever did not two letters of what was typed."""
    with caplog.at_level(logging.INFO, "restante.session"):
        assert log_in(office, plain, "BOB@Example.ORG", "secret") == LOGGED_IN
        assert log_in(office, plain, "BOB@Example.ORG", "hunter2") == WRONG
    lines = [record.getMessage() for record in caplog.records]
    assert any("user=bob " in line for line in lines)
    assert any("user=BO... " in line for line in lines)
    assert not any("hunter2" in line or "Example" in line for line in lines)
