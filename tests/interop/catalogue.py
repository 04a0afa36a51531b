"""The clients of the bench: where they come from, and what is skipped where one is missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.program import IN_CI, TIMEOUT

ROOT = Path(__file__).parent.parent.parent
PYPI = ROOT / ".venv-clients" / "bin"
"""A virtual environment with requirements-clients.txt."""
NPM = ROOT / "build" / "clients" / "node_modules"
SCRIPTS = Path(__file__).parent / "clients"
"""Programs that use libraries."""


once = pytest.mark.skipif(
    os.environ.get("CLIENTS") == "fast", reason="slow clients run on one Python only, that of make check (CLIENTS=fast)"
)
"""For what takes long, or costs a lot, and shows the same on each Python."""


class Client(NamedTuple):
    """A client, by the name that the page of clients has for it."""

    name: str
    source: str
    """Debian, PyPI, npm or Python (what the tests run on)."""
    package: str
    needed: tuple[str, ...]
    """Names of programs, and patterns of files below the root of the file system."""

    def missing(self) -> list[str]:
        """Return what is needed and not here."""
        if self.source == "Python":
            return []
        if self.source == "Debian":
            return [name for name in self.needed if not _is_here(name)]
        folder = PYPI if self.source == "PyPI" else NPM
        return [name for name in self.needed if not (folder / name).exists()]

    def reason(self) -> str:
        """Say how a client comes here."""
        ways = {
            "Debian": f"apt install {self.package}",
            "PyPI": "pip install -r requirements-clients.txt into .venv-clients",
            "npm": f"npm install {self.package} into build/clients",
        }
        return f"{', '.join(self.missing())} is not here ({ways.get(self.source)}; .ci/run does all this)"

    def version(self) -> str:
        """Return the version that is here."""
        if self.source == "Python":
            return ".".join(map(str, sys.version_info[:3]))
        if self.source == "npm":
            manifest = json.loads((NPM / self.package / "package.json").read_text(encoding="utf-8"))
            return str(manifest["version"])
        if self.source == "PyPI":
            script = f"import importlib.metadata as m; print(m.version({self.package!r}), end='')"
            return _output(str(PYPI / "python"), "-c", script)
        version = _output("dpkg-query", "-W", "-f", "${Version}", self.package.split()[0])
        return version.partition(":")[2] or version  # without what Debian calls the epoch


def _is_here(name: str) -> bool:
    return any(Path("/").glob(name)) if "/" in name else shutil.which(name) is not None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=TIMEOUT).stdout


def _debian(name: str, package: str, *needed: str) -> Client:
    return Client(name, "Debian", package, needed or (name,))


CLIENTS = {
    client.name: client
    for client in [
        _debian("Thunderbird", "thunderbird", "thunderbird"),
        _debian("fetchmail", "fetchmail"),
        _debian("mpop", "mpop"),
        Client("getmail", "PyPI", "getmail6", ("getmail",)),
        _debian("curl", "curl"),
        Client("poplib", "Python", "python", ()),
        Client("Twisted", "PyPI", "twisted", ("twistd",)),
        _debian("NeoMutt", "neomutt", "neomutt", "script"),
        _debian("S-nail", "s-nail", "s-nail"),
        _debian("Emacs pop3.el", "emacs-nox", "emacs"),
        _debian("Perl Net::POP3", "perl libio-socket-ssl-perl libauthen-sasl-perl",
                "usr/share/perl/*/Net/POP3.pm", "usr/share/perl5/IO/Socket/SSL.pm", "usr/share/perl5/Authen/SASL.pm"),
        _debian("Perl Mail::POP3Client", "libmail-pop3client-perl libdigest-hmac-perl",
                "usr/share/perl5/Mail/POP3Client.pm", "usr/share/perl5/Digest/HMAC_MD5.pm"),
        _debian("Ruby net/pop", "ruby", "ruby", "usr/**/net/pop.rb"),
        _debian("PHP imap", "php-imap php-cli", "php", "usr/lib/php/*/imap.so"),
        _debian("JavaMail", "libmail-java openjdk-17-jdk-headless", "java", "usr/share/java/javax.mail.jar"),
        _debian("Commons Net", "libcommons-net-java openjdk-17-jdk-headless", "java", "usr/share/java/commons-net.jar"),
        Client("node-pop3", "npm", "node-pop3", ("node-pop3",)),
        Client("yapople", "npm", "yapople", ("yapople",)),
        _debian("PuTTY plink", "putty-tools", "plink"),
        _debian("nc", "netcat-openbsd", "nc"),
        _debian("OpenSSL s_client", "openssl", "openssl"),
        _debian("gnutls-cli", "gnutls-bin", "gnutls-cli"),
        _debian("nmap", "nmap"),
        Client("SSLyze", "PyPI", "sslyze", ("sslyze",)),
        _debian("testssl.sh", "testssl.sh", "testssl"),
        _debian("Hydra", "hydra", "hydra"),
        _debian("Ncrack", "ncrack", "ncrack"),
    ]
}  # fmt: skip


def needs_client(name: str) -> pytest.MarkDecorator:
    """Skip a test where its client is missing, but not in CI."""
    client = CLIENTS[name]
    return pytest.mark.skipif(bool(client.missing()) and not IN_CI, reason=client.reason())
