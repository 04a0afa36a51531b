"""The configurations of docs/how-to/exim.md and opensmtpd.md, word for word, with the real programs."""

import os
import re
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.cli.program import free_port
from tests.interop.catalogue import ROOT, once
from tests.interop.foreign_servers import open_folder
from tests.interop.installed import install
from tests.interop.postfix import Server
from tests.interop.program import TIMEOUT
from tests.interop.test_postfix import fetched_whole
from tests.interop.unpacked import FIRST_ID, Unpacked, needs, running

pytestmark = once

BODY = (
    b"Message-ID: <1@example.com>\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nFrom: a@example.com\r\n"
    b"\r\nhello\r\n.dots\r\n"
)
VMAIL = FIRST_ID + 3
MESSAGES = 200


def blocks(guide: str) -> list[str]:
    """Return what stands between the fences of a guide."""
    text = (ROOT / "docs/how-to" / guide).read_text(encoding="utf-8")
    return re.findall(r"^```(?:toml)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def changed(text: str, changes: dict[str, str]) -> str:
    """Change what cannot be as it is in the guide; each must be there, once."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Site:
    """Our side, as a guide has it; only ports and paths are others."""

    def __init__(self, folder: Path, toml: str) -> None:
        self.folder = folder
        self.mail = folder / "post/mail"
        self.mail.mkdir(parents=True)
        self.lmtp, self.smtp = free_port(), free_port()
        (folder / "post/users").write_text("bob:{PLAIN}b\n", encoding="ascii")
        self.configuration = folder / "post/restante.toml"
        ports = {"127.0.0.1:24": f"127.0.0.1:{self.lmtp}", "*:110": "127.0.0.1:0"}
        self.configuration.write_text(changed(toml, ports), encoding="utf-8")

    def command(self, text: str) -> str:
        """Return a piece of configuration with the program as it is installed here; the mail belongs to vmail now."""
        program = {"/opt/restante/bin/restante": str(install(self.folder))}
        for path in (self.folder / "post", *(self.folder / "post").rglob("*")):
            os.chown(path, VMAIL, VMAIL)
        return changed(text, program | {"/etc/restante/restante.toml": str(self.configuration)})

    def exim(self, text: str) -> AbstractContextManager[Unpacked]:
        """Run an Exim with that configuration."""
        ports = {
            "daemon_smtp_ports = 25": f"daemon_smtp_ports = {self.smtp}",
            "F,2h,1m; G,16h,1h,1.5; F,4d,6h": "F,1h,1s",
            "callout_negative_expire = 1m": "callout_negative_expire = 1s",
        }
        if "port = 24" in text:
            ports["port = 24"] = f"port = {self.lmtp}"
        ours = f"local_interfaces = 127.0.0.1\ntls_advertise_hosts =\nlog_file_path = {self.folder}/logs/%slog\n"
        spool = "mkdir -p /var/spool/exim4; chown Debian-exim: /var/spool/exim4"
        main = ours + changed(text, ports)
        return running(self.folder, self.smtp, {"exim4/exim4.conf": main}, spool, "exim4 -bdf -q1s")

    def opensmtpd(self, text: str, recipients: str) -> AbstractContextManager[Unpacked]:
        """Run an OpenSMTPD with that configuration."""
        ports = {"listen on lo port 25": f"listen on 127.0.0.1 port {self.smtp}"}
        if ":24" in text:
            ports["127.0.0.1:24"] = f"127.0.0.1:{self.lmtp}"
        folders = "mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty; chmod 711 /var/spool/smtpd"
        etc = {"smtpd.conf": changed(text, ports), "mail/recipients": recipients}
        return running(self.folder, self.smtp, etc, folders, "smtpd -d")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def send(mta: Unpacked, recipient: str = "bob+lists@example.org") -> int:
    """Send a message; returns the code of the refusal, or 250."""
    with smtplib.SMTP("127.0.0.1", mta.port, timeout=TIMEOUT) as client:
        try:
            client.sendmail("a@example.com", [recipient], BODY)
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients[recipient][0]
    return 250


def send_many(mta: Unpacked) -> None:
    # On ten connections that stay: OpenSMTPD waits a quarter of a second at the start of each.
    options = ["-d", "-s", "10", "-m", str(MESSAGES), "-l", "3000", "-f", "a@example.com", "-t", "bob@example.org"]
    subprocess.run(["smtp-source", *options, f"inet:127.0.0.1:{mta.port}"], check=True, timeout=TIMEOUT)


def arrived(site: Site) -> list[bytes]:
    """Return what is in bob's Maildir, as it is on disk."""
    new = site.mail / "bob/new"
    return [path.read_bytes() for path in new.iterdir()] if new.exists() else []


def check_lmtp(site: Site, mta: Unpacked, *, unknown: int, delivered: str) -> None:
    """What must be so whatever is in front; the last message comes while the server is down.

    Args:
        site: what runs, and where.
        mta: the mail server in front.
        unknown: the code of its refusal of a recipient whom the server does not know.
        delivered: what its log says once for each message that the server has accepted.
    """
    with Server(site.configuration) as server:
        assert send(mta, "nobody@example.org") == unknown
        assert send(mta, "bob@elsewhere.example") in (550, 554)
        assert send(mta) == 250
        send_many(mta)
        # Killed between the file and its reply, a message would come again, as it must (RFC 1047).
        mta.until(lambda: mta.log().count(delivered) == MESSAGES + 1)
        assert len(arrived(site)) == MESSAGES + 1
        server.kill()
        assert send(mta) == 250
        server.start()
        mta.until(lambda: len(arrived(site)) == MESSAGES + 2)
        found = fetched_whole(server.port)
    assert len(found) == MESSAGES + 2
    by_hand = [message for message in found if message.endswith(BODY)]
    assert len(by_hand) == 2
    for message in by_hand:
        assert message.startswith(b"Return-Path: <a@example.com>\r\nDelivered-To: bob+lists@example.org\r\nReceived: ")


def check_command(site: Site, mta: Unpacked) -> None:
    """D-020: a mistake in the configuration keeps the mail in the queue until it is mended."""
    good = site.configuration.read_text(encoding="utf-8")
    site.configuration.write_text("[stroe]\n" + good, encoding="utf-8")
    assert send(mta) == 250
    mta.until(lambda: "stroe" in mta.log() or "TempFail" in mta.log())
    assert arrived(site) == []
    site.configuration.write_text(good, encoding="utf-8")
    mta.until(lambda: len(arrived(site)) == 1)
    (message,) = arrived(site)
    assert message.endswith(BODY.replace(b"\r\n", b"\n"))
    assert message.startswith(b"Return-Path: <a@example.com>\nDelivered-To: bob+lists@example.org\nReceived: ")


@needs("usr/sbin/exim4")
def test_exim(folder: Path) -> None:
    """D-009, D-010, D-025: Exim asks at RCPT who exists, and asks again about who did not."""
    toml, main, _ = blocks("exim.md")
    site = Site(folder, toml)
    with site.exim(main) as mta:
        assert send(mta) == 451  # the server is down
        check_lmtp(site, mta, unknown=550, delivered=" Completed")
        with Server(site.configuration):
            assert send(mta, "alice@example.org") == 550
            (folder / "post/users").write_text("bob:{PLAIN}b\nalice:{PLAIN}a\n", encoding="ascii")
            mta.until(lambda: send(mta, "alice@example.org") == 250)


@needs("usr/sbin/exim4")
def test_exim_with_a_command(folder: Path) -> None:
    """D-005, D-010, D-020."""
    toml, main, transport = blocks("exim.md")
    site = Site(folder, toml)
    before, after = main.split("begin transports\n")
    router = {"driver = manualroute": "driver = accept", "  route_list = * 127.0.0.1 byname\n  self = send\n": ""}
    router |= {"transport = restante": "transport = restante_command", "recipient/callout=10s": "recipient"}
    text = (
        changed(before, router) + "begin transports\n" + site.command(transport) + after[after.index("begin retry") :]
    )
    with site.exim(text) as mta:
        check_command(site, mta)
        assert send(mta, "nobody@example.org") == 250
        mta.until(lambda: "** nobody@example.org" in mta.log())  # 67, so it goes back
        program, aside = folder / "restante", folder / "aside"
        program.rename(aside)
        assert send(mta) == 250
        mta.until(lambda: "returned 127 " in mta.log())
        aside.rename(program)
        mta.until(lambda: len(arrived(site)) == 2)
        assert "** bob" not in mta.log()


@needs("usr/sbin/smtpd")
def test_opensmtpd(folder: Path) -> None:
    """D-009, D-025: the table decides who exists."""
    toml, main, recipients, _ = blocks("opensmtpd.md")
    site = Site(folder, toml)
    with site.opensmtpd(main, recipients) as mta:
        check_lmtp(site, mta, unknown=524, delivered="stat=Delivered")


@needs("usr/sbin/smtpd")
def test_opensmtpd_with_a_command(folder: Path) -> None:
    """D-005, D-020: 67 sends a message back."""
    toml, main, recipients, action = blocks("opensmtpd.md")
    site = Site(folder, toml)
    line = next(line for line in main.splitlines(keepends=True) if line.startswith("action "))
    recipients += recipients.replace("bob@", "nobody@")
    with site.opensmtpd(main.replace(line, site.command(action)), recipients) as mta:
        check_command(site, mta)
        assert send(mta, "nobody@example.org") == 250
        mta.until(lambda: "result=PermFail stat=Error (user unknown" in mta.log())
