"""Making people unrecognisable, in an open room: search, decide, preview, finish. Every act asks for the seat again."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Given, Group, Name, Nothing, Raw, Shown, door, operation
from cloud.api.resources.rooms import FootagePath, PiecePath, RoomPath, room_of
from cloud.desk.pages.room import number_of, playlist_of
from cloud.desk.rules.doors import Door
from cloud.desk.town import REDACTIONS
from cloud.redaction.rules.plan import (
    Draw,
    Drop,
    Edit,
    Extend,
    Move,
    Mute,
    Rest,
    Settle,
    Show,
    Span,
    Unmute,
    judge_finish,
)
from cloud.redaction.rules.tracks import Box
from cloud.redaction.studio import Redactions
from cloud.redaction.work import Doing, Work
from cloud.viewing.rooms import Room

REDACTION: Final = Group(
    name="onherkenbaar maken",
    purpose="Anderen dan wie om de beelden vraagt zijn op een kopie niet te herkennen; het origineel verandert niet.",
    footage=True,
)
SEES: Final = door(Door.ROOM)
Part = Annotated[float, msgspec.Meta(ge=0, le=1)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class SpanShown(Shown):
    """From one moment to another, in seconds of the film."""

    from_s: float
    until_s: float


class WatchedShown(Shown):
    """How much of the preview somebody watched, as it will be made now."""

    official: str
    watched_s: float


class WorkShown(Shown):
    """How far it is. `picture` tells one look of the preview from the next; `unwatched` is who asks's own.

    `eta_s`: how long what is under way will take; absent while that cannot be said. `may_finish`: nothing is left to
    do, and `because` says what is where it is not. `made`: the derivative, a recording of its own.
    """

    doing: Doing
    done: int
    of: int
    eta_s: float | None
    searched: bool
    picture: int
    problem: str
    length_s: float
    watched: tuple[WatchedShown, ...]
    unwatched: tuple[SpanShown, ...]
    may_finish: bool
    because: str
    made: UUID | None


class PlaceShown(Shown):
    """Where something is at one moment, in parts of the picture's width and height from the top left."""

    at_s: float
    x: float
    y: float
    width: float
    height: float


class TrackShown(Shown):
    """One face, or one thing that somebody drew. `unsure`: what a person must judge of it."""

    id: str
    drawn: bool
    hidden: bool
    settled: bool
    unsure: tuple[SpanShown, ...]
    places: tuple[PlaceShown, ...]


class PlanShown(Shown):
    """What is hidden and silenced. `rest_hidden`: all of the picture, but for tracks that are not hidden."""

    detector: str
    rest_hidden: bool
    tracks: tuple[TrackShown, ...]
    silences: tuple[SpanShown, ...]


class TrackPath(Given):
    """Which track, in which room."""

    room: UUID
    track: Name


class SilencePath(Given):
    """Which silence, by its place in the list from 0, in which room."""

    room: UUID
    number: Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class SpanGiven(Given):
    """From one moment to another, in seconds of the film."""

    from_s: Moment
    until_s: Moment


class TrackGiven(Given):
    """Whether to hide it, and whether what is uncertain of it was watched and is right."""

    hidden: bool
    settled: bool = False


class RestGiven(Given):
    """Whether to hide all of the picture but for tracks that are not hidden."""

    hidden: bool


class PlaceGiven(Given):
    """Where a track is at one moment."""

    at_s: Moment
    x: Part
    y: Part
    width: Part
    height: Part


class BoxGiven(Given):
    """A box by hand, from one moment to another; `follow`: what is in it at first, wherever it goes."""

    x: Part
    y: Part
    width: Part
    height: Part
    from_s: Moment
    until_s: Moment
    follow: bool = False


class PlayedGiven(Given):
    """What a player played of the preview that looked like `picture`."""

    picture: int
    spans: Annotated[tuple[SpanGiven, ...], msgspec.Meta(max_length=1000)]


@operation("GET", "/kijkkamers/{kamer}/onherkenbaar", "Hoever het is", group=REDACTION, roles=SEES)
async def redaction(call: Call, path: RoomPath) -> WorkShown:
    """Return how far it is, for the room's two people."""
    return _shown(call, await _studio(call).of(await room_of(call, path.room)))


@operation("GET", "/kijkkamers/{kamer}/onherkenbaar/plan", "Wat er verborgen wordt", group=REDACTION, roles=SEES,
           in_viewing_place=True, seat=True)  # fmt: skip
async def redaction_plan(call: Call, path: RoomPath) -> PlanShown:
    """Return where faces are and what becomes of them: only to who sits in the open room."""
    room = await _seated(call, path.room)
    return _plan(await _studio(call).of(room))


@operation("PUT", "/kijkkamers/{kamer}/onherkenbaar/zoekopdracht", "Gezichten zoeken", group=REDACTION, roles=SEES,
           in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def search_faces(call: Call, path: RoomPath, body: Nothing) -> WorkShown:  # noqa: ARG001 - says it all
    """Begin to look for faces, or go on where it stopped; follow it by asking how far it is."""
    room = await _seated(call, path.room)
    return _shown(call, await _studio(call).search(room))


@operation("DELETE", "/kijkkamers/{kamer}/onherkenbaar/zoekopdracht", "Stoppen", group=REDACTION, roles=SEES,
           in_viewing_place=True, seat=True)  # fmt: skip
async def stop_redaction(call: Call, path: RoomPath) -> WorkShown:
    """Stop looking or making. What was found is kept; what was made so far is not."""
    room = await _seated(call, path.room)
    return _shown(call, await _studio(call).stop(room))


@operation("POST", "/kijkkamers/{kamer}/onherkenbaar/kaders", "Een kader tekenen", group=REDACTION, roles=SEES,
           in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def draw_box(call: Call, path: RoomPath, body: BoxGiven) -> WorkShown:
    """Hide a part of the picture that somebody drew."""
    drawn = Draw(box=Box(body.x, body.y, body.width, body.height), from_s=body.from_s, until_s=body.until_s)
    if not body.follow:
        return await _edited(call, path.room, drawn)
    room = await _seated(call, path.room)
    return _shown(call, await _studio(call).follow(room, drawn))


@operation("PUT", "/kijkkamers/{kamer}/onherkenbaar/sporen/{spoor}", "Over een spoor beslissen", group=REDACTION,
           roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def decide_track(call: Call, path: TrackPath, body: TrackGiven) -> WorkShown:
    """Hide it or leave it visible; who settles what is uncertain must have watched it."""
    shown = await _edited(call, path.room, Show(track=path.track, hidden=body.hidden))
    return await _edited(call, path.room, Settle(tracks=(path.track,))) if body.settled else shown


@operation("DELETE", "/kijkkamers/{kamer}/onherkenbaar/sporen/{spoor}", "Een spoor weghalen", group=REDACTION,
           roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def drop_track(call: Call, path: TrackPath) -> WorkShown:
    """Take a track away: nobody was there."""
    return await _edited(call, path.room, Drop(track=path.track))


@operation("POST", "/kijkkamers/{kamer}/onherkenbaar/sporen/{spoor}/plaatsen", "Een spoor verplaatsen",
           group=REDACTION, roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def move_track(call: Call, path: TrackPath, body: PlaceGiven) -> WorkShown:
    """Say where a track is at one moment."""
    box = Box(body.x, body.y, body.width, body.height)
    return await _edited(call, path.room, Move(track=path.track, at_s=body.at_s, box=box))


@operation("PUT", "/kijkkamers/{kamer}/onherkenbaar/sporen/{spoor}/duur", "Een spoor langer maken", group=REDACTION,
           roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def extend_track(call: Call, path: TrackPath, body: SpanGiven) -> WorkShown:
    """Let a track begin earlier or end later; it holds still there."""
    return await _edited(call, path.room, Extend(track=path.track, from_s=body.from_s, until_s=body.until_s))


@operation("PUT", "/kijkkamers/{kamer}/onherkenbaar/omgeving", "Het hele beeld verbergen", group=REDACTION,
           roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def hide_rest(call: Call, path: RoomPath, body: RestGiven) -> WorkShown:
    """Hide all of the picture but for tracks that are not hidden, or only the tracks."""
    return await _edited(call, path.room, Rest(hidden=body.hidden))


@operation("POST", "/kijkkamers/{kamer}/onherkenbaar/stiltes", "Geluid weghalen", group=REDACTION, roles=SEES,
           in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def mute(call: Call, path: RoomPath, body: SpanGiven) -> WorkShown:
    """Silence a stretch."""
    return await _edited(call, path.room, Mute(from_s=body.from_s, until_s=body.until_s))


@operation("DELETE", "/kijkkamers/{kamer}/onherkenbaar/stiltes/{nummer}", "Geluid terugzetten", group=REDACTION,
           roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def unmute(call: Call, path: SilencePath) -> WorkShown:
    """Take a silence away."""
    return await _edited(call, path.room, Unmute(number=path.number))


@operation("PUT", "/kijkkamers/{kamer}/onherkenbaar/bekeken", "Zeggen wat bekeken is", group=REDACTION, roles=SEES,
           in_viewing_place=True, seat=True, quiet=True)  # fmt: skip
async def tell_played(call: Call, path: RoomPath, body: PlayedGiven) -> WorkShown:
    """Say what was played of the preview; what was never sent to this person does not count."""
    room = await _seated(call, path.room)
    spans = [Span(from_s=each.from_s, until_s=each.until_s) for each in body.spans]
    return _shown(call, await _studio(call).played(room, call.me.id, spans, picture=body.picture))


@operation("PUT", "/kijkkamers/{kamer}/onherkenbaar/afronding", "De onherkenbare opname maken", group=REDACTION,
           roles=SEES, in_viewing_place=True, seat=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def finish_redaction(call: Call, path: RoomPath, body: Nothing) -> WorkShown:  # noqa: ARG001 - says it all
    """Begin to make the derivative: for who asked for the room, when both watched all and no doubt is left."""
    room = await _seated(call, path.room)
    return _shown(call, await _studio(call).make(room, by=call.me.id))


@operation("GET", "/kijkkamers/{kamer}/beelden/{opname}/onherkenbaar/afspeellijst", "De afspeellijst van het voorbeeld",
           group=REDACTION, roles=SEES, in_viewing_place=True, media="application/vnd.apple.mpegurl",
           seat=True)  # fmt: skip
async def preview_playlist(call: Call, path: FootagePath) -> Raw:
    """Return the playlist of the preview, to whoever sits in an open room."""
    room = await _seated(call, path.room)
    text = await playlist_of(
        call.rooms, room, call.me.id, token=room.token, recording=str(path.recording), proof=_proof(call)
    )
    return Raw(text.encode())


@operation("GET", "/kijkkamers/{kamer}/beelden/{opname}/onherkenbaar/{stuk}", "Eén stuk voorbeeld", group=REDACTION,
           roles=SEES, in_viewing_place=True, media="video/mp4", seat=True, head=False)  # fmt: skip
async def preview(call: Call, path: PiecePath) -> Raw:
    """Return one piece as it will be made, marked with who looks; each one is asked for anew."""
    room = await _seated(call, path.room)
    if str(path.recording) != room.reels[0].recording:
        raise refuse(Code.NOT_FOUND, "footage", expected="the recording of this room", got=path.recording)
    sequence = number_of(path.piece)
    media = await _studio(call).preview(room, call.me.id, token=room.token, sequence=sequence, proof=_proof(call))
    return Raw(media)


async def _edited(call: Call, name: UUID, edit: Edit) -> WorkShown:
    room = await _seated(call, name)
    return _shown(call, await _studio(call).edit(room, edit, by=call.me.id))


async def _seated(call: Call, name: UUID) -> Room:
    """Return the room when who asks sits in it now, with everybody."""
    room = await room_of(call, name)
    call.rooms.may_act(room, call.me.id, proof=_proof(call))
    return room


def _proof(call: Call) -> str:
    return call.request.headers.get("X-Seat", "")


def _studio(call: Call) -> Redactions:
    return call.request.config_dict[REDACTIONS]


def _shown(call: Call, work: Work) -> WorkShown:
    watched = work.watched_by()
    left, verdict = work.review(), judge_finish(work.plan, watched)
    return WorkShown(
        doing=work.doing,
        done=work.done,
        of=work.of,
        eta_s=work.left_s(),
        searched=work.searched,
        picture=work.picture,
        problem=work.problem,
        length_s=left.length_s,
        watched=tuple(WatchedShown(official=who, watched_s=seconds) for who, seconds in left.watched_s.items()),
        unwatched=_spans(left.unwatched.get(call.me.id, ())),
        may_finish=bool(verdict) and work.searched and work.doing is Doing.NOTHING,
        because=verdict.waarom,
        made=UUID(work.made) if work.made else None,
    )


def _plan(work: Work) -> PlanShown:
    unsettled = work.review().unsettled
    return PlanShown(
        detector=work.plan.detector,
        rest_hidden=work.plan.rest_hidden,
        tracks=tuple(
            TrackShown(
                id=each.id,
                drawn=each.drawn,
                hidden=each.hidden,
                settled=each.settled,
                unsure=_spans(unsettled.get(each.id, ())),
                places=tuple(
                    PlaceShown(at_s=key.at_s, x=key.x, y=key.y, width=key.width, height=key.height) for key in each.keys
                ),
            )
            for each in work.plan.tracks
        ),
        silences=_spans(work.plan.mutes),
    )


def _spans(spans: Sequence[Span]) -> tuple[SpanShown, ...]:
    return tuple(SpanShown(from_s=span.from_s, until_s=span.until_s) for span in spans)


OPERATIONS: Final = (
    redaction,
    redaction_plan,
    search_faces,
    stop_redaction,
    draw_box,
    decide_track,
    drop_track,
    move_track,
    extend_track,
    hide_rest,
    mute,
    unmute,
    tell_played,
    finish_redaction,
    preview_playlist,
    preview,
)
