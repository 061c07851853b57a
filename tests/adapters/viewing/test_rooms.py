"""Rooms with the real Kluis, ledger, vault and worker: every doubt closes, and nothing is shown without the ledger."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from broker.wire.approvals import Statement, sign_in_software
from broker.wire.entries import read_entry
from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, Refused, refuse
from cloud.database.tables import openings, recordings, viewing_requests
from cloud.ledger.tiles import LedgerUnwritable
from cloud.viewing.key_keeper import KeyKeeper
from cloud.viewing.playlist import playlist
from cloud.viewing.rooms import FORGOTTEN_AFTER_S, MOST_DRAFTS, Room, Rooms, Wish
from cloud.viewing.rules.lifecycle import RoomState
from tests.browser.town import ORG, TownHall, open_town, rooms_of

PRIVACY, MANAGER, SECRETARY = "o-103", "o-102", "o-104"


@dataclass
class Scene:
    """A town with one recording, one case about it, and its rooms being looked after."""

    town: TownHall
    rooms: Rooms
    recording: UUID
    case: str

    def wish(self, **changes: Any) -> Wish:
        told: dict[str, Any] = {
            "case": self.case,
            "purpose": "access_request",
            "ranges": {str(self.recording): None},
            "reason": "Staat de verzoeker erop?",
            "requester": PRIVACY,
            "second": MANAGER,
        }
        return Wish(**(told | changes))

    async def asked(self) -> Room:
        room = await self.rooms.draft(self.wish())
        await self.rooms.ask(room, sign_in_software(PRIVACY, self.town.keys[PRIVACY], self.rooms.challenge(room)))
        return room

    async def approved(self) -> Room:
        room = await self.asked()
        statement = sign_in_software(MANAGER, self.town.keys[MANAGER], self.rooms.challenge(room))
        await self.rooms.approve(room, MANAGER, statement)
        return room

    async def opened(self) -> Room:
        room = await self.approved()
        await self.rooms.sit_down(room, PRIVACY)
        await self.rooms.sit_down(room, MANAGER)
        return room

    async def see(self, room: Room, sequence: int = 5, *, who: str = PRIVACY) -> bytes:
        return await self.rooms.show(room, who, token=room.token, recording=str(self.recording), sequence=sequence)

    async def kinds(self) -> list[str]:
        log = self.town.ledger
        return [read_entry(raw).kind for _, raw in await log.read(0, log.checkpoint().size)]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_town(tmp_path) as town:
        recording = await town.film("cam-07", pre_record=3, kept=25)
        case = await town.casework.register_case(
            ORG, by=PRIVACY, kind=CaseKind.ACCESS_REQUEST, summary="Verzoek", recordings=[str(recording)]
        )
        rooms = rooms_of(town)
        looking = asyncio.create_task(rooms.run())
        yield Scene(town, rooms, recording, case.id)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


@pytest.mark.rule("H-46", "H-47")
async def test_every_act_is_in_the_ledger_before_a_second_is_shown(scene: Scene) -> None:
    room = await scene.opened()
    assert b"moof" in await scene.see(room)
    kinds = await scene.kinds()
    acts = [kind for kind in kinds if kind.startswith("viewing.")]
    assert acts == ["viewing.requested", "viewing.approved", "viewing.released", "viewing.watched"]
    await scene.see(room, 9)
    await scene.see(room, 9, who=MANAGER)
    await scene.see(room, 12)
    assert (await scene.kinds()).count("viewing.watched") == 3, "one for each person and each ten seconds"


@pytest.mark.rule("E-35")
async def test_without_a_ledger_nothing_is_asked_and_nothing_is_shown(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await scene.opened()

    async def full(*_: object, **__: object) -> None:
        raise LedgerUnwritable(scene.town.folder, "disk full")

    with monkeypatch.context() as broken:
        broken.setattr(scene.town.ledger, "append", full)
        with pytest.raises(LedgerUnwritable):
            await scene.see(room)
        draft = await scene.rooms.draft(scene.wish())
        statement = sign_in_software(PRIVACY, scene.town.keys[PRIVACY], scene.rooms.challenge(draft))
        with pytest.raises(LedgerUnwritable):
            await scene.rooms.ask(draft, statement)
        assert draft.state is RoomState.DRAFTED
    assert b"moof" in await scene.see(room), "and when the ledger is back it goes on"


@pytest.mark.rule("H-47")
async def test_alone_there_is_not_even_a_key(scene: Scene) -> None:
    room = await scene.approved()
    await scene.rooms.sit_down(room, PRIVACY)
    with pytest.raises(Refused):
        await scene.see(room)
    assert room.state is RoomState.APPROVED
    assert "viewing.released" not in await scene.kinds(), "the Kluis was not asked"


@pytest.mark.rule("H-47")
async def test_nobody_approves_for_another_and_nobody_sits_in_another_ones_seat(scene: Scene) -> None:
    room = await scene.rooms.draft(scene.wish())
    await scene.rooms.ask(room, sign_in_software(PRIVACY, scene.town.keys[PRIVACY], scene.rooms.challenge(room)))
    for official in (PRIVACY, SECRETARY):
        statement = sign_in_software(official, scene.town.keys[official], scene.rooms.challenge(room))
        with pytest.raises(Refused):
            await scene.rooms.approve(room, official, statement)
    with pytest.raises(Refused):
        await scene.rooms.sit_down(room, SECRETARY)


@pytest.mark.rule("H-47")
async def test_a_signature_of_the_wrong_person_gets_no_key_from_the_kluis(scene: Scene) -> None:
    room = await scene.rooms.draft(scene.wish())
    await scene.rooms.ask(room, sign_in_software(PRIVACY, scene.town.keys[PRIVACY], scene.rooms.challenge(room)))
    forged = sign_in_software(MANAGER, scene.town.keys[PRIVACY], scene.rooms.challenge(room))

    async def go_on() -> None:
        await scene.rooms.approve(room, MANAGER, forged)
        await scene.rooms.sit_down(room, PRIVACY)
        await scene.rooms.sit_down(room, MANAGER)

    with pytest.raises(Refused):
        await go_on()
    assert room.state is not RoomState.OPEN
    assert not room.shown_init


@pytest.mark.rule("H-47", "E-04c")
async def test_one_person_never_takes_both_seats(scene: Scene) -> None:
    with pytest.raises(Refused) as refused:
        await scene.rooms.draft(scene.wish(second=PRIVACY))
    assert refused.value.refusal.code is Code.NOT_ALLOWED


@pytest.mark.rule("H-56")
async def test_an_access_request_is_not_viewed_without_the_privacy_officer(scene: Scene) -> None:
    with pytest.raises(Refused):
        await scene.rooms.draft(scene.wish(requester=MANAGER, second=SECRETARY))


@pytest.mark.rule("E-04")
async def test_a_room_closes_when_somebody_turns_out_to_have_been_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await scene.opened()
    async with scene.town.database.transaction() as t:
        await t.execute(update(recordings).where(recordings.c.id == str(scene.recording)).values(official=MANAGER))
    room.judged_s = -1e9  # it is time to judge again
    async with asyncio.timeout(60):
        while room.state is not RoomState.CLOSED:
            scene.rooms.heard(room, PRIVACY)
            scene.rooms.heard(room, MANAGER)
            await asyncio.sleep(0.05)
    with pytest.raises(Refused):
        await scene.see(room)


async def test_a_request_that_nobody_answers_dies_and_takes_its_process_along(scene: Scene) -> None:
    room = await scene.approved()
    scene.town.clock.move_forward(timedelta(minutes=16))
    async with asyncio.timeout(60):
        while room.state is not RoomState.CLOSED:
            await asyncio.sleep(0.05)
    assert room.because == "expired"
    with pytest.raises(Refused):
        await scene.rooms.sit_down(room, PRIVACY)


@pytest.mark.rule("E-32")
async def test_an_address_that_was_good_is_dead_when_the_room_is_closed(scene: Scene) -> None:
    room = await scene.opened()
    token = room.token
    await scene.see(room)
    await scene.rooms.end(room, actor=PRIVACY, why="done")
    with pytest.raises(Refused):
        await scene.rooms.show(room, PRIVACY, token=token, recording=str(scene.recording), sequence=5)
    assert (await scene.kinds())[-1] == "viewing.closed"


async def closed(room: Room) -> None:
    async with asyncio.timeout(60):
        while room.state is not RoomState.CLOSED:
            await asyncio.sleep(0.05)


async def test_who_asks_again_and_again_holds_only_a_few_processes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.rooms, "_start_projector", KeyKeeper.start)  # nothing here is shown
    drafts = [await scene.rooms.draft(scene.wish()) for _ in range(MOST_DRAFTS + 2)]
    assert [room.state for room in drafts] == [RoomState.CLOSED] * 2 + [RoomState.DRAFTED] * MOST_DRAFTS
    other = await scene.rooms.draft(scene.wish(requester=MANAGER, second=PRIVACY))
    assert (other.state, drafts[2].state) == (RoomState.DRAFTED, RoomState.DRAFTED), "each has those of his own"


@pytest.mark.rule("E-04")
async def test_a_room_in_the_middle_of_an_act_keeps_no_other_from_being_closed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.rooms, "_start_projector", KeyKeeper.start)
    busy, waiting = await scene.approved(), await scene.approved()
    async with busy.turn:  # its films are being looked into: that may take minutes
        scene.town.clock.move_forward(timedelta(minutes=16))
        await closed(waiting)
    assert waiting.because == "expired"


async def test_a_room_that_cannot_be_looked_after_is_closed_in_the_books_too_and_forgotten_in_the_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.rooms, "_start_projector", KeyKeeper.start)
    room = await scene.approved()

    async def away(_: str) -> None:
        raise refuse(Code.UNAVAILABLE, "policy", expected="an answer", got="none")

    with monkeypatch.context() as broken:
        broken.setattr(scene.town.policies, "current", away)
        await closed(room)
    async with asyncio.timeout(60):
        while await in_register(scene, room) != ("closed", "failure"):
            await asyncio.sleep(0.05)
    assert (await scene.kinds())[-1] == "viewing.closed"
    async with scene.town.database.transaction() as t:
        words = (await t.execute(select(openings.c.text))).scalars().all()
    assert "failure" in words, "what opens the commitment in the ledger is kept"
    assert scene.rooms.find(room.id) is room
    room.stirred_s -= FORGOTTEN_AFTER_S + 1
    async with asyncio.timeout(60):
        while scene.rooms.of(PRIVACY):
            await asyncio.sleep(0.05)


async def test_a_restart_closes_every_room_in_the_books_too(scene: Scene) -> None:
    room = await scene.approved()
    await rooms_of(scene.town).recover()
    assert await in_register(scene, room) == ("closed", "restart")
    assert (await scene.kinds())[-1] == "viewing.closed"


@pytest.mark.rule("E-35")
@pytest.mark.parametrize("away", ["ledger", "register"])
async def test_a_room_that_ends_while_the_books_are_away_is_closed_at_once_and_written_down_later_and_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr("cloud.viewing.rooms.CLOSED_ANEW_EVERY_S", 0.1)
    scene.rooms = rooms_of(scene.town)  # nobody looks after these yet
    room = await scene.approved()
    with without(scene, away, monkeypatch):
        with pytest.raises((LedgerUnwritable, OperationalError)):
            await scene.rooms.end(room, actor=MANAGER, why="closed by a participant")
        assert room.state is RoomState.CLOSED
    assert await in_register(scene, room) == ("approved", ""), "the register says it once the ledger does"
    looking = asyncio.create_task(scene.rooms.run())
    async with asyncio.timeout(60):
        while await in_register(scene, room) != ("closed", "closed by a participant"):
            await asyncio.sleep(0.05)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert await ends(scene) == [("viewing.closed", MANAGER)]
    async with scene.town.database.transaction() as t:
        words = (await t.execute(select(openings.c.text))).scalars().all()
    assert words.count("closed by a participant") == 1, "what opens the commitment in the ledger is kept"


async def test_what_the_register_could_not_take_is_signed_again_and_the_room_opens(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.rooms = rooms_of(scene.town)
    room = await scene.rooms.draft(scene.wish())

    def signed(official: str) -> Statement:
        return sign_in_software(official, scene.town.keys[official], scene.rooms.challenge(room))

    with without(scene, "register", monkeypatch), pytest.raises(OperationalError):
        await scene.rooms.ask(room, signed(PRIVACY))
    await scene.rooms.ask(room, signed(PRIVACY))
    with without(scene, "register", monkeypatch), pytest.raises(OperationalError):
        await scene.rooms.approve(room, MANAGER, signed(MANAGER))
    await scene.rooms.approve(room, MANAGER, signed(MANAGER))
    for official in (PRIVACY, MANAGER):
        await scene.rooms.sit_down(room, official)
    assert room.state is RoomState.OPEN
    assert [each.official for each in room.statements] == [PRIVACY, MANAGER]
    await scene.rooms.end(room, actor=PRIVACY, why="klaar")


@pytest.mark.parametrize("end", ["closed", "refused"])
async def test_after_a_restart_the_register_follows_what_the_ledger_says_of_a_rooms_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    scene.rooms = rooms_of(scene.town)
    room = await scene.asked()
    closing = partial(scene.rooms.end, room, actor=MANAGER, why="klaar")
    refusing = partial(scene.rooms.turn_down, room, MANAGER, "niet nodig")
    with without(scene, "register", monkeypatch), pytest.raises(OperationalError):
        await (closing if end == "closed" else refusing)()
    for _ in range(2):  # the second life finds nothing left to do
        await rooms_of(scene.town).recover()
    assert (await in_register(scene, room))[0] == end
    assert await ends(scene) == [(f"viewing.{end}", MANAGER)]


@contextmanager
def without(scene: Scene, away: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the ledger or these rooms' register away."""

    async def full(*_: object, **__: object) -> None:
        raise LedgerUnwritable(scene.town.folder, "disk full")

    def gone() -> None:
        raise OperationalError("update", {}, OSError("the test took it away"))

    with monkeypatch.context() as broken:
        if away == "ledger":
            broken.setattr(scene.town.ledger, "append", full)
        else:
            broken.setattr(scene.rooms, "_database", SimpleNamespace(transaction=gone))
        yield


async def ends(scene: Scene) -> list[tuple[str, str]]:
    log = scene.town.ledger
    entries = [read_entry(raw) for _, raw in await log.read(0, log.checkpoint().size)]
    return [(each.kind, each.actor) for each in entries if each.kind in ("viewing.closed", "viewing.refused")]


async def in_register(scene: Scene, room: Room) -> tuple[str, str]:
    async with scene.town.database.transaction() as t:
        row = (await t.execute(select(viewing_requests).where(viewing_requests.c.id == room.id))).one()
    return row.state, row.because


async def test_what_was_put_apart_or_destroyed_is_not_shown(scene: Scene) -> None:
    for state, code in (("restricted", Code.CONFLICT), ("quarantined", Code.CONFLICT)):
        async with scene.town.database.transaction() as t:
            await t.execute(update(recordings).where(recordings.c.id == str(scene.recording)).values(state=state))
        with pytest.raises(Refused) as refused:
            await scene.rooms.draft(scene.wish())
        assert refused.value.refusal.code is code


async def test_the_reason_is_signed_as_a_commitment_and_not_as_words(scene: Scene) -> None:
    room = await scene.approved()
    assert "verzoeker" not in room.raw.decode()
    assert room.request.reason_commitment == room.opening.commitment
    async with scene.town.database.transaction() as t:
        row = (await t.execute(select(viewing_requests).where(viewing_requests.c.id == room.id))).one()
    assert [each["statement"]["official"] for each in row.statements["signed"]] == [PRIVACY, MANAGER]


async def test_a_part_of_a_recording_is_all_that_opens(scene: Scene) -> None:
    part = {str(scene.recording): (timedelta(seconds=4), timedelta(seconds=8))}
    room = await scene.rooms.draft(scene.wish(ranges=part))
    assert [piece.sequence for piece in room.reels[0].pieces] == [5, 6, 7, 8]
    text = playlist(room.reels[0])
    assert text.count("#EXTINF:1.00000,") == 4
    assert "4.m4s" not in text
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert room.request.until_at - room.request.from_at == timedelta(seconds=4), "as both sign it"
    with pytest.raises(Refused, match="cannot be checked"):
        await scene.rooms.draft(scene.wish(ranges=part, redacts=True))
    await scene.rooms.end(room, actor=PRIVACY, why="done")
