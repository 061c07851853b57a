"""How a recording lies on disk and on the wire: one head, N segments, one end record, byte by byte.

Every integer is big-endian and unsigned. Every byte called *zero* is checked. Times are microseconds since
1970-01-01T00:00:00Z without leap seconds. A signature is Ed25519 (RFC 8032) by the camera. Another implementation can
be built from these tables and `broker/wire/keys.py`; bytes to test it with are in `tests/vectors/recording/`.

**Head** (`head.voh`), 1381 bytes with one share and 1187 more with each further one

      off  size  field
        0     8  magic "VOHEAD1" 0A
        8     1  version = 1
        9    16  tenant: SHA-256("vier-ogen/tenant/v1" 00 slug)[:16]
       25    16  camera: SHA-256(the camera's raw Ed25519 public key)[:16]
       41    16  recording: UUIDv7
       57     1  n: number of shares, 1 to 3
       58    32  commitment to the data key
       90  1187  n times: index 1 (0 .. n-1, in order), key id 16, length 2 (= 1168), HPKE enc || ciphertext 1168
      ...     8  size of the newest ledger checkpoint that the camera has seen
      ...    32  its root
      ...    64  signature over everything before

HPKE's `info` for a share = "vier-ogen/wrap/v1" 00 || tenant || camera || recording || index 1 || n 1 || key id 16 ||
commitment 32.

**Segment** (`00000042.vos`): header, ciphertext, trailer, signature; at most 8 MiB of plaintext

      off  size  field
        0     8  magic "VOSEG1" 0D 0A (shows damage by text mode)
        8     1  version = 1
        9     1  suite = 1: Cobblestone-256 (c2sp.org/chunked-encryption@v1 with AES-256-GCM)
       10     2  flags: 1 last, 2 gap before, 4 pre-record, 8 clock unsynchronised; all other bits zero
       12     4  sequence number, from 0
       16    16  tenant
       32    16  camera
       48    16  recording
       64    16  boot: random per boot of the camera
       80     8  UTC at the start
       88     8  the camera's monotonic clock at the start, microseconds
       96     2  kind: 1 video and audio, 2 position, 3 bookmark, 4 poster
       98     2  zero
      100    32  previous: SHA-256 of the head, or of (header || trailer || signature) of the segment before
      132    28  zero
      160     L  ciphertext: salt 24, commitment 32, chunks of 16384 + 16, the last one shorter; context = the header
    160+L     8  magic "VOTRL1" 0D 0A
    168+L     2  trailer flags: 1 complete or 2 salvaged
    170+L     2  zero
    172+L     4  sequence number again
    176+L     8  L
    184+L     8  UTC at the end
    192+L    32  SHA-256 of the ciphertext
    224+L    64  signature over header || trailer

A segment's digest, its name on the wire, is SHA-256(header || trailer || signature).

**End record** (`end.voe`), 160 bytes. Without one a recording is *open*, never *complete*

      off  size  field
        0     8  magic "VOEND1" 0D 0A
        8     1  version = 1
        9     1  stop reason: 1 officer, 2 card full, 3 battery, 4 interrupted, 5 maximum length
       10     2  zero
       12     4  number of segments
       16    16  camera
       32    16  recording
       48     8  sum of all L
       56     8  UTC at the end
       64    32  digest of the last segment, or SHA-256 of the head where there is none
       96    64  signature over everything before
"""

import hashlib
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, IntFlag
from typing import Final, Protocol, TypeVar
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.ids import CameraKeyId, RecordingId, TenantId, camera_key_id
from broker.wire.keys import SEALED_OVERHEAD_BYTES
from broker.wire.refusals import Code, Refused, refuse

VERSION: Final = 1
SEGMENT_HEADER_BYTES: Final = 160
SEGMENT_TRAILER_BYTES: Final = 64
SIGNATURE_BYTES: Final = 64
SEGMENT_TAIL_BYTES: Final = 128  # trailer and signature
MAX_PLAINTEXT_BYTES: Final = 8 * 1024 * 1024
MAX_SEGMENT_BYTES: Final = MAX_PLAINTEXT_BYTES + 16_384  # what 8 MiB becomes, with room
MAX_SHARES: Final = 3
END_BYTES: Final = 160

SALT_BYTES: Final = 56  # Cobblestone: salt 24, commitment 32
CHUNK_BYTES: Final = 16_400  # Cobblestone: 16384 and a tag of 16
MIN_CIPHERTEXT_BYTES: Final = 72  # of no plaintext at all: one empty chunk
MAX_CIPHERTEXT_BYTES: Final = MAX_SEGMENT_BYTES - SEGMENT_HEADER_BYTES - SEGMENT_TAIL_BYTES

_HEAD_MAGIC: Final = b"VOHEAD1\n"
_SEGMENT_MAGIC: Final = b"VOSEG1\r\n"
TRAILER_MAGIC: Final = b"VOTRL1\r\n"
_END_MAGIC: Final = b"VOEND1\r\n"
_SUITE: Final = 1
_COMPLETE: Final = 1
_SALVAGED: Final = 2
_WRAPPED_BYTES: Final = 32 + SEALED_OVERHEAD_BYTES

_HEAD: Final = struct.Struct(">8sB16s16s16sB32s")
_SHARE: Final = struct.Struct(f">B16sH{_WRAPPED_BYTES}s")
_CHECKPOINT: Final = struct.Struct(">Q32s")
_HEADER: Final = struct.Struct(">8sBBHI16s16s16s16sQQHH32s28s")
_TRAILER: Final = struct.Struct(">8sHHIQQ32s")
_END: Final = struct.Struct(">8sBBHI16s16sQQ32s")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ZERO_28: Final = bytes(28)

_E = TypeVar("_E", bound=IntEnum)


class Flag(IntFlag):
    """What a segment says of its own circumstances."""

    NONE = 0
    LAST = 1
    GAP_BEFORE = 2  # the camera itself missed something before this segment
    PRE_RECORD = 4  # from the ring, before the press
    CLOCK_UNSYNCHRONISED = 8  # UTC is the camera's guess; the monotonic clock still holds


_KNOWN_FLAGS: Final = 0b1111  # an int: the complement of an IntFlag would know no other bits


class Kind(IntEnum):
    """What a segment holds."""

    VIDEO = 1
    POSITION = 2
    BOOKMARK = 3
    POSTER = 4
    FILE = 5  # a piece of a file as another maker's system handed it over; see cloud/intake/outside.py
    LETTER = 6  # what was said of the file before it, in JSON: name, hashes, metadata


class StopReason(IntEnum):
    """Why a recording ended."""

    OFFICER = 1  # the officer switched off
    CARD_FULL = 2
    BATTERY = 3
    INTERRUPTED = 4  # closed at the next boot after a power cut
    MAXIMUM_LENGTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The newest ledger checkpoint the camera has seen: the recording is not older than it."""

    size: int
    root: bytes  # 32


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedShare:
    """One share of the data key, sealed to the party whose key id stands beside it."""

    index: int  # from 0; Head.shares[i].index == i
    key_id: bytes  # 16
    wrapped: bytes = field(repr=False)  # 1168


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A recording's first file: who made it, and for whom its key is sealed."""

    tenant: TenantId
    camera: CameraKeyId
    recording: RecordingId
    commitment: bytes
    shares: tuple[WrappedShare, ...]
    checkpoint: Checkpoint
    sha256: bytes  # of the whole head file; `previous` of segment 0


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
    """A recording's last file: how many segments there are, and why it stopped."""

    recording: RecordingId
    segments: int
    last_hash: bytes
    total_bytes: int  # sum of ciphertext_bytes
    stop_reason: StopReason
    ended_at: datetime


class VerifyingKey(Protocol):
    """A camera's public key: `Ed25519PublicKey` of `cryptography`, or one that does the same quicker."""

    def public_bytes_raw(self) -> bytes:
        """Return the raw key, 32 bytes."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise InvalidSignature unless the holder of this key signed exactly these bytes."""


# --- reading ----------------------------------------------------------------------------------------------------


def read_head(raw: bytes, camera: VerifyingKey) -> Head:
    """Raise Refused (MALFORMED, BAD_SIGNATURE) unless this camera signed exactly this head."""
    _check_opening("head", raw, _HEAD_MAGIC, least=_head_bytes(1), most=_head_bytes(MAX_SHARES))
    _, _, tenant, named, recording, count, commitment = _HEAD.unpack_from(raw)
    if not 1 <= count <= MAX_SHARES:
        raise refuse(Code.MALFORMED, "head", expected=f"1 to {MAX_SHARES} shares", got=count)
    _check_length("head", raw, _head_bytes(count))
    shares = tuple(_read_share(raw, index) for index in range(count))
    size, root = _CHECKPOINT.unpack_from(raw, _HEAD.size + count * _SHARE.size)
    head = Head(
        tenant=TenantId(tenant),
        camera=CameraKeyId(named),
        recording=_recording(recording),
        commitment=commitment,
        shares=shares,
        checkpoint=Checkpoint(size=size, root=root),
        sha256=hashlib.sha256(raw).digest(),
    )
    _check_signature("head", head.camera, raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:], camera)
    return head


def read_segment_ends(header: bytes, tail: bytes, camera: VerifyingKey) -> SegmentFacts:
    """Check header (160 bytes), trailer and signature (128 bytes) without the ciphertext: for a streaming receiver.

    Raise Refused (MALFORMED, BAD_SIGNATURE). The ciphertext itself is vouched for only once its length and SHA-256 are
    compared with the facts returned.
    """
    facts = _parse_segment_ends(header, tail)
    signed = header + tail[:SEGMENT_TRAILER_BYTES]
    _check_signature("segment", facts.camera, signed, tail[SEGMENT_TRAILER_BYTES:], camera)
    return facts


def unverified_segment_ends(header: bytes, tail: bytes) -> SegmentFacts:
    """Return what header and tail claim, with no signature checked: where something signed commits to the digest."""
    return _parse_segment_ends(header, tail)


def read_segment(raw: bytes, camera: VerifyingKey) -> SegmentFacts:
    """As read_segment_ends, and hash the ciphertext too (Refused DIGEST_DIFFERS)."""
    header, ciphertext, tail = split_segment(raw)
    facts = read_segment_ends(header, tail, camera)
    check_ciphertext(facts, ciphertext)
    return facts


def read_end(raw: bytes, camera: VerifyingKey) -> End:
    """Raise Refused (MALFORMED, BAD_SIGNATURE) unless this camera signed exactly this end record."""
    _check_opening("end record", raw, _END_MAGIC, least=END_BYTES, most=END_BYTES)
    _, _, reason, zero, segments, named, recording, total, ended, last = _END.unpack_from(raw)
    _check_zero("end record", zero == 0)
    end = End(
        recording=_recording(recording),
        segments=segments,
        last_hash=last,
        total_bytes=total,
        stop_reason=_member("end record", StopReason, reason),
        ended_at=_moment(ended),
    )
    _check_signature("end record", CameraKeyId(named), raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:], camera)
    return end


def segment_digest(raw: bytes) -> bytes:
    """SHA-256(header || trailer || signature); no checks. The segment's name on the wire."""
    return hashlib.sha256(raw[:SEGMENT_HEADER_BYTES] + raw[-SEGMENT_TAIL_BYTES:]).digest()


def split_segment(raw: bytes) -> tuple[bytes, memoryview, bytes]:
    """Return (header, ciphertext, trailer and signature) of a whole segment; Refused for what cannot be one."""
    least = SEGMENT_HEADER_BYTES + MIN_CIPHERTEXT_BYTES + SEGMENT_TAIL_BYTES
    if len(raw) > MAX_SEGMENT_BYTES:
        raise refuse(Code.TOO_LARGE, "segment", expected=f"at most {MAX_SEGMENT_BYTES} bytes", got=len(raw))
    if len(raw) < least:
        raise refuse(Code.MALFORMED, "segment", expected=f"at least {least} bytes", got=len(raw))
    view = memoryview(raw)
    return (
        bytes(view[:SEGMENT_HEADER_BYTES]),
        view[SEGMENT_HEADER_BYTES:-SEGMENT_TAIL_BYTES],
        bytes(view[-SEGMENT_TAIL_BYTES:]),
    )


def check_ciphertext(facts: SegmentFacts, ciphertext: bytes | memoryview) -> None:
    """Raise Refused (DIGEST_DIFFERS) unless these are the bytes that the trailer names."""
    check_ciphertext_length(facts, ciphertext)
    came = hashlib.sha256(ciphertext).digest()
    if came != facts.ciphertext_sha256:
        raise refuse(Code.DIGEST_DIFFERS, "segment", expected=facts.ciphertext_sha256.hex(), got=came.hex())


def check_ciphertext_length(facts: SegmentFacts, ciphertext: bytes | memoryview) -> None:
    """Raise Refused (DIGEST_DIFFERS) unless there are as many bytes as the trailer says."""
    if len(ciphertext) != facts.ciphertext_bytes:
        expected = f"{facts.ciphertext_bytes} bytes of ciphertext"
        raise refuse(Code.DIGEST_DIFFERS, "segment", expected=expected, got=len(ciphertext))


def unverified_segment_facts(raw: bytes) -> SegmentFacts:
    """Return what a whole segment claims, with no signature checked: for the camera's own card and for opening."""
    header, _, tail = split_segment(raw)
    return _parse_segment_ends(header, tail)


def claimed_camera(raw_head: bytes) -> CameraKeyId:
    """Return which camera a head says made it, before anything is checked: to look up the key. Refused (MALFORMED)."""
    _check_opening("head", raw_head, _HEAD_MAGIC, least=_head_bytes(1), most=_head_bytes(MAX_SHARES))
    return CameraKeyId(_HEAD.unpack_from(raw_head)[3])


def checkpoint_in(raw_head: bytes) -> Checkpoint:
    """Return the ledger checkpoint that a head names, before its signature is checked. Refused (MALFORMED)."""
    claimed_camera(raw_head)
    size, root = _CHECKPOINT.unpack_from(raw_head, len(raw_head) - SIGNATURE_BYTES - _CHECKPOINT.size)
    return Checkpoint(size=size, root=root)


def claimed_version(raw: bytes) -> int | None:
    """Return the version that a head, segment or end record says it has, or None where it is none of these."""
    known = raw[:8] in {_HEAD_MAGIC, _SEGMENT_MAGIC, _END_MAGIC}
    return raw[8] if known and len(raw) > 8 else None


def wrap_info(
    *,
    tenant: TenantId,
    camera: CameraKeyId,
    recording: RecordingId,
    index: int,
    shares: int,
    key_id: bytes,
    commitment: bytes,
) -> bytes:
    """Return what a share is sealed for; a share moved to another head or place does not open."""
    place = bytes([index, shares])
    return b"vier-ogen/wrap/v1\0" + tenant + camera + recording.bytes + place + key_id + commitment


# --- writing ----------------------------------------------------------------------------------------------------


def write_head(
    *,
    tenant: TenantId,
    recording: RecordingId,
    commitment: bytes,
    shares: tuple[WrappedShare, ...],
    checkpoint: Checkpoint,
    key: Ed25519PrivateKey,
) -> bytes:
    """Return the signed head."""
    camera = camera_key_id(key.public_key().public_bytes_raw())
    body = _HEAD.pack(_HEAD_MAGIC, VERSION, tenant, camera, recording.bytes, len(shares), commitment)
    for share in shares:
        body += _SHARE.pack(share.index, share.key_id, len(share.wrapped), share.wrapped)
    body += _CHECKPOINT.pack(checkpoint.size, checkpoint.root)
    return body + key.sign(body)


def write_segment_header(
    *,
    sequence: int,
    flags: Flag,
    kind: Kind,
    tenant: TenantId,
    camera: CameraKeyId,
    recording: RecordingId,
    boot: bytes,
    starts_at: datetime,
    monotonic_us: int,
    previous: bytes,
) -> bytes:
    """Return the 160 bytes before a segment's ciphertext, which are its encryption's context too."""
    return _HEADER.pack(
        _SEGMENT_MAGIC,
        VERSION,
        _SUITE,
        flags,
        sequence,
        tenant,
        camera,
        recording.bytes,
        boot,
        microseconds(starts_at),
        monotonic_us,
        kind,
        0,
        previous,
        _ZERO_28,
    )


def write_segment_tail(
    header: bytes, *ciphertext: bytes, ends_at: datetime, salvaged: bool, key: Ed25519PrivateKey
) -> bytes:
    """Return the 128 bytes after a segment's ciphertext (given whole or in pieces): trailer and signature."""
    sequence = _HEADER.unpack(header)[4]
    digest = hashlib.sha256()
    for piece in ciphertext:
        digest.update(piece)
    trailer = _TRAILER.pack(
        TRAILER_MAGIC,
        _SALVAGED if salvaged else _COMPLETE,
        0,
        sequence,
        sum(map(len, ciphertext)),
        microseconds(ends_at),
        digest.digest(),
    )
    return trailer + key.sign(header + trailer)


def write_end(end: End, *, key: Ed25519PrivateKey) -> bytes:
    """Return the signed end record."""
    body = _END.pack(
        _END_MAGIC,
        VERSION,
        end.stop_reason,
        0,
        end.segments,
        camera_key_id(key.public_key().public_bytes_raw()),
        end.recording.bytes,
        end.total_bytes,
        microseconds(end.ended_at),
        end.last_hash,
    )
    return body + key.sign(body)


# --- helpers ----------------------------------------------------------------------------------------------------


def _head_bytes(shares: int) -> int:
    return _HEAD.size + shares * _SHARE.size + _CHECKPOINT.size + SIGNATURE_BYTES


def _read_share(raw: bytes, index: int) -> WrappedShare:
    named, key_id, length, wrapped = _SHARE.unpack_from(raw, _HEAD.size + index * _SHARE.size)
    if named != index or length != _WRAPPED_BYTES:
        raise refuse(
            Code.MALFORMED,
            "head",
            expected=f"share {index} of {_WRAPPED_BYTES} bytes",
            got=f"share {named} of {length}",
        )
    return WrappedShare(index=index, key_id=key_id, wrapped=wrapped)


def _parse_segment_ends(header: bytes, tail: bytes) -> SegmentFacts:
    _check_opening("segment", header, _SEGMENT_MAGIC, least=SEGMENT_HEADER_BYTES, most=SEGMENT_HEADER_BYTES)
    _check_length("segment trailer", tail, SEGMENT_TAIL_BYTES)
    (_, _, suite, flags, sequence, tenant, camera, recording, boot, starts, monotonic, kind, zero, previous, zeros) = (
        _HEADER.unpack(header)
    )
    if suite != _SUITE:
        raise refuse(Code.MALFORMED, "segment", expected=f"suite {_SUITE}", got=suite)
    _check_zero("segment", zero == 0 and zeros == _ZERO_28)
    magic, state, zero, again, length, ends, sha256 = _TRAILER.unpack_from(tail)
    if magic != TRAILER_MAGIC:
        raise refuse(Code.MALFORMED, "segment trailer", expected=TRAILER_MAGIC.hex(), got=magic.hex())
    _check_zero("segment trailer", zero == 0)
    if state not in {_COMPLETE, _SALVAGED}:
        raise refuse(Code.MALFORMED, "segment trailer", expected="complete (1) or salvaged (2)", got=state)
    if again != sequence:
        raise refuse(Code.MALFORMED, "segment trailer", expected=f"sequence {sequence}", got=again)
    if not MIN_CIPHERTEXT_BYTES <= length <= MAX_CIPHERTEXT_BYTES:
        limits = f"{MIN_CIPHERTEXT_BYTES} to {MAX_CIPHERTEXT_BYTES} bytes of ciphertext"
        raise refuse(Code.MALFORMED, "segment trailer", expected=limits, got=length)
    return SegmentFacts(
        sequence=sequence,
        flags=_flags(flags),
        kind=_member("segment", Kind, kind),
        tenant=TenantId(tenant),
        camera=CameraKeyId(camera),
        recording=_recording(recording),
        boot=boot,
        starts_at=_moment(starts),
        ends_at=_moment(ends),
        monotonic_us=monotonic,
        previous=previous,
        ciphertext_bytes=length,
        ciphertext_sha256=sha256,
        salvaged=state == _SALVAGED,
        digest=hashlib.sha256(header + tail).digest(),
    )


def _check_opening(what: str, raw: bytes, magic: bytes, *, least: int, most: int) -> None:
    if not least <= len(raw) <= most:
        raise refuse(Code.MALFORMED, what, expected=f"{least} to {most} bytes", got=len(raw))
    if raw[:8] != magic:
        raise refuse(Code.MALFORMED, what, expected=magic.hex(), got=raw[:8].hex())
    if raw[8] != VERSION:
        raise refuse(Code.MALFORMED, what, expected=f"version {VERSION}", got=f"version {raw[8]}")


def _check_length(what: str, raw: bytes, length: int) -> None:
    if len(raw) != length:
        raise refuse(Code.MALFORMED, what, expected=f"{length} bytes", got=len(raw))


def _check_zero(what: str, zero: bool) -> None:
    if not zero:
        raise refuse(Code.MALFORMED, what, expected="zero in the reserved bytes", got="something else")


def _check_signature(what: str, named: CameraKeyId, signed: bytes, signature: bytes, camera: VerifyingKey) -> None:
    known = camera_key_id(camera.public_bytes_raw())
    if named != known:
        raise _bad_signature(what, expected=f"camera {known.hex()}", got=f"camera {named.hex()}")
    try:
        camera.verify(signature, signed)
    except InvalidSignature as cause:
        raise _bad_signature(what, expected=f"the signature of camera {known.hex()}", got="another") from cause


def _bad_signature(what: str, *, expected: str, got: str) -> Refused:
    return refuse(Code.BAD_SIGNATURE, what, expected=expected, got=got)


def _flags(value: int) -> Flag:
    if value & ~_KNOWN_FLAGS:
        raise refuse(Code.MALFORMED, "segment", expected="known flags", got=f"{value:#06x}")
    return Flag(value)


def _member(what: str, kind: type[_E], value: int) -> _E:
    try:
        return kind(value)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, what, expected=f"a known {kind.__name__}", got=value) from cause


def _recording(raw: bytes) -> RecordingId:
    value = UUID(bytes=raw)
    if value.version != 7:
        raise refuse(Code.MALFORMED, "recording id", expected="a UUIDv7", got=value)
    return RecordingId(value)


def _moment(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as cause:
        raise refuse(Code.MALFORMED, "time", expected="a year up to 9999", got=f"{microseconds} µs") from cause


def microseconds(moment: datetime) -> int:
    """Return a moment as this format writes it; ValueError where it is naive or before 1970."""
    if moment.tzinfo is None or moment < _EPOCH:
        raise ValueError(f"time: expected an aware moment after 1970, got {moment!r}")
    return (moment - _EPOCH) // _MICROSECOND
