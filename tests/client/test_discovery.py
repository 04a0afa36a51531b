"""Finding the server of an address, asked of a real name server on loopback (K-015)."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from restante.client.discovery import Found, discover
from restante.client.url import ServerUrl
from restante.errors import PermanentFailure


@contextmanager
def name_server(records: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """Answer questions for SRV records; a name that is not there does not exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                octets, peer = listener.recvfrom(4096)
                if not octets:
                    return
                question = dns.message.from_wire(octets)
                answer = dns.message.make_response(question)
                answer.flags |= dns.flags.RA
                name = question.question[0].name.to_text()
                if name in records:
                    answer.answer += [dns.rrset.from_text(name, 60, "IN", "SRV", *records[name])]
                else:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                listener.sendto(answer.to_wire(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", listener.getsockname())
            thread.join()


def found(records: dict[str, list[str]], address: str = "bob@example.org") -> list[Found]:
    with name_server(records) as server:
        return asyncio.run(discover(address, server))


def test_the_best_first() -> None:
    """K-015: TLS from the start, then by priority and weight; a target elsewhere is told apart."""
    records = {
        "_pop3s._tcp.example.org.": [
            "20 0 995 late.example.org.",
            "10 5 995 light.example.org.",
            "10 9 9950 Heavy.Example.ORG.",
        ],
        "_pop3._tcp.example.org.": ["0 0 110 pop.example.com."],
    }  # fmt: skip
    servers = found(records)
    assert [one.url.host.lower() for one in servers] == [
        "heavy.example.org", "light.example.org", "late.example.org", "pop.example.com",
    ]  # fmt: skip
    assert servers[0].url == ServerUrl("Heavy.Example.ORG", 9950, tls=True, user="bob@example.org")
    assert [one.elsewhere for one in servers] == [False, False, False, True]
    assert servers[3].url.tls is False


@pytest.mark.parametrize("records", [{}, {"_pop3s._tcp.example.org.": ["0 0 0 ."]}])
def test_a_domain_without_pop3(records: dict[str, list[str]]) -> None:
    """K-015: a target of ``.`` says that there is none."""
    with pytest.raises(PermanentFailure, match="does not say in the DNS"):
        found(records)


@pytest.mark.parametrize("address", ["bob", "@example.org", "bob@", "b b@example.org"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="no e-mail address"):
        found({}, address)


def test_a_domain_that_looks_alike_is_elsewhere() -> None:
    """K-015."""
    (one,) = found({"_pop3s._tcp.example.org.": ["0 0 995 mail.badexample.org."]})
    assert one.elsewhere
