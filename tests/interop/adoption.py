"""What the tests of both old servers do: a client that leaves mail on the server, and our commands."""

import asyncio
import base64
import ctypes
import os
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from restante.stores.maildir import MaildirStore
from tests.interop.bench import PASSWORD, USER, Office
from tests.interop.catalogue import SCRIPTS
from tests.interop.foreign_servers import NOBODY, NOGROUP, own
from tests.interop.marionette import Marionette
from tests.interop.program import TIMEOUT


def adopt(office: Office, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``restante adopt`` for the only account that has mail."""
    passwords = office.file("passwords", f"{USER}:{PASSWORD}\n")
    command = [sys.executable, "-m", "restante", "adopt", USER, "-c", str(office.folder / "restante.toml")]
    options = ["--passwords", str(passwords)] if any("://" in argument for argument in arguments) else []
    return subprocess.run(
        [*command, *options, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def adopted(office: Office, *arguments: str) -> str:
    """Run it; it must succeed.  Returns what it says."""
    result = adopt(office, *arguments)
    assert (result.returncode, result.stderr) == (0, ""), (result.stdout, result.stderr)
    return result.stdout


def deliver_by_us(office: Office, text: bytes) -> None:
    """Deliver a message with our own store; it belongs to the user of the other server from its first moment."""

    async def deliver() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, initializer=_be_the_owner))
        store = MaildirStore(str(office.folder / "mail" / "{user}"))
        async with store.deliver(USER) as delivery:
            await delivery.write(text)
            await delivery.commit()

    own(office.folder / "mail")
    asyncio.run(deliver())


def _be_the_owner() -> None:
    """Let this thread, and no other, use files as somebody else."""
    if os.geteuid() == 0:
        system = ctypes.CDLL(None)
        system.setfsgid(NOGROUP)
        system.setfsuid(NOBODY)


class LeavingMpop:
    """mpop, which leaves all mail on the server and remembers the ids of what it has.

    Args:
        folder: where it keeps its own files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._had: set[Path] = set()
        for part in ("tmp", "new", "cur"):
            (folder / "fetched" / part).mkdir(parents=True)

    def fetch(self, port: int) -> list[bytes]:
        """Call for new mail; returns the subjects."""
        rc = self._folder / "mpoprc"
        rc.touch(mode=0o600)
        rc.write_text(
            f"account c\nhost localhost\nport {port}\ntls off\nauth user\nuser {USER}\npassword {PASSWORD}\nkeep on\n"
            f"received_header off\ndelivery maildir fetched\nuidls_file {self._folder / 'uidls'}\n",
            encoding="ascii",
        )
        environment = os.environ | {"HOME": str(self._folder)}
        command = ["mpop", "-C", str(rc), "-q", "c"]
        result = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, timeout=TIMEOUT, check=False
        )
        assert result.returncode == 0, result.stderr
        there = set((self._folder / "fetched" / "new").iterdir())
        new, self._had = there - self._had, there
        return sorted(_subject(path.read_bytes()) for path in new)


class LeavingThunderbird:
    """Thunderbird with one account, which leaves all mail on the server.

    Args:
        browser: itself.
        office: whose certificate it is to trust.
    """

    def __init__(self, browser: Marionette, office: Office) -> None:
        self._browser = browser
        self._ca = base64.b64encode(ssl.PEM_cert_to_DER_cert(office.ca.read_text(encoding="ascii"))).decode()
        self._count = 0
        self._new = True

    def fetch(self, port: int) -> list[bytes]:
        """Call for new mail; returns the subjects."""
        script = (SCRIPTS / "thunderbird_again.js").read_text(encoding="utf-8")
        result = self._browser.run(script, port, self._new, self._ca)
        self._new = False
        assert result["status"] == 0
        before, self._count = self._count, result["count"]
        messages = Path(result["path"]).read_bytes().split(b"\nX-Mozilla-Keys:")[1:]
        assert len(messages) == self._count
        return sorted(_subject(message) for message in messages[before:])


Client = LeavingMpop | LeavingThunderbird


def _subject(message: bytes) -> bytes:
    return (b"\n" + message).partition(b"\nSubject: ")[2].partition(b"\n")[0].rstrip(b"\r")
