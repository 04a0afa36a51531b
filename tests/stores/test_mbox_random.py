"""Sessions, deliveries and other programs in any order, against a model: nothing lost, doubled, or given a new id."""

import asyncio
import random
import re
from pathlib import Path

import pytest

from restante.errors import TemporaryFailure, UpdateIncomplete
from restante.maildrop import Maildrop
from restante.stores.mbox import MboxStore
from tests.stores.test_contract import BOB, deliver

FROM = b"From alice@example.org Thu Nov 24 18:22:%02d 1986\n"
_TEXT = re.compile(rb"Subject: (\d+)\n")


class World:
    """A mailbox, and what ought to be in it.

    Messages are told apart by a number in their Subject.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.path = folder / "bob"
        self.index = folder / ".restante" / "bob.index"
        self.store = MboxStore(f"{folder}/{{user}}")
        self.expected: list[int] = []
        self.ids: dict[str, int] = {}
        self.gone: set[str] = set()
        self.count = 0
        self.session: Maildrop | None = None
        self.listed: list[int] = []
        self.touched = False

    def message(self) -> bytes:
        """A new message; now and then many octets, lines to be quoted, no line end."""
        self.count += 1
        body = self.random.choice([b"", b"x\n", b"From x\n\n>From y\n", b"\n\n\n", b"long\n" * 20_000, b"8 bit \xfc\n"])
        return b"Subject: %d\n\n" % self.count + body

    async def deliver(self) -> None:
        await deliver(self.store, self.message().replace(b"\n", b"\r\n"))
        self.expected.append(self.count)

    async def foreign_delivery(self) -> None:
        octets = re.sub(rb"(?m)^(>*From )", rb">\1", self.message())
        with self.path.open("ab") as file:
            file.write(FROM % self.random.randrange(60) + octets + b"\n")
        self.expected.append(self.count)

    async def foreign_flags(self) -> None:
        """Another program marks messages, in the file or in a copy that takes its place."""
        octets = self.path.read_bytes()
        note = self.random.choice(
            [b"Status: RO\n", b"X-UID: 7\nX-Keywords: a\n  b\n", b"Content-Length: 3\nLines: 1\n"]
        )
        which = b"Subject: %d\n" % self.random.choice(self.expected or [0])
        octets = octets.replace(which, note + which)
        self.touched = True
        if self.random.random() < 0.5:
            self.path.write_bytes(octets)
        else:
            (self.path.parent / "copy").write_bytes(octets)
            (self.path.parent / "copy").rename(self.path)

    async def foreign_deletion(self) -> None:
        """Another program removes a message."""
        if not self.expected:
            return
        number = self.random.choice(self.expected)
        octets = self.path.read_bytes()
        kept = [
            part
            for part in re.split(rb"(?m)^(?=From (?:alice|MAILER))", octets)
            if b"Subject: %d\n" % number not in part
        ]
        self.path.write_bytes(b"".join(kept))
        self.expected.remove(number)
        self.touched = True

    async def lose_index(self) -> None:
        self.index.unlink(missing_ok=True)

    async def open(self) -> None:
        if self.session is not None:
            return
        self.session = await self.store.open(BOB)
        self.listed = []
        self.touched = False
        for number, message in enumerate(self.session.listing, 1):
            octets = await self.read(self.session, number)
            match = _TEXT.search(octets)
            assert match is not None
            self.listed.append(int(match[1]))
            assert self.ids.setdefault(message.unique_id, int(match[1])) == int(match[1])
        assert self.listed == self.expected
        ids = [message.unique_id for message in self.session.listing]
        assert len(set(ids)) == len(ids)
        assert len(self.ids) == len(set(self.ids.values())), "a message has got a second id"
        assert not self.gone & set(ids)

    async def read(self, session: Maildrop, number: int) -> bytes:
        file = await session.retrieve(number)
        octets = file.read()
        file.close()
        assert len(octets.replace(b"\n", b"\r\n")) == session.listing[number - 1].octets
        return octets

    async def retrieve(self) -> None:
        if self.session is None or not self.listed:
            return
        number = self.random.randrange(len(self.listed)) + 1
        try:
            octets = await self.read(self.session, number)
        except TemporaryFailure:
            assert self.touched
        else:
            assert b"Subject: %d\n" % self.listed[number - 1] in octets

    async def quit(self) -> None:
        if self.session is None:
            return
        marked = {number for number in range(1, len(self.listed) + 1) if self.random.random() < 0.3}
        try:
            await self.session.update(marked)
        except UpdateIncomplete:
            assert self.touched
        else:
            for number in marked:
                if self.listed[number - 1] in self.expected:
                    self.expected.remove(self.listed[number - 1])
                self.gone.add(self.session.listing[number - 1].unique_id)
        await self.session.close()
        self.session = None

    async def drop(self) -> None:
        if self.session is not None:
            await self.session.close()
            self.session = None


STEPS = [
    "deliver",
    "foreign_delivery",
    "foreign_flags",
    "foreign_deletion",
    "lose_index",
    "open",
    "retrieve",
    "quit",
    "drop",
]
WEIGHTS = [4, 4, 1, 1, 1, 6, 4, 4, 1]


@pytest.mark.parametrize("seed", range(12))
def test_any_order(tmp_path: Path, seed: int) -> None:
    """P-124 to P-126, P-131, P-133, P-136, M-023 to M-025."""

    async def run() -> None:
        world = World(tmp_path, seed)
        await world.deliver()
        for _ in range(120):
            step = world.random.choices(STEPS, WEIGHTS)[0]
            await getattr(world, step)()
        await world.drop()
        await world.open()
        await world.drop()

    asyncio.run(run())
