"""One header field made ASCII, so that a client which has not said UTF8 can read it (P-256, RFC 6858).

Text becomes encoded-words (RFC 2047), parameters become extended parameters (RFC 2231), an address that cannot be
written in ASCII becomes an empty group.  Nothing here raises, whatever the octets.  The ``email`` package is not
used: it does raise on malformed fields, and what it makes of them changes from one Python to the next.
"""

import re
from collections.abc import Iterator

from restante.protocol.encoded_words import (
    ENCODED_WORD,
    LETTERS,
    NAME_WORD_OCTETS,
    TEXT_WORD_OCTETS,
    WHITE,
    Chunk,
    Word,
    cut,
    encoded,
    encoded_run,
    text_words,
)

REPLACED = bytes(range(0x80)) + b"?" * 0x80
"""Table for `bytes.translate`: ``?`` for every octet that is not ASCII."""

LINE_OCTETS = 74
"""Where lines are folded: RFC 2047 section 2 allows 76 octets, and a mark such as ``:;`` may still follow."""

Token = tuple[str, bytes]
"""Kind (white, comment, special, quoted, atom) and octets of a lexical token (RFC 5322 section 3.2)."""

_ADDRESS_FIELDS = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc "
    b"return-path disposition-notification-to return-receipt-to errors-to mail-followup-to mail-reply-to "
    b"delivered-to x-original-to envelope-to apparently-to".split()
)
_PARAMETER_FIELDS = frozenset((b"content-type", b"content-disposition"))
_TRACE_FIELDS = frozenset(
    b"received message-id in-reply-to references date resent-date resent-message-id "
    b"mime-version content-transfer-encoding content-id".split()
)

_FIELD_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_LINE_END = re.compile(rb"\r?\n")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(
    rb"(?P<white>[ \t]+)|(?P<special>[<>,;:])|(?P<quoted>" + _QUOTED + rb")"
    rb"|(?P<atom>[^ \t()<>\[\]:;\\,\"]+|\[[^\[\]\\]*(?:\\.[^\[\]\\]*)*\])",
    re.DOTALL,
)
_COMMENT_MARK = re.compile(rb"[()]|\\.", re.DOTALL)
_SEGMENT_PART = re.compile(_QUOTED + rb'|[^";]+|;|".*', re.DOTALL)
_PARAMETER = re.compile(
    rb"([!#$&+.^_`{|}~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:(" + _QUOTED + rb')|([^"].*))',
    re.DOTALL,
)
# RFC 2231 section 7, attribute-char
_EXTENDED = [bytes((octet,)) if octet in LETTERS + b"!#$&+-.^_`{|}~" else b"%%%02X" % octet for octet in range(256)]


def ascii_field(field: bytes) -> bytes:
    """Return a header field in ASCII, folded, each line ended by CRLF.

    Args:
        field: one whole field with its continuation lines and line ends; some octet of it is not ASCII.
    """
    match = _FIELD_NAME.match(field)
    if match is None:
        return _ended(field.translate(REPLACED))
    name = match[1].lower()
    charset = _charset(field)
    if name in _TRACE_FIELDS:  # nowhere in them an encoded-word could stand
        return _ended(_replaced(field, charset))
    value = unfolded(field[match.end() :])
    chunks = None
    if name in _PARAMETER_FIELDS:
        chunks = _parameters(value, charset)
    elif name in _ADDRESS_FIELDS:
        chunks = _address_list(value, charset)
    if chunks is None:
        chunks = encoded(text_words(value), charset, TEXT_WORD_OCTETS)
    return _folded(match[0], chunks)


def unfolded(value: bytes) -> bytes:
    """Return a field's value as one line (RFC 5322 section 2.2.3), without white space around it."""
    return _LINE_END.sub(b"", value).strip(WHITE)


def unquoted(quoted: bytes) -> bytes:
    """Return what a quoted string or a comment says (RFC 5322 section 3.2)."""
    return _QUOTED_PAIR.sub(rb"\1", quoted[1:-1])


def _charset(octets: bytes) -> bytes:
    """UTF-8 if the octets are that; otherwise nobody can know (RFC 1428)."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"UTF-8"


def _replaced(octets: bytes, charset: bytes) -> bytes:
    """Put ``?`` for each character that is not ASCII."""
    return octets.decode().encode("ascii", "replace") if charset == b"UTF-8" else octets.translate(REPLACED)


def _ended(field: bytes) -> bytes:
    """Complete the last line."""
    return field if field.endswith(b"\n") else field + b"\r\n"


def _folded(name: bytes, chunks: list[Chunk]) -> bytes:
    """Put a field together again (RFC 5322 section 2.2.3).

    Args:
        name: the field's name and colon.
        chunks: what stands after it.
    """
    parts = [name]
    column = len(name)
    after_encoded_word = True  # so that white space follows the colon
    for white, text in chunks:
        is_encoded_word = ENCODED_WORD.fullmatch(text) is not None
        # RFC 2047 section 5: white space is what sets an encoded-word apart.
        space = white or (b" " if is_encoded_word or after_encoded_word else b"")
        # Not every parser takes a line end right after the colon for white space, so only where it must be there.
        may_fold = space and (is_encoded_word or len(parts) > 1)
        if may_fold and column + len(space) + len(text) > LINE_OCTETS:
            parts.append(b"\r\n")
            column = 0
        parts += space, text
        column += len(space) + len(text)
        after_encoded_word = is_encoded_word
    return b"".join([*parts, b"\r\n"])


# Addresses (RFC 5322 section 3.4, RFC 6858 section 2)


def _tokens(value: bytes) -> list[Token] | None:
    """Split a structured value; None if it is malformed."""
    tokens: list[Token] = []
    position = 0
    while position < len(value):
        if value[position] == 0x28:
            kind, end = "comment", _comment_end(value, position)
        else:
            match = _TOKEN.match(value, position)
            kind, end = (match.lastgroup or "", match.end()) if match else ("", -1)
        if end < 0:
            return None
        tokens.append((kind, value[position:end]))
        position = end
    return tokens


def _comment_end(value: bytes, start: int) -> int:
    """Return where the comment that begins at `start` ends, -1 if it does not; comments nest."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(value, start):
        depth += {b"(": 1, b")": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.end()
    return -1


def _address_list(value: bytes, charset: bytes) -> list[Chunk] | None:
    """Convert a list of addresses; None if it is no such list."""
    tokens = _tokens(value)
    if tokens is None:
        return None
    addresses: list[list[Chunk]] = []
    group: list[Chunk] | None = None
    members: list[list[Chunk]] = []
    removed: list[list[Chunk]] = []
    for element, mark in _elements(tokens):
        if mark == b":":
            group = None if group else _phrase(element, charset)
            if not group:
                return None
            members, removed = [], []
            continue
        chunks, is_removed = _mailbox(element, charset)
        if chunks is None or (mark == b";" and group is None):
            return None
        if group is None:
            addresses.append(chunks)
        else:
            # A group cannot stand within a group: what has become one follows the group it was in.
            (removed if is_removed else members).append(chunks)
        if group is not None and mark == b";":
            addresses += [[*group, (b"", b":"), *_joined(members), (b"", b";")], *removed]
            group = None
    return None if group else _joined(addresses)


def _elements(tokens: list[Token]) -> Iterator[tuple[list[Token], bytes]]:
    """Yield what stands between the marks ``,``, ``:`` and ``;`` outside of ``<>``, and the mark after it."""
    element: list[Token] = []
    in_angle = False
    for token in tokens:
        kind, raw = token
        if kind == "special":
            in_angle = raw == b"<" or (in_angle and raw != b">")
            if not in_angle and raw != b">":
                yield element, raw
                element = []
                continue
        element.append(token)
    yield element, b""


def _joined(addresses: list[list[Chunk]]) -> list[Chunk]:
    """Put a comma between addresses; empty ones, which obsolete syntax allows, are left out."""
    chunks: list[Chunk] = []
    for address in filter(None, addresses):
        if chunks:
            chunks.append((b"", b","))
        chunks += address
    return chunks


def _mailbox(tokens: list[Token], charset: bytes) -> tuple[list[Chunk] | None, bool]:
    """Convert one address.  Returns its chunks, None if it is malformed, and whether the address had to go."""
    raws = [raw for _, raw in tokens]
    if b"".join(raws).isascii():
        return _phrase(tokens, charset), False
    if b"<" not in raws and b">" not in raws:
        return _bare_address(tokens, charset)
    if raws.count(b"<") != 1 or raws.count(b">") != 1:
        return None, False
    start, end = raws.index(b"<"), raws.index(b">")
    after = tokens[end + 1 :]
    if start > end or any(kind in ("atom", "quoted") for kind, _ in after):
        return None, False
    name = _phrase(tokens[:start], charset)
    address = b"".join(raws[start + 1 : end])
    if not address.isascii():
        return [*name, *_removed(address, charset), *_phrase(after, charset), (b"", b":;")], True
    white = b" " if name or tokens[0][0] == "white" else b""
    return [*name, (white, b"<" + address + b">"), *_phrase(after, charset)], False


def _bare_address(tokens: list[Token], charset: bytes) -> tuple[list[Chunk], bool]:
    """Convert an address without ``<>``, or a name without any address."""
    address = b"".join([raw for kind, raw in tokens if kind != "comment"]).strip(WHITE)
    if address.isascii() or b"@" not in address:
        return _phrase(tokens, charset), False
    comments = [token for token in tokens if token[0] == "comment"]
    return [*_removed(address, charset), *_phrase(comments, charset), (b"", b":;")], True


def _removed(address: bytes, charset: bytes) -> list[Chunk]:
    """Words that tell an address to the reader and to no program (P-256)."""
    return [(b" ", b"Internationalized"), (b" ", b"address"), *encoded_run(b" ", address, charset, NAME_WORD_OCTETS)]


def _phrase(tokens: list[Token], charset: bytes) -> list[Chunk]:
    """Convert words and comments (RFC 2047 section 5 (2) and (3))."""
    chunks: list[Chunk] = []
    words: list[Word] = []
    white: bytes | None = b""
    for kind, raw in tokens:
        if kind == "white":
            white = raw
        elif kind == "comment":
            chunks += [*encoded(words, charset, NAME_WORD_OCTETS), *_comment(white or b"", raw, charset)]
            words, white = [], b""
        else:
            text = unquoted(raw) if kind == "quoted" else raw
            if white is None:
                before, before_raw, before_text = words.pop()
                words.append((before, before_raw + raw, before_text + text))
            else:
                words.append((white, raw, text))
            white = None
    return chunks + encoded(words, charset, NAME_WORD_OCTETS)


def _comment(white: bytes, comment: bytes, charset: bytes) -> list[Chunk]:
    """Convert a comment."""
    if comment.isascii():
        return [(white, comment)]
    content = comment[1:-1].strip(WHITE)
    words = text_words(content)
    if re.search(rb"[()\\]", content):  # as a whole: parentheses of which one is encoded would not match any more
        words = [(b"", content, unquoted(comment).strip(WHITE))]
    chunks = encoded(words, charset, NAME_WORD_OCTETS)
    chunks[0] = (white, b"(" + chunks[0][1])
    last_white, last = chunks[-1]
    chunks[-1] = (last_white, last + b")")
    return chunks


# Parameters (RFC 2231)


def split_parameters(value: bytes) -> list[bytes]:
    """Split a value at its semicolons; those between quotes do not count."""
    segments = [b""]
    for part in _SEGMENT_PART.findall(value):
        if part == b";":
            segments.append(b"")
        else:
            segments[-1] += part
    return segments


def _parameters(value: bytes, charset: bytes) -> list[Chunk]:
    """Convert the parameters that are not ASCII; the others stay as they stand."""
    first, *segments = split_parameters(value)
    chunks: list[Chunk] = [(b" ", _replaced(first.strip(WHITE), charset))]
    names = {segment.partition(b"=")[0].strip(WHITE).lower() for segment in segments}
    for segment in segments:
        chunks.append((b"", b";"))
        text = segment.strip(WHITE)
        if text.isascii():
            chunks.append((segment[: len(segment) - len(segment.lstrip(WHITE))], text))
            continue
        match = _PARAMETER.fullmatch(text)
        if match is None or match[1].lower() + b"*" in names:
            # An extended parameter of the same name has the text already, and may stand only once.
            chunks.append((b" ", _replaced(text, charset)))
        else:
            plain = unquoted(match[2]) if match[2] else match[3]
            chunks += _extended(match[1], plain, charset)
    return chunks


def _extended(name: bytes, value: bytes, charset: bytes) -> Iterator[Chunk]:
    """Write an extended parameter, in continuations (RFC 2231 section 3) if it is longer than a line."""
    room = max(LINE_OCTETS - len(name) - len(charset) - 10, 12)
    pieces = list(cut(value, charset, [len(code) for code in _EXTENDED], room))
    for number, part in enumerate(pieces):
        section = b"*%d*=" % number if len(pieces) > 1 else b"*="
        start = charset + b"''" if number == 0 else b""
        end = b";" if number + 1 < len(pieces) else b""
        yield b" ", name + section + start + b"".join([_EXTENDED[octet] for octet in part]) + end
