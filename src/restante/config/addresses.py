"""The `[addresses]` table: who is meant by a name or an address."""

import string
from collections.abc import Sequence
from typing import Any

from restante.addressing import Addressing, Rules
from restante.addressing.names import a_labels, parse
from restante.auth import Authenticator, Directory, Kind, Versatile
from restante.config.reading import Place, Source
from restante.config.settings import AddressesSettings
from restante.maildrop import MaildropStore, Roomy

_PLACE: Place = ("addresses",)
_ALIASES: Place = ("addresses", "aliases")
_SEPARATORS = sorted(set(string.punctuation) - set('/:@"\\<>()[],;'))


def make(
    rules: Rules, authenticators: Sequence[Authenticator], store: MaildropStore, *, every: bool = True
) -> Addressing:
    """Make what knows the addresses of a site: its user tables, and for those that cannot be asked its maildrops.

    Args:
        rules: of the site.
        authenticators: its user tables.
        store: its maildrops.
        every: these are all the tables there are.
    """
    directories = [table for table in authenticators if isinstance(table, Directory)]
    others = [table for table in authenticators if not isinstance(table, Directory)]
    exists = store.holds if (others or not every) and isinstance(store, Roomy) else None
    return Addressing(rules, directories, exists, all_listed=all(map(_takes_tokens_only, others)))


def _takes_tokens_only(table: Authenticator) -> bool:
    return isinstance(table, Versatile) and table.kinds().some <= {Kind.BEARER}


def rules(source: Source, hostname: str, data: dict[str, Any]) -> Rules:
    """Read the table.

    Raises:
        ConfigurationError: something is wrong with it.
    """
    settings = source.convert(_PLACE, data, AddressesSettings)
    domains = [_domain(source, ("domains",), text) for text in settings.domains or ()]
    found = Rules(
        hostname,
        frozenset(domains),
        _domain_aliases(source, settings.domain_aliases),
        {key: _names(source, key, value) for key, value in settings.aliases.items()},
        _detail(source, settings.detail),
        fold=settings.case == "ignore",
        configured=settings.domains is not None,
    )
    addressing = Addressing(found, [])
    _check_keys(source, found, addressing)
    if cycle := addressing.cycle():
        way = " -> ".join(f'"{key}"' for key in cycle)
        raise source.error((*_ALIASES, cycle[0]), f"{cycle[0]}: leads back to itself: {way}; an account would be right")
    return found


def _domain(source: Source, place: Place, text: str) -> str:
    try:
        return a_labels(text)
    except ValueError as error:
        text = f'{place[0]}: "{text}" is no domain: {error}; "example.org" would be right'
        raise source.error((*_PLACE, *place), text) from None


def _domain_aliases(source: Source, settings: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    places: dict[str, Place] = {}
    for written, target in settings.items():
        place: Place = ("domain_aliases", written)
        one = _domain(source, place, written)
        if one in found:
            text = f'domain_aliases: "{written}" is the same as "{places[one][1]}"; one of the lines would be right'
            raise source.error((*_PLACE, *place), text)
        found[one], places[one] = _domain(source, place, target), place
    for one, other in found.items():
        if other in found:
            place = places[one]
            text = (
                f'domain_aliases: "{place[1]}" means "{other}", which is an alias itself; its own domain would be right'
            )
            raise source.error((*_PLACE, *place), text)
    return found


def _detail(source: Source, text: str) -> str:
    if text and text not in _SEPARATORS:
        right = " ".join(_SEPARATORS)
        text = f'detail: "{text}" cannot stand before a detail; right are "" for none, or one of {right}'
        raise source.error((*_PLACE, "detail"), text)
    return text


def _names(source: Source, key: str, value: Any) -> tuple[str, ...]:
    """Check an alias and whom it means."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise source.error((*_ALIASES, key), f'{key}: an alias means an account or several: "bob" or ["bob", "alice"]')
    for name in (key, *names):
        try:
            parse(name)
        except ValueError as error:
            text = f'{key}: "{name}" is no name and no address: {error}; "bob" or "bob@example.org" would be right'
            raise source.error((*_ALIASES, key), text) from None
    return tuple(names)


def _check_keys(source: Source, found: Rules, addressing: Addressing) -> None:
    """Refuse an alias that stands there twice, in different spellings."""
    seen: dict[str, str] = {}
    for key in found.aliases:
        same = addressing.key(parse(key))
        if same in seen:
            text = f'{key}: is the same as "{seen[same]}"; one line with all names would be right'
            raise source.error((*_ALIASES, key), text)
        seen[same] = key
