"""The tables [[fetch]]: what they mean, and what is said of a wrong one."""

from pathlib import Path

import pytest

from restante.client import Security
from restante.config import ConfigurationError
from restante.config.fetching import accounts
from restante.fetch.account import Account
from restante.fetch.targets import CommandTarget, MailTarget, StoreTarget

LEAST = '[[fetch]]\nurl = "pops://bob%40example.org@mail.example.org"\ndeliver = "maildir:Mail"\n'


def read(folder: Path, text: str) -> list[Account]:
    path = folder / "restante.toml"
    path.write_text(text, encoding="utf-8")
    return accounts(path)


def test_the_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (one,) = read(tmp_path, LEAST)
    assert one.name == "bob@example.org@mail.example.org"
    assert one.url.account() == "pops://bob%40example.org@mail.example.org:995"
    assert one.journal == tmp_path / "state/restante/fetch/bob@example.org@mail.example.org.journal"
    assert (one.keep, one.largest, one.filter, one.every, one.lenient) == (None, 0, "", 900, False)
    assert one.security == Security()
    assert isinstance(one.target, StoreTarget)
    assert one.target.exact


def test_everything(tmp_path: Path) -> None:
    more = 'name = "a/b"\nkeep = "14d"\nlargest = "5M"\nfilter = "f"\nevery = "1h"\nlenient = true\nca = "ca.pem"\n'
    more += f'fingerprint = "{"00" * 32}"\ncertificate = "c.pem"\nkey = "k.pem"\ncleartext = true\ninsecure = true\n'
    (one,) = read(tmp_path, LEAST + more)
    assert (one.keep, one.largest, one.filter, one.every, one.lenient) == (14 * 86400, 5 << 20, "f", 3600, True)
    pair = (str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    assert one.security == Security(str(tmp_path / "ca.pem"), "00" * 32, pair, cleartext=True, insecure=True)
    assert one.journal.name == "a%2Fb.journal"


STORE = '[store]\nkind = "maildir"\npath = "mail/{user}"\n'


@pytest.mark.parametrize(
    ("deliver", "kind", "exact"),
    [
        ('"mbox:inbox"', StoreTarget, False),
        ('"maildrop:bob"', StoreTarget, True),
        ('"command:cat > /dev/null"', CommandTarget, False),
        ('"lmtp:localhost:24"\nrecipient = "bob"', MailTarget, False),
        ('"lmtp:unix:sockets/lmtp"\nrecipient = "bob"', MailTarget, False),
        ('"smtp:[::1]:25"\nrecipient = "bob@example.org"', MailTarget, False),
    ],
)
def test_destinations(tmp_path: Path, deliver: str, kind: type, exact: bool) -> None:
    (one,) = read(tmp_path, LEAST.replace('"maildir:Mail"', deliver) + STORE)
    assert isinstance(one.target, kind)
    assert one.target.exact is exact


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r":1: no \[\[fetch\]\]"),
        ("[[fetch]]\n", r":1: .*missing"),
        (LEAST + 'passwd = "x"\n', r':4: unknown key "passwd"'),
        (LEAST.replace("bob%40example.org@", ""), r":2: url: says not who"),
        (LEAST.replace("pops:", "imap:"), r":2: url: imap:// is not POP3"),
        (LEAST.replace("bob%40", "bob:secret%40"), r":2: url: a URL holds no password"),
        (LEAST.replace("maildir:Mail", "maildir:"), r":3: deliver: .* is no destination; right are"),
        (LEAST.replace("maildir:Mail", "pigeon:Mail"), r":3: deliver: .* is no destination; right are"),
        (LEAST.replace("maildir:Mail", "lmtp:localhost:24"), r":3: deliver: lmtp: needs a recipient"),
        (LEAST.replace("maildir:Mail", "lmtp:localhost") + 'recipient = "b"\n', r":3: deliver: .* is no address"),
        (LEAST.replace("maildir:Mail", "maildrop:bob"), r"no \[store\]"),
        (LEAST.replace("maildir:Mail", "maildrop:../x") + STORE, r":3: deliver: "),
        (LEAST + 'recipient = "bob"\n', r":4: recipient: is for lmtp and smtp"),
        (LEAST + 'keep = "soon"\n', r':4: keep: "soon" is no duration; right are "forever", "14d" and "0"'),
        (LEAST + 'every = "1s"\n', r":4: every: .* too often"),
        (LEAST + 'largest = "big"\n', r":4: largest: "),
        (LEAST + 'fingerprint = "12"\n', r":4: fingerprint: "),
        (LEAST + 'certificate = "c.pem"\n', r":4: certificate: certificate and key belong together"),
        (LEAST + 'password_command = "x"\nkeyring = true\n', r":5: keyring: password_command is said, too"),
        (LEAST + LEAST, r':4: name: ".*" is the name of another'),
        (LEAST + 'state = "j"\n' + LEAST + 'state = "j"\nname = "x"\n', r":8: state: .* is the journal of another"),
        (LEAST + 'state = "~nobodyhere/x"\n', r":4: state: there is no such user"),
    ],
)
def test_wrong_ones(tmp_path: Path, text: str, words: str) -> None:
    """One line: the file, the line, and what would be right; never a password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/restante.toml:")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
