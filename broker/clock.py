"""Where time comes from: the system's clock, or a demonstration clock that all processes of one machine share.

Rules never read a clock; they get `now`. Only a part's `__main__` builds one of these and hands it down.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

Clock = Callable[[], datetime]
"""Returns aware UTC time."""


def system_clock() -> datetime:
    """Return the machine's time."""
    return datetime.now(UTC)


class _Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wall: datetime
    shown: datetime
    rate: float


class DemonstrationClock:
    """A clock in a file: it starts at a set time, runs `rate` times as fast as the wall, and can be moved forward.

    Every process that is given the same file shows the same time, at the latest `FRESH_S` of wall time after a move.
    """

    FRESH_S = 0.2

    def __init__(self, path: Path) -> None:
        self._path = path
        self._setting = self._read()
        self._read_at = system_clock()

    @classmethod
    def create(cls, path: Path, *, shown: datetime, rate: float) -> "DemonstrationClock":
        """Start a new clock that shows `shown` now; an existing file is replaced."""
        _write(path, _Setting(wall=system_clock(), shown=shown, rate=rate))
        return cls(path)

    def __call__(self) -> datetime:
        """Return the time this clock shows."""
        wall = system_clock()
        if (wall - self._read_at).total_seconds() > self.FRESH_S:
            self._setting, self._read_at = self._read(), wall
        return self._setting.shown + (wall - self._setting.wall) * self._setting.rate

    @property
    def rate(self) -> float:
        """How many seconds this clock runs in one second of the wall."""
        return self._setting.rate

    def move_forward(self, by: timedelta) -> datetime:
        """Let every process that shares this clock be `by` later from now on; return the new time."""
        if by < timedelta(0):
            raise ValueError(f"clock: expected a move forward, got {by}")
        self._setting, wall = self._read(), system_clock()
        shown = self._setting.shown + (wall - self._setting.wall) * self._setting.rate + by
        _write(self._path, _Setting(wall=wall, shown=shown, rate=self._setting.rate))
        self._setting, self._read_at = self._read(), wall
        return shown

    def _read(self) -> _Setting:
        return msgspec.json.decode(self._path.read_bytes(), type=_Setting)


def open_clock(path: Path | None) -> tuple[Clock, float]:
    """Return the clock and its rate: the demonstration clock in `path`, or the system's when None."""
    if path is None:
        return system_clock, 1.0
    clock = DemonstrationClock(path)
    return clock, clock.rate


async def pause(seconds: float, *, rate: float = 1.0) -> None:
    """Sleep for `seconds` of the shown time (`seconds / rate` of the wall's)."""
    await asyncio.sleep(seconds / rate)


def _write(path: Path, setting: _Setting) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(msgspec.json.encode(setting))
    temporary.replace(path)
