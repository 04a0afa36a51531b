"""``restante ls``."""

import asyncio
import contextlib
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import Message
from email.parser import HeaderParser
from email.policy import compat32
from email.utils import parseaddr, parsedate_to_datetime
from typing import Any, NamedTuple

import click

from restante.cli.look import Look, look_options
from restante.cli.options import config_option
from restante.errors import Condition, one_line


class Row(NamedTuple):
    """A line of the table."""

    number: str
    octets: str
    date: str
    sender: str
    subject: str


WIDTHS = Row("6", "10", "16", "28", "")


@click.command("ls", epilog="Example: restante ls pop://student@127.0.0.1:1110")
@click.argument("url")
@look_options
@config_option
def command(url: str, **options: Any) -> int:
    """List a maildrop: number, octets, date, sender and subject of each message.  Nothing changes there."""
    asyncio.run(_list(Look(url, **options)))
    return 0


async def _list(look: Look) -> None:
    async with look.client() as client:
        sizes = await client.list()
        if sizes:
            _show(Row("number", "octets", "date", "from", "subject"))
        async for number, header in client.top_many(sorted(sizes)):
            if isinstance(header, Condition):  # K-005: no TOP
                _show(Row(str(number), str(sizes[number]), "", "", f"({header or header.reply.template})"))
            else:
                _show(row(number, sizes[number], header))
    click.echo(f"{len(sizes)} message{'' if len(sizes) == 1 else 's'}, {sum(sizes.values())} octets")


def row(number: int, octets: int, header: bytes) -> Row:
    """Make the line of a message; a header that is odd is shown as far as it can be read."""
    fields = header_fields(header)
    name, address = parseaddr(readable(fields.get("From", "")))
    try:
        date = parsedate_to_datetime(str(fields.get("Date", "")))
        day = (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(datetime.now(UTC).astimezone().tzinfo)
        shown = f"{day:%Y-%m-%d %H:%M}"
    except (ValueError, TypeError, OverflowError):
        shown = ""
    return Row(str(number), str(octets), shown, name or address, readable(fields.get("Subject", "")))


def header_fields(octets: bytes) -> Message:
    """Read a header; what is not ASCII is taken for UTF-8 (RFC 6532)."""
    return HeaderParser(policy=compat32).parsestr(octets.decode("utf-8", "replace"))


def readable(value: object) -> str:
    """Return a header field as a person reads it, in one line (RFC 2047)."""
    text = str(value)
    with contextlib.suppress(ValueError, LookupError, UnicodeError):
        text = str(make_header(decode_header(text)))
    return one_line(" ".join(text.split()))


def _show(line: Row) -> None:
    cells = [
        f"{cell:>{width}}" if at < 2 else f"{cell[: int(width)]:<{width}}" if width else cell
        for at, (cell, width) in enumerate(zip(line, WIDTHS, strict=True))
    ]
    click.echo("  ".join(cells).rstrip())
