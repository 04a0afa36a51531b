"""`[store]` with `kind = "mbox"`."""

import asyncio
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.stores.mbox import MboxStore
from tests.config.test_configuration import change, mistake, read

MBOX = change('kind = "maildir"\npath = "mail/{user}"', 'kind = "mbox"\npath = "mail/{user}"')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restante.toml"


async def deliver(store: MboxStore, octets: bytes) -> bytes:
    """Deliver, and read what a session shows."""
    async with store.deliver("bob") as delivery:
        await delivery.write(octets)
        await delivery.commit()
    maildrop = await store.open(Principal("bob"))
    file = await maildrop.retrieve(1)
    octets = file.read()
    file.close()
    await maildrop.close()
    return octets


@pytest.mark.parametrize(
    ("lines", "shown", "files"),
    [
        ("", b"From x\n", ["mail/.restante/bob.session"]),
        ('format = "mboxo"\n', b">From x\n", ["mail/.restante/bob.session"]),
        ('index = "ours"\ndotlock = false\n', b"From x\n", ["ours/bob.session"]),
    ],
)
def test_what_the_keys_mean(path: Path, lines: str, shown: bytes, files: list[str]) -> None:
    store = read(path, MBOX + lines).store
    assert isinstance(store, MboxStore)
    (path.parent / "mail").mkdir()
    if "dotlock" in lines:
        (path.parent / "mail" / "bob.lock").write_bytes(b"")
    assert asyncio.run(deliver(store, b"From x\n")) == shown
    assert all((path.parent / one).exists() for one in files)
    assert (path.parent / "mail" / "bob").is_file()


def test_must_exist(path: Path) -> None:
    store = read(path, MBOX + 'must_exist = "mail/.mounted"\n').store
    (path.parent / "mail").mkdir()
    with pytest.raises(Exception, match="is the file system mounted"):
        asyncio.run(store.open(Principal("bob")))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MBOX + 'format = "mboxcl" # HERE\n', 'format: "mboxcl" is not known; right are'),
        (MBOX + 'dotlock = "yes" # HERE\n', 'dotlock: Expected "bool", got "str"'),
        (MBOX + 'index = "x/{user}" # HERE\n', "index: is one folder for all users"),
        (MBOX + 'undo = "7d" # HERE\n', 'unknown key "undo"'),
        (MBOX.replace('"mail/{user}"', '"mail" # HERE'), "path: without {user} or {local} all users share"),
        (MBOX.replace('"mail/{user}"', '"mail/{name}" # HERE'), "path: {name} stands for nothing"),
    ],
)
def test_mistakes(path: Path, text: str, problem: str) -> None:
    assert mistake(path, text).startswith(problem)
