"""``restante deliver``: one message from standard input, and an exit status for a mail server."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import certificate
from tests.cli.program import PROGRAM, TIMEOUT, done, names, post_office, refused, restante, running

MESSAGE = "Subject: x\n\nhello\n"


@pytest.fixture
def office(tmp_path: Path) -> Path:
    post_office(tmp_path)
    return tmp_path


def configure(office: Path, text: str, *, before: bool = False) -> None:
    path = office / "restante.toml"
    old = path.read_text(encoding="ascii")
    path.write_text(text + old if before else old + text, encoding="utf-8")


def deliver(office: Path, message: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Deliver octets as they are."""
    command = [*PROGRAM, "deliver", *arguments]
    return subprocess.run(command, cwd=office, input=message, capture_output=True, timeout=TIMEOUT, check=False)


def delivered(office: Path, user: str = "bob") -> list[bytes]:
    """Return the messages of a user in their order, each with LF line ends; nothing is left in tmp."""
    maildir = office / "mail" / user
    assert names(maildir / "tmp") == []
    return [(maildir / "new" / name).read_bytes() for name in names(maildir / "new")]


# -- what is delivered ------------------------------------------------------------------------------


def test_a_message(office: Path) -> None:
    """D-005: Delivered-To is added; without a sender there is no Return-Path."""
    assert done(restante("deliver", "bob", cwd=office, stdin=MESSAGE)) == ""
    assert delivered(office) == [b"Delivered-To: bob@post.example.org\nSubject: x\n\nhello\n"]


@pytest.mark.parametrize(("sender", "path"), [("a@b.example", "a@b.example"), ("<a@b>", "a@b"), ("", ""), ("<>", "")])
def test_the_sender(office: Path, sender: str, path: str) -> None:
    """D-005: Return-Path comes first; the null path is kept for bounces."""
    done(restante("deliver", "--from", sender, "bob", cwd=office, stdin=MESSAGE))
    (message,) = delivered(office)
    assert message.startswith(f"Return-Path: <{path}>\nDelivered-To: bob@post.example.org\nSubject:".encode())


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("From a@b.example  Thu Nov 26 10:00:00 2026\n", "a@b.example"),
        ("From MAILER-DAEMON Thu Nov 26 10:00:00 2026\n", ""),
        ("From   Thu\n", "Thu"),
        ("From \n", ""),
    ],
)
def test_the_line_of_an_mbox(office: Path, line: str, path: str) -> None:
    """What procmail passes on is no part of the message, but tells the sender."""
    done(restante("deliver", "bob", cwd=office, stdin=line + MESSAGE))
    assert delivered(office) == [
        f"Return-Path: <{path}>\nDelivered-To: bob@post.example.org\nSubject: x\n\nhello\n".encode()
    ]


def test_only_the_first_line_is_one_of_an_mbox(office: Path) -> None:
    message = b"Subject: x\n\nFrom here\n"
    deliver(office, message, "bob")
    assert delivered(office)[0].endswith(message)


@pytest.mark.parametrize(
    "trace",
    [
        b"Return-Path: <a@b>\nX-Original-To: bob+x@example.org\nDelivered-To: bob@example.org\n",
        b"Delivered-To: bob@example.org\n",
        b"return-path: <>\n",
        b"X-Spam: no\nDELIVERED-TO : bob@example.org\n",
    ],
)
@pytest.mark.parametrize("first", [b"", b"From x@y Thu Nov 26\n"])
def test_what_the_mail_server_in_front_has_written_stays_alone(office: Path, trace: bytes, first: bytes) -> None:
    """D-005: exactly one Return-Path, above the first Received."""
    message = trace + b"Received: from a by b; Thu, 26 Nov 2026 10:00:00 +0000\nSubject: x\n\nhello\n"
    deliver(office, first + message, "bob")
    assert delivered(office) == [message]


def test_trace_of_an_earlier_delivery_is_not_ours(office: Path) -> None:
    """D-005: what stands below a Received line is of a delivery before; D-019: to others, so this is no loop."""
    message = b"Received: from a by b; x\nReturn-Path: <old@b>\nDelivered-To: list@example.org\n\nhello\n"
    deliver(office, message, "bob", "-f", "a@b")
    assert delivered(office) == [b"Return-Path: <a@b>\nDelivered-To: bob@post.example.org\n" + message]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\n",
        b"no header",
        b"\n.\n..\nafter dots\n",
        b"A: b\n\nbare\rCR, NUL\0, \xff\xfe\n",
        b"A: \xc3\xbc\n\n" + b"x" * 5_000_000,
        b"A: b\n" * 300_000,
    ],
)
def test_octets_are_kept(office: Path, octets: bytes) -> None:
    """D-024: nothing is changed but what is added."""
    result = deliver(office, octets, "bob")
    if octets.startswith(b"A: b\nA"):  # D-024: a header of more than 1 MiB
        assert result.returncode == 69
        assert delivered(office) == []
    else:
        assert (result.returncode, result.stderr) == (0, b"")
        assert delivered(office) == [b"Delivered-To: bob@post.example.org\n" + octets]


def test_crlf_and_lf_are_the_same(office: Path) -> None:
    """M-002: on disk lines end in LF."""
    deliver(office, b"Subject: x\r\n\r\nhello\r\n", "bob")
    assert delivered(office) == [b"Delivered-To: bob@post.example.org\nSubject: x\n\nhello\n"]


def test_a_message_that_comes_slowly(office: Path) -> None:
    """The trace is found however the header comes in."""
    with subprocess.Popen([*PROGRAM, "deliver", "bob"], cwd=office, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for octet in b"From a@b x\nSubject: x\nReturn-Path: <c@d>\n\nhello\n":
            process.stdin.write(bytes([octet]))
            process.stdin.flush()
    assert process.returncode == 0
    assert delivered(office) == [b"Subject: x\nReturn-Path: <c@d>\n\nhello\n"]


# -- to whom ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BOB", "bob+lists", "bob@post.example.org", "Bob+x@POST.example.org", "postmaster"])
def test_the_same_rules_as_for_lmtp(office: Path, name: str) -> None:
    """D-025."""
    done(restante("deliver", name, cwd=office, stdin=MESSAGE))
    assert len(delivered(office)) == 1


def test_an_alias_for_several(office: Path) -> None:
    """D-005: each copy names its own recipient only."""
    (office / "users").write_text("bob:{PLAIN}b\nalice:{PLAIN}a\n", encoding="ascii")
    configure(office, '[addresses.aliases]\nall = ["bob", "alice"]\n')
    done(restante("deliver", "all", cwd=office, stdin=MESSAGE))
    for user in ("bob", "alice"):
        assert delivered(office, user) == [f"Delivered-To: {user}@post.example.org\nSubject: x\n\nhello\n".encode()]


def test_all_or_nobody(office: Path) -> None:
    """D-022: a mail server that tries again gives nobody two."""
    (office / "users").write_text("bob:{PLAIN}b\nalice:{PLAIN}a\n", encoding="ascii")
    configure(office, '[addresses.aliases]\nall = ["bob", "alice"]\n')
    done(restante("deliver", "alice", cwd=office, stdin=MESSAGE))
    (office / "mail/alice/maildirsize").write_text("1C\n20 1\n", encoding="ascii")
    line = refused(restante("deliver", "all", cwd=office, stdin=MESSAGE), 75)
    assert line.startswith("all: the maildrop is full (")
    assert (delivered(office), len(delivered(office, "alice"))) == ([], 1)


@pytest.mark.parametrize(
    "name", ["nobody", "nobody@post.example.org", "bob@elsewhere.example", "../bob", "", "@", "a@"]
)
def test_nobody_has_that_name(office: Path, name: str) -> None:
    """D-010: EX_NOUSER, and the mail server sends the message back."""
    configure(office, '[addresses]\ndomains = ["post.example.org"]\n')
    assert refused(restante("deliver", name, cwd=office, stdin=MESSAGE), 67) == f'there is no user "{name}"'
    assert names(office / "mail") == []


# -- what goes wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--form", "x", "bob"), ("-f", "a\nb", "bob")])
def test_wrong_usage(office: Path, arguments: tuple[str, ...]) -> None:
    """EX_USAGE, and a line that says what would be right."""
    refused(restante("deliver", *arguments, cwd=office, stdin=MESSAGE), 64)


def test_help_is_no_delivery(office: Path) -> None:
    assert "Exit status: 0 delivered" in done(restante("deliver", "--help", cwd=office, stdin=MESSAGE))


def test_a_wrong_configuration_loses_nothing(office: Path) -> None:
    """D-020: the mail server keeps the message until somebody has mended it."""
    configure(office, "[stroe]\n")
    assert "restante.toml" in refused(restante("deliver", "bob", cwd=office, stdin=MESSAGE), 75)
    (office / "restante.toml").unlink()
    assert "restante init" in refused(restante("deliver", "bob", cwd=office, stdin=MESSAGE), 75)


def test_no_accounts_no_maildrops_no_bounces(office: Path) -> None:
    """D-020: files that are missing for a while."""
    (office / "users").rename(office / "users.new")
    assert "users" in refused(restante("deliver", "bob", cwd=office, stdin=MESSAGE), 75)
    (office / "users.new").rename(office / "users")
    (office / "mail").rename(office / "not-mounted")
    assert "is it mounted?" in refused(restante("deliver", "bob", cwd=office, stdin=MESSAGE), 75)


def test_a_full_maildrop_that_sends_mail_back(office: Path) -> None:
    """D-010: EX_CANTCREAT."""
    configure(office, '[intake]\nfull = "refuse"\n')
    done(restante("deliver", "bob", cwd=office, stdin=MESSAGE))
    (office / "mail/bob/maildirsize").write_text("1C\n20 1\n", encoding="ascii")
    refused(restante("deliver", "bob", cwd=office, stdin=MESSAGE), 73)


def test_a_loop(office: Path) -> None:
    """D-019: EX_UNAVAILABLE."""
    message = "Received: x\n" * 100 + MESSAGE
    assert "loop" in refused(restante("deliver", "bob", cwd=office, stdin=message), 69)
    message = "Received: x\nDelivered-To: bob@post.example.org\n" + MESSAGE
    assert "loop" in refused(restante("deliver", "bob", cwd=office, stdin=message), 69)


def test_a_message_that_is_too_large(office: Path) -> None:
    """D-016."""
    configure(office, '[intake]\nmessage_size = "1K"\n')
    refused(restante("deliver", "bob", cwd=office, stdin=MESSAGE + "x" * 1024), 69)
    done(restante("deliver", "bob", cwd=office, stdin=MESSAGE + "x" * 900))


def test_standard_input_that_is_closed(office: Path) -> None:
    """EX_IOERR."""
    command = [*PROGRAM, "deliver", "bob"]
    shell = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command], cwd=office, capture_output=True, text=True, check=False
    )
    assert "standard input" in refused(shell, 74)
    descriptor = os.open(os.devnull, os.O_WRONLY)
    unreadable = subprocess.run(command, cwd=office, stdin=descriptor, capture_output=True, text=True, check=False)
    os.close(descriptor)
    assert "standard input: " in refused(unreadable, 74)


def test_secrets_of_the_server_are_not_read(office: Path) -> None:
    """Whoever delivers needs no key."""
    chain, key = certificate("post.example.org")
    (office / "cert.pem").write_bytes(chain)
    (office / "key.pem").write_bytes(key)
    configure(office, '[tls]\ncertificate = "cert.pem"\nkey = "missing.pem"\n')
    done(restante("deliver", "bob", cwd=office, stdin=MESSAGE))
    assert len(delivered(office)) == 1


def test_a_server_shows_it_to_its_next_session(office: Path) -> None:
    """P-047: and needs no word from us."""
    with running("serve", cwd=office) as server:
        server.ready()
        done(restante("deliver", "bob", cwd=office, stdin=MESSAGE))
        server.stop()
    assert len(delivered(office)) == 1


# -- as the user who gets the mail ------------------------------------------------------------------


@pytest.fixture
def nobody(office: Path) -> pwd.struct_passwd:
    """An unprivileged user, who may write to a maildrop but not read the accounts."""
    if os.geteuid() != 0:
        pytest.skip("to become another user takes root")
    entry = pwd.getpwnam("nobody")
    office.chmod(0o755)
    for folder in office.parents:
        if str(folder) != "/" and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    os.chown(office / "mail", entry.pw_uid, entry.pw_gid)
    return entry


# What is imported is not everybody's to read, so that comes first.
AS_USER = """
import os, sys
import restante.cli.deliver
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
restante.cli.main(sys.argv[3:])
"""


def as_user(entry: pwd.struct_passwd, office: Path, user: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", AS_USER, str(entry.pw_uid), str(entry.pw_gid), "deliver", user]
    return subprocess.run(
        command, cwd=office, input=MESSAGE, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_who_cannot_read_the_accounts(office: Path, nobody: pwd.struct_passwd) -> None:
    """A mail server runs the command as the recipient: his own name is good, and every maildrop that is there."""
    assert "users" in refused(as_user(nobody, office, "bob"), 75)
    done(as_user(nobody, office, "nobody"))
    assert delivered(office, "nobody") == [b"Delivered-To: nobody@post.example.org\nSubject: x\n\nhello\n"]
    (office / "mail/nobody").rename(office / "mail/bob")
    done(as_user(nobody, office, "bob"))
    assert len(delivered(office)) == 2
