"""CONTRACT STUB - being implemented; signatures are fixed. See shared/design/evidence.md and trust.md 1.4-1.7."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.ids import CameraKeyId, RecordingId, TenantId

SEGMENT_HEADER_BYTES: Final = 160
SEGMENT_TRAILER_BYTES: Final = 64
SIGNATURE_BYTES: Final = 64
SEGMENT_TAIL_BYTES: Final = 128  # trailer and signature
MAX_SEGMENT_BYTES: Final = 8 * 1024 * 1024 + 16_384


class Flag(IntFlag):
    NONE = 0
    LAST = 1
    GAP_BEFORE = 2
    PRE_RECORD = 4
    CLOCK_UNSYNCHRONISED = 8


class Kind(IntEnum):
    VIDEO = 1
    POSITION = 2
    BOOKMARK = 3
    POSTER = 4


class StopReason(IntEnum):
    OFFICER = 1  # the officer switched off
    CARD_FULL = 2
    BATTERY = 3
    INTERRUPTED = 4  # closed at the next boot after a power cut
    MAXIMUM_LENGTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A party that holds one share of the data key: key id (16 bytes) and raw X-Wing public key (1216 bytes)."""

    key_id: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The newest ledger checkpoint the camera has seen: not-before anchor."""

    size: int
    root: bytes  # 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    tenant: TenantId
    camera: CameraKeyId
    recording: RecordingId
    commitment: bytes
    shares: tuple["WrappedShare", ...]
    checkpoint: Checkpoint
    sha256: bytes  # of the whole head file; `prev` of segment 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedShare:
    index: int
    key_id: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFacts:
    """What a segment says of itself, readable without any key."""

    sequence: int
    flags: Flag
    kind: Kind
    tenant: TenantId
    camera: CameraKeyId
    recording: RecordingId
    boot: bytes  # 16
    starts_at: datetime  # UTC
    ends_at: datetime  # UTC
    monotonic_us: int
    previous: bytes  # 32
    ciphertext_bytes: int
    ciphertext_sha256: bytes
    salvaged: bool
    digest: bytes  # 32: SHA-256(header || trailer || signature) = name on the wire = next `previous`


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    recording: RecordingId
    segments: int
    last_hash: bytes
    total_bytes: int  # sum of ciphertext_bytes
    stop_reason: StopReason
    ended_at: datetime


class Sealer:
    """One recording being made. Forgets each key once used: what is sealed stays sealed to this very camera."""

    @classmethod
    def start(
        cls,
        *,
        tenant: TenantId,
        signing_key: Ed25519PrivateKey,
        recording: RecordingId,
        boot: bytes,
        data_key: bytes,
        recipients: tuple[Recipient, ...],
        checkpoint: Checkpoint,
    ) -> tuple[bytes, "Sealer"]:
        """Return (head bytes, sealer). 1 to 3 recipients; with n > 1 the data key is XOR-shared among them."""
        raise NotImplementedError

    def seal(
        self, plaintext: bytes, *, kind: Kind, flags: Flag, starts_at: datetime, ends_at: datetime, monotonic_us: int
    ) -> bytes:
        """Return the next segment, whole: header, ciphertext, trailer, signature."""
        raise NotImplementedError

    def finish(self, *, reason: StopReason, ended_at: datetime) -> bytes:
        """Return the end record; the sealer can seal no more."""
        raise NotImplementedError

    @property
    def sequence(self) -> int:
        """Sequence number of the next segment."""
        raise NotImplementedError


def close_interrupted(
    *, head: bytes, tails: tuple[bytes, ...], signing_key: Ed25519PrivateKey, ended_at: datetime
) -> bytes:
    """Return an INTERRUPTED end record for what a power cut left; tails = header||trailer||signature of each segment in order."""
    raise NotImplementedError


def salvage_segment(part: bytes, *, signing_key: Ed25519PrivateKey, ended_at: datetime) -> bytes | None:
    """Return the segment (marked salvaged) that a cut-off header||ciphertext-prefix still gives, or None if nothing."""
    raise NotImplementedError


def read_head(raw: bytes, camera: Ed25519PublicKey) -> Head:
    """Raise Refused (MALFORMED, BAD_SIGNATURE) unless this camera signed exactly this head."""
    raise NotImplementedError


def read_segment_ends(header: bytes, tail: bytes, camera: Ed25519PublicKey) -> SegmentFacts:
    """Check header (160 bytes), trailer and signature (128 bytes) without the ciphertext: for a streaming receiver."""
    raise NotImplementedError


def read_segment(raw: bytes, camera: Ed25519PublicKey) -> SegmentFacts:
    """As read_segment_ends, and hash the ciphertext too (Refused DIGEST_DIFFERS)."""
    raise NotImplementedError


def read_end(raw: bytes, camera: Ed25519PublicKey) -> End:
    raise NotImplementedError


def segment_digest(raw: bytes) -> bytes:
    """SHA-256(header || trailer || signature); no checks. The segment's name on the wire."""
    raise NotImplementedError


def check_chain(head: Head, segments: tuple[SegmentFacts, ...], end: End | None) -> "ChainVerdict":
    """Order, gaps, completeness: a verdict with its reason, never an exception."""
    raise NotImplementedError


class ChainState(StrEnum):
    INTACT = "intact"
    INTACT_WITH_GAPS = "intact with gaps"
    OPEN = "open"
    SALVAGED = "salvaged"
    TAMPERED = "tampered"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerdict:
    state: ChainState
    because: str


# --- keys: the Kluis's side -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class XWingKeyPair:
    seed: bytes  # 32, secret (repr hidden)
    public_key: bytes  # 1216 raw
    key_id: bytes  # SHA-256(public_key)[:16]


def xwing_from_seed(seed: bytes) -> XWingKeyPair:
    raise NotImplementedError


def unwrap_share(head: Head, index: int, keys: XWingKeyPair) -> bytes:
    raise NotImplementedError


def open_data_key(head: Head, shares: tuple[bytes, ...]) -> bytes:
    """XOR the shares and check the head's commitment; Refused otherwise."""
    raise NotImplementedError


def segment_keys(data_key: bytes, recording: RecordingId, first: int, last: int) -> tuple[bytes, ...]:
    """The ratchet's keys of segments first..last inclusive, and of no other."""
    raise NotImplementedError


def open_segment(raw: bytes, key: bytes) -> bytes:
    """Decrypt one whole segment (its signature is checked elsewhere); Refused DIGEST_DIFFERS on any mismatch."""
    raise NotImplementedError


def seal_to(public_key: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """HPKE X-Wing one-shot to a raw 1216-byte public key."""
    raise NotImplementedError


def open_sealed(keys: XWingKeyPair, sealed: bytes, *, info: bytes) -> bytes:
    raise NotImplementedError
