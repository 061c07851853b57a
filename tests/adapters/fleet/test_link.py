"""The fleet over a real broker, with certificates: nothing is lost and nothing counts twice."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Connection, NotConnected, Will, connect, stay_connected
from broker.embedded import EmbeddedBroker
from broker.identities import Authority
from broker.rules.access import Role
from broker.wire import topics
from broker.wire.commands import Answer, Listener, judge
from broker.wire.events import CameraSettings, Command, CommandResult, EventReceipt, ServiceState, decode
from broker.wire.ids import DeviceId
from cloud.database import tables
from cloud.fleet.commands import Commands
from cloud.fleet.link import FleetLink
from cloud.rules.fleet import Showing, Silence, counts
from tests.adapters.fleet.conftest import NOON, OIN, ORG, Speaker, Town, open_town
from tests.ports import free_port

FLEET = DeviceId("svc-fleet")
COMMAND = DeviceId("svc-command")


async def until(what: Callable[[], bool], *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*works: Awaitable[object]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


@dataclass
class Heard:
    """What a simulated camera got."""

    receipts: dict[str, EventReceipt] = field(default_factory=dict)
    settings: list[CameraSettings] = field(default_factory=list)
    commands: list[tuple[Command, bool]] = field(default_factory=list)


class Bodycam:
    """A camera with an outbox: repeats what it said on each connection until a receipt covers it."""

    def __init__(self, broker: EmbeddedBroker, speaker: Speaker) -> None:
        self.broker, self.speaker, self.heard = broker, speaker, Heard()
        self.outbox: dict[int, tuple[str, bytes]] = {}
        self.connection: Connection | None = None
        self._news = asyncio.Event()
        self.in_reach = asyncio.Event()  # of the network
        self.in_reach.set()

    def tell(self, message: tuple[str, bytes]) -> None:
        self.outbox[decode(message[1]).sequence] = message
        self._news.set()

    async def run(self) -> None:
        await stay_connected(self._open, self._session, first_s=0.1, most_s=1.0)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Connection]:
        org, device = self.speaker.org, self.speaker.device
        topic, lost = self.speaker.state("lost")
        await self.in_reach.wait()
        async with connect(
            self.broker.endpoint(device),
            client_id=device,
            will=Will(topic=topic, payload=lost),
            subscriptions=(
                (topics.camera_receipt(org, device), 1),
                (topics.camera_desired(org, device), 1),
                (topics.camera_command(org, device, "start"), 1),
            ),
        ) as connection:
            yield connection

    async def _session(self, connection: Connection) -> None:
        self.connection = connection
        await connection.publish(*self.speaker.state(), retain=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(connection))
            group.create_task(self._send(connection))

    async def _send(self, connection: Connection) -> None:
        sent: set[int] = set()
        while True:
            self._news.clear()
            for number, (topic, payload) in tuple(self.outbox.items()):
                if number not in sent:
                    await connection.publish(topic, payload)
                    sent.add(number)
            try:
                async with asyncio.timeout(2.0):
                    await self._news.wait()
            except TimeoutError:
                sent.clear()

    async def _listen(self, connection: Connection) -> None:
        async for message in connection.messages():
            match decode(message.payload).said:
                case EventReceipt() as receipt:
                    self.heard.receipts[receipt.boot] = receipt
                    for number in [n for n in self.outbox if n <= receipt.sequence]:
                        del self.outbox[number]
                case CameraSettings() as settings:
                    self.heard.settings.append(settings)
                case Command() as command:
                    self.heard.commands.append((command, message.retain))
                case _:
                    raise AssertionError(message)
            connection.ack(message)


@asynccontextmanager
async def broker_for(folder: Path, *cameras: str) -> AsyncIterator[EmbeddedBroker]:
    authority = Authority.create(folder / "pki", ORG)
    authority.issue(FLEET, Role.FLEET)
    authority.issue(COMMAND, Role.COMMAND)
    authority.issue("svc-watcher", Role.OBSERVER)
    for camera in cameras:
        authority.issue(camera, Role.CAMERA)
    async with EmbeddedBroker.start(folder / "broker", identities=authority, port=free_port()) as broker:
        yield broker


def link_of(town: Town, broker: EmbeddedBroker) -> FleetLink:
    return FleetLink(town.fleet, org=ORG, oin=OIN, service=FLEET, endpoint=broker.endpoint(FLEET), clock=town.clock)


async def test_a_press_reaches_the_hub_and_the_camera_hears_that_it_did(tmp_path: Path) -> None:
    async with broker_for(tmp_path, "cam-01") as broker, open_town(tmp_path, "cam-01") as town:
        camera = Bodycam(broker, Speaker(town.clock))
        live = town.hub.subscribe(ORG)
        async with running(link_of(town, broker).run(), camera.run()):
            await until(lambda: any(card.state is Showing.STANDBY for card in town.fleet.cards(ORG)))
            camera.tell(camera.speaker.press())
            async with asyncio.timeout(60):
                async for event in live:
                    if event.kind == "activation":
                        break
            await until(lambda: not camera.outbox)
            await until(lambda: bool(camera.heard.settings))
        assert camera.heard.receipts["boot-1"] == EventReceipt(boot="boot-1", sequence=1)
        assert camera.heard.settings[-1].pre_record_s == 30
        assert len(await town.entries("activation.received")) == 1


async def test_a_camera_that_breaks_off_is_seen_to_be_silent_by_its_last_will(tmp_path: Path) -> None:
    async with broker_for(tmp_path, "cam-01") as broker, open_town(tmp_path, "cam-01") as town:
        camera = Bodycam(broker, Speaker(town.clock))
        async with running(link_of(town, broker).run()):
            async with running(camera.run()):
                await until(lambda: any(card.state is Showing.STANDBY for card in town.fleet.cards(ORG)))
                assert camera.connection is not None
                camera.in_reach.clear()  # back at once, it would be silent too briefly to be seen here
                camera.connection.vanish()
                await until(lambda: any(card.silence is Silence.WILL for card in town.fleet.cards(ORG)))
            await until(lambda: len(town.fleet.alerts(ORG)) > 0)


async def test_what_came_while_the_cloud_was_away_has_its_effect_when_it_is_back(tmp_path: Path) -> None:
    async with broker_for(tmp_path, "cam-01") as broker, open_town(tmp_path, "cam-01") as town:
        link = link_of(town, broker)
        async with running(link.run()):
            await until(lambda: link.connected)
        camera = Bodycam(broker, Speaker(town.clock))
        async with running(camera.run()):
            for _ in range(5):
                camera.tell(camera.speaker.press())
            await asyncio.sleep(0.5)
            assert len(camera.outbox) == 5
            town.fresh_fleet()
            async with running(link_of(town, broker).run()):
                await until(lambda: not camera.outbox)
        assert len(await town.rows(tables.activations)) == 5


async def test_the_service_says_whether_it_is_there(tmp_path: Path) -> None:
    async with broker_for(tmp_path) as broker, open_town(tmp_path) as town:
        heard: list[str] = []

        async def watch() -> None:
            async with connect(
                broker.endpoint("svc-watcher"),
                client_id="svc-watcher",
                subscriptions=((topics.service_state(ORG, FLEET), 1),),
            ) as connection:
                async for message in connection.messages():
                    said = decode(message.payload).said
                    assert isinstance(said, ServiceState)
                    heard.append(said.status)
                    connection.ack(message)

        async with running(watch()):
            link = link_of(town, broker)
            async with running(link.run()):
                await until(lambda: heard == ["online"])
            await until(lambda: heard == ["online", "offline"])


async def test_an_order_is_signed_numbered_and_its_answer_recorded(tmp_path: Path) -> None:
    async with broker_for(tmp_path, "cam-01") as broker, open_town(tmp_path, "cam-01") as town:
        key = Ed25519PrivateKey.generate()
        camera = Bodycam(broker, Speaker(town.clock))
        commands = Commands(
            org=ORG,
            oin=OIN,
            service=COMMAND,
            endpoint=broker.endpoint(COMMAND),
            key=key,
            database=town.database,
            ledger=town.ledger,
            fleet=town.fleet,
            clock=town.clock,
        )
        async with running(link_of(town, broker).run(), camera.run(), commands.run()):
            await until(lambda: commands.connected and camera.connection is not None)
            first = await commands.give(DeviceId("cam-01"), "start", by="o-101")
            await until(lambda: len(camera.heard.commands) == 1)
            second = await commands.give(DeviceId("cam-01"), "start", by="o-101")
            await until(lambda: len(camera.heard.commands) == 2)
            camera.tell(camera.speaker.say(CommandResult(command=first.command, done=True, reason="started")))
            await until(lambda: not camera.outbox)
        assert (first.counter, second.counter) == (1, 2)
        listener = Listener(
            org=ORG, camera=DeviceId("cam-01"), key=key.public_key(), booted_at=NOON, highest=first.counter - 1
        )
        command, kept = camera.heard.commands[0]
        assert judge(command, listener, retained=kept, now=NOON) is Answer.OBEY
        assert [entry.actor for entry in await town.entries("command.given")] == ["o-101", "o-101"]
        given = sorted(await town.rows(tables.commands), key=lambda row: row.counter)
        assert [row.done for row in given] == [True, None]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_fifty_cameras_and_a_killed_broker_give_each_effect_once(tmp_path: Path) -> None:
    cameras = [f"cam-{number:02}" for number in range(1, 51)]
    async with broker_for(tmp_path, *cameras) as broker, open_town(tmp_path, *cameras) as town:
        bodycams = [Bodycam(broker, Speaker(town.clock, device=DeviceId(camera))) for camera in cameras]
        async with running(link_of(town, broker).run(), *(bodycam.run() for bodycam in bodycams)):
            await until(lambda: counts(town.fleet.cards(ORG))[Showing.STANDBY] == 50, within_s=180)
            for turn in range(6):
                for bodycam in bodycams:
                    bodycam.tell(bodycam.speaker.press())
                if turn in (1, 3):
                    await until(lambda killed=turn // 2: broker.restarts == killed, within_s=60)  # type: ignore[misc]
                    os.kill(broker.pid, signal.SIGKILL)
                await asyncio.sleep(0.3)
            await until(lambda: not any(bodycam.outbox for bodycam in bodycams), within_s=300)
            await until(lambda: broker.restarts == 2)
        assert len(await town.rows(tables.activations)) == 300
        assert len(await town.entries("activation.received")) == 300
        assert len(town.events("activation")) == 300


async def test_a_camera_cannot_speak_for_another_over_the_wire(tmp_path: Path) -> None:
    async with broker_for(tmp_path, "cam-01", "cam-02") as broker, open_town(tmp_path, "cam-01", "cam-02") as town:
        other = Speaker(town.clock, device=DeviceId("cam-02"))
        link = link_of(town, broker)
        async with running(link.run()):
            await until(lambda: link.connected)
            async with connect(broker.endpoint("cam-01"), client_id="cam-01") as connection:
                with suppress(NotConnected):
                    await connection.publish(*other.press())
                _, forged = other.press()
                await connection.publish(topics.camera_event(ORG, DeviceId("cam-01"), "activation"), forged)
                async with asyncio.timeout(60):
                    while not await town.rows(tables.denials):
                        await asyncio.sleep(0.05)
        assert await town.rows(tables.activations) == []
        [denial] = await town.rows(tables.denials)
        assert denial.who == "cam-01"
