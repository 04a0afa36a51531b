"""``restante read``."""

import asyncio
import email
import html
import re
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from typing import Any

import click

from restante.cli.look import Look, look_options
from restante.cli.ls import header_fields, readable
from restante.cli.options import CommandFailed, config_option
from restante.errors import one_line

LARGEST = 1 << 26
"""Octets of a message that is rendered; --raw shows any."""
_FIELDS = ("Date", "From", "To", "Cc", "Subject")
_TAG = re.compile(r"<(?:script|style).*?</(?:script|style)>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li)\b[^>]*>", re.IGNORECASE)


@click.command("read", epilog="Example: restante read pop://student@127.0.0.1:1110 1")
@click.argument("url")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--raw", is_flag=True, help="The message as it is, octet for octet.")
@look_options
@config_option
def command(url: str, number: int, *, raw: bool, **options: Any) -> int:
    """Show a message for reading, or as it is.  Nothing changes there."""
    asyncio.run(_read(Look(url, **options), number, raw=raw))
    return 0


async def _read(look: Look, number: int, *, raw: bool) -> None:
    async with look.client() as client:
        message = await client.retr(number)
        if raw:
            await message.save(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        try:
            octets = await message.read(LARGEST)
        except ValueError as error:
            raise CommandFailed(f"{error}; --raw shows it all the same") from None
    for line in rendered(octets):
        click.echo(line)


def rendered(octets: bytes) -> Iterator[str]:
    """Give what a person reads of a message, a line each: a few fields, the text, and what is attached."""
    message = email.message_from_bytes(octets, policy=default)
    assert isinstance(message, EmailMessage)
    fields = header_fields(octets.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    for name in _FIELDS:
        for value in fields.get_all(name, []):
            yield f"{name}: {readable(value)}"
    yield ""
    for line in _text(message).splitlines():
        yield "\t".join(one_line(part) for part in line.split("\t"))
    for part in message.walk():
        if part.get_content_disposition() == "attachment":
            size = len(part.get_payload(decode=True) or b"")
            yield f"[{one_line(part.get_filename() or 'unnamed')}, {part.get_content_type()}, {size} octets]"


def _text(message: EmailMessage) -> str:
    """Return the text of a message; of HTML what is left without its tags."""
    try:
        body = message.get_body(("plain", "html"))
    except (AttributeError, KeyError, ValueError):
        body = None
    if body is None:
        return ""
    payload = body.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    try:
        text = raw.decode(body.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = raw.decode("utf-8", "replace")
    if body.get_content_subtype() != "html":
        return text
    lines = html.unescape(_TAG.sub("", _BREAK.sub("\n", text))).splitlines()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in lines)).strip()
