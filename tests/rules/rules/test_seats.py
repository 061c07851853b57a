"""Who may sit down together: the whole matrix, and what breaks it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from broker.wire.policy import REQUESTING_OFFICER, CaseKind, Policy
from cloud.rules.seats import (
    Involvement,
    Person,
    ProposedSubstitution,
    involvement_of,
    judge_pair,
    judge_pool,
    judge_substitution,
    seating,
)
from cloud.rules.verdicts import Verdict
from tests.rules.rules.towns import changed, heusden, rotterdam

NOBODY = Involvement()
DEPARTMENT = "Juridische Zaken"


def someone(name: str, *roles: str, **substitutes: str) -> Person:
    return Person(id=name, roles=frozenset(roles), substitutes=substitutes, department=DEPARTMENT)


def judge(
    purpose: str,
    kind: str,
    first: Person,
    second: Person | None,
    involvement: Involvement = NOBODY,
    *,
    policy: Policy | None = None,
    learner: str | None = None,
    case_open: bool = True,
) -> Verdict:
    return judge_pair(
        policy=policy or heusden(),
        purpose=purpose,
        case_kind=kind,
        case_open=case_open,
        requester=first,
        second=second,
        involvement=involvement,
        learner=learner,
    )


def matrix() -> dict[str, set[tuple[str, str, frozenset[str], int]]]:
    towns: dict[str, set[tuple[str, str, frozenset[str], int]]] = {}
    town = ""
    for line in (Path(__file__).parent / "seats_matrix.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("gemeente "):
            town = line.split()[1]
            towns[town] = set()
        elif "|" in line and not line.startswith("#"):
            purpose, kind, seats = (part.strip() for part in line.split("|"))
            roles = [role.strip() for role in seats.split("+")]
            towns[town].add((purpose, kind, frozenset(roles), len(roles)))
    return towns


def every_try(policy: Policy) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    roles = [*policy.roles, REQUESTING_OFFICER]
    pairs = [*((role,) for role in roles), *itertools.product(roles, repeat=2)]
    yield from itertools.product(policy.purposes, [kind.value for kind in CaseKind], pairs)


@pytest.mark.rule("H-43", "H-44", "H-45", "H-47", "H-49", "H-53", "H-56", "H-61", "R-16", "R-18", "T-42")
@pytest.mark.parametrize("town", ["heusden", "rotterdam"])
def test_exactly_the_pairs_of_the_matrix_may_sit(town: str) -> None:
    """Elk paar van rollen bij elke reden en elk soort dossier: alleen wat in de tabel staat, mag."""
    policy = {"heusden": heusden, "rotterdam": rotterdam}[town]()
    allowed, tried = matrix()[town], 0
    for purpose, kind, roles in every_try(policy):
        people = [
            someone(f"p{at}") if role == REQUESTING_OFFICER else someone(f"p{at}", role)
            for at, role in enumerate(roles)
        ]
        learners = [person.id for person, role in zip(people, roles, strict=True) if role == REQUESTING_OFFICER]
        learner = learners[0] if learners else None
        verdict = judge(
            purpose,
            kind,
            people[0],
            people[1] if len(people) > 1 else None,
            Involvement(recorder=learner),
            policy=policy,
            learner=learner,
        )
        asks_himself = learner is None or roles[0] == REQUESTING_OFFICER
        expected = asks_himself and (purpose, kind, frozenset(roles), len(roles)) in allowed
        assert verdict.allowed == expected, (purpose, kind, roles, verdict)
        tried += 1
    assert tried > 1000


@pytest.mark.rule("T-13", "H-53")
def test_a_complaint_is_viewed_by_cluster_manager_and_secretary_only() -> None:
    """Klacht: privacy officer met clustermanager mag niet, clustermanager met gemeentesecretaris wel."""
    po, cm = someone("po", "privacy_officer"), someone("cm", "cluster_manager")
    secretary = someone("gs", "municipal_secretary")
    assert not judge("complaint", "complaint", po, cm)
    assert judge("complaint", "complaint", cm, secretary)


@pytest.mark.rule("T-14", "H-44")
def test_the_secretary_does_not_see_a_criminal_case() -> None:
    """De gemeentesecretaris kijkt niet bij een strafzaak."""
    po, secretary = someone("po", "privacy_officer"), someone("gs", "municipal_secretary")
    assert not judge("criminal_demand", "om_demand", po, secretary)
    assert not judge("criminal_aangifte", "aangifte", po, secretary)


@pytest.mark.rule("T-15", "H-45")
def test_the_safety_coordinator_sees_an_aangifte_but_no_demand() -> None:
    """De veiligheidscoördinator kijkt bij aangifte, niet bij een vordering."""
    po, safety = someone("po", "privacy_officer"), someone("vc", "safety_coordinator")
    assert not judge("criminal_demand", "om_demand", po, safety)
    assert judge("criminal_aangifte", "aangifte", po, safety)


@pytest.mark.rule("T-16", "H-56")
def test_access_is_never_given_without_the_privacy_officer_or_his_substitute() -> None:
    """Inzage zonder privacy officer of diens vervanger kan niet."""
    cm, secretary = someone("cm", "cluster_manager"), someone("gs", "municipal_secretary")
    verdict = judge("access_request", "access_request", cm, secretary)
    assert not verdict
    assert "privacy officer" in verdict.because
    stand_in = someone("jz", privacy_officer="po")
    assert judge("access_request", "access_request", stand_in, secretary)


@pytest.mark.rule("T-17", "H-60")
def test_an_officer_learns_from_own_footage_only() -> None:
    """Leren kan alleen met beelden die je maakte of waar je op staat."""
    officer, coordinator = someone("boa", "officer"), someone("co", "coordinator")
    strangers = Involvement(recorder="other")
    assert not judge("learning", "learning", officer, coordinator, strangers, learner="boa")
    assert judge("learning", "learning", officer, coordinator, Involvement(recorder="boa"), learner="boa")
    present = Involvement(recorder="other", present=frozenset({"boa"}))
    assert judge("learning", "learning", officer, coordinator, present, learner="boa")


@pytest.mark.rule("T-18", "H-62", "E-03", "E-04")
def test_a_coordinator_who_was_there_gives_way_to_the_cluster_manager() -> None:
    """Was de coördinator erbij, dan neemt de clustermanager zijn plaats in, en anders niet."""
    officer, coordinator = someone("boa", "officer"), someone("co", "coordinator")
    manager = someone("cm", "cluster_manager")
    everyone = (officer, coordinator, manager)
    not_there = involvement_of(recorder="boa", present=(), people=everyone)
    there = involvement_of(recorder="boa", present=("co",), people=everyone)
    assert judge("learning", "learning", officer, coordinator, not_there, learner="boa")
    assert not judge("learning", "learning", officer, manager, not_there, learner="boa")
    assert not judge("learning", "learning", officer, coordinator, there, learner="boa")
    assert judge("learning", "learning", officer, manager, there, learner="boa")


@pytest.mark.rule("E-03", "H-62")
def test_a_coordinator_learns_from_his_own_footage_with_the_cluster_manager() -> None:
    """Filmde de coördinator zelf, dan kijkt hij met de clustermanager terug."""
    coordinator, manager = someone("co", "coordinator", "officer"), someone("cm", "cluster_manager")
    own = involvement_of(recorder="co", present=(), people=(coordinator, manager))
    assert judge("learning", "learning", coordinator, manager, own, learner="co")


@pytest.mark.rule("E-04a")
def test_the_cluster_managers_substitute_is_refused_when_he_is_the_involved_coordinator() -> None:
    """De vervanger van de clustermanager die zelf de betrokken coördinator is, mag niet."""
    officer = someone("boa", "officer")
    coordinator = someone("co", "coordinator", cluster_manager="cm")
    there = involvement_of(recorder="boa", present=("co",), people=(officer, coordinator))
    assert not judge("learning", "learning", officer, coordinator, there, learner="boa")
    other = someone("jz", cluster_manager="cm")
    assert judge("learning", "learning", officer, other, there, learner="boa")


@pytest.mark.rule("E-04b", "E-25", "E-04")
@pytest.mark.parametrize("purpose", ["complaint", "criminal_aangifte", "access_request"])
def test_nobody_who_was_there_sits(purpose: str) -> None:
    """Wie erbij was, kijkt voor geen enkele reden mee; de reden van weigering noemt dat."""
    cm, secretary = someone("cm", "cluster_manager"), someone("gs", "municipal_secretary")
    po = someone("po", "privacy_officer")
    pair = (cm, secretary) if purpose == "complaint" else (po, cm)
    kind = {"complaint": "complaint", "criminal_aangifte": "aangifte", "access_request": "access_request"}[purpose]
    assert judge(purpose, kind, *pair)
    verdict = judge(purpose, kind, *pair, Involvement(present=frozenset({"cm"})))
    assert not verdict
    assert "was there" in verdict.because


@pytest.mark.rule("E-25")
def test_a_missing_seat_is_named() -> None:
    """Er is geen stille impasse: de ontbrekende plaats staat in het antwoord."""
    secretary, po = someone("gs", "municipal_secretary"), someone("po", "privacy_officer")
    verdict = judge("complaint", "complaint", secretary, po)
    assert "cluster manager of Safety and Enforcement" in verdict.because
    assert "clustermanager Veiligheid en Handhaving" in verdict.waarom
    stand_in = someone("jz", cluster_manager="cm")
    assert judge("complaint", "complaint", secretary, stand_in)


@pytest.mark.rule("T-12", "E-04c", "H-47")
def test_one_person_with_two_roles_is_one_person() -> None:
    """Eén mens met twee rollen vult nooit twee plaatsen, ook niet met twee accounts van zichzelf."""
    both = someone("x", "coordinator", privacy_officer="po")
    assert not judge("access_request", "access_request", both, both)
    assert not judge("access_request", "access_request", both, None)
    assert seating(policy=heusden(), purpose="access_request", people=(both,), involvement=NOBODY) is None


@pytest.mark.rule("H-48")
def test_a_substitute_does_not_sit_beside_the_one_he_replaces() -> None:
    """Wie vervangt, zit niet naast wie hij vervangt: die is er immers."""
    po = someone("po", "privacy_officer")
    stand_in = someone("jz", privacy_officer="po")
    assert not judge("criminal_aangifte", "aangifte", po, stand_in)


@pytest.mark.rule("H-48", "E-02")
def test_seats_tell_who_sits_for_whom() -> None:
    """Elke plaats zegt in welke rol iemand zit en voor wie."""
    stand_in, cm = someone("jz", privacy_officer="po"), someone("cm", "cluster_manager")
    seats = seating(policy=heusden(), purpose="criminal_demand", people=(cm, stand_in), involvement=NOBODY)
    assert seats is not None
    taken = {seat.person: (seat.role, seat.substitute_of) for seat in seats}
    assert taken == {"jz": ("privacy_officer", "po"), "cm": ("cluster_manager", None)}


@pytest.mark.rule("H-06", "T-19")
def test_a_manager_cannot_start_learning_for_an_officer() -> None:
    """Alleen de medewerker zelf begint met leren."""
    officer, coordinator = someone("boa", "officer"), someone("co", "coordinator")
    own = Involvement(recorder="boa")
    assert not judge("learning", "learning", coordinator, officer, own, learner="boa")
    assert not judge("learning", "learning", officer, coordinator, own, learner=None)


@pytest.mark.rule("H-09", "R-18", "R-20", "T-25")
def test_without_an_open_case_of_the_right_kind_nobody_views() -> None:
    """Geen doel, geen open dossier of het verkeerde dossier: niemand kijkt."""
    cm, secretary = someone("cm", "cluster_manager"), someone("gs", "municipal_secretary")
    assert not judge("complaint", "complaint", cm, secretary, case_open=False)
    assert not judge("complaint", "aangifte", cm, secretary)
    assert not judge("curiosity", "complaint", cm, secretary)
    viewer = someone("v1", "authorised_viewer")
    assert not judge("learning", "learning", viewer, None, policy=rotterdam())
    assert "no purpose" in judge("learning", "learning", viewer, None, policy=rotterdam()).because


@pytest.mark.rule("R-16")
def test_viewers_of_rotterdam_come_from_another_department() -> None:
    """De kijkers van Rotterdam werken niet bij de dienst die de camera's draagt."""
    inside = Person(id="v1", roles=frozenset({"authorised_viewer"}), department=rotterdam().wearers.cluster)
    assert not judge("complaint", "complaint", inside, None, policy=rotterdam())
    assert judge("complaint", "complaint", someone("v1", "authorised_viewer"), None, policy=rotterdam())


@pytest.mark.rule("R-16", "T-24")
def test_a_third_viewer_is_refused_until_one_is_withdrawn() -> None:
    """Een derde geautoriseerde persoon kan pas als er een is ingetrokken."""
    assert not judge_pool(rotterdam(), role="authorised_viewer", holders=2)
    assert judge_pool(rotterdam(), role="authorised_viewer", holders=1)
    assert judge_pool(heusden(), role="privacy_officer", holders=9)


@pytest.mark.rule("E-48")
def test_who_left_takes_no_seat() -> None:
    """Wie uit dienst is, kijkt dezelfde dag niet meer."""
    gone = Person(id="po", roles=frozenset({"privacy_officer"}), employed=False)
    assert not judge("criminal_demand", "om_demand", gone, someone("cm", "cluster_manager"))


def proposed(by: Person, **facts: object) -> ProposedSubstitution:
    plain: dict[str, object] = {
        "role": "privacy_officer",
        "replaced": "po",
        "substitute": "jz",
        "appointed_by": by,
        "starts_in_past": False,
        "days": 14.0,
        "substitute_is_employed": True,
        "replaced_holds_role": True,
    }
    return ProposedSubstitution(**{**plain, **facts})  # type: ignore[arg-type]


SECRETARY = someone("gs", "municipal_secretary")


@pytest.mark.rule("H-48", "E-02")
@pytest.mark.parametrize(
    ("facts", "allowed"),
    [
        ({}, True),
        ({"appointed_by": someone("boa", "officer")}, False),
        ({"substitute": "gs"}, False),
        ({"replaced": "jz"}, False),
        ({"replaced_holds_role": False}, False),
        ({"substitute_is_employed": False}, False),
        ({"starts_in_past": True}, False),
        ({"days": 0.0}, False),
        ({"role": "mayor"}, False),
        ({"seats_of_substitute": frozenset({"cluster_manager"})}, False),
        ({"seats_of_substitute": frozenset({"privacy_officer"})}, True),
    ],
)
def test_a_substitution_is_recorded_only_when_it_may(facts: dict[str, object], allowed: bool) -> None:
    """Nooit zichzelf, nooit met terugwerkende kracht, nooit wie de andere plaats al vult."""
    assert judge_substitution(heusden(), proposed(SECRETARY, **facts)).allowed is allowed


def test_rotterdam_knows_no_substitution() -> None:
    """Een groep van twee kent geen vervanging."""
    assert not judge_substitution(rotterdam(), proposed(SECRETARY))


def test_a_policy_may_bound_a_substitution() -> None:
    """Een gemeente mag een langste duur stellen."""
    bounded = changed("heusden", ('at_most_days = "none"', "at_most_days = 7"))
    assert not judge_substitution(bounded, proposed(SECRETARY))


ROLES = sorted(heusden().viewing.roles)
NAMES = ("a", "b", "c", "d")


@settings(max_examples=300, deadline=None)
@given(
    held=st.dictionaries(st.sampled_from(NAMES), st.frozensets(st.sampled_from(ROLES), max_size=3), min_size=2),
    stands=st.lists(st.tuples(*(st.sampled_from(each) for each in (NAMES, ROLES, NAMES))), max_size=6),
    purpose=st.sampled_from(sorted(heusden().purposes)),
    present=st.frozensets(st.sampled_from(NAMES), max_size=2),
    data=st.data(),
)
@pytest.mark.rule("H-47", "E-04c")
def test_two_seats_are_always_two_people_and_none_was_there(
    held: dict[str, frozenset[str]],
    stands: list[tuple[str, str, str]],
    purpose: str,
    present: frozenset[str],
    data: st.DataObject,
) -> None:
    """Wat er ook aan rollen en vervangingen is: twee plaatsen zijn twee mensen, en geen van hen was erbij."""
    people = {
        name: Person(
            id=name, roles=roles, substitutes={role: whom for who, role, whom in stands if who == name and whom != name}
        )
        for name, roles in held.items()
    }
    first, second = (people[data.draw(st.sampled_from(sorted(people)))] for _ in range(2))
    kind = heusden().purposes[purpose].case_kinds[0]
    involvement = involvement_of(recorder=None, present=present, people=people.values())
    learner = first.id if purpose == "learning" else None
    verdict = judge(purpose, kind, first, second, involvement, learner=learner)
    if not verdict:
        return
    assert first.id != second.id
    assert not ({first.id, second.id} - {learner}) & present
    seats = seating(policy=heusden(), purpose=purpose, people=(first, second), involvement=involvement, learner=learner)
    assert seats is not None
    assert len({seat.person for seat in seats}) == 2
    assert not {seat.substitute_of for seat in seats} & {first.id, second.id}


class Substitutions(RuleBasedStateMachine):
    """People stand in for each other in any order; nobody ever fills both seats."""

    def __init__(self) -> None:
        super().__init__()
        self.roles = {
            "po": "privacy_officer",
            "cm": "cluster_manager",
            "gs": "municipal_secretary",
            "co": "coordinator",
            "vc": "safety_coordinator",
        }
        self.standing: dict[tuple[str, str], str] = {}

    def person(self, name: str) -> Person:
        stands = {role: whom for (role, whom), who in self.standing.items() if who == name}
        return Person(id=name, roles=frozenset({self.roles[name]}), substitutes=stands)

    @rule(
        by=st.sampled_from(("gs", "cm", "po")),
        whom=st.sampled_from(("po", "cm", "gs", "co", "vc")),
        who=st.sampled_from(("po", "cm", "gs", "co", "vc")),
    )
    def appoint(self, by: str, whom: str, who: str) -> None:
        facts = proposed(self.person(by), role=self.roles[whom], replaced=whom, substitute=who)
        if judge_substitution(heusden(), facts):
            assert by != who, "nobody appoints himself"
            self.standing[self.roles[whom], whom] = who

    @precondition(lambda self: self.standing)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        del self.standing[data.draw(st.sampled_from(sorted(self.standing)))]

    @invariant()
    def nobody_fills_two_seats(self) -> None:
        for purpose, told in heusden().purposes.items():
            for name in self.roles:
                alone = self.person(name)
                assert seating(policy=heusden(), purpose=purpose, people=(alone,), involvement=NOBODY) is None
                assert not judge(purpose, told.case_kinds[0], alone, alone, learner=name)


@pytest.mark.rule("E-02", "E-04c", "T-12")
def test_no_sequence_of_substitutions_seats_one_person_twice() -> None:
    """Geen reeks van vervangingen zet één mens op twee plaatsen."""
    run_state_machine_as_test(Substitutions, settings=settings(max_examples=40, stateful_step_count=15, deadline=None))


@pytest.mark.rule("P-05", "H-43")
def test_where_the_policy_does_not_ask_for_another_department_the_clusters_own_people_sit() -> None:
    """In Heusden kijken mensen van het cluster zelf; alleen waar het beleid dat vraagt, moeten zij van elders zijn."""
    cluster = heusden().wearers.cluster
    manager = Person(id="cm", roles=frozenset({"cluster_manager"}), department=cluster)
    secretary = Person(id="gs", roles=frozenset({"municipal_secretary"}), department=None)
    assert judge("complaint", "complaint", manager, secretary)
    for department in (rotterdam().wearers.cluster, None):
        viewer = Person(id="v", roles=frozenset({"authorised_viewer"}), department=department)
        assert not judge("complaint", "complaint", viewer, None, policy=rotterdam())


@pytest.mark.rule("E-04b", "L-10")
def test_only_a_policy_that_says_so_lets_somebody_sit_who_was_there() -> None:
    """Wie erbij was, zit er niet; een beleid dat dat wel toelaat, zegt het met zoveel woorden."""
    manager, secretary = someone("cm", "cluster_manager"), someone("gs", "municipal_secretary")
    there = Involvement(present=frozenset({"cm"}))
    lenient = changed("heusden", ('exclude_involved = "all_but_learner"', 'exclude_involved = "nobody"'))
    assert not judge("complaint", "complaint", manager, secretary, there)
    assert judge("complaint", "complaint", manager, secretary, there, policy=lenient)
    recorded = Involvement(recorder="gs")
    assert not judge("complaint", "complaint", manager, secretary, recorded)
    assert recorded.people == {"gs"}
    assert Involvement(present=frozenset({"a"})).people == {"a"}


@pytest.mark.rule("R-16")
def test_only_the_pool_of_viewers_is_bounded() -> None:
    """Twee bevoegde kijkers in Rotterdam; andere functies, en Heusden, kennen geen hoogste aantal."""
    for role in rotterdam().roles:
        bounded = role == rotterdam().viewing.pool.role
        assert judge_pool(rotterdam(), role=role, holders=1)
        assert judge_pool(rotterdam(), role=role, holders=2).allowed is not bounded
    for role in heusden().roles:
        assert judge_pool(heusden(), role=role, holders=99)


def test_who_left_keeps_no_role_from_being_free_or_taken() -> None:
    """Een vertrokken collega telt niet mee bij de vraag of van een functie nog iemand vrij is."""
    here, left = someone("a", "coordinator"), Person(id="b", roles=frozenset({"coordinator"}), employed=False)
    assert involvement_of(recorder="a", present=(), people=(here, left)).roles == {"coordinator"}
    assert involvement_of(recorder="b", present=(), people=(here, left)).roles == frozenset()
    assert involvement_of(recorder=None, present=(), people=(here,)).people == frozenset()
