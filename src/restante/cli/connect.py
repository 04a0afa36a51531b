"""``restante connect``."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from restante.cli.connect_keys import Keyboard, PipeKeyboard, make_keyboard
from restante.cli.connect_screen import PipeScreen, Screen, TerminalScreen
from restante.cli.connect_talk import Talk
from restante.cli.options import CommandFailed, config_option, describe
from restante.cli.server_options import find_server, security, server_options
from restante.client import ServerUrl
from restante.errors import Condition


@click.command("connect", epilog="Example: restante connect pop://student@127.0.0.1:1110")
@click.argument("url")
@server_options
@click.option("--plain", is_flag=True, help="Do not begin TLS by itself; STLS does.")
@click.option(
    "--transcript", type=click.Path(path_type=Path), metavar="FILE", help="Add what is said, without secrets."
)
@config_option
def command(
    url: str,
    ca: Path | None,
    fingerprint: str,
    *,
    insecure: bool,
    plain: bool,
    transcript: Path | None,
) -> int:
    """Talk to a POP3 server yourself: type its commands, see its replies.

    On a terminal with completion (TAB), history (arrows), and passwords that are not shown.  A pipe is sent line by
    line, and standard output has the server's octets, nothing else.
    """
    server = find_server(url)
    with ExitStack() as stack:
        file: IO[str] | None = None
        if transcript is not None:
            try:
                file = stack.enter_context(transcript.open("a", encoding="utf-8"))
            except OSError as error:
                raise CommandFailed(describe(error)) from None
        keyboard: Keyboard
        screen: Screen
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            keyboard, screen = make_keyboard(), TerminalScreen(file)
        else:
            keyboard, screen = PipeKeyboard(), PipeScreen(file)
        talk = Talk(server, security(ca, fingerprint, insecure=insecure), keyboard, screen)
        return asyncio.run(_run(talk, server, plain=plain))


async def _run(talk: Talk, server: ServerUrl, *, plain: bool) -> int:
    try:
        return await talk.run(plain=plain)
    except Condition as condition:
        raise CommandFailed(str(condition) or f"{server}: {condition.reply.template}") from None
    except OSError as error:
        raise CommandFailed(describe(error)) from None
