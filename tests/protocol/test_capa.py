"""CAPA: conformance section 5 (P-150 to P-163), and help for the person typing (section 12)."""

import pytest

from tests.protocol.driver import World

MAIL = b"Subject: x\n\nbody\n"
REGISTERED = {
    "TOP", "USER", "SASL", "RESP-CODES", "LOGIN-DELAY", "PIPELINING", "EXPIRE", "UIDL", "IMPLEMENTATION", "STLS",
    "AUTH-RESP-CODE", "UTF8", "LANG",
}  # fmt: skip


def capabilities(world: World) -> list[str]:
    first, *lines, dot, rest = world.send(b"CAPA\r\n").decode("ascii").split("\r\n")
    assert first.startswith("+OK ")
    assert (dot, rest) == (".", "")
    return lines


def test_capa_in_both_states() -> None:
    """P-150, P-151, P-155: the same list, USER included."""
    world = World(MAIL)
    before = capabilities(world)
    assert capabilities(world.login()) == before
    assert {"TOP", "USER", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"} <= set(before)


def test_capability_lines() -> None:
    """P-152, P-153, P-156, P-157, P-159, P-161: registered tags only, each once, printable, no dot."""
    lines = capabilities(World())
    tags = [line.split(" ")[0] for line in lines]
    assert set(tags) <= REGISTERED
    assert len(tags) == len(set(tags))
    assert all(line.isascii() and line.isprintable() and "." not in line and len(line) < 510 for line in lines)
    assert "IMPLEMENTATION Restante" in lines
    assert not {"SASL", "STLS", "LOGIN-DELAY"} & set(tags)  # announced when they work


@pytest.mark.parametrize("help_line", [b"HELP\r\n", b"help\n", b"HELP RETR\r\n"])
def test_help(help_line: bytes) -> None:
    """P-305: not POP3, so -ERR, but with what works now."""
    world = World(MAIL)
    assert world.send(help_line) == b"-ERR POP3 commands now: USER PASS UTF8 LANG CAPA QUIT\r\n"
    assert world.login().send(help_line) == (
        b"-ERR POP3 commands now: STAT LIST RETR DELE TOP UIDL NOOP RSET LANG CAPA QUIT\r\n"
    )


def test_errors_say_what_would_be_right() -> None:
    """P-307."""
    world = World(MAIL, MAIL).login()
    assert world.send(b"RETR\r\n") == b"-ERR RETR needs a message number, 1 to 2\r\n"
    assert world.send(b"TOP 1\r\n") == b"-ERR TOP needs a message number, 1 to 2, and a count of body lines\r\n"
    assert world.send(b"LIST all\r\n") == b"-ERR LIST takes nothing or one message number, 1 to 2\r\n"
    assert world.send(b"STAT 1\r\n") == b"-ERR STAT takes no argument\r\n"
    assert world.send(b"READ 1\r\n").startswith(b"-ERR unknown command; POP3 commands now: STAT LIST ")
    assert world.send(b"RETR 3\r\n") == b"-ERR no such message, numbers are 1 to 2\r\n"
