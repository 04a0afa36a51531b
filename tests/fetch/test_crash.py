"""A fetcher that dies at any moment: nothing is lost, and nothing comes twice (K-023)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fetch.site import body
from tests.server.office import LOOPS, TIMEOUT, Office

TEXTS = [body(number).replace(b"\r\n", b"\n").decode() for number in (1, 2, 3)]


@pytest.mark.parametrize("keep", ["forever", "0"])
def test_killed_after_each_system_call(tmp_path: Path, keep: str) -> None:
    """docs/INTERNALS.md, "Fetching": whatever a crash leaves, the next visit makes it good."""
    with Office(LOOPS["stdlib"]) as office:
        office.deliver(*(body(number) for number in (1, 2, 3)))
        address = office.address()
        assert isinstance(address, tuple)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fetch.crash", str(tmp_path / "place"), str(address[1]), keep],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        deaths = 0
        for line in process.stdout:
            calls, found, problems = json.loads(line)
            assert (found, problems) == (TEXTS, []), calls
            assert len(office.contents()) == (0 if keep == "0" else 3), calls
            if keep == "0":
                office.deliver(*(body(number) for number in (1, 2, 3)))
            deaths = calls
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
        process.stdout.close()
    assert deaths > 40
