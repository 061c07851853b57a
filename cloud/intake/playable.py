"""Makes a rendition that a room can play of a film from elsewhere: the same pictures, cut at their key frames.

Run as ``python -I -m cloud.intake.playable FILE``, a process of its own: the film is a stranger's and libraries that
read films have had holes. It opens the file, gives up what it does not need, copies packets and writes frames on
standard output: a length of four bytes, the start and the end in microseconds of the film's own time (eight bytes
each), and the bytes. The first frame is the initialisation segment, with the film's length as end. Pictures are never
encoded again; sound only where a browser would be silent (PCM, A-law, a transport stream's AAC).
Exit status 1 and no promise about what came before: this is not a film that can be cut. The file itself is evidence
either way, and is kept untouched.
"""

import asyncio
import resource
import struct
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from broker.wire.recording import MAX_PLAINTEXT_BYTES

FRAME: Final = struct.Struct(">Iqq")

MEMORY_BYTES: Final = 2 * 1024**3
CPU_S: Final = 600
ANSWERS_WITHIN_S: Final = 60.0

_COPIED_SOUND: Final = frozenset({"aac", "mp3", "opus"})
_SAYS_ITS_FORM: Final = frozenset({"mp3"})  # in each packet; the others say it once, in front of all
_RATE: Final = 48_000

_EARLY: Final = 512
"""Packets of sound that may lie in front of the first picture; of more, the first are left out."""
_FRAGMENTS: Final = "frag_keyframe+empty_moov+default_base_moof"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A part of the rendition; times from the film's beginning."""

    starts: timedelta
    ends: timedelta
    media: bytes = field(repr=False)


async def rendition(path: Path) -> AsyncGenerator[Fragment, None]:
    """Yield the initialisation segment (its end is the film's length), then the fragments; ValueError: no such film.

    What was yielded before the ValueError is worth nothing.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "cloud.intake.playable",
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"LC_ALL": "C.UTF-8"},
        cwd="/",
    )
    assert process.stdout is not None
    try:
        while True:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                prefix = await process.stdout.read(FRAME.size)
                if not prefix:
                    break
                prefix += await process.stdout.readexactly(FRAME.size - len(prefix))
                length, starts_us, ends_us = FRAME.unpack(prefix)
                if length > MAX_PLAINTEXT_BYTES:
                    raise ValueError(f"fragment: expected at most {MAX_PLAINTEXT_BYTES} bytes, got {length}")
                media = await process.stdout.readexactly(length)
            yield Fragment(starts=timedelta(microseconds=starts_us), ends=timedelta(microseconds=ends_us), media=media)
        if await process.wait() != 0:
            raise ValueError("film: expected one that can be cut at its key frames")
    except (TimeoutError, asyncio.IncompleteReadError) as cause:
        raise ValueError("film: its reader gave up") from cause
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class _Cutter:
    """Takes what the muxer writes and gives out whole fragments, each with the time of its key frame."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.length = 0
        self._waiting = bytearray()
        self._init = bytearray()
        self._moof = b""
        self._given = 0

    def write(self, data: bytes) -> int:
        """Be a file to the muxer."""
        self._waiting += data
        while (box := self._box()) is not None:
            kind = box[4:8]
            if kind in (b"ftyp", b"moov"):
                self._init += box
                if kind == b"moov":
                    _give(bytes(self._init), 0, self.length)
            elif kind == b"moof":
                self._moof = box
            elif kind == b"mdat":
                starts = self.keys[self._given]
                ends = self.keys[self._given + 1] if self._given + 1 < len(self.keys) else self.length
                _give(self._moof + box, starts, max(starts, ends))
                self._given += 1
        return len(data)

    def _box(self) -> bytes | None:
        if len(self._waiting) < 8:
            return None
        size = int.from_bytes(self._waiting[:4], "big")
        if not 8 <= size <= MAX_PLAINTEXT_BYTES:
            raise ValueError(f"box: expected 8 to {MAX_PLAINTEXT_BYTES} bytes, got {size}")
        if len(self._waiting) < size:
            return None
        box = bytes(self._waiting[:size])
        del self._waiting[:size]
        return box


def cut(path: str) -> None:
    """Write the rendition of this film on standard output; raise av.FFmpegError, ValueError, IndexError."""
    import av  # here, so that nobody who waits for a rendition loads it

    cutter: Any = _Cutter()
    with av.open(path) as source:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        video: Any = source.streams.video[0]
        audio: Any = source.streams.audio
        streams = [each for each in audio if each.codec_context is not None and each.rate]
        copied: Any = next((each for each in streams if _can_be_copied(each)), None)
        sound: Any = copied or next(iter(streams), None)
        cutter.length = int(source.duration or 0)  # microseconds
        options = {"movflags": _FRAGMENTS, "video_track_timescale": str(video.time_base.denominator)}
        with av.open(cutter, "w", format="mp4", options=options) as out:
            shown = out.add_stream_from_template(video)
            voice: Any = None if sound is None else (_Encoder if copied is None else _Copier)(sound, out)
            begin: int | None = None
            early: deque[Any] = deque(maxlen=_EARLY)
            packet: Any
            for packet in source.demux([each for each in (video, sound) if each is not None]):
                if packet.dts is None:
                    continue
                if packet.stream is not video:
                    early.append(packet)
                else:
                    moment = _moment(packet)
                    begin = moment if begin is None else begin
                    if packet.is_keyframe:
                        cutter.keys.append(max(moment - begin, 0))
                    cutter.length = max(cutter.length, moment - begin)
                    packet.stream = shown
                    out.mux(packet)
                while voice is not None and begin is not None and early:
                    heard = early.popleft()
                    if _moment(heard) >= begin:  # sound before the first picture belongs to no fragment
                        out.mux(list(voice.take(heard)))
            if voice is not None:
                out.mux(list(voice.rest()))


def _moment(packet: Any) -> int:
    """Return when it is played, in microseconds of the film's own time."""
    return int((packet.pts if packet.pts is not None else packet.dts) * packet.time_base * 1_000_000)


class _Copier:
    """Passes sound on as it is."""

    def __init__(self, sound: Any, out: Any) -> None:
        self._track = out.add_stream_from_template(sound)

    def take(self, packet: Any) -> Iterator[Any]:
        """Yield the packet."""
        packet.stream = self._track
        yield packet

    def rest(self) -> Iterator[Any]:
        """Yield nothing: it was all passed on."""
        return iter(())


class _Encoder:
    """Makes AAC of sound that no browser plays."""

    def __init__(self, sound: Any, out: Any) -> None:
        import av

        layout = "mono" if sound.codec_context.channels == 1 else "stereo"
        self._track = out.add_stream("aac", rate=_RATE, layout=layout)
        self._into: Any = av.AudioResampler(format="fltp", layout=layout, rate=_RATE, frame_size=1024)

    def take(self, packet: Any) -> Iterator[Any]:
        """Yield what is ready; a packet that does not decode is left out, as players do."""
        import av

        try:
            for frame in packet.decode():
                yield from self._pass_on(frame)
        except av.FFmpegError:
            return

    def rest(self) -> Iterator[Any]:
        """Yield what is left at the end."""
        import av

        try:
            yield from self._pass_on(None)
            yield from self._track.encode()
        except av.FFmpegError:
            return

    def _pass_on(self, frame: Any) -> Iterator[Any]:
        for made in self._into.resample(frame):
            yield from self._track.encode(made)


def _can_be_copied(sound: Any) -> bool:
    """Whether its packets fit into an MP4 as they are: a transport stream's AAC says its form elsewhere."""
    named = sound.codec.name
    return named in _COPIED_SOUND and (named in _SAYS_ITS_FORM or bool(sound.codec_context.extradata))


def _give(media: bytes, starts_us: int, ends_us: int) -> None:
    sys.stdout.buffer.write(FRAME.pack(len(media), starts_us, ends_us))
    sys.stdout.buffer.write(media)


def main() -> int:
    """Cut one film."""
    import av  # its parts are loaded before the doors close

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    try:
        cut(sys.argv[1])
        sys.stdout.buffer.flush()
    except (av.FFmpegError, ValueError, IndexError, MemoryError) as cause:
        sys.stderr.write(f"playable: {type(cause).__name__}: {cause}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
