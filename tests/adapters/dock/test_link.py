"""What the town hears of a dock over MQTT, from a real broker."""

import asyncio
from pathlib import Path

from broker.client import connect
from broker.embedded import EmbeddedBroker
from broker.rules.access import Role
from broker.wire.events import BayState, DockState, decode
from broker.wire.ids import DeviceId
from tests.adapters.dock.agent import dock_camera, eventually, running
from tests.adapters.intake.town import Camera, Town, put_on_card, write_card


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
