"""A copy of the program that every user of the machine may run, as one that is installed."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.catalogue import ROOT
from tests.interop.program import IN_CI, TIMEOUT


def install(folder: Path) -> Path:
    """Copy Restante and what it needs; returns the command.

    Args:
        folder: that everybody may enter.
    """
    python = _python()
    library = folder / "lib"
    shutil.copytree(ROOT / "src/restante", library / "restante", ignore=shutil.ignore_patterns("__pycache__"))
    for distribution in _needed("restante", {}):
        for file in distribution.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (library / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), library / file)
    command = folder / "restante"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={library} exec {python} -m restante "$@"\n', encoding="ascii")
    command.chmod(0o755)
    return command


def _python() -> str:
    """Return an interpreter of our version that everybody may run: some are in the home of their owner."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            subprocess.run([candidate, "-c", ""], user="nobody", check=True, timeout=TIMEOUT)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    message = f"no {name} here that every user may run"
    if IN_CI:
        pytest.fail(message)
    pytest.skip(message)


def _needed(name: str, seen: dict[str, importlib.metadata.Distribution]) -> "Iterator[importlib.metadata.Distribution]":
    """Give what a distribution needs, and what that needs; not the distribution itself where it is Restante."""
    for requirement in importlib.metadata.requires(name) or ():
        match = re.match(r"[\w.-]+", requirement)
        assert match is not None
        if "extra ==" in requirement or match[0].lower() in seen:
            continue
        try:
            found = importlib.metadata.distribution(match[0])
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        seen[match[0].lower()] = found
        yield found
        yield from _needed(match[0], seen)
