"""What remains of a destroyed recording: the Kluis's signed word that its only key is gone.

Issued twice. *executed*: the key's row is deleted and the store no longer opens it; backups made under the same
generation of the vault key may still hold it, sealed. *final*: that generation is destroyed, and with it every such
backup. It proves the destruction of the only key by procedure; that nobody kept a copy cannot be proven.
"""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.refusals import Code, refuse

_LABEL: Final = b"vier-ogen/destruction/v1\0"


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One destruction. Hashes are SHA-256 in hexadecimal.

    `commitment` and `head_sha256` are empty when the Kluis never held this recording's key (it will refuse it from now
    on). `entry_sha256` is the leaf hash of the ledger entry that ordered it. `final_after` is when the last backup that
    may hold the sealed key has expired; `final_at` is set in the final certificate only.
    """

    v: int = 1
    org: str
    recording: UUID
    state: Literal["executed", "final"]
    held: bool
    commitment: str
    head_sha256: str
    rule: str
    entry_sha256: str
    executed_at: datetime
    generation: int
    final_after: datetime
    final_at: datetime | None = None


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: msgspec.Raw
    signature: bytes


def _canonical(certificate: Certificate) -> bytes:
    return rfc8785.dumps(msgspec.to_builtins(certificate))


def sign_certificate(certificate: Certificate, key: Ed25519PrivateKey) -> bytes:
    """Return the certificate as it is kept; the same facts always give the same bytes."""
    body = _canonical(certificate)
    return msgspec.json.encode(_Signed(certificate=msgspec.Raw(body), signature=key.sign(_LABEL + body)))


def read_certificate(raw: bytes, kluis_key: Ed25519PublicKey) -> Certificate:
    """Return the certificate if this Kluis signed exactly it; raise Refused (MALFORMED, BAD_SIGNATURE)."""
    try:
        signed = msgspec.json.decode(raw, type=_Signed)
        kluis_key.verify(signed.signature, _LABEL + bytes(signed.certificate))
        certificate = msgspec.json.decode(signed.certificate, type=Certificate)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "certificate", expected="a signed certificate", got=cause) from cause
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, "certificate", expected="the Kluis's signature", got="another") from cause
    if _canonical(certificate) != bytes(signed.certificate):
        raise refuse(Code.MALFORMED, "certificate", expected="canonical JSON", got="another spelling")
    return certificate


def claimed_certificate(raw: bytes) -> Certificate:
    """Return what a certificate says, its signature unchecked: to show what was kept, never to rely on it."""
    return msgspec.json.decode(msgspec.json.decode(raw, type=_Signed).certificate, type=Certificate)
