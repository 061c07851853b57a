"""Files from other makers' systems, sealed while they come in: the disk only ever sees our own sealed segments.

One `Chain` is one recording in the making: whole files one after the other, each followed by its letter (name, hashes,
metadata as sent). A file counts when all of its segments lie in one synced file under their own name; before that it is
a temporary that a crash or a lost connection takes away without a trace. Nothing here can open what it sealed, once it
counts.

A chain is a row: each segment names the one before it. A file is sealed onto the chain's end as it comes, so that
little is left to do after its last byte; the chain itself goes on only when the file counts, and a file that breaks off
leaves it as it was. Where another file of the same recording counts first, what has come is sealed anew behind that
one, while the rest comes: until a file counts its keys are in memory, and nowhere else.

A chain in which naming a file failed halfway goes no further: what was whole is closed as it stands, the rest starts
anew.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from broker.durable import sync_folder
from broker.wire.ids import DeviceId, RecordingId
from broker.wire.recording import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    Flag,
    Kind,
    Sealer,
    StopReason,
)
from cloud.intake.signed_video import Marks
from cloud.vault.shelf import create, disk_errors_as_refusals, write

PIECE_BYTES: Final = 4 * 1024 * 1024
"""Of a file in one segment: 2 GB is 512 segments, and a sender costs this much memory. At most 8 MiB fit."""

_FRESH: Final = ".incoming-"
_SEALED: Final = ".sealed"
_LENGTH_BYTES: Final = 4
_SYNC_BYTES: Final = 32 * 1024 * 1024
"""At most so much is still to be synced after a file's last byte: a slow disk needs a second or two for it."""

_CATCH_UP: Final = 2
"""Segments sealed anew for each one that comes: a file overtaken in its first half is level again before it ends."""


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


class _Strand:
    """One file's segments behind a chain as it stood: the chain's next, unless it goes on elsewhere meanwhile."""

    def __init__(self, folder: Path, chain: Chain, *, starts_at: datetime, ends_at: datetime) -> None:
        self.chain, self.starts_at, self.ends_at = chain, starts_at, ends_at
        self._start = chain.sealer
        self.begin, self.ahead = self._start.sequence, self._start.branch()
        self.first: int | None = None  # sequence of the file's first piece; segment 0 is never one
        self.path = folder / f"{_FRESH}{secrets.token_hex(8)}"
        self._unsynced_bytes = 0
        self._fd = create(self.path)
        try:
            if self.begin == 0:
                self._append(chain.opening, chain.opening_kind, starts_at, starts_at)
        except BaseException:
            self.close()
            raise

    def fits(self, chain: Chain) -> bool:
        """Whether it is what comes next in this chain."""
        return self.chain is chain and self.begin == chain.sealer.sequence

    def seal(
        self,
        plaintext: bytes,
        *,
        kind: Kind = Kind.FILE,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> None:
        if kind is Kind.FILE and self.first is None:
            self.first = self.ahead.sequence
        self._append(plaintext, kind, starts_at or self.starts_at, ends_at or self.ends_at)

    def anew(self) -> Iterator[bytes | None]:
        """Yield the pieces of the file in the clear; None whenever there is no further one, also before more come."""
        behind = self._start.branch()
        with self.path.open("rb") as file:
            while True:
                sequence = behind.sequence
                if sequence == self.ahead.sequence:
                    yield None
                    continue
                piece = behind.follow(file.read(int.from_bytes(file.read(_LENGTH_BYTES), "big")))
                if self.first is not None and sequence >= self.first:
                    yield piece

    def keep(self, letter: bytes, folder: Path, *, flags: Flag) -> None:
        """Seal the letter behind the file and make both durable under their name."""
        if self.first is None:
            self.first = self.ahead.sequence
        self._append(letter, Kind.LETTER, self.starts_at, self.ends_at, flags)
        os.fsync(self._fd)
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        os.link(self.path, folder / f"{self.begin:08}{_SEALED}")
        sync_folder(folder)

    def close(self) -> None:
        """Take away the temporary; what `keep` named stays."""
        os.close(self._fd)
        self.path.unlink(missing_ok=True)

    def _append(
        self, plaintext: bytes, kind: Kind, starts_at: datetime, ends_at: datetime, flags: Flag = Flag.NONE
    ) -> None:
        raw = self.ahead.seal(plaintext, kind=kind, flags=flags, starts_at=starts_at, ends_at=ends_at, monotonic_us=0)
        write(self._fd, len(raw).to_bytes(_LENGTH_BYTES, "big"))
        write(self._fd, raw)
        self._unsynced_bytes += len(raw)
        if self._unsynced_bytes >= _SYNC_BYTES:
            os.fdatasync(self._fd)
            self._unsynced_bytes = 0


class Draft:
    """One file on its way into a chain. Blocking: every method is called from a thread, one at a time."""

    def __init__(self, spool: "Spool", chain: Chain, *, starts_at: datetime, ends_at: datetime) -> None:
        """Raise Refused (DISK_FULL, UNAVAILABLE)."""
        self._spool, self._starts_at, self._ends_at = spool, starts_at, ends_at
        self._kept = self._naming = False
        self._next: _Strand | None = None  # where what was overtaken is sealed anew
        self._anew: Iterator[bytes | None] = iter(())
        with disk_errors_as_refusals():
            self._strand = self._behind(chain)

    @property
    def chain(self) -> Chain:
        """The chain it is sealed into."""
        return self._strand.chain

    @property
    def first(self) -> int:
        """Sequence of the file's first piece, once it is kept."""
        assert self._strand.first is not None
        return self._strand.first

    def add(self, data: bytes) -> None:
        """Seal the next bytes; raise Refused (DISK_FULL, UNAVAILABLE)."""
        with disk_errors_as_refusals():
            for start in range(0, len(data), PIECE_BYTES):
                self._strand.seal(data[start : start + PIECE_BYTES])
                if not self._strand.fits(self.chain):
                    self._catch_up(self.chain, most=_CATCH_UP)

    def seal(self, plaintext: bytes, *, kind: Kind, starts_at: datetime, ends_at: datetime) -> None:
        """Append a segment that is no piece of the file; raise Refused (DISK_FULL, UNAVAILABLE).

        Only in a chain that is for this file alone: nothing of it is ever sealed anew.
        """
        assert self.chain.alone
        with disk_errors_as_refusals():
            self._strand.seal(plaintext, kind=kind, starts_at=starts_at, ends_at=ends_at)

    def keep(self, letter: bytes, *, into: Chain, flags: Flag = Flag.NONE) -> int:
        """Make the file and its letter durable as the next of this chain; return the letter's sequence.

        It counts when `entered` was said. Raise Refused (DISK_FULL, UNAVAILABLE).
        """
        with disk_errors_as_refusals():
            while not self._strand.fits(into):
                self._catch_up(into, most=None)
            self._naming = True
            self._strand.keep(letter, self._spool.of(into.recording), flags=flags)
        return self._strand.ahead.sequence - 1

    def entered(self) -> None:
        """Let the chain go on behind this file: its row is written."""
        self._kept = True
        self.chain.sealer = self._strand.ahead
        self.chain.files += 1

    def finish(self, *, ended_at: datetime) -> bytes:
        """Return the end record behind what was kept."""
        return self._strand.ahead.finish(reason=StopReason.OFFICER, ended_at=ended_at)

    def close(self) -> None:
        """Take away what was not kept. A chain in which naming it broke off goes no further."""
        self._close_next()
        self._strand.close()
        self.chain.broken |= self._naming and not self._kept

    def _behind(self, chain: Chain) -> _Strand:
        return _Strand(self._spool.folder, chain, starts_at=self._starts_at, ends_at=self._ends_at)

    def _catch_up(self, chain: Chain, *, most: int | None) -> None:
        """Seal so many pieces of what has come (None: all) anew, behind what this chain has become."""
        if self._next is None or not self._next.fits(chain):
            self._close_next()
            self._anew, self._next = self._strand.anew(), self._behind(chain)
        for piece in islice(self._anew, most):
            if piece is None:
                self._strand.close()
                self._strand, self._next = self._next, None
                return
            self._next.seal(piece)

    def _close_next(self) -> None:
        if self._next is not None:
            self._next.close()
            self._next = None


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
