"""An officer's own report of each use, made for a telephone; and, for the coordinator, which are late."""

from typing import Any, Final

from aiohttp import web

from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny, form, may_open, page, someone_of, town_of, words_of
from cloud.desk.words import Words
from cloud.fleet.records import PressRow

SUPERVISES = frozenset({"coordinator", "cluster_manager"})
YES_NO = {"ja": True, "nee": False}
TEXTS = ("cause", "event", "how", "when", "why_not", "reason", "place_kind")


async def show(request: web.Request) -> web.StreamResponse:
    """What is still to be reported, drafts, and what was reported."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.REPORTS):
        return await deny(request, "meldingen", words("Uw functie geeft geen toegang tot meldingen."))
    late = await town.casework.overdue_reports(town.org) if someone.roles & SUPERVISES else ()
    presses = {str(press.recording): press for press in await town.fleet.activations(town.org)}
    return await page(
        request,
        "reports.html",
        owed=await town.casework.owed(town.org, of=someone.id),
        mine=await town.casework.reports(town.org, of=someone.id),
        late=late,
        presses=presses,
        names=await town.people.names(),
        **await waiting_alarms(request),
    )


async def show_one(request: web.Request) -> web.StreamResponse:
    """The form of one use, or (without a recording) of a warning that sufficed."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.REPORTS):
        return await deny(request, "meldingen", words("Uw functie geeft geen toegang tot meldingen."))
    recording = request.query.get("opname", "")
    mine = await town.casework.reports(town.org, of=someone.id)
    report = next((each for each in mine if recording and each.recording == recording), None)
    presses = {str(press.recording): press for press in await town.fleet.activations(town.org)}
    press: PressRow | None = presses.get(recording)
    people = await town.people.all(town.now())
    return await page(
        request,
        "report.html",
        recording=recording,
        press=press,
        report=report,
        answers=dict(report.answers) if report else {},
        colleagues=[person for person in people.values() if person.id != someone.id],
        reasons=activation_reasons(words),
        places=place_kinds(words),
        **await waiting_alarms(request),
    )


async def save(request: web.Request) -> web.StreamResponse:
    """Keep it as a draft, or submit it: what is missing is said, and the draft stays."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.REPORTS):
        return await deny(request, "meldingen", words("Uw functie geeft geen toegang tot meldingen."))
    data, fields = await request.post(), await form(request)
    answers: dict[str, Any] = {name: fields[name] for name in TEXTS if fields.get(name)}
    for name in ("bystanders_informed", "information_given"):
        if fields.get(name) in YES_NO:
            answers[name] = YES_NO[fields[name]]
    answers["present_staff"] = [str(each) for each in data.getall("present_staff", [])]
    report = await town.casework.save_report(
        town.org,
        by=someone.id,
        answers=answers,
        recording=fields.get("opname") or None,
        report=fields.get("melding") or None,
    )
    if fields.get("doe") == "insturen":
        await town.casework.submit_report(town.org, report.id, by=someone.id)
    raise web.HTTPSeeOther("/meldingen")


def activation_reasons(words: Words) -> dict[str, str]:
    """Return what each reason to switch on is called."""
    return {
        "threatening_escalation": words("het dreigde te escaleren"),
        "escalation": words("het escaleerde"),
        "own_safety": words("mijn eigen veiligheid"),
        "safety_of_others": words("de veiligheid van anderen"),
    }


def place_kinds(words: Words) -> dict[str, str]:
    """Return what each kind of place is called."""
    return {
        "public_space": words("openbare ruimte"),
        "publicly_accessible": words("ruimte die voor publiek open is"),
        "private_property": words("privéterrein"),
        "dwelling": words("woning"),
    }


ROUTES: Final = (
    web.get("/meldingen", show),
    web.get("/meldingen/nieuw", show_one),
    web.post("/meldingen", save),
)
