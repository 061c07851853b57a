"""The survey among officers: asked by management, answered by nobody in particular, shown when it is over.

Answering knows no Idempotency-Key: what is kept for a second try would hold, for as long as it is kept, who answered
what. It needs none either: whoever answered is told so.
"""

from typing import Annotated, Final
from uuid import UUID

import msgspec

from cloud.api.declaration import NO_NUL, Call, Created, Given, Group, Instant, Shown, door, operation
from cloud.api.resources.policy import FigureShown, figure_shown
from cloud.casework.survey import Outcome
from cloud.desk.rules.doors import Door
from cloud.rules.survey import OPENS_ROUNDS, Round

SURVEYS: Final = Group(
    name="vragenlijsten",
    purpose="Weten hoe veilig handhavers zich voelen, zonder te weten wie wat antwoordde.",
)
OFFICERS: Final = frozenset({"officer"})
Statement = Annotated[str, msgspec.Meta(min_length=1, max_length=400, pattern=NO_NUL)]


class AskedSurvey(Shown):
    """What is asked: statements that one agrees or disagrees with."""

    id: UUID
    label: str
    statements: tuple[str, ...]
    opens_at: Instant
    closes_at: Instant


class AskedSurveys(Shown):
    """What one is asked and did not answer yet: one at most."""

    items: tuple[AskedSurvey, ...]


class SurveyShown(AskedSurvey):
    """A round and what came of it: null and nothing while it is open, and when too few took part."""

    open: bool
    turnout: int | None
    tables: tuple[FigureShown, ...]


class SurveysShown(Shown):
    """Every round, newest first."""

    items: tuple[SurveyShown, ...]


class SurveyPath(Given):
    """Which survey."""

    survey: UUID


class SurveyGiven(Given):
    """What to ask, and for how many days."""

    label: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NO_NUL)]
    statements: Annotated[tuple[Statement, ...], msgspec.Meta(min_length=1, max_length=5)]
    days: Annotated[int, msgspec.Meta(ge=1, le=60)]


class SurveyAnswers(Given):
    """An answer to every statement, in their order: from 1 (strongly disagree) to 5 (strongly agree)."""

    answers: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=5)], ...], msgspec.Meta(min_length=1, max_length=5)]


@operation("GET", "/vragenlijsten", "Vragenlijsten en wat eruit kwam", group=SURVEYS, roles=door(Door.FIGURES))
async def surveys(call: Call) -> SurveysShown:
    """Return every round, newest first, with what may be shown of it."""
    return SurveysShown(items=tuple(_shown(each) for each in await call.town.casework.surveys(call.org)))


@operation("POST", "/vragenlijsten", "Een vragenlijst uitzetten", group=SURVEYS, roles=OPENS_ROUNDS, created=True,
           gives=AskedSurvey)  # fmt: skip
async def ask_survey(call: Call, body: SurveyGiven) -> Created:
    """Ask officers, from now on, for this many days."""
    made = await call.town.casework.ask_survey(
        call.org, by=call.me.id, label=body.label, statements=body.statements, days=body.days
    )
    return Created(_asked(made), "/vragenlijsten")


@operation("GET", "/te-beantwoorden-vragenlijsten", "Wat mij gevraagd wordt", group=SURVEYS, roles=OFFICERS)
async def asked_of_me(call: Call) -> AskedSurveys:
    """Return what one is still asked."""
    found = await call.town.casework.survey_for(call.org, call.me.id)
    return AskedSurveys(items=() if found is None else (_asked(found),))


@operation("POST", "/vragenlijsten/{vragenlijst}/antwoorden", "Een vragenlijst invullen", group=SURVEYS,
           roles=OFFICERS)  # fmt: skip
async def answer_survey(call: Call, path: SurveyPath, body: SurveyAnswers) -> None:
    """Count these answers, once; who gave them is forgotten at once."""
    given = {at: str(answer) for at, answer in enumerate(body.answers)}
    await call.town.casework.answer_survey(call.org, str(path.survey), by=call.me.id, answers=given)


def _asked(asked: Round) -> AskedSurvey:
    return AskedSurvey(
        id=UUID(asked.id),
        label=asked.label,
        statements=asked.statements,
        opens_at=asked.opens_at,
        closes_at=asked.closes_at,
    )


def _shown(found: Outcome) -> SurveyShown:
    return SurveyShown(
        **msgspec.structs.asdict(_asked(found.round)),
        open=found.open,
        turnout=found.turnout,
        tables=tuple(figure_shown(each) for each in found.tables),
    )


OPERATIONS: Final = (surveys, ask_survey, asked_of_me, answer_survey)
