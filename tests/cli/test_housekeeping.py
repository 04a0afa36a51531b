"""What the server clears away by itself, whoever logs in or does not."""

import time
from pathlib import Path

import pytest

from tests.cli.program import TIMEOUT, Running, greeted, post_office, running


def deleted_mail(folder: Path, count: int) -> Path:
    """A maildrop with deleted messages; returns where they are."""
    for part in ("tmp", "new", "cur", "restante/deleted"):
        (folder / "mail/bob" / part).mkdir(parents=True)
    kept = folder / "mail/bob/restante/deleted"
    for number in range(count):
        (kept / f"{number}.a.host:2,S").write_bytes(b"Subject: x\n\n")
    return kept


def undo(path: Path, value: str) -> None:
    text = path.read_text(encoding="ascii")
    path.write_text(text.replace("[store]\n", f'[store]\nundo = "{value}"\n'), encoding="ascii")


def wait_until_empty(server: Running, folder: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while any(folder.iterdir()):
        assert time.monotonic() < deadline
        server.pause()


@pytest.mark.parametrize("workers", [1, 2])
def test_deleted_mail_goes_when_its_time_is_over(tmp_path: Path, workers: int) -> None:
    """Also what a server left that was killed before it came to that; sessions are served meanwhile."""
    path = post_office(tmp_path, workers)
    kept = deleted_mail(tmp_path, 250)
    undo(path, "0")
    with running("serve", "-c", path) as server:
        server.ready()
        with greeted(server.port) as client:
            assert client.login(b"bob", b"b").startswith(b"+OK 0 messages")
        wait_until_empty(server, kept)
        log = server.stop()
    assert not any(word in "\n".join(log) for word in ("Traceback", "ERROR", "WARNING"))


def test_deleted_mail_stays_until_then(tmp_path: Path) -> None:
    """undo = "7d"."""
    path = post_office(tmp_path)
    kept = deleted_mail(tmp_path, 3)
    undo(path, "7d")
    with running("serve", "-c", path) as server:
        server.ready()
        with greeted(server.port) as client:
            assert client.login(b"bob", b"b").startswith(b"+OK 0 messages")
        server.stop()
    assert len(list(kept.iterdir())) == 3


def test_no_house_keeping_without_mail(tmp_path: Path) -> None:
    """A file system that is not mounted: said in the log, and the server goes on."""
    path = post_office(tmp_path)
    (tmp_path / "mail").rmdir()
    with running("serve", "-c", path) as server:
        server.ready()
        assert "is it mounted?" in server.log.until("no house-keeping")
        with greeted(server.port) as client:
            assert client.login(b"bob", b"b").startswith(b"-ERR [SYS/TEMP]")
        server.stop()
