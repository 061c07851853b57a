"""The survey among officers: a round, who took part, and how often each answer was given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.wire.ids import Org
from broker.wire.refusals import Code, refuse
from cloud.casework.office import Office
from cloud.database.tables import survey_counts, survey_rounds, survey_turnout
from cloud.rules.statistics import Figure
from cloud.rules.survey import ANSWERS, Round, judge_answer, judge_round, outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One round and what came of it. `tables` is empty while it is open, and when too few took part."""

    round: Round
    turnout: int | None
    tables: tuple[Figure, ...]
    open: bool


class Survey(Office):
    """Asking officers, without ever keeping what one of them said."""

    async def ask_survey(self, org: Org | str, *, by: str, label: str, statements: tuple[str, ...], days: int) -> Round:
        """Open a round for this many days (1 to 60), from now."""
        now = self.clock()
        person = await self.person(org, by, now)
        asked = tuple(each.strip() for each in statements if each.strip())
        await self._check(org, judge_round(person, label, asked), who=by, what="survey.ask")
        if not 1 <= days <= 60:
            raise refuse(Code.MALFORMED, "survey", expected="1 to 60 days", got=days)
        new = Round(
            id=self._new_id(), label=label.strip(), statements=asked, opens_at=now, closes_at=now + timedelta(days=days)
        )
        await self._write_ahead(
            org, "survey.asked", subject=new.id, actor=by, facts={"days": days, "statements": len(asked)}
        )
        async with self.database.transaction() as t:
            await t.execute(
                insert(survey_rounds).values(
                    id=new.id,
                    org=org,
                    label=new.label,
                    statements=list(new.statements),
                    opens_at=new.opens_at,
                    closes_at=new.closes_at,
                    asked_by=by,
                )
            )
        return new

    async def survey_for(self, org: Org | str, official: str) -> Round | None:
        """Return what this officer is still asked, or None."""
        now = self.clock()
        person = await self.person(org, official, now)
        async with self.database.transaction() as t:
            for asked in await _rounds(t, org):
                answered = await _took_part(t, asked.id, official)
                if judge_answer(asked, person, answered=answered, now=now):
                    return asked
        return None

    async def answer_survey(self, org: Org | str, survey: str, *, by: str, answers: Mapping[int, str]) -> None:
        """Count these answers (statement number, from 0, to 1…5). Who gave them is forgotten at once."""
        now = self.clock()
        person = await self.person(org, by, now)
        async with self.database.transaction() as t:
            asked = next((each for each in await _rounds(t, org) if each.id == survey), None)
            answered = await _took_part(t, survey, by)
        if asked is None:
            raise refuse(Code.NOT_FOUND, "survey", expected=f"a survey of {org}", got=survey)
        verdict = judge_answer(asked, person, answered=answered, now=now)
        await self._check(org, verdict, who=by, what="survey.answer")
        if set(answers) != set(range(len(asked.statements))) or not set(answers.values()) <= set(ANSWERS):
            raise refuse(Code.MALFORMED, "survey", expected="an answer of 1 to 5 to every statement", got=len(answers))
        async with self.database.transaction() as t:
            await t.execute(insert(survey_turnout).values(org=org, round=survey, official=by))
            for statement, answer in answers.items():
                same = (
                    (survey_counts.c.round == survey)
                    & (survey_counts.c.statement == statement)
                    & (survey_counts.c.answer == answer)
                )
                done = await t.execute(update(survey_counts).where(same).values(times=survey_counts.c.times + 1))
                if not done.rowcount:
                    await t.execute(
                        insert(survey_counts).values(round=survey, statement=statement, answer=answer, times=1)
                    )

    async def surveys(self, org: Org | str) -> tuple[Outcome, ...]:
        """Return every round, newest first, with what may be shown of it."""
        now, policy = self.clock(), await self._policy(org)
        threshold = policy.statistics.threshold
        found = []
        async with self.database.transaction() as t:
            rounds = await _rounds(t, org)
            took_part = await _turnout(t, org)
            answers = await _answers(t, org)
        for asked in rounds:
            turnout = took_part.get(asked.id, 0)
            found.append(
                Outcome(
                    round=asked,
                    turnout=turnout if turnout >= threshold and not asked.is_open(now) else None,
                    tables=outcome(asked, answers.get(asked.id, {}), turnout=turnout, threshold=threshold, now=now),
                    open=asked.is_open(now),
                )
            )
        return tuple(found)


async def _rounds(t: AsyncConnection, org: Org | str) -> tuple[Round, ...]:
    query = select(survey_rounds).where(survey_rounds.c.org == org).order_by(survey_rounds.c.opens_at.desc())
    return tuple(_round(row) for row in await t.execute(query))


def _round(row: Row[Any]) -> Round:
    return Round(
        id=row.id,
        label=row.label,
        statements=tuple(row.statements),
        opens_at=row.opens_at,
        closes_at=row.closes_at,
    )


async def _turnout(t: AsyncConnection, org: Org | str) -> dict[str, int]:
    """Return how many took part in each round: a number, and nobody's name is read for it."""
    column = survey_turnout.c
    query = select(column.round, func.count().label("people")).where(column.org == org).group_by(column.round)
    return {row.round: row.people for row in await t.execute(query)}


async def _answers(t: AsyncConnection, org: Org | str) -> dict[str, dict[int, dict[str, int]]]:
    """Return per round and statement how often each answer was given."""
    query = select(survey_counts).join(survey_rounds, survey_rounds.c.id == survey_counts.c.round)
    found: dict[str, dict[int, dict[str, int]]] = {}
    for row in await t.execute(query.where(survey_rounds.c.org == org)):
        found.setdefault(row.round, {}).setdefault(row.statement, {})[row.answer] = row.times
    return found


async def _took_part(t: AsyncConnection, survey: str, official: str) -> bool:
    column = survey_turnout.c
    query = select(column.round).where(column.round == survey, column.official == official)
    return (await t.execute(query)).first() is not None
