"""What a dock remembers, and how much memory it takes, while all its bays are busy."""

import asyncio
from pathlib import Path

from broker.wire.ids import DeviceId
from dock_agent.state import DockState
from tests.adapters.dock.agent import dock_camera, eventually, running
from tests.adapters.intake.test_memory import peak_bytes
from tests.adapters.intake.town import Camera, Town, put_on_card, write_card

BAYS = 8
SEGMENT_BYTES = 4_000_000


async def test_fifty_bays_write_into_one_memory_at_once_and_none_is_lost(tmp_path: Path) -> None:
    state = DockState(tmp_path / "state.json")
    try:
        notes = {f"note-{number}": bytes([number]) for number in range(50)}
        await asyncio.gather(*(asyncio.to_thread(state.remember_note, name, value) for name, value in notes.items()))
        assert {name: state.note(name) for name in notes} == notes
    finally:
        state.close()


async def test_eight_full_bays_take_little_more_memory_than_one(town: Town) -> None:
    """A connection holds a piece of what it sends, never the whole: eight large segments at once would be 32 MB."""
    cards = [await _card(town, f"cam-{bay:02}", seconds=1 if bay == 1 else 4) for bay in range(1, BAYS + 1)]
    async with town.serving(), running(town) as agent:
        assert agent.process is not None
        dock_camera(town, cards[0], bay=1)
        await eventually(lambda: _receipts(cards[:1]) == 1)
        with_one = peak_bytes(agent.process.pid)
        for bay, card in enumerate(cards[1:], 2):
            dock_camera(town, card, bay=bay)
        await eventually(lambda: _receipts(cards) == BAYS, within_s=60)
        assert peak_bytes(agent.process.pid) - with_one < 16_000_000
        assert peak_bytes(agent.process.pid) < 100_000_000


async def _card(town: Town, name: str, *, seconds: int) -> Path:
    camera = await town.enrol(Camera(DeviceId(name)))
    card = write_card(camera, town.folder / f"card-{name}")
    made = camera.record(seconds=seconds, pre_record_s=0, bytes_each=SEGMENT_BYTES)
    await town.press(camera, made)
    put_on_card(made, card)
    return card


def _receipts(cards: list[Path]) -> int:
    return sum(len(list((card / "receipts").glob("*.receipt"))) for card in cards)
