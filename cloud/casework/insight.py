"""What can be asked afterwards: figures without people, who viewed what, and footage that never came."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Row, select

from broker.wire.ids import Org
from cloud.casework.office import Office
from cloud.database.tables import (
    access_register,
    activations,
    cameras,
    cases,
    disclosures,
    holds,
    recordings,
    usage_reports,
    viewing_requests,
)
from cloud.rules.quarters import Quarter
from cloud.rules.rights import judge_hindsight
from cloud.rules.statistics import Figure, figure
from cloud.rules.terms import day_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """One viewing of a recording: which case and purpose, by which two people, from when to when (None: not opened)."""

    request: str
    case: str
    purpose: str
    people: tuple[str, ...]
    state: str
    opened_at: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A press whose footage should have been here by now: perhaps lost, perhaps a data breach."""

    recording: str
    camera: str
    official: str | None
    activated_at: datetime


class Insight(Office):
    """Questions; nothing here changes anything but that a denial is recorded."""

    async def viewings(self, org: Org | str, recording: str, *, by: str) -> tuple[Viewed, ...]:
        """Return who viewed this recording; for whoever is on it, and for those who watch over the rules."""
        now, policy = self.clock(), await self._policy(org)
        person, involvement = await self.person(org, by, now), await self.involvement(org, (recording,))
        await self._check(org, judge_hindsight(policy, person, involvement), who=by, what="viewings.read")
        query = (
            select(viewing_requests)
            .where(viewing_requests.c.org == org)
            .order_by(viewing_requests.c.requested_at.desc())
        )
        async with self.database.transaction() as t:
            rows = (await t.execute(query)).all()
        return tuple(_viewed(row) for row in rows if any(each.id == recording for each in _asked(row.request)))

    async def viewings_going_on(self, org: Org | str, case: str) -> tuple[Viewed, ...]:
        """Return the viewings for this case that were asked for and are not over, oldest first."""
        column = viewing_requests.c
        query = select(viewing_requests).where(column.org == org, column.case_id == case, column.closed_at.is_(None))
        async with self.database.transaction() as t:
            return tuple(_viewed(row) for row in await t.execute(query.order_by(column.requested_at)))

    async def missing_footage(self, org: Org | str) -> tuple[Missing, ...]:
        """Return presses whose footage has not come within the policy's time, oldest first."""
        policy = await self._policy(org)
        before = self.clock() - timedelta(hours=policy.device.expected_within_h)
        query = (
            select(activations.c.recording, activations.c.camera, activations.c.official, activations.c.activated_at)
            .outerjoin(recordings, recordings.c.id == activations.c.recording)
            .where(activations.c.org == org, activations.c.activated_at < before, recordings.c.id.is_(None))
            .order_by(activations.c.activated_at)
        )
        async with self.database.transaction() as t:
            rows = (await t.execute(query)).all()
        return tuple(
            Missing(recording=recording, camera=camera, official=official, activated_at=at)
            for recording, camera, official, at in rows
        )

    async def figures(self, org: Org | str, quarter: Quarter) -> tuple[Figure, ...]:
        """Return what may be counted over a quarter, with small counts suppressed. No dimension names a person.

        Whole quarters and nothing else: the difference of two periods of one's own choosing gives away what is
        suppressed in both.
        """
        policy = await self._policy(org)
        counted = await self._observations(org, quarter)
        return tuple(
            figure(dimension, found, threshold=policy.statistics.threshold) for dimension, found in counted.items()
        )

    async def _observations(self, org: Org | str, quarter: Quarter) -> dict[str, list[str]]:
        def within(moment: Column[Any]) -> ColumnElement[bool]:
            return (moment >= quarter.begins_at) & (moment < quarter.ends_at)

        async with self.database.transaction() as t:
            pressed = (
                await t.execute(
                    select(activations.c.activated_at, cameras.c.team)
                    .outerjoin(cameras, (cameras.c.org == activations.c.org) & (cameras.c.id == activations.c.camera))
                    .where(activations.c.org == org, within(activations.c.activated_at))
                )
            ).all()
            months = [f"{day_of(row.activated_at):%Y-%m}" for row in pressed]
            areas = [row.team for row in pressed if row.team]
            too_late = await t.execute(
                select(access_register.c.outcome).where(
                    access_register.c.org == org,
                    within(access_register.c.registered_at),
                    access_register.c.outcome.is_not(None),
                )
            )
            before = [_yes(row.outcome == "destroyed_before_registration") for row in too_late]
            reports = (
                await t.execute(
                    select(usage_reports.c.answers, usage_reports.c.submitted_at, usage_reports.c.due_at).where(
                        usage_reports.c.org == org, within(usage_reports.c.submitted_at)
                    )
                )
            ).all()
            held = await t.execute(select(holds.c.reason).where(holds.c.org == org, within(holds.c.placed_at)))
            by_kind = [row.reason for row in held]
            viewed = await t.execute(
                select(viewing_requests.c.purpose)
                .join(cases, cases.c.id == viewing_requests.c.case_id)
                .where(
                    viewing_requests.c.org == org,
                    cases.c.kind != "learning",  # never counted: it is the officer's own
                    within(viewing_requests.c.opened_at),
                )
            )
            by_purpose = [row.purpose for row in viewed]
            handed = await t.execute(
                select(disclosures.c.recipient).where(disclosures.c.org == org, within(disclosures.c.delivered_at))
            )
            by_recipient = [row.recipient for row in handed]
            gone = await t.execute(
                select(recordings.c.destroyed_at, recordings.c.expires_at).where(
                    recordings.c.org == org, within(recordings.c.destroyed_at)
                )
            )
            on_time = [_yes(row.destroyed_at - row.expires_at <= LATE) for row in gone]
        return {
            "activations": months,
            "activation_reason": _told(reports, "reason"),
            "warning_given": _told(reports, "warning_given"),
            "warned_not_recorded": _told(reports, "warned_not_recorded"),
            "place_kind": _told(reports, "place_kind"),
            "reports_on_time": [_yes(row.submitted_at <= row.due_at) for row in reports],
            "holds_by_kind": by_kind,
            "views_by_purpose": by_purpose,
            "disclosures_by_recipient": by_recipient,
            "destroyed_on_time": on_time,
            "destroyed_before_registration": before,
            "area": areas,
        }


LATE = timedelta(hours=1)
"""A destruction within this time of its moment is on time: the clock looks every few seconds, a busy one may wait."""


def _viewed(row: Row[Any]) -> Viewed:
    return Viewed(
        request=row.id,
        case=row.case_id,
        purpose=row.purpose,
        people=(row.requester, row.second),
        state=row.state,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )


def _told(reports: Iterable[object], field: str) -> list[str]:
    answers = [getattr(row, "answers", {}).get(field) for row in reports]
    return [_yes(answer) if isinstance(answer, bool) else str(answer) for answer in answers if answer is not None]


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _asked(request: bytes) -> tuple["_Asked", ...]:
    return msgspec.json.decode(request, type=_Request).recordings


class _Asked(msgspec.Struct, frozen=True):
    id: str


class _Request(msgspec.Struct, frozen=True):
    recordings: tuple[_Asked, ...]
