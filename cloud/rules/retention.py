"""When footage goes: the term, what stops it, and what a new policy or the end of a hold does to it.

One definition of a day: whole calendar days in Europe/Amsterdam, to the same time on the clock (or 24 hours each where
the policy says so). Where the clock shows that time twice (October), the first; where it skips it (March), the moment
after the skip. Both are exactly as many times 24 hours as there are days, so never early and never over a maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from broker.wire.policy import ApplyToExisting, OnRelease, Policy, TermStart, TermUnit

HERE: Final = ZoneInfo("Europe/Amsterdam")
"""The clock by which Dutch law counts days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """It stays, and why. `held` tells a hold from a term that still runs."""

    because: str
    waarom: str
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroy:
    """It goes, and by which rule."""

    because: str
    waarom: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What retention needs to know of a recording."""

    state: str
    expires_at: datetime
    open_holds: int


def add_days(moment: datetime, days: int, unit: TermUnit = TermUnit.CALENDAR_DAYS) -> datetime:
    """Return the moment `days` later, as aware UTC, by the definition of a day above."""
    match unit:
        case TermUnit.HOURS:
            return moment.astimezone(UTC) + timedelta(days=days)  # in UTC: a zone's own clock skips and repeats
        case TermUnit.CALENDAR_DAYS:
            return (moment.astimezone(HERE) + timedelta(days=days)).astimezone(UTC)


def expires_at(policy: Policy, ended_at: datetime, *, received_at: datetime | None = None) -> datetime:
    """Return when the term of a recording is over. Counts from arrival only where the policy says so."""
    match policy.retention.starts_at:
        case TermStart.RECORDING_END:
            start = ended_at
        case TermStart.INGEST:
            start = received_at if received_at is not None else ended_at
    return add_days(start, policy.retention.days, policy.retention.unit)


def under_new_policy(
    new: Policy, *, expires: datetime, ended_at: datetime, received_at: datetime | None = None
) -> datetime:
    """Return the day of footage that is already there when `new` comes into force: earlier perhaps, later never."""
    match new.retention.apply_to_existing:
        case ApplyToExisting.STRICTER_ONLY:
            return min(expires, expires_at(new, ended_at, received_at=received_at))
        case ApplyToExisting.NEVER:
            return expires


def after_release(policy: Policy, *, expires: datetime, released_at: datetime) -> datetime:
    """Return the day of footage whose last hold ends now. Never later than before, but for the policy's own grace."""
    match policy.hold.on_release:
        case OnRelease.NEXT_RUN:
            return expires
        case OnRelease.GRACE_DAYS:
            days = policy.hold.grace_days or 0
        case OnRelease.RETAIN_FOR:
            days = policy.hold.retain_for_days or 0
    return max(expires, add_days(released_at, days))


def after_release_by_all(policies: Sequence[Policy], *, expires: datetime, released_at: datetime) -> datetime:
    """Return the earliest of those days: `policies` are those that bind the footage (cloud/rules/versions.py).

    So a new version never lets footage that is already there stay longer after its hold (E-18).
    """
    return min(after_release(each, expires=expires, released_at=released_at) for each in policies)


def judge(stored: Stored, now: datetime) -> Keep | Destroy:
    """Decide whether this recording is to be destroyed now. Only a hold or the clock keeps it."""
    match stored.state:
        case "destroyed":
            return Keep(because="it was destroyed already", waarom="het is al vernietigd", held=False)
        case "destroying":
            return Destroy(because="its destruction had begun", waarom="de vernietiging was begonnen")
        case "receiving" | "verifying" | "announced" | "lost":
            return Keep(because="it is not here yet", waarom="het is nog niet binnen", held=False)
        case _:
            pass
    if stored.open_holds > 0:
        return Keep(
            because=f"{stored.open_holds} hold(s) stand on it",
            waarom=f"er staat bewaarplicht op ({stored.open_holds})",
            held=True,
        )
    if now < stored.expires_at:
        return Keep(because="its term still runs", waarom="de bewaartermijn loopt nog", held=False)
    return Destroy(because="its term is over and no hold stands", waarom="de termijn is voorbij, zonder bewaarplicht")


def state_without_holds(stored: Stored, now: datetime) -> str:
    """Return where a recording goes when its last hold ends: back to its term, or straight to *due*."""
    if stored.state != "held":
        return stored.state
    return "due" if now >= stored.expires_at else "retained"
