"""What the desk and the process that makes footage unrecognisable say to each other, beside what a room says.

Numbers go out, and pictures in which everybody who is to be hidden is hidden already, or sealed footage. The framing is
that of cloud/viewing/messages.py.
"""

from datetime import datetime
from typing import BinaryIO

import msgspec

from cloud.redaction.rules.plan import Cut
from cloud.redaction.rules.tracks import Box, Hit, Key
from cloud.viewing.messages import (
    Declined,
    Given,
    Open,
    Opened,
    Ready,
    Show,
    Shown,
    ShowSlice,
    Splice,
    Spliced,
    Wanted,
    WantedKey,
    length_of,
)


class _Of(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which stretch of the film an order is about; its first picture is at `from_s`.

    `raw`: the sealed segment; empty where it is slice `number` of film `film` of another maker, in pieces.
    """

    recording: str
    from_s: float
    raw: bytes = b""
    film: int = 0
    number: int = 0


class Find(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="find"):
    """Find the faces in one stretch; in order, for what was found is followed into the next, unless it `ends` here."""

    ends: bool


class Follow(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="follow"):
    """Follow what is in this box through one stretch, from the moment of the box; without one, from its begin."""

    at_s: float
    box: Box


class Preview(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="preview"):
    """Show a stretch as it will be made, with the names of who looks burnt in."""

    cut: Cut
    mark: tuple[str, ...]


class Begin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="begin"):
    """Begin a derivative: a recording of its own, under a fresh key that is sealed to these recipients."""

    recording: str
    derivative: str
    tenant: bytes
    recipients: tuple[tuple[bytes, bytes], ...]  # key id, public key
    tree_size: int
    root: bytes
    begins_at: datetime


class Hide(_Of, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hide"):
    """Make one segment of the derivative; in order, each once.

    When it was filmed (`starts_at` to `ends_at`) and whether before the press, a segment says itself; a slice does not.
    """

    cut: Cut
    starts_at: datetime
    ends_at: datetime
    pre_record: bool


class Finish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="finish"):
    """Close the derivative."""

    ended_at: datetime


class Found(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="found"):
    """Where faces are: numbers, no pictures. `pictures` is how many were looked at."""

    hits: tuple[Hit, ...]
    pictures: int
    detector: str


class Followed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="followed"):
    """Where it went; `lost` when it was not sure any more."""

    keys: tuple[Key, ...]
    lost: bool


class Begun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="begun"):
    """The derivative's head, its first segment, and the public half of the key that signs it and dies with the room."""

    head: bytes
    first: bytes
    public_key: bytes


class Hidden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hidden"):
    """One sealed segment of the derivative."""

    segment: bytes


class Finished(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="finished"):
    """The derivative's end record, and the SHA-256 of its film in the clear."""

    end: bytes
    film_sha256: bytes


RedactionOrder = Open | Show | Splice | ShowSlice | Given | Find | Follow | Preview | Begin | Hide | Finish
RedactionAnswer = (
    Ready | Opened | Shown | Spliced | Wanted | WantedKey | Declined | Found | Followed | Begun | Hidden | Finished
)


def read_redaction_order(stream: BinaryIO) -> RedactionOrder | None:
    """Return the next order, or None when the stream ended; raise ValueError or msgspec.DecodeError."""
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    return msgspec.msgpack.decode(stream.read(length_of(prefix)), type=RedactionOrder)  # type: ignore[no-any-return]


def read_redaction_answer(body: bytes) -> RedactionAnswer:
    """Return the answer these bytes say; raise msgspec.DecodeError."""
    return msgspec.msgpack.decode(body, type=RedactionAnswer)  # type: ignore[no-any-return]
