"""Where sealed segments lie: one file each, named by digest, written once and never overwritten.

Acknowledged means on disk: the file and its folder were synced before `keep` returns. Nothing half-written is ever
visible under its name. What a crash leaves of temporary files is removed when the vault is opened.

Two objects, because two roles: `Vault` cannot erase, `VaultEraser` can do nothing else. Both hold ciphertext only.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from broker.wire.recording import SEGMENT_HEADER_BYTES, SEGMENT_TAIL_BYTES
from broker.wire.refusals import Code, Refused, refuse
from cloud.vault.shelf import (
    Content,
    FreeBytes,
    NoVault,
    Shelf,
    create,
    disk_errors_as_refusals,
    free_bytes,
    is_what_it_is_called,
    unlink,
    write,
)

__all__ = ["Approve", "FreeBytes", "Incoming", "NoVault", "Vault", "VaultEraser", "Whole", "free_bytes"]

PIECE_BYTES: Final = 1024 * 1024
"""What a sender gathers before it hops to a thread: a usual segment of one second costs one hop. Bounds the memory of
one sender, however large its segment."""

WORKERS: Final = 8
"""Threads that hash and sync: with two they wait for the disk, sixteen were no faster."""

MANY: Final = 16
"""From so many on, segments of one bundle are small: their many short calls keep the interpreter, not the disk."""

WORKERS_FOR_MANY: Final = 2
"""Threads for such bundles: eight cost a third more CPU, waiting for each other, and were slower."""

T = TypeVar("T")

Approve = Callable[[bytes, bytes, bytes], None]
"""Gets header, tail and the SHA-256 of the ciphertext as it came; raises Refused to keep the segment out."""


class Vault:
    """A local durable store of segments: write-once, read, and no way to erase."""

    def __init__(self, shelf: Shelf, *, reserve_bytes: int, workers: int, free: FreeBytes) -> None:
        self._shelf = shelf
        self._reserve_bytes = reserve_bytes
        self._free = free
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="vault")
        self._checking = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="vault.check")
        self._for_many = ThreadPoolExecutor(max_workers=WORKERS_FOR_MANY, thread_name_prefix="vault.many")
        self._promised_bytes = 0

    @staticmethod
    def create(folder: Path) -> None:
        """Make an empty vault: its folders, synced. An existing one is left as it is."""
        Shelf.create(folder)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        reserve_bytes: int = 0,
        workers: int = WORKERS,
        free: FreeBytes = free_bytes,
        alone: bool = True,
    ) -> Self:
        """Open a vault and remove what a crash left half-written; raise NoVault where there is none.

        Below `reserve_bytes` of free space new segments are refused (DISK_FULL): the rest is for database and ledger.
        `alone`: no other process will `join`.
        """
        shelf = Shelf(folder, alone=alone)
        shelf.recover()
        return cls(shelf, reserve_bytes=reserve_bytes, workers=workers, free=free)

    @classmethod
    def join(cls, folder: Path, *, reserve_bytes: int = 0, workers: int = WORKERS) -> Self:
        """Write into a vault that another process has opened (not `alone`), as that one does; raise NoVault."""
        return cls(Shelf(folder, alone=False), reserve_bytes=reserve_bytes, workers=workers, free=free_bytes)

    async def sweep(self, process: int) -> None:
        """Remove what a process that joined and is dead left half-written."""
        await self._hop(lambda: self._shelf.sweep(process=process))

    def close(self) -> None:
        """Let the threads finish what they are doing, and stop."""
        for threads in (self._threads, self._for_many, self._checking):
            threads.shutdown(wait=True)

    async def missing(self, digests: Sequence[bytes]) -> list[bool]:
        """Say for each digest whether it is *not* durably here; one that is being synced right now still is not."""
        return await self._hop(lambda: [not here for here in self._shelf.have(digests)])

    def guard_space(self, size: int) -> None:
        """Raise Refused (DISK_FULL) when `size` more bytes would touch the reserve."""
        free = self._free(self._shelf.folder) - self._promised_bytes
        if free - size < self._reserve_bytes:
            raise refuse(
                Code.DISK_FULL,
                "vault",
                expected=f"room for {size} bytes above the reserve of {self._reserve_bytes}",
                got=f"{max(free, 0)} bytes free",
            )

    def receive(self, digest: bytes, *, size: int) -> "Incoming":
        """Start taking in a segment of exactly `size` bytes under this digest; use it with ``async with``.

        Raise Refused before the first byte: DISK_FULL, or MALFORMED when this many bytes cannot be a segment.
        """
        least = SEGMENT_HEADER_BYTES + SEGMENT_TAIL_BYTES
        if size <= least:
            raise refuse(Code.MALFORMED, "segment", expected=f"more than {least} bytes", got=size)
        self.guard_space(size)
        return Incoming(self._shelf, digest, size=size, threads=self._threads, promise=self._promise)

    async def keep_all(self, segments: "Sequence[Whole]") -> "list[bool | Refused]":
        """Make whole segments durable and visible, all with one sync. They are checked while they are written.

        Return for each whether it is new (False: it was here already), or why it is kept out: what its `approve`
        raised, MALFORMED, DIGEST_DIFFERS. The others are kept. Raise Refused (DISK_FULL, UNAVAILABLE): then none is.
        """
        self.guard_space(sum(len(each.raw) for each in segments))
        if len(segments) >= MANY:
            return await hop(self._for_many, lambda: _keep_many(self._shelf, segments))
        return await self._hop(lambda: _keep_few(self._shelf, segments, self._checking))

    async def keep_raw(self, raw: bytes) -> tuple[bytes, bool]:
        """Keep bytes as they are under their plain SHA-256: evidence of damage. Return (name, whether it was new).

        Raise Refused: DISK_FULL, UNAVAILABLE.
        """
        self.guard_space(len(raw))
        return await self._hop(lambda: _keep_raw(self._shelf, raw))

    async def read(self, digest: bytes) -> bytes:
        """Return the whole segment; raise Refused (NOT_FOUND)."""
        return await self._hop(lambda: self._shelf.read(digest))

    async def read_ends(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return header (160 bytes) and tail (128 bytes) without reading the ciphertext; raise Refused (NOT_FOUND)."""
        return await self._hop(lambda: self._shelf.read_ends(digest))

    async def read_all_ends(self, digests: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the ends of many segments in one hop; raise Refused (NOT_FOUND) at the first that is not here."""
        return await self._hop(lambda: [self._shelf.read_ends(digest) for digest in digests])

    async def intact(self, digest: bytes) -> bool:
        """Read it back and say whether the bytes still are what the name promises; raise Refused (NOT_FOUND)."""
        return await self._hop(lambda: is_what_it_is_called(self._shelf.read(digest), digest))

    async def digests(self) -> list[bytes]:
        """Return the name of everything in the vault, sorted."""
        return await self._hop(self._shelf.digests)

    async def _hop(self, do: Callable[[], T]) -> T:
        return await hop(self._threads, do)

    def _promise(self, size: int) -> None:
        self._promised_bytes += size


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A segment that is wholly in memory, and what it must pass. `raw` may be a view: it is used as `keep_all` runs."""

    digest: bytes
    raw: Content
    approve: Approve


class Incoming:
    """One segment on its way in. Whatever leaves the block without `keep` leaves nothing behind."""

    def __init__(
        self, shelf: Shelf, digest: bytes, *, size: int, threads: ThreadPoolExecutor, promise: Callable[[int], None]
    ) -> None:
        self._shelf = shelf
        self._threads = threads
        self._promise = promise
        self._digest = digest
        self._size = size
        self._came = 0
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._header = b""
        self._turn = threading.Lock()
        self._temporary: str | None = None
        self._fd = -1
        self._closed = False
        self._written = 0
        self._ciphertext = hashlib.sha256()
        self._tail = bytearray()

    async def __aenter__(self) -> Self:
        self._promise(self._size)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._promise(-self._size)
        self._gathered.clear()
        if not self._closed:
            await hop(self._threads, self._discard)

    @property
    def header(self) -> bytes:
        """The first 160 bytes, or fewer as long as they have not come."""
        return self._header

    async def write(self, data: bytes) -> None:
        """Take the next bytes; raise Refused (MALFORMED when there are too many, DISK_FULL, UNAVAILABLE)."""
        self._came += len(data)
        if self._came > self._size:
            raise refuse(Code.MALFORMED, "segment", expected=f"{self._size} bytes as announced", got="more")
        if len(self._header) < SEGMENT_HEADER_BYTES:
            self._header += data[: SEGMENT_HEADER_BYTES - len(self._header)]
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= PIECE_BYTES:
            pieces = self._take()
            await hop(self._threads, lambda: self._spill(pieces))

    async def keep(self, approve: Approve) -> bool:
        """Make it durable and visible; return False when it was here already. `approve` is asked before it is visible.

        Raise Refused: what `approve` raises, MALFORMED when bytes are missing, DIGEST_DIFFERS when these bytes are not
        what the digest names, DISK_FULL, UNAVAILABLE.
        """
        if self._came != self._size:
            raise refuse(Code.MALFORMED, "segment", expected=f"{self._size} bytes as announced", got=self._came)
        pieces = self._take()
        return await hop(self._threads, lambda: self._finish(pieces, approve))

    def _take(self) -> list[bytes]:
        pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
        return pieces

    # --- below here: in a thread, one at a time -----------------------------------------------------------------

    def _spill(self, pieces: Iterable[bytes]) -> None:
        with self._turn, disk_errors_as_refusals():
            if not self._closed:
                self._append(pieces)

    def _finish(self, pieces: Iterable[bytes], approve: Approve) -> bool:
        with self._turn, disk_errors_as_refusals():
            if self._closed:
                raise refuse(Code.UNAVAILABLE, "segment", expected="a sender that waits", got="one that left")
            try:
                self._append(pieces)
                tail = bytes(self._tail)
                if hashlib.sha256(self._header + tail).digest() != self._digest:
                    raise refuse(Code.DIGEST_DIFFERS, "segment", expected=self._digest.hex(), got="other bytes")
                approve(self._header, tail, self._ciphertext.digest())
                assert self._temporary is not None
                os.fsync(self._fd)
                return self._shelf.name(self._temporary, self._digest)
            finally:
                self._clean_up()

    def _append(self, pieces: Iterable[bytes]) -> None:
        if self._temporary is None:
            self._temporary = self._shelf.temporary()
            self._fd = create(self._temporary)
        for piece in pieces:
            self._hash(piece)
            write(self._fd, piece)

    def _hash(self, piece: bytes) -> None:
        view = memoryview(piece)
        start, self._written = self._written, self._written + len(piece)
        first = max(SEGMENT_HEADER_BYTES - start, 0)
        last = max(self._size - SEGMENT_TAIL_BYTES - start, 0)
        self._ciphertext.update(view[first:last])
        self._tail += view[last:]

    def _discard(self) -> None:
        with self._turn:
            self._clean_up()

    def _clean_up(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            unlink(self._temporary)
            self._temporary = None
        self._closed = True


class VaultEraser:
    """Takes segments out of a vault for good. Only the retention worker is given one, and it destroys the key first."""

    def __init__(self, folder: Path) -> None:
        """`folder` is an existing vault's; raise NoVault otherwise."""
        self._shelf = Shelf(folder)

    async def erase(self, digest: bytes) -> bool:
        """Unlink the segment and sync its folder; True when bytes were there. Erasing again is welcome."""
        return await asyncio.to_thread(self._shelf.erase, digest)


async def hop(threads: ThreadPoolExecutor, do: Callable[[], T]) -> T:
    """Do it in one of these threads and wait for the answer."""
    return await asyncio.get_running_loop().run_in_executor(threads, do)


def _keep_few(shelf: Shelf, segments: Sequence[Whole], checking: ThreadPoolExecutor) -> list[bool | Refused]:
    """Check and write at the same time: one waits for a core, the other for the disk."""
    checks = checking.submit(lambda: [_refusal(each) for each in segments])
    try:
        return _keep_all(shelf, segments, checks.result)
    finally:
        wait([checks])  # whose bytes these are takes them back when we return


def _keep_many(shelf: Shelf, segments: Sequence[Whole]) -> list[bool | Refused]:
    refusals = [_refusal(each) for each in segments]
    return _keep_all(shelf, segments, lambda: refusals)


def _keep_all(
    shelf: Shelf, segments: Sequence[Whole], refusals: Callable[[], list[Refused | None]]
) -> list[bool | Refused]:
    with disk_errors_as_refusals():
        new = shelf.put_all(
            [(each.digest, each.raw) for each in segments],
            approved=lambda: [refused is None for refused in refusals()],
        )
    return [fresh if refused is None else refused for fresh, refused in zip(new, refusals(), strict=True)]


def _refusal(segment: Whole) -> Refused | None:
    try:
        _check(segment)
    except Refused as refused:
        return refused
    return None


def _check(segment: Whole) -> None:
    """Raise Refused for what is not what it is called, or not approved."""
    raw = memoryview(segment.raw)
    if len(raw) <= SEGMENT_HEADER_BYTES + SEGMENT_TAIL_BYTES:
        raise refuse(Code.MALFORMED, "segment", expected="header, ciphertext and tail", got=f"{len(raw)} bytes")
    header, tail = bytes(raw[:SEGMENT_HEADER_BYTES]), bytes(raw[-SEGMENT_TAIL_BYTES:])
    if hashlib.sha256(header + tail).digest() != segment.digest:
        raise refuse(Code.DIGEST_DIFFERS, "segment", expected=segment.digest.hex(), got="other bytes")
    segment.approve(header, tail, hashlib.sha256(raw[SEGMENT_HEADER_BYTES:-SEGMENT_TAIL_BYTES]).digest())


def _keep_raw(shelf: Shelf, raw: bytes) -> tuple[bytes, bool]:
    digest = hashlib.sha256(raw).digest()
    with disk_errors_as_refusals():
        return digest, shelf.put(digest, raw)
