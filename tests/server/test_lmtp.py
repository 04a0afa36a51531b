"""LMTP through real sockets into real Maildirs, and out again by POP3."""

import asyncio
import errno
import grp
import ipaddress
import os
import smtplib
import socket
import stat
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from restante.server.addresses import Address
from restante.server.listener import Listener, bind
from restante.server.service import Door, Limits
from restante.stores.maildir.quota import Limits as Quota
from tests.server.mail_client import (
    HOST,
    LMTP,
    MESSAGE,
    GatedStore,
    MailClient,
    MailOffice,
    codes,
    ended,
    on_the_wire,
    split,
    stuffed,
)
from tests.server.office import QUICK, TIMEOUT, LoopFactory, TravelLoop, until
from tests.server.test_sessions import Latch
from tests.server.tls import certificates, secure

SILENT = b"421 4.4.2 nothing has come for too long; goodbye\r\n"
STOPPED = b"421 4.3.2 the server stops; please try again later\r\n"
BIG = b"Subject: big\r\n\r\n" + b"x" * 98 * 8000 + b"\r\n"


def unix(folder: Path) -> Address:
    return Address("", 0, str(folder / "lmtp"))


# -- in, and out again ------------------------------------------------------------------------------


def test_a_message_comes_out_as_it_went_in(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-005: before it stand Return-Path, Delivered-To, X-Original-To if it was another address, and Received."""
    with MailOffice(loop_factory, tmp_path, desk={"clock": lambda: 1_000_000_000.0}) as office:
        with office.bring() as client:
            for recipient in (b"bob@example.org", b"Bob+lists@EXAMPLE.org", b"bob"):
                assert client.envelope(recipient) == [b"250 2.1.5 recipient ok\r\n"]
                (reply,) = client.data(MESSAGE)
                assert reply.startswith(b"250 2.0.0 delivered as ")
        plain, detail, bare = office.fetch()
        identity = split(plain)[0]["id"]
        date = plain.split(b"\t")[-1].split(b"\r\n")[0].decode()
        assert parsedate_to_datetime(date).timestamp() == 1_000_000_000
        assert (
            plain
            == (
                "Return-Path: <a@example.net>\r\nDelivered-To: bob@example.org\r\n"
                "Received: from client.example ([127.0.0.1])\r\n"
                f"\tby mail.example.org (Restante) with LMTP id {identity}\r\n"
                f"\tfor <bob@example.org>;\r\n\t{date}\r\n"
            ).encode("ascii")
            + MESSAGE
        )
        trace = split(detail)[0]
        assert (trace["final"], trace["original"]) == ("bob+lists@example.org", "Bob+lists@example.org")
        trace = split(bare)[0]
        assert (trace["final"], trace["original"], trace["recipient"]) == (f"bob@{HOST}", "", "bob")


def test_a_bounce_keeps_its_null_path(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-005: and what an earlier delivery wrote stays below ours."""
    message = b"Return-Path: <old@example.net>\r\n" + MESSAGE
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        client.envelope(b"bob@example.org", sender=b"")
        client.data(message)
        (found,) = office.fetch()
        assert found.startswith(b"Return-Path: <>\r\n")
        assert split(found)[1] == message


def test_an_alias_has_a_copy_for_each(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-005, D-025: one reply, and nobody's copy names another."""
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        client.envelope(b"team@example.org")
        assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]
        for user in (b"bob", b"alice"):
            (found,) = office.fetch(user)
            trace, rest = split(found)
            assert (trace["final"], trace["original"]) == (f"{user.decode()}@{HOST}", "team@example.org")
            assert rest == MESSAGE


def test_whose_domains(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-010: where nobody has said which domains are ours, the mail server in front knows."""
    with MailOffice(loop_factory, tmp_path, domains=frozenset()) as office, office.bring() as client:
        assert codes(client.envelope(b"bob@example.com", b"nobody@example.com")) == [b"250 2.1.5", b"550 5.1.1"]


ODD = {
    "dots first": b".\r\n..\r\n.x\r\n\r\n.\r\n...\r\n",
    "dot lines between bare LFs": b"A: b\r\n\r\n\n.\n..\n.\r\nx\n.\r\n",
    "bare LF": b"A: b\nC: d\n\nbody\nend\n",
    "LF and CRLF": b"A: b\r\nC: d\n\r\nbody\n\r\nend\r\n",
    "bare CR": b"A: b\r\n\r\n\rone\rtwo\r\r\n\rthree\r\r\r\n",
    "ends in CR": b"A: b\r\n\r\nend\r",
    "NUL": b"A: \0\r\n\r\n\0\0\r\n\0",
    "8-bit": b"A: b\r\n\r\n" + bytes(range(256)) * 20 + b"\r\n",
    "UTF-8 headers": "Subject: Grüße\r\nFrom: Jürgen <j@bücher.example>\r\n\r\nÄ\r\n".encode(),
    "one long line": b"A: b\r\n\r\n" + b"0123456789" * 500_000 + b"\r\n",
    "no final line end": b"A: b\r\n\r\nend",
    "empty": b"",
    "header only": b"Subject: x\r\n",
    "empty line only": b"\r\n",
    "no header": b"\r\nbody\r\n",
    "From line": b"From me to you\r\n\r\nFrom here\r\n",
}


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
@pytest.mark.parametrize("name", ODD)
def test_odd_messages(loop_factory: LoopFactory, tmp_path: Path, name: str, command: str) -> None:
    """D-006, D-012, D-013, D-014, D-024: nothing changes but bare LF, and the last line gets its end."""
    message = ODD[name]
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        client.envelope()
        if command == "DATA":
            message = ended(message)  # by DATA nothing else can be sent
            assert codes(client.data(message)) == [b"250 2.0.0"]
        else:
            assert codes(client.bdat(message)) == [b"250 2.0.0"]
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        assert office.fetch_plain() == [on_the_wire(message)]


def test_utf8_addresses(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-017: the path is kept as it was written, and the trace says UTF8LMTP."""
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        assert client.ask("MAIL FROM:<jürgen@bücher.example> SMTPUTF8".encode()) == b"250 2.1.0 sender ok\r\n"
        assert client.ask("RCPT TO:<bob+grüße@example.org>".encode()) == b"250 2.1.5 recipient ok\r\n"
        client.data(MESSAGE)
        (path,) = office.files()
        trace, _ = split(on_the_wire(path.read_bytes()))
        assert (trace["path"], trace["final"]) == ("jürgen@bücher.example", "bob+grüße@example.org")
        assert trace["protocol"] == "UTF8LMTP"


def test_a_foreign_client(tmp_path: Path) -> None:
    """D-001, D-002: smtplib of the standard library."""
    with MailOffice(TravelLoop, tmp_path) as office:
        # Of the replies to several recipients it would read one only.
        host, port = office.mail_port()
        with smtplib.LMTP(host, port, timeout=TIMEOUT) as client:
            assert client.sendmail("a@example.net", ["bob@example.org"], MESSAGE) == {}
        assert office.fetch_plain() == [MESSAGE]


# -- UNIX sockets -----------------------------------------------------------------------------------


def test_a_unix_socket(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-021: with the mode and the group of the configuration; there is no address for the trace."""
    group = next(one.gr_gid for one in grp.getgrall() if one.gr_gid != os.getgid()) if os.getuid() == 0 else os.getgid()
    options = {"mode": 0o620, "group": group}
    with MailOffice(loop_factory, tmp_path, address=unix(tmp_path), listener_options=options) as office:
        status = (tmp_path / "lmtp").stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o620, group)
        with office.bring() as client:
            client.envelope()
            assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]
        (found,) = office.fetch()
        trace, rest = split(found)
        assert (trace["where"], rest) == ("unix socket", MESSAGE)


def test_the_socket_of_a_dead_server_is_taken(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-021: a server that was killed leaves its file behind."""
    ((_, dead),) = bind(Listener(unix(tmp_path), LMTP))
    dead.close()
    assert (tmp_path / "lmtp").is_socket()
    with MailOffice(loop_factory, tmp_path, address=unix(tmp_path)) as office, office.bring() as client:
        client.envelope()
        assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]


def test_a_second_server_is_refused(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-021: the first one goes on."""
    with MailOffice(loop_factory, tmp_path, address=unix(tmp_path)) as office:
        with pytest.raises(OSError, match="in use") as refused:
            bind(Listener(unix(tmp_path), LMTP))
        assert refused.value.errno == errno.EADDRINUSE
        with office.bring() as client:
            assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"


def test_a_server_with_a_full_queue_is_alive(tmp_path: Path) -> None:
    """D-021: asking for it must not wait in the queue itself."""
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(tmp_path / "lmtp"))
        busy.listen(0)
        client.connect(str(tmp_path / "lmtp"))
        with pytest.raises(OSError, match="in use"):
            bind(Listener(unix(tmp_path), LMTP))


def test_another_file_stays(tmp_path: Path) -> None:
    """What is no socket is nothing of ours."""
    (tmp_path / "lmtp").write_text("precious", encoding="ascii")
    with pytest.raises(OSError, match="in use"):
        bind(Listener(unix(tmp_path), LMTP))
    assert (tmp_path / "lmtp").read_text(encoding="ascii") == "precious"


# -- several recipients -----------------------------------------------------------------------------


@pytest.mark.parametrize(("final", "code"), [(False, b"452 4.2.2"), (True, b"552 5.2.2")])
def test_some_recipients(loop_factory: LoopFactory, tmp_path: Path, final: bool, code: bytes) -> None:
    """D-004, D-010: who is unknown or over quota is refused at RCPT; the others have a reply each."""
    with MailOffice(loop_factory, tmp_path, quota=Quota(0, 1), desk={"full_is_final": final}) as office:
        office.deliver(b"x", user="full")
        with office.bring() as client:
            recipients = (b"nobody@example.org", b"full@example.org", b"bob@example.org")
            assert codes(client.envelope(*recipients)) == [b"550 5.1.1", code, b"250 2.1.5"]
            assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]
            assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        assert office.fetch_plain() == [MESSAGE]
        assert len(office.files("full")) == 1


@pytest.mark.parametrize(("final", "code"), [(False, b"452 4.2.2"), (True, b"552 5.2.2")])
def test_full_at_the_end(loop_factory: LoopFactory, tmp_path: Path, final: bool, code: bytes) -> None:
    """D-004, D-010: what RCPT could not know the reply after the dot tells; the other recipients have it."""
    message = b"Subject: x\r\n\r\n" + b"y" * 3000 + b"\r\n"
    with MailOffice(loop_factory, tmp_path, quota=Quota(100_000, 0), desk={"full_is_final": final}) as office:
        office.deliver(b"x" * 99_000, user="full")
        with office.bring() as client:
            recipients = (b"bob@example.org", b"full@example.org", b"alice@example.org")
            assert codes(client.envelope(*recipients)) == [b"250 2.1.5"] * 3
            assert codes(client.data(message, 3)) == [b"250 2.0.0", code, b"250 2.0.0"]
        assert office.fetch_plain(b"bob") == office.fetch_plain(b"alice") == [message]
        assert len(office.files("full")) == 1
        assert office.left_over() == []


def test_size_is_looked_at_before(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-010, D-016: what MAIL says of the size RCPT asks the maildrop about."""
    with MailOffice(loop_factory, tmp_path, quota=Quota(100_000, 0)) as office:
        office.deliver(b"x" * 99_000, user="full")
        with office.bring() as client:
            client.ask(b"MAIL FROM:<a@example.net> SIZE=3000")
            assert codes([client.ask(b"RCPT TO:<full@example.org>")]) == [b"452 4.2.2"]
            assert codes([client.ask(b"RCPT TO:<bob@example.org>")]) == [b"250 2.1.5"]


def test_the_same_recipient_twice(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-004: two replies, one copy."""
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        client.envelope(b"bob@example.org", b"bob@example.org", b"Bob@Example.ORG")
        replies = client.data(MESSAGE, 3)
        assert codes(replies) == [b"250 2.0.0"] * 3
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        (found,) = office.fetch()
        trace, rest = split(found)
        assert (trace["recipient"], rest) == ("bob@example.org", MESSAGE)  # as it was written first


def test_a_reply_comes_when_the_copy_is_there(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-004: and as soon as it is, whoever else still waits."""
    gate = Latch()
    store = GatedStore(f"{tmp_path}/mail/{{user}}", alice_commit=gate)
    with MailOffice(loop_factory, tmp_path, store=store) as office, office.bring() as client:
        client.envelope(b"bob@example.org", b"alice@example.org")
        assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]
        assert len(office.files("bob")) == 1
        assert gate.reached.wait(TIMEOUT)
        assert office.files("alice") == []
        gate.open()
        assert codes(client.replies(1)) == [b"250 2.0.0"]
        assert len(office.files("alice")) == 1


def test_a_reply_is_not_early(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-004: while the store has not got it, nothing is said."""
    gate = Latch()
    store = GatedStore(f"{tmp_path}/mail/{{user}}", commit=gate)
    with MailOffice(loop_factory, tmp_path, store=store) as office, office.bring() as client:
        client.envelope()
        assert client.ask(b"DATA").startswith(b"354 ")
        client.send(stuffed(MESSAGE) + b"NOOP\r\n")
        assert gate.reached.wait(TIMEOUT)
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        assert office.files() == []
        client.socket.settimeout(TIMEOUT)
        gate.open()
        assert codes(client.replies(2)) == [b"250 2.0.0"] * 2
        assert len(office.files()) == 1


class Defective(GatedStore):
    """A store that somebody has written carelessly."""

    def begin_delivery(self, folder: object, base: object) -> None:  # type: ignore[override]
        if str(folder.path).endswith("alice"):  # type: ignore[attr-defined]
            raise ZeroDivisionError
        return super().begin_delivery(folder, base)  # type: ignore[arg-type,return-value]


def test_a_defect_is_one_recipients_trouble(
    loop_factory: LoopFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """D-004, D-020: who has the message is told so, or they would have it twice."""
    store = Defective(f"{tmp_path}/mail/{{user}}")
    with MailOffice(loop_factory, tmp_path, store=store) as office, office.bring() as client:
        client.envelope(b"bob@example.org", b"alice@example.org", b"full@example.org")
        assert codes(client.data(MESSAGE, 3)) == [b"250 2.0.0", b"451 4.3.0", b"250 2.0.0"]
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        assert (len(office.files("bob")), office.files("alice"), len(office.files("full"))) == (1, [], 1)
    assert "ZeroDivisionError" in caplog.text


# -- pipelining -------------------------------------------------------------------------------------

SESSION = (
    b"LHLO client.example\r\n"
    b"MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<nobody@example.org>\r\n"
    b"RCPT TO:<alice@example.org>\r\nDATA\r\n" + stuffed(MESSAGE) + b"MAIL FROM:<b@example.net>\r\n"
    b"RCPT TO:<bob@example.org>\r\nBDAT 21\r\n"
    + MESSAGE
    + b"BDAT 5 LAST\r\n.\r\n.\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nLHLO again.example\r\nDATA\r\nQUIT\r\n"
)
REPLIES = [220, 250, 250, 250, 550, 250, 354, 250, 250, 250, 250, 250, 250, 250, 250, 250, 503, 221]


def session_codes(answer: bytes) -> list[int]:
    return [int(line[:3]) for line in answer.split(b"\r\n") if line[3:4] == b" "]


@pytest.mark.parametrize("step", [len(SESSION), 1, 7])
def test_a_session_in_any_pieces(loop_factory: LoopFactory, tmp_path: Path, step: int) -> None:
    """D-007, D-009, D-012: replies in order, two messages; D-008: LHLO gives up what is under way."""
    with MailOffice(loop_factory, tmp_path) as office, office.connect_mail() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(SESSION), step):
            client.send(SESSION[start : start + step])
        answer = client.rest()
        assert session_codes(answer) == REPLIES
        office.wait_until_empty()
        assert office.fetch_plain(b"bob") == [MESSAGE, on_the_wire(MESSAGE + b".\r\n.\n")]
        assert office.fetch_plain(b"alice") == [MESSAGE]


def test_everything_sent_is_answered(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-021: a client that has closed its side without QUIT has its replies all the same."""
    with MailOffice(loop_factory, tmp_path) as office, office.connect_mail() as client:
        client.send(SESSION.removesuffix(b"QUIT\r\n"))
        client.socket.shutdown(socket.SHUT_WR)
        assert session_codes(client.rest()) == REPLIES[:-1]
        assert len(office.fetch()) == 2


# -- TLS --------------------------------------------------------------------------------------------


def test_starttls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-023, D-005: what was said before is forgotten, and the trace tells of TLS."""
    door = Door("starttls", protocol="lmtp")
    with MailOffice(loop_factory, tmp_path, door, certificates=certificates()) as office:
        with office.connect_mail() as client:
            assert b"250 STARTTLS\r\n" in client.hello()
            client.envelope()
            assert client.ask(b"STARTTLS") == b"220 2.0.0 ready for TLS\r\n"
            cipher = secure(client).cipher()
            assert client.ask(b"DATA") == b"503 5.5.1 first MAIL and RCPT\r\n"
            assert client.ask(b"MAIL FROM:<>").startswith(b"503 5.5.1 first LHLO")
            assert b"STARTTLS" not in client.ask(b"LHLO client.example")
            assert client.ask(b"STARTTLS") == b"503 5.5.1 TLS is there already\r\n"
            client.envelope()
            assert codes(client.data(BIG)) == [b"250 2.0.0"]
        (found,) = office.fetch()
        trace, rest = split(found)
        assert cipher is not None
        assert (trace["protocol"], trace["cipher"]) == ("LMTPS", cipher[0])
        assert rest == BIG


def test_nothing_in_the_clear_gets_into_tls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-023: what comes with STARTTLS is taken for the handshake, which it is not."""
    door = Door("starttls", protocol="lmtp")
    injected = b"LHLO evil.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" + stuffed(MESSAGE)
    with MailOffice(loop_factory, tmp_path, door, certificates=certificates()) as office:
        with office.connect_mail() as client:
            client.hello()
            client.send(b"STARTTLS\r\n" + injected)
            assert client.reply() == b"220 2.0.0 ready for TLS\r\n"
            answer = client.rest()
            assert b"250" not in answer
            assert b"\r\n354" not in b"\r\n" + answer
        office.wait_until_empty()
        assert office.files() == []


def test_implicit_tls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-005."""
    door = Door("implicit", protocol="lmtp")
    with MailOffice(loop_factory, tmp_path, door, certificates=certificates()) as office:
        with office.connect_mail() as client:
            secure(client)
            assert b"STARTTLS" not in client.hello()
            client.envelope()
            assert codes(client.bdat(MESSAGE)) == [b"250 2.0.0"]
        trace, rest = split(office.fetch()[0])
        assert trace["protocol"] == "LMTPS"
        assert trace["cipher"]
        assert rest == MESSAGE


# -- who may ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "welcome"),
    [("127.0.0.9", True), ("192.0.2.17", True), ("198.51.100.1", False), ("192.0.3.1", False)],
)
def test_not_from_anywhere(loop_factory: LoopFactory, tmp_path: Path, host: str, welcome: bool) -> None:
    """D-021: LMTP asks nobody who they are; a proxy tells where they come from."""
    door = Door(
        protocol="lmtp",
        networks=(ipaddress.IPv4Network("192.0.2.0/24"),),
        proxy_networks=(ipaddress.IPv4Network("127.0.0.0/8"),),
    )
    with MailOffice(loop_factory, tmp_path, door) as office, office.connect_mail() as client:
        client.send(f"PROXY TCP4 {host} 127.0.0.1 1 24\r\n".encode() + b"LHLO x\r\nQUIT\r\n")
        answer = client.rest()
        if welcome:
            assert answer.startswith(b"220 mail.example.org LMTP ")
        else:
            assert answer == b"554 5.7.1 mail is taken from other addresses only\r\n"


# -- clients that leave or stall --------------------------------------------------------------------


@pytest.mark.parametrize("leave", [MailClient.close, MailClient.reset])
@pytest.mark.parametrize("command", [b"DATA\r\n", b"BDAT 100000000\r\n"])
def test_a_client_that_leaves(
    loop_factory: LoopFactory, tmp_path: Path, leave: Callable[[MailClient], None], command: bytes
) -> None:
    """D-004: of what was not complete nothing is left."""
    with MailOffice(loop_factory, tmp_path) as office:
        client = office.bring()
        client.envelope(b"bob@example.org", b"alice@example.org")
        client.send(command + BIG)
        office.call(until(lambda: len(office.left_over()) == 2))
        leave(client)
        office.wait_until_empty()
        assert office.left_over() == office.files("bob") == office.files("alice") == []
        assert office.fetch() == []


def test_a_client_that_leaves_after_the_dot(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-020: it is delivered, as the client may have seen the reply."""
    gate = Latch()
    store = GatedStore(f"{tmp_path}/mail/{{user}}", commit=gate)
    with MailOffice(loop_factory, tmp_path, store=store) as office:
        client = office.bring()
        client.envelope()
        client.send(b"DATA\r\n" + stuffed(MESSAGE))
        assert gate.reached.wait(TIMEOUT)
        client.reset()
        gate.open()
        office.wait_until_empty()
        assert office.fetch_plain() == [MESSAGE]


@pytest.mark.parametrize("begun", [b"DATA\r\n" + BIG, b"BDAT 1000000\r\n" + BIG])
def test_a_client_that_stalls(tmp_path: Path, begun: bytes) -> None:
    """D-018, P-139: every piece of a message is a sign of life; without one the client is told, and nothing is left."""
    with MailOffice(TravelLoop, tmp_path) as office, office.bring() as client:
        client.envelope()
        client.send(begun)
        office.call(until(lambda: office.received() > len(BIG) - 5))  # the last octets could be those of an end
        assert len(office.left_over()) == 1
        office.travel(599)
        before = office.session().commands
        client.send(b"x")
        office.call(until(lambda: office.session().commands > before))
        office.travel(599)
        assert len(office.server.connections) == 1
        office.travel(2)
        assert client.rest().endswith(SILENT)
        office.wait_until_empty()
        assert office.left_over() == office.files() == []


def test_a_client_that_says_nothing(tmp_path: Path) -> None:
    """D-018: half a command is no sign of life."""
    with MailOffice(TravelLoop, tmp_path) as office, office.bring() as client:
        client.envelope()
        office.travel(400)
        client.send(b"NOO")
        office.call(until(lambda: office.session().input_octets == 3))
        office.travel(201)
        assert client.rest() == SILENT


# -- the server stops -------------------------------------------------------------------------------


def test_stop(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-294, D-004: what is complete is delivered and answered, the rest gets 421, and nothing is left of it."""
    gate = Latch()
    store = GatedStore(f"{tmp_path}/mail/{{user}}", bob_commit=gate)
    with (
        MailOffice(loop_factory, tmp_path, store=store) as office,
        office.bring() as idle,
        office.bring() as complete,
        office.bring() as half,
        office.bring() as asked,
    ):
        complete.envelope()
        complete.send(b"DATA\r\n" + stuffed(MESSAGE) + b"MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n.\r\n")
        half.envelope(b"alice@example.org")
        half.send(b"DATA\r\n" + BIG)
        asked.envelope()
        assert gate.reached.wait(TIMEOUT)
        office.call(until(lambda: len(office.left_over()) == 1))
        stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
        assert idle.rest() == asked.rest() == STOPPED
        assert half.rest() == b"354 go ahead; a line with a dot alone ends the message\r\n" + STOPPED
        gate.open()
        answers = complete.rest().splitlines(keepends=True)
        stopping.result(TIMEOUT)
        assert codes(answers[1:2]) == [b"250 2.0.0"]
        assert answers[-1] == STOPPED
        assert not any(line.startswith(b"354") for line in answers[1:])  # the next message is not begun
        assert len(office.files("bob")) == 1
        assert office.left_over() == office.files("alice") == []


def test_stop_while_the_end_waits(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-294: the final dot has come, but the store is still busy with what came before it."""
    gate = Latch()
    store = GatedStore(f"{tmp_path}/mail/{{user}}", write=gate)
    with MailOffice(loop_factory, tmp_path, store=store) as office, office.bring() as client:
        client.envelope()
        client.ask(b"DATA")
        message = b"Subject: x\r\n\r\n" + b"x" * 530_000 + b"\r\n"
        client.send(stuffed(message)[:-3])
        assert gate.reached.wait(TIMEOUT)
        client.send(b".\r\n")
        office.call(until(lambda: office.session()._lines.peek(100_000).endswith(b".\r\n")))
        stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
        office.call(until(lambda: office.server.stopping))
        gate.open()
        stopping.result(TIMEOUT)
        answers = client.rest().splitlines(keepends=True)
        assert codes(answers[:1]) == [b"250 2.0.0"]
        assert answers[1:] == [STOPPED]
        assert len(office.files()) == 1


def test_stop_lets_a_message_end(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-294: during the grace; a further one is not begun."""
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        client.envelope()
        client.ask(b"DATA")
        stopping = asyncio.run_coroutine_threadsafe(office.server.stop(10 * TIMEOUT), office.loop)
        office.call(until(lambda: office.server.stopping))
        client.send(stuffed(MESSAGE))
        assert codes(client.replies(1)) == [b"250 2.0.0"]
        assert client.rest() == STOPPED
        stopping.result(TIMEOUT)
        assert len(office.files()) == 1


# -- limits -----------------------------------------------------------------------------------------


def test_too_many_connections(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-286."""
    limits = Limits(connections_per_address=1, linger=QUICK.linger)
    with MailOffice(loop_factory, tmp_path, limits=limits) as office, office.bring() as client:
        with office.connect_mail() as other:
            assert other.rest() == b"421 4.3.2 too many connections; please try again later\r\n"
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"


def test_strangers_at_pop3_do_not_keep_mail_out(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-286: nor does LMTP take a place of those who log in."""
    limits = Limits(connections_before_login=1, linger=QUICK.linger)
    with MailOffice(loop_factory, tmp_path, limits=limits) as office, office.bring(), office.connect() as stranger:
        assert stranger.line().startswith(b"+OK ")
        with office.bring() as client:
            client.envelope()
            assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]


def test_who_brings_mail_gives_no_way(tmp_path: Path) -> None:
    """P-138, P-286: a mail server may keep its connection, however many strangers call."""
    limits = Limits(connections_before_login=1, linger=QUICK.linger)
    with (
        MailOffice(TravelLoop, tmp_path, limits=limits) as office,
        office.bring() as client,
        office.connect() as stranger,
    ):
        stranger.line()
        office.travel(100)
        assert stranger.ask(b"CAPA").startswith(b"+OK ")
        with office.connect() as other:
            assert other.rest().startswith(b"-ERR [SYS/TEMP] too many connections")
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"


def test_twenty_bad_commands(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-025: whoever goes on like that is no mail server."""
    with MailOffice(loop_factory, tmp_path) as office, office.bring() as client:
        client.send(b"FOO\r\n" * 30)
        *answers, last = client.rest().splitlines()
        assert [answer[:9] for answer in answers] == [b"500 5.5.1"] * 20
        assert last == b"421 4.7.0 too many errors; goodbye"


def test_a_message_that_is_too_large(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-016: it is read to its end, and nothing of it is kept."""
    with MailOffice(loop_factory, tmp_path, desk={"size": 600_000}) as office, office.bring() as client:
        client.envelope(b"bob@example.org", b"alice@example.org")
        assert codes(client.data(BIG, 2)) == [b"552 5.3.4"] * 2
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        assert office.left_over() == office.files() == []
        client.envelope()
        assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]


# -- beside POP3 ------------------------------------------------------------------------------------


def test_a_session_is_a_snapshot(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-047, D-015: two hundred deliveries from four connections wait for nobody, and disturb nobody."""
    with MailOffice(loop_factory, tmp_path) as office:
        office.deliver(b"Subject: first\r\n\r\n" + b"1\r\n" * 1000, b"Subject: second\r\n\r\n2\r\n")
        with office.connect() as reader, office.bring() as a, office.bring() as b, office.bring() as c:
            reader.login()
            before = snapshot(reader)
            for number in range(50):
                for client in (a, b, c):
                    client.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n%d\r\n.\r\n" % number)
                with office.bring() as client:
                    client.envelope()
                    assert codes(client.data(b"%d\r\n" % number)) == [b"250 2.0.0"]
                if number % 10 == 0:
                    assert snapshot(reader) == before
            for client in (a, b, c):
                assert len([one for one in client.replies(4 * 50) if one.startswith(b"250 2.0.0 delivered")]) == 50
            assert snapshot(reader) == before
            reader.ask(b"DELE 1")
            assert reader.ask(b"QUIT") == b"+OK 1 messages deleted, 1 left\r\n"
        found = office.fetch()
        assert found[0].startswith(b"Subject: second")
        assert sorted(split(one)[1] for one in found[1:]) == sorted([b"%d\r\n" % number for number in range(50)] * 4)


def snapshot(client: object) -> list[object]:
    """Return all that a session shows of its maildrop."""
    assert hasattr(client, "ask")
    assert hasattr(client, "lines")
    shown: list[object] = [client.ask(b"STAT")]
    for command in (b"LIST", b"UIDL", b"RETR 1", b"RETR 2"):
        shown += [client.ask(command), client.lines()]
    return [*shown, client.ask(b"RETR 3")]
