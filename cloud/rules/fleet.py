"""What the coordinator sees of each camera: one pure reducer from what is heard to a card.

`hear` takes what a camera said, `assign` what the registry and the roster say, `watch` what the clock says. Each gives
a new card. A card is never wrong because a message came twice, late or from an earlier life of the camera.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from broker.wire import events
from broker.wire.ids import DeviceId, Org

EARLIER_BOOTS_KEPT: Final = 8
"""Boots that are remembered as over, so that a late last will of one of them is known to be old."""

REORDERED: Final = timedelta(minutes=2)
"""How much older a statement of the same boot may be and still only be late; beyond it its clock was set back."""

MISSED_HEARTBEATS: Final = 3
"""Signs of life that must be missing before a camera is silent (shared wire rules): one or two get lost in a tunnel."""


class Showing(StrEnum):
    """The five states that a coordinator distinguishes; each camera is in exactly one."""

    RECORDING = "recording"
    STANDBY = "standby"
    DOCKED = "docked"
    OFF = "off"
    SILENT = "silent"


class Silence(StrEnum):
    """How we know that a camera is silent."""

    WILL = "will"
    TIMER = "timer"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCard:
    """One camera as the coordinator sees it. None: not known (yet). `_at` and `_since` are aware UTC.

    `state` is what to show; `said` is what the camera itself said last. `clock_offset_ms` is the camera's clock minus
    ours: positive is ahead.
    """

    org: Org
    camera: DeviceId
    state: Showing = Showing.OFF
    said: Showing = Showing.OFF
    boot: str | None = None
    earlier_boots: tuple[str, ...] = ()
    said_at: datetime | None = None  # by the camera's clock, of the newest statement about its state
    last_seen_at: datetime | None = None  # by our clock
    silence: Silence | None = None
    silent_since: datetime | None = None
    battery_pct: int | None = None
    card_free_pct: int | None = None
    temperature_c: float | None = None
    clock_offset_ms: int = 0
    settings_version: int | None = None
    buffering: bool | None = None
    recording: UUID | None = None
    recording_since: datetime | None = None
    dock: str | None = None
    bay: int | None = None
    docked_at: datetime | None = None
    undocked_at: datetime | None = None
    tampered: str | None = None
    team: str | None = None
    officer: str | None = None
    shift_starts_at: datetime | None = None
    shift_ends_at: datetime | None = None
    not_docked_since: datetime | None = None
    missing: int = 0  # events of this boot that something later has overtaken
    missing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockCard:
    """One station as the coordinator sees it: its bays with what they are doing, and whether it is there."""

    org: Org
    dock: DeviceId
    station: str
    status: str = "offline"  # online, offline, lost
    bays: tuple[events.BayState, ...] = ()
    said_at: datetime | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Who wears the camera, from when until when; the newest one that has begun."""

    officer: str
    starts_at: datetime
    ends_at: datetime | None


def hear(card: CameraCard, event: events.Event, *, at: datetime, kept: bool = False) -> CameraCard:
    """Return the card after this message, heard `at`. `kept`: the broker had kept it, so it is not news of now."""
    said = event.said
    match said:
        case events.CameraState():
            return _hear_state(card, event, said, at=at, kept=kept)
        case events.Telemetry():
            card = _seen(card, event, at=at, kept=kept)
            if not _is_news(card, event):
                return card
            return replace(
                card,
                battery_pct=said.battery_pct,
                card_free_pct=said.card_free_pct,
                temperature_c=said.temperature_c,
                clock_offset_ms=said.clock_offset_ms,
            )
        case events.Activation():
            card = _seen(card, event, at=at, kept=kept)
            if not _is_news(card, event):
                return card
            return replace(
                card,
                said=Showing.RECORDING,
                state=Showing.RECORDING,
                said_at=event.time,
                recording=said.recording,
                recording_since=said.activated_at,
            )
        case events.Deactivation():
            card = _seen(card, event, at=at, kept=kept)
            if not _is_news(card, event) or card.recording != said.recording:
                return card
            return _stopped(replace(card, said_at=event.time))
        case events.Docked():
            card = _seen(card, event, at=at, kept=kept)
            card = replace(card, docked_at=_later(card.docked_at, event.time), tampered=None)
            if not _is_news(card, event):
                return card
            return replace(_stopped(card), said=Showing.DOCKED, state=Showing.DOCKED, dock=said.dock, bay=said.bay)
        case events.Undocked():
            card = _seen(card, event, at=at, kept=kept)
            card = replace(card, undocked_at=_later(card.undocked_at, event.time))
            if not _is_news(card, event) or card.said is not Showing.DOCKED:
                return card
            return replace(card, said=Showing.STANDBY, state=Showing.STANDBY, dock=None, bay=None)
        case events.LowStorage():
            card = _seen(card, event, at=at, kept=kept)
            return replace(card, card_free_pct=said.card_free_pct) if _is_news(card, event) else card
        case events.Tamper():
            return replace(_seen(card, event, at=at, kept=kept), tampered=said.what)
        case events.CommandResult():
            return _seen(card, event, at=at, kept=kept)
        case (
            events.DockState()
            | events.RetentionDue()
            | events.RetentionOutcome()
            | events.ServiceState()
            | events.EventReceipt()
            | events.CameraSettings()
            | events.Command()
        ):
            return card  # not said by a camera; the register refuses it before it gets here
        case _:
            assert_never(said)


def hear_dock(card: DockCard, event: events.Event, *, at: datetime, kept: bool = False) -> DockCard:
    """Return the station after this message; a last will takes its bays away, since nobody vouches for them."""
    said = event.said
    if not isinstance(said, events.DockState):
        return card
    seen = _later(card.last_seen_at, min(at, event.time) if kept else at)
    if said.status == "lost":
        return replace(card, status=said.status, bays=())
    if card.said_at is not None and _is_late(card.said_at, event.time, kept=kept):
        return replace(card, last_seen_at=seen)
    return replace(card, status=said.status, bays=said.bays, said_at=event.time, last_seen_at=seen)


def assign(card: CameraCard, *, team: str | None, shift: Shift | None, now: datetime) -> CameraCard:
    """Return the card with its team and, while the shift lasts, its officer."""
    on_duty = shift is not None and shift.starts_at <= now and (shift.ends_at is None or now < shift.ends_at)
    return replace(
        card,
        team=team,
        officer=shift.officer if shift is not None and on_duty else None,
        shift_starts_at=None if shift is None else shift.starts_at,
        shift_ends_at=None if shift is None else shift.ends_at,
    )


def watch(card: CameraCard, *, now: datetime, silent_after_s: int, listening_since: datetime | None) -> CameraCard:
    """Return the card as the clock makes it: silent when overdue, and whether it should have been docked.

    `listening_since`: from when on we would have heard it; None while we hear nobody ourselves. A camera is not silent
    because we were deaf.
    """
    not_docked_since = _not_docked_since(card, now)
    if (
        not_docked_since != card.not_docked_since
    ):  # seldom; a copy of ten thousand cards each second would cost a second
        card = replace(card, not_docked_since=not_docked_since)
    if card.state in (Showing.SILENT, Showing.OFF) or card.last_seen_at is None or listening_since is None:
        return card
    if now - max(card.last_seen_at, listening_since) < timedelta(seconds=silent_after_s):
        return card
    return replace(card, state=Showing.SILENT, silence=Silence.TIMER, silent_since=card.last_seen_at)


def silent_after(*, silent_after_s: int, heartbeat_s: int) -> int:
    """Return the seconds without a sign of life that make a camera silent: never before three were missed."""
    return max(silent_after_s, MISSED_HEARTBEATS * heartbeat_s)


def counts(cards: Iterable[CameraCard]) -> Mapping[Showing, int]:
    """Return how many cameras are in each state; the numbers add up to the number of cards."""
    found = dict.fromkeys(Showing, 0)
    for card in cards:
        found[card.state] += 1
    return MappingProxyType(found)


def card_data(card: CameraCard | DockCard) -> dict[str, Any]:
    """Return the card in JSON's own types."""
    builtins: dict[str, Any] = msgspec.to_builtins(card)
    return builtins


def card_from(data: Mapping[str, Any]) -> CameraCard:
    """Return the card that `card_data` gave; raise msgspec.ValidationError for anything else."""
    return msgspec.convert(data, CameraCard)


def _hear_state(
    card: CameraCard, event: events.Event, said: events.CameraState, *, at: datetime, kept: bool
) -> CameraCard:
    if _is_of_an_earlier_life(card, event, said):
        return card
    if said.status == "lost":
        return _died(card, said, at=event.time if kept else at)
    if kept and card.state is Showing.SILENT and card.last_seen_at is not None and event.time <= card.last_seen_at:
        return card  # we heard this and know that silence followed
    if card.boot == said.boot and card.said_at is not None and _is_late(card.said_at, event.time, kept=kept):
        return _seen(card, event, at=at, kept=kept)
    earlier = card.earlier_boots
    if card.boot is not None and card.boot != said.boot:
        earlier = tuple(boot for boot in (*earlier, card.boot) if boot != said.boot)[-EARLIER_BOOTS_KEPT:]
    showing = Showing(said.status)
    since = card.recording_since if card.recording == said.recording else event.time
    undocked_now = _is_in_a_dock(card) and showing in (Showing.STANDBY, Showing.RECORDING)
    docked_now = card.said is not Showing.DOCKED and showing is Showing.DOCKED
    return replace(
        _seen(card, event, at=at, kept=kept),
        state=showing,
        said=showing,
        silence=None,
        silent_since=None,
        said_at=event.time,
        boot=said.boot,
        earlier_boots=earlier,
        battery_pct=said.battery_pct,
        card_free_pct=said.card_free_pct,
        clock_offset_ms=said.clock_offset_ms,
        settings_version=said.settings_version,
        buffering=said.buffering,
        recording=said.recording,
        recording_since=since if said.recording is not None else None,
        dock=said.dock,
        bay=said.bay,
        docked_at=_later(card.docked_at, event.time) if docked_now else card.docked_at,
        undocked_at=_later(card.undocked_at, event.time) if undocked_now else card.undocked_at,
        tampered=None if docked_now else card.tampered,
    )


def _is_of_an_earlier_life(card: CameraCard, event: events.Event, said: events.CameraState) -> bool:
    """Whether a later statement has already replaced this one.

    A boot that was replaced stays replaced, whatever the camera's clock says, unless it goes on speaking later than
    everything heard since: then it was the other one that came late.
    """
    if card.boot is None or card.said_at is None:
        return False
    if said.boot == card.boot:
        return False
    if said.status == "lost":
        return said.boot in card.earlier_boots or event.time <= card.said_at
    return said.boot in card.earlier_boots and event.time <= card.said_at


def _is_late(newest: datetime, time: datetime, *, kept: bool) -> bool:
    return time < newest and (kept or newest - time <= REORDERED)


def _died(card: CameraCard, said: events.CameraState, *, at: datetime) -> CameraCard:
    if card.said is Showing.OFF and card.boot == said.boot:
        return card  # it said goodbye first: off is off
    return replace(
        card,
        boot=card.boot or said.boot,
        state=Showing.SILENT,
        silence=Silence.WILL,
        silent_since=card.last_seen_at or at,
    )


def _seen(card: CameraCard, event: events.Event, *, at: datetime, kept: bool) -> CameraCard:
    """Any word from a camera ends its silence, except one that the broker had kept."""
    seen = min(at, event.time) if kept else at
    card = replace(card, last_seen_at=_later(card.last_seen_at, seen))
    if card.state is not Showing.SILENT or kept:
        return card
    return replace(card, state=card.said, silence=None, silent_since=None)


def _is_news(card: CameraCard, event: events.Event) -> bool:
    """Whether an event may change what is shown: of this boot, and not older than what was said since."""
    return card.boot is None or (event.session == card.boot and (card.said_at is None or event.time >= card.said_at))


def _stopped(card: CameraCard) -> CameraCard:
    back = Showing.STANDBY if card.said is Showing.RECORDING else card.said
    shown = back if card.state is Showing.RECORDING else card.state
    return replace(card, said=back, state=shown, recording=None, recording_since=None)


def _not_docked_since(card: CameraCard, now: datetime) -> datetime | None:
    ended = card.shift_ends_at
    if ended is None or now < ended or _is_in_a_dock(card):
        return None
    taken_out_later = card.undocked_at is not None and card.undocked_at > ended
    return None if taken_out_later else ended


def _is_in_a_dock(card: CameraCard) -> bool:
    """Also when it was switched off there."""
    return card.docked_at is not None and (card.undocked_at is None or card.docked_at > card.undocked_at)


def _later(known: datetime | None, heard: datetime) -> datetime:
    return heard if known is None else max(known, heard)
