"""Figures for evaluation, each as a picture with its table, and the survey among officers. Never per officer."""

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from broker.wire.policy import Policy
from broker.wire.refusals import Code, refuse
from cloud.desk.names import case_kinds
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.reports import activation_reasons, place_kinds, warnings
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, deny, form, may_open, page, someone_of, town_of, words_of
from cloud.desk.words import Words
from cloud.rules.quarters import SETTLES, Quarter, latest, read_quarter
from cloud.rules.statistics import Figure
from cloud.rules.survey import ANSWERS, OPENS_ROUNDS

PUBLISHED: Final = web.AppKey("published", dict[str, tuple[Figure, ...]])
QUARTERS_SHOWN: Final = 8
STATEMENTS: Final = 5


async def show(request: web.Request) -> web.StreamResponse:
    """One quarter: a picture and a table of everything that may be counted."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.FIGURES):
        return await deny(request, "cijfers", words("Uw functie geeft geen toegang tot de cijfers."))
    policy, quarter = await town.policy(), _quarter(request)
    quarters = latest(town.now(), count=QUARTERS_SHOWN)
    return await page(
        request,
        "figures.html",
        quarter=quarter,
        quarters=quarters,
        settles_days=SETTLES.days,
        next_at=quarters[0].next().counted_at,
        quarter_name=quarter_name(words),
        figures=await town.casework.figures(town.org, quarter),
        titles=titles(words),
        cell_names=cell_names(words, policy),
        surveys=await town.casework.surveys(town.org),
        answers=answer_names(words),
        may_ask=bool(someone_of(request).roles & OPENS_ROUNDS),
        statements=STATEMENTS,
        **await waiting_alarms(request),
    )


async def carry_away(request: web.Request) -> web.StreamResponse:
    """The same figures as CSV; what is suppressed is an empty cell, and a figure's total has no category."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.FIGURES):
        return await deny(request, "cijfers", words("Uw functie geeft geen toegang tot de cijfers."))
    quarter = _quarter(request)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("quarter", "figure", "category", "count", "suppressed_below"))
    for figure in await town.casework.figures(town.org, quarter):
        for category, count in (("", figure.total), *figure.cells.items()):
            shown = "" if count is None else str(count)
            rows.writerow((quarter.name, figure.dimension, category, shown, figure.threshold))
    return web.Response(
        text=text.getvalue(),
        content_type="text/csv",
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="cijfers-{town.org}-{quarter.name}.csv"',
        },
    )


async def ask(request: web.Request) -> web.StreamResponse:
    """Ask officers how safe they feel."""
    town, someone = town_of(request), someone_of(request)
    fields = await form(request)
    days = fields.get("dagen", "")
    if not days.isdecimal():
        raise refuse(Code.MALFORMED, "survey", expected="a number of days", got=days[:20])
    await town.casework.ask_survey(
        town.org,
        by=someone.id,
        label=fields.get("naam", ""),
        statements=tuple(fields.get(f"stelling-{at}", "") for at in range(STATEMENTS)),
        days=int(days[:4]),
    )
    raise web.HTTPSeeOther("/cijfers#vragenlijst")


async def show_survey(request: web.Request) -> web.StreamResponse:
    """What this officer is asked, on a telephone; and, once answered, thanks."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if "officer" not in someone.roles:
        return await deny(request, "survey.answer", words("Deze vragen zijn voor wie een camera draagt."))
    policy = await town.policy()
    return await page(
        request,
        "survey.html",
        asked=await town.casework.survey_for(town.org, someone.id),
        answers=answer_names(words),
        threshold=policy.statistics.threshold,
        **await waiting_alarms(request),
    )


async def answer(request: web.Request) -> web.StreamResponse:
    """Count the answers; who gave them is forgotten here."""
    town, someone = town_of(request), someone_of(request)
    fields = await form(request)
    given = {
        int(name.removeprefix("stelling-")): value
        for name, value in fields.items()
        if name.removeprefix("stelling-").isdecimal() and len(name) < 12
    }
    await town.casework.answer_survey(town.org, fields.get("vragenlijst", ""), by=someone.id, answers=given)
    raise web.HTTPSeeOther("/vragenlijst")


async def public_figures(town: Town, published: dict[str, tuple[Figure, ...]]) -> tuple[Quarter, tuple[Figure, ...]]:
    """Return what residents see: the last quarter that was counted.

    `published` keeps what was counted: anybody may ask for this page, as often as he likes.
    """
    (quarter,) = latest(town.now(), count=1)
    if quarter.name not in published:
        counted = await town.casework.figures(town.org, quarter)
        published.clear()
        published[quarter.name] = counted
    return quarter, published[quarter.name]


def quarter_name(words: Words) -> Any:
    """Return what a quarter is called."""

    def name(quarter: Quarter) -> str:
        return words("{n}e kwartaal {year}", n=quarter.number, year=quarter.year)

    return name


def titles(words: Words) -> Mapping[str, str]:
    """Return what each figure is called."""
    return {
        "activations": words("Keren dat een camera aanging, per maand"),
        "press_known_by": words("Hoe bekend is dat de camera aanging"),
        "area": words("Keren dat een camera aanging, per gebied"),
        "activation_reason": words("Waarom de camera aanging"),
        "place_kind": words("Waar de camera aanging"),
        "warning_given": words("Vooraf gewaarschuwd"),
        "warned_not_recorded": words("Gewaarschuwd en daarna niet nodig"),
        "reports_on_time": words("Gebruik op tijd gemeld"),
        "holds_by_kind": words("Beelden langer bewaard, per reden"),
        "views_by_purpose": words("Beelden bekeken, per doel"),
        "disclosures_by_recipient": words("Beelden verstrekt, aan wie"),
        "destroyed_on_time": words("Op tijd vernietigd"),
        "destroyed_before_registration": words("Al vernietigd toen het verzoek werd vastgelegd"),
    }


def cell_names(words: Words, policy: Policy) -> Callable[[str], Mapping[str, str]]:
    """Return what the categories of each figure are called; one that is not here is shown as it is (an area)."""
    named = {
        **activation_reasons(words),
        **place_kinds(words),
        **warnings(words),
        "heard": words("door de camera gemeld"),
        "declared": words("later door twee mensen verklaard"),
        "not_known": words("niet bekend"),
        "police": words("politie"),
        "om": words("Openbaar Ministerie"),
        "data_subject": words("wie om inzage vroeg"),
    }
    purposes = {name: each.nl if words.language == "nl" else each.en for name, each in policy.purposes.items()}

    def names(dimension: str) -> Mapping[str, str]:
        return {**named, **(purposes if dimension == "views_by_purpose" else case_kinds(words))}

    return names


def answer_names(words: Words) -> Mapping[str, str]:
    """Return what officers can answer."""
    return dict(
        zip(
            ANSWERS,
            (
                words("helemaal oneens"),
                words("oneens"),
                words("niet eens, niet oneens"),
                words("eens"),
                words("helemaal eens"),
            ),
            strict=True,
        )
    )


def _quarter(request: web.Request) -> Quarter:
    given = request.query.get("kwartaal")
    if given is None:
        return latest(town_of(request).now(), count=1)[0]
    try:
        return read_quarter(given)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "quarter", expected="a name such as 2026-4", got=given[:20]) from cause


ROUTES: Final = (
    web.get("/cijfers", show),
    web.get("/cijfers/bestand.csv", carry_away),
    web.post("/cijfers/vragenlijst", ask),
    web.get("/vragenlijst", show_survey),
    web.post("/vragenlijst", answer),
)
