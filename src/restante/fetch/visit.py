"""A visit: one POP3 session with one account, in which each step is durable before the next.

The order is: the message is durable at its destination, then in the journal; only then DELE is said, and only a
positive reply to QUIT counts as deletion (K-006, K-023).
"""

import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace

from restante.client import ConnectionLost, Message, NotPop3, POP3Client, Refused
from restante.errors import Condition, PermanentFailure, TemporaryFailure, one_line
from restante.fetch.account import Account, Outcome, Watcher
from restante.fetch.deliveries import Arrived, Deliveries
from restante.fetch.filtering import Verdict, judged
from restante.fetch.journal import Entry, Journal
from restante.fetch.plan import Plan, content_id, due, plan
from restante.maildrop import Delivery

FAILURES = 5
"""Messages in a row that are not delivered, after which a visit ends: the destination is out of order."""


class Visit:
    """A session with an account.

    Args:
        account: to fetch from.
        watcher: is told how it goes on.
        stopping: says whether to leave as soon as the message at hand is done.
        moved: as for `Journal`.
    """

    def __init__(
        self, account: Account, watcher: Watcher, stopping: Callable[[], bool] = lambda: False, *, moved: bool = False
    ) -> None:
        self._account = account
        self._watcher = watcher
        self._stopping = stopping
        self._moved = moved
        self._failures = 0
        self.outcome = Outcome()
        """What has come of it so far."""

    async def run(self, *, dry: bool = False) -> Outcome:
        """Fetch what is new, delete what is due.

        Args:
            dry: only say what would be done; nothing changes, here or there.
        """
        try:
            with Journal(self._account.journal, self._account.url.account(), moved=self._moved) as journal:
                if not dry:
                    await self._recover(journal)
                async with self._client() as client:
                    await self._session(client, journal, dry=dry)
        except (Condition, ValueError) as error:
            self._problem(error)
        except OSError as error:  # certificates that cannot be read
            self._problem(f"{error.filename or self._account.name}: {error.strerror or error}")
        finally:
            await self._account.target.close()
        return self.outcome

    def _client(self) -> POP3Client:
        return POP3Client(
            self._account.url,
            security=self._account.security,
            utf8=True,
            lenient=self._account.lenient,
            log=lambda line: self._watcher.log(self._account, line),
        )

    def _problem(self, error: object) -> None:
        text = str(error)
        if not text and isinstance(error, Condition):
            text = error.reply.template
        self.outcome.problems.append(one_line(text or type(error).__name__))

    async def _recover(self, journal: Journal) -> None:
        """Find out what became of deliveries that were under way when a fetcher died."""
        settled: list[Entry] = []
        for entry in journal:
            if entry.receipt and not entry.delivered:
                done = self._account.target.exact and await self._account.target.settle(entry.receipt)
                delivered = time.time() if done else 0.0
                owed = done and self._account.keep == 0
                settled.append(replace(entry, receipt="", delivered=delivered, owed=owed))
        await journal.note(*settled)

    # -- the session --------------------------------------------------------------------------------

    async def _session(self, client: POP3Client, journal: Journal, *, dry: bool) -> None:
        secrets = await self._account.secrets()
        await client.login(self._account.url.user, secrets.password, token=secrets.token)
        await self._look_again(client)
        made = plan(self._account, journal, *await self._listed(client))
        self.outcome.listed = len(made.sizes.keys() | made.ids.keys())
        self.outcome.left = len(made.too_large) + len(made.filtered)
        verdicts = await self._filtered(client, made)
        self._watcher.planned(self._account, len(made.fetch), made.octets())
        if dry:
            self._tell(made, verdicts)
            return
        await journal.note(*made.news, *self._refused(made, verdicts))
        unwanted = [number for number, verdict in verdicts.items() if verdict is Verdict.DELETE]
        delete = made.delete + unwanted
        # What DELE is said for must be owed, so that the next visit says it again if this one is cut off.
        await journal.note(*(self._owed(journal, made.ids[number]) for number in delete))
        marked = {number: made.ids[number] for number in delete}
        marked |= await self._fetch(client, journal, made)
        await self._delete(client, journal, marked)

    async def _look_again(self, client: POP3Client) -> None:
        """Ask for what a server tells only, or otherwise, after the login (RFC 2449 sections 6.5 and 6.7, K-019)."""
        capabilities = client.capabilities
        if any("USER" in capabilities.get(name, "").upper().split() for name in ("EXPIRE", "LOGIN-DELAY")):
            capabilities = await client.capa()
        with suppress(ValueError, IndexError):
            self.outcome.login_delay = float(capabilities.get("LOGIN-DELAY", "").split()[0])
        self.outcome.more = "X-GOOGLE-RICO" in capabilities

    async def _listed(self, client: POP3Client) -> tuple[dict[int, str], dict[int, int]]:
        try:
            return await client.listing()
        except Refused as refused:  # K-005
            if self._account.keep is None:
                text = f'{refused}; without them nothing can stay there and be known: keep = "0" would be right'
                raise PermanentFailure(text) from None
            return {}, await client.list()

    async def _filtered(self, client: POP3Client, made: Plan) -> dict[int, Verdict]:
        """Ask the filter for its opinion of each header; takes what stays out of the plan."""
        if not self._account.filter or not made.fetch:
            return {}
        verdicts: dict[int, Verdict] = {}
        async for number, header in client.top_many([number for number in made.fetch if number in made.ids]):
            if isinstance(header, Condition):  # K-005: no TOP, so nothing to judge by
                continue
            try:
                verdicts[number] = await judged(self._account.filter, header)
            except TemporaryFailure as error:
                self._problem(error)
                verdicts[number] = Verdict.LATER
        made.fetch = [number for number in made.fetch if verdicts.get(number, Verdict.FETCH) is Verdict.FETCH]
        self.outcome.left += sum(1 for verdict in verdicts.values() if verdict in (Verdict.LEAVE, Verdict.LATER))
        return verdicts

    def _refused(self, made: Plan, verdicts: dict[int, Verdict]) -> list[Entry]:
        news = {entry.id: entry for entry in made.news}
        return [
            replace(news.get(made.ids[number]) or Entry(made.ids[number], seen=time.time()), left=self._account.filter)
            for number, verdict in verdicts.items()
            if verdict is Verdict.LEAVE
        ]

    def _owed(self, journal: Journal, unique_id: str) -> Entry:
        return replace(journal.get(unique_id) or Entry(unique_id), owed=True)

    def _tell(self, made: Plan, verdicts: dict[int, Verdict]) -> None:
        """Say what would be done."""
        for words, numbers in (
            ("fetch", made.fetch),
            ("delete", [*made.delete, *(number for number, verdict in verdicts.items() if verdict is Verdict.DELETE)]),
            ("leave, too large", made.too_large),
            ("leave, filtered", [*made.filtered, *(n for n, verdict in verdicts.items() if verdict is Verdict.LEAVE)]),
        ):
            for number in numbers:
                octets = f"{made.sizes[number]} octets" if number in made.sizes else "octets unknown"
                self._watcher.would(self._account, f"{words}: {number} {made.ids.get(number, '')} {octets}")

    # -- messages -----------------------------------------------------------------------------------

    async def _fetch(self, client: POP3Client, journal: Journal, made: Plan) -> dict[int, str]:
        """Fetch and deliver; returns numbers that are to be deleted now, with their ids in the journal."""
        marked: dict[int, str] = {}
        async with Deliveries(self._account, journal, client.noop) as deliveries:
            try:
                async with aclosing(self._messages(client, made.fetch)) as messages:
                    async for number, message in messages:
                        if isinstance(message, Condition):
                            self._problem(f"message {number}: {message or message.reply.template}")
                            continue
                        await self._one(journal, deliveries, made, message)
                        self._gather(deliveries, marked)
                        if self._failures >= FAILURES or self._stopping():
                            break
            finally:
                # What has come as a whole is delivered, however the session ends.
                await deliveries.finish()
                self._gather(deliveries, marked)
        return marked

    async def _messages(
        self, client: POP3Client, numbers: list[int]
    ) -> AsyncGenerator[tuple[int, Message | Condition], None]:
        """Retrieve many at a time only where deliveries are many at a time, too."""
        if self._account.target.exact:
            async for pair in client.retr_many(numbers):
                yield pair
            return
        for number in numbers:
            try:
                message: Message | Condition = await client.retr(number)
            except (ConnectionLost, NotPop3):
                raise
            except Condition as condition:
                message = condition
            yield number, message

    async def _one(self, journal: Journal, deliveries: Deliveries, made: Plan, message: Message) -> None:
        """Take a message in, and have it delivered unless it was before."""
        number = message.number
        unique_id = made.ids.get(number, "")
        digest = hashlib.sha256()
        async with AsyncExitStack() as stack:
            delivery: Delivery | None = None
            try:
                delivery = await stack.enter_async_context(self._account.target.deliver())
                async for piece in message:
                    digest.update(piece)
                    self._watcher.came(self._account, len(piece))
                    await delivery.write(piece)
            except (ConnectionLost, NotPop3):
                raise
            except Condition as error:  # of the destination
                self._undelivered(number, error)
                return
            arrived = Arrived(number, unique_id, digest.hexdigest(), message.octets)
            if number in made.check and (known := self._known(journal, unique_id, arrived.digest)):
                await self._again(journal, deliveries, arrived, known)
                return
            if number in made.check and self._told_by_content(journal, unique_id):
                arrived = arrived._replace(id=content_id(arrived.digest, unique_id))
            await deliveries.add(arrived, delivery, stack.pop_all())

    def _told_by_content(self, journal: Journal, unique_id: str) -> bool:
        entry = journal.get(unique_id) if unique_id else None
        return entry is None or entry.by_content

    def _known(self, journal: Journal, unique_id: str, digest: str) -> Entry | None:
        """Return the entry of a message that was delivered before, told by its content."""
        entry = journal.get(content_id(digest, unique_id))
        if entry is not None and entry.delivered and (unique_id or not entry.gone):
            return entry
        entry = journal.get(unique_id) if unique_id else None
        return entry if entry is not None and entry.delivered and entry.digest == digest else None

    async def _again(self, journal: Journal, deliveries: Deliveries, arrived: Arrived, known: Entry) -> None:
        self.outcome.known += 1
        if self._account.keep is not None and (known.gone or due(self._account, known, time.time())):
            if not known.by_content:
                await journal.note(replace(known, owed=True, gone=False))
            deliveries.marked[arrived.number] = known.id

    def _gather(self, deliveries: Deliveries, marked: dict[int, str]) -> None:
        """Take over what has become of deliveries."""
        for arrived, error in deliveries.take():
            if error is not None:
                self._undelivered(arrived.number, error)
                continue
            self._failures = 0
            self.outcome.fetched += 1
            self.outcome.octets += arrived.octets
            self._watcher.delivered(self._account)
            if self._account.keep == 0:
                marked[arrived.number] = arrived.id
        marked |= deliveries.marked

    def _undelivered(self, number: int, error: Condition) -> None:
        self._failures += 1
        self._problem(f"message {number} stays there: {error if str(error) else error.reply.template}")

    # -- the end ------------------------------------------------------------------------------------

    async def _delete(self, client: POP3Client, journal: Journal, marked: dict[int, str]) -> None:
        if client.connection.session.waiting:
            # The visit was broken off.  What was asked for and not read may be large; deletions are owed.
            client.connection.abort()
            return
        refused = await client.dele_many(sorted(marked))
        for number, condition in refused.items():
            self._problem(f"message {number} is not deleted: {condition}")
        deleted = [unique_id for number, unique_id in marked.items() if number not in refused]
        try:
            await client.quit()
        except Condition as error:
            if marked:
                self._problem(f"{error or error.reply.template}; what was to be deleted is deleted the next time")
            return
        self.outcome.deleted = len(deleted)
        known = [entry for entry in map(journal.get, deleted) if entry is not None]
        await journal.note(*(replace(entry, owed=False, gone=True) for entry in known if not entry.by_content))
