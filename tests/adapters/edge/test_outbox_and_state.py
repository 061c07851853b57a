"""What a camera has said and what it remembers: both survive a power cut at any byte."""

import asyncio
import errno
import json
import os
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from broker.atomic_storage import AtomicStorage
from broker.wire.events import EventReceipt
from edge.outbox import Outbox, Waiting
from edge.state import DeviceState
from tests.adapters.edge.town import settings

BOOT, LATER = "0199aaaa", "0199bbbb"


def waiting(sequence: int, boot: str = BOOT) -> Waiting:
    payload = json.dumps({"id": str(UUID(int=sequence)), "boot": boot}).encode()
    return Waiting(boot=boot, sequence=sequence, topic="vo/v1/heusden/cam/cam-07/evt/activation", payload=payload)


def test_after_a_restart_the_same_events_wait_in_the_same_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    said = [waiting(sequence) for sequence in range(1, 6)]
    for each in said:
        outbox.append(each)
    again = Outbox(tmp_path)
    assert again.waiting() == tuple(said)
    assert again.strange == ()
    again.append(waiting(1, LATER))
    assert Outbox(tmp_path).waiting() == (*said, waiting(1, LATER))


def test_a_receipt_forgets_what_it_covers_and_nothing_of_another_boot(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for each in (waiting(1), waiting(2), waiting(3), waiting(1, LATER)):
        outbox.append(each)
    assert outbox.confirm(EventReceipt(boot=BOOT, sequence=2)) == ()
    assert outbox.waiting() == (waiting(3), waiting(1, LATER))


def test_what_the_cloud_misses_is_kept_and_given_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for sequence in range(1, 6):
        outbox.append(waiting(sequence))
    outbox.append(waiting(2, LATER))
    again = outbox.confirm(EventReceipt(boot=BOOT, sequence=5, missing=(2, 4)))
    assert again == (waiting(2), waiting(4))
    assert outbox.waiting() == (*again, waiting(2, LATER))


@settings_of_hypothesis(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(1, 12))), max_size=6))
def test_no_event_is_forgotten_that_no_receipt_covered(receipts: list[tuple[int, set[int]]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        left = {sequence: waiting(sequence) for sequence in range(1, 11)}
        for each in left.values():
            outbox.append(each)
        for sequence, missing in receipts:
            outbox.confirm(EventReceipt(boot=BOOT, sequence=sequence, missing=tuple(missing)))
            left = {number: each for number, each in left.items() if number > sequence or number in missing}
        assert outbox.waiting() == tuple(left.values())
        still = {each.sequence for each in Outbox(Path(folder)).waiting()}
        assert set(left) <= still


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_without_its_end_was_never_sent_and_spoils_nothing(tmp_path: Path, cut: int) -> None:
    outbox = Outbox(tmp_path)
    for sequence in (1, 2, 3):
        outbox.append(waiting(sequence))
    (file,) = tmp_path.glob("*.log")
    file.write_bytes(file.read_bytes()[:-cut])
    again = Outbox(tmp_path)
    assert again.waiting() == (waiting(1), waiting(2))
    assert "never sent" in again.strange[0]


def test_an_event_that_was_never_whole_leaves_nothing(tmp_path: Path) -> None:
    Outbox(tmp_path).append(waiting(1))
    (file,) = tmp_path.glob("*.log")
    file.write_bytes(file.read_bytes()[:-1])
    assert Outbox(tmp_path).waiting() == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_a_damaged_line_is_reported_and_its_file_kept(tmp_path: Path, damaged: int) -> None:
    outbox = Outbox(tmp_path)
    for sequence in (1, 2, 3):
        outbox.append(waiting(sequence))
    (file,) = tmp_path.glob("*.log")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join((*lines[:damaged], b"{spoiled\n", *lines[damaged + 1 :])))
    again = Outbox(tmp_path)
    assert again.waiting() == tuple(waiting(sequence) for sequence in (1, 2, 3) if sequence != damaged + 1)
    (strange,) = again.strange
    assert "a line cannot be read" in strange
    again.confirm(EventReceipt(boot=BOOT, sequence=3))
    assert file.exists()


def test_an_emptied_outbox_leaves_no_files(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for sequence in (1, 2):
        outbox.append(waiting(sequence))
        outbox.confirm(EventReceipt(boot=BOOT, sequence=sequence))
    assert list(tmp_path.iterdir()) == []


def test_the_memory_comes_back_as_it_was(tmp_path: Path) -> None:
    state = DeviceState(tmp_path / "state.json")
    state.change(settings=settings(30), highest_command=4)
    state.change(checkpoint_size=9, checkpoint_root="ab" * 32)
    remembered = state.now
    state.close()
    again = DeviceState(tmp_path / "state.json")
    assert again.now == remembered
    assert again.now.settings == settings(30)
    again.close()


def test_a_power_cut_while_writing_leaves_the_old_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = DeviceState(tmp_path / "state.json")
    state.change(highest_command=1)

    def cut(_descriptor: int) -> None:
        raise OSError(5, "the power went")

    with monkeypatch.context() as patch:
        patch.setattr("broker.atomic_storage.os.fsync", cut)
        with pytest.raises(OSError, match="power"):
            state.change(highest_command=2)
    state.close()
    again = DeviceState(tmp_path / "state.json")
    assert again.now.highest_command == 1
    again.close()


def test_a_damaged_memory_is_an_error_never_a_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"_default": {"1"')
    storage = AtomicStorage(tmp_path / "state.json")
    with pytest.raises(ValueError, match=r"."):
        storage.read()
    storage.close()


def test_one_process_owns_the_memory(tmp_path: Path) -> None:
    state = DeviceState(tmp_path / "state.json")
    with pytest.raises(BlockingIOError):
        DeviceState(tmp_path / "state.json")
    state.close()
    DeviceState(tmp_path / "state.json").close()


async def test_a_camera_that_learns_three_things_at_once_remembers_all_three(tmp_path: Path) -> None:
    state = DeviceState(tmp_path / "state.json")
    for turn in range(20):
        await asyncio.gather(
            asyncio.to_thread(state.change, highest_command=turn),
            asyncio.to_thread(state.change, battery_pct=float(turn)),
            asyncio.to_thread(state.change, keylist=str(turn)),
        )
    state.close()
    again = DeviceState(tmp_path / "state.json")
    assert (again.now.highest_command, again.now.battery_pct, again.now.keylist) == (19, 19.0, "19")
    again.close()


def test_half_a_line_on_a_sick_disk_spoils_no_event_and_the_next_takes_it_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(sequence: int) -> Waiting:
        return Waiting(boot="b", sequence=sequence, topic="t", payload=b'{"n":%d}' % sequence)

    outbox, real = Outbox(tmp_path), os.write
    outbox.append(said(1))
    writes = iter((5, OSError(errno.ENOSPC, "no space left")))

    def fills_up(fd: int, data: bytes) -> int:
        """Take five bytes, and then none."""
        answer = next(writes)
        if isinstance(answer, OSError):
            raise answer
        return real(fd, bytes(data)[:answer])

    with monkeypatch.context() as full:
        full.setattr("edge.outbox.os.write", fills_up)
        with pytest.raises(OSError, match="no space"):
            outbox.append(said(2))
    outbox.hold(said(4))
    outbox.confirm(EventReceipt(boot="b", sequence=4, missing=(1,)))
    outbox.hold(said(2))
    assert outbox.in_memory() == (said(2),)
    outbox.append(said(3))
    assert outbox.in_memory() == ()
    again = Outbox(tmp_path)
    assert [each.sequence for each in again.waiting()] == [1, 2, 3]
    assert [each.payload for each in again.waiting()] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
