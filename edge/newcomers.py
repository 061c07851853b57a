"""New cameras of a fleet: in a bay with a code on the display until a coordinator confirms them, then like the others.

A folder without an enrolment among the cameras is a camera out of its box: ``mkdir cameras/new-1`` unpacks one.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from edge.joining import DISPLAY, NewCamera
from edge.stations import NoBayFree, Stations
from edge.threads import Threads

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""Wall time between looks for a new folder, or for an answer in the bay."""

NEW_CODE_S: Final = 25 * 60.0
"""Wall time after which a camera shows a new code: the desk takes none that is older than half an hour."""


class Newcomers:
    """The cameras of one fleet that nobody has enrolled yet."""

    def __init__(
        self, cameras: Path, *, stations: Stations, threads: Threads, switch_on: Callable[[Path], None]
    ) -> None:
        """`switch_on` gets the folder of each camera that has joined, once."""
        self._cameras = cameras
        self._stations = stations
        self._threads = threads
        self._switch_on = switch_on
        self._waiting: dict[Path, tuple[NewCamera, float]] = {}

    async def run(self) -> NoReturn:
        """Look for ever."""
        await self._threads(self._finish_joined)
        while True:
            for folder in await self._threads(unenrolled, self._cameras):
                try:
                    await self._look_at(folder)
                except (OSError, NoBayFree) as cause:  # the others go on; this one is looked at again
                    LOG.warning("new camera in %s: %s", folder.name, cause)
            await asyncio.sleep(LOOK_S)

    async def _look_at(self, folder: Path) -> None:
        now = asyncio.get_running_loop().time()
        if folder not in self._waiting:
            camera = await self._threads(NewCamera, folder)
            await self._threads(self._stations.put, camera.card)
            self._waiting[folder] = (camera, now)
            LOG.info("new camera in %s: in a bay; the code stands in its %s", folder.name, DISPLAY)
        camera, since = self._waiting[folder]
        refused = await self._threads(camera.look)
        if refused is not None:
            LOG.warning("new camera in %s: an answer was not believed: %s", folder.name, refused)
        if camera.enrolled:
            del self._waiting[folder]
            self._switch_on(folder)
        elif now - since > NEW_CODE_S:
            await self._threads(camera.start_again)
            self._waiting[folder] = (camera, now)

    def _finish_joined(self) -> None:
        """Tidy up after a camera that was cut off between its joining and its first life."""
        for folder in _folders(self._cameras):
            if (folder / DISPLAY).exists():
                NewCamera(folder)


def unenrolled(cameras: Path) -> list[Path]:
    """Return the folders of cameras that nobody has enrolled yet."""
    return [folder for folder in _folders(cameras) if not (folder / "device" / "enrolment.json").exists()]


def _folders(cameras: Path) -> list[Path]:
    return sorted(folder for folder in cameras.iterdir() if folder.is_dir() and not folder.name.startswith("."))
