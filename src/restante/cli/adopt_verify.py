"""``restante adopt --verify``: what a client would see of the old server, and of ours."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from restante.cli.adopt_ids import Outcome
from restante.cli.adopt_options import Options, log_in
from restante.client import POP3Client, ServerUrl
from restante.errors import one_line

_SHOWN = 100
"""Rows of a table; of more only the number is told."""


class Listed(NamedTuple):
    """A message as one of the servers lists it."""

    number: int
    octets: int


class Difference(NamedTuple):
    """A row of the table."""

    unique_id: str
    theirs: str
    ours: str


async def verify(user: str, theirs: ServerUrl, ours: ServerUrl, options: Options) -> Outcome:
    """Log in to both and compare ids, order and octets.

    Raises:
        Condition: one of them refuses.
        CommandFailed: there is no password.
    """
    async with options.session(theirs) as there:
        await log_in(there, *options.secrets.there(user))
        async with options.session(ours) as here:
            await log_in(here, *options.secrets.here(user))
            listings = await _listing(there), await _listing(here)
            rows = list(_repeated(*listings))
            repeated = {row.unique_id for row in rows}
            old, new = ({one: seen for one, seen in side if one not in repeated} for side in listings)
            rows += _differences(old, new)
            if options.content:
                rows += [row async for row in _other_content(there, here, old, new)]
    if not rows:
        return Outcome(f"{len(new)} message{'' if len(new) == 1 else 's'}: ids, order and octets are the same")
    return Outcome("", [f"{len(rows)} difference{'' if len(rows) == 1 else 's'}"], list(_table(rows)))


async def _listing(session: POP3Client) -> list[tuple[str, Listed]]:
    ids, sizes = await session.listing()
    return [(ids[number], Listed(number, sizes.get(number, 0))) for number in sorted(ids)]


def _repeated(old: Sequence[tuple[str, Listed]], new: Sequence[tuple[str, Listed]]) -> Iterator[Difference]:
    for unique_id in dict.fromkeys(unique_id for unique_id, _ in [*old, *new]):
        counts = [sum(1 for other, _ in side if other == unique_id) for side in (old, new)]
        if max(counts) > 1:
            yield Difference(unique_id, *(f"{count} times" for count in counts))


def _differences(old: Mapping[str, Listed], new: Mapping[str, Listed]) -> Iterator[Difference]:
    both = [unique_id for unique_id in old if unique_id in new]
    order = [unique_id for unique_id in new if unique_id in old]
    moved = {unique_id for pair in zip(both, order, strict=True) if pair[0] != pair[1] for unique_id in pair}
    for unique_id in dict.fromkeys([*old, *new]):
        theirs, ours = old.get(unique_id), new.get(unique_id)
        if theirs is None or ours is None or unique_id in moved or theirs.octets != ours.octets:
            yield Difference(unique_id, _shown(theirs), _shown(ours))


def _shown(listed: Listed | None) -> str:
    return f"{listed.number}: {listed.octets} octets" if listed else "missing"


async def _other_content(
    there: POP3Client, here: POP3Client, old: Mapping[str, Listed], new: Mapping[str, Listed]
) -> AsyncIterator[Difference]:
    for unique_id, listed in old.items():
        if unique_id in new:
            numbers = (listed.number, new[unique_id].number)
            one, other = [await _hash(*side) for side in zip((there, here), numbers, strict=True)]
            if one != other:
                yield Difference(unique_id, f"{numbers[0]}: content {one[:8]}", f"{numbers[1]}: content {other[:8]}")


async def _hash(session: POP3Client, number: int) -> str:
    digest = hashlib.sha256()
    async for piece in await session.retr(number):
        digest.update(piece)
    return digest.hexdigest()


def _table(rows: Sequence[Difference]) -> Iterator[str]:
    lines = [Difference("unique-id", "old server", "here"), *rows[:_SHOWN]]
    widths = [max(len(one_line(line[column])) for line in lines) for column in range(3)]
    for line in lines:
        cells = (one_line(cell).ljust(width) for cell, width in zip(line, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()
    if len(rows) > _SHOWN:
        yield f"  ... and {len(rows) - _SHOWN} more"
