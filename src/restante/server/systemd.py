"""What systemd passes to a service, and what it is told: sd_listen_fds(3) and sd_notify(3)."""

import ipaddress
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from itertools import chain, repeat
from typing import NamedTuple, Self

from restante.server.addresses import Address

log = logging.getLogger("restante.server")

FIRST_DESCRIPTOR = 3
PATIENCE = 1.0
"""Seconds that a notification may take; serving mail matters more."""
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class _Passed(NamedTuple):
    name: str
    address: Address
    socket: socket.socket


class PassedSockets:
    """The sockets that systemd has opened for this process.

    Args:
        environment: what tells of them; these variables are removed, so that no child takes the sockets for its own.

    Raises:
        ValueError: one of them is of no use.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        process, count, names, _ = (environment.pop(name, "") for name in _VARIABLES)
        self._passed: list[_Passed] = []
        if process != str(os.getpid()):  # none, or they are another's
            return
        if not (count.isascii() and count.isdecimal()):
            raise ValueError(f'LISTEN_FDS: "{count}" is no number of sockets')
        for index, name in zip(range(int(count)), chain(names.split(":"), repeat("unknown")), strict=False):
            self._passed.append(_open(FIRST_DESCRIPTOR + index, name or "unknown"))

    def take(self, address: Address) -> socket.socket | None:
        """Return the socket that is bound to this address, if there is one; each can be taken once."""
        for passed in self._passed:
            if _normal(passed.address) == _normal(address):
                self._passed.remove(passed)
                return passed.socket
        return None

    def check_all_taken(self) -> None:
        """Whoever connects to a socket that nobody has taken would wait for ever.

        Raises:
            ValueError: there is one.
        """
        for name, address, _ in self._passed:
            where = str(address).replace("\0", "@")
            wanted = f'no [[listener]] has address = "{where}": add one, or change the ListenStream='
            raise ValueError(f"systemd passes a socket at {where} ({name}), but {wanted}")


def _open(descriptor: int, name: str) -> _Passed:
    what = f"descriptor {descriptor} from systemd ({name})"
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ValueError(f"{what} is no socket, ListenStream= would be right: {error.strerror}") from None
    sock.set_inheritable(False)
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family not in families or sock.type != socket.SOCK_STREAM or not listens:
        raise ValueError(f"{what} does not listen for connections: ListenStream= and Accept=no would be right")
    bound = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return _Passed(name, Address("", 0, os.fsdecode(bound)), sock)
    return _Passed(name, Address(bound[0], bound[1]), sock)


def _normal(address: Address) -> Address:
    """Return the one way to write an address, of several."""
    if not address.path:
        return address._replace(host=str(ipaddress.ip_address(address.host)))
    if address.path.startswith("\0"):  # no file, but a name that begins so
        return address
    return address._replace(path=os.path.realpath(address.path))  # /var/run is /run


class ServiceManager:
    """Who has started this process and wants to know how it is: systemd, or nobody.

    Args:
        address: of its socket, a path or `@name`; ``""``: nobody.
    """

    def __init__(self, address: str = "") -> None:
        octets = os.fsencode(address)
        self._address = b"\0" + octets[1:] if octets.startswith(b"@") else octets

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Self:
        """Make it from what the environment says; the variable is removed, so that no child speaks for us."""
        return cls(environment.pop("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        """Connections are taken; also: what `reloading` has begun is done."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={now}")  # without the time, Type=notify-reload waits in vain

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(PATIENCE)
                sock.sendto(text.encode("ascii"), self._address)
        except OSError as error:
            log.warning("the service manager cannot be told %s: %s", text.partition("\n")[0], error)
