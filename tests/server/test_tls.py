"""TLS: conformance section 8 (P-230 to P-242)."""

import contextlib
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from restante.auth import Credentials, External, Kind, Kinds, Principal
from restante.errors import AuthenticationFailed
from restante.server.service import Door, Limits
from restante.server.tls import Certificates, KeyPair, TlsFiles
from tests.certificates import authority_pem, certificate
from tests.server.office import QUICK, TIMEOUT, LoopFactory, Office, TravelLoop, until
from tests.server.tls import HOST, certificates, client_context, office, secure


class ByCertificate:
    """An authenticator that knows bob by his certificate."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        if credentials != External("bob"):
            raise AuthenticationFailed
        return Principal("bob")

    def kinds(self) -> Kinds:
        return Kinds(frozenset({Kind.EXTERNAL}), frozenset({Kind.EXTERNAL}))


IMPLICIT = Door("implicit")
STARTTLS = Door("starttls")
MAIL = b"Subject: x\r\n\r\nbody\r\n"


def test_implicit_tls(loop_factory: LoopFactory) -> None:
    """P-230, P-236: handshake, then the greeting, then AUTHORIZATION; STLS is refused there."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        running.deliver(MAIL)
        secure(client)
        assert client.login() == b"+OK 1 messages (20 octets)\r\n"
        assert client.ask(b"STLS") == b"-ERR already logged in\r\n"
        client.send(b"RETR 1\r\nQUIT\r\n")
        assert client.rest() == b"+OK 20 octets\r\n" + MAIL + b".\r\n+OK 0 messages deleted, 1 left\r\n"


def test_stls(loop_factory: LoopFactory) -> None:
    """P-231, P-233, P-154, P-155: no second greeting; CAPA is read again, and is without STLS."""
    with office(loop_factory, STARTTLS) as running, running.connect() as client:
        client.line()
        client.send(b"CAPA\r\n")
        assert b"STLS\r\n" in client.lines()
        assert client.ask(b"STLS") == b"+OK begin TLS\r\n"
        secure(client)
        client.send(b"CAPA\r\n")
        capabilities = client.lines()
        assert b"STLS\r\n" not in capabilities
        assert b"SASL PLAIN LOGIN\r\n" in capabilities
        assert client.ask(b"STLS") == b"-ERR TLS is active already\r\n"
        assert client.ask(b"USER bob") == b"+OK send PASS\r\n"
        assert client.ask(b"PASS secret") == b"+OK 0 messages (0 octets)\r\n"


def test_stls_without_a_certificate(loop_factory: LoopFactory) -> None:
    """P-239."""
    with Office(loop_factory) as running, running.connect() as client:
        client.line()
        assert client.ask(b"STLS") == b"-ERR STLS is not possible here\r\n"


@pytest.mark.parametrize("injected", [b"USER eve\r\n", b"USER eve", b"CAPA\r\nQUIT\r\n", b"x"])
def test_what_comes_with_stls_never_counts_inside(loop_factory: LoopFactory, injected: bytes) -> None:
    """P-232 (CVE-2011-0411): it is the handshake's, which fails; not one octet of it is a command."""
    with office(loop_factory, STARTTLS) as running, running.connect() as client:
        client.line()
        client.send(b"STLS\r\n" + injected)
        assert client.line() == b"+OK begin TLS\r\n"
        assert client.rest() == b""


def test_half_a_line_before_the_handshake(loop_factory: LoopFactory) -> None:
    """P-232, P-234: a name from before does not count, and no part of a line prefixes the first one under TLS."""
    with office(loop_factory, STARTTLS) as running, running.connect() as client:
        client.line()
        client.send(b"USER bob\r\nSTLS\r\n")
        assert (client.line(), client.line()) == (b"+OK send PASS\r\n", b"+OK begin TLS\r\n")
        secure(client)
        assert client.ask(b"PASS secret") == b"-ERR USER comes first, and PASS right after it\r\n"


@pytest.mark.parametrize("door", [IMPLICIT, STARTTLS])
def test_a_failed_handshake_ends_the_connection(
    loop_factory: LoopFactory, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """P-238: no fall back to the clear; said in the log."""
    with office(loop_factory, door) as running, running.connect() as client:
        if door is STARTTLS:
            client.line()
            client.ask(b"STLS")
        client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        with contextlib.suppress(ConnectionError):  # it is closed while we are still sending
            client.send(b"USER bob\r\nPASS secret\r\n")
            assert b"+OK" not in client.rest()
        running.wait_until_empty()
    assert "turned away" in caplog.text


def old_tls(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_not_negotiated(loop_factory: LoopFactory, version: ssl.TLSVersion) -> None:
    """P-235."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client, pytest.raises(ssl.SSLError):
        secure(client, old_tls(version))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_ciphers(loop_factory: LoopFactory, version: ssl.TLSVersion) -> None:
    """P-235: ECDHE and AEAD only, no compression, the whole chain."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        connection = secure(client, client_context(minimum_version=version, maximum_version=version))
        cipher = connection.cipher()
        assert cipher is not None
        assert re.search("GCM|CHACHA20", cipher[0])
        assert cipher[0].startswith(("ECDHE-", "TLS_"))
        assert connection.compression() is None
        assert client.line().startswith(b"+OK ")


def test_sni(loop_factory: LoopFactory) -> None:
    """P-235: each host has its own certificate; an unknown one gets the first."""
    with office(loop_factory, IMPLICIT) as running:
        for host, expected in ((HOST, HOST), ("POP.example.net", "pop.example.net"), ("other.example", HOST)):
            with running.connect() as client:
                connection = secure(client, client_context(check_hostname=False), host)
                names = connection.getpeercert()
                assert names is not None
                assert ("DNS", expected) in names["subjectAltName"]


@pytest.mark.parametrize(("offered", "selected"), [(["pop3"], "pop3"), (["http/1.1", "pop3"], "pop3"), ([], None)])
def test_alpn(loop_factory: LoopFactory, offered: list[str], selected: str | None) -> None:
    """P-242."""
    context = client_context()
    if offered:
        context.set_alpn_protocols(offered)
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        assert secure(client, context).selected_alpn_protocol() == selected
        assert client.line().startswith(b"+OK ")


def test_a_client_of_another_protocol(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """P-242: refused with the alert for it, before it has sent anything."""
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            secure(client, context)
        running.wait_until_empty()
    assert "speaks another protocol than pop3" in caplog.text


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP where there is none"),
        (b"CAPA\r\n", "no TLS on a port that begins with it"),
        (b"\x80\x2e\x01\x03\x01\x00", "SSL 2 hello"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY header from an address that is not in proxy_networks"),
    ],
)
def test_what_is_no_tls(loop_factory: LoopFactory, octets: bytes, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Field notes 4.3: recognised, said once in the log, closed without an answer that could be taken for one."""
    with office(loop_factory, IMPLICIT) as running:
        for _ in range(3):
            with running.connect() as client:
                client.send(octets)
                assert client.rest() == b""
        running.wait_until_empty()
    assert caplog.text.count(said) == 1


def test_no_handshake_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """P-240: half-open connections end after 30 seconds."""
    with office(TravelLoop, IMPLICIT) as running, running.connect() as client, running.connect() as other:
        assert isinstance(running.loop, TravelLoop)
        client.send(b"\x16\x03\x01")
        secure(other)
        assert other.line().startswith(b"+OK ")
        running.loop.travel(31)
        assert client.rest() == b""
        assert other.ask(b"USER bob") == b"+OK send PASS\r\n"
    assert "no TLS handshake within 30 seconds" in caplog.text


def test_stls_and_then_nothing() -> None:
    """P-240."""
    with office(TravelLoop, STARTTLS) as running, running.connect() as client:
        assert isinstance(running.loop, TravelLoop)
        client.line()
        client.ask(b"STLS")
        running.loop.travel(31)
        assert client.rest() == b""


def test_the_end_in_place_of_a_handshake(loop_factory: LoopFactory) -> None:
    """P-238: nobody waits for the timer."""
    for door, greeted in ((STARTTLS, True), (IMPLICIT, False)):
        with office(loop_factory, door) as running, running.connect() as client:
            if greeted:
                client.line()
                client.ask(b"STLS")
            client.socket.shutdown(socket.SHUT_WR)
            assert client.rest() == b""


def test_the_end_is_said(loop_factory: LoopFactory) -> None:
    """P-237: close_notify before the TCP close, so that the client knows that nothing was cut off."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        context = client_context()
        wrapped = context.wrap_socket(client.socket, server_hostname=HOST, suppress_ragged_eofs=False)
        wrapped.settimeout(TIMEOUT)
        wrapped.sendall(b"QUIT\r\n")
        received = b""
        while piece := wrapped.recv(65536):  # an end without close_notify raises SSLEOFError
            received += piece
        assert received.endswith(b"+OK goodbye\r\n")
        wrapped.close()


@pytest.mark.parametrize("polite", [True, False])
def test_a_client_that_leaves_deletes_nothing(loop_factory: LoopFactory, polite: bool) -> None:
    """P-133, P-237: whether it says so (close_notify), or is cut off."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        running.deliver(MAIL)
        connection = secure(client)
        client.login()
        assert client.ask(b"DELE 1").startswith(b"+OK ")
        client.file.close()
        if polite:
            connection.unwrap().close()
        else:
            raw = socket.socket(fileno=connection.detach())
            raw.close()
        running.wait_until_empty()
        assert len(running.contents()) == 1


def test_garbage_in_place_of_a_record(loop_factory: LoopFactory) -> None:
    """P-133: the session ends without UPDATE, the lock goes."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        running.deliver(MAIL)
        connection = secure(client)
        client.login()
        client.ask(b"DELE 1")
        client.file.close()
        raw = socket.socket(fileno=connection.detach())
        raw.sendall(b"\x17\x03\x03\x00\x10" + b"x" * 16)
        running.wait_until_empty()
        assert len(running.contents()) == 1
        raw.close()


def test_a_big_message_and_pipelining_under_tls(loop_factory: LoopFactory) -> None:
    """P-093, P-278: pieces of every size, both ways."""
    message = b"Subject: big\r\n\r\n" + b"".join(b".%d line\r\n" % number for number in range(100_000))
    with office(loop_factory, STARTTLS) as running, running.connect() as client:
        running.deliver(message)
        client.line()
        client.ask(b"STLS")
        secure(client)
        client.send(b"USER bob\r\nPASS secret\r\nRETR 1\r\nNOOP\r\nRETR 1\r\nQUIT\r\n")
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        body = b"+OK %d octets\r\n" % len(message) + stuffed + b".\r\n"
        assert client.rest().partition(b" octets)\r\n")[2] == (
            body + b"+OK nothing done\r\n" + body + b"+OK 0 messages deleted, 1 left\r\n"
        )


def test_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P-240: a changed certificate is used by the next connection; a session that is open goes on."""
    caplog.set_level(logging.INFO)
    chain, key = certificate("old.example").write(tmp_path)
    store = Certificates(TlsFiles([KeyPair(str(chain), str(key))]))
    relaxed = client_context(check_hostname=False)

    def names(running: Office) -> object:
        with running.connect() as client:
            found = secure(client, relaxed).getpeercert()
            assert found is not None
            return found["subjectAltName"]

    with office(TravelLoop, IMPLICIT, certificates=store) as running, running.connect() as before:
        secure(before, relaxed)
        before.login()
        assert names(running) == (("DNS", "old.example"),)
        certificate("new.example").write(tmp_path)
        store._looked -= 2
        assert names(running) == (("DNS", "new.example"),)
        assert before.ask(b"NOOP").startswith(b"+OK ")
        chain.write_bytes(b"no certificate")
        for _ in range(3):
            store._looked -= 2
            assert names(running) == (("DNS", "new.example"),)
    assert caplog.text.count("certificates not reloaded, the old ones stay") == 1
    assert caplog.text.count("certificates reloaded") == 1


def test_faulty_files(tmp_path: Path) -> None:
    """Each is named, in one line."""
    chain, key = certificate(HOST).write(tmp_path)
    other, other_key = certificate("pop.example.net").write(tmp_path, "other")
    with pytest.raises(FileNotFoundError):
        Certificates(TlsFiles([KeyPair(f"{tmp_path}/none.pem", str(key))]))
    with pytest.raises(ValueError, match=re.escape(f"{chain}, {other_key}: not a PEM chain and its key")):
        Certificates(TlsFiles([KeyPair(str(chain), str(other_key))]))
    other.write_bytes(b"x")
    with pytest.raises(ValueError, match=re.escape(str(other))):
        Certificates(TlsFiles([KeyPair(str(chain), str(key))], client_ca=str(other)))
    encrypted = tmp_path / "encrypted.key"
    os.system(f"openssl pkey -in {key} -aes128 -passout pass:x -out {encrypted}")
    with pytest.raises(ValueError, match="the key is encrypted"):
        Certificates(TlsFiles([KeyPair(str(chain), str(encrypted))]))


def test_client_certificates(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-201, P-241: asked for only when configured; EXTERNAL is announced to who has one, and lets its owner in."""
    files = certificates().files
    authority = tmp_path / "ca.pem"
    authority.write_bytes(authority_pem())
    asking = Certificates(TlsFiles(files.pairs, str(authority)))
    chain, key = certificate("bob@example.org", common_name="bob").write(tmp_path, "client")
    known = client_context()
    known.load_cert_chain(chain, key)
    with office(loop_factory, IMPLICIT, certificates=asking, authenticator=ByCertificate()) as running:
        with running.connect() as client:
            secure(client)
            client.line()
            assert client.ask(b"AUTH EXTERNAL =").startswith(b"-ERR no mechanism is possible here")
        with running.connect() as client:
            secure(client, known)
            client.line()
            client.send(b"CAPA\r\n")
            assert b"SASL EXTERNAL\r\n" in client.lines()
            assert client.ask(b"AUTH EXTERNAL ZXZl") == b"-ERR [AUTH] wrong user name or password\r\n"
            assert client.ask(b"AUTH EXTERNAL Ym9i") == b"+OK 0 messages (0 octets)\r\n"


def test_a_client_certificate_may_be_required(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-241."""
    authority = tmp_path / "ca.pem"
    authority.write_bytes(authority_pem())
    asking = Certificates(TlsFiles(certificates().files.pairs, str(authority), "required"))
    with office(loop_factory, IMPLICIT, certificates=asking) as running, running.connect() as client:
        secure(client)  # under TLS 1.3 the client is done before the server has looked at its certificate
        with pytest.raises(OSError, match=r"(?i)certificate.required"):
            client.rest()


def test_the_log_tells_version_and_cipher(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """P-239."""
    caplog.set_level(logging.INFO)
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        secure(client)
        client.login()
        client.ask(b"QUIT")
        running.wait_until_empty()
    assert re.search(r"user=bob mechanism=USER tls=TLSv1\.3 TLS_AES_256_GCM_SHA384 ", caplog.text)


def test_a_stop_ends_handshakes_at_once(loop_factory: LoopFactory) -> None:
    """P-294: what is no session yet does not hold it up."""
    with office(loop_factory, IMPLICIT, limits=Limits(patience=QUICK.patience)) as running, running.connect() as client:
        client.send(b"\x16\x03")
        running.call(until(lambda: len(running.server.wires) == 1))
        running.stop(grace=TIMEOUT)
        assert client.rest() == b""


@pytest.mark.parametrize("count", [1, 100, 101, 150])
def test_all_is_answered_after_close_notify(loop_factory: LoopFactory, count: int) -> None:
    """P-021, P-237: and our own close_notify comes after it."""
    with office(loop_factory, IMPLICIT) as running, running.connect() as client:
        context = client_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST)

        def step(work: Callable[[], object]) -> bool:
            try:
                work()
            except ssl.SSLWantReadError:
                return False
            finally:
                client.send(outgoing.read())
            return True

        while not step(tls.do_handshake):
            incoming.write(client.socket.recv(65536))
        tls.write(b"USER bob\r\nPASS secret\r\n" + b"NOOP\r\n" * count)
        step(tls.unwrap)
        received = b""
        while piece := client.socket.recv(65536):
            incoming.write(piece)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while piece := tls.read(65536):  # an end without close_notify raises SSLWantReadError
                received += piece
        assert received.endswith(b"+OK 0 messages (0 octets)\r\n" + b"+OK nothing done\r\n" * count)
