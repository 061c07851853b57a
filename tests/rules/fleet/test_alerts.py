"""Alerts: true, in words, once, and over when it is over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.ids import DeviceId, Org
from broker.wire.policy import read_policy
from cloud.rules.alerts import (
    Alert,
    AlertKind,
    Limits,
    Press,
    difference,
    is_late,
    judge_camera,
    judge_press,
    limits_of,
)
from cloud.rules.fleet import CameraCard, Showing, Silence

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICIES = Path(__file__).parents[3] / "deploy" / "policy"
LIMITS = Limits(
    silent_after_s=35,
    battery_low_pct=20,
    card_low_pct=10,
    clock_drift_s=5,
    dock_within=timedelta(hours=24),
    settings_version=3,
    escalate_after=timedelta(seconds=120),
    first="coordinator",
    then="cluster_manager",
)
WELL = CameraCard(
    org=Org("heusden"),
    camera=DeviceId("cam-01"),
    state=Showing.STANDBY,
    said=Showing.STANDBY,
    boot="a",
    last_seen_at=NOON,
    battery_pct=80,
    card_free_pct=90,
    settings_version=3,
    buffering=True,
)


def kinds(card: CameraCard, *, hours: float = 0) -> set[AlertKind]:
    return {alert.kind for alert in judge_camera(card, limits=LIMITS, now=NOON + timedelta(hours=hours))}


def test_a_camera_that_is_well_raises_nothing() -> None:
    assert kinds(WELL) == set()


MINUTE = timedelta(minutes=1)
TROUBLES: dict[str, CameraCard] = {
    "a will, since it was last heard": replace(WELL, state=Showing.SILENT, silence=Silence.WILL),
    "a timer, since then": replace(WELL, state=Showing.SILENT, silence=Silence.TIMER, silent_since=NOON - MINUTE),
    "silent while recording": replace(WELL, state=Showing.SILENT, said=Showing.RECORDING, silence=Silence.WILL),
    "silent, and its battery was low": replace(WELL, state=Showing.SILENT, battery_pct=1, buffering=False),
    "tampered with": replace(WELL, tampered="opened"),
    "not buffering": replace(WELL, buffering=False),
    "not buffering while recording": replace(WELL, state=Showing.RECORDING, buffering=False),
    "nothing known of its buffer": replace(WELL, buffering=None),
    "the last of its card": replace(WELL, card_free_pct=9),
    "a card at the limit": replace(WELL, card_free_pct=10),
    "a card of which nothing is known": replace(WELL, card_free_pct=None),
    "a low battery": replace(WELL, battery_pct=19),
    "a battery at the limit": replace(WELL, battery_pct=20),
    "a low battery while recording": replace(WELL, state=Showing.RECORDING, battery_pct=19),
    "a battery of which nothing is known": replace(WELL, battery_pct=None),
    "in its dock, empty and not buffering": replace(WELL, state=Showing.DOCKED, battery_pct=3, buffering=False),
    "ahead": replace(WELL, clock_offset_ms=5000),
    "behind": replace(WELL, clock_offset_ms=-6000),
    "just within": replace(WELL, clock_offset_ms=4999),
    "other settings": replace(WELL, settings_version=2),
    "other settings, and off": replace(WELL, settings_version=2, state=Showing.OFF),
    "other settings, and silent": replace(WELL, settings_version=2, state=Showing.SILENT, silence=Silence.WILL),
    "never told its settings": replace(WELL, settings_version=None),
    "a day out of its dock": replace(WELL, not_docked_since=NOON - timedelta(hours=24)),
    "nearly a day out of its dock": replace(WELL, not_docked_since=NOON - timedelta(hours=24) + MINUTE),
    "messages missing": replace(WELL, missing=2, missing_since=NOON - timedelta(seconds=35)),
    "one message missing": replace(WELL, missing=1, missing_since=NOON - timedelta(seconds=36)),
    "messages asked for just now": replace(WELL, missing=2, missing_since=NOON - timedelta(seconds=34)),
    "missing, and never asked for": replace(WELL, missing=2),
    "asked for, and come": replace(WELL, missing=0, missing_since=NOON - MINUTE),
    "never heard": replace(WELL, last_seen_at=None, tampered="opened"),
    "everything at once": replace(
        WELL, state=Showing.RECORDING, tampered="opened", buffering=False, card_free_pct=1, battery_pct=1,
        clock_offset_ms=9000, settings_version=1, not_docked_since=NOON - timedelta(days=2),
        missing=3, missing_since=NOON - MINUTE,
    ),
}  # fmt: skip


def told(alert: Alert) -> str:
    since = f"{(NOON - alert.since).total_seconds():.0f} s"
    return f"  {alert.kind} to the {alert.role}, since {since}: {alert.waarom} / {alert.because}"


@pytest.mark.rule("E-14", "R-07")
def test_each_trouble_raises_its_own_alert_with_a_reason_in_both_languages() -> None:
    """Wat een coördinator leest, en wanneer juist niets; wie een grens of een zin verandert, ziet het hier."""
    now = NOON + timedelta(seconds=1)
    said = []
    for trouble, card in TROUBLES.items():
        said += [trouble, *(told(each) for each in judge_camera(card, limits=LIMITS, now=NOON))]
        assert {(each.org, each.about, each.camera) for each in judge_camera(card, limits=LIMITS, now=now)} <= {
            ("heusden", "cam-01", "cam-01")
        }
    for term, there in ((120, True), (90, True), (45, True), (60, True), (120, False)):
        limits = replace(LIMITS, escalate_after=timedelta(seconds=term))
        alert = judge_press(a_press(), limits=limits, first_is_there=there, now=NOON + timedelta(minutes=9))
        assert alert is not None
        assert (alert.about, alert.camera) == (str(UUID(int=7)), "cam-01")
        said += [f"nobody answers a press in {term} s" if there else "nobody is there for a press", told(alert)]
    assert "\n".join(said) + "\n" == (Path(__file__).parent / "alerts.txt").read_text(encoding="utf-8")


@pytest.mark.rule("R-07")
def test_a_camera_is_given_its_hours_to_be_docked() -> None:
    late = replace(WELL, not_docked_since=NOON)
    assert kinds(late, hours=23.9) == set()
    assert kinds(late, hours=24) == {AlertKind.NOT_DOCKED}


def a_press(*, acknowledged: bool = False) -> Press:
    return Press(
        org=Org("heusden"),
        recording=UUID(int=7),
        camera=DeviceId("cam-01"),
        received_at=NOON,
        acknowledged=acknowledged,
    )


@pytest.mark.parametrize(
    ("seconds", "there", "acknowledged", "escalates"),
    [
        (0, True, False, False),
        (119, True, False, False),
        (120, True, False, True),
        (0, False, False, True),
        (500, True, True, False),
        (500, False, True, False),
    ],
)
def test_an_activation_escalates_when_nobody_acknowledges_or_nobody_is_there(
    seconds: int, there: bool, acknowledged: bool, escalates: bool
) -> None:
    alert = judge_press(
        a_press(acknowledged=acknowledged),
        limits=LIMITS,
        first_is_there=there,
        now=NOON + timedelta(seconds=seconds),
    )
    assert (alert is not None) is escalates
    if alert is not None:
        assert alert.role == "cluster_manager"


@pytest.mark.parametrize(
    ("age_s", "offset_ms", "late"),
    [(30, 0, False), (30.001, 0, True), (90, -60_000, False), (-30, 60_000, False), (0, 31_000, True)],
)
def test_an_activation_older_than_thirty_seconds_is_late_by_a_corrected_clock(
    age_s: float, offset_ms: int, late: bool
) -> None:
    pressed = NOON - timedelta(seconds=age_s)
    assert is_late(activated_at=pressed, received_at=NOON, clock_offset_ms=offset_ms) is late


CARDS = st.builds(
    replace,
    st.just(WELL),
    state=st.sampled_from(list(Showing)),
    battery_pct=st.integers(0, 100),
    card_free_pct=st.integers(0, 100),
    buffering=st.booleans(),
    tampered=st.sampled_from([None, "opened"]),
)


@given(timeline=st.lists(CARDS, max_size=15))
def test_an_alert_is_raised_once_and_cleared_once(timeline: list[CameraCard]) -> None:
    """The law: after each look, what is raised and not cleared is exactly what is true."""
    raised: dict[tuple[Org, AlertKind, str], Alert] = {}
    for card in timeline:
        true = judge_camera(card, limits=LIMITS, now=NOON)
        change = difference(raised, true)
        for alert in change.raised:
            assert alert.key not in raised
            raised[alert.key] = alert
        for alert in change.cleared:
            del raised[alert.key]
        assert set(raised) == {alert.key for alert in true}
        again = difference(raised, true)
        assert (again.raised, again.cleared) == ((), ())


@pytest.mark.parametrize("town", ["heusden", "rotterdam"])
def test_every_limit_comes_from_the_policy(town: str) -> None:
    policy = read_policy((POLICIES / f"{town}.toml").read_text())
    limits = limits_of(policy, settings_version=9)
    assert limits.silent_after_s == 35
    assert limits.dock_within == timedelta(hours=policy.device.dock_within_h)
    assert limits.escalate_after == timedelta(seconds=policy.alerts.escalate_after_s)
    assert (limits.first, limits.then) == (policy.alerts.first, policy.alerts.then)
    assert limits.settings_version == 9
