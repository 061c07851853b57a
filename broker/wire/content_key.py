"""Clips that an Axis camera encrypted: what the `.key` file beside one says, and how a clip's own key is opened.

Each clip has a random AES-256 key (CBC, PKCS 7), wrapped with RSA-OAEP (SHA-1, as Axis's own decrypt_file.sh) for the
municipality's content key. Source: Axis Body Worn Content Destination API 1.6. The file's schema is not published:
names are looked for at any depth.
"""

import hashlib
from base64 import b64decode
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

from broker.wire.locked_clip import IV_BYTES
from broker.wire.refusals import Code, refuse

MOST_KEY_FILE_BYTES: Final = 64 * 1024
MOST_WRAPPED_BYTES: Final = 1024  # RSA of 8192 bits
_INFO_LABEL: Final = b"vo/content-key/v1\0"


def read_key_file(raw: bytes) -> tuple[bytes, bytes]:
    """Return (wrapped key, initial vector); raise Refused (MALFORMED)."""
    if len(raw) > MOST_KEY_FILE_BYTES:
        raise refuse(Code.MALFORMED, "key file", expected=f"at most {MOST_KEY_FILE_BYTES} bytes", got=len(raw))
    try:
        said = msgspec.json.decode(raw)
        wrapped, iv = b64decode(_find(said, "EncryptedKey")), b64decode(_find(said, "ContentEncryptionIV"))
    except (msgspec.DecodeError, ValueError, KeyError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "key file", expected="EncryptedKey, ContentEncryptionIV", got=cause) from cause
    if len(iv) != IV_BYTES or not 0 < len(wrapped) <= MOST_WRAPPED_BYTES:
        got = f"{len(wrapped)} and {len(iv)} bytes"
        raise refuse(Code.MALFORMED, "key file", expected="a wrapped key and 16 bytes", got=got)
    return wrapped, iv


def content_key_id(key: RSAPublicKey) -> str:
    """Return by what a key file may name this content key: the SHA-256 of its public half."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def unwrap(wrapped: bytes, private: RSAPrivateKey) -> bytes:
    """Return a clip's own key; raise Refused (NOT_ALLOWED) when it was wrapped for another content key."""
    try:
        oaep = padding.OAEP(mgf=padding.MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - Axis's format
        key = private.decrypt(wrapped, oaep)
    except ValueError as cause:
        raise refuse(Code.NOT_ALLOWED, "clip", expected="one that this content key opens", got=cause) from cause
    if len(key) not in (16, 24, 32):
        raise refuse(Code.NOT_ALLOWED, "clip", expected="a key of AES", got=f"{len(key)} bytes")
    return key


def content_info(request_sha256: bytes, wrapped: bytes) -> bytes:
    """Return what a clip's opened key is sealed with: for this one request, and for no other clip."""
    return _INFO_LABEL + request_sha256 + hashlib.sha256(wrapped).digest()


def _find(said: Any, name: str) -> str:
    match said:
        case {**fields}:
            if isinstance(fields.get(name), str):
                return str(fields[name])
            inner: Iterable[Any] = fields.values()
        case [*items]:
            inner = items
        case _:
            raise KeyError(name)
    for each in inner:
        try:
            return _find(each, name)
        except KeyError:
            continue
    raise KeyError(name)
