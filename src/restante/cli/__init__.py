"""The command line: one file for each command, imported only when it is called."""

import importlib
import logging
import sys

import click

from restante import __version__
from restante.cli.options import CommandFailed, Settings, config_option, describe
from restante.errors import one_line

COMMANDS = (
    "demo",
    "init",
    "serve",
    "check",
    "user",
    "deliver",
    "undo",
    "adopt",
    "connect",
    "ls",
    "read",
    "rm",
    "fetch",
)


class _Commands(click.Group):
    """Finds the command `name` in the module of that name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"restante.cli.{cmd_name}").command
        return command


@click.group(cls=_Commands, epilog="Example: restante demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="restante %(version)s")
@config_option
def restante() -> None:
    """A post office for POP3."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage; an error is one line on stderr."""
    logging.getLogger("restante").addHandler(logging.NullHandler())  # commands that log say so
    try:
        status = restante.main(arguments, prog_name="restante", standalone_mode=False, obj=Settings())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "restante"
        _fail(f"{command}: {error.format_message()} (restante --help tells more)", 2)
    except (CommandFailed, click.ClickException) as error:
        _fail(f"restante: {error}", 1)
    except (click.Abort, KeyboardInterrupt):
        _fail("restante: interrupted", 1)
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _fail(f"restante: {describe(error)}", 1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(text: str, status: int) -> None:
    click.echo(one_line(text), err=True)
    sys.exit(status)
