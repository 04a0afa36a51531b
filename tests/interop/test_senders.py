"""Programs that bring mail themselves: swaks, and the load generator of Postfix."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import certificate
from tests.cli.program import free_port
from tests.interop.catalogue import once
from tests.interop.postfix import Server
from tests.interop.program import IN_CI, TIMEOUT
from tests.interop.test_postfix import fetched_whole

needs_swaks = pytest.mark.skipif(
    not shutil.which("swaks") and not IN_CI, reason="swaks is not here (apt install swaks; .ci/run does this)"
)
needs_source = pytest.mark.skipif(
    not shutil.which("smtp-source") and not IN_CI,
    reason="smtp-source is not here (apt install postfix; .ci/run does this)",
)

CONFIGURATION = """\
hostname = "post.example.org"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
[[listener]]
protocol = "lmtp"
address = "unix:lmtp"
[[listener]]
protocol = "lmtp"
address = "127.0.0.1:{lmtp}"
[[listener]]
protocol = "smtp"
address = "127.0.0.1:{smtp}"
[tls]
certificate = "cert.pem"
key = "key.pem"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{{user}}"
[addresses]
domains = ["example.org"]
"""


class Office(Server):
    """A server with every way in."""

    def __init__(self, folder: Path) -> None:
        (folder / "mail").mkdir()
        (folder / "users").write_text("bob:{PLAIN}b\nalice:{PLAIN}b\nfull:{PLAIN}b\n", encoding="ascii")
        (folder / "users").chmod(0o600)
        chain, key = certificate("post.example.org")
        (folder / "cert.pem").write_bytes(chain)
        (folder / "key.pem").write_bytes(key)
        self.folder = folder
        self.lmtp, self.smtp = free_port(), free_port()
        path = folder / "restante.toml"
        path.write_text(CONFIGURATION.format(lmtp=self.lmtp, smtp=self.smtp), encoding="ascii")
        super().__init__(path, listeners=4)

    def fill(self, user: str) -> None:
        """Let a maildrop be full."""
        maildir = self.folder / "mail" / user
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
        (maildir / "new/1.a.host,S=4,W=5").write_bytes(b"one\n")
        (maildir / "maildirsize").write_text("1C\n4 1\n", encoding="ascii")

    def messages(self, user: str = "bob") -> list[bytes]:
        """Return what POP3 gives out."""
        return fetched_whole(self.port, user)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path) as office:
        yield office


def swaks(*options: str, status: int = 0) -> str:
    """Run it; returns its transcript."""
    command = ["swaks", "--from", "a@example.com", "--helo", "client.example", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout


@needs_swaks
@pytest.mark.parametrize("way", ["unix", "lmtp", "smtp"])
@pytest.mark.parametrize("more", [(), ("--tls",), ("--pipeline",), ("--tls", "--pipeline")])
def test_swaks(office: Office, way: str, more: tuple[str, ...]) -> None:
    """D-001, D-002, D-005, D-023: swaks waits for what EHLO and LHLO announce, and for every reply."""
    to = {
        "unix": ["--socket", str(office.folder / "lmtp"), "--protocol", "LMTP"],
        "lmtp": ["--server", "127.0.0.1", "--port", str(office.lmtp), "--protocol", "LMTP"],
        "smtp": ["--server", "127.0.0.1", "--port", str(office.smtp), "--protocol", "ESMTP"],
    }[way]
    body = "first line\\n.second\\n..\\nlast"
    out = swaks(*to, *more, "--to", "bob@example.org,alice@example.org", "--body", body)
    assert len(re.findall(r" 250 2\.0\.0 delivered as", out)) == (1 if way == "smtp" else 2)
    for user in ("bob", "alice"):
        (message,) = office.messages(user)
        protocol = ("ESMTP" if way == "smtp" else "LMTP") + ("S" if "--tls" in more else "")
        pattern = (
            rf"Return-Path: <a@example\.com>\r\nDelivered-To: {user}@example\.org\r\n"
            rf"Received: from client\.example \(.*\)\r\n"
            rf"\tby post\.example\.org \(Restante\) with {protocol} id \w+\r\n\tfor <{user}@example\.org>"
            + (r"\r\n\ttls TLS_\w+;" if "--tls" in more else ";")
        )
        assert re.match(pattern, message.decode("ascii")), message
        assert message.rstrip().endswith(b"first line\r\n.second\r\n..\r\nlast")


@needs_swaks
def test_three_recipients_three_replies(office: Office) -> None:
    """D-004, D-010: one is unknown, one over quota, one fine."""
    office.fill("full")
    recipients = "nobody@example.org,full@example.org,bob@example.org"
    out = swaks("--socket", str(office.folder / "lmtp"), "--protocol", "LMTP", "--to", recipients)
    replies = re.findall(r"^<(?:\*\*|-) +(\d{3} \d\.\d\.\d .*)", out, re.MULTILINE)
    after_mail = [reply for reply in replies if not reply.startswith("250 2.1.0")]
    assert [reply[:9] for reply in after_mail[:3]] == ["550 5.1.1", "452 4.2.2", "250 2.1.5"]
    assert [reply[:9] for reply in after_mail[3:4]] == ["250 2.0.0"]
    assert len(office.messages()) == 1
    assert len(office.messages("full")) == 1


@needs_swaks
def test_nothing_is_relayed(office: Office) -> None:
    """D-010, D-022."""
    out = swaks("--server", f"127.0.0.1:{office.smtp}", "--to", "bob@elsewhere.example", status=24)
    assert " 550 5.7.1 that domain is not ours" in out


@needs_source
@once
@pytest.mark.parametrize("way", ["unix", "lmtp", "smtp"])
@pytest.mark.parametrize("again", [[], ["-d"]])
def test_smtp_source(office: Office, way: str, again: list[str]) -> None:
    """D-009: 500 messages on 20 connections, each message on its own or all on the same ones."""
    target = {
        "unix": f"unix:{office.folder}/lmtp",
        "lmtp": f"inet:127.0.0.1:{office.lmtp}",
        "smtp": f"inet:127.0.0.1:{office.smtp}",
    }[way]
    kind = [] if way == "smtp" else ["-L"]
    options = ["-s", "20", "-m", "500", "-l", "4000", "-f", "a@example.com", "-t", "bob@example.org"]
    subprocess.run(["smtp-source", *kind, *again, *options, target], check=True, timeout=TIMEOUT)
    messages = office.messages()
    assert len(messages) == 500
    assert len({re.sub(rb"^.*?\r\nFrom: ", b"", message, flags=re.DOTALL) for message in messages}) == 500
    assert {message.count(b"\r\nReceived: ") for message in messages} == {1}
