"""The AUTHORIZATION state: names and passwords, APOP, SASL, STLS, UTF8 (RFC 1939 section 4, RFC 5034)."""

import re
from functools import lru_cache
from typing import ClassVar

from restante.auth import Apop, Credentials, Password, Proven, ScramRecord
from restante.errors import CommandError, Condition
from restante.protocol import sasl
from restante.protocol.commands import Command
from restante.protocol.events import Event, FindRecord, Login, StartTLS
from restante.protocol.framing import TERMINATOR
from restante.protocol.languages import DEFAULT, LANGUAGES
from restante.protocol.policy import Features, Terms
from restante.protocol.replies import Replies
from restante.protocol.stage import Stage
from restante.saslprep import prepared

_DIGEST = re.compile(rb"[0-9A-Fa-f]{32}")


class Authorization(Stage):
    """Finds out who is calling."""

    __slots__ = ("_mechanism", "_next_user", "_user", "exchange", "failing", "timestamp", "utf8")

    def __init__(self, features: Features, terms: Terms, replies: Replies) -> None:
        super().__init__(features, terms, replies)
        self.utf8 = False
        """The client has said UTF8 (RFC 6856 section 2)."""
        self.timestamp = f"<{features.token()}@{features.hostname}>" if terms.apop else ""
        """What APOP digests begin with; new for each connection (P-060)."""
        self._next_user: str | None = None
        self._user: str | None = None
        self._mechanism = ""
        self.exchange: sasl.Exchange | None = None
        """While there is one, the next line is a response, and no command."""
        self.failing = False
        """The exchange has failed, and the client has been told why; whatever it says now ends it (P-215)."""

    def greet(self) -> None:
        """Send the greeting (P-023); APOP is announced by its timestamp and nothing else (P-063)."""
        if self.timestamp:  # which has the name of the host, and must be whole
            self.replies.ok("POP3 server ready; HELP lists the commands {timestamp}", timestamp=self.timestamp)
        else:
            self.replies.add(_greeting(self.features.hostname))

    def begin_command(self) -> None:
        """A line has come: a USER of the line before this one is good for this one only (P-033, P-034)."""
        self._user, self._next_user = self._next_user, None

    def tls_started(self, terms: Terms) -> None:
        """TLS is active: nothing that was said before counts (RFC 2595 section 4, P-234)."""
        self.terms = terms
        self._user = self._next_user = None
        self.replies.language = LANGUAGES[DEFAULT]

    def offers(self, verb: bytes) -> bool:
        """Say whether a command works on this connection."""
        if verb in (b"USER", b"PASS"):
            return self.terms.passwords
        if verb == b"APOP":
            return bool(self.timestamp)
        if verb == b"AUTH":
            return bool(self.terms.mechanisms)
        return verb != b"STLS" or (self.terms.stls and not self.terms.tls)

    # -- names and passwords ------------------------------------------------------------------------

    def _no_passwords(self) -> CommandError:
        """P-055: refused before a password is asked for, in the same words for everyone."""
        if self.terms.stls:
            return CommandError("not over an unencrypted connection; use STLS or port 995")
        return CommandError("no passwords over an unencrypted connection from your address")

    def _user_name(self, arguments: list[bytes]) -> None:
        """USER: the same answer for every name, known or not (P-031)."""
        if not self.terms.passwords:
            raise self._no_passwords()
        self._next_user = arguments[0].decode("utf-8")
        self.replies.ok("send PASS")

    def _pass(self, arguments: list[bytes]) -> Event:
        if not self.terms.passwords:
            raise self._no_passwords()
        if self._user is None:
            raise CommandError("USER comes first, and PASS right after it")
        if not arguments[0]:  # P-037: never passed on
            raise CommandError("PASS needs a password")
        return Login(_prepared(self._user, arguments[0].decode("utf-8")), "USER")

    def _apop(self, arguments: list[bytes]) -> Event:
        """APOP (RFC 1939 section 7, P-060 to P-066)."""
        if not self.timestamp:
            raise CommandError("APOP is not possible here: the greeting had no timestamp")
        if not _DIGEST.fullmatch(arguments[1]):
            raise CommandError("APOP needs a name and a digest of 32 hexadecimal digits")
        user, digest = sasl.name(arguments[0].decode("utf-8")), arguments[1].decode("ascii").lower()
        return Login(Apop(user, self.timestamp.encode("ascii"), digest), "APOP")

    # -- SASL ---------------------------------------------------------------------------------------

    def _auth(self, arguments: list[bytes]) -> Event | None:
        """AUTH, bare: the list of mechanisms (P-196); with a name: an exchange (RFC 5034 section 4)."""
        if not arguments:
            self.replies.ok("mechanisms follow")
            lines = "".join(f"{name}\r\n" for name in self.terms.mechanisms)
            self.replies.add(lines.encode("ascii") + TERMINATOR)
            return None
        name = arguments[0].decode("ascii").upper()
        if name not in self.terms.mechanisms:  # P-189: at once, before anything secret is sent
            mechanism = sasl.MECHANISMS.get(name)
            if mechanism is not None and (mechanism.shows_password or mechanism.tls_only) and not self.terms.tls:
                raise self._no_passwords()
            if not self.terms.mechanisms:
                raise CommandError("no mechanism is possible here")
            raise CommandError("unknown mechanism; right are {names}", names=" ".join(self.terms.mechanisms))
        initial = None
        if len(arguments) > 1:
            initial = b"" if arguments[1] == b"=" else sasl.decode(arguments[1])  # P-190
        self._mechanism = name
        self.exchange = sasl.MECHANISMS[name].begin(initial, self._context())
        return self._advance(None)

    def _context(self) -> sasl.Context:
        terms = self.terms
        return sasl.Context(
            hostname=self.features.hostname,
            host=terms.host,
            bindings=terms.bindings,
            plus=any(name.endswith("-PLUS") for name in terms.mechanisms),
            identities=terms.identities,
            token=self.features.token,
            oauth_challenge=self.features.oauth_challenge,
        )

    def respond(self, line: bytes) -> Event | None:
        """Take the client's answer to a challenge.

        Raises:
            Condition: the exchange is over.
        """
        if line == b"*":  # P-187
            return self._throw(sasl.Cancelled())
        try:
            response = sasl.decode(line)
        except CommandError as error:
            return self._throw(error)
        return self._advance(response)

    def line_too_long(self, error: CommandError) -> Condition:
        """A line was dropped, a response perhaps; returns what is to be answered."""
        self.begin_command()
        if self.exchange is not None:
            try:
                self._throw(error)
            except Condition as condition:
                return condition
        return error

    def record_found(self, record: ScramRecord) -> Event | None:
        """Take the answer to `FindRecord`; a challenge follows, always."""
        return self._advance(record)

    def refused(self, condition: Condition) -> Event | None:
        """Take the refusal of a `Login` or a `FindRecord`.

        Raises:
            Condition: what is to be answered, now or after one more line of the client's.
        """
        if self.exchange is None:
            raise condition
        event = self._throw(condition)
        self.failing = True
        return event

    def cancel(self) -> None:
        """Forget an exchange that is over (P-197), and whose it was."""
        if self.exchange is not None:
            self.exchange.close()
        self.exchange = self._user = None
        self.failing = False

    def _advance(self, answer: bytes | ScramRecord | None) -> Event | None:
        assert self.exchange is not None
        try:
            return self._ask(self.exchange.send(answer))
        except Condition:
            self.cancel()
            raise

    def _throw(self, condition: Condition) -> Event | None:
        assert self.exchange is not None
        try:
            return self._ask(self.exchange.throw(condition))
        except Condition:
            self.cancel()
            raise

    def _ask(self, wanted: bytes | FindRecord | Credentials | Proven) -> Event | None:
        if isinstance(wanted, bytes):
            self.replies.add(sasl.encode(wanted))
            return None
        return wanted if isinstance(wanted, FindRecord) else Login(wanted, self._mechanism)

    # -- the connection -----------------------------------------------------------------------------

    def _stls(self, _: list[bytes]) -> Event:
        """STLS (RFC 2595 section 4)."""
        if self.terms.tls:  # P-233
            raise CommandError("TLS is active already")
        if not self.terms.stls:  # P-239
            raise CommandError("STLS is not possible here")
        if self.utf8:  # P-258
            raise CommandError("STLS comes before UTF8")
        self.replies.ok("begin TLS")
        return StartTLS(b"")

    def _utf8(self, _: list[bytes]) -> None:
        """UTF8: headers in UTF-8 will be understood (RFC 6856 section 2, P-255)."""
        self.utf8 = True
        self.replies.ok("UTF-8 is welcome")

    def _quit(self, _: list[bytes]) -> None:
        """QUIT: no UPDATE (P-030)."""
        self.replies.ok("goodbye")

    TABLE: ClassVar[dict[bytes, Command]] = {
        b"USER": Command(_user_name, 1, 1, "USER needs one name, without spaces", numeric=False),
        b"PASS": Command(_pass, 1, 1, "PASS needs a password", numeric=False),
        b"APOP": Command(_apop, 2, 2, "APOP needs a name and a digest of 32 hexadecimal digits", numeric=False),
        b"AUTH": Command(_auth, 0, 2, "AUTH needs a mechanism, and takes one initial response", numeric=False),
        b"STLS": Command(_stls, 0, 0, "STLS takes no argument"),
        b"UTF8": Command(_utf8, 0, 0, "UTF8 takes no argument"),
        b"LANG": Command(Stage.lang, 0, 1, "LANG takes nothing, one language tag, or *", numeric=False),
        b"CAPA": Command(Stage.capa, 0, 0, "CAPA takes no argument"),
        b"QUIT": Command(_quit, 0, 0, "QUIT takes no argument"),
    }


@lru_cache(maxsize=16)
def _greeting(hostname: str) -> bytes:
    """Return the greeting of nearly all sessions: they begin in one language (P-015)."""
    replies = Replies(LANGUAGES[DEFAULT])
    replies.ok("{hostname} POP3 server ready; HELP lists the commands", hostname=hostname)
    return b"".join(replies.take())


def _prepared(user: str, password: str) -> Password | Proven:
    """Return credentials; what SASLprep refuses fails like any wrong password (P-202, P-257)."""
    try:
        return Password(prepared(user), prepared(password).encode())
    except ValueError:
        return Proven(user, None)
