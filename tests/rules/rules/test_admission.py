"""What becomes of footage that arrives."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.wire.ids import RecordingId, uuid7
from broker.wire.policy import PlaceKind, Policy
from cloud.rules.admission import DEVIATIONS, AdmissionState, ChainState, Incoming, admit, in_force, is_only_excess
from tests.rules.rules.towns import changed, heusden, rotterdam

PRESSED = datetime(2026, 6, 1, 20, 15, tzinfo=UTC)
NOW = PRESSED + timedelta(hours=3)
PLAIN = Incoming(
    recording=RecordingId(uuid7(PRESSED, bytes(10))),
    via="dock",
    camera_enrolled=True,
    dock_enrolled=True,
    chain=ChainState.INTACT,
    activation_known=True,
    activated_at=PRESSED,
    started_at=PRESSED - timedelta(seconds=30),
    ended_at=PRESSED + timedelta(minutes=4),
    pre_record_s=30.0,
    open_holds=0,
    clock_offset_s=0.2,
)


def state_of(incoming: Incoming, policy: Policy | None = None, *, now: datetime = NOW) -> AdmissionState:
    return admit(incoming, policy=policy or heusden(), now=now).state


@pytest.mark.rule("H-35", "H-36")
def test_what_comes_from_a_dock_in_order_is_kept() -> None:
    """Wat via het dock komt en klopt, wordt bewaard tot zijn dag."""
    admission = admit(PLAIN, policy=heusden(), now=NOW)
    assert admission.state is AdmissionState.RETAINED
    assert admission.deviations == ()
    assert admission.expires_at == PLAIN.ended_at + timedelta(days=28)


@pytest.mark.rule("T-26", "E-13", "H-20", "R-14", "T-42")
def test_the_same_two_minutes_are_right_in_one_town_and_too_much_in_the_other() -> None:
    """Twee minuten vooropname: in Rotterdam goed, in Heusden beperkt en als afwijking gemeld."""
    long = replace(PLAIN, pre_record_s=120.0)
    assert state_of(long, rotterdam()) is AdmissionState.RETAINED
    admission = admit(long, policy=heusden(), now=NOW)
    assert admission.state is AdmissionState.RESTRICTED
    assert admission.deviations == ("pre_record_too_long",)


@pytest.mark.rule("E-13", "H-20")
@pytest.mark.parametrize(
    ("more_s", "state", "deviations"),
    [(0.5, AdmissionState.RETAINED, ()), (0.6, AdmissionState.RESTRICTED, ("pre_record_too_long",))],
)
def test_half_a_second_of_rounding_is_no_excess_and_more_is(
    more_s: float, state: AdmissionState, deviations: tuple[str, ...]
) -> None:
    """Een halve seconde afronding mag; wat daar boven komt, is te veel vooropname."""
    policy = heusden()
    admission = admit(replace(PLAIN, pre_record_s=policy.pre_record.seconds + more_s), policy=policy, now=NOW)
    assert (admission.state, admission.deviations) == (state, deviations)


def test_a_town_that_asks_no_encryption_flags_none() -> None:
    """Vraagt het beleid geen versleuteling, dan is het ontbreken geen afwijking."""
    plain = changed("heusden", ("encrypted_at_rest = true", "encrypted_at_rest = false"))
    assert admit(replace(PLAIN, encrypted=False), policy=plain, now=NOW).deviations == ()


@pytest.mark.rule("T-27", "R-04", "H-10", "R-12")
def test_without_a_press_it_is_put_apart() -> None:
    """Zonder activering geen opname: apart gezet."""
    assert state_of(replace(PLAIN, activation_known=False)) is AdmissionState.QUARANTINED
    assert state_of(replace(PLAIN, activated_at=None)) is AdmissionState.QUARANTINED


@pytest.mark.rule("T-28", "H-35")
def test_only_an_enrolled_dock_may_bring_it() -> None:
    """Niet via een ingeschreven dock: geweigerd."""
    assert state_of(replace(PLAIN, dock_enrolled=False)) is AdmissionState.REFUSED
    assert state_of(replace(PLAIN, via="import")) is AdmissionState.REFUSED
    assert state_of(replace(PLAIN, via="axis")) is AdmissionState.REFUSED
    axis = changed("heusden", ('via = ["dock"]', 'via = ["dock", "axis"]'))
    assert state_of(replace(PLAIN, via="axis"), axis) is AdmissionState.RETAINED


@pytest.mark.rule("E-42")
@pytest.mark.parametrize("chain", [ChainState.TAMPERED, ChainState.UNKNOWN_KEY, ChainState.NEWER_VERSION])
def test_what_cannot_be_trusted_is_put_apart_and_still_has_its_day(chain: ChainState) -> None:
    """Wat niet te vertrouwen is, staat apart, en verloopt op dezelfde dag."""
    admission = admit(replace(PLAIN, chain=chain), policy=heusden(), now=NOW)
    assert admission.state is AdmissionState.QUARANTINED
    assert admission.expires_at == PLAIN.ended_at + timedelta(days=28)


@pytest.mark.rule("T-34", "E-06")
def test_what_comes_after_its_term_is_never_viewable() -> None:
    """Kwam het pas na dertig dagen binnen, dan is het meteen aan de beurt; met bewaarplicht niet."""
    late = PRESSED + timedelta(days=30)
    assert state_of(PLAIN, now=late) is AdmissionState.DUE
    assert state_of(replace(PLAIN, open_holds=1), now=late) is AdmissionState.HELD


@pytest.mark.rule("T-33", "E-05", "E-16")
def test_a_hold_that_was_waiting_holds_it_at_once() -> None:
    """Stond er al bewaarplicht, dan is de opname vastgehouden bij binnenkomst."""
    assert state_of(replace(PLAIN, open_holds=1)) is AdmissionState.HELD


@pytest.mark.rule("E-19")
def test_without_a_policy_in_force_it_is_kept_but_restricted() -> None:
    """Liep het beleid af, dan gaat er niets verloren en kijkt er niemand."""
    ended = changed("heusden", ('valid_until = "none"', "valid_until = 2026-05-31"))
    admission = admit(PLAIN, policy=ended, now=NOW)
    assert admission.state is AdmissionState.RESTRICTED
    assert "no_policy_in_force" in admission.deviations


@pytest.mark.rule("E-44", "H-15", "P-10")
def test_a_forbidden_place_is_restricted_unless_an_exception_holds() -> None:
    """Een woning is in de meeste gemeenten verboden, in Heusden niet."""
    at_home = replace(PLAIN, place=PlaceKind.DWELLING)
    strict = changed(
        "heusden",
        (
            'allowed = ["public_space", "publicly_accessible", "private_property", "dwelling"]',
            'allowed = ["public_space"]',
        ),
        ("forbidden = []", 'forbidden = ["dwelling"]'),
    )
    assert state_of(at_home) is AdmissionState.RETAINED
    assert state_of(at_home, strict) is AdmissionState.RESTRICTED
    assert state_of(replace(at_home, place_exception=True), strict) is AdmissionState.RETAINED
    garden = replace(PLAIN, place=PlaceKind.PRIVATE_PROPERTY)
    assert admit(garden, policy=strict, now=NOW).deviations == ("place_not_listed",)


@pytest.mark.rule("E-14", "H-12", "H-24", "R-05")
@pytest.mark.parametrize(
    ("incoming", "deviation"),
    [
        (replace(PLAIN, clock_offset_s=-7.0), "clock_drift"),
        (replace(PLAIN, ended_at=PRESSED + timedelta(hours=2)), "too_long"),
        (replace(PLAIN, on_duty=False), "outside_shift"),
        (replace(PLAIN, encrypted=False), "not_encrypted"),
        (replace(PLAIN, chain=ChainState.SALVAGED), "incomplete"),
    ],
)
def test_what_differs_is_flagged_and_kept(incoming: Incoming, deviation: str) -> None:
    """Een afwijking wordt gemeld; de beelden blijven."""
    admission = admit(incoming, policy=heusden(), now=NOW)
    assert admission.state is AdmissionState.RETAINED
    assert admission.deviations == (deviation,)
    assert deviation in DEVIATIONS


def test_every_chain_state_has_an_answer() -> None:
    """Voor elke uitkomst van de controle is er een antwoord."""
    for chain in ChainState:
        assert admit(replace(PLAIN, chain=chain), policy=heusden(), now=NOW).because


@pytest.mark.rule("H-35", "T-28", "R-07")
def test_each_reason_to_put_apart_or_refuse_stands_by_itself() -> None:
    """Elke reden werkt los van de andere: camera onbekend, dock onbekend, handtekening fout, deur dicht."""
    alone = {
        "camera": (replace(PLAIN, camera_enrolled=False), AdmissionState.QUARANTINED),
        "dock": (replace(PLAIN, dock_enrolled=False), AdmissionState.REFUSED),
        "import": (replace(PLAIN, via="import"), AdmissionState.REFUSED),
        "tampered": (replace(PLAIN, chain=ChainState.TAMPERED), AdmissionState.QUARANTINED),
        "unknown key": (replace(PLAIN, chain=ChainState.UNKNOWN_KEY), AdmissionState.QUARANTINED),
        "newer": (replace(PLAIN, chain=ChainState.NEWER_VERSION), AdmissionState.QUARANTINED),
    }
    assert {name: state_of(one) for name, (one, _) in alone.items()} == {
        name: state for name, (_, state) in alone.items()
    }
    others = changed("heusden", ('via = ["dock"]', 'via = ["dock", "axis"]'))
    assert state_of(replace(PLAIN, via="axis", dock_enrolled=False), others) is AdmissionState.RETAINED, "has no dock"


@pytest.mark.rule("E-06", "T-34")
def test_on_the_very_moment_of_its_day_it_is_due_on_arrival() -> None:
    """Op de seconde: daarvoor bewaard, daarop verlopen."""
    day = PLAIN.ended_at + timedelta(days=28)
    assert state_of(PLAIN, now=day - timedelta(microseconds=1)) is AdmissionState.RETAINED
    assert state_of(PLAIN, now=day) is AdmissionState.DUE


@pytest.mark.rule("E-19", "R-23")
def test_a_policy_is_in_force_from_its_first_day_to_its_last_in_the_netherlands() -> None:
    """Van middernacht hier tot middernacht hier, beide dagen meegerekend."""
    year = changed(
        "rotterdam",
        ('valid_from = "none"', "valid_from = 2026-06-01"),
        ('valid_until = "none"', "valid_until = 2026-06-30"),
    )
    moments = {
        datetime(2026, 5, 31, 21, 59, tzinfo=UTC): False,
        datetime(2026, 5, 31, 22, 0, tzinfo=UTC): True,
        datetime(2026, 6, 30, 21, 59, tzinfo=UTC): True,
        datetime(2026, 6, 30, 22, 0, tzinfo=UTC): False,
    }
    assert {moment: in_force(year, moment) for moment in moments} == moments


@pytest.mark.rule("E-13", "T-26", "E-44")
@pytest.mark.parametrize(
    ("state", "deviations", "only"),
    [
        ("restricted", ("pre_record_too_long",), True),
        ("restricted", ("pre_record_too_long", "clock_drift"), True),
        ("restricted", ("pre_record_too_long", "forbidden_place"), False),
        ("restricted", ("pre_record_too_long", "no_policy_in_force"), False),
        ("restricted", ("pre_record_too_long", "not_encrypted"), False),
        ("restricted", ("forbidden_place",), False),
        ("restricted", (), False),
        ("retained", ("pre_record_too_long",), False),
        ("quarantined", ("pre_record_too_long",), False),
    ],
)
def test_only_an_excess_and_nothing_else_leaves_the_rest_to_be_seen(
    state: str, deviations: tuple[str, ...], only: bool
) -> None:
    """Is er alleen te veel vooropname, dan mag de rest gezien worden; is er meer, dan niets."""
    assert is_only_excess(state, deviations) == only


@pytest.mark.rule("H-12", "H-13", "R-05", "E-14", "H-24")
def test_what_differs_is_told_and_what_does_not_is_not() -> None:
    """Elke afwijking apart, en bij de grens precies: tot en met mag, erover niet."""
    limits = heusden().recording
    hour, drift = timedelta(minutes=limits.max_duration_flag_min), limits.clock_drift_flag_s
    told = {
        (): PLAIN,
        ("too_long",): replace(PLAIN, ended_at=PRESSED + hour + timedelta(seconds=1)),
        ("clock_drift",): replace(PLAIN, clock_offset_s=-drift),
        ("outside_shift",): replace(PLAIN, on_duty=False),
        ("incomplete",): replace(PLAIN, chain=ChainState.SALVAGED),
    }
    for expected, one in told.items():
        assert admit(one, policy=heusden(), now=NOW).deviations == expected
    for right in (
        replace(PLAIN, ended_at=PRESSED + hour, started_at=PRESSED - timedelta(minutes=2)),
        replace(PLAIN, clock_offset_s=drift - 0.001),
        replace(PLAIN, on_duty=True),
        replace(PLAIN, place=PlaceKind.DWELLING),
    ):
        assert admit(right, policy=heusden(), now=NOW).deviations == ()
    bare = replace(PLAIN, encrypted=False)
    assert ("not_encrypted" in admit(bare, policy=heusden(), now=NOW).deviations) == limits.encrypted_at_rest
    there = replace(PLAIN, place=PlaceKind.DWELLING)
    assert admit(there, policy=rotterdam(), now=NOW).deviations == ("place_not_listed",)
    assert admit(replace(there, place_exception=True), policy=rotterdam(), now=NOW).deviations == ()
