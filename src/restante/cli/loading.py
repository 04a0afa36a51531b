"""The configuration that a command works with."""

from pathlib import Path

import click

from restante.cli.options import CommandFailed, Settings
from restante.config import Configuration, ConfigurationError, find


def load(ctx: click.Context, *, secrets: bool = True) -> tuple[Configuration, Path]:
    """Read the configuration that was asked for, or the default; returns it with its path.

    Args:
        ctx: of the command.
        secrets: as for `Configuration`.

    Raises:
        CommandFailed: there is none, or something is wrong with it.
    """
    try:
        path = find(ctx.ensure_object(Settings).config)
        return Configuration(path, secrets=secrets), path
    except ConfigurationError as error:
        raise CommandFailed(str(error)) from None
