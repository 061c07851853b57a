"""The reducer: what a coordinator sees follows from what was heard, and from nothing else."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.events import (
    Activation,
    BayState,
    CameraState,
    Deactivation,
    Docked,
    DockState,
    Event,
    LowStorage,
    Said,
    Tamper,
    Telemetry,
    Undocked,
)
from broker.wire.ids import DeviceId, Org
from cloud.rules.fleet import (
    CameraCard,
    DockCard,
    Shift,
    Showing,
    Silence,
    assign,
    card_data,
    card_from,
    counts,
    hear,
    hear_dock,
    silent_after,
    watch,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RECORDING = UUID("01936b7e-0000-7000-8000-000000000001")
OTHER = UUID("01936b7e-0000-7000-8000-000000000002")
FRESH = CameraCard(org=Org("heusden"), camera=DeviceId("cam-01"))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def event(said: Said, *, at: float = 0, boot: str = "a", sequence: int = 1) -> Event:
    return Event(
        id=UUID(int=int((at + 1e6) * 1000) + sequence),
        source="s",
        session=boot,
        sequence=sequence,
        time=after(at),
        said=said,
    )


def state(status: Any = "standby", *, at: float = 0, boot: str = "a", **facts: Any) -> Event:
    known: dict[str, Any] = {"buffering": True, "battery_pct": 80, "card_free_pct": 90, "settings_version": 1}
    return event(CameraState(status=status, boot=boot, **{**known, **facts}), at=at, boot=boot)


def heard(*said: Event, start: CameraCard = FRESH) -> CameraCard:
    card = start
    for each in said:
        card = hear(card, each, at=each.time)
    return card


def press(recording: UUID = RECORDING, *, at: float, boot: str = "a") -> Event:
    return event(Activation(recording=recording, activated_at=after(at), pre_record_s=30), at=at, boot=boot)


def stop(recording: UUID = RECORDING, *, at: float, boot: str = "a") -> Event:
    said = Deactivation(recording=recording, ended_at=after(at), segments=3, stop_reason="officer")
    return event(said, at=at, boot=boot)


def watched(card: CameraCard, seconds: float, *, listening: datetime | None = NOON) -> CameraCard:
    return watch(card, now=after(seconds), silent_after_s=35, listening_since=listening)


def test_a_shift_is_seen_as_it_happens() -> None:
    timeline: list[tuple[Event, Showing]] = [
        (state("docked", at=0, dock="dock-01", bay=2), Showing.DOCKED),
        (event(Undocked(dock="dock-01", bay=2), at=10), Showing.STANDBY),
        (state("standby", at=11), Showing.STANDBY),
        (press(at=20), Showing.RECORDING),
        (state("recording", at=21, recording=RECORDING), Showing.RECORDING),
        (stop(at=80), Showing.STANDBY),
        (event(Docked(dock="dock-01", bay=5), at=100), Showing.DOCKED),
        (state("off", at=110), Showing.OFF),
    ]
    card = FRESH
    for said, shows in timeline:
        card = hear(card, said, at=said.time)
        assert card.state is shows, said
    assert card.docked_at == after(100)
    assert card.undocked_at == after(10)


def test_the_recording_shown_began_at_the_press() -> None:
    card = heard(state(at=0), press(at=20), state("recording", at=30, recording=RECORDING))
    assert (card.recording, card.recording_since) == (RECORDING, after(20))
    assert heard(stop(at=40), start=card).recording_since is None


def test_an_old_stop_does_not_end_the_present_recording() -> None:
    card = heard(state(at=0), press(OTHER, at=20), stop(RECORDING, at=30))
    assert card.state is Showing.RECORDING


def test_an_event_from_the_outbox_does_not_change_what_was_said_since() -> None:
    card = heard(state("standby", at=100))
    assert hear(card, press(at=20), at=after(101)).state is Showing.STANDBY


def test_an_event_of_an_earlier_boot_changes_no_state() -> None:
    card = heard(state(at=0, boot="a"), state(at=50, boot="b"))
    assert hear(card, press(at=60, boot="a"), at=after(60)).state is Showing.STANDBY


def test_a_last_will_makes_a_camera_silent_and_any_word_ends_it() -> None:
    card = heard(state(at=0), state("lost", at=5))
    assert (card.state, card.silence) == (Showing.SILENT, Silence.WILL)
    assert card.silent_since == NOON
    back = hear(card, event(LowStorage(card_free_pct=4), at=6, sequence=2), at=after(6))
    assert (back.state, back.silence, back.card_free_pct) == (Showing.STANDBY, None, 4)


def test_a_death_older_than_the_last_birth_is_ignored() -> None:
    card = heard(state(at=0, boot="a"), state(at=50, boot="b"))
    assert hear(card, state("lost", at=0, boot="a"), at=after(51)) == card


def test_a_death_of_an_earlier_boot_is_ignored_whatever_the_cameras_clock_says() -> None:
    card = heard(state(at=0, boot="a"), state(at=-90_000, boot="b"))
    assert hear(card, state("lost", at=60, boot="a"), at=after(60)) == card


def test_a_death_of_a_boot_that_was_never_heard_and_is_older_is_ignored() -> None:
    card = heard(state(at=50, boot="b"))
    assert hear(card, state("lost", at=0, boot="a"), at=after(51)) == card


def test_a_camera_that_said_goodbye_is_off_and_not_silent() -> None:
    card = heard(state(at=0), state("off", at=10), state("lost", at=0))
    assert card.state is Showing.OFF


def test_a_heartbeat_of_an_earlier_boot_does_not_come_back() -> None:
    card = heard(state(at=0, boot="a"), state("recording", at=50, boot="b", recording=RECORDING))
    assert hear(card, state(at=10, boot="a"), at=after(60)) == card


def test_a_boot_taken_for_over_that_goes_on_speaking_is_the_present_one() -> None:
    late_first = heard(state(at=50, boot="b"), state(at=10, boot="a"))
    assert heard(state(at=60, boot="b"), start=late_first).boot == "b"


def test_a_clock_set_back_within_a_boot_does_not_deafen_us() -> None:
    card = heard(state("standby", at=7200))
    assert hear(card, state("recording", at=0, recording=RECORDING), at=after(7210)).state is Showing.RECORDING


@pytest.mark.parametrize(
    ("seconds", "shows"), [(34, Showing.STANDBY), (35, Showing.SILENT)], ids=["three-not-missed", "three-missed"]
)
def test_three_missed_heartbeats_make_a_camera_silent(seconds: float, shows: Showing) -> None:
    assert watched(heard(state(at=0)), seconds).state is shows


def test_nobody_is_silent_before_three_heartbeats_were_missed_whatever_the_policy_says() -> None:
    assert silent_after(silent_after_s=15, heartbeat_s=10) == 30
    assert silent_after(silent_after_s=35, heartbeat_s=10) == 35


def test_nobody_is_silent_because_we_were_deaf() -> None:
    card = heard(state(at=0))
    assert watched(card, 3600, listening=None).state is Showing.STANDBY
    assert watched(card, 3600, listening=after(3570)).state is Showing.STANDBY
    assert watched(card, 3610, listening=after(3570)).state is Showing.SILENT


def test_what_the_broker_kept_is_no_sign_of_life() -> None:
    card = hear(FRESH, state(at=0), at=after(3600), kept=True)
    assert card.last_seen_at == NOON
    silent = watched(card, 3600, listening=after(3500))
    assert silent.state is Showing.SILENT
    assert hear(silent, state(at=0), at=after(3610), kept=True) == silent


@pytest.mark.parametrize(("said", "kept"), [(0, True), (-50, False)])
def test_a_will_that_is_the_first_thing_heard_counts_from_when_it_was_said_or_came(said: float, kept: bool) -> None:
    silent = hear(FRESH, state("lost", at=said), at=after(100 if kept else 0), kept=kept)
    assert (silent.state, silent.silent_since) == (Showing.SILENT, NOON)
    assert hear(silent, state(at=said), at=after(100), kept=True).state is Showing.STANDBY


def test_a_will_made_before_a_press_that_was_heard_first_counts() -> None:
    assert heard(press(at=5), state("lost", at=0)).state is Showing.SILENT


def test_a_live_word_ends_the_silence_of_a_camera_whose_clock_went_back() -> None:
    silent = watched(heard(state(at=0)), 40)
    assert hear(silent, state(at=-1), at=after(50)).state is Showing.STANDBY


def test_a_new_boot_counts_though_its_clock_is_a_little_behind() -> None:
    card = heard(state("recording", at=10, recording=RECORDING))
    rebooted = hear(card, state("standby", at=9, boot="b"), at=after(11))
    assert (rebooted.state, rebooted.boot) == (Showing.STANDBY, "b")


def test_telemetry_shows_at_once() -> None:
    card = heard(
        state(at=0), event(Telemetry(battery_pct=12, card_free_pct=3, temperature_c=41.5, clock_offset_ms=-900), at=1)
    )
    assert (card.battery_pct, card.card_free_pct, card.temperature_c, card.clock_offset_ms) == (12, 3, 41.5, -900)


def test_tampering_shows_until_the_camera_is_docked() -> None:
    card = heard(state(at=0), event(Tamper(what="opened"), at=5))
    assert card.tampered == "opened"
    assert heard(state(at=10), start=card).tampered == "opened"
    assert heard(event(Docked(dock="dock-01", bay=1), at=20), start=card).tampered is None


def shift(start_h: float, end_h: float | None) -> Shift:
    ends = None if end_h is None else NOON + timedelta(hours=end_h)
    return Shift(officer="o-1", starts_at=NOON + timedelta(hours=start_h), ends_at=ends)


def test_the_officer_shows_while_the_shift_lasts() -> None:
    on, over = shift(-1, 1), shift(-9, -1)
    assert assign(FRESH, team="noord", shift=on, now=NOON).officer == "o-1"
    assert assign(FRESH, team="noord", shift=over, now=NOON).officer is None
    assert assign(FRESH, team="noord", shift=shift(-1, None), now=NOON).officer == "o-1"
    assert assign(FRESH, team=None, shift=None, now=NOON).officer is None


@pytest.mark.rule("R-07")
def test_a_camera_not_docked_since_its_shift_ended_shows_since_when() -> None:
    out = heard(state("docked", at=-9 * 3600), state("standby", at=-8 * 3600))
    ended = assign(out, team=None, shift=shift(-8, -1), now=NOON)
    assert watched(ended, 0).not_docked_since == NOON - timedelta(hours=1)

    home = heard(state("docked", at=-1800), start=ended)
    assert watched(home, 0).not_docked_since is None
    next_day = heard(state("standby", at=10), start=home)
    assert watched(next_day, 11).not_docked_since is None


def test_docking_just_before_the_shift_ends_counts() -> None:
    out = heard(state("docked", at=-9 * 3600), state("standby", at=-8 * 3600), state("docked", at=-3660))
    ended = assign(out, team=None, shift=shift(-8, -1), now=NOON)
    assert watched(ended, 0).not_docked_since is None
    assert watched(heard(state("standby", at=10), start=ended), 11).not_docked_since is None


def test_a_dock_shows_its_bays_and_none_when_it_is_lost() -> None:
    dock = DockCard(org=Org("heusden"), dock=DeviceId("dock-01"), station="Gemeentehuis")
    said = event(DockState(status="online", bays=(BayState(bay=1, camera="cam-01", doing="uploading"),)))
    online = hear_dock(dock, said, at=NOON)
    assert (online.status, online.bays[0].camera) == ("online", "cam-01")
    lost = hear_dock(online, event(DockState(status="lost")), at=after(5))
    assert (lost.status, lost.bays) == ("lost", ())


_STATUS = st.sampled_from(["standby", "recording", "docked", "off", "lost"])
_SAID: st.SearchStrategy[Event] = st.one_of(
    st.builds(state, _STATUS, at=st.integers(0, 1000), boot=st.sampled_from("abc")),
    st.builds(press, st.sampled_from([RECORDING, OTHER]), at=st.integers(0, 1000), boot=st.sampled_from("abc")),
    st.builds(stop, st.sampled_from([RECORDING, OTHER]), at=st.integers(0, 1000), boot=st.sampled_from("abc")),
)


@given(said=st.lists(_SAID, max_size=12))
def test_a_repeated_message_changes_nothing(said: list[Event]) -> None:
    once = twice = FRESH
    for each in sorted(said, key=lambda one: one.time):
        once = hear(once, each, at=each.time)
        twice = hear(hear(twice, each, at=each.time), each, at=each.time)
    assert replace(once, earlier_boots=()) == replace(twice, earlier_boots=())


@given(said=st.lists(st.tuples(_SAID, st.booleans()), max_size=20), now=st.integers(0, 5000))
def test_every_card_is_in_one_state_and_survives_the_database(said: list[tuple[Event, bool]], now: int) -> None:
    card = FRESH
    for each, kept in said:
        card = hear(card, each, at=each.time, kept=kept and isinstance(each.said, CameraState))
    card = watched(card, now)
    assert card_from(card_data(card)) == card
    assert sum(counts([card, FRESH]).values()) == 2
    assert (card.state is Showing.SILENT) == (card.silence is not None)
    assert (card.recording is None) == (card.recording_since is None)


@given(states=st.lists(st.sampled_from(list(Showing))))
def test_the_counts_add_up(states: list[Showing]) -> None:
    found = counts(replace(FRESH, state=each) for each in states)
    assert sum(found.values()) == len(states)
    assert set(found) == set(Showing)


def test_five_thousand_cameras_are_reduced_within_a_heartbeat() -> None:
    said = state(at=1)
    began = time.thread_time()  # of this test's own work: another's is not counted
    cards = [hear(FRESH, said, at=NOON) for _ in range(5_000)]
    seen = [watched(card, 60) for card in cards]
    assert counts(seen)[Showing.SILENT] == 5_000
    assert time.thread_time() - began < 2
