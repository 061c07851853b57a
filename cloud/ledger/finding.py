"""Entries of some kinds, looked for from one place of the ledger to its end."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from broker.wire.entries import LedgerEntry, read_entry

AT_ONCE: Final = 1_000
"""Entries that are read in one go."""

Read = Callable[[int, int], Awaitable[tuple[tuple[int, bytes], ...]]]
"""Returns (place, bytes) of entries first..last-1, as far as there are: `Ledger.read`, or another of its readings."""


async def entries_of(
    read: Read, size: int, kinds: Collection[str], *, since: int = 0
) -> AsyncIterator[tuple[int, bytes, LedgerEntry]]:
    """Yield (place, bytes, entry) of each entry of these kinds from `since` on, of the first `size`, in order."""
    words = [kind.encode() for kind in kinds]
    for first in range(since, size, AT_ONCE):
        for index, raw in await read(first, min(first + AT_ONCE, size)):
            if any(word in raw for word in words) and (entry := read_entry(raw)).kind in kinds:
                yield index, raw, entry
