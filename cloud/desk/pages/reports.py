"""An officer's own report of each use, made for a telephone; and, for the coordinator, which are late."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from broker.wire.ids import parse_recording
from broker.wire.refusals import Code, refuse
from cloud.casework.office import Denied
from cloud.casework.reports import Report
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.people import Someone
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, deny, form, may_open, page, part, someone_of, town_of, words_of
from cloud.desk.words import HERE, Words
from cloud.fleet.records import PressRow
from cloud.rules.duties import FLAGS, judge_report
from cloud.rules.verdicts import Verdict

SUPERVISES: Final = frozenset({"coordinator", "cluster_manager"})
"""Who may be told of a report that is late, beside the officer himself: the policy says which of the two."""

WATCHES: Final = "privacy_officer"
"""Who reads every report, and is shown which differ from the policy."""

YES_NO: Final = {"ja": True, "nee": False}
TEXTS: Final = (
    *("cause", "event", "how", "when", "why_not", "reason", "place_kind", "at_risk", "aggression_against"),
    *("information_why_not", "warning_why_not", "used_at", "camera"),
)
BOOLEANS: Final = ("bystanders_informed", "information_given")
WARNINGS: Final = {"ja": "yes", "nee": "no", "niet_mogelijk": "not_possible"}


async def show(request: web.Request) -> web.StreamResponse:
    """What is still to be reported, drafts and reports; for whoever is told of them what came in, and what is late."""
    if not may_open(request, Door.REPORTS):
        return await deny(request, "meldingen", words_of(request)("Uw functie geeft geen toegang tot meldingen."))
    return await page(request, "reports.html", **await _facts(request), **await waiting_alarms(request))


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the page that changes."""
    if not may_open(request, Door.REPORTS):
        raise web.HTTPForbidden
    return await part(request, "part_reports.html", **await _facts(request))


async def show_form(request: web.Request) -> web.StreamResponse:
    """The form of one use; of a warning that sufficed; or of a use of which nothing was heard yet."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.REPORTS):
        return await deny(request, "meldingen", words("Uw functie geeft geen toegang tot meldingen."))
    recording, named = request.query.get("opname", ""), request.query.get("melding", "")
    mine = await town.casework.reports(town.org, of=someone.id)
    report = next(
        (each for each in mine if (named and each.id == named) or (recording and each.recording == recording)), None
    )
    recording = (report.recording or "") if report else recording
    press = (await _presses(town, {recording})).get(recording)
    answers = dict(report.answers) if report else {}
    kind = "opname" if recording else "losse-camera" if answers.get("used_at") else request.query.get("soort", "")
    people = await town.people.all(town.now())
    return await page(
        request,
        "report.html",
        recording=recording,
        kind=kind or "gewaarschuwd",
        press=press,
        report=report,
        answers=answers,
        missing=_missing(words, judge_report(await town.policy(), answers)) if "mist" in request.query else "",
        colleagues=[person for person in people.values() if person.id != someone.id],
        cameras=sorted(card.camera for card in town.fleet.cards(town.org)),
        reasons=activation_reasons(words),
        places=place_kinds(words),
        now_here=town.now().astimezone(HERE),
        **await waiting_alarms(request),
    )


async def show_one(request: web.Request) -> web.StreamResponse:
    """One report to read: for its writer, for whom it was reported to, and for the privacy officer."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    report = await town.casework.report(town.org, request.match_info["report"])
    if not reads(report, someone):
        return await deny(request, "melding", words("Deze melding is niet aan u gericht."))
    names = await town.people.names()
    return await page(
        request,
        "report_read.html",
        report=report,
        names=names,
        lines=_said(words, report.answers, names),
        press=await town.fleet.activation(UUID(report.recording)) if report.recording else None,
        flags=[FLAGS[each][words.language == "nl"] for each in report.flags],
        **await waiting_alarms(request),
    )


async def save(request: web.Request) -> web.StreamResponse:
    """Keep it as a draft, or submit it: what is missing is said at the form, and the draft stays."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.REPORTS):
        return await deny(request, "meldingen", words("Uw functie geeft geen toegang tot meldingen."))
    report, fields = await _keep(request), await form(request)
    if fields.get("doe") == "insturen" and report.state == "draft":
        try:
            await town.casework.submit_report(town.org, report.id, by=someone.id)
        except Denied as denied:
            if denied.refusal.code is not Code.MALFORMED:
                raise
            address = request.url.with_path("/meldingen/nieuw").with_query(melding=report.id, mist="ja")
            raise web.HTTPSeeOther(address.relative()) from denied
    raise web.HTTPSeeOther("/meldingen")


async def save_draft(request: web.Request) -> web.StreamResponse:
    """Keep what was typed so far, while it is typed: a telephone that dies loses nothing."""
    if not may_open(request, Door.REPORTS):
        raise web.HTTPForbidden
    report = await _keep(request)
    return web.json_response({"report": report.id, "state": report.state}, headers={"Cache-Control": "no-store"})


def reads(report: Report, someone: Someone) -> bool:
    """Whether a report is there to read for this person: its writer, whom it was told to, and who watches the rules."""
    return someone.id in {report.official, *report.notified} or WATCHES in someone.roles


def _missing(words: Words, verdict: Verdict) -> str:
    """Say what is missing, judged anew: a link could say anything."""
    return "" if verdict else verdict.waarom if words.language == "nl" else verdict.because


async def _keep(request: web.Request) -> Report:
    town, someone = town_of(request), someone_of(request)
    data, fields = await request.post(), await form(request)
    answers: dict[str, Any] = {name: fields[name] for name in TEXTS if name in fields}
    answers |= {name: YES_NO[fields[name]] for name in BOOLEANS if fields.get(name) in YES_NO}
    if fields.get("warning_given") in WARNINGS:
        answers["warning_given"] = WARNINGS[fields["warning_given"]]
    if fields.get("soort") == "gewaarschuwd":
        answers["warned_not_recorded"] = True
    answers["present_staff"] = [str(each) for each in data.getall("present_staff", [])]
    for name in ("reason", "place_kind", "at_risk", "aggression_against"):
        if not answers.get(name):
            answers.pop(name, None)  # nothing was chosen: that is no answer
    return await town.casework.save_report(
        town.org,
        by=someone.id,
        answers=answers,
        recording=_recording(fields.get("opname", "")),
        report=fields.get("melding") or None,
    )


def _recording(text: str) -> str | None:
    try:
        return str(parse_recording(text)) if text else None
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "recording", expected="the name of a recording", got=text[:40]) from cause


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredPress:
    """What a page says of a press that two people declared: of its place nothing is known."""

    camera: str
    activated_at: datetime
    place: str | None = None


async def _presses(town: Town, of: Collection[str]) -> dict[str, PressRow | DeclaredPress]:
    """Return the presses of these recordings: those that cameras told of, and those that were declared."""
    if not of:
        return {}
    found: dict[str, PressRow | DeclaredPress] = {
        each.recording: DeclaredPress(camera=each.origin.camera, activated_at=each.origin.pressed_at)
        for each in await town.casework.decisions_apart(town.org, *of)
        if each.state == "confirmed" and each.origin is not None
    }
    return found | await town.fleet.activations_of(town.org, of)


async def _facts(request: web.Request) -> dict[str, Any]:
    town, someone = town_of(request), someone_of(request)
    everything = await town.casework.reports(town.org)
    late = await town.casework.overdue_reports(town.org) if someone.roles & (SUPERVISES | {"officer"}) else ()
    told_me_late = [each for each in late if someone.id in each[1]]
    watches = WATCHES in someone.roles
    owed = await town.casework.owed(town.org, of=someone.id)
    mine = [each for each in everything if each.official == someone.id]
    drafts = {each.recording for each in mine if each.recording and not each.submitted_at}
    shown = drafts | {each.recording for each in owed} | {each.recording for each, _ in told_me_late}
    return {
        "owed": owed,
        "mine": mine,
        "told_me": [each for each in everything if someone.id in each.notified or (watches and each.flags)],
        "late": told_me_late,
        "presses": await _presses(town, shown),
        "names": await town.people.names(),
        "me": someone,
    }


def _said(words: Words, answers: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what a report says, question by question, in the order of the form."""
    chosen = {**activation_reasons(words), **place_kinds(words), **warnings(words), **at_whom(words)}
    found = []
    for name, asked in questions(words).items():
        answer = answers.get(name)
        if answer in (None, "", []):
            continue
        if isinstance(answer, bool):
            said = words("ja") if answer else words("nee")
        elif isinstance(answer, list):
            said = ", ".join(names.get(each, each) for each in answer)
        else:
            said = chosen.get(str(answer), str(answer))
        found.append((asked, said))
    return found


def questions(words: Words) -> dict[str, str]:
    """Return what is asked, in the order of the form."""
    return {
        "warned_not_recorded": words("Gewaarschuwd, niet opgenomen"),
        "used_at": words("Wanneer ging de camera aan?"),
        "camera": words("Welke camera?"),
        "reason": words("Waarom ging de camera aan?"),
        "cause": words("Wat was de aanleiding?"),
        "event": words("Wat gebeurde er?"),
        "at_risk": words("Wie liep gevaar?"),
        "aggression_against": words("Tegen wie was de agressie gericht?"),
        "warning_given": words("Is er vooraf gewaarschuwd?"),
        "warning_why_not": words("Waarom kon waarschuwen niet?"),
        "bystanders_informed": words("Zijn omstanders geïnformeerd over de camera?"),
        "how": words("Hoe?"),
        "when": words("Wanneer?"),
        "why_not": words("Zo niet: waarom niet?"),
        "information_given": words("Hebt u achteraf verteld waar mensen terechtkunnen?"),
        "information_why_not": words("Waarom kon dat niet?"),
        "place_kind": words("Wat voor plaats was het?"),
        "present_staff": words("Welke collega's waren erbij?"),
    }


def warnings(words: Words) -> dict[str, str]:
    """Return what each answer about the warning is called."""
    return {"yes": words("ja"), "no": words("nee"), "not_possible": words("dat kon niet")}


def at_whom(words: Words) -> dict[str, str]:
    """Return what people in a report are called."""
    return {
        "officer": words("ikzelf of een collega"),
        "bystanders": words("omstanders"),
        "both": words("allebei"),
        "person_involved": words("een betrokkene"),
        "third_party": words("een ander"),
    }


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
    web.get("/meldingen/deel", show_part),
    web.get("/meldingen/nieuw", show_form),
    web.get("/meldingen/{report}", show_one),
    web.post("/meldingen", save),
    web.post("/meldingen/concept", save_draft),
)
