"""Text in a header as encoded-words (RFC 2047)."""

import re
from base64 import b64encode
from collections.abc import Iterator

TEXT_WORD_OCTETS = 60
"""The longest encoded-word made in text, in octets.  RFC 2047 section 2 allows 75; this fits beside a field name."""

NAME_WORD_OCTETS = 72
"""The longest encoded-word made in names and comments, in octets: many clients put a space where one is continued."""

WHITE = b" \t"

Chunk = tuple[bytes, bytes]
"""White space, and the octets after it; a line may be folded before the white space."""

Word = tuple[bytes, bytes, bytes]
"""White space, the octets after it as they stand, and as they read (quotes and backslashes removed)."""

ENCODED_WORD = re.compile(rb"=\?[!->@-~]+\?[BbQq]\?[!->@-~]*\?=")
_TEXT_WORD = re.compile(rb"([ \t]*)([^ \t]+)")
_CHARACTERS = {
    b"UTF-8": re.compile(rb"[^\x80-\xBF][\x80-\xBF]*", re.DOTALL),
    b"unknown-8bit": re.compile(rb".", re.DOTALL),  # RFC 1428: nothing is known that could be split wrongly
}

LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# RFC 2047 section 5 (3): what may stand for itself within a phrase may do so everywhere.
_Q = [bytes((octet,)) if octet in LETTERS + b"!*+-/" else b"=%02X" % octet for octet in range(256)]
_Q[0x20] = b"_"


def _encoded_words(text: bytes, charset: bytes, longest: int) -> Iterator[bytes]:
    """Encode text, in as many encoded-words as it takes, never splitting a character (RFC 2047 section 5)."""
    # Q can be read without a decoder as long as most of the text is ASCII (RFC 2047 section 4).
    are_ascii = [character.isascii() for character in _CHARACTERS[charset].findall(text)]
    letter = b"Q" if sum(are_ascii) * 2 >= len(are_ascii) else b"B"
    start = b"=?%b?%b?" % (charset, letter)
    room = longest - len(start) - len(b"?=")
    if letter == b"B":
        for part in cut(text, charset, [1] * 256, room // 4 * 3):
            yield start + b64encode(part) + b"?="
    else:
        for part in cut(text, charset, [len(code) for code in _Q], room):
            yield start + b"".join([_Q[octet] for octet in part]) + b"?="


def cut(text: bytes, charset: bytes, sizes: list[int], room: int) -> Iterator[bytes]:
    """Cut text into parts that take at most `room` octets when each octet takes its size.

    Cuts are made before a space where there is one, and always between characters.
    """
    start = end = space = used = 0
    for character in _CHARACTERS[charset].findall(text):
        size = sum([sizes[octet] for octet in character])
        if used + size > room:
            at = space if space > start else end
            yield text[start:at]
            start, used = at, sum([sizes[octet] for octet in text[at:end]])
        if character == b" ":
            space = end
        end += len(character)
        used += size
    yield text[start:]


def text_words(text: bytes) -> list[Word]:
    """Split unstructured text into words."""
    return [(white, word, word) for white, word in _TEXT_WORD.findall(text)]


def encoded(words: list[Word], charset: bytes, longest: int) -> list[Chunk]:
    """Encode the runs of words that are not ASCII; the others stay as they stand.

    White space between two encoded-words is not part of the text (RFC 2047 section 6.2): where there is some in
    the text, it goes into the encoded-word.
    """
    chunks: list[Chunk] = []
    run_white = run = b""
    after_encoded_word = False
    for white, raw, text in words:
        if not raw.isascii():
            if run:
                run += white + text
            elif after_encoded_word:
                run_white, run = b" ", white + text
            else:
                run_white, run = white, text
            continue
        after_encoded_word = ENCODED_WORD.fullmatch(raw) is not None
        if run:
            chunks += encoded_run(run_white, run + white if after_encoded_word else run, charset, longest)
            run = b""
        chunks.append((white, raw))
    if run:
        chunks += encoded_run(run_white, run, charset, longest)
    return chunks


def encoded_run(white: bytes, text: bytes, charset: bytes, longest: int) -> Iterator[Chunk]:
    for word in _encoded_words(text, charset, longest):
        yield white, word
        white = b" "
