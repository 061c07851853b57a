"""Which cameras are in the bays: a folder with one entry for each bay, a link or mount when a camera is in it."""

import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import watchfiles

LOG: Final = logging.getLogger(__name__)

LOOK_AGAIN_MS: Final = 2000
"""Also without news from the file system: mounts and network folders do not always tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """What is in a bay. A camera that was taken out and put back is another occupant only if its card is another."""

    bay: int
    path: Path
    device: int
    inode: int


def occupants(bays: Path) -> frozenset[Occupant]:
    """Return what is in the bays now. Only entries named by a number are bays; a dangling link is an empty one."""
    found = set()
    for entry in os.scandir(bays):
        if not entry.name.isdecimal():
            continue
        try:
            folder = Path(entry).stat()
            if not (Path(entry) / "card.json").is_file():
                continue
        except OSError:
            continue  # taken out at this very moment
        found.add(Occupant(bay=int(entry.name), path=Path(entry.path), device=folder.st_dev, inode=folder.st_ino))
    return frozenset(found)


async def watch(bays: Path) -> AsyncIterator[frozenset[Occupant]]:
    """Yield the occupants at first and whenever they are others; never ends. Raise FileNotFoundError without folder."""
    before = occupants(bays)
    yield before
    async for _ in watchfiles.awatch(
        bays, recursive=False, step=20, debounce=100, rust_timeout=LOOK_AGAIN_MS, yield_on_timeout=True
    ):
        now = occupants(bays)
        if now != before:
            before = now
            yield now
