"""What a fuzzer's octets stand for: octets for the peer to send, and choices of the world around it."""

import random


class Choices:
    """Splits the octets of a fuzzer: the last one says how many before it are choices, the rest is what is sent.

    Mutations of what is sent then leave the choices alone, and the other way round.
    """

    def __init__(self, octets: bytes) -> None:
        count = min(octets[-1], len(octets) - 1) if octets else 0
        end = len(octets) - 1 - count
        self.sent = octets[: max(end, 0)]
        self._choices = list(octets[max(end, 0) : -1])

    def choose(self, ways: int) -> int:
        """Return a number below `ways`; 0, the ordinary way, when no choices are left."""
        return self._choices.pop(0) % ways if self._choices else 0

    def segments(self) -> list[bytes]:
        """Cut what is sent; one choice says how: 0 not at all, 1 octet by octet, the others somehow."""
        way = self.choose(256)
        if way == 0:
            return [self.sent]
        chance = random.Random(way)
        cut, rest = [], self.sent
        while rest:
            length = 1 if way == 1 else chance.randint(1, way)
            cut.append(rest[:length])
            rest = rest[length:]
        return cut


def joined(sent: bytes, choices: bytes = b"") -> bytes:
    """Make the octets that `Choices` splits into these."""
    return sent + choices + bytes([len(choices)])


def mutated(seeds: list[bytes], tokens: list[bytes], chance: random.Random) -> bytes:
    """Make an input from the seeds, as a fuzzer does that is not guided by anything."""
    octets = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 5, 8))):
        place = chance.randrange(len(octets) + 1)
        end = min(len(octets), place + chance.choice((0, 1, 1, 2, 4, 16, 64)))
        match chance.randrange(6):
            case 0:
                octets[place:end] = chance.randbytes(end - place)
            case 1:
                del octets[place:end]
            case 2:
                octets[place:place] = chance.choice(tokens)
            case 3:
                octets[place:place] = octets[place:end] * chance.choice((1, 2, 40))
            case 4:
                other = chance.choice(seeds)
                octets[place:end] = other[chance.randrange(len(other)) :]
            case _:
                octets[-1:] = chance.randbytes(count := chance.randrange(8)) + bytes([count])
    return bytes(octets[:8192])
