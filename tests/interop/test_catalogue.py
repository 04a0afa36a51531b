"""That the bench is whole."""

import pytest

from tests.interop.catalogue import CLIENTS
from tests.interop.program import IN_CI


def test_all_clients_are_here() -> None:
    """In CI nothing may be missing; elsewhere it is said what is."""
    missing = [f"{client.name}: {client.reason()}" for client in CLIENTS.values() if client.missing()]
    if missing and not IN_CI:
        pytest.skip("; ".join(missing))
    assert not missing
