"""Cases: intake in under a minute with its hold in the same transaction, and every step after it.

What a step asks for and who may take it stands in `STEPS`; which step can follow which stands in
`cloud.rules.lifecycles`. The facts of a case grow; what was there stays readable in its steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Column, Row, Select, Table, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from broker.wire.policy import CaseKind, EndsWhen, Policy
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.holding import hold_by_name, lock_recording, recompute_state, stands
from cloud.casework.office import Denied, Office, take_turn
from cloud.database.paging import older_than
from cloud.database.tables import access_register, activations, case_events, case_subjects, cases, holds, recordings
from cloud.rules import holds as hold_rules
from cloud.rules import lifecycles, terms
from cloud.rules.rights import DEMAND_FIELDS, judge_decision, judge_intake, judge_role
from cloud.rules.terms import Decided
from cloud.rules.verdicts import deny

NOTHING_TO_CARRY_OUT: Final = frozenset({"refused", "not_on_footage", "no_footage", "withdrawn"})
DECISIONS: Final = frozenset({"granted", "partly", "refused", "not_on_footage", "no_footage"})
"""The outcomes a decision on an access request can have."""

ENDED: Final = frozenset({"closed", "refused", "withdrawn"})
"""States of a case in which it carries no purpose any more."""

READ_AT_ONCE: Final = 1000
"""Cases whose holds and steps are read with one statement: a database takes a bounded number of names in a list."""

KNOWN_AT_INTAKE: Final = (*DEMAND_FIELDS, "representative")
"""What may be known of a case from the start; everything else is the outcome of a step."""

CLOSER: Final = "svc-desk"
"""Who enters in the ledger that a case is closed, for the Kluis."""

SETTLED_BY_TIME: Final = frozenset({CaseKind.ACCESS_REQUEST})
"""Kinds of case whose hold ends when a term has passed, without anybody's act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldView:
    """One hold as the desk shows it: on what, since when, and what must happen before it may end."""

    id: str
    case: str
    recording: str | None
    incident: str | None
    state: str
    reason: str
    outcome: str | None
    placed_at: datetime
    placed_by: str
    lapses_at: datetime | None
    released_at: datetime | None
    waits_for: tuple[EndsWhen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a case, as it was taken."""

    at: datetime
    by: str
    step: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case with everything a page needs. `can` are the steps that the lifecycle allows now."""

    id: str
    org: str
    number: str
    kind: CaseKind
    state: str
    received_at: datetime
    registered_at: datetime
    registered_by: str
    summary: str
    facts: Mapping[str, Any]
    closed_at: datetime | None
    recordings: tuple[str, ...]
    incidents: tuple[str, ...]
    holds: tuple[HoldView, ...] = ()
    steps: tuple[Step, ...] = ()
    can: tuple[str, ...] = ()
    answer_by: date | None = None
    warn_on: date | None = None
    final_from: date | None = None

    @property
    def is_open(self) -> bool:
        """Whether the case still carries its purpose."""
        return self.state not in ENDED

    @property
    def opens_footage(self) -> bool:
        """Whether footage may be looked at for it now: an open case, and learning only once it was approved."""
        return self.is_open and (self.kind is not CaseKind.LEARNING or self.state == "approved")

    @property
    def is_provisional(self) -> bool:
        """Whether it is an emergency hold that nobody has confirmed yet."""
        return bool(self.facts.get("provisional"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRule:
    """Who may take a step (*handle*: the policy's handlers; *decide*: whoever decides), what it must and may say.

    `apart`: what it may say too, but not in the one form that every step has.
    """

    who: str
    facts: tuple[str, ...] = ()
    may_say: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Everything that this step may say."""
        return (*self.facts, *self.may_say, *self.apart)


STEPS: Final[Mapping[str, StepRule]] = {
    "check_identity": StepRule(who="handle", facts=("method",)),
    "assess": StepRule(
        who="handle",
        may_say=("authority", "visible", "others_harmed", "necessity", "regime"),
        apart=("per_recording",),
    ),
    "decide": StepRule(who="decide", facts=("decision", "reason")),
    "carry_out": StepRule(who="handle", facts=("attendees", "told_no_copy")),
    "carry_out_after_objection": StepRule(who="handle", facts=("attendees", "told_no_copy")),
    "send_refusal": StepRule(who="handle", facts=("sent_on",)),
    "send_partial": StepRule(who="handle", facts=("sent_on",)),
    "become_final": StepRule(who="handle"),
    "object": StepRule(who="handle", facts=("objected_on",)),
    "decide_objection": StepRule(who="handle", facts=("objection_sent_on", "upheld"), may_say=("objection_reason",)),
    "appeal": StepRule(who="handle", facts=("appealed_on",)),
    "judge": StepRule(who="handle", facts=("judged_final_on", "upheld")),
    "withdraw": StepRule(who="handle"),
    "handle": StepRule(who="handle"),
    "extend": StepRule(who="handle", facts=("reason",)),
    "consent": StepRule(who="handle", facts=("recordings", "who", "date", "reference")),
    "approve": StepRule(who="decide", may_say=("reason",)),
    "refuse": StepRule(who="decide", facts=("reason",)),
    "close": StepRule(who="handle", may_say=("outcome_told",)),
}
"""Every step that a person can take."""


class Cases(Office):
    """The case register."""

    async def register_case(
        self,
        org: Org | str,
        *,
        by: str,
        kind: CaseKind,
        summary: str,
        received_at: datetime | None = None,
        recordings: Sequence[str] = (),
        incidents: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
        provisional: bool = False,
    ) -> Case:
        """Register a case and place its hold in the same transaction; return it as it stands.

        Raises Denied when this person may not, Refused (MALFORMED) when a fact that this kind needs is missing. What
        was destroyed already is registered with that outcome, not refused: the answer letter must say so.
        """
        now, policy = self.clock(), await self._policy(org)
        received = received_at or now
        told = dict(facts or {})
        if received > now:
            raise refuse(Code.MALFORMED, "case", expected="a receipt in the past", got=received.isoformat())
        if kind is CaseKind.OM_DEMAND and not provisional:
            _check_demand(told)
        person = await self.person(org, by, now)
        involved = await self.involvements(org, recordings)
        verdict = judge_intake(policy, person, kind=kind, learner=by, involvements=involved)
        await self._check(org, verdict, who=by, what=f"case.register {kind}")
        if kind is CaseKind.LEARNING:
            told["learner"] = by
        identity, holding = self._new_id(), hold_rules.stops_destruction(policy, kind)
        about = {"kind": kind.value, "recordings": list(recordings)}
        await self._write_ahead(
            org, "case.registered", subject=identity, actor=by, private=summary,
            facts={**about, "provisional": provisional},
        )  # fmt: skip
        if holding:
            held = {**about, "incidents": list(incidents)}
            await self._write_ahead(org, "hold.placed", subject=identity, actor=by, facts=held)
        async with self.database.transaction() as t:
            number = await self._next_number(t, org, now)
            if provisional:
                told["provisional"] = True
            await t.execute(
                insert(cases).values(
                    id=identity,
                    org=org,
                    number=number,
                    kind=kind.value,
                    state=next(iter(lifecycles.of_case(kind).first)),
                    received_at=received,
                    registered_at=now,
                    registered_by=by,
                    summary=summary,
                    facts=told,
                )
            )
            await self._note(t, identity, by=by, step="register", facts=told)
            if kind is CaseKind.ACCESS_REQUEST:
                await self._enter_in_register(t, org, identity, number=number, received_at=received, now=now)
            await self._add_subjects(
                t, org, policy, identity, kind=kind, by=by, received=received, provisional=provisional,
                named=recordings, incidents=incidents, holding=holding,
            )  # fmt: skip
        self.hub.publish(str(org), "case", {"case": identity, "kind": kind.value, "state": "received"})
        return await self.case(org, identity)

    async def emergency_hold(
        self,
        org: Org | str,
        *,
        by: str,
        kind: CaseKind,
        summary: str,
        from_at: datetime,
        until_at: datetime,
        received_at: datetime | None = None,
        camera: str | None = None,
        officer: str | None = None,
    ) -> Case:
        """Hold everything of a stretch of time at once, before anything else is known (the *noodrem*).

        Covers recordings that are here and presses whose footage has yet to arrive. Lapses unless it is confirmed.
        """
        found = await self.find_recordings(org, from_at=from_at, until_at=until_at, camera=camera, officer=officer)
        search = {
            "from_at": from_at.isoformat(),
            "until_at": until_at.isoformat(),
            "camera": camera,
            "officer": officer,
        }
        return await self.register_case(
            org,
            by=by,
            kind=kind,
            summary=summary,
            received_at=received_at,
            recordings=found,
            facts={"searched": search},
            provisional=True,
        )

    async def find_recordings(
        self,
        org: Org | str,
        *,
        from_at: datetime,
        until_at: datetime,
        camera: str | None = None,
        officer: str | None = None,
    ) -> tuple[str, ...]:
        """Return recordings and presses that touch this stretch of time. Never content."""
        here = select(recordings.c.id).where(
            recordings.c.org == org, recordings.c.started_at < until_at, recordings.c.ended_at > from_at
        )
        pressed = select(activations.c.recording.label("id")).where(
            activations.c.org == org,
            activations.c.activated_at < until_at,
            or_(activations.c.ended_at.is_(None), activations.c.ended_at > from_at),
        )
        if camera is not None:
            here, pressed = here.where(recordings.c.camera == camera), pressed.where(activations.c.camera == camera)
        if officer is not None:
            here = here.where(recordings.c.official == officer)
            pressed = pressed.where(activations.c.official == officer)
        async with self.database.transaction() as t:
            found = {row.id for row in await t.execute(here)} | {row.id for row in await t.execute(pressed)}
        return tuple(sorted(found))

    async def add_to_case(
        self, org: Org | str, case: str, *, by: str, recordings: Sequence[str] = (), incidents: Sequence[str] = ()
    ) -> Case:
        """Let a case be about more recordings or incidents, held from now on where this kind of case holds."""
        now, policy = self.clock(), await self._policy(org)
        there = await self.case(org, case)
        person, holding = await self.person(org, by, now), hold_rules.stops_destruction(policy, there.kind)
        if there.kind is CaseKind.LEARNING:  # as it was asked: by the officer himself, about own footage
            learner, involved = there.facts.get("learner"), await self.involvements(org, recordings)
            verdict = judge_intake(policy, person, kind=there.kind, learner=learner, involvements=involved)
        else:
            verdict = judge_role(policy, person, policy.casework.register, "add to a case", "aan een dossier toevoegen")
        await self._check(org, verdict, who=by, what="case.add")
        if not there.is_open:
            raise refuse(Code.CONFLICT, f"case {there.number}", expected="an open case", got=there.state)
        await self._write_ahead(
            org,
            "hold.placed" if holding else "case.moved",
            subject=case,
            actor=by,
            facts={
                "kind": there.kind.value, "recordings": list(recordings), "incidents": list(incidents),
                **({} if holding else {"step": "add", "state": there.state}),
            },
        )  # fmt: skip
        async with self.database.transaction() as t:
            await self._as_judged(t, org, there)
            await self._add_subjects(
                t, org, policy, case, kind=there.kind, by=by, received=there.received_at,
                provisional=there.is_provisional, named=recordings, incidents=incidents, holding=holding,
            )  # fmt: skip
            await self._note(t, case, by=by, step="add", facts={"recordings": list(recordings)})
        self.hub.publish(str(org), "case", {"case": case, "state": there.state})
        return await self.case(org, case)

    async def confirm_case(
        self,
        org: Org | str,
        case: str,
        *,
        by: str,
        facts: Mapping[str, Any] | None = None,
        kind: CaseKind | None = None,
    ) -> Case:
        """Make an emergency hold a real one: the case follows, so it no longer lapses. Now its kind may still change.

        What lapsed in the meantime is held anew, as far as it is still there.

        Raises Denied, Refused: CONFLICT when it was confirmed before or has ended, MALFORMED without the facts of its
        kind.
        """
        now, policy = self.clock(), await self._policy(org)
        there = await self.case(org, case)
        becomes, told = kind or there.kind, dict(facts or {})
        person = await self.person(org, by, now)
        verdict = judge_role(policy, person, policy.casework.register, "confirm a case", "een dossier bevestigen")
        await self._check(org, verdict, who=by, what="case.confirm")
        if not there.is_provisional or not there.is_open:
            got = "one that was confirmed" if there.is_open else there.state
            raise refuse(Code.CONFLICT, f"case {there.number}", expected="an emergency hold", got=got)
        if strange := sorted(set(told) - set(KNOWN_AT_INTAKE)):
            expected = ", ".join(KNOWN_AT_INTAKE)
            raise refuse(Code.MALFORMED, "confirmation", expected=expected, got=", ".join(strange))
        if becomes is not there.kind:
            if there.state != "received" or not hold_rules.stops_destruction(policy, becomes):
                raise refuse(Code.CONFLICT, f"case {there.number}", expected=f"kind {there.kind}", got=becomes)
            if becomes is CaseKind.OM_DEMAND:
                _check_demand({**there.facts, **told})
        await self._write_ahead(org, "case.confirmed", subject=case, actor=by, facts={"kind": becomes.value})
        async with self.database.transaction() as t:
            await self._as_judged(t, org, there)
            if becomes is not there.kind:
                await self._become(t, org, there, becomes, now=now)
            await t.execute(
                update(holds)
                .where(holds.c.org == org, holds.c.case_id == case, holds.c.state == "provisional", stands(now))
                .values(state=lifecycles.HOLD.after("provisional", "confirm"), lapses_at=None)
            )
            lapsed = [
                hold
                for hold in there.holds
                if hold.state in ("provisional", "lapsed") and not hold_rules.is_open(hold.state, hold.lapses_at, now)
            ]
            await self._add_subjects(
                t, org, policy, case, kind=becomes, by=by, received=there.received_at, provisional=False,
                named=[each.recording for each in lapsed if each.recording is not None],
                incidents=[each.incident for each in lapsed if each.incident is not None],
                holding=hold_rules.stops_destruction(policy, becomes),
            )  # fmt: skip
            await self._merge(t, org, case, {**told, "provisional": False})
            await self._note(t, case, by=by, step="confirm", facts={**told, "kind": becomes.value})
        self.hub.publish(str(org), "case", {"case": case, "state": there.state})
        return await self.case(org, case)

    async def take_step(
        self, org: Org | str, case: str, event: str, *, by: str, facts: Mapping[str, Any] | None = None
    ) -> Case:
        """Take a step of the case's lifecycle. Ends no hold by itself but for what `release` then allows.

        Raises Denied (may not, or a fact is in the way), Refused (CONFLICT) when the lifecycle has no such step now.
        """
        now, policy = self.clock(), await self._policy(org)
        there = await self.case(org, case)
        told = _plain(facts or {})
        rule = STEPS.get(event)
        lifecycle = lifecycles.of_case(there.kind)
        possible = lifecycle.judge(there.state, event)
        if rule is None or not possible:
            raise refuse(Code.CONFLICT, f"case {there.number}", expected=" | ".join(there.can) or "-", got=event)
        await self._may_take(org, policy, there, event, rule, by=by, now=now)
        if strange := sorted(set(told) - set(rule.words)):
            expected = ", ".join(rule.words) or "nothing"
            raise refuse(Code.MALFORMED, f"step {event}", expected=expected, got=", ".join(strange))
        missing = [name for name in rule.facts if told.get(name) in (None, "", [])]
        if missing:
            raise refuse(Code.MALFORMED, f"step {event}", expected=", ".join(rule.facts), got=f"no {missing[0]}")
        await self._may_follow(org, policy, there, event, told, by=by)
        state = lifecycle.after(there.state, event)
        text = told.get("reason")
        await self._write_ahead(
            org,
            "case.moved",
            subject=case,
            actor=by,
            facts={"step": event, "state": state, "decision": str(told.get("decision", ""))},
            private=str(text) if text else None,
        )
        async with self.database.transaction() as t:
            await self._as_judged(t, org, there)
            await t.execute(
                update(cases)
                .where(cases.c.org == org, cases.c.id == case)
                .values(state=state, closed_at=now if state in ENDED else None)
            )
            await self._merge(t, org, case, self._facts_of(there, event, told, by=by, now=now))
            await self._note(t, case, by=by, step=event, facts=told)
            if event == "consent":
                await self._name_joined(t, org, there, told["recordings"], now=now)
            if there.kind is CaseKind.ACCESS_REQUEST:
                await self._keep_register(t, case, state=state, event=event, told=told, by=by, now=now)
        self.hub.publish(str(org), "case", {"case": case, "kind": there.kind.value, "state": state})
        if state in ENDED:
            await self.tell_closed(org)
        return await self.case(org, case)

    async def tell_closed(self, org: Org | str) -> int:
        """Tell the Kluis of every case that ended and that it does not know of yet; return how many. Safe to repeat.

        For these nothing is released any more, whatever a request says. A Kluis or ledger that is away hears it later.
        """
        if self.kluis is None:
            return 0
        query = select(cases.c.id).where(cases.c.org == org, cases.c.state.in_(ENDED), cases.c.kluis_told_at.is_(None))
        async with self.database.transaction() as t:
            ended = (await t.execute(query.order_by(cases.c.number))).scalars().all()
        told = 0
        try:
            for case in ended:
                await self.kluis.public()  # away: then no entry is made that nobody reads
                told_at = self.clock()
                async with self._once.entered("case.closed", subject=case, actor=CLOSER, at=told_at, facts={}) as entry:
                    await self.kluis.close_case(entry=entry.raw, proof=entry.proof)
                    async with self.database.transaction() as t:
                        await t.execute(update(cases).where(cases.c.id == case).values(kluis_told_at=told_at))
                told += 1
        except Refused as refused:
            if refused.refusal.code not in (Code.UNAVAILABLE, Code.LEDGER_UNWRITABLE):
                raise
        return told

    async def case(self, org: Org | str, case: str) -> Case:
        """Return one case of this municipality, or raise Refused (NOT_FOUND)."""
        policy = await self._policy(org)
        async with self.database.transaction() as t:
            row = (await t.execute(select(cases).where(cases.c.org == org, cases.c.id == case))).one_or_none()
            if row is None:
                raise refuse(Code.NOT_FOUND, "case", expected=f"a case of {org}", got=case)
            (found,) = await self._views(t, org, policy, [row])
            return found

    async def cases(
        self,
        org: Org | str,
        *,
        kinds: Iterable[CaseKind] = (),
        recording: str | None = None,
        incident: str | None = None,
        open_only: bool = False,
        before: tuple[datetime, str] | None = None,
        most: int | None = None,
    ) -> tuple[Case, ...]:
        """Return the cases of this municipality, newest first; `before` and `most` give one page of them.

        `recording` and `incident`: only those that are about it; a case about an incident is about its recordings.
        """
        policy = await self._policy(org)
        query = select(cases).where(cases.c.org == org).order_by(cases.c.registered_at.desc(), cases.c.number.desc())
        query = query.limit(most)
        if before is not None:
            query = query.where(older_than(before, cases.c.registered_at, cases.c.number))
        wanted = [kind.value for kind in kinds]
        if wanted:
            query = query.where(cases.c.kind.in_(wanted))
        if open_only:
            query = query.where(cases.c.state.not_in(ENDED))
        if recording is not None:
            query = query.where(cases.c.id.in_(_about(org, recording)))
        if incident is not None:
            about = select(case_subjects.c.case_id).where(case_subjects.c.incident == incident)
            query = query.where(cases.c.id.in_(about))
        async with self.database.transaction() as t:
            rows = (await t.execute(query)).all()
            found: list[Case] = []
            for first in range(0, len(rows), READ_AT_ONCE):
                found += await self._views(t, org, policy, rows[first : first + READ_AT_ONCE])
            return tuple(found)

    async def access_requests(self, org: Org | str) -> Sequence[Row[Any]]:
        """Return the separate register of access requests: it stands when the footage is gone."""
        query = select(access_register).where(access_register.c.org == org).order_by(access_register.c.received_at)
        async with self.database.transaction() as t:
            return (await t.execute(query)).all()

    async def hold_ends_when(self, org: Org | str, case: str) -> frozenset[EndsWhen]:
        """Return what has happened of what ends this case's hold, but for consents: those are per recording."""
        return met_by(await self._policy(org), await self.case(org, case), recording=None, today=self._today())

    def _today(self) -> date:
        return terms.day_of(self.clock())

    async def _may_take(
        self, org: Org | str, policy: Policy, there: Case, event: str, rule: StepRule, *, by: str, now: datetime
    ) -> None:
        person = await self.person(org, by, now)
        if rule.who == "decide":
            involved = await self.involvement(org, there.recordings)
            verdict = judge_decision(policy, person, kind=there.kind, involvement=involved)
        elif there.kind is CaseKind.LEARNING and event in ("withdraw", "close") and by == there.facts.get("learner"):
            return
        else:
            verdict = judge_role(policy, person, policy.casework.handle, "handle a case", "een dossier behandelen")
        await self._check(org, verdict, who=by, what=f"case.{event}")

    async def _may_follow(
        self, org: Org | str, policy: Policy, there: Case, event: str, told: dict[str, Any], *, by: str
    ) -> None:
        """Refuse what the lifecycle allows but the facts do not."""
        verdict = None
        match event:
            case "consent" if strange := sorted(set(told["recordings"]) - set(there.recordings)):
                raise refuse(Code.MALFORMED, "consent", expected="recordings of this case", got=", ".join(strange))
            case "decide" if told["decision"] not in DECISIONS:
                raise refuse(
                    Code.MALFORMED, "decision", expected=", ".join(sorted(DECISIONS)), got=str(told["decision"])
                )
            case "assess" if there.facts.get("representative") and policy.access_request.representative_needs_authority:
                if not there.facts.get("authority") and not told.get("authority"):
                    verdict = deny("the representative shows no authority", "de gemachtigde toont geen machtiging")
            case "send_refusal" if there.facts.get("decision") not in NOTHING_TO_CARRY_OUT:
                verdict = deny("what was granted is carried out first", "wat is toegekend wordt eerst uitgevoerd")
            case "carry_out" if there.facts.get("decision") in NOTHING_TO_CARRY_OUT:
                verdict = deny("nothing was granted", "er is niets toegekend")
            case "become_final":
                if not terms.is_final(policy, decided_of(there), self._today()):
                    verdict = deny("the decision can still be fought", "tegen het besluit kan nog iets gedaan worden")
            case "close" if there.kind is CaseKind.ACCESS_REQUEST and there.state == "final":
                if EndsWhen.CARRIED_OUT not in met_by(policy, there, recording=None, today=self._today()):
                    verdict = deny("it has not been carried out yet", "het is nog niet uitgevoerd")
            case "extend" if there.facts.get("extended"):
                verdict = deny("it was extended once already", "de termijn is al eens verlengd")
            case "extend" if there.kind is CaseKind.ACCESS_REQUEST:
                if not terms.may_extend(policy, there.received_at, self.clock(), extended=False):
                    verdict = deny("the first term is over", "de eerste termijn is al voorbij")
            case _:
                pass
        if verdict is not None:
            await self.record_denial(org, who=by, what=f"case.{event}", why=verdict.because)
            raise Denied(f"case.{event}", verdict, Code.CONFLICT)

    def _facts_of(self, there: Case, event: str, told: dict[str, Any], *, by: str, now: datetime) -> dict[str, Any]:
        match event:
            case "consent":
                said = {name: value for name, value in told.items() if name != "recordings"}
                consents = {**there.facts.get("consents", {}), **dict.fromkeys(told["recordings"], said)}
                return {"consents": consents}
            case "carry_out" | "carry_out_after_objection":
                return {**told, "carried_out_at": now.isoformat()}
            case "decide":
                decided = {"decided_by": by, "decided_at": now.isoformat(), "decision_reason": str(told["reason"])}
                return {**told, **decided}
            case "withdraw" if there.state in ("objection", "appeal"):
                return {**told, "judged_final_on": terms.day_of(now).isoformat()}
            case "withdraw":
                return {**told, "withdrawn": True}
            case "decide_objection" | "judge":
                granted = {"upheld_at": now.isoformat()} if told["upheld"] else {}
                return {**told, "upheld": bool(told["upheld"] or there.facts.get("upheld")), **granted}
            case "extend":
                return {
                    "extended": True,
                    "extended_at": now.isoformat(),
                    "extension_reason": str(told.get("reason", "")),
                }
            case _:
                return told

    async def _become(self, t: AsyncConnection, org: Org | str, there: Case, kind: CaseKind, *, now: datetime) -> None:
        """Let an emergency hold turn out to be another kind of case. The register of access requests tells of both."""
        await t.execute(update(cases).where(cases.c.id == there.id).values(kind=kind.value))
        await t.execute(update(holds).where(holds.c.case_id == there.id).values(reason=kind.value))
        if there.kind is CaseKind.ACCESS_REQUEST:
            values = {"state": "other_kind", "closed_at": now}
            await t.execute(update(access_register).where(access_register.c.case_id == there.id).values(**values))
        if kind is CaseKind.ACCESS_REQUEST:
            await self._enter_in_register(
                t, org, there.id, number=there.number, received_at=there.received_at, now=there.registered_at
            )

    async def _enter_in_register(
        self, t: AsyncConnection, org: Org | str, case: str, *, number: str, received_at: datetime, now: datetime
    ) -> None:
        late = select(holds.c.outcome).where(holds.c.case_id == case, holds.c.outcome.is_not(None)).limit(1)
        await t.execute(
            insert(access_register).values(
                case_id=case,
                org=org,
                number=number,
                received_at=received_at,
                registered_at=now,
                state="received",
                outcome=(await t.execute(late)).scalar_one_or_none(),
            )
        )

    async def _keep_register(
        self, t: AsyncConnection, case: str, *, state: str, event: str, told: dict[str, Any], by: str, now: datetime
    ) -> None:
        values: dict[str, Any] = {"state": state}
        match event:
            case "decide":
                values |= {"decision": told["decision"], "decided_at": now, "decided_by": by}
            case "withdraw":
                values |= {"decision": "withdrawn"}
            case "carry_out" | "carry_out_after_objection":
                values |= {"carried_out_at": now}
            case "send_refusal" | "send_partial":
                values |= {"sent_at": now}
            case "close":
                values |= {"closed_at": now}
            case _:
                pass
        await t.execute(update(access_register).where(access_register.c.case_id == case).values(**values))

    async def _add_subjects(
        self,
        t: AsyncConnection,
        org: Org | str,
        policy: Policy,
        case: str,
        *,
        kind: CaseKind,
        by: str,
        received: datetime,
        provisional: bool,
        named: Sequence[str],
        incidents: Sequence[str],
        holding: bool,
    ) -> None:
        """Write what the case is about, and its holds: per recording that is known, and per incident for what comes.

        What the case is about already stays so; what it held once and holds no more is held again.
        """
        now = self.clock()
        members = select(recordings.c.id).where(recordings.c.org == org, recordings.c.incident.in_(incidents))
        of_incidents = [row.id for row in await t.execute(members)] if incidents else []
        about = select(case_subjects.c.recording, case_subjects.c.incident).where(case_subjects.c.case_id == case)
        already = {row.recording or row.incident for row in await t.execute(about)}
        standing = select(holds.c.recording, holds.c.incident).where(
            holds.c.case_id == case, or_(stands(now), holds.c.outcome.is_not(None))
        )
        held = {row.recording or row.incident for row in await t.execute(standing)}
        for recording in sorted({*named, *of_incidents}):  # in one order, so that no two wait for each other
            if recording not in already:
                await t.execute(insert(case_subjects).values(case_id=case, recording=recording))
            if holding and recording not in held:
                await self._place(
                    t, org, policy, case, kind=kind, by=by, received=received, provisional=provisional,
                    recording=recording, now=now,
                )  # fmt: skip
        for incident in dict.fromkeys(incidents):
            if incident not in already:
                await t.execute(insert(case_subjects).values(case_id=case, incident=incident))
            if holding and incident not in held:
                placing = hold_rules.place(
                    policy, kind=kind, recording_state=None, provisional=provisional, received_at=received, now=now
                )
                await t.execute(
                    insert(holds).values(
                        id=self._new_id(),
                        org=org,
                        case_id=case,
                        incident=incident,
                        state=placing.state,
                        reason=kind.value,
                        placed_at=now,
                        placed_by=by,
                        lapses_at=placing.lapses_at,
                    )
                )

    async def _name_joined(
        self, t: AsyncConnection, org: Org | str, there: Case, named: Sequence[str], *, now: datetime
    ) -> None:
        """Give recordings that joined by their incident a hold of their own: consent to destroy is per recording."""
        by_name = {hold.recording for hold in there.holds}
        query = select(holds).where(
            holds.c.case_id == there.id, holds.c.incident.is_not(None), holds.c.state == "active"
        )
        of_incident = (await t.execute(query.order_by(holds.c.placed_at, holds.c.id).limit(1))).first()
        if of_incident is None:
            return
        for recording in sorted((set(named) & set(there.recordings)) - by_name):
            await hold_by_name(t, of_incident, recording, identity=self._new_id())
            await recompute_state(t, org, recording, now=now, because="its incident is held")

    async def _place(
        self,
        t: AsyncConnection,
        org: Org | str,
        policy: Policy,
        case: str,
        *,
        kind: CaseKind,
        by: str,
        received: datetime,
        provisional: bool,
        recording: str,
        now: datetime,
    ) -> None:
        row = await lock_recording(t, org, recording)
        placing = hold_rules.place(
            policy,
            kind=kind,
            recording_state=None if row is None else row.state,
            provisional=provisional,
            received_at=received,
            now=now,
            destroyed_at=None if row is None else row.destroyed_at or row.destroying_at,
        )
        await t.execute(
            insert(holds).values(
                id=self._new_id(),
                org=org,
                case_id=case,
                recording=recording,
                state=placing.state,
                reason=kind.value,
                outcome=placing.outcome,
                placed_at=now,
                placed_by=by,
                lapses_at=placing.lapses_at,
                released_at=now if placing.outcome else None,
            )
        )
        if placing.outcome is None:
            await recompute_state(t, org, recording, now=now, because=placing.because)
        elif kind is CaseKind.ACCESS_REQUEST:
            await t.execute(
                update(access_register).where(access_register.c.case_id == case).values(outcome=placing.outcome)
            )

    async def _as_judged(self, t: AsyncConnection, org: Org | str, there: Case) -> None:
        """Lock a case until this transaction ends; raise Refused (CONFLICT) when it is no longer what was judged."""
        query = select(cases.c.kind, cases.c.state, cases.c.facts).where(cases.c.org == org, cases.c.id == there.id)
        row = (await t.execute(query.with_for_update())).one()
        if (row.kind, row.state, row.facts) != (there.kind.value, there.state, there.facts):
            expected = f"the case in state {there.state}, as it was read"
            raise refuse(Code.CONFLICT, f"case {there.number}", expected=expected, got="one that was changed since")

    async def _note(self, t: AsyncConnection, case: str, *, by: str, step: str, facts: Mapping[str, Any]) -> None:
        await t.execute(insert(case_events).values(case_id=case, at=self.clock(), by=by, step=step, facts=dict(facts)))

    async def _merge(self, t: AsyncConnection, org: Org | str, case: str, facts: Mapping[str, Any]) -> None:
        query = select(cases.c.facts).where(cases.c.org == org, cases.c.id == case).with_for_update()
        before = (await t.execute(query)).scalar_one()
        await t.execute(update(cases).where(cases.c.id == case).values(facts={**before, **facts}))

    async def _next_number(self, t: AsyncConnection, org: Org | str, now: datetime) -> str:
        await take_turn(t, org)
        year = terms.day_of(now).year
        counted = select(func.count()).select_from(cases).where(cases.c.org == org, cases.c.number.like(f"{year}-%"))
        return f"{year}-{(await t.execute(counted)).scalar_one() + 1:04d}"

    async def _views(self, t: AsyncConnection, org: Org | str, policy: Policy, rows: Sequence[Row[Any]]) -> list[Case]:
        """Return these cases as they stand, in this order: four statements, however many there are."""
        ids = [row.id for row in rows]
        subjects = await _by_case(t, case_subjects, ids, case_subjects.c.id)
        steps = await _by_case(t, case_events, ids, case_events.c.id)
        standing = await _by_case(t, holds, ids, holds.c.placed_at, holds.c.id)
        incidents = {each.incident for found in subjects.values() for each in found if each.incident is not None}
        late = select(recordings.c.id, recordings.c.incident).where(
            recordings.c.org == org, recordings.c.incident.in_(incidents)
        )
        joined: dict[str, list[str]] = {}
        for name, incident in (await t.execute(late.order_by(recordings.c.id))).all() if incidents else ():
            joined.setdefault(incident, []).append(name)
        return [
            self._with_clocks(policy, _bare(row, subjects[row.id], joined), standing[row.id], steps[row.id])
            for row in rows
        ]

    def _with_clocks(self, policy: Policy, bare: Case, standing: Sequence[Row[Any]], steps: Sequence[Row[Any]]) -> Case:
        today = self._today()
        reason = policy.hold.reasons.get(bare.kind)
        answer_by = warn_on = final_from = None
        if bare.kind is CaseKind.ACCESS_REQUEST:
            term = terms.access_answer(policy, bare.received_at, extended=bool(bare.facts.get("extended")))
            answer_by, warn_on = term.answer_by, term.warn_on
            final_from = terms.final_from(policy, decided_of(bare))
        elif bare.kind is CaseKind.COMPLAINT:
            answer_by = terms.complaint_answer(policy, bare.received_at, extended=bool(bare.facts.get("extended")))
        views = tuple(
            HoldView(
                id=hold.id,
                case=bare.id,
                recording=hold.recording,
                incident=hold.incident,
                state=hold.state,
                reason=hold.reason,
                outcome=hold.outcome,
                placed_at=hold.placed_at,
                placed_by=hold.placed_by,
                lapses_at=hold.lapses_at,
                released_at=hold.released_at,
                waits_for=()
                if reason is None
                else terms.unmet(reason.ends_when, met_by(policy, bare, recording=hold.recording, today=today)),
            )
            for hold in standing
        )
        return replace(
            bare,
            holds=views,
            steps=tuple(Step(at=each.at, by=each.by, step=each.step, facts=each.facts) for each in steps),
            can=lifecycles.of_case(bare.kind).events_from(bare.state),
            answer_by=answer_by,
            warn_on=warn_on,
            final_from=final_from,
        )


async def _by_case(
    t: AsyncConnection, table: Table, ids: Sequence[str], *order: Column[Any]
) -> dict[str, list[Row[Any]]]:
    """Return the rows of this table that belong to each of these cases, in this order."""
    found: dict[str, list[Row[Any]]] = {each: [] for each in ids}
    for row in (await t.execute(select(table).where(table.c.case_id.in_(ids)).order_by(*order))).all():
        found[row.case_id].append(row)
    return found


def _about(org: Org | str, recording: str) -> Select[Any]:
    """The cases that are about this recording, by name or by its incident."""
    its_incident = select(recordings.c.incident).where(recordings.c.org == org, recordings.c.id == recording)
    return select(case_subjects.c.case_id).where(
        or_(case_subjects.c.recording == recording, case_subjects.c.incident.in_(its_incident))
    )


def _bare(row: Row[Any], subjects: Sequence[Row[Any]], joined: Mapping[str, Sequence[str]]) -> Case:
    """Return the case without what follows from its steps; `joined`: incident -> the recordings that are of it."""
    incidents = tuple(each.incident for each in subjects if each.incident is not None)
    named = [each.recording for each in subjects if each.recording is not None]
    return Case(
        id=row.id,
        org=row.org,
        number=row.number,
        kind=CaseKind(row.kind),
        state=row.state,
        received_at=row.received_at,
        registered_at=row.registered_at,
        registered_by=row.registered_by,
        summary=row.summary,
        facts=row.facts,
        closed_at=row.closed_at,
        recordings=tuple(
            dict.fromkeys([*named, *(each for incident in incidents for each in joined.get(incident, ()))])
        ),
        incidents=incidents,
    )


def decided_of(case: Case) -> Decided:
    """Return the path of the case's decision, from its facts."""
    facts = case.facts
    decision = facts.get("decision")
    sent_on = _day(facts.get("sent_on"))
    if sent_on is None and decision == "granted":
        decided_at = facts.get("decided_at")
        sent_on = terms.day_of(datetime.fromisoformat(decided_at)) if decided_at else None
    return Decided(
        granted=decision == "granted",
        sent_on=sent_on,
        objected_on=_day(facts.get("objected_on")),
        objection_sent_on=_day(facts.get("objection_sent_on")),
        appealed_on=_day(facts.get("appealed_on")),
        judged_final_on=_day(facts.get("judged_final_on")),
        withdrawn=bool(facts.get("withdrawn")),
    )


def met_by(policy: Policy, case: Case, *, recording: str | None, today: date) -> frozenset[EndsWhen]:
    """Return which of the things that end a hold have happened in this case, for this recording."""
    met = set()
    if case.state in ENDED:
        met.add(EndsWhen.CASE_CLOSED)
    if case.facts.get("withdrawn"):
        met |= {EndsWhen.DECISION_FINAL, EndsWhen.CARRIED_OUT, EndsWhen.CASE_CLOSED}
    if terms.is_final(policy, decided_of(case), today):
        met.add(EndsWhen.DECISION_FINAL)
    granted_later = bool(case.facts.get("upheld"))
    nothing_owed = case.facts.get("decision") in NOTHING_TO_CARRY_OUT and not granted_later
    carried_out = any(step.step.startswith("carry_out") for step in case.steps) or case.facts.get("carried_out_at")
    carried_out_since = case.facts.get("upheld_at", "") <= str(case.facts.get("carried_out_at", ""))
    if nothing_owed or (carried_out and carried_out_since):
        met.add(EndsWhen.CARRIED_OUT)
    if recording is not None and recording in case.facts.get("consents", {}):
        met.add(EndsWhen.OM_CONSENT)
    return frozenset(met)


def _check_demand(told: Mapping[str, Any]) -> None:
    missing = [field for field in DEMAND_FIELDS if not str(told.get(field, "")).strip()]
    if missing:
        raise refuse(Code.MALFORMED, "demand", expected=", ".join(DEMAND_FIELDS), got=f"no {missing[0]}")


YES: Final = frozenset({"ja", "yes", "true", "1"})
NO: Final = frozenset({"nee", "no", "false", "0"})


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a step with what a form can only say in words: yes or no, and several recordings."""
    told = dict(facts)
    if isinstance(upheld := told.get("upheld"), str):
        if upheld.strip().casefold() not in YES | NO:
            raise refuse(Code.MALFORMED, "upheld", expected="yes or no", got=upheld)
        told["upheld"] = upheld.strip().casefold() in YES
    if isinstance(named := told.get("recordings"), str):
        told["recordings"] = named.replace(",", " ").split()
    for name, value in told.items():
        if name == "date" or name.endswith("_on"):
            _check_day(name, value)
    return told


def _check_day(name: str, told: Any) -> None:
    try:
        date.fromisoformat(str(told))
    except ValueError as cause:
        raise refuse(Code.MALFORMED, name, expected="a day: 2026-11-30", got=told) from cause


def _day(text: Any) -> date | None:
    return date.fromisoformat(str(text)) if text else None
