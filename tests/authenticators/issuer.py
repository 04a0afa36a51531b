"""A small OAuth issuer: a real HTTP server on loopback that signs tokens, says which are active, and shows its keys."""

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import secrets
import socket
import ssl
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

NAME = "https://issuer.example"
CLIENT_ID = "restante:pop3"
CLIENT_SECRET = "s3cret/ of the+server"

# Made once: RSA keys take their time.
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa-2", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


def sign(claims: dict[str, Any], key: Key = EC, algorithm: str = "ES256", **header: Any) -> str:
    """Return a token; its `kid` is that of the key, unless the header says another or None."""
    header = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **header}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # EdDSA has new names (RFC 9864), but is still seen
        present = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(present, claims, key, algorithms=[algorithm], default_type=None)


def key_set(*keys: Key) -> dict[str, Any]:
    """Return what an issuer shows of its keys (RFC 7517 section 5)."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


def unpadded(data: bytes) -> str:
    """Return base64url as RFC 7515 section 2 has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class Request(NamedTuple):
    """What the issuer was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    connection: tuple[str, int]
    """Address of the client, which is another for each connection."""


class Answer(NamedTuple):
    """What the issuer answers when it is not well."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them

    def __init__(self, issuer: "Issuer") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = issuer
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are written one after the other
    server: _Server

    def do_GET(self) -> None:
        self._answer(self.server.issuer.jwks_answer)

    def do_POST(self) -> None:
        self._answer(self.server.issuer.introspection_answer)

    def _answer(self, answer: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode("ascii")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body, self.client_address)
        issuer = self.server.issuer
        issuer.requests.append(request)
        status, fields, content = issuer.broken or answer(request)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # whoever has read enough goes
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name in the base class)
        """Be silent."""


class Issuer:
    """Runs while its context does."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.keys: list[Key] = [RSA, EC, ED]
        self.tokens: dict[str, dict[str, Any]] = {}
        """What introspection says of the tokens that are active."""
        self.broken: Answer | None = None
        """What it answers whatever it is asked."""
        self.requests: list[Request] = []
        self._server = _Server(self)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self.introspection = f"{self.url}/introspect"
        self.jwks = f"{self.url}/jwks"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def issue(self, claims: dict[str, Any]) -> str:
        """Return a token that says nothing by itself."""
        token = secrets.token_urlsafe(30)
        self.tokens[token] = claims
        return token

    def introspection_answer(self, request: Request) -> Answer:
        """Say of a token what is known (RFC 7662 section 2), to those who may know it."""
        pair = "restante%3Apop3:s3cret%2F+of+the%2Bserver"  # RFC 6749 section 2.3.1
        if request.headers.get("authorization") != "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii"):
            return Answer(401, {"WWW-Authenticate": "Basic"}, b"")
        claims = self.tokens.get(parse_qs(request.body).get("token", [""])[0])
        answer = {"active": False} if claims is None else {"active": True, **claims}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode("ascii"))

    def jwks_answer(self, request: Request) -> Answer:
        """Show the public keys."""
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(key_set(*self.keys)).encode("ascii"))


def certificate(path: Path) -> ssl.SSLContext:
    """Write a certificate for 127.0.0.1 that vouches for itself, and return what a server needs to show it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = path.with_suffix(".key")
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, private)
    return context
