"""Taking over the unique-ids of another server (P-128).  Under the session's lock."""

from collections import Counter
from collections.abc import Sequence

from restante.maildrop import Given
from restante.stores.maildir import deleted, foreign, ids, names
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.ids import Following, Known
from restante.stores.maildir.records import Key, Stored


def found(folder: Folder, messages: Sequence[Stored], source: str, uidl_format: str) -> list[Given]:
    """See `Adoptable.found_ids`."""
    numbers = {stored.base: number for number, stored in enumerate(messages, 1)}
    identified = foreign.read(folder.path, source, uidl_format)
    return [Given(numbers[one.base], one.unique_id) for one in identified if one.base in numbers]


def adopt(folder: Folder, messages: Sequence[Stored], given: Sequence[Given], follow: str, uidl_format: str) -> None:
    """See `Adoptable.adopt`."""
    _check(folder, messages, given)
    if follow:  # a list that can be read but not written would hide all new mail later
        foreign.assign(folder.path, follow, uidl_format, [])
    bases = Counter(stored.base for stored in messages)
    listed = ids.read(folder.ours(ids.NAME))
    known: dict[Key, Known] = {}
    # Messages that keep their ids come after the others: what an earlier adoption ranked must not stand between.  When
    # later messages get ranks, too, all have one.
    ranked = [one.number for one in given]
    named = set(ranked)
    rest = [number for number in range(1, len(messages) + 1) if number not in named]
    ranked += [number for number in rest if follow or _has_rank(listed, messages[number - 1])]
    new_ids = {one.number: one.unique_id for one in given}
    for rank, number in enumerate(ranked):
        stored = messages[number - 1]
        key = stored.base, stored.inode if bases[stored.base] > 1 else 0
        known[key] = Known(new_ids.get(number, stored.message.unique_id), rank)
    following = Following(follow, uidl_format) if follow else None
    if following is not None:  # what is not in the list counts as new there when it comes back
        for one in deleted.kept(folder):
            key = names.base_name(one.name), one.status.st_ino
            if listed.of(key) is None and (key[0], 0) not in known:
                known[key] = Known(one.unique_id)
    # Anew, all or nothing: ids may change places, and half of that would give two messages one id.
    before = {key: one for key, one in listed.known.items() if key not in known}
    ids.replace(folder.ours(ids.NAME), {**before, **known}, following)


def _has_rank(listed: ids.Ids, stored: Stored) -> bool:
    known = listed.of(stored.key)
    return known is not None and known.rank is not None


def _check(folder: Folder, messages: Sequence[Stored], given: Sequence[Given]) -> None:
    """See to it that every id is one, and nobody else's (P-123, P-124, P-126).

    Raises:
        ValueError: one is not.
    """
    changed = {one.number for one in given}
    if len(changed) < len(given):
        raise ValueError("a message is named twice")
    taken = {stored.message.unique_id for number, stored in enumerate(messages, 1) if number not in changed}
    # A deleted message that comes back has its id again, unless that is the id of a copy of it that is still here.
    bases = {stored.base for stored in messages}
    taken |= {one.unique_id for one in deleted.kept(folder) if names.base_name(one.name) not in bases}
    for one in given:
        if not names.is_unique_id(one.unique_id):
            raise ValueError(f"{one.unique_id!r} is no unique-id: 1 to 70 characters of 0x21 to 0x7E would be right")
        if one.unique_id in taken:
            raise ValueError(f"{one.unique_id} is the unique-id of another message")
        taken.add(one.unique_id)
