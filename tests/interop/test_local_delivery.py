"""`restante deliver` as mailbox_command and in .forward of a real Postfix, and behind procmail.

Each user has a Maildir at home, which only he may write to, and nobody but the server can read the accounts.
"""

import poplib
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.catalogue import once
from tests.interop.foreign_servers import open_folder
from tests.interop.installed import install
from tests.interop.postfix import Postfix, Server, needs_postfix, postfix
from tests.interop.program import IN_CI, TIMEOUT

pytestmark = [needs_postfix, once]

USERS = ("nobody", "games")
CONFIGURATION = """\
hostname = "mail.example.org"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "home/{user}/Maildir"
"""
LOCAL = """
mydestination = mail.example.org
local_recipient_maps = unix:passwd.byname
forward_path = {folder}/home/$user/.forward
"""
MESSAGE = (
    b"From: a@example.com\r\nMessage-ID: <1@example.com>\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n"
    b"\r\n.dots\r\nFrom here\r\n\xfc\r\n"
)


class Site:
    """A machine whose users have Maildirs at home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = install(folder)
        self.configuration = folder / "restante.toml"
        self.configuration.write_text(CONFIGURATION, encoding="ascii")
        (folder / "users").write_text("nobody:{PLAIN}n\ngames:{PLAIN}g\n", encoding="ascii")
        (folder / "users").chmod(0o600)
        for user in USERS:
            (folder / "home" / user).mkdir(parents=True)
            (folder / "home" / user).chmod(0o700)
            shutil.chown(folder / "home" / user, user)

    @property
    def line(self) -> str:
        """The command as it stands in main.cf."""
        return f'{self.command} deliver -c {self.configuration} "$USER"'

    def messages(self, user: str) -> list[bytes]:
        """Return the messages of a user; all files are his."""
        new = self.folder / "home" / user / "Maildir" / "new"
        paths = sorted(new.iterdir()) if new.exists() else []
        assert {path.owner() for path in paths} <= {user}
        return [path.read_bytes() for path in paths]


@pytest.fixture
def site() -> Iterator[Site]:
    with open_folder() as folder:
        yield Site(folder)


def send(mta: Postfix, recipient: str, sender: str = "a@example.com") -> None:
    with smtplib.SMTP("127.0.0.1", mta.port, timeout=TIMEOUT) as client:
        client.sendmail(sender, [recipient], MESSAGE)


def expected(user: str, original: str, sender: str = "a@example.com") -> tuple[bytes, bytes]:
    """How a message begins and ends: the trace lines are Postfix's alone (D-005)."""
    begin = f"Return-Path: <{sender}>\nX-Original-To: {original}\nDelivered-To: {user}\nReceived: from "
    return begin.encode("ascii"), MESSAGE.replace(b"\r\n", b"\n")


def test_mailbox_command(site: Site) -> None:
    """D-005, D-024: as the user, without the accounts; octets are kept, and the trace lines are Postfix's."""
    main = LOCAL.format(folder=site.folder) + f"mailbox_command = {site.line}\n"
    with postfix(site.folder, main) as mta:
        send(mta, "nobody@mail.example.org")
        send(mta, "games@mail.example.org", "")
        mta.until(lambda: mta.delivered() == 2)
    for user, sender in (("nobody", "a@example.com"), ("games", "")):
        (message,) = site.messages(user)
        begin, end = expected(f"{user}@mail.example.org", f"{user}@mail.example.org", sender)
        assert message.startswith(begin)
        assert message.endswith(end)
    with Server(site.configuration, listeners=1) as server:
        client = poplib.POP3("127.0.0.1", server.port, TIMEOUT)
        client.user("nobody")
        client.pass_("n")
        lines = client.retr(1)[1]
        client.quit()
    assert b"\r\n".join([*lines, b""]).endswith(MESSAGE)


def test_not_now(site: Site) -> None:
    """D-020: whatever a person can mend is for later; nothing is sent back, and it comes when it is mended."""
    main = LOCAL.format(folder=site.folder) + f"mailbox_command = {site.line}\n"
    site.configuration.write_text(CONFIGURATION + "[stroe]\n", encoding="ascii")
    with postfix(site.folder, main) as mta:
        send(mta, "nobody@mail.example.org")
        mta.until(lambda: "status=deferred" in mta.log())
        assert "stroe" in mta.log()  # the line that says what is wrong is in the log of Postfix
        site.configuration.write_text(CONFIGURATION, encoding="ascii")
        mta.until(lambda: mta.delivered() == 1)
        assert "status=bounced" not in mta.log()
    assert len(site.messages("nobody")) == 1


def test_forward(site: Site) -> None:
    """A user who sends all his mail through a command of his own."""
    forward = site.folder / "home/nobody/.forward"
    forward.write_text(f'"|{site.command} deliver -c {site.configuration} nobody"\n', encoding="ascii")
    shutil.chown(forward, "nobody")
    with postfix(site.folder, LOCAL.format(folder=site.folder)) as mta:
        send(mta, "nobody@mail.example.org")
        mta.until(lambda: mta.delivered() == 1)
    (message,) = site.messages("nobody")
    assert message.endswith(MESSAGE.replace(b"\r\n", b"\n"))
    assert message.count(b"Return-Path") == 1


@pytest.mark.skipif(not shutil.which("procmail") and not IN_CI, reason="procmail is not here (.ci/run installs it)")
def test_procmail(site: Site) -> None:
    """procmail passes on what Postfix has given it; without the r of the recipe it would add an empty line."""
    recipe = site.folder / "procmailrc"
    recipe.write_text(f":0rw\n| {site.command} deliver -c {site.configuration} $LOGNAME\n", encoding="ascii")
    main = LOCAL.format(folder=site.folder) + f"mailbox_command = procmail -m {recipe}\n"
    with postfix(site.folder, main) as mta:
        send(mta, "games@mail.example.org")
        mta.until(lambda: mta.delivered() == 1)
    (message,) = site.messages("games")
    begin, end = expected("games@mail.example.org", "games@mail.example.org")
    assert message.startswith(begin)
    assert message.endswith(end)
