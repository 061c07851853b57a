"""Who and where: identifiers, parsed once at the door, then trusted."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final, NewType
from uuid import UUID

Org = NewType("Org", str)
"""A municipality (tenant, controller) as one level of a topic: ``heusden``."""

DeviceId = NewType("DeviceId", str)
"""A camera, dock or service: its certificate's common name and its MQTT client id. Never a person."""

RecordingId = NewType("RecordingId", UUID)
"""UUIDv7 (RFC 9562), fixed by the camera at the press."""

CameraKeyId = NewType("CameraKeyId", bytes)
"""16 bytes: SHA-256 of the camera's raw Ed25519 public key, shortened."""

TenantId = NewType("TenantId", bytes)
"""16 bytes: SHA-256 of a fixed label and the municipality's slug, shortened."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLI: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,38}[a-z0-9])")


class NotAnIdentifier(ValueError):  # noqa: N818 - reads as a sentence where it is raised
    """The text is not of the form this kind of identifier has."""

    def __init__(self, kind: str, got: object) -> None:
        super().__init__(f"{kind}: expected 3 to 40 of a-z, 0-9 and inner hyphens, got {got!r}")


def parse_org(text: str) -> Org:
    """Return the municipality's slug, or raise NotAnIdentifier."""
    if not _SLUG.fullmatch(text):
        raise NotAnIdentifier("municipality", text)
    return Org(text)


def parse_device(text: str) -> DeviceId:
    """Return the device's id, or raise NotAnIdentifier."""
    if not _SLUG.fullmatch(text):
        raise NotAnIdentifier("device", text)
    return DeviceId(text)


def parse_recording(text: str) -> RecordingId:
    """Return the recording's id in its one canonical spelling (lower case, hyphens), or raise ValueError."""
    value = UUID(text)
    if str(value) != text or value.version != 7:
        raise ValueError(f"recording: expected a UUIDv7 in lower case with hyphens, got {text!r}")
    return RecordingId(value)


def uuid7(now: datetime, entropy: bytes) -> UUID:
    """Return the UUIDv7 (RFC 9562 section 5.7) of this millisecond and 10 fresh random bytes."""
    if len(entropy) != 10:
        raise ValueError(f"uuid7: expected 10 bytes of entropy, got {len(entropy)}")
    millis = int(now.timestamp() * 1000)
    raw = bytearray(millis.to_bytes(6, "big") + entropy)
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return UUID(bytes=bytes(raw))


def fixed_at(recording: RecordingId) -> datetime:
    """Return the millisecond at which this id was made, by the clock of whoever made it: for a camera, the press.

    A clock that runs beyond the year 9999 counts as its end.
    """
    millis = int.from_bytes(recording.bytes[:6], "big")
    return min(millis, _LAST_MILLI) * timedelta(milliseconds=1) + _EPOCH


def tenant_id(org: Org) -> TenantId:
    """Return the 16 bytes by which a recording's head names its municipality."""
    return TenantId(hashlib.sha256(b"vier-ogen/tenant/v1\0" + org.encode()).digest()[:16])


def camera_key_id(public_key: bytes) -> CameraKeyId:
    """Return the 16 bytes by which a recording names its camera, from the raw 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise ValueError(f"camera key: expected 32 raw bytes, got {len(public_key)}")
    return CameraKeyId(hashlib.sha256(public_key).digest()[:16])
