"""Sessions with servers that have sizes and unique-ids of their own: each is asked once, and must then say the same."""

from pathlib import Path

from bench.load import Checked, Script
from bench.maildrops import Kind, wire
from bench.peers import Peer
from bench.talk import Talk


def connect(_kind: Kind, _peer: Peer) -> Script:
    """Connect, and say QUIT."""
    return Script()


def stat(kind: Kind, peer: Peer) -> Script:
    """Log in and ask STAT."""
    return Script(kind.user).ask("STAT", _stat(kind, peer))


def uidl(kind: Kind, peer: Peer) -> Script:
    """Log in and ask for the unique-ids."""
    return Script(kind.user).lines(("UIDL", _list("UIDL", kind, peer)))


def full(kind: Kind, peer: Peer) -> Script:
    """Ask for everything, and read all messages."""
    script = Script(kind.user).ask("STAT", _stat(kind, peer))
    for command in ("UIDL", "LIST"):
        script.lines((command, _list(command, kind, peer)))
    return _read(script, kind, peer)


def lock_step(kind: Kind, peer: Peer) -> Script:
    """Read all messages."""
    return _read(Script(kind.user), kind, peer)


def _stat(kind: Kind, peer: Peer) -> str:
    talk = Talk(peer.port, f"{kind.name}0")
    talk.login()
    said = talk.ask(b"STAT").decode("ascii")
    talk.close()
    if not said.startswith(f"+OK {len(kind.sizes)} "):
        raise RuntimeError(f"{peer.name}: STAT is answered {said!r}")
    return said.rstrip()


def _list(command: str, kind: Kind, peer: Peer) -> Checked:
    """Ask for a listing of all messages.  Where users do not have the same ids, those are as long as each other's."""
    found = [_ask(command, f"{kind.name}{user}", peer) for user in range(kind.users)]
    for said in found:
        words = [line.split() for line in said.splitlines()]
        if [word[0] for word in words] != [b"%d" % number for number in range(1, len(kind.sizes) + 1)]:
            raise RuntimeError(f"{peer.name}: {command} is answered {said[:200]!r}")
        if command == "UIDL" and len({word[1] for word in words}) != len(kind.sizes):
            raise RuntimeError(f"{peer.name}: two messages have one unique-id")
    return Checked.of(found[0]) if len(set(found)) == 1 else Checked(len(found[0]), 0, found[0])


def _read(script: Script, kind: Kind, peer: Peer) -> Script:
    for number, message in enumerate(kind.messages(), 1):
        said = _ask(f"RETR {number}", f"{kind.name}0", peer)
        own_store = peer.mail == Path()
        if said != wire(message) and not (own_store and _kept(said, wire(message))):
            raise RuntimeError(f"{peer.name}: message {number} is another: {said[:200]!r}")
        script.lines((f"RETR {number}", Checked.of(said)))
    return script


def _kept(said: bytes, stored: bytes) -> bool:
    """Say whether a message is as it was delivered, but for lines that the server has added to its header."""
    header, _, body = said.partition(b"\r\n\r\n")
    first_header, _, first_body = stored.partition(b"\r\n\r\n")
    lines = iter(header.split(b"\r\n"))
    return body == first_body and all(line in lines for line in first_header.split(b"\r\n"))  # in that order


def _ask(command: str, user: str, peer: Peer) -> bytes:
    talk = Talk(peer.port, user)
    talk.login()
    talk.ask(command.encode())
    said = talk.reply()
    talk.close()
    return said
