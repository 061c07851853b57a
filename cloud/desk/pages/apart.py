"""Footage that is kept apart: what it is, why, until when; and the decision that two people take on it."""

from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web
from sqlalchemy import select

from broker.wire.policy import Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.apart import Decision
from cloud.casework.casework import RecordingCard
from cloud.database.tables import outside_objects
from cloud.desk.names import chain_states, recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, deny, form, may_open, page, part, someone_of, town_of, words_of
from cloud.desk.words import HERE, Words
from cloud.rules.admission import DEVIATIONS
from cloud.rules.apart import SHUT, Origin
from cloud.rules.duties import REASONS


async def show(request: web.Request) -> web.StreamResponse:
    """What is kept apart, what goes first on top."""
    if not may_open(request, Door.RECORDINGS):
        return await deny(
            request, "opnamen", words_of(request)("Uw functie geeft geen toegang tot de lijst van opnamen.")
        )
    return await page(request, "apart.html", **await _list(request), **await waiting_alarms(request))


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the list that changes."""
    if not may_open(request, Door.RECORDINGS):
        raise web.HTTPForbidden
    return await part(request, "part_apart.html", **await _list(request))


async def show_one(request: web.Request) -> web.StreamResponse:
    """One recording that is kept apart: what is known of it, what waits, and the form."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.RECORDINGS):
        return await deny(request, "opnamen", words("Uw functie geeft geen toegang tot de lijst van opnamen."))
    card, policy = await town.casework.recording(town.org, request.match_info["recording"]), await town.policy()
    decisions = await town.casework.decisions_apart(town.org, card.id)
    why = await town.casework.why_apart(town.org)
    people = await town.people.all(town.now())
    return await page(
        request,
        "apart_one.html",
        card=card,
        why=_said(why.get(card.id, card.deviations), card, words),
        shut=bool(SHUT & set(card.deviations)),
        waiting=next((each for each in decisions if each.state == "open"), None),
        earlier=[each for each in decisions if each.state != "open"],
        may=await town.casework.may_decide_apart(town.org, card.id, by=someone.id),
        files=await _files(town, card.id),
        wearers=[each for each in people.values() if each.function in policy.wearers.functions],
        label=card.camera.removeprefix("import-"),
        begin=(card.activated_at or card.started_at).astimezone(HERE),
        reasons=press_reasons(policy, words),
        states=recording_states(words),
        chains=chain_states(words),
        names=await town.people.names(),
        me=someone,
        **await waiting_alarms(request),
    )


async def propose(request: web.Request) -> web.StreamResponse:
    """Declare where it comes from, or propose to leave it apart; a second person decides with it."""
    town, someone, recording = town_of(request), someone_of(request), request.match_info["recording"]
    fields = await form(request)
    card = await town.casework.recording(town.org, recording)
    await town.casework.propose_apart(
        town.org,
        recording,
        by=someone.id,
        origin=None if fields.get("besluit") == "apart" else _origin(fields, card, words_of(request)),
        ground=fields.get("grond", ""),
    )
    raise web.HTTPSeeOther(f"/opnamen/{recording}/apart")


async def confirm(request: web.Request) -> web.StreamResponse:
    """Agree, as the second person, with exactly what the page showed."""
    town, someone, recording = town_of(request), someone_of(request), request.match_info["recording"]
    fields = await form(request)
    found = await town.casework.decision_apart(town.org, recording, request.match_info["decision"])
    state = await town.casework.confirm_apart(town.org, found.id, by=someone.id, ground=fields.get("grond", ""))
    raise web.HTTPSeeOther(f"/opnamen/{recording}" + ("/apart" if state == "quarantined" else ""))


async def withdraw(request: web.Request) -> web.StreamResponse:
    """Let a proposal fall."""
    await form(request)
    town, someone, recording = town_of(request), someone_of(request), request.match_info["recording"]
    found = await town.casework.decision_apart(town.org, recording, request.match_info["decision"])
    await town.casework.withdraw_apart(town.org, found.id, by=someone.id)
    raise web.HTTPSeeOther(f"/opnamen/{recording}/apart")


def press_reasons(policy: Policy, words: Words) -> dict[str, str]:
    """Return the policy's reasons to press, and what each is called."""
    return {each.value: REASONS[each][words.language == "nl"] for each in policy.activation.reasons}


async def declaration_of(request: web.Request, recording: str, *, declared: bool) -> dict[str, Any]:
    """Return what a page says of a recording whose origin two people declared: the declaration, and their names."""
    town, words = town_of(request), words_of(request)
    found = await town.casework.declaration(town.org, recording) if declared else None
    names = await town.people.names() if found else {}
    people = [names.get(each, each) for each in found.people] if found else []
    return {
        "declaration": found if found and found.origin else None,
        "declarers": words("{first} en {second}", first=people[0], second=people[-1]) if people else "",
    }


async def _list(request: web.Request) -> dict[str, Any]:
    town, words = town_of(request), words_of(request)
    why = await town.casework.why_apart(town.org)
    cards = {card.id: card for card in await town.casework.recordings(town.org, states=("quarantined",))}
    decisions: dict[str, Decision] = {}
    for each in await town.casework.decisions_apart(town.org):
        if each.state != "withdrawn":
            decisions.setdefault(each.recording, each)
    found = sorted((card for card in cards.values()), key=lambda card: (bool(card.held_by), card.expires_at))
    return {
        "cards": found,
        "why": {card.id: _said(why.get(card.id, ()), card, words) for card in found},
        "decisions": decisions,
        "names": await town.people.names(),
        "me": someone_of(request),
    }


def _said(codes: tuple[str, ...], card: RecordingCard, words: Words) -> list[str]:
    said = [DEVIATIONS.get(each, (each, each))[words.language == "nl"] for each in codes]
    return said or [card.reason]


async def _files(town: Town, recording: str) -> Any:
    """Return the files of which it was made, where it came from outside."""
    columns = outside_objects.c.name, outside_objects.c.size_bytes, outside_objects.c.sha256
    query = select(*columns).where(outside_objects.c.org == town.org, outside_objects.c.recording == recording)
    async with town.database.transaction() as t:
        return (await t.execute(query.order_by(outside_objects.c.first))).all()


def _origin(fields: dict[str, str], card: RecordingCard, words: Words) -> Origin:
    missing = [name for name in ("camera", "handhaver", "moment", "aanleiding") if not fields.get(name)]
    if missing:
        raise refuse(
            Code.MALFORMED,
            words("verklaring van herkomst"),
            expected=words("camera, handhaver, moment en reden"),
            got=missing[0],
        )
    return Origin(
        camera=fields["camera"],
        official=fields["handhaver"],
        pressed_at=_pressed_at(fields["moment"], card),
        reason=fields["aanleiding"],
    )


def _pressed_at(text: str, card: RecordingCard) -> datetime:
    """Return the moment on the clock here; of the two that one hour in October has, the one within the footage."""
    try:
        told = datetime.fromisoformat(text).replace(tzinfo=HERE)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "time", expected="a day and a time", got=text) from cause
    again, rounded = told.replace(fold=1), timedelta(seconds=1)
    return again if card.started_at - rounded <= again <= card.ended_at + rounded else told


ROUTES: Final = (
    web.get("/opnamen/apart", show),
    web.get("/opnamen/apart/deel", show_part),
    web.get("/opnamen/{recording}/apart", show_one),
    web.post("/opnamen/{recording}/apart", propose),
    web.post("/opnamen/{recording}/apart/{decision}/bevestigen", confirm),
    web.post("/opnamen/{recording}/apart/{decision}/intrekken", withdraw),
)
