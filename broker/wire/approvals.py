"""What two people sign before footage may be seen: one request, the same bytes for both.

A request is canonical JSON (RFC 8785). Whoever asks signs `request_challenge`, whoever agrees signs
`approval_challenge`: the two differ, so that one signature never serves as the other. Every act on the request has an
entry in the ledger whose fact `request_sha256` is the hash of exactly these bytes, in hexadecimal.
"""

import hashlib
from base64 import b64decode
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import rfc8785

from broker.wire.ids import RecordingId, parse_recording
from broker.wire.refusals import Code, refuse
from broker.wire.statements import (
    Credential,
    Kind,
    Place,
    Statement,
    check_statement,
    sign_in_software,
    software_credential,
)

__all__ = [
    "LONGEST_LIFE",
    "MAX_REQUEST_BYTES",
    "REQUEST_SHA256",
    "Credential",
    "Kind",
    "Place",
    "Range",
    "Statement",
    "ViewingRequest",
    "approval_challenge",
    "canonical",
    "change_challenge",
    "check_statement",
    "read_request",
    "request_challenge",
    "request_sha256",
    "sign_in_software",
    "software_credential",
    "split_keys",
]

LONGEST_LIFE: Final = timedelta(minutes=15)
"""A request lives no longer: whoever signs must mean now (ASVS 5.0 7.5.3: fresh proof for each sensitive act)."""

MAX_REQUEST_BYTES: Final = 32_768
"""Fits a few hundred recordings; a reader need not read further."""

REQUEST_SHA256: Final = "request_sha256"
"""The fact, in the ledger's entries viewing.requested and viewing.approved, that names the request's bytes."""

_REQUEST_LABEL: Final = b"vo/request/v1\0"
_APPROVAL_LABEL: Final = b"vo/approve/v1\0"
_CHANGE_LABEL: Final = b"vo/change/v1\0"


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Segments first..last inclusive of one recording. Segment 0 holds no footage and always goes along."""

    id: str
    first: int
    last: int

    @property
    def recording(self) -> RecordingId:
        """The recording's parsed id."""
        return parse_recording(self.id)


class ViewingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wants to see what, with whom, for which purpose and case, until when, on which session.

    `session_key` is the session's raw X-Wing public key (1216 bytes) in base64; whatever is released is sealed to it.
    `reason_commitment` is SHA-256(salt || text) in hexadecimal: the text itself can be erased, the signature stands.
    `recorder` made the recordings (None when unknown or several did); `involved` names everybody who recorded or was
    there. `second` is None where the policy asks for one person.
    By signing, both also state that the case was open.
    """

    v: int = 1
    id: str
    org: str
    recordings: tuple[Range, ...]
    from_at: datetime
    until_at: datetime
    purpose: str
    case: str
    case_kind: str
    case_open: bool = True
    reason_commitment: str | None = None
    reason: str | None = None
    requester: str
    second: str | None
    recorder: str | None = None
    involved: tuple[str, ...] = ()
    session_key: str
    issued_at: datetime
    not_after: datetime
    policy_version: int


def canonical(request: ViewingRequest) -> bytes:
    """Return the bytes both people sign."""
    return rfc8785.dumps(msgspec.to_builtins(request))


def read_request(raw: bytes) -> ViewingRequest:
    """Return the request these bytes say; raise Refused (MALFORMED, TOO_LARGE). Says nothing about who signed it."""
    if len(raw) > MAX_REQUEST_BYTES:
        raise refuse(Code.TOO_LARGE, "viewing request", expected=f"at most {MAX_REQUEST_BYTES} bytes", got=len(raw))
    try:
        request = msgspec.json.decode(raw, type=ViewingRequest)
        UUID(request.id)
        key_bytes = len(b64decode(request.session_key, validate=True))
        for each in request.recordings:
            parse_recording(each.id)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "viewing request", expected="the documented form", got=cause) from cause
    if canonical(request) != raw:
        raise refuse(Code.MALFORMED, "viewing request", expected="canonical JSON", got="another spelling")
    if request.v != 1:
        raise refuse(Code.MALFORMED, "viewing request", expected="version 1", got=request.v)
    if key_bytes != 1216:
        raise refuse(Code.MALFORMED, "session key", expected="1216 bytes", got=key_bytes)
    if any(moment.tzinfo is None for moment in (request.from_at, request.until_at, request.issued_at)) or (
        request.not_after.tzinfo is None
    ):
        raise refuse(Code.MALFORMED, "viewing request", expected="times with their zone", got="a naive time")
    return request


def request_sha256(raw: bytes) -> bytes:
    """Return the 32 bytes by which the ledger and the sealed keys name this request."""
    return hashlib.sha256(raw).digest()


def request_challenge(raw: bytes) -> bytes:
    """Return what the person who asks signs, 32 bytes; it is the WebAuthn challenge as it stands."""
    return hashlib.sha256(_REQUEST_LABEL + raw).digest()


def approval_challenge(raw: bytes) -> bytes:
    """Return what the person who agrees signs, 32 bytes."""
    return hashlib.sha256(_APPROVAL_LABEL + raw).digest()


def change_challenge(raw: bytes) -> bytes:
    """Return what two officials sign under a change of the Kluis's roster or policy, 32 bytes."""
    return hashlib.sha256(_CHANGE_LABEL + raw).digest()


def split_keys(keys: bytes, *, first: int, last: int) -> dict[int, bytes]:
    """Return sequence -> key from what the Kluis sealed: the keys of first..last in order, then that of segment 0."""
    expected = (last - first + 2) * 32
    if len(keys) != expected:
        raise refuse(Code.MALFORMED, "released keys", expected=f"{expected} bytes", got=len(keys))
    found = {first + n: keys[n * 32 : n * 32 + 32] for n in range(last - first + 1)}
    found[0] = keys[-32:]
    return found
