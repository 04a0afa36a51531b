"""The client against servers that are told what to say."""

import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restante.client import (
    BlockingPOP3Client,
    CleartextRefused,
    ConnectionLost,
    NotPop3,
    Patience,
    Refused,
    Security,
    ServerUrl,
    dialogue,
    login,
    session,
)
from restante.client.security import is_loopback
from restante.errors import (
    AuthenticationFailed,
    Condition,
    LoginDelayed,
    MaildropInUse,
    NeedsUtf8,
    PermanentFailure,
    TemporaryFailure,
)
from tests import certificates
from tests.client.peer import Peer, multi

LOGIN = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n"}


@contextmanager
def logged_in(peer: Peer, patience: Patience | None = None) -> Iterator[BlockingPOP3Client]:
    with BlockingPOP3Client(peer.url, patience=patience) as one:
        one.login("bob", b"secret")
        yield one


def meet(url: ServerUrl, security: Security | None = None) -> None:
    """Connect and leave."""
    with BlockingPOP3Client(url, security=security):
        pass


# -- replies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-ERR [AUTH] no\r\n", AuthenticationFailed),
        (b"-ERR [in-use] no\r\n", MaildropInUse),
        (b"-ERR [LOGIN-DELAY] no\r\n", LoginDelayed),
        (b"-ERR [SYS/TEMP] no\r\n", TemporaryFailure),
        (b"-ERR [SYS/TEMP/DISK] no\r\n", TemporaryFailure),
        (b"-ERR [SYS/OTHER] no\r\n", TemporaryFailure),
        (b"-ERR [SYS] no\r\n", TemporaryFailure),
        (b"-ERR [SYS/PERM] no\r\n", PermanentFailure),
        (b"-ERR [UTF8] no\r\n", NeedsUtf8),
        (b"-ERR [NEW-CODE] no\r\n", Refused),
        (b"-ERR no [AUTH]\r\n", Refused),
        (b"-ERR\r\n", Refused),
        (b"-ERR no\n", NotPop3),
        (b"+OKAY\r\n", None),
        (b"* BYE\r\n", NotPop3),
        (b"", ConnectionLost),
    ],
)
def test_conditions(reply: bytes, kind: type[Condition] | None) -> None:
    """K-003, K-004: a code is compared without regard to case, its known levels count, text means nothing."""
    with Peer(LOGIN | {b"LIST": reply + (b".\r\n" if kind is None else b"")}) as peer, logged_in(peer) as one:
        if kind is None:
            assert one.list() == {}
        else:
            with pytest.raises(Condition) as caught:
                one.list()
            assert type(caught.value) is kind
    assert (peer.heard[-1] == b"QUIT") == (kind not in (NotPop3, ConnectionLost))


def test_texts_are_made_harmless() -> None:
    with Peer(LOGIN | {b"LIST": b"-ERR a\x1b[31mb\rc\r\n"}) as peer, logged_in(peer) as one:
        with pytest.raises(Refused) as caught:
            one.list()
        assert str(caught.value) == "a\\x1b[31mb\\rc"


@pytest.mark.parametrize(
    "greeting", [b"-ERR [SYS/TEMP] busy\r\n", b"-ERR busy\r\n", b"HTTP/1.1 400\r\n", b"x" * 100_000]
)
def test_greetings(greeting: bytes) -> None:
    """K-025."""
    with Peer(greeting=greeting) as peer, pytest.raises(Condition):
        meet(peer.url)
    assert peer.heard == []


def test_nobody_is_there() -> None:
    with Peer() as peer:
        url = peer.url
    with pytest.raises(ConnectionLost, match=rf"{url}: Connection refused"):
        meet(url)


def test_a_server_that_falls_silent() -> None:
    """K-022."""
    hasty = Patience(silence=0.2, long_silence=0.2)
    silent = pytest.raises(ConnectionLost, match="silent")
    with Peer(LOGIN | {b"LIST": b"+OK\r\n1 2\r\n"}) as peer, silent, logged_in(peer, hasty) as one:
        one.list()
    assert peer.heard[-1] == b"LIST"


# -- lines and listings -----------------------------------------------------------------------------


def test_listings() -> None:
    """K-007: more spaces, any order, odd characters, equal ids; K-009: more behind a size."""
    uidl = multi(b"2 !~x", b"1   a b", b"3 !~x ")
    sizes = multi(b"1 10", b"2 20 more", b"3 99999999999")
    with Peer(LOGIN | {b"UIDL": uidl, b"LIST": sizes}) as peer, logged_in(peer) as one:
        assert one.uidl() == {2: "!~x", 1: "a b", 3: "!~x"}
        assert one.list() == {1: 10, 2: 20, 3: 99999999999}


@pytest.mark.parametrize("line", [b"", b"1", b"1 ", b"x 10", b"-1 10"])
def test_listings_that_are_none(line: bytes) -> None:
    with Peer(LOGIN | {b"UIDL": multi(line)}) as peer, logged_in(peer) as one, pytest.raises(NotPop3):
        one.uidl()


def test_messages() -> None:
    """K-001, K-008: dots, bare LF, lines of any length, octets of any value."""
    message = b".\r\n..\r\n\n.\nx\r\n" + bytes(range(256)) + b"y" * 3_000_000 + b"\r\n"
    reply = b"+OK\r\n." + message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    with Peer(LOGIN | {b"RETR": reply}) as peer, logged_in(peer) as one:
        assert b"".join(one.retr(1)) == message
        assert one.retr(1).read() == message


def test_replies_that_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "LONGEST_LISTING", 1000)
    endless = pytest.raises(NotPop3, match="does not end")
    with Peer(LOGIN | {b"UIDL": b"+OK\r\n" + b"x" * 100_000}) as peer, endless, logged_in(peer) as one:
        one.uidl()
    assert peer.heard[-1] == b"UIDL"


@pytest.mark.parametrize("pipelining", [False, True])
def test_many_headers(pipelining: bool) -> None:
    """K-002: many commands before the first reply, if the server can; a refusal has no body and disturbs nobody."""
    capa = {b"CAPA": multi(b"USER", *([b"PIPELINING"] if pipelining else []))}
    replies = {b"TOP %d 0" % number: multi(b"Subject: %d" % number, b"") for number in range(1, 200)}
    replies[b"TOP 77 0"] = b"-ERR gone\r\n"
    with Peer(LOGIN | capa | replies) as peer, logged_in(peer) as one:
        headers = dict(one.top_many(range(1, 200)))
    assert headers[199] == b"Subject: 199\r\n\r\n"
    assert isinstance(headers.pop(77), Refused)
    assert len(headers) == 198
    assert peer.heard[-1] == b"QUIT"


# -- logging in -------------------------------------------------------------------------------------

PLAIN, LOGIN_MECHANISM = b"AUTH PLAIN", b"AUTH LOGIN"
ANSWERS = {
    PLAIN: b"+ \r\n",
    b"AGJvYgBzZWNyZXQ=": b"+OK\r\n",
    LOGIN_MECHANISM: b"+ VXNlcm5hbWU6\r\n",
    b"Ym9i": b"+ UGFzc3dvcmQ6\r\n",
    b"c2VjcmV0": b"+OK\r\n",
}


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (LOGIN, [b"CAPA", b"USER bob", b"PASS secret"]),
        (LOGIN | {b"CAPA": multi(b"USER", b"UTF8")}, [b"CAPA", b"USER bob", b"PASS secret"]),
        (ANSWERS | {b"CAPA": multi(b"SASL PLAIN LOGIN")}, [b"CAPA", PLAIN, b"AGJvYgBzZWNyZXQ="]),
        (ANSWERS | {b"CAPA": multi(b"sasl CRAM-MD5 login")}, [b"CAPA", LOGIN_MECHANISM, b"Ym9i", b"c2VjcmV0"]),
        (
            LOGIN | {b"CAPA": multi(b"USER", b"SASL PLAIN"), PLAIN: b"-ERR not now\r\n"},
            [b"CAPA", PLAIN, b"USER bob", b"PASS secret"],
        ),
    ],
)
def test_ways_to_log_in(replies: dict[bytes, bytes], expected: list[bytes]) -> None:
    """K-005, K-011, K-017: without CAPA by USER; another way after a refusal that gives no reason."""
    with Peer(replies) as peer, logged_in(peer):
        pass
    assert peer.heard == [*expected, b"QUIT"]


@pytest.mark.parametrize("line", [b"-ERR [AUTH] wrong\r\n", b"-ERR [IN-USE] wait\r\n", b"-ERR [SYS/TEMP] wait\r\n"])
def test_a_password_is_not_sent_twice(line: bytes) -> None:
    """K-017."""
    capa = {b"CAPA": multi(b"USER", b"SASL PLAIN LOGIN")}
    replies = LOGIN | ANSWERS | capa | {b"AGJvYgBzZWNyZXQ=": line}
    with Peer(replies) as peer, BlockingPOP3Client(peer.url) as one, pytest.raises(Condition):
        one.login("bob", b"secret")
    assert peer.heard == [b"CAPA", PLAIN, b"AGJvYgBzZWNyZXQ=", b"QUIT"]


def test_a_refusal_without_a_reason() -> None:
    """The last way that fails tells it."""
    wrong = pytest.raises(AuthenticationFailed, match="wrong")
    with Peer(LOGIN | {b"PASS": b"-ERR wrong\r\n"}) as peer, BlockingPOP3Client(peer.url) as one, wrong:
        one.login("bob", b"secret")


@pytest.mark.parametrize("password", [b"a\r\nDELE 1", b"a\nb", b"a\0b", b"a\rb"])
def test_no_command_can_be_smuggled_in(password: bytes) -> None:
    """K-010."""
    with Peer(LOGIN) as peer, BlockingPOP3Client(peer.url) as one:
        for user, secret in (("bob", password), (password.decode(), b"secret")):
            with pytest.raises(ValueError, match="another command"):
                one.login(user, secret)
    assert peer.heard == [b"CAPA", b"QUIT"]


def test_names_that_are_not_ascii() -> None:
    """K-026: by PLAIN always, by USER only where the server says so."""
    with (
        Peer(LOGIN) as peer,
        BlockingPOP3Client(peer.url, utf8=True) as one,
        pytest.raises(NotPop3, match="way that is known"),
    ):
        one.login("b\u00f6b", b"secret")
    assert peer.heard == [b"CAPA", b"QUIT"]
    replies = LOGIN | {b"CAPA": multi(b"UTF8 USER", b"USER"), b"UTF8": b"+OK\r\n"}
    with Peer(replies) as peer, BlockingPOP3Client(peer.url, utf8=True) as one:
        one.login("b\u00f6b", b"secret")
    assert peer.heard == [b"CAPA", b"UTF8", "USER b\u00f6b".encode(), b"PASS secret", b"QUIT"]


# -- encryption -------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """That of a server with a certificate for localhost and 127.0.0.1."""
    return context(tmp_path, "localhost", "127.0.0.1")


def context(folder: Path, *names: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificates.certificate(*names).write(folder))
    return made


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(certificates.authority_pem())
    return path


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer is taken for another machine."""
    monkeypatch.setattr(session, "is_loopback", lambda _: False)
    monkeypatch.setattr(login, "is_loopback", lambda _: False)


STLS = {b"CAPA": multi(b"USER", b"STLS"), b"STLS": b"+OK\r\n"}


def test_stls(tls: ssl.SSLContext, ca: Path, far: None) -> None:
    """K-012: nothing but CAPA goes before it, and CAPA is asked for again."""
    with Peer(LOGIN | STLS, tls=tls) as peer, BlockingPOP3Client(peer.url, security=Security(ca)) as one:
        one.login("bob", b"secret")
    assert peer.heard == [b"CAPA", b"STLS", b"CAPA", b"USER bob", b"PASS secret", b"QUIT"]


def test_tls_from_the_first_octet(tls: ssl.SSLContext, ca: Path, far: None) -> None:
    with Peer(LOGIN, tls=tls, implicit=True) as peer, BlockingPOP3Client(peer.url, security=Security(ca)) as one:
        one.login("bob", b"secret")
    assert peer.heard == [b"CAPA", b"USER bob", b"PASS secret", b"QUIT"]


@pytest.mark.parametrize("implicit", [False, True])
def test_tls_that_is_cut_off(tls: ssl.SSLContext, ca: Path, far: None, implicit: bool) -> None:
    """K-021: somebody on the way can end a connection, but not make half a message a whole one."""
    replies = LOGIN | STLS | {b"RETR": b"+OK\r\nhalf a message\r\n"}

    def retrieve(peer: Peer) -> None:
        with BlockingPOP3Client(peer.url, security=Security(ca)) as one:
            one.login("bob", b"secret")
            one.dele(1)
            one.retr(1).read()

    lost = pytest.raises(ConnectionLost)
    with Peer(replies | {b"DELE": b"+OK\r\n"}, tls=tls, implicit=implicit, cut=b"RETR 1") as peer, lost:
        retrieve(peer)
    assert b"QUIT" not in peer.heard


@pytest.mark.parametrize("implicit", [False, True])
def test_certificates_are_looked_at(tls: ssl.SSLContext, ca: Path, far: None, implicit: bool) -> None:
    """K-013: an unknown authority, and a name that is not the one that was asked for."""
    with (
        Peer(LOGIN | STLS, tls=tls, implicit=implicit) as peer,
        pytest.raises(NotPop3, match="certificate is not good"),
    ):
        meet(peer.url)
    other = context(ca.parent, "other.example.org")
    with Peer(LOGIN | STLS, tls=other, implicit=implicit) as peer, pytest.raises(NotPop3, match="is not good"):
        meet(peer.url, Security(ca))
    assert b"USER bob" not in peer.heard


def test_old_tls_is_refused(tls: ssl.SSLContext, ca: Path) -> None:
    """K-014."""
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with Peer(LOGIN, tls=tls, implicit=True) as peer, pytest.raises(NotPop3, match="no encryption"):
        meet(peer.url, Security(ca))


def test_octets_before_the_handshake(tls: ssl.SSLContext, ca: Path, far: None) -> None:
    """K-012: somebody in between could put words into the server's mouth."""
    replies = LOGIN | STLS | {b"STLS": b"+OK\r\n+OK injected\r\n"}
    with Peer(replies, tls=tls) as peer, pytest.raises(NotPop3, match="in between"):
        meet(peer.url, Security(ca))
    assert peer.heard == [b"CAPA", b"STLS"]


@pytest.mark.parametrize("more", [b"", b"+OK user accepted\r\n+OK authenticated\r\n"])
def test_stls_that_is_refused(far: None, more: bytes) -> None:
    """K-012: it was announced, so somebody may want us to do without, and have answers ready for what would follow."""
    with Peer(LOGIN | STLS | {b"STLS": b"-ERR no\r\n" + more}) as peer, pytest.raises(Refused):
        meet(peer.url)
    assert peer.heard == [b"CAPA", b"STLS"]


def test_no_password_in_the_clear(far: None) -> None:
    """K-014: unless somebody says so."""
    with Peer(LOGIN) as peer, BlockingPOP3Client(peer.url) as one, pytest.raises(CleartextRefused):
        one.login("bob", b"secret")
    assert peer.heard == [b"CAPA", b"QUIT"]
    with Peer(LOGIN) as peer, BlockingPOP3Client(peer.url, security=Security(cleartext=True)) as one:
        one.login("bob", b"secret")
    assert peer.heard == [b"CAPA", b"USER bob", b"PASS secret", b"QUIT"]


@pytest.mark.parametrize(
    ("capabilities", "trusted", "encrypted"),
    [((b"USER", b"STLS"), False, False), ((b"USER", b"STLS"), True, True), ((b"STLS",), True, True)],
)
def test_on_this_machine(
    tls: ssl.SSLContext, ca: Path, capabilities: tuple[bytes, ...], trusted: bool, encrypted: bool
) -> None:
    """Nobody listens here: STLS only for whoever says whom he trusts, or where there is no other way."""
    replies = LOGIN | STLS | {b"CAPA": multi(*capabilities)}
    with Peer(replies, tls=tls) as peer, BlockingPOP3Client(peer.url, security=Security(ca if trusted else None)):
        pass
    assert (b"STLS" in peer.heard) == encrypted


# -- the end ----------------------------------------------------------------------------------------


def fails(_: BlockingPOP3Client) -> None:
    raise ZeroDivisionError


def breaks_off(one: BlockingPOP3Client) -> None:
    next(iter(one.retr(1)))
    raise ZeroDivisionError


@pytest.mark.parametrize(("what", "quits"), [(fails, True), (breaks_off, False)])
def test_quit_is_said_whenever_it_would_be_understood(what: Callable[[BlockingPOP3Client], None], quits: bool) -> None:
    """In the middle of a reply it would not be."""
    big = multi(b"x" * 1_000_000)
    with Peer(LOGIN | {b"RETR": big}) as peer, pytest.raises(ZeroDivisionError), logged_in(peer) as one:
        what(one)
    assert (peer.heard[-1] == b"QUIT") == quits


@pytest.mark.parametrize("reply", [b"", b"-ERR [SYS/TEMP] no\r\n", b"rubbish\r\n"])
def test_the_answer_to_quit_does_not_matter(reply: bytes) -> None:
    """Nothing was deleted."""
    with Peer(LOGIN | {b"QUIT": reply}) as peer, logged_in(peer):
        pass
    assert peer.heard[-1] == b"QUIT"


def test_ipv6_and_names() -> None:
    assert is_loopback("::1")
    assert is_loopback("127.8.9.1")
    assert not is_loopback("fe80::1%eth0")
    assert not is_loopback("192.0.2.1")
    assert not is_loopback("nonsense")
    assert str(ServerUrl("::1", 110, tls=False)) == "pop://[::1]:110"
