"""SASLprep: names and passwords that look the same are the same (RFC 4013, RFC 3454; P-202)."""

import stringprep
from collections.abc import Callable
from unicodedata import ucd_3_2_0

_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepared(text: str) -> str:
    """Return `text` prepared as a query: code points that Unicode 3.2 does not know are let through.

    Raises:
        ValueError: the result would be empty, or has characters that are prohibited.
    """
    if text.isascii() and text.isprintable():
        result = text  # nothing to map, normalise or prohibit
    else:
        mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
        result = ucd_3_2_0.normalize("NFKC", mapped)
        _check(result)
    if not result:
        raise ValueError("nothing is left of it after SASLprep")
    return result


def _check(text: str) -> None:
    """Refuse prohibited characters and mixed directions (RFC 4013 sections 2.3 and 2.4).

    Raises:
        ValueError: there are such.
    """
    if any(prohibited(c) for c in text for prohibited in _PROHIBITED):
        raise ValueError("it has characters that SASLprep prohibits")
    if any(stringprep.in_table_d1(c) for c in text):
        ends_right = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends_right or any(stringprep.in_table_d2(c) for c in text):
            raise ValueError("it mixes directions of writing in a way that SASLprep prohibits")
