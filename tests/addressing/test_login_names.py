"""Which account a login name means (P-052), and that nobody learns from it who has one (P-207)."""

import asyncio
import itertools
from pathlib import Path

import pytest

from restante.addressing import Addressing, Rules
from restante.auth import account_among
from restante.errors import TemporaryFailure
from tests.addressing.site import ALL, HOST, login, site, table


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("bob", "bob"),
        ("BOB", "bob"),
        ("bob@example.org", "bob"),
        ("BOB@Example.ORG", "bob"),
        ("bob@example.com", "bob"),  # a domain alias
        (f"bob@{HOST}", "bob"),
        ("bob@[127.0.0.1]", "bob"),
        ("\uff22ob", "bob"),  # P-202
        ("alice", "Alice"),
        ("Alice@EXAMPLE.com", "Alice"),
        ("eve@EXAMPLE.net", "eve@example.net"),
        ("EVE@example.NET", "eve@example.net"),
        ("dave@B\xdcCHER.example", "dave@b\xfccher.example"),
        ("Dave@xn--bcher-kva.example", "dave@b\xfccher.example"),
    ],
)
def test_accounts(tmp_path: Path, name: str, account: str) -> None:
    """P-052, D-025: by the rules that hold for mail."""
    addressing = site(
        tmp_path,
        *("bob", "Alice", "eve@example.net", "dave@b\xfccher.example"),
        domain_aliases={"example.com": "example.org"},
    )
    assert login(addressing, name) == account


@pytest.mark.parametrize(
    "name",
    [
        *(
            "carol",
            "bob@example.net",
            "bob@localhost",
            "bob@192.0.2.1",
            "bob@[192.0.2.1]",
            "bob@example.org.",
            "bob@x y",
        ),
        *(
            "bob+work",
            "bob+work@example.org",
            "info",
            "info@example.org",
            "postmaster",
            "../bob",
            "",
            "@",
            "@example.org",
        ),
    ],
)
def test_nobody(tmp_path: Path, name: str) -> None:
    """P-052: details, aliases and the postmaster are for mail only; such a name is no account."""
    addressing = site(tmp_path, aliases={"info": ("bob",)})
    meant = login(addressing, name)
    assert meant not in ("bob", "alice")
    assert asyncio.run(account_among([table(tmp_path / "users", "bob", "alice")], meant, fold=True)) is None


def test_any_domain_is_for_mail_only(tmp_path: Path) -> None:
    """P-052: a site that names no domain lets nobody in by any."""
    assert login(site(tmp_path, domains=frozenset()), "bob@example.net") == "bob@example.net"
    assert login(site(tmp_path, domains=frozenset()), "bob@example.org") == "bob"


def test_an_exact_match_wins(tmp_path: Path) -> None:
    """P-052: whoever could log in without these rules still can."""
    addressing = site(tmp_path, "bob@example.com", "bob", "Bob", domain_aliases={"example.com": "example.org"})
    for name in ("bob@example.com", "bob", "Bob"):
        assert login(addressing, name) == name
    assert login(addressing, "BOB") not in ("bob", "Bob")  # neither of the two


@pytest.mark.parametrize("name", ["BOB", "bob@example.org", "carol@EXAMPLE.org"])
def test_tables_that_cannot_be_asked(tmp_path: Path, name: str) -> None:
    """P-052: they may have an account of just that name, so only the case of the domain is taken away."""
    assert login(site(tmp_path, all_listed=False), name) == name.replace("EXAMPLE", "example")


def test_case_that_counts(tmp_path: Path) -> None:
    """P-052: of the local part, by configuration."""
    addressing = site(tmp_path, fold=False)
    assert login(addressing, "bob@EXAMPLE.org") == "bob"
    assert login(addressing, "Bob@example.org") == "Bob"


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize(
    "users",
    [("bob", "alice"), ("bob@example.org", "alice@example.org"), ("bob@b\xfccher.example", "x@b\xfccher.example")],
)
def test_spellings_of_nobody_are_one_where_those_of_somebody_are(
    tmp_path: Path, users: tuple[str, ...], *, fold: bool
) -> None:
    """P-207: else their invented SCRAM records would differ, and tell that there is no such account."""
    alias = {"example.com": "example.org"}
    addressing = site(tmp_path, *users, domains=ALL, domain_aliases=alias, fold=fold)
    domains = ["", "@example.org", "@EXAMPLE.com", "@xn--bcher-kva.example", "@B\xdcCHER.example", "@example.net"]
    domains += [f"@{HOST}", "@elsewhere.example", "@ELSEWHERE.example"]
    somebody, nobody = (
        [login(addressing, name + domain) for name in (person, person.upper()) for domain in domains]
        for person in ("bob", "car")
    )
    for one, other in itertools.combinations(range(len(somebody)), 2):
        assert (somebody[one] == somebody[other]) == (nobody[one] == nobody[other]), (one, other)
    assert len(set(somebody)) < len(somebody)
    assert (nobody[: len(domains)] == nobody[len(domains) :]) == fold


@pytest.mark.parametrize("name", ["carol", "BOB@example.org"])
def test_accounts_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """P-178: no wrong password, so that no client asks its user for another."""
    addressing = site(tmp_path)
    assert login(addressing, "bob") == "bob"
    (tmp_path / "users").unlink()
    with pytest.raises(TemporaryFailure):
        login(addressing, name)


def test_the_first_of_several_tables(tmp_path: Path) -> None:
    """P-052: an account that the first has is not asked of the second."""
    first, second = table(tmp_path / "first", "bob"), table(tmp_path / "second", "BOB", "Alice")
    addressing = Addressing(Rules(HOST), [first, second])
    for name, account in (("bob", "bob"), ("BOB", "BOB"), ("Bob", "Bob"), ("alice", "Alice")):
        assert login(addressing, name) == account  # Bob is neither of the two
    (tmp_path / "second").unlink()
    assert login(addressing, "bob") == "bob"
    with pytest.raises(TemporaryFailure):
        login(addressing, "alice")
