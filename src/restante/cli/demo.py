"""``restante demo``."""

import asyncio
import signal
import socket
import tempfile
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from restante.cli.init import make_post_office
from restante.cli.options import CommandFailed, config_option
from restante.cli.serve import run
from restante.config import Configuration, PasswdFileEditor
from restante.errors import Condition
from restante.maildrop import MaildropStore
from restante.server.self_signed import self_signed

USER = "student"
PASSWORD = b"hessovs!"

_CONFIGURATION = """\
hostname = "localhost"
workers = 1

[[listener]]
protocol = "pop3"
address = "127.0.0.1:{port}"

[[listener]]
protocol = "pop3"
address = "127.0.0.1:{tls_port}"
tls = "implicit"

[[listener]]
protocol = "smtp"
address = "127.0.0.1:{smtp_port}"

[addresses]
domains = ["profbox.domain.local", "localhost"]

[tls]
certificate = "certificate.pem"
key = "key.pem"

[[auth]]
kind = "passwd-file"
path = "users"

[store]
kind = "maildir"
path = "mail/{{user}}"

[limits]
stop_grace = 0
"""
_NEXT = """\
A post office for one: account {user}, password {password}, {count} messages.
Open a second terminal and type

    telnet 127.0.0.1 {port}        (or: nc 127.0.0.1 {port}, or PuTTY, raw or Telnet)

then, a line at a time:

    USER {user}
    PASS {password}
    STAT
    LIST
    RETR 1
    QUIT

The other messages explain the rest.  With completion, history, and a password that is not shown:

    restante connect pop://{user}@127.0.0.1:{port}        (in this folder: .venv/bin/restante)

The same over TLS, with a certificate made for this:

    openssl s_client -quiet -connect 127.0.0.1:{tls_port}

New mail comes in by SMTP, as one may type, too, and the next session shows it:

    telnet 127.0.0.1 {smtp_port}        (or: nc -C 127.0.0.1 {smtp_port}; the -C is needed here)

    HELO me
    MAIL FROM:<teacher@example.org>
    RCPT TO:<{user}@profbox.domain.local>
    DATA
    Subject: by hand

    A line with nothing but a dot ends the message.
    .
    QUIT

Ctrl-C ends this; nothing remains.
"""


@click.command("demo", epilog="Example: restante demo --port 1110")
@click.option("--port", default=1110, show_default=True, type=click.IntRange(1, 65535), help="Port for POP3.")
@click.option("--tls-port", type=click.IntRange(1, 65535), help="Port for POP3 over TLS.  [default: 885 more, 1995]")
@click.option("--smtp-port", type=click.IntRange(1, 65535), help="Port for SMTP.  [default: 85 less, 1025]")
@config_option
def command(port: int, tls_port: int | None, smtp_port: int | None) -> int:
    """Run a throwaway post office on this machine; account student, password hessovs!"""
    # Until the server takes the signals over, they must end us in a way that removes the folder.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="restante-demo-") as name:
        ports = {
            "port": port,
            "tls_port": tls_port or _free_port(port + 885),
            "smtp_port": smtp_port or _free_port(port - 85),
        }
        configuration, count = _open_post_office(Path(name), ports)
        welcome = _NEXT.format(user=USER, password=PASSWORD.decode(), count=count, **ports)
        status = run(configuration, None, welcome)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # only the removal of the folder is left
        return status


def _free_port(wanted: int) -> int:
    """Return the port that is wanted, or another if it cannot be had: nobody has asked for this one."""
    for port in (max(wanted, 0), 0):
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
        except (OSError, OverflowError):
            continue
    return wanted


def _open_post_office(folder: Path, ports: dict[str, int]) -> tuple[Configuration, int]:
    """Fill the folder; returns its configuration and the number of messages.

    Raises:
        CommandFailed: there is no room for it.
    """
    try:
        make_post_office(folder, _CONFIGURATION.format(**ports))
        certificate, key = self_signed("localhost", "127.0.0.1")
        (folder / "certificate.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        PasswdFileEditor(folder / "users").add(USER, PASSWORD, "SCRAM-SHA-256")
        configuration = Configuration(folder / "restante.toml")
        return configuration, asyncio.run(_fill(configuration.store))
    except (OSError, Condition) as error:
        raise CommandFailed(f"the post office cannot be made in {folder}: {error}") from None


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


async def _fill(store: MaildropStore) -> int:
    """Deliver the welcome maildrop; returns the number of messages."""
    lessons = sorted((resources.files("restante") / "welcome").iterdir(), key=lambda lesson: lesson.name)
    messages = [lesson.read_bytes() for lesson in lessons if lesson.name.endswith(".eml")]
    for message in messages:
        async with store.deliver(USER) as delivery:
            await delivery.write(message)
            await delivery.commit()
    return len(messages)
