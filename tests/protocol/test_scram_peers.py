"""SCRAM and its neighbours with clients that others have written: ``scramp`` from PyPI and GNU SASL's ``gsasl``."""

import base64
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import scramp  # type: ignore[import-untyped]

from restante.auth import ScramRecord
from restante.protocol.policy import Features
from tests.protocol.driver import World, b64, with_tls
from tests.protocol.scram_client import DECOY, record

MAIL = b"Subject: x\n\nbody\n"
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
EXPORTED = bytes(range(32))
BINDINGS = {"tls-exporter": EXPORTED, "tls-server-end-point": b"\xff" * 32}
PLUS_NAMES = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
NAMES = ("SCRAM-SHA-256", "SCRAM-SHA-1")


def world_of(name: str, kept: ScramRecord | None = None, user: str = "bob") -> World:
    """A world that offers everything, with one account that can use that mechanism."""
    algorithm = "sha1" if "SHA-1" in name else "sha256"
    kept = kept or record("secret", algorithm, b"0123456789abcdef", 20_000)
    terms = with_tls(*PLUS_NAMES, *NAMES, "PLAIN", "CRAM-MD5", "LOGIN", bindings=BINDINGS)
    features = Features("postoffice.reston.mci.net", token=lambda: "1896.697170952")
    return World(MAIL, terms=terms, features=features, records={user: kept, "": DECOY})


def challenge_in(reply: bytes) -> str:
    assert reply.startswith(b"+ ")
    return base64.b64decode(reply[2:]).decode()


def scramp_logs_in(world: World, name: str, user: str, password: str, *, bound: bool) -> bytes:
    binding = ("tls-server-end-point", BINDINGS["tls-server-end-point"]) if bound else None
    client = scramp.ScramClient([name], user, password, channel_binding=binding)
    first = b64(client.get_client_first())
    client.set_server_first(challenge_in(world.send(b"AUTH %b %b\r\n" % (name.encode(), first))))
    reply = world.send(b64(client.get_client_final()) + b"\r\n")
    if not reply.startswith(b"+ "):
        return reply
    client.set_server_final(challenge_in(reply))  # checks our signature
    return world.send(b"\r\n")


@pytest.mark.parametrize("name", [*NAMES, *PLUS_NAMES])
def test_scramp(name: str) -> None:
    """P-205, P-206, P-210: an independent client logs in, checks the server's signature, and fails when it must."""
    bound = name in PLUS_NAMES
    assert scramp_logs_in(world_of(name), name, "bob", "secret", bound=bound) == LOGGED_IN
    assert scramp_logs_in(world_of(name), name, "bob", "Secret", bound=bound) == WRONG
    assert scramp_logs_in(world_of(name), name, "nobody", "secret", bound=bound) == WRONG  # P-207


@pytest.mark.parametrize(
    ("user", "found"), [("I\u00adX", "IX"), ("a,b=c", "a,b=c"), ("\u2168", "IX"), ("J\u00f6rg", "J\u00f6rg")]
)
def test_names_of_scramp(user: str, found: str) -> None:
    """P-202, P-206, P-208: escapes, and a peer that prepares the name itself."""
    world = world_of("SCRAM-SHA-256", user=found)
    world.send(b"")
    assert scramp_logs_in(world, "SCRAM-SHA-256", user, "secret", bound=False) in (LOGGED_IN, WRONG)
    assert world.logins()[0].credentials.user == found
    assert getattr(world.logins()[0].credentials, "principal", None) is not None


class Gsasl:
    """A ``gsasl`` that talks to us through its pipes; it asks for bindings on the same line, in base64."""

    def __init__(self, program: str, name: str, user: str, password: str) -> None:
        plain = [] if name in PLUS_NAMES else ["--no-cb"]
        command = [program, "--client", f"--mechanism={name}", f"--authentication-id={user}", f"--password={password}"]
        options = ["--no-starttls", "--quiet", *plain]
        self.process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._read() == name
        if name in PLUS_NAMES:
            self.say(EXPORTED)

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rpartition(": ")[2].strip()

    def say(self, challenge: bytes) -> None:
        """Pass it what the server sent."""
        assert self.process.stdin is not None
        self.process.stdin.write(base64.b64encode(challenge) + b"\n")
        self.process.stdin.flush()

    def hears(self) -> bytes:
        """Return its next response, as base64."""
        return self._read().encode()


@pytest.fixture
def programs() -> Iterator[list[Gsasl]]:
    """Those that a test has started; none outlives it."""
    started: list[Gsasl] = []
    yield started
    for gsasl in started:
        gsasl.process.kill()
        gsasl.process.communicate()


@pytest.mark.parametrize("password", ["secret", "wrong"])
@pytest.mark.parametrize("name", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", *NAMES, "PLAIN"])
def test_gsasl(name: str, password: str, programs: list[Gsasl]) -> None:
    """P-185, P-186, P-205, P-206, P-210: with tls-exporter; it too checks our signature before it goes on."""
    program = shutil.which("gsasl")
    if program is None:
        pytest.skip("gsasl is not installed")
    gsasl = Gsasl(program, name, "bob", password)
    programs.append(gsasl)
    world = world_of(name)
    reply = world.send(b"AUTH %b\r\n" % name.encode())
    assert reply == b"+ \r\n"
    reply = world.send(gsasl.hears() + b"\r\n")
    while reply.startswith(b"+ "):
        gsasl.say(base64.b64decode(reply[2:]))
        reply = world.send(gsasl.hears() + b"\r\n")
    assert reply == (LOGGED_IN if password == "secret" else WRONG)
