"""Behind a real Postfix: what it hands over is what POP3 gives out, whatever happens in between."""

import poplib
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.catalogue import once
from tests.interop.foreign_servers import open_folder
from tests.interop.postfix import Server, Witness, needs_postfix, postfix
from tests.interop.program import TIMEOUT

MESSAGES = 1000
VIRTUAL = """
mydestination =
virtual_mailbox_domains = example.org
virtual_transport = lmtp:unix:{path}
"""
CONFIGURATION = """\
hostname = "post.example.org"
workers = 2
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
[[listener]]
protocol = "lmtp"
address = "unix:{folder}/lmtp"
mode = "666"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{{user}}"
durability = "{durability}"
[addresses]
domains = ["example.org"]
[limits]
stop_grace = 0
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def office(folder: Path, durability: str = "always") -> Path:
    (folder / "mail").mkdir()
    (folder / "users").write_text("bob:{PLAIN}b\nalice:{PLAIN}a\n", encoding="ascii")
    (folder / "users").chmod(0o600)
    path = folder / "restante.toml"
    path.write_text(CONFIGURATION.format(folder=folder, durability=durability), encoding="ascii")
    return path


def fetched_whole(port: int, user: str = "bob") -> list[bytes]:
    """Return all messages by POP3."""
    session = poplib.POP3("127.0.0.1", port, TIMEOUT)
    session.user(user)
    session.pass_("b")
    numbers = range(1, session.stat()[0] + 1)
    messages = [b"".join(line + b"\r\n" for line in session.retr(number)[1]) for number in numbers]
    session.quit()
    return messages


def fetched(port: int) -> list[bytes]:
    """Return all messages without what our delivery has put before them (D-005)."""
    return [without_trace(message) for message in fetched_whole(port)]


OURS = re.compile(
    rb"Return-Path: <[^>]*>\r\nDelivered-To: \S+@example\.org\r\n"
    rb"Received: from mail\.example\.org \(unix socket\)\r\n\tby post\.example\.org \(Restante\) with \w+ id \w+\r\n"
    rb"\tfor <\S+>;\r\n\t\w{3}, .*\r\n"
)


def without_trace(message: bytes) -> bytes:
    match = OURS.match(message)
    assert match is not None, message[:500]
    return message[match.end() :]


def queue_id(message: bytes) -> str:
    """Return by which name Postfix knew a message."""
    match = re.search(rb"by mail\.example\.org \(Postfix\) with \w+ id (\w+)", message)
    assert match is not None, message[:500]
    return match[1].decode("ascii")


@needs_postfix
@once
@pytest.mark.parametrize("durability", ["always", "group"])
def test_a_thousand_messages(folder: Path, durability: str) -> None:
    """D-004, D-024: all of them come out, once each, octet for octet as they were handed over."""
    with (
        Server(office(folder, durability)) as server,
        Witness(folder / "witness", folder / "lmtp") as witness,
        postfix(folder, VIRTUAL.format(path=folder / "witness")) as mta,
    ):
        options = ["-s", "10", "-m", str(MESSAGES), "-l", "3000", "-f", "a@example.com", "-t", "bob@example.org"]
        with mta.source(*options) as source:
            assert source.wait(TIMEOUT) == 0
        mta.until(lambda: mta.delivered() == MESSAGES)
        handed_over = Counter(witness.messages())
        assert handed_over.total() == MESSAGES
        assert Counter(fetched(server.port)) == handed_over


@needs_postfix
@once
@pytest.mark.parametrize(("durability", "seed"), [("always", 1), ("group", 2)])
def test_killed_at_ten_moments(folder: Path, durability: str, seed: int) -> None:
    """D-004, D-020: what was acknowledged is there; what is there twice, Postfix was not sure of, and sent again."""
    moments = sorted(random.Random(seed).sample(range(MESSAGES), 10))
    with (
        Server(office(folder, durability)) as server,
        postfix(folder, VIRTUAL.format(path=folder / "lmtp")) as mta,
    ):
        options = ["-s", "10", "-m", str(MESSAGES), "-l", "3000", "-f", "a@example.com", "-t", "bob@example.org"]
        with mta.source(*options) as source:
            for moment in moments:
                mta.until(lambda moment=moment: mta.delivered() > moment)  # type: ignore[misc]
                server.kill()
                server.start()
            assert source.wait(TIMEOUT) == 0
        mta.until(lambda: mta.delivered() >= MESSAGES)
        assert mta.delivered() == MESSAGES
        found = Counter(map(queue_id, fetched(server.port)))
        log = mta.log()
        sent = set(re.findall(r" (\w+): to=<bob@example\.org>.* status=sent ", log))
        assert len(sent) == MESSAGES
        assert found.keys() == sent  # nothing is lost
        not_sure = set(re.findall(r" (\w+): to=<bob@example\.org>.* status=deferred \(lost connection", log))
        assert not_sure, "no server was killed while it had a message"
        assert {name for name, copies in found.items() if copies > 1} <= not_sure
        # Each time it was sent again there can be one more.
        attempts = Counter(re.findall(r" (\w+): to=<bob@example\.org>.* status=deferred \(lost connection", log))
        assert all(copies <= 1 + attempts[name] for name, copies in found.items())
