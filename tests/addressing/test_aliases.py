"""Aliases: names and addresses that mean others (D-025)."""

import asyncio
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from restante.addressing import STEPS, Addressing, AliasFailure, Rules
from restante.errors import TemporaryFailure
from restante.intake.desk import Desk, NotTaken
from restante.protocol.smtp.grammar import Mailbox
from restante.stores.memory import MemoryStore
from tests.addressing.site import FOREIGN, HOST, OWN, UNKNOWN, resolve, site, table, whom

BOB = f"bob <bob@{HOST}>"
ALICE = f"alice <alice@{HOST}>"
Aliases = dict[str, tuple[str, ...]]


def problems(addressing: Addressing) -> dict[str, str]:
    return dict(asyncio.run(addressing.problems()))


def chain(length: int) -> Aliases:
    """Aliases of which each leads to the next, and the last to bob."""
    return {f"a{number}": (f"a{number + 1}" if number + 1 < length else "bob",) for number in range(length)}


@pytest.mark.parametrize("address", ["info", "INFO@example.org", "info+x@example.org", f"Info@{HOST}"])
def test_an_alias_without_a_domain(tmp_path: Path, address: str) -> None:
    """D-025: it counts for all domains of ours, with or without a detail, which is not kept."""
    addressing = site(tmp_path, aliases={"Info": ("bob",)})
    assert whom(addressing, address) == BOB
    assert whom(addressing, "info@example.net") == FOREIGN
    assert problems(addressing) == {}


def test_an_alias_with_a_domain(tmp_path: Path) -> None:
    """D-025: counts for that domain, and comes before the one without."""
    addressing = site(tmp_path, aliases={"info@Example.ORG": ("bob",), "info": ("alice",)})
    assert whom(addressing, "info@example.org") == BOB
    assert whom(addressing, f"info@{HOST}") == ALICE


def test_an_alias_of_a_foreign_domain(tmp_path: Path) -> None:
    """D-025: that one address is ours, the rest of the domain is not."""
    addressing = site(tmp_path, aliases={"sales@B\xfccher.example": ("bob",)})
    for domain in ("b\xfccher.example", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE"):
        assert whom(addressing, f"Sales+x@{domain}") == BOB
        assert whom(addressing, f"bob@{domain}") == FOREIGN
        assert whom(addressing, f"postmaster@{domain}") == FOREIGN


def test_an_alias_of_a_domain_that_is_an_alias(tmp_path: Path) -> None:
    """D-025: it is one of the domain itself."""
    addressing = site(tmp_path, domain_aliases={"example.com": "example.org"}, aliases={"info@example.com": ("bob",)})
    assert whom(addressing, "info@example.org") == whom(addressing, "info@example.com") == BOB


def test_an_alias_comes_before_an_account(tmp_path: Path) -> None:
    """D-025: of the same name; an alias of just that address before one without its detail."""
    addressing = site(tmp_path, "bob", "alice", "carol", aliases={"alice": ("bob",), "bob+lists": ("carol",)})
    assert whom(addressing, "alice@example.org") == BOB
    assert whom(addressing, "bob+lists@example.org") == f"carol <carol@{HOST}>"
    assert whom(addressing, "bob+other@example.org") == "bob <bob+other@example.org>"


def test_several_accounts(tmp_path: Path) -> None:
    """D-025: each once, in order, however often and by whichever way it is named."""
    addressing = site(
        tmp_path,
        aliases={
            "all": ("staff", "ALICE", "bob@example.org", "both"),
            "staff": ("bob", "bob+x"),
            "both": ("alice", "staff"),
        },
    )
    assert whom(addressing, "all@example.org") == f"{BOB}, {ALICE}"
    assert whom(addressing, "both") == f"{ALICE}, {BOB}"
    assert problems(addressing) == {}


@pytest.mark.parametrize(
    ("target", "means"),
    [
        ("bob+sales", f"bob <bob+sales@{HOST}>"),
        ("Bob+Sales@Example.ORG", "bob <bob+Sales@example.org>"),
        ("bob@example.com", "bob <bob@example.org>"),
        ("dave@example.net", "dave@example.net <dave@example.net>"),
        ("dave+x@b\xfccher.example", "dave@xn--bcher-kva.example <dave+x@xn--bcher-kva.example>"),
        ("postmaster", BOB),
    ],
)
def test_what_an_alias_may_mean(tmp_path: Path, target: str, means: str) -> None:
    """D-025: an address with a detail, of an alias domain, of an account in a domain of its own."""
    addressing = site(
        tmp_path,
        *("bob", "dave@example.net", "dave@xn--bcher-kva.example"),
        domain_aliases={"example.com": "example.org"},
        aliases={"info": (target,)},
    )
    assert whom(addressing, "info@example.org") == means
    assert problems(addressing) == {}


def test_case_of_aliases(tmp_path: Path) -> None:
    """D-025: as of accounts."""
    addressing = site(tmp_path, fold=False, aliases={"Info@EXAMPLE.org": ("bob",)})
    assert whom(addressing, "Info@example.ORG") == BOB
    assert whom(addressing, "info@example.org") == UNKNOWN


@pytest.mark.parametrize("name", ["carol", "carol@example.org", "bob@example.net", "bob@elsewhere.example"])
def test_an_alias_that_leads_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """D-010, D-020: mail for it waits and is not lost, for the known ones too; a line of the log says why."""
    addressing = site(tmp_path, aliases={"Staff": ("bob", "team"), "team": (name,)})
    problem = f'"{name}" is neither an account nor an alias'
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(AliasFailure) as caught:
            whom(addressing, "staff@example.org")
        assert isinstance(caught.value, TemporaryFailure)
        assert [record.getMessage() for record in caplog.records] == [
            f'alias "team": {problem}; mail for staff@example.org waits'
        ]
        assert name not in caught.value.reply
    assert problems(addressing) == {"team": problem}
    assert whom(addressing, "bob@example.org") == "bob <bob@example.org>"


@pytest.mark.parametrize(
    ("address", "code", "status"),
    [
        (("broken", "example.org"), 451, "4.3.0"),
        (("carol", "example.org"), 550, "5.1.1"),
        (("bob", "example.net"), 550, "5.7.1"),
    ],
)
def test_what_the_sender_is_told(tmp_path: Path, address: tuple[str, str], code: int, status: str) -> None:
    """D-010, D-020: an alias that leads nowhere is tried again; nobody is for good."""
    desk = Desk(HOST, MemoryStore(), site(tmp_path, aliases={"broken": ("carol",)}))
    with pytest.raises(NotTaken) as caught:
        asyncio.run(desk.recipient(Mailbox(*address, "@".join(address)), 0, any_domain=False))
    assert (caught.value.reply.code, caught.value.reply.status) == (code, status)
    assert "carol" not in caught.value.reply.text


def test_an_alias_goes_on_when_its_account_is_there(tmp_path: Path) -> None:
    """D-010: what waited is delivered then."""
    addressing = site(tmp_path, aliases={"info": ("carol",)})
    with pytest.raises(AliasFailure):
        whom(addressing, "info")
    table(tmp_path / "users", "carol")
    assert whom(addressing, "info") == f"carol <carol@{HOST}>"
    (tmp_path / "users").unlink()
    with pytest.raises(TemporaryFailure):
        whom(addressing, "info")


def test_changed_aliases_of_the_same_tables(tmp_path: Path) -> None:
    """D-025: new rules, as after a reload, need no new tables."""
    users = table(tmp_path / "users", "bob", "alice")
    for account, means in (("bob", BOB), ("alice", ALICE)):
        assert whom(Addressing(Rules(HOST, OWN, aliases={"info": (account,)}), [users]), "info") == means


def test_the_longest_way(tmp_path: Path) -> None:
    """D-025: so many aliases in a row, and no more."""
    assert whom(site(tmp_path, aliases=chain(STEPS)), "a0") == BOB
    addressing = site(tmp_path, aliases=chain(STEPS + 1))
    with pytest.raises(AliasFailure) as caught:
        whom(addressing, "a0")
    assert (caught.value.alias, f"after {STEPS} other aliases" in caught.value.problem) == (f"a{STEPS}", True)
    assert whom(addressing, "a1") == BOB
    assert list(problems(addressing)) == [f"a{STEPS}"]
    assert addressing.cycle() == ()


def test_many_ways_to_the_same_account_take_no_time(tmp_path: Path) -> None:
    """D-025: of each two aliases that both lead to the next two, each is looked at once, not 2 ** 30 times."""
    aliases: Aliases = {"l30": ("bob",), "r30": ("alice",)}
    for number in range(30):
        both = (f"l{number + 1}", f"r{number + 1}")
        aliases |= {f"l{number}": both, f"r{number}": both}
    addressing = site(tmp_path, aliases=aliases)
    assert whom(addressing, "l0") == f"{BOB}, {ALICE}"
    assert problems(addressing) == {}


@pytest.mark.parametrize(
    ("aliases", "cycle"),
    [
        ({"a": ("b",), "b": ("bob", "A")}, {"a", "b"}),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("bob", "a")}, {"a", "b", "c"}),
        ({"a@example.org": (f"b@{HOST}",), f"B@{HOST}": ("a@EXAMPLE.com",)}, {"a@example.org", f"B@{HOST}"}),
    ],
)
def test_aliases_that_lead_to_each_other(tmp_path: Path, aliases: Aliases, cycle: set[str]) -> None:
    """D-025: are found by the configuration; and an address of theirs has an end."""
    addressing = site(tmp_path, domain_aliases={"example.com": "example.org"}, aliases=aliases)
    found = addressing.cycle()
    assert set(found) == cycle
    assert found[0] == found[-1]
    for one, next_one in pairwise(found):
        names = [name.lower().replace("example.com", "example.org") for name in aliases[one]]
        assert next_one.lower() in [*names, *(f"{name}@{HOST}" for name in names)]
    for address in aliases:
        with pytest.raises(AliasFailure, match="leads back to itself"):
            whom(addressing, address)
    assert set(problems(addressing).values()) == {"leads back to itself"}


@pytest.mark.parametrize("names", [("bob", "alice"), ("alice", "BOB"), (f"bob@{HOST}", "alice")])
def test_a_copy_for_somebody_else(tmp_path: Path, names: tuple[str, ...]) -> None:
    """D-025: an alias that names itself means the account of that name."""
    addressing = site(tmp_path, "bob", "alice", aliases={"bob": names})
    assert addressing.cycle() == ()
    assert problems(addressing) == {}
    assert {target.account for target in resolve(addressing, "bob").targets} == {"bob", "alice"}
    table(tmp_path / "users", "alice")
    with pytest.raises(AliasFailure, match="is neither an account nor an alias"):
        whom(addressing, "bob")


def test_a_loop_by_way_of_an_account_that_is_gone(tmp_path: Path) -> None:
    """D-010: which no look at the configuration alone can find; mail waits."""
    aliases: Aliases = {"info": ("bob+x@example.org",), "bob": ("info",)}
    addressing = site(tmp_path, "bob+x@example.org", aliases=aliases)
    assert addressing.cycle() == ()
    assert whom(addressing, "bob") == "bob+x@example.org <bob+x@example.org>"
    table(tmp_path / "users", "alice")
    with pytest.raises(AliasFailure, match="leads back to itself"):
        whom(addressing, "bob")


def test_aliases_that_are_no_loop(tmp_path: Path) -> None:
    """D-025: nor is an alias that hands its own name on to an account in a domain of its own."""
    addressing = site(tmp_path, "bob@example.net", aliases={"bob": ("bob@example.net",), "all": ("bob", "bob")})
    assert addressing.cycle() == ()
    assert problems(addressing) == {}
    assert whom(addressing, "all") == "bob@example.net <bob@example.net>"


def test_an_alias_for_nobody(tmp_path: Path) -> None:
    """D-010: mail for it waits; the configuration refuses such a one."""
    with pytest.raises(AliasFailure, match="means nobody"):
        whom(site(tmp_path, aliases={"info": ()}), "info")


@pytest.mark.parametrize(
    "rules",
    [
        {"domains": frozenset({"no domain"})},
        {"domain_aliases": {"example.com": ""}},
        {"domain_aliases": {"[127.0.0.1]": "example.org"}},
        {"aliases": {"": ("bob",)}},
        {"aliases": {"@example.org": ("bob",)}},
        {"aliases": {"info": ("../bob",)}},
    ],
)
def test_rules_that_are_none(tmp_path: Path, rules: dict[str, Any]) -> None:
    """P-291: said at once, not when mail comes."""
    with pytest.raises(ValueError, match=r"\w"):
        site(tmp_path, **rules)


def test_the_address_that_was_given_is_the_alias(tmp_path: Path) -> None:
    """D-005: Received tells what the sender knows, and not who else has it."""
    assert resolve(site(tmp_path, aliases={"info": ("bob",)}), "Info@EXAMPLE.org").address == "Info@example.org"
