"""Docking stations as a camera meets them: a folder of bays; a camera in a bay is a link to its card."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path


class NoBayFree(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """Every bay of every station is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bay:
    """One place in a station, numbered from 1."""

    dock: str
    number: int
    link: Path


class Stations:
    """The stations a fleet can use. Each is a folder ``<dock>/bays``; a docked camera is a link ``<number>`` in it."""

    def __init__(self, folder: Path, *, bays: int) -> None:
        self._folder = folder
        self._bays = bays
        self._moving = threading.Lock()

    def where(self, card: Path) -> Bay | None:
        """Return the bay in which this card is, or None."""
        for bay in self._all():
            if bay.link.is_symlink() and bay.link.resolve() == card.resolve():
                return bay
        return None

    def put(self, card: Path) -> Bay:
        """Place the card in the first free bay, in one step, so that a bay holds one card; raise NoBayFree, OSError."""
        with self._moving:
            already = self.where(card)
            if already is not None:
                return already
            for bay in self._all():
                try:
                    bay.link.symlink_to(os.path.relpath(card.resolve(), bay.link.parent.resolve()))
                except FileExistsError:
                    continue
                return bay
        raise NoBayFree(f"{self._folder}: no bay is free; add a station or take a camera out")

    def take(self, card: Path) -> Bay | None:
        """Take the card out of its bay; return which one it was. Raise OSError."""
        with self._moving:
            bay = self.where(card)
            if bay is not None:
                bay.link.unlink(missing_ok=True)  # somebody may have pulled it out by hand
            return bay

    def _all(self) -> list[Bay]:
        return [
            Bay(dock=station.parent.name, number=number, link=station / f"{number:02}")
            for station in sorted(self._folder.glob("*/bays"))
            for number in range(1, self._bays + 1)
        ]
