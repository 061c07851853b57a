"""Footage that is kept apart: two people declare where it comes from, or leave it apart. Each says why.

Nothing here touches a byte or a key. A recording whose origin is declared goes its ordinary way from then on; its day
of destruction, its holds and everything that was wrong with it stay what they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org, parse_recording
from broker.wire.policy import Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.holding import holds_on, lock_recording
from cloud.casework.office import Office
from cloud.database.tables import cameras, decisions_apart, officials, recordings
from cloud.rules import lifecycles
from cloud.rules.admission import Admission, ChainState, Incoming
from cloud.rules.apart import (
    KeptApart,
    Origin,
    Wearer,
    admit_declared,
    event_of,
    judge_origin,
    judge_who,
    pressed_within,
    wrong_with,
)
from cloud.rules.verdicts import Verdict, allow, deny

KNOWN_CAMERA: Final = ("enrolled", "outside")
"""States in the register of a camera that somebody named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of two people, or one that waits for the second. `origin` None: it was, or is to be, left apart.

    `people` are those who decided so far; `words` their reasons, in the same order.
    """

    id: str
    recording: str
    outcome: Literal["admit", "leave"]
    origin: Origin | None
    state: Literal["open", "confirmed", "withdrawn"]
    people: tuple[str, ...]
    words: tuple[str, ...]
    proposed_at: datetime
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Everything that judging needs, read in one transaction."""

    row: Row[Any]
    apart: KeptApart
    wearer: Wearer | None


class ApartOffice(Office):
    """Decisions on what is kept apart."""

    async def propose_apart(
        self, org: Org | str, recording: str, *, by: str, origin: Origin | None, ground: str
    ) -> str:
        """Propose to admit footage on this declaration, or (None) to leave it apart; return the decision's id.

        Raises Denied, or Refused: NOT_FOUND, CONFLICT when another proposal waits, MALFORMED without a reason.
        """
        _say_why(ground)
        await self._judge(org, recording, by=by, origin=origin, proposed_by=None)
        async with self.database.transaction() as t:
            await _nothing_waits(t, org, recording)
        identity, now = self._new_id(), self.clock()
        await self._write_ahead(
            org,
            "apart.proposed",
            subject=recording,
            actor=by,
            facts={"decision": identity, **_facts(origin)},
            private=ground if origin is None else f"{origin.camera}\n{ground}",
        )
        async with self.database.transaction() as t:
            await lock_recording(t, org, recording)
            await _nothing_waits(t, org, recording)
            await t.execute(
                insert(decisions_apart).values(
                    id=identity,
                    org=org,
                    recording=recording,
                    outcome="leave" if origin is None else "admit",
                    camera=None if origin is None else origin.camera.strip(),
                    official=None if origin is None else origin.official,
                    pressed_at=None if origin is None else origin.pressed_at,
                    press_reason=None if origin is None else origin.reason,
                    ground=ground,
                    proposed_by=by,
                    proposed_at=now,
                    state="open",
                )
            )
        self.hub.publish(str(org), "recording", {"recording": recording, "state": "quarantined"})
        return identity

    async def confirm_apart(self, org: Org | str, decision: str, *, by: str, ground: str) -> str:
        """Agree with exactly what was proposed, as the second person; return the recording's state then.

        Judged anew, as the world is now, the first person too. Raises Denied, or Refused: NOT_FOUND, CONFLICT when it
        waits no more.
        """
        _say_why(ground)
        waiting = await self._open(org, decision)
        recording, origin = waiting.recording, waiting.origin
        found = await self._judge(org, recording, by=by, origin=origin, proposed_by=waiting.people[0])
        facts = {"decision": decision, "proposed_by": waiting.people[0], **_facts(origin)}
        if origin is not None:
            facts["wrong"] = list(wrong_with(found.apart))
        kind = "recording.left-apart" if origin is None else "recording.admitted"
        await self._write_ahead(org, kind, subject=recording, actor=by, facts=facts, private=ground)
        now = self.clock()
        async with self.database.transaction() as t:
            row = await lock_recording(t, org, recording)
            done = await t.execute(
                update(decisions_apart)
                .where(decisions_apart.c.id == decision, decisions_apart.c.state == "open")
                .values(state="confirmed", confirmed_by=by, confirmed_at=now, confirmed_ground=ground)
            )
            if row is None or row.state != "quarantined" or not done.rowcount:
                raise refuse(Code.CONFLICT, "decision", expected="footage that is kept apart", got="another's decision")
            event, changed = "leave_apart", dict[str, Any]()
            if origin is not None:
                event, changed = await self._admit(t, org, row, origin, now)
            state = lifecycles.RECORDING.after(row.state, event)
            await t.execute(
                update(recordings)
                .where(recordings.c.org == org, recordings.c.id == recording)
                .values(state=state, **changed)
            )
        self.hub.publish(str(org), "recording", {"recording": recording, "state": state})
        return state

    async def withdraw_apart(self, org: Org | str, decision: str, *, by: str) -> None:
        """Let a proposal fall: whoever may decide, also who made it. Raises Denied, Refused (NOT_FOUND)."""
        waiting = await self._open(org, decision)
        person, policies = await self.person(org, by), await self.policies.binding(org, (waiting.recording,))
        verdict = judge_who(policies, person, involved=frozenset(), proposed_by=None)
        await self._check(org, verdict, who=by, what="recording.apart")
        facts = {"decision": decision}
        await self._write_ahead(org, "apart.withdrawn", subject=waiting.recording, actor=by, facts=facts)
        async with self.database.transaction() as t:
            done = await t.execute(
                update(decisions_apart)
                .where(decisions_apart.c.id == decision, decisions_apart.c.state == "open")
                .values(state="withdrawn")
            )
            if not done.rowcount:
                raise refuse(Code.CONFLICT, "decision", expected="one that waits", got="one that was confirmed")
        self.hub.publish(str(org), "recording", {"recording": waiting.recording, "state": "quarantined"})

    async def why_apart(self, org: Org | str) -> dict[str, tuple[str, ...]]:
        """Return what is kept apart, each with what is wrong with it, as codes of DEVIATIONS (none: see its reason)."""
        now = self.clock()
        kept = select(recordings.c.id).where(recordings.c.org == org, recordings.c.state == "quarantined")
        async with self.database.transaction() as t:
            names = (await t.execute(kept.order_by(recordings.c.expires_at, recordings.c.id))).scalars().all()
            return {name: wrong_with((await self._read(t, org, name, None, now)).apart) for name in names}

    async def may_decide_apart(self, org: Org | str, recording: str, *, by: str) -> Verdict:
        """Say whether this person may be one of the two here, and why not; nothing is written down."""
        person, policies = await self.person(org, by), await self.policies.binding(org, (recording,))
        waiting = next((each for each in await self.decisions_apart(org, recording) if each.state == "open"), None)
        involved = (await self.involvement(org, (recording,))).people | _named(waiting.origin if waiting else None)
        first = waiting.people[0] if waiting else None
        return judge_who(policies, person, involved=involved, proposed_by=first)

    async def decisions_apart(self, org: Org | str, *of: str) -> tuple[Decision, ...]:
        """Return the decisions (on these recordings), newest first."""
        query = select(decisions_apart).where(decisions_apart.c.org == org)
        if of:
            query = query.where(decisions_apart.c.recording.in_(of))
        order = decisions_apart.c.proposed_at.desc(), decisions_apart.c.id.desc()
        async with self.database.transaction() as t:
            return tuple(_decision(row) for row in await t.execute(query.order_by(*order)))

    async def decision_apart(self, org: Org | str, recording: str, decision: str) -> Decision:
        """Return this decision on this recording, or raise Refused (NOT_FOUND)."""
        for each in await self.decisions_apart(org, recording):
            if each.id == decision:
                return each
        raise refuse(Code.NOT_FOUND, "decision", expected="one on this recording", got=decision)

    async def declaration(self, org: Org | str, recording: str) -> Decision | None:
        """Return the decision on which this recording was admitted, or None."""
        found = await self.decisions_apart(org, recording)
        return next((each for each in found if each.state == "confirmed" and each.outcome == "admit"), None)

    async def _open(self, org: Org | str, decision: str) -> Decision:
        query = select(decisions_apart).where(decisions_apart.c.org == org, decisions_apart.c.id == decision)
        async with self.database.transaction() as t:
            row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "decision", expected=f"one of {org}", got=decision)
        if row.state != "open":
            raise refuse(Code.CONFLICT, "decision", expected="one that waits", got=row.state)
        return _decision(row)

    async def _judge(
        self, org: Org | str, recording: str, *, by: str, origin: Origin | None, proposed_by: str | None
    ) -> _Case:
        """Return the facts of footage on which this person may decide so; raise Denied, and it is written down."""
        now = self.clock()
        async with self.database.transaction() as t:
            found = await self._read(t, org, recording, origin, now)
        policies = await self.policies.binding(org, (recording,))
        involved = (await self.involvement(org, (recording,))).people | _named(origin)
        person = await self.person(org, by, now)
        verdict = judge_who(policies, person, involved=involved, proposed_by=proposed_by)
        if proposed_by is not None:
            first = await self.person(org, proposed_by, now)
            verdict = verdict and judge_who(policies, first, involved=involved, proposed_by=None)
        verdict = verdict and _judge_what(policies, found, origin, now)
        await self._check(org, verdict, who=by, what="recording.apart")
        return found

    async def _read(
        self, t: AsyncConnection, org: Org | str, recording: str, origin: Origin | None, now: datetime
    ) -> _Case:
        query = (
            select(recordings, cameras.c.state.label("camera_state"))
            .outerjoin(cameras, (cameras.c.org == recordings.c.org) & (cameras.c.id == recordings.c.camera))
            .where(recordings.c.org == org, recordings.c.id == recording)
        )
        row = (await t.execute(query)).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "recording", expected=f"a recording of {org}", got=recording)
        apart = KeptApart(
            state=row.state,
            via=row.via,
            chain=ChainState(row.chain),
            camera_enrolled=row.camera_state in KNOWN_CAMERA,
            official=row.official,
            activated_at=row.activated_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            expires_at=row.expires_at,
            deviations=tuple(row.deviations),
            open_holds=len(await holds_on(t, org, recording, row.incident, now)),
        )
        return _Case(row=row, apart=apart, wearer=None if origin is None else await _wearer(t, org, origin))

    async def _admit(
        self, t: AsyncConnection, org: Org | str, row: Row[Any], origin: Origin, now: datetime
    ) -> tuple[str, dict[str, Any]]:
        """Return (the event of the lifecycle, the columns that change) on what is true in this transaction."""
        policy = await self.policies.version_in(t, org, row.policy_version)
        found = await self._read(t, org, row.id, origin, now)
        verdict = _judge_what((policy,), found, origin, now)
        if not verdict:  # a hold ended, or its day came, since it was judged
            raise refuse(Code.CONFLICT, "decision", expected="footage that can be admitted", got=verdict.because)
        pressed_at = pressed_within(found.apart, origin.pressed_at)
        admission = _admission(found.apart, row, policy, pressed_at=pressed_at, now=now)
        return event_of(admission.state), {
            "reason": "two people declared its origin",
            "official": origin.official,
            "activated_at": pressed_at,
            "pre_record_s": _pre_record_s(row, pressed_at),
            "deviations": list(admission.deviations),
        }


def _judge_what(policies: Sequence[Policy], found: _Case, origin: Origin | None, now: datetime) -> Verdict:
    if origin is not None and found.wearer is not None:
        return judge_origin(policies, found.apart, origin, found.wearer, now=now)
    if found.apart.state != "quarantined":
        return deny("it is not kept apart", "deze opname staat niet apart")
    return allow("it stays apart", "de opname blijft apart")


def _admission(apart: KeptApart, row: Row[Any], policy: Policy, *, pressed_at: datetime, now: datetime) -> Admission:
    incoming = Incoming(
        recording=parse_recording(row.id),
        via=row.via,
        camera_enrolled=True,
        dock_enrolled=True,
        chain=apart.chain,
        activation_known=True,
        activated_at=pressed_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        pre_record_s=_pre_record_s(row, pressed_at),
        open_holds=apart.open_holds,
        clock_offset_s=0.0,  # what was found of its clock on arrival is among its deviations
    )
    return admit_declared(incoming, apart, policy=policy, now=now)


def _pre_record_s(row: Row[Any], pressed_at: datetime) -> float:
    return float(max((pressed_at - row.started_at).total_seconds(), 0.0))


async def _wearer(t: AsyncConnection, org: Org | str, origin: Origin) -> Wearer:
    query = select(officials).where(officials.c.org == org, officials.c.id == origin.official)
    row = (await t.execute(query)).one_or_none()
    if row is None:
        return Wearer(id=origin.official, function=None, employed=False)
    until = row.employed_until
    employed = row.employed_from <= origin.pressed_at and (until is None or origin.pressed_at < until)
    return Wearer(id=row.id, function=row.function, employed=employed)


async def _nothing_waits(t: AsyncConnection, org: Org | str, recording: str) -> None:
    query = select(decisions_apart.c.id).where(
        decisions_apart.c.org == org, decisions_apart.c.recording == recording, decisions_apart.c.state == "open"
    )
    if (await t.execute(query)).first() is not None:
        raise refuse(Code.CONFLICT, "decision", expected="no other that waits", got="one that waits")


def _say_why(ground: str) -> None:
    if not ground.strip():
        raise refuse(Code.MALFORMED, "decision", expected="a reason", got="none")


def _named(origin: Origin | None) -> frozenset[str]:
    return frozenset() if origin is None else frozenset({origin.official})


def _facts(origin: Origin | None) -> dict[str, Any]:
    """What the ledger says: codes and pseudonyms, never a word."""
    if origin is None:
        return {"outcome": "leave"}
    return {
        "outcome": "admit",
        "recorder": origin.official,
        "pressed_at": origin.pressed_at.isoformat(),
        "press_reason": origin.reason,
    }


def _decision(row: Row[Any]) -> Decision:
    origin = None
    if row.outcome == "admit":
        origin = Origin(
            camera=row.camera or "", official=row.official or "", pressed_at=row.pressed_at, reason=row.press_reason
        )
    return Decision(
        id=row.id,
        recording=row.recording,
        outcome=row.outcome,
        origin=origin,
        state=row.state,
        people=(row.proposed_by, *([row.confirmed_by] if row.confirmed_by else [])),
        words=(row.ground, *([row.confirmed_ground or ""] if row.confirmed_by else [])),
        proposed_at=row.proposed_at,
        confirmed_at=row.confirmed_at,
    )
