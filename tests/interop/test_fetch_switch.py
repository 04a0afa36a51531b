"""From fetchmail, getmail and mpop to `restante fetch`: what they have fetched does not come twice."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restante.config.fetching import accounts
from tests.cli.program import done, restante
from tests.interop.bench import PASSWORD, USER, Office, files, post_office
from tests.interop.catalogue import ROOT, needs_client, once
from tests.interop.test_fetchers import NO_TLS, PLAIN, fetchmail, getmail, mpop

pytestmark = once

OLD = [b"Subject: %d\n\nold\n" % number for number in range(20)]
NEW = [b"Subject: %d\n\nnew\n" % number for number in range(3)]


def by_fetchmail(office: Office, *options: str) -> list[bytes]:
    return fetchmail(office, office.plain, NO_TLS, *options, keep=True)[1]


def by_getmail(office: Office, *options: str) -> list[bytes]:
    return getmail(office, office.plain, "SimplePOP3Retriever", "\n".join(("read_all = false", *options)))


def by_mpop(office: Office, *options: str) -> list[bytes]:
    return mpop(office, office.plain, *PLAIN, "auth user", "keep on", *options)[1]


Fetcher = Callable[..., list[bytes]]
FETCHMAIL = pytest.param("fetchmail", by_fetchmail, "ids", marks=needs_client("fetchmail"))
MPOP = pytest.param("mpop", by_mpop, "uidls", marks=needs_client("mpop"))
GETMAIL = pytest.param("getmail", by_getmail, ".", marks=needs_client("getmail"))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with post_office(tmp_path, OLD) as office:
        office.file(
            "fetch.toml",
            f"""\
[[fetch]]
name = "bob"
url = "pop://{USER}@localhost:{office.plain}"
password_command = "echo {PASSWORD}"
deliver = "maildir:Mail"
state = "bob.journal"
""",
        )
        yield office


def arrive(office: Office, messages: list[bytes]) -> None:
    """Put messages into the maildrop at the server."""
    for number, octets in enumerate(messages):
        (office.folder / "mail" / USER / "new" / f"{1_800_000_000 + number}.M1P1.host").write_bytes(octets)


def take_over(office: Office, kind: str, state: str) -> str:
    """Import the state of a fetcher; returns what is said."""
    return done(restante("fetch", "-c", office.folder / "fetch.toml", "--import", kind, office.folder / state))


def fetched(office: Office) -> list[bytes]:
    """Fetch once; returns all that has come so far."""
    result = restante("fetch", "-q", "-c", office.folder / "fetch.toml")
    assert (result.returncode, result.stderr) == (0, "")
    return files(office.folder / "Mail" / "new")


@pytest.mark.parametrize(("kind", "fetch", "state"), [FETCHMAIL, MPOP, GETMAIL])
def test_a_switch_fetches_nothing_twice(office: Office, kind: str, fetch: Fetcher, state: str) -> None:
    """K-007: exactly what has arrived since comes, once; and nothing is deleted."""
    assert fetch(office) == sorted(OLD)
    arrive(office, NEW)
    assert take_over(office, kind, state).startswith("bob: 20 messages taken over")
    assert fetched(office) == sorted(NEW)
    assert fetched(office) == sorted(NEW)
    assert sorted(office.stored()) == sorted(OLD + NEW)


@pytest.mark.parametrize(
    ("kind", "fetch", "state", "limit"),
    [
        pytest.param("fetchmail", by_fetchmail, "ids", "--fetchlimit=12", marks=needs_client("fetchmail")),
        pytest.param("getmail", by_getmail, ".", "max_messages_per_session = 12", marks=needs_client("getmail")),
    ],
)
def test_what_it_has_left_comes(office: Office, kind: str, fetch: Fetcher, state: str, limit: str) -> None:
    """K-007: what the other one has not fetched yet is not lost; twice the same state is the same."""
    before = fetch(office, limit)
    assert len(before) == 12
    assert take_over(office, kind, state).startswith("bob: 12 messages taken over")
    assert take_over(office, kind, state).startswith("bob: 0 messages taken over")
    assert sorted(fetched(office) + before) == sorted(OLD)


@pytest.mark.parametrize(
    ("kind", "fetch", "state", "limit"),
    [
        pytest.param("fetchmail", by_fetchmail, "ids", "--limit=100", marks=needs_client("fetchmail")),
        pytest.param("mpop", by_mpop, "uidls", "skipsize 100", marks=needs_client("mpop")),
        pytest.param("getmail", by_getmail, ".", "max_message_size = 100", marks=needs_client("getmail")),
    ],
)
def test_what_was_too_large_for_it_comes(office: Office, kind: str, fetch: Fetcher, state: str, limit: str) -> None:
    """K-007: a message that the other one has seen, and left, counts as one that it has not fetched."""
    large = b"Subject: large\n\n" + b"x" * 100 + b"\n"
    arrive(office, [large])
    assert fetch(office, limit) == sorted(OLD)
    take_over(office, kind, state)
    assert fetched(office) == [large]


@pytest.mark.parametrize(("kind", "fetch", "state"), [FETCHMAIL])
def test_the_server_has_another_name_now(office: Office, kind: str, fetch: Fetcher, state: str) -> None:
    """K-007: it is imported under the old name, and --moved says that the maildrop is the same, as the pages tell."""
    toml = office.folder / "fetch.toml"
    fetch(office)
    settings = toml.read_text(encoding="utf-8")
    toml.write_text(settings.replace("@localhost:", "@127.0.0.1:"), encoding="utf-8")
    refused = restante("fetch", "-c", toml, "--import", kind, office.folder / state)
    assert (refused.returncode, "has nothing of bob@127.0.0.1, but of bob@localhost" in refused.stderr) == (1, True)
    toml.write_text(settings, encoding="utf-8")
    take_over(office, kind, state)
    toml.write_text(settings.replace("@localhost:", "@127.0.0.1:"), encoding="utf-8")
    arrive(office, NEW)
    assert restante("fetch", "-q", "-c", toml, "--moved").returncode == 0
    assert fetched(office) == sorted(NEW)


@pytest.mark.parametrize("page", ["from-fetchmail", "from-getmail", "from-gmail", "fetch-oauth2"])
def test_what_the_pages_say_is_right(page: str, tmp_path: Path) -> None:
    """K-016: each [[fetch]] of a page of docs/how-to is taken as it stands."""
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```toml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        (tmp_path / "restante.toml").write_text(block, encoding="utf-8")
        (account,) = accounts(tmp_path / "restante.toml")
        assert account.url.tls
