"""A small POP3 client, blocking; what `restante adopt` needs."""

from restante.client.replies import CleartextRefused, ConnectionLost, NotPop3, Refused
from restante.client.session import Pop3Session
from restante.client.url import ServerUrl, is_url

__all__ = ["CleartextRefused", "ConnectionLost", "NotPop3", "Pop3Session", "Refused", "ServerUrl", "is_url"]
