"""An Axis dock delivers: what it is told, what is kept, and what becomes of it."""

import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.wire.policy import Via
from broker.wire.refusals import Refused
from cloud.database.tables import cameras, denials, segments
from cloud.intake.axis.content_key import make, open_clip
from cloud.intake.signed_video import AXIS
from cloud.ledger.log import LedgerUnwritable
from cloud.retention.worker import RetentionWorker
from cloud.vault.store import VaultEraser
from tests.adapters.axis.world import (
    CONTAINER,
    PRESSED_AT,
    SERIAL,
    USER,
    AxisTown,
    Dock,
    Versions,
    begun,
    clip_meta,
    lock,
    md5,
    open_policy,
    serving,
)
from tests.adapters.intake.town import NOW, Town
from tests.adapters.retention.means import CertifyingKluis

CLIP = f"{CONTAINER}/20261102_085930_7CF7"


async def docking(dock: Dock, clip: bytes) -> None:
    await dock.introduce()
    assert await dock.begin() == 201
    assert await dock.put(f"{CLIP}.mp4", clip, meta=clip_meta()) == 201
    assert await dock.put(f"{CLIP}_gpstrail.json", b'{"CoordinateEntries":[]}', meta={"FileType": "json"}) == 201
    assert await dock.put(f"{CONTAINER}/bookmark_1_a", "aanhouding é".encode(), meta={"CategoryID": "1"}) == 201
    assert await dock.complete() == 204


async def test_a_docking_becomes_one_recording_with_every_byte_in_it(axis_town: AxisTown) -> None:
    clip = secrets.token_bytes(9_500_000)
    async with axis_town.dock() as dock:
        await docking(dock, clip)
    assert await axis_town.outside.settle() == 1
    (row,) = await axis_town.recordings()
    assert (row.state, row.via, row.chain) == ("retained", "axis", "intact")
    assert (row.camera, row.dock) == (f"axis-{SERIAL.lower()}", "scu-accc8e01")
    assert row.activated_at == PRESSED_AT
    assert (row.started_at, row.ended_at) == (PRESSED_AT - timedelta(seconds=30), PRESSED_AT + timedelta(minutes=2))
    assert row.pre_record_s == 30
    assert "not_encrypted" in row.deviations
    assert await axis_town.file(row.id, CLIP.split("/")[1] + ".mp4") == clip
    assert await axis_town.file(row.id, "bookmark_1_a") == "aanhouding é".encode()
    manifest = json.loads((await axis_town.opened(row.id))[-1])
    assert manifest["complete"]
    assert len(manifest["files"]) == 3
    assert await axis_town.town.kinds() == ["camera.enrolled", "recording.received"]
    assert await axis_town.outside.settle() == 0
    assert not any((axis_town.town.folder / "outside").iterdir())


async def test_nothing_in_the_clear_ever_lies_on_the_disk(axis_town: AxisTown) -> None:
    words = b"a face, a street, a name" * 400_000
    async with axis_town.dock() as dock:
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", words, meta=clip_meta())
        lying = [path for path in axis_town.town.folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".sealed" for path in lying)
        assert not any(words[:24] in path.read_bytes() for path in lying)


async def test_a_clip_that_the_camera_encrypted_stays_so_and_only_the_municipality_opens_it(
    axis_town: AxisTown,
) -> None:
    private = make()
    film = os.urandom(3_000_001)
    locked, key_file = lock(film, private.public_key())
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", locked, meta=clip_meta())
        await dock.put(f"{CLIP}.key", key_file, meta={"FileType": "key"})
        await dock.complete()
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    assert row.state == "retained"
    assert "not_encrypted" not in row.deviations
    kept = await axis_town.file(row.id, CLIP.split("/")[1] + ".mp4")
    assert kept == locked
    key = await axis_town.file(row.id, CLIP.split("/")[1] + ".key")
    assert b"".join(open_clip([kept[:100], kept[100:]], key, private)) == film
    with pytest.raises(Refused, match="content key"):
        b"".join(open_clip([kept], key, make()))


async def test_a_clip_without_its_key_is_kept_apart(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", b"a" * 100, meta=clip_meta())
        await dock.put(f"{CLIP}.key", b"{}")
        await dock.put(f"{CONTAINER}/20261102_090030_9999.mp4", b"b" * 100, meta=clip_meta())
        await dock.complete()
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    assert row.state == "quarantined"
    assert "content_key_missing" in row.deviations


@pytest.mark.rule("E-41", "T-29")
async def test_the_same_file_twice_is_one_and_another_under_its_name_is_a_second(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        for _ in range(3):
            assert await dock.put(f"{CLIP}.mp4", b"first" * 1000, meta=clip_meta()) == 201
        assert await dock.put(f"{CLIP}.mp4", b"other" * 1000, meta=clip_meta()) == 201
        await dock.complete()
        await axis_town.outside.settle()
        assert await dock.put(f"{CLIP}.mp4", b"first" * 1000, meta=clip_meta()) == 201
    assert await axis_town.outside.settle() == 0
    first, other = sorted(await axis_town.recordings(), key=lambda row: row.state == "quarantined")
    assert (first.state, other.state) == ("retained", "quarantined")
    assert "another_version" in other.deviations
    name = CLIP.split("/")[1] + ".mp4"
    assert await axis_town.file(first.id, name) == b"first" * 1000
    assert await axis_town.file(other.id, name) == b"other" * 1000


async def test_what_comes_after_complete_is_kept_and_seen_to_be_late(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await docking(dock, b"clip" * 1000)
        await axis_town.outside.settle()
        assert await dock.put(f"{CONTAINER}/20261102_090130_AAAA.mp4", b"late" * 1000, meta=clip_meta()) == 201
    assert await axis_town.outside.settle() == 1
    late = [row for row in await axis_town.recordings() if "late_addition" in row.deviations]
    assert [row.state for row in late] == ["quarantined"]


async def test_a_broken_upload_leaves_nothing_and_its_retry_is_whole(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        assert await dock.put(f"{CLIP}.mp4", b"first" * 1000, meta=clip_meta()) == 201
        second = f"{CONTAINER}/20261102_090030_BBBB.mp4"
        damaged = await dock.put(second, b"x" * 5_000_000, meta=clip_meta(), ETag=md5(b"something else"))
        assert damaged == 422
        status, _, _ = await dock.say("HEAD", second)
        assert status == 404
        assert await dock.put(second, b"second" * 1000, meta=clip_meta(), ETag=md5(b"second" * 1000)) == 201
        await dock.complete()
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    assert (row.state, row.chain, row.stop_reason) == ("retained", "intact", "officer")
    assert [each.name for each in await axis_town.objects(row.id)] == [
        CLIP.split("/")[1] + ".mp4",
        second.split("/")[1],
    ]


async def test_a_restart_between_two_clips_loses_neither(town: Town) -> None:
    async with serving(town) as before, before.dock() as dock:
        await dock.introduce()
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", b"first" * 1_000_000, meta=clip_meta())
        stray = town.folder / "outside" / "0192f0c0-0000-7000-8000-000000000000"
        stray.mkdir()
        (stray / ".incoming-x").write_bytes(b"half")
    async with serving(town) as after, after.dock() as dock:
        assert not stray.exists()
        await dock.put(f"{CONTAINER}/20261102_090030_CCCC.mp4", b"second" * 1000, meta=clip_meta())
        await dock.complete()
        assert await after.outside.settle() == 2
        rows = await after.recordings()
        assert {(row.state, row.chain) for row in rows} == {("retained", "intact")}
        kept = [await after.file(row.id, each.name) for row in rows for each in await after.objects(row.id)]
        assert sorted(map(len, kept)) == [6000, 5_000_000]


async def test_an_unknown_camera_is_taken_in_and_kept_apart_until_it_is_named(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", b"clip" * 1000, meta=clip_meta())
        await dock.complete()
        await axis_town.outside.settle()
        await dock.introduce()
    (row,) = await axis_town.recordings()
    assert (row.state, row.reason) == ("quarantined", "the camera is not enrolled")
    async with axis_town.town.database.transaction() as t:
        states = (await t.execute(select(cameras.c.id, cameras.c.state))).all()
    assert [tuple(each) for each in states] == [(f"axis-{SERIAL.lower()}", "outside")]
    assert await axis_town.outside.settle() == 1
    (row,) = await axis_town.recordings()
    assert (row.state, row.reason, row.chain) == ("retained", "its term runs", "intact")
    assert (await axis_town.town.kinds())[-2:] == ["recording.quarantined", "recording.received"]
    assert await axis_town.outside.settle() == 0, "decided on once"


async def test_a_crash_while_a_named_camera_is_readmitted_still_ends_in_the_ledger(
    axis_town: AxisTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", b"clip" * 1000, meta=clip_meta())
        await dock.complete()
        await axis_town.outside.settle()
        await dock.introduce()

    async def append(*_: Any, **__: Any) -> None:
        raise LedgerUnwritable(Path("ledger"), OSError(28, "no space"))

    monkeypatch.setattr(axis_town.town.ledger, "append", append)
    with pytest.raises(LedgerUnwritable):
        await axis_town.outside.settle()
    monkeypatch.undo()
    assert await axis_town.outside.settle() == 1
    assert (await axis_town.town.kinds()).count("recording.received") == 1


async def test_what_was_apart_for_another_reason_stays_apart_when_its_camera_is_named(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.begin()
        await dock.put(f"{CONTAINER}/bookmark_1_a", b"", meta={"CategoryID": "1"})
        await dock.complete()
        await axis_town.outside.settle()
        await dock.introduce()
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    assert (row.state, row.reason) == ("quarantined", "a delivery without footage")
    assert (await axis_town.town.kinds()).count("recording.received") == 0


async def test_what_the_system_rejected_is_taken_in_and_kept_apart(axis_town: AxisTown) -> None:
    container = f"RejectedContent_{PRESSED_AT:%Y%m%dT%H%M%SZ}_0a1b"
    async with axis_town.dock() as dock:
        await dock.introduce()
        assert await dock.put(container, meta={"RejectedContentReason": "broken", "BWCSerialNumber": SERIAL}) == 201
        assert await dock.put(f"{container}/x.mp4", b"clip" * 100) == 201
    assert await axis_town.outside.settle() == 0
    axis_town.town.clock.now += timedelta(hours=2)
    assert await axis_town.outside.settle() == 1
    (row,) = await axis_town.recordings()
    assert row.state == "quarantined"
    assert row.activated_at is None


async def test_what_nobody_completes_is_closed_after_a_day_and_has_a_term(axis_town: AxisTown) -> None:
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.begin()
        await dock.put(f"{CLIP}.mp4", b"clip" * 1000, meta=clip_meta())
    assert await axis_town.outside.settle() == 0
    axis_town.town.clock.now += timedelta(hours=25)
    assert await axis_town.outside.settle() == 1
    (row,) = await axis_town.recordings()
    assert row.state == "retained"
    assert "never_completed" in row.deviations
    assert timedelta(days=27) < row.expires_at - row.ended_at < timedelta(days=30)


async def test_marks_of_signed_video_are_found_and_nothing_is_claimed(axis_town: AxisTown) -> None:
    clip = secrets.token_bytes(4_194_300) + AXIS + secrets.token_bytes(1000)
    async with axis_town.dock() as dock:
        await docking(dock, clip)
    await axis_town.outside.settle()
    found = {each.name: each.signed_video for each in await axis_town.objects() if each.recording}
    assert found[CLIP.split("/")[1] + ".mp4"] == "axis"
    assert found["bookmark_1_a"] is None
    entries = await axis_town.town.ledger.read(0, axis_town.town.ledger.checkpoint().size)
    facts = [json.loads(raw)["facts"] for _, raw in entries if b'"recording.received"' in raw]
    assert facts[0]["signed_video_found"] == ["axis"]


@pytest.mark.rule("H-35", "T-28")
async def test_a_policy_without_this_door_refuses_before_the_body(axis_town: AxisTown) -> None:
    axis_town.town.policies = Versions(open_policy())
    axis_town.outside._policies = axis_town.town.policies
    async with axis_town.dock() as dock:
        assert await dock.begin() == 403
        assert await dock.put("Devices") == 403
        assert await dock.put(f"Devices/{SERIAL}") == 403
        assert await dock.put(f"{CLIP}.mp4", b"x" * 100, meta=clip_meta()) == 403
    async with axis_town.town.database.transaction() as t:
        assert [row.what for row in await t.execute(select(denials))] == ["ingest.axis"]
    assert await axis_town.objects() == []


async def test_the_same_worker_destroys_it_and_the_dock_is_not_asked_to_send_it_again(axis_town: AxisTown) -> None:
    clip = secrets.token_bytes(5_000_000)
    async with axis_town.dock() as dock:
        await docking(dock, clip)
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    town = axis_town.town
    town.clock.now = row.expires_at + timedelta(hours=1)
    policies = Versions(open_policy(Via.AXIS))
    eraser = VaultEraser(town.folder / "vault")
    worker = RetentionWorker(
        town.database,
        town.ledger,
        CertifyingKluis(),
        eraser,
        policies,  # type: ignore[arg-type]
        town.clock,
        town.hub,
    )
    async with town.database.transaction() as t:
        digests = (await t.execute(select(segments.c.digest).where(segments.c.recording == row.id))).scalars().all()
    from broker.wire.ids import parse_recording

    outcome = await worker.look_at(town.org, parse_recording(row.id))
    assert outcome.outcome == "destroyed", outcome
    assert await town.vault.missing([bytes.fromhex(each) for each in digests]) == [True] * len(digests)
    assert all(each.letter == {} for each in await axis_town.objects(row.id))
    async with axis_town.dock() as dock:
        assert await dock.put(f"{CLIP}.mp4", clip, meta=clip_meta()) == 201
        status, headers, _ = await dock.say("HEAD", CONTAINER)
        assert status == 204
        assert not any(name.lower().startswith("x-container-meta-") for name in headers)
    assert await axis_town.outside.settle() == 0
    assert [each.state for each in await axis_town.recordings()] == ["destroyed"]


async def test_who_recorded_is_known_when_the_office_knows_them(axis_town: AxisTown) -> None:
    from sqlalchemy import insert

    from cloud.database.tables import officials

    async with axis_town.town.database.transaction() as t:
        row = {"org": axis_town.town.org, "id": USER, "display_name": "Noor", "employed_from": NOW}
        await t.execute(insert(officials).values(row))
    async with axis_town.dock() as dock:
        await docking(dock, b"clip" * 1000)
    await axis_town.outside.settle()
    assert [row.official for row in await axis_town.recordings()] == [USER]


async def test_a_clock_of_1970_destroys_nothing_at_the_door(axis_town: AxisTown) -> None:
    old = {"StartTime": "0", "StopTime": "60", "TriggerOnTime": "10"}
    async with axis_town.dock() as dock:
        await dock.introduce()
        await dock.put(CONTAINER, meta=begun(**old))
        await dock.put(f"{CLIP}.mp4", b"clip" * 100, meta={"StartTime": "0", "StopTime": "60"})
        await dock.complete(StopTime="60")
    await axis_town.outside.settle()
    (row,) = await axis_town.recordings()
    assert row.state == "retained"
    assert row.ended_at == NOW
    assert "clock_drift" in row.deviations
