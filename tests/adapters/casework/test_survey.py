"""The survey among officers, through the office and its database."""

import pytest
from sqlalchemy import select, update

from broker.wire.refusals import Refused
from cloud.casework.office import Denied
from cloud.database.tables import metadata, officials, survey_counts, survey_turnout
from tests.adapters.casework.office import Town

STATEMENTS = ("Ik voel mij veilig.", "De bodycam helpt.")


@pytest.mark.rule("R-23", "E-46")
async def test_an_officer_answers_once_and_no_row_says_what_he_answered(heusden: Town) -> None:
    """Een vragenlijst: één keer per medewerker, en nergens staat wie wat antwoordde."""
    asked = await heusden.casework.ask_survey("heusden", by="cm", label="najaar", statements=STATEMENTS, days=14)
    assert await heusden.casework.survey_for("heusden", "boa1") == asked
    await heusden.casework.answer_survey("heusden", asked.id, by="boa1", answers={0: "4", 1: "2"})
    assert await heusden.casework.survey_for("heusden", "boa1") is None
    with pytest.raises(Denied):
        await heusden.casework.answer_survey("heusden", asked.id, by="boa1", answers={0: "5", 1: "5"})
    with pytest.raises(Denied):
        await heusden.casework.answer_survey("heusden", asked.id, by="po", answers={0: "5", 1: "5"})
    async with heusden.database.transaction() as t:
        turnout = [tuple(row) for row in await t.execute(select(survey_turnout))]
        counts = {(row.statement, row.answer, row.times) for row in await t.execute(select(survey_counts))}
    assert turnout == [("heusden", asked.id, "boa1")]
    assert counts == {(0, "4", 1), (1, "2", 1)}
    assert not {"official", "by", "at"} & set(metadata.tables["survey_counts"].columns.keys())


@pytest.mark.rule("R-23")
async def test_what_came_of_it_is_shown_when_it_is_over_and_enough_took_part(heusden: Town) -> None:
    """De uitkomst verschijnt pas na sluiting, en alleen als genoeg mensen meededen."""
    asked = await heusden.casework.ask_survey("heusden", by="po", label="najaar", statements=STATEMENTS[:1], days=14)
    await heusden.casework.answer_survey("heusden", asked.id, by="boa1", answers={0: "4"})
    (running,) = await heusden.casework.surveys("heusden")
    assert (running.open, running.turnout, running.tables) == (True, None, ())
    heusden.clock.move(days=14)
    (over,) = await heusden.casework.surveys("heusden")
    assert (over.open, over.turnout, over.tables) == (False, None, ())  # one answer is one person


async def test_enough_answers_make_a_table_per_statement(heusden: Town) -> None:
    """Zes antwoorden: het getal staat er; van één die anders antwoordt is niets te zien."""
    await heusden.hire({f"boa{number}": ("officer",) for number in range(20, 26)})
    asked = await heusden.casework.ask_survey("heusden", by="po", label="najaar", statements=STATEMENTS, days=14)
    async with heusden.database.transaction() as t:
        await t.execute(update(officials).values(function="boa").where(officials.c.id.like("boa2%")))
    for number in range(20, 26):
        given = {0: "4", 1: "5" if number == 20 else "3"}
        await heusden.casework.answer_survey("heusden", asked.id, by=f"boa{number}", answers=given)
    heusden.clock.move(days=14)
    (over,) = await heusden.casework.surveys("heusden")
    first, second = over.tables
    assert (over.turnout, first.cells["4"], first.cells["5"]) == (6, 6, 0)
    assert (second.total, second.cells) == (6, {}), "five that are shown, or zeros, would tell of the one"


@pytest.mark.parametrize("answers", [{}, {0: "4"}, {0: "4", 1: "6"}, {0: "4", 1: "5", 2: "1"}])
async def test_half_an_answer_is_refused_and_counts_for_nothing(heusden: Town, answers: dict[int, str]) -> None:
    """Een onvolledig antwoord telt niet, en wie het gaf kan het nog eens doen."""
    asked = await heusden.casework.ask_survey("heusden", by="cm", label="najaar", statements=STATEMENTS, days=14)
    with pytest.raises(Refused):
        await heusden.casework.answer_survey("heusden", asked.id, by="boa1", answers=answers)
    assert await heusden.casework.survey_for("heusden", "boa1") == asked


async def test_a_survey_is_asked_by_management_and_of_ones_own_town(heusden: Town) -> None:
    """Een coördinator zet geen vragenlijst uit; een andere gemeente ziet er niets van."""
    with pytest.raises(Denied):
        await heusden.casework.ask_survey("heusden", by="boa1", label="x", statements=STATEMENTS, days=14)
    await heusden.casework.ask_survey("heusden", by="cm", label="najaar", statements=STATEMENTS, days=14)
    assert "survey.asked" in heusden.ledger.kinds()
    assert await heusden.beside("rotterdam").casework.surveys("rotterdam") == ()
