"""A small town's cameras, made on the spot: enrolled folders, the Kluis's keys, the receiver's signature."""

import os
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker import durable
from broker.wire.events import CameraSettings, Said, decode
from broker.wire.ids import DeviceId, Org, RecordingId, camera_key_id, parse_recording
from broker.wire.keylist import KeyList, sign_keylist
from broker.wire.receipts import Receipt, sign_receipt
from broker.wire.recording import (
    End,
    Head,
    Recipient,
    SegmentFacts,
    XWingKeyPair,
    open_data_key,
    open_segment,
    read_end,
    read_head,
    read_segment,
    segment_keys,
    unwrap_share,
    xwing_from_seed,
)
from edge.card import MemoryCard
from edge.enrolment import Enrolment

HEUSDEN = Org("heusden")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
OIN = "00000000000000000000"


def settings(
    pre_record_s: int = 30, *, version: int = 1, post_record_s: int = 0, sound: bool = False
) -> CameraSettings:
    return CameraSettings(
        version=version,
        pre_record_s=pre_record_s,
        post_record_s=post_record_s,
        sound=sound,
        heartbeat_s=10,
        dock_within_h=24,
    )


@dataclass(frozen=True)
class Recorded:
    """A recording as it lies on a card, read back with every signature checked."""

    head: Head
    raw: tuple[bytes, ...]
    facts: tuple[SegmentFacts, ...]
    end: End | None


class _Line(msgspec.Struct):
    event: msgspec.Raw


@dataclass
class Town:
    root: Path
    org: Org = HEUSDEN
    receipt_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    kluis_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    command_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    intake: XWingKeyPair = field(default_factory=lambda: xwing_from_seed(os.urandom(32)))
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    def keylist(self, *, at: datetime = NOON, intake: XWingKeyPair | None = None) -> bytes:
        pair = intake or self.intake
        return sign_keylist(
            KeyList(
                org=self.org,
                epoch=1,
                recipients=(Recipient(key_id=pair.key_id, public_key=pair.public_key),),
                valid_from=at - timedelta(days=1),
                valid_until=at + timedelta(days=6),
                issued_at=at,
            ),
            self.kluis_key,
        )

    def enrol(self, camera: str, *, keylist: bool = True) -> Path:
        folder = self.root / "cameras" / camera
        (folder / "device").mkdir(parents=True)
        (folder / "card").mkdir()
        key = self.keys[camera] = Ed25519PrivateKey.generate()
        (folder / "device" / "signing.key").write_bytes(key.private_bytes_raw())
        enrolment = Enrolment(
            org=self.org,
            camera=camera,
            oin=OIN,
            receipt_key=_text(self.receipt_key),
            kluis_key=_text(self.kluis_key),
            command_key=_text(self.command_key),
            keylist=self.keylist().decode() if keylist else None,
        )
        (folder / "device" / "enrolment.json").write_bytes(msgspec.json.encode(enrolment))
        return folder

    def station(self, dock: str = "dock-01") -> Path:
        (self.root / "stations" / dock / "bays").mkdir(parents=True, exist_ok=True)
        return self.root / "stations"

    def card(self, camera: str, *, limit_bytes: int = 64 * 1024 * 1024) -> MemoryCard:
        return MemoryCard(
            self.root / "cameras" / camera / "card",
            org=self.org,
            camera=DeviceId(camera),
            signing_key=self.keys[camera],
            receipt_key=self.receipt_key.public_key(),
            limit_bytes=limit_bytes,
        )

    def read(self, camera: str, recording: RecordingId) -> Recorded:
        folder = self.root / "cameras" / camera / "card" / "recordings" / str(recording)
        public = self.keys[camera].public_key()
        raw = tuple(path.read_bytes() for path in sorted(folder.glob("*.vos")))
        end = folder / "end.voe"
        return Recorded(
            head=read_head((folder / "head.voh").read_bytes(), public),
            raw=raw,
            facts=tuple(read_segment(each, public) for each in raw),
            end=read_end(end.read_bytes(), public) if end.exists() else None,
        )

    def recordings(self, camera: str) -> tuple[RecordingId, ...]:
        """Return what lies on the card, oldest first, looked at from outside: the camera may be at work on it."""
        lying = (self.root / "cameras" / camera / "card" / "recordings").iterdir()
        return tuple(parse_recording(folder.name) for folder in sorted(lying) if not folder.name.startswith("."))

    def segments(self, camera: str) -> list[Path]:
        """Return the segments on the card, looked at from outside: a folder may be given its name, or go, meanwhile."""
        lying = os.walk(self.root / "cameras" / camera / "card" / "recordings")
        return sorted(Path(folder) / name for folder, _, names in lying for name in names if name.endswith(".vos"))

    def said(self, camera: str) -> list[Said]:
        """Return what waits in the outbox, oldest first, looked at from outside: an `Outbox` is its owner's alone."""
        said: list[Said] = []
        for path in sorted((self.root / "cameras" / camera / "device" / "outbox").glob("*.log")):
            with suppress(FileNotFoundError):  # confirmed meanwhile
                whole, _, _ = path.read_bytes().rpartition(b"\n")
                said += [decode(bytes(msgspec.json.decode(line, type=_Line).event)).said for line in whole.splitlines()]
        return said

    def play(self, recorded: Recorded) -> bytes:
        """Return the film of a recording, with the key that only the Kluis has."""
        data_key = open_data_key(recorded.head, (unwrap_share(recorded.head, 0, self.intake),))
        keys = segment_keys(data_key, recorded.head.recording, 0, len(recorded.raw) - 1)
        return b"".join(open_segment(raw, key) for raw, key in zip(recorded.raw, keys, strict=True))

    def receipt(
        self, camera: str, recorded: Recorded, *, key: Ed25519PrivateKey | None = None, **other: object
    ) -> bytes:
        """Return what the receiver would sign for these bytes, with `other` things in it where a test wants that."""
        assert recorded.end is not None
        true = Receipt(
            org=self.org,
            recording=recorded.head.recording,
            camera_key=camera_key_id(self.keys[camera].public_key().public_bytes_raw()).hex(),
            head_sha256=recorded.head.sha256.hex(),
            segments=recorded.end.segments,
            last_hash=recorded.end.last_hash.hex(),
            total_bytes=recorded.end.total_bytes,
            stored_at=NOON,
            ledger_size=12,
            ledger_root="ab" * 32,
        )
        return sign_receipt(msgspec.structs.replace(true, **other), key or self.receipt_key)

    def put_receipt(self, camera: str, recording: RecordingId, receipt: bytes) -> Path:
        path = self.root / "cameras" / camera / "card" / "receipts" / f"{recording}.receipt"
        path.parent.mkdir(exist_ok=True)
        durable.replace(path, receipt)
        return path


def _text(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()
