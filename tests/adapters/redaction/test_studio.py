"""From an open room to a derivative: a real face, the real Kluis, vault and ledger, and the process that hides."""

import asyncio
import hashlib
import io
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from sqlalchemy import select, update

from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.refusals import Refused
from cloud.casework.holding import holds_on
from cloud.database.tables import holds, recordings, segments
from cloud.redaction.faces import Faces
from cloud.redaction.rules.plan import Draw, Drop, Mute, Rest, Span
from cloud.redaction.rules.tracks import Box
from cloud.redaction.studio import Redactions
from cloud.redaction.work import Doing
from cloud.retention.claims import Claimed, claim
from cloud.retention.forgetting import forget_drafts
from cloud.rules.retention import Keep
from cloud.viewing.rooms import Room
from tests.adapters.redaction.conftest import MANAGER, PRIVACY, SECONDS, Studio
from tests.browser.town import ORG

Film = tuple[bytes, list[bytes]]


def shown(film: bytes) -> list[Any]:
    with av.open(io.BytesIO(film), "r") as opened:
        return [frame.to_ndarray(format="bgr24") for frame in opened.decode(video=0)]


def heard(film: bytes) -> Any:
    with av.open(io.BytesIO(film), "r") as opened:
        return np.concatenate([frame.to_ndarray()[0] for frame in opened.decode(audio=0)])


def first_moments(film: bytes) -> tuple[float, float]:
    """Return the moments of the first picture and the first sound."""
    with av.open(io.BytesIO(film), "r") as opened:
        shown_s = float(next(opened.decode(video=0)).time or 0)
    with av.open(io.BytesIO(film), "r") as opened:
        return shown_s, float(next(opened.decode(audio=0)).time or 0)


def alike(one: Any, other: Any) -> float:
    """How much of the detail of one picture is in the other: correlation of what a blur takes away."""
    fine = [each.astype(float) - cv2.GaussianBlur(each.astype(float), (0, 0), 6) for each in (one, other)]
    return float(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1])


async def entries(studio: Studio) -> list[LedgerEntry]:
    log = studio.town.ledger
    return [read_entry(raw) for _, raw in await log.read(0, log.checkpoint().size)]


async def footage(studio: Studio, recording: str) -> dict[str, str]:
    """Return the SHA-256 of every sealed segment, as it lies in the vault."""
    async with studio.town.database.transaction() as t:
        names = (await t.execute(select(segments.c.digest).where(segments.c.recording == recording))).scalars().all()
    return {name: hashlib.sha256(await studio.town.vault.read(bytes.fromhex(name))).hexdigest() for name in names}


async def searched(studio: Studio) -> Room:
    room = await studio.open()
    await studio.redactions.search(room)
    work = await studio.until_idle(room)
    assert work.problem == ""
    return room


async def made(studio: Studio, room: Room) -> str:
    await studio.review(room)
    await studio.redactions.make(room, by=PRIVACY)
    work = await studio.until_idle(room)
    assert work.problem == ""
    return work.made


@pytest.mark.rule("H-55", "P-17")
async def test_a_face_is_found_followed_and_gone_for_good(studio: Studio, filmed: Film) -> None:
    before = await footage(studio, studio.recording)
    began = time.perf_counter()
    room = await searched(studio)
    print(f"searched {SECONDS} s of film in {time.perf_counter() - began:.2f} s")
    work = await studio.redactions.of(room)
    longest = max(work.plan.tracks, key=lambda track: track.until_s - track.from_s)
    assert longest.from_s <= 0, "from the first picture"
    assert longest.until_s >= SECONDS, "to the last"
    await studio.redactions.edit(room, Mute(from_s=2.0, until_s=4.0), by=PRIVACY)
    derivative = await made(studio, room)
    assert await footage(studio, studio.recording) == before, "the original is the same, byte for byte"
    await studio.rooms.end(room, actor=PRIVACY, why="done")

    watching = await studio.open(studio.wish(recording=derivative, redacts=False))
    films = await _film_of(studio, watching, derivative)
    original, hidden = shown(filmed[0] + b"".join(filmed[1])), shown(films)
    assert len(hidden) == len(original)
    assert first_moments(films) == (0, 0), "its count begins at nothing, whatever the camera's was"
    faces = Faces()
    for number in range(0, len(hidden), 10):
        hits = faces.find(original[number], at_s=0.0)
        assert hits, "there was a face"
        assert not [hit for hit in faces.find(hidden[number], at_s=0.0) if hit.score > 0.5], "and it is gone"
        _gone(original[number], hidden[number], max(hits, key=lambda hit: hit.score))
    _silent_from_2_to_4(films)


def _gone(original: Any, hidden: Any, hit: Any) -> None:
    height, width = original.shape[:2]
    top, foot = int(hit.y * height), int((hit.y + hit.height) * height)
    left, right = int(hit.x * width), int((hit.x + hit.width) * width)
    was, now = original[top:foot, left:right], hidden[top:foot, left:right]
    assert alike(was, now) < 0.35, "what made it a face is not there, not even faintly"


def _silent_from_2_to_4(film: bytes) -> None:
    sound = heard(film)
    rate = 48_000
    assert np.abs(sound[2 * rate : 4 * rate]).max() < 1e-4
    assert np.abs(sound[: int(1.8 * rate)]).max() > 0.2
    assert np.abs(sound[int(4.2 * rate) :]).max() > 0.2


async def _film_of(studio: Studio, room: Room, recording: str) -> bytes:
    """Decrypt the derivative as the room's own process would, but without the names in it."""
    return b"".join(
        [
            await studio.rooms.show(room, PRIVACY, token=room.token, recording=recording, sequence=sequence)
            for sequence in (None, *(piece.sequence for piece in room.reels[0].pieces))
        ]
    )


@pytest.mark.rule("R-10", "C-23")
async def test_a_derivative_is_of_its_case_and_never_outlives_its_original(studio: Studio) -> None:
    room = await studio.open()
    with pytest.raises(Refused, match="searched"):
        await studio.redactions.make(room, by=PRIVACY)
    await studio.redactions.search(room)
    await studio.until_idle(room)
    with pytest.raises(Refused, match="whoever asked"):
        await studio.redactions.make(room, by=MANAGER)
    for track in (await studio.redactions.of(room)).plan.tracks:
        await studio.redactions.edit(room, Drop(track=track.id), by=PRIVACY)
    await studio.redactions.edit(room, Rest(hidden=True), by=PRIVACY)
    derivative = await made(studio, room)
    await studio.rooms.end(room, actor=PRIVACY, why="done")

    told = {entry.kind: entry for entry in await entries(studio)}
    row, facts = await _register(studio, derivative), told["recording.received"].facts
    assert facts["derivative_of"] == studio.recording
    assert facts["plan_sha256"] == row.plan_sha256 == told["redaction.made"].facts["plan_sha256"]
    assert facts["film_sha256"] == row.film_sha256
    assert facts["length_s"] == SECONDS
    whole = [{"official": each, "from_s": 0, "until_s": SECONDS} for each in (PRIVACY, MANAGER)]
    assert facts["watched"] == told["redaction.made"].facts["watched"] == whole, "each saw all of it"
    original = await studio.original()
    assert facts["original_head_sha256"] == original.head_sha256
    assert "CenterFace" in str(facts["detector"])
    involved = await studio.town.casework.involvement(ORG, [derivative])
    assert involved.recorder == "h-007", "who filmed it may not look at this either"

    now = studio.town.clock() + timedelta(days=60)
    database = studio.town.database
    assert isinstance(await claim(database, ORG, derivative, now), Keep), "its case holds the original"
    hold = (await studio.town.casework.case(ORG, studio.case)).holds[0]
    async with database.transaction() as t:
        await t.execute(update(holds).where(holds.c.id == hold.id).values(state="released"))
        assert await holds_on(t, ORG, derivative, None, now) == []
        await t.execute(update(recordings).values(expires_at=now + timedelta(days=9)))
        await t.execute(update(recordings).where(recordings.c.id == studio.recording).values(expires_at=now))
    assert isinstance(await claim(database, ORG, studio.recording, now), Claimed)
    assert isinstance(await claim(database, ORG, derivative, now), Claimed), "it goes along"


async def test_work_stops_with_the_room_and_can_be_stopped(studio: Studio) -> None:
    room = await studio.open()
    await studio.redactions.search(room)
    with pytest.raises(Refused, match="nothing under way"):
        await studio.redactions.search(room)
    await studio.redactions.edit(room, Rest(hidden=True), by=PRIVACY)
    work = await studio.redactions.stop(room)
    assert not work.searched
    assert work.plan.rest_hidden, "what was decided while it searched is still so"
    followed = await studio.redactions.follow(room, Draw(box=Box(0.36, 0.25, 0.26, 0.42), from_s=1.0, until_s=6.0))
    (track,) = [each for each in followed.plan.tracks if each.drawn]
    assert len(track.keys) > 5, "the face was followed"
    await studio.rooms.end(room, actor=PRIVACY, why="done")
    with pytest.raises(Refused):
        await studio.redactions.search(room)
    with pytest.raises(Refused):
        await studio.preview(room, 5)
    watching = await studio.open(studio.wish(redacts=False))
    with pytest.raises(Refused, match="a room for it"):
        await studio.redactions.search(watching)


@pytest.mark.rule("H-55", "H-47")
async def test_nothing_is_made_that_not_both_watched_to_the_last_second(studio: Studio) -> None:
    room = await searched(studio)
    redactions = studio.redactions
    work = await redactions.of(room)
    await redactions.played(room, PRIVACY, [Span(from_s=0, until_s=SECONDS)], picture=work.picture)
    assert work.looked(PRIVACY) == (), "what was never sent was not played"
    await studio.watch(room, by=PRIVACY)
    with pytest.raises(Refused, match="each of the two"):
        await redactions.make(room, by=PRIVACY)
    for piece in room.reels[0].pieces:
        await studio.preview(room, piece.sequence, by=MANAGER)
    await redactions.played(room, MANAGER, [Span(from_s=0, until_s=SECONDS - 2)], picture=work.picture)
    assert work.review().watched_s == {PRIVACY: SECONDS, MANAGER: SECONDS - 2}
    await redactions.played(room, MANAGER, [Span(from_s=SECONDS - 2, until_s=SECONDS - 0.1)], picture=work.picture)
    await redactions.edit(room, Draw(box=Box(0.1, 0.1, 0.1, 0.1), from_s=2.2, until_s=2.4), by=PRIVACY)
    left = {official: spans for official, spans in work.review().unwatched.items() if spans}
    assert {(span.from_s, span.until_s) for spans in left.values() for span in spans} == {(1, 4)}, "what changed"
    assert set(left) == {PRIVACY, MANAGER}


async def test_work_goes_on_in_another_life_and_is_forgotten_with_the_footage(studio: Studio) -> None:
    room = await searched(studio)
    await studio.redactions.edit(room, Mute(from_s=2.0, until_s=4.0), by=PRIVACY)
    await studio.watch(room, by=MANAGER)
    plan = (await studio.redactions.of(room)).plan
    await studio.rooms.end(room, actor=PRIVACY, why="done")
    studio.restart()
    resumed = await studio.redactions.of(again := await studio.open())
    assert resumed.plan == plan
    assert resumed.searched
    assert resumed.review().watched_s == {PRIVACY: 0, MANAGER: SECONDS}
    await studio.rooms.end(again, actor=PRIVACY, why="done")
    await forget_drafts(studio.town.database, ORG, studio.recording)
    studio.restart()
    assert (await studio.redactions.of(await studio.open())).plan.tracks == ()


async def test_work_that_no_room_is_about_any_more_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its room can be looked up, and as long as something is under way, it is."""

    async def no_draft(*_: str) -> None:
        return None

    rooms: dict[str, Any] = {}
    known: Any = SimpleNamespace(
        about=lambda: {(each.request.case, each.reels[0].recording) for each in rooms.values()}
    )
    unused: dict[str, Any] = dict.fromkeys(("org", "database", "ledger", "kluis", "vault", "clock", "hub"))
    redactions = Redactions(**unused, rooms=known)
    monkeypatch.setattr(redactions, "_drafts", SimpleNamespace(read=no_draft))
    for name in ("over", "busy", "here", "new"):
        reel = SimpleNamespace(recording=name, films=(), pieces=(), first=1, last=1)
        request = SimpleNamespace(case="case")
        rooms[name] = SimpleNamespace(id=name, redacts=True, reels=[reel], request=request, people=())
        if name == "new":
            (await redactions.of(rooms["busy"])).doing = Doing.SEARCHING
            del rooms["over"], rooms["busy"]
        await redactions.of(rooms[name])
    assert [recording for _, recording in redactions._works] == ["busy", "here", "new"]


async def test_a_search_that_was_stopped_goes_on_where_it_was(studio: Studio) -> None:
    room = await studio.open()
    redactions = studio.redactions
    work = await redactions.search(room)
    async with asyncio.timeout(150):
        while work.done < 3:
            await asyncio.sleep(0.01)
    await redactions.stop(room)
    went = work.searched_to
    assert 3 <= went < SECONDS
    studio.restart()
    again = await studio.redactions.search(room)
    assert again.searched_to == went
    await studio.until_idle(room)
    assert again.searched
    longest = max(again.plan.tracks, key=lambda track: track.until_s - track.from_s)
    assert longest.from_s <= 0
    assert longest.until_s >= SECONDS


async def _register(studio: Studio, derivative: str) -> Any:
    row = await studio.redactions.made_of(derivative)
    assert row is not None
    return row
