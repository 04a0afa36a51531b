"""An account to fetch from, and what comes of a visit to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from restante.client import Security, ServerUrl
from restante.fetch.targets import Target


class Secrets(NamedTuple):
    """By what an account is opened: one of them is not empty."""

    password: bytes = b""
    token: str = ""
    """Of OAuth2."""


@dataclass(frozen=True)
class Account:
    """What the configuration says of an account."""

    name: str
    url: ServerUrl
    """With the user."""
    secrets: Callable[[], Awaitable[Secrets]]
    """Gives password or token; raises `PermanentFailure` where there is none."""
    target: Target
    journal: Path
    security: Security = field(default_factory=Security)
    keep: float | None = None
    """Seconds from delivery to deletion; None: for ever."""
    largest: int = 0
    """Octets of the largest message that is fetched; 0: any."""
    filter: str = ""
    """A command that is given each header before the rest is fetched; ``""``: none."""
    every: float = 900.0
    """Seconds between two visits."""
    lenient: bool = False
    """As for `restante.client.POP3Client`."""


@dataclass
class Outcome:
    """What came of a visit."""

    listed: int = 0
    """Messages that the server lists."""
    fetched: int = 0
    octets: int = 0
    """Of the messages that were fetched."""
    deleted: int = 0
    known: int = 0
    """Messages that were fetched anew only to see that they are delivered already."""
    left: int = 0
    """New messages that stay there: too large, or because a filter says so."""
    problems: list[str] = field(default_factory=list)
    """A line each; nothing is lost for them."""
    login_delay: float = 0.0
    """Seconds that the server wants between two logins (K-019)."""
    more: bool = False
    """The server shows its messages in parts, and may have others (K-024)."""


class Watcher(Protocol):
    """Is told how a visit goes on."""

    def log(self, account: Account, line: str) -> None:
        """A line of the protocol; secrets are left out."""
        ...

    def planned(self, account: Account, messages: int, octets: int) -> None:
        """So much is to be fetched."""
        ...

    def came(self, account: Account, octets: int) -> None:
        """So many octets more have come."""
        ...

    def delivered(self, account: Account) -> None:
        """One message more is delivered."""
        ...

    def would(self, account: Account, line: str) -> None:
        """What a visit without --dry-run would do."""
        ...
