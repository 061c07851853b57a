"""The devices' own time: monotonic, never moved, and as fast as the demonstration clock runs."""

import asyncio
from collections.abc import Callable


class Pulse:
    """Seconds of device time since this was made, from seconds of the wall and the rate at which time is shown."""

    def __init__(self, monotonic: Callable[[], float], rate: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._rate = rate
        self._wall = monotonic()
        self._now = 0.0

    def __call__(self) -> float:
        """Return the device time in seconds. A change of the rate counts from the call in which it is seen."""
        wall = self._monotonic()
        self._now += (wall - self._wall) * self._rate()
        self._wall = wall
        return self._now

    @property
    def rate(self) -> float:
        """Device seconds per second of the wall."""
        return self._rate()

    async def sleep(self, seconds: float, *, at_least_wall_s: float = 0.0) -> None:
        """Sleep for so many seconds of device time, and at least so many of the wall."""
        await asyncio.sleep(max(seconds / self._rate(), at_least_wall_s, 0.0))
