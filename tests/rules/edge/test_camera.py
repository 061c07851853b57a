"""The camera's state machine: laws for every story, and a few stories by name."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.events import CameraSettings
from broker.wire.recording import StopReason
from edge.rules.camera import (
    TABLE,
    Buzz,
    Camera,
    Effect,
    Happening,
    Phase,
    Publish,
    StartRecording,
    Step,
    StopRecording,
    Vibrate,
    WipeReceipted,
    Word,
    buffers,
    diagram,
    keeps_footage,
    post_record_ends_at,
    step,
)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def settings(*, pre_record_s: int = 30, post_record_s: int = 0, sound: bool = False) -> CameraSettings:
    return CameraSettings(
        version=1,
        pre_record_s=pre_record_s,
        post_record_s=post_record_s,
        sound=sound,
        heartbeat_s=10,
        dock_within_h=24,
    )


any_settings = st.none() | st.builds(settings, pre_record_s=st.integers(0, 600), post_record_s=st.integers(0, 60))
stories = st.lists(st.sampled_from(Happening), max_size=40)


def tell(story: Sequence[Happening], held: CameraSettings | None) -> tuple[Camera, list[Effect]]:
    camera, effects, now = Camera(), list[Effect](), NOON
    for happening in story:
        now += timedelta(seconds=1)
        result = step(camera, happening, held, now)
        camera = result.camera
        effects.extend(result.effects)
    return camera, effects


@given(stories, any_settings)
def test_each_recording_that_starts_is_stopped_once_before_the_next_starts(
    story: list[Happening], held: CameraSettings | None
) -> None:
    camera, effects = tell(story, held)
    running = 0
    for effect in effects:
        running += isinstance(effect, StartRecording) - isinstance(effect, StopRecording)
        assert running in (0, 1)
    assert running == keeps_footage(camera.phase)


@given(stories, st.sampled_from(Happening), any_settings)
def test_what_does_not_fit_changes_nothing_and_says_why(
    story: list[Happening], happening: Happening, held: CameraSettings | None
) -> None:
    camera, _ = tell(story, held)
    result = step(camera, happening, held, NOON)
    if result.refused is not None:
        assert result.camera == camera
        assert result.effects == ()
        assert result.refused
    else:
        assert any((row.at, row.on) == (camera.phase, happening) for row in TABLE)


@pytest.mark.rule("H-10", "R-04", "R-12")
@given(stories.filter(lambda story: not {Happening.PRESS, Happening.ORDER_START} & set(story)), any_settings)
def test_nothing_is_recorded_unless_somebody_starts_it(story: list[Happening], held: CameraSettings | None) -> None:
    camera, effects = tell(story, held)
    assert not keeps_footage(camera.phase)
    assert not any(isinstance(effect, StartRecording) for effect in effects)


@pytest.mark.rule("H-25")
def test_after_switching_off_the_camera_is_in_stand_by_again() -> None:
    camera, _ = tell([Happening.POWER_ON, Happening.PRESS, Happening.SWITCH_OFF], settings())
    assert camera.phase is Phase.STANDBY
    assert buffers(camera.phase, settings())


@pytest.mark.rule("R-06")
@given(stories, any_settings)
def test_only_a_docked_camera_looks_for_receipts_to_wipe_on(
    story: list[Happening], held: CameraSettings | None
) -> None:
    camera, now = Camera(), NOON
    for happening in story:
        result = step(camera, happening, held, now)
        if any(isinstance(effect, WipeReceipted) for effect in result.effects):
            assert result.camera.phase is Phase.DOCKED
        camera = result.camera


@pytest.mark.rule("R-06")
def test_no_order_from_afar_stops_a_recording() -> None:
    for order in (Happening.ORDER_START, Happening.ORDER_LOCATE, Happening.SETTINGS):
        for phase in (Phase.RECORDING, Phase.POST_RECORD):
            result = step(Camera(phase=phase, phase_since=NOON), order, settings(), NOON)
            assert keeps_footage(result.camera.phase)
            assert not any(isinstance(effect, StopRecording) for effect in result.effects)


def test_a_camera_without_settings_does_not_buffer_and_says_so_yet_a_press_is_kept() -> None:
    assert not buffers(Phase.STANDBY, None)
    assert not buffers(Phase.STANDBY, settings(pre_record_s=0))
    result = step(Camera(phase=Phase.STANDBY), Happening.PRESS, None, NOON)
    assert StartRecording(pressed_at=NOON, pre_record=timedelta(0)) in result.effects
    assert Publish(word=Word.STATE) in result.effects


def test_post_record_goes_on_for_as_long_as_the_policy_says_and_a_press_resumes() -> None:
    held = settings(post_record_s=15)
    camera, effects = tell([Happening.POWER_ON, Happening.PRESS, Happening.SWITCH_OFF], held)
    assert camera.phase is Phase.POST_RECORD
    assert not any(isinstance(effect, StopRecording) for effect in effects)
    assert post_record_ends_at(camera, held) == NOON + timedelta(seconds=3 + 15)
    resumed = step(camera, Happening.PRESS, held, NOON + timedelta(seconds=5))
    assert resumed.camera.phase is Phase.RECORDING
    over = step(camera, Happening.POST_RECORD_OVER, held, NOON + timedelta(seconds=18))
    assert over.camera.phase is Phase.STANDBY
    assert [effect.reason for effect in over.effects if isinstance(effect, StopRecording)] == [StopReason.OFFICER]


@pytest.mark.parametrize("phase", [Phase.RECORDING, Phase.POST_RECORD])
@pytest.mark.parametrize(
    ("happening", "reason", "then", "at_once", "says"),
    [
        (Happening.SWITCH_OFF, StopReason.OFFICER, Phase.STANDBY, False, None),
        (Happening.POST_RECORD_OVER, StopReason.OFFICER, Phase.STANDBY, False, None),
        (Happening.POWER_OFF, StopReason.OFFICER, Phase.OFF, True, None),
        (Happening.DOCKED, StopReason.OFFICER, Phase.DOCKED, True, Word.DOCKED),
        (Happening.CARD_FULL, StopReason.CARD_FULL, Phase.STANDBY, True, Word.LOW_STORAGE),
        (Happening.CARD_BROKEN, StopReason.INTERRUPTED, Phase.STANDBY, True, Word.CARD_BROKEN),
        (Happening.BATTERY_EMPTY, StopReason.BATTERY, Phase.OFF, True, None),
        (Happening.CLOCK_MOVED, StopReason.INTERRUPTED, Phase.STANDBY, False, Word.CLOCK_MOVED),
    ],
)
def test_each_end_of_a_recording_names_its_reason_and_is_said(
    phase: Phase, happening: Happening, reason: StopReason, then: Phase, at_once: bool, says: Word | None
) -> None:
    later = NOON + timedelta(seconds=40)
    result = step(Camera(phase=phase, phase_since=NOON), happening, settings(), later)
    if (phase, happening) in {(Phase.POST_RECORD, Happening.SWITCH_OFF), (Phase.RECORDING, Happening.POST_RECORD_OVER)}:
        assert result.refused
        return
    assert result.camera == Camera(phase=then, phase_since=later)
    stop = StopRecording(reason=reason, stopped_at=later, at_once=at_once)
    assert [effect for effect in result.effects if isinstance(effect, StopRecording)] == [stop]
    words = {effect.word for effect in result.effects if isinstance(effect, Publish)}
    assert words == {Word.STATE} | ({says} if says else set())


def test_whoever_wears_it_feels_what_it_does_and_the_desk_hears_it() -> None:
    feels = {
        Happening.PRESS: Buzz.STARTED,
        Happening.ORDER_START: Buzz.STARTED,
        Happening.SWITCH_OFF: Buzz.STOPPED,
        Happening.POST_RECORD_OVER: Buzz.STOPPED,
        Happening.ORDER_LOCATE: Buzz.LOCATE,
    }
    stops = {Happening.POWER_OFF, Happening.CARD_FULL, Happening.CARD_BROKEN, Happening.BATTERY_EMPTY}
    for row in TABLE:
        result = step(Camera(phase=row.at), row.on, settings(post_record_s=15), NOON)
        stopped = row.on in {*stops, Happening.CLOCK_MOVED} and keeps_footage(row.at)
        expected = feels.get(row.on) or (Buzz.STOPPED if stopped else None)
        assert [each.buzz for each in result.effects if isinstance(each, Vibrate)] == ([expected] if expected else [])
        assert (Publish(word=Word.STATE) in result.effects) is (row.at is not Phase.OFF or row.to is not Phase.OFF)


@pytest.mark.parametrize(
    ("at", "on", "then", "says"),
    [
        (Phase.OFF, Happening.POWER_ON, Phase.STANDBY, None),
        (Phase.OFF, Happening.DOCKED, Phase.DOCKED, Word.DOCKED),
        (Phase.STANDBY, Happening.DOCKED, Phase.DOCKED, Word.DOCKED),
        (Phase.STANDBY, Happening.ORDER_START, Phase.RECORDING, None),
        (Phase.STANDBY, Happening.ORDER_LOCATE, Phase.STANDBY, None),
        (Phase.STANDBY, Happening.SETTINGS, Phase.STANDBY, None),
        (Phase.RECORDING, Happening.SETTINGS, Phase.RECORDING, None),
        (Phase.RECORDING, Happening.ORDER_LOCATE, Phase.RECORDING, None),
        (Phase.POST_RECORD, Happening.ORDER_START, Phase.RECORDING, None),
        (Phase.POST_RECORD, Happening.SETTINGS, Phase.POST_RECORD, None),
        (Phase.POST_RECORD, Happening.ORDER_LOCATE, Phase.POST_RECORD, None),
        (Phase.DOCKED, Happening.ORDER_LOCATE, Phase.DOCKED, None),
        (Phase.DOCKED, Happening.SETTINGS, Phase.DOCKED, None),
        (Phase.STANDBY, Happening.CARD_FULL, Phase.STANDBY, Word.LOW_STORAGE),
        (Phase.STANDBY, Happening.CARD_BROKEN, Phase.STANDBY, Word.CARD_BROKEN),
        (Phase.STANDBY, Happening.BATTERY_EMPTY, Phase.OFF, None),
        (Phase.STANDBY, Happening.POWER_OFF, Phase.OFF, None),
        (Phase.STANDBY, Happening.CLOCK_MOVED, Phase.STANDBY, None),
        (Phase.DOCKED, Happening.UNDOCKED, Phase.STANDBY, Word.UNDOCKED),
        (Phase.DOCKED, Happening.POWER_OFF, Phase.OFF, None),
        (Phase.DOCKED, Happening.CLOCK_MOVED, Phase.DOCKED, None),
    ],
)
def test_what_ends_no_recording_goes_where_it_should_and_is_said(
    at: Phase, on: Happening, then: Phase, says: Word | None
) -> None:
    result = step(Camera(phase=at), on, settings(), NOON)
    assert result.camera.phase is then
    assert [each.word for each in result.effects if isinstance(each, Publish)] == [
        *([says] if says else []),
        Word.STATE,
    ]
    assert (WipeReceipted() in result.effects) is (on is Happening.DOCKED)


@pytest.mark.parametrize(
    ("phase", "happening", "because"),
    [
        (Phase.OFF, Happening.PRESS, "the camera is off: switch it on first"),
        (Phase.OFF, Happening.ORDER_START, "the camera is off and cannot be started from afar"),
        (Phase.DOCKED, Happening.PRESS, "the camera is in a bay and films nothing: take it out first"),
        (Phase.DOCKED, Happening.ORDER_START, "the camera is in a bay and films nothing"),
        (Phase.RECORDING, Happening.PRESS, "the camera is already recording"),
        (Phase.RECORDING, Happening.ORDER_START, "the camera is already recording"),
        (Phase.STANDBY, Happening.SWITCH_OFF, "nothing is being recorded"),
        (Phase.STANDBY, Happening.UNDOCKED, "a camera in phase standby has no use for: undocked"),
    ],
)
def test_what_cannot_be_is_refused_for_its_own_reason(phase: Phase, happening: Happening, because: str) -> None:
    assert step(Camera(phase=phase), happening, settings(), NOON).refused == because


def test_a_new_camera_is_off_and_has_no_post_record_to_wait_for() -> None:
    assert Camera().phase is Phase.OFF
    assert step(Camera(), Happening.CLOCK_MOVED, settings(), NOON) == Step(camera=Camera())
    assert not buffers(Phase.DOCKED, settings())
    assert buffers(Phase.STANDBY, settings(pre_record_s=1))
    assert post_record_ends_at(Camera(phase=Phase.POST_RECORD, phase_since=NOON), None) == NOON
    assert post_record_ends_at(Camera(phase=Phase.RECORDING, phase_since=NOON), settings(post_record_s=15)) is None
    assert post_record_ends_at(Camera(phase=Phase.POST_RECORD), settings(post_record_s=15)) is None


def test_the_diagram_draws_every_row_that_goes_somewhere() -> None:
    drawn = diagram()
    assert drawn.startswith("stateDiagram-v2\n    [*] --> off\n")
    for row in TABLE:
        if row.at is not row.to:
            arrow = f"{row.at.value.replace('-', '_')} --> {row.to.value.replace('-', '_')}: "
            assert any(
                line.strip().startswith(arrow) and row.on.value.split(":")[0] in line for line in drawn.split("\n")
            )
    assert "recording --> post_record: switch off [post_record_s > 0]" in drawn
    assert "docked --> docked" not in drawn


def test_every_phase_can_be_reached_and_left() -> None:
    assert {row.to for row in TABLE if row.to is not row.at} == set(Phase)
    assert {row.at for row in TABLE if row.to is not row.at} == set(Phase)
