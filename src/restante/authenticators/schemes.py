"""Password hashes in the notation Dovecot reads and ``doveadm pw`` writes: ``{SCHEME}hash``.

Hashing takes from a microsecond to a tenth of a second and belongs in a thread; libcrypt, argon2 and hashlib
let other threads run meanwhile.
"""

import base64
import ctypes
import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

import argon2

from restante.auth import Kind

DEFAULT_SCHEME = "CRYPT"
"""What a hash without ``{SCHEME}`` is taken for, as Dovecot does."""

_PREFIX = re.compile(r"\{([A-Za-z0-9-]+)(?:\.([A-Za-z0-9]+))?\}")
_CRYPT_DATA = 32768  # sizeof(struct crypt_data) of libxcrypt
_CRYPT_SALT_INVALID = 1

# 19 MiB and two passes, the smaller of the settings OWASP names for Argon2id: a login must not cost more memory
# than the server itself.
_NEW = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class SchemeError(ValueError):
    """A stored password that cannot be used; the text says why, without showing it."""


class Hash(NamedTuple):
    """A stored password."""

    scheme: str
    data: str

    def matches(self, password: bytes) -> bool:
        """Say whether this is the hash of `password`; the comparison takes constant time (P-289)."""
        return _SCHEMES[self.scheme].verify(self.data, password)

    @property
    def is_cheap(self) -> bool:
        """Verifying costs less than handing the work to a thread."""
        return self.scheme in _CHEAP

    @property
    def kinds(self) -> frozenset[Kind]:
        """What can be proved against it."""
        if self.scheme in _RECOVERABLE:
            return frozenset({Kind.PASSWORD, Kind.SCRAM_SHA_1, Kind.SCRAM_SHA_256, Kind.SECRET, Kind.EXTERNAL})
        own = {Kind(self.scheme)} if self.scheme in SCRAM_ALGORITHMS else set()
        return frozenset({Kind.PASSWORD, Kind.EXTERNAL, *own})

    def __repr__(self) -> str:
        return f"Hash({self.scheme}, <hidden>)"


class _Scheme(NamedTuple):
    shape: re.Pattern[str]
    verify: Callable[[str, bytes], bool]


def parse(stored: str) -> Hash:
    """Read ``{SCHEME}hash``, ``{SCHEME.b64}…`` or ``{SCHEME.hex}…``.

    Raises:
        SchemeError: an unknown scheme, or a hash that does not have its scheme's form.
    """
    match = _PREFIX.match(stored)
    name, encoding = (match[1].upper(), match[2]) if match else (DEFAULT_SCHEME, None)
    data = stored[match.end() :] if match else stored
    if name not in _SCHEMES:
        raise SchemeError(f"unknown password scheme {{{name}}}; known are {', '.join(_SCHEMES)}")
    if encoding is not None:
        data = _decoded(name, encoding.upper(), data)
    if not _SCHEMES[name].shape.fullmatch(data):
        raise SchemeError(f"this is not what a {{{name}}} hash looks like")
    return Hash(name, data)


NEW_SCHEMES = ("ARGON2ID", "SCRAM-SHA-256", "SCRAM-SHA-1")
"""What `make` can make, the default first."""


def make(password: bytes, scheme: str = NEW_SCHEMES[0]) -> str:
    """Hash a new password; returns ``{SCHEME}…``.

    Args:
        password: prepared, if it is not ASCII (RFC 4013).
        scheme: one of `NEW_SCHEMES`.
    """
    if scheme == "ARGON2ID":
        return "{ARGON2ID}" + _NEW.hash(password)
    salt = secrets.token_bytes(16)
    keys = scram_keys(password, salt, NEW_ITERATIONS, Kind(scheme))
    fields = (base64.b64encode(octets).decode() for octets in (salt, *keys))
    return f"{{{scheme}}}{NEW_ITERATIONS},{','.join(fields)}"


def _decoded(name: str, encoding: str, data: str) -> str:
    """Bring a hash in an explicit encoding into its scheme's usual form."""
    if encoding not in ("HEX", "B64", "BASE64"):
        raise SchemeError(f"unknown encoding {{{name}.{encoding}}}; known are .b64 and .hex")
    try:
        octets = bytes.fromhex(data) if encoding == "HEX" else base64.b64decode(data, validate=True)
        return base64.b64encode(octets).decode() if name in _DIGESTS else octets.decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are of that kind
        raise SchemeError(f"this is not a {{{name}.{encoding}}} hash") from None


# -- the schemes ------------------------------------------------------------------------------------


def _verify_plain(data: str, password: bytes) -> bool:
    return hmac.compare_digest(data.encode(), password)


def _verify_crypt(data: str, password: bytes) -> bool:
    hashed = _crypt(password, data.encode())
    return hashed is not None and hmac.compare_digest(hashed, data.encode())


def _verify_argon2(data: str, password: bytes) -> bool:
    try:
        return _NEW.verify(data, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _verify_pbkdf2(data: str, password: bytes) -> bool:
    _, _, salt, rounds, digest = data.split("$")
    derived = hashlib.pbkdf2_hmac("sha1", password, salt.encode(), int(rounds))
    return hmac.compare_digest(derived.hex(), digest)


SCRAM_ALGORITHMS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
NEW_ITERATIONS = 100_000
"""Of new SCRAM records: the client has the work, once for each login (RFC 7677 section 4 asks for 15,000)."""


class ScramKeys(NamedTuple):
    """What proves a password without telling it (RFC 5802 section 3)."""

    stored: bytes
    server: bytes


def scram_keys(password: bytes, salt: bytes, iterations: int, kind: Kind) -> ScramKeys:
    """Derive them; takes milliseconds."""
    algorithm = SCRAM_ALGORITHMS[kind.value]
    salted = hashlib.pbkdf2_hmac(algorithm, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    return ScramKeys(hashlib.new(algorithm, client_key).digest(), hmac.digest(salted, b"Server Key", algorithm))


def scram_fields(data: str) -> tuple[int, bytes, ScramKeys]:
    """Read a stored record: iterations, salt and keys."""
    iterations, *fields = data.split(",")
    salt, stored, server = (base64.b64decode(field) for field in fields)
    return int(iterations), salt, ScramKeys(stored, server)


def _verify_scram(name: str, data: str, password: bytes) -> bool:
    """P-211: a password that is shown is checked against the same record."""
    iterations, salt, keys = scram_fields(data)
    return hmac.compare_digest(scram_keys(password, salt, iterations, Kind(name)).stored, keys.stored)


def _verify_salted(algorithm: str, data: str, password: bytes) -> bool:
    octets = base64.b64decode(data)
    size = hashlib.new(algorithm).digest_size
    digest, salt = octets[:size], octets[size:]
    return hmac.compare_digest(hashlib.new(algorithm, password + salt).digest(), digest)


@functools.cache
def _libcrypt() -> ctypes.CDLL | None:
    """Load libcrypt with ``crypt_rn``, which is safe in threads; None where the system has none."""
    for name in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so"):
        try:
            library = ctypes.CDLL(name)
            library.crypt_rn.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
            library.crypt_rn.restype = ctypes.c_char_p
            library.crypt_checksalt.argtypes = [ctypes.c_char_p]
        except (OSError, AttributeError):
            continue
        return library
    return None


def _crypt(password: bytes, setting: bytes) -> bytes | None:
    """Return crypt(3) of a password, None when it cannot be had."""
    library = _libcrypt()
    if library is None or b"\0" in password:
        return None
    work = ctypes.create_string_buffer(_CRYPT_DATA)
    hashed: bytes | None = library.crypt_rn(password, setting, work, _CRYPT_DATA)
    return hashed


def supported(stored: Hash) -> bool:
    """Say whether this system can verify such a hash: not every libcrypt knows every method."""
    if _SCHEMES[stored.scheme].verify is not _verify_crypt:
        return True
    library = _libcrypt()
    return library is not None and library.crypt_checksalt(stored.data.encode()) != _CRYPT_SALT_INVALID


_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_ARGON2 = r"(?:\$v=\d+)?\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
_DIGESTS = {"SSHA256": "sha256", "SSHA512": "sha512"}
_RECOVERABLE = {"PLAIN", "CLEARTEXT"}
_CHEAP = {*_RECOVERABLE, *_DIGESTS}


def _salted(name: str) -> _Scheme:
    algorithm = _DIGESTS[name]
    characters = (hashlib.new(algorithm).digest_size + 2) // 3 * 4 - 4  # at least the digest
    shape = re.compile(rf"(?=.{{{characters},}}$){_BASE64}")
    return _Scheme(shape, functools.partial(_verify_salted, algorithm))


def _scram(name: str) -> _Scheme:
    size = hashlib.new(SCRAM_ALGORITHMS[name]).digest_size
    key = rf"(?=[^,]{{{(size + 2) // 3 * 4}}}(?:,|$)){_BASE64}"
    shape = re.compile(rf"(?:409[6-9]|4[1-9]\d\d|[5-9]\d{{3}}|[1-9]\d{{4,6}}),(?!,){_BASE64},{key},{key}")
    return _Scheme(shape, functools.partial(_verify_scram, name))


_SCHEMES = {
    "PLAIN": _Scheme(re.compile(r".+"), _verify_plain),
    "CLEARTEXT": _Scheme(re.compile(r".+"), _verify_plain),
    "CRYPT": _Scheme(re.compile(r"[!-~]{13,}"), _verify_crypt),
    "SHA256-CRYPT": _Scheme(re.compile(r"\$5\$(?:rounds=\d+\$)?[^$]*\$[./0-9A-Za-z]{43}"), _verify_crypt),
    "SHA512-CRYPT": _Scheme(re.compile(r"\$6\$(?:rounds=\d+\$)?[^$]*\$[./0-9A-Za-z]{86}"), _verify_crypt),
    "BLF-CRYPT": _Scheme(re.compile(r"\$2[abxy]\$\d\d\$[./0-9A-Za-z]{53}"), _verify_crypt),
    "ARGON2I": _Scheme(re.compile(r"\$argon2i" + _ARGON2), _verify_argon2),
    "ARGON2ID": _Scheme(re.compile(r"\$argon2id" + _ARGON2), _verify_argon2),
    "SSHA256": _salted("SSHA256"),
    "SSHA512": _salted("SSHA512"),
    "SCRAM-SHA-256": _scram("SCRAM-SHA-256"),
    "SCRAM-SHA-1": _scram("SCRAM-SHA-1"),
    "PBKDF2": _Scheme(re.compile(r"\$1\$[^$]+\$[1-9]\d{0,8}\$[0-9a-f]{40}"), _verify_pbkdf2),
}
