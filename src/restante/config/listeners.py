"""The tables [[listener]]: where to listen, and on what terms."""

import grp
import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from restante.config.reading import Place, Source
from restante.config.settings import ListenerSettings
from restante.server.addresses import Address, Networks
from restante.server.listener import Listener
from restante.server.service import Door

SMTP_PORT = 25


def make(source: Source, index: int, data: dict[str, Any], *, tls: bool) -> Listener:
    """Make the listener of the `[[listener]]` with that number, from 0.

    Args:
        source: the file.
        index: of the table.
        data: what it says.
        tls: there are certificates.

    Raises:
        ConfigurationError: something is wrong with it.
    """
    place: Place = ("listener", index)
    settings = source.convert(place, data, ListenerSettings)
    wanted = settings.tls or ("starttls" if tls else "none")
    if wanted != "none" and not tls:
        text = f'tls: "{wanted}" needs a certificate: a table [tls] with certificate and key'
        raise source.error((*place, "tls"), text)
    try:
        address = Address.parse(settings.address)
    except ValueError as error:
        raise source.error((*place, "address"), f"address: {error}") from None
    if address.path:
        address = address._replace(path=str(source.path.parent / address.path))
    door = Door(
        wanted,
        settings.cleartext_login,
        protocol=settings.protocol,
        networks=_networks(source, (*place, "networks"), settings.networks),
        proxy_networks=_networks(source, (*place, "proxy_networks"), settings.proxy_networks),
    )
    _check_reach(source, place, address, door)
    return Listener(address, door, _mode(source, place, settings.mode), _group(source, place, settings.group))


def _check_reach(source: Source, place: Place, address: Address, door: Door) -> None:
    """D-021: LMTP asks nobody who they are, so it is for this machine and for those that are named."""
    if door.networks and door.protocol != "lmtp":
        raise source.error((*place, "networks"), 'networks: is for protocol = "lmtp"; the others let everybody in')
    if door.protocol == "lmtp" and address.port == SMTP_PORT:
        text = "address: port 25 is for SMTP, and other mail servers would find LMTP there; 24 would be right"
        raise source.error((*place, "address"), text)
    if door.protocol != "lmtp" or address.path or door.networks:
        return
    if not ipaddress.ip_address(address.host).is_loopback:
        text = 'address: LMTP beyond this machine needs networks = ["192.0.2.0/24"], or whoever may bring mail'
        raise source.error((*place, "address"), text)


def _mode(source: Source, place: Place, text: str) -> int:
    if re.fullmatch("0?[0-7]{3}", text) is None:
        raise source.error((*place, "mode"), f'mode: "{text}" is none; "0660" would be right')
    return int(text, 8)


def _group(source: Source, place: Place, name: str) -> int:
    if not name:
        return -1
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise source.error((*place, "group"), f'group: there is no group "{name}" on this machine') from None


def _networks(source: Source, place: Place, texts: Sequence[str]) -> Networks:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise source.error(place, f'{place[-1]}: {error}; "192.0.2.0/24" would be right') from None
