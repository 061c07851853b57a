"""What a dock hands in, read and checked: form, signatures, chain. No database and no disk; a verdict, or Refused."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.ids import DeviceId
from broker.wire.recording import (
    ChainState,
    ChainVerdict,
    End,
    Flag,
    Head,
    Kind,
    SegmentFacts,
    check_chain,
    read_segment_ends,
    unverified_segment_ends,
)
from broker.wire.refusals import Code, Refused, refuse

MOST_SEGMENTS: Final = 200_000  # a day and a night of one-second segments, doubled


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a dock hands in when all segments are up: the camera's head and end record, and the segments in order.

    `damaged` names, by sequence, segments that do not verify: their bytes were kept as they are, under their SHA-256.
    """

    head: bytes
    digests: tuple[str, ...]
    end: bytes
    damaged: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredCamera:
    """A camera as the register knows it."""

    id: DeviceId
    raw_key: bytes
    key: Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Everything that was read and checked of one submission. Times are the camera's."""

    camera: RegisteredCamera
    dock: DeviceId
    head: Head
    end: End
    end_record: bytes
    facts: tuple[SegmentFacts, ...]
    damaged: Mapping[int, bytes]
    chain: ChainVerdict

    @property
    def started_at(self) -> datetime:
        """When the first footage begins; the initialisation segment has no length and does not count."""
        footage = [each for each in self.facts if each.kind is Kind.VIDEO and each.ends_at > each.starts_at]
        return min((each.starts_at for each in footage or self.facts), default=self.end.ended_at)

    @property
    def flagged_pre_record_s(self) -> float:
        """How much the segments themselves say is from before the press, in seconds."""
        flagged = [each for each in self.facts if Flag.PRE_RECORD in each.flags and each.ends_at > each.starts_at]
        if not flagged:
            return 0.0
        return (max(each.ends_at for each in flagged) - self.started_at).total_seconds()


def names_of(submission: Submission) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return (digests of the segments that verify, hashes of the damaged ones) by place; raise Refused (MALFORMED)."""
    if len(submission.digests) > MOST_SEGMENTS:
        raise refuse(
            Code.TOO_LARGE, "recording", expected=f"at most {MOST_SEGMENTS} segments", got=len(submission.digests)
        )
    try:
        damaged = {int(place): _hash(name) for place, name in submission.damaged.items()}
        digests = {place: _hash(name) for place, name in enumerate(submission.digests) if place not in damaged}
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "recording", expected="SHA-256 in 64 hexadecimal digits", got=cause) from cause
    if not damaged.keys() <= set(range(len(submission.digests))):
        raise refuse(Code.MALFORMED, "recording", expected="damage at a place of this recording", got=sorted(damaged))
    return digests, damaged


def _hash(name: str) -> bytes:
    value = bytes.fromhex(name)
    if value.hex() != name or len(value) != hashlib.sha256().digest_size:
        raise ValueError(name)
    return value


def read_what_is_signed(
    ends: Sequence[tuple[bytes, bytes]], key: Ed25519PublicKey, *, vouched: bool = False
) -> list[SegmentFacts]:
    """Return what the segments say that this camera signed; the others are left out, and so show up as missing.

    `vouched`: no signature is verified, because the chain will show whether the camera signed for all of them at once.
    """
    facts = []
    for header, tail in ends:
        try:
            facts.append(unverified_segment_ends(header, tail) if vouched else read_segment_ends(header, tail, key))
        except Refused:
            continue
    return facts


def judge_chain(head: Head, facts: tuple[SegmentFacts, ...], end: End, *, unreadable: int) -> ChainVerdict:
    """Return the verdict on the whole; `unreadable` segments are here and do not bear the camera's signature."""
    if unreadable:
        return ChainVerdict(
            state=ChainState.TAMPERED, because=f"{unreadable} of {end.segments} segments do not bear the camera's seal"
        )
    return check_chain(head, facts, end)
