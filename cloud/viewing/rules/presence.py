"""Whether everybody who must be there is there. Pure: times are seconds of one clock that only runs forward."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

LEAVES_AFTER_S: Final = 3.0
"""A seat that said nothing for this long is empty. Playing must stop within 5 s of a leaving (E-30): browsers say
something every second, so two words may get lost, and two seconds are left to tell the other browser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One person's place in the room. `seated`: sat down, and did not get up since; `heard_s`: last sign of life."""

    official: str
    seated: bool = False
    heard_s: float | None = None


def sit(seat: Seat, *, now_s: float) -> Seat:
    """Return the seat after its person sat down: an act of that person, never of the other."""
    return replace(seat, seated=True, heard_s=now_s)


def hear(seat: Seat, *, now_s: float) -> Seat:
    """Return the seat after a sign of life; who got up stays up until sitting down again."""
    return replace(watch(seat, now_s=now_s), heard_s=now_s)


def leave(seat: Seat) -> Seat:
    """Return the seat after its person got up."""
    return replace(seat, seated=False)


def watch(seat: Seat, *, now_s: float) -> Seat:
    """Return the seat as the clock makes it: empty when nothing was heard for too long."""
    return seat if is_present(seat, now_s=now_s) else leave(seat)


def is_present(seat: Seat, *, now_s: float) -> bool:
    """Whether this person sits there now."""
    return seat.seated and seat.heard_s is not None and now_s - seat.heard_s <= LEAVES_AFTER_S


def all_present(seats: Iterable[Seat], *, now_s: float) -> bool:
    """Whether nobody is missing; an empty room is never complete."""
    there = [is_present(seat, now_s=now_s) for seat in seats]
    return bool(there) and all(there)
