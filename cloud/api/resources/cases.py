"""Cases: registered with their hold at once, every step after it, and the end of a hold."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from broker.wire.policy import CaseKind, EndsWhen
from broker.wire.refusals import Code, refuse
from cloud.api.declaration import (
    Call,
    Created,
    Given,
    Group,
    Instant,
    Listed,
    Name,
    Nothing,
    Recordings,
    Shown,
    Text,
    door,
    one_of,
    operation,
)
from cloud.api.paging import Paged, cut, read_cursor
from cloud.api.resources.recordings import Ground
from cloud.casework.cases import DECISIONS, STEPS, Case, HoldView
from cloud.desk.pages.holds import GROUPS
from cloud.desk.rules.doors import READS_ACCESS_REGISTER, REGISTERS_CASES, Door
from cloud.rules.programs import Scope

CASES: Final = Group(
    name="dossiers",
    purpose="Een verzoek, klacht, aangifte of vordering volgens de wet behandelen, en bewaren wat daarvoor nodig is.",
)
SEES: Final = door(Door.CASES)
Day = date
StepName = Annotated[str, one_of(STEPS)]
Decision = Annotated[str, one_of(sorted(DECISIONS))]


class HoldShown(Shown):
    """One hold: on what, since when, and what must happen before it may end."""

    id: UUID
    case: UUID
    recording: UUID | None
    incident: UUID | None
    state: str
    reason: str
    outcome: str | None
    placed_at: Instant
    placed_by: str
    lapses_at: Instant | None
    released_at: Instant | None
    waits_for: tuple[EndsWhen, ...]


class StepShown(Shown):
    """One step, as it was taken."""

    at: Instant
    by: str
    step: str
    facts: dict[str, Any]


class CaseShown(Shown):
    """One case. `can`: the steps that can follow now; who may take them is decided when they are taken."""

    id: UUID
    number: str
    kind: CaseKind
    state: str
    summary: str
    received_at: Instant
    registered_at: Instant
    registered_by: str
    closed_at: Instant | None
    answer_by: Day | None
    final_from: Day | None
    facts: dict[str, Any]
    recordings: tuple[UUID, ...]
    incidents: tuple[UUID, ...]
    holds: tuple[HoldShown, ...]
    steps: tuple[StepShown, ...]
    can: tuple[str, ...]


class CasesShown(Shown):
    """A page of cases, newest first."""

    items: tuple[CaseShown, ...]


class AccessRequestShown(Shown):
    """One line of the separate register of access requests: it stands when the footage is gone."""

    case: UUID
    number: str
    received_at: Instant
    registered_at: Instant
    state: str
    decision: str | None
    decided_at: Instant | None
    decided_by: str | None
    sent_at: Instant | None
    carried_out_at: Instant | None
    outcome: str | None
    closed_at: Instant | None


class AccessRequestsShown(Shown):
    """The register of access requests, oldest first."""

    items: tuple[AccessRequestShown, ...]


class AfterReleaseShown(Shown):
    """What would follow for one recording if the hold ended now."""

    facts: dict[str, Any]


class ConsequencesShown(Shown):
    """What would follow if the hold ended now, per recording."""

    items: tuple[AfterReleaseShown, ...]


class IncidentShown(Shown):
    """An incident that groups recordings, here or on their way."""

    id: UUID
    label: str
    opened_at: Instant
    recordings: tuple[UUID, ...]


class CasePath(Given):
    """Which case."""

    case: UUID


class HoldPath(Given):
    """Which hold."""

    hold: UUID


class IncidentPath(Given):
    """Which incident."""

    incident: UUID


class CasesAsked(Paged):
    """Which cases."""

    kind: tuple[CaseKind, ...] = ()
    open: bool = False
    incident: UUID | None = None


class CaseFacts(Given):
    """What is known from the start; a demand names authority, reference, day, article and scope."""

    authority: Text | None = None
    reference: Text | None = None
    date: Day | None = None
    article: Text | None = None
    scope: Text | None = None
    representative: Text | None = None


class CaseGiven(Given):
    """A new case."""

    kind: CaseKind
    summary: Text
    received_at: Instant | None = None
    recordings: Recordings = ()
    incidents: Recordings = ()
    facts: CaseFacts = msgspec.field(default_factory=CaseFacts)


class EmergencyGiven(Given):
    """Hold these recordings at once, or everything of a stretch of time (of one camera, of one officer)."""

    kind: CaseKind
    summary: Text
    recordings: Recordings = ()
    from_at: Instant | None = None
    until_at: Instant | None = None
    received_at: Instant | None = None
    camera: Name | None = None
    officer: Name | None = None


class StepFacts(Given):
    """What a step must say; which step asks what stands in its refusal."""

    method: Text | None = None
    decision: Decision | None = None
    reason: Text | None = None
    attendees: Text | None = None
    told_no_copy: bool | None = None
    authority: Text | None = None
    visible: Text | None = None
    others_harmed: Text | None = None
    necessity: Text | None = None
    regime: Text | None = None
    objection_reason: Text | None = None
    outcome_told: Text | None = None
    sent_on: Day | None = None
    objected_on: Day | None = None
    objection_sent_on: Day | None = None
    appealed_on: Day | None = None
    judged_final_on: Day | None = None
    upheld: bool | None = None
    recordings: Recordings = ()
    who: Text | None = None
    date: Day | None = None
    reference: Text | None = None


class StepGiven(Given):
    """The next step of a case."""

    step: StepName
    facts: StepFacts = msgspec.field(default_factory=StepFacts)


class ConfirmedGiven(Given):
    """Of which kind the case turned out to be (the same, if not said), and what that kind must name."""

    kind: CaseKind | None = None
    facts: CaseFacts = msgspec.field(default_factory=CaseFacts)


class SubjectsGiven(Given):
    """What a case is about besides."""

    recordings: Recordings = ()
    incidents: Recordings = ()


class RecordingsGiven(Given):
    """Which recordings."""

    recordings: Recordings


class IncidentGiven(Given):
    """A new incident."""

    label: Text
    recordings: Recordings = ()


@operation("GET", "/dossiers", "Alle dossiers", group=CASES, program=Scope.CASES, roles=SEES, paged=True,
           gives=CasesShown)  # fmt: skip
async def cases(call: Call, query: CasesAsked) -> Listed:
    """Return cases, newest first."""
    after = read_cursor(query.cursor, tuple[datetime, str])
    found = await call.town.casework.cases(
        call.org,
        kinds=query.kind,
        open_only=query.open,
        before=after,
        most=query.limit + 1,
        incident=str(query.incident) if query.incident else None,
    )
    page, following = cut(found, query, lambda case: (case.registered_at, case.number))
    return Listed(CasesShown(items=tuple(_for(call, each) for each in page)), following)


@operation("POST", "/dossiers", "Een dossier vastleggen", group=CASES, program=Scope.REGISTER,
           roles=REGISTERS_CASES | {"officer"}, created=True, gives=CaseShown)  # fmt: skip
async def register(call: Call, body: CaseGiven) -> Created:
    """Register a case; its hold is placed in the same transaction. An officer asks for own footage to learn from."""
    case = await call.town.casework.register_case(
        call.org,
        by=call.me.id,
        kind=body.kind,
        summary=body.summary,
        received_at=body.received_at,
        recordings=_ids(body.recordings),
        incidents=_ids(body.incidents),
        facts=_told(body.facts),
    )
    return Created(_for(call, case), f"/dossiers/{case.id}")


@operation("POST", "/noodremmen", "Noodrem: nu bewaren", group=CASES, roles=REGISTERS_CASES,
           created=True, gives=CaseShown)  # fmt: skip
async def emergency(call: Call, body: EmergencyGiven) -> Created:
    """Hold at once: what is named, or a stretch of time with what has yet to come. Lapses unless it is confirmed."""
    if body.recordings:
        made = await call.town.casework.register_case(
            call.org,
            by=call.me.id,
            kind=body.kind,
            summary=body.summary,
            received_at=body.received_at,
            recordings=_ids(body.recordings),
            provisional=True,
        )
        return Created(_shown(made), f"/dossiers/{made.id}")
    if body.from_at is None or body.until_at is None:
        raise refuse(Code.MALFORMED, "emergency", expected="recordings, or a stretch of time", got="neither")
    case = await call.town.casework.emergency_hold(
        call.org,
        by=call.me.id,
        kind=body.kind,
        summary=body.summary,
        from_at=body.from_at,
        until_at=body.until_at,
        received_at=body.received_at,
        camera=body.camera,
        officer=body.officer,
    )
    return Created(_shown(case), f"/dossiers/{case.id}")


@operation("GET", "/dossiers/{dossier}", "Eén dossier", group=CASES, program=Scope.CASES, roles=SEES, tagged=True)
async def case(call: Call, path: CasePath) -> CaseShown:
    """Return one case with its holds and its steps."""
    return _for(call, await call.town.casework.case(call.org, str(path.case)))


@operation("POST", "/dossiers/{dossier}/stappen", "De volgende stap zetten", group=CASES, roles=SEES | {"officer"},
           refuses=(Code.CONFLICT,), guarded_by=case)  # fmt: skip
async def take_step(call: Call, path: CasePath, body: StepGiven) -> CaseShown:
    """Take a step; the lifecycle, the policy and the facts decide whether it can be taken, and by whom."""
    return _shown(
        await call.town.casework.take_step(call.org, str(path.case), body.step, by=call.me.id, facts=_told(body.facts))
    )


@operation("POST", "/dossiers/{dossier}/bevestigingen", "Een noodrem bevestigen", group=CASES, roles=SEES,
           refuses=(Code.CONFLICT,), guarded_by=case)  # fmt: skip
async def confirm(call: Call, path: CasePath, body: ConfirmedGiven) -> CaseShown:
    """Make an emergency hold a real one, of the kind it turned out to be: it no longer lapses."""
    return _shown(
        await call.town.casework.confirm_case(
            call.org, str(path.case), by=call.me.id, kind=body.kind, facts=_told(body.facts)
        )
    )


@operation("POST", "/dossiers/{dossier}/opnamen", "Opnamen toevoegen, met bewaarplicht", group=CASES, roles=SEES,
           refuses=(Code.CONFLICT,), guarded_by=case)  # fmt: skip
async def add(call: Call, path: CasePath, body: SubjectsGiven) -> CaseShown:
    """Let a case be about more recordings or incidents; they are held from now on where this kind of case holds."""
    return _shown(
        await call.town.casework.add_to_case(
            call.org,
            str(path.case),
            by=call.me.id,
            recordings=_ids(body.recordings),
            incidents=_ids(body.incidents),
        )
    )


@operation("GET", "/bewaarplichten/{bewaarplicht}", "Eén bewaarplicht", group=CASES, roles=SEES, tagged=True)
async def hold(call: Call, path: HoldPath) -> HoldShown:
    """Return one hold, with what must happen before it may end."""
    case = await call.town.casework.case_of_hold(call.org, str(path.hold))
    return _hold(next(each for each in case.holds if each.id == str(path.hold)))


@operation("GET", "/bewaarplichten/{bewaarplicht}/gevolgen", "Wat volgt als de bewaarplicht eindigt", group=CASES,
           roles=SEES)  # fmt: skip
async def consequences(call: Call, path: HoldPath) -> ConsequencesShown:
    """Return what would follow for each recording if this hold ended now. Changes nothing."""
    found = await call.town.casework.release_preview(call.org, str(path.hold))
    return ConsequencesShown(items=tuple(AfterReleaseShown(facts=msgspec.to_builtins(each)) for each in found))


@operation("POST", "/bewaarplichten/{bewaarplicht}/opheffingen", "Een bewaarplicht opheffen", group=CASES, roles=SEES,
           refuses=(Code.UNDER_HOLD,), guarded_by=hold)  # fmt: skip
async def release(call: Call, path: HoldPath, body: Ground) -> CaseShown:
    """End a hold, or ask for its end where that takes two: then the second person calls this too."""
    return _shown(await call.town.casework.release_hold(call.org, str(path.hold), by=call.me.id, ground=body.ground))


@operation(
    "POST",
    "/bewaarplichten/{bewaarplicht}/handhavingen",
    "Een bewaarplicht laten staan",
    group=CASES,
    roles=SEES,
    refuses=(Code.CONFLICT,),
    guarded_by=hold,
)
async def keep(call: Call, path: HoldPath, body: Nothing) -> CaseShown:  # noqa: ARG001 - says it all
    """Let a hold stand of which somebody asked the end."""
    return _shown(await call.town.casework.refuse_release(call.org, str(path.hold), by=call.me.id))


@operation("GET", "/inzageverzoeken", "Het register van inzageverzoeken", group=CASES, roles=READS_ACCESS_REGISTER)
async def access_requests(call: Call) -> AccessRequestsShown:
    """Return the separate register of access requests, oldest first."""
    rows = await call.town.casework.access_requests(call.org)
    return AccessRequestsShown(
        items=tuple(
            AccessRequestShown(
                case=UUID(row.case_id),
                number=row.number,
                received_at=row.received_at,
                registered_at=row.registered_at,
                state=row.state,
                decision=row.decision,
                decided_at=row.decided_at,
                decided_by=row.decided_by,
                sent_at=row.sent_at,
                carried_out_at=row.carried_out_at,
                outcome=row.outcome,
                closed_at=row.closed_at,
            )
            for row in rows
        )
    )


@operation("POST", "/incidenten", "Een incident openen", group=CASES, roles=GROUPS, created=True,
           gives=IncidentShown)  # fmt: skip
async def open_incident(call: Call, body: IncidentGiven) -> Created:
    """Start an incident that groups recordings; those that come late can join."""
    made = await call.town.casework.open_incident(
        call.org, by=call.me.id, label=body.label, recordings=_ids(body.recordings)
    )
    return Created(await incident.run(call, path=IncidentPath(incident=UUID(made))), f"/incidenten/{made}")


@operation("GET", "/incidenten/{incident}", "Eén incident", group=CASES, roles=door(Door.RECORDINGS), tagged=True)
async def incident(call: Call, path: IncidentPath) -> IncidentShown:
    """Return one incident, with the recordings that are here or on their way."""
    there = await call.town.casework.incident(call.org, str(path.incident))
    here = await call.town.casework.recordings(call.org, incident=there.id)
    named = dict.fromkeys([*(card.id for card in here), *there.announced])
    return IncidentShown(
        id=UUID(there.id), label=there.label, opened_at=there.opened_at, recordings=tuple(UUID(each) for each in named)
    )


@operation("POST", "/incidenten/{incident}/opnamen", "Opnamen bij een incident voegen", group=CASES,
           roles=GROUPS, guarded_by=incident)  # fmt: skip
async def join_incident(call: Call, path: IncidentPath, body: RecordingsGiven) -> None:
    """Put recordings into an incident: they are held by every case on it from this moment."""
    await call.town.casework.join_incident(
        call.org, str(path.incident), by=call.me.id, recordings=_ids(body.recordings)
    )


def _ids(given: tuple[UUID, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(each) for each in given))


def _told(facts: Given) -> Mapping[str, Any]:
    """Return what was said, under the names that the register keeps; days as text."""
    found = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return {name: msgspec.to_builtins(value) for name, value in found.items() if value not in (None, ())}


def _hold(hold: HoldView) -> HoldShown:
    return HoldShown(
        id=UUID(hold.id),
        case=UUID(hold.case),
        recording=UUID(hold.recording) if hold.recording else None,
        incident=UUID(hold.incident) if hold.incident else None,
        state=hold.state,
        reason=hold.reason,
        outcome=hold.outcome,
        placed_at=hold.placed_at,
        placed_by=hold.placed_by,
        lapses_at=hold.lapses_at,
        released_at=hold.released_at,
        waits_for=hold.waits_for,
    )


def _for(call: Call, case: Case) -> CaseShown:
    """Return the case as whoever asks may read it: what people wrote in it only where a program was given that."""
    shown = _shown(case)
    if call.may_read(Scope.WORDS):
        return shown
    steps = tuple(msgspec.structs.replace(each, facts={}) for each in shown.steps)
    return msgspec.structs.replace(shown, summary="", facts={}, steps=steps)


def _shown(case: Case) -> CaseShown:
    return CaseShown(
        id=UUID(case.id),
        number=case.number,
        kind=case.kind,
        state=case.state,
        summary=case.summary,
        received_at=case.received_at,
        registered_at=case.registered_at,
        registered_by=case.registered_by,
        closed_at=case.closed_at,
        answer_by=case.answer_by,
        final_from=case.final_from,
        facts=dict(case.facts),
        recordings=tuple(UUID(each) for each in case.recordings),
        incidents=tuple(UUID(each) for each in case.incidents),
        holds=tuple(_hold(each) for each in case.holds),
        steps=tuple(StepShown(at=each.at, by=each.by, step=each.step, facts=dict(each.facts)) for each in case.steps),
        can=case.can,
    )


OPERATIONS: Final = (
    cases,
    register,
    emergency,
    case,
    take_step,
    confirm,
    add,
    hold,
    consequences,
    release,
    keep,
    access_requests,
    open_incident,
    incident,
    join_incident,
)
