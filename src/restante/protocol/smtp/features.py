"""What a site offers to whoever brings mail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MailFeatures:
    """The same for every connection of a listener."""

    hostname: str
    lmtp: bool = True
    """False: SMTP."""
    size: int = 0
    """The most octets of a message (RFC 1870); 0: any."""
    recipients: int = 1000
    """Of one message (D-010)."""
    line: int = 2048
    """The longest command line, in octets (D-018)."""
    bad_commands: int = 20
    """So many in a row end the session."""
    output: int = 65536
    """Octets that may wait to be sent before nothing more is parsed."""
    turn: int = 100
    """Commands that are handled before others have their turn."""

    @property
    def greetings(self) -> tuple[str, ...]:
        """Return the commands with which a client says who it is (D-001)."""
        return ("LHLO",) if self.lmtp else ("EHLO", "HELO")
