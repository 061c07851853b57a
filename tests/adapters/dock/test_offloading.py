"""A camera is put into a bay, and everything else happens by itself."""

from pathlib import Path

import pytest

from broker.wire.ids import DeviceId
from broker.wire.receipts import read_receipt
from edge.card import MemoryCard
from tests.adapters.dock.agent import dock_camera, eventually, running
from tests.adapters.intake.town import Camera, Town, put_on_card, write_card


def as_camera(camera: Camera, town: Town, card: Path) -> MemoryCard:
    """The camera itself, which alone decides what is wiped."""
    return MemoryCard(
        card,
        org=town.org,
        camera=camera.id,
        signing_key=camera.key,
        receipt_key=town.receipt_key.public_key(),
        limit_bytes=10**9,
    )


@pytest.mark.rule("R-07", "R-08", "H-36")
async def test_docking_alone_delivers_everything_and_the_camera_wipes_on_the_receipt(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    card = write_card(camera, town.folder / "card")
    made = [camera.record() for _ in range(3)]
    for each in made:
        await town.press(camera, each)
        put_on_card(each, card)
    async with town.serving(), running(town) as agent:
        dock_camera(town, card)
        await eventually(lambda: len(list((card / "receipts").glob("*.receipt"))) == 3)
        for each in made:
            receipt = read_receipt(
                (card / "receipts" / f"{each.recording}.receipt").read_bytes(), town.receipt_key.public_key()
            )
            assert receipt.recording == each.recording
        wiped = as_camera(camera, town, card).wipe_receipted()
        assert {each.recording for each in wiped.receipts} == {each.recording for each in made}
        assert not list((card / "recordings").iterdir())
        await eventually(lambda: "bay 01 cam-01 done 3/3 recordings" in agent.log.read_text())
        await eventually((card / "from-dock" / "keylist.json").exists)
        assert await agent.stop() == 0
    assert {row.state for row in await town.rows()} == {"retained"}
    assert len(await town.rows()) == 3
