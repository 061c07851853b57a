"""A watched folder for cameras that are plain USB storage: each file sealed at once, then taken out of the folder.

    WATCHED/<camera>/<file>        the folder's name is the camera's, as the municipality calls it

Only where the policy has this door open (`ingest.manual_import`): else every file stays where it lies, the refusal is
remembered, and nothing is read. What comes in this way was pressed by nobody we heard of: it is kept apart, under the
same term and holds. The same content twice is one recording, whatever it is called, also after its destruction.

What is proved is small and said so: the seal begins here. Who filmed, when and with what is the file's own word; its
time is the file's modification time, and before the import anybody could have changed it.
"""

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from broker.durable import sync_folder
from broker.wire.policy import Via
from broker.wire.recording import Kind
from broker.wire.refusals import Code, Refused, refuse
from cloud.intake.outside import Delivered, Door, Outside, Told
from cloud.intake.playable import Fragment, rendition

LOG: Final = logging.getLogger(__name__)

LOOKS_EVERY_S: Final = 5.0
"""A file that is the same in two looks is no longer being written."""

_READ_BYTES: Final = 1024 * 1024
_UNFINISHED: Final = (".part", ".tmp", ".crdownload", ".partial")
_STARTED, _ENDED, _NAME = "started_at", "ended_at", "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What tells that a file did not change: by the file itself, not by its name."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Seen":
        """Return it."""
        return cls(device=found.st_dev, inode=found.st_ino, size=found.st_size, modified_ns=found.st_mtime_ns)

    @property
    def modified_at(self) -> datetime:
        """When the file was last written, by the clock of whoever wrote it."""
        return datetime.fromtimestamp(self.modified_ns // 1_000_000_000, UTC)


class Importer:
    """Takes files out of one folder. `look` looks once; `run` goes on looking."""

    def __init__(self, folder: Path, outside: Outside) -> None:
        """`outside` must know IMPORT_DOOR, and run beside it."""
        self._folder, self._outside = folder, outside
        self._before: dict[Path, Seen] = {}

    async def run(self) -> NoReturn:
        """Look every few seconds for as long as the process lives."""
        while True:
            try:
                await self.look()
            except (Refused, SQLAlchemyError, OSError) as cause:
                LOG.warning("importer: %s: %s", self._folder, cause)
            await asyncio.sleep(LOOKS_EVERY_S)

    async def look(self) -> int:
        """Take in what did not change since the last look; return how many files were. Raise Refused (DISK_FULL)."""
        now = await asyncio.to_thread(_files, self._folder)
        settled = [path for path, seen in now.items() if self._before.get(path) == seen]
        self._before = now
        done = 0
        for path in settled:
            try:
                await self._outside.guard(Via.IMPORT, who="svc-import", size=now[path].size)
                done += await self._take(path, now[path])
            except FileNotFoundError:
                continue  # somebody took it away
            except Refused as refused:
                if refused.refusal.code is Code.NOT_ALLOWED:
                    return done  # and so for all the others: they stay where they lie
                raise
        return done

    async def _take(self, path: Path, seen: Seen) -> bool:
        sha256 = await asyncio.to_thread(_hash, path, seen)
        new = not await self._outside.known_content(sha256, via=Via.IMPORT)
        if new:
            await self._seal(path, seen, sha256)
        await asyncio.to_thread(_take_away, path, seen)
        LOG.info("importer: %s is %s", sha256, "in" if new else "here already")
        return new

    async def _seal(self, path: Path, seen: Seen, sha256: str) -> None:
        camera, ended_at = path.parent.name, seen.modified_at
        container = f"{camera}_{sha256}"
        init, length = await _first_of(path)
        started_at = ended_at - length
        letter = {_NAME: path.name, _STARTED: started_at.isoformat(), _ENDED: ended_at.isoformat()}
        await self._outside.put_container(container, {**letter, "camera": camera}, via=Via.IMPORT)
        async with self._outside.arriving(
            container,
            path.name,
            letter,
            starts_at=started_at,
            ends_at=ended_at,
            opening=None if init is None else (Kind.VIDEO, init),
        ) as arriving:
            if init is not None:
                async for fragment in _rest_of(path):
                    starts_at, ends_at = started_at + fragment.starts, started_at + fragment.ends
                    await arriving.seal(fragment.media, kind=Kind.VIDEO, starts_at=starts_at, ends_at=ends_at)
            fd = await asyncio.to_thread(_open, path, seen)
            try:
                while data := await asyncio.to_thread(os.read, fd, _READ_BYTES):
                    await arriving.write(data)
            finally:
                os.close(fd)
            sums = await arriving.sums()
            if sums.sha256 != sha256:
                raise refuse(Code.UNAVAILABLE, "file", expected="one that nobody is writing", got="another content")
            await arriving.keep()
        await self._outside.complete(container)


def describe(delivered: Delivered, _known: bool) -> Told:
    """Return what is known of an imported file: little, and nothing of a press."""
    letter = delivered.letter
    arrived = max((each.received_at for each in delivered.files), default=delivered.opened_at)
    ended_at = datetime.fromisoformat(letter[_ENDED]) if _ENDED in letter else arrived
    return Told(
        camera=camera_of(delivered.container, letter),
        camera_known=True,  # whoever made the folder named it
        dock=None,
        official=None,
        started_at=datetime.fromisoformat(letter[_STARTED]) if _STARTED in letter else ended_at,
        activated_at=None,
        ended_at=ended_at,
        encrypted=False,
    )


def camera_of(container: str, _letter: Mapping[str, str]) -> str:
    """Return the folder's name."""
    return container.rpartition("_")[0]


IMPORT_DOOR: Final = Door(via=Via.IMPORT, camera_of=camera_of, describe=describe)


async def _first_of(path: Path) -> tuple[bytes | None, timedelta]:
    """Return the initialisation segment and the length of a film that can be cut to its end; else nothing, and zero."""
    init, length = None, timedelta()
    try:
        async with aclosing(rendition(path)) as fragments:
            async for fragment in fragments:
                init = init or fragment.media
                length = max(length, fragment.ends)
    except ValueError as cause:
        LOG.info("importer: kept as it is, without a rendition for the rooms: %s", cause)
        return None, timedelta()
    return init, length


async def _rest_of(path: Path) -> AsyncIterator[Fragment]:
    """Yield the fragments behind the first; raise Refused (UNAVAILABLE) when this time it does not go to the end."""
    try:
        async with aclosing(rendition(path)) as fragments:
            await anext(fragments)
            async for fragment in fragments:
                yield fragment
    except ValueError as cause:
        raise refuse(Code.UNAVAILABLE, "film", expected="one that can be cut, as before", got=cause) from cause


def _files(folder: Path) -> dict[Path, Seen]:
    """Return what lies there now. Others work there too: what is renamed or taken away meanwhile is passed over."""
    found = {}
    for camera in sorted(folder.iterdir()):
        if camera.is_symlink() or not camera.is_dir() or camera.name.startswith("."):
            continue
        with suppress(FileNotFoundError):
            for path in sorted(camera.iterdir()):
                with suppress(FileNotFoundError):
                    about = path.lstat()
                    hidden = path.name.startswith(".") or path.name.lower().endswith(_UNFINISHED)
                    if stat.S_ISREG(about.st_mode) and not hidden and about.st_size:
                        found[path] = Seen.of(about)
    return found


def _open(path: Path, seen: Seen) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if Seen.of(os.fstat(fd)) != seen:
        os.close(fd)
        raise FileNotFoundError(path)
    return fd


def _hash(path: Path, seen: Seen) -> str:
    with os.fdopen(_open(path, seen), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _take_away(path: Path, seen: Seen) -> None:
    """Unlink the file that was sealed; another that took its name meanwhile stays."""
    os.close(_open(path, seen))
    path.unlink()
    sync_folder(path.parent)
