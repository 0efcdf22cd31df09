"""``rmqtt passwd``: users of a password file. No password is taken from the command line, where all could read it."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rmqtt._rmqtt import hash_password

if TYPE_CHECKING:
    from collections.abc import Iterator


def passwd(file: Path, user: str, *, delete: bool) -> str:
    """Add, change or delete a user, and say what was done.

    The file is replaced as a whole, so that nobody reads half of it; only its owner can read it then. Who changes it at
    the same time waits.
    """
    if not user or ":" in user or user.startswith("#") or any(not c.isprintable() for c in user):
        raise ValueError("a user's name must be printable, without a colon, and not begin with #")
    hashed = None if delete else hash_password(_password())
    # What it points to is changed, and not a link put in its place.
    path = file.resolve()
    with _locked(path) as lines:
        mine = [at for at, line in enumerate(lines) if line.partition(b":")[0] == user.encode()]
        if len(mine) > 1:
            raise ValueError(f"line {mine[1] + 1} of {path}: the user is there twice")
        if hashed is None:
            if not mine:
                raise ValueError(f"{path} has no user {user!r}")
            del lines[mine[0]]
            done = "deleted"
        elif mine:
            lines[mine[0]] = f"{user}:{hashed}".encode()
            done = "changed"
        else:
            lines.append(f"{user}:{hashed}".encode())
            done = "added"
        _replace(path, b"".join(line + b"\n" for line in lines))
    return f"user {user!r} {done}"


def _password() -> bytes:
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        raise ValueError("the two passwords differ")
    return password.encode()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[list[bytes]]:
    """Hold the file, and give its lines; a new one is empty, and gone again when it is not filled."""
    is_new = not path.exists()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(descriptor, "rb") as held:
            if sys.platform != "win32":
                import fcntl  # noqa: PLC0415 - not everywhere

                fcntl.flock(held, fcntl.LOCK_EX)
            if not _is_same(path, held.fileno()):
                # It was replaced while we waited.
                continue
            try:
                yield [line.rstrip(b"\r") for line in held.read().splitlines()]
            except BaseException:
                if is_new and os.fstat(held.fileno()).st_size == 0:
                    path.unlink()
                raise
            return


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _replace(path: Path, content: bytes) -> None:
    before = path.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".passwd-")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o600)
        if sys.platform != "win32":
            # A broker that runs as another user has to go on reading its file.
            with contextlib.suppress(PermissionError):
                os.chown(draft, before.st_uid, before.st_gid)
        draft.replace(path)
    except BaseException:
        draft.unlink()
        raise
