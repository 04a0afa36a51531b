"""Fuzz target ``sasl``: each mechanism, driven by messages that are right, nearly right, or nothing of the kind.

What is stated, for every input:

* nothing but a `Condition` leaves the mechanism, and it is over within some steps;
* it succeeds only with the right secret.  For SCRAM this is computed here a second time, from the messages alone: the
  proof, the nonce, the channel binding, and the flag that tells of a downgrade (P-206, P-209, P-210); for the others
  the secret must be in what was sent (P-194, P-215, P-216, P-221), or be an answer to this very challenge (P-220);
* it makes nobody somebody else (P-193, P-201);
* what is right throughout succeeds.
"""

import base64
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Mapping

from restante.auth import Anonymous, Bearer, CramMd5, Credentials, External, Kind, Password, Proven, ScramRecord
from restante.errors import AuthenticationFailed, Condition
from restante.protocol.sasl import MECHANISMS, Context, FindRecord, Mechanism
from tests.fuzz.choices import Choices, joined
from tests.protocol.scram_client import ScramClient, record

SECRET = "PmQxvZtRkWbyLdHc"
"""No fuzzer finds it by chance, and no seed has it."""
STEPS = 12
NAMES = tuple(MECHANISMS)
IDENTITIES = ("bob", "robert")
BINDINGS = {"tls-exporter": b"0123456789", "tls-server-end-point": b"abcdef"}
_RECORDS = {
    Kind.SCRAM_SHA_1: record(SECRET, "sha1", iterations=1),
    Kind.SCRAM_SHA_256: record(SECRET, iterations=1),
}
_DECOY = record("x", iterations=1, user=None)
_FIRST = re.compile(r"(n|y|p=[^,]+),(a=[^,]*)?,(.*)", re.DOTALL)


class _Peer:
    """A client that has the secret, and what becomes of its messages on the way."""

    def __init__(self, name: str, choices: Choices, context: Context) -> None:
        self.name = name
        self.choices = choices
        self.context = context
        self.algorithm = "sha1" if "SHA-1" in name else "sha256"
        self.challenges: list[bytes] = []
        self.messages: list[bytes] = []
        self.honest = True
        gs2, binding = "n,,", b""
        if name.endswith("-PLUS"):
            gs2, binding = "p=tls-exporter,,", BINDINGS["tls-exporter"]
        self._scram = ScramClient("bob", SECRET, self.algorithm, gs2=gs2, binding=binding, nonce="abc")
        self._rest = choices.sent

    def answer(self, challenge: bytes | None) -> bytes:
        """Make the next message; one that the fuzzer has written, or the right one, whole or with a change."""
        if challenge is not None:
            self.challenges.append(challenge)
        way = self.choices.choose(5)
        message = self._right()
        if way:
            written, _, self._rest = self._rest.partition(b"\n")
            place = self.choices.choose(len(message) + 1)
            length = self.choices.choose(8)
            changed = (
                written,
                message[:place] + written + message[place + length :],
                message + written,
                written + message,
            )
            self.honest &= changed[way - 1] == message
            message = changed[way - 1]
        if "SCRAM" in self.name and not self.messages:
            self._stand_by(message.decode(errors="replace"))
        self.messages.append(message)
        return message

    def _stand_by(self, first: str) -> None:
        """Sign what was sent, though it was changed: only so the server gets to look at all of it."""
        match = _FIRST.fullmatch(first)
        if match:
            header, bare = first[: match.start(3)], match[3]
            bound = BINDINGS.get(match[1].removeprefix("p="), b"")
            self._scram.first_bare = bare
            self._scram.channel = base64.b64encode(header.encode() + bound).decode()

    def _right(self) -> bytes:
        try:
            return self._message().encode()
        except (ValueError, KeyError):  # the server's message does not fit to what was sent before
            return b"x"

    def _message(self) -> str:
        step = len(self.messages)
        if "SCRAM" in self.name:
            if step == 0:
                return self._scram.first
            return self._scram.final(self.challenges[-1].decode()) if step == 1 else ""
        if self.name == "LOGIN":
            return ("bob", SECRET)[step % 2]
        if self.name == "CRAM-MD5":
            return f"bob {hmac.digest(SECRET.encode(), self.challenges[-1], 'md5').hex()}"
        if step:
            return "\x01" if self.name == "OAUTHBEARER" else ""
        return {
            "PLAIN": f"\0bob\0{SECRET}",
            "OAUTHBEARER": f"n,a=bob,\x01host=mail.example.org\x01auth=Bearer {SECRET}\x01\x01",
            "XOAUTH2": f"user=bob\x01auth=Bearer {SECRET}\x01\x01",
            "EXTERNAL": "",
            "ANONYMOUS": "trace",
        }[self.name]

    # -- what the outcome should be -------------------------------------------------------------------

    def has_secret(self) -> bool:
        """The secret is in what was sent, in some spelling that SASLprep makes the same."""
        sent = unicodedata.normalize("NFKC", "".join(message.decode(errors="ignore") for message in self.messages))
        return SECRET in re.sub(r"[^A-Za-z]", "", sent)

    def proves_it(self) -> bool:
        """What was sent is a SCRAM login of bob's (RFC 5802 sections 3, 5 and 6), whoever wrote it."""
        first, final = self.messages[0].decode(), self.messages[1].decode()
        (server_first,) = [challenge.decode() for challenge in self.challenges if challenge.startswith(b"r=")]
        match = _FIRST.fullmatch(first)
        assert match is not None, first
        flag, _, bare = match.groups()
        plus = self.name.endswith("-PLUS")
        bound = BINDINGS.get(flag[2:]) if flag.startswith("p=") else b""
        if bound is None or flag.startswith("p=") is not plus or (flag == "y" and self.context.plus):
            return False
        without_proof, _, proof = final.rpartition(",p=")
        message = f"{bare},{server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(
            self.algorithm, SECRET.encode(), base64.b64decode(server_first.split(",")[1][2:]), 1
        )
        key = hmac.digest(salted, b"Client Key", self.algorithm)
        signature = hmac.digest(hashlib.new(self.algorithm, key).digest(), message, self.algorithm)
        channel = base64.b64encode(first[: len(first) - len(bare)].encode() + bound).decode()
        return (
            base64.b64decode(proof) == bytes(a ^ b for a, b in zip(key, signature, strict=True))
            and without_proof.split(",")[0] == f"c={channel}"
            and without_proof.split(",")[1] == server_first.split(",")[0]
            and server_first.startswith(f"r={re.findall('r=([^,]*)', bare)[0]}")
        )


def right(credentials: Credentials | Proven, peer: _Peer) -> bool:
    """Say whether an authenticator would take these, and check that it could not have been deceived."""
    match credentials:
        case Proven(user=user, principal=principal):
            taken = principal is not None
            assert not taken or user == "bob"
            assert not taken or peer.proves_it(), peer.messages
        case Password(user=user, password=password):
            taken = user == "bob" and password == SECRET.encode()
            assert not taken or peer.has_secret()
            if taken and peer.name == "PLAIN":
                authorization = peer.messages[0].split(b"\0")[0].decode()
                assert re.sub(r"[^a-z]", "", unicodedata.normalize("NFKC", authorization)) in ("", "bob")
        case Bearer(user=user, token=token):
            assert token
            taken = user in ("", "bob") and token == SECRET
            assert not taken or peer.has_secret()
        case CramMd5(user=user, challenge=challenge, digest=digest):
            assert challenge == peer.challenges[0]
            taken = user == "bob" and digest == hmac.digest(SECRET.encode(), challenge, "md5").hex()
        case External(user=user):
            taken = user in IDENTITIES
            assert taken
        case Anonymous(user=trace):
            taken = len(trace) <= 255
            assert taken
        case _:
            raise AssertionError(f"nobody asks about {credentials}")
    return taken


def check(octets: bytes, mechanisms: Mapping[str, Mechanism] = MECHANISMS) -> None:
    """Check what this module states."""
    choices = Choices(octets)
    name = NAMES[choices.choose(len(NAMES))]
    way = choices.choose(4)
    context = Context(
        hostname="mail.example.org",
        host="mail.example.org",
        bindings=BINDINGS,
        plus=way < 2,
        identities=IDENTITIES,
        token=lambda: "0f1e2d3c",
        oauth_challenge={"scope": "mail"},
    )
    peer = _Peer(name, choices, context)
    server_first = name in ("LOGIN", "CRAM-MD5")
    initial = peer.answer(None) if way % 2 and not server_first else None
    try:
        succeeded = drive(mechanisms[name], initial, peer)
    except Condition:
        succeeded = False
    assert succeeded or not peer.honest, f"{name}: {peer.messages}"


def drive(mechanism: Mechanism, initial: bytes | None, peer: _Peer) -> bool:
    """Play an exchange to its end; returns whether somebody has logged in.

    Raises:
        Condition: nobody has.
    """
    exchange = mechanism.begin(initial, peer.context)
    wanted = exchange.send(None)
    for _ in range(STEPS):
        match wanted:
            case bytes():
                wanted = exchange.send(peer.answer(wanted))
            case FindRecord(user=user, kind=kind):
                found: ScramRecord = _RECORDS[kind] if user == "bob" else _DECOY
                wanted = exchange.send(found)
            case _ if right(wanted, peer):
                exchange.close()
                return True
            case _:
                wanted = exchange.throw(AuthenticationFailed("x"))
    raise AssertionError(f"{peer.name} does not end")


TOKENS = [
    b"n,,", b"y,,", b"p=tls-exporter,,", b"p=n,,", b"a=bob", b"n=bob", b",r=", b",m=x", b"c=biws", b",p=", b"=2C",
    b"=3D", b"\0", b"\x01", b"\n", b"auth=Bearer ", b"host=", b"user=bob", b"bob", b"robert", b"\xc2\xad", b"\xc3\xb6",
    b"\xff", b"\x07", b",", b"=", b"x" * 256, b"v=", b"i=1", b",x=y",
]  # fmt: skip


def seeds() -> list[bytes]:
    """Right messages throughout, and one wrong one in each place; the secret is put in by the peer itself."""
    ways = (b"", b"\x01", b"\0\x01", b"\0\0\x01", b"\x02\x03\x01", b"\0\x02\x05\x02", b"\x03", b"\x04", b"\0\x03")
    lines = (
        b"",
        b"n,,n=bob,r=x\nc=biws\n",
        b"\0bob\0x\n\n\n",
        b"user=bob\x01auth=Bearer x\x01\x01\n\x01\n",
        b"bob\nbob\n",
    )
    return [
        joined(sent, bytes([mechanism, context]) + way)
        for mechanism in range(len(NAMES))
        for context in range(4)
        for way in ways
        for sent in lines
    ]
