"""Files from other makers' systems, sealed while they come in: the disk only ever sees our own sealed segments.

One `Chain` is one recording in the making: whole files one after the other, each followed by its letter (name, hashes,
metadata as sent). A file counts when all of its segments lie in one synced file under their own name; before that it is
a temporary that a crash or a lost connection takes away without a trace. Nothing here can open what it sealed.

Until it is whole a file lies aside, under a key that only this process has and soon forgets: files of one recording may
come side by side and break off, and its chain never knows. Only what is whole is sealed, in one go.

A chain in which sealing itself failed halfway goes no further: what was whole is closed as it stands, the rest starts
anew.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.durable import sync_folder
from broker.wire.ids import DeviceId, RecordingId
from broker.wire.recording import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    Flag,
    Kind,
    Sealer,
)
from cloud.intake.signed_video import Marks
from cloud.vault.shelf import create, disk_errors_as_refusals, write

PIECE_BYTES: Final = 4 * 1024 * 1024
"""Of a file in one segment: 2 GB is 512 segments, and a sender costs this much memory. At most 8 MiB fit."""

_FRESH: Final = ".incoming-"
_SEALED: Final = ".sealed"
_LENGTH_BYTES: Final = 4
_NONCE_BYTES: Final = 12


@dataclass(slots=True, kw_only=True)
class Chain:
    """One recording in the making, held by one file at a time."""

    recording: RecordingId
    container: str
    camera: DeviceId
    head: bytes = field(repr=False)
    sealer: Sealer
    opening: bytes = field(repr=False)  # plaintext of segment 0, sealed in front of the first file
    opening_kind: Kind = Kind.LETTER
    alone: bool = False  # made for one file: nothing follows it
    doubt: str = ""
    files: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What a file turned out to be."""

    sha256: str
    md5: str
    size_bytes: int
    signed_video: str | None


class Tally:
    """What a file turns out to be, counted while it comes."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)  # Swift's ETag
        self._size = 0
        self._marks = Marks()

    def add(self, data: bytes) -> None:
        """Count the next bytes."""
        self._sha256.update(data)
        self._md5.update(data)
        self._marks.look(data)
        self._size += len(data)

    def sums(self) -> Sums:
        """Return what has come so far."""
        return Sums(
            sha256=self._sha256.hexdigest(),
            md5=self._md5.hexdigest(),
            size_bytes=self._size,
            signed_video=self._marks.found,
        )


class Aside:
    """A file that is not whole yet, under a key of its own (AES-256-GCM, piece by piece). Blocking.

    Nothing of it outlives the process: the key is in memory, and the file is removed when the spool is taken again.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{_FRESH}{secrets.token_hex(8)}"
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._lengths: list[int] = []
        with disk_errors_as_refusals():
            self._fd = create(self._path)

    def add(self, data: bytes) -> None:
        """Put the next bytes away; raise Refused (DISK_FULL, UNAVAILABLE)."""
        with disk_errors_as_refusals():
            locked = self._cipher.encrypt(self._nonce(len(self._lengths)), data, None)
            write(self._fd, locked)
        self._lengths.append(len(locked))

    def pieces(self) -> Iterator[bytes]:
        """Yield what was put away, in the same pieces; raise Refused (UNAVAILABLE), InvalidTag for a damaged disk."""
        with disk_errors_as_refusals(), self._path.open("rb") as file:
            for number, length in enumerate(self._lengths):
                yield self._cipher.decrypt(self._nonce(number), file.read(length), None)

    def close(self) -> None:
        """Take it away."""
        os.close(self._fd)
        self._path.unlink(missing_ok=True)

    @staticmethod
    def _nonce(number: int) -> bytes:
        return number.to_bytes(_NONCE_BYTES, "big")


class Draft:
    """One file on its way into a chain. Blocking: every method is called from a thread, one at a time."""

    def __init__(self, folder: Path, chain: Chain, *, starts_at: datetime, ends_at: datetime) -> None:
        self.chain, self.kept = chain, False
        self._folder = folder
        self._starts_at, self._ends_at = starts_at, ends_at
        self._begin = chain.sealer.sequence
        self._temporary: Path | None = None
        self._fd = -1
        self._first: int | None = None

    @property
    def first(self) -> int:
        """Sequence of the file's first piece; segment 0 is never one."""
        return max(self.chain.sealer.sequence, 1) if self._first is None else self._first

    def add(self, data: bytes) -> None:
        """Seal the next bytes; raise Refused (DISK_FULL, UNAVAILABLE)."""
        if self._first is None:
            self._first = self.first
        for start in range(0, len(data), PIECE_BYTES):
            self.seal(data[start : start + PIECE_BYTES])

    def seal(
        self,
        plaintext: bytes,
        *,
        kind: Kind = Kind.FILE,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> None:
        """Append one segment; raise Refused (DISK_FULL, UNAVAILABLE)."""
        with disk_errors_as_refusals():
            self._prepare()
            self._append(plaintext, kind, starts_at or self._starts_at, ends_at or self._ends_at)

    def keep(self, letter: bytes, *, flags: Flag = Flag.NONE) -> int:
        """Seal the letter behind the file and make both durable under their name; return the letter's sequence."""
        if self._first is None:
            self._first = self.first
        with disk_errors_as_refusals():
            self._prepare()
            self._append(letter, Kind.LETTER, self._starts_at, self._ends_at, flags)
            assert self._temporary is not None
            os.fsync(self._fd)
            os.link(self._temporary, self._folder / f"{self._begin:08}{_SEALED}")
            sync_folder(self._folder)
        return self.chain.sealer.sequence - 1

    def close(self) -> None:
        """Take away the temporary; what `keep` named stays. A chain left halfway through a file goes no further."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None
        self.chain.broken |= not self.kept and self.chain.sealer.sequence != self._begin

    def _prepare(self) -> None:
        if self._temporary is not None:
            return
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700)
            sync_folder(self._folder.parent)
        self._temporary = self._folder / f"{_FRESH}{secrets.token_hex(8)}"
        self._fd = create(self._temporary)
        if self._begin == 0:
            self._append(self.chain.opening, self.chain.opening_kind, self._starts_at, self._starts_at)

    def _append(
        self, plaintext: bytes, kind: Kind, starts_at: datetime, ends_at: datetime, flags: Flag = Flag.NONE
    ) -> None:
        raw = self.chain.sealer.seal(
            plaintext, kind=kind, flags=flags, starts_at=starts_at, ends_at=ends_at, monotonic_us=0
        )
        write(self._fd, len(raw).to_bytes(_LENGTH_BYTES, "big"))
        write(self._fd, raw)


class Spool:
    """A folder for each chain, until the vault has it."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, made where it is not there, and remove what a crash left half-written."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)
        self.folder = folder
        for fresh in (*folder.glob(f"{_FRESH}*"), *folder.glob(f"*/{_FRESH}*")):
            fresh.unlink()

    def of(self, recording: RecordingId | str) -> Path:
        """Return where this chain lies, or would lie."""
        return self.folder / str(recording)

    def recordings(self) -> list[str]:
        """Return the chains of which something lies here."""
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())

    def segments(self, recording: RecordingId | str) -> Iterator[bytes]:
        """Yield the sealed segments of a chain in order."""
        for path in sorted(self.of(recording).glob(f"*{_SEALED}")):
            with path.open("rb") as file:
                while prefix := file.read(_LENGTH_BYTES):
                    yield file.read(int.from_bytes(prefix, "big"))

    def ends(self, recording: RecordingId | str) -> list[bytes]:
        """Return header and tail, 288 bytes, of each segment in order."""
        return [raw[:SEGMENT_HEADER_BYTES] + raw[-SEGMENT_TAIL_BYTES:] for raw in self.segments(recording)]

    def keep_only(self, recording: RecordingId | str, last: int) -> None:
        """Take away the files that begin behind this sequence: they were never acknowledged."""
        for path in self.of(recording).glob(f"*{_SEALED}"):
            if int(path.name.removesuffix(_SEALED)) > last:
                path.unlink()
        sync_folder(self.of(recording))

    def clear(self, recording: RecordingId | str) -> None:
        """Take a chain away: the vault has it, or nobody was ever told that it is here."""
        shutil.rmtree(self.of(recording), ignore_errors=True)
