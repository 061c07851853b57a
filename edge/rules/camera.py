"""What a camera does when something happens to it: one table, read from top to bottom.

`step` looks up the first row that fits; where none fits, nothing changes and the verdict says why. The table is also
what the diagram in ARCHITECTURE.md is drawn from (`diagram`), so that the picture cannot lie.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from broker.wire.events import CameraSettings
from broker.wire.recording import StopReason


class Phase(StrEnum):
    """What the camera is doing. The wording is the one its state message uses, except post-record (*recording*)."""

    OFF = "off"
    STANDBY = "standby"
    RECORDING = "recording"
    POST_RECORD = "post-record"
    DOCKED = "docked"


class Happening(StrEnum):
    """What can happen to a camera."""

    POWER_ON = "power on"
    POWER_OFF = "power off"
    SETTINGS = "settings arrive"
    PRESS = "press"
    SWITCH_OFF = "switch off"
    POST_RECORD_OVER = "post-record over"
    DOCKED = "docked"
    UNDOCKED = "undocked"
    CARD_FULL = "card full"
    CARD_BROKEN = "card broken"
    BATTERY_EMPTY = "battery empty"
    CLOCK_MOVED = "clock moved"
    ORDER_START = "order: start"
    ORDER_LOCATE = "order: locate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera between two happenings. `phase_since` is the shown time at which the phase began."""

    phase: Phase = Phase.OFF
    phase_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecording:
    """Keep the ring's last `pre_record` before `pressed_at`, and everything from then on."""

    pressed_at: datetime
    pre_record: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecording:
    """Close the running recording for this reason. `at_once`: do not finish the second that is being filmed."""

    reason: StopReason
    stopped_at: datetime
    at_once: bool


class Word(StrEnum):
    """What is to be said over MQTT."""

    STATE = "state"
    DOCKED = "docked"
    UNDOCKED = "undocked"
    LOW_STORAGE = "low-storage"
    CARD_BROKEN = "card-broken"
    CLOCK_MOVED = "clock-moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Say this."""

    word: Word


@dataclass(frozen=True, slots=True)
class WipeReceipted:
    """Look for signed receipts and wipe exactly what they cover."""


class Buzz(StrEnum):
    """What the wearer feels."""

    STARTED = "two short"
    STOPPED = "one long"
    REFUSED = "three short"
    LOCATE = "ten long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vibrate:
    """Let the wearer feel it."""

    buzz: Buzz


Effect = StartRecording | StopRecording | Publish | WipeReceipted | Vibrate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What a row may look at."""

    settings: CameraSettings | None
    now: datetime


_Does = Callable[[_Moment], Effect]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A condition on a row, and how it reads."""

    says: str
    holds: Callable[[CameraSettings | None], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """At this phase, when this happens, go there and do these."""

    at: Phase
    on: Happening
    to: Phase
    does: tuple[_Does, ...] = ()
    only_if: Guard | None = None


def _start(moment: _Moment) -> Effect:
    """Without settings nothing was buffered: then the recording begins at the press itself."""
    wanted = moment.settings
    return StartRecording(pressed_at=moment.now, pre_record=timedelta(seconds=wanted.pre_record_s if wanted else 0))


def _stop(reason: StopReason, *, at_once: bool = False) -> _Does:
    return lambda moment: StopRecording(reason=reason, stopped_at=moment.now, at_once=at_once)


def _say(word: Word) -> _Does:
    return lambda _: Publish(word=word)


def _buzz(buzz: Buzz) -> _Does:
    return lambda _: Vibrate(buzz=buzz)


def _wipe(_: _Moment) -> Effect:
    return WipeReceipted()


_state: Final = _say(Word.STATE)
_has_post_record: Final = Guard(
    says="post_record_s > 0", holds=lambda settings: settings is not None and settings.post_record_s > 0
)
_started: Final = (_start, _buzz(Buzz.STARTED), _state)
_docked: Final = (_say(Word.DOCKED), _state, _wipe)


def _stopped(reason: StopReason, *also: _Does, at_once: bool = False) -> tuple[_Does, ...]:
    return (_stop(reason, at_once=at_once), _buzz(Buzz.STOPPED), *also, _state)


def _recording_rows(at: Phase) -> tuple[Row, ...]:
    """What ends a recording, alike before and during post-record."""
    by = StopReason
    return (
        Row(at=at, on=Happening.POWER_OFF, to=Phase.OFF, does=_stopped(by.OFFICER, at_once=True)),
        Row(at=at, on=Happening.DOCKED, to=Phase.DOCKED, does=(_stop(by.OFFICER, at_once=True), *_docked)),
        Row(
            at=at,
            on=Happening.CARD_FULL,
            to=Phase.STANDBY,
            does=_stopped(by.CARD_FULL, _say(Word.LOW_STORAGE), at_once=True),
        ),
        Row(
            at=at,
            on=Happening.CARD_BROKEN,
            to=Phase.STANDBY,
            does=_stopped(by.INTERRUPTED, _say(Word.CARD_BROKEN), at_once=True),
        ),
        Row(at=at, on=Happening.BATTERY_EMPTY, to=Phase.OFF, does=_stopped(by.BATTERY, at_once=True)),
        Row(
            at=at,
            on=Happening.CLOCK_MOVED,
            to=Phase.STANDBY,
            does=_stopped(by.INTERRUPTED, _say(Word.CLOCK_MOVED)),
        ),
        Row(at=at, on=Happening.SETTINGS, to=at, does=(_state,)),
        Row(at=at, on=Happening.ORDER_LOCATE, to=at, does=(_buzz(Buzz.LOCATE), _state)),
    )


TABLE: Final[tuple[Row, ...]] = (
    # off: only power, a bay and settings that were stored reach it
    Row(at=Phase.OFF, on=Happening.POWER_ON, to=Phase.STANDBY, does=(_state,)),
    Row(at=Phase.OFF, on=Happening.DOCKED, to=Phase.DOCKED, does=_docked),
    Row(at=Phase.OFF, on=Happening.CLOCK_MOVED, to=Phase.OFF),
    # stand-by: buffers when it has settings, and keeps nothing
    Row(at=Phase.STANDBY, on=Happening.PRESS, to=Phase.RECORDING, does=_started),
    Row(at=Phase.STANDBY, on=Happening.ORDER_START, to=Phase.RECORDING, does=_started),
    Row(at=Phase.STANDBY, on=Happening.ORDER_LOCATE, to=Phase.STANDBY, does=(_buzz(Buzz.LOCATE), _state)),
    Row(at=Phase.STANDBY, on=Happening.SETTINGS, to=Phase.STANDBY, does=(_state,)),
    Row(at=Phase.STANDBY, on=Happening.DOCKED, to=Phase.DOCKED, does=_docked),
    Row(at=Phase.STANDBY, on=Happening.CARD_FULL, to=Phase.STANDBY, does=(_say(Word.LOW_STORAGE), _state)),
    Row(at=Phase.STANDBY, on=Happening.CARD_BROKEN, to=Phase.STANDBY, does=(_say(Word.CARD_BROKEN), _state)),
    Row(at=Phase.STANDBY, on=Happening.BATTERY_EMPTY, to=Phase.OFF, does=(_state,)),
    Row(at=Phase.STANDBY, on=Happening.POWER_OFF, to=Phase.OFF, does=(_state,)),
    Row(at=Phase.STANDBY, on=Happening.CLOCK_MOVED, to=Phase.STANDBY, does=(_state,)),
    # recording: no message from outside ends it
    Row(
        at=Phase.RECORDING,
        on=Happening.SWITCH_OFF,
        to=Phase.POST_RECORD,
        does=(_buzz(Buzz.STOPPED), _state),
        only_if=_has_post_record,
    ),
    Row(at=Phase.RECORDING, on=Happening.SWITCH_OFF, to=Phase.STANDBY, does=_stopped(StopReason.OFFICER)),
    *_recording_rows(Phase.RECORDING),
    # post-record: still recording; a press simply goes on
    Row(at=Phase.POST_RECORD, on=Happening.PRESS, to=Phase.RECORDING, does=(_buzz(Buzz.STARTED), _state)),
    Row(at=Phase.POST_RECORD, on=Happening.ORDER_START, to=Phase.RECORDING, does=(_buzz(Buzz.STARTED), _state)),
    Row(at=Phase.POST_RECORD, on=Happening.POST_RECORD_OVER, to=Phase.STANDBY, does=_stopped(StopReason.OFFICER)),
    *_recording_rows(Phase.POST_RECORD),
    # docked: charges, hands over its card, wipes on receipt; it films nothing
    Row(at=Phase.DOCKED, on=Happening.UNDOCKED, to=Phase.STANDBY, does=(_say(Word.UNDOCKED), _state)),
    Row(at=Phase.DOCKED, on=Happening.POWER_OFF, to=Phase.OFF, does=(_state,)),
    Row(at=Phase.DOCKED, on=Happening.SETTINGS, to=Phase.DOCKED, does=(_state,)),
    Row(at=Phase.DOCKED, on=Happening.ORDER_LOCATE, to=Phase.DOCKED, does=(_buzz(Buzz.LOCATE), _state)),
    Row(at=Phase.DOCKED, on=Happening.CLOCK_MOVED, to=Phase.DOCKED, does=(_state,)),
)

_WHY_NOT: Final[dict[tuple[Phase, Happening], str]] = {
    (Phase.OFF, Happening.PRESS): "the camera is off: switch it on first",
    (Phase.OFF, Happening.ORDER_START): "the camera is off and cannot be started from afar",
    (Phase.DOCKED, Happening.PRESS): "the camera is in a bay and films nothing: take it out first",
    (Phase.DOCKED, Happening.ORDER_START): "the camera is in a bay and films nothing",
    (Phase.RECORDING, Happening.PRESS): "the camera is already recording",
    (Phase.RECORDING, Happening.ORDER_START): "the camera is already recording",
    (Phase.STANDBY, Happening.SWITCH_OFF): "nothing is being recorded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a happening led to. `refused` says why nothing changed, or is None."""

    camera: Camera
    effects: tuple[Effect, ...] = ()
    refused: str | None = None


def step(camera: Camera, happening: Happening, settings: CameraSettings | None, now: datetime) -> Step:
    """Return the camera after this happening and what must be done now; what does not fit changes nothing."""
    for row in TABLE:
        if (row.at, row.on) == (camera.phase, happening) and (row.only_if is None or row.only_if.holds(settings)):
            moment = _Moment(settings=settings, now=now)
            since = camera.phase_since if row.to is camera.phase else now
            after = replace(camera, phase=row.to, phase_since=since)
            return Step(camera=after, effects=tuple(does(moment) for does in row.does))
    why = _WHY_NOT.get((camera.phase, happening), f"a camera in phase {camera.phase} has no use for: {happening}")
    return Step(camera=camera, refused=why)


def keeps_footage(phase: Phase) -> bool:
    """Whether what is filmed now goes to the card."""
    return phase in (Phase.RECORDING, Phase.POST_RECORD)


def buffers(phase: Phase, settings: CameraSettings | None) -> bool:
    """Whether stand-by footage is held in memory: never without settings that ask for it, never off or in a bay."""
    return phase in (Phase.STANDBY, Phase.RECORDING, Phase.POST_RECORD) and (
        settings is not None and settings.pre_record_s > 0
    )


def post_record_ends_at(camera: Camera, settings: CameraSettings | None) -> datetime | None:
    """Return when the running post-record is over, or None when there is none."""
    if camera.phase is not Phase.POST_RECORD or camera.phase_since is None:
        return None
    return camera.phase_since + timedelta(seconds=settings.post_record_s if settings else 0)


def diagram() -> str:
    """Return the table as a mermaid state diagram, for ARCHITECTURE.md."""
    name = {phase: phase.value.replace("-", "_") for phase in Phase}
    drawn: dict[tuple[str, str], list[str]] = {}
    for row in TABLE:
        words = row.on.value.replace(":", "") + (f" [{row.only_if.says}]" if row.only_if else "")
        if row.to is not row.at:
            drawn.setdefault((name[row.at], name[row.to]), []).append(words)
    lines = [f"    {at} --> {to}: {' / '.join(words)}" for (at, to), words in drawn.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> off", *lines]) + "\n"
