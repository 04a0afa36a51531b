"""``restante check``."""

import datetime as dt
import os
from pathlib import Path

import pytest
import trustme

from restante.stores.maildir import names
from tests.cli.program import Result, done, post_office, refused, restante


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A post office in which bob has a Maildir with a message."""
    folder = tmp_path / "post"
    post_office(folder)
    maildir(folder / "mail" / "bob")
    (folder / "mail" / "bob" / "new" / "1.a.host").write_bytes(b"Subject: x\n\nbody\n")
    return folder


def maildir(path: Path) -> None:
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)


def tree(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return all that a change would change."""
    seen: dict[str, tuple[int, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        seen[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return seen


def check(office: Path) -> Result:
    """Run it, and see that it changes nothing at all."""
    before = tree(office)
    result = restante("check", cwd=office)
    assert tree(office) == before
    return result


def complaints(office: Path) -> list[str]:
    """Return what it finds wrong, each once and in one line, without the line that ends the report."""
    result = check(office)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("restante: restante.toml: ")
    return lines[:-1]


def test_all_is_well(office: Path) -> None:
    """Also with an account whose maildrop does not exist yet (P-054)."""
    with (office / "users").open("a", encoding="ascii") as file:
        file.write("# a comment\n\nalice:{PLAIN}a\n")
    assert done(check(office)) == "restante.toml: all is well; 2 accounts\n"


def test_bad_lines_in_the_users_file(office: Path) -> None:
    """File and line first."""
    (office / "users").write_text("nonsense\nbob:{PLAIN}b\nalice:{ROT13}n\nbob:{PLAIN}c\n", encoding="ascii")
    found = complaints(office)
    for place in ("users:1: ", "users:3: ", "users:4: "):
        assert any(line.startswith(place) for line in found)
    assert {line.partition(": ")[0] for line in found} == {"users:1", "users:3", "users:4"}


def test_each_bad_line_is_named_once(office: Path) -> None:
    (office / "users").write_text("nonsense\nbob:{PLAIN}b\n", encoding="ascii")
    assert len(complaints(office)) == 1


def test_list_does_not_speak_of_bad_lines(office: Path) -> None:
    """That is what check is for."""
    (office / "users").write_text("nonsense\nbob:{PLAIN}b\n", encoding="ascii")
    assert done(restante("user", "list", cwd=office)) == "bob\n"


def test_a_users_file_for_everybody_to_read(office: Path) -> None:
    (office / "users").chmod(0o644)
    assert [line.partition(" ")[0] for line in complaints(office)] == ["users:"]


def test_no_users_file(office: Path) -> None:
    (office / "users").unlink()
    assert complaints(office) == ["users: cannot be read: No such file or directory"]


@pytest.mark.parametrize("part", ["tmp", "new", "cur"])
def test_a_maildir_without_one_of_its_folders(office: Path, part: str) -> None:
    folder = office / "mail" / "bob" / part
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert [line.partition(": ")[0] for line in complaints(office)] == [f"mail/bob/{part}"]


def test_what_is_no_message(office: Path) -> None:
    """A folder and a symbolic link among the messages."""
    (office / "mail" / "bob" / "new" / "2.folder").mkdir()
    (office / "mail" / "bob" / "cur" / "3.link:2,S").symlink_to("../new/1.a.host")
    found = complaints(office)
    assert [line.partition(": ")[0] for line in found] == ["mail/bob/new/2.folder", "mail/bob/cur/3.link:2,S"]


def test_a_message_twice(office: Path) -> None:
    (office / "mail" / "bob" / "cur" / "1.a.host:2,S").write_bytes(b"x\n")
    assert [line.partition(": ")[0] for line in complaints(office)] == ["mail/bob/cur/1.a.host:2,S"]


def test_a_message_whose_name_tells_the_wrong_size(office: Path) -> None:
    """P-087: what a name of ours says is what STAT and LIST would say."""
    right, wrong = (names.with_sizes(names.NameGenerator("host").next(), names.Sizes(3, wire, 0)) for wire in (4, 5))
    (office / "mail" / "bob" / "new" / right).write_bytes(b"ab\n")
    assert done(check(office)).startswith("restante.toml: all is well")
    (office / "mail" / "bob" / "new" / wrong).write_bytes(b"ab\n")
    assert [line.partition(": ")[0] for line in complaints(office)] == [f"mail/bob/new/{wrong}"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_message_without_permission(office: Path) -> None:
    (office / "mail" / "bob" / "new" / "1.a.host").chmod(0)
    assert [line.partition(": ")[0] for line in complaints(office)] == ["mail/bob/new/1.a.host"]


def test_a_maildrop_that_cannot_be_looked_at(office: Path) -> None:
    """A name that is no folder name, and a file where a folder belongs; the others are looked at all the same."""
    maildir(office / "mail" / "carol")
    (office / "mail" / "carol" / "cur").rmdir()
    (office / "mail" / "carol" / "cur").touch()
    text = (office / "restante.toml").read_text(encoding="ascii")
    (office / "restante.toml").write_text(text.replace("{user}", "{local}"), encoding="ascii")
    (office / "users").write_text("@example.org:{PLAIN}x\ncarol:{PLAIN}c\nbob:{PLAIN}b\n", encoding="ascii")
    found = complaints(office)
    assert len(found) == 2
    assert "@example.org" in found[0]
    assert found[1].startswith("mail/carol/cur: ")


def test_the_folder_of_all_maildrops_is_missing(office: Path) -> None:
    """P-044: every login is refused then ("is it mounted?"), so not all is well."""
    (office / "mail").rename(office / "away")
    assert any(line.startswith("mail") for line in complaints(office))


def test_a_file_in_the_place_of_a_maildrop(office: Path) -> None:
    """P-044: bob cannot log in, so not all is well."""
    (office / "mail" / "bob").rename(office / "mail" / "away")
    (office / "mail" / "bob").touch()
    assert any("mail/bob" in line for line in complaints(office))


def test_several_tables(office: Path) -> None:
    """All of them are looked at, in order."""
    with (office / "restante.toml").open("a", encoding="ascii") as file:
        file.write('[[auth]]\nkind = "passwd-file"\npath = "more"\n[[auth]]\nkind = "passwd-file"\npath = "third"\n')
    (office / "third").write_text("carol:{PLAIN}c\n", encoding="ascii")
    (office / "third").chmod(0o600)
    maildir(office / "mail" / "carol")
    (office / "mail" / "carol" / "new").rmdir()
    found = [line.partition(": ")[0] for line in complaints(office)]
    assert found == ["more", "mail/carol/new"]


def test_a_mistake_in_the_configuration_comes_first(office: Path) -> None:
    with (office / "restante.toml").open("a", encoding="ascii") as file:
        file.write("idle_timeout = 599\n")
    lines = (office / "restante.toml").read_text(encoding="ascii").count("\n")
    assert refused(check(office)).startswith(f"restante: restante.toml:{lines}: idle_timeout: ")


def add(office: Path, text: str) -> int:
    """Add lines to the configuration; returns the number of the first of them."""
    path = office / "restante.toml"
    before = path.read_text(encoding="ascii")
    path.write_text(before + text, encoding="ascii")
    return before.count("\n") + 1


def test_aliases_that_lead_nowhere(office: Path) -> None:
    """D-010: their mail waits, so not all is well; each is named once, with its line."""
    first = add(
        office, '[addresses.aliases]\ninfo = ["bob", "carol"]\n"all@example.org" = "info"\nx = ["y@z.example"]\n'
    )
    assert complaints(office) == [
        f'restante.toml:{first + 1}: info: "carol" is neither an account nor an alias',
        f'restante.toml:{first + 3}: x: "y@z.example" is neither an account nor an alias',
    ]
    with (office / "users").open("a", encoding="ascii") as file:
        file.write("carol:{PLAIN}c\ny@z.example:{PLAIN}y\n")
    assert done(check(office)) == "restante.toml: all is well; 3 accounts\n"


def test_a_loop_that_only_the_accounts_show(office: Path) -> None:
    """D-010: "info" is found by way of the address, as there is no account of that name."""
    first = add(office, '[addresses.aliases]\ninfo = "help@example.org"\nhelp = "info@example.org"\n')
    said = complaints(office)
    assert said[0].startswith(f"restante.toml:{first + 1}: info: leads back to itself")


def test_a_loop_of_aliases_is_a_mistake_in_the_configuration(office: Path) -> None:
    """D-025: which comes first."""
    first = add(office, '[addresses.aliases]\ninfo = "help"\nhelp = "info"\n')
    said = refused(check(office))
    assert said.startswith(f"restante: restante.toml:{first + 1}: info: leads back to itself: ")


def test_aliases_of_accounts_that_cannot_be_read(office: Path) -> None:
    """D-010: the table is the problem, and is named once."""
    add(office, '[addresses.aliases]\ninfo = "bob"\n')
    (office / "users").unlink()
    assert complaints(office) == ["users: cannot be read: No such file or directory"]


def test_aliases_of_a_table_of_another_kind_that_is_out_of_reach(office: Path) -> None:
    """D-010: nobody can say whether they lead anywhere, so not all is well."""
    add(office, '[addresses.aliases]\ninfo = "carol"\n[[auth]]\nkind = "tables:Away"\n')
    (office / "tables.py").write_text(
        """\
from restante.errors import TemporaryFailure


class Away:
    async def authenticate(self, credentials):
        raise TemporaryFailure("db.example: no connection")

    async def accounts(self, name):
        raise TemporaryFailure("db.example: no connection")

    async def first_account(self):
        raise TemporaryFailure("db.example: no connection")
""",
        encoding="ascii",
    )
    result = restante("check", cwd=office, environment={"PYTHONPATH": str(office), "PYTHONDONTWRITEBYTECODE": "1"})
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "addresses: the accounts cannot be read: db.example: no connection",
        "restante: restante.toml: 1 problem",
    ]


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-400, -1, ["the certificate has expired on "]),
        (-80, 10, ["the certificate expires on "]),
        (2, 90, ["the certificate is not valid before "]),
        (-1, 90, []),
    ],
)
def test_certificates(office: Path, begins: int, ends: int, said: list[str]) -> None:
    """P-239: one that clients will not take is found before they do."""
    now = dt.datetime.now(dt.UTC)
    authority = trustme.CA()
    made = authority.issue_cert(
        "mail.example.org",
        not_before=now + dt.timedelta(days=begins),
        not_after=now + dt.timedelta(days=ends),
    )
    (office / "cert.pem").write_bytes(made.cert_chain_pems[0].bytes())
    (office / "key.pem").write_bytes(made.private_key_pem.bytes())
    (office / "key.pem").chmod(0o600)
    with (office / "restante.toml").open("a", encoding="ascii") as file:
        file.write('[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n')
    if not said:
        assert done(check(office)).startswith("restante.toml: all is well")
        (office / "key.pem").chmod(0o644)
        said = ["everybody on this machine can read the key"]
    lines = complaints(office)
    assert [found.partition(": ")[2].startswith(text) for found, text in zip(lines, said, strict=True)] == [True]


def test_repair(office: Path) -> None:
    """What can be mended is, and is said on stdout; the rest is still a problem."""
    maildir = office / "mail/bob"
    (maildir / "new").chmod(0o500)
    (maildir / "tmp").rmdir()
    (maildir / "cur/2.b.host:2,").symlink_to("elsewhere")
    result = restante("check", "--repair", cwd=office)
    assert result.returncode == 1
    lines = [line.removeprefix("mail/bob/") for line in result.stdout.splitlines()]
    assert lines == ["new: mode is 0700 now", "tmp: made", "restante/index: made anew"]
    assert "cur/2.b.host:2,: not a regular file" in result.stderr
    (maildir / "cur/2.b.host:2,").unlink()
    assert done(restante("check", "--repair", cwd=office)) == "restante.toml: all is well; 1 account\n"
