"""What somebody must look at, with the reason in two languages; raised once, and cleared when it is over.

Each judgement gives the alerts that are true now. `difference` compares them with those already raised: an alert that
stays true is not raised again, one that is no longer true is cleared. No number here is a municipality's: they come in
as `Limits`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from broker.wire.ids import DeviceId, Org
from broker.wire.policy import Policy
from cloud.rules.fleet import CameraCard, Showing, Silence, silent_after

LATE_AFTER_S: Final = 30
"""Age at arrival from which an activation is reported as late, not live: what a coordinator would do is different."""


class AlertKind(StrEnum):
    """What is the matter."""

    UNACKNOWLEDGED = "unacknowledged"
    SILENT = "silent"
    TAMPER = "tamper"
    NOT_BUFFERING = "not-buffering"
    LOW_CARD = "low-card"
    LOW_BATTERY = "low-battery"
    CLOCK_DRIFT = "clock-drift"
    WRONG_SETTINGS = "wrong-settings"
    NOT_DOCKED = "not-docked"
    MISSING_EVENTS = "missing-events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is worth an alert; all of it from the municipality's policy."""

    silent_after_s: int
    battery_low_pct: int
    card_low_pct: int
    clock_drift_s: int
    dock_within: timedelta
    settings_version: int
    escalate_after: timedelta
    first: str
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that somebody must look at. `about` is the camera, or the recording of an activation.

    `role` is whom it is for. `because` and `waarom` are the same sentence in English and Dutch.
    """

    org: Org
    kind: AlertKind
    about: str
    camera: DeviceId
    role: str
    since: datetime
    because: str
    waarom: str

    @property
    def key(self) -> tuple[Org, AlertKind, str]:
        """What makes it the same alert as before."""
        return (self.org, self.kind, self.about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """An activation, as far as alerts need to know it. Times are ours, aware UTC."""

    org: Org
    recording: UUID
    camera: DeviceId
    received_at: datetime
    acknowledged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What became true, and what is no longer true."""

    raised: tuple[Alert, ...]
    cleared: tuple[Alert, ...]


def limits_of(policy: Policy, *, settings_version: int) -> Limits:
    """Return the limits that this policy sets."""
    return Limits(
        silent_after_s=silent_after(silent_after_s=policy.alerts.silent_after_s, heartbeat_s=policy.device.heartbeat_s),
        battery_low_pct=policy.alerts.battery_low_pct,
        card_low_pct=policy.alerts.card_low_pct,
        clock_drift_s=policy.recording.clock_drift_flag_s,
        dock_within=timedelta(hours=policy.device.dock_within_h),
        settings_version=settings_version,
        escalate_after=timedelta(seconds=policy.alerts.escalate_after_s),
        first=policy.alerts.first,
        then=policy.alerts.then,
    )


def is_late(*, activated_at: datetime, received_at: datetime, clock_offset_ms: int) -> bool:
    """Whether this activation is history when it arrives. The camera's known clock error is taken out first."""
    pressed = activated_at - timedelta(milliseconds=clock_offset_ms)
    return received_at - pressed > timedelta(seconds=LATE_AFTER_S)


def judge_camera(card: CameraCard, *, limits: Limits, now: datetime) -> tuple[Alert, ...]:
    """Return every alert that is true of this camera now; most urgent first."""
    seen = card.last_seen_at or now
    return tuple(
        Alert(
            org=card.org,
            kind=said.kind,
            about=card.camera,
            camera=card.camera,
            role=limits.first,
            since=said.since or seen,
            because=said.because,
            waarom=said.waarom,
        )
        for judge in _CAMERA_JUDGEMENTS
        if (said := judge(card, limits, now)) is not None
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What is the matter with one camera; `since` None: since it was last seen."""

    kind: AlertKind
    because: str
    waarom: str
    since: datetime | None = None


def _silent(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001 - one of a table
    if card.state is not Showing.SILENT:
        return None
    match card.silence:
        case Silence.WILL:
            why = ("its connection broke without a goodbye", "de verbinding viel weg zonder afmelding")
        case Silence.TIMER | None:
            why = (
                f"no sign of life for {limits.silent_after_s} s",
                f"al {limits.silent_after_s} s geen teken van leven",
            )
    recording = card.said is Showing.RECORDING
    return _Said(
        AlertKind.SILENT,
        f"Camera {card.camera} is silent{' while recording' if recording else ''}: {why[0]}.",
        f"Camera {card.camera} zwijgt{' tijdens een opname' if recording else ''}: {why[1]}.",
        card.silent_since,
    )


def _tampered(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001
    if card.tampered is None:
        return None
    return _Said(
        AlertKind.TAMPER,
        f"Camera {card.camera} reports: {card.tampered}. Bring it to a dock and look at it.",
        f"Camera {card.camera} meldt: {card.tampered}. Zet hem in een dock en kijk hem na.",
    )


def _not_buffering(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001
    if not _in_use(card) or card.buffering is not False:
        return None
    return _Said(
        AlertKind.NOT_BUFFERING,
        f"Camera {card.camera} is not pre-recording: a press would keep nothing from before it.",
        f"Camera {card.camera} neemt niet vooraf op: bij een druk op de knop ontbreekt wat eraan voorafging.",
    )


def _low_card(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001
    if card.card_free_pct is None or card.card_free_pct >= limits.card_low_pct:
        return None
    return _Said(
        AlertKind.LOW_CARD,
        f"The card of camera {card.camera} has {card.card_free_pct} % left. Dock it.",
        f"De kaart van camera {card.camera} heeft nog {card.card_free_pct} % ruimte. Zet hem in een dock.",
    )


def _low_battery(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001
    if not _in_use(card) or card.battery_pct is None or card.battery_pct >= limits.battery_low_pct:
        return None
    return _Said(
        AlertKind.LOW_BATTERY,
        f"The battery of camera {card.camera} is at {card.battery_pct} %.",
        f"De accu van camera {card.camera} staat op {card.battery_pct} %.",
    )


def _clock_drift(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001
    drift_s = card.clock_offset_ms / 1000
    if abs(drift_s) < limits.clock_drift_s:
        return None
    return _Said(
        AlertKind.CLOCK_DRIFT,
        f"The clock of camera {card.camera} is {abs(drift_s):.0f} s {'ahead' if drift_s > 0 else 'behind'}.",
        f"De klok van camera {card.camera} loopt {abs(drift_s):.0f} s {'voor' if drift_s > 0 else 'achter'}.",
    )


def _wrong_settings(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:  # noqa: ARG001
    known = card.settings_version is not None and card.state is not Showing.OFF
    if not known or card.settings_version == limits.settings_version:
        return None
    return _Said(
        AlertKind.WRONG_SETTINGS,
        f"Camera {card.camera} runs settings {card.settings_version}; expected {limits.settings_version}.",
        f"Camera {card.camera} werkt met instelling {card.settings_version}; verwacht {limits.settings_version}.",
    )


def _not_docked(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:
    if card.not_docked_since is None or now - card.not_docked_since < limits.dock_within:
        return None
    return _Said(
        AlertKind.NOT_DOCKED,
        f"Camera {card.camera} was not docked after its shift.",
        f"Camera {card.camera} is na de dienst niet in een dock gezet.",
        card.not_docked_since,
    )


def _missing_events(card: CameraCard, limits: Limits, now: datetime) -> _Said | None:
    asked_for = timedelta(0) if card.missing_since is None else now - card.missing_since
    if not card.missing or asked_for < timedelta(seconds=limits.silent_after_s):
        return None
    return _Said(
        AlertKind.MISSING_EVENTS,
        f"Messages of camera {card.camera} that are missing and were asked again: {card.missing}.",
        f"Berichten van camera {card.camera} die ontbreken en opnieuw zijn gevraagd: {card.missing}.",
        card.missing_since,
    )


def _in_use(card: CameraCard) -> bool:
    return card.state in (Showing.STANDBY, Showing.RECORDING)


_CAMERA_JUDGEMENTS: Final[tuple[Callable[[CameraCard, Limits, datetime], _Said | None], ...]] = (
    _silent,
    _tampered,
    _not_buffering,
    _low_card,
    _low_battery,
    _clock_drift,
    _wrong_settings,
    _not_docked,
    _missing_events,
)
"""Most urgent first."""


def judge_press(press: Press, *, limits: Limits, first_is_there: bool, now: datetime) -> Alert | None:
    """Return the alert to the next role, when nobody acknowledged in time or nobody of the first role is there."""
    waited = now - press.received_at
    if press.acknowledged or (first_is_there and waited < limits.escalate_after):
        return None
    if first_is_there:
        because = f"Nobody acknowledged the activation of camera {press.camera} in {_spell(limits.escalate_after)}."
        waarom = f"Niemand bevestigde de activering van camera {press.camera} binnen {_spell(limits.escalate_after)}."
    else:
        because = f"Camera {press.camera} was activated, and nobody of the first role is present."
        waarom = f"Camera {press.camera} is geactiveerd, en wie het eerst gewaarschuwd wordt is afwezig."
    return Alert(
        org=press.org,
        kind=AlertKind.UNACKNOWLEDGED,
        about=str(press.recording),
        camera=press.camera,
        role=limits.then,
        since=press.received_at,
        because=because,
        waarom=waarom,
    )


def difference(raised: Mapping[tuple[Org, AlertKind, str], Alert], true_now: Iterable[Alert]) -> Difference:
    """Return what to raise and what to clear. An alert that stays true is left alone, whatever its words became."""
    now = {alert.key: alert for alert in true_now}
    return Difference(
        raised=tuple(alert for key, alert in now.items() if key not in raised),
        cleared=tuple(alert for key, alert in raised.items() if key not in now),
    )


def alert_data(alert: Alert) -> dict[str, Any]:
    """Return the alert in JSON's own types."""
    builtins: dict[str, Any] = msgspec.to_builtins(alert)
    return builtins


def _spell(term: timedelta) -> str:
    seconds = int(term.total_seconds())
    minutes, rest = divmod(seconds, 60)
    return f"{seconds} s" if minutes == 0 or rest else f"{minutes} min"
