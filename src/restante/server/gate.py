"""Finds out who is calling, at a pace that is no use for guessing."""

import logging
import secrets
from collections.abc import Callable

from restante.auth import Anonymous, Bearer, Credentials, Password, Principal, Proven, ScramRecord, canonical_user
from restante.errors import AuthenticationFailed, TemporaryFailure, one_line
from restante.protocol.events import FindRecord, Login
from restante.server.addresses import Peer
from restante.server.guessing import Attempt, Guesses
from restante.server.service import Service

log = logging.getLogger("restante.session")


class Gate:
    """The logins of one connection.

    Args:
        service: who may log in.
        guesses: what is known of failed logins.
        peer: who is connected.
        is_gone: says whether the peer has left.
    """

    __slots__ = ("_attempt", "_guesses", "_is_gone", "_peer", "_service", "due")

    def __init__(self, service: Service, guesses: Guesses, peer: Peer, is_gone: Callable[[], bool]) -> None:
        self._is_gone = is_gone
        self.due = 0.0
        """When the answer to the last failure is due, by the loop's clock."""
        self._service = service
        self._guesses = guesses
        self._peer = peer
        self._attempt: Attempt | None = None

    async def find_record(self, event: FindRecord) -> ScramRecord:
        """SCRAM: return what is known of that user, or what could be (P-207).

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        source = self._service.scram_source
        assert source is not None, "SCRAM is announced only where there are records"
        self.leave()
        user = await self._account(event.user)
        # Like no other: no earlier exchange lets this one in without waiting.
        self._attempt = await self._turn(user, secrets.randbits(62))
        async with self._guesses.look(self._peer.host):
            self._check_presence()
            return await source.scram_record(user, event.kind)

    async def identify(self, event: Login, earlier: int, tls: str) -> Principal:
        """Say who this is.

        Args:
            event: the credentials.
            earlier: failures of this connection so far.
            tls: version and cipher, for the log.

        Raises:
            AuthenticationFailed: nobody; `due` says when to answer.
            TemporaryFailure: the accounts cannot be read now.
        """
        credentials = event.credentials
        if isinstance(credentials, Anonymous):  # nothing to guess, and what it calls itself is no account
            return await self._principal(credentials)
        if not isinstance(credentials, Proven):
            self.leave()  # an exchange that was given up is no attempt at this account
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            if not isinstance(credentials, Bearer):  # the token tells whose it is
                credentials = credentials.called(await self._account(credentials.user))
            attempt = await self._turn(credentials.user, hash(credentials))
        try:
            async with self._guesses.look(self._peer.host):
                self._check_presence()
                principal = await self._principal(credentials)
        except AuthenticationFailed:
            self.due = attempt.failed(earlier)
            self._log_failure(event, earlier, tls)
            raise
        except BaseException:
            attempt.undecided()
            raise
        attempt.succeeded()
        return principal

    def identify_now(self, event: Login) -> Principal | None:
        """Say who this is, if that is known at once; None: `identify` finds out, or refuses."""
        credentials, prompt = event.credentials, self._service.prompt
        if prompt is None or not isinstance(credentials, Password) or self._attempt is not None:
            return None
        # An account of just that name is the one that is meant, however other names are read (P-052).
        user = canonical_user(credentials.user)
        credentials = credentials.called(user)
        attempt = self._guesses.at_once(self._peer.host, user, hash(credentials))
        principal = None if attempt is None else prompt.authenticate_now(credentials)
        if attempt is not None and principal is not None:
            attempt.succeeded_at_once()
        return principal

    def close(self) -> None:
        """The connection has ended."""
        self.leave()
        self._is_gone = _always  # no circle is left for the garbage collector

    def leave(self) -> None:
        """An exchange was given up."""
        if self._attempt is not None:
            self._attempt.undecided()
            self._attempt = None

    def _check_presence(self) -> None:
        """Do no work for a peer that has left.

        Raises:
            TemporaryFailure: it has; nobody will read that.
        """
        if self._is_gone():
            raise TemporaryFailure

    async def _account(self, name: str) -> str:
        """Return the account that a login name means (P-052).

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        addressing = self._service.addressing
        return name if addressing is None else await addressing.login_name(name)

    async def _turn(self, user: str, secret: int) -> Attempt:
        # However it is written, it is one account.
        return await self._guesses.turn(self._peer.host, canonical_user(user), secret)

    async def _principal(self, credentials: Credentials | Proven) -> Principal:
        if not isinstance(credentials, Proven):
            return await self._service.authenticator.authenticate(credentials)
        if credentials.principal is None:
            raise AuthenticationFailed("not proved")
        return credentials.principal

    def _log_failure(self, event: Login, earlier: int, tls: str) -> None:
        """Log it when it happens, for whoever watches for guessers; a mistyped name may be a password (P-053)."""
        log.warning(
            "login failed, address=%s attempt=%d user=%s mechanism=%s tls=%s",
            self._peer,
            earlier + 1,
            one_line(f"{event.credentials.user[:2]}..."),
            event.mechanism,
            tls or "-",
        )


def _always() -> bool:
    return True
