"""SMTP through real sockets into real Maildirs, and out again by POP3."""

import asyncio
import smtplib
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.server.service import Door, Limits
from restante.stores.maildir.quota import Limits as Quota
from tests.cli.program import Running, post_office, running
from tests.interop.catalogue import once
from tests.server.mail_client import MESSAGE, SMTP, GatedStore, MailClient, MailOffice, codes, split, stuffed
from tests.server.office import QUICK, TIMEOUT, LoopFactory, TravelLoop, until
from tests.server.test_sessions import Latch
from tests.server.tls import certificates, client_context, secure

BOB, ALICE, FULL = b"bob@example.org", b"alice@example.org", b"full@example.org"
NOT_ALL = b"451 4.3.0 not all recipients can have it at the moment, so none has; try again later\r\n"
BUSY = b"421 4.3.2 too many connections; please try again later\r\n"


# -- to whom ----------------------------------------------------------------------------------------


def test_recipients(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-010, D-022: for the domains that are ours, and for nobody else; postmaster needs none."""
    with MailOffice(loop_factory, tmp_path, SMTP) as office, office.bring() as client:
        recipients = (
            b"bob@example.com",
            b"nobody@example.org",
            b"postmaster",
            BOB,
            b"bob@[127.0.0.1]",
            b"bob@[192.0.2.1]",
        )
        assert client.envelope(*recipients) == [
            b"550 5.7.1 that domain is not ours, and nothing is relayed\r\n",
            b"550 5.1.1 no such user here\r\n",
            b"250 2.1.5 recipient ok\r\n",
            b"250 2.1.5 recipient ok\r\n",
            b"250 2.1.5 recipient ok\r\n",
            b"550 5.7.1 that domain is not ours, and nothing is relayed\r\n",
        ]


def test_whose_domains(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-010: a stranger does not know them, whatever the configuration leaves out."""
    with MailOffice(loop_factory, tmp_path, SMTP, domains=frozenset()) as office, office.bring() as client:
        assert codes(client.envelope(b"bob@example.com", b"bob@mail.example.org")) == [b"550 5.7.1", b"250 2.1.5"]


def test_one_reply_for_all(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-022, D-005: each has a copy that names nobody else."""
    with MailOffice(loop_factory, tmp_path, SMTP) as office, office.bring() as client:
        client.envelope(BOB, ALICE, BOB)
        assert codes(client.data(b".\r\n" + MESSAGE)) == [b"250 2.0.0"]
        assert client.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        for user in (b"bob", b"alice"):
            (found,) = office.fetch(user)
            trace, rest = split(found)
            assert trace["final"] == trace["recipient"] == f"{user.decode()}@example.org"
            assert (trace["protocol"], trace["where"], trace["cipher"]) == ("ESMTP", "[127.0.0.1]", "")
            assert rest == b".\r\n" + MESSAGE


def test_helo(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-022: who says HELO has brought it with SMTP."""
    with MailOffice(loop_factory, tmp_path, SMTP) as office, office.connect_mail() as client:
        assert client.hello(b"HELO") == b"250 mail.example.org\r\n"
        client.envelope()
        client.data(MESSAGE)
        assert split(office.fetch()[0])[0]["protocol"] == "SMTP"


# -- all or none ------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["later", "refuse"])
def nearly_full(loop_factory: LoopFactory, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MailOffice]:
    """A server that has little room for the user full, whether that is final or not."""
    desk = {"full_is_final": request.param}
    with MailOffice(loop_factory, tmp_path, SMTP, quota=Quota(100_000, 0), desk=desk) as office:
        office.deliver(b"x" * 99_000, user="full")
        yield office


def test_all_or_none(nearly_full: MailOffice) -> None:
    """D-022: the second recipient's maildrop proves full at the end, so nobody has the message; it may come again."""
    message = b"Subject: x\r\n\r\n" + b"y" * 3000 + b"\r\n"
    with nearly_full.bring() as client:
        assert codes(client.envelope(BOB, FULL, ALICE)) == [b"250 2.1.5"] * 3
        assert client.data(message) == [NOT_ALL]
        assert nearly_full.files("bob") == nearly_full.files("alice") == nearly_full.left_over() == []
        assert len(nearly_full.files("full")) == 1
        client.envelope(BOB, ALICE)
        assert codes(client.data(message)) == [b"250 2.0.0"]
        assert nearly_full.fetch_plain(b"bob") == nearly_full.fetch_plain(b"alice") == [message]


def test_all_or_none_of_a_big_message(nearly_full: MailOffice) -> None:
    """D-022: the same when parts of it have been written long before."""
    with nearly_full.bring() as client:
        client.envelope(BOB, FULL)
        assert client.data(b"Subject: x\r\n\r\n" + b"y" * 99_000 + b"\r\n") == [NOT_ALL]
        client.envelope(BOB, ALICE)
        assert codes(client.bdat(b"Subject: x\r\n\r\n" + b"y" * 400_000)) in (
            [b"452 4.2.2"],
            [b"552 5.2.2"],
            [b"451 4.3.0"],
        )
        assert nearly_full.files("bob") == nearly_full.left_over() == []


def test_one_recipient_is_told_why(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-010, D-022."""
    with MailOffice(loop_factory, tmp_path, SMTP, quota=Quota(1000, 0)) as office, office.bring() as client:
        client.envelope()
        assert codes(client.data(b"x" * 1000)) == [b"452 4.2.2"]


# -- line ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\n.\r"])
def test_no_smuggling(loop_factory: LoopFactory, tmp_path: Path, end: bytes) -> None:
    """D-006: what some take for the end of a message is none, and what follows it no command."""
    smuggled = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" + stuffed(MESSAGE)
    with MailOffice(loop_factory, tmp_path, SMTP) as office, office.bring() as client:
        client.envelope()
        client.ask(b"DATA")
        client.send(b"Subject: x\r\n\r\nhello" + end + smuggled + b"QUIT\r\n")
        (answer, bye) = client.rest().splitlines()
        assert answer == b"550 5.6.11 lines end in CRLF; this message has a bare CR or LF"
        assert bye.startswith(b"221 ")
        assert office.files("bob") == office.files("alice") == office.left_over() == []


# -- TLS --------------------------------------------------------------------------------------------


def test_starttls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-023, D-005: a foreign client; the trace names the cipher."""
    door = Door("starttls", protocol="smtp")
    with MailOffice(loop_factory, tmp_path, door, certificates=certificates()) as office:
        host, port = office.mail_port()
        with smtplib.SMTP(host, port, timeout=TIMEOUT) as client:
            client._host = "mail.example.org"  # type: ignore[attr-defined]  # which its certificate is for
            client.starttls(context=client_context())
            assert isinstance(client.sock, ssl.SSLSocket)
            cipher = client.sock.cipher()
            assert client.sendmail("a@example.net", ["bob@example.org", "alice@example.org"], MESSAGE) == {}
        for user in (b"bob", b"alice"):
            trace, rest = split(office.fetch(user)[0])
            assert cipher is not None
            assert (trace["protocol"], trace["cipher"], rest) == ("ESMTPS", cipher[0], MESSAGE)


def test_nothing_in_the_clear_gets_into_tls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-023: commands behind STARTTLS are no handshake, and are never answered."""
    door = Door("starttls", protocol="smtp")
    with MailOffice(loop_factory, tmp_path, door, certificates=certificates()) as office, office.bring() as client:
        client.send(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<>\r\n")
        assert client.reply() == b"220 2.0.0 ready for TLS\r\n"
        assert b"250" not in client.rest()


def test_implicit_tls(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-005, D-022."""
    door = Door("implicit", protocol="smtp")
    with MailOffice(loop_factory, tmp_path, door, certificates=certificates()) as office:
        with office.connect_mail() as client:
            secure(client)
            client.hello(b"EHLO")
            client.envelope()
            assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]
        trace, _ = split(office.fetch()[0])
        assert trace["protocol"] == "ESMTPS"
        assert trace["cipher"]


# -- strangers --------------------------------------------------------------------------------------


def test_a_browser(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-238: a page must not be able to send mail from a visitor's machine."""
    with MailOffice(loop_factory, tmp_path, SMTP) as office, office.connect_mail() as client:
        mail = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" + stuffed(MESSAGE)
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n" + mail)
        assert b"250" not in client.rest()
        office.wait_until_empty()
        assert office.files() == []


def test_trying_out_names(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-010, P-025: not for ever."""
    with MailOffice(loop_factory, tmp_path, SMTP) as office, office.bring() as client:
        client.send(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<x%d@example.org>\r\n" % number for number in range(50)))
        answers = client.rest().splitlines(keepends=True)
        assert codes(answers) == [b"250 2.1.0"] + [b"550 5.1.1"] * 20 + [b"421 4.7.0"]


def test_too_many_connections(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-286."""
    limits = Limits(connections=1, linger=QUICK.linger)
    with (
        MailOffice(loop_factory, tmp_path, SMTP, limits=limits) as office,
        office.bring(),
        office.connect_mail() as other,
    ):
        assert other.rest() == BUSY


def test_the_silent_give_way(tmp_path: Path) -> None:
    """P-138, P-286: strangers who say nothing keep no others out; nothing is left of what they had begun."""
    limits = Limits(connections_before_login=2, linger=QUICK.linger)
    with MailOffice(TravelLoop, tmp_path, SMTP, limits=limits) as office, office.bring() as quiet:
        quiet.envelope()
        quiet.send(b"DATA\r\n" + b"x" * 600_000)
        office.call(until(lambda: office.received() == 600_000))
        assert len(office.left_over()) == 1
        with office.connect() as reader:
            assert reader.line().startswith(b"+OK ")
            office.travel(59)
            with office.connect_mail() as other:
                assert other.rest() == BUSY
            assert reader.ask(b"CAPA").startswith(b"+OK ")
            office.travel(2)
            with office.bring() as client:
                client.envelope(ALICE)
                assert codes(client.data(MESSAGE)) == [b"250 2.0.0"]
        office.call(until(lambda: office.left_over() == []))


def test_a_client_that_stalls(tmp_path: Path) -> None:
    """D-018."""
    with MailOffice(TravelLoop, tmp_path, SMTP) as office, office.bring() as client:
        office.travel(601)
        assert client.rest() == b"421 4.4.2 nothing has come for too long; goodbye\r\n"


# -- the end ----------------------------------------------------------------------------------------


def test_stop(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """P-294, D-020: what is complete is delivered to all and answered."""
    gate = Latch()
    store = GatedStore(f"{tmp_path}/mail/{{user}}", prepare=gate)
    with MailOffice(loop_factory, tmp_path, SMTP, store=store) as office, office.bring() as client:
        client.envelope(BOB, ALICE)
        client.ask(b"DATA")
        client.send(stuffed(MESSAGE))
        assert gate.reached.wait(TIMEOUT)
        stopping = asyncio.run_coroutine_threadsafe(office.server.stop(0), office.loop)
        office.call(until(lambda: office.server.stopping))
        gate.open()
        stopping.result(TIMEOUT)
        delivered, stopped = client.rest().splitlines(keepends=True)
        assert codes([delivered]) == [b"250 2.0.0"]
        assert stopped == b"421 4.3.2 the server stops; please try again later\r\n"
        assert len(office.files("bob")) == len(office.files("alice")) == 1


def test_a_client_that_leaves(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """D-020: of what was not complete nothing is left."""
    with MailOffice(loop_factory, tmp_path, SMTP) as office:
        with office.bring() as client:
            client.envelope(BOB, ALICE)
            client.send(b"DATA\r\n" + b"x" * 600_000)
            office.call(until(lambda: len(office.left_over()) == 2))
        office.wait_until_empty()
        assert office.left_over() == office.files("bob") == office.files("alice") == []


# -- memory -----------------------------------------------------------------------------------------

HEADER = b"Subject: x\r\n\r\n"
LISTENERS = """\
[[listener]]
protocol = "lmtp"
address = "127.0.0.1:0"
[[listener]]
protocol = "smtp"
address = "127.0.0.1:0"
"""


def peak(server: Running) -> int:
    """Return the most memory that a process has had, in octets."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def next_port(server: Running, protocol: str) -> int:
    """Read the line of the next listener."""
    line = server.out.next()
    assert line is not None, server.log.rest()
    assert line.startswith(f"{protocol} on 127.0.0.1:"), line
    return int(line.split()[2].rpartition(":")[2])


@once
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory of a process")
@pytest.mark.parametrize("protocol", ["lmtp", "smtp"])
@pytest.mark.parametrize("command", ["DATA", "BDAT"])
def test_a_hundred_megabytes(tmp_path: Path, protocol: str, command: str) -> None:
    """P-277: however much comes, and however slowly the disk takes it, memory stays as it is."""
    path = post_office(tmp_path)
    with path.open("a", encoding="ascii") as file:
        file.write(LISTENERS)
    piece = (b"0123456789abcdef" * 4 + b"\r\n") * 1000
    pieces = 100_000_000 // len(piece)
    with running("serve", "-c", path) as server:
        server.ready()
        ports = {"lmtp": next_port(server, "lmtp"), "smtp": next_port(server, "smtp")}
        with MailClient(("127.0.0.1", ports[protocol])) as client:
            client.line()
            client.ask(b"LHLO x" if protocol == "lmtp" else b"EHLO x")
            client.ask(b"MAIL FROM:<>")
            client.ask(b"RCPT TO:<bob@post.example.org>")
            before = peak(server)
            size = len(HEADER) + len(piece) * pieces
            client.send(b"DATA\r\n" if command == "DATA" else b"BDAT %d LAST\r\n" % size)
            client.send(HEADER)
            for _ in range(pieces):
                client.send(piece)
            if command == "DATA":
                client.send(b".\r\n")
                assert client.reply().startswith(b"354 ")
            assert codes([client.reply()]) == [b"250 2.0.0"]
            assert peak(server) - before < 40 << 20
        (found,) = (tmp_path / "mail/bob/new").iterdir()
        assert size < int(found.name.partition(",W=")[2]) < size + 1000
