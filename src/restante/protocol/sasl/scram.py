"""SCRAM: the password never crosses the line, and the server proves that it knows it too (RFC 5802, RFC 7677)."""

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from restante.auth import Kind, Proven, ScramRecord
from restante.errors import CommandError
from restante.protocol.sasl.exchange import Context, Exchange, FindRecord, malformed, name, response, same, text

_GS2 = re.compile(r"(n|y|p=([A-Za-z0-9.-]+)),(?:a=([^,]+))?,")
_FIRST = re.compile(r"n=([^,]*),r=([!-+\--~]+)((?:,[A-Za-z]=[^,]*)*)")
_FINAL = re.compile(r"(c=([A-Za-z0-9+/=]*),r=([!-+\--~]+)(?:,[A-Za-ln-oq-z]=[^,]*)*),p=([A-Za-z0-9+/=]+)")
_ESCAPE = re.compile(r"=(2C|3D)?")
_ALGORITHMS = {Kind.SCRAM_SHA_1: "sha1", Kind.SCRAM_SHA_256: "sha256"}


class _ClientFirst(NamedTuple):
    header: str
    """The GS2 header as sent, which the channel binding repeats."""
    flag: str
    """``n``, ``y`` or ``p``."""
    binding: str
    """The type of channel binding, with ``p``."""
    authorization: str
    bare: str
    user: str
    nonce: str


def sha_1(initial: bytes | None, context: Context) -> Exchange:
    """SCRAM-SHA-1 (P-205)."""
    return _scram(Kind.SCRAM_SHA_1, initial, context, plus=False)


def sha_1_plus(initial: bytes | None, context: Context) -> Exchange:
    """SCRAM-SHA-1-PLUS (P-210)."""
    return _scram(Kind.SCRAM_SHA_1, initial, context, plus=True)


def sha_256(initial: bytes | None, context: Context) -> Exchange:
    """SCRAM-SHA-256 (P-206)."""
    return _scram(Kind.SCRAM_SHA_256, initial, context, plus=False)


def sha_256_plus(initial: bytes | None, context: Context) -> Exchange:
    """SCRAM-SHA-256-PLUS (P-210)."""
    return _scram(Kind.SCRAM_SHA_256, initial, context, plus=True)


def _scram(kind: Kind, initial: bytes | None, context: Context, *, plus: bool) -> Exchange:
    if initial is None:
        initial = response((yield b""))
    first = _client_first(text(initial, "SCRAM"))
    data = _binding_data(first, context, plus=plus)
    user = name(first.user)
    record = yield FindRecord(user, kind)
    assert isinstance(record, ScramRecord)

    nonce = first.nonce + context.token()
    server_first = f"r={nonce},s={_b64(record.salt)},i={record.iterations}"
    final = text(response((yield server_first.encode())), "SCRAM")
    match = _FINAL.fullmatch(final)
    if match is None:
        raise malformed("SCRAM")
    without_proof, binding, repeated, proof = match.groups()
    # P-208: the name as received, not as prepared.
    message = f"{first.bare},{server_first},{without_proof}".encode()
    right = (
        _proves(_ALGORITHMS[kind], record, message, _unb64(proof))
        and hmac.compare_digest(_unb64(binding), first.header.encode() + data)
        and hmac.compare_digest(repeated.encode(), nonce.encode())
    )
    principal = record.principal if right and same(first.authorization, user) else None
    if principal is not None:
        signature = hmac.digest(record.server_key, message, _ALGORITHMS[kind])
        if (yield f"v={_b64(signature)}".encode()):  # P-199: the client answers with an empty line
            raise malformed("SCRAM")
    yield Proven(user, principal)


def _client_first(message: str) -> _ClientFirst:
    """Read the client's first message.

    Raises:
        CommandError: malformed, or it demands an extension that nobody knows (``m=``).
    """
    header = _GS2.match(message)
    if header is None:
        raise malformed("SCRAM")
    bare = message[header.end() :]
    match = _FIRST.fullmatch(bare)
    if match is None or ",m=" in match[3]:
        raise malformed("SCRAM")
    authorization = header[3] or ""
    return _ClientFirst(
        header[0], header[1][0], header[2] or "", _unescaped(authorization), bare, _unescaped(match[1]), match[2]
    )


def _unescaped(saslname: str) -> str:
    """Undo ``=2C`` and ``=3D``; any other ``=`` is an error (RFC 5802 section 5.1)."""

    def character(match: re.Match[str]) -> str:
        if match[1] is None:
            raise malformed("SCRAM")
        return "," if match[1] == "2C" else "="

    return _ESCAPE.sub(character, saslname)


def _binding_data(first: _ClientFirst, context: Context, *, plus: bool) -> bytes:
    """Return the channel binding data that the client must repeat (RFC 5802 section 6, P-209).

    Raises:
        CommandError: flag and mechanism do not fit together, or somebody stripped the -PLUS names from our list.
    """
    if first.flag == "p":
        if plus and first.binding in context.bindings:
            return context.bindings[first.binding]
        raise CommandError("this channel binding is not possible here")
    if plus:
        raise CommandError("a -PLUS mechanism needs a channel binding")
    if first.flag == "y" and context.plus:
        raise CommandError("channel binding is possible here: somebody may have changed the list of mechanisms")
    return b""


def _proves(algorithm: str, record: ScramRecord, message: bytes, proof: bytes) -> bool:
    """Check the client's proof in constant time (RFC 5802 section 3, P-289)."""
    signature = hmac.digest(record.stored_key, message, algorithm)
    if len(proof) != len(signature):
        raise malformed("SCRAM")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.new(algorithm, client_key).digest(), record.stored_key)


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _unb64(encoded: str) -> bytes:
    """Decode base64 strictly.

    Raises:
        CommandError: it is not.
    """
    try:
        octets = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise malformed("SCRAM") from None
    if _b64(octets) != encoded:
        raise malformed("SCRAM")
    return octets
