"""Footage for many simulated cameras: encoded once, shared in memory, made each camera's own by patching bytes.

A loop is an initialisation segment (ftyp + moov) and one fragment (moof + mdat, one closed group of pictures, 1 s) per
second. Per camera three things are overwritten in a copy: the fragment's number (mfhd), the decode times (tfdt) and
the text of an SEI message that names the camera, the time and that this is a simulation. Nothing here needs OpenCV or
PyAV; `edge/filming.py` does, in a process of its own, and only when the library is not there yet.
"""

import asyncio
import contextlib
import hashlib
import logging
import shutil
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec

from edge.pulse import Pulse

LOG: Final = logging.getLogger(__name__)

SEI_MARK: Final = bytes.fromhex("6f1f2f0e5a4b4c6e9b7d3d5b7c9e1a2f")
"""UUID of our user_data_unregistered SEI message; the text follows it."""

SEI_TEXT_BYTES: Final = 96
"""Fixed, and ASCII only: no emulation prevention bytes, so no size of the fragment ever changes."""

WIDTH, HEIGHT, FPS = 640, 360, 15
"""Of all simulated footage: small enough for fifty cameras on one laptop."""

MOST_LIVE_BYTES: Final = 8 * 1024 * 1024
"""A second of film is never longer."""

LIBRARY_FORMAT: Final = 3
"""Part of the library's key: raise it when the drawing or the encoding changes."""

ENCODING_LIMIT_S: Final = 600.0
"""Longer than encoding a minute of film takes on a busy single core; beyond it something hangs."""


FILMING: Final = (sys.executable, "-m", "edge.filming")
"""The program that draws, reads and encodes."""


class FootageProblem(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """There is no footage to film with; the message says why and what to do, in one sentence."""


@dataclass(frozen=True, slots=True)
class Template:
    """One second of footage before it is anybody's: bytes, where to patch, and the loop-relative decode times."""

    raw: bytes = field(repr=False)
    number_at: int
    decode_times: tuple[tuple[int, int, int], ...]  # (offset, timescale, decode time since the loop's second began)
    text_at: int

    @classmethod
    def read(cls, raw: bytes, *, timescales: dict[int, int], second: int) -> "Template":
        """Find the patch points of the fragment that is second `second` of its loop; raise FootageProblem."""
        number_at, found = _patch_points(raw)
        text_at = raw.find(SEI_MARK)
        if number_at is None or not found or text_at < 0:
            raise FootageProblem(
                "the footage library holds a fragment of another form: remove its folder and try again"
            )
        return cls(
            raw=raw,
            number_at=number_at,
            decode_times=tuple(
                (at, timescales[track], struct.unpack_from(">Q", raw, at)[0] - second * timescales[track])
                for track, at in found
            ),
            text_at=text_at + len(SEI_MARK),
        )

    def render(self, *, second: int, camera: str, starts_at: datetime, counter: int) -> bytes:
        """Return this second as second `second` (from 0) of a recording by `camera`."""
        out = bytearray(self.raw)
        struct.pack_into(">I", out, self.number_at, second + 1)
        for at, timescale, offset in self.decode_times:
            struct.pack_into(">Q", out, at, second * timescale + max(offset, 0))
        text = f"{camera}|{starts_at.isoformat(timespec='milliseconds')}|{counter}|SIMULATIE"
        out[self.text_at : self.text_at + SEI_TEXT_BYTES] = text.encode("ascii")[:SEI_TEXT_BYTES].ljust(
            SEI_TEXT_BYTES, b"."
        )
        return bytes(out)


class Film(Protocol):
    """Something a camera can point at."""

    @property
    def init(self) -> bytes:
        """The initialisation segment: ftyp and moov."""
        ...

    def second(self, number: int) -> Template | None:
        """Return what is seen in this second, or None when nothing came from the lens."""
        ...


class Source(Protocol):
    """Where cameras get something to point at."""

    async def of(self, number: int, *, sound: bool) -> Film:
        """Return the film for the camera with this number; raise FootageProblem."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """A recorded film that starts again when it ends."""

    init: bytes = field(repr=False)
    seconds: tuple[Template, ...] = field(repr=False)

    def second(self, number: int) -> Template | None:
        """Return what is seen in this second."""
        return self.seconds[number % len(self.seconds)]


def read_loop(init: bytes, fragments: Sequence[bytes]) -> Loop:
    """Return the loop of these fragments, one second each; raise FootageProblem."""
    timescales = track_timescales(init)
    return Loop(
        init=init,
        seconds=tuple(Template.read(raw, timescales=timescales, second=at) for at, raw in enumerate(fragments)),
    )


class _Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: str
    sound: bool
    seconds: tuple[int, ...]  # of each loop


async def library(source: str | None, *, sound: bool, cache: Path) -> tuple[Loop, ...]:
    """Return the loops of this source, encoding them once if `cache` does not hold them; raise FootageProblem.

    `source`: a video file's path, or None for the drawn street. A file is known by its size and time of change.
    """
    folder = cache / _key(source, sound=sound)
    if not (folder / "manifest.json").exists():
        await _encode(source, sound=sound, folder=folder)
    return await asyncio.to_thread(_load, folder)


def _key(source: str | None, *, sound: bool) -> str:
    if source is None:
        of = "street"
    else:
        path = Path(source)
        if not path.is_file():
            raise FootageProblem(f"--footage {source}: there is no such file; give a video file or leave it out")
        of = f"{path.resolve()}|{path.stat().st_size}|{path.stat().st_mtime_ns}"
    text = f"{LIBRARY_FORMAT}|{of}|{WIDTH}x{HEIGHT}@{FPS}|{sound}"
    return f"{'street' if source is None else 'film'}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


async def _encode(source: str | None, *, sound: bool, folder: Path) -> None:
    """Let a process of its own draw or read and encode; the folder appears whole or not at all."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    words = [*FILMING, str(building), "--sound" if sound else "--silent"]
    process = await asyncio.create_subprocess_exec(
        *words, *([] if source is None else ["--film", source]), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(ENCODING_LIMIT_S):
            _, said = await process.communicate()
    except TimeoutError as cause:
        raise FootageProblem(f"encoding the footage took longer than {ENCODING_LIMIT_S:.0f} s: try again") from cause
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines() or ["the encoder stopped without a word"]
        raise FootageProblem(lines[-1])
    try:
        building.rename(folder)
    except OSError:
        if not (folder / "manifest.json").exists():
            raise
        shutil.rmtree(building, ignore_errors=True)  # another process was first; its library is the same


def write_loops(folder: Path, loops: Sequence[tuple[bytes, Sequence[bytes]]], *, source: str, sound: bool) -> None:
    """Write an encoded library: per loop the initialisation segment and its fragments, then the manifest."""
    for number, (init, fragments) in enumerate(loops):
        loop = folder / f"{number:02}"
        loop.mkdir(parents=True)
        (loop / "init.mp4").write_bytes(init)
        for second, raw in enumerate(fragments):
            (loop / f"{second:04}.m4s").write_bytes(raw)
    manifest = _Manifest(source=source, sound=sound, seconds=tuple(len(fragments) for _, fragments in loops))
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))


def _load(folder: Path) -> tuple[Loop, ...]:
    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=_Manifest)
        return tuple(
            read_loop(
                (folder / f"{number:02}" / "init.mp4").read_bytes(),
                [(folder / f"{number:02}" / f"{second:04}.m4s").read_bytes() for second in range(seconds)],
            )
            for number, seconds in enumerate(manifest.seconds)
        )
    except (OSError, msgspec.DecodeError) as cause:
        raise FootageProblem(f"the footage library in {folder} is damaged: remove that folder and try again") from cause


class Films:
    """The loops a fleet shares: silent ones, and with sound once some municipality's settings ask for it."""

    def __init__(self, source: str | None, *, cache: Path) -> None:
        self._source = source
        self._cache = cache
        self._loops: dict[bool, tuple[Loop, ...]] = {}
        self._lock = asyncio.Lock()

    def check(self) -> None:
        """Raise FootageProblem when there is no such film."""
        _key(self._source, sound=False)

    async def of(self, number: int, *, sound: bool) -> Film:
        """Return the film for the camera with this number; raise FootageProblem."""
        async with self._lock:
            if sound not in self._loops:
                self._loops[sound] = await library(self._source, sound=sound, cache=self._cache)
        loops = self._loops[sound]
        return loops[number % len(loops)]


class LiveFilms:
    """A webcam that all cameras of the fleet look through. Silent: nobody here agreed to be heard."""

    STALE_S: Final = 3.0
    """Device time after which the last second is not shown as new any more: then there is a gap."""

    START_S: Final = 60.0
    """Wall time within which a webcam must give its first picture; one that is not there is known at once."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._init = b""
        self._newest: Template | None = None
        self._came_at = 0.0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, webcam: str, *, pulse: Pulse, program: Sequence[str] = FILMING) -> AsyncIterator["LiveFilms"]:
        """Look through this webcam (a number, or what OpenCV opens); raise FootageProblem when nothing is seen."""
        words = [*program, "--webcam", webcam]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=MOST_LIVE_BYTES
        )
        films = cls(pulse)
        try:
            async with asyncio.TaskGroup() as group:
                await films._begin(process)
                looking = group.create_task(films._look(process), name="edge.webcam")
                yield films
                looking.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def of(self, number: int, *, sound: bool) -> Film:
        """Return the one film there is."""
        del number, sound
        return self

    @property
    def init(self) -> bytes:
        """The initialisation segment."""
        return self._init

    def second(self, number: int) -> Template | None:
        """Return the newest second, or None when the webcam has stopped."""
        del number
        return self._newest if self._pulse() - self._came_at <= self.STALE_S * max(1.0, self._pulse.rate) else None

    async def _begin(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self.START_S):
                self._init = await _piece(process)
        except (TimeoutError, asyncio.IncompleteReadError) as cause:
            said = b""
            if process.returncode is None:
                process.terminate()
            if process.stderr is not None:
                said = await process.stderr.read()
            lines = said.decode(errors="replace").strip().splitlines()
            raise FootageProblem(lines[-1] if lines else "the webcam gives no picture") from cause

    async def _look(self, process: asyncio.subprocess.Process) -> None:
        timescales, second = track_timescales(self._init), 0
        while True:
            try:
                raw = await _piece(process)
            except asyncio.IncompleteReadError:
                LOG.warning("the webcam stopped; the cameras see nothing from now on")
                return
            self._newest = Template.read(raw, timescales=timescales, second=second)
            self._came_at = self._pulse()
            second += 1


async def _piece(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    size = int.from_bytes(await process.stdout.readexactly(4), "big")
    return await process.stdout.readexactly(size)


# --- MP4 boxes --------------------------------------------------------------------------------------------------


def track_timescales(init: bytes) -> dict[int, int]:
    """Return each track's timescale by track id; raise FootageProblem where the file has none."""
    found: dict[int, int] = {}
    track: int | None = None
    for kind, begin, _ in _boxes(init, 0, len(init), inside=(b"moov", b"trak", b"mdia")):
        if kind == b"tkhd":
            track = struct.unpack_from(">I", init, begin + (20 if init[begin + 8] else 12) + 8)[0]
        elif kind == b"mdhd" and track is not None:
            found[track] = struct.unpack_from(">I", init, begin + (20 if init[begin + 8] else 12) + 8)[0]
    if not found:
        raise FootageProblem("the footage has no track that can be played")
    return found


def _patch_points(raw: bytes) -> tuple[int | None, list[tuple[int, int]]]:
    """Return (offset of the fragment's number, [(track, offset of its 64-bit decode time)])."""
    number_at: int | None = None
    found: list[tuple[int, int]] = []
    track = 0
    for kind, begin, _ in _boxes(raw, 0, len(raw), inside=(b"moof", b"traf")):
        if kind == b"mfhd":
            number_at = begin + 12
        elif kind == b"tfhd":
            track = struct.unpack_from(">I", raw, begin + 12)[0]
        elif kind == b"tfdt" and raw[begin + 8] == 1:
            found.append((track, begin + 12))
    return number_at, found


def _boxes(raw: bytes, begin: int, end: int, *, inside: tuple[bytes, ...]) -> list[tuple[bytes, int, int]]:
    """Return (type, begin, end) of each box, going into those named."""
    found: list[tuple[bytes, int, int]] = []
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", raw, begin)
        if size < 8 or begin + size > end:
            break
        found.append((kind, begin, begin + size))
        if kind in inside:
            found.extend(_boxes(raw, begin + 8, begin + size, inside=inside))
        begin += size
    return found
