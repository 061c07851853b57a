"""Burns the names of who is watching into each second of footage. Only the worker's process loads this.

A segment comes in as one closed group of pictures (moof + mdat) and goes out as one, at the same decode times, so that
a player joins them without a seam and any of them can be asked for first. Sound goes through untouched.
"""

import io
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Paint = Callable[[Picture, float], None]
Sound = Callable[[Any, float], Any]
Place = Callable[[float], float]

_INK: Final = (255, 255, 255)
_SHADE: Final = (0, 0, 0)
_AMBER: Final = (0, 190, 255)
FRAGMENTS: Final = "frag_keyframe+empty_moov+default_base_moof"
_NOMINAL_RATE: Final = 30
"""Written into the stream's header only; each picture keeps its own time."""


class Sink:
    """Takes what the muxer writes. Without seek it writes a pure stream: ftyp, moov, then moof + mdat."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        """Keep it, in memory and nowhere else."""
        self.written += data
        return len(data)


class Marker:
    """Marks the segments of one recording. `init` is its initialisation segment (ftyp + moov); no footage is in it."""

    def __init__(self, init: bytes) -> None:
        """Raise av.FFmpegError when this is not the beginning of a film with pictures."""
        self.init = init
        self.shown_init = self._introduce()

    def mark(self, fragment: bytes, *, lines: tuple[str, ...], label: str) -> bytes:
        """Return the fragment with `lines` burnt in, and `label` in the corner unless it is empty.

        It belongs behind `shown_init`. Raises av.FFmpegError for what is not footage.
        """
        return self.redraw(fragment, lambda pixels, _at_s: draw(pixels, lines, label))

    def redraw(
        self,
        fragment: bytes,
        paint: Paint,
        *,
        sound: Sound = lambda packet, _from_s: packet,
        place: Place = lambda _begin_s: 0.0,
    ) -> bytes:
        """Return the fragment with each picture painted on; `paint` gets its pixels and its second in the fragment.

        `sound` gets each packet of sound with its second, and returns it, another one, or None. `place` gets the second
        at which the fragment began, and returns how much later it is to be played. Nothing else of the original comes
        along. Raises av.FFmpegError for what is not footage.
        """
        sink, starts = Sink(), [0, 0]
        with av.open(io.BytesIO(self.init + fragment), "r", format="mp4") as source:
            video: Any = source.streams.video[0]
            heard_in = _sound_of(source)
            video.codec_context.thread_count = 1
            with _muxer(sink, video) as out:
                shown, heard = _streams(out, video, heard_in)
                packets: list[Any] = []
                begun: set[int] = set()
                read = list(source.demux())
                begin = next((_moment(each) for each in read if each.stream is video and each.size), 0.0)
                for packet in read:
                    if packet.stream is heard_in and packet.pts is not None:
                        if 1 not in begun:
                            starts[1] = packet.pts
                            begun.add(1)
                        kept = sound(packet, _moment(packet) - begin)
                        if kept is not None:
                            kept.stream = heard
                            packets.append(kept)
                    elif packet.stream is video:
                        for picture in _pictures_of(packet):
                            if 0 not in begun:
                                starts[0] = picture.pts
                                begun.add(0)
                            packets += shown.encode(_painted(picture, paint, begin))
                packets += shown.encode()
                _fill_durations(packets, shown, video)
                for packet in packets:
                    out.mux(packet)
                later_s = place(begin)
                units = [video.time_base, heard.time_base if heard is not None else 1]
        return split(
            bytes(sink.written), [max(0, at + round(later_s / unit)) for at, unit in zip(starts, units, strict=True)]
        )[1]

    def _introduce(self) -> bytes:
        sink = Sink()
        with av.open(io.BytesIO(self.init), "r", format="mp4") as source:
            video, sound = source.streams.video[0], _sound_of(source)
            with _muxer(sink, video) as out:
                _streams(out, video, sound)
                out.start_encoding()
        return split(bytes(sink.written), [])[0]


def _pictures_of(packet: Any) -> list[Any]:
    return list(packet.decode())


def black() -> tuple[bytes, bytes]:
    """Return (initialisation segment, fragment) of one black picture and a moment of silence."""
    sink = Sink()
    with av.open(sink, "w", format="mp4", options={"movflags": FRAGMENTS}) as out:
        video = out.add_stream("libx264", rate=15)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sound = out.add_stream("aac", rate=48_000, layout="mono")
        dark = av.VideoFrame.from_ndarray(np.zeros((96, 128, 3), np.uint8), format="bgr24")
        dark.pts = 0
        hush = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        hush.sample_rate, hush.pts = 48_000, 0
        for packet in [*video.encode(dark), *video.encode(), *sound.encode(hush), *sound.encode()]:
            out.mux(packet)
    return split(bytes(sink.written), [])


def _sound_of(source: Any) -> Any:
    return source.streams.audio[0] if source.streams.audio else None


def _muxer(sink: Sink, video: Any) -> Any:
    options = {"movflags": FRAGMENTS, "video_track_timescale": str(video.time_base.denominator)}
    return av.open(sink, "w", format="mp4", options=options)


def _streams(out: Any, video: Any, sound: Any) -> tuple[Any, Any]:
    """Add the tracks; the same for every fragment of a recording, or its initialisation segment would not fit."""
    shown = out.add_stream("libx264", rate=_NOMINAL_RATE)
    shown.width, shown.height, shown.pix_fmt = video.width, video.height, "yuv420p"
    shown.time_base = shown.codec_context.time_base = Fraction(1, video.time_base.denominator)
    shown.codec_context.gop_size = 1_000_000  # one key frame: the first
    shown.codec_context.thread_count = 1
    shown.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "25", "bf": "0"}
    return shown, None if sound is None else out.add_stream_from_template(sound)


def _fill_durations(packets: list[Any], shown: Any, video: Any) -> None:
    """Give each picture its length: the muxer cannot know that of the last one."""
    pictures = [packet for packet in packets if packet.stream is shown]
    for packet, following in pairwise(pictures):
        packet.duration = following.pts - packet.pts
    if len(pictures) > 1:
        pictures[-1].duration = pictures[-2].duration
    elif pictures:
        pictures[0].duration = video.time_base.denominator


def _moment(of: Any) -> float:
    return float(of.pts * of.time_base)


def _painted(picture: Any, paint: Paint, begin: float) -> Any:
    pixels: Picture = picture.to_ndarray(format="bgr24")
    paint(pixels, _moment(picture) - begin)
    drawn = av.VideoFrame.from_ndarray(pixels, format="bgr24")
    drawn.pts, drawn.time_base = picture.pts, picture.time_base
    return drawn


def draw(pixels: Picture, lines: tuple[str, ...], label: str) -> None:
    """Draw the lines at the foot and once more faintly across the middle, and the label in the corner."""
    height, width = pixels.shape[:2]
    size = max(11, round(height / 26))
    face = cv2.FontFace("sans")
    foot = round(size * 1.45 * len(lines) + size * 0.5)
    band = pixels[height - foot :]
    band[:] = (band * 0.45).astype(np.uint8)
    for number, line in enumerate(lines):
        at = (size // 2, height - foot + round(size * 1.45 * (number + 1)) - size // 4)
        cv2.putText(pixels, line, at, _INK, face, _fitting(line, size, width), 500)
    _whisper(pixels, lines[0] if lines else "", size)
    if label:
        tall = round(size * 1.15)
        wide = cv2.getTextSize((width, height), label, (0, 0), face, tall, 800)[2]
        cv2.rectangle(pixels, (size // 2, size // 2), (size + wide + size // 2, round(size * 2.2)), _AMBER, -1)
        cv2.putText(pixels, label, (size, round(size * 1.75)), _SHADE, face, tall, 800)


def _fitting(line: str, size: int, width: int) -> int:
    """A size at which the line fits the picture: a letter is about 0.6 of its height wide."""
    return max(9, min(size, int(width / max(1, len(line)) / 0.56)))


def _whisper(pixels: Picture, line: str, size: int) -> None:
    """Across the middle, faint, so that cutting off the foot does not cut off the names."""
    height, width = pixels.shape[:2]
    top, deep = height // 2 - size, size * 2
    strip = pixels[top : top + deep]
    ghost = strip.copy()
    at, fits = (width // 12, round(size * 1.4)), _fitting(line, size, width * 10 // 12)
    cv2.putText(ghost, line, at, _INK, cv2.FontFace("sans"), fits, 400)
    cv2.addWeighted(ghost, 0.28, strip, 0.72, 0, dst=strip)


def split(stream: bytes, starts: list[int]) -> tuple[bytes, bytes]:
    """Return (ftyp + moov, moof + mdat) with each track's decode time set to where it started."""
    init, fragment, at = bytearray(), bytearray(), 0
    while at + 8 <= len(stream):
        size, kind = int.from_bytes(stream[at : at + 4], "big"), stream[at + 4 : at + 8]
        box = bytearray(stream[at : at + size])
        if kind in (b"ftyp", b"moov"):
            init += box
        elif kind == b"moof":
            _set_decode_times(box, starts)
            fragment += box
        elif kind == b"mdat":
            fragment += box
        at += size
    return bytes(init), bytes(fragment)


def _set_decode_times(moof: bytearray, starts: list[int]) -> None:
    """Overwrite the tfdt of each traf, in the order of the tracks (ISO 14496-12 8.8.12)."""
    at = 0
    for start in starts:
        at = moof.find(b"tfdt", at) + 4
        if at < 4:
            return  # no sound in this film
        if moof[at] == 1:
            moof[at + 4 : at + 12] = start.to_bytes(8, "big")
        else:
            moof[at + 4 : at + 8] = start.to_bytes(4, "big")
