"""Command lines of LMTP and SMTP (RFC 5321 section 4.1)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from restante.protocol.smtp.replies import Reply


class Refused(Exception):
    """The command is answered with that reply, and changes nothing."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, status, text)


class Mailbox(NamedTuple):
    """An address."""

    local: str
    """Without the quotes that it may have been written with."""
    domain: str
    """Or an address literal in its brackets; ``""`` for none."""
    text: str
    """As it was written, without a source route."""

    @property
    def is_ascii(self) -> bool:
        """Say whether it can be used without SMTPUTF8."""
        return self.text.isascii()


# What is not ASCII is let in by what is left out: the ranges themselves would take 20 ms to compile.
_ATOM = r"""[^\x00-\x20"(),:;<>@\[\\\]\x7f]"""
_LOCAL = rf'''(?P<atoms>{_ATOM}+)|"(?P<quoted>(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*)"'''
_ALNUM = r"[^\x00-/:-@\[-\^`{-\x7f]"
_INNER = r"[^\x00-,./:-@\[-\^`{-\x7f]"
_LABEL = rf"{_ALNUM}(?:{_INNER}*{_ALNUM})?"
_DOMAIN = rf"(?P<domain>{_LABEL}(?:\.{_LABEL})*|\[[!-Z^-~]+\])"
# Atoms may have any dots: addresses like that exist, and mail from them is real.
_MAILBOX = re.compile(rf"(?:{_LOCAL})(?:@{_DOMAIN})?")
# RFC 5321 appendix C: a source route is taken, and means nothing.
_ROUTE = re.compile(r"@[^:<>\s]{1,255}:")
_PATH = re.compile(r'[ \t]*<((?:[^<>"]|"(?:[^"\\]|\\.)*")*)>(?: +(.*))?', re.DOTALL)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")


def split(line: bytes) -> tuple[str, str]:
    """Return the keyword of a line, in capitals, and what comes after it.

    Raises:
        Refused: it holds controls, or octets over 0x7F that are no UTF-8.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(500, "5.5.2", "a command is ASCII, or UTF-8 in addresses") from None
    if any(character < " " and character != "\t" for character in text) or "\x7f" in text:
        raise Refused(500, "5.5.2", "a command has no control characters")
    keyword, _, rest = text.rstrip(" \t").partition(" ")
    return keyword.upper(), rest.strip(" ")


def path(text: str, prefix: str, usage: str) -> tuple[str, str]:
    """Split ``FROM:<path> parameters`` into path and parameters.

    Raises:
        Refused: it is not like that.
    """
    match = _PATH.fullmatch(text[len(prefix) :]) if text[: len(prefix)].upper() == prefix else None
    if match is None:
        raise Refused(501, "5.5.4", f"right would be {usage}")
    return match[1], match[2] or ""


def mailbox(text: str, status: str) -> Mailbox:
    """Read an address.

    Args:
        text: what stands between the angle brackets.
        status: of the reply when it is none.

    Raises:
        Refused: it is none.
    """
    route = _ROUTE.match(text)
    text = text[route.end() :] if route else text
    match = _MAILBOX.fullmatch(text)
    if match is None:
        raise Refused(501, status, "that is no address; right would be <name@example.org>")
    local = match["atoms"] if match["atoms"] is not None else re.sub(r"\\(.)", r"\1", match["quoted"])
    return Mailbox(local, match["domain"] or "", text)


def parameters(text: str, known: Mapping[str, re.Pattern[str]]) -> dict[str, str]:
    """Read the parameters of MAIL or RCPT.

    Args:
        text: as they stand in the line.
        known: what each keyword may have as its value; ``""`` stands for none.

    Raises:
        Refused: one is unknown (555), has another value, or comes twice (501).
    """
    found: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        keyword = match[1].upper() if match else ""
        if match is None or keyword in found:
            raise Refused(501, "5.5.4", "parameters are KEYWORD or KEYWORD=value, each once")
        if keyword not in known:
            raise Refused(555, "5.5.4", f"known parameters are {', '.join(known) or 'none'}")
        if known[keyword].fullmatch(match[2] or "") is None:
            raise Refused(501, "5.5.4", f"that is no value for {keyword}")
        found[keyword] = match[2] or ""
    return found


_NAME = re.compile(r"[!-~]{1,255}")


def greeting_name(text: str, keyword: str) -> str:
    """Read the name that a client gives itself; what is no name of a host is good enough, if it is printable.

    Raises:
        Refused: there is none.
    """
    if _NAME.fullmatch(text) is None:
        raise Refused(501, "", f"right would be {keyword} and the name of your host")
    return text
