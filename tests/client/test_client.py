"""What `POP3Client` does besides single commands: streams, pipelines, ways to log in, the end of a session."""

import asyncio
import base64
import io
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from restante.client import ConnectionLost, NotPop3, Patience, POP3Client, Refused, login
from restante.errors import AuthenticationFailed, Condition
from tests.client.peer import Peer, multi
from tests.server.office import LOOPS, TIMEOUT, Office

LOGIN = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n", b"DELE": b"+OK\r\n"}


@asynccontextmanager
async def session(peer: Peer, **options: object) -> AsyncIterator[POP3Client]:
    async with POP3Client(peer.url, **options) as client:  # type: ignore[arg-type]
        await client.login("bob", "secret")
        yield client


def capa(*more: bytes) -> dict[bytes, bytes]:
    return {b"CAPA": multi(b"USER", b"UIDL", b"TOP", *more)}


@pytest.fixture(params=LOOPS)
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    with Office(LOOPS[request.param]) as running:
        running.deliver(*(b"Subject: %d\r\n\r\n.%b\r\n" % (number, b"x" * number) for number in range(1, 301)))
        yield running


def url(office: Office) -> str:
    address = office.address()
    return f"pop://bob@{address[0]}:{address[1]}"


async def test_every_command(office: Office) -> None:
    """The methods are the commands; against a real server."""
    async with POP3Client(url(office)) as client:
        await client.login(password="secret")
        assert client.greeting.startswith("+OK ")
        stat = await client.stat()
        sizes = await client.list()
        ids = await client.uidl()
        assert (stat.messages, stat.octets) == (300, sum(sizes.values()))
        assert (await client.list(7), await client.uidl(7)) == (sizes[7], ids[7])
        assert await client.listing() == (ids, sizes)
        assert await client.top(7) == b"Subject: 7\r\n\r\n"
        assert await client.top(7, 1) == b"Subject: 7\r\n\r\n.xxxxxxx\r\n"
        file = io.BytesIO()
        assert await (await client.retr(300)).save(file) == sizes[300] == len(file.getvalue())
        await client.noop()
        await client.dele(1)
        with pytest.raises(Condition):
            await client.retr(1)
        await client.rset()
        assert client.deleted == set()
        assert set(await client.dele_many(range(1, 303))) == {301, 302}
    assert office.contents() == []


async def test_many_messages(office: Office) -> None:
    """K-002: in order, whatever is read of them; and what is left behind in the middle disturbs nobody."""
    async with POP3Client(url(office)) as client:
        await client.login(password="secret")
        sizes = await client.list()
        octets = {}
        async for number, message in client.retr_many(range(1, 302)):
            if isinstance(message, Condition):
                assert number == 301
            elif number % 3:
                octets[number] = len(await message.read())
        assert octets == {number: size for number, size in sizes.items() if number % 3}
        _, message = await anext(aiter(client.retr_many(sizes)))
        assert not isinstance(message, Condition)
        assert await client.top(9) == b"Subject: 9\r\n\r\n"
        with pytest.raises(RuntimeError, match="before the next command"):
            await message.read()


async def test_what_was_not_asked_to_be_kept(office: Office) -> None:
    async with POP3Client(url(office)) as client:
        await client.login(password="secret")
        with pytest.raises(ValueError, match="more than 100 octets"):
            await (await client.retr(300)).read(100)
        assert (await client.stat()).messages == 300


async def test_no_pipelining_where_it_is_not_announced() -> None:
    """K-002: one command after the other."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(b"+OK\r\n")
            while piece := client.recv(65536):
                seen.append(piece)
                client.sendall(
                    b"-ERR\r\n" if piece == b"CAPA\r\n" else b"+OK\r\n" + b".\r\n" * piece.startswith(b"RETR")
                )

    thread = threading.Thread(target=serve)
    thread.start()
    async with POP3Client(f"pop://127.0.0.1:{listener.getsockname()[1]}") as client:
        async for _ in client.retr_many([1, 2, 3]):
            pass
    thread.join(TIMEOUT)
    listener.close()
    assert seen == [b"CAPA\r\n", b"RETR 1\r\n", b"RETR 2\r\n", b"RETR 3\r\n", b"QUIT\r\n"]


# -- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"-ERR [SYS/TEMP] some not removed\r\n", Condition), (b"", ConnectionLost), (b"x\r\n", NotPop3)],
)
async def test_a_quit_that_does_not_delete(answer: bytes, kind: type[Exception]) -> None:
    """K-006: leaving the context raises what is wrong."""
    with Peer(LOGIN | {b"QUIT": answer}) as peer, pytest.raises(kind):
        async with session(peer) as client:
            await client.dele(1)


async def test_an_exception_deletes_nothing() -> None:
    """RFC 1939 section 6: no QUIT, no deletion."""

    async def fail(peer: Peer) -> None:
        async with session(peer) as client:
            await client.dele(1)
            raise ZeroDivisionError

    with Peer(LOGIN) as peer, pytest.raises(ZeroDivisionError):
        await fail(peer)
    assert peer.heard[-1] == b"DELE 1"


async def test_a_connection_that_ends_before_quit() -> None:
    """K-006, K-021, K-022."""

    async def lost(peer: Peer) -> None:
        async with session(peer) as client:
            await client.dele(1)
            with pytest.raises(ConnectionLost):
                await client.noop()

    async def half(peer: Peer) -> None:
        async with session(peer, patience=Patience(silence=0.2)) as client:
            await (await client.retr(1)).read()

    with Peer(LOGIN | {b"NOOP": b"", b"RETR": b"+OK\r\nhalf a message\r\n"}) as peer:
        with pytest.raises(ConnectionLost, match="before QUIT"):
            await lost(peer)
        with pytest.raises(ConnectionLost, match="silent"):
            await half(peer)


async def test_a_cancelled_command() -> None:
    """The next command gets its own reply."""
    with Peer(LOGIN | {b"LIST": multi(b"1 1")}) as peer:
        async with session(peer) as client:
            task = asyncio.create_task(client.list())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.list() == {1: 1}


# -- logging in -------------------------------------------------------------------------------------

TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"


async def test_apop() -> None:
    """K-018, RFC 1939 section 7 (the example there); only when it is asked for."""
    digest = b"c4c9334bac560ecc979e58001b3e22fb"
    greeting = b"+OK POP3 server ready " + TIMESTAMP + b"\r\n"
    with Peer(LOGIN | {b"APOP": b"+OK\r\n"}, greeting=greeting) as peer:
        async with POP3Client(peer.url) as client:
            await client.login("mrose", "tanstaaf", mechanism="+APOP")
        async with POP3Client(peer.url) as client:
            await client.login("mrose", "tanstaaf")
    assert peer.heard == [
        b"CAPA", b"APOP mrose " + digest, b"QUIT", b"CAPA", b"USER mrose", b"PASS tanstaaf", b"QUIT",
    ]  # fmt: skip


@pytest.mark.parametrize("stamp", [b"", b"<a>", b"<@>", b"<a b@c>", "<\u00fc@c>".encode(), b"<a@b\x01>"])
async def test_apop_without_a_timestamp(stamp: bytes) -> None:
    """K-018, CVE-2007-1558: what somebody in between would choose is no message-id; and nothing else is tried."""
    with Peer(LOGIN, greeting=b"+OK " + stamp + b"\r\n") as peer:
        async with POP3Client(peer.url) as client:
            with pytest.raises(NotPop3, match="no timestamp"):
                await client.login("bob", "secret", mechanism="+apop")
    assert peer.heard == [b"CAPA", b"QUIT"]


async def test_no_password_after_scram_has_failed() -> None:
    """K-018: on a line that is not encrypted nothing weaker is tried."""
    replies = LOGIN | {b"CAPA": multi(b"USER", b"SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN"), b"AUTH": b"-ERR no\r\n"}
    with Peer(replies) as peer:
        async with POP3Client(peer.url) as client:
            with pytest.raises(AuthenticationFailed):
                await client.login("bob", "secret")
    assert peer.heard == [b"CAPA", b"AUTH SCRAM-SHA-256", b"AUTH SCRAM-SHA-1", b"QUIT"]


async def test_ok_without_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """K-020: a server that only says +OK may not know the password at all."""
    monkeypatch.setattr(login, "_nonce", lambda: "abc")
    first = base64.b64encode(b"r=abcdef,s=AAAA,i=4096")
    replies = {
        b"CAPA": multi(b"SASL SCRAM-SHA-256"),
        b"AUTH": b"+ \r\n",
        b"biwsbj1ib2Iscj1hYmM=": b"+ " + first + b"\r\n",
    }
    with Peer(replies, otherwise=b"+OK\r\n") as peer:
        client = POP3Client(peer.url)
        await client.connect()
        with pytest.raises(NotPop3, match="without showing"):
            await client.login("bob", "secret")
        await client.close()


@pytest.mark.parametrize("challenge", [b"+ !!!\r\n", b"+ YQ\r\n"])
async def test_a_challenge_that_is_not_base64(challenge: bytes) -> None:
    """K-011: it is answered by ``*``."""
    replies = {b"CAPA": multi(b"SASL LOGIN"), b"AUTH": challenge, b"*": b"-ERR cancelled\r\n"}
    with Peer(replies) as peer:
        async with POP3Client(peer.url) as client:
            with pytest.raises(AuthenticationFailed):
                await client.login("bob", "secret")
    assert peer.heard[-2:] == [b"*", b"QUIT"]


async def test_only_the_mechanism_that_was_asked_for() -> None:
    """K-016: another one than named only with permission."""
    with Peer(LOGIN | capa(b"SASL PLAIN")) as peer:
        named = peer.url._replace(user="bob", mechanism="SCRAM-SHA-256")
        async with POP3Client(named) as client:
            with pytest.raises(NotPop3, match="SCRAM-SHA-256; it offers PLAIN"):
                await client.login(password="secret")
    assert peer.heard == [b"CAPA", b"QUIT"]


@pytest.mark.parametrize("token", ["tok", lambda: "tok"])
async def test_tokens(token: str | Callable[[], str]) -> None:
    """RFC 7628; by value or by what gives one."""
    replies = {b"CAPA": multi(b"USER", b"SASL PLAIN XOAUTH2"), b"AUTH XOAUTH2": b"+ \r\n"}
    answer = base64.b64encode(b"user=bob\1auth=Bearer tok\1\1")
    with Peer(replies | {answer: b"+OK\r\n"}) as peer:
        async with POP3Client(peer.url) as client:
            await client.login("bob", token=token)

        async def later() -> str:
            return "tok"

        async with POP3Client(peer.url) as client:
            await client.login("bob", token=later)
    assert peer.heard.count(answer) == 2


async def test_a_token_that_is_refused() -> None:
    """Field notes 4.3: the refusal comes as a challenge, which is answered before the -ERR."""
    answer = base64.b64encode(b"user=bob\1auth=Bearer old\1\1")
    replies = {b"CAPA": multi(b"SASL XOAUTH2"), b"AUTH XOAUTH2": b"+ \r\n", answer: b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"}
    with Peer(replies | {b"": b"-ERR [AUTH] expired\r\n"}) as peer:
        async with POP3Client(peer.url) as client:
            with pytest.raises(AuthenticationFailed, match="expired"):
                await client.login("bob", token="old")
    assert peer.heard[-2:] == [b"", b"QUIT"]


async def test_the_log_has_no_secrets() -> None:
    """Whatever the way to log in."""
    lines: list[str] = []
    answer = base64.b64encode(b"\0bob\0secret")
    replies = LOGIN | capa(b"SASL PLAIN") | {b"AUTH PLAIN": b"+ \r\n", answer: b"-ERR no\r\n"}
    with Peer(replies) as peer:
        async with session(peer, log=lines.append):
            pass
    text = "\n".join(lines)
    assert "secret" not in text
    assert answer.decode() not in text
    assert "C: PASS *****" in lines
    assert "S: +OK ready" in lines


# -- odd servers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("greeting", [b"+OK\r\n", b"+OK \r\n", b"+OKready\r\n"])
async def test_status_lines_without_text(greeting: bytes) -> None:
    """K-025."""
    with Peer(LOGIN | {b"STAT": b"+OK 1 2 3\r\n", b"UIDL": b"-ERR\r\n"}, greeting=greeting) as peer:
        async with session(peer) as client:
            assert await client.stat() == (1, 2)
            with pytest.raises(Refused, match="does not tell unique-ids"):
                await client.uidl()


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"+OK 1\r\n", b"+OK a b\r\n"])
async def test_a_stat_that_is_none(reply: bytes) -> None:
    """K-003: its numbers are the exception, and must be there."""
    with Peer(LOGIN | {b"STAT": reply}) as peer, pytest.raises(NotPop3):
        async with session(peer) as client:
            await client.stat()


async def test_lf_only() -> None:
    """K-025: refused in words that say why; accepted where somebody says so."""
    replies = {name: reply.replace(b"\r\n", b"\n") for name, reply in (LOGIN | {b"LIST": multi(b"1 1")}).items()}
    with Peer(replies | {b"QUIT": b"+OK\n"}, greeting=b"+OK ready\n") as peer:
        with pytest.raises(NotPop3, match="does not end in CRLF"):
            await POP3Client(peer.url).connect()
        async with session(peer, lenient=True) as client:
            assert await client.list() == {1: 1}


async def test_sizes_that_are_wrong() -> None:
    """K-009."""
    replies = LOGIN | {b"LIST": multi(b"1 3", b"2 99999999999999"), b"RETR": multi(b"twenty octets there", b"")}
    with Peer(replies) as peer:
        async with session(peer) as client:
            assert await client.list() == {1: 3, 2: 99999999999999}
            assert len(await (await client.retr(1)).read()) == len(await (await client.retr(2)).read()) == 23
