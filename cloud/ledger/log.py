"""The ledger as the parts of the cloud use it: append, get a proof, act.

Appends that come in while a batch is being synced form the next batch, so that the number of syncs depends on the disk
and not on how busy the town is. All file I/O is in one thread of its own.
"""

import asyncio
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.entries import Opening, write_entry
from broker.wire.tlog import Checkpoint
from cloud.ledger.tiles import LedgerBroken, LedgerUnwritable, TileLog

__all__ = ["Checkpoint", "Entry", "Ledger", "LedgerBroken", "LedgerUnwritable", "Opening"]

BATCH: Final = 4096
"""Entries in one commit at most; bounds the memory of one batch (256 MiB when every entry is as long as it may be)."""

SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry that is durably in the ledger, with the proof of it. `opening` is for the database, not for a log."""

    index: int
    raw: bytes
    proof: bytes
    opening: Opening | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    raw: bytes
    opening: Opening | None
    done: "Future[Entry]"


class Ledger:
    """One municipality's ledger. Close it after use; one process at a time."""

    def __init__(self, tiles: TileLog, *, origin: str, key: Ed25519PublicKey) -> None:
        self.origin, self.key = origin, key
        self._tiles = tiles
        self._newest = tiles.checkpoint
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    @classmethod
    def create(cls, folder: Path, *, origin: str, key: Ed25519PrivateKey) -> "Ledger":
        """Start an empty ledger; raise FileExistsError when there is one. Blocks."""
        return cls(TileLog.create(folder, origin=origin, key=key), origin=origin, key=key.public_key())

    @classmethod
    def open(cls, folder: Path, *, origin: str, key: Ed25519PrivateKey) -> "Ledger":
        """Open the ledger in this folder; raise LedgerUnwritable (in use) or LedgerBroken. Blocks."""
        return cls(TileLog.open(folder, origin=origin, key=key), origin=origin, key=key.public_key())

    async def append(
        self,
        kind: str,
        *,
        subject: str,
        actor: str,
        at: datetime,
        facts: Mapping[str, Any],
        private: str | None = None,
    ) -> Entry:
        """Return the entry once it is durable; raise LedgerUnwritable, and then the act must not happen.

        `subject` and `actor` are identifiers, `facts` hashes, numbers and closed words. `private` is the only place
        for people's words: it enters as a salted commitment, and what opens it comes back in `Entry.opening`.
        Cancelling before the batch starts takes the entry back; later it stands.
        """
        opening = Opening(salt=secrets.token_bytes(SALT_BYTES), text=private) if private is not None else None
        raw = write_entry(kind, subject=subject, actor=actor, at=at, facts=facts, private=opening)
        waiting = _Waiting(raw, opening, Future())
        with self._guard:
            self._waiting.append(waiting)
        self._thread.submit(self._commit)
        return await asyncio.wrap_future(waiting.done)

    def checkpoint(self) -> Checkpoint:
        """Return the newest signed promise."""
        return self._newest

    async def prove(self, index: int) -> bytes:
        """Return the proof of an entry under the newest checkpoint, as a C2SP tlog-proof text."""
        return await asyncio.wrap_future(self._thread.submit(self._tiles.prove, index))

    async def prove_growth(self, first: int, second: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the tree of `second` entries (None: the newest) only added to that of `first` > 0."""
        return await asyncio.wrap_future(self._thread.submit(self._tiles.prove_growth, first, second))

    async def keep_cosigned(self, note: bytes) -> Checkpoint:
        """Keep the newest checkpoint with a witness's signature added, unless it is the newest no more; return it."""
        await asyncio.wrap_future(self._thread.submit(self._tiles.replace_note, note))
        self._newest = self._tiles.checkpoint
        return self._newest

    async def read(self, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        """Return (index, bytes) of entries first..last-1, as far as there are."""
        return await asyncio.wrap_future(self._thread.submit(lambda: tuple(self._tiles.read(first, last))))

    async def readable(self, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        """Return those of entries first..last-1 that stand before the first that the disk cannot give back."""

        def take() -> tuple[tuple[int, bytes], ...]:
            found = []
            try:
                for each in self._tiles.read(first, last):
                    found.append(each)  # noqa: PERF402 - what came before the fault counts
            except (OSError, ValueError):
                return tuple(found)
            return tuple(found)

        return await asyncio.wrap_future(self._thread.submit(take))

    async def close(self) -> None:
        """Finish what is waiting and let another process have the folder."""
        await asyncio.to_thread(self._thread.shutdown)
        self._tiles.close()

    def _commit(self) -> None:
        """In the ledger's own thread: make everything that waits durable at once."""
        with self._guard:
            taken, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        batch = [each for each in taken if each.done.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            first = self._tiles.append([each.raw for each in batch])
            self._newest = self._tiles.checkpoint
            proofs = [self._tiles.prove(first + n) for n in range(len(batch))]
        except Exception as failure:  # noqa: BLE001 - each of those who wait gets it
            for each in batch:
                each.done.set_exception(failure)
            return
        for n, each in enumerate(batch):
            each.done.set_result(Entry(index=first + n, raw=each.raw, proof=proofs[n], opening=each.opening))
