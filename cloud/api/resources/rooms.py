"""Viewing rooms: ask, sign, approve or refuse, sit down together, look, leave."""

import asyncio
from typing import Annotated, Final
from uuid import UUID

import msgspec

from broker.wire.approvals import Statement
from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Group, Instant, Name, Nothing, Raw, Shown, Text, door, operation
from cloud.api.resources.cases import CasePath
from cloud.desk.pages.room import candidates_for, number_of, playlist_of, room_for, sign_with_key, sign_with_software
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny
from cloud.viewing.clips import LONGEST_S, part_of
from cloud.viewing.rooms import Room, Wish
from cloud.viewing.rules.lifecycle import RoomState
from cloud.viewing.rules.presence import is_present

ROOMS: Final = Group(
    name="kijkkamers",
    purpose="Beelden zien met twee bevoegde mensen, voor één doel en één dossier; wie wat zag staat vast.",
    footage=True,
)
SEES: Final = door(Door.ROOM)


class RangeShown(Shown):
    """Segments first..last of one recording."""

    recording: UUID
    first: int
    last: int


class RoomShown(Shown):
    """One room, as its two people see it. `challenge`: the 32 bytes that whoever is next signs, in hexadecimal."""

    id: UUID
    state: RoomState
    case: UUID
    purpose: str
    requester: str
    second: str | None
    reason: str
    recordings: tuple[RangeShown, ...]
    from_at: Instant
    until_at: Instant
    issued_at: Instant
    not_after: Instant
    present: dict[str, bool]
    because: str
    disclosure: UUID | None
    challenge: str


class RoomsShown(Shown):
    """The rooms in which one has a seat, newest first."""

    items: tuple[RoomShown, ...]


class StandShown(Shown):
    """How the room is at this moment."""

    state: RoomState
    present: dict[str, bool]


class SeatShown(Shown):
    """A seat that was taken; `seat` proves it in X-Seat."""

    state: RoomState
    present: dict[str, bool]
    seat: str


class NonceShown(Shown):
    """The number that a security key signs to sit down; works once, for five minutes."""

    nonce: str


class CandidateShown(Shown):
    """Somebody who might sit beside: allowed, or why not."""

    id: str
    name: str
    allowed: bool
    because: str


class CandidatesShown(Shown):
    """Everybody as the second person, so that nobody is asked in vain."""

    items: tuple[CandidateShown, ...]


class RoomPath(Given):
    """Which room."""

    room: UUID


class FootagePath(Given):
    """Which recording of which room."""

    room: UUID
    recording: UUID


class PiecePath(Given):
    """Which piece, by its name in the playlist."""

    room: UUID
    recording: UUID
    piece: Annotated[str, msgspec.Meta(max_length=20, pattern=r"^(init\.mp4|[0-9]{1,9}\.m4s)$")]


class CandidatesAsked(Given):
    """Beside whom, for what."""

    purpose: Name
    recording: UUID


class RoomGiven(Given):
    """Who wants to see what, why, beside whom. `nobody_else`: nobody else can watch along; `redacts`: to make others
    unrecognisable in it; `from_s`, `until_s`: only this part, in seconds since the recording begins.
    """

    case: UUID
    purpose: Name
    recording: UUID
    reason: Text
    second: Name | None = None
    nobody_else: bool = False
    redacts: bool = False
    from_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0.0
    until_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)] | None = None


class Signed(Given):
    """The browser's own JSON of an assertion; a demonstration signs with keys in software and needs none."""

    assertion: Annotated[str, msgspec.Meta(max_length=20_000)] = ""


class Seated(Signed):
    """The assertion with which one sits down, and the number that it signs."""

    nonce: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Because(Given):
    """Why not."""

    reason: Text


@operation("GET", "/kijkkamers", "Mijn kijkkamers", group=ROOMS, roles=SEES)
async def rooms(call: Call) -> RoomsShown:
    """Return the rooms of this life of the desk in which one has a seat, newest first."""
    return RoomsShown(items=tuple(_shown(call, each) for each in call.rooms.of(call.me.id)))


@operation("POST", "/kijkkamers", "Vragen om te bekijken", group=ROOMS, roles=SEES, created=True, gives=RoomShown,
           in_viewing_place=True, refuses=(Code.NOT_FOUND, Code.CONFLICT, Code.DESTROYED))  # fmt: skip
async def ask(call: Call, body: RoomGiven) -> Created:
    """Write a request down and put it before the second person; with security keys it is signed in a next step."""
    policy = await call.town.policy()
    if policy.viewing.confirm_no_third_parties and not body.nobody_else:
        raise refuse(Code.MALFORMED, "request", expected="that nobody else can watch", got="nothing")
    wish = Wish(
        case=str(body.case),
        purpose=body.purpose,
        ranges={str(body.recording): part_of(body.from_s, body.until_s)},
        reason=body.reason,
        requester=call.me.id,
        second=body.second,
        redacts=body.redacts,
    )
    room = await call.rooms.draft(wish)
    if call.town.keys is None:
        await call.rooms.ask(room, sign_with_software(call.town, call.me.id, call.rooms.challenge(room)))
    return Created(_shown(call, room), f"/kijkkamers/{room.id}")


@operation("GET", "/dossiers/{dossier}/kandidaten", "Wie kan erbij zitten", group=ROOMS, roles=SEES)
async def candidates(call: Call, path: CasePath, query: CandidatesAsked) -> CandidatesShown:
    """Judge everybody as the second person, so that nobody is asked in vain."""
    case = await call.town.casework.case(call.org, str(path.case))
    if query.purpose not in (await call.town.policy()).purposes:
        raise refuse(Code.NOT_FOUND, "purpose", expected="a purpose of the policy", got=query.purpose)
    found = await candidates_for(call.request, case, query.purpose, str(query.recording))
    return CandidatesShown(
        items=tuple(
            CandidateShown(id=each.id, name=each.name, allowed=each.allowed, because=each.why) for each in found
        )
    )


@operation("GET", "/kijkkamers/{kamer}", "Eén kijkkamer", group=ROOMS, roles=SEES)
async def room(call: Call, path: RoomPath) -> RoomShown:
    """Return one room, for its two people."""
    return _shown(call, await room_of(call, path.room))


@operation("GET", "/kijkkamers/{kamer}/verzoek", "Wat er getekend wordt", group=ROOMS, roles=SEES)
async def request_bytes(call: Call, path: RoomPath) -> Raw:
    """Return the very bytes that both sign (RFC 8785): hash these yourself."""
    return Raw((await room_of(call, path.room)).raw)


@operation("POST", "/kijkkamers/{kamer}/ondertekeningen", "Het eigen verzoek tekenen", group=ROOMS, roles=SEES,
           in_viewing_place=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def sign(call: Call, path: RoomPath, body: Signed) -> RoomShown:
    """Put one's own request, signed, before the other one."""
    mine = await room_of(call, path.room)
    if call.me.id != mine.request.requester:
        raise refuse(Code.NOT_ALLOWED, "request", expected="its own requester", got=call.me.id)
    await call.rooms.ask(mine, await _signed(call, mine, body))
    return _shown(call, mine)


@operation("POST", "/kijkkamers/{kamer}/goedkeuringen", "Goedkeuren", group=ROOMS, roles=SEES, in_viewing_place=True,
           refuses=(Code.CONFLICT,))  # fmt: skip
async def approve(call: Call, path: RoomPath, body: Signed) -> RoomShown:
    """Agree, with one's own key, to exactly what was read."""
    mine = await room_of(call, path.room)
    if call.me.id != mine.request.second:
        raise refuse(Code.NOT_ALLOWED, "approval", expected="the second person", got=call.me.id)
    await call.rooms.approve(mine, call.me.id, await _signed(call, mine, body))
    return _shown(call, mine)


@operation("POST", "/kijkkamers/{kamer}/weigeringen", "Niet goedkeuren", group=ROOMS, roles=SEES,
           in_viewing_place=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def turn_down(call: Call, path: RoomPath, body: Because) -> RoomShown:
    """Do not agree, with a reason; the room is over."""
    mine = await room_of(call, path.room)
    await call.rooms.turn_down(mine, call.me.id, body.reason)
    return _shown(call, mine)


@operation("POST", "/kijkkamers/{kamer}/getallen", "Een getal om mee te gaan zitten", group=ROOMS, roles=SEES,
           in_viewing_place=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def begin_to_sit(call: Call, path: RoomPath, body: Nothing) -> NonceShown:  # noqa: ARG001 - says it all
    """Return the number that a security key signs to sit down."""
    mine, keys = await room_of(call, path.room), call.town.keys
    if keys is None:
        raise refuse(Code.CONFLICT, "seat", expected="security keys", got="a demonstration")
    return NonceShown(nonce=keys.nonces.make(f"seat {mine.id} {call.me.id}", now_s=_now_s()))


@operation("POST", "/kijkkamers/{kamer}/zetels", "Gaan zitten", group=ROOMS, roles=SEES, in_viewing_place=True,
           refuses=(Code.CONFLICT, Code.DESTROYED))  # fmt: skip
async def sit_down(call: Call, path: RoomPath, body: Seated) -> SeatShown:
    """Take one's own seat; when nobody is missing the room opens. Keep it by a sign of life each second."""
    mine, keys = await room_of(call, path.room), call.town.keys
    if keys is not None:
        await keys.seat(call.me.id, body.assertion, room=mine.id, nonce=body.nonce, now_s=_now_s())
    proof = await call.rooms.sit_down(mine, call.me.id)
    stand = _stand(mine)
    return SeatShown(state=stand.state, present=stand.present, seat=proof)


@operation("PUT", "/kijkkamers/{kamer}/aanwezigheid", "Ik ben er nog", group=ROOMS, roles=SEES, in_viewing_place=True,
           quiet=True, seat=True)  # fmt: skip
async def beat(call: Call, path: RoomPath, body: Nothing) -> StandShown:  # noqa: ARG001 - says it all
    """Give a sign of life; without one for a few seconds the seat is empty and it stops for both."""
    mine = await room_of(call, path.room)
    call.rooms.heard(mine, call.me.id, proof=call.request.headers.get("X-Seat", ""))
    return _stand(mine)


@operation("DELETE", "/kijkkamers/{kamer}/zetels", "Opstaan", group=ROOMS, roles=SEES)
async def get_up(call: Call, path: RoomPath) -> None:
    """Leave one's seat: it stops for both, at once."""
    await call.rooms.get_up(await room_of(call, path.room), call.me.id)


@operation("DELETE", "/kijkkamers/{kamer}", "De kijkkamer sluiten", group=ROOMS, roles=SEES)
async def close(call: Call, path: RoomPath) -> None:
    """Close the room for good; its keys are gone."""
    await call.rooms.end(await room_of(call, path.room), actor=call.me.id, why="closed by a participant")


@operation("GET", "/kijkkamers/{kamer}/beelden/{opname}/afspeellijst", "De afspeellijst", group=ROOMS, roles=SEES,
           in_viewing_place=True, media="application/vnd.apple.mpegurl", seat=True)  # fmt: skip
async def playlist(call: Call, path: FootagePath) -> Raw:
    """Return the playlist (RFC 8216), to whoever sits in an open room. The names in it stand beside this address."""
    mine = await room_of(call, path.room)
    text = await playlist_of(
        call.rooms, mine, call.me.id, token=mine.token, recording=str(path.recording), proof=_proof(call)
    )
    return Raw(text.encode())


@operation("GET", "/kijkkamers/{kamer}/beelden/{opname}/{stuk}", "Eén stuk beeld", group=ROOMS, roles=SEES,
           in_viewing_place=True, media="video/mp4", seat=True, head=False)  # fmt: skip
async def footage(call: Call, path: PiecePath) -> Raw:
    """Return one piece, marked with who looks; each one is asked for anew: open, nobody missing, in range."""
    mine = await room_of(call, path.room)
    media = await call.rooms.show(
        mine,
        call.me.id,
        token=mine.token,
        recording=str(path.recording),
        sequence=number_of(path.piece),
        proof=_proof(call),
    )
    return Raw(media)


async def room_of(call: Call, name: UUID) -> Room:
    """Return the room when who asks has a seat in it; otherwise that is written down, as a denial."""
    found = room_for(call.rooms, str(name), call.me.id)
    if found is None:
        await deny(call.request, "kijkkamer", "U bent niet een van de twee van deze kijkkamer.")
        raise refuse(Code.NOT_ALLOWED, "viewing room", expected="one of its two people", got=call.me.id)
    return found


async def _signed(call: Call, room: Room, body: Signed) -> Statement:
    challenge = call.rooms.challenge(room)
    if call.town.keys is None:
        return sign_with_software(call.town, call.me.id, challenge)
    return await sign_with_key(call.town, call.me.id, body.assertion, challenge)


def _proof(call: Call) -> str:
    return call.request.headers.get("X-Seat", "")


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _stand(room: Room) -> StandShown:
    present = {name: is_present(seat, now_s=_now_s()) for name, seat in room.seats.items()}
    return StandShown(state=room.state, present=present)


def _shown(call: Call, room: Room) -> RoomShown:
    asked = room.request
    return RoomShown(
        id=UUID(room.id),
        state=room.state,
        case=UUID(asked.case),
        purpose=asked.purpose,
        requester=asked.requester,
        second=asked.second,
        reason=room.reason,
        recordings=tuple(
            RangeShown(recording=UUID(each.id), first=each.first, last=each.last) for each in asked.recordings
        ),
        from_at=asked.from_at,
        until_at=asked.until_at,
        issued_at=asked.issued_at,
        not_after=asked.not_after,
        present=_stand(room).present,
        because=room.because,
        disclosure=UUID(room.hand_over) if room.hand_over else None,
        challenge=call.rooms.challenge(room).hex(),
    )


OPERATIONS: Final = (
    rooms,
    ask,
    candidates,
    room,
    request_bytes,
    sign,
    approve,
    turn_down,
    begin_to_sit,
    sit_down,
    beat,
    get_up,
    close,
    playlist,
    footage,
)
