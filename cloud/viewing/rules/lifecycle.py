"""The life of a viewing room: one table of states and what leads from one to the next."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class RoomState(StrEnum):
    """Where a room is in its life."""

    DRAFTED = "drafted"  # written down, not yet signed by who asks
    REQUESTED = "requested"
    APPROVED = "approved"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    REFUSED = "refused"


class Happening(StrEnum):
    """What can happen to a room."""

    SIGNED = "signed"  # by who asks; somebody else must approve
    SIGNED_ALONE = "signed alone"  # where the policy asks for one person
    APPROVED = "approved"
    REFUSED = "refused"
    COMPLETE = "complete"  # everybody sat down, and the keys are there
    INCOMPLETE = "incomplete"  # somebody got up or fell silent
    ENDED = "ended"  # closed by a person, by time, or because it is no longer allowed


ENDED: Final = frozenset({RoomState.CLOSED, RoomState.REFUSED})
"""Nothing leads out of these."""

STEPS: Final = MappingProxyType(
    {
        (RoomState.DRAFTED, Happening.SIGNED): RoomState.REQUESTED,
        (RoomState.DRAFTED, Happening.SIGNED_ALONE): RoomState.APPROVED,
        (RoomState.REQUESTED, Happening.APPROVED): RoomState.APPROVED,
        (RoomState.REQUESTED, Happening.REFUSED): RoomState.REFUSED,
        (RoomState.APPROVED, Happening.COMPLETE): RoomState.OPEN,
        (RoomState.OPEN, Happening.INCOMPLETE): RoomState.PAUSED,
        (RoomState.PAUSED, Happening.COMPLETE): RoomState.OPEN,
        (RoomState.DRAFTED, Happening.ENDED): RoomState.CLOSED,
        (RoomState.REQUESTED, Happening.ENDED): RoomState.CLOSED,
        (RoomState.APPROVED, Happening.ENDED): RoomState.CLOSED,
        (RoomState.OPEN, Happening.ENDED): RoomState.CLOSED,
        (RoomState.PAUSED, Happening.ENDED): RoomState.CLOSED,
    }
)


def step(state: RoomState, happening: Happening) -> RoomState | None:
    """Return the next state, or None when this cannot happen here."""
    return STEPS.get((state, happening))
