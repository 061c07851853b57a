"""Reads pictures out of a film, and puts silence in the place of sound. For the worker's process.

A film of our own cameras comes second by second, one of another maker in slices (cloud/viewing/film.py): both are a
`Stretch`, which is read and made anew in the same way.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol

import av
import numpy as np
import numpy.typing as npt

from cloud.redaction.follower import grey_size
from cloud.viewing.film import Film
from cloud.viewing.watermark import Marker, Paint, Place, Sound

Picture = npt.NDArray[np.uint8]

_SILENT: Final = "aac"
"""Codec whose silence can stand in the place of its sound; other sound is left out."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, decoded and not turned into pixels yet. `at_s`: since the begin of its stretch."""

    at_s: float
    raw: Any

    def colours(self) -> Picture:
        """Return blue, green and red."""
        pixels: Picture = self.raw.to_ndarray(format="bgr24")
        return pixels

    def grey(self) -> Picture:
        """Return it in grey, no larger than anything is followed in."""
        width, height = grey_size(self.raw.width, self.raw.height)
        pixels: Picture = self.raw.to_ndarray(format="gray", width=width, height=height)
        return pixels


class Stretch(Protocol):
    """A second or two of a film."""

    def frames(self) -> Iterator[Frame]:
        """Yield its pictures, in order."""

    def redrawn(self, paint: Paint, sound: Sound, *, place: Place = lambda _begin_s: 0.0) -> bytes:
        """Return it as film, painted on; `place`: when it began in its own count -> how much later to play it."""

    def silence(self) -> "Silence":
        """Return what can stand in the place of its sound."""


class OwnSecond:
    """A segment of a recording of our own cameras, in the clear."""

    def __init__(self, marker: Marker, fragment: bytes) -> None:
        self._marker, self._fragment = marker, fragment

    def frames(self) -> Iterator[Frame]:
        """Yield its pictures; raise av.FFmpegError for what is not footage."""
        with av.open(io.BytesIO(self._marker.init + self._fragment), "r", format="mp4") as source:
            source.streams.video[0].codec_context.thread_count = 1
            begin = None
            for frame in source.decode(video=0):
                moment = float((frame.pts or 0) * (frame.time_base or Fraction(1)))
                begin = moment if begin is None else begin
                yield Frame(moment - begin, frame)

    def redrawn(self, paint: Paint, sound: Sound, *, place: Place = lambda _begin_s: 0.0) -> bytes:
        """Return it painted on."""
        return self._marker.redraw(self._fragment, paint, sound=sound, place=place)

    def silence(self) -> "Silence":
        """Return silence in the form of its sound."""
        with av.open(io.BytesIO(self._marker.init), "r", format="mp4") as source:
            return Silence(source.streams.audio[0].codec_context if source.streams.audio else None)


class Slice:
    """A slice of a film from another maker."""

    def __init__(self, film: Film, number: int) -> None:
        self._film, self._number = film, number

    def frames(self) -> Iterator[Frame]:
        """Yield its pictures; raise av.FFmpegError, ValueError or IndexError for what cannot be shown."""
        for at_s, picture in self._film.pictures(self._number):
            yield Frame(float(at_s), picture)

    def redrawn(self, paint: Paint, sound: Sound, *, place: Place = lambda _begin_s: 0.0) -> bytes:
        """Return it painted on."""
        return self._film.redraw(self._number, paint, sound=sound, place=place)

    def silence(self) -> "Silence":
        """Return silence in the form of its sound."""
        return Silence(self._film.heard)


class Silence:
    """A packet of nothing in the form of a film's own sound: what was said is not in the film any more."""

    def __init__(self, codec: Any) -> None:
        """`codec`: of the film's sound, or None where it has none."""
        known = codec is not None and codec.name == _SILENT
        self._packet = _silent(codec.sample_rate, codec.layout.name) if known else None

    def instead_of(self, packet: Any) -> Any:
        """Return silence of the same length at the same moment, or None where none can be made."""
        if self._packet is None:
            return None
        silent = av.Packet(self._packet)
        silent.pts, silent.dts, silent.duration = packet.pts, packet.dts, packet.duration
        silent.time_base, silent.is_keyframe = packet.time_base, True
        return silent

    @staticmethod
    def rehearse() -> None:
        """Make a silence for nobody."""
        _silent(48_000, "mono")


def _silent(rate: int, layout: str) -> bytes:
    """Return one packet of silence, from the middle of some: the first ones are still beginning."""
    codec: Any = av.CodecContext.create(_SILENT, "w")
    codec.sample_rate, codec.layout, codec.format = rate, layout, "fltp"
    codec.time_base = Fraction(1, rate)
    channels, packets = len(codec.layout.channels), list[Any]()
    for number in range(6):
        quiet = av.AudioFrame.from_ndarray(np.zeros((channels, 1024), np.float32), format="fltp", layout=layout)
        quiet.sample_rate, quiet.pts, quiet.time_base = rate, number * 1024, Fraction(1, rate)
        packets += codec.encode(quiet)
    packets += codec.encode(None)
    return bytes(packets[3])
