"""Sites whose accounts are in real user tables, and questions put to them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from restante.addressing import Addressing, ForeignDomain, Recipient, Rules, UnknownRecipient
from restante.authenticators.passwd_file import PasswdFile

HOST = "mail.example.org"
UNKNOWN = "unknown"
FOREIGN = "foreign"
OWN = frozenset({"example.org"})
ALL = frozenset({"example.org", "example.net", "b\xfccher.example"})


def table(path: Path, *users: str) -> PasswdFile:
    """Write a file of accounts."""
    path.write_text("".join(f"{user}:{{PLAIN}}secret\n" for user in users), encoding="utf-8")
    return PasswdFile(path, threads=1)


def site(
    folder: Path,
    *users: str,
    exists: Callable[[str], Awaitable[bool]] | None = None,
    all_listed: bool = True,
    **rules: Any,
) -> Addressing:
    """Make a site with these accounts, by default bob and alice, and the domain example.org unless told otherwise."""
    rules.setdefault("domains", OWN)
    rules.setdefault("configured", bool(rules["domains"]))
    made = Rules(HOST, **rules)
    return Addressing(made, [table(folder / "users", *(users or ("bob", "alice")))], exists, all_listed=all_listed)


def resolve(addressing: Addressing, address: str, *, any_domain: bool = False) -> Recipient:
    """Ask about an address as it stands between angle brackets."""
    local, _, domain = address.rpartition("@") if "@" in address else (address, "", "")
    return asyncio.run(addressing.resolve(local, domain, any_domain=any_domain))


def whom(addressing: Addressing, address: str, *, any_domain: bool = False) -> str:
    """Say whom an address means: ``account <address>`` for each, or why nobody."""
    try:
        found = resolve(addressing, address, any_domain=any_domain)
    except UnknownRecipient:
        return UNKNOWN
    except ForeignDomain:
        return FOREIGN
    return ", ".join(f"{account} <{final}>" for account, final in found.targets)


def login(addressing: Addressing, name: str) -> str:
    """Say which account a login name means."""
    return asyncio.run(addressing.login_name(name))
