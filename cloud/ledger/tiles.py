"""The ledger's files, by C2SP tlog-tiles: a folder that any web server or rsync can serve, and that only grows.

    checkpoint                       the newest signed promise: how many entries, which root
    tile/entries/000, .../000.p/17   256 entries, or the first 17 of them, each after its length in two bytes
    tile/0/000, tile/0/000.p/17      their hashes
    tile/1/000 ...                   the roots of 256 such tiles, and so on up

Durable before promised: entries and tiles are synced, files and folders, before the checkpoint that counts them takes
its place by rename. A crash leaves the old checkpoint or the new one, and each finds all that it counts. What lies
beyond the checkpoint was never promised to anyone and is written over. A file that failed to sync is never synced
again, but written anew under another name.
"""

import contextlib
import fcntl
import itertools
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire import tlog
from broker.wire.entries import MAX_ENTRY_BYTES
from broker.wire.refusals import Code, Refusal, Refused

TILE: Final = 256
"""Entries or hashes in a full tile (C2SP tlog-tiles)."""

CHECKPOINT: Final = "checkpoint"
LOCK: Final = ".lock"
UNFINISHED: Final = ".new-"
"""How a file is called while it is being written; what a crash leaves of it is removed at the next start."""


class LedgerUnwritable(Refused):
    """The entries are not known to be in the ledger: whoever asked must not act. Disk full, broken, or in use."""

    def __init__(self, folder: Path, cause: object) -> None:
        super().__init__(
            Refusal(code=Code.LEDGER_UNWRITABLE, what="ledger entry", expected=f"{folder} to take it", got=str(cause))
        )


class LedgerBroken(Exception):  # noqa: N818 - says what is the matter
    """The files do not hold what the checkpoint promises; `vierogen ledger verify` names the first broken entry."""


def tile_path(level: int | str, number: int, width: int = TILE) -> str:
    """Return the name of tile or entry bundle (level ``entries``), under the folder."""
    digits = f"{number:03d}" if number < 1000 else f"{number:0{-(-len(str(number)) // 3) * 3}d}"
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{name}" + (f".p/{width}" if width < TILE else "")


def pack_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the bytes of an entry bundle."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_bundle(raw: bytes) -> Iterator[bytes]:
    """Yield the entries of a bundle; raise ValueError where the bytes end within one."""
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 2], "big")
        entry = raw[at + 2 : at + 2 + length]
        if len(entry) < length or at + 2 > len(raw):
            raise ValueError(f"bundle: expected an entry of {length} bytes at {at}, got {len(entry)}")
        yield entry
        at += 2 + length


class TileLog:
    """The one writer of a ledger's folder. Not for several threads at a time; every call does file I/O."""

    def __init__(self, folder: Path, *, origin: str, key: Ed25519PrivateKey, lock: int) -> None:
        self._folder, self._origin, self._key, self._lock = folder, origin, key, lock
        self._tree, self._tail = tlog.Tree(), list[bytes]()
        self._in_doubt = False
        self.checkpoint = self._load()

    @classmethod
    def create(cls, folder: Path, *, origin: str, key: Ed25519PrivateKey) -> "TileLog":
        """Start an empty ledger; raise FileExistsError when there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            raise FileExistsError(f"{folder} already holds a ledger")
        empty = tlog.sign_checkpoint(origin=origin, size=0, root=tlog.EMPTY_ROOT, key=key)
        write_durably(folder / CHECKPOINT, empty.note)
        sync_folders({folder, folder.parent})
        return cls.open(folder, origin=origin, key=key)

    @classmethod
    def open(cls, folder: Path, *, origin: str, key: Ed25519PrivateKey) -> "TileLog":
        """Take the folder as its one writer; raise LedgerUnwritable (in use) or LedgerBroken (not as promised)."""
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as cause:
            raise LedgerUnwritable(folder, cause) from cause
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.rglob(f"{UNFINISHED}*"):
                left.unlink()
            return cls(folder, origin=origin, key=key, lock=lock)
        except OSError as cause:
            os.close(lock)
            raise LedgerUnwritable(folder, f"in use or unreadable: {cause}") from cause
        except LedgerBroken:
            os.close(lock)
            raise

    def append(self, entries: Sequence[bytes]) -> int:
        """Add these entries durably and return the first one's index; raise LedgerUnwritable when that is not certain.

        Afterwards `checkpoint` counts them. An entry whose append raised may still be found in the ledger later: then
        it says what somebody was about to do.
        """
        if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
            raise ValueError(f"ledger: expected entries of at most {MAX_ENTRY_BYTES} bytes")
        try:
            if self._in_doubt:
                self._settle()
            return self._append(entries)
        except OSError as cause:
            self._in_doubt = True
            raise LedgerUnwritable(self._folder, cause) from cause

    def prove(self, index: int, checkpoint: tlog.Checkpoint | None = None) -> bytes:
        """Return the tlog-proof of the entry at `index` under the given (or newest) checkpoint."""
        under = checkpoint or self.checkpoint
        path = self._tree.inclusion(index, under.size)
        return tlog.write_proof(tlog.Proof(index=index, path=path, checkpoint=under.note))

    def prove_growth(self, first: int, second: int | None = None) -> tuple[bytes, ...]:
        """Return the consistency proof from the tree of `first` entries to that of `second` (None: the newest)."""
        return self._tree.consistency(first, self.checkpoint.size if second is None else second)

    def read(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield (index, entry) for first..last-1, as far as the checkpoint counts."""
        last = min(last, self.checkpoint.size)
        for number in range(first // TILE, -(-last // TILE)):
            width = min(TILE, self.checkpoint.size - number * TILE)
            for at, entry in enumerate(
                unpack_bundle((self._folder / tile_path("entries", number, width)).read_bytes())
            ):
                if first <= number * TILE + at < last:
                    yield number * TILE + at, entry

    def replace_note(self, note: bytes) -> None:
        """Keep the newest checkpoint with cosignatures added, unless there is a newer one; raise LedgerUnwritable."""
        cosigned = tlog.read_checkpoint(note, origin=self._origin, key=self._key.public_key())
        if (cosigned.size, cosigned.root) != (self.checkpoint.size, self.checkpoint.root):
            return  # a newer one took its place meanwhile: the witness will be asked about that
        try:
            write_durably(self._folder / CHECKPOINT, note)
            sync_folders({self._folder})
        except OSError as cause:
            self._in_doubt = True
            raise LedgerUnwritable(self._folder, cause) from cause
        self.checkpoint = cosigned

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append(self, entries: Sequence[bytes]) -> int:
        before = self.checkpoint.size
        for entry in entries:
            self._tree.append(tlog.leaf_hash(entry))
        try:
            folders = self._write_bundles(before, entries) | self._write_tiles(before)
            sync_folders(folders)
            promised = tlog.sign_checkpoint(
                origin=self._origin, size=self._tree.size, root=self._tree.root(), key=self._key
            )
            write_durably(self._folder / CHECKPOINT, promised.note)
            sync_folders({self._folder})
        except BaseException:
            self._tree.forget_after(before)
            raise
        self._tail = [*self._tail, *entries][-(promised.size % TILE) or promised.size + TILE :]
        self.checkpoint = promised
        self._tidy(before)
        return before

    def _write_bundles(self, before: int, entries: Sequence[bytes]) -> set[Path]:
        waiting = iter([*self._tail, *entries])
        folders: set[Path] = set()
        for number in range(before // TILE, -(-self._tree.size // TILE)):
            bundle = list(itertools.islice(waiting, TILE))
            folders |= self._put(tile_path("entries", number, len(bundle)), pack_bundle(bundle))
        return folders

    def _write_tiles(self, before: int) -> set[Path]:
        folders: set[Path] = set()
        for level in itertools.count():
            had, has = before >> (8 * level), self._tree.size >> (8 * level)
            if has == had:
                return folders
            for number in range(had // TILE, -(-has // TILE)):
                hashes = self._tree.nodes(8 * level, number * TILE, (number + 1) * TILE)
                folders |= self._put(tile_path(level, number, len(hashes) // tlog.HASH_BYTES), hashes)
        return folders

    def _put(self, name: str, content: bytes) -> set[Path]:
        path = self._folder / name
        made = _make_folders(path.parent)
        write_durably(path, content)
        return made | {path.parent}

    def _tidy(self, before: int) -> None:
        """Remove partial tiles whose full one is now promised; leftovers cost room, nothing else."""
        for level in ("entries", *range(8)):
            shift = 0 if level == "entries" else 8 * int(level)
            for number in range((before >> shift) // TILE, (self.checkpoint.size >> shift) // TILE):
                partial = self._folder / f"{tile_path(level, number)}.p"
                with contextlib.suppress(OSError):
                    for file in partial.iterdir():
                        file.unlink()
                    partial.rmdir()

    def _settle(self) -> None:
        """After a failure: believe the disk, not the memory, and make sure that what is there stays there."""
        self._tree, self._tail = tlog.Tree(), []
        self.checkpoint = self._load()
        write_durably(self._folder / CHECKPOINT, self.checkpoint.note)
        sync_folders({self._folder})
        self._in_doubt = False

    def _load(self) -> tlog.Checkpoint:
        try:
            note = (self._folder / CHECKPOINT).read_bytes()
            promised = tlog.read_checkpoint(note, origin=self._origin, key=self._key.public_key())
            for number in range(-(-promised.size // TILE)):
                width = min(TILE, promised.size - number * TILE)
                hashes = (self._folder / tile_path(0, number, width)).read_bytes()
                for at in range(0, width * tlog.HASH_BYTES, tlog.HASH_BYTES):
                    self._tree.append(hashes[at : at + tlog.HASH_BYTES])
            if promised.size % TILE:
                bundle = self._folder / tile_path("entries", promised.size // TILE, promised.size % TILE)
                self._tail = list(unpack_bundle(bundle.read_bytes()))
        except FileNotFoundError as cause:
            raise LedgerBroken(f"{self._folder}: {cause.filename} is missing") from cause
        except (Refused, ValueError) as cause:
            raise LedgerBroken(f"{self._folder}: {cause}") from cause
        tail = b"".join(tlog.leaf_hash(entry) for entry in self._tail)
        if self._tree.root() != promised.root or tail != self._tree.nodes(
            0, promised.size // TILE * TILE, promised.size
        ):
            raise LedgerBroken(f"{self._folder}: the entries are not those of the checkpoint of {promised.size}")
        return promised


def read_bundle(folder: Path, number: int, width: int = TILE) -> list[bytes]:
    """Return the first `width` entries of a bundle: a writer at work may have put a full one in place of what was there
    a moment ago. Raise FileNotFoundError; ValueError for a damaged one.
    """
    try:
        raw = (folder / tile_path("entries", number, width)).read_bytes()
    except FileNotFoundError:
        raw = (folder / tile_path("entries", number)).read_bytes()
    return list(unpack_bundle(raw))[:width]


def write_durably(path: Path, content: bytes) -> None:
    """Write under another name, sync, and let it take its name; the folder's sync is the caller's."""
    unfinished = path.with_name(f"{UNFINISHED}{secrets.token_hex(4)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        unfinished.rename(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
        raise


def _make_folders(folder: Path) -> set[Path]:
    """Make the folder; return the folders that got a new name in them and must be synced."""
    changed: set[Path] = set()
    missing = list(itertools.takewhile(lambda each: not each.is_dir(), (folder, *folder.parents)))
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        changed |= {each, each.parent}
    return changed


def sync_folders(folders: set[Path]) -> None:
    """Make the names in these folders durable."""
    for folder in sorted(folders):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
