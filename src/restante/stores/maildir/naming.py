"""Which unique-id a message has.  Under the session's lock."""

import logging
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping

from restante.stores.maildir import foreign, ids, names
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.ids import Ids, Known
from restante.stores.maildir.records import NOT_ADOPTED, Key, Stored

log = logging.getLogger("restante.store")


class Naming:
    """Gives each message its id: none changes (P-125), none is given twice (P-124).

    Args:
        folder: the Maildir.
        given: what its list of ids says.
        before: messages whose ids are known.
        renew: the list has changed since.
    """

    def __init__(self, folder: Folder, given: Ids, before: Mapping[Key, Stored], *, renew: bool) -> None:
        self._folder = folder
        self._given = given
        self._before = before
        self._renew = renew
        self._to_save: dict[Key, Known] = {}

    def name(self, found: dict[Key, Stored], rest: dict[str, Stored]) -> tuple[dict[Key, Stored], bool]:
        """Return the messages with their ids, and whether all can be shown.

        Args:
            found: messages that were looked at; those that were not known have the ids that their names give.
            rest: others, whose ids stay, by these ids.
        """
        new = {key: stored for key, stored in found.items() if key not in self._before}
        if not new and not self._renew:
            return found, True
        named = {key: found[key] for key in found.keys() & self._before.keys()}
        owners = ChainMap[str, Stored]({}, rest)  # what is found goes into the first
        if self._renew:
            named = {key: self._by_list(key, stored) for key, stored in named.items()}
        for key, stored in named.items():
            other = owners.setdefault(stored.message.unique_id, stored)
            if other is not stored:  # somebody has edited the list: no two messages have one id, whatever it says
                named[key] = owners[named[key].message.unique_id] = self._apart(stored, other)
        hidden = self._follow(new)
        for key in _in_order(new.keys() - hidden):
            stored = self._by_list(key, new[key])
            owner = owners.get(stored.message.unique_id)
            if owner is not None:
                stored = self._apart(stored, owner)
            owners[stored.message.unique_id] = stored
            named[key] = stored
        if not self._save():
            hidden |= {key for key in new if key in self._to_save or (key[0], 0) in self._to_save}
            named = {key: stored for key, stored in named.items() if key not in hidden}
        return named, not hidden

    def _by_list(self, key: Key, stored: Stored) -> Stored:
        if not (self._to_save or self._given.known or key in self._before):
            return stored
        known = self._to_save.get((key[0], 0)) or self._given.of(key)
        if known is not None:
            return _with(stored, known)
        if key in self._before and _is_special(stored):  # the list was lost; the index still knows
            self._to_save[key] = _known(stored)
        return stored

    def _apart(self, stored: Stored, owner: Stored) -> Stored:
        """Tell a message from another one whose id it would have; from now on their inodes say which is which."""
        base, inode = stored.key
        self._to_save[owner.key] = _known(owner)
        self._to_save[stored.key] = Known(names.unique_id(f"{base}\0{inode}"))
        return _with(stored._replace(order=(NOT_ADOPTED, *stored.order[1:])), self._to_save[stored.key])

    def _follow(self, new: dict[Key, Stored]) -> set[Key]:
        """Ask the other server for the ids of new messages; returns those that cannot be shown yet (P-129)."""
        following = self._given.following
        ours = [stored for key, stored in new.items() if self._given.of(key) is None]
        if following is None or not ours:
            return set()
        bases = list(dict.fromkeys(stored.base for stored in sorted(ours, key=lambda one: (one.order, one.base))))
        try:
            assigned = foreign.assign(self._folder.path, following.source, following.uidl_format, bases)
        except FileNotFoundError as error:
            log.info("%s: ids of %s are no longer followed: %s", self._folder.path, following.source, error)
            self._given.following = None
            self._given.stamp = ids.add(self._folder.ours(ids.NAME), {}, end=True)
            return set()
        except (OSError, ValueError) as error:
            log.warning("%s: new messages stay hidden: %s", self._folder.path, error)
            return {stored.key for stored in ours}
        rank = self._given.next_rank
        for number, (base, unique_id) in enumerate(assigned.items()):  # in the order of that server's listing
            self._to_save[base, 0] = Known(unique_id, rank + number)
        return {stored.key for stored in ours if stored.base not in assigned}

    def _save(self) -> bool:
        if not self._to_save:
            return True
        try:
            self._given.stamp = ids.add(self._folder.ours(ids.NAME), self._to_save)
        except OSError as error:
            log.warning("%s: new messages stay hidden, because their ids cannot be saved: %s", self._folder.path, error)
            return False
        return True


def _in_order(keys: Collection[Key]) -> Iterable[Key]:
    """Sort by inode: of two files with one base name the same one comes first whenever the index is lost."""
    if len({base for base, _ in keys}) == len(keys):
        return keys
    return sorted(keys, key=lambda key: key[1])


def _with(stored: Stored, known: Known) -> Stored:
    order = stored.order if known.rank is None else (known.rank, *stored.order[1:])
    return stored._replace(message=stored.message._replace(unique_id=known.unique_id), order=order)


def _known(stored: Stored) -> Known:
    rank = stored.order[0]
    return Known(stored.message.unique_id, None if rank == NOT_ADOPTED else rank)


def _is_special(stored: Stored) -> bool:
    return stored.order[0] != NOT_ADOPTED or stored.message.unique_id != names.unique_id(stored.base)
