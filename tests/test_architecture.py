"""Imports point one way (docs/INTERNALS.md, "Layers"), and ``protocol/`` does not touch the world."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "restante"

# What each part may import of the others; a part may always import itself, and `restante` for its version.
ALLOWED = {
    "errors": set[str](),
    "saslprep": set[str](),
    "channel_binding": set[str](),
    "auth": {"errors"},
    "maildrop": {"auth", "errors"},
    "addressing": {"auth", "errors", "saslprep"},
    "protocol": {"maildrop", "auth", "saslprep", "errors"},
    "stores": {"maildrop", "auth", "errors", "protocol.framing", "protocol.surrogate"},
    "authenticators": {"auth", "saslprep", "errors"},
    "intake": {"protocol", "maildrop", "addressing", "errors"},
    "server": {"intake", "protocol", "maildrop", "addressing", "auth", "channel_binding", "errors"},
    "client": {"protocol", "channel_binding", "errors"},
    "config": {
        *(
            "fetch",
            "client",
            "server",
            "intake",
            "stores",
            "authenticators",
            "protocol",
            "maildrop",
            "addressing",
            "auth",
            "errors",
        )
    },
    "fetch": {"client", "maildrop", "protocol", "errors"},
    "cli": {
        *(
            "config",
            "fetch",
            "server",
            "client",
            "intake",
            "protocol",
            "maildrop",
            "addressing",
            "auth",
            "saslprep",
            "errors",
        )
    },
    "__init__": set[str](),
    "__main__": {"cli"},
}
WORLD = {"asyncio", "socket", "ssl", "os", "pathlib", "threading", "time", "select", "selectors", "subprocess", "io"}


def modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, with its line; ``from a import b`` counts as a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def wrong_imports(path: Path, part: str) -> Iterator[str]:
    for line, name in imported(path):
        place = f"{path.relative_to(SOURCE)}:{line}"
        if part == "protocol" and name.split(".")[0] in WORLD:
            yield f"{place}: protocol/ is sans-IO and must not import {name}"
        own, _, inner = name.partition(".")
        if own != "restante" or inner == "__version__":
            continue
        allowed = ALLOWED[part] | {part}
        if not any(inner == one or inner.startswith(f"{one}.") for one in allowed):
            yield f"{place}: {part} must not import {name}"


def test_imports_point_one_way() -> None:
    assert [problem for path, part in modules() for problem in wrong_imports(path, part)] == []


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("protocol", "import asyncio"),
        ("protocol", "from os import path"),
        ("protocol", "import os.path"),
        ("protocol", "from restante.server import listener"),
        ("stores", "from restante.protocol.pop3_server import Session"),
        ("server", "from restante.stores.memory import MemoryStore"),
        ("server", "import restante.config"),
        ("errors", "from restante.auth import Principal"),
        ("cli", "from restante.stores.maildir import MaildirStore"),
    ],
)
def test_the_test_sees_what_it_should(tmp_path: Path, part: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_architecture.SOURCE", tmp_path)
    path = tmp_path / "x.py"
    path.write_text(f"{line}\n", encoding="utf-8")
    assert len(list(wrong_imports(path, part))) == 1


def test_parts_are_known() -> None:
    """A new part gets a row in the table above, and so a place in the order."""
    assert {part for _, part in modules()} == set(ALLOWED)


def test_modules_stay_readable() -> None:
    """CONTRIBUTING.md: a module has one idea; more than 450 lines are two."""
    long = [path.name for path, _ in modules() if len(path.read_text(encoding="utf-8").splitlines()) > 450]
    assert long == []
