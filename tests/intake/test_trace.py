"""The lines before a delivered message (D-005)."""

from email.utils import parsedate_to_datetime

import pytest

from restante.intake.trace import Origin, delivered_to, received, return_path


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("", b"Return-Path: <>\r\n"),
        ("a@example.org", b"Return-Path: <a@example.org>\r\n"),
        ("jürgen@bücher.example", "Return-Path: <jürgen@bücher.example>\r\n".encode()),
    ],
)
def test_return_path(path: str, field: bytes) -> None:
    """D-005: the null path is kept for bounces."""
    assert return_path(path) == field


@pytest.mark.parametrize(
    ("original", "more"),
    [("", b""), ("bob@example.org", b""), ("sales@example.org", b"X-Original-To: sales@example.org\r\n")],
)
def test_delivered_to(original: str, more: bytes) -> None:
    """D-005: X-Original-To only where it tells something."""
    assert delivered_to("bob@example.org", original) == b"Delivered-To: bob@example.org\r\n" + more


def line(origin: Origin, when: float = 0) -> bytes:
    return received(origin, "mail.example.org", "abc123", "bob@example.org", when)


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("192.0.2.1", b"[192.0.2.1]"),
        ("2001:db8::1", b"[IPv6:2001:db8::1]"),  # RFC 5321 section 4.1.3
        ("", b"unix socket"),
    ],
)
def test_received(address: str, where: bytes) -> None:
    """D-005: who from where, by whom, how, and for one recipient only."""
    octets = line(Origin("client.example", address, "LMTP"))
    begin, _, date = octets.rpartition(b"\t")
    assert begin == (
        b"Received: from client.example (" + where + b")\r\n"
        b"\tby mail.example.org (Restante) with LMTP id abc123\r\n"
        b"\tfor <bob@example.org>;\r\n"
    )
    assert date.endswith(b"\r\n")
    assert parsedate_to_datetime(date.decode("ascii")).timestamp() == 0


def test_tls() -> None:
    """D-005: RFC 8314 section 4.3."""
    octets = line(Origin("client.example", "192.0.2.1", "ESMTPS", "TLS_AES_256_GCM_SHA384"))
    assert b"with ESMTPS id abc123\r\n\tfor <bob@example.org>\r\n\ttls TLS_AES_256_GCM_SHA384;\r\n" in octets


@pytest.mark.parametrize("name", ["a\r\nEvil: yes", "a b", "(comment", "a;b", "x\x00y", "ü", 'a"b', "a\\b", "<a>", "@"])
def test_a_client_cannot_write_lines(name: str) -> None:
    """D-005: what a client calls itself cannot end the field, nor say anything else in it."""
    octets = line(Origin(name, "192.0.2.1", "SMTP", name))
    first, *more = octets.split(b"\r\n")
    assert all(one.startswith(b"\t") for one in more[:-1])
    helo = first.removeprefix(b"Received: from ").removesuffix(b" ([192.0.2.1])")
    assert len(helo) == len(name)
    assert not set(helo) & set(b'\r\n\0 ();"\\<>@')
    assert octets.isascii()


@pytest.mark.parametrize("name", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "my_host.example-1"])
def test_usual_names_stay(name: str) -> None:
    """D-005: an address literal is a name, too."""
    assert line(Origin(name, "", "LMTP")).startswith(f"Received: from {name} (unix socket)\r\n".encode("ascii"))
