"""A dock delivers a recording: the story from the first segment to the receipt."""

import json

import pytest

from broker.wire.ids import DeviceId
from broker.wire.receipts import read_receipt
from tests.adapters.intake.town import Camera, Town, send, submit


@pytest.mark.rule("R-08", "H-36")
async def test_a_delivered_recording_is_kept_and_answered_with_a_receipt_that_names_its_bytes(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    made = camera.record()
    await town.press(camera, made)
    async with town.serving(), town.as_dock() as dock:
        assert set(await send(dock, made)) == {201}
        status, body = await submit(dock, made)
    assert status == 200, body
    receipt = read_receipt(body, town.receipt_key.public_key())
    assert (receipt.segments, receipt.last_hash) == (len(made.segments), made.digests[-1].hex())
    row = await town.row(made)
    assert (row.state, row.official, row.chain, row.dock) == ("retained", "o-1", "intact", "dock-01")
    assert row.pre_record_s == 2.0
    assert [await town.vault.read(digest) for digest in made.digests] == list(made.segments)
    assert await town.kinds() == ["recording.received"]
    assert made.recording in town.kluis.taken
    assert json.dumps(town.hub.heard)
