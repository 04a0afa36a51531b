"""Access tokens of OAuth 2.0: their issuer is asked (RFC 7662), or its public keys tell (RFC 9068)."""

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

from restante.auth import Bearer, Credentials, Kind, Kinds, Principal, canonical_user
from restante.authenticators.passwd_file import name_problem
from restante.errors import AuthenticationFailed, TemporaryFailure

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"),
)
"""Signatures that may be allowed: never ``none``, nor HMAC, whose key could be a public one (RFC 8725 section 3.1)."""
CACHED = 1024
"""Users of tokens that are remembered."""

# RFC 6749 appendix A.12, without the space, which ends a token (RFC 6750 section 2.1)
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_ANSWER_OCTETS = 65536
_KINDS = Kinds(every=frozenset({Kind.BEARER}), some=frozenset({Kind.BEARER}))


class Tokens:
    """An `Authenticator` of access tokens.  A restriction that is configured holds for tokens that say nothing, too.

    Args:
        introspection: URL of the introspection endpoint; either this or `jwks`.
        client_id: what this server is called there; with its `client_secret`, or the `client_secret_file` to read.
        jwks: URL or file of the issuer's public keys (RFC 7517).
        issuer: what `iss` must be; needed for `jwks`.
        audience: what `aud` must be, or contain one of; needed for `jwks`.
        scope: words, separated by spaces, that the token's scope must contain.
        claim: where the user name is; of several the first that the token has.
        algorithms: signatures that are allowed; default: all `ALGORITHMS`.
        openid_configuration: URL that clients are told when they fail (RFC 7628 section 3.2.2).
        timeout: seconds that the issuer has for an answer.
        cache: seconds that a good answer of `introspection` is remembered, in which a revoked token lives on.
        ca: file of the certificates that the issuer's is checked against; default: the system's.
        clock: tells seconds since 1970.

    Raises:
        ValueError: one line that names an argument and says what would be right.
    """

    def __init__(  # noqa: PLR0913  (each is a key of the configuration)
        self,
        *,
        introspection: str = "",
        client_id: str = "",
        client_secret: str = "",
        client_secret_file: str = "",
        jwks: str = "",
        issuer: str = "",
        audience: str | Sequence[str] = (),
        scope: str = "",
        claim: str | Sequence[str] = "email",
        algorithms: Sequence[str] | None = None,
        openid_configuration: str = "",
        timeout: float = 5,
        cache: float = 0,
        ca: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            from restante.authenticators.oauth_issuer import Keys, Rules, Signatures, Web  # noqa: PLC0415  (an extra)
        except ImportError:
            raise ValueError("kind = \"oauth\" needs the extra: pip install 'restante[oauth]'") from None
        if not timeout > 0 or not cache >= 0:
            raise ValueError("timeout is more than 0 seconds, and cache not less than 0")
        self.scope = scope
        self.openid_configuration = openid_configuration
        self._names, audience = _several("claim", claim), _several("audience", audience)
        if not self._names:
            raise ValueError('claim names where the user name is, such as "email"')
        self._rules = Rules(issuer, audience, clock, expiring=bool(jwks))
        self._web = Web(ca, timeout, tls=(introspection or jwks).lower().startswith("https:"))
        self._cache = _Cache(cache, clock)
        self._introspection = introspection
        self._signatures: Signatures | None = None
        if bool(introspection) == bool(jwks):
            raise ValueError("introspection or jwks says how tokens are checked: exactly one of them is needed")
        if introspection:
            _check_url("introspection", introspection)
            self._authorization = _authorization(client_id, client_secret, client_secret_file)
        else:
            _check_jwks(jwks, issuer, audience)
            self._signatures = Signatures(Keys(jwks, self._web, clock), _algorithms(algorithms))

    def kinds(self) -> Kinds:
        """See `Versatile.kinds`."""
        return _KINDS

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See `Authenticator.authenticate`.  `TemporaryFailure`: the issuer, or its keys, are out of reach."""
        if not isinstance(credentials, Bearer):
            raise AuthenticationFailed("only access tokens are known here")
        if not _TOKEN.fullmatch(credentials.token):
            raise AuthenticationFailed("not an access token, which is 1 to 65536 printable ASCII octets without spaces")
        if self._signatures is not None:
            user = self._user(await self._signatures.claims(credentials.token))
        else:
            user = self._cache.get(credentials.token) or await self._introspect(credentials.token)
        if credentials.user and canonical_user(credentials.user) != user:  # RFC 7628 section 3.1, P-215
            raise AuthenticationFailed("the token is good, but another user's")
        return Principal(user)

    async def aclose(self) -> None:
        """Close the connections to the issuer; they are made anew when they are needed."""
        await self._web.aclose()

    async def _introspect(self, token: str) -> str:
        """Ask the issuer whose token this is (RFC 7662 section 2)."""
        form = {"token": token, "token_type_hint": "access_token"}
        headers = {"Authorization": self._authorization}
        answer = await self._web.fetch("POST", self._introspection, _ANSWER_OCTETS, data=form, headers=headers)
        active = answer.get("active")
        if not isinstance(active, bool):  # RFC 7662 section 2.2
            raise TemporaryFailure(f"{self._introspection}: an answer without active: true or false")
        if not active:
            raise AuthenticationFailed("the issuer says that the token is not active")
        # Refresh tokens can be active, too; and others, such as DPoP's, are no bearer tokens.
        if str(answer.get("token_type") or "bearer").lower() not in ("bearer", "access_token"):
            raise AuthenticationFailed("the token is not a bearer token")
        user = self._user({name: value for name, value in answer.items() if value is not None})
        self._cache.put(token, user, answer.get("exp"))
        return user

    def _user(self, claims: dict[str, Any]) -> str:
        """Return the user name that trustworthy claims give, if they are what they must be."""
        self._rules.check(claims)
        if not _scopes(claims).issuperset(self.scope.split()):
            raise AuthenticationFailed("the token's scope is not enough")
        name = next((name for name in self._names if claims.get(name) is not None), None)
        if name is None:
            raise AuthenticationFailed("the token does not say whose it is")
        # OpenID Connect Core section 5.1: else it is just what somebody has typed
        if name == "email" and claims.get("email_verified", True) not in (True, "true"):
            raise AuthenticationFailed("the token's email is not verified")
        user = canonical_user(claims[name]) if isinstance(claims[name], str) else ""
        # P-291; a domain may become a directory of its own.  The problem is not passed on, as it may quote the token.
        if name_problem(user) or "@." in user:
            raise AuthenticationFailed(f"the token's {name} cannot be a user name")
        return user


class _Cache:
    """Users of tokens that were good a moment ago; not the tokens are kept, but keyed hashes of them."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._users: dict[bytes, tuple[float, float, str]] = {}

    def _hash(self, token: str) -> bytes:
        return hmac.digest(self._secret, token.encode("ascii"), hashlib.sha256)

    def get(self, token: str) -> str:
        """Return the user, ``""`` when there is none."""
        begin, end, user = self._users.get(self._hash(token), (0.0, 0.0, ""))
        return user if begin <= self._clock() < end else ""

    def put(self, token: str, user: str, expires: float | None) -> None:
        """Remember a user, but not beyond the end of the token, which is in seconds since 1970."""
        now = self._clock()
        end = now + self._seconds if expires is None else min(now + self._seconds, expires)
        if now < end:
            key = self._hash(token)
            self._users.pop(key, None)
            if len(self._users) >= CACHED:
                del self._users[next(iter(self._users))]  # the one that was put first
            self._users[key] = (now, end, user)


def _several(key: str, value: str | Sequence[str]) -> tuple[str, ...]:
    several = (value,) * bool(value) if isinstance(value, str) else tuple(value)
    if not all(several):
        raise ValueError(f"{key} is a word or a list of words, none of them empty")
    return several


def _check_url(key: str, url: str) -> None:
    """Raise `ValueError` for what cannot be asked, and for what should not."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", 0
    if not host or port == 0 or parts.scheme not in ("http", "https") or "@" in parts.netloc or not url.isprintable():
        raise ValueError(f"{key} is an address such as https://issuer.example/path, without user and password")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(f"{key}: http is for this host only, because tokens and keys need TLS; https would be right")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_jwks(source: str, issuer: str, audience: Sequence[str]) -> None:
    if "://" in source:
        _check_url("jwks", source)
    if not issuer or not audience:
        # Else a token that the same issuer made for somebody else would do (RFC 8725 sections 3.8 and 3.9).
        raise ValueError("jwks needs issuer and audience, which say whose tokens are taken, and made for whom")


def _algorithms(names: Sequence[str] | None) -> Sequence[str]:
    names = ALGORITHMS if names is None else names
    if not names or not set(names) <= set(ALGORITHMS):
        raise ValueError(f"algorithms are some of {', '.join(ALGORITHMS)}")
    return names


def _authorization(client_id: str, secret: str, path: str) -> str:
    """Return the header field that proves who asks (RFC 6749 section 2.3.1), or raise `ValueError`."""
    if not client_id:
        raise ValueError("introspection needs client_id, the name that the issuer knows this server by")
    if bool(secret) == bool(path):
        raise ValueError("introspection needs client_secret or client_secret_file, and not both")
    if path:
        try:
            secret = Path(path).read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            raise ValueError(f"client_secret_file: {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            secret = ""  # the exception would quote it
    if not secret:
        raise ValueError(f"client_secret_file: {path} must hold the secret, in UTF-8, and nothing else")
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")


def _scopes(claims: dict[str, Any]) -> set[str]:
    """Return what the token is good for: a string of words (RFC 8693 section 4.2), or the list some issuers make."""
    granted: set[str] = set()
    for value in (claims.get("scope"), claims.get("scp")):
        words = value.split() if isinstance(value, str) else value
        if isinstance(words, list):
            granted.update(word for word in words if isinstance(word, str))
    return granted
