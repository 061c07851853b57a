"""Activations: the banner that nobody can miss, the list, and who said: I have seen this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from cloud.desk.paging import asked_page, pages_of
from cloud.desk.rules.doors import ACKNOWLEDGES, Door
from cloud.desk.town import back, deny, form, may_open, page, part, someone_of, town_of, words_of
from cloud.fleet.records import PressRow, PressState, Sought

MOST_WORDS: Final = 8
"""Words that are looked for; nobody knows more of one activation."""

PER_PAGE: Final = 50
"""Rows of the list; what waits for somebody comes first, so that it is never on a later page."""

STATES: Final = {"wacht": PressState.WAITING, "bezig": PressState.RECORDING, "doorgezet": PressState.ESCALATED}
"""What the list can be narrowed to, as it stands in the address."""


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
        alarms = await _shown(request, await town_of(request).fleet.activations(town_of(request).org, open_only=True))
    return {"alarms": alarms, "may_acknowledge": bool(roles & ACKNOWLEDGES)}


async def show_banner(request: web.Request) -> web.StreamResponse:
    """The banner, or nothing."""
    return await part(request, "part_alarm.html", **await waiting_alarms(request))


async def show(request: web.Request) -> web.StreamResponse:
    """The list with its history."""
    if not may_open(request, Door.ALERTS):
        return await deny(request, "activeringen", words_of(request)("Uw functie geeft geen toegang tot activeringen."))
    return await page(request, "alerts.html", **await _listed(request), **await waiting_alarms(request))


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the list that changes."""
    if not may_open(request, Door.ALERTS):
        raise web.HTTPForbidden
    return await part(request, "part_alerts.html", **await _listed(request), **await waiting_alarms(request))


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


async def _listed(request: web.Request) -> dict[str, Any]:
    """Return one page of the list, and what was asked of it."""
    town, query = town_of(request), request.query
    seek, state = query.get("zoek", "").strip(), query.get("stand", "")
    sought = Sought(words=tuple(seek.split()[:MOST_WORDS]), state=STATES.get(state))
    found = await town.fleet.count_activations(town.org, sought)
    pages = pages_of(found, per_page=PER_PAGE)
    at = min(asked_page(query), pages)
    presses = await town.fleet.fitting_activations(town.org, sought, skip=(at - 1) * PER_PAGE, most=PER_PAGE)

    def address(blad: int) -> str:
        asked = {"zoek": seek, "stand": state, "blad": str(blad) if blad > 1 else ""}
        return urlencode({name: value for name, value in asked.items() if value})

    return {
        "history": await _shown(request, presses),
        "found": found,
        "seek": seek,
        "chosen": state,
        "states": list(STATES),
        "page_number": at,
        "pages": pages,
        "query": address(at),
        "page_link": lambda blad: f"/activeringen?{address(blad)}",
    }


async def _shown(request: web.Request, presses: Sequence[PressRow]) -> tuple[Alarm, ...]:
    town, dutch = town_of(request), words_of(request).language == "nl"
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
