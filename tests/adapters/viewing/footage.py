"""One sealed recording with real pictures, made on the spot: a moving square, and a tone."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import av
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.ids import RecordingId, parse_org, tenant_id, uuid7
from broker.wire.recording import Checkpoint, Flag, Kind, Recipient, Sealer, StopReason

RATE = 15


class _Sink:
    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A recording as a camera leaves it on its card."""

    recording: RecordingId
    camera: Ed25519PrivateKey
    data_key: bytes
    head: bytes
    segments: tuple[bytes, ...]
    end: bytes
    starts_at: datetime
    activated_at: datetime
    ended_at: datetime


def film(seconds: int, *, begin: int = 3600, sound: bool = True) -> tuple[bytes, list[bytes]]:
    """Return (initialisation segment, one fragment per second), with decode times that begin at `begin` seconds."""
    sink = _Sink()
    with av.open(sink, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as out:
        video = out.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.codec_context.gop_size = RATE
        video.options = {"preset": "ultrafast", "bf": "0", "x264-params": f"keyint={RATE}:min-keyint={RATE}:scenecut=0"}
        voice = out.add_stream("aac", rate=48_000, layout="mono") if sound else None
        packets = []
        for n in range(seconds * RATE):
            pixels = np.full((180, 320, 3), 60, np.uint8)
            at = (n * 4) % 260
            pixels[60:120, at : at + 60] = (30, 160, 240)
            picture = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            picture.pts, picture.time_base = n, Fraction(1, RATE)
            packets += video.encode(picture)
        packets += video.encode()
        heard = []
        if voice is not None:
            wave = (np.sin(np.arange(seconds * 48_000) * 2 * np.pi * 440 / 48_000) * 0.1).astype(np.float32)
            for first in range(0, len(wave) - 1023, 1024):
                frame = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
                heard += [packet for packet in voice.encode(frame) if packet.pts is not None and packet.pts >= 0]
        for packet in sorted(packets + heard, key=lambda each: (each.pts or 0) * (each.time_base or 0)):
            out.mux(packet)
    return split_film(bytes(sink.written), begin)


def split_film(stream: bytes, begin: int) -> tuple[bytes, list[bytes]]:
    """Return (initialisation segment, fragments) with decode times that begin at `begin` seconds."""
    init, fragments, at = b"", list[bytes](), 0
    while at + 8 <= len(stream):
        size, kind = int.from_bytes(stream[at : at + 4], "big"), stream[at + 4 : at + 8]
        box = bytearray(stream[at : at + size])
        if kind in (b"ftyp", b"moov"):
            init += bytes(box)
        elif kind == b"moof":
            fragments.append(bytes(_later(box, begin)))
        elif kind == b"mdat":
            fragments[-1] += bytes(box)
        at += size
    return init, fragments


def _later(moof: bytearray, begin: int) -> bytearray:
    at = 0
    for timescale in (15_360, 48_000):
        at = moof.find(b"tfdt", at) + 4
        if at < 4:
            break
        time = int.from_bytes(moof[at + 4 : at + 12], "big")
        moof[at + 4 : at + 12] = (time + begin * timescale).to_bytes(8, "big")
    return moof


def seal(
    *,
    now: datetime,
    recipients: tuple[Recipient, ...],
    camera: Ed25519PrivateKey,
    pre_record: int = 3,
    kept: int = 5,
    filmed: tuple[bytes, list[bytes]] | None = None,
) -> Made:
    """Seal `pre_record` + `kept` seconds (or `filmed`) that end at `now`, as the camera of municipality heusden."""
    init, fragments = filmed or film(pre_record + kept)
    starts_at = now - timedelta(seconds=len(fragments))
    recording = RecordingId(uuid7(starts_at, os.urandom(10)))
    data_key = os.urandom(32)
    head, sealer = Sealer.start(
        tenant=tenant_id(parse_org("heusden")),
        signing_key=camera,
        recording=recording,
        boot=os.urandom(16),
        data_key=data_key,
        recipients=recipients,
        checkpoint=Checkpoint(size=0, root=bytes(32)),
    )
    pieces = [
        sealer.seal(init, kind=Kind.VIDEO, flags=Flag.NONE, starts_at=starts_at, ends_at=starts_at, monotonic_us=0)
    ]
    for n, fragment in enumerate(fragments):
        begin = starts_at + timedelta(seconds=n)
        flags = Flag.PRE_RECORD if n < pre_record else Flag.NONE
        if n == len(fragments) - 1:
            flags |= Flag.LAST
        pieces.append(
            sealer.seal(
                fragment,
                kind=Kind.VIDEO,
                flags=flags,
                starts_at=begin,
                ends_at=begin + timedelta(seconds=1),
                monotonic_us=n * 1_000_000,
            )
        )
    return Made(
        recording=recording,
        camera=camera,
        data_key=data_key,
        head=head,
        segments=tuple(pieces),
        end=sealer.finish(reason=StopReason.OFFICER, ended_at=now),
        starts_at=starts_at,
        activated_at=starts_at + timedelta(seconds=pre_record),
        ended_at=now,
    )
