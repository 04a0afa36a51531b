"""Lines and octets, however they are cut."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.protocol import message_encoder
from restante.protocol.framing import (
    TERMINATOR,
    ByteStuffer,
    CrlfLines,
    LfLines,
    LineBuffer,
    LineTooLong,
    MultilineDecoder,
    wire_octets,
)
from restante.protocol.message_encoder import MessageEncoder

# Mostly the octets that matter, so that every combination of them comes up.
octets = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff", b"\r\n.\r\n"])).map(b"".join)


@st.composite
def cut(draw: st.DrawFn, data: st.SearchStrategy[bytes] = octets) -> tuple[bytes, list[bytes]]:
    """Some octets, and the same octets in pieces."""
    whole = draw(data)
    edges = sorted(draw(st.sets(st.integers(0, len(whole)))))
    return whole, [whole[a:b] for a, b in zip([0, *edges], [*edges, len(whole)], strict=True)]


def crlf(pieces: list[bytes]) -> bytes:
    lines = CrlfLines()
    return b"".join([lines.feed(piece) for piece in pieces]) + lines.finish()


def encode(pieces: list[bytes], lines: int | None = None) -> bytes:
    encoder = MessageEncoder(lines)
    return b"".join([encoder.feed(piece) for piece in pieces]) + encoder.finish()


def decode(pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    decoder = MultilineDecoder()
    return b"".join([decoder.feed(piece) for piece in pieces]), decoder.finished, decoder.rest


@pytest.mark.parametrize(
    ("stored", "wire"),
    [
        (b"", b""),  # P-096
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),  # P-099: not CR CR LF
        (b"a\nb", b"a\r\nb\r\n"),  # P-087
        (b"a\r\nb\nc", b"a\r\nb\r\nc\r\n"),
        (b"a\rb\n", b"a\rb\r\n"),  # P-094: a bare CR stays inside its line
        (b"a\r", b"a\r\r\n"),  # P-087: a trailing bare CR is followed by CRLF
        (b"\n", b"\r\n"),
        (b"a\0\xff\n", b"a\0\xff\r\n"),
        (b"a\r\r\nb\n", b"a\r\r\nb\r\n"),
    ],
)
def test_stored_octets_become_lines_that_end_in_crlf(stored: bytes, wire: bytes) -> None:
    assert crlf([stored]) == wire
    assert wire_octets([stored]) == len(wire)  # P-081, P-088


@given(cut())
def test_pieces_give_the_same_lines_as_the_whole(data: tuple[bytes, list[bytes]]) -> None:
    """P-026, P-094: no edge loses or doubles a line end."""
    whole, pieces = data
    assert crlf(pieces) == crlf([whole])
    assert wire_octets(pieces) == len(crlf([whole]))


@given(octets)
def test_every_line_ends_in_crlf_and_nothing_else_changes(stored: bytes) -> None:
    """Against a second, slow way of saying the same: split at LF, take one CR off each line."""
    lines = stored.split(b"\n")
    last = lines.pop()
    expected = b"".join(line.removesuffix(b"\r") + b"\r\n" for line in lines)
    assert crlf([stored]) == expected + (last + b"\r\n" if last else b"")


@given(cut())
@example((b".", [b"."]))
@example((b"\r\n.", [b"\r\n", b"."]))
def test_any_octets_survive_encoding_and_decoding(data: tuple[bytes, list[bytes]]) -> None:
    """P-013, K-001: stuffing is undone exactly, and the reply ends where it ends, for any octets and any cuts."""
    whole, pieces = data
    sent = encode(pieces)
    assert sent == encode([whole])
    assert decode([sent + b"+OK next\r\n"]) == (crlf([whole]), True, b"+OK next\r\n")


@given(cut(octets.map(lambda stored: encode([stored]) + b"+OK\r\n")))
def test_a_decoder_does_not_care_how_the_reply_is_cut(data: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = data
    assert decode(pieces) == decode([whole])


def test_a_bare_lf_does_not_end_a_reply() -> None:
    """K-001."""
    assert decode([b"a\n.\nb\r\n.\r\n"]) == (b"a\n.\nb\r\n", True, b"")


def test_a_reply_without_terminator_is_not_finished() -> None:
    """K-021: what came is given, the rest is held back, and the caller can tell."""
    assert decode([b"a\r\n.", b".", b"\r\n."]) == (b"a\r\n.", False, b"")
    assert decode([b"a\r\n.\r"]) == (b"a", False, b"")


@given(octets)
def test_no_line_of_a_reply_is_a_lone_dot_but_the_last(stored: bytes) -> None:
    """P-012, P-013: else the rest of the mail would speak as the server."""
    lines = encode([stored]).split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    assert all(b"\n" not in line for line in lines)  # P-002


def test_the_first_octet_of_a_message_is_stuffed() -> None:
    """P-013: also when it comes alone."""
    assert encode([b".", b"\n"]) == b"..\r\n.\r\n"
    stuffer = ByteStuffer()
    assert stuffer.feed(b"") == b""
    assert stuffer.feed(b".") == b".."


MESSAGE = b"A: 1\nB: 2\n\none\n\n.three\nfour"


@pytest.mark.parametrize(
    ("stored", "lines", "sent"),
    [
        (MESSAGE, 0, b"A: 1\r\nB: 2\r\n\r\n"),  # P-111
        (MESSAGE, 1, b"A: 1\r\nB: 2\r\n\r\none\r\n"),
        (MESSAGE, 2, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n"),  # P-119: a blank line counts
        (MESSAGE, 3, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n..three\r\n"),  # P-115
        (MESSAGE, 4, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n..three\r\nfour\r\n"),  # P-118
        (MESSAGE, 2**62, b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n..three\r\nfour\r\n"),  # P-112
        (b"A: 1\nB: 2", 5, b"A: 1\r\nB: 2\r\n"),  # P-116: no blank line is invented
        (b"A: 1\n", 0, b"A: 1\r\n"),
        (b"\nbody\n", 0, b"\r\n"),  # P-116: begins with a blank line
        (b"\nbody\n", 1, b"\r\nbody\r\n"),
        (b"", 3, b""),
        (b"A: 1\n\r\r\nx\n", 1, b"A: 1\r\n\r\r\nx\r\n"),  # a line of one CR is not a blank line
    ],
)
def test_top(stored: bytes, lines: int, sent: bytes) -> None:
    """P-110: header, blank line, and that many lines of the body."""
    assert encode([stored], lines) == sent + b".\r\n"
    assert encode([bytes([octet]) for octet in stored], lines) == sent + b".\r\n"


@given(cut(), st.integers(0, 6))
def test_top_is_a_prefix_of_the_message(data: tuple[bytes, list[bytes]], lines: int) -> None:
    """P-119, against a slow way of counting; pieces after the last line change nothing."""
    whole, pieces = data
    sent = encode(pieces, lines)
    wire = crlf([whole]).splitlines(keepends=True) if b"\r" not in whole.replace(b"\r\n", b"") else None
    decoded, finished, rest = decode([sent])
    assert finished
    assert rest == b""
    assert crlf([whole]).startswith(decoded)
    if wire is not None:  # splitlines takes a bare CR for a line end
        blank = wire.index(b"\r\n") if b"\r\n" in wire else len(wire)
        assert decoded == b"".join(wire[: blank + 1 + lines])


@given(cut(st.lists(st.sampled_from([b"\r\n", b"\r\r\n", b".", b"a", b"\rb", b"\r"])).map(b"".join)))
def test_lf_lines_on_disk_come_back_as_they_were(data: tuple[bytes, list[bytes]]) -> None:
    """What arrives with CRLF is stored with LF and sent as it arrived, bare CRs included."""
    whole, pieces = data
    lines = LfLines()
    stored = b"".join([lines.feed(piece) for piece in pieces]) + lines.finish()
    assert b"\r\n" not in stored.replace(b"\r\r\n", b"x")
    assert crlf([stored]) == crlf([whole])


def lines_of(pieces: list[bytes], limit: int) -> list[bytes | None]:
    """All lines; None stands for one that was too long."""
    buffer = LineBuffer(limit)
    found: list[bytes | None] = []
    for piece in pieces:
        buffer.receive(piece)
        while True:
            try:
                line = buffer.next_line()
            except LineTooLong:
                found.append(None)
                continue
            if line is None:
                break
            found.append(line)
    return found


@given(cut(), st.integers(1, 5))
def test_command_lines_do_not_depend_on_segments(data: tuple[bytes, list[bytes]], limit: int) -> None:
    """P-002, P-011, P-026: LF ends a line, one CR before it is dropped, a long line is one long line."""
    whole, pieces = data
    expected = [line.removesuffix(b"\r") for line in whole.split(b"\n")[:-1]]
    assert lines_of(pieces, limit) == [line if len(line) <= limit else None for line in expected]


def test_a_long_line_is_not_kept() -> None:
    """P-011: memory is bounded while the line goes on."""
    buffer = LineBuffer(10)
    for _ in range(100):
        buffer.receive(b"x" * 100)
        assert buffer.next_line() is None
        assert len(buffer) == 0
    assert buffer.dropped == 10_000
    buffer.receive(b"x\r\nNOOP\r\n")
    with pytest.raises(LineTooLong):
        buffer.next_line()
    assert buffer.dropped == 10_003
    assert buffer.next_line() == b"NOOP"


# -- wire form --------------------------------------------------------------------------------------


@given(cut())
@example((b"a\r\nb\r\n", [b"a\r", b"\nb\r\n"]))
@example((b"", []))
def test_wire_form_goes_out_as_it_is(data: tuple[bytes, list[bytes]]) -> None:
    """P-081, P-099: of octets that are those of RETR already the reply is the same, whether it is said so or not."""
    _, pieces = data
    whole = ByteStuffer().feed(crlf(pieces))
    if b"\n." in b"\n" + whole:  # not in wire form
        return
    encoder = MessageEncoder(wire_form=True)
    assert encoder.feed(whole[:3]) + encoder.feed(whole[3:]) + encoder.finish() == encode([whole])
    assert encoder.octets == len(whole)


@pytest.mark.parametrize("gap", [1, 2, 30, 100, 140, 1000])
@pytest.mark.parametrize("beginning", [0.0, 0.01, 0.5, 1.0])
def test_dots_few_or_many(gap: int, beginning: float) -> None:
    """P-013: dots at the beginning of lines or elsewhere, as dense as they may be, here and there denser."""
    dice = random.Random(gap * beginning)
    pieces = []
    for _ in range(60_000 // (gap + 20)):
        pieces.append(dice.choice((b"x", b"x\r\n")) * dice.randrange(gap))
        pieces.append((b"\r\n." if dice.random() < beginning else b"y.") * dice.choice((1, 1, 1, 2, 40)))
    data = b"".join(pieces)
    assert ByteStuffer().feed(b"z" + data) == b"z" + data.replace(b"\n.", b"\n..")


@given(octets)
@example(b"\r")
def test_a_message_in_one_piece(stored: bytes) -> None:
    """P-013, P-087, P-096, P-099: encoded at once, it is what comes of it piece by piece."""
    lines, count = message_encoder.whole(stored)
    assert lines + TERMINATOR == encode([stored])
    assert count == wire_octets([stored])


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_top_of_wire_form(lines: int) -> None:
    """P-110: TOP looks at the lines all the same."""
    stored = b"A: 1\r\n\r\none\r\ntwo\r\n"
    encoder = MessageEncoder(lines, wire_form=True)
    assert encoder.feed(stored) + encoder.finish() == encode([stored], lines)
