"""Bookmarks: where in a recording two people found what they looked for, with a word about it.

They are about the footage, so they are seen where footage is: in an open room, by the two who sit in it, of the same
case; and they are forgotten with it. Of learning nothing remains (H-59): there are none.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select

from broker.clock import Clock
from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, refuse
from cloud.database.engine import Database
from cloud.database.tables import viewing_marks
from cloud.viewing.rooms import Room
from cloud.viewing.rules.lifecycle import RoomState

MOST: Final = 200
MOST_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One place in a recording. `at_s`: seconds from its first picture."""

    id: int
    at_s: float
    label: str
    by: str
    made_at: datetime


class Marks:
    """The bookmarks of one municipality."""

    def __init__(self, database: Database, clock: Clock, *, org: str) -> None:
        self._database = database
        self._clock = clock
        self._org = org

    async def of(self, room: Room, recording: str) -> tuple[Mark, ...]:
        """Return the marks of this recording that were made for this room's case, in order; none while it is shut."""
        if room.state is not RoomState.OPEN:
            return ()
        query = (
            select(viewing_marks)
            .where(
                viewing_marks.c.org == self._org,
                viewing_marks.c.recording == recording,
                viewing_marks.c.case_id == room.case.id,
            )
            .order_by(viewing_marks.c.at_s, viewing_marks.c.id)
        )
        async with self._database.transaction() as t:
            return tuple(
                Mark(id=row.id, at_s=row.at_s, label=row.label, by=row.by, made_at=row.made_at)
                for row in await t.execute(query)
            )

    async def make(self, room: Room, recording: str, *, by: str, at_s: float, label: str) -> Mark:
        """Mark this place; raise Refused outside an open room, outside the recording, and for learning."""
        _check(room, by)
        reel = next((reel for reel in room.reels if reel.recording == recording), None)
        length_s = sum(piece.length_s for piece in reel.pieces) if reel else 0.0
        if not 0 <= at_s <= length_s:
            raise refuse(Code.MALFORMED, "mark", expected=f"a place from 0 to {length_s:.0f} s", got=at_s)
        text = label.strip()
        if not text or len(text) > MOST_CHARACTERS:
            raise refuse(Code.MALFORMED, "mark", expected=f"1 to {MOST_CHARACTERS} characters", got=len(text))
        if len(await self.of(room, recording)) >= MOST:
            raise refuse(Code.CONFLICT, "mark", expected=f"at most {MOST} marks", got="one more")
        now = self._clock()
        async with self._database.transaction() as t:
            done = await t.execute(
                insert(viewing_marks).values(
                    org=self._org,
                    recording=recording,
                    case_id=room.case.id,
                    at_s=at_s,
                    label=text,
                    by=by,
                    made_at=now,
                )
            )
        (identity,) = done.inserted_primary_key or (0,)
        return Mark(id=identity, at_s=at_s, label=text, by=by, made_at=now)

    async def remove(self, room: Room, mark: int, *, by: str) -> None:
        """Take back a mark of one's own."""
        _check(room, by)
        mine = (viewing_marks.c.org == self._org) & (viewing_marks.c.case_id == room.case.id)
        mine &= (viewing_marks.c.id == mark) & (viewing_marks.c.by == by)
        async with self._database.transaction() as t:
            if not (await t.execute(delete(viewing_marks).where(mine))).rowcount:
                raise refuse(Code.NOT_FOUND, "mark", expected="a mark of your own in this case", got=mark)


def _check(room: Room, by: str) -> None:
    if by not in room.seats or room.state is not RoomState.OPEN:
        raise refuse(Code.NOT_ALLOWED, "mark", expected="an open room in which you sit", got=room.state.value)
    if room.case.kind is CaseKind.LEARNING:
        raise refuse(Code.NOT_ALLOWED, "mark", expected="another case: of learning nothing remains", got="learning")
