"""The fetchers, each set up as a careful user would: into a Maildir, with its state in a folder of the job's own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.fetchers.servers import give
from bench.peers import PASSWORD

_CLIENTS = Path(__file__).parents[2] / ".venv-clients" / "bin"
"""Where `.ci/run` installs requirements-clients.txt."""


class Job(NamedTuple):
    """What is fetched, and where to."""

    host: str
    port: int
    user: str
    keep: bool
    """Leave the messages on the server; else delete them when they are delivered."""
    folder: Path
    """For the configuration and the state; stays from run to run."""

    @property
    def maildir(self) -> Path:
        """The destination."""
        return self.folder / "fetched"

    def file(self, name: str, text: str) -> Path:
        """Write a file that only its owner can read, as fetchers want it; returns its path."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")
        return path


class Fetcher(NamedTuple):
    """A program that fetches mail."""

    name: str
    program: str
    """For ``--only``."""
    needed: tuple[str, ...]
    command: Callable[[Job], list[str]]
    """Writes the configuration; returns the words of the command."""

    pipelines: bool = False
    """It keeps many commands under way at a time."""

    def missing(self) -> str:
        """Say why it cannot be measured; empty when it can."""
        absent = [name for name in self.needed if _found(name) is None]
        return f"{', '.join(absent)} is not here (.ci/run installs all of them)" if absent else ""

    def start(self, job: Job) -> "subprocess.Popen[bytes]":
        """Begin a run, in a process group of its own; what it says goes to ``log`` in the folder of the job."""
        for part in ("tmp", "new", "cur"):
            if not (job.maildir / part).exists():
                (job.maildir / part).mkdir(parents=True)
                give(job.maildir / part)
        give(job.maildir)
        command = self.command(job)
        with (job.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=job.folder,
                env=os.environ | {"HOME": str(job.folder), "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )


def fetched(job: Job) -> Iterator[Path]:
    """Give the messages that were delivered; those in ``tmp`` were not."""
    for part in ("new", "cur"):
        yield from (job.maildir / part).iterdir()


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{_CLIENTS}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def _restante(job: Job) -> list[str]:
    configuration = job.file(
        "fetch.toml",
        f"""\
[[fetch]]
name = "bench"
url = "pop://{job.user}@{job.host}:{job.port}"
password_command = "echo {PASSWORD.decode()}"
deliver = "maildir:{job.maildir}"
keep = "{"forever" if job.keep else "0"}"
state = "{job.folder / "journal"}"
insecure = true  # away from loopback a password does not go over cleartext
""",
    )
    return [sys.executable, "-m", "restante", "fetch", "-q", "-c", str(configuration)]


def _fetchmail(job: Job) -> list[str]:
    rules = job.file("procmailrc", f"MAILDIR={job.folder}\n:0\n{job.maildir}/\n")
    configuration = job.file(
        "fetchmailrc",
        f"""\
set invisible
poll {job.host} service {job.port} protocol pop3 uidl user "{job.user}" password "{PASSWORD.decode()}"
sslproto '' {"keep" if job.keep else "no keep"} no rewrite mda "procmail -m {rules}"
""",
    )
    state = ["--pidfile", str(job.folder / "pid"), "--idfile", str(job.folder / "ids")]
    return ["fetchmail", "-f", str(configuration), "-s", "--nosyslog", "--nodetach", *state]


def _mpop(job: Job) -> list[str]:
    configuration = job.file(
        "mpoprc",
        f"""\
account bench
host {job.host}
port {job.port}
tls off
auth user
user {job.user}
password {PASSWORD.decode()}
pipelining on
keep {"on" if job.keep else "off"}
delivery maildir {job.maildir}
uidls_file {job.folder / "uidls"}
""",
    )
    return ["mpop", "-C", str(configuration), "-q", "bench"]


def _getmail(options: str) -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        job.file(
            "getmailrc",
            f"""\
[retriever]
type = SimplePOP3Retriever
server = {job.host}
port = {job.port}
username = {job.user}
password = {PASSWORD.decode()}
[destination]
type = Maildir
path = {job.maildir}/
{"user = nobody" if os.geteuid() == 0 else ""}
[options]
read_all = false
delete = {"false" if job.keep else "true"}
verbose = 0
{options}
""",
        )
        return [_found("getmail") or "getmail", f"--getmaildir={job.folder}"]

    return command


RESTANTE = Fetcher("restante", "restante", (), _restante, pipelines=True)
FETCHERS = [
    RESTANTE,
    Fetcher("fetchmail", "fetchmail", ("fetchmail", "procmail"), _fetchmail),
    Fetcher("mpop", "mpop", ("mpop",), _mpop, pipelines=True),
    Fetcher("getmail6", "getmail6", ("getmail",), _getmail("")),
]
PER_MAIL = Fetcher(
    "getmail6, to_oldmail_on_each_mail", "getmail6", ("getmail",), _getmail("to_oldmail_on_each_mail = true")
)


def chosen(fetchers: Sequence[Fetcher], only: str) -> list[Fetcher]:
    """Return those of ``--only``, or all, that are here; says which are not."""
    programs = set(filter(None, only.split(","))) or {fetcher.program for fetcher in fetchers}
    if unknown := programs - {fetcher.program for fetcher in fetchers}:
        raise SystemExit(f"--only: no {', '.join(sorted(unknown))}; right are {', '.join(f.program for f in FETCHERS)}")
    found = []
    for fetcher in fetchers:
        if fetcher.program in programs:
            if missing := fetcher.missing():
                print(f"Without {fetcher.name}: {missing}\n")
            else:
                found.append(fetcher)
    return found
