"""The Kluis's own keys: one root secret, and the generations of the vault key under which everything is kept.

The root never changes and can be recovered from paper (SLIP-39, three of five). It opens nothing by itself: rows are
sealed under a generation, each generation is a random key in a file of its own, and that file is sealed under the root.
Once a generation's file is destroyed, neither the root nor any copy of the store brings its rows back.
"""

import contextlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics

from broker.durable import sync_folder

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""Random per row: one generation seals far fewer than 2**32 rows (NIST SP 800-38D section 8.3)."""

SHARES_NEEDED: Final = 3
SHARES_MADE: Final = 5
"""Envelopes of the founding ceremony: any three restore the root, so that two may be lost and two may collude."""


class KluisDamaged(Exception):  # noqa: N818 - says what is the matter
    """A key or row of the Kluis cannot be opened: another root, a changed file, or a generation that is gone."""


def seal_row(key: bytes, plaintext: bytes, *, about: bytes) -> bytes:
    """Return nonce and ciphertext (AES-256-GCM) that open only with the same `about`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, about)


def open_row(key: bytes, sealed: bytes, *, about: bytes) -> bytes:
    """Return what was sealed; raise KluisDamaged."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as cause:
        raise KluisDamaged(f"{about!r}: expected what this key sealed, got something else") from cause


@dataclass(frozen=True, slots=True)
class Root:
    """The root secret and what is derived from it."""

    secret: bytes = field(repr=False)

    @classmethod
    def make(cls) -> "Root":
        """Return a fresh one."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """Signs key lists, certificates, the roster and the policy."""
        return Ed25519PrivateKey.from_private_bytes(self._derive(b"signing"))

    @property
    def journal_key(self) -> Ed25519PrivateKey:
        """Signs the Kluis's own journal."""
        return Ed25519PrivateKey.from_private_bytes(self._derive(b"journal"))

    @property
    def wrapping_key(self) -> bytes:
        """Seals the files of the generations."""
        return self._derive(b"generations")

    def shares(self) -> tuple[str, ...]:
        """Return the five envelopes' words (SLIP-39, no passphrase); different words each time, the same secret."""
        return tuple(generate_mnemonics(1, [(SHARES_NEEDED, SHARES_MADE)], self.secret)[0])

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(
            algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"vier-ogen/kluis/v1\0" + purpose
        ).derive(self.secret)


def join_shares(words: Sequence[str]) -> Root:
    """Return the root that these envelopes hold; raise KluisDamaged when they are too few, mixed or misspelt."""
    try:
        secret = combine_mnemonics([" ".join(each.split()) for each in words])
    except (MnemonicError, ValueError) as cause:
        raise KluisDamaged(f"recovery: expected {SHARES_NEEDED} envelopes of one ceremony: {cause}") from cause
    if len(secret) != KEY_BYTES:
        raise KluisDamaged(f"recovery: expected a secret of {KEY_BYTES} bytes, got {len(secret)}")
    return Root(secret)


class Generations:
    """The files of the vault key's generations, ``0001.key`` and up; nothing else in the Kluis opens a row."""

    def __init__(self, folder: Path, root: Root) -> None:
        self._folder, self._wrapping = folder, root.wrapping_key
        self._open: dict[int, bytes] = {}

    def make(self, number: int) -> None:
        """Make this generation durably; one that a crash left unused is taken as it is."""
        path = self._path(number)
        if path.exists():
            return
        sealed = seal_row(self._wrapping, secrets.token_bytes(KEY_BYTES), about=_name(number))
        write_secret(path, sealed)

    def key(self, number: int) -> bytes:
        """Return the key; raise KluisDamaged when this generation is gone."""
        if number not in self._open:
            try:
                sealed = self._path(number).read_bytes()
            except FileNotFoundError as cause:
                raise KluisDamaged(f"generation {number} of the vault key is destroyed") from cause
            self._open[number] = open_row(self._wrapping, sealed, about=_name(number))
        return self._open[number]

    def exists(self, number: int) -> bool:
        """Whether this generation can still open anything."""
        return self._path(number).exists()

    def destroy(self, number: int) -> None:
        """Overwrite and remove the file, durably. On flash the old block may live on until the disk reuses it."""
        self._open.pop(number, None)
        path = self._path(number)
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(handle, secrets.token_bytes(path.stat().st_size))
                os.fsync(handle)
            finally:
                os.close(handle)
            path.unlink()
        sync_folder(self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04d}.key"


def _name(number: int) -> bytes:
    return b"vier-ogen/generation/v1\0" + number.to_bytes(4, "big")


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only this user reads, durably; raise FileExistsError when there is one."""
    unfinished = path.with_name(f".new-{secrets.token_hex(4)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.link(unfinished, path)
    finally:
        unfinished.unlink()
    sync_folder(path.parent)
