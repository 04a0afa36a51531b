"""Whom the address of a message means: D-010, D-017, D-025."""

import asyncio
from pathlib import Path

import pytest

from restante.addressing import Addressing, Rules
from restante.auth import Directory
from restante.authenticators.anonymous import AnonymousAccess
from restante.authenticators.chain import Chain
from restante.authenticators.passwd_file import PasswdFile
from restante.errors import NoSuchMaildrop, TemporaryFailure
from restante.stores.maildir import MaildirStore
from restante.stores.memory import MemoryStore
from tests.addressing.site import ALL, FOREIGN, HOST, OWN, UNKNOWN, resolve, site, table, whom
from tests.server.office import OneUser

BOB = "bob <bob@example.org>"


# -- domains ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "means"),
    [
        ("bob@example.org", BOB),
        ("bob@EXAMPLE.org", BOB),
        ("bob@mail.example.org", "bob <bob@mail.example.org>"),  # the host's own name
        ("bob", "bob <bob@mail.example.org>"),  # RFC 5321 section 4.5.1, and local mail by LMTP
        ("carol@example.org", UNKNOWN),
        ("carol", UNKNOWN),
        ("bob@example.net", FOREIGN),
        ("bob@org", FOREIGN),
        ("bob@localhost", FOREIGN),
        ("bob@sub.example.org", FOREIGN),
        ("bob@no domain", FOREIGN),
        ("bob@example.org.", UNKNOWN),  # RFC 5321 section 2.3.5: no dot at the end
        ("", UNKNOWN),
        ("@example.org", UNKNOWN),
        ("../bob@example.org", UNKNOWN),
        ("a b@example.org", UNKNOWN),
        ("b" * 65 + "@example.org", UNKNOWN),
    ],
)
def test_domains_that_are_named(tmp_path: Path, address: str, means: str) -> None:
    """D-010: unknown users of our domains, and domains that are none of ours; P-291: what can be no name is nobody."""
    assert whom(site(tmp_path), address) == means


@pytest.mark.parametrize("octets", [64, 65])
def test_the_longest_local_part(tmp_path: Path, octets: int) -> None:
    """D-018: in octets, not in characters."""
    name = "\xf6" * (octets // 2) + "o" * (octets % 2)
    assert (whom(site(tmp_path, name), f"{name}@example.org") != UNKNOWN) == (octets == 64)


@pytest.mark.parametrize(
    ("hostname", "ours", "foreign"),
    [
        ("mail.example.org", ["mail.example.org", "example.org", "localhost"], ["org", "x.example.org", "example.net"]),
        ("Mail.Example.ORG.", ["mail.example.org", "example.org", "localhost"], ["org"]),
        ("example.org", ["example.org", "localhost"], ["org", "mail.example.org"]),  # a whole top level is nobody's
        ("mail", ["mail", "localhost"], ["example.org"]),
    ],
)
def test_domains_that_nobody_names(tmp_path: Path, hostname: str, ours: list[str], foreign: list[str]) -> None:
    """D-010: they follow from the name of the host."""
    addressing = Addressing(Rules(hostname), [table(tmp_path / "users", "bob")])
    assert [whom(addressing, f"bob@{domain}") for domain in ours] == [f"bob <bob@{domain}>" for domain in ours]
    assert {whom(addressing, f"bob@{domain}") for domain in foreign} == {FOREIGN}


def test_any_domain_counts_only_where_none_is_named(tmp_path: Path) -> None:
    """D-010: who brings mail by LMTP knows our domains, but is not believed where the configuration knows them."""
    open_site = site(tmp_path, domains=frozenset())
    assert whom(open_site, "bob@example.net", any_domain=True) == "bob <bob@example.net>"
    assert whom(open_site, "carol@example.net", any_domain=True) == UNKNOWN
    assert whom(open_site, "postmaster@example.net", any_domain=True) == "bob <bob@mail.example.org>"
    assert whom(open_site, "bob@example.net") == FOREIGN
    assert whom(site(tmp_path), "bob@example.net", any_domain=True) == FOREIGN
    assert whom(site(tmp_path, domains=frozenset(), configured=True), "bob@example.org", any_domain=True) == FOREIGN


def test_accounts_with_a_domain(tmp_path: Path) -> None:
    """D-025: they have an address of their own, whether the domain is named or not; in ours they come first."""
    addressing = site(tmp_path, "bob", "bob@example.org", "alice@example.net")
    assert whom(addressing, "bob@example.org") == "bob@example.org <bob@example.org>"
    assert whom(addressing, "bob@mail.example.org") == "bob <bob@mail.example.org>"
    assert whom(addressing, "Alice+x@Example.NET") == "alice@example.net <alice+x@example.net>"
    assert whom(addressing, "bob@example.net") == FOREIGN
    assert whom(addressing, "alice@example.org") == UNKNOWN


@pytest.mark.parametrize("literal", ["[127.0.0.1]", "[127.1.2.3]", "[IPv6:::1]", "[ipv6:::1]"])
def test_address_literals_of_this_machine(tmp_path: Path, literal: str) -> None:
    """D-010, RFC 5321 section 4.1.3: stand for the host."""
    assert whom(site(tmp_path), f"bob@{literal}") == "bob <bob@mail.example.org>"
    assert whom(site(tmp_path), f"postmaster@{literal}") == "bob <bob@mail.example.org>"


@pytest.mark.parametrize("literal", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "[::1]", "[x]", "[]", "["])
def test_other_address_literals(tmp_path: Path, literal: str) -> None:
    """D-010: none of ours, even for who may use any domain."""
    assert whom(site(tmp_path, domains=frozenset()), f"bob@{literal}", any_domain=True) == FOREIGN


def test_domain_aliases(tmp_path: Path) -> None:
    """D-025: another word for the same domain: the same account, and the same Delivered-To."""
    addressing = site(tmp_path, domain_aliases={"Example.COM": "example.org", "b\xfccher.example": "EXAMPLE.org"})
    for domain in ("example.com", "EXAMPLE.COM", "b\xfccher.example", "xn--bcher-kva.example"):
        assert whom(addressing, f"bob@{domain}") == BOB
        assert whom(addressing, f"carol@{domain}") == UNKNOWN
    assert resolve(addressing, "Bob+X@Example.COM").address == "Bob+X@example.com"


def test_a_domain_of_ours_that_is_an_alias(tmp_path: Path) -> None:
    """D-025: what it stands for is ours then, too, be it named or follow from the host's name."""
    alias = {"example.org": "example.net"}
    assert whom(site(tmp_path, domain_aliases=alias), "bob@example.org") == "bob <bob@example.net>"
    unnamed = site(tmp_path, domains=frozenset(), domain_aliases=alias)
    assert whom(unnamed, "bob@example.org") == "bob <bob@example.net>"
    assert whom(unnamed, "bob@example.net") == "bob <bob@example.net>"


def test_the_host_may_be_an_alias(tmp_path: Path) -> None:
    """D-025: then what has no domain is in the one that it stands for."""
    addressing = site(tmp_path, domain_aliases={HOST: "example.org"})
    assert [whom(addressing, address) for address in ("bob", f"bob@{HOST}", "bob@[127.0.0.1]")] == [BOB] * 3


@pytest.mark.parametrize("account", ["bob", "bob@b\xfccher.example", "bob@xn--bcher-kva.example"])
@pytest.mark.parametrize(
    "domain", ["b\xfccher.example", "B\xdcCHER.Example", "xn--bcher-kva.example", "XN--bcher-KVA.example"]
)
def test_international_domains(tmp_path: Path, account: str, domain: str) -> None:
    """D-017: U-labels and A-labels are the same, in the table too; Delivered-To has A-labels."""
    addressing = site(tmp_path, account, domains=ALL)
    assert whom(addressing, f"bob+x@{domain}") == f"{account} <bob+x@xn--bcher-kva.example>"


def test_international_local_parts(tmp_path: Path) -> None:
    """D-017, P-202: composed or not, wide or not."""
    addressing = site(tmp_path, "b\xf6b")
    for local in ("b\xf6b", "bo\u0308b", "B\xd6B", "\uff42\xf6b", "b\xf6\xadb"):
        assert whom(addressing, f"{local}@example.org") == "b\xf6b <b\xf6b@example.org>"


def test_the_address_that_was_given(tmp_path: Path) -> None:
    """D-005: for the field Received, with the domain in lower case."""
    addressing = site(tmp_path)
    assert resolve(addressing, "BoB+Work@EXAMPLE.org").address == "BoB+Work@example.org"
    assert resolve(addressing, "BoB").address == "BoB"


# -- upper and lower case ---------------------------------------------------------------------------


def test_case_of_local_parts(tmp_path: Path) -> None:
    """D-025: is nothing, unless the site says so or two accounts differ in nothing else; an exact match wins."""
    users = ("bob", "Alice", "carol", "Carol")
    folding, exact = site(tmp_path, *users), site(tmp_path, *users, fold=False)
    expected = {"BOB": "bob", "alice": "Alice", "ALICE": "Alice", "carol": "carol", "Carol": "Carol", "CAROL": ""}
    for local, account in expected.items():
        assert whom(folding, local) == (f"{account} <{account}@{HOST}>" if account else UNKNOWN)
        assert whom(exact, local) == (f"{local} <{local}@{HOST}>" if local in users else UNKNOWN)


@pytest.mark.parametrize("order", [1, -1])
def test_case_in_several_tables(tmp_path: Path, order: int) -> None:
    """D-025: an exact match in any of them wins; else there must be one account in all of them together."""
    tables = [table(tmp_path / "one", "bob", "Bob", "alice"), table(tmp_path / "two", "BOB", "ALICE", "Carol")][::order]
    addressing = Addressing(Rules(HOST), tables)
    for name in ("bob", "Bob", "BOB", "alice", "ALICE", "Carol"):
        assert whom(addressing, name) == f"{name} <{name}@{HOST}>"
    assert whom(addressing, "bOB") == UNKNOWN
    assert whom(addressing, "Alice") == UNKNOWN
    assert whom(addressing, "CAROL") == f"Carol <Carol@{HOST}>"


def test_a_chain_is_a_table(tmp_path: Path) -> None:
    """D-025: whoever asks a chain is told of the accounts of all its tables."""
    chain = Chain(
        [AnonymousAccess("Guest"), OneUser(), table(tmp_path / "one", "bob"), table(tmp_path / "two", "BOB", "x")]
    )
    addressing = Addressing(Rules(HOST), [chain])
    for name, account in (("bob", "bob"), ("BOB", "BOB"), ("X", "x"), ("guest", "Guest"), ("postmaster", "bob")):
        assert whom(addressing, name) == f"{account} <{account}@{HOST}>"
    assert whom(addressing, "Bob") == whom(addressing, "alice") == UNKNOWN
    assert whom(Addressing(Rules(HOST), [Chain([AnonymousAccess("guest")])]), "postmaster") == UNKNOWN


def test_an_account_that_two_tables_have(tmp_path: Path) -> None:
    """D-025: is one."""
    addressing = Addressing(Rules(HOST), [table(tmp_path / "one", "Bob"), table(tmp_path / "two", "Bob")])
    assert whom(addressing, "bob") == f"Bob <Bob@{HOST}>"


# -- details ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "means"),
    [
        ("bob+work", "bob <bob+work@example.org>"),
        ("BOB+Work", "bob <bob+Work@example.org>"),
        ("bob+a+b", "bob <bob+a+b@example.org>"),
        ("bob+", "bob <bob+@example.org>"),
        ("a+b", "a+b <a+b@example.org>"),  # an account of just that name comes first
        ("a+b+c", UNKNOWN),  # the first separator is the one
        ("+bob", UNKNOWN),
        ("+", UNKNOWN),
        ("bob-work", UNKNOWN),
    ],
)
def test_details(tmp_path: Path, local: str, means: str) -> None:
    """D-025: user+detail is user; the detail stays in Delivered-To."""
    assert whom(site(tmp_path, "bob", "a+b"), f"{local}@example.org") == means


def test_another_separator_or_none(tmp_path: Path) -> None:
    """D-025."""
    assert whom(site(tmp_path, detail="-"), "bob-work@example.org") == "bob <bob-work@example.org>"
    assert whom(site(tmp_path, detail="-"), "bob+work@example.org") == UNKNOWN
    assert whom(site(tmp_path, detail=""), "bob+work@example.org") == UNKNOWN


# -- the postmaster ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("address", ["postmaster", "PostMaster", "POSTMASTER@example.org", f"postmaster@{HOST}"])
def test_postmaster(tmp_path: Path, address: str, fold: bool) -> None:
    """RFC 5321 section 4.5.1, D-010: in any case, with or without a domain; the first account, unless there is one."""
    assert whom(site(tmp_path, fold=fold), address) == "bob <bob@mail.example.org>"
    with_one = whom(site(tmp_path, "bob", "Postmaster", fold=fold), address)
    assert with_one.startswith("Postmaster <Postmaster@")
    assert whom(site(tmp_path, aliases={"PostMaster": ("alice",)}, fold=fold), address) == f"alice <alice@{HOST}>"


def test_no_postmaster_of_other_domains(tmp_path: Path) -> None:
    """D-010."""
    assert whom(site(tmp_path), "postmaster@example.net") == FOREIGN


def test_the_postmaster_can_log_in(tmp_path: Path) -> None:
    """RFC 5321 section 4.5.1: not whose hash is none, and not the maildrop that anybody may read."""
    (tmp_path / "users").write_text("eve:{ROT13}x\nbob:{PLAIN}secret\n", encoding="ascii")
    tables: list[Directory] = [AnonymousAccess("guest"), PasswdFile(tmp_path / "users", threads=1)]
    addressing = Addressing(Rules(HOST), tables)
    assert whom(addressing, "postmaster") == f"bob <bob@{HOST}>"
    assert whom(addressing, "eve") == f"eve <eve@{HOST}>"
    assert whom(addressing, "guest") == f"guest <guest@{HOST}>"


def test_nobody_at_all(tmp_path: Path) -> None:
    """D-010."""
    (tmp_path / "users").write_text("# nobody yet\n", encoding="ascii")
    assert whom(Addressing(Rules(HOST), [PasswdFile(tmp_path / "users", threads=1)]), "postmaster") == UNKNOWN


# -- tables that change, or cannot be asked ---------------------------------------------------------


def test_a_changed_table_is_read_again(tmp_path: Path) -> None:
    """D-025: at the next address."""
    addressing = site(tmp_path)
    assert whom(addressing, "carol@example.org") == UNKNOWN
    table(tmp_path / "users", "carol")
    assert whom(addressing, "carol@example.org") == "carol <carol@example.org>"
    assert whom(addressing, "bob@example.org") == UNKNOWN


def test_a_table_out_of_reach_refuses_nobody_for_good(tmp_path: Path) -> None:
    """D-010: mail waits until the accounts can be read; whose address is in a table before that one is found."""
    first = table(tmp_path / "first", "bob@example.org")
    second = table(tmp_path / "second", "alice")
    addressing = Addressing(Rules(HOST, OWN, configured=True), [first, second])
    assert whom(addressing, "alice@example.org") == "alice <alice@example.org>"
    (tmp_path / "second").unlink()
    assert whom(addressing, "bob@example.org") == "bob@example.org <bob@example.org>"
    for address in ("alice@example.org", "carol@example.org", "BOB@example.org"):
        with pytest.raises(TemporaryFailure):
            whom(addressing, address)


def test_who_is_known_by_a_maildrop(tmp_path: Path) -> None:
    """D-010: of tables that cannot be asked for names, whoever has a maildrop has an address."""
    (tmp_path / "mail" / "dave").mkdir(parents=True)
    store = MaildirStore(str(tmp_path / "mail" / "{user}"))
    addressing = site(tmp_path, exists=store.holds)
    assert whom(addressing, "dave@example.org") == "dave <dave@example.org>"
    assert whom(addressing, "Dave+x@example.org") == "dave <dave+x@example.org>"
    assert whom(addressing, "erin@example.org") == UNKNOWN
    assert whom(site(tmp_path, exists=store.holds, fold=False), "Dave@example.org") == UNKNOWN
    assert whom(site(tmp_path, exists=MemoryStore().holds), "dave@example.org") == UNKNOWN
    (tmp_path / "mail").rename(tmp_path / "away")
    with pytest.raises(TemporaryFailure):
        whom(addressing, "erin@example.org")


def test_maildrops_for_which_a_name_is_not_enough(tmp_path: Path) -> None:
    """D-010: what can be no path is no maildrop; the address is still read with a detail."""
    (tmp_path / "mail" / "example.org" / "dave").mkdir(parents=True)
    store = MaildirStore(str(tmp_path / "mail" / "{domain}" / "{local}"))
    with pytest.raises(NoSuchMaildrop):
        asyncio.run(store.holds("dave"))
    addressing = site(tmp_path, exists=store.holds)
    assert whom(addressing, "Dave+work@example.org") == "dave@example.org <dave+work@example.org>"
    assert whom(addressing, "erin@example.org") == UNKNOWN
    assert whom(addressing, "bob@example.org") == BOB


def test_a_store_that_cannot_tell(tmp_path: Path) -> None:
    """D-010: a maildrop that nobody can look at makes no unknown user."""

    async def broken(user: str) -> bool:
        if "@" in user:
            raise NoSuchMaildrop(user)
        raise TemporaryFailure("not mounted")

    with pytest.raises(TemporaryFailure):
        whom(site(tmp_path, exists=broken), "dave@example.org")
