"""Taking over the unique-ids of one maildrop."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from restante.auth import Principal
from restante.cli.adopt_options import Options, log_in
from restante.cli.adopt_wire import Offered, matched, offered
from restante.cli.options import CommandFailed
from restante.client import POP3Client
from restante.maildrop import Adoptable, Given, Maildrop, MaildropStore

NAMES = {"dovecot": "Dovecot", "courier": "Courier", "filename": "the file names", "x-uidl": "the X-UIDL fields"}
"""Of the sources that a store may know."""
LISTS = ("dovecot", "courier")
"""Servers that keep a list beside the mail: it is looked for by itself, and can be followed."""

_MAX_UNIQUE_ID = 70
_SHOWN = 3
"""Messages that a line names; of more only the number is told."""


class Outcome(NamedTuple):
    """What came of a user."""

    summary: str
    problems: Sequence[str] = ()
    rows: Sequence[str] = ()
    """Lines of a table."""


async def adopt(store: MaildropStore, user: str, options: Options) -> Outcome:
    """Take over the ids of a user's messages, while no other session has the maildrop.

    Raises:
        Condition: a server refuses, or the maildrop cannot be opened, or the ids are not kept.
        ValueError, OSError, CommandFailed: what was asked for cannot be done.
    """
    if options.url is None:
        return await _from_lists(store, user, options)
    async with options.session(options.url) as session:
        await log_in(session, *options.secrets.there(user))
        return await _over_the_wire(store, user, options, session, [one async for one in offered(session)])


async def _from_lists(store: MaildropStore, user: str, options: Options) -> Outcome:
    maildrop = await store.open(Principal(user))
    try:
        ids = _adoptable(maildrop)
        source, found = await _found(ids, options)
        if found is None:
            messages = len(maildrop.listing)
            missing = f"{source}; {_count(messages)} here" if messages else ""
            nothing = "no messages, no ids, and nobody to follow" if options.follow else "no messages, no ids"
            return Outcome("" if messages else nothing, [missing] if missing else [])
        follow = source if options.follow and source in LISTS else ""
        return await _give(maildrop, found, options, NAMES.get(source, source), follow)
    finally:
        await maildrop.close()


async def _found(ids: Adoptable, options: Options) -> tuple[str, Sequence[Given] | None]:
    """Return what a source says, with its name; or None, with the reason."""
    if options.source:
        try:
            return options.source, await ids.found_ids(options.source, options.uidl_format)
        except FileNotFoundError as error:
            return f"{error.filename}: {error.strerror}", None
    found: dict[str, Sequence[Given]] = {}
    for source in LISTS:
        uidl_format = options.uidl_format if source == "dovecot" else ""
        try:
            found[source] = await ids.found_ids(source, uidl_format)
        except FileNotFoundError:
            continue
    if len(found) > 1:
        raise CommandFailed("both Dovecot and Courier have left ids here; --from dovecot or --from courier chooses")
    for source, given in found.items():
        return source, given
    return "neither Dovecot nor Courier has left ids here", None


async def _over_the_wire(
    store: MaildropStore, user: str, options: Options, session: POP3Client, theirs: list[Offered]
) -> Outcome:
    maildrop = await store.open(Principal(user))
    try:
        matching = await matched(session, [one.message for one in theirs], maildrop)
        pairs = matching.pairs
        found = [Given(pairs[one.message.number], one.unique_id) for one in theirs if one.message.number in pairs]
        outcome = await _give(maildrop, found, options, str(session.url), "")
        lost = [one.unique_id for one in theirs if one.message.number not in pairs]
        if lost:
            problem = f"{_count(len(lost))} of {session.url} found no equal here: {_named(lost)}"
            outcome = outcome._replace(problems=[*outcome.problems, problem])
        return outcome
    finally:
        await maildrop.close()


def _adoptable(maildrop: Maildrop) -> Adoptable:
    if not isinstance(maildrop, Adoptable):
        raise CommandFailed("this kind of store cannot take over ids")
    return maildrop


async def _give(maildrop: Maildrop, found: Sequence[Given], options: Options, source: str, follow: str) -> Outcome:
    good, problems = _sorted_out(found)
    if not options.dry_run:
        uidl_format = options.uidl_format if follow == "dovecot" else ""
        await _adoptable(maildrop).adopt(good, follow=follow, uidl_format=uidl_format)
    own = len(maildrop.listing) - len(good)
    verb = "would have" if options.dry_run else _verb(len(good), "has", "have")
    summary = f"{_count(len(good))} {verb} the ids of {source}"
    summary += f", {own} {_verb(own, 'keeps', 'keep')} ours" if own else ""
    summary += f", and new ones get the same as there ({follow})" if follow else ""
    return Outcome(summary, problems)


def _sorted_out(found: Sequence[Given]) -> tuple[list[Given], list[str]]:
    """Leave out what cannot be a unique-id of ours (P-123, P-124); returns the rest and what is to be said."""
    bad = [given.unique_id for given in found if not _is_unique_id(given.unique_id)]
    good: dict[str, Given] = {}
    twice = []
    for given in found:
        if given.unique_id in good:
            twice.append(given.unique_id)
        elif _is_unique_id(given.unique_id):
            good[given.unique_id] = given
    return list(good.values()), list(_complaints(bad, twice))


def _complaints(bad: list[str], twice: list[str]) -> Iterator[str]:
    reasons = {
        f"no id may look like that: 1 to {_MAX_UNIQUE_ID} printable characters are allowed": bad,
        "the old server gave the id to another one, too": twice,
    }
    for reason, ids in reasons.items():
        if ids:
            yield f"{_count(len(ids))} {_verb(len(ids), 'keeps', 'keep')} ours, {reason}: {_named(ids)}"


def _is_unique_id(text: str) -> bool:
    return 0 < len(text) <= _MAX_UNIQUE_ID and text.isascii() and text.isprintable() and " " not in text


def _count(number: int) -> str:
    return f"{number} message{'' if number == 1 else 's'}"


def _verb(number: int, one: str, several: str) -> str:
    return one if number == 1 else several


def _named(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (" ..." if len(ids) > _SHOWN else "")
