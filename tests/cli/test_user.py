"""``restante user``."""

import os
import select
import stat
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from restante.auth import Password, Principal
from restante.authenticators.passwd_file import PasswdFile
from restante.errors import AuthenticationFailed
from tests.cli.program import PROGRAM, TIMEOUT, done, post_office, refused, restante


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """The passwd file of the post office in `tmp_path`, where the commands run."""
    post_office(tmp_path)
    return tmp_path / "users"


async def knows(users: Path, user: str, password: bytes) -> bool:
    try:
        return await PasswdFile(users, threads=1).authenticate(Password(user, password)) == Principal(user)
    except AuthenticationFailed:
        return False


# -- a password from standard input -----------------------------------------------------------------


async def test_add_passwd_list_remove(users: Path) -> None:
    """The life of an account; the words of another one and the comments stay."""
    folder = users.parent
    users.write_text("# ours\nbob:{PLAIN}b\n", encoding="ascii")
    done(restante("user", "add", "alice", "--password-stdin", cwd=folder, stdin="wonder land 7\n"))
    assert await knows(users, "alice", b"wonder land 7")
    assert done(restante("user", "list", cwd=folder)) == "alice\nbob\n"
    done(restante("user", "passwd", "alice", "--password-stdin", cwd=folder, stdin="other"))
    assert await knows(users, "alice", b"other")
    assert not await knows(users, "alice", b"wonder land 7")
    assert done(restante("user", "list", "alice", cwd=folder)) == "alice\n"
    done(restante("user", "remove", "alice", cwd=folder))
    assert done(restante("user", "list", cwd=folder)) == "bob\n"
    assert users.read_text(encoding="ascii") == "# ours\nbob:{PLAIN}b\n"
    assert stat.S_IMODE(users.stat().st_mode) == 0o600


@pytest.mark.parametrize("stdin", ["s p a c e ", "s p a c e \r\nsecond line\n"])
async def test_the_password_is_the_first_line(users: Path, stdin: str) -> None:
    """Without its line end, with all its spaces."""
    done(restante("user", "add", "alice", "--password-stdin", cwd=users.parent, stdin=stdin))
    assert await knows(users, "alice", b"s p a c e ")


@pytest.mark.parametrize(
    ("stdin", "text"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a\tb\n", "SASLprep prohibits"),
        ("\N{SOFT HYPHEN}\n", "nothing is left"),
    ],
)
def test_passwords_that_nobody_could_send(users: Path, stdin: str, text: str) -> None:
    """Refused here rather than at every login; the line does not repeat it (P-287)."""
    command, name = ("passwd", "bob") if stdin else ("add", "alice")
    line = refused(restante("user", command, name, "--password-stdin", cwd=users.parent, stdin=stdin))
    assert text in line
    assert not stdin.strip() or stdin.strip() not in line
    assert users.read_bytes() == b"bob:{PLAIN}b\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("add", "bob"), "bob exists already"),
        (("add", "a b"), "a user name is printable"),
        (("add", "../bob"), "a user name has no slash"),
        (("passwd", "alice"), "there is no account alice"),
    ],
)
def test_accounts_that_cannot_be_changed(users: Path, arguments: tuple[str, str], text: str) -> None:
    line = refused(restante("user", *arguments, "--password-stdin", cwd=users.parent, stdin="secret\n"))
    assert text in line
    assert "secret" not in line
    assert users.read_bytes() == b"bob:{PLAIN}b\n"


def test_accounts_that_are_not_there(users: Path) -> None:
    assert "no account alice" in refused(restante("user", "remove", "alice", cwd=users.parent))
    assert "no account alice" in refused(restante("user", "list", "alice", cwd=users.parent))
    assert "no account" in refused(restante("user", "remove", "", cwd=users.parent))
    assert users.read_bytes() == b"bob:{PLAIN}b\n"


def test_names_with_a_domain(users: Path) -> None:
    """P-052: the domain part is case-insensitive."""
    folder = users.parent
    done(restante("user", "add", "Alice@Example.ORG", "--password-stdin", cwd=folder, stdin="x\n"))
    assert done(restante("user", "list", cwd=folder)) == "Alice@example.org\nbob\n"
    assert "exists already" in refused(
        restante("user", "add", "Alice@EXAMPLE.org", "--password-stdin", cwd=folder, stdin="x\n")
    )
    done(restante("user", "remove", "Alice@EXAMPLE.org", cwd=folder))
    assert done(restante("user", "list", cwd=folder)) == "bob\n"


def test_list_finds_a_name_with_a_domain(users: Path) -> None:
    """P-052."""
    users.write_text("bob@example.org:{PLAIN}b\n", encoding="ascii")
    assert done(restante("user", "list", "bob@Example.ORG", cwd=users.parent)) == "bob@example.org\n"


def test_without_a_users_file(users: Path) -> None:
    """`list` says that there is none; `add` makes it."""
    users.unlink()
    assert str(users.name) in refused(restante("user", "list", cwd=users.parent))
    assert not users.exists()
    done(restante("user", "add", "alice", "--password-stdin", cwd=users.parent, stdin="x\n"))
    assert done(restante("user", "list", cwd=users.parent)) == "alice\n"
    assert stat.S_IMODE(users.stat().st_mode) == 0o600


def test_a_users_file_that_cannot_be_one(users: Path) -> None:
    users.unlink()
    users.mkdir()
    for arguments in (("list",), ("remove", "bob"), ("add", "alice", "--password-stdin")):
        assert "Is a directory" in refused(restante("user", *arguments, cwd=users.parent, stdin="x\n"))


def test_the_first_of_several_files_is_changed(users: Path) -> None:
    configuration = users.parent / "restante.toml"
    with configuration.open("a", encoding="ascii") as file:
        file.write('[[auth]]\nkind = "passwd-file"\npath = "more"\n')
    (users.parent / "more").write_text("carol:{PLAIN}c\n", encoding="ascii")
    done(restante("user", "add", "alice", "--password-stdin", cwd=users.parent, stdin="x\n"))
    assert done(restante("user", "list", cwd=users.parent)) == "alice\nbob\n"
    assert (users.parent / "more").read_bytes() == b"carol:{PLAIN}c\n"


# -- a password from a prompt -----------------------------------------------------------------------

# A terminal is the controlling one of a session only if its leader asks for it.
_LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command in a terminal of its own, and the person before it."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._master, slave = os.openpty()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LEADER, *PROGRAM, *arguments],
                cwd=cwd,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)
        self.screen = b""
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)
        os.close(self._master)

    def wait_for(self, prompt: bytes) -> None:
        """Wait until `prompt` stands on the screen, behind what was waited for before."""
        while (found := self.screen.find(prompt, self._read)) < 0:
            assert self._more(), self.screen
        self._read = found + len(prompt)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Wait for the end of the command; returns its status."""
        while self._more():
            pass
        return self.process.wait(TIMEOUT)

    def _more(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], TIMEOUT)
        assert ready, self.screen
        try:
            octets = os.read(self._master, 4096)
        except OSError:  # EIO: nobody has the other side any more
            return False
        self.screen += octets
        return bool(octets)


@pytest.mark.parametrize(("command", "name"), [("add", "alice"), ("passwd", "bob")])
async def test_the_prompt_does_not_show_the_password(users: Path, command: str, name: str) -> None:
    """P-287: it is asked for twice, and nothing that is typed appears on the terminal."""
    with Terminal("user", command, name, cwd=users.parent) as terminal:
        terminal.wait_for(b"Password: ")
        terminal.type(b"wonder land 7\n")
        terminal.wait_for(b"confirmation: ")
        terminal.type(b"wonder land 7\n")
        assert terminal.end() == 0
    assert b"wonder" not in terminal.screen
    assert b"land" not in terminal.screen
    assert await knows(users, name, b"wonder land 7")


async def test_a_mistyped_password_is_asked_for_again(users: Path) -> None:
    with Terminal("user", "add", "alice", cwd=users.parent) as terminal:
        for first, second in ((b"elephant", b"mouse"), (b"giraffe", b"giraffe")):
            terminal.wait_for(b"Password: ")
            terminal.type(first + b"\n")
            terminal.wait_for(b"confirmation: ")
            terminal.type(second + b"\n")
        assert terminal.end() == 0
    assert await knows(users, "alice", b"giraffe")
    assert not any(word in terminal.screen for word in (b"elephant", b"mouse", b"giraffe"))


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_who_changes_his_mind_at_the_prompt(users: Path, key: bytes) -> None:
    with Terminal("user", "add", "alice", cwd=users.parent) as terminal:
        terminal.wait_for(b"Password: ")
        terminal.type(key)
        assert terminal.end() == 1
    assert b"Traceback" not in terminal.screen
    assert users.read_bytes() == b"bob:{PLAIN}b\n"


@pytest.mark.parametrize(
    "typed",
    [
        "\N{ARABIC LETTER ALEF}1".encode(),
        b"\xff",
    ],
    ids=["UTF-8", "not UTF-8"],
)
def test_typed_passwords_that_nobody_could_send(users: Path, typed: bytes) -> None:
    """Refused with a line, whatever octets the terminal sends."""
    with Terminal("user", "add", "alice", cwd=users.parent) as terminal:
        terminal.wait_for(b"Password: ")
        terminal.type(typed + b"\n")
        if b"\xff" not in typed:
            terminal.wait_for(b"confirmation: ")
            terminal.type(typed + b"\n")
        assert terminal.end() == 1
    assert b"Traceback" not in terminal.screen
    assert b"not UTF-8" in terminal.screen or b"SASLprep" in terminal.screen
    assert users.read_bytes() == b"bob:{PLAIN}b\n"


def test_no_terminal_and_no_password(users: Path) -> None:
    """Without a terminal to ask at: one line, which names --password-stdin."""
    process = subprocess.run(
        [*PROGRAM, "user", "add", "alice"],
        cwd=users.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        start_new_session=True,
        check=False,
    )
    assert "--password-stdin" in refused(process)
