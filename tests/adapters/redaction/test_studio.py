"""From an open room to a derivative: a real face, the real Kluis, vault and ledger, and the process that hides."""

import asyncio
import hashlib
import io
import time
from typing import Any

import av
import cv2
import numpy as np
import pytest
from sqlalchemy import select

from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.refusals import Code, Refused
from cloud.casework.holding import holds_on
from cloud.database.tables import derivatives, recordings, segments
from cloud.redaction.faces import Faces
from cloud.redaction.rules.plan import Draw, Drop, Mute, Only, Rest, Show
from cloud.redaction.rules.tracks import Box
from cloud.retention.claims import claim
from cloud.rules.retention import Destroy, Keep
from cloud.viewing.rooms import Room
from tests.adapters.redaction.conftest import PRIVACY, SECONDS, Studio
from tests.browser.town import ORG

Film = tuple[bytes, list[bytes]]


def shown(film: bytes) -> list[Any]:
    with av.open(io.BytesIO(film)) as opened:
        return [frame.to_ndarray(format="bgr24") for frame in opened.decode(video=0)]


def heard(film: bytes) -> Any:
    with av.open(io.BytesIO(film)) as opened:
        return np.concatenate([frame.to_ndarray()[0] for frame in opened.decode(audio=0)])


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
    studio.redactions.search(room)
    work = await studio.until_idle(room)
    assert work.problem == ""
    return room


async def made(studio: Studio, room: Room) -> str:
    await studio.look_at_all(room)
    studio.redactions.make(room, by=PRIVACY)
    work = await studio.until_idle(room)
    assert work.problem == ""
    return work.made


@pytest.mark.rule("H-55", "P-17")
async def test_a_face_is_found_followed_and_gone_for_good(studio: Studio, filmed: Film) -> None:
    before = await footage(studio, studio.recording)
    began = time.perf_counter()
    room = await searched(studio)
    print(f"searched {SECONDS} s of film in {time.perf_counter() - began:.2f} s")
    work = studio.redactions.of(room)
    longest = max(work.plan.tracks, key=lambda track: track.until_s - track.from_s)
    assert longest.from_s <= 0, "from the first picture"
    assert longest.until_s >= SECONDS, "to the last"
    studio.redactions.edit(room, Mute(from_s=2.0, until_s=4.0))
    derivative = await made(studio, room)
    assert await footage(studio, studio.recording) == before, "the original is the same, byte for byte"
    await studio.rooms.end(room, actor=PRIVACY, why="done")

    watching = await studio.open(studio.wish(recording=derivative, redacts=False))
    films = await _film_of(studio, watching, derivative)
    original, hidden = shown(filmed[0] + b"".join(filmed[1])), shown(films)
    assert len(hidden) == len(original)
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
    assert len(np.unique(now.reshape(-1, 3) // 16, axis=0)) < 60, "a few colours are left"


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
