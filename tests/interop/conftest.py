"""Gathers what the clients did, and writes the page about it: `pytest tests/interop --clients-page FILE`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop import page
from tests.interop.bench import Office, Session, post_office
from tests.interop.catalogue import CLIENTS
from tests.interop.page import Trial

_OPTION = "--clients-page"
_trials: list[Trial] = []
_unfinished: list[str] = []

Tried = Callable[..., None]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A post office with all messages."""
    with post_office(tmp_path) as office:
        yield office


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Note for the page what a client did: call it when everything has been checked."""

    def note(client: str, mode: str, session: Session | None = None, *, commands: str = "", did: str = "") -> None:
        assert client in CLIENTS
        request.node.user_properties.append(("trial", Trial(client, mode, session, commands, did)))

    return note


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, metavar="FILE", help="write what the clients of tests/interop did")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.outcome != "passed":
        _unfinished.append(f"{report.nodeid} {report.outcome}")
    if report.when == "call":
        _trials.extend(trial for name, trial in report.user_properties if name == "trial" and isinstance(trial, Trial))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    file = config.getoption(_OPTION, None)
    if file is None:
        return
    if _unfinished:
        terminalreporter.line(f"{file} is not written: {_unfinished[0]} and {len(_unfinished) - 1} more", red=True)
    else:
        Path(file).write_text(page.render(_trials), encoding="utf-8")
        terminalreporter.line(f"{file} is written", green=True)
