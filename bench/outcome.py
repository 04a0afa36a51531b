"""What comes of a row of the second table."""

from collections.abc import Sequence
from typing import NamedTuple


class Outcome(NamedTuple):
    """Figures of which less is better."""

    sides: Sequence[Sequence[float]]
    """Of Restante, and of Dovecot where it was measured: one for each round."""
    note: str = ""
    """What a reader has to know of these figures."""
