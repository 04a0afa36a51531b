"""Thunderbird itself, without its windows."""

import base64
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.bench import MESSAGES, UNIX, Office
from tests.interop.catalogue import SCRIPTS, needs_client, once
from tests.interop.conftest import Tried
from tests.interop.marionette import Marionette, thunderbird
from tests.interop.relay import Relay

pytestmark = [needs_client("Thunderbird"), once]

_ADDED = re.compile(
    rb"From - .*\nX-Account-Key: .*\nX-UIDL: (.*?)\r?\n"
    rb"X-Mozilla-Status: .*\nX-Mozilla-Status2: .*\nX-Mozilla-Keys: .*\n"
)
"""What it puts before each message."""
_PLAIN, _STLS, _TLS = 0, 2, 3


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marionette]:
    with thunderbird(tmp_path_factory.mktemp("thunderbird")) as marionette:
        yield marionette


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("socket_type", [_PLAIN, _STLS, _TLS])
def test_thunderbird(browser: Marionette, office: Office, tried: Tried, socket_type: int, *, keep: bool) -> None:
    """P-121, P-125, P-186: and the second time there is nothing new."""
    script = (SCRIPTS / "thunderbird.js").read_text(encoding="utf-8")
    ca = base64.b64encode(ssl.PEM_cert_to_DER_cert(office.ca.read_text(encoding="ascii"))).decode()
    with Relay({_PLAIN: office.plain, _STLS: office.strict, _TLS: office.tls}[socket_type]) as relay:
        result = browser.run(script, relay.port, socket_type, keep, ca)
        assert (result["statuses"], result["count"]) == ([0, 0], 6)
        session, again = office.session(), office.session()
        commands = relay.in_short()
    assert (session.mechanism, session.retr, session.deleted) == ("PLAIN", 6, 0 if keep else 6)
    assert (session.tls != "-") == (socket_type != _PLAIN)
    assert again.retr == 0
    assert office.stored() == (MESSAGES if keep else [])
    _, *parts = _ADDED.split(Path(result["path"]).read_bytes())
    assert parts[::2] == [b"%d.M%dP1.host" % (1_700_000_000 + number, number) for number in range(1, 7)]
    assert [message.removesuffix(b"\r\n") for message in parts[1::2]] == UNIX
    mode = {_PLAIN: "plain", _STLS: "STLS", _TLS: "TLS"}[socket_type]
    kept = "left on the server" if keep else "deleted there"
    tried("Thunderbird", f"{mode}, messages {kept}", session, commands=commands)
