"""Cameras and docks as the coordinator sees them, what a camera said, what somebody must look at, and the stream."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from broker.wire.events import kind_of
from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Given, Group, Instant, Listed, Name, Shown, door, operation
from cloud.api.paging import Paged, cut_by_name
from cloud.desk.live import stream
from cloud.desk.pages.fleet import PRESSES
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny
from cloud.rules.alerts import Alert, AlertKind
from cloud.rules.fleet import CameraCard, Showing
from cloud.rules.programs import NEWS, Scope

FLEET: Final = Group(
    name="vloot", purpose="De coördinator ziet of elke camera werkt en of een handhaver hulp nodig heeft."
)
SEES: Final = door(Door.FLEET)


class AlertShown(Shown):
    """Something that somebody must look at."""

    kind: AlertKind
    about: str
    camera: str
    role: str
    since: Instant
    because: str
    raised_at: Instant | None = None
    cleared_at: Instant | None = None


class CameraShown(Shown):
    """One camera. Null: not known (yet)."""

    id: str
    state: Showing
    team: str | None
    officer: str | None
    officer_name: str | None
    battery_pct: int | None
    card_free_pct: int | None
    temperature_c: float | None
    clock_offset_ms: int
    settings_version: int | None
    buffering: bool | None
    recording: UUID | None
    recording_since: Instant | None
    dock: str | None
    bay: int | None
    last_seen_at: Instant | None
    silent_since: Instant | None
    not_docked_since: Instant | None
    missing_events: int
    alerts: tuple[AlertShown, ...]


class CamerasShown(Shown):
    """A page of cameras; `listening`: whether we would hear them now."""

    items: tuple[CameraShown, ...]
    listening: bool


class MomentShown(Shown):
    """One thing that a camera said: when by its own clock, and by ours."""

    kind: str
    boot: str
    happened_at: Instant
    received_at: Instant
    facts: dict[str, Any]


class HistoryShown(Shown):
    """What a camera said, newest first."""

    items: tuple[MomentShown, ...]


class BayShown(Shown):
    """One bay of a dock."""

    bay: int
    camera: str | None
    doing: str
    recordings_total: int
    recordings_done: int
    bytes_total: int
    bytes_sent: int
    eta_s: int | None


class DockShown(Shown):
    """One station."""

    id: str
    station: str
    status: str
    bays: tuple[BayShown, ...]
    last_seen_at: Instant | None


class DocksShown(Shown):
    """Every station."""

    items: tuple[DockShown, ...]


class AlertsShown(Shown):
    """Alerts."""

    items: tuple[AlertShown, ...]


class CameraPath(Given):
    """Which camera."""

    camera: Name


class CamerasAsked(Paged):
    """Which cameras."""

    state: tuple[Showing, ...] = ()
    team: Name | Literal[""] = ""
    search: Annotated[str, msgspec.Meta(max_length=80)] = ""


class Newest(Given):
    """How many of the newest."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class AlertsAsked(Newest):
    """Those that are true now, or also those that are over."""

    history: bool = False


class Pressed(Given):
    """What a person in the street does to a simulated camera."""

    act: Literal["press", "off", "dock", "undock"]


@operation("GET", "/cameras", "Alle camera's", group=FLEET, program=Scope.FLEET, roles=SEES, paged=True,
           gives=CamerasShown)  # fmt: skip
async def cameras(call: Call, query: CamerasAsked) -> Listed:
    """Return the cameras as they are now, by number. Searches number, name, team and dock."""
    names = await call.names()
    seek = query.search.casefold().split()

    def fits(card: CameraCard) -> bool:
        text = f"{card.camera} {names.get(card.officer or '', '')} {card.team or ''} {card.dock or ''}".casefold()
        chosen = not query.state or card.state in query.state
        return chosen and query.team in ("", card.team) and all(word in text for word in seek)

    cards = [card for card in call.town.fleet.cards(call.org) if fits(card)]
    found, following = cut_by_name(cards, query, lambda card: card.camera)
    alerts = call.town.fleet.alerts(call.org)
    shown = tuple(_camera(card, names, alerts) for card in found)
    return Listed(CamerasShown(items=shown, listening=call.town.fleet.is_listening(call.org)), following)


@operation("GET", "/cameras/{camera}", "Eén camera", group=FLEET, program=Scope.FLEET, roles=SEES, gives=CameraShown)
async def camera(call: Call, path: CameraPath) -> CameraShown:
    """Return one camera as it is now."""
    card = _known(call, path)
    return _camera(card, await call.names(), call.town.fleet.alerts(call.org))


@operation("GET", "/cameras/{camera}/gebeurtenissen", "Wat een camera meldde", group=FLEET, roles=SEES)
async def camera_history(call: Call, path: CameraPath, query: Newest) -> HistoryShown:
    """Return what a camera said that mattered, newest first."""
    _known(call, path)
    moments = await call.town.fleet.history(call.org, path.camera, most=query.limit)
    return HistoryShown(
        items=tuple(
            MomentShown(
                kind=_kind(each.said),
                boot=each.boot,
                happened_at=each.happened_at,
                received_at=each.received_at,
                facts=msgspec.to_builtins(each.said),
            )
            for each in moments
        )
    )


@operation("POST", "/cameras/{camera}/knopdrukken", "Druk op een knop (alleen demonstratie)", group=FLEET)
async def press(call: Call, path: CameraPath, body: Pressed) -> None:
    """Do something to a simulated camera. Only a demonstration has such buttons."""
    if call.town.demo is None or call.town.fleet.card(call.org, path.camera) is None:
        await deny(call.request, "button", "Alleen in een demonstratie heeft een camera hier een knop.")
        return
    file = call.town.demo.buttons / f"{path.camera}{PRESSES[body.act]}"
    await asyncio.to_thread(file.touch)


@operation("GET", "/dockingstations", "Alle dockingstations", group=FLEET, program=Scope.FLEET, roles=SEES)
async def docks(call: Call) -> DocksShown:
    """Return every dock with its bays and what they are doing."""
    return DocksShown(
        items=tuple(
            DockShown(
                id=dock.dock,
                station=dock.station,
                status=dock.status,
                bays=tuple(
                    BayShown(
                        bay=bay.bay,
                        camera=bay.camera,
                        doing=bay.doing,
                        recordings_total=bay.recordings_total,
                        recordings_done=bay.recordings_done,
                        bytes_total=bay.bytes_total,
                        bytes_sent=bay.bytes_sent,
                        eta_s=bay.eta_s,
                    )
                    for bay in dock.bays
                ),
                last_seen_at=dock.last_seen_at,
            )
            for dock in call.town.fleet.docks(call.org)
        )
    )


@operation("GET", "/waarschuwingen", "Waar iemand naar moet kijken", group=FLEET, program=Scope.FLEET, roles=SEES)
async def alerts(call: Call, query: AlertsAsked) -> AlertsShown:
    """Return the alerts that are true now, oldest first; with the history: also those that are over, newest first."""
    if not query.history:
        return AlertsShown(items=tuple(_alert(each) for each in call.town.fleet.alerts(call.org)[: query.limit]))
    past = await call.town.fleet.past_alerts(call.org, most=query.limit)
    return AlertsShown(
        items=tuple(_alert(each.alert, raised_at=each.raised_at, cleared_at=each.cleared_at) for each in past)
    )


@operation("GET", "/gebeurtenissen", "Alles wat er nu gebeurt", group=FLEET, program=frozenset(NEWS.values()),
           media="text/event-stream", head=False)  # fmt: skip
async def follow(call: Call) -> web.StreamResponse:
    """Send numbered news (server-sent events) until the caller leaves: identifiers only, to ask again by.

    With Last-Event-ID it goes on where the caller was; `reset` says that everything must be read anew, `tick` that we
    are here, `end` why it is over. A program hears what its account may read.
    """
    return await stream(call.request)


def _known(call: Call, path: CameraPath) -> CameraCard:
    card = call.town.fleet.card(call.org, path.camera)
    if card is None:
        raise refuse(Code.NOT_FOUND, "camera", expected="an enrolled camera", got=path.camera)
    return card


def _kind(said: Any) -> str:
    try:
        return kind_of(said)
    except ValueError:
        return "state"


def _alert(alert: Alert, *, raised_at: datetime | None = None, cleared_at: datetime | None = None) -> AlertShown:
    return AlertShown(
        kind=alert.kind,
        about=alert.about,
        camera=alert.camera,
        role=alert.role,
        since=alert.since,
        because=alert.waarom,
        raised_at=raised_at,
        cleared_at=cleared_at,
    )


def _camera(card: CameraCard, names: Mapping[str, str], alerts: Sequence[Alert]) -> CameraShown:
    return CameraShown(
        id=card.camera,
        state=card.state,
        team=card.team,
        officer=card.officer,
        officer_name=names.get(card.officer) if card.officer else None,
        battery_pct=card.battery_pct,
        card_free_pct=card.card_free_pct,
        temperature_c=card.temperature_c,
        clock_offset_ms=card.clock_offset_ms,
        settings_version=card.settings_version,
        buffering=card.buffering,
        recording=card.recording,
        recording_since=card.recording_since,
        dock=card.dock,
        bay=card.bay,
        last_seen_at=card.last_seen_at,
        silent_since=card.silent_since,
        not_docked_since=card.not_docked_since,
        missing_events=card.missing,
        alerts=tuple(_alert(each) for each in alerts if each.camera == card.camera),
    )


OPERATIONS: Final = (cameras, camera, camera_history, press, docks, alerts, follow)
