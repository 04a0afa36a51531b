# mypy: ignore-errors
"""Twisted's POP3 client: PORT MODE CA FOLDER.  Writes message n to the file n; prints what else the library gives."""

import sys
from pathlib import Path

from twisted.internet import defer, endpoints, ssl, task
from twisted.mail.pop3 import AdvancedPOP3Client, ServerErrorResponse

PORT, MODE, CA, FOLDER = sys.argv[1:]


@defer.inlineCallbacks
def main(reactor):
    """Talk to the server."""
    authority = ssl.Certificate.loadPEM(Path(CA).read_bytes())
    context = ssl.optionsForClientTLS("localhost", trustRoot=authority)
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", int(PORT))
    if MODE == "tls":
        endpoint = endpoints.wrapClientTLS(context, endpoint)
    client = yield endpoints.connectProtocol(endpoint, AdvancedPOP3Client())
    if MODE == "stls":
        yield client.startTLS(context)
    yield client.login(b"bob", b"bobpw")
    capabilities = yield client.capabilities()
    print("capabilities", *sorted(name.decode() for name in capabilities))
    print("stat", *(yield client.stat()))
    sizes = yield client.listSize()
    ids = yield client.listUID()
    for number, (size, unique_id) in enumerate(zip(sizes, ids, strict=True), 1):
        print("message", number, size, unique_id.decode())
        lines = yield client.retrieve(number - 1)
        (Path(FOLDER) / str(number)).write_bytes(b"".join(line + b"\r\n" for line in lines))
    print("top", len((yield client.retrieve(0, lines=2))))
    yield client.delete(0)
    try:
        yield client.delete(0)
    except ServerErrorResponse:
        print("refused")
    yield client.reset()
    yield client.delete(1)
    yield client.noop()
    yield client.quit()


task.react(main)
