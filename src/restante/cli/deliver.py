"""``restante deliver``."""

import asyncio
import contextlib
import os
import pwd
import sys
from typing import Any

import click

from restante.addressing import AliasFailure, ForeignDomain, Recipient, Target, UnknownRecipient
from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option, describe
from restante.config import Configuration
from restante.errors import Condition, QuotaExceeded, TemporaryFailure, one_line
from restante.intake.command import Refusal, deliver
from restante.maildrop import Roomy

# From sysexits.h of BSD, which every mail server knows.
EX_USAGE, EX_NOUSER, EX_UNAVAILABLE, EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL = 64, 67, 69, 73, 74, 75


class _Failed(Exception):
    """The message is not delivered."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Sysexits(click.Command):
    """A command whose exit status tells a mail server what to do.

    Whatever a person can mend, or time, is `EX_TEMPFAIL`: the mail server keeps the message and tries again (D-020).
    """

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the arguments."""
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            raise _exit(EX_USAGE, f"restante deliver: {error.format_message()} (--help tells more)") from None

    def invoke(self, ctx: click.Context) -> Any:
        """Do the work."""
        try:
            return super().invoke(ctx)
        except _Failed as error:
            raise _exit(error.status, str(error)) from None
        except (click.exceptions.Exit, click.Abort, KeyboardInterrupt) as error:
            raise _exit(EX_TEMPFAIL, "interrupted") from error
        except OSError as error:
            raise _exit(EX_TEMPFAIL, describe(error)) from None
        except (CommandFailed, Condition) as error:
            raise _exit(EX_TEMPFAIL, str(error)) from None
        except Exception as error:  # a bug of ours is no reason to send mail back
            raise _exit(EX_TEMPFAIL, f"{type(error).__name__}: {error}") from error


def _exit(status: int, text: str) -> click.exceptions.Exit:
    with contextlib.suppress(OSError):  # nobody reads it
        click.echo(one_line(text), err=True)
    return click.exceptions.Exit(status)


@click.command("deliver", cls=_Sysexits, epilog="Example: restante deliver bob <message.eml")
@click.argument("user", metavar="USER")
@click.option("-f", "--from", "sender", metavar="ADDRESS", help='Who has sent it, for Return-Path; "" for nobody.')
@config_option
@click.pass_context
def command(ctx: click.Context, user: str, sender: str | None) -> None:
    """Deliver one message from standard input to USER, an account or an address.

    For mailbox_command of Postfix, .forward, procmail, fetchmail and pipes; no server need run.

    Exit status: 0 delivered, durably; 67 no such user; 75 not now, try again; 73 the maildrop is full, and the
    configuration says full = "refuse"; 69 a mail loop, or too large; 74 standard input cannot be read; 64 wrong usage.
    """
    if sys.stdin is None:
        raise _Failed(EX_IOERR, "standard input is closed; it should be the message")
    configuration, _ = load(ctx, secrets=False)
    path = None if sender is None else _reverse_path(sender)
    status = asyncio.run(_deliver(configuration, user, path))
    if status is not None:
        raise status


def _reverse_path(sender: str) -> str:
    """Check an address, which becomes a header line."""
    address = sender.removeprefix("<").removesuffix(">")
    if address and not address.isprintable():
        raise _Failed(EX_USAGE, f"--from: {sender!r} is no address; bob@example.org would be right")
    return address


async def _deliver(configuration: Configuration, user: str, sender: str | None) -> _Failed | None:
    """Deliver what comes from standard input; returns why it could not be done."""
    recipient = await _recipient(configuration, user)
    try:
        refusal = await deliver(configuration.desk, recipient, _read, sender)
    except OSError as error:
        raise _Failed(EX_IOERR, f"standard input: {describe(error)}") from None
    return None if refusal is None else _failed(refusal, recipient)


def _read(octets: int) -> bytes:
    return os.read(sys.stdin.fileno(), octets)


async def _recipient(configuration: Configuration, user: str) -> Recipient:
    """Say whom a name means.

    A mail server may run us as the user who gets the mail, who cannot read the accounts of everybody.  The name is good
    then if it has a maildrop, or is the user's own.
    """
    local, at, domain = user.rpartition("@") if "@" in user else (user, "", "")
    try:
        return await configuration.addressing.resolve(local, domain, any_domain=True)
    except (UnknownRecipient, ForeignDomain):
        raise _Failed(EX_NOUSER, f'there is no user "{user}"') from None
    except AliasFailure:
        raise
    except TemporaryFailure:
        store = configuration.store
        if _is_own_name(user) or (isinstance(store, Roomy) and await store.holds(user)):
            final = user if at else f"{user}@{configuration.hostname}"
            return Recipient(user, (Target(user, final),))
        raise


def _is_own_name(user: str) -> bool:
    with contextlib.suppress(KeyError):
        return os.geteuid() != 0 and pwd.getpwuid(os.geteuid()).pw_name == user
    return False


def _failed(refusal: Refusal, recipient: Recipient) -> _Failed:
    reply, condition = refusal
    text = f"{recipient.address}: {reply.text}" + (
        f" ({condition})" if condition is not None and condition.args else ""
    )
    if condition is None:
        return _Failed(EX_UNAVAILABLE, text)
    if isinstance(condition, QuotaExceeded) and reply.code >= 500:
        return _Failed(EX_CANTCREAT, text)
    return _Failed(EX_NOUSER if reply.status == "5.1.1" else EX_TEMPFAIL, text)
