"""Who is meant by an address or a login name: one set of rules for mail that comes in and for who calls (D-025, P-052).

Names of accounts are what a user table has; nothing else that is made of an address ever gets to a store (P-291).
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from restante.addressing.names import (
    LOCAL_OCTETS,
    Name,
    a_labels,
    is_loopback,
    local_part,
    parse,
    spellings,
)
from restante.auth import Directory, account_among, canonical_user, folded_user
from restante.errors import NoSuchMaildrop, TemporaryFailure

log = logging.getLogger("restante.addresses")

STEPS = 32
"""So many aliases in a row may an address lead through."""

_POSTMASTER = "postmaster"


class UnknownRecipient(Exception):
    """Nobody here has that address: 550 5.1.1 (D-010)."""


class ForeignDomain(Exception):
    """The domain is none of ours, and we do not relay: 550 5.7.1 (D-010)."""


class Target(NamedTuple):
    """A maildrop that a message goes to."""

    account: str
    """As the user table has it, which is what a store maps to a maildrop."""
    final: str
    """The address for Delivered-To, such as bob+work@example.org; its domain in lower case and A-labels."""


class Recipient(NamedTuple):
    """What an address means."""

    address: str
    """As it was given, but the domain in lower case; without ``@`` if it had no domain."""
    targets: tuple[Target, ...]
    """At least one, no account twice."""


@dataclass(frozen=True)
class Rules:
    """What a site says of its addresses."""

    hostname: str
    domains: frozenset[str] = frozenset()
    """Beside the host's own; see `configured`."""
    domain_aliases: Mapping[str, str] = field(default_factory=dict)
    """A domain, and the one that it is another word for."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A name or an address, and whom it means: accounts and other aliases."""
    detail: str = "+"
    """What stands between a local part and its detail; ``""``: there are no details."""
    fold: bool = True
    """Upper and lower case of a local part are one."""
    configured: bool = False
    """`domains` are all there are, even if there are none; else, without any, they follow from `hostname`."""


class AliasFailure(TemporaryFailure):
    """An alias leads nowhere at the moment; mail for it waits until somebody has mended it."""

    def __init__(self, alias: str, problem: str) -> None:
        super().__init__(f'alias "{alias}": {problem}')
        self.alias = alias
        """As the configuration has it."""
        self.problem = problem


class _Alias(NamedTuple):
    written: str
    names: tuple[Name, ...]


class _Walk:
    """Which aliases one address has led through."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.done: set[str] = set()


class Addressing:
    """Knows whom an address or a login name means.

    Args:
        rules: of the site.
        directories: the user tables that can be asked for names, in order.
        exists: says whether there is a maildrop of that name: who has mail, but is in a table that cannot be asked, is
            known by that; None when there are no such users.
        all_listed: whoever logs in by a name is in one of `directories`; else login names are left as they are, as a
            table that cannot be asked may have an account of just that name.

    Raises:
        ValueError: a domain or an alias is none.
    """

    def __init__(
        self,
        rules: Rules,
        directories: Sequence[Directory],
        exists: Callable[[str], Awaitable[bool]] | None = None,
        *,
        all_listed: bool = True,
    ) -> None:
        self._rules = rules
        self._directories = directories
        self._exists = exists
        self._all_listed = all_listed
        self._domain_aliases = {a_labels(one): a_labels(other) for one, other in rules.domain_aliases.items()}
        hostname = rules.hostname.lower().strip(".")
        self._host = self._domain_aliases.get(hostname, hostname)
        self._any_domain = not rules.domains and not rules.configured
        domains = _domains_of(hostname) if self._any_domain else {a_labels(domain) for domain in rules.domains}
        self._own = {self._host, *(self._domain_aliases.get(domain, domain) for domain in domains)}
        self._aliases = {
            self.key(parse(written)): _Alias(written, tuple(self._mapped(parse(name)) for name in names))
            for written, names in rules.aliases.items()
        }

    async def resolve(self, local: str, domain: str, *, any_domain: bool = False) -> Recipient:
        """Say whom an address means.

        Args:
            local: the local part, without quotes.
            domain: the domain, or an address literal in its brackets; ``""`` for none.
            any_domain: whoever asks has made sure that the domain is one of ours; counts for sites that name none.

        Raises:
            UnknownRecipient: the domain is ours, but nobody has that address.
            ForeignDomain: the domain is not ours.
            TemporaryFailure: the accounts cannot be read now, or an alias leads nowhere.
        """
        given = f"{local}@{domain.lower()}" if domain else local
        try:
            if len(local.encode("utf-8", "surrogatepass")) > LOCAL_OCTETS:
                raise UnknownRecipient(given)
            name = local_part(local)
        except ValueError:  # P-291
            raise UnknownRecipient(given) from None
        home = self._home(domain)
        own = home in self._own or (any_domain and self._any_domain)
        try:
            targets = await self._find(name, home, own, _Walk())
        except AliasFailure as error:
            log.warning("%s; mail for %s waits", error, given)
            raise
        if not targets:
            raise UnknownRecipient(given) if own else ForeignDomain(given)
        return Recipient(given, _each_once(targets))

    async def login_name(self, name: str) -> str:
        """Return the account that a login name means (P-052): without detail and aliases, which are for mail only.

        Whoever is no account gets one name for all its spellings, as accounts have, or their challenges would tell that
        there is no such account (P-207).

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        user = canonical_user(name)
        # An exact match wins: however other names are read, who could log in without these rules still can.
        if not self._all_listed or await account_among(self._directories, user) is not None:
            return user
        local, _, domain = user.rpartition("@") if "@" in user else (user, "", "")
        try:
            local, home = local_part(local), self._home(domain)
        except (ValueError, UnknownRecipient, ForeignDomain):
            return user
        for form in self._forms(local, home, home in self._own):
            for spelling in _written(form):
                account = await account_among(self._directories, spelling, fold=self._rules.fold)
                if account is not None:
                    return account
        return await self._nobody(user, local, home)

    async def problems(self) -> Sequence[tuple[str, str]]:
        """Return each alias that leads nowhere, as the configuration has it, and why.

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        found: dict[tuple[str, str], None] = {}
        for key, alias in self._aliases.items():
            for name in alias.names:
                try:
                    await self._expand(key, alias._replace(names=(name,)), _Walk())
                except AliasFailure as error:
                    found[error.alias, error.problem] = None
        return list(found)

    def key(self, name: Name) -> str:
        """Return the form in which aliases are compared."""
        mapped = str(self._mapped(name))
        return folded_user(mapped) if self._folds(name.local) else mapped

    def cycle(self) -> Sequence[str]:
        """Return aliases that lead to each other whatever accounts there are, as the configuration has them."""
        graph = {
            key: [next_key for name in alias.names if (next_key := self._next_alias(name)) not in ("", key)]
            for key, alias in self._aliases.items()
        }
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            keys: list[str] = error.args[1]  # each comes after the one that it leads to
            return [self._aliases[key].written for key in reversed(keys)]
        return ()

    def _next_alias(self, name: Name) -> str:
        names = [name] if name.domain else [name._replace(domain=self._host), name]
        return next((key for key in map(self.key, names) if key in self._aliases), "")

    # -- domains ------------------------------------------------------------------------------------

    def _home(self, domain: str) -> str:
        """Return the domain that a domain or an address literal stands for, in the form in which they are compared.

        Raises:
            UnknownRecipient, ForeignDomain: for none.
        """
        if not domain:  # RFC 5321 section 4.5.1: <postmaster>; and what a local mail server hands over by LMTP
            return self._host
        if domain.endswith("."):  # RFC 5321 section 2.3.5: a domain has no dot at its end
            raise UnknownRecipient(domain)
        if domain.startswith("["):
            if is_loopback(domain):
                return self._host
            raise ForeignDomain(domain)
        try:
            domain = a_labels(domain)
        except ValueError:
            raise ForeignDomain(domain) from None
        return self._domain_aliases.get(domain, domain)

    def _mapped(self, name: Name) -> Name:
        return name._replace(domain=self._domain_aliases.get(name.domain, name.domain))

    # -- names --------------------------------------------------------------------------------------

    def _folds(self, local: str) -> bool:
        return self._rules.fold or local.lower() == _POSTMASTER  # RFC 5321 section 4.5.1: in any case

    def _forms(self, local: str, domain: str, own: bool) -> list[Name]:
        """Return what an address may be called here, in order: the name alone counts for domains of ours only."""
        full = Name(local, domain)
        return [full, Name(local, "")] if own else [full]

    def _readings(self, local: str) -> Iterator[tuple[str, str]]:
        """Give a local part whole, and then split before its detail (D-025)."""
        yield local, ""
        place = local.find(self._rules.detail, 1) if self._rules.detail else -1
        if place > 0:
            yield local[:place], local[place:]

    async def _find(self, local: str, domain: str, own: bool, walk: _Walk) -> list[Target] | None:
        """Return whom an address means, None for nobody; an empty list if all of them have been found before."""
        for base, detail in self._readings(local):
            for form in self._forms(base, domain, own):
                key = self.key(form)
                # An alias that names itself means the account: others get a copy of its mail.
                if key in self._aliases and walk.path[-1:] != [key]:
                    return await self._expand(key, self._aliases[key], walk)
                account = await self._account(form)
                if account is not None:
                    return [Target(account, _final(account, detail, domain))]
        if own and local.lower() == _POSTMASTER and (account := await self._first_account()) is not None:
            return [Target(account, _final(account, "", self._host))]
        return None

    async def _expand(self, key: str, alias: _Alias, walk: _Walk) -> list[Target]:
        """Return whom an alias means.

        Raises:
            AliasFailure: it leads nowhere, or to itself.
        """
        if key in walk.path:
            raise AliasFailure(alias.written, "leads back to itself")
        if len(walk.path) >= STEPS:
            raise AliasFailure(alias.written, f"comes after {STEPS} other aliases; fewer would be right")
        if key in walk.done:
            return []
        walk.path.append(key)
        found: list[Target] = []
        for name in alias.names:
            home = name.domain or self._host
            targets = await self._find(name.local, home, home in self._own, walk)
            if targets is None:
                raise AliasFailure(alias.written, f'"{name}" is neither an account nor an alias')
            found += targets
        if not alias.names:
            raise AliasFailure(alias.written, "means nobody")
        walk.path.pop()
        walk.done.add(key)
        return found

    # -- accounts -----------------------------------------------------------------------------------

    async def _account(self, name: Name) -> str | None:
        """Return the account that mail for that name goes to."""
        fold = self._folds(name.local)
        for spelling in _written(name):
            account = await account_among(self._directories, spelling, fold=fold)
            if account is not None:
                return account
            for user in dict.fromkeys((spelling, folded_user(spelling) if fold else spelling)):
                if await self._has_mail(user):
                    return user
        return None

    async def _has_mail(self, user: str) -> bool:
        try:
            return self._exists is not None and await self._exists(user)
        except NoSuchMaildrop:  # as when it needs a domain to be a path
            return False

    async def _first_account(self) -> str | None:
        for directory in self._directories:
            if (account := await directory.first_account()) is not None:
                return account
        return None

    async def _nobody(self, user: str, local: str, home: str) -> str:
        """Return the one name that stands for all spellings of a login name without an account."""
        first = await self._first_account() or ""
        # As the accounts are called here, so that one of them would have the same spellings.
        alone = home in self._own and "@" not in first
        name = local if alone else f"{local}@{home}"
        if self._rules.fold:
            name = folded_user(name)
        # Of two accounts that differ in case, a third spelling is neither.
        return user if await account_among(self._directories, name) is not None else name


def _each_once(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Leave out accounts that were there before: nobody gets a message twice."""
    found: dict[str, Target] = {}
    for target in targets:
        found.setdefault(target.account, target)
    return tuple(found.values())


def _domains_of(hostname: str) -> set[str]:
    """Return which domains are ours when nobody says so."""
    parent = hostname.partition(".")[2]
    return {hostname, "localhost"} | ({parent} if "." in parent else set())


def _written(name: Name) -> Iterator[str]:
    """Give the ways in which a user table may have a name."""
    for domain in spellings(name.domain):
        yield str(name._replace(domain=domain))


def _final(account: str, detail: str, domain: str) -> str:
    """Return the address of an account; `domain` completes it if it has none."""
    local, at, own_domain = account.rpartition("@")
    if not at:
        return f"{account}{detail}@{domain}"
    with contextlib.suppress(ValueError):  # a table may have what it likes
        own_domain = a_labels(own_domain)
    return f"{local}{detail}@{own_domain}"
