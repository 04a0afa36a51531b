"""`restante fetch` and what crashes cost: the rows of `python -m bench.fetchers crash` that are ours."""

from collections.abc import Iterator

import pytest
from bench.fetchers.crash import FAULTS, FEW, Damage, Trials, trials
from bench.fetchers.programs import RESTANTE
from bench.fetchers.relay import Fault
from bench.peers import dovecot_missing

from tests.interop.catalogue import once
from tests.interop.program import IN_CI

pytestmark = once

NOTHING = Damage(0, 0, 0)
POINTS, MESSAGES = 12, 60
_MODES = pytest.mark.parametrize("keep", [True, False], ids=["keep", "delete"])
_WITHOUT_DOVECOT = pytest.mark.skipif(bool(dovecot_missing()) and not IN_CI, reason=dovecot_missing())


@pytest.fixture(scope="module", params=["restante", pytest.param("dovecot", marks=_WITHOUT_DOVECOT)])
def tried(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """A server to fetch from."""
    with trials(request.param) as tried:
        yield tried


@_MODES
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not Fault.KILL], ids=lambda fault: fault.name)
def test_a_cut_costs_nothing(tried: Trials, fault: Fault, *, keep: bool) -> None:
    """K-006, K-023: no duplicates, none left on the server, none lost."""
    assert tried.one(RESTANTE, fault, keep=keep, number=FEW) == NOTHING


@_MODES
def test_a_kill_costs_nothing(tried: Trials, *, keep: bool) -> None:
    """K-023: neither does SIGKILL, wherever it comes."""
    assert tried.kills(RESTANTE, keep=keep, points=POINTS, number=MESSAGES) == NOTHING
