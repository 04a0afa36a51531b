"""The configuration of docs/how-to/postfix.md, word for word, with a real Postfix."""

import re
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.catalogue import ROOT, once
from tests.interop.foreign_servers import open_folder
from tests.interop.postfix import Postfix, Server, needs_postfix, postfix
from tests.interop.program import TIMEOUT
from tests.interop.test_postfix import fetched_whole

pytestmark = [needs_postfix, once]

GUIDE = (ROOT / "docs/how-to/postfix.md").read_text(encoding="utf-8")
TOML, MAIN = re.findall(r"^```(?:toml)?\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[:2]
MESSAGE = (
    b"Message-ID: <1@example.com>\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nFrom: a@example.com\r\n\r\nhello\r\n"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def office(folder: Path) -> Path:
    """Make what the guide describes, in a folder; only ports and paths are others."""
    text = TOML.replace("/var/spool/postfix/", f"{folder}/queue/").replace("*:110", "127.0.0.1:0")
    assert text.count(str(folder)) == text.count("127.0.0.1:0") == 1
    (folder / "mail").mkdir()
    (folder / "users").write_text("bob:{PLAIN}b\nfull:{PLAIN}f\n", encoding="ascii")
    (folder / "users").chmod(0o600)
    (folder / "restante.toml").write_text(text, encoding="utf-8")
    return folder / "restante.toml"


def send(mta: Postfix, *recipients: str) -> dict[str, tuple[int, bytes]]:
    """Send a message; returns the refusals."""
    with smtplib.SMTP("127.0.0.1", mta.port, timeout=TIMEOUT) as client:
        try:
            return client.sendmail("a@example.com", recipients, MESSAGE)
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients


def test_the_guide(folder: Path) -> None:
    """D-010, D-021, D-025: unknown users are refused at RCPT, a full maildrop for now, details find their account."""
    configuration = office(folder)
    with postfix(folder, "mydestination =\n" + MAIN.replace("= 1m", "= 1s")) as mta:
        (folder / "queue/restante").mkdir()
        shutil.chown(folder / "queue/restante", group="postfix")
        (folder / "queue/restante").chmod(0o2710)
        with Server(configuration) as server:
            socket = folder / "queue/restante/lmtp"
            assert (socket.stat().st_mode & 0o777, socket.group()) == (0o660, "postfix")
            assert send(mta, "bob+lists@example.org", "BOB@example.org") == {}
            refused = send(mta, "nobody@example.org", "bob@elsewhere.example")
            assert refused["nobody@example.org"][0] == 550
            assert b"no such user here" in refused["nobody@example.org"][1]
            assert refused["bob@elsewhere.example"][0] in (450, 454, 554)
            (folder / "users").write_text("bob:{PLAIN}b\nnobody:{PLAIN}n\n", encoding="ascii")
            mta.until(lambda: send(mta, "nobody@example.org") == {})
            mta.until(lambda: mta.delivered() >= 3)
            messages = fetched_whole(server.port)
            assert len(messages) == 2
            assert {message[-len(MESSAGE) :] for message in messages} == {MESSAGE}
            assert b"\r\nDelivered-To: bob+lists@example.org\r\n" in b"".join(messages)
            assert "status=sent (250 2.0.0 " in mta.log()
            assert "bounced" not in mta.log()
