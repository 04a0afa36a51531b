"""Certificates for tests: a private CA, and what it has signed."""

import functools
from pathlib import Path
from typing import NamedTuple

import trustme


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    chain: bytes
    key: bytes

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """Write both to files; returns their paths."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.chain)
        key.write_bytes(self.key)
        return chain, key


@functools.cache
def authority() -> trustme.CA:
    """Make the CA, once for each run."""
    return trustme.CA()


def authority_pem() -> bytes:
    """Return the CA's own certificate."""
    return authority().cert_pem.bytes()


@functools.cache
def certificate(*names: str, common_name: str | None = None, key: str = "ECDSA") -> Pair:
    """Make a certificate for host names, IP addresses or e-mail addresses, with an ECDSA or RSA key."""
    made = authority().issue_cert(*names, common_name=common_name, key_type=trustme.KeyType[key])
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return Pair(chain, made.private_key_pem.bytes())
