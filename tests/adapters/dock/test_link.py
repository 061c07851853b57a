"""What the town hears of a dock over MQTT, from a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.client import Connection, connect, stay_connected
from broker.clock import system_clock
from broker.embedded import EmbeddedBroker
from broker.rules.access import Role
from broker.wire.events import BayState, DockState, decode
from broker.wire.ids import DeviceId
from dock_agent.link import Link
from tests.adapters.dock.agent import dock_camera, eventually, running
from tests.adapters.intake.town import ORG, Camera, Town, put_on_card, write_card


async def test_the_town_hears_of_every_bay_and_that_a_dock_is_gone(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    card = write_card(camera, town.folder / "card")
    made = camera.record()
    await town.press(camera, made)
    put_on_card(made, card)
    town.authority.issue("watcher", Role.OBSERVER)
    heard: list[DockState] = []
    topic = f"vo/v1/{town.org}/dock/dock-01/state"

    async with (
        EmbeddedBroker.start(Path(town.folder / "broker"), identities=town.authority, port=0) as broker,
        connect(
            broker.endpoint("watcher"), client_id="watcher", clean_session=True, subscriptions=[(topic, 1)]
        ) as watcher,
    ):

        async def listen() -> None:
            async for message in watcher.messages():
                said = decode(message.payload).said
                assert isinstance(said, DockState)
                heard.append(said)
                watcher.ack(message)

        ear = asyncio.create_task(listen())
        async with town.serving(), running(town, "--broker", f"127.0.0.1:{broker.port}") as agent:
            await eventually(lambda: heard and heard[-1].status == "online")
            dock_camera(town, card)
            await eventually(lambda: any(bay.doing == "wiping" for bay in heard[-1].bays))
            bay: BayState = heard[-1].bays[0]
            assert (bay.camera, bay.recordings_done, bay.recordings_total) == ("cam-01", 1, 1)
            assert bay.bytes_sent == bay.bytes_total == sum(map(len, made.segments))
            await agent.kill()
            await eventually(lambda: heard[-1].status == "lost")
            await agent.start()
            await eventually(lambda: heard[-1].status == "online")
            assert await agent.stop() == 0
            await eventually(lambda: heard[-1].status == "offline")
        ear.cancel()
        await asyncio.gather(ear, return_exceptions=True)


@dataclass
class Slow:
    """A connection that takes so long for a goodbye."""

    takes_s: float
    heard: list[str] = field(default_factory=list)
    vanished: bool = False

    async def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        del topic, retain
        said = decode(payload).said
        assert isinstance(said, DockState)
        if said.status == "offline":
            await asyncio.sleep(self.takes_s)
        self.heard.append(said.status)

    def vanish(self) -> None:
        self.vanished = True


@pytest.mark.parametrize(("takes_s", "ends_with"), [(0.3, "offline"), (3600.0, "online")])
async def test_a_dock_that_stops_says_so_or_leaves_it_to_its_last_will(
    takes_s: float, ends_with: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dock_agent.link.GOODBYE_S", 60.0 if ends_with == "offline" else 0.05)
    slow = Slow(takes_s)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Connection]:
        yield slow  # type: ignore[misc]

    link = Link(org=ORG, dock=DeviceId("dock-01"), oin="0" * 20, clock=system_clock, bays=lambda: ())
    staying = asyncio.create_task(stay_connected(opened, link._tell))
    await eventually(lambda: slow.heard)
    staying.cancel()
    await asyncio.wait({staying})
    assert (slow.heard[-1], slow.vanished) == (ends_with, ends_with == "online")
