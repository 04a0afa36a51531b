"""``restante fetch``: accounts of a file, what it prints, its exit status, and how it is stopped."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Running, done, free_port, names, refused, restante, running
from tests.cli.terminal import terminal
from tests.client.peer import Peer
from tests.fetch.site import shown

ACCOUNT = """\
[[fetch]]
name = "{name}"
url = "pop://student@127.0.0.1:{port}"
password_command = "echo 'hessovs!'"
deliver = "maildir:{name}"
state = "{name}.journal"
{more}
"""


@pytest.fixture
def demo() -> Iterator[Running]:
    with running("demo", "--port", str(free_port())) as server:
        server.ready()
        yield server


def configured(folder: Path, *accounts: tuple[str, int, str]) -> Path:
    path = folder / "restante.toml"
    path.write_text("".join(ACCOUNT.format(name=name, port=port, more=more) for name, port, more in accounts))
    return path


def test_once(demo: Running, tmp_path: Path) -> None:
    """A line for each account and one with the sums, on standard error; new mail or none, the status is 0."""
    configured(tmp_path, ("one", demo.port, ""), ("two", 1, ""))
    result = restante("fetch", "one", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    lines = result.stderr.split("\n")
    assert lines[0] == "one: 36 there, 36 fetched (25746 octets)"
    assert lines[1].startswith("1 account, 0 with problems: 36 fetched, 25746 octets, 0 deleted, 0 left, in ")
    assert len(names(tmp_path / "one" / "new")) == 36
    assert "36 there, 0 fetched" in restante("fetch", "one", cwd=tmp_path).stderr
    both = restante("fetch", "-q", cwd=tmp_path)
    assert both.returncode == 1
    assert both.stderr == "two: pop://127.0.0.1:1: Connection refused\n"


def test_deleting_and_dry_run(demo: Running, tmp_path: Path) -> None:
    configured(tmp_path, ("one", demo.port, 'keep = "0"'))
    would = done(restante("fetch", "--dry-run", "-q", cwd=tmp_path)).split("\n")
    assert len(would) == 37
    assert would[0].startswith("one: would fetch: 1 ")
    assert "36 deleted" in restante("fetch", cwd=tmp_path).stderr
    assert "0 there" in restante("fetch", cwd=tmp_path).stderr


def test_verbose_shows_no_secrets(demo: Running, tmp_path: Path) -> None:
    configured(tmp_path, ("one", demo.port, ""))
    said = restante("fetch", "-v", cwd=tmp_path).stderr
    assert "one: C: UIDL" in said
    assert "hessovs" not in said


def test_wrong_usage(tmp_path: Path) -> None:
    configured(tmp_path, ("one", 1, ""), ("two", 1, ""))
    for arguments, words in (
        (("nobody",), "no [[fetch]] with the name nobody; right are one, two"),
        (("--daemon", "--dry-run"), "--daemon stays"),
        (("--import", "mutt", "x"), "--import mutt is not known"),
        (("--import", "mpop", "x"), "name it"),
        (("--moved",), "name it"),
    ):
        assert words in refused(restante("fetch", *arguments, cwd=tmp_path), 2)
    (tmp_path / "restante.toml").unlink()
    home = {"HOME": str(tmp_path)}
    assert "no configuration" in refused(restante("fetch", cwd=tmp_path, environment=home))
    own = tmp_path / ".config" / "restante"
    own.mkdir(parents=True)
    configured(own, ("mine", 1, ""))
    assert "mine: pop://127.0.0.1:1" in restante("fetch", cwd=tmp_path, environment=home).stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_daemon(demo: Running, tmp_path: Path, number: signal.Signals) -> None:
    """Stays, goes round when it is woken, and ends at once when it has nothing at hand."""
    configured(tmp_path, ("one", demo.port, 'every = "1h"'))
    with running("fetch", "--daemon", cwd=tmp_path) as fetcher:
        fetcher.log.until("36 fetched")
        fetcher.signal(signal.SIGUSR1)
        fetcher.log.until("0 fetched")
        fetcher.signal(signal.SIGHUP)
        fetcher.log.until("0 fetched")
        fetcher.signal(number)
        assert fetcher.wait() == 0


def test_the_second_signal(tmp_path: Path) -> None:
    """Ends at once, without a complaint of Python's, and nothing is lost: the next visit goes on."""
    with Peer(shown([b"a"]) | {b"RETR 1": b"+OK\r\nhalf\r\n"}) as peer:
        configured(tmp_path, ("one", peer.port, 'keep = "0"'))
        with running("fetch", "-v", cwd=tmp_path) as fetcher:
            fetcher.log.until("(4 octets)")
            fetcher.signal(signal.SIGINT)
            fetcher.signal(signal.SIGTERM)
            assert fetcher.wait() == 1
            assert fetcher.log.rest()[-1] == "restante: interrupted; the next visit goes on from here"
    with Peer(shown([b"a"])) as peer:
        configured(tmp_path, ("one", peer.port, 'keep = "0"'))
        assert "1 fetched" in restante("fetch", "--moved", cwd=tmp_path).stderr


def test_a_moved_account(tmp_path: Path) -> None:
    """The same ids mean something else at another address, unless somebody says so."""
    for options, status, words in (
        ((), 0, "3 fetched"),
        ((), 1, "--moved"),
        (("--moved",), 0, "0 fetched"),
        ((), 1, "--moved"),
    ):
        with Peer(shown([b"a", b"b", b"c"])) as peer:
            configured(tmp_path, ("one", peer.port, ""))
            result = restante("fetch", *options, cwd=tmp_path)
        assert result.returncode == status, result.stderr
        assert words in result.stderr


def test_taking_over(tmp_path: Path) -> None:
    """--import: what mpop has fetched is not fetched again."""
    with Peer(shown([b"a", b"b", b"c"])) as peer:
        configured(tmp_path, ("one", peer.port, ""))
        (tmp_path / "ids").write_text("a\nb\n")
        assert "restante:" in refused(restante("fetch", "--import", "mpop", "missing", cwd=tmp_path))
        (tmp_path / "fetchids").write_text("student@127.0.0.1 a\nstudent@127.0.0.1 b\nother@host c\n")
        assert "2 messages taken over" in done(restante("fetch", "--import", "fetchmail", "fetchids", cwd=tmp_path))
        assert "3 there, 1 fetched" in restante("fetch", cwd=tmp_path).stderr


def test_on_a_terminal(demo: Running, tmp_path: Path) -> None:
    """A password that nobody sees, and bars that end as lines."""
    configured(tmp_path, ("one", demo.port, ""))
    path = tmp_path / "restante.toml"
    path.write_text(path.read_text().replace("password_command = \"echo 'hessovs!'\"\n", ""))
    with terminal("fetch", cwd=tmp_path) as person:
        person.until(r"Password of pop://student@127.0.0.1:\d+: ")
        person.type("hessovs!\r")
        person.until(r"one: 36 there, 36 fetched(.|\n)*1 account")
        assert person.end() == 0
        assert "hessovs" not in person.text()
    assert "no password" in restante("fetch", cwd=tmp_path).stderr
