"""The office as the desk meets it: one object, in which every public method is one act or one question."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from broker.wire.ids import Org
from broker.wire.refusals import Code, refuse
from cloud.casework.apart import ApartOffice
from cloud.casework.destruction import Destruction
from cloud.casework.devices import Devices
from cloud.casework.disclosures import Disclosures
from cloud.casework.holding import all_standing
from cloud.casework.holds import Holds
from cloud.casework.insight import Insight
from cloud.casework.reports import Reports
from cloud.casework.staff import Staff
from cloud.casework.survey import Survey
from cloud.database.paging import older_than
from cloud.database.tables import denials, recordings
from cloud.rules.retention import Destroy, Keep, Stored, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingCard:
    """What anybody may know of a recording without seeing it: never content. `held_by` are case numbers."""

    id: str
    org: str
    camera: str
    official: str | None
    incident: str | None
    state: str
    reason: str
    started_at: datetime
    activated_at: datetime | None
    ended_at: datetime
    expires_at: datetime
    pre_record_s: float
    policy_version: int
    segments: int
    total_bytes: int
    chain: str
    deviations: tuple[str, ...]
    received_at: datetime
    destroyed_at: datetime | None
    held_by: tuple[str, ...]
    because: str
    waarom: str
    days_left: int | None


class Casework(Holds, Disclosures, Reports, Staff, Devices, Destruction, ApartOffice, Insight, Survey):
    """Cases, holds, hand-overs, reports, people, cameras and destruction by hand, for every municipality here."""

    async def settle(self, org: Org | str) -> int:
        """Do what time alone does, with reports too; return how many holds ended. Safe to repeat."""
        await self.link_to_presses(org)
        await self.remind(org)
        ended = await super().settle(org)
        await self.count_quarters(org)
        return ended

    async def recordings(
        self,
        org: Org | str,
        *,
        states: Iterable[str] = (),
        camera: str | None = None,
        official: str | None = None,
        incident: str | None = None,
        case: str | None = None,
        from_at: datetime | None = None,
        until_at: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        most: int | None = None,
    ) -> tuple[RecordingCard, ...]:
        """Return the recordings that match, newest first, each with what keeps it or when it goes.

        `before` and `most` give one page: what comes after the recording with this start and id.
        """
        order = recordings.c.started_at.desc(), recordings.c.id.desc()
        query = select(recordings).where(recordings.c.org == org).order_by(*order).limit(most)
        if before is not None:
            query = query.where(older_than(before, recordings.c.started_at, recordings.c.id))
        wanted = list(states)
        if wanted:
            query = query.where(recordings.c.state.in_(wanted))
        if camera is not None:
            query = query.where(recordings.c.camera == camera)
        if official is not None:
            query = query.where(recordings.c.official == official)
        if incident is not None:
            query = query.where(recordings.c.incident == incident)
        if from_at is not None:
            query = query.where(recordings.c.ended_at >= from_at)
        if until_at is not None:
            query = query.where(recordings.c.started_at < until_at)
        if case is not None:
            query = query.where(recordings.c.id.in_((await self.case(org, case)).recordings))
        return await self._cards(org, query)

    async def recording(self, org: Org | str, recording: str) -> RecordingCard:
        """Return one recording's card, or raise Refused (NOT_FOUND)."""
        found = await self._cards(org, select(recordings).where(recordings.c.org == org, recordings.c.id == recording))
        if not found:
            raise refuse(Code.NOT_FOUND, "recording", expected=f"a recording of {org}", got=recording)
        return found[0]

    async def certificate(self, org: Org | str, recording: str) -> bytes | None:
        """Return the Kluis's signed certificate of this recording's destruction, or None while there is none."""
        query = select(recordings.c.certificate).where(recordings.c.org == org, recordings.c.id == recording)
        async with self.database.transaction() as t:
            found: bytes | None = (await t.execute(query)).scalar_one_or_none()
        return found

    async def denials(
        self, org: Org | str, *, before: tuple[datetime, int] | None = None, most: int | None = None
    ) -> Sequence[Row[Any]]:
        """Return every denial (one page of them, as `recordings` does), newest first: who, what, why."""
        query = select(denials).where(denials.c.org == org).order_by(denials.c.at.desc(), denials.c.id.desc())
        query = query.limit(most)
        if before is not None:
            query = query.where(older_than(before, denials.c.at, denials.c.id))
        async with self.database.transaction() as t:
            return (await t.execute(query)).all()

    async def _cards(self, org: Org | str, query: Any) -> tuple[RecordingCard, ...]:
        now, cards = self.clock(), []
        async with self.database.transaction() as t:
            standing = await all_standing(t, org, now)
            for row in (await t.execute(query)).all():
                held_by = standing.on(row.id, row.incident)
                verdict = judge(Stored(state=row.state, expires_at=row.expires_at, open_holds=len(held_by)), now)
                cards.append(_card(row, held_by, verdict, now))
        return tuple(cards)


def _card(row: Row[Any], held_by: tuple[str, ...], verdict: Keep | Destroy, now: datetime) -> RecordingCard:
    gone = row.state in ("destroying", "destroyed")
    left = None if gone or held_by else max(0, -((now - row.expires_at).days))
    return RecordingCard(
        id=row.id,
        org=row.org,
        camera=row.camera,
        official=row.official,
        incident=row.incident,
        state=row.state,
        reason=row.reason,
        started_at=row.started_at,
        activated_at=row.activated_at,
        ended_at=row.ended_at,
        expires_at=row.expires_at,
        pre_record_s=row.pre_record_s,
        policy_version=row.policy_version,
        segments=row.segments,
        total_bytes=row.total_bytes,
        chain=row.chain,
        deviations=tuple(row.deviations),
        received_at=row.received_at,
        destroyed_at=row.destroyed_at,
        held_by=held_by,
        because=verdict.because,
        waarom=verdict.waarom,
        days_left=left,
    )
