"""How a task is ended for certain."""

import asyncio
from typing import Any, Final

CANCEL_AGAIN_S: Final = 3.0
"""Wall time after which a task that should end is asked again: more than the goodbye takes that it may be saying."""


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it is over. Once is not enough: a TaskGroup of Python 3.11 that is cancelled in the moment
    in which one of its tasks fails raises the failure and forgets the cancellation.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
