"""``restante init``."""

import stat
from pathlib import Path

import pytest

from tests.cli.program import done, greeted, names, refused, restante, running


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_it_makes(tmp_path: Path) -> None:
    """Design, section 2: a commented restante.toml, users, mail/; secrets and mail for their owner alone."""
    folder = tmp_path / "a" / "post"
    text = done(restante("init", folder, umask=0o022))
    assert f"restante serve -c {folder / 'restante.toml'}" in text
    assert names(folder) == ["mail", "restante.toml", "users"]
    assert mode(folder / "users") == 0o600
    assert mode(folder / "mail") == 0o700
    assert mode(folder / "restante.toml") == 0o644
    assert (folder / "restante.toml").read_text(encoding="utf-8").count("# ") > 5


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    done(restante("init", tmp_path / "post", umask=0))
    assert mode(tmp_path / "post" / "users") == 0o600
    assert mode(tmp_path / "post" / "mail") == 0o700


def test_an_empty_folder_and_the_current_one_will_do(tmp_path: Path) -> None:
    done(restante("init", ".", cwd=tmp_path))
    assert names(tmp_path) == ["mail", "restante.toml", "users"]


@pytest.mark.parametrize("name", ["file", ".hidden", "restante.toml"])
def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever is in it, it stays as it is."""
    (tmp_path / name).write_text("mine", encoding="ascii")
    assert "is not empty" in refused(restante("init", tmp_path))
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text(encoding="ascii") == "mine"


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in refused(restante("init", file))
    assert str(file) in refused(restante("init", file / "below"))


def test_what_it_made_passes_check_and_serves(tmp_path: Path) -> None:
    """From nothing to a login in four commands."""
    path = tmp_path / "post" / "restante.toml"
    done(restante("init", path.parent))
    assert done(restante("check", cwd=path.parent)).startswith("restante.toml: all is well; 0 accounts")
    done(restante("user", "add", "student", "--password-stdin", "-c", path, stdin="hessovs!\n"))
    assert done(restante("check", "-c", path)).startswith(f"{path}: all is well; 1 account")
    # All as it is, but for the port, which may be taken here.
    text = path.read_text(encoding="utf-8")
    assert "127.0.0.1:1110" in text
    path.write_text(text.replace("127.0.0.1:1110", "127.0.0.1:0"), encoding="utf-8")
    with running("serve", "-c", path) as server:
        with greeted(server.ready()) as client:
            assert client.login(b"student", b"hessovs!").startswith(b"+OK")
            assert client.ask(b"STAT") == b"+OK 0 0\r\n"
            assert client.ask(b"QUIT").startswith(b"+OK")
        server.stop()
    assert done(restante("check", "-c", path)).startswith(f"{path}: all is well")
