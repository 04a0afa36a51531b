"""JavaMail and Commons Net."""

from pathlib import Path

import pytest

from tests.interop.bench import Office, Part, done, post_office
from tests.interop.catalogue import SCRIPTS, needs_client
from tests.interop.conftest import Tried
from tests.interop.relay import Relay
from tests.interop.test_libraries import DIALOGUE, port_for, talk


def java(office: Office, jar: str, program: str) -> list[Part]:
    """Return the command that compiles and runs a program, which trusts the CA."""
    store = office.folder / "trusted"
    keytool: list[Part] = ["keytool", "-importcert", "-noprompt", "-storepass", "changeit", "-keystore", store]
    done(office.run(*keytool, "-file", office.ca))
    options = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    options += ["-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    return ["java", *options, "-cp", f"/usr/share/java/{jar}", SCRIPTS / program]


@needs_client("JavaMail")
@pytest.mark.parametrize(
    ("mode", "mechanism", "used"),
    [
        ("plain", "-", "USER"),
        ("plain", "PLAIN", "PLAIN"),
        ("stls", "-", "USER"),
        ("stls", "PLAIN", "PLAIN"),
        ("tls", "LOGIN", "USER"),
        ("tls", "PLAIN", "PLAIN"),
        ("plain", "APOP", "APOP"),
    ],
)
def test_javamail(tmp_path: Path, tried: Tried, mode: str, mechanism: str, used: str) -> None:
    """P-185, P-193: PLAIN comes with an authorization identity that is equal to the name."""
    dialogue = ["stat 6", *DIALOGUE[1:-1]]
    with (
        post_office(tmp_path, pop3="apop = true" if used == "APOP" else "") as office,
        Relay(port_for(office, mode)) as relay,
    ):
        command = [*java(office, "javax.mail.jar", "Pop3Store.java"), relay.port, mode, mechanism]
        session = talk(office, *command, dialogue=dialogue)
        assert session.mechanism == used
        method = "the method that it chooses itself" if mechanism == "-" else mechanism
        tried("JavaMail", f"{mode}, {method}", session, commands=relay.in_short())


@needs_client("Commons Net")
@pytest.mark.parametrize("mode", ["plain", "stls", "tls"])
def test_commons_net(office: Office, tried: Tried, mode: str) -> None:
    """P-084, P-122: UIDL n for each message."""
    with Relay(port_for(office, mode)) as relay:
        command = [*java(office, "commons-net.jar", "CommonsNet.java"), relay.port, mode]
        session = talk(office, *command)
        tried("Commons Net", mode, session, commands=relay.in_short())
