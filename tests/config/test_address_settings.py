"""The table [addresses]: whose mail is taken, and who may log in by which name."""

import asyncio
from pathlib import Path

import pytest

from restante.addressing import AliasFailure
from restante.config import Configuration, ConfigurationError
from restante.errors import TemporaryFailure
from tests.addressing.site import login, whom

_REST = """\
hostname = "mail.example.org"
[[listener]]
protocol = "lmtp"
address = "unix:lmtp"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{user}"
"""
LINES = _REST.count("\n")
BOB = "bob <bob@example.org>"


def read(folder: Path, text: str, previous: Configuration | None = None) -> Configuration:
    """Read a configuration that ends in `text`, of a site with bob, alice and eve@example.net."""
    (folder / "users").write_text("bob:{PLAIN}secret\nalice:{PLAIN}a\neve@example.net:{PLAIN}e\n", encoding="ascii")
    (folder / "mail").mkdir(exist_ok=True)
    path = folder / "restante.toml"
    path.write_text(_REST + text, encoding="utf-8")
    return Configuration(path, previous)


def complaint(folder: Path, text: str) -> str:
    """Return what is wrong, after the name of the file; line 1 is the first of `text`."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, text)
    said = str(caught.value)
    assert "\n" not in said
    place, _, problem = said.removeprefix(f"{folder}/restante.toml:").partition(": ")
    return f"{int(place) - LINES}: {problem}"


def problems(configuration: Configuration) -> list[str]:
    return asyncio.run(configuration.address_problems())


def test_without_the_table(tmp_path: Path) -> None:
    """D-010, D-025: the domains follow from the host's name, + begins a detail, and case is nothing."""
    for text in ("", "[addresses]\n"):
        addressing = read(tmp_path, text).addressing
        assert whom(addressing, "BOB+x@Example.org") == "bob <bob+x@example.org>"
        assert whom(addressing, "bob@localhost") == "bob <bob@localhost>"
        assert whom(addressing, "bob@example.net") == "foreign"
        assert whom(addressing, "bob@example.net", any_domain=True) == "bob <bob@example.net>"
        assert whom(addressing, "eve@example.net") == "eve@example.net <eve@example.net>"
        assert login(addressing, "BOB@example.ORG") == "bob"


def test_everything(tmp_path: Path) -> None:
    """D-025, D-017."""
    made = read(
        tmp_path,
        """\
[addresses]
domains = ["example.org", "B\xfccher.example"]
detail = "-"
case = "exact"
[addresses.domain_aliases]
"Example.COM" = "example.org"
"m\xfcller.example" = "xn--bcher-kva.example"
[addresses.aliases]
info = "bob"
"sales@example.com" = ["alice", "eve@example.net"]
""",
    )
    addressing = made.addressing
    assert whom(addressing, "bob-x@xn--mller-kva.example") == "bob <bob-x@xn--bcher-kva.example>"
    assert whom(addressing, "Bob@example.org") == whom(addressing, "bob+x@example.org") == "unknown"
    assert whom(addressing, "bob@localhost", any_domain=True) == "foreign"
    assert whom(addressing, "info@example.com") == "bob <bob@mail.example.org>"
    expected = "alice <alice@mail.example.org>, eve@example.net <eve@example.net>"
    assert whom(addressing, "sales@example.org") == expected
    assert problems(made) == []


def test_no_domain_and_no_detail(tmp_path: Path) -> None:
    """D-010: only the host's own name is left."""
    addressing = read(tmp_path, '[addresses]\ndomains = []\ndetail = ""\n').addressing
    assert whom(addressing, "bob@example.org", any_domain=True) == "foreign"
    assert whom(addressing, "bob@mail.example.org") == "bob <bob@mail.example.org>"
    assert whom(addressing, "bob+x@mail.example.org") == "unknown"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('domain = ["example.org"]', '2: unknown key "domain" in [addresses]; did you mean "domains"?'),
        ("\ndomains = 3", "3: domains: Expected "),
        ('domains = "example.org"', "2: domains: Expected "),
        (
            'domains = ["example.org", "a b"]',
            '2: domains: "a b" is no domain: a domain is letters, digits and hyphens ',
        ),
        ('domains = [""]', '2: domains: "" is no domain: '),
        (
            'domains = ["fa\xdf.example"]',
            '2: domains: "fa\xdf.example" is no domain: such a domain is written in A-labels',
        ),
        ('detail = "++"', '2: detail: "++" cannot stand before a detail; right are "" for none, or one of ! # $ '),
        ('detail = "x"', '2: detail: "x" cannot stand '),
        ('detail = "@"', '2: detail: "@" cannot stand '),
        ('case = "lower"', '2: case: "lower" is not known; right are "ignore", "exact"'),
        ("aliases = 3", "2: aliases: Expected "),
        ("domain_aliases = []", "2: domain_aliases: Expected "),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, said: str) -> None:
    """D-025: one line that names the key, and what would be right."""
    assert complaint(tmp_path, f"[addresses]\n{text}\n").startswith(said)


def test_what_would_be_right(tmp_path: Path) -> None:
    """D-025: is in the lines that do not list it."""
    assert complaint(tmp_path, '[addresses]\ndomains = ["example.org."]\n').endswith('; "example.org" would be right')
    said = complaint(tmp_path, '[addresses.aliases]\ninfo = "a b"\n')
    assert said.startswith('2: info: "a b" is no name and no address: ')
    assert said.endswith('; "bob" or "bob@example.org" would be right')


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['"a b" = "example.org"'], '2: domain_aliases: "a b" is no domain: '),
        (['"example.com" = "example.org"', '"example.net" = "org."'], '3: domain_aliases: "org." is no domain: '),
        (
            ['"Example.com" = "a.example"', '"example.COM" = "b.example"'],
            '3: domain_aliases: "example.COM" is the same as "Example.com"; one of the lines would be right',
        ),
        (
            ['"B\xfccher.example" = "a.example"', '"xn--bcher-kva.example" = "b.example"'],
            '3: domain_aliases: "xn--bcher-kva.example" is the same as "B\xfccher.example"; ',
        ),
        (
            ['"a.example" = "b.example"', '"C.example" = "a.example"'],
            '3: domain_aliases: "C.example" means "a.example", which is an alias itself; ',
        ),
        (['"a.example" = "A.example"'], '2: domain_aliases: "a.example" means "a.example", which is an alias itself; '),
        (['"a.example" = 3'], '1: domain_aliases: Expected "str"'),
    ],
)
def test_wrong_domain_aliases(tmp_path: Path, lines: list[str], said: str) -> None:
    """D-025, D-017: nor is one of two lines dropped in silence because it is the same domain."""
    assert complaint(tmp_path, "[addresses.domain_aliases]\n" + "\n".join(lines) + "\n").startswith(said)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["info = 3"], '2: info: an alias means an account or several: "bob" or ["bob", "alice"]'),
        (["info = []"], "2: info: an alias means "),
        (['info = ["bob", 3]'], "2: info: an alias means "),
        (['info = {name = "bob"}'], "2: info: an alias means "),
        (['info = ""'], '2: info: "" is no name and no address: '),
        (['info = "../bob"'], '2: info: "../bob" is no name and no address: a name is printable'),
        (['info = "bob@[127.0.0.1]"'], '2: info: "bob@[127.0.0.1]" is no name and no address: a domain is '),
        (['"@example.org" = "bob"'], '2: @example.org: "@example.org" is no name and no address: '),
        (['info = "bob"', '"in fo" = "bob"'], '3: in fo: "in fo" is no name and no address: '),
        (
            ['info = "bob"', 'Info = "alice"'],
            '3: Info: is the same as "info"; one line with all names would be right',
        ),
        (
            ['"a@EXAMPLE.com" = "bob"', '"A@example.org" = "alice"'],
            '3: A@example.org: is the same as "a@EXAMPLE.com"; ',
        ),
        (
            ['"a@b\xfccher.example" = "bob"', '"a@xn--bcher-kva.example" = "bob"'],
            "3: a@xn--bcher-kva.example: is the same ",
        ),
        (
            ['info = "bob"', 'one = "two"', 'two = "One"'],
            '3: one: leads back to itself: "one" -> "two" -> "one"; an account ',
        ),
    ],
)
def test_wrong_aliases(tmp_path: Path, lines: list[str], said: str) -> None:
    """D-025: the line is that of the alias."""
    text = "[addresses.aliases]\n" + "\n".join(lines) + '\n[addresses.domain_aliases]\n"example.com" = "example.org"\n'
    assert complaint(tmp_path, text).startswith(said)


def test_aliases_that_differ_in_case(tmp_path: Path) -> None:
    """D-025, RFC 5321 section 4.5.1: are two where case counts, but there is only one postmaster."""
    exact = '[addresses]\ncase = "exact"\n[addresses.aliases]\n'
    addressing = read(tmp_path, exact + 'info = "bob"\nInfo = "alice"\n').addressing
    assert whom(addressing, "Info") == "alice <alice@mail.example.org>"
    said = complaint(tmp_path, exact + 'postmaster = "bob"\nPostmaster = "alice"\n')
    assert said.startswith('5: Postmaster: is the same as "postmaster"; ')


def test_problems(tmp_path: Path) -> None:
    """D-010: what depends on the accounts does not keep the server from starting: mail for those aliases waits."""
    made = read(
        tmp_path, '[addresses.aliases]\ninfo = ["bob", "carol"]\n"x@example.net" = "dave"\nok = "info@example.org"\n'
    )
    expected = ['info: "carol" is neither an account nor an alias', 'x@example.net: "dave" is neither an account nor ']
    found = problems(made)
    for number, (line, said) in enumerate(zip(found, expected, strict=True), LINES + 2):
        assert line.startswith(f"{tmp_path}/restante.toml:{number}: {said}")
    with pytest.raises(AliasFailure):
        whom(made.addressing, "ok")
    (tmp_path / "users").unlink()
    with pytest.raises(TemporaryFailure):
        problems(made)


def test_a_reload(tmp_path: Path) -> None:
    """D-025: changed aliases count at once, with the same tables; an error in them leaves those from before."""
    first = read(tmp_path, '[addresses.aliases]\ninfo = "bob"\n')
    second = read(tmp_path, '[addresses.aliases]\ninfo = "alice"\n', first)
    assert second.authenticators is first.authenticators
    assert whom(first.addressing, "info") == "bob <bob@mail.example.org>"
    assert whom(second.addressing, "info") == "alice <alice@mail.example.org>"
    assert whom(second.desk.addressing, "info") == "alice <alice@mail.example.org>"
    with pytest.raises(ConfigurationError):
        read(tmp_path, '[addresses.aliases]\ninfo = "help"\nhelp = "info"\n', second)
    assert whom(second.addressing, "info") == "alice <alice@mail.example.org>"
    assert second.service().addressing is second.addressing


PLUGIN = '[[auth]]\nkind = "tests.server.office:OneUser"\n'
TOKENS = '[[auth]]\nkind = "oauth"\nintrospection = "http://127.0.0.1:9/"\nclient_id = "x"\nclient_secret = "y"\n'
GUEST = '[[auth]]\nkind = "anonymous"\nuser = "guest"\n'


@pytest.mark.parametrize(
    ("more", "dave", "name"),
    [
        ("", "unknown", "bob"),
        (GUEST, "unknown", "bob"),
        (TOKENS, "dave <dave@example.org>", "bob"),
        (PLUGIN, "dave <dave@example.org>", "BOB@example.org"),
    ],
)
def test_tables_that_cannot_be_asked_for_names(tmp_path: Path, more: str, dave: str, name: str) -> None:
    """D-010, P-052: whoever has a maildrop may be in such a table; only one of passwords may have any login name."""
    made = read(tmp_path, more)
    (tmp_path / "mail" / "dave").mkdir()
    assert whom(made.addressing, "dave@example.org") == dave
    assert whom(made.addressing, "erin@example.org") == "unknown"
    assert whom(made.addressing, "bob@example.org") == BOB
    assert login(made.addressing, "BOB@EXAMPLE.org") == name


def test_mail_for_the_guest(tmp_path: Path) -> None:
    """D-010, P-200: the maildrop that anybody may read has an address; the postmaster's mail does not go there."""
    addressing = read(tmp_path, GUEST).addressing
    assert whom(addressing, "Guest+x@example.org") == "guest <guest+x@example.org>"
    assert whom(addressing, "postmaster@example.org") == "bob <bob@mail.example.org>"
