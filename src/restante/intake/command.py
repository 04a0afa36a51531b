"""A message that a program hands in on its standard input: `restante deliver`."""

import re
from collections.abc import Callable
from typing import NamedTuple

from restante.addressing import Recipient
from restante.errors import Condition
from restante.intake import trace
from restante.intake.copies import Copy, Message
from restante.intake.desk import Desk
from restante.protocol.smtp.content import ContentWatch
from restante.protocol.smtp.replies import LOOP, Reply

PIECE = 1 << 16
"""Octets read at a time."""

# What mbox files put before each message (RFC 4155), and local(8) of Postfix before one that it pipes.
_FROM_LINE = re.compile(rb"From +([^ \n]*)[^\n]*\n")
_FIELD_NAME = re.compile(rb"^([!-9;-~]+)[ \t]*:", re.MULTILINE)
_END_OF_HEADER = re.compile(rb"(?:^|\n)\r?\n")
_TRACE = {b"return-path", b"delivered-to", b"x-original-to"}


class Refusal(NamedTuple):
    """Why nobody has got the message."""

    reply: Reply
    """What a server would say."""
    condition: Condition | None = None
    """Of the store, where it was the store."""


async def deliver(
    desk: Desk, recipient: Recipient, read: Callable[[int], bytes], sender: str | None = None
) -> Refusal | None:
    """Deliver one message to all maildrops of a recipient, or to none.

    Fields that a mail server in front has written for this delivery stay alone (D-005); where there are none,
    Return-Path, if the sender is known, and Delivered-To are added.

    Args:
        desk: with its rules for size and room.
        recipient: whom it is for.
        read: gives up to so many octets of the message, ``b""`` at its end; blocks.
        sender: the reverse-path, ``""`` for the null path; None: what a From_ line says, if there is one.

    Returns:
        None when it is durable in every maildrop.
    """
    first = _beginning(read)
    watch = ContentWatch(desk.size, strict=False)
    if match := _FROM_LINE.match(first):
        first = first[match.end() :]
        sender = _address(match[1]) if sender is None else sender
    copies = [Copy(desk.store, target, _head(first, target.final, sender)) for target in recipient.targets]
    message = Message(copies, desk.held)
    try:
        piece = first
        while piece:
            watch.feed(piece)
            if watch.refusal is not None:
                return Refusal(watch.refusal)
            if message.take(piece):
                await message.spill()
            piece = read(PIECE)
        watch.finish()
        if watch.refusal is not None:
            return Refusal(watch.refusal)
        if any(target.final.lower() in watch.delivered_to for target in recipient.targets):
            return Refusal(LOOP)
        return await _delivered(desk, message)
    finally:
        await message.close()


async def _delivered(desk: Desk, message: Message) -> Refusal | None:
    await message.prepare()
    if all(copy.failure is None for copy in message.copies):
        for copy in message.copies:
            await copy.commit()
    for copy in message.copies:
        if copy.failure is not None:
            return Refusal(desk.reply(copy.failure), copy.failure)
    return None


def _beginning(read: Callable[[int], bytes]) -> bytes:
    """Return the first `PIECE` octets, or all there are."""
    octets = b""
    while len(octets) < PIECE and (piece := read(PIECE - len(octets))):
        octets += piece
    return octets


def _head(beginning: bytes, final: str, sender: str | None) -> bytes:
    """Return what is put before the message."""
    end = _END_OF_HEADER.search(beginning)
    for field in _FIELD_NAME.finditer(beginning, 0, end.start() + 1 if end else len(beginning)):
        name = field[1].lower()
        if name in _TRACE:
            return b""
        if name == b"received":  # what stands below is of deliveries before this one
            break
    path = trace.return_path(sender) if sender is not None else b""
    return path + trace.delivered_to(final)


def _address(sender: bytes) -> str:
    """Return the reverse-path that a From_ line tells; programs write one of these words for the null path."""
    address = sender.decode("utf-8", "replace").strip("<>")
    return "" if address.lower() in ("mailer-daemon", "") else address
