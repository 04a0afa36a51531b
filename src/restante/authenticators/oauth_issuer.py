"""What the issuer of access tokens says, and what its public keys prove; needs the extra ``oauth``.

Neither a token nor anything out of it gets into a log or an exception (P-217): reasons are made of constants, and
exceptions of the libraries, which may quote what was sent or received, are not passed on.
"""

import asyncio
import json
import logging
import ssl
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

from restante.errors import AuthenticationFailed, TemporaryFailure, one_line

log = logging.getLogger("restante.auth")
for library in ("httpx2", "httpcore2"):  # when debugging they log what the issuer sends, which may repeat a token
    logging.getLogger(library).setLevel(logging.WARNING)

LEEWAY = 60
"""Seconds that the clocks of the issuer and this host may differ (RFC 7519 section 4.1.4)."""
REFETCH = 30
"""Seconds in which the keys are asked for once at most, so that invented key ids cost the issuer nothing."""
RETRY = 5
"""The same after a failure."""
FRESH = 3600
"""Seconds after which the keys are asked for again, so that a key which was withdrawn ends."""
STALE = 86400
"""Seconds that the keys are used when the issuer is out of reach."""
TRIED = 8
"""Keys that are tried on a token which names none."""

_KEYS_OCTETS = 1 << 20
_TYPES = ("JWT", "AT+JWT", "APPLICATION/AT+JWT")


class Web:
    """Connections to the issuer, made in the event loop that needs them.

    Args:
        ca: file of the certificates that the issuer's is checked against, ``""`` for the system's.
        timeout: seconds that the issuer has for a whole answer.
        tls: whether there is a certificate to check.

    Raises:
        ValueError: the file cannot be used.
    """

    def __init__(self, ca: str, timeout: float, *, tls: bool) -> None:
        self._timeout = timeout
        self._client: httpx2.AsyncClient | None = None
        try:
            if tls or ca:
                self._tls = ssl.create_default_context(cafile=ca or None)
            else:  # the system's takes its time to read; without any, nobody is trusted
                self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        except OSError as error:
            raise ValueError(f"ca: {ca} must be a file of certificates in PEM: {error.strerror or error}") from error

    async def fetch(self, method: str, url: str, limit: int, **request: Any) -> dict[str, Any]:
        """Send a request and return the JSON object that is the answer, of `limit` octets at most.

        Raises:
            TemporaryFailure: no such answer came.
        """
        try:
            async with asyncio.timeout(self._timeout):  # for all of it: else each octet could take its time
                status, body = await self._exchange(method, url, limit, **request)
        except TimeoutError:
            problem = f"no answer within {self._timeout:g} seconds"
        except httpx2.ConnectError as error:
            problem = f"no connection: {error}"  # nothing has been sent that it could quote
        except httpx2.HTTPError as error:
            problem = f"no answer: {type(error).__name__}"
        else:
            if status in (401, 403):
                problem = f"HTTP status {status}; are client_id and its secret those of the issuer?"
            elif status != 200:
                problem = f"HTTP status {status} where 200 is right"
            elif len(body) > limit:
                problem = f"an answer of more than {limit} octets"
            else:
                answer = json_object(body)
                if answer is not None:
                    return answer
                problem = "an answer that is no JSON object"
        raise TemporaryFailure(one_line(f"{url}: {problem}"))  # here, outside the handlers, it has no context

    async def _exchange(self, method: str, url: str, limit: int, **request: Any) -> tuple[int, bytes]:
        body = bytearray()
        async with self._connections().stream(method, url, **request) as response:
            if response.status_code == 200:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > limit:
                        break
        return response.status_code, bytes(body)

    def _connections(self) -> httpx2.AsyncClient:
        if self._client is None:
            headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Restante"}
            # trust_env: where the secrets go is a matter of the configuration, not of the environment.
            self._client = httpx2.AsyncClient(
                verify=self._tls, timeout=None, follow_redirects=False, trust_env=False, headers=headers
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections; they are made anew when they are needed."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class Keys:
    """The public keys of an issuer (RFC 7517): of a file, or of the Web, where they change when they like.

    Args:
        source: path of the file, which is read again when it changes, or URL.
        web: what fetches the URL.
        clock: tells seconds since 1970.
    """

    def __init__(self, source: str, web: Web, clock: Callable[[], float]) -> None:
        self._source = source
        self._file = None if "://" in source else Path(source)
        self._web = web
        self._clock = clock
        self._keys: list[Key] = []
        self._version: object = None
        self._lock = asyncio.Lock()
        self._fetched = self._asked = float("-inf")
        self._problem = ""

    async def candidates(self, kid: str | None, kind: str) -> list[Key]:
        """Return the keys of a kind that may have signed a token which names this key, or none at all (`kid`).

        Raises:
            TemporaryFailure: there are no keys, or none of that name, and new ones cannot be had.
        """
        if self._file is not None:
            self._read(self._file)
        elif not self._within(FRESH, self._fetched):
            await self._fetch()
        if self._file is None and not self._named(kid):
            await self._fetch()
            if self._problem and not self._named(kid):
                raise TemporaryFailure(self._problem)
        return [key for key in self._named(kid) if key.key_type == kind]

    def _named(self, kid: str | None) -> list[Key]:
        return [key for key in self._keys if kid is None or key.kid == kid]

    def _within(self, seconds: float, moment: float) -> bool:
        return 0 <= self._clock() - moment < seconds

    async def _fetch(self) -> None:
        """Ask for the keys, unless that has just been done; who comes meanwhile waits for the same answer."""
        async with self._lock:
            if self._within(RETRY if self._problem else REFETCH, self._asked):
                return
            try:
                self._keys = import_keys(await self._web.fetch("GET", self._source, _KEYS_OCTETS), self._source)
                self._problem, self._fetched = "", self._clock()
            except TemporaryFailure as failure:
                self._problem = str(failure)
                self._keys = self._keys if self._within(STALE, self._fetched) else []
                log.warning("%s; %d keys from before go on being used", failure, len(self._keys))
            self._asked = self._clock()

    def _read(self, path: Path) -> None:
        """Read the file if it has changed.

        Raises:
            TemporaryFailure: it cannot be read, or has no keys.
        """
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version:
                return
            with path.open("rb") as file:
                document = json_object(file.read(_KEYS_OCTETS))
        except OSError as error:
            raise TemporaryFailure(f"{path}: {error.strerror}") from error
        self._keys = import_keys(document or {}, self._source)
        self._version = version


class Signatures:
    """Verifies signed access tokens (RFC 9068, RFC 7519).

    Args:
        keys: of the issuer.
        algorithms: names of the signatures that are allowed (RFC 7518 section 3.1); none else is ever tried.
    """

    def __init__(self, keys: Keys, algorithms: Sequence[str]) -> None:
        self._keys = keys
        self._algorithms = {name: JWSRegistry.algorithms[name] for name in algorithms}

    async def claims(self, token: str) -> dict[str, Any]:
        """Return what a token says, which the issuer has signed (RFC 7515 section 5.2); nothing of it is checked yet.

        Raises:
            AuthenticationFailed: the issuer has not signed it.
            TemporaryFailure: the keys are out of reach.
        """
        parts = _take_apart(token)
        algorithm = self._algorithms.get(parts.algorithm)
        if algorithm is None:
            raise AuthenticationFailed("the token's algorithm is not allowed")
        keys = await self._keys.candidates(parts.kid, algorithm.key_type)
        if not keys:
            raise AuthenticationFailed("the issuer has no key that fits the token")
        if not any(_verifies(algorithm, key, parts) for key in keys[:TRIED]):
            raise AuthenticationFailed("the token's signature is wrong")
        claims = json_object(parts.payload)
        if claims is None:
            raise AuthenticationFailed("the token is signed, but is no JSON object")
        return claims


class Rules:
    """What claims must be for this server (RFC 7519 section 4.1); what is configured must be there.

    Args:
        issuer: the right `iss`, ``""`` for any.
        audience: the right `aud`, any of these; none: not looked at.
        clock: tells seconds since 1970.
        expiring: `exp` must be there.
    """

    def __init__(self, issuer: str, audience: Sequence[str], clock: Callable[[], float], *, expiring: bool) -> None:
        wanted: dict[str, ClaimsOption] = {"exp": {"essential": expiring}}
        if issuer:
            wanted["iss"] = {"essential": True, "value": issuer}
        if audience:
            wanted["aud"] = {"essential": True, "values": list(audience)}
        self._registry = JWTClaimsRegistry(now=lambda: int(clock()), leeway=LEEWAY, **wanted)

    def check(self, claims: dict[str, Any]) -> None:
        """Look whether it is so.

        Raises:
            AuthenticationFailed: it is not.
        """
        try:
            self._registry.validate(claims)
        except ExpiredTokenError:
            raise AuthenticationFailed("the token has expired") from None
        except ClaimError as error:  # `error.claim` is one of the names above, or of those of RFC 7519
            raise AuthenticationFailed(f"the token's {error.claim} is missing or not what it must be") from None


def json_object(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a text is, None when it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def import_keys(document: dict[str, Any], source: str) -> list[Key]:
    """Return the keys of a JWK Set that can verify signatures; those of other kinds are skipped (RFC 7517 section 5).

    Raises:
        TemporaryFailure: there are none.
    """
    entries, keys = document.get("keys"), []
    for number, entry in enumerate(entries if isinstance(entries, list) else (), 1):
        if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC", "OKP") and entry.get("use", "sig") == "sig":
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", SecurityWarning)  # RSA has 2048 bits (RFC 7518 section 3.3)
                    keys.append(import_key(entry))
            except (JoseError, SecurityWarning, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
                log.warning("%s: key %d cannot be used: %s", source, number, type(error).__name__)
    if not keys:
        raise TemporaryFailure(f"{source}: no JWK Set with public keys (RFC 7517 section 5)")
    return keys


class _Parts(NamedTuple):
    """A signed token (RFC 7515 section 3.1)."""

    algorithm: str
    kid: str | None
    payload: bytes
    signed: bytes
    signature: bytes


def _take_apart(token: str) -> _Parts:
    """Read a token, of which nothing is verified yet.

    Raises:
        AuthenticationFailed: not a signed token, or not one that is for access.
    """
    segments = token.encode("ascii").split(b".")
    try:
        header, payload, signature = (urlsafe_b64decode(segment) for segment in segments)
    except ValueError:
        raise AuthenticationFailed("not a signed token (RFC 7515)") from None
    parameters = json_object(header) or {}
    algorithm, kid, kind = parameters.get("alg"), parameters.get("kid"), parameters.get("typ", "JWT")
    if not isinstance(algorithm, str) or not isinstance(kind, str) or not isinstance(kid, str | None):
        raise AuthenticationFailed("the token's header is not in order (RFC 7515 section 4.1)")
    if "crit" in parameters or "b64" in parameters:  # RFC 7515 section 4.1.11
        raise AuthenticationFailed("the token's header needs an extension that is not known")
    if kind.upper() not in _TYPES:  # others are for other things (RFC 8725 section 3.11)
        raise AuthenticationFailed("the token's type is not that of access tokens")
    return _Parts(algorithm, kid, payload, b".".join(segments[:2]), signature)


def _verifies(algorithm: JWSAlgModel, key: Key, parts: _Parts) -> bool:
    """A key verifies with the one algorithm or curve that it is for, if at all (RFC 8725 section 3.1)."""
    try:
        algorithm.check_key(key)
        return algorithm.verify(parts.signed, parts.signature, key)
    except (JoseError, ValueError):
        return False
