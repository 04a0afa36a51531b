"""What is to be done in a visit, told by the listing and the journal."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from restante.fetch.account import Account
from restante.fetch.journal import Entry, Journal, seen_now


@dataclass
class Plan:
    """Message numbers of one session."""

    ids: Mapping[int, str]
    """Unique-ids as listed; nothing where the server has none."""
    sizes: Mapping[int, int]
    """Octets, which may be wrong (K-009)."""
    fetch: list[int] = field(default_factory=list)
    """To be fetched and delivered."""
    check: set[int] = field(default_factory=set)
    """Those of `fetch` that may have been delivered before: their content tells."""
    delete: list[int] = field(default_factory=list)
    """Delivered before, and their time has come."""
    too_large: list[int] = field(default_factory=list)
    filtered: list[int] = field(default_factory=list)
    """A filter has said before that they stay."""
    news: list[Entry] = field(default_factory=list)
    """What the listing tells the journal."""

    def octets(self) -> int:
        """Return how many octets are to be fetched, as far as the server counts right."""
        return sum(self.sizes.get(number, 0) for number in self.fetch)


def due(account: Account, entry: Entry, now: float) -> bool:
    """Say whether the time of a delivered message has come."""
    # Somebody who has changed to keep = "forever" has changed his mind about what is owed, too.
    return account.keep is not None and (entry.owed or now >= entry.delivered + account.keep)


def plan(account: Account, journal: Journal, ids: Mapping[int, str], sizes: Mapping[int, int]) -> Plan:
    """Decide for each message that is listed.

    A message is known by its unique-id alone, never by number or size (K-007).  Where an id does not tell, because two
    messages have it, or had it, or because its message was deleted and is here again, the content does.
    """
    made = Plan(ids, sizes)
    now = time.time()
    times = Counter(ids.values())
    for number in sorted(sizes.keys() | ids.keys()):
        unique_id = ids.get(number, "")
        entry = journal.get(unique_id) if unique_id else None
        if unique_id and times[unique_id] > 1 and (entry is None or not entry.by_content):
            entry = Entry(unique_id) if entry is None else entry
            entry = seen_now(unique_id, by_content=True, digest=entry.digest, delivered=entry.delivered)
            made.news.append(entry)
        if not unique_id or (entry is not None and (entry.by_content or entry.gone)):
            made.check.add(number)
            _fetch(account, made, number)
        elif entry is None or not entry.delivered:
            if entry is None:
                made.news.append(seen_now(unique_id))
            if entry is not None and entry.left and entry.left == account.filter:
                made.filtered.append(number)
            else:
                _fetch(account, made, number)
        elif due(account, entry, now):
            made.delete.append(number)
    listed = set(times)
    # Whoever was to delete it has done so, or shows an empty maildrop by mistake; if it is here again, we shall see.
    made.news += [_gone(entry) for entry in journal if entry.owed and entry.id not in listed and not _content(entry.id)]
    return made


def _fetch(account: Account, made: Plan, number: int) -> None:
    if account.largest and made.sizes.get(number, 0) > account.largest:
        made.too_large.append(number)
        made.check.discard(number)
    else:
        made.fetch.append(number)


def _gone(entry: Entry) -> Entry:
    return Entry(entry.id, entry.seen, entry.delivered, gone=True, digest=entry.digest)


def content_id(digest: str, unique_id: str = "") -> str:
    """Return by what a message is known in the journal whose unique-id does not tell."""
    return f"sha256 {digest} {unique_id}".rstrip()


def _content(unique_id: str) -> bool:
    return unique_id.startswith("sha256 ")
