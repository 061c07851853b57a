"""Looking back to learn: one's own requests, those one decides on, and one's own footage that one may ask for.

Asking is registering a case of that kind, deciding is a step of it: both stand with the cases.
"""

from typing import Final
from uuid import UUID

from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Instant, Shown, door, operation
from cloud.api.resources.cases import CASES
from cloud.desk.pages.learning import decides_on, last_day_of, own_footage
from cloud.desk.rules.doors import Door


class LearningRequest(Shown):
    """A request to look back. `until_at`: when the first of its footage goes; null: it went already."""

    case: UUID
    number: str
    summary: str
    state: str
    officer: str
    reason: str | None
    until_at: Instant | None
    recordings: tuple[UUID, ...]
    to_decide: bool


class OwnFootage(Shown):
    """A recording that one made, or on which one stood, and may ask for."""

    recording: UUID
    camera: str
    started_at: Instant
    expires_at: Instant


class LearningShown(Shown):
    """One's own requests and those one decides on (`to_decide`), and what one may ask for."""

    items: tuple[LearningRequest, ...]
    own_footage: tuple[OwnFootage, ...]


@operation("GET", "/leerverzoeken", "Terugkijken om te leren", group=CASES, roles=door(Door.REPORTS),
           refuses=(Code.NOT_FOUND,))  # fmt: skip
async def learning(call: Call) -> LearningShown:
    """Return one's own requests to look back, those one decides on, and one's own footage that one may ask for."""
    town, me, policy = call.town, call.me.id, await call.town.policy()
    if not any(CaseKind.LEARNING in each.case_kinds for each in policy.purposes.values()):
        raise refuse(Code.NOT_FOUND, "learning", expected="a policy that lets officers look back", got="another")
    found = []
    for case in await town.casework.cases(town.org, kinds=(CaseKind.LEARNING,)):
        decides = await decides_on(town, policy, case, me)
        if not decides and case.facts.get("learner") != me:
            continue
        found.append(
            LearningRequest(
                case=UUID(case.id),
                number=case.number,
                summary=case.summary,
                state=case.state,
                officer=str(case.facts["learner"]),
                reason=case.facts.get("reason"),
                until_at=await last_day_of(town, case),
                recordings=tuple(UUID(each) for each in case.recordings),
                to_decide=decides,
            )
        )
    return LearningShown(
        items=tuple(found),
        own_footage=tuple(
            OwnFootage(
                recording=UUID(card.id), camera=card.camera, started_at=card.started_at, expires_at=card.expires_at
            )
            for card in await own_footage(town, me, policy)
        ),
    )


OPERATIONS: Final = (learning,)
