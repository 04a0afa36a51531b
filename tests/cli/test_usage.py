"""What every command has in common: help, exit status, errors in one line, the configuration file."""

import subprocess
from pathlib import Path

import pytest

from restante import __version__
from tests.cli.program import PROGRAM, TIMEOUT, at_once, done, names, post_office, refused, restante

COMMANDS = [
    (),
    ("demo",),
    ("init",),
    ("serve",),
    ("check",),
    ("user",),
    ("user", "add"),
    ("user", "passwd"),
    ("user", "remove"),
    ("user", "list"),
    ("deliver",),
    ("undo",),
    ("adopt",),
    ("connect",),
    ("ls",),
    ("read",),
    ("rm",),
    ("fetch",),
]


def test_version() -> None:
    assert done(restante("--version")) == f"restante {__version__}\n"


def test_help_has_an_example(tmp_path: Path) -> None:
    """Design, section 2: every command has --help with an example, one that names this very command."""
    for arguments, result in at_once(((*command, "--help") for command in COMMANDS), tmp_path):
        text = done(result)
        assert text.startswith("Usage: restante")
        assert f"Example: {' '.join(('restante', *map(str, arguments[:-1])))}" in text


def test_help_lists_the_commands() -> None:
    text = done(restante("-h"))
    assert all(f"\n  {name} " in text for name in ("demo", "init", "serve", "check", "user"))


WRONG_USAGE: list[tuple[str, ...]] = [
    ("bogus",),
    ("--bogus",),
    ("--config",),
    ("demo", "--port", "x"),
    ("demo", "--port", "65536"),
    ("init",),
    ("init", "a", "b"),
    ("serve", "extra"),
    ("user", "bogus"),
    ("user", "add"),
    ("user", "add", "bob", "secret"),
    ("user", "add", "bob", "--password", "secret"),
    ("user", "add", "bob", "--password-stdin=secret"),
    ("user", "passwd", "bob", "secret"),
    ("user", "list", "a", "b"),
]


def test_wrong_usage(tmp_path: Path) -> None:
    """Design, section 2: status 2, one line, which says where help is; a password is no argument of any command."""
    post_office(tmp_path)
    before = (tmp_path / "users").read_bytes()
    for arguments, result in at_once(WRONG_USAGE, tmp_path):
        assert "--help tells more" in refused(result, 2), arguments
    assert (tmp_path / "users").read_bytes() == before
    assert names(tmp_path) == ["mail", "restante.toml", "users"]


@pytest.mark.parametrize("command", [(), ("user",)])
def test_a_command_is_missing(command: tuple[str, ...]) -> None:
    """That is wrong usage too; the help may come with it."""
    result = restante(*command)
    assert result.returncode == 2
    assert "Usage: restante" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        *((("check",), fault) for fault in ("syntax", "address", "folder")),
        (("serve",), "key"),
        (("user", "list"), "syntax"),
        (("user", "add", "x"), "missing"),
        (("user", "passwd", "x"), "key"),
        (("user", "remove", "x"), "address"),
    ],
)
def test_a_faulty_configuration(command: tuple[str, ...], fault: str, tmp_path: Path) -> None:
    """Every command that reads it says the same line, file first, and does nothing."""
    path = post_office(tmp_path)
    text = path.read_text(encoding="ascii")
    match fault:
        case "missing":
            path.unlink()
        case "syntax":
            path.write_text(text + "[limits\n", encoding="ascii")
        case "key":
            path.write_text(text + "stop_grase = 1\n", encoding="ascii")
        case "address":
            path.write_text(text.replace("127.0.0.1:0", "127.0.0.1"), encoding="ascii")
        case "folder":
            path.unlink()
            path.mkdir()
    line = refused(restante(*command, "-c", path, stdin="secret\n"))
    assert line.startswith(f"restante: {path}:")
    assert (tmp_path / "users").read_bytes() == b"bob:{PLAIN}b\n"


def test_no_configuration_anywhere(tmp_path: Path) -> None:
    """The line says both what to name and how to make one."""
    if Path("/etc/restante/restante.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    line = refused(restante("check", cwd=tmp_path))
    assert "--config" in line
    assert "restante init" in line


def test_where_the_configuration_may_be_named(tmp_path: Path) -> None:
    """Design, section 2: --config anywhere, else ./restante.toml; the one that is named wins."""
    here, there = post_office(tmp_path / "here"), post_office(tmp_path / "there")
    (there.parent / "users").write_text("alice:{PLAIN}a\n", encoding="ascii")
    folder = here.parent
    assert done(restante("user", "list", cwd=folder)) == "bob\n"
    ways: list[tuple[str | Path, ...]] = [
        ("--config", there, "user", "list"),
        ("user", "--config", there, "list"),
        ("user", "list", "--config", there),
        ("user", "list", "-c", there),
        ("user", "list", "-c", Path("../there/restante.toml")),
        ("-c", here, "user", "list", "-c", there),
    ]
    for arguments, result in at_once(ways, folder):
        assert done(result) == "alice\n", arguments
    assert str(there) in done(restante("--config", there, "check", cwd=folder))
    assert str(there) in done(restante("check", "--config", there, cwd=folder))


def test_config_is_taken_by_every_command(tmp_path: Path) -> None:
    """Design, section 2: --config FILE (-c) anywhere."""
    assert restante("init", tmp_path / "office", "-c", "other.toml").returncode == 0


def test_a_line_feed_in_an_argument_makes_no_second_line(tmp_path: Path) -> None:
    post_office(tmp_path)
    for arguments in (("check", "-c", "no\nfile"), ("user", "remove", "no\nbody"), ("user", "list", "no\nbody")):
        refused(restante(*arguments, cwd=tmp_path))


def test_a_reader_that_leaves_early(tmp_path: Path) -> None:
    """A closed pipe is no traceback."""
    path = post_office(tmp_path)
    (tmp_path / "users").write_text("".join(f"u{number}:{{PLAIN}}x\n" for number in range(20000)), encoding="ascii")
    process = subprocess.Popen(
        [*PROGRAM, "user", "list", "-c", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "u0\n"
    process.stdout.close()
    _, said = process.communicate(timeout=TIMEOUT)
    assert said == ""
    assert process.returncode == 1


def test_nowhere_to_print(tmp_path: Path) -> None:
    """A full disk behind standard output: one line, no traceback."""
    path = post_office(tmp_path)
    for arguments in (("user", "list"), ("serve",), ("check",)):
        with Path("/dev/full").open("w", encoding="ascii") as full:
            process = subprocess.run(
                [*PROGRAM, *arguments, "-c", path],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        assert process.returncode == 1
        assert process.stderr == "restante: No space left on device\n"


def test_no_standard_input(tmp_path: Path) -> None:
    """Closed altogether."""
    path = post_office(tmp_path)
    process = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *PROGRAM, "user", "add", "x", "--password-stdin", "-c", path],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert "standard input is closed" in refused(process)
