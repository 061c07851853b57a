"""Verstrekken: from a case with a basis to the package for police, prosecution or who asked for access; two sign."""

import asyncio
from typing import Any, Final

from aiohttp import web

from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, refuse
from cloud.casework.cases import Case
from cloud.desk.names import recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.redaction import is_derivative
from cloud.desk.pages.room import candidates_for, sign_with_software
from cloud.desk.town import (
    HANDOVERS,
    ROOMS,
    deny,
    form,
    page,
    someone_of,
    town_of,
    words_of,
)
from cloud.rules.rights import DATA_SUBJECT, HandOver, judge_copy
from cloud.viewing.handover import HandOvers, purpose_of


async def show_new(request: web.Request) -> web.StreamResponse:
    """The form: to whom, which recordings, why, and who signs as the second."""
    town, someone = town_of(request), someone_of(request)
    case = await town.casework.case(town.org, request.query.get("dossier", ""))
    policy = await town.policy()
    if policy.disclosure.by not in {*someone.roles, *someone.substitutes}:
        return await deny(request, "disclosure", words_of(request)("Uw functie verstrekt geen beelden."))
    copies = case.kind is CaseKind.ACCESS_REQUEST
    if copies and not (verdict := judge_copy(policy, _copy_of(case))):
        return await deny(request, "disclosure", verdict.waarom)
    purpose = purpose_of(policy, case)
    cards = [
        card
        for card in await town.casework.recordings(town.org, case=case.id)
        if card.state in ("retained", "held") and (not copies or await is_derivative(request, card.id))
    ]
    candidates = await candidates_for(request, case, purpose, cards[0].id) if cards else []
    return await page(
        request,
        "handover_new.html",
        case=case,
        cards=cards,
        candidates=candidates,
        alone=policy.viewing.quorum == 1,
        recipients=(DATA_SUBJECT,) if copies else tuple(each.value for each in policy.disclosure.recipients),
        states=recording_states(words_of(request)),
        **await waiting_alarms(request),
    )


def _copy_of(case: Case) -> HandOver:
    facts = {name: str(value) for name, value in case.facts.items()}
    return HandOver(
        case_kind=case.kind, case_open=case.is_open, basis=case.kind, recipient=DATA_SUBJECT, demand_facts=facts
    )


async def ask(request: web.Request) -> web.StreamResponse:
    """Record the hand-over and put it before the second person; each in the ledger first."""
    town, someone, office = town_of(request), someone_of(request), _office(request)
    fields, data = await form(request), await request.post()
    chosen = [str(each) for each in data.getall("opname", [])]
    if not fields.get("reden"):
        words = words_of(request)
        raise refuse(Code.MALFORMED, words("verzoek"), expected=words("een reden"), got=words("niets"))
    disclosure = await town.casework.prepare_disclosure(
        town.org, fields.get("dossier", ""), by=someone.id, recipient=fields.get("ontvanger", ""), recordings=chosen
    )
    await town.casework.approve_disclosure(town.org, disclosure, by=someone.id)
    room = await office.ask(
        disclosure,
        requester=someone.id,
        second=fields.get("tweede") or None,
        reason=fields["reden"],
        policy=await town.policy(),
    )
    rooms = request.config_dict[ROOMS]
    if town.keys is None:
        await rooms.ask(room, sign_with_software(town, someone.id, rooms.challenge(room)))
    raise web.HTTPSeeOther(f"/kijkkamer/{room.id}")


async def pack(request: web.Request) -> web.StreamResponse:
    """Make the package of an approved hand-over."""
    someone, rooms = someone_of(request), request.config_dict[ROOMS]
    room = rooms.find(request.match_info["room"])
    if someone.id != room.request.requester:
        return await deny(request, "disclosure", words_of(request)("Alleen wie erom vroeg maakt het bewijspakket."))
    package = await _office(request).pack(room, by=someone.id)
    raise web.HTTPSeeOther(f"/verstrekken/{package.disclosure}")


async def show_one(request: web.Request) -> web.StreamResponse:
    """What went out, and the package as long as it was not fetched."""
    disclosure, made = await _mine(request)
    if disclosure is None:
        return await deny(request, "disclosure", words_of(request)("U heeft deze verstrekking niet gedaan."))
    return await page(request, "handover.html", row=disclosure, there=made, **await waiting_alarms(request))


async def fetch(request: web.Request) -> web.StreamResponse:
    """Give the package, once, to who made it."""
    disclosure, there = await _mine(request)
    if disclosure is None or not there:
        return await deny(request, "disclosure", words_of(request)("Dit bewijspakket is er niet (meer)."))
    package = await asyncio.to_thread(_office(request).take, disclosure.id)
    return web.Response(
        body=package,  # read and sent piece by piece, and closed
        content_type="application/zip",
        headers={
            "Cache-Control": "no-store, private",
            "Content-Disposition": f'attachment; filename="verstrekking-{disclosure.id}.zip"',
        },
    )


async def _mine(request: web.Request) -> tuple[Any, bool]:
    town, name = town_of(request), request.match_info["disclosure"]
    row = await town.casework.disclosure(town.org, name)
    if row.prepared_by != someone_of(request).id:
        return None, False
    return row, _office(request).find(row.id) is not None


def _office(request: web.Request) -> HandOvers:
    office = request.config_dict.get(HANDOVERS)
    if office is None:
        raise web.HTTPNotFound
    return office


ROUTES: Final = (
    web.get("/verstrekken/nieuw", show_new),
    web.post("/verstrekken", ask),
    web.get("/verstrekken/{disclosure}", show_one),
    web.get("/verstrekken/{disclosure}/pakket", fetch),
    web.post("/kijkkamer/{room}/pakket", pack),
)
