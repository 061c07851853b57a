"""What becomes of footage when it arrives: what was known before it, what comes to be known after it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, update

from broker.wire.ids import DeviceId
from broker.wire.receipts import read_receipt
from cloud.database.tables import camera_states, cases, holds, incidents, recordings, shifts, usage_reports
from cloud.ledger.log import LedgerUnwritable
from cloud.rules.apart import DECLARED
from tests.adapters.database.away import away_once_entered
from tests.adapters.intake.town import NOW, Camera, Made, Town, policy_of, send, submit


async def deliver(town: Town, made: Made) -> Any:
    """Deliver it; return its row."""
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        status, body = await submit(dock, made)
    assert status == 200, body
    read_receipt(body, town.receipt_key.public_key())
    return await town.row(made)


async def hold(town: Town, *, recording: str | None = None, incident: str | None = None, **changed: Any) -> str:
    case, name = str(uuid4()), str(uuid4())
    row = {
        "id": name,
        "org": town.org,
        "case_id": case,
        "recording": recording,
        "incident": incident,
        "state": "active",
        "reason": "complaint",
        "placed_at": NOW,
        "placed_by": "o-2",
        **changed,
    }
    async with town.database.transaction() as t:
        await t.execute(
            insert(cases).values(
                id=case,
                org=town.org,
                number=case[:8],
                kind="complaint",
                state="received",
                received_at=NOW,
                registered_at=NOW,
                registered_by="o-2",
                summary="",
                facts={},
            )
        )
        await t.execute(insert(holds).values(row))
    return name


@pytest.fixture
async def camera(town: Town) -> Camera:
    return await town.enrol(Camera(DeviceId("cam-01")))


@pytest.mark.rule("T-27", "R-04", "H-10")
async def test_footage_that_nobody_pressed_for_is_put_apart_and_the_camera_may_still_wipe(
    town: Town, camera: Camera
) -> None:
    row = await deliver(town, camera.record())
    assert (row.state, row.activated_at) == ("quarantined", None)
    assert row.expires_at == row.ended_at + timedelta(days=28)
    assert await town.kinds() == ["recording.quarantined"]


@pytest.mark.rule("R-04")
async def test_when_the_press_comes_in_later_the_recording_is_admitted(town: Town, camera: Camera) -> None:
    made = camera.record()
    assert (await deliver(town, made)).state == "quarantined"
    assert await town.intake.readmit(made.recording) == "quarantined"
    await town.press(camera, made)
    assert await town.intake.readmit(made.recording) == "retained"
    row = await town.row(made)
    assert (row.state, row.activated_at, row.official) == ("retained", made.activated_at, "o-1")
    assert await town.kinds() == ["recording.quarantined", "recording.received"]
    assert [data["state"] for _, _, data in town.hub.heard] == ["quarantined", "retained"]
    assert await town.intake.readmit(made.recording) == "retained"
    assert await town.intake.readmit(camera.record().recording) is None


async def test_a_press_of_another_camera_admits_nothing(town: Town, camera: Camera) -> None:
    other = await town.enrol(Camera(DeviceId("cam-02")))
    made = camera.record()
    await town.press(other, made)
    assert (await deliver(town, made)).state == "quarantined"


@pytest.mark.rule("T-33", "E-05")
async def test_a_hold_that_was_placed_before_the_footage_came_holds_it_on_arrival(town: Town, camera: Camera) -> None:
    made = camera.record(pressed_at=NOW - timedelta(days=3))
    await town.press(camera, made)
    await hold(town, recording=str(made.recording))
    row = await deliver(town, made)
    assert row.state == "held"


@pytest.mark.rule("E-16", "T-33", "H-28", "H-39")
async def test_footage_of_a_reported_incident_joins_the_hold_on_that_incident(town: Town, camera: Camera) -> None:
    made, incident = camera.record(), str(uuid4())
    await town.press(camera, made)
    async with town.database.transaction() as t:
        await t.execute(insert(incidents).values(id=incident, org=town.org, label="market", opened_at=NOW))
        await t.execute(
            insert(usage_reports).values(
                id=str(uuid4()),
                org=town.org,
                official="o-1",
                recording=str(made.recording),
                incident=incident,
                state="submitted",
                due_at=NOW,
                notified={},
                answers={},
            )
        )
    await hold(town, incident=incident)
    row = await deliver(town, made)
    assert (row.state, row.incident) == ("held", incident)


@pytest.mark.parametrize(
    "changed", [{"state": "released"}, {"state": "provisional", "lapses_at": NOW - timedelta(days=1)}]
)
async def test_a_hold_that_is_over_holds_nothing(town: Town, camera: Camera, changed: dict[str, Any]) -> None:
    made = camera.record()
    await town.press(camera, made)
    await hold(town, recording=str(made.recording), **changed)
    assert (await deliver(town, made)).state == "retained"


@pytest.mark.rule("T-34", "E-06")
async def test_footage_that_comes_after_its_term_is_due_at_once(town: Town, camera: Camera) -> None:
    made = camera.record(pressed_at=NOW - timedelta(days=30))
    await town.press(camera, made)
    row = await deliver(town, made)
    assert (row.state, row.expires_at < NOW) == ("due", True)


@pytest.mark.rule("E-06", "R-11")
async def test_late_footage_under_a_hold_is_held_and_not_due(town: Town, camera: Camera) -> None:
    made = camera.record(pressed_at=NOW - timedelta(days=30))
    await town.press(camera, made)
    await hold(town, recording=str(made.recording))
    assert (await deliver(town, made)).state == "held"


@pytest.mark.rule("T-26", "E-13", "H-20", "C-01")
@pytest.mark.parametrize(
    ("policy", "state", "deviations"),
    [("heusden", "restricted", ["pre_record_too_long"]), ("rotterdam", "retained", [])],
)
async def test_a_buffer_longer_than_the_policy_restricts_in_one_town_and_not_in_another(
    town: Town, camera: Camera, policy: str, state: str, deviations: list[str]
) -> None:
    town.policies.policy = policy_of(policy)
    made = camera.record(pre_record_s=120, bytes_each=200)
    await town.press(camera, made)
    row = await deliver(town, made)
    assert (row.state, row.pre_record_s, row.deviations) == (state, 120.0, deviations)


@pytest.mark.rule("H-01")
async def test_a_recording_is_bound_to_the_policy_of_its_day(town: Town, camera: Camera) -> None:
    made = camera.record()
    await town.press(camera, made)
    assert (await deliver(town, made)).policy_version == town.policies.policy.policy.version


async def test_the_wearer_is_found_in_the_shifts_when_the_press_does_not_name_one(town: Town, camera: Camera) -> None:
    made = camera.record()
    async with town.database.transaction() as t:
        await t.execute(
            insert(shifts).values(
                id=str(uuid4()), org=town.org, official="o-9", camera=camera.id, starts_at=NOW - timedelta(hours=8)
            )
        )
    assert (await deliver(town, made)).official == "o-9"


@pytest.mark.rule("E-14")
@pytest.mark.parametrize(
    ("pressed_at", "offset_ms", "heard_at", "ended_at"),
    [
        (NOW - timedelta(hours=2), 0, NOW - timedelta(hours=2), NOW - timedelta(hours=2) + timedelta(seconds=5)),
        (NOW + timedelta(days=400), 0, NOW - timedelta(hours=2), NOW),
        (datetime(1970, 1, 2, tzinfo=NOW.tzinfo), 0, NOW - timedelta(hours=2), NOW - timedelta(hours=2)),
        (NOW - timedelta(hours=1), 3_600_000, NOW, NOW - timedelta(hours=2) + timedelta(seconds=5)),
    ],
    ids=["a good clock", "a clock in the future", "a clock that starts in 1970", "a clock an hour ahead"],
)
async def test_a_term_never_counts_from_a_camera_s_wrong_clock(
    town: Town, camera: Camera, pressed_at: datetime, offset_ms: int, heard_at: datetime, ended_at: datetime
) -> None:
    made = camera.record(pressed_at=pressed_at)
    await town.press(camera, made, received_at=heard_at)
    async with town.database.transaction() as t:
        state = {"clock_offset_ms": offset_ms}
        await t.execute(insert(camera_states).values(org=town.org, camera=camera.id, seen_at=NOW, state=state))
    row = await deliver(town, made)
    assert row.ended_at == ended_at
    assert row.expires_at - ended_at >= timedelta(days=27, hours=23)
    assert row.state == "retained"
    assert (row.activated_at - row.started_at).total_seconds() == row.pre_record_s == 2.0
    assert row.end_record == made.end  # what the camera said itself, as it signed it


@pytest.mark.rule("T-36", "E-35")
async def test_without_the_ledger_footage_still_comes_in_and_the_receipt_waits(
    town: Town, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = camera.record()
    await town.press(camera, made)
    real = town.ledger.append

    async def unwritable(*_: Any, **__: Any) -> Any:
        raise LedgerUnwritable(town.folder, "no space left")

    async with town.serving(), town.as_dock() as dock:
        assert set(await send(dock, made)) == {201}
        monkeypatch.setattr(town.ledger, "append", unwritable)
        status, body = await submit(dock, made)
        assert (status, b"ledger-unwritable" in body) == (503, True)
        assert ((await town.row(made)).state, (await town.row(made)).receipt) == ("retained", None)
        monkeypatch.setattr(town.ledger, "append", real)
        with monkeypatch.context() as patch:
            away_once_entered(patch, town.ledger, town.database, "recording.received")
            assert (await submit(dock, made))[0] == 503
        assert (await submit(dock, made))[0] == 200
    assert await town.kinds() == ["recording.received"], "and that it came in is said once"


@pytest.mark.rule("E-42")
async def test_footage_of_a_revoked_camera_is_put_apart(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-09")), state="revoked")
    made = camera.record()
    await town.press(camera, made)
    assert (await deliver(town, made)).state == "quarantined"


async def test_footage_that_nothing_can_open_is_kept_apart_until_its_term(town: Town, camera: Camera) -> None:
    made = camera.record()
    await town.press(camera, made)
    town.kluis.lost_key = True
    row = await deliver(town, made)
    assert (row.state, row.deviations) == ("quarantined", ["key_gone"])
    assert await town.intake.readmit(made.recording) == "quarantined"


async def test_a_recording_that_is_being_destroyed_is_not_taken_in_again(town: Town, camera: Camera) -> None:
    made = camera.record()
    await town.press(camera, made)
    await deliver(town, made)
    async with town.database.transaction() as t:
        gone = {"state": "destroyed", "destroying_at": NOW, "destroyed_at": NOW}
        await t.execute(update(recordings).where(recordings.c.id == str(made.recording)).values(gone))
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        assert (await submit(dock, made))[0] == 410
    assert (await town.row(made)).state == "destroyed"
    assert await town.intake.readmit(made.recording) == "destroyed"


async def test_nothing_about_people_enters_the_ledger(town: Town, camera: Camera) -> None:
    made = camera.record()
    await town.press(camera, made)
    await deliver(town, made)
    entries = await town.ledger.read(0, 10)
    assert b"o-1" not in entries[0][1]
    assert b"dock-01" in entries[0][1]


async def admit_on_their_word(town: Town, made: Made) -> datetime:
    """Two people declared who pressed, ten seconds into it; return that moment."""
    row = await town.row(made)
    pressed_at: datetime = row.started_at + timedelta(seconds=10)
    values = {"state": "retained", "official": "o-9", "activated_at": pressed_at, "deviations": [DECLARED]}
    async with town.database.transaction() as t:
        await t.execute(update(recordings).where(recordings.c.id == str(made.recording)).values(**values))
    return pressed_at


async def test_the_cameras_own_press_takes_the_place_of_peoples_word(town: Town, camera: Camera) -> None:
    made = camera.record()
    day = (await deliver(town, made)).expires_at
    await admit_on_their_word(town, made)
    assert await town.intake.readmit(made.recording) == "retained"
    assert (await town.row(made)).deviations == [DECLARED], "as long as no press was heard of, it is their word"
    await town.press(camera, made)
    assert await town.intake.readmit(made.recording) == "retained"
    row = await town.row(made)
    assert (row.activated_at, row.official, row.deviations) == (made.activated_at, "o-1", [])
    assert row.expires_at == day
    assert await town.kinds() == ["recording.quarantined", "recording.received"]


@pytest.mark.rule("E-42")
async def test_a_dock_that_tries_again_does_not_undo_what_two_people_decided(town: Town, camera: Camera) -> None:
    made = camera.record()
    async with town.serving(), town.as_dock() as dock:
        await send(dock, made)
        lacking = [each.hex() for each in (*made.digests[:2], *made.digests[3:])]
        assert (await submit(dock, made, digests=lacking))[0] == 422
        pressed_at = await admit_on_their_word(town, made)
        assert (await submit(dock, made, digests=lacking))[0] == 422
        row = await town.row(made)
        assert (row.state, row.chain, row.official, row.activated_at) == ("retained", "tampered", "o-9", pressed_at)
        assert row.deviations == [DECLARED]
