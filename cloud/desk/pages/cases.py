"""Cases: registered in under a minute, with their hold at once; every step after it."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from aiohttp import web

import cloud.casework.letters
from broker.wire.policy import CaseKind, EndsWhen, Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.cases import STEPS, Case
from cloud.desk.names import recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.reports import reads
from cloud.desk.pages.room import room_states
from cloud.desk.people import Someone
from cloud.desk.rules.doors import READS_ACCESS_REGISTER, REGISTERS_CASES, Door
from cloud.desk.town import Town, deny, form, may_open, page, part, someone_of, town_of, words_of
from cloud.desk.words import HERE
from cloud.rules.holds import OPEN
from cloud.rules.letters import Letter, Told, compose, letters_of, read_letters
from cloud.rules.rights import DEMAND_FIELDS
from cloud.rules.terms import day_of

TEMPLATES: Final = read_letters((Path(cloud.casework.letters.__file__).parent / "nl.toml").read_text(encoding="utf-8"))
"""The letters a case can write, read once."""

REPRESENTATION: Final = ("representative", "authority")
"""What is noted of somebody who asks for another."""

SOON_DAYS: Final = 7
"""A complaint is urgent this many days before its term ends; for access requests the policy has its own number."""


async def show(request: web.Request) -> web.StreamResponse:
    """Every case, open ones first; and what waits too long for the public prosecution."""
    words, roles = words_of(request), someone_of(request).roles
    if not may_open(request, Door.CASES):
        return await deny(request, "dossiers", words("Uw functie geeft geen toegang tot dossiers."))
    return await page(
        request,
        "cases.html",
        may_read_register=bool(roles & READS_ACCESS_REGISTER),
        **await _list_facts(request),
        **await waiting_alarms(request),
    )


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the list that changes."""
    if not may_open(request, Door.CASES):
        raise web.HTTPForbidden
    return await part(request, "part_cases.html", **await _list_facts(request))


async def _list_facts(request: web.Request) -> dict[str, Any]:
    town = town_of(request)
    everything, policy = await town.casework.cases(town.org), await town.policy()
    now, today = town.now(), day_of(town.now())
    return {
        "open_cases": sorted((case for case in everything if case.is_open), key=_most_urgent_first(today)),
        "closed_cases": [case for case in everything if not case.is_open],
        "to_review": [case for case in everything if waits_for_consent_since(case, policy, now)],
        "urgency": {case.id: urgency_of(case, today) for case in everything},
        "proposed": await town.casework.proposed_destructions(town.org),
        "names": await town.people.names(),
        "may_register": bool(someone_of(request).roles & REGISTERS_CASES),
    }


async def show_new(request: web.Request) -> web.StreamResponse:
    """The form: a kind, a day received, what it is about, and which footage or incident."""
    town, words = town_of(request), words_of(request)
    if not someone_of(request).roles & REGISTERS_CASES:
        return await deny(request, "case.register", words("Uw functie legt geen dossiers vast."))
    policy = await town.policy()
    cards = [card for card in await town.casework.recordings(town.org) if card.state in ("retained", "held", "due")]
    incident = request.query.get("voorval", "")
    return await page(
        request,
        "case_new.html",
        kinds=kinds_of(policy),
        cards=cards[:60],
        chosen=request.query.get("opname", ""),
        incident=await town.casework.incident(town.org, incident) if incident else None,
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
    kind = kind_named(fields.get("soort", ""))
    summary = fields.get("omschrijving", "")
    if not summary:
        raise refuse(Code.MALFORMED, words("dossier"), expected=words("een korte omschrijving"), got=words("niets"))
    case = await town.casework.register_case(
        town.org,
        by=someone.id,
        kind=kind,
        summary=summary,
        received_at=received_on(fields.get("ontvangen", ""), town.now()),
        recordings=[str(each) for each in data.getall("opname", [])],
        incidents=[str(each) for each in data.getall("voorval", [])],
        facts={name: fields[name] for name in (*DEMAND_FIELDS, *REPRESENTATION) if fields.get(name)},
    )
    raise web.HTTPSeeOther(f"/dossiers/{case.id}")


async def show_one(request: web.Request) -> web.StreamResponse:
    """One case: what it holds until when, what was done, what can be done now."""
    words = words_of(request)
    if not may_open(request, Door.CASES):
        return await deny(request, "dossiers", words("Uw functie geeft geen toegang tot dossiers."))
    return await page(request, "case.html", **await _case_facts(request), **await waiting_alarms(request))


async def show_one_part(request: web.Request) -> web.StreamResponse:
    """The part of a case's page that changes."""
    if not may_open(request, Door.CASES):
        raise web.HTTPForbidden
    return await part(request, "part_case.html", **await _case_facts(request))


async def _case_facts(request: web.Request) -> dict[str, Any]:
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    case, policy = await town.casework.case(town.org, request.match_info["case"]), await town.policy()
    cards = await town.casework.recordings(town.org, case=case.id)
    here = {card.id for card in cards}
    return {
        "case": case,
        "cards": cards,
        "waiting": [each for each in case.recordings if each not in here],
        "told_of": await _told_of_use(town, someone, case.recordings),
        "looking": await town.casework.viewings_going_on(town.org, case.id),
        "room_states": room_states(request),
        "steps": {
            name: STEPS[name]
            for name in case.can
            if name in STEPS and not (name == "extend" and case.facts.get("extended"))
        },
        "names": await town.people.names(),
        "states": recording_states(words),
        "ends": ends_when(words),
        "step_names": step_names(words),
        "decisions": decision_names(words),
        "fields": field_names(words),
        "kinds": kinds_of(policy),
        "demand_fields": DEMAND_FIELDS,
        "letters": letter_names(case, policy),
        "urgency": urgency_of(case, day_of(town.now())),
        "incidents": [await town.casework.incident(town.org, each) for each in case.incidents],
        "purposes": [p for p in policy.purposes.items() if case.kind in p[1].case_kinds],
        "may_register": bool(someone.roles & REGISTERS_CASES),
        "today": day_of(town.now()).isoformat(),
    }


async def _told_of_use(town: Town, someone: Someone, recordings: Sequence[str]) -> dict[str, list[tuple[str, bool]]]:
    """Return per recording the reports of its use that were submitted, and whether this person may read them."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for report in await town.casework.reports(town.org, about=recordings):
        if report.recording and report.submitted_at:
            found.setdefault(report.recording, []).append((report.id, reads(report, someone)))
    return found


async def take_step(request: web.Request) -> web.StreamResponse:
    """Take the next step of a case; who may and what it must say is decided by casework."""
    town, someone = town_of(request), someone_of(request)
    fields, data = await form(request), await request.post()
    case = request.match_info["case"]
    told: dict[str, Any] = {
        name: value for name, value in fields.items() if name not in ("csrf", "stap", "terug") and value
    }
    if "recordings" in told:
        told["recordings"] = " ".join(str(each) for each in data.getall("recordings"))
    await town.casework.take_step(town.org, case, fields.get("stap", ""), by=someone.id, facts=told)
    raise web.HTTPSeeOther(f"/dossiers/{case}")


async def show_access_register(request: web.Request) -> web.StreamResponse:
    """The separate register of access requests: every one of them, also when its footage is long gone."""
    town, words = town_of(request), words_of(request)
    if not someone_of(request).roles & READS_ACCESS_REGISTER:
        return await deny(request, "access register", words("Uw functie leest het register van inzageverzoeken niet."))
    there = {case.id: case for case in await town.casework.cases(town.org, kinds=(CaseKind.ACCESS_REQUEST,))}
    today = day_of(town.now())
    rows = list(await town.casework.access_requests(town.org))
    return await page(
        request,
        "access_register.html",
        rows=list(reversed(rows)),
        cases=there,
        urgency={name: urgency_of(case, today) for name, case in there.items()},
        too_late=sum(row.outcome == "destroyed_before_registration" for row in rows),
        decisions=decision_names(words),
        register_states=register_states(words),
        may_open_cases=may_open(request, Door.CASES),
        names=await town.people.names(),
        **await waiting_alarms(request),
    )


async def show_letter(request: web.Request) -> web.StreamResponse:
    """A letter of this case, to print: in Dutch, whatever language the desk speaks."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.CASES):
        return await deny(request, "dossiers", words("Uw functie geeft geen toegang tot dossiers."))
    case, policy = await town.casework.case(town.org, request.match_info["case"]), await town.policy()
    letter = letter_of(case, request.match_info["letter"], policy, today=day_of(town.now()))
    return await page(request, "letter.html", case=case, letter=letter, **await waiting_alarms(request))


def letter_names(case: Case, policy: Policy) -> dict[str, str]:
    """Return the letters that this case can write now, with what each is called."""
    return {key: TEMPLATES[key].name for key in letters_of(TEMPLATES, _told_of(case), policy)}


def letter_of(case: Case, name: str, policy: Policy, *, today: date) -> Letter:
    """Return this letter of this case, filled in; raise Refused (NOT_FOUND) for one that it can not write now."""
    if name not in letter_names(case, policy):
        raise refuse(Code.NOT_FOUND, "letter", expected="a letter that this case can write now", got=name)
    return compose(TEMPLATES[name], _told_of(case), policy, today=today)


def _told_of(case: Case) -> Told:
    """Return the case as letters need to know it."""
    standing = [hold for hold in case.holds if hold.state in OPEN]
    return Told(
        kind=case.kind,
        number=case.number,
        received_at=case.received_at,
        answer_by=case.answer_by,
        facts=case.facts,
        state=case.state,
        held=bool(standing),
        held_since=min((hold.placed_at for hold in standing), default=None),
        recordings=len(case.recordings),
        outcomes=frozenset(hold.outcome for hold in case.holds if hold.outcome),
    )


def waits_for_consent_since(case: Case, policy: Policy, now: datetime) -> bool:
    """Whether a hold of this case has waited for the public prosecution longer than the policy's review term."""
    return any(
        hold.state in OPEN
        and EndsWhen.OM_CONSENT in hold.waits_for
        and now - hold.placed_at > timedelta(days=policy.hold.review_days)
        for hold in case.holds
    )


def urgency_of(case: Case, today: date) -> str:
    """Return how the term of a case stands: ``late``, ``soon``, ``good``, or nothing where no term runs."""
    answered = case.facts.get("decision") or not case.is_open or case.state == "final"
    if case.answer_by is None or answered:
        return ""
    if today > case.answer_by:
        return "late"
    last_week = case.answer_by - timedelta(days=SOON_DAYS)
    warn_on = last_week if case.warn_on is None or case.facts.get("extended") else case.warn_on
    return "soon" if today >= warn_on else "good"


def _most_urgent_first(today: date) -> Callable[[Case], tuple[int, date]]:
    """Return the order of the list of open cases: what is late, what is nearly so, and then the newest."""
    ranks = {"late": 0, "soon": 1}

    def rank(case: Case) -> tuple[int, date]:
        found = ranks.get(urgency_of(case, today), 2)
        return found, case.answer_by if found < 2 and case.answer_by else date.max

    return rank


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
        "add": words("opnamen toegevoegd"),
        "confirm": words("noodrem bevestigd"),
    }


def decision_names(words: Any) -> dict[str, str]:
    """Return what each decision on an access request is called."""
    return {
        "granted": words("toegewezen"),
        "partly": words("deels toegewezen"),
        "refused": words("afgewezen"),
        "not_on_footage": words("niet op de beelden"),
        "no_footage": words("geen beelden"),
        "withdrawn": words("ingetrokken"),
    }


def register_states(words: Any) -> dict[str, str]:
    """Return what each state of an access request is called."""
    return {
        "received": words("ontvangen"),
        "identity_check": words("identiteit"),
        "assessment": words("beoordeling"),
        "decided": words("besloten"),
        "carried_out": words("uitgevoerd"),
        "objection_window": words("bezwaartermijn"),
        "objection": words("bezwaar"),
        "appeal_window": words("beroepstermijn"),
        "appeal": words("beroep"),
        "final": words("definitief"),
        "closed": words("afgesloten"),
        "withdrawn": words("ingetrokken"),
        "other_kind": words("bleek geen inzageverzoek"),
    }


def field_names(words: Any) -> dict[str, str]:
    """Return what the facts of a step are called."""
    return {
        "method": words("hoe vastgesteld"),
        "decision": words("besluit"),
        "reason": words("reden"),
        "attendees": words("aanwezigen"),
        "told_no_copy": words("gezegd dat kopiëren niet mag (ja)"),
        "sent_on": words("verstuurd op"),
        "objected_on": words("bezwaar van"),
        "objection_sent_on": words("besluit verstuurd op"),
        "objection_reason": words("waarom, in woorden voor de brief"),
        "upheld": words("gegrond (ja of nee)"),
        "appealed_on": words("beroep van"),
        "judged_final_on": words("definitief op"),
        "recordings": words("opnamen"),
        "who": words("wie bij het OM"),
        "date": words("datum"),
        "reference": words("kenmerk"),
        "authority": words("machtiging gezien: welke, van wie"),
        "visible": words("staat de verzoeker erop, per opname"),
        "others_harmed": words("rechten van anderen op de beelden"),
        "necessity": words("noodzaak (mag leeg blijven)"),
        "regime": words("regime: avg of wpg"),
        "outcome_told": words("uitkomst, in woorden voor de brief"),
    }


def kind_named(text: str) -> CaseKind:
    """Return the kind of case that a form named; raise Refused (MALFORMED)."""
    try:
        return CaseKind(text)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "case", expected="a kind of case", got=text) from cause


def received_on(text: str, now: datetime) -> datetime | None:
    """Return the moment of receipt: a day without a time counts from its beginning, never in the future."""
    if not text:
        return None
    try:
        day = datetime.fromisoformat(text).date()
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "day of receipt", expected="a day", got=text) from cause
    moment = datetime.combine(day, time(0), tzinfo=HERE)
    return now if now - moment < timedelta(days=1) else moment


ROUTES: Final = (
    web.get("/dossiers", show),
    web.get("/dossiers/deel", show_part),
    web.get("/dossiers/nieuw", show_new),
    web.get("/dossiers/inzageregister", show_access_register),
    web.post("/dossiers", register),
    web.get("/dossiers/{case}", show_one),
    web.get("/dossiers/{case}/deel", show_one_part),
    web.post("/dossiers/{case}/stap", take_step),
    web.get("/dossiers/{case}/brief/{letter}", show_letter),
)
