"""The client's side of SCRAM, written from RFC 5802 alone, and the records of a server."""

import base64
import hashlib
import hmac

from restante.auth import Principal, ScramRecord

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")


def record(
    password: str, algorithm: str = "sha256", salt: bytes = SALT, iterations: int = 4096, *, user: str | None = "bob"
) -> ScramRecord:
    """What a server keeps of a password (RFC 5802 section 3); `user` None: it is nobody's (P-207)."""
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    stored = hashlib.new(algorithm, hmac.digest(salted, b"Client Key", algorithm)).digest()
    server = hmac.digest(salted, b"Server Key", algorithm)
    return ScramRecord(salt, iterations, stored, server, None if user is None else Principal(user))


DECOY = record("nobody knows it", user=None)


class ScramClient:
    """Makes the messages of a client, which a test may change before it sends them.

    Args:
        gs2: the GS2 header.
        binding: channel binding data.
        extensions: more attributes, for each of the two messages.
    """

    def __init__(
        self,
        user: str,
        password: str,
        algorithm: str = "sha256",
        *,
        gs2: str = "n,,",
        binding: bytes = b"",
        nonce: str = "rOprNGfwEbeRWgbNEkqO",
        extensions: tuple[str, str] = ("", ""),
    ) -> None:
        self.first_bare = f"n={user},r={nonce}{extensions[0]}"
        self.first = gs2 + self.first_bare
        self.channel = base64.b64encode(gs2.encode() + binding).decode()
        self.password = password
        self.algorithm = algorithm
        self.extension = extensions[1]
        self.signature = ""
        """What the server must answer, once `final` has been called."""

    def final(self, server_first: str, *, channel: str | None = None, nonce: str | None = None) -> str:
        """Answer the server's first message; `channel` and `nonce` replace what would be right."""
        attributes = dict(attribute.split("=", 1) for attribute in server_first.split(","))
        salted = hashlib.pbkdf2_hmac(
            self.algorithm, self.password.encode(), base64.b64decode(attributes["s"]), int(attributes["i"])
        )
        channel = self.channel if channel is None else channel
        nonce = attributes["r"] if nonce is None else nonce
        without_proof = f"c={channel},r={nonce}{self.extension}"
        message = f"{self.first_bare},{server_first},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", self.algorithm)
        signature = hmac.digest(hashlib.new(self.algorithm, client_key).digest(), message, self.algorithm)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", self.algorithm)
        self.signature = base64.b64encode(hmac.digest(server_key, message, self.algorithm)).decode()
        return f"{without_proof},p={base64.b64encode(proof).decode()}"
