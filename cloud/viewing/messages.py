"""What the desk and the process that shows footage say to each other: MessagePack behind a four-byte length."""

import struct
from typing import BinaryIO, Final

import msgspec

MOST_BYTES: Final = 32 * 1024 * 1024
"""More than any segment of 8 MiB and its envelope; a longer length is a broken stream."""

SLICE_S: Final = 2
"""Seconds of a film from outside in one slice: made in a fraction of the time it plays."""

_LENGTH: Final = struct.Struct(">I")


class OpenRecording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recording of the room: who made it, and its keys sealed to this process."""

    recording: str
    camera_public_key: bytes
    head: bytes
    sealed: bytes
    first: int
    last: int


class Open(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="open"):
    """Open the keys that the Kluis released for the request with this hash."""

    request_sha256: bytes
    recordings: tuple[OpenRecording, ...]


class Show(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="show"):
    """Check, decrypt, mark and return one segment; sequence 0 gives what a player must read first."""

    raw: bytes
    recording: str
    mark: tuple[str, ...]
    pre_record: str


class Clip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A film that lies in the pieces of a recording, as it came: segments from `first`, each with its size in bytes.

    `key_first` and `key_sizes` say the same of the file with its key, where its camera encrypted it; else none.
    """

    first: int
    sizes: tuple[int, ...]
    key_first: int = 0
    key_sizes: tuple[int, ...] = ()


class Splice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="splice"):
    """Look what can be played of these clips. The process asks for the segments it needs."""

    recording: str
    clips: tuple[Clip, ...]


class ShowSlice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="show_slice"):
    """Return one slice of a clip that was spliced, marked."""

    recording: str
    clip: int
    number: int
    mark: tuple[str, ...]
    pre_record: str


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="given"):
    """What the process asked for in the middle of an order; empty: it cannot be had."""

    content: bytes


class Ready(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ready"):
    """The process is there; this is the key its session's footage must be sealed to."""

    public_key: bytes


class Opened(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="opened"):
    """The keys fit their heads."""


class Shown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="shown"):
    """A segment as the two people may see it."""

    media: bytes


class Playable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a player needs to know of a clip. `because`: why it cannot be played; then the rest says nothing."""

    init: bytes = b""
    slices: int = 0
    length_us: int = 0
    because: str = ""


class Spliced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="spliced"):
    """For each clip what can be played of it."""

    clips: tuple[Playable, ...]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="wanted"):
    """The process needs this segment before it can answer."""

    recording: str
    sequence: int


class WantedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="wanted_key"):
    """The process needs the key of a clip that its camera encrypted, opened by the Kluis and sealed to the session.

    The clip's key file is this segment.
    """

    recording: str
    sequence: int


class Declined(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="declined"):
    """What could not be done, as a refusal of broker/wire/refusals.py."""

    code: str
    what: str
    expected: str
    got: str


Order = Open | Show | Splice | ShowSlice | Given
Answer = Ready | Opened | Shown | Spliced | Wanted | WantedKey | Declined


def pack(message: msgspec.Struct) -> bytes:
    """Return the message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def length_of(prefix: bytes) -> int:
    """Return how many bytes follow; raise ValueError for a length no message has."""
    (length,) = _LENGTH.unpack(prefix)
    if not 0 < length <= MOST_BYTES:
        raise ValueError(f"message: expected 1 to {MOST_BYTES} bytes, got {length}")
    return int(length)


def read_order(stream: BinaryIO) -> Order | None:
    """Return the next order, or None when the stream ended; raise ValueError or msgspec.DecodeError."""
    prefix = stream.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    return msgspec.msgpack.decode(stream.read(length_of(prefix)), type=Order)  # type: ignore[no-any-return]


def read_answer(body: bytes) -> Answer:
    """Return the answer these bytes say; raise msgspec.DecodeError."""
    return msgspec.msgpack.decode(body, type=Answer)  # type: ignore[no-any-return]
