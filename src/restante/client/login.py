"""Logging in: which ways a server offers, and which of them are tried (RFC 5034, K-017)."""

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping

from restante.client.connection import Connection
from restante.client.replies import CleartextRefused, NotPop3, Refused, refusal
from restante.client.security import Security, bindings, is_loopback
from restante.client.url import APOP
from restante.errors import AuthenticationFailed
from restante.protocol.pop3_client import Challenge, End, Form, Status, command
from restante.protocol.sasl.client import MECHANISMS, Channel, Secret, Steps, Untrusted, usable

_TIMESTAMP = re.compile(rb"<[!-;=?-~]+@[!-;=?-~]+>")
_HIDDEN = "*****"
USER = "USER"


class Login:
    """One attempt to log in.

    Args:
        connection: which has been greeted.
        security: whom to trust.
        capabilities: of the server, keyword in capitals to parameters.
        greeting: the line it began with.
        utf8: UTF8 has been said.
    """

    def __init__(
        self,
        connection: Connection,
        security: Security,
        capabilities: Mapping[str, str],
        greeting: bytes,
        *,
        utf8: bool,
    ) -> None:
        self._connection = connection
        self._security = security
        self._capabilities = capabilities
        self._greeting = greeting
        self._utf8 = utf8

    async def run(self, secret: Secret, mechanism: str) -> None:
        """Log in.

        Args:
            secret: by what.
            mechanism: the only one to try; ``""``: the best.

        Raises:
            AuthenticationFailed, MaildropInUse, LoginDelayed, Condition: the server says so.
            CleartextRefused: nothing was sent.
            NotPop3: there is no way to log in, or the server cannot be trusted.
        """
        url = self._connection.url
        private = self._connection.tls is not None
        if not (private or is_loopback(self._connection.address) or self._security.shows_passwords):
            text = "offers no encryption, and a password that goes to another machine would be readable on the way"
            raise CleartextRefused(f"{url} {text}")
        ways = list(self._ways(secret, mechanism))
        for number, way in enumerate(ways):
            following = ways[number + 1 :]
            if not private and way.startswith("SCRAM"):  # K-018: what is not encrypted is not made worse
                following = [one for one in following if one.startswith("SCRAM")]
            try:
                return await self._by(way, secret)
            except Refused as refused:  # K-017: without a reason, so another way may work
                if not following:
                    raise AuthenticationFailed(*refused.args) from None
        names = " or ".join(ways) if ways else mechanism or "a way that is known here"
        raise NotPop3(f"{url} does not offer to log in by {names}{self._offer()}")

    def _offer(self) -> str:
        offered = self._capabilities.get("SASL", "")
        return f"; it offers {offered}" if offered else ""

    def _ways(self, secret: Secret, mechanism: str) -> Iterator[str]:
        announced = frozenset(self._capabilities.get("SASL", "").upper().split())
        if mechanism == APOP:
            yield APOP
            return
        private = self._connection.tls is not None
        if mechanism:
            # Without CAPA nothing is announced, but somebody knows that it works.
            if mechanism in announced or not self._capabilities:
                yield mechanism
            return
        showable = private or is_loopback(self._connection.address) or self._security.shows_passwords
        certificate = self._security.certificate is not None and private
        channel = Channel(bindings(self._connection.tls), announced, _nonce)
        yield from usable(secret, channel, certificate=certificate, private=showable)
        # K-026: octets above 127 only where they are announced.
        eight = self._utf8 and self._capabilities.get("UTF8", "").upper() == "USER"
        ascii_only = secret.user.isascii() and secret.password.isascii()
        # Servers forget to announce it, but not where they announce something else.
        if secret.password and (ascii_only or eight) and ("USER" in self._capabilities or not announced):
            yield USER

    async def _by(self, way: str, secret: Secret) -> None:
        if way == USER:
            await self._user(secret)
        elif way == APOP:
            await self._apop(secret)
        else:
            await self._sasl(way, secret)

    async def _user(self, secret: Secret) -> None:
        line = command("PASS", secret.password)  # K-010: before anything is sent
        await self._ask(command("USER", secret.user))
        await self._ask(line, "PASS " + _HIDDEN)

    async def _apop(self, secret: Secret) -> None:
        """RFC 1939 section 7; the timestamp must be one, or somebody in between is asking (K-018, CVE-2007-1558)."""
        found = _TIMESTAMP.search(self._greeting)
        if found is None:
            raise NotPop3(f"{self._connection.url} has no timestamp for APOP in its greeting")
        digest = hashlib.md5(found[0] + secret.password, usedforsecurity=False).hexdigest()
        await self._ask(command("APOP", secret.user, digest), f"APOP {secret.user} {_HIDDEN}")

    async def _sasl(self, name: str, secret: Secret) -> None:
        channel = Channel(
            bindings(self._connection.tls), frozenset(self._capabilities.get("SASL", "").upper().split()), _nonce
        )
        url = self._connection.url
        steps = MECHANISMS[name](secret._replace(host=url.host, port=url.port), channel)
        initial = next(steps)
        # Without an initial response: some servers know none, and none needs it (K-011).
        self._connection.send(b"AUTH %b\r\n" % name.encode(), form=Form.STEP)
        while isinstance(event := await self._connection.event(long=True), Challenge):
            try:
                response = steps.send(b64decode(event.text, validate=True)) if initial is None else initial
            except (NotBase64, StopIteration, Untrusted) as error:
                await self._cancel(error)
            initial = None
            self._connection.send(b64encode(response or b"") + b"\r\n", form=Form.STEP, shown=_HIDDEN)
        assert isinstance(event, Status)
        if not event.positive:
            raise refusal(event.line)
        if name.startswith("SCRAM"):
            self._check_proof(steps)

    def _check_proof(self, steps: Steps) -> None:
        """See to it that the server has shown that it knows the password (K-020)."""
        try:
            steps.send(b"")
        except StopIteration:
            return
        except Untrusted:
            pass
        self._connection.abort()
        raise NotPop3(f"{self._connection.url} accepts the login without showing that it knows the password")

    async def _cancel(self, error: Exception) -> None:
        """Break off (RFC 5034 section 4)."""
        self._connection.send(b"*\r\n", form=Form.STEP)
        await self._connection.event(long=True)
        if isinstance(error, Untrusted):
            raise NotPop3(f"{self._connection.url} cannot be trusted: {error}") from None
        raise Refused("the server sends a challenge that is none of this mechanism") from None

    async def _ask(self, line: bytes, shown: str | None = None) -> None:
        self._connection.send(line, shown=shown)
        event = await self._connection.event(long=True)
        assert not isinstance(event, bytes | End | Challenge)
        if not event.positive:
            raise refusal(event.line)


def _nonce() -> str:
    return secrets.token_urlsafe(24)
