"""Bookmarks in a viewing room: made and read while both are there."""

from dataclasses import asdict
from typing import Final

import msgspec
from aiohttp import web

from broker.wire.refusals import Code, Refused, refuse
from cloud.desk.pages.keys import problem
from cloud.desk.pages.room import NO_STORE, room_for
from cloud.desk.town import ROOMS, Town, note_denial, someone_of, town_of
from cloud.viewing.marks import Marks
from cloud.viewing.rooms import Room


class _NewMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    recording: str
    at_s: float
    label: str


async def show(request: web.Request) -> web.StreamResponse:
    """The marks of one recording, for a page in which somebody of this room sits."""
    try:
        room, marks = await _room(request), marks_of(town_of(request))
        names = await town_of(request).people.names()
        found = [
            asdict(mark) | {"by": names.get(mark.by, mark.by), "mine": mark.by == someone_of(request).id}
            for mark in await marks.of(room, request.query.get("opname", ""))
        ]
    except Refused as refused:
        return problem(refused)
    return web.Response(body=msgspec.json.encode(found), content_type="application/json", headers=NO_STORE)


async def make(request: web.Request) -> web.StreamResponse:
    """Mark a place."""
    try:
        room, someone = await _room(request), someone_of(request)
        try:
            new = msgspec.json.decode(await request.read(), type=_NewMark)
        except msgspec.DecodeError as cause:
            raise refuse(Code.MALFORMED, "mark", expected="recording, at_s, label", got="another form") from cause
        await marks_of(town_of(request)).make(room, new.recording, by=someone.id, at_s=new.at_s, label=new.label)
    except Refused as refused:
        await note_denial(request, refused, "mark")
        return problem(refused)
    tell(town_of(request), room)
    return web.Response(status=204, headers=NO_STORE)


async def remove(request: web.Request) -> web.StreamResponse:
    """Take one's own mark back."""
    try:
        room, number = await _room(request), request.match_info["mark"]
        if not (number.isascii() and number.isdecimal() and len(number) < 15):
            raise refuse(Code.NOT_FOUND, "mark", expected="a mark of this room", got=number[:20])
        await marks_of(town_of(request)).remove(room, int(number), by=someone_of(request).id)
    except Refused as refused:
        await note_denial(request, refused, "mark")
        return problem(refused)
    tell(town_of(request), room)
    return web.Response(status=204, headers=NO_STORE)


async def _room(request: web.Request) -> Room:
    room = room_for(request.config_dict[ROOMS], request.match_info["room"], someone_of(request).id)
    if room is None:
        refused = refuse(Code.NOT_ALLOWED, "mark", expected="a room in which you sit", got="another")
        await note_denial(request, refused, "mark")
        raise refused
    return room


def marks_of(town: Town) -> Marks:
    """Return the bookmarks of this town."""
    return Marks(town.database, town.clock, org=town.org)


def tell(town: Town, room: Room) -> None:
    """Let both pages of a room read its bookmarks anew."""
    town.hub.publish(town.org, "mark", {"room": room.id})


ROUTES: Final = (
    web.get("/kijkkamer/{room}/bladwijzers", show),
    web.post("/kijkkamer/{room}/bladwijzers", make),
    web.post("/kijkkamer/{room}/bladwijzers/{mark}/weg", remove),
)
