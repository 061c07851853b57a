"""The keys of one recording, and who can get at them. Nothing here is a new primitive; no caller supplies a nonce.

A recording has one data key of 32 random bytes. Everything else follows from it and from the recording's id (16 bytes):

    commitment              = HKDF-Expand-SHA512(data key, "vier-ogen/commit/v1" 00 id, 32)
    chain 0                 = HKDF-Expand-SHA512(data key, "vier-ogen/chain0/v1" 00 id, 32)
    chain i+1 || segment i  = HKDF-Expand-SHA512(chain i,  "vier-ogen/ratchet/v1" 00 id, 64)

The ratchet runs one way, in the manner of TLS 1.3's KeyUpdate (RFC 8446 section 7.2): who holds chain i can make the
keys of segment i and later, and of no earlier one. The head carries the commitment: one head fits one data key only.

The data key leaves the camera as one to three shares, whose XOR it is; each share is sealed to one party with HPKE
(RFC 9180, base mode, one-shot) over X-Wing (KEM 0x647a, ML-KEM-768 with X25519), HKDF-SHA256 and AES-256-GCM. A raw
public key is ML-KEM-768's 1184 bytes and then X25519's 32; a private key is X-Wing's 32-byte seed.

BUG: Python cannot promise to erase a key from memory (`bytes` are immutable, libraries copy). What is promised: no
reference is kept, and no secret is written or shown.
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from broker.wire.ids import RecordingId
from broker.wire.refusals import Code, refuse

KEY_BYTES: Final = 32  # data key, share, chain and segment key alike
KEY_ID_BYTES: Final = 16
PUBLIC_KEY_BYTES: Final = 1216  # ML-KEM-768 1184, X25519 32
SEALED_OVERHEAD_BYTES: Final = 1136  # what sealing adds: HPKE enc 1120, AES-GCM tag 16

_MLKEM_PUBLIC_BYTES: Final = 1184
_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True, kw_only=True)
class XWingKeyPair:
    """A party's key pair. The seed is secret and never in `repr`."""

    seed: bytes = field(repr=False)  # 32
    public_key: bytes = field(repr=False)  # 1216, raw
    key_id: bytes  # SHA-256(public_key)[:16]


def xwing_from_seed(seed: bytes) -> XWingKeyPair:
    """Return the key pair of this 32-byte secret seed (X-Wing's expandDecapsulationKey)."""
    mlkem, x25519 = _expand(seed)
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    return XWingKeyPair(seed=seed, public_key=public, key_id=public_key_id(public))


def public_key_id(public_key: bytes) -> bytes:
    """Return the 16 bytes by which a head names this raw public key."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def seal_to(public_key: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """Seal to a raw public key: 1120 bytes of encapsulation, then plaintext + 16 bytes. Refused (MALFORMED): bad key.

    `info` names what this is for; it is not sent, and opening takes exactly the same bytes (RFC 9180 section 8.1).
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise refuse(Code.MALFORMED, "public key", expected=f"{PUBLIC_KEY_BYTES} bytes", got=len(public_key))
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public_key[:_MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public_key[_MLKEM_PUBLIC_BYTES:]),
        )
        return _HPKE.encrypt(plaintext, key, info=info)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "public key", expected="an X-Wing public key", got=cause) from cause


def open_sealed(keys: XWingKeyPair, sealed: bytes, *, info: bytes) -> bytes:
    """Return what was sealed to this key pair for this `info`; Refused (MALFORMED) for anything else."""
    try:
        return _HPKE.decrypt(sealed, MLKEM768X25519PrivateKey(*_expand(keys.seed)), info=info)
    except (InvalidTag, ValueError) as cause:
        raise refuse(
            Code.MALFORMED, "sealed box", expected="sealed to this key, for this purpose", got="another, or damaged"
        ) from cause


def commitment_of(data_key: bytes, recording: RecordingId) -> bytes:
    """Return the 32 bytes that fix the data key in the head without giving it away."""
    return _expand_label(_checked(data_key), b"vier-ogen/commit/v1", recording, KEY_BYTES)


def split_data_key(data_key: bytes, shares: int) -> tuple[bytes, ...]:
    """Return so many shares whose XOR is the data key; all but the last are random bytes, so fewer tell nothing."""
    fresh = tuple(AESGCM.generate_key(bit_length=8 * KEY_BYTES) for _ in range(shares - 1))
    return (*fresh, join_shares((_checked(data_key), *fresh)))


def join_shares(shares: tuple[bytes, ...]) -> bytes:
    """Return the XOR of the shares; whether it is the right data key only the head's commitment can say."""
    return reduce(_xor, map(_checked, shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratchet:
    """What makes the keys of a recording's segments from one segment on, of none before. Never shown or pickled."""

    recording: RecordingId
    chain: bytes = field(repr=False)

    @classmethod
    def of(cls, data_key: bytes, recording: RecordingId) -> "Ratchet":
        """Return the ratchet that stands before segment 0."""
        chain = _expand_label(_checked(data_key), b"vier-ogen/chain0/v1", recording, KEY_BYTES)
        return cls(recording=recording, chain=chain)

    def turn(self) -> tuple[bytes, "Ratchet"]:
        """Return this segment's key and the ratchet of the next: who keeps only that cannot make this key again."""
        step = _expand_label(self.chain, b"vier-ogen/ratchet/v1", self.recording, 2 * KEY_BYTES)
        return step[KEY_BYTES:], Ratchet(recording=self.recording, chain=step[:KEY_BYTES])

    def __reduce__(self) -> str:
        """Refuse to be pickled: a secret is not written down."""
        raise TypeError("a ratchet is a secret and is not written down")


def segment_keys(data_key: bytes, recording: RecordingId, first: int, last: int) -> tuple[bytes, ...]:
    """Return the keys of segments first..last inclusive, and of no other. ValueError unless 0 <= first <= last.

    Reaching segment n takes n turns: about 3 microseconds each.
    """
    if not 0 <= first <= last:
        raise ValueError(f"segment keys: expected 0 <= first <= last, got {first}..{last}")
    return tuple(itertools.islice(_turns(Ratchet.of(data_key, recording)), first, last + 1))


def _turns(ratchet: Ratchet) -> Iterator[bytes]:
    while True:
        key, ratchet = ratchet.turn()
        yield key


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    expanded = hashlib.shake_256(_checked(seed)).digest(96)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def _expand_label(key: bytes, label: bytes, recording: RecordingId, length: int) -> bytes:
    return HKDFExpand(hashes.SHA512(), length, label + b"\0" + recording.bytes).derive(key)


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"key: expected {KEY_BYTES} bytes, got {len(key)}")
    return key


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
