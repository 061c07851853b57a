"""What a dock remembers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from broker.atomic_storage import InUse
from broker.wire.ids import DeviceId, RecordingId
from dock_agent.state import MOST_RECEIPTS, DockState

CAMERA = DeviceId("cam-01")


def recording(number: int) -> RecordingId:
    return RecordingId(UUID(int=(number << 80) | 0x7000 << 64 | 0x8 << 60))


def test_what_was_remembered_is_there_after_a_restart(tmp_path: Path) -> None:
    state = DockState(tmp_path / "state.json")
    state.remember_receipt(recording(1), CAMERA, b"one")
    state.remember_note("keylist", b"keys")
    state.close()
    again = DockState(tmp_path / "state.json")
    assert (again.receipt(recording(1)), again.note("keylist")) == (b"one", b"keys")
    assert again.receipts_of(CAMERA) == {recording(1)}
    again.forget_receipts({recording(1)})
    assert again.receipt(recording(1)) is None
    again.close()


def test_many_bays_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    state = DockState(tmp_path / "state.json")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: state.remember_receipt(recording(n), CAMERA, str(n).encode()), range(80)))
    assert state.receipts_of(CAMERA) == {recording(number) for number in range(80)}
    state.close()


def test_a_second_process_is_told_to_go_away(tmp_path: Path) -> None:
    state = DockState(tmp_path / "state.json")
    with pytest.raises(InUse):
        DockState(tmp_path / "state.json")
    state.close()


def test_a_damaged_file_is_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"receipts": {"1": {"recor')
    state = DockState(tmp_path / "state.json")
    with pytest.raises(ValueError, match="Unterminated"):
        state.receipt(recording(1))
    state.close()


def test_the_memory_is_bounded_and_the_oldest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_RECEIPTS <= 1000
    monkeypatch.setattr("dock_agent.state.MOST_RECEIPTS", 5)
    state = DockState(tmp_path / "state.json")
    for number in range(8):
        state.remember_receipt(recording(number), CAMERA, b"x")
    assert state.receipts_of(CAMERA) == {recording(number) for number in range(3, 8)}
    state.close()
