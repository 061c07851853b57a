"""One piece of work for everybody who waits: a burst costs as many turns as it takes, not one for each.

As the ledger does with its syncs: whoever comes while a batch is being worked on is in the next one. Nobody waits for a
batch to fill.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    done: "asyncio.Future[Result]"


class Together(Generic[Item, Result]):
    """Call it with one item; it returns that item's own result. `work` gets all that wait, and answers in order."""

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, most: int) -> None:
        """`work` may be called again with an item of a batch that failed or was cancelled: it must be repeatable."""
        self._work = work
        self._most = most
        self._waiting: list[_Waiting[Item, Result]] = []
        self._turn = asyncio.Lock()

    async def __call__(self, item: Item) -> Result:
        """Return what `work` says of this item; raise what it raises when it is given this item alone."""
        mine: _Waiting[Item, Result] = _Waiting(item, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            async with self._turn:
                while not mine.done.done():
                    await self._do_next()
        finally:
            if mine in self._waiting:  # cancelled before its turn
                self._waiting.remove(mine)
        return mine.done.result()

    async def _do_next(self) -> None:
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            await self._do(batch)
        finally:  # cancelled: each of the others works for itself when its turn comes
            self._waiting[:0] = [each for each in batch if not each.done.done()]

    async def _do(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._work([each.item for each in batch])
        except Exception as failure:  # noqa: BLE001 - each of those who wait gets his own
            if len(batch) > 1:  # one that cannot be done must not fail the others
                for each in batch:
                    await self._do([each])
                return
            batch[0].done.set_exception(failure)
            batch[0].done.exception()  # seen, also when nobody waits any more
            return
        for each, result in zip(batch, results, strict=True):
            each.done.set_result(result)
