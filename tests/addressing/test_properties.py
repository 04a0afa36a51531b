"""What holds for every address, and for all aliases that a site may have (D-010, D-025)."""

import asyncio
import string
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.addressing import Addressing, AliasFailure, ForeignDomain, Rules, UnknownRecipient
from restante.auth import account_among, canonical_user
from restante.authenticators.passwd_file import PasswdFile
from restante.errors import TemporaryFailure
from tests.addressing.site import HOST, login, resolve, table, whom

USERS = ("bob", "Alice", "o'brien", "a+b", "Both", "both", "b\xf6b", "eve@example.net", "Eve@b\xfccher.example")
RULES = Rules(
    HOST,
    frozenset({"example.org"}),
    {"example.com": "example.org", "xn--bcher-kva.test": "b\xfccher.example"},
    {"info": ("bob", "Alice"), "sales@foreign.example": ("bob+sales",), "broken": ("nobody",), "one": ("info",)},
    configured=True,
)
OURS = ("example.org", "EXAMPLE.com", HOST, "", "[127.0.0.1]", "[IPv6:::1]")
DOMAINS = st.one_of(
    st.sampled_from([*OURS, "example.net", "b\xfccher.TEST", "xn--bcher-kva.example", "foreign.example", "localhost"]),
    st.text(max_size=30),
    st.text("xn-0az.\xfc[]:", max_size=80),
)
LOCALS = st.one_of(
    st.sampled_from([*(user.partition("@")[0] for user in USERS), *RULES.aliases, "POSTMASTER", "one"]),
    st.text(max_size=80),
    st.text(st.characters(codec=None, categories=None), max_size=10),
    st.tuples(st.sampled_from(USERS), st.text(max_size=20)).map("+".join),
)
DETAILS = st.text(string.ascii_letters + string.digits + "+-_=.'\xf6", max_size=30)
KNOWN = st.sampled_from(["bob", "Alice", "o'brien", "b\xf6b"])


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> PasswdFile:
    return table(tmp_path_factory.mktemp("site") / "users", *USERS)


@pytest.fixture(scope="module")
def addressing(users: PasswdFile) -> Addressing:
    return Addressing(RULES, [users])


@pytest.fixture(scope="module")
def open_site(users: PasswdFile) -> Addressing:
    return Addressing(Rules("mail.example.org"), [users])


@settings(deadline=None)
@given(local=LOCALS, domain=DOMAINS, any_domain=st.booleans())
def test_every_address_has_an_answer(
    addressing: Addressing, open_site: Addressing, local: str, domain: str, *, any_domain: bool
) -> None:
    """D-010, P-291: one of those that are documented, and never the name of a maildrop that is in no user table."""
    for one in (addressing, open_site):
        try:
            found = asyncio.run(one.resolve(local, domain, any_domain=any_domain))
        except (UnknownRecipient, ForeignDomain, TemporaryFailure):
            continue
        accounts = [target.account for target in found.targets]
        assert accounts
        assert len(accounts) == len(set(accounts))
        assert set(accounts) <= set(map(canonical_user, USERS))
        for target in found.targets:
            own_domain = target.final.rpartition("@")[2]
            assert own_domain.isascii()
            assert own_domain == own_domain.lower()
        assert found.address == (f"{local}@{domain.lower()}" if domain else local)


@settings(deadline=None)
@given(local=KNOWN, domain=st.sampled_from(OURS), case=st.lists(st.booleans(), min_size=60, max_size=60))
def test_case_changes_nothing(addressing: Addressing, local: str, domain: str, case: Sequence[bool]) -> None:
    """D-025: neither of the local part nor of the domain."""
    address = f"{local}@{domain}" if domain else local
    other = "".join(c.swapcase() if swap else c for c, swap in zip(address, case, strict=False))
    assert resolve(addressing, other).targets == resolve(addressing, address).targets
    assert login(addressing, other) == login(addressing, address) == local


@settings(deadline=None)
@given(local=KNOWN, detail=DETAILS, domain=st.sampled_from(OURS))
def test_a_detail_changes_no_account(addressing: Addressing, local: str, detail: str, domain: str) -> None:
    """D-025: and it is there in Delivered-To, octet for octet."""
    (plain,) = asyncio.run(addressing.resolve(local, domain)).targets
    (detailed,) = asyncio.run(addressing.resolve(f"{local}+{detail}", domain)).targets
    name, _, home = plain.final.rpartition("@")
    assert (detailed.account, detailed.final) == (plain.account, f"{name}+{detail}@{home}")


@settings(deadline=None)
@given(local=LOCALS)
def test_a_domain_alias_means_the_same(addressing: Addressing, local: str) -> None:
    """D-025: whatever stands before it."""
    for one, other in (("example.com", "example.org"), ("xn--bcher-kva.test", "b\xfccher.example")):
        assert _whom(addressing, local, one) == _whom(addressing, local, other)


def _whom(addressing: Addressing, local: str, domain: str) -> object:
    try:
        return asyncio.run(addressing.resolve(local, domain)).targets
    except (UnknownRecipient, ForeignDomain, TemporaryFailure) as error:
        return type(error)


NAMES = [f"n{number}" for number in range(6)]
GRAPHS = st.dictionaries(
    st.sampled_from(NAMES[:5]),
    st.lists(st.sampled_from([*NAMES, "bob", "Alice", "b\xf6b"]), min_size=1, max_size=3).map(tuple),
)


def reachable(aliases: Mapping[str, Sequence[str]], start: str) -> Mapping[str, Sequence[str]]:
    """Return the part of a graph that a name leads to; what leads no further has an empty row."""
    found: dict[str, Sequence[str]] = {}
    left = [start]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = aliases.get(name, ())
            left += found[name]
    return found


def has_cycle(graph: Mapping[str, Sequence[str]]) -> bool:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return True
    return False


@settings(deadline=None)
@given(aliases=GRAPHS)
def test_all_aliases_have_an_end(users: PasswdFile, aliases: dict[str, tuple[str, ...]]) -> None:
    """D-010, D-025: they mean just the accounts that they lead to; one bad name among them, and the mail waits."""
    addressing = Addressing(Rules(HOST, aliases=aliases), [users])
    others = {alias: [name for name in names if name != alias] for alias, names in aliases.items()}
    assert bool(addressing.cycle()) == has_cycle(others)  # one that names itself means an account, if there is one
    bad = set()
    for alias in aliases:
        graph = reachable(aliases, alias)
        if has_cycle(graph) or any(name in NAMES and name not in aliases for name in graph):
            bad.add(alias)
            with pytest.raises(AliasFailure):
                whom(addressing, alias)
        else:
            found = {target.account for target in resolve(addressing, alias).targets}
            assert found == {name for name in graph if name not in NAMES}
    told = {alias for alias, _ in asyncio.run(addressing.problems())}
    assert told <= bad
    assert bool(told) == bool(bad)


@settings(deadline=None)
@given(name=st.one_of(LOCALS, st.tuples(LOCALS, DOMAINS).map("@".join)))
def test_every_login_name_means_one_account_at_most(addressing: Addressing, users: PasswdFile, name: str) -> None:
    """P-052: and what a name means, means itself, so that no spelling reaches two accounts."""
    meant = login(addressing, name)
    assert login(addressing, meant) == meant
    assert canonical_user(meant) == meant
    exact = asyncio.run(account_among([users], name))
    assert exact in (None, meant)
