"""What a quarter's figures are counted from: moments and codes, never a person.

A quarter is counted as it was known when it was due (`Quarter.counted_at`): what is heard or declared later is not in
it, also where the counting itself is late. What was counted stays (`cloud/casework/insight.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from cloud.database.tables import (
    access_register,
    activations,
    cameras,
    cases,
    decisions_apart,
    disclosures,
    holds,
    recordings,
    usage_reports,
    viewing_requests,
)
from cloud.rules.quarters import Quarter
from cloud.rules.terms import day_of

LATE: Final = timedelta(hours=1)
"""A destruction within this time of its moment is on time: the clock looks every few seconds, a busy one may wait."""

NOT_KNOWN: Final = "not_known"
"""Of some it is not known where or why. They are counted too, or two totals would tell how many there are."""


async def observations(t: AsyncConnection, org: Org | str, quarter: Quarter) -> dict[str, list[str]]:
    """Return everything that is counted over this quarter: a category for each time that it happened."""
    presses = [*await _heard(t, org, quarter), *await _declared(t, org, quarter)]
    reports = (
        await t.execute(
            select(usage_reports.c.answers, usage_reports.c.submitted_at, usage_reports.c.due_at).where(
                usage_reports.c.org == org, _within(quarter, usage_reports.c.submitted_at)
            )
        )
    ).all()
    answers = [row.answers for row in reports]
    return {
        "activations": [f"{day_of(at):%Y-%m}" for at, _, _ in presses],
        "press_known_by": [known_by for _, _, known_by in presses],
        "area": _known([area for _, area, _ in presses]),
        "activation_reason": _told(answers, "reason"),
        "warning_given": _told(answers, "warning_given"),
        "warned_not_recorded": [_yes(bool(each.get("warned_not_recorded"))) for each in answers],
        "place_kind": _told(answers, "place_kind"),
        "reports_on_time": [_yes(row.submitted_at <= row.due_at) for row in reports],
        **await _what_became_of_it(t, org, quarter),
    }


async def _heard(t: AsyncConnection, org: Org | str, quarter: Quarter) -> list[tuple[datetime, str | None, str]]:
    """Presses that a camera told of: (when, in which area, *heard*)."""
    press = activations.c
    query = (
        select(press.activated_at, cameras.c.team)
        .outerjoin(cameras, and_(cameras.c.org == press.org, cameras.c.id == press.camera))
        .where(press.org == org, _within(quarter, press.activated_at), press.received_at < quarter.counted_at)
    )
    return [(row.activated_at, row.team, "heard") for row in await t.execute(query)]


async def _declared(t: AsyncConnection, org: Org | str, quarter: Quarter) -> list[tuple[datetime, str | None, str]]:
    """Presses that no camera told of and two people declared: (when, in which area, *declared*)."""
    decision = decisions_apart.c
    heard = and_(
        activations.c.org == decision.org,
        activations.c.recording == decision.recording,
        activations.c.received_at < quarter.counted_at,
    )
    query = (
        select(decision.pressed_at, cameras.c.team)
        .join(recordings, recordings.c.id == decision.recording)
        .outerjoin(cameras, and_(cameras.c.org == decision.org, cameras.c.id == recordings.c.camera))
        .where(
            decision.org == org,
            decision.outcome == "admit",
            _within(quarter, decision.pressed_at),
            decision.confirmed_at < quarter.counted_at,
            ~select(activations.c.recording).where(heard).exists(),
        )
    )
    return [(row.pressed_at, row.team, "declared") for row in await t.execute(query)]


async def _what_became_of_it(t: AsyncConnection, org: Org | str, quarter: Quarter) -> dict[str, list[str]]:
    register, request = access_register.c, viewing_requests.c
    asked = await t.execute(
        select(register.outcome).where(
            register.org == org, _within(quarter, register.registered_at), register.outcome.is_not(None)
        )
    )
    held = await t.execute(select(holds.c.reason).where(holds.c.org == org, _within(quarter, holds.c.placed_at)))
    viewed = await t.execute(
        select(request.purpose)
        .join(cases, cases.c.id == request.case_id)
        .where(
            request.org == org,
            cases.c.kind != "learning",  # never counted: it is the officer's own
            _within(quarter, request.opened_at),
        )
    )
    handed = await t.execute(
        select(disclosures.c.recipient).where(disclosures.c.org == org, _within(quarter, disclosures.c.delivered_at))
    )
    gone = await t.execute(
        select(recordings.c.destroyed_at, recordings.c.expires_at).where(
            recordings.c.org == org, _within(quarter, recordings.c.destroyed_at)
        )
    )
    return {
        "destroyed_before_registration": [_yes(row.outcome == "destroyed_before_registration") for row in asked],
        "holds_by_kind": list(held.scalars()),
        "views_by_purpose": list(viewed.scalars()),
        "disclosures_by_recipient": list(handed.scalars()),
        "destroyed_on_time": [_yes(row.destroyed_at - row.expires_at <= LATE) for row in gone],
    }


def _within(quarter: Quarter, moment: Column[Any]) -> ColumnElement[bool]:
    return (moment >= quarter.begins_at) & (moment < quarter.ends_at)


def _told(answers: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    told = [each.get(field) for each in answers]
    return _known([_yes(each) if isinstance(each, bool) else each for each in told])


def _known(found: Sequence[str | None]) -> list[str]:
    """Name what is not known, unless nothing is: then nobody asked."""
    return [each or NOT_KNOWN for each in found] if any(found) else []


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
