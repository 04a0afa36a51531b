"""curl, in all the ways in which it speaks POP3."""

import base64
import subprocess
from pathlib import Path

import pytest

from tests.interop.bench import MESSAGES, PASSWORD, SIZES, USER, WIRE, Office, post_office
from tests.interop.catalogue import needs_client
from tests.interop.conftest import Tried
from tests.interop.relay import Relay

pytestmark = needs_client("curl")


def curl(
    office: Office, path: str, *options: str, scheme: str = "pop3", port: int = 0, password: str = PASSWORD
) -> subprocess.CompletedProcess[bytes]:
    """Run it; without a port at the listener that the scheme means, with TLS where that can be had."""
    port = port or (office.tls if scheme == "pop3s" else office.plain)
    url = f"{scheme}://localhost:{port}/{path}"
    return office.run("curl", "-sS", "--cacert", office.ca, "-u", f"{USER}:{password}", *options, url)


@pytest.mark.parametrize(
    ("mode", "scheme", "options", "mechanism"),
    [
        ("plain", "pop3", [], "PLAIN"),
        ("STLS", "pop3", ["--ssl-reqd"], "PLAIN"),
        ("TLS", "pop3s", [], "PLAIN"),
        ("TLS, `AUTH=PLAIN`", "pop3s", ["--login-options", "AUTH=PLAIN"], "PLAIN"),
        ("TLS, `AUTH=PLAIN`, `--sasl-ir`", "pop3s", ["--login-options", "AUTH=PLAIN", "--sasl-ir"], "PLAIN"),
        ("TLS, `AUTH=LOGIN`", "pop3s", ["--login-options", "AUTH=LOGIN"], "LOGIN"),
        ("STLS, `AUTH=*`", "pop3", ["--ssl-reqd", "--login-options", "AUTH=*"], "PLAIN"),
    ],
)
def test_messages(office: Office, tried: Tried, mode: str, scheme: str, options: list[str], mechanism: str) -> None:
    """P-084, P-186, P-190: octets are those on the wire."""
    for number, octets in enumerate(WIRE, 1):
        done = curl(office, str(number), *options, scheme=scheme)
        assert (done.returncode, done.stdout) == (0, octets), done.stderr
        session = office.session()
        assert (session.mechanism, session.retr, session.end) == (mechanism, 1, "quit")
        assert (session.tls != "-") == (mode != "plain")
    tried("curl", mode, session, did="each message in a session of its own")


def test_commands(office: Office, tried: Tried) -> None:
    """P-077, P-110, P-121, P-305."""
    with Relay(office.plain) as relay:
        tls = ["--ssl-reqd"]
        listing = b"".join(b"%d %d\r\n" % pair for pair in enumerate(SIZES, 1))
        assert curl(office, "", port=relay.port).stdout == listing
        assert relay.in_short() == "CAPA, AUTH PLAIN, (response), LIST, QUIT"
    assert curl(office, "", *tls).stdout == listing
    assert curl(office, "", *tls, "-X", "UIDL").stdout.count(b"\r\n") == 6
    assert curl(office, "", *tls, "-X", "TOP 1 0").stdout == WIRE[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert curl(office, "", *tls, "-X", "NOOP", "-I").returncode == 0
    assert curl(office, "", *tls, "-X", "STAT", "-I").returncode == 0
    assert curl(office, "2", *tls, "-l", "-I", "-X", "DELE").returncode == 0
    assert office.stored() == [MESSAGES[0], *MESSAGES[2:]]
    tried("curl", "`-X` UIDL, TOP, NOOP, STAT, DELE", did="lists, tops, deletes")


def test_refusals(office: Office, tried: Tried) -> None:
    """P-038, P-089: status 67 for a login, 8 for a message; neither costs a lock (P-042)."""
    assert curl(office, "9", "--ssl-reqd").returncode == 8
    assert curl(office, "1", "--ssl-reqd", password="wrong").returncode == 67
    assert curl(office, "1", scheme="pop3s", password="wrong").returncode == 67
    assert curl(office, "", "--ssl-reqd").returncode == 0
    tried("curl", "wrong password, no such message", did="status 67 and 8")


def test_cleartext_is_refused(office: Office, tried: Tried) -> None:
    """P-055: this one has no SCRAM, so nothing is left without TLS; and then it goes."""
    done = curl(office, "1", port=office.strict)
    assert done.returncode == 67, done
    session = office.session()
    assert (session.mechanism, session.tls, session.retr) == ("-", "-", 0)
    done = curl(office, "1", "--ssl-reqd", port=office.strict)
    assert (done.returncode, done.stdout) == (0, WIRE[0])
    tried("curl", "no TLS where the server wants it", session, did="status 67, and sends no password")


@pytest.mark.parametrize(
    ("mechanism", "option", "pop3"),
    [
        ("APOP", "AUTH=+APOP", "apop = true"),
        ("CRAM-MD5", "AUTH=CRAM-MD5", 'mechanisms = ["CRAM-MD5", "PLAIN"]'),
        ("CRAM-MD5", "AUTH=*", 'mechanisms = ["CRAM-MD5", "PLAIN"]'),
        ("USER", "AUTH=*", "mechanisms = []"),
    ],
)
def test_other_mechanisms(tmp_path: Path, tried: Tried, mechanism: str, option: str, pop3: str) -> None:
    """P-061, P-220, P-161: it prefers CRAM-MD5 to PLAIN, and says USER where there is no SASL."""
    with post_office(tmp_path, pop3=pop3) as office:
        done = curl(office, "1", "--ssl-reqd", "--login-options", option)
        assert (done.returncode, done.stdout) == (0, WIRE[0]), done.stderr
        session = office.session()
        assert session.mechanism == mechanism
        tried("curl", f"STLS, `{option}`, where the server has `{pop3}`", session)


def test_a_token(office: Office) -> None:
    """P-189, P-287: where tokens are not taken it does not send the one it has."""
    done = office.run(
        "curl", "-sS", "--ssl-reqd", "--cacert", office.ca, "-u", f"{USER}:", "--oauth2-bearer", "secret-token",
        "--login-options", "AUTH=OAUTHBEARER", f"pop3://localhost:{office.plain}/",
    )  # fmt: skip
    assert done.returncode == 67
    assert office.session().mechanism == "-"
    token = base64.b64encode(b"secret-token").decode()
    assert not any("secret-token" in line or token in line for line in office.log.seen)


def test_a_line_of_a_megabyte(tmp_path: Path) -> None:
    """P-094."""
    message = b"Subject: long\n\n" + b"x" * 2**20 + b"\n.\n"
    with post_office(tmp_path, [message]) as office:
        assert curl(office, "1").stdout == message.replace(b"\n", b"\r\n")
        assert curl(office, "1", scheme="pop3s").stdout == message.replace(b"\n", b"\r\n")
