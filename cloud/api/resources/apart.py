"""Footage that is kept apart: what it is and why, and the decision that two people take on it. Never the footage."""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from broker.wire.policy import ActivationReason
from broker.wire.refusals import Code
from cloud.api.declaration import Call, Created, Given, Instant, Name, Shown, Text, one_of, operation
from cloud.api.resources.recordings import RECORDINGS, SEES, RecordingPath, RecordingShown, shown_of
from cloud.casework.apart import Decision
from cloud.rules.apart import Origin

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00]*\S[^\x00]*$")]
Cause = Annotated[str, one_of(ActivationReason)]


class OriginGiven(Given):
    """What is declared: whose camera, by its label; who pressed, when, and for which reason of the policy."""

    camera: Label
    official: Name
    at: Instant
    cause: Cause


class ApartGiven(Given):
    """Admit it on this declaration, or, without one, leave it apart; and why."""

    ground: Text
    origin: OriginGiven | None = None


class AgreementGiven(Given):
    """Why the second person agrees."""

    ground: Text


class OriginShown(Shown):
    """What was declared of footage: people's word."""

    camera: str
    official: str
    at: Instant
    cause: str


class ApartDecisionShown(Shown):
    """One decision, or a proposal for one. Without an origin: to leave it apart. `grounds` in the order of `people`."""

    id: UUID
    recording: UUID
    outcome: Literal["admit", "leave"]
    state: Literal["open", "confirmed", "withdrawn"]
    origin: OriginShown | None
    people: tuple[str, ...]
    grounds: tuple[str, ...]
    proposed_at: Instant
    decided_at: Instant | None


class ApartDecisionsShown(Shown):
    """Decisions on one recording, newest first."""

    items: tuple[ApartDecisionShown, ...]


class KeptApartShown(Shown):
    """One recording that is kept apart, and what is wrong with it; no codes: its reason says it."""

    recording: RecordingShown
    deviations: tuple[str, ...]


class AllApartShown(Shown):
    """Everything that is kept apart, what goes first on top."""

    items: tuple[KeptApartShown, ...]


class StateShown(Shown):
    """Where the recording is now."""

    state: str


class ApartDecisionPath(RecordingPath):
    """Which decision on which recording."""

    decision: UUID


@operation("GET", "/apart-gezette-opnamen", "Wat apart staat, en waarom", group=RECORDINGS, roles=SEES)
async def kept_apart(call: Call) -> AllApartShown:
    """Return what is kept apart: nobody can view it until two people declare where it comes from."""
    why = await call.town.casework.why_apart(call.org)
    cards = await call.town.casework.recordings(call.org, states=("quarantined",))
    there = [card for card in sorted(cards, key=lambda card: card.expires_at) if card.id in why]
    return AllApartShown(
        items=tuple(KeptApartShown(recording=shown_of(card), deviations=why[card.id]) for card in there)
    )


@operation("GET", "/opnamen/{opname}/herkomstbesluiten", "Besluiten over apart gezette beelden", group=RECORDINGS,
           roles=SEES)  # fmt: skip
async def apart_decisions(call: Call, path: RecordingPath) -> ApartDecisionsShown:
    """Return what was decided on a recording that is or was kept apart: by whom, and why."""
    await call.town.casework.recording(call.org, str(path.recording))
    found = await call.town.casework.decisions_apart(call.org, str(path.recording))
    return ApartDecisionsShown(items=tuple(_shown(each) for each in found))


@operation("POST", "/opnamen/{opname}/herkomstbesluiten", "De herkomst verklaren, of apart laten", group=RECORDINGS,
           roles=SEES, created=True, gives=ApartDecisionShown)  # fmt: skip
async def propose_apart(call: Call, path: RecordingPath, body: ApartGiven) -> Created:
    """Propose, as the first of two, to admit footage on a declaration, or to leave it apart."""
    given, origin = body.origin, None
    if given is not None:
        origin = Origin(camera=given.camera, official=given.official, pressed_at=given.at, reason=given.cause)
    recording = str(path.recording)
    made = await call.town.casework.propose_apart(call.org, recording, by=call.me.id, origin=origin, ground=body.ground)
    found = await call.town.casework.decision_apart(call.org, recording, made)
    return Created(_shown(found), location=f"/opnamen/{recording}/herkomstbesluiten")


@operation("POST", "/opnamen/{opname}/herkomstbesluiten/{besluit}/bevestigingen", "Als tweede hetzelfde verklaren",
           group=RECORDINGS, roles=SEES, refuses=(Code.LEDGER_UNWRITABLE,))  # fmt: skip
async def confirm_apart(call: Call, path: ApartDecisionPath, body: AgreementGiven) -> StateShown:
    """Agree, as the second of two, with exactly what was proposed; judged anew. What was wrong with it stays known."""
    await call.town.casework.decision_apart(call.org, str(path.recording), str(path.decision))
    state = await call.town.casework.confirm_apart(call.org, str(path.decision), by=call.me.id, ground=body.ground)
    return StateShown(state=state)


@operation("DELETE", "/opnamen/{opname}/herkomstbesluiten/{besluit}", "Een voorstel laten vervallen", group=RECORDINGS,
           roles=SEES)  # fmt: skip
async def withdraw_apart(call: Call, path: ApartDecisionPath) -> None:
    """Let a proposal fall: whoever may decide, also who made it."""
    await call.town.casework.decision_apart(call.org, str(path.recording), str(path.decision))
    await call.town.casework.withdraw_apart(call.org, str(path.decision), by=call.me.id)


def _shown(each: Decision) -> ApartDecisionShown:
    return ApartDecisionShown(
        id=UUID(each.id),
        recording=UUID(each.recording),
        outcome=each.outcome,
        state=each.state,
        origin=None if each.origin is None else _told(each.origin),
        people=each.people,
        grounds=each.words,
        proposed_at=each.proposed_at,
        decided_at=each.confirmed_at,
    )


def _told(origin: Origin) -> OriginShown:
    return OriginShown(camera=origin.camera, official=origin.official, at=origin.pressed_at, cause=origin.reason)


OPERATIONS: Final = (kept_apart, apart_decisions, propose_apart, confirm_apart, withdraw_apart)
