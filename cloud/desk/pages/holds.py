"""Acts on footage that is kept: the emergency hold, releasing one, destroying by hand, and grouping in an incident."""

from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from broker.wire.policy import CaseKind, Policy
from broker.wire.refusals import Code, refuse
from cloud.desk.names import recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.cases import ends_when, kind_named, kinds_of, received_on
from cloud.desk.rules.doors import REGISTERS_CASES, Door
from cloud.desk.town import deny, form, may_open, page, someone_of, town_of, words_of
from cloud.desk.words import HERE
from cloud.rules.rights import DEMAND_FIELDS

AROUND: Final = timedelta(minutes=30)
"""Recordings this close in time are offered for the same incident."""

GROUPS: Final = REGISTERS_CASES | {"coordinator", "safety_coordinator"}
"""Who may say that recordings belong to one incident; an officer says so in his own report."""


async def show_emergency(request: web.Request) -> web.StreamResponse:
    """The form for when little is known: about when, perhaps which camera or officer."""
    town, words = town_of(request), words_of(request)
    if not someone_of(request).roles & REGISTERS_CASES:
        return await deny(request, "case.register", words("Uw functie legt geen dossiers vast."))
    policy = await town.policy()
    people = await town.people.all(town.now())
    return await page(
        request,
        "emergency.html",
        kinds=holding_kinds(policy),
        officers=[each for each in people.values() if each.function],
        cameras=sorted(card.camera for card in town.fleet.cards(town.org)),
        now_here=town.now().astimezone(HERE),
        **await waiting_alarms(request),
    )


async def emergency(request: web.Request) -> web.StreamResponse:
    """Hold at once: one recording that was clicked on, or all of a stretch of time. Lapses if nobody confirms."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    fields = await form(request)
    if not someone.roles & REGISTERS_CASES:
        return await deny(request, "case.register", words("Uw functie legt geen dossiers vast."))
    policy = await town.policy()
    kind = kind_named(fields["soort"]) if fields.get("soort") else holding_kinds(policy)[0]
    summary = fields.get("omschrijving") or words("noodrem, nog niet uitgezocht")
    received_at = received_on(fields.get("ontvangen", ""), town.now())
    if recording := fields.get("opname"):
        case = await town.casework.register_case(
            town.org,
            by=someone.id,
            kind=kind,
            summary=summary,
            received_at=received_at,
            recordings=(recording,),
            provisional=True,
        )
    else:
        case = await town.casework.emergency_hold(
            town.org,
            by=someone.id,
            kind=kind,
            summary=summary,
            received_at=received_at,
            from_at=_moment(fields.get("van", "")),
            until_at=_moment(fields.get("tot", "")),
            camera=fields.get("camera") or None,
            officer=fields.get("handhaver") or None,
        )
    raise web.HTTPSeeOther(f"/dossiers/{case.id}")


async def confirm(request: web.Request) -> web.StreamResponse:
    """Make the emergency hold of a case a real one, of the kind it turned out to be."""
    town, someone, case = town_of(request), someone_of(request), request.match_info["case"]
    fields = await form(request)
    await town.casework.confirm_case(
        town.org,
        case,
        by=someone.id,
        kind=kind_named(fields["soort"]) if fields.get("soort") else None,
        facts={name: fields[name] for name in DEMAND_FIELDS if fields.get(name)},
    )
    raise web.HTTPSeeOther(f"/dossiers/{case}")


async def add(request: web.Request) -> web.StreamResponse:
    """Let a case be about more recordings, held from now on."""
    town, someone, case = town_of(request), someone_of(request), request.match_info["case"]
    data = await request.post()
    named = [str(each) for each in data.getall("opname", [])]
    await town.casework.add_to_case(town.org, case, by=someone.id, recordings=named)
    raise web.HTTPSeeOther(f"/dossiers/{case}")


async def show_release(request: web.Request) -> web.StreamResponse:
    """What will follow when this hold ends, before anybody confirms that."""
    town, words, hold = town_of(request), words_of(request), request.match_info["hold"]
    if not may_open(request, Door.CASES):
        return await deny(request, "dossiers", words("Uw functie geeft geen toegang tot dossiers."))
    follows = await town.casework.release_preview(town.org, hold)
    case = await town.casework.case_of_hold(town.org, hold)
    return await page(
        request,
        "release.html",
        case=case,
        hold=next(each for each in case.holds if each.id == hold),
        follows=follows,
        people=max((each.people_needed for each in follows), default=1),
        ends=ends_when(words),
        **await waiting_alarms(request),
    )


async def release(request: web.Request) -> web.StreamResponse:
    """Release a hold, or ask for it where that takes two."""
    town, someone = town_of(request), someone_of(request)
    fields = await form(request)
    case = await town.casework.release_hold(
        town.org, request.match_info["hold"], by=someone.id, ground=fields.get("grond", "")
    )
    raise web.HTTPSeeOther(f"/dossiers/{case.id}")


async def keep(request: web.Request) -> web.StreamResponse:
    """Let a hold stand of which somebody asked the end."""
    await form(request)
    town, someone = town_of(request), someone_of(request)
    case = await town.casework.refuse_release(town.org, request.match_info["hold"], by=someone.id)
    raise web.HTTPSeeOther(f"/dossiers/{case.id}")


async def destroy(request: web.Request) -> web.StreamResponse:
    """Propose the destruction of one recording, or confirm it as the second person; never under a hold."""
    town, someone, words = town_of(request), someone_of(request), words_of(request)
    fields, recording = await form(request), request.match_info["recording"]
    if not fields.get("grond"):
        raise refuse(Code.MALFORMED, words("vernietiging"), expected=words("een reden"), got=words("niets"))
    await town.casework.destroy_by_hand(town.org, recording, by=someone.id, ground=fields["grond"])
    raise web.HTTPSeeOther(f"/opnamen/{recording}")


async def spare(request: web.Request) -> web.StreamResponse:
    """Take a proposal to destroy back."""
    await form(request)
    town, someone, recording = town_of(request), someone_of(request), request.match_info["recording"]
    await town.casework.withdraw_destruction(town.org, recording, by=someone.id)
    raise web.HTTPSeeOther(f"/opnamen/{recording}")


async def decide(request: web.Request) -> web.StreamResponse:
    """Decide on footage that differs from the policy: let it into its term, or propose its destruction."""
    town, someone, words = town_of(request), someone_of(request), words_of(request)
    fields, recording = await form(request), request.match_info["recording"]
    if not fields.get("grond") or fields.get("besluit") not in ("bewaren", "vernietigen"):
        raise refuse(Code.MALFORMED, words("besluit"), expected=words("een besluit en een reden"), got=words("niets"))
    await town.casework.decide_restricted(
        town.org, recording, by=someone.id, keep=fields["besluit"] == "bewaren", ground=fields["grond"]
    )
    raise web.HTTPSeeOther(f"/opnamen/{recording}")


# --- incidents --------------------------------------------------------------------------------------------------------


async def open_incident(request: web.Request) -> web.StreamResponse:
    """Say that these recordings are of one incident: a case on it holds all of them, also those that come later."""
    town, someone, words = town_of(request), someone_of(request), words_of(request)
    fields, data = await form(request), await request.post()
    if not someone.roles & GROUPS:
        return await deny(request, "incident.open", words("Uw functie brengt geen opnamen bij elkaar."))
    if not fields.get("naam"):
        raise refuse(Code.MALFORMED, words("voorval"), expected=words("een korte naam"), got=words("niets"))
    named = [str(each) for each in data.getall("opname", [])]
    incident = await town.casework.open_incident(town.org, by=someone.id, label=fields["naam"], recordings=named)
    raise web.HTTPSeeOther(f"/voorvallen/{incident}")


async def join_incident(request: web.Request) -> web.StreamResponse:
    """Put more recordings into an incident: the cases on it hold them from now on."""
    town, someone, words = town_of(request), someone_of(request), words_of(request)
    data, incident = await request.post(), request.match_info["incident"]
    if not someone.roles & GROUPS:
        return await deny(request, "incident.join", words("Uw functie brengt geen opnamen bij elkaar."))
    named = [str(each) for each in data.getall("opname", [])]
    await town.casework.join_incident(town.org, incident, by=someone.id, recordings=named)
    raise web.HTTPSeeOther(f"/voorvallen/{incident}")


async def show_incident(request: web.Request) -> web.StreamResponse:
    """One incident: its recordings of all cameras, those still on their way, and the cases on it."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.RECORDINGS):
        return await deny(request, "opnamen", words("Uw functie geeft geen toegang tot de lijst van opnamen."))
    incident = await town.casework.incident(town.org, request.match_info["incident"])
    cards = await town.casework.recordings(town.org, incident=incident.id)
    here = {card.id for card in cards}
    begun = min((card.started_at for card in cards), default=incident.opened_at)
    over = max((card.ended_at for card in cards), default=incident.opened_at)
    near = await town.casework.recordings(town.org, from_at=begun - AROUND, until_at=over + AROUND)
    roles = someone_of(request).roles
    return await page(
        request,
        "incident.html",
        incident=incident,
        cards=cards,
        on_the_way=[each for each in incident.announced if each not in here],
        near=[card for card in near if card.incident is None and card.state in ("retained", "held", "due")],
        cases=await town.casework.cases(town.org, incident=incident.id),
        states=recording_states(words),
        names=await town.people.names(),
        may_group=bool(roles & GROUPS),
        may_register=bool(roles & REGISTERS_CASES),
        **await waiting_alarms(request),
    )


def holding_kinds(policy: Policy) -> list[CaseKind]:
    """Return the kinds of case that hold footage here, the one that comes in most first."""
    return [kind for kind in kinds_of(policy) if kind in policy.hold.reasons]


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=HERE)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "time", expected="a day and a time", got=text) from cause


ROUTES: Final[tuple[Any, ...]] = (
    web.get("/noodrem", show_emergency),
    web.post("/noodrem", emergency),
    web.post("/dossiers/{case}/bevestigen", confirm),
    web.post("/dossiers/{case}/opnamen", add),
    web.get("/bewaarplicht/{hold}", show_release),
    web.post("/bewaarplicht/{hold}/opheffen", release),
    web.post("/bewaarplicht/{hold}/behouden", keep),
    web.post("/opnamen/{recording}/vernietigen", destroy),
    web.post("/opnamen/{recording}/sparen", spare),
    web.post("/opnamen/{recording}/beslissen", decide),
    web.post("/voorvallen", open_incident),
    web.get("/voorvallen/{incident}", show_incident),
    web.post("/voorvallen/{incident}/opnamen", join_incident),
)
