"""``restante serve``."""

import contextlib
import logging
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import click

from restante.cli.loading import load
from restante.cli.options import LOG_FORMAT, STDERR, CommandFailed, WhenThereIsRoom, config_option, logging_to_stderr
from restante.config import Configuration, ConfigurationError
from restante.server import supervisor
from restante.server.listener import Listener, Listening, adopt, bind
from restante.server.service import Service
from restante.server.systemd import PassedSockets, ServiceManager

log = logging.getLogger("restante.server")


@click.command("serve", epilog="Example: restante serve -c /srv/post/restante.toml")
@config_option
@click.pass_context
def command(ctx: click.Context) -> int:
    """Serve in the foreground; SIGTERM stops gracefully, SIGHUP reads the configuration again."""
    configuration, path = load(ctx)
    return run(configuration, Reload(configuration, path))


def run(configuration: Configuration, reload: supervisor.Reload | None, welcome: str = "") -> int:
    """Serve until told to stop; returns the exit status.

    Sockets that systemd passes are used, and it is told when we are ready.

    Args:
        configuration: what to serve.
        reload: called on SIGHUP; None ends the server then.
        welcome: shown once the addresses are open.

    Raises:
        CommandFailed: an address cannot be used, or a socket that was passed.
    """
    _allow_many_connections()
    manager = ServiceManager.of(os.environ)
    try:
        slots = open_slots(configuration.listeners, configuration.workers, PassedSockets(os.environ))
    except ValueError as error:
        raise CommandFailed(str(error)) from None

    def ready() -> None:
        for listening in slots[0]:
            listener = listening.listener
            click.echo(f"{listener.door.protocol} on {listener.address} ready")
        if welcome:
            click.echo(f"\n{welcome}")

    if len(slots) == 1 or reload is None:
        with logging_to_stderr():
            supervisor.serve(configuration.service(), slots[0], reload, ready, manager)
        return 0
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=[WhenThereIsRoom(STDERR)])
    return supervisor.supervise(configuration.service(), slots, reload, ready, manager, logging_to_stderr)


def _allow_many_connections() -> None:
    """Each needs a descriptor, and systems hand out few unless they are asked for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def open_slots(listeners: Sequence[Listener], workers: int, passed: PassedSockets) -> list[list[Listening]]:
    """Open the sockets of each worker, except those that were passed.

    Raises:
        CommandFailed: an address cannot be used.
        ValueError: a socket was passed that no listener wants.
    """
    open_already = [passed.take(listener.address) for listener in listeners]
    passed.check_all_taken()  # before any other error: one of these may be why an address is in use
    slots: list[list[Listening]] = [[] for _ in range(workers)]
    for listener, sock in zip(listeners, open_already, strict=True):
        try:
            opened = adopt(listener, sock, workers) if sock else bind(listener, workers)
        except OSError as error:
            raise CommandFailed(f"cannot listen on {listener.address}: {error.strerror}") from None
        for slot, listening in zip(slots, opened, strict=True):
            slot.append(listening)
    return slots


class Reload:
    """Reads the configuration again; what has not changed in it is kept, open maildrops above all."""

    def __init__(self, configuration: Configuration, path: Path) -> None:
        self._configuration = configuration
        self._path = path

    def __call__(self) -> Service | None:
        try:
            configuration = Configuration(self._path, previous=self._configuration)
        except ConfigurationError as error:
            log.error("not reloaded, the old configuration stays: %s", error)  # noqa: TRY400  (no defect of ours)
            return None
        before = self._configuration
        if configuration.certificates is None and before.certificates is not None:
            log.error("not reloaded, the old configuration stays: the listeners that are open need [tls]")
            return None
        if (configuration.listeners, configuration.workers) != (before.listeners, before.workers):
            log.warning("listeners or workers have changed; that needs a restart")
        self._configuration = configuration
        log.info("configuration reloaded")
        return configuration.service()
