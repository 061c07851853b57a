"""Writing so that a power cut takes nothing that was promised: data synced, then a name, then the folder synced.

The name appears by `link`, which never overwrites: a file with a final name is whole, for ever, and the first one.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from broker.durable import replace, sync_folder

__all__ = ["PART", "give_names", "make_folder", "put", "replace", "sync_folder", "write_part"]

PART = ".part"
"""Suffix of a file that is being written. A reader leaves it alone; after a power cut it may hold half of something."""


def write_part(folder: Path, name: str, data: bytes) -> None:
    """Write `name`.part and sync it.

    An error leaves no part behind: what failed to sync must be written anew, a second sync would only pretend.
    """
    part = folder / (name + PART)
    part.unlink(missing_ok=True)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def give_names(folder: Path, names: Sequence[str]) -> None:
    """Give the parts these names and sync the folder once; FileExistsError rather than overwrite anything."""
    for name in names:
        os.link(folder / (name + PART), folder / name)
        (folder / (name + PART)).unlink()
    sync_folder(folder)


def put(folder: Path, name: str, data: bytes) -> None:
    """Write a new file so that it is there, whole, when this returns."""
    write_part(folder, name, data)
    give_names(folder, (name,))


def make_folder(folder: Path) -> None:
    """Make a folder (and its parents) that is still there after a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
