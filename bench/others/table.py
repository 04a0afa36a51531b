"""The third table: what others need for the same, as they are after installation."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import SubprocessError

from bench import maildrops
from bench.contender import Contender, ratios
from bench.load import Load
from bench.maildrops import Kind, wire
from bench.others import said
from bench.others.servers import OURS, SERVERS, Server
from bench.peers import Peer
from bench.rows import Row

_MEGABYTES = sum(len(wire(message)) for message in maildrops.MEDIUM.messages()) / 1e6
ROWS: Sequence[Row] = (
    Row("connect, greeting, QUIT", "session", maildrops.TEN, said.connect, 1),
    Row("login, STAT, QUIT on 10 messages", "session", maildrops.TEN, said.stat, 1),
    Row("login, UIDL, QUIT on 1,000", "session", maildrops.THOUSAND, said.uidl, 1),
    Row("session: STAT UIDL LIST, 5 RETR of mixed sizes, QUIT", "session", maildrops.MIXED, said.full, 1),
    Row("RETR 75 KiB, LF files", "MB", maildrops.MEDIUM, said.lock_step, 1, _MEGABYTES),
)


def table(folder: Path, rows: Sequence[Row], rounds: int) -> None:
    """Measure the rows, and print a line for each.

    Args:
        folder: for all files; is made.
        rows: that are measured.
        rounds: of each.
    """
    kinds = list(dict.fromkeys(row.kind for row in rows))
    print("\nOther servers, microseconds of their CPU for each unit, and how many times that of Restante:\n")
    with ExitStack() as stack:
        peers: list[tuple[Server, Peer]] = []
        for server in (OURS, *SERVERS):
            own = folder / server.name.replace(" ", "-").lower()
            own.mkdir(parents=True)
            try:
                peers.append((server, stack.enter_context(_started(server, own, kinds))))
            except (OSError, RuntimeError, SubprocessError) as problem:
                if server is OURS:
                    raise
                print(f"Without {server.name}: {problem}\n")
        head = ["work", "unit", OURS.name, *(word for server, _ in peers[1:] for word in (server.name, "times"))]
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
        for row in rows:
            print(_measured(row, [peer for _, peer in peers], rounds), flush=True)


@contextmanager
def _started(server: Server, folder: Path, kinds: Sequence[Kind]) -> Iterator[Peer]:
    if missing := server.missing():
        raise RuntimeError(missing)
    with server.start(folder, kinds) as peer:
        yield peer


def _measured(row: Row, peers: Sequence[Peer], rounds: int) -> str:
    """Measure a row; returns its line of the table."""
    contenders = [Contender(peer, row, Load(row.script(row.kind, peer), row.connections, 0)) for peer in peers]
    for _ in range(rounds):
        for contender in contenders:
            contender.measure()
    ours, *theirs = contenders
    cells = [row.title, row.unit, ours.cost()]
    for contender in theirs:
        pairs = zip(ours.costs, contender.costs, strict=True)
        cells += [contender.cost(), ratios([(one.cpu, other.cpu) for one, other in pairs])]
    return f"| {' | '.join(cells)} |"
