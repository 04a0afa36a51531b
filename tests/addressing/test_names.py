"""The form in which names and addresses are compared."""

import pytest

from restante.addressing.names import DOMAIN_OCTETS, Name, a_labels, is_loopback, local_part, parse, spellings

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 63])


@pytest.mark.parametrize(
    ("domain", "compared"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("localhost", "localhost"),
        ("my_host.example", "my_host.example"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("B\xdcCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # decomposed
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("\u4f8b\u3048.\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah"),
        (LONGEST, LONGEST),
    ],
)
def test_domains(domain: str, compared: str) -> None:
    """D-017: domains are compared as A-labels, in lower case."""
    assert a_labels(domain) == compared
    assert a_labels(compared) == compared


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        ".example.org",
        "example..org",
        "example.org.",
        "exa mple.org",
        "exa/mple.org",
        "example.org\n",
        "[127.0.0.1]",
        "a" * 64 + ".example",
        LONGEST + ".c",
        "\xfc" * 200 + ".example",
        "\xfc" * 60 + ".example",  # too long as an A-label
        "\ud800.example",
        "b\xfc\0cher.example",
        "fa\xdf.example",  # "fass" by IDNA 2003, a domain of its own by IDNA 2008
        "\uff45xample.org",  # a wide letter
        "example\u3002org",  # an ideographic full stop
    ],
)
def test_what_is_no_domain(domain: str) -> None:
    """D-017: nor one whose A-labels depend on who is asked."""
    with pytest.raises(ValueError, match=r"\w"):
        a_labels(domain)


def test_a_domain_without_end_takes_no_time() -> None:
    """D-018: it is refused by its length alone, before the codec sees it."""
    with pytest.raises(ValueError, match=str(DOMAIN_OCTETS)):
        a_labels("\xfc" * 10_000_000)


@pytest.mark.parametrize(
    "name", ["bob", "Bob", "o'brien", "bob+work", "b.o.b", "b\xf6b", "-", "\u5b57", "bob..", "[x]"]
)
def test_local_parts(name: str) -> None:
    """P-202: what SASLprep leaves alone is left as it is, upper and lower case too."""
    assert local_part(name) == name


@pytest.mark.parametrize(("written", "name"), [("\uff42ob", "bob"), ("bo\xadb", "bob"), ("bo\u0308b", "b\xf6b")])
def test_local_parts_are_prepared(written: str, name: str) -> None:
    """P-202: as names of accounts are."""
    assert local_part(written) == name


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "\xad",
            ".",
            "..",
            "../bob",
            ".bob",
            "#bob",
            "a/b",
            "a b",
            "a\xa0b",
            "a:b",
            "a@b",
            "a\0b",
            "a\nb",
            "\ud800",
        ],
        *["\u2024./bob", "\uff0ebob", "a\uff0fb", "a\u2100b"],  # become dots and slashes by SASLprep
    ],
)
def test_local_parts_that_no_account_has(name: str) -> None:
    """P-291: nothing that could leave the folder of a maildrop, however it is written."""
    with pytest.raises(ValueError, match=r"\w"):
        local_part(name)


def test_names_of_the_configuration() -> None:
    """D-025: with or without a domain; the last @ counts."""
    assert parse("Bob") == Name("Bob", "")
    assert parse("Bob@B\xdcCHER.example") == Name("Bob", "xn--bcher-kva.example")
    assert [str(parse(text)) for text in ("bob", "bob@Example.ORG")] == ["bob", "bob@example.org"]


@pytest.mark.parametrize("text", ["", "@", "bob@", "@example.org", "a@b@example.org", "bob@[127.0.0.1]", "bob, alice"])
def test_what_is_no_name(text: str) -> None:
    """D-025: half an address, and a list in one string."""
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


def test_spellings() -> None:
    """D-017: how a user table may have a domain."""
    assert list(spellings("example.org")) == ["example.org"]
    assert list(spellings("xn--bcher-kva.example")) == ["xn--bcher-kva.example", "b\xfccher.example"]
    assert list(spellings("xn--fa-hia.example")) == ["xn--fa-hia.example"]  # "ß" of IDNA 2008: not known to the codec
    assert list(spellings("xn--0.example")) == ["xn--0.example"]  # looks like an A-label


@pytest.mark.parametrize("literal", ["[127.0.0.1]", "[127.8.9.10]", "[IPv6:::1]", "[ipv6:0:0:0:0:0:0:0:1]"])
def test_this_machine(literal: str) -> None:
    """RFC 5321 section 4.1.3."""
    assert is_loopback(literal)


@pytest.mark.parametrize(
    "literal", ["[192.0.2.1]", "[0.0.0.0]", "[::1]", "[IPv6:2001:db8::1]", "[IPv6:127.0.0.1]", "[x:y]", "[]", "[127.1]"]
)
def test_not_this_machine(literal: str) -> None:
    """RFC 5321 section 4.1.3: of IPv6 it says so."""
    assert not is_loopback(literal)
