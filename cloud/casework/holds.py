"""Ending holds: shown before it is confirmed, by two people when destruction follows at once, never while one is due.

Time ends some holds by itself (`settle`): an emergency hold that nothing followed, and an access request that nobody
can fight any more and that has been carried out.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from broker.wire.policy import CaseKind, Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.cases import SETTLED_BY_TIME, Case, Cases, decided_of, met_by
from cloud.casework.holding import covered_by, holds_on, lock_recording, recompute_state
from cloud.casework.office import Denied, keep_opening
from cloud.database.tables import cases, holds, proposals, recordings, usage_reports
from cloud.rules import lifecycles
from cloud.rules.holds import OPEN, AfterRelease, after_release_of_one, judge_release
from cloud.rules.retention import Stored, after_release_by_all
from cloud.rules.rights import judge_role
from cloud.rules.terms import day_of, is_final
from cloud.rules.verdicts import deny

SERVICE = "svc-retention"
"""Who ends holds that time ends."""


class Holds(Cases):
    """Holds and how they end."""

    async def place_hold(self, org: Org | str, case: str, *, by: str, recording: str) -> Case:
        """Hold one more recording for this case (what the back office calls archiving)."""
        return await self.add_to_case(org, case, by=by, recordings=(recording,))

    async def case_of_hold(self, org: Org | str, hold: str) -> Case:
        """Return the case that this hold belongs to; raise Refused (NOT_FOUND)."""
        async with self.database.transaction() as t:
            row = await self._hold(t, org, hold)
        return await self.case(org, row.case_id)

    async def release_preview(self, org: Org | str, hold: str) -> tuple[AfterRelease, ...]:
        """Return what would follow for each recording if this hold ended now. Changes nothing."""
        now, policy = self.clock(), await self._policy(org)
        async with self.database.transaction() as t:
            row = await self._hold(t, org, hold)
            return tuple([each for each in await self._consequences(t, org, policy, row, now) if each is not None])

    async def release_hold(self, org: Org | str, hold: str, *, by: str, ground: str) -> Case:
        """End a hold, or ask for its end when that takes two: then the second person calls this too.

        What was judged is looked at once more where it is done: of two who act at once, the second may be refused.

        Raises Denied (UNDER_HOLD) while what must end it has not happened, Refused (CONFLICT) when it ended already.
        """
        now, policy = self.clock(), await self._policy(org)
        async with self.database.transaction() as t:
            row = await self._hold(t, org, hold)
            then = [each for each in await self._consequences(t, org, policy, row, now) if each is not None]
            asked = await self._asked(t, hold)
        case = await self.case(org, row.case_id)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.release, "release a hold", "een bewaarplicht opheffen")
        await self._check(org, verdict, who=by, what="hold.release")
        _check_open(row)
        met = met_by(policy, case, recording=row.recording, today=day_of(now))
        verdict = judge_release(policy, kind=case.kind, met=met, provisional=row.state == "provisional")
        if not verdict:
            raise await self._deny(org, who=by, what="hold.release", verdict=verdict, code=Code.UNDER_HOLD)
        people = _people_needed(then)
        if people > 1 and asked is None:
            await self._ask_release(org, row, by=by, ground=ground)
            return await self.case(org, row.case_id)
        if people > 1 and asked is not None and asked.proposed_by == by:
            verdict = deny("the second person is another person", "de tweede persoon is een ander")
            raise await self._deny(org, who=by, what="hold.release", verdict=verdict)
        confirms = asked.id if asked is not None and asked.proposed_by != by else None  # else it took only one by now
        await self._release(org, policy, row, by=by, ground=ground, confirms=confirms)
        return await self.case(org, row.case_id)

    async def release_case(self, org: Org | str, case: str, *, by: str, ground: str) -> Case:
        """End every hold of this case that may end, as `release_hold` does each; return the case as it stands.

        Raises Denied (UNDER_HOLD) when none of them may end yet.
        """
        there, refusal, done = await self.case(org, case), None, 0
        for hold in there.holds:
            if hold.state not in OPEN:
                continue
            try:
                await self.release_hold(org, hold.id, by=by, ground=ground)
                done += 1
            except Denied as denied:
                refusal = denied
        if refusal is not None and not done:
            raise refusal
        return await self.case(org, case)

    async def refuse_release(self, org: Org | str, hold: str, *, by: str) -> Case:
        """Let a hold stand of which somebody asked the end."""
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.release, "release a hold", "een bewaarplicht opheffen")
        await self._check(org, verdict, who=by, what="hold.release")
        async with self.database.transaction() as t:
            _check_asked(await self._hold(t, org, hold))
        await self._write_ahead(org, "hold.kept", subject=hold, actor=by, facts={})
        async with self.database.transaction() as t:
            row = _check_asked(await self._hold(t, org, hold))
            state = lifecycles.HOLD.after(row.state, "refuse_release")
            await t.execute(update(holds).where(holds.c.id == hold).values(state=state))
            await t.execute(
                update(proposals)
                .where(proposals.c.subject == hold, proposals.c.state == "open")
                .values(state="withdrawn")
            )
        self.hub.publish(str(org), "case", {"case": row.case_id, "hold": hold, "state": state})
        return await self.case(org, row.case_id)

    async def settle(self, org: Org | str) -> int:
        """Do what time alone does, and return how many holds ended: lapse, become final, let go. Safe to repeat."""
        now, policy = self.clock(), await self._policy(org)
        await self._link_reports(org)
        await self.tell_closed(org)
        ended = await self._lapse(org, policy, now)
        for waiting in await self._waiting_for_time(org):
            settled = await self._settle_state(org, policy, await self.case(org, waiting))
            for hold in settled.holds:
                met = met_by(policy, settled, recording=hold.recording, today=day_of(now))
                if hold.state in ("active", "release_requested") and judge_release(policy, kind=settled.kind, met=met):
                    async with self.database.transaction() as t:
                        row = await self._hold(t, org, hold.id)
                    await self._release_by_time(org, policy, row)
                    ended += 1
        return ended

    async def standing_on(self, org: Org | str, recording: str) -> tuple[str, ...]:
        """Return the numbers of the cases that hold this recording now, oldest first."""
        now = self.clock()
        async with self.database.transaction() as t:
            incident = (
                await t.execute(
                    select(recordings.c.incident).where(recordings.c.org == org, recordings.c.id == recording)
                )
            ).scalar_one_or_none()
            return tuple(row.number for row in await holds_on(t, org, recording, incident, now))

    async def _waiting_for_time(self, org: Org | str) -> Sequence[str]:
        """Return the cases in which time alone may do something: a decision that becomes final, a hold that ends."""
        still_held = exists().where(holds.c.case_id == cases.c.id, holds.c.state.in_(OPEN))
        lifecycle = lifecycles.of_case(CaseKind.ACCESS_REQUEST)
        becoming_final = [state for state, event in lifecycle.moves if event == "become_final"]
        query = select(cases.c.id).where(
            cases.c.org == org,
            cases.c.kind.in_([kind.value for kind in SETTLED_BY_TIME]),
            or_(still_held, cases.c.state.in_(becoming_final)),
        )
        async with self.database.transaction() as t:
            return (await t.execute(query.order_by(cases.c.id))).scalars().all()

    async def _hold(self, t: AsyncConnection, org: Org | str, hold: str) -> Row[Any]:
        """Return a hold, locked until this transaction ends; raise Refused (NOT_FOUND)."""
        query = select(holds).where(holds.c.org == org, holds.c.id == hold).with_for_update()
        row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "hold", expected=f"a hold of {org}", got=hold)
        return row

    async def _asked(self, t: AsyncConnection, hold: str) -> Row[Any] | None:
        query = select(proposals).where(proposals.c.subject == hold, proposals.c.state == "open")
        return (await t.execute(query)).one_or_none()

    async def _consequences(
        self, t: AsyncConnection, org: Org | str, policy: Policy, hold: Row[Any], now: datetime
    ) -> list[AfterRelease | None]:
        found: list[AfterRelease | None] = []
        for recording in await covered_by(t, org, hold):
            row = await lock_recording(t, org, recording)
            if row is None or row.state in ("destroying", "destroyed"):
                continue
            standing = await holds_on(t, org, recording, row.incident, now)
            if all(each.id != hold.id for each in standing):
                continue
            stored = Stored(state=row.state, expires_at=row.expires_at, open_holds=len(standing))
            bound = await self.policies.version_in(t, org, row.policy_version)
            found.append(after_release_of_one((policy, bound), stored, now=now))
        return found

    async def _ask_release(self, org: Org | str, hold: Row[Any], *, by: str, ground: str) -> None:
        await self._write_ahead(org, "hold.release-asked", subject=hold.case_id, actor=by, facts={"hold": hold.id})
        async with self.database.transaction() as t:
            _check_open(await self._hold(t, org, hold.id))
            if await self._asked(t, hold.id) is not None:
                raise refuse(Code.CONFLICT, "hold", expected="one of which nobody asked the end", got="another's word")
            if hold.state == "active":
                state = lifecycles.HOLD.after("active", "request_release")
                await t.execute(update(holds).where(holds.c.id == hold.id).values(state=state))
            await t.execute(
                insert(proposals).values(
                    id=self._new_id(),
                    org=org,
                    act="hold.release",
                    subject=hold.id,
                    ground=ground,
                    proposed_by=by,
                    proposed_at=self.clock(),
                    state="open",
                )
            )
        self.hub.publish(str(org), "case", {"case": hold.case_id, "hold": hold.id, "state": "release_requested"})

    async def _release(
        self, org: Org | str, policy: Policy, hold: Row[Any], *, by: str, ground: str, confirms: str | None
    ) -> None:
        await self._write_ahead(
            org, "hold.released", subject=hold.case_id, actor=by, facts={"hold": hold.id}, private=ground
        )
        await self._end_hold(org, policy, hold, by=by, ground=ground, confirms=confirms)

    async def _release_by_time(self, org: Org | str, policy: Policy, hold: Row[Any]) -> None:
        ground, facts = "the term is over", {"hold": hold.id}
        async with self._once.entered(
            "hold.released", subject=hold.case_id, actor=SERVICE, at=self.clock(), facts=facts, private=ground
        ) as entry:
            await keep_opening(self.database, org, entry)
            await self._end_hold(org, policy, hold, by=SERVICE, ground=ground, confirms=None)

    async def _end_hold(
        self, org: Org | str, policy: Policy, hold: Row[Any], *, by: str, ground: str, confirms: str | None
    ) -> None:
        now = self.clock()
        async with self.database.transaction() as t:
            _check_open(await self._hold(t, org, hold.id))
            then = [each for each in await self._consequences(t, org, policy, hold, now) if each is not None]
            if by != SERVICE and confirms is None and _people_needed(then) > 1:
                raise refuse(Code.CONFLICT, "hold", expected="two people: it is the last one now", got="one")
            await t.execute(
                update(holds)
                .where(holds.c.id == hold.id)
                .values(state="released", released_at=now, released_by=by, ground=ground)
            )
            if confirms is not None:
                confirmed = await t.execute(
                    update(proposals)
                    .where(proposals.c.id == confirms, proposals.c.state == "open")
                    .values(state="confirmed", confirmed_by=by, confirmed_at=now)
                )
                if confirmed.rowcount != 1:
                    raise refuse(Code.CONFLICT, "hold", expected="somebody's question", got="one that was refused")
            await t.execute(
                update(proposals)
                .where(proposals.c.subject == hold.id, proposals.c.state == "open")
                .values(state="withdrawn")
            )
            await self._let_go(t, org, policy, hold, now=now)
        self.hub.publish(str(org), "case", {"case": hold.case_id, "hold": hold.id, "state": "released"})

    async def _let_go(
        self, t: AsyncConnection, org: Org | str, policy: Policy, hold: Row[Any], *, now: datetime
    ) -> None:
        """Bring each recording of an ended hold in line; the policy's grace begins when the last hold ends."""
        for recording in await covered_by(t, org, hold):
            row = await lock_recording(t, org, recording)
            if row is None or row.state in ("destroying", "destroyed"):
                continue
            if not await holds_on(t, org, recording, row.incident, now):
                bound = await self.policies.version_in(t, org, row.policy_version)
                expires = after_release_by_all((policy, bound), expires=row.expires_at, released_at=now)
                if expires != row.expires_at:
                    await t.execute(
                        update(recordings)
                        .where(recordings.c.org == org, recordings.c.id == recording)
                        .values(expires_at=expires)
                    )
            await recompute_state(t, org, recording, now=now, because="a hold ended")

    async def _lapse(self, org: Org | str, policy: Policy, now: datetime) -> int:
        query = select(holds).where(holds.c.org == org, holds.c.state == "provisional", holds.c.lapses_at <= now)
        async with self.database.transaction() as t:
            lapsed = (await t.execute(query)).all()
        for hold in lapsed:
            facts = {"hold": hold.id}
            async with (
                self._once.entered("hold.lapsed", subject=hold.case_id, actor=SERVICE, at=now, facts=facts),
                self.database.transaction() as t,
            ):
                done = await t.execute(
                    update(holds)
                    .where(holds.c.id == hold.id, holds.c.state == "provisional")
                    .values(state=lifecycles.HOLD.after("provisional", "lapse"), released_at=now, released_by=SERVICE)
                )
                if done.rowcount != 1:  # a person ended it in this very moment
                    continue
                await self._let_go(t, org, policy, hold, now=now)
            self.hub.publish(str(org), "case", {"case": hold.case_id, "hold": hold.id, "state": "lapsed"})
        return len(lapsed)

    async def _settle_state(self, org: Org | str, policy: Policy, case: Case) -> Case:
        """Let a decision become final when its term has passed unused; return the case as it then stands."""
        lifecycle = lifecycles.of_case(CaseKind.ACCESS_REQUEST)
        if not lifecycle.judge(case.state, "become_final") or not is_final(policy, decided_of(case), self._today()):
            return case
        now, facts = self.clock(), {"step": "become_final"}
        async with (
            self._once.entered("case.moved", subject=case.id, actor=SERVICE, at=now, facts=facts),
            self.database.transaction() as t,
        ):
            done = await t.execute(
                update(cases)
                .where(cases.c.id == case.id, cases.c.state == case.state)
                .values(state=lifecycle.after(case.state, "become_final"))
            )
            if done.rowcount != 1:  # somebody objected in this very moment: the next look sees it
                return case
            await self._note(t, case.id, by=SERVICE, step="become_final", facts={})
            await self._keep_register(t, case.id, state="final", event="become_final", told={}, by=SERVICE, now=now)
        self.hub.publish(str(org), "case", {"case": case.id, "state": "final"})
        return await self.case(org, case.id)

    async def _link_reports(self, org: Org | str) -> None:
        """Tie footage that came late to the incident its report named, and so to the holds on that incident."""
        now = self.clock()
        waiting = (
            select(usage_reports.c.recording, usage_reports.c.incident)
            .join(recordings, recordings.c.id == usage_reports.c.recording)
            .where(
                usage_reports.c.org == org,
                recordings.c.org == org,
                usage_reports.c.incident.is_not(None),
                recordings.c.incident.is_(None),
            )
        )
        async with self.database.transaction() as t:
            for recording, incident in (await t.execute(waiting)).all():
                await t.execute(
                    update(recordings)
                    .where(recordings.c.org == org, recordings.c.id == recording)
                    .values(incident=incident)
                )
                await recompute_state(t, org, recording, now=now, because="its report names the incident")


def _people_needed(then: Sequence[AfterRelease]) -> int:
    return max((each.people_needed for each in then), default=1)


def _check_open(hold: Row[Any]) -> None:
    if hold.state not in OPEN:
        raise refuse(Code.CONFLICT, "hold", expected="an open hold", got=hold.state)


def _check_asked(hold: Row[Any]) -> Row[Any]:
    if not lifecycles.HOLD.judge(hold.state, "refuse_release"):
        raise refuse(Code.CONFLICT, "hold", expected="one of which the end was asked", got=hold.state)
    return hold
