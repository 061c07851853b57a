"""A town with a face on film, and an open room in which it can be made unrecognisable."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.wire.approvals import sign_in_software
from broker.wire.policy import CaseKind
from cloud.database.tables import recordings
from cloud.redaction.rules.plan import Settle, Span
from cloud.redaction.rules.tracks import unsure_of
from cloud.redaction.studio import Redactions
from cloud.redaction.work import Doing, Work
from cloud.viewing.rooms import Room, Rooms, Wish
from tests.adapters.redaction.filmed import face
from tests.browser.town import ORG, TownHall, open_town, rooms_of

PRIVACY, MANAGER = "o-103", "o-102"
SECONDS = 8


@dataclass(kw_only=True)
class Studio:
    """What a test sees and does."""

    town: TownHall
    rooms: Rooms
    redactions: Redactions
    recording: str
    case: str

    purpose: str = "access_request"

    def wish(self, *, recording: str | None = None, redacts: bool = True) -> Wish:
        return Wish(
            case=self.case,
            purpose=self.purpose,
            ranges={recording or self.recording: None},
            reason="Anderen onherkenbaar maken",
            requester=PRIVACY,
            second=MANAGER,
            redacts=redacts,
        )

    async def original(self) -> Any:
        async with self.town.database.transaction() as t:
            return (await t.execute(select(recordings).where(recordings.c.id == self.recording))).one()

    def restart(self) -> None:
        """Forget all that is only in memory."""
        self.redactions = new_redactions(self.town, self.rooms)

    async def open(self, wish: Wish | None = None) -> Room:
        room = await self.rooms.draft(wish or self.wish())
        await self.sign(room)
        await self.rooms.sit_down(room, PRIVACY)
        await self.rooms.sit_down(room, MANAGER)
        return room

    async def sign(self, room: Room) -> None:
        await self.rooms.ask(room, sign_in_software(PRIVACY, self.town.keys[PRIVACY], self.rooms.challenge(room)))
        await self.rooms.approve(
            room, MANAGER, sign_in_software(MANAGER, self.town.keys[MANAGER], self.rooms.challenge(room))
        )

    async def until_idle(self, room: Room) -> Work:
        work = await self.redactions.of(room)
        async with asyncio.timeout(150):
            while work.doing is not Doing.NOTHING:
                await asyncio.sleep(0.02)
        return work

    async def preview(self, room: Room, sequence: int | None, *, by: str = PRIVACY) -> bytes:
        return await self.redactions.preview(room, by, token=room.token, sequence=sequence, proof="")

    async def watch(self, room: Room, *, by: str) -> None:
        """Fetch the whole preview, and say that it was played."""
        for piece in room.reels[0].pieces:
            await self.preview(room, piece.sequence, by=by)
        picture = (await self.redactions.of(room)).picture
        await self.redactions.played(room, by, [Span(from_s=0.0, until_s=room_length_s(room))], picture=picture)

    async def review(self, room: Room) -> None:
        """Let both watch all of it, and the first say that it is right."""
        for official in (PRIVACY, MANAGER):
            await self.watch(room, by=official)
        unsure = tuple(each.id for each in (await self.redactions.of(room)).plan.tracks if unsure_of(each))
        await self.redactions.edit(room, Settle(tracks=unsure), by=PRIVACY)


def room_length_s(room: Room) -> float:
    return sum(piece.length_s for piece in room.reels[0].pieces)


@pytest.fixture(scope="session")
def filmed() -> tuple[bytes, list[bytes]]:
    return face(SECONDS, begin=3600)


@asynccontextmanager
async def open_studio(folder: Path, filmed: tuple[bytes, list[bytes]], *, kind: CaseKind) -> AsyncIterator[Studio]:
    """Open a town with the film in it, and a case of this kind about it."""
    async with open_town(folder) as town:
        recording = str(await town.film("cam-07", filmed=filmed))
        case = await town.casework.register_case(ORG, by=PRIVACY, kind=kind, summary="Verzoek", recordings=[recording])
        rooms = rooms_of(town)
        looking = asyncio.create_task(rooms.run())
        staying = asyncio.create_task(_stay(rooms))
        redactions = new_redactions(town, rooms)
        studio = Studio(town=town, rooms=rooms, redactions=redactions, recording=recording, case=case.id)
        yield studio
        await studio.redactions.close()
        for task in (looking, staying):
            task.cancel()
        await asyncio.gather(looking, staying, return_exceptions=True)


async def _stay(rooms: Rooms) -> None:
    """Give signs of life for both, as their browsers do."""
    while True:
        for official in (PRIVACY, MANAGER):
            for room in rooms.of(official):
                rooms.heard(room, official)
        await asyncio.sleep(0.2)


def new_redactions(town: TownHall, rooms: Rooms) -> Redactions:
    return Redactions(
        org=ORG,
        database=town.database,
        ledger=town.ledger,
        kluis=town.kluis,
        vault=town.vault,
        rooms=rooms,
        clock=town.clock,
        hub=town.hub,
    )


@pytest.fixture
async def studio(tmp_path: Path, filmed: tuple[bytes, list[bytes]]) -> AsyncIterator[Studio]:
    async with open_studio(tmp_path, filmed, kind=CaseKind.ACCESS_REQUEST) as opened:
        yield opened
