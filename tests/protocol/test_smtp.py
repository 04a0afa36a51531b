"""LMTP and SMTP octet for octet: RFC 2033, 5321, 2920, 3030, 1870, 6152, 6531, 2034, 3207."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.errors import (
    NoRoom,
    NoSuchMaildrop,
    PermanentFailure,
    QuotaExceeded,
    TemporaryFailure,
)
from restante.protocol.smtp.content import ContentWatch
from restante.protocol.smtp.events import Commit, Content, Recipient
from restante.protocol.smtp.replies import FOREIGN, LOOP, Reply, of_condition
from restante.protocol.smtp.session import MailSession
from tests.protocol.mail_driver import LMTP, OPEN, OPEN_SMTP, SMTP, Driver, codes

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def lmtp_session() -> Driver:
    driver = Driver()
    assert codes(driver.send(OPEN)) == ["250"] * 3
    return driver


# -- greetings and capabilities ---------------------------------------------------------------------


def test_lhlo_announces() -> None:
    """D-001, D-002: LHLO is like EHLO; the extensions are announced, BINARYMIME is not (D-012)."""
    assert Driver(starttls=True).send(b"LHLO client.example\r\n") == (
        b"250-mail.example.org\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250 STARTTLS\r\n"
    )


@pytest.mark.parametrize("keyword", [b"HELO", b"EHLO", b"helo"])
def test_lmtp_knows_no_helo(keyword: bytes) -> None:
    """D-001: HELO and EHLO are never positive in LMTP."""
    assert codes(Driver().send(keyword + b" client.example\r\nMAIL FROM:<>\r\n")) == ["500", "503"]


def test_smtp_knows_no_lhlo() -> None:
    """D-022."""
    driver = Driver(SMTP)
    assert codes(driver.send(b"LHLO a\r\nMAIL FROM:<>\r\nHELO a\r\nMAIL FROM:<>\r\n")) == ["500", "503", "250", "250"]


def test_helo_announces_nothing() -> None:
    """D-022: HELO has a reply of one line, and is SMTP in the trace line."""
    driver = Driver(SMTP)
    assert driver.send(b"HELO client.example\r\n") == b"250 mail.example.org\r\n"
    driver.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n.\r\n")
    assert driver.messages[0].envelope.protocol == "SMTP"


@pytest.mark.parametrize("line", [b"LHLO", b"LHLO a b", b"LHLO \xc3\xa4\x01", b"LHLO " + b"a" * 256])
def test_a_greeting_needs_a_name(line: bytes) -> None:
    """D-008: a syntax error leaves the state as it was."""
    assert codes(Driver().send(line + b"\r\n"))[0][0] == "5"


@pytest.mark.parametrize(
    "line",
    [b"NOOP", b"RSET", b"VRFY bob", b"HELP", b"XYZ", b"MAIL", b"RCPT", b"DATA", b"QUIT", b"DATA x", b"STARTTLS"],
)
def test_every_reply_has_its_status(line: bytes) -> None:
    """D-002 (RFC 2034): each line of a 2yz, 4yz or 5yz reply carries a status of the same class."""
    answer = Driver().send(b"LHLO a\r\n", line + b"\r\n").split(b"\r\n250 ENHANCEDSTATUSCODES\r\n")[1]
    first, status = answer.split()[:2]
    assert status.count(b".") == 2
    assert status[:1] == first[:1]


# -- order of commands ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"RCPT TO:<bob>\r\nDATA\r\n", ["503", "503"]),
        (b"LHLO a\r\nRCPT TO:<bob>\r\nDATA\r\n", ["250", "503", "503"]),
        (b"LHLO a\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", ["250", "250", "503"]),
        (b"LHLO a\r\nMAIL FROM:<>\r\nDATA\r\n", ["250", "250", "503"]),
        (b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<x>\r\nDATA\r\n", ["250", "250", "550", "503"]),
        (b"LHLO a\r\nMAIL FROM:<>\r\nLHLO a\r\nRCPT TO:<bob>\r\n", ["250", "250", "250", "503"]),
        (b"LHLO a\r\nMAIL FROM:<>\r\nRSET\r\nRCPT TO:<bob>\r\n", ["250", "250", "250", "503"]),
        (b"LHLO a\r\nMAIL FROM <>\r\nMAIL FROM:<>\r\n", ["250", "501", "250"]),
        (b"NOOP x\r\nVRFY bob\r\nRSET\r\nHELP\r\nQUIT\r\n", ["250", "252", "250", "214", "221"]),
        (b"RSET x\r\nQUIT x\r\nSTARTTLS x\r\nEXPN x\r\n\r\n", ["501", "501", "501", "500", "500"]),
    ],
)
def test_order_of_commands(lines: bytes, expected: list[str]) -> None:
    """D-003, D-008."""
    assert codes(Driver().send(lines)) == expected


def test_one_reply_for_each_recipient() -> None:
    """D-004: in the order of the RCPT commands, repeats included, none for who was refused."""
    driver = Driver(outcome=lambda number: Reply(250 + number, "2.0.0", str(number)))
    answer = driver.send(OPEN, b"RCPT TO:<x@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n", MESSAGE + b".\r\n")
    assert codes(answer)[3:] == ["550", "250", "354", "250", "251"]
    assert driver.messages[0].octets == MESSAGE
    assert driver.messages[0].envelope.recipients == ("bob@example.org", "bob@example.org")


def test_smtp_replies_once() -> None:
    """D-022: one reply after DATA."""
    driver = Driver(SMTP)
    answer = driver.send(OPEN_SMTP, b"RCPT TO:<alice@example.org>\r\nDATA\r\n", MESSAGE + b".\r\nQUIT\r\n")
    assert codes(answer)[3:] == ["250", "354", "250", "221"]
    assert driver.messages[0].envelope.protocol == "ESMTP"


def test_several_messages() -> None:
    """D-009: and everything in one piece, answered in order (D-007)."""
    driver = lmtp_session()
    again = b"MAIL FROM:<>\r\nRCPT TO:<bob>\r\nRCPT TO:<x>\r\nDATA\r\n\r\n.\r\nQUIT\r\n"
    answer = driver.send(b"DATA\r\n" + MESSAGE + b".\r\n" + again)
    assert codes(answer) == ["354", "250", "250", "250", "550", "354", "250", "221"]
    assert [taken.octets for taken in driver.messages] == [MESSAGE, b"\r\n"]
    assert [taken.envelope.reverse_path for taken in driver.messages] == ["a@example.org", ""]


def test_pieces_do_not_matter() -> None:
    """D-007: octet by octet, the replies and messages are the same."""
    lines = OPEN + b"DATA\r\n..a\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\nBDAT 3\r\na\r\nBDAT 2 LAST\r\nbcQUIT\r\n"
    whole, single = Driver(), Driver()
    assert whole.send(lines) == single.send(*(lines[i : i + 1] for i in range(len(lines))))
    assert [taken.octets for taken in whole.messages] == [taken.octets for taken in single.messages]
    assert [taken.octets for taken in whole.messages] == [b".a\r\n", b"a\r\nbc"]


# -- DATA -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\n\r\n.\r\r\n"])
def test_only_crlf_dot_crlf_ends(end: bytes) -> None:
    """D-006: SMTP smuggling (CVE-2023-51764 and its kin)."""
    driver = lmtp_session()
    smuggled = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob>\r\nDATA\r\n"
    assert codes(driver.send(b"DATA\r\na", end + smuggled)) == ["354"]
    assert codes(driver.send(b"\r\n.\r\n")) == ["250"]
    assert len(driver.messages) == 1
    assert driver.messages[0].octets == (b"a" + end + smuggled + b"\r\n").replace(b"\r\n.\r", b"\r\n\r").replace(
        b"\r\n.\n", b"\r\n\n"
    )


def test_dots_are_undone() -> None:
    """D-013, D-014: on each line, the first included; a dot elsewhere stays."""
    driver = lmtp_session()
    driver.send(b"DATA\r\n..first\r\n...two\r\na.b\r\n..\r\n.\r\n")
    assert driver.messages[0].octets == b".first\r\n..two\r\na.b\r\n.\r\n"


def test_an_empty_message() -> None:
    """D-013."""
    driver = lmtp_session()
    assert codes(driver.send(b"DATA\r\n.\r\n")) == ["354", "250"]
    assert driver.messages[0].octets == b""


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n."]), max_size=30), st.integers(1, 7))
def test_lmtp_keeps_every_octet(parts: list[bytes], size: int) -> None:
    """D-024: byte-stuffed by the client, undone by us, whatever the pieces."""
    text = b"".join(parts) + b"\r\n"
    stuffed = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
    driver = lmtp_session()
    driver.send(b"DATA\r\n", *(stuffed[i : i + size] for i in range(0, len(stuffed), size)))
    assert (driver.messages[0].octets, driver.messages[0].outcome) == (text, "committed")


@pytest.mark.parametrize("pieces", [[b"a\nb\r\n"], [b"a\rb\r\n"], [b"a\r", b"b\r\n"], [b"\n\r\n"], [b"a\r\r\n"]])
def test_smtp_refuses_bare_line_ends(pieces: list[bytes]) -> None:
    """D-006: over SMTP, where they can only be somebody's trick or mistake; after the message is read to its end."""
    driver = Driver(SMTP)
    answer = driver.send(OPEN_SMTP + b"DATA\r\n", *pieces, b".\r\n", b"NOOP\r\n")
    assert codes(answer)[3:] == ["354", "550", "250"]
    assert b"550 5.6.11 " in answer
    assert driver.messages[0].outcome == "discarded"


def test_smtp_takes_line_ends_in_two_pieces() -> None:
    """D-006: CR and LF of one line end may come apart."""
    driver = Driver(SMTP)
    assert codes(driver.send(OPEN_SMTP + b"DATA\r\n", b"a\r", b"\nb\r", b"\n.\r", b"\n"))[3:] == ["354", "250"]


def test_smtp_refuses_a_cr_at_the_very_end() -> None:
    """D-006: by BDAT a message can end anywhere."""
    driver = Driver(SMTP)
    assert codes(driver.send(OPEN_SMTP + b"BDAT 2 LAST\r\na\r"))[3:] == ["550"]


# -- BDAT -------------------------------------------------------------------------------------------


def test_chunks() -> None:
    """D-012: exactly the octets of each chunk, every chunk answered, no dots undone; BDAT 0 LAST is legal."""
    driver = lmtp_session()
    answer = driver.send(b"BDAT 9\r\n..\r\n.\r\nQUBDAT 0\r\nbdat 5\r\nIT\r\n.", b"BDAT 0 LAST\r\n")
    assert codes(answer) == ["250", "250", "250", "250"]
    assert driver.messages[0].octets == b"..\r\n.\r\nQUIT\r\n."
    assert driver.messages[0].outcome == "committed"


def test_no_data_between_chunks() -> None:
    """D-012: DATA after BDAT 503, BDAT after the last one 503 too; RCPT is too late."""
    driver = lmtp_session()
    answer = driver.send(b"BDAT 1\r\naDATA\r\nRCPT TO:<bob>\r\nBDAT 1 LAST\r\nbBDAT 1 LAST\r\nc")
    assert codes(answer) == ["250", "503", "503", "250", "503"]


def test_a_chunk_without_mail_is_thrown_away() -> None:
    """D-012: its octets are no commands."""
    driver = Driver()
    assert codes(driver.send(b"LHLO a\r\nBDAT 6\r\nQUI", b"T\r\nNOOP\r\n")) == ["250", "503", "250"]


def test_the_last_chunk_for_nobody() -> None:
    """D-004 (RFC 2033 section 4.3): a reply for each recipient, and there is none; SMTP has one all the same."""
    driver = Driver()
    answer = driver.send(b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<x>\r\nBDAT 1\r\naBDAT 1 LAST\r\naMAIL FROM:<>\r\n")
    assert codes(answer) == ["250", "250", "550", "503", "250"]
    answer = Driver(SMTP).send(b"EHLO a\r\nMAIL FROM:<>\r\nBDAT 1 LAST\r\naMAIL FROM:<>\r\n")
    assert codes(answer) == ["250", "250", "503", "503"]


def test_rset_gives_chunks_up() -> None:
    """D-008, D-012."""
    driver = lmtp_session()
    assert codes(driver.send(b"BDAT 1\r\naRSET\r\nRSET\r\nMAIL FROM:<>\r\n")) == ["250"] * 4
    assert driver.messages[0].outcome == "discarded"


@pytest.mark.parametrize("line", [b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 1 FIRST"])
def test_a_chunk_needs_its_number(line: bytes) -> None:
    """D-012: where it is not known how much follows, a message would be taken for commands: the session ends."""
    driver = lmtp_session()
    assert codes(driver.send(line + b"\r\nQUIT\r\n")) == ["421"]
    assert driver.session.closed


# -- sizes ------------------------------------------------------------------------------------------

SMALL = dataclasses.replace(LMTP, size=100)


def test_size_is_announced_and_kept() -> None:
    """D-016: too much by MAIL is refused at once, before anything is sent."""
    driver = Driver(SMALL)
    answer = driver.send(b"LHLO a\r\nMAIL FROM:<> SIZE=101\r\nMAIL FROM:<> SIZE=100\r\nRCPT TO:<bob>\r\n")
    assert b"\r\n250-SIZE 100\r\n" in answer
    assert codes(answer) == ["250", "552", "250", "250"]
    assert driver.asked[0].octets == 100


def test_a_message_that_is_too_large_is_read_to_its_end() -> None:
    """D-016: counted with CRLF and without doubled dots; then 552 for each recipient."""
    driver = Driver(SMALL)
    driver.send(OPEN)
    answer = driver.send(b"RCPT TO:<bob>\r\nDATA\r\n", b"..234567\r\n" * 11, b"a" * 5000, b"\r\n.\r\nNOOP\r\n")
    assert codes(answer) == ["250", "354", "552", "552", "250"]
    assert driver.messages[0].outcome == "discarded"
    driver.send(b"MAIL FROM:<>\r\nRCPT TO:<bob>\r\n")
    assert codes(driver.send(b"DATA\r\n", b"..23456789\r\n" * 9 + b"\r\n.\r\n")) == ["354", "552"]
    driver.send(b"MAIL FROM:<>\r\nRCPT TO:<bob>\r\n")
    assert codes(driver.send(b"DATA\r\n", b"..234567\r\n" * 11 + b".\r\n")) == ["354", "250"]


def test_a_chunk_that_is_too_large() -> None:
    """D-012, D-016: refused where it is found; then only RSET helps."""
    driver = Driver(SMALL)
    driver.send(OPEN)
    answer = driver.send(b"BDAT 60\r\n", b"a" * 60, b"BDAT 60\r\n", b"a" * 59, b"aBDAT 1\r\nbBDAT 1 LAST\r\nbRSET\r\n")
    assert codes(answer) == ["250", "552", "503", "503", "250"]
    assert driver.messages[0].outcome == "discarded"


def test_a_header_over_one_mebibyte() -> None:
    """D-024: it would have to be held in memory."""
    line = b"X: " + b"a" * 65531 + b"\r\n"
    driver = lmtp_session()
    assert codes(driver.send(b"DATA\r\n", *([line] * 17), b"\r\n.\r\n")) == ["354", "554"]
    watch = ContentWatch(0, strict=False)
    watch.feed(line * 17 + b"\r\n")
    assert watch.refusal is not None
    watch = ContentWatch(0, strict=False)
    watch.feed(line * 15 + b"\r\n" + b"a" * 200_000)
    assert watch.refusal is None


# -- addresses and parameters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "local", "domain", "text"),
    [
        ("<bob@example.org>", "bob", "example.org", "bob@example.org"),
        ("<bob>", "bob", "", "bob"),
        ("<Postmaster>", "Postmaster", "", "Postmaster"),
        ("<@a.example,@b.example:bob@example.org>", "bob", "example.org", "bob@example.org"),
        ('<"john doe"@example.org>', "john doe", "example.org", '"john doe"@example.org'),
        (r'<"a\"b>c\\"@example.org>', r'a"b>c' + "\\", "example.org", r'"a\"b>c\\"@example.org'),
        ("<bob+x=y/z@[127.0.0.1]>", "bob+x=y/z", "[127.0.0.1]", "bob+x=y/z@[127.0.0.1]"),
        ("<bob@[IPv6:::1]>", "bob", "[IPv6:::1]", "bob@[IPv6:::1]"),
        ("<a..b.@docomo.example>", "a..b.", "docomo.example", "a..b.@docomo.example"),
    ],
)
def test_addresses(path: str, local: str, domain: str, text: str) -> None:
    """D-010, D-018: quoted local parts, address literals, source routes (RFC 5321 section 4.1.2 and appendix C)."""
    driver = Driver()
    driver.send(f"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:{path}\r\n".encode())
    assert [tuple(event.mailbox) for event in driver.asked] == [(local, domain, text)]


@pytest.mark.parametrize(
    "path",
    [
        "bob@example.org",
        "<bob@example.org",
        "<bob@>",
        "<@example.org>",
        "<b b@example.org>",
        "<bob@-a>",
        "<bob@a..b>",
        "<>",
        "<bob@[]>",
        '<"bob@example.org>',
        "<bob@example.org>x",
        "<bob@exa mple>",
        "<a@b@c>",
    ],
)
def test_what_is_no_address(path: str) -> None:
    """D-010: 501, and the transaction stays."""
    driver = Driver()
    answer = driver.send(f"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:{path}\r\nRCPT TO:<bob>\r\n".encode())
    assert codes(answer) == ["250", "250", "501", "250"]


def test_long_addresses() -> None:
    """D-018: a local part of 64, a domain of 255 octets and 100 recipients are taken."""
    path = b"<" + b"l" * 64 + b"@" + b".".join([b"d" * 63] * 4)[:255] + b">"
    driver = Driver()
    answer = driver.send(b"LHLO a\r\nMAIL FROM:" + path + b" SIZE=1 BODY=8BITMIME\r\n" + b"RCPT TO:" + path + b"\r\n")
    assert codes(answer) == ["250", "250", "250"]
    assert codes(driver.send(b"RCPT TO:<bob>\r\n" * 999 + b"RCPT TO:<bob>\r\n")) == ["250"] * 999 + ["452"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("", "250"),
        ("SIZE=10 BODY=7BIT SMTPUTF8", "250"),
        ("size=10 body=8bitmime smtputf8", "250"),
        ("BODY=BINARYMIME", "501"),
        ("SIZE=x", "501"),
        ("SIZE", "501"),
        ("SMTPUTF8=1", "501"),
        ("SIZE=1 SIZE=1", "501"),
        ("=1", "501"),
        ("RET=FULL", "555"),
    ],
)
def test_parameters_of_mail(words: str, code: str) -> None:
    """D-011, D-016, D-017."""
    assert codes(Driver().send(f"LHLO a\r\nMAIL FROM:<> {words}\r\n".encode()))[1] == code


def test_rcpt_has_no_parameters() -> None:
    """D-010: none is announced."""
    answer = Driver().send(b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<bob> NOTIFY=NEVER\r\n")
    assert codes(answer)[2] == "555"


def test_utf8_addresses() -> None:
    """D-017: only with SMTPUTF8; the trace keyword tells."""
    driver = Driver()
    lines = "LHLO a\r\nMAIL FROM:<jörg@example.org>\r\nMAIL FROM:<>\r\nRCPT TO:<jörg@bücher.example>\r\n"
    assert codes(driver.send(lines.encode())) == ["250", "550", "250", "553"]
    lines = "RSET\r\nMAIL FROM:<jörg@example.org> SMTPUTF8\r\nRCPT TO:<jörg@bücher.example>\r\nDATA\r\n.\r\n"
    assert codes(driver.send(lines.encode())) == ["250", "250", "250", "354", "250"]
    assert driver.messages[0].envelope.protocol == "UTF8LMTP"


@pytest.mark.parametrize("line", [b"MAIL FROM:<\xff@example.org> SMTPUTF8", b"NOOP \x00", b"NOOP \x7f", b"NO\rOP"])
def test_octets_that_no_command_has(line: bytes) -> None:
    """D-008."""
    assert codes(Driver().send(b"LHLO a\r\n" + line + b"\r\nNOOP\r\n")) == ["250", "500", "250"]


def test_long_lines() -> None:
    """D-018: dropped without being kept; the session goes on."""
    assert codes(Driver().send(b"NOOP " + b"a" * 2043 + b"\r\n", b"NOOP " + b"a" * 100_000, b"\r\n")) == ["250", "500"]


# -- loops ------------------------------------------------------------------------------------------


def deliver(header: bytes) -> Driver:
    driver = lmtp_session()
    driver.send(b"DATA\r\n", header + b"\r\nbody\r\nReceived: x\r\n.\r\n")
    return driver


def test_too_many_received() -> None:
    """D-019 (RFC 5321 section 6.3): a hundred servers are a circle."""
    assert deliver(b"Received: by x\r\n" * 99).messages[0].outcome == "committed"
    driver = lmtp_session()
    answer = driver.send(b"DATA\r\n", b"received : by x\r\n" * 100 + b".\r\n")
    assert b"554 5.4.6 " in answer


def test_where_it_has_been() -> None:
    """D-019: a Delivered-To above the first Received is from who hands us the message, and no sign of a loop."""
    header = b"Delivered-To: a@example.org\r\nReceived: x\r\nDelivered-To: B@example.org \r\nX: y\r\n Received: no\r\n"
    assert deliver(header).messages[0].delivered_to == {"b@example.org"}


# -- the session as a whole -------------------------------------------------------------------------


def test_starttls() -> None:
    """D-023: nothing that came before counts after it, and nothing that came with it is a command."""
    driver = Driver(starttls=True)
    driver.send(OPEN, b"BDAT 1\r\na")
    assert codes(driver.send(b"STARTTLS\r\nQUIT\r\n")) == ["220"]
    assert driver.leftover == b"QUIT\r\n"
    assert driver.messages[0].outcome == "discarded"
    answer = driver.send(b"MAIL FROM:<>\r\nLHLO a\r\nSTARTTLS\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\nDATA\r\n.\r\n")
    assert codes(answer) == ["503", "250", "503", "250", "250", "354", "250"]
    assert b"STARTTLS" not in answer
    assert driver.messages[1].envelope.protocol == "LMTPS"


def test_no_starttls_where_there_is_none() -> None:
    """D-023."""
    assert codes(Driver().send(b"STARTTLS\r\n")) == ["502"]


def test_too_many_errors() -> None:
    """D-008: whoever only makes mistakes is no mail server."""
    driver = Driver()
    assert codes(driver.send(b"X\r\n" * 30)) == ["500"] * 20 + ["421"]
    assert driver.session.closed
    assert codes(Driver().send(OPEN + b"RCPT TO:<x>\r\n" * 30 + b"RCPT TO:<bob>\r\n"))[-1] == "250"


@pytest.mark.parametrize("refusal", [FOREIGN, None])
def test_trying_out_names_by_smtp(refusal: Reply | None) -> None:
    """D-010: unknown recipients in a row end a session of SMTP, where anybody may try."""
    driver = Driver(SMTP, find=lambda _: refusal) if refusal else Driver(SMTP)
    answer = codes(driver.send(b"EHLO a\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<x>\r\n" * 30))
    assert answer[2:] == ["550"] * 20 + ["421"]


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"\x16\x03\x01\x02", b"PROXY TCP4 1 2 3 4"])
def test_strangers(line: bytes) -> None:
    """P-238: a browser can be made to send mail commands in the body of a request."""
    driver = Driver()
    assert driver.send(line + b"\r\nLHLO a\r\n") == b""
    assert driver.session.closed


def test_http_later_on() -> None:
    """P-238."""
    driver = Driver()
    driver.send(b"LHLO a\r\nHost: x\r\nHOST: x\r\n")
    assert driver.session.closed


def test_end_of_input() -> None:
    """D-020: what was complete is answered, a message without its end is none."""
    driver = lmtp_session()
    driver.send(b"DATA\r\n" + MESSAGE)
    driver.session.receive_eof()
    assert driver.go_on() == b""
    assert driver.session.closed
    assert driver.messages[0].outcome == "under way"


def test_between_messages() -> None:
    """P-294: where a session may be ended without a loss."""
    driver = Driver()
    before = driver.session.between_messages
    driver.send(OPEN)
    assert (before, driver.session.between_messages) == (True, False)
    driver.session.end("server stop", Reply(421, "4.3.2", "bye"))
    driver.session.end("again", Reply(421, "4.3.2", "bye"))
    assert codes(driver.session.data_to_send()) == ["421"]
    assert driver.session.end_reason == "server stop"
    driver.session.abandon("x")
    assert driver.session.next_event() is None


def test_a_turn_is_bounded() -> None:
    """P-277, P-295: others have their turn, and what waits to be sent is sent before more is parsed."""
    session = MailSession(LMTP)
    session.receive_data(b"NOOP\r\n" * 250)
    assert session.next_event() is None
    assert session.unfinished
    assert session.commands == 100
    assert session.input_octets == 6 * 150
    session = MailSession(dataclasses.replace(LMTP, output=50))
    session.receive_data(b"NOOP\r\n" * 50)
    assert session.next_event() is None
    assert session.commands < 5


def test_defects_of_ours() -> None:
    """D-020: whatever happens here, the sender keeps the message and tries again."""
    session = MailSession(LMTP)
    session.receive_data(OPEN)
    assert isinstance(session.next_event(), Recipient)
    session.failed()
    assert codes(session.data_to_send())[-1] == "451"
    driver = lmtp_session()
    driver.session.receive_data(b"DATA\r\n" + MESSAGE)
    while not isinstance(event := driver.session.next_event(), Content):
        assert event is not None
        driver.answer(event)
    driver.session.failed()
    assert codes(driver.session.data_to_send()) == ["354", "421"]
    assert driver.session.closed


def test_answers_must_fit() -> None:
    """One answer for each event, and of its kind."""
    session = MailSession(LMTP)
    with pytest.raises(RuntimeError):
        session.began()
    session.receive_data(OPEN)
    session.next_event()
    assert session.next_event() is None
    with pytest.raises(RuntimeError):
        session.delivered(LOOP)


def test_replies_come_one_by_one() -> None:
    """D-004: each is sent as soon as it is known."""
    driver = lmtp_session()
    driver.send(b"RCPT TO:<alice>\r\n")
    driver.session.receive_data(b"DATA\r\n.\r\n")
    while not isinstance(event := driver.session.next_event(), Commit):
        assert event is not None
        driver.answer(event)
    driver.session.data_to_send()
    driver.session.delivered(LOOP)
    assert driver.session.data_to_send() == b"554 5.4.6 " + LOOP.text.encode() + b"\r\n"
    driver.session.delivered(Reply(250, "2.0.0", "ok"))
    assert driver.session.data_to_send() == b"250 2.0.0 ok\r\n"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (QuotaExceeded("x"), "452 4.2.2"),
        (NoRoom("x"), "452 4.3.1"),
        (NoSuchMaildrop("x"), "550 5.1.1"),
        (PermanentFailure("x"), "451 4.3.5"),
        (TemporaryFailure("x"), "451 4.3.0"),
    ],
)
def test_conditions(condition: TemporaryFailure, expected: str) -> None:
    """D-010: full is 4.2.2 or 5.2.2 as configured; what a person must mend sends no mail back."""
    assert of_condition(condition, full_is_final=False).octets().startswith(expected.encode())


def test_a_full_maildrop_for_good() -> None:
    """D-010."""
    assert of_condition(QuotaExceeded("x"), full_is_final=True).octets().startswith(b"552 5.2.2 ")


@pytest.mark.parametrize(("code", "positive"), [(250, True), (354, False), (451, False), (550, False)])
def test_only_2yz_is_positive(code: int, positive: bool) -> None:
    """RFC 5321 section 4.2.1."""
    assert Reply(code, "", "x").positive is positive


def test_answered_events_are_part_of_a_turn() -> None:
    """P-295: a flood of small chunks, each of which the server takes at once, gives others their turn."""
    driver = Driver(dataclasses.replace(LMTP, turn=7))
    driver.send(OPEN)
    session = driver.session
    session.receive_data(b"BDAT 1\r\nx" * 20)
    turns = [0]
    while (event := session.next_event()) is not None or session.unfinished:
        if event is None:
            turns.append(0)
        elif isinstance(event, Content):
            turns[-1] += 1
            session.content_taken()
        else:
            session.began()
    assert sum(turns) == 20
    assert max(turns) <= 7
