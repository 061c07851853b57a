"""What the receiver answers when a recording is safe: the only thing on which a camera wipes.

A receipt is canonical JSON (RFC 8785) and an Ed25519 signature over it by the receiver's key, which the camera got at
its enrolment. It binds the recording by head hash, count and last hash, so that it fits no other bytes.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.refusals import Code, refuse

_LABEL: Final = b"vier-ogen/receipt/v1\0"


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """These bytes of this recording are on disk, synced, and in the ledger. Hashes are SHA-256 in hexadecimal."""

    org: str
    recording: UUID
    camera_key: str
    head_sha256: str
    segments: int
    last_hash: str
    total_bytes: int
    stored_at: datetime
    ledger_size: int
    ledger_root: str


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    receipt: msgspec.Raw
    signature: bytes


def _canonical(receipt: Receipt) -> bytes:
    return rfc8785.dumps(msgspec.to_builtins(receipt))


def sign_receipt(receipt: Receipt, key: Ed25519PrivateKey) -> bytes:
    """Return the receipt as it is handed to dock and camera."""
    body = _canonical(receipt)
    return msgspec.json.encode(_Signed(receipt=msgspec.Raw(body), signature=key.sign(_LABEL + body)))


def read_receipt(raw: bytes, key: Ed25519PublicKey) -> Receipt:
    """Return the receipt if this receiver signed exactly it; raise Refused otherwise."""
    try:
        signed = msgspec.json.decode(raw, type=_Signed)
        key.verify(signed.signature, _LABEL + bytes(signed.receipt))
        receipt = msgspec.json.decode(signed.receipt, type=Receipt)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "receipt", expected="a signed receipt", got=cause) from cause
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, "receipt", expected="the receiver's signature", got="another") from cause
    if _canonical(receipt) != bytes(signed.receipt):
        raise refuse(Code.MALFORMED, "receipt", expected="canonical JSON", got="another spelling")
    return receipt
