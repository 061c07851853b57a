"""Ed25519 by libsodium, for where many signatures are verified one after the other.

`cryptography` takes 110 µs for a signature, libsodium 55; both let other threads work meanwhile. Both compare without
the cofactor (RFC 8032 section 5.1.7 leaves the choice) and refuse a second form of the same signature (S not below L).
libsodium also refuses keys and R of small order, and keys that are not written in the one canonical way. So it accepts
nothing that `cryptography` refuses: what came in by the one is confirmed by the other, with which the verifier
and the dock make do.
"""

from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

SIGNATURE_BYTES: Final = crypto_sign_BYTES


class SodiumKey:
    """A public key that verifies as `Ed25519PublicKey` does."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        """Take the raw key, 32 bytes; raise ValueError for what `cryptography` would not take either."""
        Ed25519PublicKey.from_public_bytes(raw)
        self._raw = raw

    @classmethod
    def of(cls, key: Ed25519PublicKey) -> Self:
        """Return the same key."""
        return cls(key.public_bytes_raw())

    def public_bytes_raw(self) -> bytes:
        """Return the raw key, 32 bytes."""
        return self._raw

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise InvalidSignature unless the holder of this key signed exactly these bytes."""
        if len(signature) != SIGNATURE_BYTES:  # libsodium gets both in one: bytes must not move from one to the other
            raise InvalidSignature
        try:
            crypto_sign_open(signature + data, self._raw)
        except BadSignatureError as cause:
            raise InvalidSignature from cause
