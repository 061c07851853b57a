"""Onherkenbaar maken: ask for a room in which it can be done, and do it there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from broker.wire.policy import Policy, Redaction
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.cases import Case
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.keys import problem
from cloud.desk.pages.room import NO_STORE, candidates_for, sign_with_software
from cloud.desk.rules.doors import Door
from cloud.desk.town import (
    REDACTIONS,
    ROOMS,
    deny,
    form,
    may_open,
    note_denial,
    noting_denials,
    page,
    someone_of,
    town_of,
    words_of,
)
from cloud.redaction.rules.plan import Draw, Edit, Span, judge_finish, review
from cloud.redaction.studio import Redactions
from cloud.redaction.work import Doing, Work
from cloud.viewing.playlist import playlist
from cloud.viewing.rooms import Room, Wish

MOST_BYTES: Final = 64 * 1024
"""One edit is a few numbers; what was played, or is settled at once, some more."""


class Played(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a player says that it played of the preview, as the plan made it look then (`picture`)."""

    spans: tuple[Span, ...]
    picture: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A recording of a case, and what was made of it."""

    card: Any
    derivative: bool


async def show_new(request: web.Request) -> web.StreamResponse:
    """The form: which recording, with whom, why."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    if not may_open(request, Door.ROOM):
        return await deny(request, "kijkkamer", words("Uw functie geeft geen toegang tot de kijkkamer."))
    case, policy = await town.casework.case(town.org, request.query.get("dossier", "")), await town.policy()
    purpose = purpose_of(policy, case)
    originals = [each for each in await _recordings(request, case) if not each.derivative]
    chosen = request.query.get("opname") or (originals[0].card.id if originals else "")
    candidates = await candidates_for(request, case, purpose, chosen) if purpose and chosen else []
    return await page(
        request,
        "redaction_new.html",
        case=case,
        purpose=policy.purposes[purpose] if purpose else None,
        originals=originals,
        chosen=chosen,
        candidates=candidates,
        alone=policy.viewing.quorum == 1,
        me=someone,
        **await waiting_alarms(request),
    )


async def ask(request: web.Request) -> web.StreamResponse:
    """Write the request for a room down, sign it, and put it before the other one."""
    town, words, someone, rooms = town_of(request), words_of(request), someone_of(request), request.config_dict[ROOMS]
    if not may_open(request, Door.ROOM):
        return await deny(request, "kijkkamer", words("Uw functie geeft geen toegang tot de kijkkamer."))
    fields, policy = await form(request), await town.policy()
    if policy.viewing.confirm_no_third_parties and fields.get("alleen") != "ja":
        raise refuse(
            Code.MALFORMED, words("verzoek"), expected=words("de bevestiging dat niemand meekijkt"), got=words("niets")
        )
    if not fields.get("reden"):
        raise refuse(Code.MALFORMED, words("verzoek"), expected=words("een reden"), got=words("niets"))
    case = await town.casework.case(town.org, fields.get("dossier", ""))
    wish = Wish(
        case=case.id,
        purpose=purpose_of(policy, case) or "",
        ranges={fields.get("opname", ""): None},
        reason=fields["reden"],
        requester=someone.id,
        second=fields.get("tweede") or None,
        redacts=True,
    )
    async with noting_denials(request, f"redaction {wish.purpose}"):
        room = await rooms.draft(wish)
    if town.keys is None:
        await rooms.ask(room, sign_with_software(town, someone.id, rooms.challenge(room)))
    raise web.HTTPSeeOther(f"/kijkkamer/{room.id}")


async def state(request: web.Request) -> web.StreamResponse:
    """How far it is, and the plan when the page has an older one. Numbers only."""
    room, studio = _room(request), _studio(request)
    work = await studio.of(room)
    have = request.query.get("versie", "")
    return web.json_response(_told(request, work, whole=have != str(work.version)), headers=NO_STORE)


async def act(request: web.Request) -> web.StreamResponse:
    """Search, stop, edit, follow or make: each only for who sits in the open room, on this very page."""
    room, studio, someone = _room(request), _studio(request), someone_of(request)
    try:
        request.config_dict[ROOMS].may_act(room, someone.id, proof=request.headers.get("X-Seat", ""))
        match request.match_info["act"]:
            case "zoeken":
                work = await studio.search(room)
            case "stoppen":
                work = await studio.stop(room)
            case "maken":
                work = await studio.make(room, by=someone.id)
            case "volgen":
                work = await studio.follow(room, await _read(request, Draw))
            case "wijzigen":
                work = await studio.edit(room, await _read(request, Edit), by=someone.id)
            case "gekeken":
                played = await _read(request, Played)
                work = await studio.played(room, someone.id, played.spans, picture=played.picture)
            case _:
                raise web.HTTPNotFound
    except Refused as refused:
        await note_denial(request, refused, "redaction")
        return problem(refused)
    whole = request.match_info["act"] != "gekeken"
    return web.json_response(_told(request, work, whole=whole), headers=NO_STORE)


async def preview(request: web.Request) -> web.StreamResponse:
    """The playlist of the preview, or one second of it: each one asked for anew, as in every room."""
    room, studio, someone = _room(request), _studio(request), someone_of(request)
    name, token = request.match_info["name"], request.match_info["token"]
    recording, proof = request.match_info["recording"], request.headers.get("X-Seat", "")
    rooms, reel = request.config_dict[ROOMS], room.reels[0]
    try:
        if name in ("index.m3u8", "init.mp4"):
            media = await rooms.show(room, someone.id, token=token, recording=recording, sequence=None, proof=proof)
            if name == "index.m3u8":
                return web.Response(text=playlist(reel), content_type="application/vnd.apple.mpegurl", headers=NO_STORE)
        else:
            stem = name.removesuffix(".m4s")
            if not stem.isdigit() or len(stem) > 9 or recording != reel.recording:
                raise refuse(Code.NOT_FOUND, "footage", expected="an address of an open room", got="another")
            media = await studio.preview(room, someone.id, token=token, sequence=int(stem), proof=proof)
    except Refused as refused:
        return problem(refused)
    return web.Response(body=media, content_type="video/mp4", headers=NO_STORE)


def purpose_of(policy: Policy, case: Case) -> str | None:
    """Return the purpose of this kind of case under which the policy makes unrecognisable, or None."""
    for name, purpose in policy.purposes.items():
        if case.kind in purpose.case_kinds and purpose.redaction is not Redaction.NOT_USED:
            return name
    return None


async def is_derivative(request: web.Request, recording: str) -> bool:
    """Say whether people were made unrecognisable in this recording."""
    return await _studio(request).made_of(recording) is not None


async def _recordings(request: web.Request, case: Case) -> list[Original]:
    town = town_of(request)
    cards = await town.casework.recordings(town.org, case=case.id)
    return [
        Original(card=card, derivative=await is_derivative(request, card.id))
        for card in cards
        if card.state in ("retained", "held")
    ]


def _told(request: web.Request, work: Work, *, whole: bool) -> dict[str, Any]:
    watched = work.watched_by()
    left, verdict = review(work.plan, watched), judge_finish(work.plan, watched)
    ready = bool(verdict) and work.searched and work.doing is Doing.NOTHING
    dutch = words_of(request).language == "nl"
    told = {
        "doing": work.doing.value,
        "done": work.done,
        "of": work.of,
        "left_s": work.left_s(),
        "searched": work.searched,
        "searched_part": work.searched_to > 0 and not work.searched,
        "version": work.version,
        "picture": work.picture,
        "problem": work.problem,
        "made": work.made,
        "watched_s": left.watched_s,
        "length_s": left.length_s,
        "unwatched": _spans(left.unwatched.get(someone_of(request).id, ())),
        "unsettled": {name: _spans(spans) for name, spans in left.unsettled.items()},
        "ready": ready,
        "why": verdict.waarom if dutch else verdict.because,
    }
    return {**told, "plan": msgspec.to_builtins(work.plan)} if whole else told


def _spans(spans: Sequence[Span]) -> list[tuple[float, float]]:
    return [(span.from_s, span.until_s) for span in spans]


async def _read(request: web.Request, kind: Any) -> Any:
    body = await request.content.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise refuse(Code.TOO_LARGE, "edit", expected=f"at most {MOST_BYTES} bytes", got=len(body))
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as cause:
        raise refuse(Code.MALFORMED, "edit", expected="one edit of a plan", got=cause) from cause


def _room(request: web.Request) -> Room:
    room: Room = request.config_dict[ROOMS].find(request.match_info["room"])
    if someone_of(request).id not in room.seats:
        raise web.HTTPForbidden
    return room


def _studio(request: web.Request) -> Redactions:
    return request.config_dict[REDACTIONS]


ROUTES: Final = (
    web.get("/onherkenbaar/nieuw", show_new),
    web.post("/onherkenbaar", ask),
    web.get("/kijkkamer/{room}/onherkenbaar", state),
    web.post("/kijkkamer/{room}/onherkenbaar/{act}", act),
    web.get("/kijkkamer/{room}/beeld/{token}/{recording}/onherkenbaar/{name}", preview),
)
