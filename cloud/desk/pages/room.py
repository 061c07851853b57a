"""The viewing room: choose, ask, read and approve, be there together, look."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from sqlalchemy import select

from broker.wire.approvals import Statement, sign_in_software
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.cases import Case
from cloud.database.tables import viewing_requests
from cloud.desk.keys import statement_of
from cloud.desk.names import recording_states
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.apart import declaration_of
from cloud.desk.pages.keys import problem, read_answer
from cloud.desk.people import Someone
from cloud.desk.roster import check_on_list
from cloud.desk.rules.doors import Door, asks_about
from cloud.desk.town import (
    ROOMS,
    Town,
    deny,
    form,
    may_open,
    noting_denials,
    page,
    part,
    record_denial,
    someone_of,
    town_of,
    words_of,
)
from cloud.rules.admission import is_only_excess
from cloud.viewing.clips import Part, part_of
from cloud.viewing.playlist import playlist
from cloud.viewing.rooms import Room, Rooms, Wish
from cloud.viewing.rules.lifecycle import RoomState
from cloud.viewing.rules.presence import is_present

NO_STORE: Final = {"Cache-Control": "no-store, private", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Somebody who might sit beside: allowed, or why not."""

    id: str
    name: str
    roles: str
    allowed: bool
    why: str


async def show(request: web.Request) -> web.StreamResponse:
    """What waits for this person, what is going on, and where to begin."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.ROOM):
        return await deny(request, "kijkkamer", words("Uw functie geeft geen toegang tot de kijkkamer."))
    return await page(
        request, "rooms.html", **await _rooms_facts(request), someone_id=someone.id, **await waiting_alarms(request),
        history=await _history(town, someone.id),
        numbers={case.id: case.number for case in await town.casework.cases(town.org)},
    )  # fmt: skip


async def show_list_part(request: web.Request) -> web.StreamResponse:
    """The part of the overview that changes."""
    if not may_open(request, Door.ROOM):
        raise web.HTTPForbidden
    return await part(request, "part_rooms.html", **await _rooms_facts(request))


async def show_new(request: web.Request) -> web.StreamResponse:
    """The form: purpose, recording, range, reason, second person."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.ROOM):
        return await deny(request, "kijkkamer", words("Uw functie geeft geen toegang tot de kijkkamer."))
    case = await town.casework.case(town.org, request.query.get("dossier", ""))
    if not _asks_about(someone, case):
        return await deny(request, "kijkkamer", words("U kunt alleen uw eigen opname terugvragen, om te leren."))
    policy = await town.policy()
    purposes = {name: purpose for name, purpose in policy.purposes.items() if case.kind in purpose.case_kinds}
    cards = [
        card
        for card in await town.casework.recordings(town.org, case=case.id)
        if card.state in ("retained", "held") or is_only_excess(card.state, card.deviations)
    ]
    purpose = request.query.get("doel", "")
    if purpose not in purposes:
        purpose = next(iter(purposes), "")
    chosen = request.query.get("opname") or (cards[0].id if cards else "")
    candidates = await candidates_for(request, case, purpose, chosen) if chosen and purpose in purposes else []
    return await page(
        request,
        "room_new.html",
        case=case,
        purposes=purposes,
        purpose=purpose,
        cards=cards,
        chosen=chosen,
        candidates=candidates,
        alone=policy.viewing.quorum == 1,
        states=recording_states(words),
        names=await town.people.names(),
        me=someone,
        **await waiting_alarms(request),
    )


async def ask(request: web.Request) -> web.StreamResponse:
    """Write the request down, sign it, and put it before the other one."""
    town, words, someone, rooms = town_of(request), words_of(request), someone_of(request), request.config_dict[ROOMS]
    fields, policy = await form(request), await town_of(request).policy()
    if not may_open(request, Door.ROOM):
        return await deny(request, "kijkkamer", words("Uw functie geeft geen toegang tot de kijkkamer."))
    if policy.viewing.confirm_no_third_parties and fields.get("alleen") != "ja":
        raise refuse(
            Code.MALFORMED, words("verzoek"), expected=words("de bevestiging dat niemand meekijkt"), got=words("niets")
        )
    if not fields.get("reden"):
        raise refuse(Code.MALFORMED, words("verzoek"), expected=words("een reden"), got=words("niets"))
    wish = Wish(
        case=fields.get("dossier", ""),
        purpose=fields.get("doel", ""),
        ranges={fields.get("opname", ""): _part_asked(fields)},
        reason=fields["reden"],
        requester=someone.id,
        second=fields.get("tweede") or None,
    )
    async with noting_denials(request, f"viewing {wish.purpose}"):
        room = await rooms.draft(wish)
    if town.keys is None:
        await rooms.ask(room, sign_with_software(town, someone.id, rooms.challenge(room)))
    raise web.HTTPSeeOther(f"/kijkkamer/{room.id}")


def _part_asked(fields: Mapping[str, str]) -> Part | None:
    begin, end = fields.get("vanaf", ""), fields.get("tot", "")
    try:
        return part_of(float(begin or 0) * 60, float(end) * 60 if end else None)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "part of a recording", expected="minutes", got=f"{begin} {end}") from cause


async def show_request(request: web.Request) -> web.StreamResponse:
    """The very bytes that are signed: a page hashes these itself."""
    room = _mine(request)
    if room is None:
        raise web.HTTPForbidden
    return web.Response(body=room.raw, content_type="application/json", headers=NO_STORE)


async def sign_request(request: web.Request) -> web.StreamResponse:
    """Put one's own request, signed with a security key, before the other one."""
    room = _mine(request)
    if room is None:
        raise web.HTTPForbidden
    rooms, someone = request.config_dict[ROOMS], someone_of(request)
    try:
        async with noting_denials(request, "viewing.sign"):
            if someone.id != room.request.requester:
                raise refuse(Code.NOT_ALLOWED, "request", expected="its own requester", got=someone.id)
            await rooms.ask(room, await _signed_by_key(request, rooms.challenge(room)))
    except Refused as refused:
        return problem(refused)
    return web.json_response({"state": room.state.value}, headers=NO_STORE)


async def show_one(request: web.Request) -> web.StreamResponse:
    """One room, as it is for this person."""
    room = _mine(request)
    if room is None:
        return await _not_mine(request)
    return await page(request, "room.html", **await _room_facts(request, room), **await waiting_alarms(request))


async def show_one_part(request: web.Request) -> web.StreamResponse:
    """The part of a room's page that changes."""
    room = _mine(request)
    if room is None:
        raise web.HTTPForbidden
    return await part(request, "part_room.html", **await _room_facts(request, room))


async def approve(request: web.Request) -> web.StreamResponse:
    """Agree, with one's own key, to exactly what was read."""
    town, someone, rooms = town_of(request), someone_of(request), request.config_dict[ROOMS]
    room = _mine(request)
    if room is None:
        return await _not_mine(request)
    if town.keys is not None:
        try:
            async with noting_denials(request, "viewing.approve"):
                if someone.id != room.request.second:
                    raise refuse(Code.NOT_ALLOWED, "approval", expected="the second person", got=someone.id)
                await rooms.approve(room, someone.id, await _signed_by_key(request, rooms.challenge(room)))
        except Refused as refused:
            return problem(refused)
        return web.json_response({"state": room.state.value}, headers=NO_STORE)
    async with noting_denials(request, "viewing.approve"):
        await rooms.approve(room, someone.id, sign_with_software(town, someone.id, rooms.challenge(room)))
    raise web.HTTPSeeOther(f"/kijkkamer/{room.id}")


async def turn_down(request: web.Request) -> web.StreamResponse:
    """Do not agree, with a reason."""
    someone, rooms, fields = someone_of(request), request.config_dict[ROOMS], await form(request)
    room = _mine(request)
    if room is None:
        return await _not_mine(request)
    async with noting_denials(request, "viewing.refuse"):
        await rooms.turn_down(room, someone.id, fields.get("reden") or "–")
    raise web.HTTPSeeOther("/kijkkamer")


async def begin_to_sit(request: web.Request) -> web.StreamResponse:
    """Return the number that a key signs to sit down."""
    room, keys = _mine(request), town_of(request).keys
    if room is None or keys is None:
        raise web.HTTPForbidden
    what = f"seat {room.id} {someone_of(request).id}"
    return web.json_response(
        {"nonce": keys.nonces.make(what, now_s=asyncio.get_running_loop().time())}, headers=NO_STORE
    )


async def sit_down(request: web.Request) -> web.StreamResponse:
    """Take one's seat: with security keys by signing for it, and the answer proves the seat to this page alone."""
    room, keys, someone = _mine(request), town_of(request).keys, someone_of(request)
    if room is None:
        return await _not_mine(request)
    try:
        async with noting_denials(request, "viewing.sit"):
            if keys is not None:
                said = await read_answer(request)
                now_s = asyncio.get_running_loop().time()
                await keys.seat(someone.id, said.assertion, room=room.id, nonce=said.nonce, now_s=now_s)
            proof = await request.config_dict[ROOMS].sit_down(room, someone.id)
    except Refused as refused:
        return problem(refused)
    return web.json_response(_stand(room) | ({} if keys is None else {"seat": proof}), headers=NO_STORE)


async def beat(request: web.Request) -> web.StreamResponse:
    """A sign of life, each second; the answer says how the room is."""
    room = _mine(request)
    if room is None:
        raise web.HTTPForbidden
    request.config_dict[ROOMS].heard(room, someone_of(request).id, proof=request.headers.get("X-Seat", ""))
    return web.json_response(_stand(room), headers=NO_STORE)


async def get_up(request: web.Request) -> web.StreamResponse:
    """Leave one's seat: also sent by a page that is being closed."""
    room = _mine(request)
    if room is None:
        raise web.HTTPForbidden
    await request.config_dict[ROOMS].get_up(room, someone_of(request).id)
    return web.json_response(_stand(room), headers=NO_STORE)


async def end(request: web.Request) -> web.StreamResponse:
    """Close the room for good."""
    room = _mine(request)
    if room is None:
        return await _not_mine(request)
    await request.config_dict[ROOMS].end(room, actor=someone_of(request).id, why="closed by a participant")
    raise web.HTTPSeeOther(f"/kijkkamer/{room.id}")


async def footage(request: web.Request) -> web.StreamResponse:
    """The playlist, what a player reads first, or one second of footage: each one asked for anew."""
    rooms: Rooms = request.config_dict[ROOMS]
    room, someone = _mine(request), someone_of(request)
    name, token = request.match_info["name"], request.match_info["token"]
    recording, proof = request.match_info["recording"], request.headers.get("X-Seat", "")
    if room is None:
        await record_denial(town_of(request), who=someone.id, what="footage", why="not one of the two of this room")
        raise web.HTTPForbidden
    try:
        if name == "index.m3u8":
            text = await playlist_of(rooms, room, someone.id, token=token, recording=recording, proof=proof)
            return web.Response(text=text, content_type="application/vnd.apple.mpegurl", headers=NO_STORE)
        sequence = number_of(name)
        media = await rooms.show(room, someone.id, token=token, recording=recording, sequence=sequence, proof=proof)
    except Refused as refused:
        return problem(refused)
    return web.Response(body=media, content_type="video/mp4", headers=NO_STORE)


async def playlist_of(rooms: Rooms, room: Room, official: str, *, token: str, recording: str, proof: str) -> str:
    """Return the playlist of one recording of an open room; raise Refused as each piece of footage does."""
    await rooms.show(room, official, token=token, recording=recording, sequence=None, proof=proof)
    return playlist(next(reel for reel in room.reels if reel.recording == recording))


def number_of(name: str) -> int | None:
    """Return which piece a name in the playlist means; None: what a player reads first. Raise Refused (NOT_FOUND)."""
    if name == "init.mp4":
        return None
    stem, _, ending = name.partition(".")
    if ending != "m4s" or not stem.isdigit() or len(stem) > 9:
        raise refuse(Code.NOT_FOUND, "footage", expected="an address of an open room", got="another")
    return int(stem)


def sign_with_software(town: Town, official: str, challenge: bytes) -> Statement:
    """Sign with the official's software key. Only a demonstration has those."""
    key = town.demo.keys.get(official) if town.demo else None
    if key is None:
        raise refuse(Code.NOT_ALLOWED, "signature", expected="a key of your own", got="none")
    return sign_in_software(official, key, challenge)


async def _signed_by_key(request: web.Request, challenge: bytes) -> Statement:
    said = await read_answer(request)
    return await sign_with_key(town_of(request), someone_of(request).id, said.assertion, challenge)


async def sign_with_key(town: Town, official: str, assertion: str, challenge: bytes) -> Statement:
    """Return the statement of this key, looked at by the Kluis's own list: what it would refuse goes no further."""
    if town.keys is None or town.roster is None:
        raise refuse(Code.NOT_ALLOWED, "signature", expected="a key of your own", got="none")
    statement = statement_of(official, assertion)
    check_on_list(await town.roster.in_force(), statement, challenge=challenge, place=town.keys.place)
    return statement


def _mine(request: web.Request) -> Room | None:
    """Return the room when who is signed in has a seat in it; raise Refused (NOT_FOUND). Drafts: the writer's only."""
    return room_for(request.config_dict[ROOMS], request.match_info["room"], someone_of(request).id)


def room_for(rooms: Rooms, name: str, official: str) -> Room | None:
    """Return the room when this person has a seat in it; raise Refused (NOT_FOUND). Drafts: the writer's only."""
    room = rooms.find(name)
    mine = (room.request.requester,) if room.state is RoomState.DRAFTED else room.seats
    return room if official in mine else None


async def _not_mine(request: web.Request) -> web.StreamResponse:
    return await deny(request, "kijkkamer", words_of(request)("U bent niet een van de twee van deze kijkkamer."))


def _stand(room: Room) -> dict[str, Any]:
    now_s = asyncio.get_running_loop().time()
    return {
        "state": room.state.value,
        "seats": {name: is_present(seat, now_s=now_s) for name, seat in room.seats.items()},
    }


def _asks_about(someone: Someone, case: Case) -> bool:
    return asks_about(someone.roles, who=someone.id, learner=case.facts.get("learner"))


async def _rooms_facts(request: web.Request) -> dict[str, Any]:
    town, someone = town_of(request), someone_of(request)
    mine = request.config_dict[ROOMS].of(someone.id)
    cases = [
        case
        for case in await town.casework.cases(town.org, open_only=True)
        if case.recordings and _asks_about(someone, case)
    ]
    return {
        "asked_of_me": [
            room for room in mine if room.state is RoomState.REQUESTED and room.request.second == someone.id
        ],
        "going_on": [
            room
            for room in mine
            if room.state in (RoomState.APPROVED, RoomState.OPEN, RoomState.PAUSED)
            or (room.state is RoomState.REQUESTED and room.request.second != someone.id)
        ],
        "cases": cases,
        "names": await town.people.names(),
        "purposes": (await town.policy()).purposes,
        "room_states": room_states(request),
    }


async def _room_facts(request: web.Request, room: Room) -> dict[str, Any]:
    town, someone = town_of(request), someone_of(request)
    policy = await town.policy()
    now_s = asyncio.get_running_loop().time()
    reel = room.reels[0]
    begin = reel.pieces[0].starts_at
    offset, marks = 0.0, []
    pre_s = sum(piece.length_s for piece in reel.pieces if piece.pre_record)
    for piece in reel.pieces:
        if piece.gap_before and offset:
            marks.append(round(offset, 3))
        offset += piece.length_s
    return {
        "room": room,
        "me": someone,
        "names": await town.people.names(),
        "purpose": policy.purposes[room.request.purpose],
        "reel": reel,
        "length_s": round(offset, 3),
        "pre_s": round(pre_s, 3),
        "gaps": marks,
        "begin": begin,
        "present": {name: is_present(seat, now_s=now_s) for name, seat in room.seats.items()},
        "declarers": (await declaration_of(request, reel.recording, declared=reel.declared))["declarers"],
        "room_states": room_states(request),
        "my_keys": " ".join(key.id for key in await town.keys.of(someone.id)) if town.keys else "",
        "address": f"/kijkkamer/{room.id}/beeld/{room.token}/{reel.recording}/index.m3u8",
    }


async def candidates_for(request: web.Request, case: Case, purpose: str, recording: str) -> list[Candidate]:
    """Judge everybody as the second person, so that nobody is asked in vain."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    policy, rooms = await town.policy(), request.config_dict[ROOMS]
    named = policy.role_nl if words.language == "nl" else policy.role_en
    involvement = await town.casework.involvement(town.org, [recording])
    policies = await town.policies.binding(town.org, [recording])
    viewing = set(policy.viewing.roles) | {role for seat in policy.purposes[purpose].seats for role in seat}
    found = []
    for person in (await town.people.all(town.now())).values():
        if person.id == someone.id or not person.roles & viewing:
            continue
        wish = Wish(
            case=case.id, purpose=purpose, ranges={recording: None}, reason="", requester=someone.id, second=person.id
        )
        verdict = await rooms.verdict(wish, case=case, involvement=involvement, policies=policies)
        found.append(
            Candidate(
                id=person.id,
                name=person.name,
                roles=", ".join(named(role) for role in sorted(person.roles - {"officer"})),
                allowed=verdict.allowed,
                why=verdict.waarom if words.language == "nl" else verdict.because,
            )
        )
    return sorted(found, key=lambda each: (not each.allowed, each.name))


def room_states(request: web.Request) -> dict[str, tuple[str, str]]:
    """Return what each state of a room is called, and how its badge looks."""
    words = words_of(request)
    return {
        "drafted": (words("nog niet getekend"), ""),
        "requested": (words("wacht op goedkeuring"), "warn"),
        "approved": (words("goedgekeurd"), "info"),
        "open": (words("open"), "good"),
        "paused": (words("onderbroken"), "warn"),
        "closed": (words("gesloten"), ""),
        "refused": (words("geweigerd"), "bad"),
    }


async def _history(town: Town, official: str) -> Any:
    """The requests this person made or was asked for and that are over, newest first."""
    over = viewing_requests.c.state.in_(("closed", "refused"))
    query = select(viewing_requests).where(viewing_requests.c.org == town.org, over)
    query = query.where((viewing_requests.c.requester == official) | (viewing_requests.c.second == official))
    async with town.database.transaction() as t:
        return (await t.execute(query.order_by(viewing_requests.c.requested_at.desc()).limit(20))).all()


ROUTES: Final = (
    web.get("/kijkkamer", show),
    web.get("/kijkkamer/deel", show_list_part),
    web.get("/kijkkamer/nieuw", show_new),
    web.post("/kijkkamer", ask),
    web.get("/kijkkamer/{room}", show_one),
    web.get("/kijkkamer/{room}/deel", show_one_part),
    web.get("/kijkkamer/{room}/verzoek", show_request),
    web.post("/kijkkamer/{room}/ondertekenen", sign_request),
    web.post("/kijkkamer/{room}/getal", begin_to_sit),
    web.post("/kijkkamer/{room}/goedkeuren", approve),
    web.post("/kijkkamer/{room}/weigeren", turn_down),
    web.post("/kijkkamer/{room}/plaatsnemen", sit_down),
    web.post("/kijkkamer/{room}/aanwezig", beat),
    web.post("/kijkkamer/{room}/weg", get_up),
    web.post("/kijkkamer/{room}/sluiten", end),
    web.get("/kijkkamer/{room}/beeld/{token}/{recording}/{name}", footage),
)
