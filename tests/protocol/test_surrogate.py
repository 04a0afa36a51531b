"""The surrogate of a message whose header is not ASCII (P-256, RFC 6858): octets in, octets out."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.framing import CrlfLines, wire_octets
from restante.protocol.surrogate import (
    CONVERTED_OCTETS,
    DELIMITER_OCTETS,
    DEPTH,
    FIELD_OCTETS,
    HEADER_OCTETS,
    LOOKAHEAD_OCTETS,
    Surrogate,
    surrogate_octets,
)


def crlf(text: str | bytes) -> bytes:
    """A message written here with LF, as it comes from the store to the surrogate."""
    lines = CrlfLines()
    return lines.feed(text.encode() if isinstance(text, str) else text) + lines.finish()


def convert(message: bytes, *edges: int) -> tuple[bytes, bool]:
    """The surrogate of a message cut at these positions, and whether it was needed."""
    surrogate = Surrogate()
    octets = b"".join([surrogate.feed(message[a:b]) for a, b in pairwise([0, *edges, len(message)])])
    return octets + surrogate.finish(), surrogate.needed


def converted(text: str | bytes) -> bytes:
    """The surrogate of a message that needs one; its own surrogate is itself."""
    octets, needed = convert(crlf(text))
    assert needed
    assert convert(octets) == (octets, False)
    return octets


def field(text: str | bytes) -> str:
    """The surrogate of a header field, without its last line end, in ASCII."""
    octets = converted(text)
    assert octets.endswith(b"\r\n")
    return octets.decode("ascii").removesuffix("\r\n").replace("\r\n", "\n")


def parsed(text: str) -> EmailMessage:
    """What Python's own parser reads in the surrogate."""
    message = message_from_bytes(converted(text), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize(
    ("original", "surrogate"),
    [
        ("Subject: Köln", "Subject: =?UTF-8?Q?K=C3=B6ln?="),
        ("Subject: Москва", "Subject: =?UTF-8?B?0JzQvtGB0LrQstCw?="),
        ("subject :ü", "subject : =?UTF-8?B?w7w=?="),  # RFC 5322 section 4.5: white space before the colon
        ("Subject: a  Köln\tb  ", "Subject: a  =?UTF-8?Q?K=C3=B6ln?=\tb"),
        ("Subject: Äpfel Öfen", "Subject: =?UTF-8?Q?=C3=84pfel_=C3=96fen?="),  # the space is in the encoded-word
        ("Subject: a\n =?UTF-8?Q?b?= üc d", "Subject: a =?UTF-8?Q?b?= =?UTF-8?Q?_=C3=BCc?= d"),
        ("Subject: üc =?UTF-8?Q?b?=", "Subject: =?UTF-8?Q?=C3=BCc_?= =?UTF-8?Q?b?="),
        ("Subject: üc d =?UTF-8?Q?b?=", "Subject: =?UTF-8?Q?=C3=BCc?= d =?UTF-8?Q?b?="),
        ("Subject: a=?b? üc", "Subject: a=?b? =?UTF-8?Q?=C3=BCc?="),
        ("Subject: a\rü\0x", "Subject: =?UTF-8?Q?a=0D=C3=BC=00x?="),
        ("Comments: =_?ü", "Comments: =?UTF-8?Q?=3D=5F=3F=C3=BC?="),
        ("X-Anything: <ü@x>", "X-Anything: =?UTF-8?Q?=3C=C3=BC=40x=3E?="),
        (b"Subject: caf\xe9 au lait", "Subject: =?unknown-8bit?Q?caf=E9?= au lait"),  # RFC 1428
        (b"Subject: \xed\xa0\x80", "Subject: =?unknown-8bit?B?7aCA?="),  # a surrogate code point is not UTF-8
        (b"Subject: \xc3\n \xbc", "Subject: =?unknown-8bit?B?wyC8?="),
    ],
)
def test_text_becomes_encoded_words(original: str | bytes, surrogate: str) -> None:
    """P-256, RFC 2047 sections 2, 5 (1), 6.2: what must be encoded is, the rest stays as it stands."""
    assert field(original) == surrogate


def test_long_text_is_folded() -> None:
    """RFC 2047 section 2: encoded-words have 75 octets at most, their lines 76; no character is split (section 5)."""
    text = "Ö" * 40 + " und日本語" * 20 + " aus Köln " + "\N{SNOWMAN}\N{PILE OF POO}" * 30
    folded = field(f"Subject: {text}")
    assert max(map(len, folded.split("\n"))) <= 76
    words = re.findall(r"=\?\S*\?=", folded)
    assert len(words) > 10
    assert max(map(len, words)) <= 75
    for word in words:  # each can be decoded by itself
        assert "\N{REPLACEMENT CHARACTER}" not in str(message_from_bytes(b"X: " + word.encode())["x"])
    assert parsed(f"Subject: {text}")["subject"] == text


def test_long_octets_of_no_charset_are_folded() -> None:
    """RFC 1428, RFC 2047 section 2."""
    folded = field(b"Subject: " + b"\xe9tude " * 40)
    assert max(map(len, folded.split("\n"))) <= 76
    assert folded.count("=?unknown-8bit?Q?") > 5


def test_a_long_name_of_a_field_stands_alone() -> None:
    """RFC 5322 section 2.2.3."""
    name = "X-" + "x" * 70
    assert field(f"{name}: ü") == f"{name}:\n =?UTF-8?B?w7w=?="


@pytest.mark.parametrize(
    ("original", "surrogate"),
    [
        ("From: Jörg <j@x>", "From: =?UTF-8?Q?J=C3=B6rg?= <j@x>"),
        ("From:Jörg<j@x>", "From: =?UTF-8?Q?J=C3=B6rg?= <j@x>"),
        ('To: "Müller, Jörg" <j@x>', "To: =?UTF-8?Q?M=C3=BCller=2C_J=C3=B6rg?= <j@x>"),
        ('To: "Jörg \\"J\\" M." <j@x>', "To: =?UTF-8?Q?J=C3=B6rg_=22J=22_M=2E?= <j@x>"),
        ('Cc: A. "B. C." Möller-"D" <j@x>', 'Cc: A. "B. C." =?UTF-8?Q?M=C3=B6ller-D?= <j@x>'),
        ("Cc: =?UTF-8?Q?a?= Jörg <j@x>", "Cc: =?UTF-8?Q?a?= =?UTF-8?Q?_J=C3=B6rg?= <j@x>"),
        ("Bcc: a@b,c@d,\n  Jörg <j@x> , e@f", "Bcc: a@b,c@d,  =?UTF-8?Q?J=C3=B6rg?= <j@x>, e@f"),
        ("Reply-To: , Jörg <j@x>,,", "Reply-To: =?UTF-8?Q?J=C3=B6rg?= <j@x>"),  # obsolete syntax
        ("Sender: Jörg <@a,@b:j@x> (c)", "Sender: =?UTF-8?Q?J=C3=B6rg?= <@a,@b:j@x> (c)"),
        ("Sender: (c) <j@[10.0.0.1]> (Jörg)", "Sender: (c) <j@[10.0.0.1]> (=?UTF-8?Q?J=C3=B6rg?=)"),
        ("Sender: <j@x>(Jörg)", "Sender: <j@x>(=?UTF-8?Q?J=C3=B6rg?=)"),
        ("Sender: ö(Jörg)ü<j@x>", "Sender: =?UTF-8?B?w7Y=?= (=?UTF-8?Q?J=C3=B6rg?=) =?UTF-8?B?w7w=?= <j@x>"),
        ("Sender: j@x (ein Jörg hier)", "Sender: j@x (ein =?UTF-8?Q?J=C3=B6rg?= hier)"),
        ("Sender: j@x (a (Jörg \\) b) c)", "Sender: j@x (=?UTF-8?Q?a_=28J=C3=B6rg_=29_b=29_c?=)"),
        ("Sender: jörg (a), j@x", "Sender: =?UTF-8?Q?j=C3=B6rg?= (a), j@x"),  # no address at all
        ("To: Müller, Jörg <j@x>", "To: =?UTF-8?Q?M=C3=BCller?= , =?UTF-8?Q?J=C3=B6rg?= <j@x>"),
        ("To: Köln:a@b, c@d;, e@f", "To: =?UTF-8?Q?K=C3=B6ln?= :a@b, c@d;, e@f"),
        ("To: Team : ;, ö <e@f>", "To: Team:;, =?UTF-8?B?w7Y=?= <e@f>"),
        ("Resent-To: a@b, <ö <e@f>", "Resent-To: a@b, =?UTF-8?Q?=3C=C3=B6?= <e@f>"),
        (b"To: \xf6 <j@x>", "To: =?unknown-8bit?B?9g==?= <j@x>"),
    ],
)
def test_names_and_comments_become_encoded_words(original: str | bytes, surrogate: str) -> None:
    """P-256, RFC 2047 section 5 (2) and (3): addresses that are ASCII stay."""
    assert field(original) == surrogate


@pytest.mark.parametrize(
    ("original", "surrogate"),
    [
        ("To: jörg@x", "To: Internationalized address =?UTF-8?Q?j=C3=B6rg=40x?= :;"),
        ("To: <jörg>", "To: Internationalized address =?UTF-8?Q?j=C3=B6rg?= :;"),
        ("To: a@b, jo@köln (J), c@d", "To: a@b, Internationalized address =?UTF-8?Q?jo=40k=C3=B6ln?= (J):;, c@d"),
        ("To: Jo Doe <jo@köln>", "To: Jo Doe Internationalized address =?UTF-8?Q?jo=40k=C3=B6ln?= :;"),
        ("To: Ö <jo@köln> (x)", "To: =?UTF-8?B?w5Y=?= Internationalized address =?UTF-8?Q?jo=40k=C3=B6ln?=\n (x):;"),
        ("To: jo öre@x", "To: Internationalized address =?UTF-8?Q?jo_=C3=B6re=40x?= :;"),
        ("To: T: ö@x, a@b, ü@x;", "To: T: a@b;, Internationalized address =?UTF-8?Q?=C3=B6=40x?= :;,\n"
         " Internationalized address =?UTF-8?Q?=C3=BC=40x?= :;"),
        ("Return-Path: <ö@x>", "Return-Path: Internationalized address =?UTF-8?Q?=C3=B6=40x?= :;"),
        (b"To: j\xf6@x", "To: Internationalized address =?unknown-8bit?Q?j=F6=40x?= :;"),
    ],
)  # fmt: skip
def test_an_address_that_is_not_ascii_becomes_an_empty_group(original: str | bytes, surrogate: str) -> None:
    """P-256, RFC 6858: people can read the address, programs cannot send to it."""
    assert field(original) == surrogate


@pytest.mark.parametrize(
    ("original", "surrogate"),
    [
        ('To: "Jörg <j@x>', "To: =?UTF-8?Q?=22J=C3=B6rg?= <j@x>"),
        ("To: Jörg (x <j@x>", "To: =?UTF-8?Q?J=C3=B6rg?= (x <j@x>"),
        ("To: Jörg) <j@x>", "To: =?UTF-8?Q?J=C3=B6rg=29?= <j@x>"),
        ("To: Jörg <j@x", "To: =?UTF-8?Q?J=C3=B6rg?= <j@x"),
        ("To: Jörg >j@x<", "To: =?UTF-8?Q?J=C3=B6rg?= >j@x<"),
        ("To: Jörg <j@x> <k@x>", "To: =?UTF-8?Q?J=C3=B6rg?= <j@x> <k@x>"),
        ("To: Jörg <j@x> k", "To: =?UTF-8?Q?J=C3=B6rg?= <j@x> k"),
        ("To: Jörg <j@x>; k@x", "To: =?UTF-8?Q?J=C3=B6rg?= <j@x>; k@x"),
        ("To: T: Jörg <j@x>", "To: T: =?UTF-8?Q?J=C3=B6rg?= <j@x>"),
        ("To: T: U: Jörg <j@x>;;", "To: T: U: =?UTF-8?Q?J=C3=B6rg?= <j@x>;;"),
        ("To: : Jörg <j@x>;", "To: : =?UTF-8?Q?J=C3=B6rg?= <j@x>;"),
    ],
)
def test_what_is_no_list_of_addresses_is_text(original: str, surrogate: str) -> None:
    """P-256: a malformed field is shown as well as it can be."""
    assert field(original) == surrogate


@pytest.mark.parametrize(
    ("original", "surrogate"),
    [
        ("Content-Type: text/plain; name=ü", "Content-Type: text/plain; name*=UTF-8''%C3%BC"),
        (
            'Content-Disposition: attachment;filename="ü \\"a;b\\".txt";  size=3;',
            "Content-Disposition: attachment; filename*=UTF-8''%C3%BC%20%22a%3Bb%22.txt;\n  size=3;",
        ),
        ("Content-Type: a/b; name = x ü", "Content-Type: a/b; name*=UTF-8''x%20%C3%BC"),
        (b"Content-Type: a/b; name=\xfc", "Content-Type: a/b; name*=unknown-8bit''%FC"),
        ('Content-Type: a/b; name="ü"; name*=x', 'Content-Type: a/b; name="?"; name*=x'),
        ('Content-Type: a/b; name="ü"; ; charset=x', "Content-Type: a/b; name*=UTF-8''%C3%BC; ; charset=x"),
        ('Content-Type: a/b; name="ü" x', 'Content-Type: a/b; name="?" x'),
        ('Content-Type: a/b; name="ü; a=b', 'Content-Type: a/b; name="?; a=b'),
        ("Content-Type: a/b; näme=x; =", "Content-Type: a/b; n?me=x; ="),
        ("Content-Type: a/ü; name=ü", "Content-Type: a/?; name*=UTF-8''%C3%BC"),
    ],
)
def test_parameters_become_extended_parameters(original: str | bytes, surrogate: str) -> None:
    """P-256, RFC 2231 section 4; ``?`` stands where that cannot be."""
    assert field(original) == surrogate


def test_a_long_parameter_is_continued() -> None:
    """RFC 2231 section 3: no line gets too long, no character is split."""
    name = "日本語" * 20 + ".txt"
    folded = field(f"Content-Disposition: attachment; filename={name}")
    assert max(map(len, folded.split("\n"))) <= 78
    assert "filename*0*=UTF-8''%E6" in folded
    assert parsed(f"Content-Disposition: attachment; filename={name}").get_filename() == name


@pytest.mark.parametrize(
    ("original", "surrogate"),
    [
        ("Received: from möp\n by x; ü", "Received: from m?p\n by x; ?"),
        ("Message-ID: <ü@x>", "Message-ID: <?@x>"),
        ("Date: März", "Date: M?rz"),
        (b"References: <\xfc\xfc@x>", "References: <??@x>"),
        ("Sübject: a\n ü", "S??bject: a\n ??"),  # by octets: no characters are known in what is no field
        ("From ü Mon Jan  1 00:00:00 2024", "From ?? Mon Jan  1 00:00:00 2024"),
        ("ü", "??"),
        (" ü: x", " ??: x"),
    ],
)
def test_question_marks_stand_where_nothing_can_be_encoded(original: str | bytes, surrogate: str) -> None:
    """P-256: trace and identification fields, and lines that are no fields."""
    assert field(original) == surrogate


def test_a_last_line_without_end() -> None:
    """P-087: a field that was converted ends in CRLF in any case; one that is ASCII stays octet for octet."""
    assert convert("Date: ü".encode()) == (b"Date: ?\r\n", True)
    assert convert("Subject: ü".encode()) == (b"Subject: =?UTF-8?B?w7w=?=\r\n", True)
    assert convert(b"Subject: u") == (b"Subject: u", False)
    assert convert(b"Subject: u\r\n\r") == (b"Subject: u\r\n\r", False)


MIXED = """\
From: a@b
Received: from x
\tby y
Subject: Größe
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_a b"

Präambel: ü
--=_a b
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8; name="ü"
Content-Transfer-Encoding: 8bit

X: Grüße
--inne
--inner\t \nContent-Description: ü

--=_a b not the end
--inner--
Epilog: ü
--inner
X: ü
--=_a b
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: Äußeres
Content-Type: multipart/digest; boundary=d

--d

Subject: ü

Text: ü
--d--
--=_a b
Content-Type: message/global
Content-Transfer-Encoding: base64

Subject: ü

--=_a b
X: ü
--=_a b--
Epilog: ü
--=_a b
X: ü

--=_a b--
"""
MIXED_SURROGATE = (
    MIXED.replace("Subject: Größe", "Subject: =?UTF-8?Q?Gr=C3=B6=C3=9Fe?=")
    .replace('name="ü"', "name*=UTF-8''%C3%BC")
    .replace("Description: ü", "Description: =?UTF-8?B?w7w=?=")
    .replace("Subject: Äußeres", "Subject: =?UTF-8?Q?=C3=84u=C3=9Feres?=")
    .replace("--d\n\nSubject: ü", "--d\n\nSubject: =?UTF-8?B?w7w=?=")
    .replace("X: ü\n--=_a b--", "X: =?UTF-8?B?w7w=?=\n--=_a b--")
)


def test_headers_of_parts_and_of_embedded_messages() -> None:
    """P-256, RFC 2046 sections 5.1, 5.2.1: headers are converted wherever they are, bodies stay as they are."""
    assert converted(MIXED).decode() == crlf(MIXED_SURROGATE).decode()


@pytest.mark.parametrize(
    ("header", "looked_into"),
    [
        ("Content-Type: message/rfc822", True),
        ("Content-Type: Message/Global; x=y", True),
        ("content-type:\n message/rfc822\nContent-Transfer-Encoding: 8BIT (c)", True),
        ("Content-Type: message/rfc822\nContent-Transfer-Encoding: binary", True),
        ("Content-Type: message/rfc822\nContent-Transfer-Encoding:", True),
        ("Content-Type: message/rfc822\nContent-Type: text/plain", True),
        ("Content-Type: text/plain\nContent-Type: message/rfc822", False),
        ("Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable", False),
        ("Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bitter", False),
        ("Content-Type: message/delivery-status", False),
        ("Content-Type: rfc822", False),
        ("Content-Type: text/plain", False),
        ("Content-Types: message/rfc822", False),
        ("X: y", False),
    ],
)
def test_embedded_messages(header: str, looked_into: bool) -> None:
    """P-256, RFC 2046 section 5.2.1, RFC 6532 section 3.7: encoded ones are not touched."""
    message = crlf(f"{header}\n\nSubject: ü\n\nX: ü\n")
    expected = crlf(f"{header}\n\nSubject: =?UTF-8?B?w7w=?=\n\nX: ü\n") if looked_into else message
    assert convert(message) == (expected, looked_into)


@pytest.mark.parametrize(
    ("parameter", "delimiter"),
    [
        ("boundary=b", "b"),
        ("BOUNDARY = b", "b"),
        ("boundary=b (comment)", "b"),
        ('boundary="b \\"c "', 'b "c'),
        ('boundary="b', "b"),
        ('charset="a;b"; boundary="b;c"', "b;c"),
        ("boundary*=UTF-8''b%20c", "b c"),
        ("boundary=b; boundary=c", "b"),
        ("boundary=", None),
        ('boundary=" "', None),
        ('boundary="', None),
        ("bound=b", None),
        (f"boundary={'b' * (DELIMITER_OCTETS - 4)}", "b" * (DELIMITER_OCTETS - 4)),
        (f"boundary={'b' * DELIMITER_OCTETS}", None),
    ],
)
def test_boundaries(parameter: str, delimiter: str | None) -> None:
    """RFC 2046 section 5.1.1."""
    parts = f"--{delimiter or 'b' * DELIMITER_OCTETS}\nX: ü\n\nX: ü\n"
    message = crlf(f"Content-Type: multipart/x; {parameter}\n\n{parts}")
    expected = message.replace("X: ü".encode(), b"X: =?UTF-8?B?w7w=?=", 1) if delimiter else message
    assert convert(message) == (expected, delimiter is not None)


def test_a_boundary_that_is_not_ascii() -> None:
    """P-256: the lines of a body stay, so the boundary that is told must still be theirs."""
    message = crlf('Content-Type: multipart/x; boundary="bü"\n\n--bü\nX: ü\n--bü--')
    surrogate = converted(message)
    assert surrogate == crlf("Content-Type: multipart/x; boundary*=UTF-8''b%C3%BC\n\n--bü\nX: =?UTF-8?B?w7w=?=\n--bü--")
    assert convert(message[:-2]) == (surrogate[:-2], True)  # the last line without its end


def test_multiparts_too_deep_are_not_looked_into() -> None:
    """Memory and time are bounded; what encloses a multipart is still seen."""
    depth = DEPTH + 1
    start = "".join(f"Content-Type: multipart/x; boundary=b{level}.\n\n--b{level}.\n" for level in range(depth))
    end = "".join(f"--b{level}.\nX: ö\n\n" for level in reversed(range(depth)))
    surrogate = converted(start + "X: ü\n\n" + end)
    assert surrogate.count("X: ü".encode()) == 1
    assert surrogate.count("X: ö".encode()) == 1
    assert surrogate.count(b"X: =?UTF-8?B?w7Y=?=") == DEPTH


@pytest.mark.parametrize("size", [FIELD_OCTETS - 1, FIELD_OCTETS, FIELD_OCTETS + 1, 3 * FIELD_OCTETS])
@pytest.mark.parametrize("ending", ["", "\n\nü", "\n x\nY: ö\n\nü", "\nY: ö\n\nü"])
def test_fields_too_long_to_be_held(size: int, ending: str) -> None:
    """Memory is bounded: ``?`` stands in a field that is too long, wherever the message is cut."""
    long = ("X: ü " + "x" * size)[: size - 3]
    message = crlf(long + ending)
    surrogate, needed = convert(message)
    assert needed
    whole = message.index(b"\r\nY") + 2 if "Y" in ending else len(message.partition(b"\r\n\r\n")[0]) + 2
    is_held = min(whole, len(message)) <= FIELD_OCTETS
    assert surrogate.startswith(b"X: =?UTF-8?B?w7w=?=\r\n x" if is_held else b"X: ?? x")
    assert (b"Y: =?UTF-8?B?w7Y=?=\r\n" in surrogate) == ("Y" in ending)
    assert surrogate.endswith(crlf("\nü")) == ("ü" in ending)
    for step in (4096, FIELD_OCTETS, FIELD_OCTETS + 1, FIELD_OCTETS + 2):
        assert convert(message, *range(step, len(message), step)) == (surrogate, True)
    for edge in range(len(long) - 2, len(message)):
        assert convert(message, edge) == (surrogate, True)


def test_work_is_bounded() -> None:
    """P-256: in a header of megabytes ``?`` stands in the fields after the first one."""
    rest = "x" * 5000
    fields = CONVERTED_OCTETS // len(crlf(f"X: ü {rest}\n"))
    surrogate = converted(f"X: ü {rest}\n" * (fields + 2))
    assert surrogate == crlf(f"X: =?UTF-8?B?w7w=?=\n {rest}\n" * fields + f"X: ?? {rest}\n" * 2)


def test_a_long_field_that_is_ascii_stays() -> None:
    """P-256: octet for octet, and neither it nor a field that has got as long tells of a body."""
    long = b"Content-Type: message/rfc822;" + b" x=y;" * FIELD_OCTETS
    message = crlf(long + "\n\nSubject: ü\n".encode())
    assert convert(message) == (message, False)
    assert convert(message, FIELD_OCTETS + 100) == (message, False)
    grown, needed = convert(crlf("Content-Type: message/rfc822; x=" + "ü" * 6000 + "\n\nSubject: ü\n"))
    assert needed
    assert grown.endswith("\r\nSubject: ü\r\n".encode())
    assert convert(grown) == (grown, False)


EXAMPLES = [
    crlf(MIXED),
    crlf('To: "Müller, Jörg" <j@x>,\n Team: ö@x, a@b;\nSubject: a\r\n \u20ac\rb\n\n\u20ac\n'),
    crlf(b"Subject: \xe9\n\xff\n --b\nContent-Type: multipart/digest; boundary=b\n\n\xff\n--b\n--b\n\n\n--b\n\nX:\xfe"),
    "Subject: ü".encode(),
    b"\r\n\xff\r\n",
    b"",
]


@pytest.mark.parametrize("message", EXAMPLES)
def test_cuts_do_not_matter(message: bytes) -> None:
    """P-026, P-278: the same result in two pieces, cut anywhere, and octet by octet."""
    whole = convert(message)
    assert [edge for edge in range(len(message)) if convert(message, edge) != whole] == []
    assert convert(message, *range(1, len(message))) == whole


@pytest.mark.parametrize("message", EXAMPLES)
def test_the_size_is_that_of_what_is_sent(message: bytes) -> None:
    """P-088, P-256: LIST tells the octets of the surrogate, whichever way the lines end in the store."""
    surrogate, needed = convert(crlf(message))
    expected = len(surrogate) if needed else 0
    assert surrogate_octets([message]) == expected
    assert surrogate_octets([message.replace(b"\r\n", b"\n")]) == expected
    assert surrogate_octets([message[at : at + 1] for at in range(len(message))]) == expected


def test_a_message_of_which_nothing_is_converted_is_not_read_to_its_end() -> None:
    """P-256: an 8-bit body costs nothing once the header is known."""
    pieces = iter([b"Subject: x\n\n", "ü".encode(), b"never read"])
    assert surrogate_octets(pieces) == 0
    assert list(pieces) == [b"never read"]
    pieces = iter([b"Subject: x\n\n", b"x" * (LOOKAHEAD_OCTETS + 1), b"never read"])
    assert surrogate_octets(pieces) == 0
    assert list(pieces) == [b"never read"]


def test_sizes_of_long_messages() -> None:
    """P-256: an octet that is not ASCII is found wherever it comes."""
    start = b"Content-Type: multipart/x; boundary=b\n\n" + b"x\n" * HEADER_OCTETS + b"--b\n\n"
    filling = [b"- filling\n" * 1000] * (LOOKAHEAD_OCTETS // 5000)
    end = "\n--b\nX: ü\n\nü".encode()
    assert surrogate_octets([start, *filling]) == 0
    assert (
        surrogate_octets([start, *filling, end]) == wire_octets([start, *filling, end]) + len(b"=?UTF-8?B?w7w=?=") - 2
    )
    assert surrogate_octets([start, end]) == wire_octets([start, end]) + len(b"=?UTF-8?B?w7w=?=") - 2


@pytest.mark.parametrize(
    "text",
    [
        "Grüße aus Köln",
        "Re: [List]  Grüße,  zwei Lücken",
        "価格 の お知らせ: " * 12 + "x",
        "Привет, мир! " * 12 + "x",
        "ß" * 200,
        "a" * 100 + " ü " + "b" * 100,
    ],
)
def test_subjects_can_be_read(text: str) -> None:
    """P-256, RFC 2047: a mail client shows the text that was sent."""
    assert parsed(f"Subject: {text}")["subject"] == text


@pytest.mark.parametrize(
    "name", ["Jörg Müller", "Müller, Jörg", "山田太郎", 'Jörg "J" O\\K', "J. Ö. (x)", "Александр Пушкин"]
)
def test_names_can_be_read(name: str) -> None:
    """P-256, RFC 2047 section 5 (3): a mail client shows the name that was sent, and answers to the address."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    message = parsed(f'From: "{quoted}" <a@b.example>\nTo: c@d.example, "{quoted}" <ö@x>, e@f.example\n')
    (sender,) = message["from"].addresses
    assert (sender.display_name, sender.addr_spec) == (name, "a@b.example")
    assert [address.addr_spec for address in message["to"].addresses] == ["c@d.example", "e@f.example"]
    assert message["to"].groups[1].display_name.endswith("Internationalized address ö@x")
    assert message["to"].defects == ()


@pytest.mark.parametrize("name", ["Über uns.pdf", 'a "b"; ü.txt', "日本.txt", "ü" * 200])
def test_file_names_can_be_read(name: str) -> None:
    """P-256, RFC 2231: a mail client stores the attachment under the name that was sent."""
    quoted = name.replace('"', '\\"')
    assert parsed(f'Content-Disposition: attachment; filename="{quoted}"; size=1\n').get_filename() == name
    assert parsed(f'Content-Type: a/b; charset=x; name="{quoted}"\n').get_filename() == name


# Mostly the octets that matter, so that every combination of them comes up.
OCTETS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"-", b"\0", b"\xff", b"\xc3", b"\xc3\xbc", b"\xe2\x82\xac", b"x"),
    *(b'"', b"\\", b"(", b")", b"<", b">", b",", b";", b"@", b"[", b"]", b"=", b"%", b"'", b"*", b"--", b"=?a?Q?b?="),
    *(b"To:", b"Subject:", b"Date:", b"Content-Type:", b"Content-Transfer-Encoding:", b"base64", b"8bit", b"a@b"),
    *(b"multipart/mixed; boundary=b", b"multipart/digest; boundary=b", b"message/rfc822\r\n", b"name=", b"name*="),
    *(b"\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", b"--b", b"--b\r\n", b"--b--\r\n", b"\r\n\r\n"),
]
octets = st.lists(st.sampled_from(OCTETS)).map(b"".join)
addresses = st.lists(st.sampled_from([*'"\\()<>,:;@[] ', "a", "ü", "a@b", "ö@c", "=?a?Q?b?="])).map("".join)


@given(octets, st.data())
def test_never_raises_and_never_depends_on_cuts(message: bytes, data: st.DataObject) -> None:
    """P-026, P-278: whatever the octets, lines that do not end in CRLF too."""
    edges = sorted(data.draw(st.sets(st.integers(0, len(message)))))
    assert convert(message, *edges) == convert(message)


@given(octets)
def test_a_surrogate_is_what_it_should_be(stored: bytes) -> None:
    """P-256: its header is ASCII, it needs no surrogate, its lines end in CRLF, and LIST tells its size."""
    message = crlf(stored)
    surrogate, needed = convert(message)
    header = surrogate if surrogate.startswith(b"\r\n") else surrogate.partition(b"\r\n\r\n")[0]
    assert surrogate.startswith(b"\r\n") or header.isascii()
    assert needed == (surrogate != message)
    assert convert(surrogate) == (surrogate, False)
    assert crlf(surrogate) == surrogate
    assert surrogate_octets([stored]) == (len(surrogate) if needed else 0)
    assert convert(message.replace(b"\xff", b"").decode("ascii", "ignore").encode())[1] is False


@given(st.sampled_from(["To", "Content-Type", "Subject", "Content-Disposition"]), addresses, st.booleans())
def test_any_field_becomes_ascii(name: str, value: str, utf8: bool) -> None:
    """P-256: one field stays one field, and no address comes out that did not go in."""
    message = f"{name}: {value}\r\n".encode("utf-8" if utf8 else "latin-1")
    surrogate, _ = convert(message)
    assert surrogate.isascii()
    assert surrogate.lower().startswith(name.lower().encode() + b":")
    lines = surrogate.removesuffix(b"\r\n").split(b"\r\n")
    assert all(line[:1] in (b" ", b"\t") and line.strip() for line in lines[1:])


@given(st.lists(st.text(st.sampled_from("abäß€語\N{PILE OF POO}._-!="), min_size=1), min_size=1).map(" ".join))
def test_any_text_can_be_read(text: str) -> None:
    """P-256, RFC 2047: what Python's parser reads in the surrogate is the text."""
    surrogate, _ = convert(f"Subject: {text}\r\n".encode())
    assert message_from_bytes(surrogate, policy=policy.default)["subject"] == text


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[str, str]:
    """A message or part with parts, and what its surrogate is by construction."""
    kind = draw(st.sampled_from(["text", "encoded", "message", "multipart"] if depth else ["text"]))
    header, expected = draw(
        st.sampled_from(
            [("", ""), ("X: ü\n", "X: =?UTF-8?B?w7w=?=\n"), ("X: u\n", "X: u\n"), ("Date: ü\n", "Date: ?\n")]
        )
    )
    if kind == "text":
        body = draw(st.sampled_from(["", "X: ü\n", "\n\nü\n--b\n", "--b1\n--b1--ü\n"]))
        return f"{header}\n{body}", f"{expected}\n{body}"
    if kind == "encoded":
        fields = "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nX: ü\n\n"
        return header + fields, expected + fields
    if kind == "message":
        inner, inner_expected = draw(trees(depth=depth - 1))
        fields = "Content-Type: message/global\n\n"
        return header + fields + inner, expected + fields + inner_expected
    parts = draw(st.lists(trees(depth=depth - 1), max_size=3))
    fields = f"Content-Type: multipart/mixed; boundary={'b0' * depth}\n\npreamble: ü\n"
    before, after = f"--{'b0' * depth}\n", f"--{'b0' * depth}--\nepilogue: ü\n"
    return (
        header + fields + "".join(f"{before}{part}" for part, _ in parts) + after,
        expected + fields + "".join(f"{before}{part}" for _, part in parts) + after,
    )


@given(trees())
def test_any_structure_is_followed(tree: tuple[str, str]) -> None:
    """P-256, RFC 2046: headers are converted, bodies are not, however parts are nested."""
    message, expected = tree
    assert convert(crlf(message)) == (crlf(expected), message != expected)
