"""Nothing said is lost or counted twice, whatever dies: edge's links and outboxes, nats-server, the cloud's process.

What a camera was told to say is compared with what the database and the ledger hold at the end: the same, each once.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Connection, connect
from broker.clock import DemonstrationClock, system_clock
from broker.embedded import EmbeddedBroker
from broker.wire.events import Activation, Deactivation, Telemetry, decode
from broker.wire.ids import DeviceId
from cloud.database import tables
from cloud.database.engine import Database
from cloud.ledger.log import Ledger
from edge.link import Link
from edge.outbox import Outbox
from tests.adapters.database.postgresql import address_of
from tests.adapters.fleet.cameras import Spoken, edge_link
from tests.adapters.fleet.conftest import ORG, Town, open_town
from tests.adapters.fleet.test_link import broker_for, link_of, running, until

HOUR = timedelta(hours=1)


@dataclass
class Bodycam:
    """A camera that can lose its power. Its outbox lies on its card and outlives every boot."""

    town: Town
    broker: EmbeddedBroker
    id: DeviceId
    spoiled: bool = False
    boots: int = 0
    pressed: list[UUID] = field(default_factory=list)
    told: int = 0
    _running: asyncio.Task[None] | None = None

    def switch_on(self) -> None:
        self.boots += 1
        self.spoken = Spoken(boot=f"{self.id}-boot-{self.boots}")
        self.outbox = Outbox(self.town.folder / "outbox" / self.id)
        rest = {"opened": lambda: spoil(self._connect(), random.Random(self.id))} if self.spoiled else {}
        self.link: Link = edge_link(
            self.town,
            self.id,
            endpoint=self.broker.endpoint(self.id),
            outbox=self.outbox,
            spoken=self.spoken,
            **rest,
        )
        self._running = asyncio.create_task(self.link.run())

    async def lose_power(self) -> None:
        """No goodbye, nothing is written any more."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def press(self) -> None:
        said = self.spoken.press(self.town.clock())
        self.pressed.append(said.recording)
        await self.link.tell(said)
        ended = Deactivation(recording=said.recording, ended_at=self.town.clock(), segments=3, stop_reason="officer")
        await self.link.tell(ended)
        self.told += 2

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return self.link._connect()


class Spoiled:
    """A connection over a network that repeats what it carried before, and lets one message overtake another."""

    def __init__(self, connection: Connection, chance: random.Random) -> None:
        self._inside = connection
        self._chance = chance
        self._carried: list[tuple[str, bytes]] = []

    async def publish(self, topic: str, payload: bytes, **rest: object) -> None:
        if "/evt/" not in topic:
            return await self._inside.publish(topic, payload, **rest)  # type: ignore[arg-type]
        self._carried.append((topic, payload))
        late = self._chance.sample(self._carried, k=min(3, len(self._carried)))
        for again in late:
            await self._inside.publish(*again)
        if self._chance.random() < 0.7:  # else it is left to the outbox to say it again
            await self._inside.publish(topic, payload)
        return None

    def __getattr__(self, name: str) -> object:
        return getattr(self._inside, name)


@asynccontextmanager
async def spoil(opened: AbstractAsyncContextManager[Connection], chance: random.Random) -> AsyncIterator[Connection]:
    async with opened as connection:
        yield Spoiled(connection, chance)  # type: ignore[misc]


class Cloud:
    """The cloud's process; `kill` takes its power."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._process: asyncio.subprocess.Process | None = None
        self.log = folder / "cloud.log"

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.adapters.fleet.cloud_process", str(self._folder), str(self._port)),
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[3],
            )

    async def kill(self) -> None:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()[-3000:]
        self._process.kill()
        await self._process.wait()

    async def restart(self) -> None:
        await self.kill()
        await self.start()


@asynccontextmanager
async def stage(folder: Path, *cameras: str) -> AsyncIterator[tuple[Town, EmbeddedBroker]]:
    """A town that is on disk and open nowhere, with a clock that all processes share, and its broker."""
    key = Ed25519PrivateKey.generate()
    async with open_town(folder, *cameras) as town:
        pass
    (folder / "ledger.key").write_bytes(key.private_bytes_raw())
    (folder / "ledger").rename(folder / "unused")
    ledger = Ledger.create(folder / "ledger", origin="test/ledger", key=key)
    await ledger.close()
    town.clock = DemonstrationClock.create(folder / "clock.json", shown=system_clock(), rate=1.0)  # type: ignore[assignment]
    async with broker_for(folder, *cameras) as broker:
        yield town, broker


@dataclass(frozen=True)
class Counted:
    """What the cloud has of each thing said."""

    activations: Counter[str]
    ended: int
    events: int
    entries: Counter[str]
    late: int


async def count(folder: Path) -> Counted:
    from sqlalchemy import func, select

    from broker.wire.entries import read_entry

    database = Database(address_of(folder / "town.sqlite"))
    ledger = Ledger.open(
        folder / "ledger",
        origin="test/ledger",
        key=Ed25519PrivateKey.from_private_bytes((folder / "ledger.key").read_bytes()),
    )
    try:
        async with database.transaction() as t:
            presses = (await t.execute(select(tables.activations))).all()
            state = "nl.bodycams.camera.stand.v1"
            query = select(func.count()).select_from(tables.events).where(tables.events.c.type != state)
            events = (await t.execute(query)).scalar_one()
        entries = [read_entry(raw) for _, raw in await ledger.read(0, ledger.checkpoint().size)]
    finally:
        await ledger.close()
        await database.close()
    return Counted(
        activations=Counter(row.recording for row in presses),
        ended=sum(row.ended_at is not None for row in presses),
        events=events,
        entries=Counter(entry.subject for entry in entries if entry.kind == "activation.received"),
        late=sum(row.late for row in presses),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_press_has_its_effect_once_whatever_is_killed_lost_repeated_or_overtaken(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"cam-{number:02}" for number in range(1, 7)]
    async with stage(tmp_path, *names) as (town, broker):
        cloud = Cloud(tmp_path, broker.port)
        await cloud.start()
        cameras = [Bodycam(town, broker, DeviceId(name), spoiled=name in names[:2]) for name in names]
        for camera in cameras:
            camera.switch_on()
        away, killed = cameras[2], 0
        away.link.cover(within_reach=False)
        try:
            acts = ["kill broker", "kill cloud", "power cut", "kill broker", "kill cloud", "power cut"]
            chance.shuffle(acts)
            plan = [*acts[:3], "an hour passes", *acts[3:], "regain coverage"]
            for act in plan:
                for _ in range(4):
                    await asyncio.gather(*(each.press() for each in cameras if chance.random() < 0.7))
                    await asyncio.sleep(chance.uniform(0.0, 0.3))
                match act:
                    case "kill broker":
                        await until(lambda times=killed: broker.restarts == times)  # type: ignore[misc]
                        os.kill(broker.pid, signal.SIGKILL)
                        killed += 1
                    case "kill cloud":
                        await cloud.restart()
                    case "power cut":
                        unlucky = chance.choice([each for each in cameras if each is not away])
                        await unlucky.lose_power()
                        unlucky.switch_on()
                    case "an hour passes":
                        before_the_hour = len(away.pressed)
                        assert isinstance(town.clock, DemonstrationClock)
                        town.clock.move_forward(HOUR)
                    case "regain coverage":
                        assert len(away.outbox.waiting()) == away.told > 0
                        away.link.cover(within_reach=True)
                    case _:
                        raise AssertionError(act)
            await until(lambda: not any(each.outbox.waiting() for each in cameras), within_s=300)
            await until(lambda: broker.restarts == killed)
        except BaseException:
            print(seed, plan, cloud.log.read_text()[-3000:])
            raise
        finally:
            for camera in cameras:
                await camera.lose_power()
            await cloud.kill()
        assert killed == 2

    said = {str(recording) for camera in cameras for recording in camera.pressed}
    counted = await count(tmp_path)
    assert set(counted.activations) == said
    assert counted.activations.total() == len(said)
    assert counted.ended == len(said)
    assert set(counted.entries) == said
    assert counted.entries.total() == len(said)
    assert counted.events == sum(camera.told for camera in cameras)
    assert counted.late >= before_the_hour > 0


async def test_after_an_hour_without_coverage_events_come_in_order_and_before_the_first_reading(tmp_path: Path) -> None:
    async with broker_for(tmp_path, "cam-01") as broker, open_town(tmp_path, "cam-01") as town:
        camera = Bodycam(town, broker, DeviceId("cam-01"))
        camera.switch_on()
        camera.link.heartbeat(1)
        await until(lambda: camera.link.connected)
        camera.link.cover(within_reach=False)
        await until(lambda: not camera.link.connected)
        for _ in range(20):
            town.clock.forward(180)
            await camera.press()
        heard: list[object] = []
        wanted = [(f"vo/v1/{ORG}/cam/cam-01/{what}", 1) for what in ("evt/#", "tlm")]
        async with connect(broker.endpoint("svc-watcher"), client_id="svc-watcher", subscriptions=wanted) as watcher:
            camera.link.cover(within_reach=True)
            async with asyncio.timeout(60):
                async for message in watcher.messages():
                    heard.append(decode(message.payload).said)
                    watcher.ack(message)
                    if isinstance(heard[-1], Telemetry):
                        break
        events = [said for said in heard if isinstance(said, Activation | Deactivation)]
        assert len(events) == 40
        assert heard[:40] == events
        assert [said.recording for said in events if isinstance(said, Activation)] == camera.pressed
        await camera.lose_power()


@pytest.mark.slow
async def test_a_cloud_whose_disk_is_full_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud.fleet import records

    async with broker_for(tmp_path, "cam-01") as broker, open_town(tmp_path, "cam-01") as town:
        link = link_of(town, broker)
        camera = Bodycam(town, broker, DeviceId("cam-01"))
        right = records.add_presses

        async def full(*_: object, **__: object) -> bool:
            raise OSError(28, "No space left on device")

        async with running(link.run()):
            camera.switch_on()
            await until(lambda: camera.link.connected and link.connected)
            monkeypatch.setattr(records, "add_presses", full)
            for _ in range(3):
                await camera.press()
            await asyncio.sleep(1.5)
            assert await town.rows(tables.activations) == []
            assert len(camera.outbox.waiting()) == 6
            monkeypatch.setattr(records, "add_presses", right)
            await until(lambda: not camera.outbox.waiting(), within_s=60)
        await camera.lose_power()
        assert len(await town.rows(tables.activations)) == 3
        assert len(await town.entries("activation.received")) == 3
