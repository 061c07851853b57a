"""What can be asked afterwards: figures without people, who viewed what, and footage that never came."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select

from broker.wire.ids import Org
from broker.wire.refusals import Code, refuse
from cloud.casework.counting import observations
from cloud.casework.office import Office
from cloud.casework.seams import Ledger
from cloud.database.tables import activations, recordings, viewing_requests
from cloud.ledger.finding import entries_of
from cloud.rules.quarters import Quarter, latest
from cloud.rules.rights import judge_hindsight
from cloud.rules.statistics import Figure, figure
from cloud.rules.terms import day_of

COUNTED: Final = "figures.counted"
COUNTS: Final = "svc-desk"
LOOKS_BACK: Final = 8
"""Quarters that are counted as soon as they can be; an older one when somebody asks for it."""


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
    """Questions. They change nothing, but that a denial is recorded and a quarter is counted once."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """As an office."""
        super().__init__(*given, **named)
        self._counting = asyncio.Lock()
        self._counted: dict[str, tuple[Figure, ...]] | None = None  # as the ledger has it; None: not read yet
        self._counted_up_to: dict[str, Quarter] = {}

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

        Whole quarters and nothing else, and none before it is counted: the difference of two readings gives away what
        is suppressed in both. What was counted is in the ledger, and is shown ever after: no camera that goes to
        another team, no case that turns out to be another, no other threshold moves a finished quarter. One in which
        nothing happened is not written down. Raises Refused: CONFLICT (too early), LEDGER_UNWRITABLE.
        """
        if self.clock() < quarter.counted_at:
            raise refuse(
                Code.CONFLICT,
                "figures",
                expected=f"a quarter that has been counted: this one is on {day_of(quarter.counted_at):%Y-%m-%d}",
                got=quarter.name,
            )
        name = f"{org}-{quarter.name}"
        async with self._counting:
            if self._counted is None:
                self._counted = await _counted_before(self.ledger)
            if name in self._counted:
                return self._counted[name]
            policy = await self._policy(org)
            async with self.database.transaction() as t:
                found = await observations(t, org, quarter)
            figures = tuple(
                figure(dimension, each, threshold=policy.statistics.threshold) for dimension, each in found.items()
            )
            if any(found.values()):
                facts = {"figures": msgspec.to_builtins(figures)}
                await self._write_ahead(org, COUNTED, subject=name, actor=COUNTS, facts=facts)
                self._counted[name] = figures
            return figures

    async def count_quarters(self, org: Org | str) -> None:
        """Count each of the last quarters that can be; raise Refused (LEDGER_UNWRITABLE). Safe to repeat."""
        due = latest(self.clock(), count=LOOKS_BACK)
        if self._counted_up_to.get(str(org)) != due[0]:
            for quarter in due:
                await self.figures(org, quarter)
            self._counted_up_to[str(org)] = due[0]


async def _counted_before(ledger: Ledger) -> dict[str, tuple[Figure, ...]]:
    """Return what the ledger has of each quarter. What was written first counts. Reads the whole ledger."""
    found: dict[str, tuple[Figure, ...]] = {}
    async for _, _, entry in entries_of(ledger.read, ledger.checkpoint().size, {COUNTED}):
        found.setdefault(entry.subject, msgspec.convert(entry.facts["figures"], tuple[Figure, ...]))
    return found


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


def _asked(request: bytes) -> tuple["_Asked", ...]:
    return msgspec.json.decode(request, type=_Request).recordings


class _Asked(msgspec.Struct, frozen=True):
    id: str


class _Request(msgspec.Struct, frozen=True):
    recordings: tuple[_Asked, ...]
