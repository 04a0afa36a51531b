"""A client of POP3 servers: for asyncio `POP3Client`, and with the same methods `BlockingPOP3Client`."""

from restante.client.blocking import BlockingMessage, BlockingPOP3Client
from restante.client.commands import from_command
from restante.client.connection import Patience
from restante.client.dialogue import Message
from restante.client.replies import CleartextRefused, ConnectionLost, NotPop3, Refused
from restante.client.security import Security
from restante.client.session import POP3Client, Stat, Token
from restante.client.url import ServerUrl, is_url

__all__ = [
    "BlockingMessage",
    "BlockingPOP3Client",
    "CleartextRefused",
    "ConnectionLost",
    "Message",
    "NotPop3",
    "POP3Client",
    "Patience",
    "Refused",
    "Security",
    "ServerUrl",
    "Stat",
    "Token",
    "from_command",
    "is_url",
]
