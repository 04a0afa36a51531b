"""Changes accounts in a passwd file."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from restante.auth import canonical_user
from restante.authenticators import schemes
from restante.authenticators.passwd_file import name_problem


class PasswdFileEditor:
    """Changes accounts in a passwd file; comments and the other lines stay as they are.

    Args:
        path: the file; it is made if it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()  # a symbolic link stays one

    def add(self, user: str, password: bytes, scheme: str = schemes.NEW_SCHEMES[0]) -> None:
        """Add an account.

        Raises:
            ValueError: there is one with that name already, or the name cannot be one.
            OSError: the file cannot be written.
        """
        user = canonical_user(user)
        if problem := name_problem(user):
            raise ValueError(problem)
        with self._locked() as lines:
            if self._find(lines, user) is not None:
                raise ValueError(f"{user} exists already; `restante user passwd {user}` changes the password")
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(f"{user}:{schemes.make(password, scheme)}\n")

    def set_password(self, user: str, password: bytes, scheme: str = schemes.NEW_SCHEMES[0]) -> None:
        """Change a password.

        Raises:
            LookupError: no such account.
            OSError: the file cannot be written.
        """
        user = canonical_user(user)
        with self._locked() as lines:
            index = self._index(lines, user)
            fields = lines[index].rstrip("\r\n").split(":")
            fields[1:2] = [schemes.make(password, scheme)]
            lines[index] = ":".join(fields) + "\n"

    def remove(self, user: str) -> None:
        """Remove an account; its mail stays.

        Raises:
            LookupError: no such account.
            OSError: the file cannot be written.
        """
        user = canonical_user(user)
        with self._locked() as lines:
            self._index(lines, user)
            # All lines of that name: a second one is not used now, but would be when the first has gone.
            lines[:] = [line for line in lines if self._find([line], user) is None]

    def _index(self, lines: list[str], user: str) -> int:
        index = self._find(lines, user)
        if index is None:
            raise LookupError(f"there is no account {user} in {self._path}")
        return index

    def _find(self, lines: list[str], user: str) -> int | None:
        for index, line in enumerate(lines):
            if line.strip() and not line.startswith("#") and canonical_user(line.partition(":")[0].strip()) == user:
                return index
        return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[list[str]]:
        """Give the lines to be changed, then replace the file by them: whole, durable, with its old permissions."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # two editors at once: one after the other
            lines = self._read()
            yield lines
            self._replace(lines)
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read(self) -> list[str]:
        try:
            # newline="\n": nothing else ends a line, and nothing is translated
            with self._path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                return file.readlines()
        except FileNotFoundError:
            return []

    def _replace(self, lines: list[str]) -> None:
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                with contextlib.suppress(FileNotFoundError):
                    status = self._path.stat()
                    os.fchmod(descriptor, status.st_mode & 0o777)
                    with contextlib.suppress(PermissionError):
                        os.fchown(descriptor, status.st_uid, status.st_gid)
                file.writelines(lines)
                file.flush()
                os.fsync(descriptor)
            aside.replace(self._path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
