"""`python -m tests.benchmarks.axis [MEGABYTES]`: what a long clip of an Axis dock costs in memory, door to package.

One process takes the clip in over TLS, seals it, puts it into the vault, supplies a room's process with its pieces and
writes a package; the sender is another one. Twenty minutes of film with PCM sound, once in the clear (MP4, its index at
the end) and once as an Axis camera encrypts it (Matroska). Of each step: the highest resident memory of the process
during it (VmHWM, reset before), beside what it was at rest. Flat is what does not depend on MEGABYTES.
"""

import asyncio
import io
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import select

from broker.wire.bundle import BundleWriter, Part
from broker.wire.content_key import content_info, read_key_file, unwrap
from broker.wire.ids import parse_org, parse_recording
from broker.wire.policy import Via
from broker.wire.recording import open_segment, seal_to, segment_keys
from cloud.database.tables import outside_objects, segments
from cloud.viewing.clips import films_of
from cloud.viewing.handed_over import Handed
from cloud.viewing.messages import OpenRecording
from cloud.viewing.projector import Projector
from tests.adapters.axis.world import (
    PRESSED_AT,
    SERIAL,
    USER,
    AxisTown,
    SealingKluis,
    clip_meta,
    lock,
    prepare,
    serving,
)
from tests.adapters.intake.town import Town

CONTENT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RATE, SECONDS, MINUTES = 15, 10, 20
WORDS = ("bench · dossier 2026-0001",)
HASH = bytes(32)
MIB = 1024 * 1024


def long_film(path: Path, container: str, megabytes: int) -> None:
    """Write twenty minutes of film of about this size: ten seconds of noise, again and again, and a tone as PCM."""
    kilobits = megabytes * 8000 // (MINUTES * 60) - 256
    tone = (np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000) * 3000).astype(np.int16).tobytes()
    with av.open(_ten_seconds(kilobits), "r") as source, av.open(str(path), "w", format=container) as out:
        video = source.streams.video[0]
        pictures = [packet for packet in source.demux(video) if packet.pts is not None]
        shown, heard = out.add_stream_from_template(video), out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(MINUTES * 60 * RATE):
            picture = pictures[number % len(pictures)]
            packet: Any = av.Packet(bytes(picture))
            packet.pts = packet.dts = number
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, RATE), picture.is_keyframe, shown
            out.mux(packet)
            if number % RATE == 0:
                sound: Any = av.Packet(tone)
                sound.pts = sound.dts = number // RATE * 16_000
                sound.time_base, sound.duration, sound.stream = Fraction(1, 16_000), 16_000, heard
                out.mux(sound)


def _ten_seconds(kilobits: int) -> io.BytesIO:
    made, noise = io.BytesIO(), np.random.default_rng(1)
    with av.open(made, "w", format="mp4") as out:
        coder: Any = out.add_stream("libx264", rate=RATE)
        coder.width, coder.height, coder.pix_fmt = 640, 360, "yuv420p"
        rate = f"bitrate={kilobits}:vbv-maxrate={kilobits}:vbv-bufsize={kilobits}:nal-hrd=cbr:keyint={RATE}"
        coder.options = {"preset": "ultrafast", "bf": "0", "x264-params": rate}
        for number in range(SECONDS * RATE):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (360, 640, 3), np.uint8), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(coder.encode(frame))
        out.mux(coder.encode())
    made.seek(0)
    return made


def resident(pid: int | str, word: str) -> int:
    """Return a line of /proc/PID/status in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(word)) // 1024


@dataclass
class Watch:
    """The highest resident memory while something is done; prints it."""

    what: str
    pid: int | str = "self"

    def __enter__(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self.rest, self.begun_s = resident(self.pid, "VmRSS"), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        peak, took_s = resident(self.pid, "VmHWM"), time.perf_counter() - self.begun_s
        print(f"| {self.what} | {self.rest} | {peak} | +{peak - self.rest} | {took_s:.1f} |", flush=True)


@dataclass
class Supply:
    """Gives a room's process what it asks for, from the vault."""

    town: Town
    digests: dict[int, bytes]
    session: bytes
    keys: Sequence[bytes]

    async def segment(self, _recording: str, sequence: int, /) -> bytes:
        return await self.town.vault.read(self.digests[sequence])

    async def content_key(self, recording: str, sequence: int, /) -> bytes:
        wrapped, _ = read_key_file(open_segment(await self.segment(recording, sequence), self.keys[sequence]))
        return seal_to(self.session, unwrap(wrapped, CONTENT_KEY), info=content_info(HASH, wrapped))


async def deliver(axis: AxisTown, files: Sequence[Path]) -> None:
    """Send these files as a dock does; the bytes come from curl, a process of its own."""
    async with axis.dock() as dock:
        await dock.introduce()
        container = f"{USER}_{SERIAL}_{PRESSED_AT:%Y%m%dT%H%M%SZ}{files[0].suffix}"
        await dock.begin(container)
        for path in files:
            said = [f"X-Object-Meta-{name}: {value}" for name, value in clip_meta(MINUTES).items()]
            said.append(f"X-Auth-Token: {dock.headers['X-Auth-Token']}")
            headers = [word for line in said for word in ("-H", line)]
            with Watch(f"{path.name}: at the door"):
                curl = await asyncio.create_subprocess_exec(
                    "curl", "-sSf", "--cacert", str(axis.ca), "-T", str(path), *headers,
                    f"{dock.storage}/{container}/{path.name}",
                )  # fmt: skip
                assert await curl.wait() == 0
        await dock.complete(container)
    with Watch(f"{files[0].name}: into the vault"):
        assert await axis.outside.settle() == 1


async def look_and_pack(axis: AxisTown, name: str, folder: Path) -> None:
    """Open the newest recording in a room's process, show ten slices all over it, and write its package."""
    recording = (await axis.recordings())[-1]
    async with axis.town.database.transaction() as t:
        query = select(segments).where(segments.c.recording == recording.id).order_by(segments.c.sequence)
        lines = (await t.execute(query)).all()
        files = (await t.execute(select(outside_objects).where(outside_objects.c.recording == recording.id))).all()
    part = next(each for each in await axis.parts() if each.recording == recording.id)
    kluis = axis.town.kluis
    assert isinstance(kluis, SealingKluis)
    camera = axis.outside.signing_key(part.camera).public_key()
    keys = segment_keys(kluis.data_key(part.head, camera), parse_recording(recording.id), 0, len(lines) - 1)
    digests = {line.sequence: bytes.fromhex(line.digest) for line in lines}
    projector = await Projector.start()
    supply = Supply(axis.town, digests, projector.public_key, keys)
    sealed = seal_to(projector.public_key, b"".join([*keys[1:], keys[0]]), info=HASH)
    opened = OpenRecording(
        recording=recording.id, camera_public_key=camera.public_bytes_raw(), head=part.head, sealed=sealed,
        first=1, last=len(lines) - 1,
    )  # fmt: skip
    await projector.open(HASH, [opened])
    clips = [film.clip for film in films_of(lines, files)]
    pid = projector._process.pid
    with Watch(f"{name}: opened, the room's process", pid), Watch(f"{name}: opened, the desk"):
        (found,) = await projector.splice(recording.id, clips, supply)
    assert not found.because, found.because
    with Watch(f"{name}: ten slices, the room's process", pid), Watch(f"{name}: ten slices, the desk"):
        for number in range(0, found.slices, max(1, found.slices // 10)):
            await projector.show_slice(recording.id, 0, number, mark=WORDS, pre_record="", supply=supply)
    await projector.close()
    await pack(axis, name, folder / "package.zip", lines, files, keys, part)


async def pack(axis: AxisTown, name: str, path: Path, lines: Any, files: Any, keys: Any, part: Any) -> None:
    """Write the package as a hand-over does: the same writer, the same pieces."""
    loop, digests = asyncio.get_running_loop(), {line.sequence: bytes.fromhex(line.digest) for line in lines}

    def read(sequence: int) -> bytes:
        return asyncio.run_coroutine_threadsafe(axis.town.vault.read(digests[sequence]), loop).result()

    async def opened(sequence: int) -> bytes:
        return open_segment(await axis.town.vault.read(digests[sequence]), keys[sequence])

    async def open_key(_: int, wrapped: bytes) -> bytes:
        return unwrap(wrapped, CONTENT_KEY)

    def sealed() -> Iterator[bytes]:
        return (read(line.sequence) for line in lines)

    handed = Handed(lines, files)
    with Watch(f"{name}: package"):
        await handed.unlock(opened, open_key)
        ends = await axis.town.vault.read_all_ends(list(digests.values()))

        def write() -> None:
            with path.open("w+b") as target:
                writer = BundleWriter(
                    target, org=parse_org("heusden"), ledger_key="", kluis_key=secrets.token_bytes(32)
                )
                writer.add_recording(
                    part=Part(recording=parse_recording(part.recording), first=1, last=len(lines) - 1),
                    head=part.head, ends=[header + tail for header, tail in ends], end=part.end, segments=sealed(),
                    keys=dict(enumerate(keys)), enrolled=None,
                    handed=handed.items(lambda sequence: open_segment(read(sequence), keys[sequence])),
                )  # fmt: skip
                writer.finish()

        await asyncio.to_thread(write)
    print(f"\nA package of {path.stat().st_size // MIB} MiB, of {len(lines)} segments.", flush=True)
    path.unlink()


def make(path: Path, container: str, megabytes: int) -> None:
    """Write a film; Matroska is encrypted as an Axis camera does, with its key beside it."""
    long_film(path, container, megabytes)
    if container == "matroska":
        pem = path.with_name("content.pem").read_bytes()
        public = serialization.load_pem_public_key(pem)
        assert isinstance(public, rsa.RSAPublicKey)
        locked, key = lock(path.read_bytes(), public)
        path.write_bytes(locked)
        path.with_suffix(".key").write_bytes(key)


async def main(megabytes: int) -> None:
    """Measure both clips, one after the other."""
    with tempfile.TemporaryDirectory(prefix="vo-axis-") as made:
        folder = Path(made)
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        pem = CONTENT_KEY.public_key().public_bytes(serialization.Encoding.PEM, spki)
        (folder / "content.pem").write_bytes(pem)
        (folder / "town").mkdir()
        town = prepare(Town(folder / "town"), Via.AXIS)
        await town.open()
        async with serving(town) as axis:
            for name, container in (("clip.mp4", "mp4"), ("clip.mkv", "matroska")):
                command = ("-m", "tests.benchmarks.axis", str(megabytes), str(folder / name), container)
                maker = await asyncio.create_subprocess_exec(sys.executable, *command)
                assert await maker.wait() == 0
                print(f"\n{name}: {(folder / name).stat().st_size // MIB} MiB, load {os.getloadavg()[0]:.0f}\n")
                print("| what | at rest, MiB | most | grows by | s |\n| --- | --- | --- | --- | --- |")
                await deliver(axis, [folder / name, *folder.glob("*.key")])
                await look_and_pack(axis, name, folder)
        await town.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        make(Path(sys.argv[2]), sys.argv[3], int(sys.argv[1]))
    else:
        asyncio.run(main(int((sys.argv[1:] or ["400"])[0])))
