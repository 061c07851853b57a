"""A new version comes into force by two people, on its day, and what it changes is told field by field and in words."""

from datetime import date, timedelta

import pytest

from cloud.rules.policy_change import (
    CONFIRMS,
    PROPOSES,
    fields_changed,
    judge_confirmation,
    judge_moment,
    judge_proposal,
    words_changed,
)
from cloud.rules.seats import Person
from tests.rules.rules.towns import changed, heusden, rotterdam


def person(name: str, *roles: str, employed: bool = True) -> Person:
    return Person(id=name, roles=frozenset(roles), employed=employed)


@pytest.mark.rule("H-01", "R-09")
def test_one_proposes_and_another_confirms_and_nobody_else_does_either() -> None:
    """De privacy officer stelt voor; de secretaris of de clustermanager bevestigt, nooit dezelfde mens."""
    policy = heusden()
    for role in policy.roles:
        assert bool(judge_proposal(policy, person("a", role))) == (role in PROPOSES), role
        assert bool(judge_confirmation(policy, person("a", role), proposed_by="b")) == (role in CONFIRMS), role
    both = person("a", "privacy_officer", "municipal_secretary")
    assert judge_confirmation(policy, both, proposed_by="b")
    assert not judge_confirmation(policy, both, proposed_by="a")
    assert not judge_confirmation(policy, person("a", *CONFIRMS, employed=False), proposed_by="b")
    assert not judge_proposal(policy, person("a", *PROPOSES, employed=False))


def test_where_a_policy_knows_neither_whoever_appoints_confirms() -> None:
    """Rotterdam kent geen secretaris en geen clustermanager: wie rollen toekent, bevestigt."""
    policy = rotterdam()
    assert not set(CONFIRMS) & set(policy.roles)
    for role in policy.roles:
        confirms = bool(judge_confirmation(policy, person("a", role), proposed_by="b"))
        assert confirms == (role in policy.casework.appoint), role


@pytest.mark.rule("R-23", "E-19", "C-16")
def test_a_version_comes_into_force_from_its_first_day_to_its_last() -> None:
    """Niet voor de eerste dag, niet na de laatste, en op beide wel."""
    first, last = date(2027, 1, 1), date(2027, 12, 31)
    new = changed(
        "heusden",
        ("valid_from = 2023-05-16", "valid_from = 2027-01-01"),
        ('valid_until = "none"', "valid_until = 2027-12-31"),
    )
    assert (new.policy.valid_from, new.policy.valid_until) == (first, last)
    day = timedelta(days=1)
    told = {today: bool(judge_moment(new, today)) for today in (first - day, first, last, last + day)}
    assert told == {first - day: False, first: True, last: True, last + day: False}
    for always in (date.min, first, date.max):
        assert judge_moment(rotterdam(), always), "without days it is always valid"


@pytest.mark.rule("H-70", "E-18")
def test_every_change_is_told_by_its_field_and_in_plain_words() -> None:
    """Wat anders wordt, staat er bij naam en in gewone woorden; wat gelijk blijft niet."""
    old, new = heusden(), changed("heusden", ("days = 28", "days = 14"))
    (days,) = fields_changed(old, new)
    assert (days.name, days.was, days.becomes) == ("retention.days", "28", "14")
    (told,) = words_changed(old, new, "nl")
    assert any("28 dagen" in each for each in told.no_longer)
    assert any("14 dagen" in each for each in told.now)
    assert not any("28 dagen" in each for each in told.now)
    assert fields_changed(old, old) == ()
    assert words_changed(old, old, "nl") == words_changed(old, old, "en") == ()
    gone = fields_changed(
        old, changed("heusden", ('om_request = { on_receipt = true, ends_when = ["om_consent"] }', ""))
    )
    assert {each.becomes for each in gone} == {"–"}
    back = fields_changed(
        changed("heusden", ('om_request = { on_receipt = true, ends_when = ["om_consent"] }', "")), old
    )
    assert {(each.name, each.was) for each in back} == {(each.name, "–") for each in gone}
