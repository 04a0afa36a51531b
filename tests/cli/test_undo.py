"""``restante undo``."""

from pathlib import Path

import pytest

from tests.cli.program import done, post_office, refused, restante


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A post office in which bob has deleted two messages."""
    post_office(tmp_path)
    maildir = tmp_path / "mail" / "bob"
    for part in ("tmp", "new", "cur", "restante/deleted"):
        (maildir / part).mkdir(parents=True)
    message = "From: Zoë \x1b[31m <zoe@example.org>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %s\n\nbody\n"
    for number in (1, 2):
        path = maildir / f"restante/deleted/{number}.a.host:2,S"
        path.write_text(message % ("x" * 50 * (number - 1)), encoding="utf-8")
    return tmp_path


def names(office: Path, part: str) -> list[str]:
    return sorted(path.name for path in (office / "mail/bob" / part).iterdir())


def test_list(office: Path) -> None:
    """Changes nothing; headers are made readable, and command no terminal (P-296)."""
    lines = done(restante("undo", "bob", "--list", cwd=office)).splitlines()
    assert len(lines) == 2
    assert "Grüße" in lines[0]
    assert "\x1b" not in lines[0]
    assert lines[0].endswith("  1.a.host")
    assert "xx…" in lines[1]
    assert names(office, "restante/deleted") == ["1.a.host:2,S", "2.a.host:2,S"]


def test_all_come_back(office: Path) -> None:
    lines = done(restante("undo", "bob", "--since", "2h", cwd=office)).splitlines()
    assert len(lines) == 3
    assert lines[2] == "2 messages brought back; the next session of bob shows them"
    assert names(office, "cur") == ["1.a.host:2,S", "2.a.host:2,S"]
    assert names(office, "restante/deleted") == []
    assert done(restante("undo", "bob", cwd=office)) == "nothing to bring back\n"


def test_one_comes_back(office: Path) -> None:
    done(restante("undo", "bob", "--id", "2.a.host", cwd=office))
    assert names(office, "cur") == ["2.a.host:2,S"]
    line = refused(restante("undo", "bob", "--id", "2.a.host", cwd=office))
    assert line == "restante: no deleted message has the unique-id 2.a.host; --list shows what there is"


def test_nothing_since_then(office: Path) -> None:
    assert done(restante("undo", "bob", "--since", "2100-01-01", cwd=office)) == "nothing to bring back\n"
    line = refused(restante("undo", "nobody", "--list", cwd=office))
    assert line == "restante: there is no account nobody, and nothing that was deleted"
    assert not (office / "mail/nobody").exists()


def test_a_time_that_is_none(office: Path) -> None:
    line = refused(restante("undo", "bob", "--since", "yesterday", cwd=office), 2)
    assert '"2h", "3d", "2026-11-24" and "2026-11-24T17:00" would be right' in line


@pytest.mark.parametrize(
    "header", [b"From: " + b"(" * 5000, b"From: a@[", b'From: "', b"From: =?x?q?a?=@", b"From: \xff\0\r\n x"]
)
def test_headers_that_are_malformed(office: Path, header: bytes) -> None:
    """P-296: a message may hold anything; it is listed, and comes back."""
    path = office / "mail/bob/restante/deleted/1.a.host:2,S"
    path.write_bytes(header + b"\nSubject: still here\n\n")
    lines = done(restante("undo", "bob", cwd=office)).splitlines()
    assert len(lines) == 3


def test_a_name_that_is_none(office: Path) -> None:
    """P-291."""
    assert "gives no" in refused(restante("undo", "../bob", cwd=office))


def test_a_store_that_keeps_nothing(office: Path) -> None:
    path = office / "restante.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("[store]")] + '[store]\nkind = "memory"\n', encoding="utf-8")
    line = refused(restante("undo", "bob", cwd=office))
    assert line == "restante: restante.toml: this kind of store keeps no deleted messages"
