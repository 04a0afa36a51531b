"""Channel bindings: P-210, RFC 9266, RFC 5929."""

import hashlib
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from restante import channel_binding
from restante.protocol.policy import Terms
from restante.server.certificates import end_point
from restante.server.service import Door
from restante.server.tls import Certificates, KeyPair, TlsFiles
from tests.certificates import certificate
from tests.server.office import TIMEOUT, LoopFactory, Office, until
from tests.server.tls import HOST, client_context, office, secure

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here (apt install openssl)")


def terms(running: Office) -> Terms:
    """What the one connection may do."""
    (connection,) = running.server.connections
    found: Terms = connection._session._authorization.terms
    return found


@needs_openssl
def test_the_exporter_is_what_an_independent_client_has(loop_factory: LoopFactory) -> None:
    """RFC 9266: 32 octets under that label, the same at both ends, on every Python that is named in the module."""
    with office(loop_factory, Door("implicit")) as running:
        host, port = running._listening.listener.address[:2]
        command = ["openssl", "s_client", "-connect", f"{host}:{port}"]
        command += ["-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as client:
            assert client.stdout is not None
            assert client.stdin is not None
            said = b""
            while not (match := re.search(rb"Keying material: ([0-9A-F]{64})\n", said)):
                said += client.stdout.readline()
            running.call(until(lambda: len(running.server.connections) == 1))
            assert terms(running).bindings["tls-exporter"].hex().upper().encode() == match[1]
            client.stdin.close()
            client.wait(TIMEOUT)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bindings_by_version(loop_factory: LoopFactory, version: ssl.TLSVersion) -> None:
    """P-210: under TLS 1.2 nobody can tell whether the exporter is safe; the certificate's hash is there with both."""
    with office(loop_factory, Door("implicit")) as running, running.connect() as client:
        connection = secure(client, client_context(minimum_version=version, maximum_version=version))
        client.line()
        found = terms(running).bindings
        der = connection.getpeercert(binary_form=True)
        assert der is not None
        assert found["tls-server-end-point"] == hashlib.sha256(der).digest()
        assert ("tls-exporter" in found) == (version is ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_certificates_with_two_kinds_of_keys(loop_factory: LoopFactory, tmp_path: Path, kind: str) -> None:
    """P-235: the client gets the one it can check; P-210: and binds itself to that."""
    pairs = [certificate(HOST, key=key).write(tmp_path, key) for key in ("ECDSA", "RSA")]
    both = Certificates(TlsFiles([KeyPair(str(chain), str(key)) for chain, key in pairs]))
    context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
    with office(loop_factory, Door("implicit"), certificates=both) as running, running.connect() as client:
        shown = secure(client, context).getpeercert(binary_form=True)
        client.line()
        found = terms(running).bindings
    assert shown == ssl.PEM_cert_to_DER_cert(certificate(HOST, key=kind).chain.decode())
    assert found["tls-server-end-point"] == hashlib.sha256(shown).digest()


def test_two_certificates_of_one_kind(tmp_path: Path) -> None:
    """One of them nobody would ever see."""
    chain, key = map(str, certificate(HOST).write(tmp_path))
    with pytest.raises(ValueError, match=f"{chain}: for the same hosts there is another certificate"):
        Certificates(TlsFiles([KeyPair(chain, key), KeyPair(chain, key)]))


def test_pythons_that_nobody_has_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the function is not called at all."""
    monkeypatch.setattr(channel_binding, "_KNOWN", ())
    channel_binding._library.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert channel_binding.exporter(connection) == b""
    assert channel_binding.shown_certificate(connection) == b""
    channel_binding._library.cache_clear()


@needs_openssl
@pytest.mark.parametrize(("algorithm", "octets"), [("sha1", 32), ("sha384", 48), ("sha512", 64), ("", 0)])
def test_the_hash_is_that_of_the_signature(
    tmp_path_factory: pytest.TempPathFactory, algorithm: str, octets: int
) -> None:
    """RFC 5929 section 4.1: SHA-256 in place of SHA-1; none is defined for Ed25519."""
    folder = tmp_path_factory.mktemp("certificates")
    command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=x", "-keyout", "key.pem", "-out", "cert.pem"]
    command += ["-newkey", "rsa:2048", f"-{algorithm}"] if algorithm else ["-newkey", "ed25519"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=TIMEOUT)
    assert len(end_point(str(folder / "cert.pem"))) == octets
    der = ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text(encoding="ascii"))
    if algorithm:
        assert end_point(str(folder / "cert.pem")) == hashlib.new(algorithm.replace("sha1", "sha256"), der).digest()
