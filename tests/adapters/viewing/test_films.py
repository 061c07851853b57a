"""Films from outside in a room's process: played from sealed pieces, within the range, and nothing beside it."""

import io
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from broker.wire.content_key import content_info, read_key_file, unwrap
from broker.wire.ids import RecordingId, parse_org, tenant_id, uuid7
from broker.wire.recording import (
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
    open_segment,
    seal_to,
    segment_keys,
    xwing_from_seed,
)
from broker.wire.refusals import Code, Refused, refuse
from cloud.viewing.film import Film
from cloud.viewing.messages import Clip, OpenRecording
from cloud.viewing.projector import Projector
from cloud.viewing.stitched import PIECES_AT_ONCE, Pieces, Stitched, Unlocked
from tests.adapters.axis.world import lock
from tests.adapters.viewing.footage import film

NOW = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
HASH = bytes(range(32))
MARK = ("Yasmina El Amrani en Hans Verhoeven · dossier 2026-0001", "bekeken op 20-11-2026")
PIECE = 20_000


@dataclass
class Delivered:
    """A recording from outside, sealed, and a desk that gives its process what it asks for."""

    session: bytes
    camera: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    data_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    recording: RecordingId = field(default_factory=lambda: RecordingId(uuid7(NOW, secrets.token_bytes(10))))
    segments: list[bytes] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    content_key: RSAPrivateKey | None = None

    def __post_init__(self) -> None:
        keys = xwing_from_seed(bytes(32))
        self.head, self._sealer = Sealer.start(
            tenant=tenant_id(parse_org("heusden")),
            signing_key=self.camera,
            recording=self.recording,
            boot=bytes(16),
            data_key=self.data_key,
            recipients=(Recipient(key_id=keys.key_id, public_key=keys.public_key),),
            checkpoint=Checkpoint(size=0, root=bytes(32)),
        )
        self._seal(b"{}", Kind.LETTER)

    def add(self, content: bytes) -> tuple[int, tuple[int, ...]]:
        """Seal a file and the letter behind it; return its first segment and the sizes of its pieces."""
        first = len(self.segments)
        pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
        for piece in pieces:
            self._seal(piece, Kind.FILE)
        self._seal(b"{}", Kind.LETTER)
        return first, tuple(map(len, pieces))

    def _seal(self, plaintext: bytes, kind: Kind) -> None:
        raw = self._sealer.seal(plaintext, kind=kind, flags=Flag.NONE, starts_at=NOW, ends_at=NOW, monotonic_us=0)
        self.segments.append(raw)

    def released(self, *, last: int | None = None) -> OpenRecording:
        last = len(self.segments) - 1 if last is None else last
        keys = segment_keys(self.data_key, self.recording, 0, last)
        return OpenRecording(
            recording=str(self.recording),
            camera_public_key=self.camera.public_key().public_bytes_raw(),
            head=self.head,
            sealed=seal_to(self.session, b"".join([*keys[1:], keys[0]]), info=HASH),
            first=1,
            last=last,
        )

    async def segment(self, recording: str, sequence: int, /) -> bytes:
        assert recording == str(self.recording)
        self.asked.append(sequence)
        return self.segments[sequence]

    async def key_of_clip(self, recording: str, sequence: int) -> bytes:
        if self.content_key is None:
            raise refuse(Code.NOT_ALLOWED, "clip", expected="a content key", got="none")
        (key,) = segment_keys(self.data_key, self.recording, sequence, sequence)
        wrapped, _ = read_key_file(open_segment(await self.segment(recording, sequence), key))
        return seal_to(self.session, unwrap(wrapped, self.content_key), info=content_info(HASH, wrapped))


class Desk:
    """What the process may ask of the desk."""

    def __init__(self, delivered: Delivered) -> None:
        self.segment, self.content_key = delivered.segment, delivered.key_of_clip


@pytest.fixture
async def projector() -> AsyncIterator[Projector]:
    started = await Projector.start()
    yield started
    await started.close()


@pytest.fixture(scope="module")
def four_seconds() -> bytes:
    init, fragments = film(5)
    return init + b"".join(fragments)


def frames(media: bytes) -> list[float]:
    with av.open(io.BytesIO(media), "r") as container:
        return [float(each.time or 0) for each in container.decode(video=0)]


async def shown(projector: Projector, delivered: Delivered, clip: int, number: int) -> bytes:
    return await projector.show_slice(
        str(delivered.recording), clip, number, mark=MARK, pre_record="", supply=Desk(delivered)
    )


@pytest.mark.rule("H-47")
async def test_a_clip_plays_whole_and_marked_from_its_sealed_pieces(projector: Projector, four_seconds: bytes) -> None:
    delivered = Delivered(projector.public_key)
    first, sizes = delivered.add(four_seconds)
    assert len(sizes) > 2
    await projector.open(HASH, [delivered.released()])
    (found,) = await projector.splice(str(delivered.recording), [Clip(first=first, sizes=sizes)], Desk(delivered))
    assert (found.because, found.slices, found.length_us) == ("", 3, 5_000_000)
    slices = {number: await shown(projector, delivered, 0, number) for number in (2, 0, 1)}
    assert frames(found.init + slices[0] + slices[1] + slices[2]) == pytest.approx([n / 15 for n in range(75)])
    assert frames(found.init + slices[1]) == pytest.approx([2 + n / 15 for n in range(30)]), (
        "asked for alone, at its own time"
    )
    with av.open(io.BytesIO(found.init + slices[1]), "r") as container:
        foot = next(container.decode(video=0)).to_ndarray(format="bgr24")[-20:]
    assert foot.max() > 200, "white letters stand at the foot"
    assert foot.min() < 40, "on a darkened band"


@pytest.mark.rule("H-47")
async def test_a_clip_outside_the_approved_range_is_never_shown(projector: Projector, four_seconds: bytes) -> None:
    delivered = Delivered(projector.public_key)
    inside, outside = delivered.add(four_seconds), delivered.add(four_seconds)
    await projector.open(HASH, [delivered.released(last=inside[0] + len(inside[1]))])
    clips = [Clip(first=first, sizes=sizes) for first, sizes in (inside, outside)]
    found = await projector.splice(str(delivered.recording), clips, Desk(delivered))
    assert [bool(each.because) for each in found] == [False, True]
    assert found[1].init == b""
    with pytest.raises(Refused, match="within the range"):
        await shown(projector, delivered, 1, 0)
    with pytest.raises(Refused):
        await shown(projector, delivered, 0, 3)


async def test_another_piece_than_the_one_asked_for_is_refused(projector: Projector, four_seconds: bytes) -> None:
    delivered = Delivered(projector.public_key)
    first, sizes = delivered.add(four_seconds)
    await projector.open(HASH, [delivered.released()])
    delivered.segments[first], delivered.segments[first + 1] = delivered.segments[first + 1], delivered.segments[first]
    (found,) = await projector.splice(str(delivered.recording), [Clip(first=first, sizes=sizes)], Desk(delivered))
    assert f"expected {first}, got {first + 1}" in found.because


@pytest.mark.parametrize("content", [b"film" * 9_000, b"", bytes(40_000), b"\0\0\0\x18ftypisom" + bytes(50)])
async def test_what_is_no_film_is_said_to_be_none_and_the_room_lives(projector: Projector, content: bytes) -> None:
    delivered = Delivered(projector.public_key)
    first, sizes = delivered.add(content)
    await projector.open(HASH, [delivered.released()])
    (found,) = await projector.splice(str(delivered.recording), [Clip(first=first, sizes=sizes)], Desk(delivered))
    assert found.because
    (again,) = await projector.splice(str(delivered.recording), [Clip(first=first, sizes=sizes)], Desk(delivered))
    assert again.because == found.because


async def test_an_encrypted_clip_opens_with_the_municipalitys_key_alone(
    projector: Projector, four_seconds: bytes
) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    locked, key_file = lock(four_seconds, private.public_key())
    delivered = Delivered(projector.public_key)
    (first, sizes), (key_first, key_sizes) = delivered.add(locked), delivered.add(key_file)
    clip = Clip(first=first, sizes=sizes, key_first=key_first, key_sizes=key_sizes)
    await projector.open(HASH, [delivered.released()])
    (shut,) = await projector.splice(str(delivered.recording), [clip], Desk(delivered))
    assert shut.because
    delivered.content_key = private
    (found,) = await projector.splice(str(delivered.recording), [clip], Desk(delivered))
    assert found.because == ""
    assert len(frames(found.init + await shown(projector, delivered, 0, 2))) == 15


def remade(film: bytes, container: str, sound: str) -> bytes:
    """The same film in another container: its sound copied where `sound` is empty, else encoded anew."""
    made = io.BytesIO()
    with av.open(io.BytesIO(film), "r") as source, av.open(made, "w", format=container) as out:
        video, voice = source.streams.video[0], source.streams.audio[0]
        shown = out.add_stream_from_template(video)
        heard: Any = out.add_stream(sound, rate=48_000, layout="mono") if sound else out.add_stream_from_template(voice)
        for packet in source.demux():
            if sound and packet.stream is voice:
                out.mux([made for frame in packet.decode() for made in heard.encode(frame)])
            elif packet.dts is not None:
                packet.stream = shown if packet.stream is video else heard
                out.mux(packet)
    return made.getvalue()


def is_the_tone(media: bytes) -> bool:
    """Whether 440 Hz sounds from the begin to the end of the film, without a gap or a click between its packets."""
    with av.open(io.BytesIO(media), "r") as container:
        rate = container.streams.audio[0].rate
        found: list[Any] = list(container.decode(audio=0))
    steps = {round((after.pts - before.pts) * float(after.time_base) * rate) for before, after in pairwise(found)}
    samples = np.concatenate([each.to_ndarray()[0] for each in found])[rate // 10 : int(rate * 4.8)]
    loud = [float(np.sqrt(np.mean(each**2))) for each in np.array_split(samples, 470)]
    pitch = np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)
    even = all(abs(step - 1024) <= rate / 500 for step in steps)  # Matroska counts in milliseconds
    return even and min(loud) > 0.06 and max(loud) < 0.08 and bool(abs(pitch - 440) < 1)


@pytest.mark.parametrize(
    ("container", "sound"), [("matroska", ""), ("mp4", ""), ("mpegts", ""), ("mp4", "pcm_s16le"), ("mov", "pcm_alaw")]
)
def test_a_film_of_any_container_is_cut_anywhere_and_heard(four_seconds: bytes, container: str, sound: str) -> None:
    made = remade(four_seconds, container, sound)
    shown = Film(lambda: io.BytesIO(made))  # type: ignore[arg-type,return-value]
    slices = [shown.show(number, lines=MARK, label="") for number in range(shown.slices)]
    every = [len(frames(shown.shown_init + each)) for each in slices]
    assert sum(every) == 75
    assert len(frames(shown.shown_init + shown.show(1, lines=MARK, label=""))) == every[1], "backwards too"
    assert is_the_tone(shown.shown_init + b"".join(slices))


async def test_sound_that_has_to_be_encoded_anew_is_heard_from_the_rooms_process(
    projector: Projector, four_seconds: bytes
) -> None:
    delivered = Delivered(projector.public_key)
    first, sizes = delivered.add(remade(four_seconds, "mp4", "pcm_s16le"))
    await projector.open(HASH, [delivered.released()])
    (found,) = await projector.splice(str(delivered.recording), [Clip(first=first, sizes=sizes)], Desk(delivered))
    assert is_the_tone(found.init + b"".join([await shown(projector, delivered, 0, n) for n in range(3)]))


def test_an_encrypted_film_is_read_anywhere_and_a_few_pieces_at_once() -> None:
    clear = secrets.token_bytes(100_003)
    locked, _ = lock(clear, rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
    sizes = [7_001] * (len(locked) // 7_001) + [len(locked) % 7_001]
    fetched: list[int] = []

    def fetch(number: int) -> bytes:
        fetched.append(number)
        return locked[number * 7_001 : number * 7_001 + 7_001]

    pieces = Pieces(sizes, fetch)
    whole = Stitched(pieces)
    assert whole.read() == locked
    assert len(pieces._kept) <= PIECES_AT_ONCE
    with pytest.raises(Refused, match="content key"):
        Unlocked(pieces, key=bytes(32), iv=bytes(16))
