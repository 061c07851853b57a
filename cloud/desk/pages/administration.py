"""Beheer: cameras and docks that come and go, people and their rights, and the review of those rights.

Every act is judged by the policy where it is done, not here; what a page offers is only what its reader may do.
"""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy import or_, select

from broker.clock import system_clock
from broker.wire.policy import Act, Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.devices import REASONS
from cloud.casework.office import OfficialCard
from cloud.casework.reviews import digest_of
from cloud.database.tables import cameras, docks, officials, substitutions
from cloud.desk.administration import ADMINISTRATION, Administration
from cloud.desk.names import nobodies
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import OPENS_FOR, Door
from cloud.desk.town import Town, deny, form, may_open, page, part, someone_of, town_of, words_of
from cloud.desk.words import HERE, Words
from cloud.rules.fleet import CameraCard
from cloud.rules.reviews import Review
from cloud.rules.rights import judge_back_office, judge_role
from cloud.rules.seats import Person

ENDS_SOON: Final = timedelta(days=21)
"""A certificate that lives shorter than this missed its renewal by more than a week: that is 30 days before its end."""


SEES_DEVICES: Final = frozenset({"coordinator", "app_admin"})
"""Who reads the lists of devices; the others who open this page come for people and their rights."""

SEES_PEOPLE: Final = OPENS_FOR[Door.ADMINISTRATION] - {"coordinator"}
"""Who reads what people are and hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class May:
    """What the reader of this page may do."""

    devices: bool
    people: bool
    substitutes: bool
    sees_devices: bool
    sees_people: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A camera or a dock as the page shows it. `days` until its certificate ends, by the machine's own calendar.

    `standing` is the register's word for the state that `state` shows.
    """

    id: str
    standing: str
    state: tuple[str, str]
    enrolled: bool
    place: str | None
    wearer: str | None
    certificate_until: datetime | None
    days: int | None
    ends_soon: bool
    seen_at: datetime | None
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """One substitution that runs or is to come."""

    id: str
    role: str
    replaced: str
    substitute: str
    from_at: datetime
    until_at: datetime
    appointed_by: str


# --- devices ----------------------------------------------------------------------------------------------------------


async def show(request: web.Request) -> web.StreamResponse:
    """Cameras and docks; whoever has only to do with people goes there."""
    may = await may_of(request)
    if not may_open(request, Door.ADMINISTRATION):
        return await _closed(request)
    if not may.sees_devices:
        raise web.HTTPSeeOther("/beheer/mensen")
    query = {name: value for name, value in request.query.items() if name in ("toon", "reden", "team")}
    return await page(
        request,
        "administration.html",
        tab="apparaten",
        done=request.query.get("gedaan", ""),
        query=urlencode(query),
        **await _devices(request, may),
        **await waiting_alarms(request),
    )


async def show_part(request: web.Request) -> web.StreamResponse:
    """The part of the page that changes: who waits in a dock, and what is enrolled."""
    may = await may_of(request)
    if not may_open(request, Door.ADMINISTRATION) or not may.sees_devices:
        raise web.HTTPForbidden
    return await part(request, "part_administration.html", **await _devices(request, may))


async def _devices(request: web.Request, may: May) -> dict[str, Any]:
    town, words, query = town_of(request), words_of(request), request.query
    office = request.config_dict.get(ADMINISTRATION)
    shown, chosen = await camera_rows(town, office, words), query.get("toon", "")
    return {
        "may": may,
        "newcomers": office.enrolments.waiting() if office else (),
        "cameras": [each for each in shown if (not each.enrolled) == (chosen == "weg")],
        "gone": sum(not each.enrolled for each in shown),
        "chosen": chosen,
        "docks": await dock_rows(town, office, words),
        "teams": await _teams(town),
        "reasons": _reasons(words),
        "reason": query.get("reden", "extension"),
        "team": query.get("team", ""),
        "proposed": _next_name([each.id for each in shown]),
        "connected": office is not None,
        "displays": await asyncio.to_thread(displays, town),
    }


async def enrol(request: web.Request) -> web.StreamResponse:
    """Let the camera that shows this code and this key join."""
    fields, office = await form(request), _office(request)
    joined = await office.enrolments.confirm(
        fields.get("code", ""),
        camera=fields.get("naam", ""),
        by=someone_of(request).id,
        reason=_reason(fields),
        key=fields.get("sleutel") or None,
    )
    if fields.get("team"):
        await office.wearing.assign_team(
            town_of(request).org, joined.camera, by=someone_of(request).id, team=fields["team"]
        )
    raise web.HTTPSeeOther(f"/beheer/cameras/{joined.camera}?gedaan=ingeschreven")


async def show_camera(request: web.Request) -> web.StreamResponse:
    """One camera: who wears it, which team, and how it leaves."""
    town, words, may = town_of(request), words_of(request), await may_of(request)
    if not may_open(request, Door.ADMINISTRATION) or not may.sees_devices:
        return await _closed(request)
    office = request.config_dict.get(ADMINISTRATION)
    name = request.match_info["camera"]
    device = next((each for each in await camera_rows(town, office, words) if each.id == name), None)
    if device is None:
        raise web.HTTPNotFound
    card = town.fleet.card(town.org, name)
    async with town.database.transaction() as t:
        query = select(cameras).where(cameras.c.org == town.org, cameras.c.id == name)
        row = (await t.execute(query)).one()
    return await page(
        request,
        "administration_camera.html",
        may=may,
        tab="apparaten",
        device=device,
        key=row.key_id.hex(),
        reason=row.reason,
        officers=[each for each in await town.casework.officials(town.org) if each.function],
        wears=card.officer if card else None,
        teams=await _teams(town),
        done=request.query.get("gedaan", ""),
        connected=office is not None,
        **await waiting_alarms(request),
    )


async def assign(request: web.Request) -> web.StreamResponse:
    """Give a camera to a team and to somebody who wears it."""
    fields, office, by = await form(request), _office(request), someone_of(request).id
    town, camera = town_of(request), request.match_info["camera"]
    card = town.fleet.card(town.org, camera)
    team, wearer = fields.get("team") or None, fields.get("drager") or None
    if card is None or team != card.team:
        await office.wearing.assign_team(town.org, camera, by=by, team=team)
    if card is None or wearer != card.officer:
        await office.wearing.assign_wearer(town.org, camera, by=by, official=wearer)
    await town.fleet.refresh(town.org)
    raise web.HTTPSeeOther(f"/beheer/cameras/{camera}?gedaan=ingedeeld")


async def leave(request: web.Request) -> web.StreamResponse:
    """Put a camera out: lost, replaced or no longer needed. For ever."""
    fields, office = await form(request), _office(request)
    town, camera, reason = town_of(request), request.match_info["camera"], _reason(fields)
    card = town.fleet.card(town.org, camera)
    await office.enrolments.leave(camera, by=someone_of(request).id, reason=reason)
    if reason == "replacement":
        again = {"gedaan": "ingetrokken", "reden": reason, "team": card.team if card and card.team else ""}
        raise web.HTTPSeeOther(f"/beheer?{urlencode(again)}")
    raise web.HTTPSeeOther(f"/beheer/cameras/{camera}?gedaan=ingetrokken")


async def add_dock(request: web.Request) -> web.StreamResponse:
    """Let a station in; the answer is its certificate."""
    fields = await form(request)
    certificate = await _office(request).docks.add(
        fields.get("naam", ""),
        station=fields.get("plaats", ""),
        csr=fields.get("aanvraag", "").encode(),
        by=someone_of(request).id,
    )
    return _certificate(fields.get("naam", ""), certificate)


async def certify_dock(request: web.Request) -> web.StreamResponse:
    """Give a station a new certificate."""
    fields, dock = await form(request), request.match_info["dock"]
    certificate = await _office(request).docks.certify(
        dock, csr=fields.get("aanvraag", "").encode(), by=someone_of(request).id
    )
    return _certificate(dock, certificate)


async def remove_dock(request: web.Request) -> web.StreamResponse:
    """Put a station out. For ever."""
    fields = await form(request)
    await _office(request).docks.remove(request.match_info["dock"], by=someone_of(request).id, reason=_reason(fields))
    raise web.HTTPSeeOther("/beheer?gedaan=dock-ingetrokken")


async def unpack(request: web.Request) -> web.StreamResponse:
    """Take a simulated camera out of its box and put it in a bay. Demonstrations only."""
    town = town_of(request)
    if town.demo is None or town.demo.cameras is None:
        return await deny(request, "button", words_of(request)("Dit is geen demonstratie."))
    folder = town.demo.cameras / f"new-{secrets.token_hex(3)}"
    await asyncio.to_thread(folder.mkdir)
    raise web.HTTPSeeOther("/beheer?gedaan=uitgepakt")


# --- people -----------------------------------------------------------------------------------------------------------


async def show_people(request: web.Request) -> web.StreamResponse:
    """Everybody who works here, what they are, and who stands in for whom."""
    town, may = town_of(request), await may_of(request)
    if not may_open(request, Door.ADMINISTRATION) or not may.sees_people:
        return await _closed(request)
    seek = request.query.get("zoek", "").strip().casefold()
    people = await town.casework.officials(town.org)
    policy = await town.policy()
    return await page(
        request,
        "administration_people.html",
        may=may,
        tab="mensen",
        people=[each for each in people if _fits(each, seek, policy)],
        office=[each for each in people if each.person.roles - {"officer"}],
        everybody=people,
        seek=request.query.get("zoek", ""),
        leaving=await leaving_on(town),
        stand_ins=await stand_ins_of(town),
        names=nobodies(words_of(request)) | dict(await town.people.names()),
        today=town.now().astimezone(HERE).date().isoformat(),
        done=request.query.get("gedaan", ""),
        standard=town.keys is not None,
        **await waiting_alarms(request),
    )


async def show_person(request: web.Request) -> web.StreamResponse:
    """One person: roles, absence, last day."""
    town, may = town_of(request), await may_of(request)
    if not may_open(request, Door.ADMINISTRATION) or not may.sees_people:
        return await _closed(request)
    official = request.match_info["official"]
    card = next((each for each in await town.casework.officials(town.org) if each.id == official), None)
    if card is None:
        raise web.HTTPNotFound
    held = [each for each in await _rights(request) if each.official == official]
    return await page(
        request,
        "administration_person.html",
        may=may,
        tab="mensen",
        card=card,
        held=held,
        to_give=[role for role in (await town.policy()).roles if role not in {each.role for each in held}],
        leaves=(await leaving_on(town)).get(official),
        names=nobodies(words_of(request)) | dict(await town.people.names()),
        today=town.now().astimezone(HERE).date().isoformat(),
        done=request.query.get("gedaan", ""),
        standard=town.keys is not None,
        **await waiting_alarms(request),
    )


async def hire(request: web.Request) -> web.StreamResponse:
    """Enter somebody new."""
    fields, town = await form(request), town_of(request)
    official = fields.get("kenmerk", "")
    await _office(request).personnel.hire(
        town.org,
        by=someone_of(request).id,
        official=official,
        name=fields.get("naam", ""),
        function=fields.get("functie") or None,
        department=fields.get("afdeling") or None,
        team=fields.get("team") or None,
    )
    raise web.HTTPSeeOther(f"/beheer/mensen/{official}?gedaan=bewaard")


async def change_person(request: web.Request) -> web.StreamResponse:
    """Give or take a role, mark somebody absent, or say when somebody leaves."""
    fields, town, by = await form(request), town_of(request), someone_of(request).id
    official, office = request.match_info["official"], town.casework
    match fields.get("doe", ""):
        case "geef":
            await office.appoint(
                town.org, by=by, official=official, role=fields.get("rol", ""), until_at=end_of(fields.get("tot", ""))
            )
        case "neem":
            await office.withdraw(town.org, by=by, official=official, role=fields.get("rol", ""))
        case "afwezig":
            await office.mark_absent(town.org, by=by, official=official, until_at=end_of(fields.get("tot", "")))
        case "vertrek":
            last_day = end_of(fields.get("tot", ""))
            if last_day is None:
                raise refuse(Code.MALFORMED, "day", expected="the last day", got="nothing")
            await _office(request).personnel.leave_at(town.org, by=by, official=official, at=last_day)
        case "vertrek-nu":
            await _office(request).personnel.leave_at(town.org, by=by, official=official, at=town.now())
            raise web.HTTPSeeOther("/beheer/mensen?gedaan=bewaard")
        case other:
            raise refuse(Code.MALFORMED, "doe", expected="geef, neem, afwezig, vertrek, vertrek-nu", got=other)
    raise web.HTTPSeeOther(f"/beheer/mensen/{official}?gedaan=bewaard")


async def stand_in(request: web.Request) -> web.StreamResponse:
    """Appoint somebody to stand in for somebody, for a period."""
    fields, town = await form(request), town_of(request)
    until = end_of(fields.get("tot", ""))
    role, _, replaced = fields.get("voor", "").partition("/")
    if until is None or not fields.get("grond"):
        words = words_of(request)
        raise refuse(
            Code.MALFORMED, words("vervanging"), expected=words("een periode en een reden"), got=words("niets")
        )
    await town.casework.appoint_substitute(
        town.org,
        by=someone_of(request).id,
        role=role,
        replaced=replaced,
        substitute=fields.get("vervanger", ""),
        from_at=_start(fields.get("van", ""), town.now()),
        until_at=until,
        ground=fields["grond"],
    )
    raise web.HTTPSeeOther("/beheer/mensen?gedaan=bewaard")


async def end_stand_in(request: web.Request) -> web.StreamResponse:
    """End a substitution before its time."""
    town = town_of(request)
    await town.casework.end_substitution(town.org, request.match_info["substitution"], by=someone_of(request).id)
    raise web.HTTPSeeOther("/beheer/mensen?gedaan=bewaard")


# --- review of rights -------------------------------------------------------------------------------------------------


async def show_rights(request: web.Request) -> web.StreamResponse:
    """Who holds which role since when, and when that must be looked at again."""
    town, may = town_of(request), await may_of(request)
    if not may_open(request, Door.ADMINISTRATION) or not may.sees_people:
        return await _closed(request)
    office, held = request.config_dict.get(ADMINISTRATION), await _rights(request)
    return await page(
        request,
        "administration_rights.html",
        may=may,
        tab="rechten",
        held=held,
        seen=digest_of(held),
        due=await office.reviews.reviews_due(town.org) if office else (),
        reviewed=await office.reviews.reviewed(town.org) if office else (),
        stand_ins=await stand_ins_of(town),
        names=nobodies(words_of(request)) | dict(await town.people.names()),
        done=request.query.get("gedaan", ""),
        standard=town.keys is not None,
        **await waiting_alarms(request),
    )


async def review(request: web.Request) -> web.StreamResponse:
    """Write down that every right was looked at."""
    fields = await form(request)
    try:
        kind = Review(fields.get("soort", ""))
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "review", expected=" | ".join(Review), got=fields.get("soort", "")) from cause
    await _office(request).reviews.review(
        town_of(request).org,
        by=someone_of(request).id,
        review=kind,
        seen=fields.get("gezien", ""),
        remark=fields.get("opmerking", ""),
    )
    raise web.HTTPSeeOther("/beheer/rechten?gedaan=nagelopen")


# --- what the pages show ----------------------------------------------------------------------------------------------


async def camera_rows(town: Town, office: Administration | None, words: Words) -> tuple[Device, ...]:
    """Return every camera of this municipality, also those that left, by name."""
    known = await office.enrolments.identities() if office else {}
    cards: dict[str, CameraCard] = {card.camera: card for card in town.fleet.cards(town.org)}
    names = await town.people.names()
    async with town.database.transaction() as t:
        query = select(cameras).where(cameras.c.org == town.org).order_by(cameras.c.id)
        rows = (await t.execute(query)).all()
    found = []
    for row in rows:
        card = cards.get(row.id)
        found.append(
            Device(
                id=row.id,
                standing=row.state,
                state=_states(words).get(row.state, (row.state, "")),
                enrolled=row.state in ("enrolled", "outside"),
                place=row.team,
                wearer=names.get(card.officer) if card and card.officer else None,
                seen_at=card.last_seen_at if card else None,
                since=row.enrolled_at,
                **_certificate_end(known.get(row.id)),
            )
        )
    return tuple(found)


async def dock_rows(town: Town, office: Administration | None, words: Words) -> tuple[Device, ...]:
    """Return every dock, by name."""
    known = await office.enrolments.identities() if office else {}
    seen = {dock.dock: dock for dock in town.fleet.docks(town.org)}
    async with town.database.transaction() as t:
        rows = (await t.execute(select(docks).where(docks.c.org == town.org).order_by(docks.c.id))).all()
    return tuple(
        Device(
            id=row.id,
            standing=row.state,
            state=_states(words).get(row.state, (row.state, "")),
            enrolled=row.state == "enrolled",
            place=row.station,
            wearer=None,
            seen_at=seen[row.id].last_seen_at if row.id in seen else None,
            since=None,
            **_certificate_end(known.get(row.id)),
        )
        for row in rows
    )


def _certificate_end(identity: Any) -> dict[str, Any]:
    """Certificates live by the machine's own calendar, as TLS does, never by a demonstration clock."""
    if identity is None or identity.revoked_at is not None:
        return {"certificate_until": None, "days": None, "ends_soon": False}
    left = identity.not_after - system_clock()
    return {"certificate_until": identity.not_after, "days": left.days, "ends_soon": left < ENDS_SOON}


async def may_of(request: web.Request) -> May:
    """Return what whoever asks may do here, by the policy in force."""
    town, someone = town_of(request), someone_of(request)
    policy, person = await town.policy(), await town.casework.person(town.org, someone.id)
    devices = bool(judge_back_office(policy, person, Act.DEVICE_ADD))
    people = bool(judge_role(policy, person, policy.casework.appoint, "appoint", "rollen toekennen"))
    return May(
        devices=devices,
        people=people,
        substitutes=_may_substitute(policy, person),
        sees_devices=devices or bool(someone.roles & SEES_DEVICES),
        sees_people=bool(someone.roles & SEES_PEOPLE),
    )


def _may_substitute(policy: Policy, person: Person) -> bool:
    return policy.substitution.allowed and any(person.holds(role) for role in policy.substitution.appointers)


async def _closed(request: web.Request) -> web.StreamResponse:
    return await deny(
        request, "beheer", words_of(request)("Uw functie geeft geen toegang tot dit deel van het beheer.")
    )


async def _rights(request: web.Request) -> Any:
    office = request.config_dict.get(ADMINISTRATION)
    return await office.reviews.rights(town_of(request).org) if office else ()


async def _teams(town: Town) -> tuple[str, ...]:
    async with town.database.transaction() as t:
        found = set((await t.execute(select(officials.c.team).where(officials.c.org == town.org))).scalars())
        found |= set((await t.execute(select(cameras.c.team).where(cameras.c.org == town.org))).scalars())
    return tuple(sorted(team for team in found if team))


async def leaving_on(town: Town) -> Mapping[str, datetime]:
    """Return who has a last day that is still to come."""
    async with town.database.transaction() as t:
        query = select(officials.c.id, officials.c.employed_until).where(
            officials.c.org == town.org, officials.c.employed_until > town.now()
        )
        return {row.id: row.employed_until for row in (await t.execute(query)).all()}


async def stand_ins_of(town: Town) -> tuple[StandIn, ...]:
    """Return the substitutions that run or are to come, by their first day."""
    now = town.now()
    query = (
        select(substitutions)
        .where(
            substitutions.c.org == town.org,
            substitutions.c.until_at > now,
            or_(substitutions.c.ended_at.is_(None), substitutions.c.ended_at > now),
        )
        .order_by(substitutions.c.from_at)
    )
    async with town.database.transaction() as t:
        rows = (await t.execute(query)).all()
    return tuple(
        StandIn(
            id=row.id,
            role=row.role,
            replaced=row.replaced,
            substitute=row.substitute,
            from_at=row.from_at,
            until_at=row.until_at,
            appointed_by=row.appointed_by,
        )
        for row in rows
    )


def displays(town: Town) -> tuple[tuple[str, str], ...]:
    """What the displays of simulated new cameras show: (code, key). In earnest one looks at the camera."""
    if town.demo is None or town.demo.cameras is None:
        return ()
    shown = []
    for camera in sorted(town.demo.cameras.iterdir()):
        with suppress(FileNotFoundError):  # one that was let in shows nothing any more
            lines = (camera / "display.txt").read_text().split()
            if len(lines) == 2:
                shown.append((lines[0], lines[1]))
    return tuple(shown)


def _fits(card: OfficialCard, seek: str, policy: Policy) -> bool:
    roles = " ".join(policy.role_nl(role) for role in card.person.roles if role in policy.roles)
    text = f"{card.id} {card.name} {card.team or ''} {card.function or ''} {roles}".casefold()
    return all(word in text for word in seek.split())


def _next_name(taken: list[str]) -> str:
    """Propose the number after the highest: names are never used twice."""
    numbers = [int(name.removeprefix("cam-")) for name in taken if name.removeprefix("cam-").isdecimal()]
    return f"cam-{max(numbers, default=0) + 1:02}"


def _reason(fields: Mapping[str, str]) -> Any:
    reason = fields.get("reden", "")
    if reason not in REASONS:
        raise refuse(Code.MALFORMED, "reason", expected=" | ".join(REASONS), got=reason)
    return reason


def _reasons(words: Words) -> Mapping[str, str]:
    return {"extension": words("uitbreiding"), "replacement": words("vervanging")}


def _states(words: Words) -> Mapping[str, tuple[str, str]]:
    return {
        "enrolled": (words("in gebruik"), "good"),
        "outside": (words("van een ander merk"), "info"),
        "lost": (words("verloren"), "bad"),
        "removed": (words("uit gebruik"), ""),
        "revoked": (words("ingetrokken"), "bad"),
    }


def _start(day: str, now: datetime) -> datetime:
    """The first moment of that day here; today means now."""
    try:
        began = datetime.fromisoformat(day).replace(tzinfo=HERE).astimezone(UTC)
    except ValueError:
        return now
    return max(began, now)


def end_of(day: str) -> datetime | None:
    """The last moment of that day here, or None without a day."""
    if not day:
        return None
    try:
        begins = datetime.fromisoformat(day).replace(tzinfo=HERE)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "day", expected="a day such as 2026-11-30", got=day) from cause
    return (begins + timedelta(days=1)).astimezone(UTC)


def _certificate(name: str, pem: bytes) -> web.Response:
    return web.Response(
        body=pem,
        content_type="application/x-pem-file",
        headers={"Content-Disposition": f'attachment; filename="{name}.pem"', "Cache-Control": "no-store"},
    )


def _office(request: web.Request) -> Administration:
    office = request.config_dict.get(ADMINISTRATION)
    if office is None:
        raise web.HTTPNotFound
    return office


ROUTES: Final = (
    web.get("/beheer", show),
    web.get("/beheer/deel", show_part),
    web.post("/beheer/cameras", enrol),
    web.get("/beheer/cameras/{camera}", show_camera),
    web.post("/beheer/cameras/{camera}/indelen", assign),
    web.post("/beheer/cameras/{camera}/weg", leave),
    web.post("/beheer/docks", add_dock),
    web.post("/beheer/docks/{dock}/certificaat", certify_dock),
    web.post("/beheer/docks/{dock}/weg", remove_dock),
    web.post("/beheer/uitpakken", unpack),
    web.get("/beheer/mensen", show_people),
    web.post("/beheer/mensen", hire),
    web.get("/beheer/mensen/{official}", show_person),
    web.post("/beheer/mensen/{official}", change_person),
    web.post("/beheer/vervangingen", stand_in),
    web.post("/beheer/vervangingen/{substitution}/einde", end_stand_in),
    web.get("/beheer/rechten", show_rights),
    web.post("/beheer/rechten", review),
)
