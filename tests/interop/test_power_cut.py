"""SIGKILL of the server while a QUIT removes 200 messages (P-134, P-140)."""

import os
import random
import socket
from pathlib import Path

import pytest

from tests.interop.program import Running, maildir, post_office, running
from tests.server.office import Client

COUNT = 400
MARKED = range(1, COUNT + 1, 2)  # every other one: 200


def octets(number: int) -> bytes:
    return b"Subject: %d\n\n%b" % (number, b"body %d\n" % number * 50)


def begin_quit(server: Running) -> socket.socket:
    """Mark 200 messages, send QUIT, and return without waiting for its answer."""
    client = Client(("127.0.0.1", server.port))
    assert client.login().startswith(b"+OK %d messages" % COUNT)
    client.send(b"".join(b"DELE %d\r\n" % number for number in MARKED))
    for _ in MARKED:
        assert client.line().startswith(b"+OK ")
    client.send(b"QUIT\r\n")
    client.file.close()
    return client.socket


def wait_for_removals(folder: Path, count: int) -> None:
    """Return as soon as that many messages have been removed, or more."""
    while len(os.listdir(folder / "new")) > COUNT - count:  # noqa: PTH208  (as fast as can be)
        pass


@pytest.mark.parametrize("undo", ["7d", "0"])
@pytest.mark.parametrize("seed", range(6))
def test_killed_during_quit(tmp_path: Path, seed: int, undo: str) -> None:
    """Every unmarked message is there, every marked one is whole or gone; and the next session opens at once."""
    configuration = post_office(tmp_path)
    text = configuration.read_text(encoding="ascii")
    configuration.write_text(text.replace('path = "mail/', f'undo = "{undo}"\npath = "mail/'), encoding="ascii")
    folder = maildir(tmp_path, "bob", *[octets(number) for number in range(1, COUNT + 1)])
    with running("serve", "-c", str(configuration)) as server:
        peer = begin_quit(server)
        wait_for_removals(folder, random.Random(seed).randrange(201))
        server.kill()
        peer.close()

    found = {}
    for part in ("new", "cur", "restante/deleted"):
        for path in (folder / part).iterdir():
            number = int(path.name.partition(".")[0]) - 1_700_000_000
            assert path.read_bytes() == octets(number)
            assert number not in found, "in two places"
            found[number] = part
    for number in range(1, COUNT + 1):
        if number not in MARKED:
            assert found[number] == "new"
        elif undo == "7d":
            assert found[number] in ("new", "restante/deleted")
        else:
            assert found.get(number) in ("new", None)

    left = sorted(number for number, part in found.items() if part == "new")
    with running("serve", "-c", str(configuration)) as server, Client(("127.0.0.1", server.port)) as client:
        assert client.login().startswith(b"+OK %d messages" % len(left))
        assert client.ask(b"UIDL").startswith(b"+OK ")
        ids = [line.split()[1] for line in client.lines()]
        assert ids == [b"%d.M%dP1.host" % (1_700_000_000 + number, number) for number in left]
