"""Writing a file anew so that a power cut leaves the old one or the new one, whole: for camera and dock alike."""

import contextlib
import os
from pathlib import Path
from typing import Final

_PART: Final = ".part"


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Let `path` hold `content`, whole or not at all, durably. An old file stays until the new one is on disk.

    For one writer at a time. An error leaves no part behind: what failed to sync must be written anew, a second sync
    would only pretend.
    """
    part = path.with_name(f".{path.name}{_PART}")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        part.rename(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise
    sync_folder(path.parent)


def clean(path: Path) -> None:
    """Remove what a crash left of a `replace`."""
    path.with_name(f".{path.name}{_PART}").unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
