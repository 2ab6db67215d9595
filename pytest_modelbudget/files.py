"""Files that are whole or not there: written beside their place and moved into it. Pure: no torch, no pytest."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PATIENCE = 30.0
"""Seconds to wait for another process; a million entries take a few."""


def write(path: Path, text: Iterable[str]) -> None:
    """Replace a file as a whole: who reads it meanwhile, or after a crash, sees the old one or the new one.

    Args:
        path: where; directories are made. What is no regular file, like `/dev/stdout`, is written to.
        text: in pieces.

    Raises:
        OSError: the file is as it was.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as stream:
            stream.writelines(text)
        return
    path = Path(os.path.realpath(path))  # the file that a link points to, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, uuid.uuid4().hex)  # a process id may be another container's, too
    try:
        # tempfile makes files that nobody else may read.
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            stream.writelines(text)
            stream.flush()
            os.fsync(stream.fileno())  # some file systems move the name before they write the data
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Read and rewrite a file while others who ask for it wait; the lock ends with the process, however that ends.

    Raises:
        TimeoutError: another process keeps it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once may lose each other's changes, but never the file
        yield
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The directory, since the file itself is replaced, and a lock file would have to be ignored by every project.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"another process has been writing beside {path} for {_PATIENCE:.0f} s"
                    ) from None
                time.sleep(0.02)
            except OSError:  # some network file systems have no locks
                yield
                return
        for leftover in path.parent.glob(_beside(path, "*").name):  # of a process that was killed
            with contextlib.suppress(OSError):
                leftover.unlink()
        yield
    finally:
        os.close(descriptor)


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f".{path.name}.{name}.tmp")
