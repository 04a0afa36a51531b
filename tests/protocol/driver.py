"""A world for a `Session`: accounts and messages in memory, answering every event at once."""

import base64
from collections.abc import Callable, Mapping

from restante.auth import (
    Anonymous,
    Apop,
    Bearer,
    CramMd5,
    Credentials,
    External,
    Password,
    Principal,
    Proven,
    ScramRecord,
)
from restante.errors import AuthenticationFailed, Condition
from restante.maildrop import Message
from restante.protocol.events import Event, FindRecord, Login, Pause, Retrieve, StartTLS, Update
from restante.protocol.framing import wire_octets
from restante.protocol.policy import Features, SessionLimits, Terms
from restante.protocol.pop3_server import Session
from restante.protocol.stage import State
from restante.protocol.surrogate import surrogate_octets

KNOWN: tuple[Credentials | Proven, ...] = (
    Password("bob", b"secret"),
    Proven("bob", Principal("bob")),
    Bearer("bob", "good-token"),
    Bearer("", "good-token"),
    External("bob"),
    Anonymous("somebody@example.org"),
    # RFC 2195 section 2 and RFC 1939 section 7.
    CramMd5("tim", b"<1896.697170952@postoffice.reston.mci.net>", "b913a602c7eda7a495b4e6e7334d3890"),
    Apop("mrose", b"<1896.697170952@dbc.mtview.ca.us>", "c4c9334bac560ecc979e58001b3e22fb"),
)
"""Who may log in."""
PIECE = 7
"""Octets of a message given to the session at a time: small, so that edges fall everywhere."""


class World:
    """Plays the server around a session.

    Args:
        messages: stored octets, one for each message.
        terms: of the connection; `passwords` is for a connection that has nothing else to say.
        records: what SCRAM finds, by name; the one named ``""`` is for everybody else (P-207).
        secured: the terms once TLS is active.
        conditions: what to refuse, by the type of the event: the login, a record, a retrieval or the update.
        session: makes the session; a class with a defect shows that a test would see it.
    """

    def __init__(
        self,
        *messages: bytes,
        passwords: bool = True,
        terms: Terms | None = None,
        limits: SessionLimits | None = None,
        features: Features | None = None,
        records: Mapping[str, ScramRecord] | None = None,
        secured: Terms | None = None,
        conditions: dict[type[Event], Condition] | None = None,
        session: Callable[[Features, Terms], Session] = Session,
    ) -> None:
        self.messages = list(messages)
        self.conditions = conditions or {}
        features = features or Features("mail.example.org", limits=limits or SessionLimits())
        self.session = session(features, terms or Terms(passwords=passwords))
        self.records = records or {}
        self.secured = secured or Terms(tls="TLSv1.3")
        self.read_only = False
        self.events: list[Event] = []
        self.updated: frozenset[int] | None = None
        self.greeting = self.session.data_to_send()

    def send(self, data: bytes) -> bytes:
        """Give octets to the session; returns all it sends until it needs more."""
        self.session.receive_data(data)
        return self._run()

    def send_eof(self) -> bytes:
        """End the input."""
        self.session.receive_eof()
        return self._run()

    def login(self) -> "World":
        """Go to TRANSACTION."""
        reply = self.send(b"USER bob\r\nPASS secret\r\n")
        assert reply.splitlines()[-1].startswith(b"+OK ")
        return self

    def _run(self) -> bytes:
        sent = []
        while True:
            event = self.session.next_event()
            data = self.session.data_to_send()
            sent.append(data)
            if event is not None:
                self.events.append(event)
                self._answer(event)
            elif not data:
                return b"".join(sent)

    def _answer(self, event: Event) -> None:
        session = self.session
        if type(event) in self.conditions:
            session.refused(self.conditions[type(event)])
        elif isinstance(event, Login):
            if event.credentials in KNOWN:
                session.login_succeeded(self.listing(), read_only=self.read_only)
            else:
                session.refused(AuthenticationFailed())
        elif isinstance(event, FindRecord):
            session.record_found(self.records.get(event.user) or self.records[""])
        elif isinstance(event, StartTLS):
            session.tls_started(self.secured)
        elif isinstance(event, Retrieve):
            self._give(self.messages[event.number - 1])
        elif isinstance(event, Update):
            self.updated = event.deleted
            session.updated()
        else:
            assert isinstance(event, Pause)
            session.resumed()

    def _give(self, stored: bytes) -> None:
        """Answer with a message: piece by piece, or at once, of which the same comes."""
        if len(self.events) % 2:
            self.session.message(stored)
            return
        self.session.message_follows()
        for start in range(0, len(stored), PIECE):
            if not self.session.message_data(stored[start : start + PIECE]):
                break
        self.session.message_complete()

    def listing(self) -> list[Message]:
        """Return what a store would list."""
        return [
            Message(f"id-{number}", wire_octets([stored]), surrogate=surrogate_octets([stored]))
            for number, stored in enumerate(self.messages, 1)
        ]

    def logins(self) -> list[Login]:
        """Return what was asked about credentials."""
        return [event for event in self.events if isinstance(event, Login)]

    def over(self) -> bool:
        """The server will close the connection."""
        return self.session.state is State.CLOSED


def b64(octets: bytes | str) -> bytes:
    """Encode what is to go into an AUTH line or a response."""
    return base64.b64encode(octets.encode() if isinstance(octets, str) else octets)


def with_tls(
    *mechanisms: str, host: str = "", bindings: Mapping[str, bytes] | None = None, identities: tuple[str, ...] = ()
) -> Terms:
    """Return the terms of a connection under TLS on which these mechanisms work."""
    return Terms(mechanisms=mechanisms, tls="TLSv1.3 AES256", host=host, bindings=bindings or {}, identities=identities)


def body_of(reply: bytes) -> bytes:
    """Return what a client makes of a multi-line reply, checking its frame: status line, lines, terminator."""
    status, _, rest = reply.partition(b"\r\n")
    assert status.startswith(b"+OK ")
    assert rest == b".\r\n" or rest.endswith(b"\r\n.\r\n")
    lines = rest[:-3].split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line.removeprefix(b".") if line.startswith(b".") else line for line in lines)
