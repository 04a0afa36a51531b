"""``python -m bench.fetchers``: restante fetch, fetchmail, mpop and getmail6 side by side."""

import argparse
import sys

from bench.fetchers import crash, link, memory


def main() -> int:
    """Measure and print tables; returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.fetchers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for module, server in ((crash, "both"), (link, "restante"), (memory, "restante")):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(name, description=module.__doc__)
        command.add_argument("--server", choices=["restante", "dovecot", "both"], default=server)
        only = "restante" if module is memory else ""
        command.add_argument("--only", default=only, help="fetchers, with commas between them")
    commands.choices["crash"].add_argument("--points", type=int, default=50, help="at which a fetcher is killed")
    _add_link_options(commands.choices["link"])
    commands.choices["memory"].add_argument("--octets", type=memory.octets, default=1 << 30, help="such as 50M or 1G")
    options = parser.parse_args()
    if options.command == "crash":
        crash.report(options.server, options.only, options.points)
    elif options.command == "memory":
        memory.report(options.server, options.only, options.octets)
    else:
        wanted = options.messages, options.patience, options.rounds, options.delay
        return link.report(options.server, options.only, *wanted)
    return 0


def _add_link_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--messages", type=int, default=50_000)
    command.add_argument("--patience", type=float, default=120.0, help="seconds after which a fetcher is stopped")
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--delay", type=float, default=20.0, help="milliseconds, one way")


if __name__ == "__main__":
    sys.exit(main())
