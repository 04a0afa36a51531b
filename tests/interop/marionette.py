"""Runs scripts inside Thunderbird, which needs no display for that."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.cli.program import Lines
from tests.interop.program import TIMEOUT

_PREFERENCES = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.enabled": False,
    "mail.rights.version": 1,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "marionette.port": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}


class Marionette:
    """A connection to the Marionette server, whose messages are a length, a colon and JSON."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._file = self._socket.makefile("rb")
        self._id = 0
        assert self._read()["marionetteProtocol"] == 3
        self.call("WebDriver:NewSession", {})
        self.call("WebDriver:SetTimeouts", {"script": int(TIMEOUT * 1000)})
        self.call("Marionette:SetContext", {"value": "chrome"})

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script, which finds its arguments in `arguments`, and returns or awaits what it returns."""
        script = (
            f"const done = arguments[arguments.length - 1]; (async function() {{ {script} }}).apply(null, arguments)"
        )
        script += ".then(value => done([value, null]), error => done([null, String(error)]));"
        value, error = self.call("WebDriver:ExecuteAsyncScript", {"script": script, "args": arguments})["value"]
        assert error is None, error
        return value

    def call(self, name: str, parameters: dict[str, Any]) -> Any:
        """Send a command; returns its answer."""
        self._id += 1
        message = json.dumps([0, self._id, name, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, number, error, result = self._read()
        assert number == self._id
        assert error is None, error
        return result

    def _read(self) -> Any:
        digits = b""
        while (octet := self._file.read(1)) != b":":
            assert octet, "Thunderbird has hung up"
            digits += octet
        return json.loads(self._file.read(int(digits)))


@contextmanager
def thunderbird(folder: Path) -> Iterator[Marionette]:
    """Start Thunderbird with a profile of its own; end it in the end, with all its processes."""
    profile = folder / "profile"
    profile.mkdir()
    preferences = [f'user_pref("{name}", {json.dumps(value)});\n' for name, value in _PREFERENCES.items()]
    (profile / "user.js").write_text("".join(preferences), encoding="ascii")
    options = ["--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(
        ["thunderbird", *options],
        env=os.environ | {"HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = Lines(process.stdout)
    try:
        match = re.search(r"Listening on port (\d+)", lines.until("Listening on port"))
        assert match is not None
        marionette = Marionette(int(match[1]))
        try:
            yield marionette
        finally:
            marionette.close()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)
        lines.rest()
