"""The municipality's content key: what opens clips that an Axis camera encrypted. It never comes near intake.

    python -m cloud.intake.axis.content_key make PRIVATE PUBLIC          once, on a machine of the municipality
    python -m cloud.intake.axis.content_key open PRIVATE CLIP KEY OUT    after a room or a hand-over gave clip and .key

Each clip has its own AES-256 key (CBC, PKCS 7), wrapped with RSA-OAEP (SHA-1, as Axis's own decrypt_file.sh), in a
`.key` file beside it. BUG(axis): CBC without a MAC does not show a changed clip; our seal around it does, from its
arrival on.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from broker.wire.content_key import read_key_file, unwrap
from broker.wire.locked_clip import open_clip as open_with

_BITS: Final = 4096
_PIECE_BYTES: Final = 1024 * 1024


def make() -> RSAPrivateKey:
    """Return a new content key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


def open_clip(pieces: Iterable[bytes], key_file: bytes, private: RSAPrivateKey) -> Iterator[bytes]:
    """Yield the clip in the clear; raise Refused (MALFORMED: the key file, NOT_ALLOWED: another key, or damage).

    Nothing of the last block is given out when its padding is wrong.
    """
    wrapped, iv = read_key_file(key_file)
    yield from open_with(pieces, unwrap(wrapped, private), iv)


def main(argv: Sequence[str]) -> int:
    """Make a content key, or open a clip with it."""
    parser = argparse.ArgumentParser(prog="python -m cloud.intake.axis.content_key", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    making = acts.add_parser("make")
    making.add_argument("private", type=Path)
    making.add_argument("public", type=Path)
    opening = acts.add_parser("open")
    for name in ("private", "clip", "key", "out"):
        opening.add_argument(name, type=Path)
    arguments = parser.parse_args(argv)
    password = getpass.getpass("password of the content key: ").encode()
    if arguments.act == "make":
        private = make()
        sealed = serialization.BestAvailableEncryption(password)
        pkcs8, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
        _write(arguments.private, [private.private_bytes(pem, pkcs8, sealed)])
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        _write(arguments.public, [private.public_key().public_bytes(pem, spki)])
        return 0
    loaded = serialization.load_pem_private_key(arguments.private.read_bytes(), password)
    if not isinstance(loaded, RSAPrivateKey):
        parser.error(f"expected an RSA key in {arguments.private}")
    with arguments.clip.open("rb") as clip:
        pieces = iter(lambda: clip.read(_PIECE_BYTES), b"")
        _write(arguments.out, open_clip(pieces, arguments.key.read_bytes(), loaded))
    return 0


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        for piece in pieces:
            file.write(piece)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
