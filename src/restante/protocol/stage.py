"""The states of a session, and what those have in common in which commands are taken: a table, CAPA and LANG."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import ClassVar

from restante.errors import CommandError
from restante.protocol.commands import Command
from restante.protocol.framing import TERMINATOR
from restante.protocol.languages import LANGUAGES, matching
from restante.protocol.policy import Features, Terms
from restante.protocol.replies import Replies


class State(Enum):
    """RFC 1939 section 3."""

    AUTHORIZATION = "AUTHORIZATION"
    TRANSACTION = "TRANSACTION"
    UPDATE = "UPDATE"
    CLOSED = "CLOSED"


class Stage(ABC):
    """A state of the session in which commands are taken.

    Args:
        features: of the site.
        terms: of the connection.
        replies: where answers go.
    """

    __slots__ = ("features", "replies", "terms")

    TABLE: ClassVar[Mapping[bytes, Command]]

    def __init__(self, features: Features, terms: Terms, replies: Replies) -> None:
        self.features = features
        self.terms = terms
        self.replies = replies

    def commands(self) -> str:
        """The commands that work now, for HELP (P-305)."""
        return " ".join(verb.decode() for verb in self.TABLE if self.offers(verb))

    @abstractmethod
    def offers(self, verb: bytes) -> bool:
        """Say whether a command of the table works on this connection."""
        ...

    def arguments_wrong(self, command: Command) -> CommandError:
        """Make the error for a command with the wrong arguments."""
        return CommandError(command.usage)

    def capa(self, _: list[bytes]) -> None:
        """CAPA: what is announced before login is announced after it (RFC 2449 section 5, P-150, P-151)."""
        terms, features = self.terms, self.features
        capabilities = ["TOP"]
        if terms.passwords:
            capabilities.append("USER")
        if terms.mechanisms:  # P-161
            capabilities.append(f"SASL {' '.join(terms.mechanisms)}")
        capabilities += ["RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UIDL", "UTF8 USER", "LANG"]
        capabilities.append(f"EXPIRE {'NEVER' if features.expire is None else features.expire}")  # P-157
        if features.login_delay:
            capabilities.append(f"LOGIN-DELAY {features.login_delay}")  # P-158
        capabilities.append("IMPLEMENTATION Restante")  # P-156
        if self.offers(b"STLS"):
            capabilities.append("STLS")
        self.replies.ok("capabilities follow")
        self.replies.add("".join(f"{line}\r\n" for line in capabilities).encode("ascii") + TERMINATOR)

    def lang(self, arguments: list[bytes]) -> None:
        """LANG: list languages, or choose one (RFC 6856 section 3, P-260)."""
        if not arguments:
            lines = "".join(f"{language.tag} {language.name}\r\n" for language in LANGUAGES.values())
            self.replies.ok("languages follow")
            self.replies.add(lines.encode() + TERMINATOR)
            return
        # P-261: the default is the site's, whoever is about to log in.
        wanted = arguments[0].decode("ascii")
        language = LANGUAGES[self.features.language] if wanted == "*" else matching(wanted)
        if language is None:
            raise CommandError("that language is not here; right are {tags} and *", tags=", ".join(LANGUAGES))
        self.replies.language = language
        self.replies.ok("{tag} replies are in English now", tag=language.tag)
