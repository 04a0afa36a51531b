"""The examples of docs/how-to/client.md run."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.office import LOOPS, Office

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "client.md"
MESSAGE = b"Subject: one\r\n\r\nbody\r\n"


@pytest.fixture
def office() -> Iterator[Office]:
    with Office(LOOPS["stdlib"]) as running:
        running.deliver(MESSAGE, MESSAGE)
        yield running


@pytest.fixture
def examples() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(code, names)
    return names


def test_examples(office: Office, examples: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    address = office.address()
    url = f"pop://bob@{address[0]}:{address[1]}"
    assert examples["first"](url, "secret") == MESSAGE
    asyncio.run(examples["main"](url, "secret"))
    out = capsys.readouterr().out
    assert "2 messages, 44 octets" in out
    assert repr(b"Subject: one\r\n\r\n") in out
    assert len(office.contents()) == 1
