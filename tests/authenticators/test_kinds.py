"""Other ways than a password: APOP, CRAM-MD5, SCRAM records, certificates; and what accounts can do."""

import base64
import hashlib
import hmac
import logging
import os
from pathlib import Path

import pytest

from restante.auth import (
    PASSWORDS_ONLY,
    Anonymous,
    Apop,
    Authenticator,
    Bearer,
    CramMd5,
    Credentials,
    External,
    Kind,
    Kinds,
    Password,
    Principal,
)
from restante.authenticators import schemes
from restante.authenticators.anonymous import AnonymousAccess
from restante.authenticators.chain import Chain
from restante.authenticators.passwd_file import PasswdFile
from restante.errors import AuthenticationFailed, TemporaryFailure

# RFC 5802 section 5 and RFC 7677 section 3: user "user", password "pencil".
SALT_1, SALT_256 = "QSXCR+Q6sek8bf92", "W22ZaJ0SNY7soEsUEjb6gQ=="
RECORD_1 = f"{{SCRAM-SHA-1}}4096,{SALT_1},6dlGYMOdZcOPutkcNY8U2g7vK9Y=,D+CSWLOshSulAsxiupA+qs2/fTE="
RECORD_256 = (
    f"{{SCRAM-SHA-256}}4096,{SALT_256},"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"
DIGEST = "c4c9334bac560ecc979e58001b3e22fb"  # RFC 1939 section 7
ALL = frozenset({Kind.PASSWORD, Kind.SCRAM_SHA_1, Kind.SCRAM_SHA_256, Kind.SECRET, Kind.EXTERNAL})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def write(path: Path, *lines: str) -> PasswdFile:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return PasswdFile(path, threads=1)


async def refuses(table: Authenticator, *credentials: Credentials) -> bool:
    for one in credentials:
        with pytest.raises(AuthenticationFailed):
            await table.authenticate(one)
    return True


async def test_apop(path: Path) -> None:
    """P-061, P-062: the vector of the RFC; not on another greeting, not for another, not against a hash."""
    table = write(path, "mrose:{PLAIN}tanstaaf", "eve:{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA")
    assert await table.authenticate(Apop("mrose", TIMESTAMP, DIGEST)) == Principal("mrose")
    assert await refuses(
        table,
        Apop("mrose", b"<1897.697170952@dbc.mtview.ca.us>", DIGEST),
        Apop("mrose", TIMESTAMP, "0" * 32),
        Apop("nobody", TIMESTAMP, DIGEST),
    )
    # The hash of eve must not be taken for her secret.
    stored = b"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
    forged = hashlib.md5(TIMESTAMP + stored, usedforsecurity=False).hexdigest()
    assert await refuses(table, Apop("eve", TIMESTAMP, forged))


async def test_cram_md5(path: Path) -> None:
    """P-220: the example of RFC 2195 section 2."""
    table = write(path, "tim:{PLAIN}tanstaaftanstaaf", f"eve:{RECORD_1}")
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    digest = "b913a602c7eda7a495b4e6e7334d3890"
    assert await table.authenticate(CramMd5("tim", challenge, digest)) == Principal("tim")
    forged = hmac.new(RECORD_1.partition("}")[2].encode(), challenge, "md5").hexdigest()
    assert await refuses(
        table, CramMd5("tim", b"<other>", digest), CramMd5("eve", challenge, forged), CramMd5("x", challenge, digest)
    )


async def test_external(path: Path) -> None:
    """P-201: the certificate has proved the name; there must be an account of that name."""
    table = write(path, f"bob:{RECORD_256}")
    assert await table.authenticate(External("bob")) == Principal("bob")
    assert await refuses(table, External("eve"), Bearer("bob", "x"), Anonymous("bob"))


@pytest.mark.parametrize(("record", "salt"), [(RECORD_1, SALT_1), (RECORD_256, SALT_256)])
async def test_scram_records_of_dovecot(path: Path, record: str, salt: str) -> None:
    """P-205, P-206, P-211: the vectors' user, in the form Dovecot writes; the password itself works too."""
    table = write(path, f"user:{record}")
    kind = Kind(record[1:].partition("}")[0])
    found = await table.scram_record("user", kind)
    assert (found.principal, found.iterations) == (Principal("user"), 4096)
    assert [found.salt, found.stored_key, found.server_key] == [
        base64.b64decode(field) for field in record.split(",")[1:]
    ]
    assert salt in record
    assert await table.authenticate(Password("user", b"pencil")) == Principal("user")
    assert await refuses(table, Password("user", b"Pencil"))
    assert "hidden" in repr(found)


@pytest.mark.parametrize("scheme", schemes.NEW_SCHEMES)
def test_new_hashes(scheme: str) -> None:
    """What is made can be read, proves its password, and can do what its scheme says."""
    stored = schemes.parse(schemes.make(b"secret", scheme))
    assert stored.scheme == scheme
    assert stored.matches(b"secret")
    assert not stored.matches(b"Secret")
    expected = {Kind.PASSWORD, Kind.EXTERNAL} | ({Kind(scheme)} if scheme.startswith("SCRAM") else set())
    assert stored.kinds == expected
    assert schemes.make(b"secret", scheme) != schemes.make(b"secret", scheme)


@pytest.mark.parametrize(
    "data",
    [
        "4095," + RECORD_256.partition(",")[2],  # RFC 7677 section 4: 4096 at least
        "99999999," + RECORD_256.partition(",")[2],
        RECORD_256.partition("}")[2].replace("=", "", 1),
        RECORD_256.partition("}")[2] + ",AAAA",
        RECORD_1.partition("}")[2],
        "4096,,a,b",
    ],
)
def test_malformed_records(data: str) -> None:
    with pytest.raises(schemes.SchemeError):
        schemes.parse("{SCRAM-SHA-256}" + data)


async def test_scram_for_kept_passwords(path: Path) -> None:
    """RFC 7677 section 4: 15,000 iterations; the salt of a user stays the same (a client may keep it)."""
    table = write(path, "bob:{PLAIN}secret", "eve:{PLAIN}secret")
    first = await table.scram_record("bob", Kind.SCRAM_SHA_256)
    assert first == await table.scram_record("bob", Kind.SCRAM_SHA_256)
    assert first.iterations == 15_000
    assert first.principal == Principal("bob")
    assert schemes.scram_keys(b"secret", first.salt, 15_000, Kind.SCRAM_SHA_256) == (
        first.stored_key,
        first.server_key,
    )
    assert (await table.scram_record("eve", Kind.SCRAM_SHA_256)).salt != first.salt


@pytest.mark.parametrize("account", ["bob:{PLAIN}secret", f"bob:{RECORD_256}", "bob:{SSHA256}" + "A" * 60])
async def test_unknown_users_have_records_like_known_ones(path: Path, account: str) -> None:
    """P-207: same form, always the same for one name, also after a restart; the login fails in the end."""
    table = write(path, account)
    known = await table.scram_record("bob", Kind.SCRAM_SHA_256)
    unknown = await table.scram_record("nobody", Kind.SCRAM_SHA_256)
    assert unknown.principal is None
    assert unknown == await write(path, account).scram_record("nobody", Kind.SCRAM_SHA_256)
    assert unknown.salt != (await table.scram_record("somebody", Kind.SCRAM_SHA_256)).salt
    assert (len(unknown.salt), unknown.iterations) == (len(known.salt), known.iterations)
    assert (len(unknown.stored_key), len(unknown.server_key)) == (32, 32)
    assert (await table.scram_record("bob", Kind.SCRAM_SHA_1)).principal == (
        Principal("bob") if "PLAIN" in account else None
    )
    assert path.with_name("users.secret").stat().st_mode & 0o777 == 0o600


async def test_where_no_secret_can_be_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P-207: said in the log; it works all the same."""
    table = write(path, "bob:{PLAIN}secret")
    path.with_name("users.secret").mkdir()
    assert (await table.scram_record("nobody", Kind.SCRAM_SHA_256)).principal is None
    assert "unknown users can be told from known ones by a restart" in caplog.text


async def test_the_secret_is_shared(path: Path) -> None:
    """Two servers with one file of accounts invent the same records; a damaged secret is not used."""
    path.with_name("users.secret").write_bytes(b"x" * 32)
    first = await write(path, "bob:{PLAIN}b").scram_record("nobody", Kind.SCRAM_SHA_256)
    assert first == await write(path, "bob:{PLAIN}b").scram_record("nobody", Kind.SCRAM_SHA_256)
    path.with_name("users.secret").write_bytes(b"x")
    assert first != await write(path, "bob:{PLAIN}b").scram_record("nobody", Kind.SCRAM_SHA_256)


def test_kinds(path: Path) -> None:
    """P-161: what works for each account, and what for some."""
    assert write(path, "bob:{PLAIN}b").kinds() == Kinds(ALL, ALL)
    mixed = write(path, "bob:{PLAIN}b", f"eve:{RECORD_256}", f"mallory:{RECORD_1}")
    assert mixed.kinds() == Kinds(frozenset({Kind.PASSWORD, Kind.EXTERNAL}), ALL)
    assert write(path, f"bob:{RECORD_256}").kinds().every == {Kind.PASSWORD, Kind.EXTERNAL, Kind.SCRAM_SHA_256}
    assert write(path, "# nobody").kinds() == PASSWORDS_ONLY


def test_kinds_follow_the_file(path: Path) -> None:
    """A changed file is looked at once a second, and read in a thread; while it is away, what it said holds."""
    now = 1000.0
    write(path, "bob:{PLAIN}b")
    table = PasswdFile(path, threads=1, clock=lambda: now)
    for _ in range(2):
        assert Kind.SECRET in table.kinds().every
    path.write_text(f"bob:{RECORD_1}\n", encoding="ascii")
    os.utime(path, (1, 1))
    now += 0.9
    table.kinds()
    assert table._pool.submit(lambda: True).result()
    assert Kind.SECRET in table.kinds().every
    now += 0.1
    table.kinds()
    table._pool.shutdown()  # when it is done
    path.unlink()
    assert table.kinds().every == {Kind.PASSWORD, Kind.EXTERNAL, Kind.SCRAM_SHA_1}


def test_kinds_of_a_missing_file(path: Path) -> None:
    assert PasswdFile(path).kinds() == PASSWORDS_ONLY


class OnlyPasswords:
    """An authenticator that says nothing of itself."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        raise AuthenticationFailed


class Tokens:
    """Knows tokens only."""

    closed = 0

    async def authenticate(self, credentials: Credentials) -> Principal:
        raise AuthenticationFailed

    def kinds(self) -> Kinds:
        return Kinds(frozenset({Kind.BEARER}), frozenset({Kind.BEARER}))

    async def aclose(self) -> None:
        self.closed += 1


def test_kinds_of_a_chain(tmp_path: Path) -> None:
    """Passwords must work as one table's and the other's; tokens are for clients of another kind."""
    plain = write(tmp_path / "plain", "bob:{PLAIN}b")
    record = write(tmp_path / "record", f"eve:{RECORD_256}")
    guests = AnonymousAccess("guest")
    assert Chain([plain, record]).kinds() == Kinds(frozenset({Kind.PASSWORD, Kind.SCRAM_SHA_256, Kind.EXTERNAL}), ALL)
    assert Chain([plain, OnlyPasswords()]).kinds().every == {Kind.PASSWORD, Kind.EXTERNAL}
    assert Chain([plain, guests]).kinds() == Kinds(ALL | {Kind.ANONYMOUS}, ALL | {Kind.ANONYMOUS})


async def test_scram_records_of_a_chain(tmp_path: Path) -> None:
    """The table that has a real one is the one to ask; an invented one is the first table's."""
    first = write(tmp_path / "first", "bob:{PLAIN}b")
    second = write(tmp_path / "second", f"user:{RECORD_256}")
    chain = Chain([OnlyPasswords(), first, second])
    assert await chain.scram_record("user", Kind.SCRAM_SHA_256) == await second.scram_record("user", Kind.SCRAM_SHA_256)
    assert await chain.scram_record("x", Kind.SCRAM_SHA_256) == await first.scram_record("x", Kind.SCRAM_SHA_256)
    (tmp_path / "second").unlink()
    with pytest.raises(TemporaryFailure):
        await chain.scram_record("user", Kind.SCRAM_SHA_256)


async def test_a_chain_closes_what_can_be_closed(path: Path) -> None:
    tokens = Tokens()
    await Chain([write(path, "bob:{PLAIN}b"), tokens]).aclose()
    assert tokens.closed == 1


async def test_anonymous_access() -> None:
    """P-200: to one maildrop, to read only."""
    table = AnonymousAccess("guest@EXAMPLE.org")
    assert await table.authenticate(Anonymous("me")) == Principal("guest@example.org", read_only=True)
    assert await refuses(table, Password("guest", b"x"))


async def test_credentials_hide_their_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """P-287."""
    caplog.set_level(logging.DEBUG)
    for secret in (Password("bob", b"hunter2"), Apop("bob", b"<x>", "hunter2"), Bearer("bob", "hunter2")):
        logging.getLogger("restante").warning("%s %r", secret, [secret])

    assert "hunter2" not in caplog.text
    assert Password("bob", b"x") != Apop("bob", b"<x>", "x")
