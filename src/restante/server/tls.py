"""Certificates, and TLS between octets and octets: no socket in here (RFC 8314, RFC 9325; P-230 to P-242)."""

import contextlib
import logging
import os
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from restante import channel_binding
from restante.server.certificates import end_point, host_names, kind_of_key

log = logging.getLogger("restante.tls")

LOOK_EVERY = 1.0
"""Seconds between two looks whether a certificate file has changed."""
PIECE = 65536

# ECDHE with AEAD only (RFC 9325 section 4.2); TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files of a certificate and its key."""

    certificate: str
    """Full chain, PEM."""
    key: str


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What is configured."""

    pairs: Sequence[KeyPair]
    """The first is for clients that name no host, or an unknown one."""
    client_ca: str = ""
    """PEM of who signs client certificates; ``""``: none are asked for (P-241)."""
    client_certificate: Literal["optional", "required"] = "optional"


class Identity(NamedTuple):
    """What a finished handshake tells."""

    tls: str
    """Version and cipher, for the log."""
    host: str
    """The name that the client asked for (SNI), ``""`` for none."""
    end_point: bytes
    """Hash of our certificate (RFC 5929 section 4); ``b""`` where none is defined."""
    certificate: bytes
    """The client's, DER; ``b""`` for none."""


class _Context(ssl.SSLContext):
    """Knows the binding of its certificate, and the kinds of keys of its certificates."""

    end_point: bytes | None = b""
    """None: it has several certificates, and each connection its own."""
    keys: tuple[str, ...] = ()


class Certificates:
    """Contexts made of certificate files; made anew when a file changes, and running sessions keep theirs (P-240).

    Args:
        files: what is configured.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not what it should be; the text names it.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._times = self._read_times()
        self._looked = time.monotonic()
        self._complained: object = None
        self._default, self._by_name = self._load()

    def context(self, host: str) -> ssl.SSLContext:
        """Return the context for a new connection.

        Args:
            host: the name that the client asks for, in lower case; ``""`` for none.
        """
        now = time.monotonic()
        if now >= self._looked + LOOK_EVERY:
            self._looked = now
            self._reload()
        return self._by_name.get(host) or self._by_name.get(f"*.{host.partition('.')[2]}") or self._default

    def _reload(self) -> None:
        """Load changed files; when they are faulty the old ones stay, and that is said once."""
        try:
            times = self._read_times()
            if times == self._times:
                return
            self._default, self._by_name = self._load()
        except (OSError, ValueError) as error:
            if self._complained != str(error):
                log.error("certificates not reloaded, the old ones stay: %s", error)  # noqa: TRY400
            self._complained = str(error)
            return
        self._times = times
        self._complained = None
        log.info("certificates reloaded")

    def _read_times(self) -> list[tuple[int, int]]:
        names = [name for pair in self.files.pairs for name in (pair.certificate, pair.key)]
        names += [self.files.client_ca] if self.files.client_ca else []
        return [(status.st_mtime_ns, status.st_ino) for status in map(os.stat, names)]

    def _load(self) -> tuple[ssl.SSLContext, dict[str, ssl.SSLContext]]:
        contexts: dict[frozenset[str], _Context] = {}
        for pair in self.files.pairs:
            # Certificates for the same hosts, one with an ECDSA key and one with an RSA key: the client chooses.
            names = frozenset(host_names(pair.certificate))
            if names not in contexts:
                contexts[names] = _context(self.files)
            _add(contexts[names], pair)
        by_name: dict[str, ssl.SSLContext] = {}
        for hosts, context in contexts.items():
            for name in hosts:
                by_name.setdefault(name, context)
        return next(iter(contexts.values())), by_name


def _context(files: TlsFiles) -> _Context:
    """Make a context (P-235): TLS 1.2 and 1.3, no compression, no renegotiation."""
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["pop3"])  # P-242
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise ValueError(f"{files.client_ca}: no PEM certificates: {_reason(error)}") from None
        required = files.client_certificate == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _add(context: _Context, pair: KeyPair) -> None:
    """Add a certificate to a context."""
    for name in (pair.certificate, pair.key):
        with open(name, "rb"):  # noqa: PTH123  (OpenSSL does not say which of the two it cannot read)
            pass
    kind = kind_of_key(pair.certificate)
    if kind in context.keys:
        raise ValueError(
            f"{pair.certificate}: for the same hosts there is another certificate with this kind of key; "
            "one with an ECDSA and one with an RSA key would be right"
        )
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
    except ssl.SSLError as error:
        raise ValueError(f"{pair.certificate}, {pair.key}: not a PEM chain and its key: {_reason(error)}") from None
    context.end_point = None if context.keys else end_point(pair.certificate)
    context.keys += (kind,)


def _no_password() -> str:
    raise ValueError("the key is encrypted; a server that starts by itself needs one that is not")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


class TlsFilter:
    """The server's end of a TLS connection: records in, octets out, and the other way round.

    Args:
        context: of the server.
        host: the name that the client asked for (SNI), ``""`` for none.
    """

    def __init__(self, context: ssl.SSLContext, host: str = "") -> None:
        self._host = host
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.closed = False
        """The peer has said that nothing more comes (close_notify)."""

    @property
    def object(self) -> ssl.SSLObject:
        """For what Python's ssl can tell."""
        return self._object

    def receive(self, records: bytes) -> None:
        """Take what came over the network."""
        self._incoming.write(records)

    def handshake(self) -> bool:
        """Go on with the handshake; returns whether it is done.

        Raises:
            ssl.SSLError: it has failed; `to_send` may hold the alert that says so.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self) -> bytes:
        """Return the octets that have come.

        Raises:
            ssl.SSLError: the records are not what they should be.
        """
        pieces: list[bytes] = []
        try:
            while piece := self._object.read(PIECE):
                pieces.append(piece)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        return b"".join(pieces)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Encrypt octets; `to_send` has the records."""
        rest = memoryview(b"".join(pieces))  # each write ends with a record of its own
        while rest:
            rest = rest[self._object.write(rest) :]

    def close(self) -> None:
        """Say that nothing more comes (P-237)."""
        with contextlib.suppress(ssl.SSLError):  # the peer has not said so, which nobody waits for
            self._object.unwrap()

    def to_send(self) -> bytes:
        """Return, and forget, records for the network."""
        return self._outgoing.read()

    def identity(self) -> Identity:
        """Say what the handshake has brought."""
        cipher, context = self._object.cipher(), self._object.context
        return Identity(
            f"{self._object.version()} {cipher[0] if cipher else '?'}",
            self._host,
            self._end_point(context),
            self._object.getpeercert(binary_form=True) or b"",
        )

    def _end_point(self, context: ssl.SSLContext) -> bytes:
        known = context.end_point if isinstance(context, _Context) else b""
        if known is not None:
            return known
        shown = channel_binding.shown_certificate(self._object)
        return channel_binding.end_point(shown) if shown else b""
