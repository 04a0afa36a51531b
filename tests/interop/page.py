"""The page about clients: what they did in a run of the tests, as their output and the server's log tell it."""

from typing import NamedTuple

from tests.interop.bench import Session
from tests.interop.catalogue import CLIENTS


class Trial(NamedTuple):
    """A client in one of its modes."""

    client: str
    mode: str
    session: Session | None
    commands: str
    did: str


_HEAD = """\
# Clients

<!-- Made by `make clients-page` from a run of tests/interop; not to be edited by hand. -->

Restante's tests let these programs call for six messages: lines that begin with dots; octets above 127 in the body; a
last line without its end; a line of 1990 octets; no body at all; UTF-8 in a header field. What a program gives out is
compared with what is stored, octet for octet. Two differences are allowed: line ends, where a program turns them into
those of its system; and the header field, which goes out as an encoded word to whoever has not said `UTF8` (RFC 6856
section 2.1).

"Login" and "TLS" are what the server's log says of the session. Where the connection was not encrypted, the commands
that the program sent are given too: "6 x" stands before those that came six times.
"""


def render(trials: list[Trial]) -> str:
    """Return the page, in MyST Markdown."""
    parts = [_HEAD]
    for name, client in CLIENTS.items():
        mine = [trial for trial in trials if trial.client == name]
        if mine:
            parts.append(_section(f"{name} {client.version()}", client.source, mine))
    return "\n".join(parts)


def _section(title: str, source: str, trials: list[Trial]) -> str:
    lines = [f"## {title}", "", f"From {source}.", ""]
    lines += ["| mode | login | TLS | what it did |", "|---|---|---|---|"]
    for trial in sorted(trials, key=lambda trial: trial.mode.lower()):
        session = trial.session
        login, tls = (session.mechanism, session.tls) if session else ("-", "-")
        did = "; ".join(filter(None, [trial.did, _counts(session), trial.commands and f"`{trial.commands}`"]))
        lines.append(f"| {trial.mode} | {login} | {tls} | {did} |")
    return "\n".join([*lines, ""])


def _counts(session: Session | None) -> str:
    if session is None:
        return ""
    counts = [("retrieved", session.retr), ("read by TOP", session.top), ("deleted", session.deleted)]
    return ", ".join(f"{count} {what}" for what, count in counts if count)
