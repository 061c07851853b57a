"""The municipality's content keys: what opens clips that cameras of another maker encrypted before we sealed them.

Each lies in a file of its own under the root, as the generations do, and is opened for one request at a time. It opens
nothing by itself: the clip lies inside our own seal, whose key is destroyed with the recording.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from broker.wire.content_key import content_key_id, unwrap
from broker.wire.refusals import Code, Refused, refuse
from cloud.kluis.keys import Root, open_row, seal_row, write_secret

LEAST_BITS: Final = 2048
_LABEL: Final = b"vier-ogen/content-key/v1\0"


class ContentKeys:
    """Those of one Kluis, in a folder that need not be there."""

    def __init__(self, folder: Path, root: Root) -> None:
        self._folder, self._root = folder, root

    def add(self, private: RSAPrivateKey) -> str:
        """Keep this key, and return its id; the same key twice is one. ValueError for one that is too short."""
        if private.key_size < LEAST_BITS:
            raise ValueError(f"content key: expected at least {LEAST_BITS} bits, got {private.key_size}")
        name = content_key_id(private.public_key())
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{name}.sealed"
        if not path.exists():
            der = private.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_secret(path, seal_row(self._root.wrapping_key, der, about=_LABEL + name.encode()))
        return name

    def open(self, wrapped: bytes) -> tuple[bytes, str]:
        """Return (a clip's key, id of the content key that opened it); raise Refused (NOT_ALLOWED): none does."""
        for name, private in self._all():
            try:
                return unwrap(wrapped, private), name
            except Refused:
                continue
        raise refuse(Code.NOT_ALLOWED, "clip", expected="one that a content key in the Kluis opens", got="another")

    def _all(self) -> Iterator[tuple[str, RSAPrivateKey]]:
        for path in sorted(self._folder.glob("*.sealed")):
            der = open_row(self._root.wrapping_key, path.read_bytes(), about=_LABEL + path.stem.encode())
            private = serialization.load_der_private_key(der, None)
            assert isinstance(private, RSAPrivateKey)
            yield path.stem, private
