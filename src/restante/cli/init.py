"""``restante init``."""

import socket
from pathlib import Path

import click

from restante.cli.options import CommandFailed, config_option

_CONFIGURATION = """\
# Restante: a post office for POP3.  `restante check` says what is wrong with this file.
# Paths are relative to this file.

# In the greeting and in the names of delivered messages; default: the machine's name.
hostname = "{hostname}"

# Processes that serve; default: one for each core.
# workers = 2

[[listener]]
protocol = "pop3"
# "host:port", "[v6]:port" or "unix:/path".  Port 110 is POP3's own, and needs the right to open it.
address = "127.0.0.1:1110"
# "starttls" (port 110), "implicit" (port 995, in a [[listener]] of its own) or "none"; both need [tls].
# tls = "starttls"
# Whose passwords are taken over an unencrypted connection: "never", "loopback" (this machine only) or "always".
cleartext_login = "loopback"

# Where Postfix hands over the mail: virtual_transport = lmtp:unix:/path/of/this/folder/lmtp (docs/how-to/postfix.md).
# [[listener]]
# protocol = "lmtp"
# address = "unix:lmtp"
# group = "postfix"

# [addresses]
# domains = ["example.org"]           # whose mail is ours; default: those that follow from hostname

# [tls]
# certificate = "tls/cert.pem"      # full chain; read again when it changes
# key = "tls/key.pem"

[[auth]]
# Accounts, a line each: user:{{SCHEME}}hash.  `restante user add NAME` adds one.
kind = "passwd-file"
path = "users"

[store]
# One Maildir for each account; {{user}}, {{local}} and {{domain}} stand for the name and its parts.
kind = "maildir"
path = "mail/{{user}}"
# How long a deleted message can be brought back; "0" removes it at once.
undo = "7d"

[limits]
# Seconds without a command after which a session ends; the protocol allows no less than 600.
idle_timeout = 600
"""
_USERS = "# user:{SCHEME}hash, a line each; `restante user add NAME` adds one\n"


@click.command("init", epilog="Example: restante init /srv/post")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@config_option
def command(folder: Path) -> None:
    """Make a post office: DIR with restante.toml, users and mail/."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CommandFailed(f"{folder} is not empty; name a new or empty folder")
        make_post_office(folder, _CONFIGURATION.format(hostname=socket.gethostname() or "localhost"))
    except OSError as error:
        raise CommandFailed(f"{folder}: {error.strerror}") from None
    click.echo(f"{folder} is a post office now.  Next:")
    click.echo(f"  restante user add NAME -c {folder / 'restante.toml'}")
    click.echo(f"  restante serve -c {folder / 'restante.toml'}")


def make_post_office(folder: Path, configuration: str) -> None:
    """Fill an empty folder.

    Raises:
        OSError: it cannot be filled.
    """
    (folder / "mail").mkdir(mode=0o700)
    users = folder / "users"
    users.touch(mode=0o600)
    users.write_text(_USERS, encoding="utf-8")
    (folder / "restante.toml").write_text(configuration, encoding="utf-8")
