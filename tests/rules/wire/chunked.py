"""A second reader and writer of the encryption of a segment."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


class Chunked:
    """c2sp.org/chunked-encryption@v1 with AES-256-GCM, written out once more from its text, whole messages only.

    The published vectors derive with HKDF-SHA-256; Cobblestone-256, and so a segment, with HKDF-SHA-512. One reader
    that passes the vectors with the one and agrees with the library with the other ties both together.
    """

    def __init__(self, hash_: hashes.HashAlgorithm, key: bytes, context: bytes) -> None:
        self.hash, self.key, self.context = hash_, key, context

    def _derive(self, salt: bytes) -> tuple[AESGCM, int, bytes]:
        label = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
        derived = HKDFExpand(self.hash, 76, label + salt + self.context).derive(self.key)
        return AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big"), derived[44:]

    def open(self, message: bytes) -> bytes:
        if len(self.key) != 32 or len(message) < 56 + 16:
            raise InvalidTag
        aead, nonce, commitment = self._derive(message[:24])
        if commitment != message[24:56]:
            raise InvalidTag
        chunks = [message[at : at + 16_400] for at in range(56, len(message), 16_400)]
        if len(chunks[-1]) == 16_400:
            raise InvalidTag
        return b"".join(aead.decrypt((nonce ^ n).to_bytes(12, "big"), each, None) for n, each in enumerate(chunks))

    def seal(self, plaintext: bytes, salt: bytes) -> bytes:
        aead, nonce, commitment = self._derive(salt)
        chunks = [plaintext[at : at + 16_384] for at in range(0, len(plaintext) + 1, 16_384)]
        sealed = (aead.encrypt((nonce ^ n).to_bytes(12, "big"), each, None) for n, each in enumerate(chunks))
        return salt + commitment + b"".join(sealed)
