"""A few threads for what blocks: sealing, and waiting for the disk."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

AT_ONCE: Final = 4
"""Threads of one fleet: fsync of several cards overlaps, and fifty presses at once do not start fifty threads."""

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs blocking calls in a bounded pool. Close it when all cameras are off."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="edge-disk")

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the call returns, or raise what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Wait for what is running."""
        self._pool.shutdown(wait=True)
