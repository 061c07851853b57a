"""How every act in the office goes: judge, write it in the ledger, then do it in one transaction.

Whoever may not is told why, and that is written down too: who, what, why.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import Org, uuid7
from broker.wire.policy import Policy
from broker.wire.refusals import Code, Refusal, Refused
from cloud.casework.policies import Policies
from cloud.casework.seams import ClosesCases, Entry, Hub, Ledger, Roster
from cloud.database.engine import Database
from cloud.database.tables import (
    activations,
    appointments,
    denials,
    derivatives,
    officials,
    openings,
    policies,
    programs,
    recordings,
    substitutions,
    usage_reports,
)
from cloud.ledger.log import LedgerUnwritable
from cloud.ledger.once import Once
from cloud.rules.duties import Official
from cloud.rules.programs import PREFIX, Scope, as_person
from cloud.rules.seats import Involvement, Person, involvement_of
from cloud.rules.verdicts import Verdict


class Denied(Refused):
    """Somebody may not do this. The verdict says why in both languages; the denial has been written down."""

    def __init__(self, what: str, verdict: Verdict, code: Code = Code.NOT_ALLOWED) -> None:
        super().__init__(Refusal(code=code, what=what, expected="the right to do this", got=verdict.because))
        self.verdict = verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialCard:
    """One person of the municipality as the desk shows them; `person` is what the rules see."""

    id: str
    name: str
    function: str | None
    department: str | None
    team: str | None
    absent: bool
    person: Person


class Office:
    """What every desk in the office shares. `org` is always the first argument: nothing crosses municipalities."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        policies: Policies,
        clock: Clock,
        hub: Hub,
        *,
        roster: Roster | None = None,
        kluis: ClosesCases | None = None,
    ) -> None:
        """`roster` carries changes of people over to the Kluis at once; without it, two officials sign them later.

        `kluis` hears of every case that ends, and releases nothing for it any more.
        """
        self.database = database
        self.ledger = ledger
        self.policies = policies
        self.clock = clock
        self.hub = hub
        self.roster = roster
        self.kluis = kluis
        self._once = Once(ledger)  # for what services do by themselves, until it succeeds
        self._reminded: set[tuple[str, str]] = set()  # reports of which browsers heard that they are late
        self._looked_at: dict[str, datetime] = {}

    async def officials(self, org: Org | str, now: datetime | None = None) -> tuple[OfficialCard, ...]:
        """Return everybody who works here at this moment (now, if None), with the roles they hold."""
        async with self.database.transaction() as t:
            return await everybody(t, org, now or self.clock())

    async def person(self, org: Org | str, official: str, now: datetime | None = None) -> Person:
        """Return what the rules see of this person now; somebody unknown has no roles and does not work here."""
        async with self.database.transaction() as t:
            return await self._person(t, org, official, now or self.clock())

    async def _person(self, t: AsyncConnection, org: Org | str, official: str, now: datetime) -> Person:
        for card in await everybody(t, org, now):
            if card.id == official:
                return card.person
        return await program_at(t, org, official, now) or Person(id=official, roles=frozenset(), employed=False)

    async def involvements(self, org: Org | str, of: Iterable[str]) -> tuple[Involvement, ...]:
        """Return, per recording, who made it and who was there (by the usage reports), and the roles that are out."""
        async with self.database.transaction() as t:
            return await self._involvements(t, org, of, self.clock())

    async def involvement(self, org: Org | str, of: Iterable[str]) -> Involvement:
        """Return who was involved in any of these recordings."""
        async with self.database.transaction() as t:
            return await self._involvement(t, org, of, self.clock())

    async def _involvement(self, t: AsyncConnection, org: Org | str, of: Iterable[str], now: datetime) -> Involvement:
        each = await self._involvements(t, org, of, now)
        recorders = {one.recorder for one in each if one.recorder}
        present = frozenset(name for one in each for name in one.present)
        people = [card.person for card in await everybody(t, org, now)]
        only = next(iter(recorders)) if len(recorders) == 1 else None
        return involvement_of(recorder=only, present=present | recorders, people=people)

    async def _involvements(
        self, t: AsyncConnection, org: Org | str, of: Iterable[str], now: datetime
    ) -> tuple[Involvement, ...]:
        people = [card.person for card in await everybody(t, org, now)]
        found = []
        for asked in of:
            of_original = select(derivatives.c.original).where(derivatives.c.recording == asked)
            recording = (await t.execute(of_original)).scalar_one_or_none() or asked
            row = (
                await t.execute(
                    select(recordings.c.official, recordings.c.incident).where(
                        recordings.c.org == org, recordings.c.id == recording
                    )
                )
            ).one_or_none()
            recorder = row.official if row is not None else None
            if recorder is None:
                pressed = select(activations.c.official).where(
                    activations.c.org == org, activations.c.recording == recording
                )
                recorder = (await t.execute(pressed)).scalar_one_or_none()
            tied = usage_reports.c.recording == recording
            if row is not None and row.incident is not None:
                tied = or_(tied, usage_reports.c.incident == row.incident)
            reports = select(usage_reports.c.answers).where(usage_reports.c.org == org, tied)
            present = {
                name for answers in (await t.execute(reports)).scalars() for name in answers.get("present_staff", ())
            }
            found.append(involvement_of(recorder=recorder, present=present, people=people))
        return tuple(found)

    async def record_denial(self, org: Org | str, *, who: str, what: str, why: str) -> None:
        """Write down that somebody was refused something: the register has the words, the ledger a commitment."""
        now = self.clock()
        async with self.database.transaction() as t:
            await t.execute(insert(denials).values(org=org, at=now, who=who, what=what, why=why))
        try:
            entry = await self.ledger.append(
                "denial", subject=what, actor=who, at=now, facts={"what": what}, private=why
            )
        except LedgerUnwritable:
            return  # the register has it; a refusal must not turn into a failure because the ledger is away
        await keep_opening(self.database, org, entry)

    async def _deny(
        self, org: Org | str, *, who: str, what: str, verdict: Verdict, code: Code = Code.NOT_ALLOWED
    ) -> Denied:
        await self.record_denial(org, who=who, what=what, why=verdict.because)
        return Denied(what, verdict, code)

    async def _check(self, org: Org | str, verdict: Verdict, *, who: str, what: str) -> None:
        if not verdict:
            raise await self._deny(org, who=who, what=what, verdict=verdict)

    async def _write_ahead(
        self,
        org: Org | str,
        kind: str,
        *,
        subject: str,
        actor: str,
        facts: Mapping[str, Any],
        private: str | None = None,
    ) -> Entry:
        """Put the act in the ledger before it happens; raise Refused (LEDGER_UNWRITABLE), and then it must not."""
        try:
            entry = await self.ledger.append(
                kind, subject=subject, actor=actor, at=self.clock(), facts=facts, private=private
            )
        except LedgerUnwritable as cause:
            raise Refused(
                Refusal(code=Code.LEDGER_UNWRITABLE, what=kind, expected="an entry in the ledger", got=str(cause))
            ) from cause
        await keep_opening(self.database, org, entry)
        return entry

    async def _policy(self, org: Org | str) -> Policy:
        return await self.policies.current(org)

    def _new_id(self) -> str:
        return str(uuid7(self.clock(), secrets.token_bytes(10)))


async def keep_opening(database: Database, org: Org | str, entry: Entry) -> None:
    """Keep what opens the commitment of this entry, if it has one: without the salt nobody can prove the words.

    Doing it twice changes nothing.
    """
    if entry.opening is None:
        return
    async with database.transaction() as t:
        kept = select(openings.c.entry).where(openings.c.org == org, openings.c.entry == entry.index)
        if (await t.execute(kept)).first() is not None:
            return
        await t.execute(
            insert(openings).values(org=org, entry=entry.index, salt=entry.opening.salt, text=entry.opening.text)
        )


async def program_at(t: AsyncConnection, org: Org | str, account: str, now: datetime) -> Person | None:
    """Return what the rules see of a program whose account counts at `now`; None for anybody else."""
    if not account.startswith(PREFIX):
        return None
    row = (
        await t.execute(
            select(programs.c.scopes).where(
                programs.c.org == org,
                programs.c.id == account,
                programs.c.issued_at.is_not(None),
                programs.c.ended_at.is_(None),
                programs.c.until_at > now,
            )
        )
    ).one_or_none()
    return None if row is None else as_person(account, frozenset(Scope(each) for each in row.scopes))


async def take_turn(t: AsyncConnection, org: Org | str) -> None:
    """Let one transaction at a time number cases and fill pools in a municipality (SQLite has only one anyway)."""
    await t.execute(select(policies.c.version).where(policies.c.org == org).with_for_update())


async def everybody(t: AsyncConnection, org: Org | str, now: datetime) -> tuple[OfficialCard, ...]:
    """Return everybody who works here at `now`, by pseudonym. Who wears a camera is an officer."""
    people = await t.execute(
        select(officials)
        .where(
            officials.c.org == org,
            officials.c.employed_from <= now,
            or_(officials.c.employed_until.is_(None), officials.c.employed_until > now),
        )
        .order_by(officials.c.id)
    )
    rows = people.all()
    held: dict[str, set[str]] = {row.id: {"officer"} if row.function else set() for row in rows}
    named = await t.execute(
        select(appointments.c.official, appointments.c.role).where(
            appointments.c.org == org,
            appointments.c.from_at <= now,
            or_(appointments.c.until_at.is_(None), appointments.c.until_at > now),
        )
    )
    for row in named:
        held.setdefault(row.official, set()).add(row.role)
    stand_ins: dict[str, dict[str, str]] = {}
    running = await t.execute(
        select(substitutions.c.substitute, substitutions.c.role, substitutions.c.replaced).where(
            substitutions.c.org == org,
            substitutions.c.from_at <= now,
            substitutions.c.until_at > now,
            or_(substitutions.c.ended_at.is_(None), substitutions.c.ended_at > now),
        )
    )
    for substitute, role, replaced in running:
        stand_ins.setdefault(substitute, {})[role] = replaced
    return tuple(
        OfficialCard(
            id=row.id,
            name=row.display_name,
            function=row.function,
            department=row.department,
            team=row.team,
            absent=row.absent_until is not None and row.absent_until > now,
            person=Person(
                id=row.id,
                roles=frozenset(held[row.id]),
                substitutes=stand_ins.get(row.id, {}),
                department=row.department,
            ),
        )
        for row in rows
    )


def as_recipients(cards: Iterable[OfficialCard]) -> tuple[Official, ...]:
    """Return whom a report may go to. A substitute gets it in the role he stands in for."""
    return tuple(
        Official(id=card.id, roles=card.person.roles | frozenset(card.person.substitutes), absent=card.absent)
        for card in cards
    )
