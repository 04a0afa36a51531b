"""A client that speaks TLS, octet for octet, and servers that do."""

import functools
import ssl
import tempfile
from pathlib import Path
from typing import Any

from restante.protocol.policy import Features
from restante.server.addresses import Address
from restante.server.listener import Listener
from restante.server.service import Door
from restante.server.tls import Certificates, KeyPair, TlsFiles
from tests.certificates import authority_pem, certificate
from tests.server.office import TIMEOUT, Client, LoopFactory, Office

HOST = "mail.example.org"


@functools.cache
def certificates() -> Certificates:
    """Return the certificates of a server for two hosts."""
    folder = Path(_folder().name)
    pairs = [certificate(name).write(folder, name) for name in (HOST, "pop.example.net")]
    return Certificates(TlsFiles([KeyPair(str(chain), str(key)) for chain, key in pairs]))


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory()


def client_context(**options: Any) -> ssl.SSLContext:
    """Return a context that trusts our CA and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority_pem().decode())
    for name, value in options.items():
        setattr(context, name, value)
    return context


def secure(client: Client, context: ssl.SSLContext | None = None, host: str = HOST) -> ssl.SSLSocket:
    """Do the handshake on a client's connection; it goes on under TLS."""
    wrapped = (context or client_context()).wrap_socket(client.socket, server_hostname=host)
    wrapped.settimeout(TIMEOUT)
    client.file.close()
    client.socket = wrapped
    client.file = wrapped.makefile("rb")
    return wrapped


def office(loop_factory: LoopFactory, door: Door, **options: Any) -> Office:
    """Return a server with certificates."""
    options.setdefault("certificates", certificates())
    options.setdefault("features", Features(HOST))
    return Office(loop_factory, listener=Listener(Address("127.0.0.1", 0), door), **options)
