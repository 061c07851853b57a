"""Activations: the banner that nobody can miss, the list, and who said: I have seen this."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from cloud.desk.rules.doors import ACKNOWLEDGES, Door
from cloud.desk.town import back, deny, form, may_open, page, part, someone_of, town_of, words_of
from cloud.fleet.records import PressRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One activation as the pages show it."""

    recording: str
    camera: str
    name: str
    activated_at: datetime
    received_at: datetime
    ended_at: datetime | None
    pre_record_s: float
    place: str | None
    position: tuple[float, float] | None
    late: bool
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    escalated_at: datetime | None
    escalated_to: str


async def waiting_alarms(request: web.Request) -> dict[str, Any]:
    """Return what the banner on every page needs: the activations nobody saw yet, newest first."""
    roles = someone_of(request).roles
    alarms: tuple[Alarm, ...] = ()
    if may_open(request, Door.ALERTS):
        alarms = await _alarms(request, waiting=True)
    return {"alarms": alarms, "may_acknowledge": bool(roles & ACKNOWLEDGES)}


async def show_banner(request: web.Request) -> web.StreamResponse:
    """The banner, or nothing."""
    return await part(request, "part_alarm.html", **await waiting_alarms(request))


async def show(request: web.Request) -> web.StreamResponse:
    """The list with its history."""
    if not may_open(request, Door.ALERTS):
        return await deny(request, "activeringen", words_of(request)("Uw functie geeft geen toegang tot activeringen."))
    return await page(request, "alerts.html", history=await _alarms(request), **await waiting_alarms(request))


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the list that changes."""
    if not may_open(request, Door.ALERTS):
        raise web.HTTPForbidden
    history = await _alarms(request)
    return await part(request, "part_alerts.html", history=history, **await waiting_alarms(request))


async def acknowledge(request: web.Request) -> web.StreamResponse:
    """Write down who saw this activation, and when."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    fields = await form(request)
    if not someone.roles & ACKNOWLEDGES:
        return await deny(request, "acknowledge", words("Alleen de coördinator of de clustermanager bevestigt dit."))
    try:
        recording = UUID(request.match_info["recording"])
    except ValueError:
        raise web.HTTPNotFound from None
    await town.fleet.acknowledge(recording, someone.id)
    if request.headers.get("X-Part"):
        return web.Response(status=204)
    raise web.HTTPSeeOther(back(fields, "/activeringen"))


async def _alarms(request: web.Request, *, waiting: bool = False) -> tuple[Alarm, ...]:
    town, dutch = town_of(request), words_of(request).language == "nl"
    presses = await town.fleet.activations(town.org, open_only=waiting)
    names, policy = await town.people.names(), await town.policy()
    then = (policy.role_nl if dutch else policy.role_en)(policy.alerts.then)
    return tuple(_alarm(press, names, then) for press in presses)


def _alarm(press: PressRow, names: Mapping[str, str], then: str) -> Alarm:
    return Alarm(
        recording=str(press.recording),
        camera=press.camera,
        name=names.get(press.official, press.official) if press.official else press.camera,
        activated_at=press.activated_at,
        received_at=press.received_at,
        ended_at=press.ended_at,
        pre_record_s=press.pre_record_s,
        place=press.place,
        position=None if press.latitude is None or press.longitude is None else (press.latitude, press.longitude),
        late=press.late,
        acknowledged_at=press.acknowledged_at,
        acknowledged_by=names.get(press.acknowledged_by, press.acknowledged_by) if press.acknowledged_by else None,
        escalated_at=press.escalated_at,
        escalated_to=then,
    )


ROUTES: Final = (
    web.get("/alarm", show_banner),
    web.get("/activeringen", show),
    web.get("/activeringen/deel", show_part),
    web.post("/activeringen/{recording}/gezien", acknowledge),
)
