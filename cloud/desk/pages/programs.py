"""Beheer: programs without a browser. Who asked for them, who let them in, what they may and did, and their end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aiohttp import web

from broker.wire.refusals import Code, refuse
from cloud.casework.programs import Program
from cloud.desk.pages.administration import end_of, may_of
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny, form, may_open, page, someone_of, town_of, words_of
from cloud.desk.words import HERE, Words
from cloud.rules.programs import (
    LONGEST,
    PREFIX,
    Scope,
    judge_asking,
    judge_confirming,
    judge_ending,
)

ENDS_SOON: Final = timedelta(days=30)
"""Somebody must make a new account before this one ends, and tell whoever runs the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One account on the page, and what its reader may do with it. `counts`: it may come in now."""

    program: Program
    counts: bool
    over: bool
    ends_soon: bool
    confirm: bool
    fetch: bool
    end: bool


async def show(request: web.Request) -> web.StreamResponse:
    """Every account: those that wait, those that count, and those that are over."""
    may = await may_of(request)
    if not may_open(request, Door.ADMINISTRATION) or not may.sees_people:
        why = words_of(request)("Uw functie geeft geen toegang tot dit deel van het beheer.")
        return await deny(request, "beheer", why)
    town, words, me = town_of(request), words_of(request), someone_of(request)
    policy, person = await town.policy(), await town.casework.person(town.org, me.id)
    now, asks, ends = town.now(), bool(judge_asking(policy, person)), bool(judge_ending(policy, person))
    shown = []
    for each in await town.programs.programs(town.org):
        over = each.ended_at is not None or each.until_at <= now
        waits = each.confirmed_at is None and not over
        shown.append(
            Shown(
                program=each,
                counts=each.issued_at is not None and not over,
                over=over,
                ends_soon=not over and each.until_at - now < ENDS_SOON,
                confirm=waits and bool(judge_confirming(policy, person, asked_by=each.asked_by)),
                fetch=not over and not waits and each.issued_at is None and each.asked_by == me.id and asks,
                end=ends and each.ended_at is None and not over,
            )
        )
    today = now.astimezone(HERE).date()
    return await page(
        request,
        "administration_programs.html",
        may=may,
        tab="programmas",
        open_programs=[each for each in shown if not each.over],
        past_programs=[each for each in shown if each.over],
        asks=asks,
        prefix=PREFIX,
        scopes=scope_names(words),
        today=today.isoformat(),
        latest=(today + LONGEST - timedelta(days=2)).isoformat(),
        names=await town.people.names(),
        done=request.query.get("gedaan", ""),
        **await waiting_alarms(request),
    )


async def ask(request: web.Request) -> web.StreamResponse:
    """Ask for an account; somebody else must confirm it."""
    fields, town = await form(request), town_of(request)
    until = end_of(fields.get("tot", ""))
    if until is None:
        raise refuse(Code.MALFORMED, "day", expected="the last day", got="nothing")
    try:
        scopes = [Scope(str(each)) for each in (await request.post()).getall("bereik", [])]
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "scope", expected=" | ".join(Scope), got=cause) from cause
    await town.programs.ask(
        town.org,
        by=someone_of(request).id,
        account=PREFIX + fields.get("kenmerk", "").removeprefix(PREFIX),
        purpose=fields.get("doel", ""),
        scopes=scopes,
        networks=fields.get("netwerken", "").split(),
        until_at=until,
    )
    raise web.HTTPSeeOther("/beheer/programmas?gedaan=bewaard")


async def confirm(request: web.Request) -> web.StreamResponse:
    """Let a program in that somebody else asked for."""
    town = town_of(request)
    await town.programs.confirm(town.org, request.match_info["program"], by=someone_of(request).id)
    raise web.HTTPSeeOther("/beheer/programmas?gedaan=bewaard")


async def show_token(request: web.Request) -> web.StreamResponse:
    """Make the token and show it: here, now, and never again."""
    town, account = town_of(request), request.match_info["program"]
    token = await town.programs.issue(town.org, account, by=someone_of(request).id)
    return await page(
        request,
        "administration_token.html",
        token=token,
        program=await town.programs.program(town.org, account),
        **await waiting_alarms(request),
    )


async def end(request: web.Request) -> web.StreamResponse:
    """End an account for ever, at once."""
    town = town_of(request)
    await town.programs.end(town.org, request.match_info["program"], by=someone_of(request).id)
    raise web.HTTPSeeOther("/beheer/programmas?gedaan=bewaard")


def scope_names(words: Words) -> Mapping[str, str]:
    """Return what each scope is called."""
    return {
        Scope.FLEET: words("de vloot lezen: camera's, docks en storingen"),
        Scope.ACTIVATIONS: words("activeringen lezen: welke camera, waar en wanneer"),
        Scope.RECORDINGS: words("opnamen lezen: wat er is en wanneer het weg moet; nooit de beelden"),
        Scope.CASES: words("dossiers lezen: nummer, soort, stand en termijnen"),
        Scope.WORDS: words("bij dossiers ook lezen wat mensen schreven"),
        Scope.REGISTER: words("dossiers vastleggen, met hun bewaarplicht"),
        Scope.FIGURES: words("cijfers lezen"),
        Scope.POLICY: words("het beleid lezen"),
        Scope.LEDGER: words("het logboek lezen en narekenen"),
        Scope.PEOPLE: words("namen en functies van medewerkers lezen"),
        Scope.SELF_CHECK: words("de zelfcontrole lezen"),
    }


ROUTES: Final = (
    web.get("/beheer/programmas", show),
    web.post("/beheer/programmas", ask),
    web.post("/beheer/programmas/{program}/toelaten", confirm),
    web.post("/beheer/programmas/{program}/token", show_token),
    web.post("/beheer/programmas/{program}/einde", end),
)
