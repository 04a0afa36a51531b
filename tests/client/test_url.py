"""URLs of servers (K-016)."""

import pytest

from restante.client import ServerUrl, is_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("pop://host", ServerUrl("host", 110, False)),
        ("POP://host/", ServerUrl("host", 110, False)),
        ("pops://host", ServerUrl("host", 995, True)),
        ("pop3s://mail.example.org:9950", ServerUrl("mail.example.org", 9950, True)),
        ("pop://bob@127.0.0.1:1110", ServerUrl("127.0.0.1", 1110, False, "bob")),
        ("pop://bob%40example.org;AUTH=*@[::1]:110", ServerUrl("::1", 110, False, "bob@example.org")),
        ("pop://bob;auth=plain@host", ServerUrl("host", 110, False, "bob", "PLAIN")),
        ("pop://bob;AUTH=+APOP@host", ServerUrl("host", 110, False, "bob", "+APOP")),
    ],
)
def test_urls(text: str, url: ServerUrl) -> None:
    """K-016."""
    assert is_url(text)
    assert ServerUrl.parse(text) == url
    assert ServerUrl.parse(str(url))[:3] == url[:3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host", "pop://host"),
        ("imap://host", "imap:// is not POP3"),
        ("pop://", "no address"),
        ("pop://host:", "no address"),
        ("pop://host:0", "1 to 65535"),
        ("pop://host:70000", "1 to 65535"),
        ("pop://host/inbox", "no address"),
        ("pop://bob;AUTH=KERBEROS_V4@host", "AUTH=KERBEROS_V4 is not known"),
        ("pop://bob;SIZE=1@host", "SIZE=1 is not known"),
        ("pop://bob:secret@host", "no password"),
        ("pop://bob:secret@host/x", "no address"),
    ],
)
def test_urls_that_are_none(text: str, words: str) -> None:
    """One line that says what is right, and never repeats a password."""
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        ServerUrl.parse(text)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
