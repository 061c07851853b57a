"""A small town with a real database, a real ledger and a real policy, and a clock that a test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Table, insert, select

from broker.wire import topics
from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.events import Activation, CameraState, Event, Said, Telemetry, encode, kind_of, source_of
from broker.wire.ids import DeviceId, Org, RecordingId, camera_key_id, uuid7
from cloud.casework.policies import Policies
from cloud.database import tables
from cloud.database.engine import Database
from cloud.fleet.live import LiveEvent, LiveHub
from cloud.fleet.register import Fleet, Heard
from cloud.ledger.log import Ledger
from tests.adapters.database.postgresql import address_of

POLICY = Path(__file__).parents[3] / "deploy" / "policy" / "heusden.toml"
ORG = Org("heusden")
CAM_01 = DeviceId("cam-01")
OIN = "00000001234567890000"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class TestClock:
    """Shows the time a test gives it."""

    __test__ = False

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass
class Speaker:
    """A camera that speaks as a test tells it to."""

    clock: TestClock
    device: DeviceId = CAM_01
    org: Org = ORG
    boot: str = "boot-1"
    numbers: dict[str, int] = field(default_factory=dict)

    def say(self, said: Said, *, at: datetime | None = None, sequence: int | None = None) -> tuple[str, bytes]:
        match said:
            case CameraState():
                topic, row = topics.camera_state(self.org, self.device), "state"
            case Telemetry():
                topic, row = topics.camera_telemetry(self.org, self.device), "telemetry"
            case _:
                topic, row = topics.camera_event(self.org, self.device, kind_of(said)), "event"
        self.numbers[row] = self.numbers.get(row, 0) + 1
        now = at or self.clock()
        event = Event(
            id=uuid7(now, uuid4().bytes[:10]),
            source=source_of(OIN, self.org, "cam", self.device),
            session=self.boot,
            sequence=self.numbers[row] if sequence is None else sequence,
            time=now,
            said=said,
        )
        return topic, encode(event)

    def say_as(self, said: Said) -> bytes:
        """What this camera would say if it could say anything."""
        return encode(
            Event(
                id=uuid7(self.clock(), uuid4().bytes[:10]),
                source=source_of(OIN, self.org, "cam", self.device),
                session=self.boot,
                sequence=1,
                time=self.clock(),
                said=said,
            )
        )

    def state(self, status: Any = "standby", *, at: datetime | None = None, **facts: Any) -> tuple[str, bytes]:
        known: dict[str, Any] = {
            "buffering": status in ("standby", "recording"),
            "battery_pct": 80,
            "card_free_pct": 90,
            "settings_version": 1,
        }
        return self.say(CameraState(**{"status": status, "boot": self.boot, **known, **facts}), at=at)

    def press(self, recording: UUID | None = None, *, at: datetime | None = None) -> tuple[str, bytes]:
        now = at or self.clock()
        pressed = recording or uuid7(now, uuid4().bytes[:10])
        return self.say(Activation(recording=pressed, activated_at=now, pre_record_s=30.0), at=at)


@dataclass
class Town:
    """One municipality's cloud, as far as the fleet sees it."""

    folder: Path
    clock: TestClock
    database: Database
    ledger: Ledger
    hub: LiveHub
    policies: Policies
    fleet: Fleet
    readmitted: list[RecordingId] = field(default_factory=list)

    def fresh_fleet(self, **instead: Any) -> Fleet:
        """The fleet as after a restart of the process."""
        parts: dict[str, Any] = {
            "database": self.database,
            "ledger": self.ledger,
            "hub": self.hub,
            "policies": self.policies,
            "clock": self.clock,
            "readmit": self._readmit,
        }
        parts.update(instead)
        self.fleet = Fleet(**parts)
        return self.fleet

    async def _readmit(self, recording: RecordingId) -> None:
        self.readmitted.append(recording)

    async def hear(self, said: tuple[str, bytes], *, kept: bool = False) -> Heard:
        return await self.fleet.on_message(*said, kept=kept)

    async def rows(self, table: Table) -> list[Any]:
        async with self.database.transaction() as t:
            return list((await t.execute(select(table))).all())

    async def write(self, table: Table, **values: Any) -> None:
        async with self.database.transaction() as t:
            await t.execute(insert(table).values(**values))

    async def entries(self, kind: str) -> list[LedgerEntry]:
        read = await self.ledger.read(0, self.ledger.checkpoint().size)
        return [entry for entry in (read_entry(raw) for _, raw in read) if entry.kind == kind]

    def events(self, kind: str) -> list[LiveEvent]:
        return [event for event in self.hub._kept.get(ORG, ()) if event.kind == kind]


async def enrol(town: Town, *cameras: str, org: str = ORG) -> None:
    for camera in cameras:
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        await town.write(
            tables.cameras,
            org=org,
            id=camera,
            public_key=key,
            key_id=camera_key_id(key),
            state="enrolled",
            team="centrum",
            enrolled_at=NOON - timedelta(days=30),
        )


@asynccontextmanager
async def open_town(folder: Path, *cameras: str) -> AsyncIterator[Town]:
    database = Database(address_of(folder / "town.sqlite"))
    await database.create()
    ledger = Ledger.create(folder / "ledger", origin="test/ledger", key=Ed25519PrivateKey.generate())
    clock, hub, policies = TestClock(), LiveHub(), Policies(database)
    town = Town(folder, clock, database, ledger, hub, policies, Fleet(database, ledger, hub, policies, clock))
    try:
        document = POLICY.read_text()
        await town.write(
            tables.policies,
            org=ORG,
            version=1,
            adopted_at=NOON - timedelta(days=90),
            document=document,
            sha256="0" * 64,
        )
        await town.write(
            tables.officials, org=ORG, id="o-101", display_name="M.", employed_from=NOON - timedelta(days=900)
        )
        await town.write(
            tables.appointments,
            org=ORG,
            official="o-101",
            role="coordinator",
            from_at=NOON - timedelta(days=900),
            appointed_by="o-100",
        )
        await enrol(town, *cameras)
        town.fresh_fleet()
        await town.fleet.load(ORG)
        town.fleet.listen(ORG, hearing=True)
        yield town
    finally:
        await ledger.close()
        await database.close()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(tmp_path, "cam-01", "cam-02") as opened:
        yield opened


@pytest.fixture
def camera(town: Town) -> Speaker:
    return Speaker(town.clock)
