"""Which stand-by footage survives a press, and which is forgotten.

The ring lives in memory only. A fragment is one closed group of pictures (1 s) and is kept or forgotten whole: so what
is kept is never more than the policy's `pre_record_s`, and at most one fragment less.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar


class Buffered(Protocol):
    """A fragment in the ring, by its shown UTC times."""

    @property
    def starts_at(self) -> datetime:
        """First picture."""
        ...

    @property
    def ends_at(self) -> datetime:
        """End of the last picture."""
        ...


F = TypeVar("F", bound=Buffered)


def survivors(ring: Iterable[F], *, pressed_at: datetime, pre_record: timedelta) -> tuple[F, ...]:
    """Return what the press at `pressed_at` keeps: whole fragments that start within `pre_record` before it."""
    return tuple(held for held in ring if pressed_at - pre_record <= held.starts_at < pressed_at)


def still_needed(ring: Iterable[F], *, now: datetime, pre_record: timedelta) -> tuple[F, ...]:
    """Return what a press at `now` or later could still keep; the rest must be forgotten at once."""
    return tuple(held for held in ring if now - pre_record <= held.starts_at)


def kept_before_press(kept: Iterable[Buffered], *, pressed_at: datetime) -> timedelta:
    """Return how far before the press the kept footage reaches back."""
    first = min((held.starts_at for held in kept), default=pressed_at)
    return max(pressed_at - first, timedelta(0))
