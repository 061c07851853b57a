"""Programs without a browser: what no scope opens, when an account counts, and which two people let one in."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.policy import Act, CaseKind
from cloud.rules.programs import (
    LONGEST,
    NEWS,
    Scope,
    Standing,
    Wanted,
    as_person,
    judge_asking,
    judge_confirming,
    judge_ending,
    judge_news,
    judge_program,
    judge_standing,
    problem_with,
)
from cloud.rules.rights import (
    HandOver,
    judge_back_office,
    judge_decision,
    judge_disclosure,
    judge_hindsight,
    judge_intake,
)
from cloud.rules.seats import Involvement, Person, judge_pair
from tests.rules.rules.towns import heusden

NOW = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
HERE = ip_address("10.1.2.3")
LATER = NOW + timedelta(days=90)
SCOPES = st.frozensets(st.sampled_from(Scope))


def somebody(*roles: str, name: str = "o-1") -> Person:
    return Person(id=name, roles=frozenset(roles))


@given(SCOPES, SCOPES, st.booleans())
def test_no_scope_opens_footage_or_stands_in_for_a_persons_word(
    held: frozenset[Scope], scopes: frozenset[Scope], word: bool
) -> None:
    for wanted in (Wanted(scopes=scopes, footage=True, word=word), Wanted(scopes=scopes, word=True)):
        verdict = judge_program(held, wanted)
        assert not verdict
        assert verdict.because
        assert verdict.waarom


@given(SCOPES, SCOPES)
def test_a_program_does_what_it_was_given_and_nothing_that_is_not_open_to_programs(
    held: frozenset[Scope], scopes: frozenset[Scope]
) -> None:
    assert bool(judge_program(held, Wanted(scopes=scopes))) == bool(held & scopes)


@given(SCOPES)
def test_a_program_hears_news_of_what_it_may_read_and_none_about_people(held: frozenset[Scope]) -> None:
    for kind, scope in NEWS.items():
        data = {"kind": "silent", "case": "1"}
        assert bool(judge_news(held, kind, data)) == (scope in held)
    for kind in ("room", "mark", "redaction", "newcomer", "device", "program", "what comes next year"):
        assert not judge_news(held, kind, {})
    assert not judge_news(held, "alert", {"kind": "break-glass", "about": "o-101"})
    assert not judge_news(held, "alert", {"kind": "report-overdue", "recording": "1"})
    assert not judge_news(held, "case", {"report": "1", "incident": "2"})


@given(SCOPES)
def test_to_the_rules_about_people_a_program_holds_no_role_at_all(held: frozenset[Scope]) -> None:
    policy, program = heusden(), as_person("prog-zaaksysteem", held)
    assert not program.roles & set(policy.roles)
    assert not any(judge_back_office(policy, program, act) for act in Act)
    assert not judge_asking(policy, program)
    assert not judge_confirming(policy, program, asked_by="o-1")
    assert not judge_ending(policy, program)
    assert not judge_hindsight(policy, program, Involvement())
    for kind in CaseKind:
        assert not judge_decision(policy, program, kind=kind, involvement=Involvement())
        known = any(kind in each.case_kinds for each in policy.purposes.values()) or kind in policy.hold.reasons
        registers = known and Scope.REGISTER in held and kind is not CaseKind.LEARNING
        assert bool(judge_intake(policy, program, kind=kind, learner=program.id)) == registers
    officer = somebody("privacy_officer")
    for purpose, rules in policy.purposes.items():
        for kind in rules.case_kinds:
            asked = {"policy": policy, "purpose": purpose, "case_kind": kind, "case_open": True}
            for pair in ((program, officer), (officer, program), (program, None)):
                involved = Involvement()
                assert not judge_pair(**asked, requester=pair[0], second=pair[1], involvement=involved)  # type: ignore[arg-type]
    hand_over = HandOver(
        case_kind=CaseKind.OM_REQUEST, case_open=True, basis=CaseKind.OM_REQUEST, recipient="om", demand_facts={}
    )
    assert not judge_disclosure(policy, program, hand_over)


@pytest.mark.parametrize(
    ("standing", "counts"),
    [
        (Standing(confirmed=True, ended=False, until_at=LATER), True),
        (Standing(confirmed=False, ended=False, until_at=LATER), False),
        (Standing(confirmed=True, ended=True, until_at=LATER), False),
        (Standing(confirmed=True, ended=False, until_at=NOW), False),
        (Standing(confirmed=True, ended=False, until_at=LATER, networks=("10.1.0.0/16",)), True),
        (Standing(confirmed=True, ended=False, until_at=LATER, networks=("10.2.0.0/16", "::1/128")), False),
    ],
)
def test_an_account_counts_when_confirmed_until_its_day_and_from_where_it_may_come(
    standing: Standing, counts: bool
) -> None:
    assert bool(judge_standing(standing, address=HERE, now=NOW)) == counts


def test_who_administers_asks_and_somebody_else_who_answers_for_cases_confirms() -> None:
    policy = heusden()
    assert judge_asking(policy, somebody("app_admin"))
    assert not judge_asking(policy, somebody("privacy_officer"))
    assert judge_confirming(policy, somebody("privacy_officer"), asked_by="o-2")
    assert not judge_confirming(policy, somebody("app_admin"), asked_by="o-2")
    both = somebody("app_admin", "privacy_officer")
    assert not judge_confirming(policy, both, asked_by=both.id)
    for role in ("app_admin", "privacy_officer", "dpo"):
        assert judge_ending(policy, somebody(role))
    assert not judge_ending(policy, somebody("coordinator"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, None),
        ({"account": "zaaksysteem"}, "account"),
        ({"account": "prog-Zaak"}, "account"),
        ({"account": "prog-" + "a" * 40}, "account"),
        ({"purpose": "  "}, "purpose"),
        ({"scopes": ()}, "scopes"),
        ({"until_at": NOW}, "end"),
        ({"until_at": NOW + LONGEST + timedelta(seconds=1)}, "end"),
        ({"networks": ("10.1.2.0/24", "office")}, "network"),
    ],
)
def test_an_account_has_a_name_a_purpose_a_scope_and_an_end_within_a_year(
    change: dict[str, object], what: str | None
) -> None:
    asked = {"account": "prog-zaaksysteem", "purpose": "dossiers", "scopes": (Scope.CASES,), "networks": ()}
    wrong = problem_with(**{**asked, "until_at": LATER, "now": NOW, **change})  # type: ignore[arg-type]
    assert (wrong[0] if wrong else None) == what
