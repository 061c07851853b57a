"""Footage that is kept apart: what two people may declare of it, and what follows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.wire.ids import RecordingId, uuid7
from broker.wire.policy import Policy
from cloud.rules.admission import DEVIATIONS, AdmissionState, ChainState, Incoming
from cloud.rules.apart import (
    DECLARED,
    KeptApart,
    Origin,
    Wearer,
    admit_declared,
    event_of,
    judge_origin,
    judge_who,
    pressed_within,
    wrong_with,
)
from cloud.rules.duties import DECLARED_WITHIN, declared_report_due_at, report_due_at
from cloud.rules.lifecycles import RECORDING
from cloud.rules.seats import Person
from cloud.rules.verdicts import Verdict
from tests.rules.rules.towns import changed, heusden, rotterdam

BEGAN = datetime(2026, 6, 1, 20, 15, tzinfo=UTC)
NOW = BEGAN + timedelta(hours=5)
OPEN = changed(
    "heusden", ('via = ["dock"]', 'via = ["dock", "import"]'), ("manual_import = false", "manual_import = true")
)
FILM = KeptApart(
    state="quarantined",
    via="import",
    chain=ChainState.INTACT,
    camera_enrolled=True,
    official=None,
    activated_at=None,
    started_at=BEGAN,
    ended_at=BEGAN + timedelta(minutes=4),
    expires_at=BEGAN + timedelta(days=28, minutes=4),
    deviations=("not_encrypted",),
    open_holds=0,
)
ORIGIN = Origin(camera="bodycam 3", official="boa1", pressed_at=BEGAN + timedelta(seconds=20), reason="own_safety")
WEARER = Wearer(id="boa1", function="boa", employed=True)
INCOMING = Incoming(
    recording=RecordingId(uuid7(BEGAN, bytes(10))),
    via="import",
    camera_enrolled=True,
    dock_enrolled=True,
    chain=ChainState.INTACT,
    activation_known=True,
    activated_at=ORIGIN.pressed_at,
    started_at=FILM.started_at,
    ended_at=FILM.ended_at,
    pre_record_s=20.0,
    open_holds=0,
    clock_offset_s=0.0,
    encrypted=False,
)


def judged(film: KeptApart = FILM, origin: Origin = ORIGIN, wearer: Wearer = WEARER, *policies: Policy) -> Verdict:
    return judge_origin(policies or (OPEN,), film, origin, wearer, now=NOW)


@pytest.mark.rule("R-04", "H-10", "T-27")
def test_two_people_may_say_who_pressed_a_button_that_nobody_heard_of() -> None:
    assert judged()
    told = admit_declared(INCOMING, FILM, policy=OPEN, now=NOW)
    assert told.state is AdmissionState.RETAINED
    assert told.deviations == ("not_encrypted", "press_not_heard", DECLARED), "what was wrong stays in sight"
    assert RECORDING.after("quarantined", event_of(told.state)) == "retained"


@pytest.mark.parametrize(
    ("film", "origin", "wearer", "because"),
    [
        ({"state": "retained"}, {}, {}, "it is not kept apart"),
        ({"deviations": ("key_gone",)}, {}, {}, "nothing of it can ever be seen"),
        ({"deviations": ("never_submitted",)}, {}, {}, "nothing of it can ever be seen"),
        ({"expires_at": NOW}, {}, {}, "its term is over and no hold stands"),
        ({}, {"camera": " "}, {}, "it does not say whose camera it was"),
        ({}, {}, {"employed": False}, "whoever is named did not work here then"),
        ({}, {}, {"function": None}, "this function wears no camera"),
        ({}, {"reason": "escalation"}, {}, "the policy knows no such reason to press"),
        ({}, {"pressed_at": BEGAN - timedelta(seconds=2)}, {}, "the press is not within this footage"),
        ({}, {"pressed_at": FILM.ended_at + timedelta(seconds=2)}, {}, "the press is not within this footage"),
        ({"official": "boa2"}, {}, {}, "the register names another wearer: correct that first"),
        ({"activated_at": BEGAN}, {}, {}, "a press was heard of, at another moment"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_with_its_reason(
    film: dict[str, object], origin: dict[str, object], wearer: dict[str, object], because: str
) -> None:
    verdict = judged(
        replace(FILM, **film),  # type: ignore[arg-type]
        replace(ORIGIN, **origin),  # type: ignore[arg-type]
        replace(WEARER, **wearer),  # type: ignore[arg-type]
    )
    assert (bool(verdict), verdict.because) == (False, because)
    assert verdict.waarom != verdict.because


@pytest.mark.rule("T-28", "H-35", "E-18")
def test_each_policy_that_binds_the_footage_must_take_it_by_this_door() -> None:
    assert judged(FILM, ORIGIN, WEARER, OPEN, replace(OPEN))
    verdict = judged(FILM, ORIGIN, WEARER, OPEN, heusden())
    assert not verdict
    assert "takes no footage by way of import" in verdict.because


@pytest.mark.parametrize("town", [heusden, rotterdam])
def test_who_declares_has_the_role_was_not_there_and_is_not_both(town: object) -> None:
    policy: Policy = town()  # type: ignore[operator]
    role = policy.casework.release[0]

    def may(person: str, roles: set[str], *, by: str | None = None, **more: object) -> bool:
        who = Person(id=person, roles=frozenset(roles), **more)  # type: ignore[arg-type]
        return bool(judge_who((policy,), who, involved=frozenset({"boa1", "po3"}), proposed_by=by))

    assert may("po1", {role})
    assert may("po2", {role}, by="po1")
    assert may("jz", set(), substitutes={role: "po1"})
    assert not may("po1", {role}, by="po1"), "one person is not two"
    assert not may("boa1", {role}), "who pressed does not declare that he pressed"
    assert not may("po3", {role}), "nor who was there"
    assert not may("co", {"coordinator"})
    assert not may("po1", {role}, employed=False)


@pytest.mark.rule("E-42")
def test_what_is_broken_stays_known_as_broken() -> None:
    torn = replace(FILM, via="dock", chain=ChainState.TAMPERED, camera_enrolled=False, deviations=())
    assert wrong_with(torn) == ("camera_not_enrolled", "seal_broken", "press_not_heard")
    told = admit_declared(replace(INCOMING, via="dock", chain=ChainState.TAMPERED), torn, policy=OPEN, now=NOW)
    assert told.deviations[:3] == ("camera_not_enrolled", "seal_broken", "press_not_heard")
    assert all(each in DEVIATIONS for each in told.deviations)


@pytest.mark.rule("E-13", "H-20")
def test_more_from_before_the_press_than_allowed_waits_for_its_own_decision() -> None:
    late = replace(INCOMING, activated_at=BEGAN + timedelta(seconds=90), pre_record_s=90.0)
    told = admit_declared(late, FILM, policy=OPEN, now=NOW)
    assert told.state is AdmissionState.RESTRICTED
    assert RECORDING.after("quarantined", event_of(told.state)) == "restricted"


def test_a_declaration_never_moves_the_day_and_holds_go_on() -> None:
    brought_forward = replace(FILM, expires_at=BEGAN + timedelta(days=14))  # a stricter policy came in between
    told = admit_declared(replace(INCOMING, open_holds=1), brought_forward, policy=OPEN, now=NOW)
    assert (told.state, told.expires_at) == (AdmissionState.HELD, brought_forward.expires_at)
    assert RECORDING.after("quarantined", event_of(told.state)) == "held"


def test_a_moment_named_to_the_second_lies_within_its_own_film() -> None:
    odd = replace(FILM, started_at=BEGAN + timedelta(milliseconds=400))
    assert judged(odd, replace(ORIGIN, pressed_at=BEGAN))
    assert pressed_within(odd, BEGAN) == odd.started_at
    assert pressed_within(FILM, FILM.ended_at + timedelta(milliseconds=900)) == FILM.ended_at
    unmeasured = replace(FILM, started_at=FILM.ended_at)
    assert judged(unmeasured, replace(ORIGIN, pressed_at=FILM.ended_at - timedelta(hours=2)))
    assert not judged(unmeasured, replace(ORIGIN, pressed_at=FILM.ended_at - timedelta(hours=13)))


@pytest.mark.rule("H-28")
def test_the_report_is_due_once_its_officer_can_know_of_it() -> None:
    assert declared_report_due_at(heusden(), declared_at=NOW, shift_ends_at=None) == NOW + DECLARED_WITHIN
    shift = NOW + timedelta(hours=3)
    assert declared_report_due_at(heusden(), declared_at=NOW, shift_ends_at=shift) == shift
    none = changed("heusden", ("required = true\ndeadline", "required = false\ndeadline"))
    assert declared_report_due_at(none, declared_at=NOW, shift_ends_at=shift) is None
    assert report_due_at(none, activated_at=NOW, shift_ends_at=shift) is None
