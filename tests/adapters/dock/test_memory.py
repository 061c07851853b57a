"""What a dock remembers while all its bays are busy."""

import asyncio
from pathlib import Path

from dock_agent.state import DockState


async def test_fifty_bays_write_into_one_memory_at_once_and_none_is_lost(tmp_path: Path) -> None:
    state = DockState(tmp_path / "state.json")
    try:
        notes = {f"note-{number}": bytes([number]) for number in range(50)}
        await asyncio.gather(*(asyncio.to_thread(state.remember_note, name, value) for name, value in notes.items()))
        assert {name: state.note(name) for name in notes} == notes
    finally:
        state.close()
