"""The fleet at a glance, one camera, and the buttons of a demonstration."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy import select

from cloud.database.tables import cameras, recordings
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.paging import asked_page, pages_of
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, back, deny, form, may_open, page, part, town_of, words_of
from cloud.desk.words import Words
from cloud.rules.alerts import Alert, AlertKind
from cloud.rules.fleet import CameraCard, Showing

STATE_ALERTS: Final = frozenset({AlertKind.UNACKNOWLEDGED, AlertKind.SILENT})
"""What a tile shows as its state, not as a flag beside it."""

STATES: Final = (Showing.RECORDING, Showing.SILENT, Showing.STANDBY, Showing.DOCKED, Showing.OFF)
"""In the order in which a coordinator wants to see them."""

PER_PAGE: Final = 100
"""A wall shows fifty at a glance; of five thousand a browser gets what it shows and no more."""

PRESSES: Final = {"press": "", "off": ".off", "dock": ".dock", "undock": ".undock"}
"""What a demonstration can do to a camera, and the ending of the file that does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One camera as the page shows it; texts are in the reader's language."""

    id: str
    short: str
    state: str
    name: str | None
    team: str | None
    where: str
    bay_text: str
    battery_pct: int | None
    card_free_pct: int | None
    seen_at: datetime | None
    clock_text: str
    settings_version: int | None
    buffering: bool | None
    recording: str | None
    flags: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One camera before it is drawn: what choosing and sorting need."""

    card: CameraCard
    alerts: tuple[Alert, ...]
    name: str | None

    @property
    def is_flagged(self) -> bool:
        """Whether its tile shows that it wants attention, beside its state."""
        return any(alert.kind not in STATE_ALERTS for alert in self.alerts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the reader asked to see, as it stands in the address."""

    state: str
    zoek: str
    sorteer: str
    team: str
    vorm: str
    aandacht: str
    blad: int = 1

    @property
    def active(self) -> bool:
        """Whether anything is filtered away."""
        return bool(self.state or self.zoek or self.team or self.aandacht)

    def query(self, **changes: str) -> str:
        """Return the address of this choice with these changes."""
        fields = {
            "stand": self.state,
            "zoek": self.zoek,
            "sorteer": "" if self.sorteer == "urgentie" else self.sorteer,
            "team": self.team,
            "vorm": self.vorm,
            "aandacht": self.aandacht,
            "blad": str(self.blad) if self.blad > 1 and not changes else "",
        }
        fields |= {("stand" if name == "state" else name): value for name, value in changes.items()}
        return urlencode({name: value for name, value in fields.items() if value})


async def show(request: web.Request) -> web.StreamResponse:
    """The whole page."""
    if not may_open(request, Door.FLEET):
        return await deny(request, "vloot", words_of(request)("Uw functie geeft geen toegang tot de vloot."))
    facts = await _facts(request)
    return await page(request, "fleet.html", **facts, **await waiting_alarms(request))


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the page that changes."""
    if not may_open(request, Door.FLEET):
        raise web.HTTPForbidden
    return await part(request, "part_fleet.html", **await _facts(request))


async def show_camera(request: web.Request) -> web.StreamResponse:
    """One camera: now, and what it did."""
    words = words_of(request)
    if not may_open(request, Door.FLEET):
        return await deny(request, "camera", words("Uw functie geeft geen toegang tot de vloot."))
    facts = await _camera_facts(request)
    return await page(request, "camera.html", **facts, **await waiting_alarms(request))


async def show_camera_part(request: web.Request) -> web.StreamResponse:
    """The part of one camera's page that changes."""
    if not may_open(request, Door.FLEET):
        raise web.HTTPForbidden
    return await part(request, "part_camera.html", **await _camera_facts(request))


async def press(request: web.Request) -> web.StreamResponse:
    """Do something to a simulated camera, as a person in the street would. Demonstrations only."""
    town, words = town_of(request), words_of(request)
    fields = await form(request)
    camera = request.match_info.get("camera") or fields.get("camera", "")
    ending = PRESSES.get(fields.get("doe", "press"))
    if town.demo is None or ending is None or town.fleet.card(town.org, camera) is None:
        return await deny(request, "button", words("Alleen in een demonstratie heeft een camera hier een knop."))
    path = town.demo.buttons / f"{camera}{ending}"
    await asyncio.to_thread(path.touch)
    raise web.HTTPSeeOther(back(fields, f"/vloot/{camera}"))


async def seen_now(town: Town) -> tuple[Seen, ...]:
    """Return every camera, in order of name."""
    names = await town.people.names()
    alerts: dict[str, list[Alert]] = {}
    for alert in town.fleet.alerts(town.org):
        alerts.setdefault(alert.camera, []).append(alert)
    return tuple(_seen(card, alerts.get(card.camera, ()), names) for card in town.fleet.cards(town.org))


def _seen(card: CameraCard, alerts: Iterable[Alert], names: Mapping[str, str]) -> Seen:
    return Seen(card=card, alerts=tuple(alerts), name=names.get(card.officer, card.officer) if card.officer else None)


async def tiles_of(town: Town, words: Words) -> tuple[Tile, ...]:
    """Return every camera as a tile, in order of name; for a demonstration, whose cameras fit on one page."""
    now = town.now()
    return tuple(_tile(seen, words, now) for seen in await seen_now(town))


async def _facts(request: web.Request) -> dict[str, Any]:
    town, words, now = town_of(request), words_of(request), town_of(request).now()
    query = request.query
    chosen = Chosen(
        state=query.get("stand", ""),
        zoek=query.get("zoek", "").strip(),
        sorteer=query.get("sorteer", "urgentie"),
        team=query.get("team", ""),
        vorm=query.get("vorm", ""),
        aandacht=query.get("aandacht", ""),
        blad=asked_page(query),
    )
    everything = await seen_now(town)
    states = Counter(str(seen.card.state) for seen in everything)
    fitting = sorted((seen for seen in everything if _fits(seen, chosen)), key=_order(chosen.sorteer))
    pages = pages_of(len(fitting), per_page=PER_PAGE)
    at = min(chosen.blad, pages)
    shown = fitting[(at - 1) * PER_PAGE : at * PER_PAGE]
    return {
        "hearing": town.fleet.is_listening(town.org),
        "states": STATES,
        "state_names": state_names(words),
        "counts": {state: states[state] for state in STATES}
        | {"total": len(everything), "attention": sum(seen.is_flagged for seen in everything)},
        "teams": sorted({seen.card.team for seen in everything if seen.card.team}),
        "tiles": [_tile(seen, words, now) for seen in shown],
        "fitting": len(fitting),
        "page_number": at,
        "pages": pages,
        "chosen": chosen,
        "query": chosen.query(),
        "link": lambda **changes: "/vloot?" + chosen.query(**changes),
        "page_link": lambda blad: f"/vloot?{chosen.query(blad=str(blad))}",
    }


async def _camera_facts(request: web.Request) -> dict[str, Any]:
    town, words = town_of(request), words_of(request)
    camera = request.match_info["camera"]
    card = town.fleet.card(town.org, camera)
    if card is None:
        raise web.HTTPNotFound
    names = await town.people.names()
    seen = _seen(card, (alert for alert in town.fleet.alerts(town.org) if alert.camera == camera), names)
    async with town.database.transaction() as transaction:
        stored = {
            row.id: row.state
            for row in await transaction.execute(
                select(recordings.c.id, recordings.c.state).where(
                    recordings.c.org == town.org, recordings.c.camera == camera
                )
            )
        }
        enrolled = (
            await transaction.execute(select(cameras).where(cameras.c.org == town.org, cameras.c.id == camera))
        ).first()
    return {
        "tile": _tile(seen, words, town.now()),
        "card": card,
        "state_names": state_names(words),
        "pressed": await town.fleet.activations(town.org, camera=camera, most=20),
        "stored": stored,
        "enrolled": enrolled,
        "names": names,
    }


def _tile(seen: Seen, words: Words, now: datetime) -> Tile:
    card, alerts = seen.card, seen.alerts
    bay = words("{dock}, vak {bay}", dock=card.dock, bay=card.bay) if card.dock else ""
    match card.state:
        case Showing.DOCKED:
            where = bay
        case Showing.SILENT:
            where = words("al {n} stil", n=words.duration(now - (card.silent_since or card.last_seen_at or now)))
        case Showing.RECORDING if card.recording_since:
            where = words("sinds {clock}", clock=words.clock(card.recording_since))
        case _:
            where = words.ago(card.last_seen_at, now)
    return Tile(
        id=card.camera,
        short=card.camera.removeprefix("cam-"),
        state=card.state,
        name=seen.name,
        team=card.team,
        where=where,
        bay_text=bay,
        battery_pct=card.battery_pct,
        card_free_pct=card.card_free_pct,
        seen_at=card.last_seen_at,
        clock_text=f"{card.clock_offset_ms / 1000:+.1f} s".replace(".", ",") if card.last_seen_at else "–",
        settings_version=card.settings_version,
        buffering=card.buffering,
        recording=str(card.recording) if card.recording else None,
        flags=tuple(flag for alert in alerts if (flag := _flag(alert, words))),
        reasons=tuple(alert.waarom if words.language == "nl" else alert.because for alert in alerts),
    )


def _flag(alert: Alert, words: Words) -> str | None:
    """Return the two words that fit on a tile; None for what the tile shows as its state."""
    match alert.kind:
        case AlertKind.TAMPER:
            return words("verstoring")
        case AlertKind.NOT_BUFFERING:
            return words("geen vooropname")
        case AlertKind.LOW_CARD:
            return words("kaart bijna vol")
        case AlertKind.LOW_BATTERY:
            return words("accu bijna leeg")
        case AlertKind.CLOCK_DRIFT:
            return words("klok wijkt af")
        case AlertKind.WRONG_SETTINGS:
            return words("oude instelling")
        case AlertKind.NOT_DOCKED:
            return words("niet gedockt")
        case AlertKind.MISSING_EVENTS:
            return words("berichten missen")
        case AlertKind.UNACKNOWLEDGED | AlertKind.SILENT:
            return None


def state_names(words: Words) -> Mapping[str, str]:
    """Return what each state is called."""
    return {
        Showing.RECORDING: words("Neemt op"),
        Showing.SILENT: words("Stil"),
        Showing.STANDBY: words("Stand-by"),
        Showing.DOCKED: words("In dock"),
        Showing.OFF: words("Uit"),
    }


def _fits(seen: Seen, chosen: Chosen) -> bool:
    card = seen.card
    text = f"{card.camera} {seen.name or ''} {card.team or ''} {card.dock or ''}".casefold()
    return (
        (not chosen.state or card.state == chosen.state)
        and (not chosen.team or card.team == chosen.team)
        and (not chosen.aandacht or seen.is_flagged)
        and all(word in text for word in chosen.zoek.casefold().split())
    )


def _order(by: str) -> Callable[[Seen], tuple[Any, ...]]:
    ranks = {state: rank for rank, state in enumerate(STATES)}
    match by:
        case "nummer":
            return lambda seen: (seen.card.camera,)
        case "naam":
            return lambda seen: (seen.name is None, seen.name or "", seen.card.camera)
        case "accu":
            return lambda seen: (seen.card.battery_pct is None, seen.card.battery_pct or 0, seen.card.camera)
        case "gezien":
            return lambda seen: (seen.card.last_seen_at is not None, seen.card.last_seen_at, seen.card.camera)
        case _:
            return lambda seen: (ranks[seen.card.state], not seen.is_flagged, seen.card.camera)


ROUTES: Final = (
    web.get("/vloot", show),
    web.get("/vloot/deel", show_part),
    web.get("/vloot/{camera}", show_camera),
    web.get("/vloot/{camera}/deel", show_camera_part),
    web.post("/vloot/{camera}/knop", press),
    web.post("/demo/knop", press),
)
