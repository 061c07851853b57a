"""Recordings made on the spot, with keys made on the spot."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.ids import RecordingId, TenantId, parse_org, tenant_id, uuid7
from broker.wire.recording import (
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
    StopReason,
    XWingKeyPair,
    segment_keys,
    xwing_from_seed,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def seeded(name: str, length: int = 32) -> bytes:
    """Bytes that are always the same for this name."""
    return hashlib.shake_256(name.encode()).digest(length)


def camera_key(name: str = "camera") -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seeded(name))


def recording_id(name: str = "recording") -> RecordingId:
    return RecordingId(uuid7(NOON, seeded(name, 10)))


def parties(count: int) -> tuple[XWingKeyPair, ...]:
    return tuple(xwing_from_seed(seeded(f"party {index}")) for index in range(count))


def recipients(keys: tuple[XWingKeyPair, ...]) -> tuple[Recipient, ...]:
    return tuple(Recipient(key_id=each.key_id, public_key=each.public_key) for each in keys)


@dataclass(frozen=True, kw_only=True)
class Made:
    """One recording, and everything secret about it."""

    camera: Ed25519PrivateKey
    tenant: TenantId
    recording: RecordingId
    data_key: bytes
    parties: tuple[XWingKeyPair, ...]
    head: bytes
    segments: tuple[bytes, ...]
    end: bytes
    plaintexts: tuple[bytes, ...]

    @property
    def public(self) -> Ed25519PublicKey:
        return self.camera.public_key()

    @property
    def tails(self) -> tuple[bytes, ...]:
        return tuple(ends_of(each) for each in self.segments)

    def key(self, sequence: int) -> bytes:
        return segment_keys(self.data_key, self.recording, sequence, sequence)[0]


def ends_of(segment: bytes) -> bytes:
    return segment[:160] + segment[-128:]


def start(
    *,
    camera: Ed25519PrivateKey | None = None,
    name: str = "recording",
    boot: bytes = b"first boot......",
    shares: int = 1,
    data_key: bytes | None = None,
) -> tuple[bytes, Sealer]:
    return Sealer.start(
        tenant=tenant_id(parse_org("heusden")),
        signing_key=camera or camera_key(),
        recording=recording_id(name),
        boot=boot,
        data_key=data_key or seeded(f"data key of {name}"),
        recipients=recipients(parties(shares)),
        checkpoint=Checkpoint(size=7, root=seeded("root")),
    )


def seal(sealer: Sealer, plaintext: bytes, *, flags: Flag = Flag.NONE, kind: Kind = Kind.VIDEO) -> bytes:
    sequence = sealer.sequence
    return sealer.seal(
        plaintext,
        kind=kind,
        flags=flags,
        starts_at=NOON + sequence * SECOND,
        ends_at=NOON + (sequence + 1) * SECOND,
        monotonic_us=sequence * 1_000_000,
    )


def record(
    plaintexts: tuple[bytes, ...] = (b"init", b"one", b"two", b"three"),
    *,
    camera: Ed25519PrivateKey | None = None,
    name: str = "recording",
    boot: bytes = b"first boot......",
    shares: int = 1,
    flags: tuple[Flag, ...] = (),
    reason: StopReason = StopReason.OFFICER,
) -> Made:
    """Make a whole recording of these plaintexts."""
    head, sealer = start(camera=camera, name=name, boot=boot, shares=shares)
    said = flags or (Flag.NONE,) * len(plaintexts)
    segments = tuple(seal(sealer, plaintext, flags=flag) for plaintext, flag in zip(plaintexts, said, strict=True))
    return Made(
        camera=camera or camera_key(),
        tenant=tenant_id(parse_org("heusden")),
        recording=recording_id(name),
        data_key=seeded(f"data key of {name}"),
        parties=parties(shares),
        head=head,
        segments=segments,
        end=sealer.finish(reason=reason, ended_at=NOON + len(plaintexts) * SECOND),
        plaintexts=plaintexts,
    )
