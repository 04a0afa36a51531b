"""What the configuration says of TLS, of mechanisms and of limits; and one line for each mistake."""

import ipaddress
from pathlib import Path

import pytest

from restante.authenticators.anonymous import AnonymousAccess
from restante.authenticators.tokens import Tokens
from restante.cli.serve import Reload
from restante.config import Configuration
from restante.protocol.scan_listing import Headers
from restante.server.guessing import Patience
from restante.server.service import Door
from tests.certificates import authority_pem, certificate
from tests.config.test_configuration import SMALL, change, mistake, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    certificate("mail.example.org").write(tmp_path)
    certificate("pop.example.net").write(tmp_path, "other")
    (tmp_path / "ca.pem").write_bytes(authority_pem())
    return tmp_path / "restante.toml"


TLS = SMALL + '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n'


def test_with_a_certificate_there_is_stls(path: Path) -> None:
    """P-239: a listener that says nothing of TLS offers it as soon as there is a certificate."""
    assert read(path, SMALL).listeners[0].door == Door("none")
    configuration = read(path, TLS)
    assert configuration.listeners[0].door == Door("starttls")
    service = configuration.service()
    assert service.certificates is configuration.certificates is not None


def test_all_of_tls(path: Path) -> None:
    """P-235, P-241: certificates for several hosts, and those of clients."""
    more = 'client_ca = "ca.pem"\nclient_certificate = "required"\n'
    more += '[[tls.sni]]\ncertificate = "other.pem"\nkey="other.key"\n'
    certificates = read(path, TLS + more).certificates
    assert certificates is not None
    assert sorted(certificates._by_name) == ["mail.example.org", "pop.example.net"]
    assert certificates.files.client_certificate == "required"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TLS.replace('server.pem"', 'none.pem" # HERE'), "{folder}/none.pem: No such file or directory"),
        (
            TLS.replace('server.pem"', 'ca.pem" # HERE'),
            "{folder}/ca.pem, {folder}/server.key: not a PEM chain and its key",
        ),
        (TLS + 'client_ca = "server.key" # HERE\n', "{folder}/server.key: no PEM certificates"),
        (TLS + 'client_certificate = "required" # HERE\n', 'client_certificate: "required" needs client_ca'),
        (
            TLS + 'client_certificate = "maybe" # HERE\n',
            'client_certificate: "maybe" is not known; right are "optional"',
        ),
        (TLS + '[[tls.sni]] # HERE\nkey = "x"\n', "Object missing required field"),
        (TLS + '[[tls.sni]]\ncertificate = "" # HERE\nkey = "x"\n', "certificate: a path is not empty"),
        (
            TLS + '[pop3]\nmechanisms = ["PLAN"] # HERE\n',
            'mechanisms: "PLAN" is not known; right are SCRAM-SHA-256-PLUS',
        ),
        (TLS + '[pop3]\nlanguage = "tlh" # HERE\n', 'language: "tlh" is not known; right are "en", "de", "fr"'),
        (
            TLS + '[pop3]\nheaders = "wrap" # HERE\n',
            'headers: "wrap" is not known; right are "surrogate", "raw", "refuse"',
        ),
        (TLS + "[pop3]\naopp = true # HERE\n", 'unknown key "aopp" in [pop3]; did you mean "apop"?'),
        (SMALL + 'expire = "30" # HERE\n', 'expire: "30" is no number of days; right are "30d", "0" and "never"'),
        (SMALL + 'login_delay = "5" # HERE\n', 'login_delay: "5" is no duration'),
        (
            change('protocol = "pop3"', 'protocol = "pop3"\nproxy_networks = ["10.0.0.1/8"] # HERE'),
            "proxy_networks: 10.0.0.1/8 has host bits set",
        ),
        (SMALL + "[limits]\nconnections = 0 # HERE\n", "connections: Expected"),
        (SMALL + '[[auth]] # HERE\nkind = "oauth"\n', "introspection or jwks"),
        (SMALL + '[[auth]]\nkind = "oauth"\nintrospection = "ftp://x" # HERE\n', "introspection"),
        (SMALL + '[[auth]] # HERE\nkind = "anonymous"\n', "Object missing required field"),
    ],
)
def test_mistakes(path: Path, text: str, said: str) -> None:
    """The line, the key and what would be right."""
    line = mistake(path, text)
    assert said.format(folder=path.parent) in line


def test_pop3_settings(path: Path) -> None:
    """Each arrives where the session looks for it."""
    text = SMALL.replace('path = "mail/{user}"', 'path = "mail/{user}"\nexpire = "30d"\nlogin_delay = "5m"')
    text += '[pop3]\nmechanisms = ["plain", "SCRAM-SHA-256"]\napop = true\nheaders = "raw"\nlanguage = "de"\n'
    service = read(path, text).service()
    features = service.features
    assert service.mechanisms == frozenset({"PLAIN", "SCRAM-SHA-256"})
    assert service.apop
    assert (features.expire, features.login_delay, features.headers, features.language) == (30, 300, Headers.RAW, "de")


def test_limits(path: Path) -> None:
    """P-286, P-240, P-053."""
    text = """[limits]
handshake_timeout = 5
connections = 50
connections_per_address = 5
connections_before_login = 10
failure_delay = 2
longest_failure_delay = 8
"""
    limits = read(path, SMALL + text).service().limits
    assert (limits.handshake, limits.connections) == (5, 50)
    assert (limits.connections_per_address, limits.connections_before_login) == (5, 10)
    assert limits.patience == Patience(delay=2, longest=8)


def test_proxies(path: Path) -> None:
    """P-292."""
    text = change('protocol = "pop3"', 'protocol = "pop3"\nproxy_networks = ["10.0.0.0/8", "2001:db8::/32"]')
    assert read(path, text).listeners[0].door.proxy_networks == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("2001:db8::/32"),
    )


def test_other_user_tables(path: Path) -> None:
    """Tokens with their keys in a file beside the configuration; a maildrop for everybody."""
    (path.parent / "keys.json").write_text('{"keys": []}', encoding="ascii")
    more = (
        '[[auth]]\nkind = "oauth"\njwks = "keys.json"\nissuer = "https://id.example.org"\naudience = "pop"\n'
        'scope = "mail"\nopenid_configuration = "https://id.example.org/.well-known/openid-configuration"\n'
        '[[auth]]\nkind = "anonymous"\nuser = "guest"\n'
    )
    configuration = read(path, SMALL + more)
    assert isinstance(configuration.authenticators[1], Tokens)
    assert isinstance(configuration.authenticators[2], AnonymousAccess)
    assert configuration.service().features.oauth_challenge == {
        "scope": "mail",
        "openid-configuration": "https://id.example.org/.well-known/openid-configuration",
    }
    assert len(configuration.passwd_files) == 1


def test_reading_again_loads_certificates_anew(path: Path) -> None:
    """P-240: SIGHUP; everything else that has not changed is kept."""
    first = read(path, TLS)
    second = Configuration(path, previous=first)
    assert second.certificates is not first.certificates
    assert second.store is first.store
    assert second.authenticators is first.authenticators
    assert second.service().features.expire is None


def test_a_reload_that_would_take_tls_away(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P-240: the listeners that are open need their certificates; refused, and said."""
    first = read(path, TLS)
    reload = Reload(first, path)
    path.write_text(SMALL, encoding="ascii")
    assert reload() is None
    assert "not reloaded, the old configuration stays: the listeners that are open need [tls]" in caplog.text
    path.write_text(TLS, encoding="ascii")
    service = reload()
    assert service is not None
    assert service.certificates is not None
