"""Segments that nobody handed in as a recording: the camera was lost, the dock gone, before all of it was here.

They are footage, and are treated as such: put apart in sight, kept no longer than any other footage, destroyed with an
entry in the ledger. A delivery that comes after all takes them up as if nothing had been.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.wire.policy import Policy
from cloud.rules.retention import expires_at

BECAUSE: Final = "part of it came in, and nobody handed in the rest"
"""Why such a recording is apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What lies in the vault of one recording and was never handed in. Times are aware UTC.

    `ended_at`: the end of the last segment that is here. `state`: of the recording in the database; None: not there.
    """

    last_arrived_at: datetime
    ended_at: datetime
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing is done yet, and why."""

    because: str
    waarom: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutApart:
    """It becomes a recording that is put apart, and is due like any other."""

    because: str
    waarom: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """Its recording was destroyed, and its key with it: what came after is noise, and goes too."""

    because: str
    waarom: str


def judge(left: Left, *, policy: Policy, now: datetime) -> Wait | PutApart | Erase:
    """Decide what becomes of it. A camera may bring the rest as long as the policy gives it to come to a dock."""
    if now < left.last_arrived_at + timedelta(hours=policy.device.dock_within_h):
        return Wait(because="the rest may still come", waarom="de rest kan nog komen")
    match left.state:
        case None | "announced" | "lost":
            return PutApart(
                because=BECAUSE,
                waarom="een deel kwam binnen, en de rest is nooit afgeleverd",
                expires_at=expires_at(policy, min(left.ended_at, now), received_at=left.last_arrived_at),
            )
        case "destroyed":
            return Erase(because="its recording was destroyed", waarom="de opname is vernietigd")
        case _:
            return Wait(because="it goes when its recording goes", waarom="het gaat weg met de opname")
