"""Usage reports: one per use, before the end of the shift, often before the footage is in; and their incidents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, Select, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from broker.wire.policy import Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.holding import hold_by_name, holds_on, lock_recording, recompute_state
from cloud.casework.office import Office, as_recipients, everybody
from cloud.database.tables import activations, decisions_apart, incidents, recordings, shifts, usage_reports
from cloud.rules import lifecycles
from cloud.rules.duties import (
    Owed,
    compliance_flags,
    declared_report_due_at,
    judge_report,
    notice_of_report,
    overdue,
    reminder_to,
    report_due_at,
)
from cloud.rules.retention import HERE
from cloud.rules.seats import Person
from cloud.rules.verdicts import deny

LOOKS_EVERY: Final = timedelta(minutes=1)
"""How often overdue reports are looked for."""

SAME_USE: Final = timedelta(minutes=15)
"""How far the time in a report may lie from the press it is about: people remember to the quarter of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One usage report. `flags` are what differs from the policy, as codes of `cloud.rules.duties.FLAGS`."""

    id: str
    official: str
    recording: str | None
    incident: str | None
    state: str
    due_at: datetime
    submitted_at: datetime | None
    notified: tuple[str, ...]
    answers: Mapping[str, Any]
    flags: tuple[str, ...]

    @property
    def late(self) -> bool:
        """Whether it was submitted after it was due."""
        return self.submitted_at is not None and self.submitted_at > self.due_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One event that several recordings are of. `announced`: recordings that a report names, here or on their way."""

    id: str
    label: str
    opened_at: datetime
    announced: tuple[str, ...]


class Reports(Office):
    """Reports and incidents."""

    async def incident(self, org: Org | str, incident: str) -> Incident:
        """Return one incident of this municipality, or raise Refused (NOT_FOUND)."""
        named = select(usage_reports.c.recording).where(
            usage_reports.c.org == org, usage_reports.c.incident == incident, usage_reports.c.recording.is_not(None)
        )
        async with self.database.transaction() as t:
            query = select(incidents).where(incidents.c.org == org, incidents.c.id == incident)
            row = (await t.execute(query)).one_or_none()
            if row is None:
                raise refuse(Code.NOT_FOUND, "incident", expected=f"one of {org}", got=incident)
            announced = (await t.execute(named)).scalars().all()
        return Incident(id=row.id, label=row.label, opened_at=row.opened_at, announced=tuple(announced))

    async def save_report(
        self,
        org: Org | str,
        *,
        by: str,
        answers: Mapping[str, Any],
        recording: str | None = None,
        incident: str | None = None,
        report: str | None = None,
    ) -> Report:
        """Keep a draft, new or known; it need not be complete, nor the footage be here. Only the wearer's own.

        What was submitted is only supplemented: raises Denied for another's report, and when an answer would go.
        """
        now, policy = self.clock(), await self._policy(org)
        await self._own(org, by, recording, now)
        if report is not None:
            await self._may_write(org, policy, report, by=by, answers=answers)
        async with self.database.transaction() as t:
            due_at = await self._due_at(t, policy, org, by, recording, now) or now
            if report is None:
                report = self._new_id()
                await t.execute(
                    insert(usage_reports).values(
                        id=report,
                        org=org,
                        official=by,
                        recording=recording,
                        incident=incident,
                        state="draft",
                        due_at=due_at,
                        notified=[],
                        answers=dict(answers),
                    )
                )
            else:
                row = await self._report(t, org, report)
                event = "save" if row.state == "draft" else "supplement"
                state = lifecycles.USAGE_REPORT.after(row.state, event)
                await t.execute(
                    update(usage_reports)
                    .where(usage_reports.c.id == report)
                    .values(
                        answers={**row.answers, **answers},
                        state=state,
                        recording=recording or row.recording,
                        incident=incident or row.incident,
                    )
                )
            row = await self._report(t, org, report)
            return _view(row, compliance_flags(policy, row.answers))

    async def submit_report(self, org: Org | str, report: str, *, by: str) -> Report:
        """Submit one's own report and tell whoever must be told; raise Denied when a field is missing."""
        now, policy = self.clock(), await self._policy(org)
        async with self.database.transaction() as t:
            row = await self._report(t, org, report)
            cards = await everybody(t, org, now)
        if row.official != by:
            verdict = deny("a report is submitted by the wearer himself", "wie de camera droeg, meldt zelf")
            raise await self._deny(org, who=by, what="report.submit", verdict=verdict)
        verdict = judge_report(policy, row.answers)
        if not verdict:
            raise await self._deny(org, who=by, what="report.submit", verdict=verdict, code=Code.MALFORMED)
        if not lifecycles.USAGE_REPORT.judge(row.state, "submit"):
            raise refuse(Code.CONFLICT, "report", expected="a draft", got=row.state)
        notice = notice_of_report(policy, reporter=by, officials=as_recipients(cards))
        state = lifecycles.USAGE_REPORT.after(row.state, "submit")
        to = list(notice.to) if notice is not None else []
        await self._write_ahead(
            org,
            "report.submitted",
            subject=report,
            actor=by,
            facts={"recording": row.recording or "", "role": notice.role if notice else "", "late": now > row.due_at},
        )
        async with self.database.transaction() as t:
            sent = await t.execute(
                update(usage_reports)
                .where(usage_reports.c.id == report, usage_reports.c.state == row.state)
                .values(state=state, submitted_at=now, notified=to)
            )
            if sent.rowcount != 1:
                raise refuse(Code.CONFLICT, "report", expected="a draft", got="one that was submitted")
            if row.incident is not None and row.recording is not None:
                await self._join(t, org, row.incident, [row.recording], now)
            done = await self._report(t, org, report)
        self.hub.publish(str(org), "case", {"report": report, "to": to, **_about(done)})
        return _view(done, compliance_flags(policy, done.answers))

    async def reports(
        self, org: Org | str, *, of: str | None = None, about: Sequence[str] | None = None
    ) -> tuple[Report, ...]:
        """Return the reports of this municipality (of one officer, about these recordings), newest first."""
        policy = await self._policy(org)
        whole = (usage_reports.c.org == org) & (usage_reports.c.state != "counted")
        query = select(usage_reports).where(whole).order_by(usage_reports.c.due_at.desc())
        if of is not None:
            query = query.where(usage_reports.c.official == of)
        if about is not None:
            query = query.where(usage_reports.c.recording.in_(about))
        async with self.database.transaction() as t:
            return tuple(_view(row, compliance_flags(policy, row.answers)) for row in await t.execute(query))

    async def owed(self, org: Org | str, *, of: str | None = None) -> tuple[Owed, ...]:
        """Return every use that has no submitted report yet, with its due time; also of a press that was declared."""
        policy = await self._policy(org)
        if not policy.usage_report.required:
            return ()
        submitted = select(usage_reports.c.recording).where(
            usage_reports.c.org == org, usage_reports.c.state == "submitted", usage_reports.c.recording.is_not(None)
        )
        declared = _declared(org).where(decisions_apart.c.recording.not_in(submitted))
        worn = and_(
            shifts.c.org == org,
            shifts.c.official == activations.c.official,
            shifts.c.camera == activations.c.camera,
            shifts.c.starts_at <= activations.c.activated_at,
            or_(shifts.c.ends_at.is_(None), shifts.c.ends_at >= activations.c.activated_at),
        )
        query = (
            select(activations.c.recording, activations.c.official, activations.c.activated_at, shifts.c.ends_at)
            .outerjoin(shifts, worn)
            .where(
                activations.c.org == org,
                activations.c.official.is_not(None),
                activations.c.recording.not_in(submitted),
            )
            .order_by(activations.c.activated_at, shifts.c.starts_at)
        )
        if of is not None:
            query = query.where(activations.c.official == of)
            declared = declared.where(recordings.c.official == of)
        found: dict[str, Owed] = {}
        async with self.database.transaction() as t:
            for row in (await t.execute(declared.order_by(decisions_apart.c.confirmed_at))).all():
                ends = await self._shift_end(t, org, row.official, row.confirmed_at, None)
                due_at = declared_report_due_at(policy, declared_at=row.confirmed_at, shift_ends_at=ends)
                if due_at is not None:
                    found[row.recording] = Owed(official=row.official, recording=row.recording, due_at=due_at)
            for recording, official, activated_at, ends in (await t.execute(query)).all():
                due_at = report_due_at(policy, activated_at=activated_at, shift_ends_at=ends)
                if due_at is not None:  # of two shifts at one time, the one that began last counts
                    found[recording] = Owed(official=str(official), recording=recording, due_at=due_at)
        return tuple(found.values())

    async def overdue_reports(self, org: Org | str) -> tuple[tuple[Owed, tuple[str, ...]], ...]:
        """Return the reports that are late, each with who is reminded of it."""
        now, policy = self.clock(), await self._policy(org)
        late = overdue(await self.owed(org), now)
        cards = as_recipients(await self.officials(org, now))
        return tuple((each, reminder_to(policy, each, cards)) for each in late)

    async def remind(self, org: Org | str) -> int:
        """Tell browsers of each report that became overdue since this process began; return how many. Safe to repeat.

        The officer himself hears it and whoever the report goes to: the coordinator, or who takes over.
        """
        now = self.clock()
        last = self._looked_at.get(str(org))
        if last is not None and timedelta() <= now - last < LOOKS_EVERY:
            return 0
        self._looked_at[str(org)] = now
        new = [each for each in await self.overdue_reports(org) if (str(org), each[0].recording) not in self._reminded]
        for owed, to in new:
            self._reminded.add((str(org), owed.recording))
            self.hub.publish(str(org), "alert", {"kind": "report-overdue", "recording": owed.recording, "to": list(to)})
        return len(new)

    async def link_to_presses(self, org: Org | str) -> int:
        """Tie reports that were written before anything was heard of the camera to the press they are about.

        By officer and time: the one press of this officer close to the time he named that has no report yet.
        """
        waiting = select(usage_reports).where(usage_reports.c.org == org, usage_reports.c.recording.is_(None))
        linked = 0
        async with self.database.transaction() as t:
            for report in (await t.execute(waiting)).all():
                if (used_at := _used_at(report.answers)) is None:
                    continue
                reported = select(usage_reports.c.recording).where(
                    usage_reports.c.org == org, usage_reports.c.recording.is_not(None)
                )
                around = used_at - SAME_USE, used_at + SAME_USE
                press = select(activations.c.recording).where(
                    activations.c.org == org,
                    activations.c.official == report.official,
                    activations.c.activated_at.between(*around),
                    activations.c.recording.not_in(reported),
                )
                declared = _declared(org).where(
                    recordings.c.official == report.official,
                    recordings.c.activated_at.between(*around),
                    decisions_apart.c.recording.not_in(reported),
                )
                found = list({*(await t.execute(press)).scalars(), *(await t.execute(declared)).scalars()})
                if len(found) == 1:
                    await t.execute(
                        update(usage_reports).where(usage_reports.c.id == report.id).values(recording=found[0])
                    )
                    linked += 1
        return linked

    async def report(self, org: Org | str, report: str) -> Report:
        """Return one report of this municipality, or raise Refused (NOT_FOUND)."""
        policy = await self._policy(org)
        async with self.database.transaction() as t:
            row = await self._report(t, org, report)
        return _view(row, compliance_flags(policy, row.answers))

    async def open_incident(self, org: Org | str, *, by: str, label: str, recordings: Sequence[str] = ()) -> str:
        """Start an incident that groups recordings; return its id. Those that come late can join."""
        now, identity = self.clock(), self._new_id()
        await self._write_ahead(org, "incident.opened", subject=identity, actor=by, facts={})
        async with self.database.transaction() as t:
            await t.execute(insert(incidents).values(id=identity, org=org, label=label, opened_at=now))
            await self._join(t, org, identity, recordings, now)
        self.hub.publish(str(org), "case", {"incident": identity})
        return identity

    async def join_incident(self, org: Org | str, incident: str, *, by: str, recordings: Sequence[str]) -> None:
        """Put recordings into an incident: they are held by every case on it from this moment."""
        now = self.clock()
        await self._write_ahead(
            org, "incident.joined", subject=incident, actor=by, facts={"recordings": list(recordings)}
        )
        async with self.database.transaction() as t:
            known = select(incidents.c.id).where(incidents.c.org == org, incidents.c.id == incident)
            if (await t.execute(known)).one_or_none() is None:
                raise refuse(Code.NOT_FOUND, "incident", expected=f"one of {org}", got=incident)
            await self._join(t, org, incident, recordings, now)
        self.hub.publish(str(org), "case", {"incident": incident})

    async def _join(
        self, t: AsyncConnection, org: Org | str, incident: str, named: Sequence[str], now: datetime
    ) -> None:
        """Put these in an incident. What a case held as part of another stays held, by name: no hold ends this way."""
        for recording in sorted(set(named)):  # in one order, so that no two wait for each other
            row = await lock_recording(t, org, recording)
            if row is None or row.incident == incident:
                continue
            for hold in await holds_on(t, org, recording, row.incident, now):
                if hold.recording is None:
                    await hold_by_name(t, hold, recording, identity=self._new_id())
            await t.execute(
                update(recordings)
                .where(recordings.c.org == org, recordings.c.id == recording)
                .values(incident=incident)
            )
            await recompute_state(t, org, recording, now=now, because="it joined an incident")

    async def _own(self, org: Org | str, by: str, recording: str | None, now: datetime) -> None:
        person: Person = await self.person(org, by, now)
        if not person.employed:
            verdict = deny("this person does not work here", "deze persoon werkt hier niet")
            raise await self._deny(org, who=by, what="report.save", verdict=verdict)
        if recording is None:
            return
        (involvement,) = await self.involvements(org, (recording,))
        if involvement.recorder not in (None, by):
            verdict = deny("somebody else wore this camera", "iemand anders droeg deze camera")
            raise await self._deny(org, who=by, what="report.save", verdict=verdict)

    async def _may_write(
        self, org: Org | str, policy: Policy, report: str, *, by: str, answers: Mapping[str, Any]
    ) -> None:
        async with self.database.transaction() as t:
            row = await self._report(t, org, report)
        if row.official != by:
            verdict = deny("a report is its wearer's own", "een melding is van wie de camera droeg")
            raise await self._deny(org, who=by, what="report.save", verdict=verdict)
        if row.state == "submitted" and not (verdict := judge_report(policy, {**row.answers, **answers})):
            raise await self._deny(org, who=by, what="report.save", verdict=verdict, code=Code.MALFORMED)

    async def _due_at(
        self, t: AsyncConnection, policy: Policy, org: Org | str, official: str, recording: str | None, now: datetime
    ) -> datetime | None:
        pressed, camera = now, None
        if recording is not None:
            query = select(activations.c.activated_at, activations.c.camera).where(
                activations.c.org == org, activations.c.recording == recording
            )
            row = (await t.execute(query)).one_or_none()
            if row is not None:
                pressed, camera = row.activated_at, row.camera
            elif (told := (await t.execute(_declared(org, recording))).first()) is not None:
                ends = await self._shift_end(t, org, official, told.confirmed_at, None)
                return declared_report_due_at(policy, declared_at=told.confirmed_at, shift_ends_at=ends)
        ends = await self._shift_end(t, org, official, pressed, camera)
        return report_due_at(policy, activated_at=pressed, shift_ends_at=ends)

    async def _shift_end(
        self, t: AsyncConnection, org: Org | str, official: str, at: datetime, camera: str | None
    ) -> datetime | None:
        query = select(shifts.c.ends_at).where(
            shifts.c.org == org,
            shifts.c.official == official,
            shifts.c.starts_at <= at,
            or_(shifts.c.ends_at.is_(None), shifts.c.ends_at >= at),
        )
        if camera is not None:
            query = query.where(shifts.c.camera == camera)
        return (await t.execute(query.order_by(shifts.c.starts_at.desc()).limit(1))).scalar_one_or_none()

    async def _report(self, t: AsyncConnection, org: Org | str, report: str) -> Row[Any]:
        query = select(usage_reports).where(usage_reports.c.org == org, usage_reports.c.id == report)
        row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "report", expected=f"a report of {org}", got=report)
        return row


def _declared(org: Org | str, *of: str) -> Select[Any]:
    """Presses that two people declared: the recording, who wore its camera, and when they did."""
    query = (
        select(decisions_apart.c.recording, recordings.c.official, decisions_apart.c.confirmed_at)
        .join(recordings, recordings.c.id == decisions_apart.c.recording)
        .where(
            decisions_apart.c.org == org,
            decisions_apart.c.state == "confirmed",
            decisions_apart.c.outcome == "admit",
            recordings.c.official.is_not(None),
        )
    )
    return query.where(decisions_apart.c.recording.in_(of)) if of else query


def _used_at(answers: Mapping[str, Any]) -> datetime | None:
    """Return when the camera was used, by a report that knows no press; None where it was not used at all."""
    if answers.get("warned_not_recorded") or not answers.get("used_at"):
        return None
    try:
        told = datetime.fromisoformat(str(answers["used_at"]))
    except ValueError:
        return None  # a draft may say anything
    return told if told.tzinfo else told.replace(tzinfo=HERE)


def _about(row: Row[Any]) -> dict[str, str]:
    """Return what a report is about, where that is known."""
    return {name: value for name in ("recording", "incident") if (value := getattr(row, name))}


def _view(row: Row[Any], flags: tuple[str, ...]) -> Report:
    return Report(
        id=row.id,
        official=row.official,
        recording=row.recording,
        incident=row.incident,
        state=row.state,
        due_at=row.due_at,
        submitted_at=row.submitted_at,
        notified=tuple(row.notified),
        answers=row.answers,
        flags=flags if row.state == "submitted" else (),
    )
