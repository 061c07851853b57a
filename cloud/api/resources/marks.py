"""Bookmarks in a viewing room: made and read while its two people are there."""

from typing import Annotated, Final
from uuid import UUID

import msgspec

from broker.wire.refusals import Code
from cloud.api.declaration import NO_NUL, Call, Created, Given, Instant, Shown, operation
from cloud.api.resources.rooms import ROOMS, SEES, RoomPath, room_of
from cloud.desk.pages.marks import marks_of, tell
from cloud.viewing.marks import MOST_CHARACTERS, Mark

LONGEST_S: Final = 366 * 86_400
LARGEST: Final = 2**53 - 1
"""The largest whole number that every program reads as it was written (RFC 8259 section 6)."""


class MarkShown(Shown):
    """One place in a recording; `position_s` from its first picture."""

    id: int
    position_s: float
    label: str
    by: str
    made_at: Instant


class MarksShown(Shown):
    """The marks of one recording, in order."""

    items: tuple[MarkShown, ...]


class MarkPath(Given):
    """Which mark of which room."""

    room: UUID
    mark: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]


class MarksAsked(Given):
    """Of which recording."""

    recording: UUID


class MarkGiven(Given):
    """A place in a recording, and a word about it."""

    recording: UUID
    position_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)]
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_CHARACTERS, pattern=NO_NUL)]


@operation("GET", "/kijkkamers/{kamer}/bladwijzers", "Bladwijzers van een opname", group=ROOMS, roles=SEES,
           in_viewing_place=True)  # fmt: skip
async def marks(call: Call, path: RoomPath, query: MarksAsked) -> MarksShown:
    """Return the marks of this recording for the room's case; none while the room is shut."""
    room = await room_of(call, path.room)
    found = await marks_of(call.town).of(room, str(query.recording))
    return MarksShown(items=tuple(_shown(each) for each in found))


@operation("POST", "/kijkkamers/{kamer}/bladwijzers", "Een bladwijzer maken", group=ROOMS, roles=SEES, created=True,
           gives=MarkShown, in_viewing_place=True, refuses=(Code.CONFLICT,))  # fmt: skip
async def mark(call: Call, path: RoomPath, body: MarkGiven) -> Created:
    """Mark a place, in an open room in which one sits. Of learning nothing remains: there are none."""
    room = await room_of(call, path.room)
    made = await marks_of(call.town).make(
        room, str(body.recording), by=call.me.id, at_s=body.position_s, label=body.label
    )
    tell(call.town, room)
    return Created(_shown(made), f"/kijkkamers/{room.id}/bladwijzers")


@operation("DELETE", "/kijkkamers/{kamer}/bladwijzers/{bladwijzer}", "Een eigen bladwijzer weghalen", group=ROOMS,
           roles=SEES, in_viewing_place=True)  # fmt: skip
async def remove_mark(call: Call, path: MarkPath) -> None:
    """Take a mark of one's own back."""
    room = await room_of(call, path.room)
    await marks_of(call.town).remove(room, path.mark, by=call.me.id)
    tell(call.town, room)


def _shown(mark: Mark) -> MarkShown:
    return MarkShown(id=mark.id, position_s=mark.at_s, label=mark.label, by=mark.by, made_at=mark.made_at)


OPERATIONS: Final = (marks, mark, remove_mark)
