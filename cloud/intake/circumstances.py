"""What the cloud knows around a recording when it arrives, and what the rules make of it.

The activation, the wearer, the incident, the holds that were there before the footage, and how far the camera's clock
was off. Read inside the transaction that writes the recording down.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org, RecordingId
from broker.wire.policy import Policy
from broker.wire.recording import ChainState
from broker.wire.refusals import Code, refuse
from cloud.database.tables import activations, camera_states, cameras, docks, holds, shifts, usage_reports
from cloud.rules import admission as rules

OPEN_HOLDS: Final = ("provisional", "active", "release_requested")
OFFSET_COUNTS_S: Final = 1.0  # a smaller offset of a camera's clock is within what it measures itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the cloud knows around a recording at this moment."""

    now: datetime
    camera_enrolled: bool
    camera_enrolled_at: datetime
    dock_enrolled: bool
    activated_at: datetime | None  # by the camera's clock
    announced_at: datetime | None  # by ours: when the activation came in
    official: str | None
    on_duty: bool | None
    incident: str | None
    open_holds: int
    clock_offset_s: float


async def look_around(
    t: AsyncConnection, recording: RecordingId, *, org: Org, camera: str, dock: str, at: datetime, now: datetime
) -> Circumstances:
    """Read it all, in the transaction that is open. `at` is when the recording started."""
    name = str(recording)
    register = (
        await t.execute(
            select(cameras.c.state, cameras.c.enrolled_at).where(cameras.c.org == org, cameras.c.id == camera)
        )
    ).one()
    dock_state = await t.execute(select(docks.c.state).where(docks.c.org == org, docks.c.id == dock))
    activation = (
        await t.execute(
            select(activations).where(
                activations.c.recording == name, activations.c.org == org, activations.c.camera == camera
            )
        )
    ).one_or_none()
    incident = await _incident(t, org, name)
    wearer, on_duty = await _wearer(t, org, camera, at=at)
    return Circumstances(
        now=now,
        camera_enrolled=register.state == "enrolled",
        camera_enrolled_at=register.enrolled_at,
        dock_enrolled=dock_state.scalar_one_or_none() == "enrolled",
        activated_at=None if activation is None else activation.activated_at,
        announced_at=None if activation is None else activation.received_at,
        official=wearer if activation is None else activation.official or wearer,
        on_duty=on_duty,
        incident=incident,
        open_holds=await _open_holds(t, org, name, incident, now=now),
        clock_offset_s=await _clock_offset_s(t, org, camera),
    )


async def _wearer(t: AsyncConnection, org: Org, camera: str, *, at: datetime) -> tuple[str | None, bool | None]:
    """Return who wore the camera then, and whether that was in a shift (None: no shift of it is known at all)."""
    query = select(shifts).where(shifts.c.org == org, shifts.c.camera == camera, shifts.c.starts_at <= at)
    last = (await t.execute(query.order_by(shifts.c.starts_at.desc()).limit(1))).one_or_none()
    if last is None:
        return None, None
    if last.ends_at is not None and last.ends_at < at:
        return None, False
    return str(last.official), True


async def _incident(t: AsyncConnection, org: Org, recording: str) -> str | None:
    """Return the incident that a usage report, written before the footage came, names for it."""
    query = (
        select(usage_reports.c.incident)
        .where(
            usage_reports.c.org == org,
            usage_reports.c.recording == recording,
            usage_reports.c.incident.is_not(None),
        )
        .limit(1)
    )
    return (await t.execute(query)).scalar_one_or_none()


async def _open_holds(t: AsyncConnection, org: Org, recording: str, incident: str | None, *, now: datetime) -> int:
    """Count the holds on it or on its incident, also those placed before it came."""
    query = select(holds.c.id).where(
        holds.c.org == org,
        or_(holds.c.recording == recording, and_(holds.c.incident == incident, holds.c.incident.is_not(None))),
        holds.c.state.in_(OPEN_HOLDS),
        or_(holds.c.state != "provisional", holds.c.lapses_at.is_(None), holds.c.lapses_at > now),
    )
    return len((await t.execute(query)).all())


async def _clock_offset_s(t: AsyncConnection, org: Org, camera: str) -> float:
    query = select(camera_states.c.state).where(camera_states.c.org == org, camera_states.c.camera == camera)
    state = (await t.execute(query)).scalar_one_or_none()
    offset = state.get("clock_offset_ms", 0) if isinstance(state, dict) else 0
    return offset / 1000 if isinstance(offset, (int, float)) else 0.0


def correction_of(claimed_end: datetime, around: Circumstances) -> timedelta:
    """Return what to add to the camera's times. What it signed stays as it is; terms count from corrected times.

    A recording cannot have ended after it arrived, nor before its camera was enrolled: a camera that woke up in 1970
    must not have its footage destroyed at the door. Then the moment counts when its activation was heard of.
    """
    offset_s = around.clock_offset_s
    ended_at = claimed_end - timedelta(seconds=offset_s) if abs(offset_s) >= OFFSET_COUNTS_S else claimed_end
    if ended_at < around.camera_enrolled_at:
        ended_at = around.announced_at or around.now
    return min(ended_at, around.now) - claimed_end


def judge(
    recording: RecordingId,
    around: Circumstances,
    policy: Policy,
    *,
    chain: ChainState,
    started_at: datetime,
    ended_at: datetime,
    activated_at: datetime | None,
    pre_record_s: float,
) -> rules.Admission:
    """Ask the rules; raise Refused (NOT_ALLOWED) where the policy keeps this door shut.

    Where the press is known, the pre-record runs up to it; else the flags of the segments count.
    """
    if activated_at is not None:
        pre_record_s = max((activated_at - started_at).total_seconds(), 0.0)
    incoming = rules.Incoming(
        recording=recording,
        via="dock",
        camera_enrolled=around.camera_enrolled,
        dock_enrolled=around.dock_enrolled,
        chain=rules.ChainState(chain.value),
        activation_known=activated_at is not None,
        activated_at=activated_at,
        started_at=started_at,
        ended_at=ended_at,
        pre_record_s=pre_record_s,
        open_holds=around.open_holds,
        clock_offset_s=around.clock_offset_s,
        on_duty=around.on_duty,
    )
    admission = rules.admit(incoming, policy=policy, now=around.now)
    if admission.state is rules.AdmissionState.REFUSED:
        raise refuse(Code.NOT_ALLOWED, f"recording {recording}", expected="an open door", got=admission.because)
    return admission


def decided(
    admission: rules.Admission, around: Circumstances, *, started_at: datetime, correction: timedelta
) -> dict[str, Any]:
    """Return the columns that follow from a decision."""
    decided: dict[str, Any] = {
        "state": admission.state.value,
        "reason": admission.because,
        "deviations": list(admission.deviations),
        "expires_at": admission.expires_at,
    }
    if around.activated_at is not None:
        activated_at = around.activated_at + correction
        decided["activated_at"] = activated_at
        decided["pre_record_s"] = max((activated_at - started_at).total_seconds(), 0.0)
    return decided
