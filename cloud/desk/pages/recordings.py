"""Recordings without their content, and the calendar of what goes when and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from aiohttp import web
from sqlalchemy import select

from broker.wire.certificates import claimed_certificate
from broker.wire.ids import parse_recording
from broker.wire.policy import Act
from broker.wire.refusals import Code, refuse
from cloud.casework.casework import RecordingCard
from cloud.database.tables import outside_objects, viewing_requests
from cloud.desk.names import chain_states, recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.apart import declaration_of
from cloud.desk.pages.cases import ends_when
from cloud.desk.pages.holds import AROUND, GROUPS
from cloud.desk.rules.doors import REGISTERS_CASES, Door
from cloud.desk.town import Town, deny, may_open, page, part, someone_of, town_of, words_of
from cloud.desk.words import HERE
from cloud.intake.axis.meaning import bookmarks_in, trails_in
from cloud.rules.admission import DEVIATIONS, is_only_excess
from cloud.rules.apart import DECLARED
from cloud.rules.rights import judge_back_office, judge_role

FEWEST_BARS: Final = 14
MOST_BARS: Final = 62
"""Days in the calendar's picture."""

KEPT: Final = ("retained", "held", "due")
FILTERS: Final[dict[str, tuple[str, ...]]] = {
    "": (),
    "bewaard": ("retained",),
    "bewaarplicht": ("held",),
    "apart": ("quarantined", "restricted", "lost"),
    "vernietigd": ("destroying", "destroyed"),
    "onderweg": ("announced", "receiving", "verifying"),
}


async def show(request: web.Request) -> web.StreamResponse:
    """The list."""
    if not may_open(request, Door.RECORDINGS):
        return await deny(
            request, "opnamen", words_of(request)("Uw functie geeft geen toegang tot de lijst van opnamen.")
        )
    return await page(request, "recordings.html", **await _facts(request), **await waiting_alarms(request))


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the list that changes."""
    if not may_open(request, Door.RECORDINGS):
        raise web.HTTPForbidden
    return await part(request, "part_recordings.html", **await _facts(request))


async def show_calendar(request: web.Request) -> web.StreamResponse:
    """Per day: what will be destroyed, and what is kept past its day because of which case."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.RECORDINGS):
        return await deny(request, "opnamen", words("Uw functie geeft geen toegang tot de lijst van opnamen."))
    cards = await town.casework.recordings(town.org)
    days: dict[date, list[RecordingCard]] = {}
    for card in sorted(cards, key=lambda card: card.expires_at):
        if card.state not in ("destroyed", "destroying") and not card.held_by:
            days.setdefault(card.expires_at.astimezone(HERE).date(), []).append(card)
    held = [card for card in cards if card.held_by and card.state not in ("destroyed", "destroying")]
    numbers = {case.number: case for case in await town.casework.cases(town.org)} if held else {}
    return await page(
        request,
        "calendar.html",
        days=days,
        bars=_bars(days, held, today=town.now().astimezone(HERE).date()),
        held=held,
        cases=numbers,
        ends=ends_when(words),
        gone=[card for card in cards if card.state in ("destroyed", "destroying")][:20],
        states=recording_states(words),
        names=await town.people.names(),
        **await waiting_alarms(request),
    )


async def show_one(request: web.Request) -> web.StreamResponse:
    """Everything about one recording but its content."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.RECORDINGS):
        return await deny(request, "opnamen", words("Uw functie geeft geen toegang tot de lijst van opnamen."))
    card, policy = await town.casework.recording(town.org, request.match_info["recording"]), await town.policy()
    person = await town.casework.person(town.org, someone_of(request).id)
    proposed = await town.casework.proposed_destructions(town.org)
    around = await town.casework.recordings(town.org, from_at=card.started_at - AROUND, until_at=card.ended_at + AROUND)
    certificate = await town.casework.certificate(town.org, card.id)
    return await page(
        request,
        "recording.html",
        card=card,
        certificate=claimed_certificate(certificate) if certificate else None,
        states=recording_states(words),
        chains=chain_states(words),
        names=await town.people.names(),
        cases=await town.casework.cases(town.org, recording=card.id),
        views=await _views(town, card.id),
        **await _noted(town, card.id),
        deviations=[DEVIATIONS.get(each, (each, each))[words.language == "nl"] for each in card.deviations],
        incident=await town.casework.incident(town.org, card.incident) if card.incident else None,
        near=[each for each in around if each.id != card.id and each.incident is None and each.state in KEPT],
        proposed=next((each for each in proposed if each.subject == card.id), None),
        excess_only=is_only_excess(card.state, card.deviations),
        **await declaration_of(request, card.id, declared=DECLARED in card.deviations),
        may_register=bool(someone_of(request).roles & REGISTERS_CASES),
        may_group=bool(someone_of(request).roles & GROUPS),
        may_decide=bool(judge_role(policy, person, policy.casework.release, "decide", "beslissen")),
        may_destroy=bool(judge_back_office(policy, person, Act.DESTROY)),
        me=someone_of(request),
        **await waiting_alarms(request),
    )


async def carry_certificate(request: web.Request) -> web.StreamResponse:
    """The certificate of destruction as the Kluis signed it, to keep or to have checked elsewhere."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.RECORDINGS):
        return await deny(request, "opnamen", words("Uw functie geeft geen toegang tot de lijst van opnamen."))
    recording = request.match_info["recording"]
    certificate = await town.casework.certificate(town.org, recording)
    if certificate is None:
        raise refuse(
            Code.NOT_FOUND, words("verklaring"), expected=words("een vernietigde opname"), got=words("een andere")
        )
    name = f'attachment; filename="vernietiging-{parse_recording(recording)}.json"'
    return web.Response(body=certificate, content_type="application/json", headers={"Content-Disposition": name})


async def _facts(request: web.Request) -> dict[str, Any]:
    town, words = town_of(request), words_of(request)
    chosen = request.query.get("stand", "")
    seek = request.query.get("zoek", "").strip().casefold()
    names = await town.people.names()
    cards = await town.casework.recordings(town.org, states=FILTERS.get(chosen, ()))
    if seek:
        cards = tuple(
            card
            for card in cards
            if seek in f"{card.camera} {names.get(card.official or '', '')} {' '.join(card.held_by)}".casefold()
        )
    return {
        "cards": cards,
        "chosen": chosen,
        "seek": request.query.get("zoek", ""),
        "filters": list(FILTERS),
        "states": recording_states(words),
        "chains": chain_states(words),
        "names": names,
        "may_register": bool(someone_of(request).roles & REGISTERS_CASES),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One day of the calendar's picture: how many go that day, how many of those are apart, how many are kept then."""

    day: date
    goes: int
    apart: int
    kept: int


def _bars(days: Mapping[date, Sequence[RecordingCard]], held: Sequence[RecordingCard], *, today: date) -> list[Bar]:
    """Return a bar for today and each day after it, as far as something goes and at most two months."""
    last = min(max(days, default=today), today + timedelta(days=MOST_BARS - 1))
    found = []
    for n in range((max(last, today + timedelta(days=FEWEST_BARS - 1)) - today).days + 1):
        day = today + timedelta(days=n)
        going = [card for each, cards in days.items() if each == day or (n == 0 and each < day) for card in cards]
        kept = sum(card.expires_at.astimezone(HERE).date() <= day for card in held)
        apart = sum(card.state in FILTERS["apart"] for card in going)
        found.append(Bar(day=day, goes=len(going) - apart, apart=apart, kept=kept))
    return found


async def _views(town: Town, recording: str) -> list[Any]:
    async with town.database.transaction() as t:
        rows = (await t.execute(select(viewing_requests).where(viewing_requests.c.org == town.org))).all()
    return [row for row in rows if recording.encode() in row.request]


async def _noted(town: Town, recording: str) -> dict[str, Any]:
    """Return what a camera of another maker sent beside its footage. Where it was stays sealed, as for our own."""
    columns = outside_objects.c.name, outside_objects.c.letter, outside_objects.c.size_bytes
    query = select(*columns).where(outside_objects.c.org == town.org, outside_objects.c.recording == recording)
    async with town.database.transaction() as t:
        files = [(row.name, row.letter, row.size_bytes) for row in await t.execute(query)]
    return {"bookmarks": bookmarks_in(files), "trails": trails_in(files)}


ROUTES: Final = (
    web.get("/opnamen", show),
    web.get("/opnamen/deel", show_part),
    web.get("/opnamen/kalender", show_calendar),
    web.get("/opnamen/{recording}", show_one),
    web.get("/opnamen/{recording}/verklaring.json", carry_certificate),
)
