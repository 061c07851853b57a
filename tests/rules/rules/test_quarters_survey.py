"""Whole quarters that never overlap, and a survey in which nobody can be found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.rules.quarters import Quarter, latest, quarter_of, read_quarter
from cloud.rules.seats import Person
from cloud.rules.survey import ANSWERS, Round, judge_answer, judge_round, outcome

MOMENTS = st.datetimes(min_value=datetime(2001, 1, 1), max_value=datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
OPENS = datetime(2026, 10, 1, tzinfo=UTC)
ASKED = Round(
    id="r", label="najaar", statements=("Ik voel mij veilig.",), opens_at=OPENS, closes_at=OPENS + timedelta(days=14)
)
OFFICER = Person(id="boa1", roles=frozenset({"officer"}))


@given(MOMENTS)
def test_every_moment_lies_in_exactly_one_quarter(moment: datetime) -> None:
    quarter = quarter_of(moment)
    assert quarter.begins_at <= moment < quarter.ends_at
    assert quarter.next().begins_at == quarter.ends_at
    assert quarter.next().previous() == quarter
    assert read_quarter(quarter.name) == quarter


def test_a_quarter_begins_at_midnight_here_in_winter_and_in_summer() -> None:
    assert Quarter(year=2026, number=1).begins_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert Quarter(year=2026, number=3).begins_at == datetime(2026, 6, 30, 22, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "2026", "2026-0", "2026-5", "26-1", "2026-1-1", "٢٠٢٦-1", "2026-01"])
def test_what_is_no_quarter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        read_quarter(text)


@pytest.mark.parametrize(("year", "number"), [(2026, 0), (2026, 5), (1999, 4), (26, 1)])
def test_no_quarter_can_be_made_up(year: int, number: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 4"):
        Quarter(year=year, number=number)


@pytest.mark.rule("T-43", "E-46")
@given(MOMENTS)
def test_only_quarters_that_change_no_more_are_counted(moment: datetime) -> None:
    newest, before = latest(moment, count=2)
    assert newest.counted_at <= moment < newest.next().counted_at
    assert newest.counted_at == newest.ends_at + timedelta(days=28)
    assert before == newest.previous()


@pytest.mark.rule("R-23")
def test_nothing_of_a_survey_is_shown_while_it_is_open_or_when_few_answered() -> None:
    counts = {0: {"4": 9, "5": 6}}
    during, after = OPENS + timedelta(days=13), OPENS + timedelta(days=14)
    assert outcome(ASKED, counts, turnout=15, threshold=5, now=during) == ()
    assert outcome(ASKED, {0: {"4": 4}}, turnout=4, threshold=5, now=after) == ()
    assert len(outcome(ASKED, {0: {"4": 5}}, turnout=5, threshold=5, now=after)) == 1
    (table,) = outcome(ASKED, counts, turnout=15, threshold=5, now=after)
    assert table.cells == {"1": 0, "2": 0, "3": 0, "4": 9, "5": 6}


@pytest.mark.rule("R-23", "T-43")
@given(st.dictionaries(st.sampled_from(ANSWERS), st.integers(0, 40)))
def test_an_answer_that_few_gave_is_never_shown(given_answers: dict[str, int]) -> None:
    after = OPENS + timedelta(days=14)
    for table in outcome(ASKED, {0: given_answers}, turnout=sum(given_answers.values()), threshold=5, now=after):
        assert all(count is None or count == 0 or count >= 5 for count in table.cells.values())


@pytest.mark.parametrize(
    ("person", "answered", "days", "may"),
    [
        (OFFICER, False, 1, True),
        (OFFICER, False, 0, True),
        (OFFICER, True, 1, False),
        (OFFICER, False, -1, False),
        (OFFICER, False, 14, False),
        (Person(id="po", roles=frozenset({"privacy_officer"})), False, 1, False),
        (Person(id="boa1", roles=frozenset({"officer"}), employed=False), False, 1, False),
    ],
)
def test_an_officer_answers_once_while_it_is_open(person: Person, answered: bool, days: int, may: bool) -> None:
    assert judge_answer(ASKED, person, answered=answered, now=OPENS + timedelta(days=days)).allowed is may


@pytest.mark.parametrize(
    ("role", "label", "statements", "may"),
    [
        ("cluster_manager", "najaar", ["een"], True),
        ("privacy_officer", "najaar", ["a", "b", "", "c", "d", "e"], True),
        ("coordinator", "najaar", ["een"], False),
        ("privacy_officer", " ", ["een"], False),
        ("privacy_officer", "najaar", ["", " "], False),
        ("privacy_officer", "najaar", ["a", "b", "c", "d", "e", "f"], False),
    ],
)
def test_a_survey_is_asked_by_who_may_and_of_something(role: str, label: str, statements: list[str], may: bool) -> None:
    asks = Person(id="x", roles=frozenset({role}))
    assert judge_round(asks, label, statements).allowed is may
    assert not judge_round(replace(asks, employed=False), label, statements), "who left asks nothing"
