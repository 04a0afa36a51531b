"""Twisted's POP3 server over Maildirs, run by the Python that has it: ``python twisted_server.py PORT MAIL USERS``.

``twistd mail`` would start the same, but cannot with Python 3: it makes text of what the rest of twisted.mail takes as
octets.
"""
# mypy: disable-error-code="import-not-found"

import sys
from pathlib import Path
from typing import IO

from twisted.internet import reactor
from twisted.mail.mail import MailService
from twisted.mail.maildir import MaildirDirdbmDomain, MaildirMailbox


def _message(mailbox: MaildirMailbox, number: int) -> IO[bytes]:
    """Open a message as octets, where twisted.mail opens it as text and then cannot send it."""
    path = mailbox.list[number]
    assert isinstance(path, bytes)
    return open(path, "rb")  # noqa: PTH123


def main() -> None:
    """Serve until it is killed."""
    port, mail, users = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    MaildirMailbox.getMessage = _message
    service = MailService()
    domain = MaildirDirdbmDomain(service, mail)
    for line in users.read_bytes().splitlines():
        domain.addUser(*line.split(b":{PLAIN}"))
    service.addDomain(b"", domain)
    reactor.listenTCP(port, service.getPOP3Factory(), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
