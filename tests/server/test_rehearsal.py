"""The session that a server holds with itself before it accepts any."""

import asyncio
import logging

import pytest

from restante.server.rehearsal import rehearse
from tests.server.office import LoopFactory


def test_it_goes_through_a_session_and_leaves_nothing(
    loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "restante")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        replies = runner.run(rehearse()).splitlines()
    assert replies[1:4] == ["+OK send PASS", "+OK 1 messages (42 octets)", "+OK 1 42"]
    assert replies[-1] == "+OK 0 messages deleted, 1 left"
    assert not [line for line in replies if line.startswith("-ERR")]
    assert not caplog.records
    assert not logging.getLogger("restante.session").disabled
