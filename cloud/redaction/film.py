"""Reads pictures out of a second of film, and puts silence in the place of sound. For the worker's process."""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from cloud.viewing.watermark import Marker

Picture = npt.NDArray[np.uint8]

_SILENT: Final = "aac"
"""Codec whose silence can stand in the place of its sound; other sound is left out."""


def pictures_of(marker: Marker, fragment: bytes) -> Iterator[tuple[float, Picture]]:
    """Yield (seconds since the fragment's first picture, blue green red) of every picture."""
    for at_s, frame in _frames(marker, fragment):
        yield at_s, frame.to_ndarray(format="bgr24")


def looked_at(marker: Marker, fragment: bytes, *, every_s: float) -> Iterator[tuple[float, Picture]]:
    """Yield one picture in so many seconds, and the last: what a detector looks at."""
    due, last = 0.0, None
    for at_s, frame in _frames(marker, fragment):
        last = (at_s, frame)
        if at_s >= due - 1e-6:
            yield at_s, frame.to_ndarray(format="bgr24")
            due, last = at_s + every_s, None
    if last is not None:
        yield last[0], last[1].to_ndarray(format="bgr24")


def _frames(marker: Marker, fragment: bytes) -> Iterator[tuple[float, Any]]:
    with av.open(io.BytesIO(marker.init + fragment), "r", format="mp4") as source:
        source.streams.video[0].codec_context.thread_count = 1
        begin = None
        for frame in source.decode(video=0):
            moment = float((frame.pts or 0) * (frame.time_base or Fraction(1)))
            begin = moment if begin is None else begin
            yield moment - begin, frame


class Silence:
    """A packet of nothing in the form of a film's own sound: what was said is not in the film any more."""

    def __init__(self, marker: Marker) -> None:
        self._packet: bytes | None = None
        with av.open(io.BytesIO(marker.init), "r", format="mp4") as source:
            sound = source.streams.audio[0] if source.streams.audio else None
            if sound is not None and sound.codec_context.name == _SILENT:
                self._packet = _silent(sound.codec_context.sample_rate, sound.codec_context.layout.name)

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
