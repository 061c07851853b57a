"""What is said over the Kluis's socket: JSON both ways, refusals as problem documents (broker/wire/refusals.py)."""

from datetime import datetime
from typing import Literal

import msgspec

from broker.wire.statements import Statement


class KluisPublic(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may know. Keys are raw Ed25519, 32 bytes: for key lists and certificates, and for the journal."""

    org: str
    mode: Literal["demonstration", "standard"]
    signing_key: bytes
    journal_origin: str
    journal_key: bytes
    policy_version: int
    roster_version: int
    roster_sha256: str
    held: int
    destroyed: int
    generation: int


class IntakeOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take this recording's key. `end` is the camera's end record, when it has come."""

    head: bytes
    camera_public_key: bytes
    end: bytes | None = None


class ReleaseOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seal these recordings' keys to the request's session."""

    request: bytes
    statements: tuple[Statement, ...]
    entries: tuple[bytes, ...]
    proofs: tuple[bytes, ...]


class ReleasedRecording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recording's head, and its keys sealed to the session key: approvals.split_keys says how they lie."""

    recording: str
    first: int
    last: int
    head: bytes
    sealed: bytes


class Released(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the Kluis gave out. Sealed with HPKE info = SHA-256 of the request's bytes."""

    request_sha256: bytes
    recordings: tuple[ReleasedRecording, ...]
    journal_index: int


class ContentKeyOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open the key of a clip that its camera encrypted, for a request released at `journal_index`.

    `segment`: the sealed one that holds the clip's key file, signed by `camera_public_key`.
    """

    request: bytes
    journal_index: int
    camera_public_key: bytes
    segment: bytes


class DestroyOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Destroy the key that this ledger entry orders destroyed."""

    recording: str
    entry: bytes
    proof: bytes


class Certificates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signed certificates of one destruction; `final` comes when the last backup has expired."""

    executed: bytes
    final: bytes | None = None


class ChangeOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put a new roster or policy in force: two officials signed it and it stands in the ledger."""

    document: bytes
    statements: tuple[Statement, ...]
    entry: bytes
    proof: bytes


class CloseCaseOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Never release for this case again."""

    entry: bytes
    proof: bytes


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recording as the Kluis knows it. `unreadable`: its key's generation is gone, after a partial restore."""

    recording: str
    commitment: str
    state: Literal["held", "destroyed", "final", "unreadable"]


class Housekeeping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one round of housekeeping did."""

    epochs_destroyed: tuple[int, ...] = ()
    rotated_to: int | None = None
    generations_destroyed: tuple[int, ...] = ()
    made_final: tuple[str, ...] = ()


class Documents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The roster and the policy in force, each under the Kluis's signature (rules/roster.py: read_document)."""

    roster: bytes
    policy: bytes
    at: datetime
