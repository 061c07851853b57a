"""Recordings without their content: what there is, what keeps it, when it goes, and what remains when it is gone."""

from datetime import date, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Given, Group, Instant, Listed, Name, Raw, Shown, Text, door, one_of, operation
from cloud.api.paging import Paged, cut, read_cursor
from cloud.casework.casework import RecordingCard
from cloud.database.tables import RECORDING_STATES
from cloud.desk.rules.doors import Door
from cloud.rules.programs import Scope
from cloud.rules.terms import day_of

RECORDINGS: Final = Group(
    name="opnamen", purpose="Laten zien wat er is, waarom het bewaard blijft en wanneer het weg moet. Nooit de beelden."
)
SEES: Final = door(Door.RECORDINGS)
State = Annotated[str, one_of(RECORDING_STATES)]


class RecordingShown(Shown):
    """Everything about one recording but its content."""

    id: UUID
    camera: str
    official: str | None
    incident: UUID | None
    state: str
    reason: str
    started_at: Instant
    activated_at: Instant | None
    ended_at: Instant
    received_at: Instant
    expires_at: Instant
    destroyed_at: Instant | None
    pre_record_s: float
    policy_version: int
    segments: int
    total_bytes: int
    chain: str
    deviations: tuple[str, ...]
    held_by: tuple[str, ...]
    because: str
    days_left: int | None


class RecordingsShown(Shown):
    """A page of recordings, newest first."""

    items: tuple[RecordingShown, ...]


class DayShown(Shown):
    """What goes on one day, if nothing holds it."""

    day: date
    recordings: tuple[UUID, ...]


class HeldShown(Shown):
    """What is kept past its day, and the numbers of the cases that keep it."""

    recording: UUID
    expires_at: Instant
    held_by: tuple[str, ...]


class ProposedDestruction(Shown):
    """A destruction by hand that one person proposed, and why."""

    recording: UUID
    ground: str
    made_by: str
    made_at: Instant


class ProposedShown(Shown):
    """What waits for a second person."""

    items: tuple[ProposedDestruction, ...]


class CalendarShown(Shown):
    """What goes when, and what stays because of which case."""

    days: tuple[DayShown, ...]
    held: tuple[HeldShown, ...]


class ViewedShown(Shown):
    """One viewing: by which two people, for which case and purpose."""

    room: str
    case: str
    purpose: str
    people: tuple[str, ...]
    state: str
    opened_at: Instant | None
    closed_at: Instant | None


class ViewingsShown(Shown):
    """Who viewed a recording, newest first."""

    items: tuple[ViewedShown, ...]


class DestructionShown(Shown):
    """What an act of destruction came to: `proposed` (a second person must confirm) or `destroying`."""

    state: Literal["proposed", "destroying"]


class RecordingPath(Given):
    """Which recording."""

    recording: UUID


class RecordingsAsked(Paged):
    """Which recordings. Times select what touches that stretch."""

    state: tuple[State, ...] = ()
    camera: Name | None = None
    official: Name | None = None
    case: UUID | None = None
    from_at: Instant | None = None
    until_at: Instant | None = None


class Ground(Given):
    """Why."""

    ground: Text


class DecisionGiven(Ground):
    """Keep it for its term, or not."""

    keep: bool


class DecidedShown(Shown):
    """What became of it: its state, or `proposed` while a second person must confirm its destruction."""

    state: str


@operation("GET", "/opnamen", "Alle opnamen, zonder beelden", group=RECORDINGS, program=Scope.RECORDINGS,
           roles=SEES, paged=True, gives=RecordingsShown, refuses=(Code.NOT_FOUND,))  # fmt: skip
async def recordings(call: Call, query: RecordingsAsked) -> Listed:
    """Return recordings, newest first, each with what keeps it or when it goes."""
    found = await call.town.casework.recordings(
        call.org,
        states=query.state,
        camera=query.camera,
        official=query.official,
        case=str(query.case) if query.case else None,
        from_at=query.from_at,
        until_at=query.until_at,
        before=read_cursor(query.cursor, tuple[datetime, str]),
        most=query.limit + 1,
    )
    page, following = cut(found, query, lambda card: (card.started_at, card.id))
    return Listed(RecordingsShown(items=tuple(shown_of(card) for card in page)), following)


@operation("GET", "/opnamen/{opname}", "Eén opname, zonder beelden", group=RECORDINGS, program=Scope.RECORDINGS,
           roles=SEES, tagged=True)  # fmt: skip
async def recording(call: Call, path: RecordingPath) -> RecordingShown:
    """Return one recording."""
    return shown_of(await call.town.casework.recording(call.org, str(path.recording)))


@operation("GET", "/opnamen/{opname}/weergaven", "Wie bekeek deze opname", group=RECORDINGS)
async def viewings(call: Call, path: RecordingPath) -> ViewingsShown:
    """Return who viewed it: for whoever is on it, and for those who watch over the rules."""
    await call.town.casework.recording(call.org, str(path.recording))
    seen = await call.town.casework.viewings(call.org, str(path.recording), by=call.me.id)
    return ViewingsShown(
        items=tuple(
            ViewedShown(
                room=each.request,
                case=each.case,
                purpose=each.purpose,
                people=each.people,
                state=each.state,
                opened_at=each.opened_at,
                closed_at=each.closed_at,
            )
            for each in seen
        )
    )


@operation("GET", "/opnamen/{opname}/vernietigingsverklaring", "De verklaring van vernietiging",
           group=RECORDINGS, program=Scope.RECORDINGS, roles=SEES)  # fmt: skip
async def certificate(call: Call, path: RecordingPath) -> Raw:
    """Return the certificate as the Kluis signed it, byte for byte: to keep, or to have checked elsewhere."""
    found = await call.town.casework.certificate(call.org, str(path.recording))
    if found is None:
        raise refuse(Code.NOT_FOUND, "certificate", expected="a destroyed recording", got="another")
    return Raw(found, file_name=f"vernietiging-{path.recording}.json")


@operation("POST", "/opnamen/{opname}/vernietigingen", "Vernietigen met de hand", group=RECORDINGS, roles=SEES,
           refuses=(Code.UNDER_HOLD,), guarded_by=recording)  # fmt: skip
async def destroy(call: Call, path: RecordingPath, body: Ground) -> DestructionShown:
    """Propose or confirm destruction by hand: by whom the policy says, by two where it says so, never under a hold."""
    done = await call.town.casework.destroy_by_hand(call.org, str(path.recording), by=call.me.id, ground=body.ground)
    return DestructionShown(state="proposed" if done == "proposed" else "destroying")


@operation("DELETE", "/opnamen/{opname}/vernietigingen", "Een voorstel intrekken", group=RECORDINGS, roles=SEES,
           guarded_by=recording)  # fmt: skip
async def spare(call: Call, path: RecordingPath) -> None:
    """Take a proposal to destroy back: whoever may destroy."""
    await call.town.casework.recording(call.org, str(path.recording))
    await call.town.casework.withdraw_destruction(call.org, str(path.recording), by=call.me.id)


@operation(
    "POST",
    "/opnamen/{opname}/beslissingen",
    "Beslissen over afwijkende beelden",
    group=RECORDINGS,
    roles=SEES,
    refuses=(Code.UNDER_HOLD,),
    guarded_by=recording,
)
async def decide(call: Call, path: RecordingPath, body: DecisionGiven) -> DecidedShown:
    """Decide on footage that differs from the policy: let it into its term, or propose its destruction."""
    state = await call.town.casework.decide_restricted(
        call.org, str(path.recording), by=call.me.id, keep=body.keep, ground=body.ground
    )
    return DecidedShown(state=state)


@operation("GET", "/vernietigingsvoorstellen", "Wat op een tweede persoon wacht", group=RECORDINGS,
           roles=door(Door.CASES))  # fmt: skip
async def proposed(call: Call) -> ProposedShown:
    """Return the destructions by hand that wait for a second person, oldest first."""
    rows = await call.town.casework.proposed_destructions(call.org)
    return ProposedShown(
        items=tuple(
            ProposedDestruction(
                recording=UUID(row.subject), ground=row.ground, made_by=row.proposed_by, made_at=row.proposed_at
            )
            for row in rows
        )
    )


@operation("GET", "/bewaarkalender", "Wat gaat wanneer weg, en wat blijft", group=RECORDINGS,
           program=Scope.RECORDINGS, roles=SEES)  # fmt: skip
async def calendar(call: Call) -> CalendarShown:
    """Return per day what will be destroyed, and what is kept because of which case."""
    cards = await call.town.casework.recordings(call.org, states=set(RECORDING_STATES) - {"destroying", "destroyed"})
    days: dict[date, list[UUID]] = {}
    for card in cards:
        if not card.held_by:
            days.setdefault(day_of(card.expires_at), []).append(UUID(card.id))
    return CalendarShown(
        days=tuple(DayShown(day=day, recordings=tuple(days[day])) for day in sorted(days)),
        held=tuple(
            HeldShown(recording=UUID(card.id), expires_at=card.expires_at, held_by=card.held_by)
            for card in cards
            if card.held_by
        ),
    )


def shown_of(card: RecordingCard) -> RecordingShown:
    """Return a recording as callers see it."""
    return RecordingShown(
        id=UUID(card.id),
        camera=card.camera,
        official=card.official,
        incident=UUID(card.incident) if card.incident else None,
        state=card.state,
        reason=card.reason,
        started_at=card.started_at,
        activated_at=card.activated_at,
        ended_at=card.ended_at,
        received_at=card.received_at,
        expires_at=card.expires_at,
        destroyed_at=card.destroyed_at,
        pre_record_s=card.pre_record_s,
        policy_version=card.policy_version,
        segments=card.segments,
        total_bytes=card.total_bytes,
        chain=card.chain,
        deviations=card.deviations,
        held_by=card.held_by,
        because=card.waarom,
        days_left=card.days_left,
    )


OPERATIONS: Final = (recordings, recording, viewings, certificate, destroy, spare, decide, proposed, calendar)
