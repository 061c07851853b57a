"""What is owed after a use, and who may do what outside the viewing room."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.wire.policy import Act, CaseKind, Copy, PlaceKind
from cloud.rules.duties import (
    CLOSED_ANSWERS,
    DECLARED_WITHIN,
    Official,
    Owed,
    compliance_flags,
    declared_report_due_at,
    judge_report,
    notice_of_report,
    overdue,
    reminder_to,
    report_due_at,
)
from cloud.rules.lifecycles import RECORDING
from cloud.rules.rights import (
    DATA_SUBJECT,
    DEMAND_FIELDS,
    HandOver,
    judge_area,
    judge_back_office,
    judge_decision,
    judge_destruction,
    judge_disclosure,
    judge_hindsight,
    judge_intake,
    judge_place,
    judge_role,
    judge_wearer,
    may_enter_back_office,
    place_is_forbidden,
)
from cloud.rules.seats import Involvement, Person, involvement_of
from tests.rules.rules.towns import changed, heusden, rotterdam

NOW = datetime(2026, 6, 1, 20, tzinfo=UTC)
COORDINATOR = Official(id="co", roles=frozenset({"coordinator"}), absent=False)
MANAGER = Official(id="cm", roles=frozenset({"cluster_manager"}), absent=False)
NO_COPY = '# "Er mag onder geen beding een kopie (beeld, geluid, opname) gemaakt worden."\ncopy = '
WHOLE: dict[str, Any] = {
    "cause": "dreiging",
    "event": "duwen",
    "bystanders_informed": True,
    "how": "mondeling",
    "when": "20:14",
}


def person(name: str, *roles: str, **stands: str) -> Person:
    return Person(id=name, roles=frozenset(roles), substitutes=stands)


@pytest.mark.rule("H-28", "T-30")
def test_a_report_is_due_at_the_end_of_the_shift_and_late_after_it() -> None:
    """Een melding moet er zijn voor het einde van de dienst; daarna staat zij op de lijst en volgt een herinnering."""
    ends = NOW + timedelta(hours=2)
    assert report_due_at(heusden(), activated_at=NOW, shift_ends_at=ends) == ends
    assert report_due_at(heusden(), activated_at=NOW, shift_ends_at=None) == NOW
    owed = Owed(official="boa", recording="r", due_at=ends)
    assert overdue((owed,), ends) == ()
    assert overdue((owed,), ends + timedelta(seconds=1)) == (owed,)
    assert reminder_to(heusden(), owed, (COORDINATOR, MANAGER)) == ("boa", "co")


@pytest.mark.rule("H-29")
def test_a_report_goes_to_the_coordinator_and_when_he_is_away_to_the_cluster_manager() -> None:
    """Naar de coördinator, en bij afwezigheid naar de clustermanager."""
    notice = notice_of_report(heusden(), reporter="boa", officials=(COORDINATOR, MANAGER))
    assert notice is not None
    assert notice.to == ("co",)
    away = Official(id="co", roles=frozenset({"coordinator"}), absent=True)
    notice = notice_of_report(heusden(), reporter="boa", officials=(away, MANAGER))
    assert notice is not None
    assert (notice.to, notice.role) == (("cm",), "cluster_manager")
    assert notice_of_report(heusden(), reporter="boa", officials=()) is None


@pytest.mark.rule("T-31", "E-03", "H-29")
def test_a_report_of_the_coordinator_goes_to_the_cluster_manager() -> None:
    """Meldt de coördinator zelf, dan gaat het naar de clustermanager."""
    notice = notice_of_report(heusden(), reporter="co", officials=(COORDINATOR, MANAGER))
    assert notice is not None
    assert notice.to == ("cm",)


@pytest.mark.rule("T-32", "H-30")
@pytest.mark.parametrize("missing", sorted(WHOLE))
def test_a_report_without_one_of_its_fields_is_refused(missing: str) -> None:
    """Zonder aanleiding, gebeurtenis of hoe en wanneer omstanders zijn ingelicht: geweigerd."""
    assert judge_report(heusden(), WHOLE)
    assert not judge_report(heusden(), {name: answer for name, answer in WHOLE.items() if name != missing})
    if isinstance(WHOLE[missing], str):
        assert not judge_report(heusden(), {**WHOLE, missing: "  "})


@pytest.mark.rule("H-30")
def test_bystanders_who_were_not_informed_need_no_how_and_when() -> None:
    """'Niet ingelicht' is ook een antwoord."""
    answers = {"cause": "x", "event": "y", "bystanders_informed": False}
    assert judge_report(heusden(), answers)
    without_event = judge_report(heusden(), {"cause": "x", "bystanders_informed": False})
    assert not without_event
    assert without_event.because == "the report does not say: what happened"
    assert without_event.waarom == "in de melding ontbreekt: de gebeurtenis"
    asks_how_only = changed("heusden", ('"bystanders_informed", "how"', '"how"'))
    assert not judge_report(asks_how_only, answers), "how and when are asked of everybody there"


@pytest.mark.rule("R-03", "H-22", "H-23", "C-06")
@pytest.mark.parametrize(
    ("warning", "in_heusden", "in_rotterdam"),
    [(True, False, False), (False, True, True), ("not_possible", False, True)],
)
def test_no_warning_is_flagged_and_an_excuse_counts_in_heusden_only(
    warning: object, in_heusden: bool, in_rotterdam: bool
) -> None:
    """Geen waarschuwing valt op; 'kon niet' telt alleen in Heusden als uitzondering."""
    answers = {**WHOLE, "warning_given": warning}
    assert ("no_warning" in compliance_flags(heusden(), answers)) is in_heusden
    assert ("no_warning" in compliance_flags(rotterdam(), answers)) is in_rotterdam


@pytest.mark.rule("R-17", "R-01", "H-72", "H-13")
def test_what_a_report_tells_that_differs_is_flagged_not_blocked() -> None:
    """Een andere reden, een andere plaats of geen informatie achteraf: gemeld, nooit tegengehouden."""
    odd = {**WHOLE, "reason": "own_safety", "place_kind": "dwelling", "information_given": False}
    assert set(compliance_flags(rotterdam(), odd)) == {"reason_not_listed", "place_not_listed"}
    assert compliance_flags(heusden(), odd) == ("not_informed_after",)
    excused = {**odd, "information_why_not": "de situatie liet het niet toe"}
    assert compliance_flags(heusden(), excused) == ()
    assert judge_report(heusden(), odd)


OFFICE = {
    "coordinator": person("co", "coordinator"),
    "cluster_manager": person("cm", "cluster_manager"),
    "privacy_officer": person("po", "privacy_officer"),
    "municipal_secretary": person("gs", "municipal_secretary"),
    "safety_coordinator": person("vc", "safety_coordinator"),
    "officer": person("boa", "officer"),
    "app_admin": person("fb", "app_admin"),
}


@pytest.mark.rule("T-22", "H-33", "H-34", "R-06")
@pytest.mark.parametrize("role", sorted(OFFICE))
def test_the_back_office_is_divided_as_the_protocol_says(role: str) -> None:
    """De coördinator alleen camera's; clustermanager en privacy officer alleen beelden; de rest niets."""
    may = {act for act in Act if judge_back_office(heusden(), OFFICE[role], act)}
    expected = {
        "coordinator": {Act.DEVICE_ADD, Act.DEVICE_REMOVE},
        "cluster_manager": {Act.ARCHIVE, Act.TRANSFER, Act.DESTROY},
        "privacy_officer": {Act.ARCHIVE, Act.TRANSFER, Act.DESTROY},
    }
    assert may == expected.get(role, set())


@pytest.mark.rule("H-32")
def test_only_three_roles_and_the_administrator_enter_the_back_office() -> None:
    """Gemeentesecretaris en veiligheidscoördinator komen niet in de back office."""
    inside = {role for role, each in OFFICE.items() if may_enter_back_office(heusden(), each)}
    assert inside == {"coordinator", "cluster_manager", "privacy_officer", "app_admin"}


@pytest.mark.rule("C-18", "T-06", "H-34", "E-36")
def test_nobody_destroys_under_a_hold_and_it_takes_two() -> None:
    """Onder bewaarplicht vernietigt niemand; zonder vraagt het twee verschillende mensen."""
    po, cm = OFFICE["privacy_officer"], OFFICE["cluster_manager"]

    def ask(who: Person, **facts: Any) -> bool:
        plain = {"state": "retained", "open_holds": 0, "expired": False, "proposed_by": None}
        return judge_destruction(heusden(), who, **{**plain, **facts}).allowed

    assert ask(po)
    assert not ask(po, open_holds=1)
    assert not ask(po, proposed_by="po")
    assert ask(cm, proposed_by="po")
    assert not ask(cm, state="destroyed", proposed_by="po")
    assert not ask(OFFICE["coordinator"])
    verdict = judge_destruction(
        rotterdam(), person("v", "authorised_viewer"), state="retained", open_holds=0, expired=True, proposed_by=None
    )
    assert not verdict


@pytest.mark.rule("R-09", "C-02")
def test_destroying_before_the_day_is_a_towns_choice() -> None:
    """Eerder vernietigen mag alleen waar het beleid dat toestaat."""
    strict = changed("heusden", ("early_allowed = true", "early_allowed = false"))
    po = OFFICE["privacy_officer"]
    early = judge_destruction(strict, po, state="retained", open_holds=0, expired=False, proposed_by=None)
    late = judge_destruction(strict, po, state="due", open_holds=0, expired=True, proposed_by=None)
    assert (early.allowed, late.allowed) == (False, True)


DEMAND = dict.fromkeys(DEMAND_FIELDS, "x")


def hand_over(kind: CaseKind, recipient: str = "om", *, case_open: bool = True, **facts: str) -> HandOver:
    return HandOver(
        case_kind=kind, case_open=case_open, basis=kind, recipient=recipient, demand_facts={**DEMAND, **facts}
    )


@pytest.mark.rule("T-23", "H-50", "H-51", "E-01", "E-29")
def test_the_privacy_officer_hands_over_and_the_cluster_manager_only_as_a_substitute() -> None:
    """De privacy officer verstrekt; de clustermanager alleen met een lopende vervanging."""
    demand = hand_over(CaseKind.OM_DEMAND)
    assert judge_disclosure(heusden(), OFFICE["privacy_officer"], demand)
    refused = judge_disclosure(heusden(), OFFICE["cluster_manager"], demand)
    assert not refused
    assert "gemeentesecretaris" in refused.waarom, "says who may appoint"
    stands = judge_disclosure(heusden(), person("cm", "cluster_manager", privacy_officer="po"), demand)
    assert stands
    assert "substitute" in stands.because


@pytest.mark.rule("H-11", "H-50", "E-29", "R-19", "L-08")
def test_footage_goes_to_police_and_prosecution_on_a_basis_only() -> None:
    """Alleen aan politie en OM, alleen met een grondslag, alleen in een open dossier, met een volledige vordering."""
    po = OFFICE["privacy_officer"]
    assert not judge_disclosure(heusden(), po, hand_over(CaseKind.OM_DEMAND, "press"))
    assert not judge_disclosure(heusden(), po, hand_over(CaseKind.COMPLAINT))
    assert not judge_disclosure(heusden(), po, hand_over(CaseKind.OM_DEMAND, case_open=False))
    assert not judge_disclosure(heusden(), po, hand_over(CaseKind.OM_DEMAND, article=" "))
    viewer = person("v", "authorised_viewer")
    assert not judge_disclosure(rotterdam(), viewer, hand_over(CaseKind.OM_REQUEST))
    assert judge_disclosure(rotterdam(), viewer, hand_over(CaseKind.OM_DEMAND))


@pytest.mark.rule("T-20")
def test_who_asked_for_access_takes_a_copy_home_only_where_the_town_gives_one() -> None:
    """Heusden en Rotterdam geven geen kopie; elders alleen na een toegewezen inzageverzoek in een open dossier."""
    po = OFFICE["privacy_officer"]
    gives = changed("heusden", (f'{NO_COPY}"no_copy"', f'{NO_COPY}"redacted_copy"'))
    assert gives.purposes["access_request"].copy is Copy.REDACTED_COPY

    def copy(
        kind: CaseKind = CaseKind.ACCESS_REQUEST, *, case_open: bool = True, decision: str = "granted"
    ) -> HandOver:
        return hand_over(kind, DATA_SUBJECT, case_open=case_open, decision=decision)

    for town in (heusden(), rotterdam()):
        refused = judge_disclosure(town, po, copy())
        assert not refused
        assert "geen kopie" in refused.waarom
    assert judge_disclosure(gives, po, copy())
    assert judge_disclosure(gives, po, copy(decision="partly"))
    assert not judge_disclosure(gives, po, copy(decision="refused"))
    assert not judge_disclosure(gives, po, copy(decision=""))
    assert not judge_disclosure(gives, po, copy(case_open=False))
    assert not judge_disclosure(gives, OFFICE["coordinator"], copy())
    for other in set(CaseKind) - {CaseKind.ACCESS_REQUEST}:
        assert not judge_disclosure(gives, po, copy(other)), other
    borrowed = HandOver(
        case_kind=CaseKind.ACCESS_REQUEST,
        case_open=True,
        basis=CaseKind.OM_DEMAND,
        recipient=DATA_SUBJECT,
        demand_facts={"decision": "granted"},
    )
    assert not judge_disclosure(gives, po, borrowed)
    assert not judge_disclosure(gives, po, hand_over(CaseKind.ACCESS_REQUEST, "police", decision="granted"))


@pytest.mark.rule("T-19", "T-17", "H-58", "H-06")
def test_a_learning_request_is_made_by_the_officer_himself() -> None:
    """Een leerverzoek komt van de medewerker zelf, over eigen beelden."""
    officer, manager = OFFICE["officer"], OFFICE["cluster_manager"]
    own, others = Involvement(recorder="boa"), Involvement(recorder="x")

    def ask(who: Person, learner: str, *involvements: Involvement) -> bool:
        return judge_intake(heusden(), who, kind=CaseKind.LEARNING, learner=learner, involvements=involvements).allowed

    assert ask(officer, "boa", own)
    assert ask(officer, "boa", Involvement(recorder="x", present=frozenset({"boa"})))
    assert not ask(manager, "boa", own)
    assert not ask(officer, "boa", own, others)
    assert not ask(officer, "boa")
    assert not judge_intake(rotterdam(), officer, kind=CaseKind.LEARNING, learner="boa", involvements=(own,))


@pytest.mark.rule("H-65", "H-58", "H-62", "T-18", "R-19", "R-20", "R-21")
def test_cases_are_registered_and_decided_by_whom_the_policy_names() -> None:
    """Inzage: de privacy officer; leren: de coördinator, tenzij hij erbij was."""
    po, co, cm = OFFICE["privacy_officer"], OFFICE["coordinator"], OFFICE["cluster_manager"]
    for kind in (CaseKind.ACCESS_REQUEST, CaseKind.COMPLAINT, CaseKind.OM_DEMAND):
        assert judge_intake(heusden(), po, kind=kind)
        assert not judge_intake(heusden(), co, kind=kind)
        assert judge_intake(rotterdam(), person("v", "authorised_viewer"), kind=kind)
    nobody = Involvement()
    assert judge_decision(heusden(), po, kind=CaseKind.ACCESS_REQUEST, involvement=nobody)
    assert not judge_decision(heusden(), cm, kind=CaseKind.ACCESS_REQUEST, involvement=nobody)
    there = involvement_of(recorder="boa", present=("co",), people=(co, cm))
    assert judge_decision(heusden(), co, kind=CaseKind.LEARNING, involvement=nobody)
    assert not judge_decision(heusden(), co, kind=CaseKind.LEARNING, involvement=there)
    assert judge_decision(heusden(), cm, kind=CaseKind.LEARNING, involvement=there)
    assert not judge_decision(heusden(), cm, kind=CaseKind.LEARNING, involvement=nobody)


@pytest.mark.rule("T-21", "H-63")
def test_viewing_happens_in_a_registered_place_where_nobody_else_watches() -> None:
    """Alleen op een geregistreerde plek, en niemand kijkt mee."""
    here = heusden().viewing.places[0]
    assert judge_place(heusden(), here, no_third_parties=True)
    assert not judge_place(heusden(), here, no_third_parties=False)
    assert not judge_place(heusden(), "thuis", no_third_parties=True)
    assert not judge_place(heusden(), None, no_third_parties=True)
    assert judge_place(rotterdam(), None, no_third_parties=True)


@pytest.mark.rule("R-25")
def test_an_area_starts_on_its_day() -> None:
    """Noord en Centrum beginnen een half jaar na het begin."""
    start = datetime(2026, 1, 15, 12, tzinfo=UTC)
    assert judge_area(rotterdam(), "Zuid", start=start, now=start)
    assert not judge_area(rotterdam(), "Noord", start=start, now=datetime(2026, 7, 14, 12, tzinfo=UTC))
    assert judge_area(rotterdam(), "Noord", start=start, now=datetime(2026, 7, 15, 12, tzinfo=UTC))


@pytest.mark.rule("H-02", "C-08", "P-30")
def test_a_wearer_has_the_function_and_works_for_the_cluster() -> None:
    """Boa's en toezichthouders, in of voor het cluster; in Rotterdam alleen boa's."""
    cluster = heusden().wearers.cluster

    def may(**facts: Any) -> bool:
        plain = {"function": "boa", "department": cluster, "hired": False, "trained": False}
        return judge_wearer(heusden(), **{**plain, **facts}).allowed

    assert may()
    assert may(function="toezichthouder")
    assert may(hired=True)
    assert not may(function=None)
    assert not may(department="Burgerzaken")
    trained_first = changed("heusden", ("training_required = false", "training_required = true"))
    assert not judge_wearer(trained_first, function="boa", department=cluster, hired=False, trained=False)
    over_there = rotterdam().wearers.cluster
    assert not judge_wearer(rotterdam(), function="toezichthouder", department=over_there, hired=False, trained=True)
    assert not judge_wearer(rotterdam(), function="boa", department=over_there, hired=True, trained=True)


def test_a_forbidden_place_has_exceptions() -> None:
    """Nood of heterdaad gaat voor."""
    strict = changed(
        "heusden",
        (
            'allowed = ["public_space", "publicly_accessible", "private_property", "dwelling"]',
            'allowed = ["public_space"]',
        ),
        ("forbidden = []", 'forbidden = ["dwelling"]'),
    )
    assert place_is_forbidden(strict, PlaceKind.DWELLING, exception=False)
    assert not place_is_forbidden(strict, PlaceKind.DWELLING, exception=True)


@pytest.mark.rule("E-48", "H-32")
def test_whoever_left_has_no_right_of_any_kind_whatever_roles_are_still_written_down() -> None:
    """Uit dienst is uit dienst: geen enkele regel kijkt dan nog naar de functie."""
    policy = heusden()
    roles = frozenset({*policy.roles, "app_admin"})
    here, left = Person(id="a", roles=roles), Person(id="a", roles=roles, employed=False)
    mine = (Involvement(recorder="a"),)
    demand = dict.fromkeys(DEMAND_FIELDS, "x")
    give = HandOver(
        case_kind=CaseKind.OM_DEMAND, case_open=True, basis=CaseKind.OM_DEMAND, recipient="police", demand_facts=demand
    )
    for person_, may in ((here, True), (left, False)):
        assert bool(judge_back_office(policy, person_, Act.DEVICE_ADD)) is may
        assert bool(may_enter_back_office(policy, person_)) is may
        assert bool(judge_role(policy, person_, policy.casework.register, "x", "x")) is may
        assert bool(judge_intake(policy, person_, kind=CaseKind.COMPLAINT)) is may
        assert bool(judge_intake(policy, person_, kind=CaseKind.LEARNING, learner="a", involvements=mine)) is may
        assert bool(judge_disclosure(policy, person_, give)) is may
        assert bool(judge_decision(policy, person_, kind=CaseKind.ACCESS_REQUEST, involvement=Involvement())) is may
        assert bool(judge_hindsight(policy, person_, Involvement())) is may
    assert not judge_hindsight(policy, Person(id="a", roles=frozenset(), employed=False), mine[0])


@pytest.mark.rule("T-19", "H-06", "H-60", "T-17")
def test_a_learning_request_is_the_officers_own_and_about_each_recording_by_itself() -> None:
    """Alleen de medewerker zelf, en elke opname moet van hem zijn of hem tonen; een ander erbij is er een te veel."""
    policy, officer = heusden(), person("a", "officer")

    def ask(*involvements: Involvement, learner: str | None = "a") -> bool:
        return bool(
            judge_intake(policy, officer, kind=CaseKind.LEARNING, learner=learner, involvements=tuple(involvements))
        )

    made, there, strange = (
        Involvement(recorder="a"),
        Involvement(recorder="b", present=frozenset({"a"})),
        Involvement(recorder="b", present=frozenset({"c"})),
    )
    assert ask(made)
    assert ask(there)
    assert ask(made, there)
    assert not ask(made, strange)
    assert not ask(strange)
    assert not ask()
    assert not ask(made, learner="b")
    assert not ask(made, learner=None)


@pytest.mark.rule("E-49", "H-46")
def test_who_is_on_footage_or_watches_over_the_rules_may_ask_who_viewed_it_and_nobody_else() -> None:
    """Wie erbij was, de privacy officer, de FG en de auditor; de coördinator en de beheerder niet."""
    there = Involvement(recorder="boa1", present=frozenset({"boa2"}))
    for name in ("boa1", "boa2"):
        assert judge_hindsight(heusden(), person(name), there)
    assert not judge_hindsight(heusden(), person("boa3"), there)
    may = {role for role in heusden().roles if judge_hindsight(heusden(), person("x", role), there)}
    assert may == {"privacy_officer", "dpo", "auditor"} & set(heusden().roles)


@pytest.mark.rule("E-36", "C-18", "R-18")
def test_destruction_by_hand_follows_the_table_and_takes_as_many_as_the_policy_says() -> None:
    """Alleen wat er is, kan vernietigd worden; met één mens waar het beleid er één vraagt, anders met twee."""
    alone = changed("heusden", ("zou één genoeg zijn.\nquorum = 2", "is één genoeg.\nquorum = 1"))
    po = person("po", "privacy_officer")

    def ask(policy: Any, state: str, *, proposed_by: str | None = None) -> tuple[bool, str]:
        verdict = judge_destruction(policy, po, state=state, open_holds=0, expired=True, proposed_by=proposed_by)
        return verdict.allowed, verdict.because

    assert ask(heusden(), "retained") == (True, "may propose; a second person confirms")
    assert ask(heusden(), "retained", proposed_by="cm") == (True, "may destroy")
    assert ask(alone, "retained") == (True, "may destroy")
    for state in RECORDING.states:
        possible = (state, "destroy") in RECORDING.moves or state == "held"  # held by nothing any more: it is due
        assert ask(heusden(), state)[0] is possible, state


@pytest.mark.rule("R-18", "T-25")
def test_a_case_that_neither_opens_nor_holds_footage_is_no_case_of_this_town() -> None:
    """Een soort die het beleid nergens noemt, bestaat hier niet; een soort die alleen vasthoudt wel."""
    chief = person("x", *rotterdam().casework.register)
    known = {kind for kind in CaseKind if judge_intake(rotterdam(), chief, kind=kind)}
    named = {kind for purpose in rotterdam().purposes.values() for kind in purpose.case_kinds}
    assert known == named | set(rotterdam().hold.reasons)
    assert CaseKind.OTHER_LEGAL in known - named


@pytest.mark.rule("H-28", "C-14")
def test_where_no_report_is_asked_none_is_due() -> None:
    """Vraagt een gemeente geen melding, dan is er ook geen te laat."""
    none = changed(
        "heusden", ('required = true\ndeadline = "end_of_shift"', 'required = false\ndeadline = "end_of_shift"')
    )
    assert report_due_at(none, activated_at=NOW, shift_ends_at=NOW) is None
    assert declared_report_due_at(none, declared_at=NOW, shift_ends_at=NOW) is None
    assert declared_report_due_at(heusden(), declared_at=NOW, shift_ends_at=None) == NOW + DECLARED_WITHIN
    later = NOW + timedelta(hours=2)
    assert declared_report_due_at(heusden(), declared_at=NOW, shift_ends_at=later) == later


@pytest.mark.rule("H-29", "E-03", "T-31")
def test_a_notice_says_in_which_role_it_was_got_and_why() -> None:
    """De coördinator eerst; is hij er niet of meldt hij zelf, dan de clustermanager, en dat staat erbij."""
    first = notice_of_report(heusden(), reporter="boa", officials=(COORDINATOR, MANAGER))
    assert first is not None
    assert (first.to, first.role, first.because) == (("co",), "coordinator", "the first role to be told")
    assert first.waarom == "de eerste functie die het hoort"
    other = notice_of_report(heusden(), reporter="co", officials=(COORDINATOR, MANAGER))
    assert other is not None
    assert (other.to, other.role) == (("cm",), "cluster_manager")
    assert other.because == "the first role is absent or reports himself"
    assert notice_of_report(heusden(), reporter="co", officials=(COORDINATOR,)) is None
    late = Owed(official="co", recording="r", due_at=NOW)
    assert reminder_to(heusden(), late, (COORDINATOR,)) == ("co",)


@pytest.mark.rule("R-02", "H-30", "R-01")
@pytest.mark.parametrize("name", sorted(CLOSED_ANSWERS))
def test_an_answer_from_a_list_is_one_of_the_list_or_is_not_given(name: str) -> None:
    """Uit een lijst kiezen of niets: zo kan het geteld worden en noemt het nooit iemand."""
    assert judge_report(heusden(), WHOLE)
    for word in CLOSED_ANSWERS[name]:
        assert judge_report(heusden(), {**WHOLE, name: word})
    assert judge_report(heusden(), {**WHOLE, name: None})
    assert not judge_report(heusden(), {**WHOLE, name: "Jan Jansen"})


@pytest.mark.rule("R-17", "H-13", "H-72", "E-44")
def test_a_report_is_flagged_for_each_thing_that_differs_and_for_nothing_else() -> None:
    """Reden, plaats, waarschuwing en informatie achteraf: elk zijn eigen vlag; niets gezegd is geen vlag."""
    assert compliance_flags(heusden(), {}) == ()
    assert compliance_flags(heusden(), WHOLE) == ()
    assert compliance_flags(heusden(), {"reason": "escalation"}) == ("reason_not_listed",)
    assert compliance_flags(rotterdam(), {"place_kind": "dwelling"}) == ("place_not_listed",)
    home = changed("heusden", ('"dwelling"]', "]"), ("forbidden = []", 'forbidden = ["dwelling"]'))
    assert compliance_flags(home, {"place_kind": "dwelling"}) == ("forbidden_place",)
    assert compliance_flags(heusden(), {"information_given": False}) == ("not_informed_after",)
    assert compliance_flags(heusden(), {"information_given": False, "information_why_not": " "}) == (
        "not_informed_after",
    )
    assert compliance_flags(heusden(), {"information_given": False, "information_why_not": "gevlucht"}) == ()
    assert compliance_flags(heusden(), {"information_given": True}) == ()
    strict = changed(
        "heusden", ("required = true\nexception_allowed = true", "required = true\nexception_allowed = false")
    )
    no_excuse = {"information_given": False, "information_why_not": "gevlucht"}
    assert compliance_flags(strict, no_excuse) == ("not_informed_after",)
    assert compliance_flags(rotterdam(), {"warning_given": "not_possible"}) == ("no_warning",)
    assert compliance_flags(heusden(), {"warning_given": "not_possible"}) == ()
