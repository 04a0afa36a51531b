"""Every test of the server runs on both event loops."""

from collections.abc import Iterator

import pytest

from tests.server.office import LOOPS, LoopFactory, Office


@pytest.fixture(params=LOOPS)
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    return LOOPS[request.param]


@pytest.fixture
def office(loop_factory: LoopFactory) -> Iterator[Office]:
    with Office(loop_factory) as running:
        yield running
