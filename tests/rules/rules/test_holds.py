"""What stops destruction: which cases hold, until when, and what comes of a hold that is too late."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.wire.policy import CaseKind, EndsWhen, Policy
from cloud.rules.holds import OPEN, TOO_LATE, is_open, judge_release, place, stops_destruction
from cloud.rules.lifecycles import HOLD, RECORDING
from cloud.rules.retention import Stored, judge, state_without_holds
from tests.rules.rules.towns import heusden, rotterdam

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DECIDED, DONE, CLOSED, CONSENT = (
    EndsWhen.DECISION_FINAL,
    EndsWhen.CARRIED_OUT,
    EndsWhen.CASE_CLOSED,
    EndsWhen.OM_CONSENT,
)
ALWAYS = (CaseKind.ACCESS_REQUEST, CaseKind.COMPLAINT, CaseKind.OM_DEMAND)


@pytest.mark.rule("H-39", "C-19", "C-05", "E-45")
@pytest.mark.parametrize(
    ("policy", "holding"),
    [
        (heusden(), {*ALWAYS, CaseKind.AANGIFTE, CaseKind.OM_REQUEST}),
        (rotterdam(), {*ALWAYS, CaseKind.OTHER_LEGAL}),
    ],
    ids=["heusden", "rotterdam"],
)
def test_just_these_kinds_of_case_stop_destruction_and_learning_never_does(
    policy: Policy, holding: set[CaseKind]
) -> None:
    """Precies deze dossiers houden beelden vast; leren houdt niets vast."""
    assert {kind for kind in CaseKind if stops_destruction(policy, kind)} == holding


@pytest.mark.rule("H-40", "H-41", "H-42", "E-27", "E-39", "L-06")
@pytest.mark.parametrize(
    ("kind", "ends_it"),
    [
        (CaseKind.ACCESS_REQUEST, {DECIDED, DONE}),
        (CaseKind.COMPLAINT, {CLOSED}),
        (CaseKind.AANGIFTE, {CONSENT}),
        (CaseKind.OM_DEMAND, {CONSENT}),
    ],
)
def test_a_hold_ends_only_when_all_that_the_policy_names_has_happened(kind: CaseKind, ends_it: set[EndsWhen]) -> None:
    """Inzage: definitief besluit én uitgevoerd. Klacht: afgerond. Aangifte, vordering: akkoord van het OM."""
    policy = heusden()
    assert judge_release(policy, kind=kind, met=frozenset(ends_it))
    for missing in ends_it:
        refused = judge_release(policy, kind=kind, met=frozenset(set(EndsWhen) - {missing}))
        assert not refused
        assert refused.waarom.startswith("de bewaarplicht blijft tot")
    assert judge_release(policy, kind=kind, met=frozenset(), provisional=True), "an emergency hold may be lifted"
    assert judge_release(policy, kind=CaseKind.LEARNING, met=frozenset()), "what holds nothing lets go of nothing"


@pytest.mark.rule("E-12")
def test_an_emergency_hold_stops_destruction_until_it_lapses_and_a_real_one_has_no_day() -> None:
    """Een noodrem geldt tot zijn laatste dag; een gewone bewaarplicht heeft er geen."""
    asked = {"kind": CaseKind.COMPLAINT, "recording_state": "retained", "received_at": NOW, "now": NOW}
    brake = place(heusden(), provisional=True, **asked)  # type: ignore[arg-type]
    assert (brake.state, brake.outcome) == ("provisional", None)
    assert brake.lapses_at == NOW + timedelta(days=heusden().hold.provisional_days)
    real = place(heusden(), provisional=False, **asked)  # type: ignore[arg-type]
    assert (real.state, real.outcome, real.lapses_at) == ("active", None, None)
    assert is_open("provisional", brake.lapses_at, brake.lapses_at - timedelta(microseconds=1))
    assert not is_open("provisional", brake.lapses_at, brake.lapses_at)
    assert is_open("provisional", None, NOW)
    assert is_open("active", brake.lapses_at, brake.lapses_at), "only an emergency hold lapses"


@pytest.mark.parametrize("state", sorted(HOLD.states))
def test_a_hold_stops_destruction_in_every_state_that_something_leads_out_of(state: str) -> None:
    """Elke stand waaruit nog iets volgt, houdt tegen; wat afgelopen is, niet."""
    assert is_open(state, None, NOW) == (state not in HOLD.last)
    assert (state in OPEN) == (state not in HOLD.last)


@pytest.mark.rule("E-11", "E-12", "T-35")
@pytest.mark.parametrize("state", sorted(TOO_LATE))
def test_a_hold_that_comes_too_late_says_whether_the_request_had_come_in_time(state: str) -> None:
    """Te laat is te laat; kwam het verzoek vóór de vernietiging binnen, dan staat dat erbij."""

    def outcome(received_at: datetime, destroyed_at: datetime | None) -> str | None:
        placed = place(
            heusden(),
            kind=CaseKind.ACCESS_REQUEST,
            recording_state=state,
            provisional=False,
            received_at=received_at,
            now=NOW,
            destroyed_at=destroyed_at,
        )
        assert (placed.state, placed.lapses_at) == ("released", None)
        return placed.outcome

    gone = NOW - timedelta(days=2)
    assert outcome(gone - timedelta(seconds=1), gone) == "destroyed_before_registration"
    assert outcome(gone, gone) == "already_destroyed"
    assert outcome(NOW, gone) == "already_destroyed"
    assert outcome(NOW, None) == "already_destroyed"


def test_a_hold_comes_too_late_exactly_where_no_way_leads_back() -> None:
    """Alleen als de vernietiging begonnen is, komt een bewaarplicht te laat; ook wat er nog niet is, wordt gehouden."""
    no_way_back = {
        state
        for state in RECORDING.states
        if not any(
            RECORDING.moves[move] not in ("destroying", "destroyed") for move in RECORDING.moves if move[0] == state
        )
    }
    assert no_way_back >= TOO_LATE
    for state in (*(RECORDING.states - TOO_LATE), None):
        placed = place(
            heusden(), kind=CaseKind.COMPLAINT, recording_state=state, provisional=False, received_at=NOW, now=NOW
        )
        assert (placed.state, placed.outcome) == ("active", None), state


@pytest.mark.rule("E-08", "E-09")
def test_only_what_was_held_changes_when_its_last_hold_ends_and_on_its_moment_it_is_due() -> None:
    """Gehouden wordt bewaard of verlopen, op de seconde; wat apart of beperkt stond, blijft dat."""
    assert state_without_holds(Stored(state="held", expires_at=NOW, open_holds=0), NOW) == "due"
    later = NOW + timedelta(microseconds=1)
    assert state_without_holds(Stored(state="held", expires_at=later, open_holds=0), NOW) == "retained"
    for state in ("restricted", "quarantined", "retained", "due"):
        assert state_without_holds(Stored(state=state, expires_at=NOW, open_holds=0), NOW) == state
        assert getattr(judge(Stored(state=state, expires_at=NOW, open_holds=1), NOW), "held", None) is True
