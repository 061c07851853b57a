"""Segments in the vault that nobody handed in as a recording."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.wire.ids import DeviceId, parse_recording
from cloud.database.tables import segments
from cloud.intake.strays import Strays
from cloud.retention.claims import to_look_at
from cloud.retention.worker import RetentionWorker
from cloud.vault.shelf import INCOMING, Shelf
from cloud.vault.store import VaultEraser
from tests.adapters.intake.town import ORG, Camera, Made, Town, send, submit


class Policies:
    """The town's policy under any number."""

    def __init__(self, town: Town) -> None:
        self.of = town.policies.of
        self._policy = town.policies.policy

    async def version(self, _org: str, _number: int) -> object:
        return self._policy


class Kluis:
    """Destroys what it is told, and certifies it."""

    def __init__(self) -> None:
        self.destroyed: list[str] = []

    async def destroy(self, recording: object, *, entry: bytes, proof: bytes) -> bytes:
        assert entry
        assert proof
        self.destroyed.append(str(recording))
        return b"certificate"


def strays(town: Town) -> Strays:
    return Strays(
        org=ORG,
        database=town.database,
        shelf=Shelf(town.folder / "vault"),
        eraser=VaultEraser(town.folder / "vault"),
        ledger=town.ledger,
        policies=town.policies,
        clock=town.clock,
        hub=town.hub,
    )


def worker(town: Town, kluis: Kluis) -> RetentionWorker:
    return RetentionWorker(
        town.database,
        town.ledger,
        kluis,
        VaultEraser(town.folder / "vault"),
        Policies(town),  # type: ignore[arg-type]
        town.clock,
        town.hub,
    )


async def left_behind(town: Town, *, later: timedelta) -> tuple[Made, Strays]:
    """A camera that was pulled out for ever when three of its segments were up; `later` it is now."""
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    arrives = datetime.now(UTC).replace(microsecond=0)
    made = camera.record(pressed_at=arrives - timedelta(hours=2))
    async with town.serving(), town.as_dock() as dock:
        for raw, digest in list(zip(made.segments, made.digests, strict=True))[:3]:
            assert (await dock.put(f"/v1/segments/{digest.hex()}", data=raw)).status == 201
    town.clock.now = arrives + later
    return made, strays(town)


async def test_what_is_still_on_its_way_is_left_alone(town: Town) -> None:
    _, looking = await left_behind(town, later=timedelta(minutes=5))
    assert await looking.look() == 3
    assert await town.rows() == []


async def test_what_is_being_written_or_erased_while_we_look_stops_no_look(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looking = await left_behind(town, later=timedelta(minutes=5))
    (town.folder / "vault" / INCOMING / f"{os.getpid()}-0123456789abcdef").write_bytes(b"half")
    scan, gone = os.scandir, looking._shelf.path(made.digests[1])

    def erasing(folder: Path) -> list[os.DirEntry[str]]:
        with scan(folder) as entries:
            found = list(entries)
        if folder == gone.parent:
            gone.unlink(missing_ok=True)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "scandir", erasing)
        assert await looking.look() == 2


@pytest.mark.rule("R-09")
async def test_what_was_never_handed_in_is_put_apart_in_sight_and_destroyed_in_its_time(town: Town) -> None:
    made, looking = await left_behind(town, later=timedelta(days=2))
    assert await looking.look() == 0
    row = await town.row(made)
    assert (row.state, row.camera, row.segments, row.deviations) == ("quarantined", "cam-01", 3, ["never_submitted"])
    assert row.expires_at - row.ended_at == timedelta(days=town.policies.policy.retention.days)
    assert await town.kinds() == ["recording.quarantined"]
    assert town.hub.heard[-1][1] == "recording"
    assert await looking.look() == 0
    assert await town.kinds() == ["recording.quarantined"]

    town.clock.now = row.expires_at + timedelta(seconds=1)
    (due,) = await to_look_at(town.database, ORG, town.clock.now, most=10)
    kluis = Kluis()
    outcome = await worker(town, kluis).look_at(ORG, parse_recording(due.id))
    assert outcome.outcome == "destroyed"
    assert kluis.destroyed == [str(made.recording)]
    assert await town.vault.digests() == []
    assert (await town.kinds())[1:] == ["retention.destroying", "retention.destroyed"]


async def test_a_delivery_that_comes_after_all_takes_it_up_as_if_nothing_had_been(town: Town) -> None:
    made, looking = await left_behind(town, later=timedelta(days=2))
    await looking.look()
    async with town.serving(), town.as_dock() as dock:
        assert await town.intake.readmit(made.recording) == "quarantined"  # the press is heard of, the rest not yet
        await send(dock, made)
        assert (await submit(dock, made))[0] == 200
    row = await town.row(made)
    assert (row.segments, row.chain, "never_submitted" in row.deviations) == (len(made.segments), "intact", False)
    async with town.database.transaction() as t:
        digests = (await t.execute(select(segments.c.digest))).scalars().all()
    assert sorted(digests) == sorted(digest.hex() for digest in made.digests)
    assert await looking.look() == 0


async def test_what_comes_back_after_its_recording_was_destroyed_is_erased_with_an_entry(town: Town) -> None:
    made, looking = await left_behind(town, later=timedelta(days=2))
    await looking.look()
    town.clock.now += timedelta(days=40)
    await worker(town, Kluis()).look_at(ORG, made.recording)
    async with town.serving(), town.as_dock() as dock:
        assert 201 in await send(dock, made)  # a dock cannot know
        assert (await submit(dock, made))[0] == 410
    town.clock.now += timedelta(days=2)
    assert await looking.look() == 0
    assert await town.vault.digests() == []
    assert (await town.kinds())[-1] == "retention.destroyed"


async def test_damage_that_nobody_handed_in_has_an_end_too(town: Town) -> None:
    made, looking = await left_behind(town, later=timedelta(days=2))
    await town.vault.keep_raw(made.segments[3][:-1] + b"x")
    assert await looking.look() == 0
    rows = {row.camera: row for row in await town.rows()}
    assert rows.keys() == {"cam-01", "unknown"}
    assert rows["unknown"].state == "quarantined"
    assert rows["unknown"].expires_at > town.clock.now - timedelta(days=2)


async def test_after_a_restart_only_what_came_since_is_read_and_what_was_left_is_found_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looking = await left_behind(town, later=timedelta(days=2))
    for path in (town.folder / "vault").glob("??/*"):
        os.utime(path, times=(path.stat().st_atime, path.stat().st_mtime - 7200))
    assert await looking.look() == 0
    assert (await town.row(made)).state == "quarantined"
    read, read_ends = list[bytes](), Shelf.read_ends

    def watched(self: Shelf, digest: bytes) -> tuple[bytes, bytes]:
        read.append(digest)
        return read_ends(self, digest)

    monkeypatch.setattr(Shelf, "read_ends", watched)
    town.clock.now = datetime.now(UTC)
    camera = await town.enrol(Camera(DeviceId("cam-02")))
    later = camera.record(pressed_at=town.clock.now - timedelta(hours=1))
    async with town.serving(), town.as_dock() as dock:
        assert (await dock.put(f"/v1/segments/{later.digests[0].hex()}", data=later.segments[0])).status == 201
    assert await strays(town).look() == 1
    read.clear()
    again = strays(town)
    assert await again.look() == 1
    assert read == [later.digests[0]]
    assert again.left[0] == 1
