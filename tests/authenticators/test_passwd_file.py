"""The passwd file: reading it, asking it, editing it."""

import asyncio
import logging
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from restante.auth import Password, Principal
from restante.authenticators import schemes
from restante.authenticators.passwd_editor import PasswdFileEditor
from restante.authenticators.passwd_file import PasswdFile
from restante.errors import AuthenticationFailed, Condition, TemporaryFailure

TIMEOUT = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def write(path: Path, text: str | bytes) -> PasswdFile:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return PasswdFile(path, threads=1)


async def login(table: PasswdFile, user: str, password: bytes) -> Principal:
    async with asyncio.timeout(TIMEOUT):
        return await table.authenticate(Password(user, password))


async def refusal(table: PasswdFile, user: str, password: bytes) -> Condition:
    with pytest.raises(Condition) as caught:
        await login(table, user, password)
    return caught.value


# -- reading ----------------------------------------------------------------------------------------


async def test_comments_blank_lines_and_further_fields(path: Path) -> None:
    """The format Dovecot reads; what follows the hash is ignored."""
    table = write(
        path,
        "# bob:{PLAIN}comment\n\n   \nbob:{PLAIN}b b\n"
        "alice:{PLAIN}a:1000:1000:Alice:/home/alice:/bin/sh:userdb_quota=1\ncarol:{PLAIN}c:",
    )
    assert table.users() == ["bob", "alice", "carol"]
    assert list(table.problems()) == []
    assert await login(table, "bob", b"b b") == Principal("bob")
    assert await login(table, "alice", b"a") == Principal("alice")
    assert await login(table, "carol", b"c") == Principal("carol")


async def test_crlf_line_ends(path: Path) -> None:
    """A file edited elsewhere: the CR is part of no password."""
    table = write(path, b"# x\r\n\r\nbob:{PLAIN}b\r\nalice:{PLAIN}a:more\r\n")
    assert list(table.problems()) == []
    assert await login(table, "bob", b"b") == Principal("bob")
    assert await login(table, "alice", b"a") == Principal("alice")
    assert isinstance(await refusal(table, "bob", b"b\r"), AuthenticationFailed)


async def test_only_lf_ends_a_line(path: Path) -> None:
    """Other separators of Unicode are ordinary characters of a password."""
    table = write(path, "bob:{PLAIN}b\u2028x\x0by\x85z\nalice:{PLAIN}a\n")
    assert table.users() == ["bob", "alice"]
    assert await login(table, "bob", "b\u2028x\x0by\x85z".encode()) == Principal("bob")


async def test_case_of_names(path: Path) -> None:
    """P-052: the domain part is case-insensitive in the file and at login, the local part is not."""
    table = write(path, "Bob@EXAMPLE.org:{PLAIN}b\nalice:{PLAIN}a\n")
    for name in ("Bob@example.org", "Bob@EXAMPLE.ORG", "Bob@EXAMPLE.org"):
        assert await login(table, name, b"b") == Principal("Bob@example.org")
    assert isinstance(await refusal(table, "bob@example.org", b"b"), AuthenticationFailed)
    assert isinstance(await refusal(table, "ALICE", b"a"), AuthenticationFailed)


MALFORMED = {
    "no colon": "onlyaname",
    "no name": ":{PLAIN}x",
    "space in the name": "a b:{PLAIN}x",
    "leading space": " eve:{PLAIN}x",
    "slash": "../eve:{PLAIN}x",
    "leading dot": ".eve:{PLAIN}x",
    "not as SASLprep has it": "\N{FEMININE ORDINAL INDICATOR}ve:{PLAIN}x",
    "two directions": "\N{ARABIC LETTER ALEF}1:{PLAIN}x",
    "control character": "e\x07ve:{PLAIN}x",
    "long name": "e" * 201 + ":{PLAIN}x",
    "unknown scheme": "eve:{ROT13}uryyb",
    "no scheme": "eve:uryyb",
    "no hash": "eve:",
    "empty password": "eve:{PLAIN}",
    "unknown method": "eve:{CRYPT}$nosuchmethod$aaaaaaaaaaaaaaaaaaaaaaaa",
    "twice": "alice:{PLAIN}other",
    "twice but for case": "carol@EXAMPLE.org:{PLAIN}other",
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_line_is_named_and_the_others_live_on(
    path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """P-291, P-287: one line with the number, without the hash; a name that cannot be one never gets in."""
    table = write(path, f"# users\nalice:{{PLAIN}}a\ncarol@example.org:{{PLAIN}}c\n{line}\nbob:{{PLAIN}}b\n")
    problems = list(table.problems())
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:4: ")
    assert "\n" not in problems[0]
    assert table.users() == ["alice", "carol@example.org", "bob"]
    assert await login(table, "alice", b"a") == Principal("alice")
    assert await login(table, "bob", b"b") == Principal("bob")
    name, _, stored = line.partition(":")
    assert isinstance(await refusal(table, name, b"x"), AuthenticationFailed)
    assert isinstance(await refusal(table, name, b"other"), AuthenticationFailed)
    assert [record.getMessage() for record in caplog.records] == [f"{problems[0]}; the line is not used"]
    secret = stored.rpartition("}")[2]
    assert len(secret) < 2 or secret not in caplog.text


def test_octets_that_are_not_utf8_spoil_one_line(path: Path) -> None:
    table = write(path, b"alice:{PLAIN}a\ne\xffve:{PLAIN}x\nbob:{PLAIN}b\n")
    assert table.users() == ["alice", "bob"]
    assert [problem.partition(": ")[0] for problem in table.problems()] == [f"{path}:2"]


def test_problems_name_every_line(path: Path) -> None:
    table = write(path, "x\nbob:{PLAIN}b\nbob:{PLAIN}c\nbob:{PLAIN}d\n")
    problems = list(table.problems())
    assert [problem.partition(": ")[0] for problem in problems] == [f"{path}:1", f"{path}:3", f"{path}:4"]
    assert all("line 2" in problem for problem in problems[1:])


def test_problems_of_the_file_itself(path: Path) -> None:
    """A file everybody may read, and none at all."""
    table = write(path, "bob:{PLAIN}b\n")
    path.chmod(0o604)
    assert [problem.startswith(f"{path}: everybody ") for problem in table.problems()] == [True]
    path.chmod(0o640)
    assert list(table.problems()) == []
    path.unlink()
    assert list(table.problems()) == [f"{path}: cannot be read: No such file or directory"]


# -- changes ----------------------------------------------------------------------------------------


async def test_the_file_is_read_again_when_it_changes(path: Path) -> None:
    """The same size, another time of change."""
    table = write(path, "bob:{PLAIN}one\n")
    os.utime(path, ns=(1_000, 1_000))
    assert await login(table, "bob", b"one") == Principal("bob")
    path.write_text("bob:{PLAIN}two\n", encoding="ascii")
    os.utime(path, ns=(1_000, 2_000))
    assert isinstance(await refusal(table, "bob", b"one"), AuthenticationFailed)
    assert await login(table, "bob", b"two") == Principal("bob")


async def test_a_file_moved_into_its_place_is_read(path: Path) -> None:
    """The same size and the same time of change, another file."""
    table = write(path, "bob:{PLAIN}one\n")
    os.utime(path, ns=(1_000, 1_000))
    assert await login(table, "bob", b"one") == Principal("bob")
    aside = path.with_name("aside")
    aside.write_text("bob:{PLAIN}two\n", encoding="ascii")
    os.utime(aside, ns=(1_000, 1_000))
    aside.replace(path)
    assert await login(table, "bob", b"two") == Principal("bob")


async def test_an_unchanged_file_is_read_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed line is reported once for each reading, so the log tells how often it was read."""
    table = write(path, "bob:{PLAIN}b\nnocolon\n")
    for _ in range(5):
        await login(table, "bob", b"b")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("half", ["", "alice:{PLAIN}a\nbo", "alice:{PLAIN}a\nbob:{PLAIN}s"])
async def test_a_file_that_is_just_being_written_locks_nobody_out(path: Path, half: str) -> None:
    """P-179: [AUTH] makes clients forget a password that is right."""
    path.write_text("bob:{PLAIN}secret\n", encoding="ascii")
    accounts = PasswdFile(path)
    assert await accounts.authenticate(Password("bob", b"secret")) == Principal("bob")
    path.write_text(half, encoding="ascii")
    assert await accounts.authenticate(Password("bob", b"secret")) == Principal("bob")
    path.write_text("alice:{PLAIN}a\nbob:{PLAIN}new\n", encoding="ascii")
    assert await accounts.authenticate(Password("bob", b"new")) == Principal("bob")
    path.write_text(half, encoding="ascii")
    os.utime(path, (1000, 1000))  # it stays like that: so it is meant
    with pytest.raises(AuthenticationFailed):
        await accounts.authenticate(Password("bob", b"new"))
    os.utime(path, (2**32, 2**32))  # and a clock that was wrong does not keep what is gone
    with pytest.raises(AuthenticationFailed):
        await accounts.authenticate(Password("bob", b"new"))


async def test_a_removed_account_is_refused_at_once(path: Path) -> None:
    table = write(path, "bob:{PLAIN}b\nalice:{PLAIN}a\n")
    assert await login(table, "bob", b"b") == Principal("bob")
    PasswdFileEditor(path).remove("bob")
    assert isinstance(await refusal(table, "bob", b"b"), AuthenticationFailed)
    assert await login(table, "alice", b"a") == Principal("alice")
    PasswdFileEditor(path).remove("alice")  # and the last one, which leaves an empty file
    assert isinstance(await refusal(table, "alice", b"a"), AuthenticationFailed)


async def test_a_file_out_of_reach_is_a_temporary_failure(path: Path) -> None:
    """P-044: never "wrong password", and never the accounts of before; it passes by itself."""
    table = write(path, "bob:{PLAIN}b\n")
    assert await login(table, "bob", b"b") == Principal("bob")
    path.rename(path.with_name("away"))
    error = await refusal(table, "bob", b"b")
    assert isinstance(error, TemporaryFailure)
    assert error.code == "SYS/TEMP"
    assert str(path) in str(error)
    assert str(path) not in error.reply
    with pytest.raises(TemporaryFailure):
        table.users()
    path.with_name("away").rename(path)
    assert await login(table, "bob", b"b") == Principal("bob")


@pytest.mark.parametrize("kind", ["missing", "directory", "loop", "below a file"])
async def test_a_file_that_cannot_be_read_is_a_temporary_failure(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "below a file":
        path.write_bytes(b"")
        path /= "users"
    assert isinstance(await refusal(PasswdFile(path, threads=1), "bob", b"b"), TemporaryFailure)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_without_permission_is_a_temporary_failure(path: Path) -> None:
    table = write(path, "bob:{PLAIN}b\n")
    path.chmod(0)
    assert isinstance(await refusal(table, "bob", b"b"), TemporaryFailure)


# -- the same cost for all refusals -----------------------------------------------------------------


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The schemes of the hashes that were verified, in order."""
    done: list[str] = []
    original = schemes.Hash.matches

    def matches(self: schemes.Hash, password: bytes) -> bool:
        done.append(self.scheme)
        return original(self, password)

    monkeypatch.setattr(schemes.Hash, "matches", matches)
    return done


@pytest.mark.parametrize(
    "stored",
    [
        "{PLAIN}b",
        "{SSHA256}ySZrLUDl24tIfMTSuTQnf1VIcMTQX6+OCioKcupqxQoe3I3d",
        "{BLF-CRYPT}$2y$04$NH/TOkEKaAQmIlKaRayIWuyvh9UX2lK2ANYqBI.4fUykTLaIkAx96",
    ],
)
async def test_unknown_user_and_wrong_password_cost_and_look_the_same(
    path: Path, verified: list[str], stored: str
) -> None:
    """P-039: one verification of the same kind, the same class, the same words to the peer."""
    table = write(path, f"bob:{stored}\neve:{{ROT13}}malformed\n")
    wrong = await refusal(table, "bob", b"x")
    cost = verified.copy()
    assert len(cost) == 1
    for name in ("nobody", "eve", "bob@example.org", "", "../bob", "n\xf6body", "x" * 200):
        verified.clear()
        unknown = await refusal(table, name, b"x")
        assert verified == cost
        assert type(unknown) is type(wrong) is AuthenticationFailed
        assert (unknown.code, unknown.reply) == (wrong.code, wrong.reply)


async def test_unknown_users_cost_what_known_ones_cost_where_schemes_differ(path: Path, verified: list[str]) -> None:
    """P-039: one name always takes one kind of hash, and all kinds are taken by some name."""
    table = write(path, "bob:{PLAIN}b\nalice:{SSHA256}ySZrLUDl24tIfMTSuTQnf1VIcMTQX6+OCioKcupqxQoe3I3d\n")
    taken = []
    for name in [f"nobody{number}" for number in range(64)]:
        verified.clear()
        await refusal(table, name, b"x")
        await refusal(table, name, b"y")
        assert len(verified) == 2
        assert verified[0] == verified[1]
        taken.append(verified[0])
    assert set(taken) == {"PLAIN", "SSHA256"}


async def test_the_password_of_somebody_else_lets_no_unknown_user_in(path: Path) -> None:
    """P-039: the outcome of the verification for an unknown user is not used."""
    table = write(path, "bob:{PLAIN}b\n")
    for name in ("nobody", "", "BOB"):
        assert isinstance(await refusal(table, name, b"b"), AuthenticationFailed)


async def test_a_file_without_accounts_refuses_everybody(path: Path, verified: list[str]) -> None:
    table = write(path, "# nobody yet\n")
    assert isinstance(await refusal(table, "bob", b"-"), AuthenticationFailed)
    assert len(verified) == 1


async def test_the_password_is_shown_nowhere(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P-287: not in the log at any level, not in exceptions, not in the textual form of anything here."""
    caplog.set_level(logging.DEBUG)
    table = write(path, "bob:{PLAIN}hunter2\neve:hunter2\nhunter2-is-no-line\nalice:{ROT13}hunter2\n")
    credentials = Password("bob", b"hunter2")
    assert await table.authenticate(credentials) == Principal("bob")
    shown = [repr(credentials), str(credentials), f"{credentials}", repr([credentials])]
    for user in ("bob", "nobody"):
        error = await refusal(table, user, b"hunter23")
        shown += [repr(error), str(error), error.reply.template]
    shown += [repr(table), repr(vars(table)), caplog.text, *table.problems()]
    assert "the line is not used" in caplog.text
    assert [text for text in shown if "hunter2" in text] == []


# -- hashing in threads -----------------------------------------------------------------------------


class Busy:
    """Counts how many verifications run at a time."""

    def __init__(self, barrier: threading.Barrier | None = None) -> None:
        self._barrier = barrier
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.threads: set[int] = set()

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = schemes.Hash.matches

        def matches(stored: schemes.Hash, password: bytes) -> bool:
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
                self.threads.add(threading.get_ident())
            if self._barrier is not None:
                self._barrier.wait(TIMEOUT)
            result = original(stored, password)
            with self._lock:
                self._now -= 1
            return result

        monkeypatch.setattr(schemes.Hash, "matches", matches)


def six_users(path: Path, threads: int) -> PasswdFile:
    """Of one user the same password would be hashed once for all who come at the same time."""
    stored = schemes.make(b"b")
    path.write_text("".join(f"bob{number}:{stored}\n" for number in range(6)), encoding="ascii")
    return PasswdFile(path, threads)


async def test_hashing_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-290: with one thread at most one password is hashed at a time, and none in the event loop."""
    table = six_users(path, threads=1)
    busy = Busy()
    busy.watch(monkeypatch)
    await asyncio.gather(*(login(table, f"bob{number}", b"b") for number in range(6)))
    assert busy.most == 1
    assert threading.get_ident() not in busy.threads


async def test_two_threads_hash_two_passwords_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-290: neither more nor less: pairs meet at a barrier, which one thread alone would never pass."""
    table = six_users(path, threads=2)
    busy = Busy(threading.Barrier(2))
    busy.watch(monkeypatch)
    await asyncio.gather(*(login(table, f"bob{number}", b"b") for number in range(6)))
    assert busy.most == 2


# -- editing ----------------------------------------------------------------------------------------

ORIGINAL = (
    "# our users\nbob:{PLAIN}b:1000:extra\n\n  # not read as a comment\nnonsense\r\nalice:{PLAIN}a\r\n# the end\n"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_add_appends_a_line(path: Path) -> None:
    table = write(path, ORIGINAL)
    path.chmod(0o640)
    PasswdFileEditor(path).add("carol@EXAMPLE.org", b"c c")
    text = path.read_bytes().decode()
    assert text.startswith(ORIGINAL + "carol@example.org:{ARGON2ID}$argon2id$")
    assert text.count("\n") == ORIGINAL.count("\n") + 1
    assert mode(path) == 0o640
    assert await login(table, "carol@example.org", b"c c") == Principal("carol@example.org")
    assert list(path.parent.iterdir()) == [path]


async def test_set_password_changes_one_field(path: Path) -> None:
    table = write(path, ORIGINAL)
    path.chmod(0o400)
    PasswdFileEditor(path).set_password("bob", b"new")
    before, after = ORIGINAL.split("bob:{PLAIN}b:1000:extra\n")
    text = path.read_bytes().decode()
    assert text.startswith(before + "bob:{ARGON2ID}$argon2id$")
    assert text.endswith(":1000:extra\n" + after)
    assert text.count("\n") == ORIGINAL.count("\n")
    assert mode(path) == 0o400
    assert await login(table, "bob", b"new") == Principal("bob")
    assert isinstance(await refusal(table, "bob", b"b"), AuthenticationFailed)


async def test_remove_takes_one_line_out(path: Path) -> None:
    table = write(path, ORIGINAL)
    PasswdFileEditor(path).remove("bob")
    assert path.read_bytes().decode() == ORIGINAL.replace("bob:{PLAIN}b:1000:extra\n", "")
    assert mode(path) == 0o600
    assert table.users() == ["alice"]


def test_names_are_found_without_regard_to_the_case_of_the_domain(path: Path) -> None:
    """P-052."""
    write(path, "bob@EXAMPLE.org:{PLAIN}b\n")
    editor = PasswdFileEditor(path)
    with pytest.raises(ValueError, match=r"^bob@example\.org exists already"):
        editor.add("bob@example.ORG", b"x")
    editor.remove("bob@Example.org")
    assert path.read_bytes() == b""


def test_a_missing_file_is_made_for_its_owner_alone(path: Path) -> None:
    PasswdFileEditor(path).add("bob", b"b")
    assert mode(path) == 0o600
    assert PasswdFile(path).users() == ["bob"]


@pytest.mark.parametrize("original", [b"bob:{PLAIN}b", b"# only a comment", b"bob:{PLAIN}b\r\nalice:{PLAIN}a"])
async def test_a_file_without_a_final_newline(path: Path, original: bytes) -> None:
    """The new line never runs into the last one."""
    table = write(path, original)
    before = table.users()
    PasswdFileEditor(path).add("carol", b"c")
    assert path.read_bytes().startswith(original + b"\ncarol:{ARGON2ID}")
    assert table.users() == [*before, "carol"]
    assert await login(table, "carol", b"c") == Principal("carol")


def test_octets_that_are_not_utf8_are_kept(path: Path) -> None:
    original = b"# caf\xe9 \x85\x0b\x0c \r still the comment\nalice:{PLAIN}a:\xff\n"
    write(path, original)
    PasswdFileEditor(path).add("bob", b"b")
    assert path.read_bytes().startswith(original + b"bob:{ARGON2ID}")


def test_an_edit_that_is_refused_changes_nothing(path: Path) -> None:
    write(path, ORIGINAL)
    before = path.stat()
    editor = PasswdFileEditor(path)
    with pytest.raises(ValueError, match="exists already"):
        editor.add("bob", b"x")
    with pytest.raises(LookupError, match="no account carol"):
        editor.set_password("carol", b"x")
    with pytest.raises(LookupError, match="no account carol"):
        editor.remove("carol")
    with pytest.raises(LookupError):
        editor.remove("# our users")
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "a b",
            "a:b",
            "a/b",
            "..",
            ".a",
            "a\nb",
            "a\0b",
            "\N{FEMININE ORDINAL INDICATOR}",
            "x" * 201,
            "#bob",
        ),
    ],
)
def test_names_that_cannot_be_one_are_not_added(path: Path, name: str) -> None:
    """P-291: what `add` writes, the server reads as that account, or `add` refuses."""
    write(path, "alice:{PLAIN}a\n")
    with pytest.raises(ValueError, match="user name"):
        PasswdFileEditor(path).add(name, b"x")
    assert path.read_bytes() == b"alice:{PLAIN}a\n"


async def test_a_removed_account_is_gone_even_if_it_stood_there_twice(path: Path) -> None:
    table = write(path, "bob:{PLAIN}b\nalice:{PLAIN}a\nbob:{PLAIN}old\n")
    PasswdFileEditor(path).remove("bob")
    assert table.users() == ["alice"]


def test_no_account_without_a_name_is_removed(path: Path) -> None:
    write(path, ORIGINAL)
    with pytest.raises(LookupError):
        PasswdFileEditor(path).remove("")
    assert path.read_bytes().decode() == ORIGINAL


def test_a_symbolic_link_stays_one(path: Path) -> None:
    """Whoever shares the file with another program by a link goes on sharing it."""
    target = path.with_name("target")
    write(target, "bob:{PLAIN}b\n")
    path.symlink_to(target.name)
    PasswdFileEditor(path).add("alice", b"a")
    assert path.is_symlink()
    assert PasswdFile(target).users() == ["bob", "alice"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_the_owner_stays(path: Path) -> None:
    write(path, ORIGINAL)
    os.chown(path, 1234, 4321)
    PasswdFileEditor(path).remove("bob")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_threads_that_edit_at_once_lose_nothing(path: Path) -> None:
    """Two editors in one process add 20 accounts each; a reader meanwhile always finds the first one."""
    table = write(path, "# users\nfirst:{PLAIN}f\n")

    def add(prefix: str) -> None:
        for number in range(20):
            PasswdFileEditor(path).add(f"{prefix}{number}", b"x")

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(add, prefix) for prefix in ("a", "b")]
        readings = 0
        while not all(task.done() for task in tasks) or not readings:
            assert table.users()[0] == "first"
            readings += 1
        for task in tasks:
            task.result(TIMEOUT)
    users = [f"{prefix}{number}" for prefix in ("a", "b") for number in range(20)]
    assert sorted(table.users()) == sorted(["first", *users])
    assert path.read_bytes().startswith(b"# users\nfirst:{PLAIN}f\n")
    assert list(path.parent.iterdir()) == [path]


_ADD_TWENTY = """
import sys
from restante.authenticators.passwd_editor import PasswdFileEditor
sys.stdin.readline()
for number in range(20):
    PasswdFileEditor(sys.argv[1]).add(f"{sys.argv[2]}{number}", b"x")
"""


def test_processes_that_edit_at_once_lose_nothing(path: Path) -> None:
    write(path, "first:{PLAIN}f\n")
    editors = [
        subprocess.Popen([sys.executable, "-c", _ADD_TWENTY, path, prefix], stdin=subprocess.PIPE)
        for prefix in ("a", "b")
    ]
    try:
        for editor in editors:
            assert editor.stdin is not None
            editor.stdin.write(b"go\n")
            editor.stdin.close()
        assert [editor.wait(TIMEOUT) for editor in editors] == [0, 0]
    finally:
        for editor in editors:
            editor.kill()
            editor.wait(TIMEOUT)
    users = [f"{prefix}{number}" for prefix in ("a", "b") for number in range(20)]
    assert sorted(PasswdFile(path).users()) == sorted(["first", *users])
    assert list(path.parent.iterdir()) == [path]


_ADD_ON_A_FULL_DISK = """
import resource, sys
from restante.authenticators.passwd_editor import PasswdFileEditor
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    PasswdFileEditor(sys.argv[1]).add("carol", b"x")
except OSError as error:
    print(error.strerror)
"""


def test_a_failing_write_leaves_the_old_file(path: Path) -> None:
    """A limit on the size of files stands for a full disk: the old file stays whole, and nothing lies about."""
    write(path, ORIGINAL)
    before = path.stat()
    done = subprocess.run(
        [sys.executable, "-c", _ADD_ON_A_FULL_DISK, path],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # the limit would cut off the files of compiled modules too
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == "File too large\n"
    assert path.read_bytes().decode() == ORIGINAL
    assert path.stat().st_ino == before.st_ino
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_the_place_of_the_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        PasswdFileEditor(path).add("bob", b"b")
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        PasswdFileEditor(path.with_name("missing") / "users").add("bob", b"b")
