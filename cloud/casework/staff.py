"""Who holds which role, and who stands in for whom. Nobody appoints himself; nothing starts in the past."""

from datetime import datetime, timedelta

from sqlalchemy import and_, insert, or_, select, update

from broker.wire.ids import Org
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.office import Office, everybody, take_turn
from cloud.database.tables import (
    appointments,
    cases,
    officials,
    recordings,
    substitutions,
    viewing_requests,
    wearer_corrections,
)
from cloud.rules import lifecycles
from cloud.rules.rights import judge_role
from cloud.rules.seats import ProposedSubstitution, judge_pool, judge_substitution
from cloud.rules.verdicts import deny

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far a start may lie in the past and still be *now*: the time between opening a form and sending it."""


class Staff(Office):
    """Roles and substitutions. Each change also goes to the Kluis's own list, where that is carried over at once."""

    async def appoint(
        self, org: Org | str, *, by: str, official: str, role: str, until_at: datetime | None = None
    ) -> None:
        """Give somebody a role from now on; raise Denied when the pool is full or this person may not appoint."""
        now, policy = self.clock(), await self._policy(org)
        what = f"role.appoint {role}"
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.appoint, "appoint", "rollen toekennen")
        await self._check(org, verdict, who=by, what=what)
        if by == official:
            verdict = deny("nobody appoints himself", "niemand wijst zichzelf aan")
            raise await self._deny(org, who=by, what=what, verdict=verdict)
        if role not in policy.roles:
            raise refuse(Code.MALFORMED, "role", expected=", ".join(policy.roles), got=role)
        async with self.database.transaction() as t:
            people = await everybody(t, org, now)
        if all(card.id != official for card in people):
            raise refuse(Code.NOT_FOUND, "official", expected="somebody who works here", got=official)
        holders = [card for card in people if role in card.person.roles and card.id != official]
        await self._check(org, judge_pool(policy, role=role, holders=len(holders)), who=by, what=what)
        await self._write_ahead(
            org, "roster.changed", subject=official, actor=by, facts={"role": role, "change": "appointed"}
        )
        async with self.database.transaction() as t:
            await take_turn(t, org)
            people = await everybody(t, org, now)
            holders = [card for card in people if role in card.person.roles and card.id != official]
            if not judge_pool(policy, role=role, holders=len(holders)):
                raise refuse(Code.CONFLICT, "role", expected="room for one more", got=f"{len(holders)} holders")
            await t.execute(
                insert(appointments).values(
                    org=org, official=official, role=role, from_at=now, until_at=until_at, appointed_by=by
                )
            )
        await self._tell_the_kluis(by)

    async def withdraw(self, org: Org | str, *, by: str, official: str, role: str) -> None:
        """Take a role away from now on; raise Refused (CONFLICT) when this person was not given it."""
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.appoint, "appoint", "rollen toekennen")
        await self._check(org, verdict, who=by, what=f"role.withdraw {role}")
        held = and_(
            appointments.c.org == org,
            appointments.c.official == official,
            appointments.c.role == role,
            or_(appointments.c.until_at.is_(None), appointments.c.until_at > now),
        )
        async with self.database.transaction() as t:
            if (await t.execute(select(appointments.c.id).where(held))).first() is None:
                raise _not_held(role)
        await self._write_ahead(
            org, "roster.changed", subject=official, actor=by, facts={"role": role, "change": "withdrawn"}
        )
        async with self.database.transaction() as t:
            taken = await t.execute(update(appointments).where(held).values(until_at=now))
            if not taken.rowcount:
                raise _not_held(role)  # somebody else took it meanwhile
        await self._tell_the_kluis(by)

    async def mark_absent(self, org: Org | str, *, by: str, official: str, until_at: datetime | None) -> None:
        """Say that somebody is away until then (None: back again). Oneself, or whoever appoints substitutes."""
        now, policy = self.clock(), await self._policy(org)
        if by != official:
            person = await self.person(org, by, now)
            verdict = judge_role(policy, person, policy.substitution.appointers, "mark absent", "afwezig melden")
            await self._check(org, verdict, who=by, what="official.absent")
        await self._write_ahead(org, "roster.changed", subject=official, actor=by, facts={"change": "absent"})
        async with self.database.transaction() as t:
            await t.execute(
                update(officials)
                .where(officials.c.org == org, officials.c.id == official)
                .values(absent_until=until_at)
            )

    async def appoint_substitute(
        self,
        org: Org | str,
        *,
        by: str,
        role: str,
        replaced: str,
        substitute: str,
        from_at: datetime,
        until_at: datetime,
        ground: str,
    ) -> str:
        """Let somebody act in a role for somebody who is absent, for a period; return the record's id."""
        now, policy = self.clock(), await self._policy(org)
        async with self.database.transaction() as t:
            people = {card.id: card.person for card in await everybody(t, org, now)}
            sitting = (
                await t.execute(
                    select(viewing_requests.c.purpose)
                    .join(cases, cases.c.id == viewing_requests.c.case_id)
                    .where(
                        viewing_requests.c.org == org,
                        viewing_requests.c.state.in_(("requested", "approved", "open", "paused")),
                        or_(viewing_requests.c.requester == substitute, viewing_requests.c.second == substitute),
                    )
                )
            ).all()
        held = people[substitute].roles if substitute in people and sitting else frozenset()
        appointer = await self.person(org, by, now)
        proposed = ProposedSubstitution(
            role=role,
            replaced=replaced,
            substitute=substitute,
            appointed_by=appointer,
            starts_in_past=from_at < now - CLOCKS_DIFFER,
            days=(until_at - max(from_at, now)).total_seconds() / 86_400,
            substitute_is_employed=substitute in people,
            replaced_holds_role=replaced in people and role in people[replaced].roles,
            seats_of_substitute=frozenset(held),
        )
        verdict = judge_substitution(policy, proposed)
        await self._check(org, verdict, who=by, what=f"substitution.appoint {role}")
        identity = self._new_id()
        await self._write_ahead(
            org,
            "roster.changed",
            subject=substitute,
            actor=by,
            facts={"change": "substitute", "role": role, "replaced": replaced, "substitution": identity},
            private=ground,
        )
        async with self.database.transaction() as t:
            await t.execute(
                insert(substitutions).values(
                    id=identity,
                    org=org,
                    role=role,
                    replaced=replaced,
                    substitute=substitute,
                    from_at=max(from_at, now),
                    until_at=until_at,
                    appointed_by=by,
                    ground=ground,
                )
            )
        await self._tell_the_kluis(by)
        return identity

    async def end_substitution(self, org: Org | str, substitution: str, *, by: str) -> None:
        """End a substitution early: by the appointers, by whoever is back, or by the substitute.

        Raises Refused (CONFLICT) when it has ended.
        """
        now, policy = self.clock(), await self._policy(org)
        query = select(substitutions).where(substitutions.c.org == org, substitutions.c.id == substitution)
        async with self.database.transaction() as t:
            row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "substitution", expected=f"one of {org}", got=substitution)
        if by not in (row.replaced, row.substitute):
            person = await self.person(org, by, now)
            appointers = policy.substitution.appointers
            verdict = judge_role(policy, person, appointers, "end a substitution", "een vervanging beëindigen")
            await self._check(org, verdict, who=by, what="substitution.end")
        ended = row.ended_at is not None or row.until_at <= now
        state = "ended" if ended else "planned" if row.from_at > now else "active"
        may = lifecycles.SUBSTITUTION.judge(state, "end_early")
        if not may:
            raise refuse(Code.CONFLICT, "substitution", expected=may.because, got=state)
        await self._write_ahead(
            org, "roster.changed", subject=row.substitute, actor=by,
            facts={"change": "substitution ended", "substitution": substitution},
        )  # fmt: skip
        async with self.database.transaction() as t:
            await t.execute(
                update(substitutions)
                .where(substitutions.c.id == substitution, substitutions.c.ended_at.is_(None))
                .values(ended_at=now)
            )
        await self._tell_the_kluis(by)

    async def correct_wearer(self, org: Org | str, recording: str, *, by: str, official: str, ground: str) -> None:
        """Say who wore the camera after all; what was written first stays readable."""
        now, policy = self.clock(), await self._policy(org)
        person = await self.person(org, by, now)
        roles = policy.casework.correct_wearer
        verdict = judge_role(policy, person, roles, "correct the wearer", "de drager corrigeren")
        await self._check(org, verdict, who=by, what="wearer.correct")
        await self._write_ahead(
            org, "wearer.corrected", subject=recording, actor=by, facts={"official": official}, private=ground
        )
        async with self.database.transaction() as t:
            before = select(recordings.c.official).where(recordings.c.org == org, recordings.c.id == recording)
            row = (await t.execute(before.with_for_update())).one_or_none()
            if row is None:
                raise refuse(Code.NOT_FOUND, "recording", expected=f"a recording of {org}", got=recording)
            await t.execute(
                insert(wearer_corrections).values(
                    org=org, recording=recording, was=row.official, becomes=official, by=by, at=now, ground=ground
                )
            )
            await t.execute(
                update(recordings)
                .where(recordings.c.org == org, recordings.c.id == recording)
                .values(official=official)
            )

    async def _tell_the_kluis(self, by: str) -> None:
        """Let the Kluis's own list follow. Raises Refused when it does not: the register stands, no key goes out."""
        if self.roster is not None:
            await self.roster.carry_over(by=by)


def _not_held(role: str) -> Refused:
    return refuse(
        Code.CONFLICT, f"role {role}", expected="a role that this person was given", got="one that is not held"
    )
