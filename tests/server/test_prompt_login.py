"""Logins that are answered in the event loop: a known user, a known maildrop, and nothing new in it (decision 0026)."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.authenticators.chain import Chain
from restante.authenticators.passwd_file import PasswdFile
from restante.stores import systems
from restante.stores.maildir import MaildirStore
from tests.server.office import LoopFactory, Office

AGES = 600.0
"""Seconds: what happened before is long ago, and no folder looks as if it were just changing."""
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"

pytestmark = pytest.mark.skipif(
    systems.open_cached("/", 0) < 0, reason="this system cannot say what is in memory (openat2, Linux 5.12)"
)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text("bob:{PLAIN}secret\nalice:{PLAIN}wonder\n", encoding="ascii")
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The maildrops that a thread has opened."""
    paths: list[str] = []
    original = MaildirStore._open

    def watched(store: MaildirStore, folder):  # type: ignore[no-untyped-def]
        paths.append(Path(folder.path).name)
        return original(store, folder)

    monkeypatch.setattr(MaildirStore, "_open", watched)
    return paths


@pytest.fixture(params=["one table", "a chain"])
def office(
    request: pytest.FixtureRequest,
    loop_factory: LoopFactory,
    tmp_path: Path,
    users: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Office]:
    """Each of the two has been here before, ages ago."""
    (tmp_path / "mail").mkdir()
    table = PasswdFile(users)
    authenticator = table if request.param == "one table" else Chain([table, PasswdFile(users)])
    with Office(loop_factory, MaildirStore(f"{tmp_path}/mail/{{user}}"), authenticator=authenticator) as running:
        running.deliver(b"Subject: x\n\nbody\n")
        for user, password in ((b"bob", b"secret"), (b"alice", b"wonder")):
            log_in(running, user, password)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + AGES)
        for user, password in ((b"bob", b"secret"), (b"alice", b"wonder")):  # so that the folders are known as quiet
            log_in(running, user, password)
        yield running


def log_in(office: Office, user: bytes = b"bob", password: bytes = b"secret") -> bytes:
    with office.connect() as client:
        client.line()
        client.ask(b"USER " + user)
        answer = client.ask(b"PASS " + password)
        client.ask(b"QUIT")
        return answer


def test_nobody_waits_for_a_thread(office: Office, opened: list[str]) -> None:
    assert [log_in(office) for _ in range(3)] == [b"+OK 1 messages (20 octets)\r\n"] * 3
    assert log_in(office, b"alice", b"wonder") == b"+OK 0 messages (0 octets)\r\n"
    assert opened == []


def test_what_is_new_is_shown(office: Office, opened: list[str]) -> None:
    """P-047: a thread looks, and the session after that has it without."""
    office.deliver(b"Subject: y\n\nbody\n")
    assert log_in(office) == b"+OK 2 messages (40 octets)\r\n"
    assert opened == ["bob"]


def test_a_wrong_password_is_refused_before_and_after(office: Office) -> None:
    """P-039, P-045: in one connection too, and whoever gets in is who said the right one."""
    with office.connect() as client:
        client.line()
        for user, password in ((b"bob", b"wonder"), (b"alice", b"secret"), (b"nobody", b"secret")):
            client.ask(b"USER " + user)
            assert client.ask(b"PASS " + password) == WRONG
        client.ask(b"USER alice")
        assert client.ask(b"PASS wonder") == b"+OK 0 messages (0 octets)\r\n"


def test_an_account_that_has_gone_is_refused_at_once(office: Office, users: Path) -> None:
    """P-044: the file is asked each time."""
    assert log_in(office) == b"+OK 1 messages (20 octets)\r\n"
    aside = users.with_name("aside")
    aside.write_text("alice:{PLAIN}wonder\nbob:{PLAIN}another\n", encoding="ascii")
    aside.replace(users)
    assert log_in(office) == WRONG
    assert log_in(office, b"bob", b"another") == b"+OK 1 messages (20 octets)\r\n"


def test_who_finds_the_maildrop_in_use_gets_into_no_other(
    office: Office, opened: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """P-041, P-288: refused at once, in the log by name; the next login of that connection is another one's."""
    caplog.set_level(logging.INFO, "restante.session")
    with office.connect() as first, office.connect() as second:
        first.line()
        second.line()
        for client in (first, second):
            client.ask(b"USER bob")
            answer = client.ask(b"PASS secret")
        assert answer.startswith(b"-ERR [IN-USE] ")
        second.ask(b"USER alice")
        assert second.ask(b"PASS secret") == WRONG
        second.ask(b"USER bob")
        assert second.ask(b"PASS secret").startswith(b"-ERR [IN-USE] ")
        second.ask(b"QUIT")
        first.ask(b"QUIT")
    office.wait_until_empty()
    assert [" user=bob " in line for line in caplog.messages if line.startswith("session, ")] == [True, True]
    assert opened == []
    assert log_in(office) == b"+OK 1 messages (20 octets)\r\n"
