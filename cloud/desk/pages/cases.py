"""Cases: registered in under a minute, with their hold at once; every step after it."""

from datetime import datetime, time, timedelta
from typing import Any, Final

from aiohttp import web

from broker.wire.policy import CaseKind, Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.cases import STEPS
from cloud.desk.names import recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import REGISTERS_CASES, Door
from cloud.desk.town import deny, form, may_open, page, someone_of, town_of, words_of
from cloud.desk.words import HERE
from cloud.rules.rights import DEMAND_FIELDS


async def show(request: web.Request) -> web.StreamResponse:
    """Every case, open ones first."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.CASES):
        return await deny(request, "dossiers", words("Uw functie geeft geen toegang tot dossiers."))
    everything = sorted(await town.casework.cases(town.org), key=lambda case: case.registered_at, reverse=True)
    return await page(
        request,
        "cases.html",
        open_cases=[case for case in everything if case.is_open],
        closed_cases=[case for case in everything if not case.is_open],
        names=await town.people.names(),
        may_register=bool(someone_of(request).roles & REGISTERS_CASES),
        **await waiting_alarms(request),
    )


async def show_new(request: web.Request) -> web.StreamResponse:
    """The form: a kind, a day received, what it is about, and which footage."""
    town, words = town_of(request), words_of(request)
    if not someone_of(request).roles & REGISTERS_CASES:
        return await deny(request, "case.register", words("Uw functie legt geen dossiers vast."))
    policy = await town.policy()
    cards = [card for card in await town.casework.recordings(town.org) if card.state in ("retained", "held", "due")]
    return await page(
        request,
        "case_new.html",
        kinds=kinds_of(policy),
        cards=cards[:60],
        chosen=request.query.get("opname", ""),
        kind=request.query.get("soort", ""),
        names=await town.people.names(),
        states=recording_states(words),
        demand_fields=DEMAND_FIELDS,
        today=town.now().astimezone(HERE).date().isoformat(),
        **await waiting_alarms(request),
    )


async def register(request: web.Request) -> web.StreamResponse:
    """Register it: the hold is placed in the same transaction."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    data = await request.post()
    fields = await form(request)
    if not someone.roles & REGISTERS_CASES:
        return await deny(request, "case.register", words("Uw functie legt geen dossiers vast."))
    kind = _kind(fields.get("soort", ""))
    summary = fields.get("omschrijving", "")
    if not summary:
        raise refuse(Code.MALFORMED, words("dossier"), expected=words("een korte omschrijving"), got=words("niets"))
    case = await town.casework.register_case(
        town.org,
        by=someone.id,
        kind=kind,
        summary=summary,
        received_at=_received(fields.get("ontvangen", ""), town.now()),
        recordings=[str(each) for each in data.getall("opname", [])],
        facts={name: fields[name] for name in DEMAND_FIELDS if fields.get(name)},
    )
    raise web.HTTPSeeOther(f"/dossiers/{case.id}")


async def show_one(request: web.Request) -> web.StreamResponse:
    """One case: what it holds until when, what was done, what can be done now."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.CASES):
        return await deny(request, "dossiers", words("Uw functie geeft geen toegang tot dossiers."))
    case = await town.casework.case(town.org, request.match_info["case"])
    cards = [await town.casework.recording(town.org, each) for each in case.recordings if await _came_in(town, each)]
    return await page(
        request,
        "case.html",
        case=case,
        cards=cards,
        waiting=[each for each in case.recordings if each not in {card.id for card in cards}],
        steps={name: STEPS[name].facts for name in case.can if name in STEPS},
        names=await town.people.names(),
        states=recording_states(words),
        ends=ends_when(words),
        step_names=step_names(words),
        purposes=[p for p in (await town.policy()).purposes.items() if case.kind in p[1].case_kinds],
        **await waiting_alarms(request),
    )


async def take_step(request: web.Request) -> web.StreamResponse:
    """Take the next step of a case; who may and what it must say is decided by casework."""
    town, someone = town_of(request), someone_of(request)
    fields = await form(request)
    case = request.match_info["case"]
    told = {name: value for name, value in fields.items() if name not in ("csrf", "stap", "terug") and value}
    await town.casework.take_step(town.org, case, fields.get("stap", ""), by=someone.id, facts=told)
    raise web.HTTPSeeOther(f"/dossiers/{case}")


async def release(request: web.Request) -> web.StreamResponse:
    """Release a hold, or ask for it where that takes two."""
    town, someone = town_of(request), someone_of(request)
    fields = await form(request)
    case = await town.casework.release_hold(
        town.org, request.match_info["hold"], by=someone.id, ground=fields.get("grond", "")
    )
    raise web.HTTPSeeOther(f"/dossiers/{case.id}")


def kinds_of(policy: Policy) -> list[CaseKind]:
    """Return the kinds of case this municipality knows; learning is asked for by the officer himself."""
    known = {kind for purpose in policy.purposes.values() for kind in purpose.case_kinds} | set(policy.hold.reasons)
    return [kind for kind in CaseKind if kind in known and kind is not CaseKind.LEARNING]


def ends_when(words: Any) -> dict[str, str]:
    """Return what must happen before a hold may end."""
    return {
        "decision_final": words("een definitief besluit"),
        "carried_out": words("uitvoering van het besluit"),
        "case_closed": words("afronding van het dossier"),
        "om_consent": words("toestemming van het Openbaar Ministerie"),
    }


def step_names(words: Any) -> dict[str, str]:
    """Return what the steps of a case are called."""
    return {
        "register": words("vastgelegd"),
        "check_identity": words("identiteit vastgesteld"),
        "assess": words("beoordelen"),
        "decide": words("besluit nemen"),
        "carry_out": words("inzage gegeven"),
        "carry_out_after_objection": words("inzage gegeven na bezwaar"),
        "send_refusal": words("afwijzing verstuurd"),
        "send_partial": words("deelbesluit verstuurd"),
        "become_final": words("besluit is definitief"),
        "object": words("bezwaar ontvangen"),
        "decide_objection": words("besluit op bezwaar"),
        "appeal": words("beroep ingesteld"),
        "judge": words("uitspraak van de rechter"),
        "withdraw": words("ingetrokken"),
        "handle": words("in behandeling nemen"),
        "extend": words("termijn verlengen"),
        "consent": words("toestemming van het OM vastleggen"),
        "approve": words("goedkeuren"),
        "refuse": words("weigeren"),
        "close": words("afsluiten"),
    }


def _kind(text: str) -> CaseKind:
    try:
        return CaseKind(text)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "case", expected="a kind of case", got=text) from cause


def _received(text: str, now: datetime) -> datetime | None:
    """Return the moment of receipt: a day without a time counts from its beginning, never in the future."""
    if not text:
        return None
    try:
        day = datetime.fromisoformat(text).date()
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "day of receipt", expected="a day", got=text) from cause
    moment = datetime.combine(day, time(0), tzinfo=HERE)
    return now if now - moment < timedelta(days=1) else moment


async def _came_in(town: Any, recording: str) -> bool:
    return bool([card for card in await town.casework.recordings(town.org) if card.id == recording])


ROUTES: Final = (
    web.get("/dossiers", show),
    web.get("/dossiers/nieuw", show_new),
    web.post("/dossiers", register),
    web.get("/dossiers/{case}", show_one),
    web.post("/dossiers/{case}/stap", take_step),
    web.post("/bewaarplicht/{hold}/opheffen", release),
)
