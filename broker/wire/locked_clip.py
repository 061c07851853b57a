"""A clip that an Axis camera encrypted, opened with its own key: AES in CBC, PKCS 7. Needs nothing but `cryptography`.

BUG(axis): CBC without a MAC does not show a changed clip; the seal that we put around it does, from its arrival on.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from broker.wire.refusals import Code, refuse

IV_BYTES: Final = 16


def open_clip(pieces: Iterable[bytes], key: bytes, iv: bytes) -> Iterator[bytes]:
    """Yield the clip in the clear; raise Refused (NOT_ALLOWED): another key, or damage.

    Nothing of the last block is given out when its padding is wrong.
    """
    try:
        decryptor, unpad = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor(), PKCS7(128).unpadder()
        for piece in pieces:
            yield unpad.update(decryptor.update(piece))
        yield unpad.update(decryptor.finalize()) + unpad.finalize()
    except ValueError as cause:
        raise refuse(Code.NOT_ALLOWED, "clip", expected="one that this key opens", got=cause) from cause
