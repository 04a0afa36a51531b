"""Several user tables, asked in order."""

from pathlib import Path

import pytest

from restante.auth import Authenticator, Password, Principal
from restante.authenticators.chain import Chain
from restante.authenticators.passwd_file import PasswdFile
from restante.errors import AuthenticationFailed, TemporaryFailure


def table(path: Path, text: str) -> Authenticator:
    path.write_text(text, encoding="ascii")
    return PasswdFile(path, threads=1)


@pytest.fixture
def first(tmp_path: Path) -> Authenticator:
    return table(tmp_path / "first", "alice:{PLAIN}a\nboth:{PLAIN}one\n")


@pytest.fixture
def second(tmp_path: Path) -> Authenticator:
    return table(tmp_path / "second", "bob:{PLAIN}b\nboth:{PLAIN}two\n")


@pytest.mark.parametrize(("user", "password"), [("alice", b"a"), ("bob", b"b"), ("both", b"one"), ("both", b"two")])
async def test_every_table_may_know_the_user(
    first: Authenticator, second: Authenticator, user: str, password: bytes
) -> None:
    """A refusal is not the end: the next table is asked, also about a name that both have."""
    assert await Chain([first, second]).authenticate(Password(user, password)) == Principal(user)


async def test_all_refuse(first: Authenticator, second: Authenticator) -> None:
    """P-039: the same refusal for a name that the first, the second or no table has."""
    for user in ("alice", "bob", "nobody"):
        with pytest.raises(AuthenticationFailed):
            await Chain([first, second]).authenticate(Password(user, b"wrong"))


async def test_a_table_out_of_reach_ends_the_search(
    first: Authenticator, second: Authenticator, tmp_path: Path
) -> None:
    """Another user of that name in a later table must not get in while the earlier one is away."""
    missing = PasswdFile(tmp_path / "missing", threads=1)
    chain = Chain([first, missing, second])
    assert await chain.authenticate(Password("alice", b"a")) == Principal("alice")
    with pytest.raises(TemporaryFailure):
        await chain.authenticate(Password("bob", b"b"))


async def test_no_table_lets_nobody_in() -> None:
    with pytest.raises(AuthenticationFailed):
        await Chain([]).authenticate(Password("bob", b"b"))
