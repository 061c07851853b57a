"""The memory card: it opens nothing, survives a power cut, and is wiped on one kind of paper only."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker import durable
from broker.wire.ids import RecordingId, uuid7
from broker.wire.recording import (
    ChainState,
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    StopReason,
    check_chain,
    open_segment,
    salvage_segment,
)
from broker.wire.refusals import Refused
from edge import durable as durable_of_the_camera
from edge.card import RESERVE_BYTES, CardBroken, CardFull, MemoryCard, Plain, Writing
from tests.adapters.edge.town import NOON, Town

BOOT = bytes(range(16))
NOTHING_SEEN = Checkpoint(size=0, root=bytes(32))


def plain(second: int, size: int = 2_000) -> Plain:
    at = NOON + timedelta(seconds=second)
    return Plain(
        plaintext=f"second {second} of what was filmed ".encode().ljust(size, b"*"),
        kind=Kind.VIDEO,
        flags=Flag.NONE,
        starts_at=at,
        ends_at=at + timedelta(seconds=1),
        monotonic_us=second * 1_000_000,
    )


def begin(town: Town, card: MemoryCard, at: datetime = NOON) -> tuple[RecordingId, Writing]:
    recording = RecordingId(uuid7(at, os.urandom(10)))
    to = Recipient(key_id=town.intake.key_id, public_key=town.intake.public_key)
    return recording, card.begin(recording, boot=BOOT, recipients=(to,), checkpoint=NOTHING_SEEN)


def record(town: Town, card: MemoryCard, seconds: int = 5) -> RecordingId:
    recording, writing = begin(town, card)
    writing.append([plain(second) for second in range(seconds)])
    writing.finish(reason=StopReason.OFFICER, ended_at=NOON + timedelta(seconds=seconds))
    return recording


@pytest.fixture
def card(town: Town) -> MemoryCard:
    town.enrol("cam-07")
    return town.card("cam-07")


def files(card: MemoryCard) -> dict[str, bytes]:
    found = (path for path in card.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(card.folder)): path.read_bytes() for path in found}


def test_what_was_recorded_can_be_read_back_whole(town: Town, card: MemoryCard) -> None:
    recorded = town.read("cam-07", record(town, card))
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT
    assert town.play(recorded) == b"".join(plain(second).plaintext for second in range(5))


# --- encrypted from the first byte ------------------------------------------------------------------------


@pytest.mark.rule("R-05")
def test_every_byte_the_camera_ever_wrote_opens_nothing(
    town: Town, card: MemoryCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []

    def remembered(count: int) -> bytes:
        given.append(os.urandom(count))
        return given[-1]

    monkeypatch.setattr("edge.card.secrets.token_bytes", remembered)
    recorded = town.read("cam-07", record(town, card))
    (data_key,) = given
    written = b"".join(
        path.read_bytes() for path in (town.root / "cameras").rglob("*") if path.is_file()
    )  # its own folder too
    assert data_key not in written
    assert b"second 3 of what was filmed" not in written
    for offset in range(len(written) - 32):
        candidate = written[offset : offset + 32]
        assert candidate != data_key
    for start in range(0, min(len(written), 4_096) - 32, 7):
        with pytest.raises(Refused):
            open_segment(recorded.raw[1], written[start : start + 32])


@pytest.mark.rule("R-05", "H-37")
def test_a_camera_taken_while_recording_holds_no_key_of_what_it_sealed(town: Town, card: MemoryCard) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(second) for second in range(3)])
    sealed = (card.folder_of(recording) / "00000001.vos").read_bytes()
    memory = [value for value in _bytes_in(writing, depth=6) if len(value) == 32]
    assert memory
    for secret in memory:
        with pytest.raises(Refused):
            open_segment(sealed, secret)


def _bytes_in(thing: object, *, depth: int) -> list[bytes]:
    """Everything of type bytes that can be reached from an object."""
    if isinstance(thing, bytes):
        return [thing]
    if depth == 0:
        return []
    inside: list[object] = []
    if isinstance(thing, (list, tuple, set)):
        inside = list(thing)
    elif isinstance(thing, dict):
        inside = [*thing.values()]
    else:
        names = [*getattr(thing, "__dict__", {}), *getattr(type(thing), "__slots__", ())]
        inside = [getattr(thing, name, None) for name in names]
    return [found for value in inside for found in _bytes_in(value, depth=depth - 1)]


# --- nothing but a receipt wipes --------------------------------------------------------------------------


@pytest.mark.rule("R-06")
def test_a_camera_without_a_receipt_wipes_nothing(town: Town, card: MemoryCard) -> None:
    record(town, card)
    before = files(card)
    assert card.wipe_receipted().receipts == ()
    card.recover(now=NOON + timedelta(days=400))
    assert files(card) == before


@pytest.mark.rule("R-06")
def test_the_receivers_receipt_for_these_bytes_wipes_exactly_them(town: Town, card: MemoryCard) -> None:
    gone, stays = record(town, card), record(town, card)
    town.put_receipt("cam-07", gone, town.receipt("cam-07", town.read("cam-07", gone)))
    wiped = card.wipe_receipted()
    assert [receipt.recording for receipt in wiped.receipts] == [gone]
    assert wiped.refused == ()
    assert card.recordings() == (stays,)
    assert not any(str(gone) in name for name in files(card))
    assert town.read("cam-07", stays).end is not None


@pytest.mark.rule("R-06")
@pytest.mark.parametrize(
    "forgery",
    ["by another key", "other camera", "other town", "other head", "fewer segments", "other last hash", "other size"],
)
def test_a_receipt_that_does_not_fit_wipes_nothing(town: Town, card: MemoryCard, forgery: str) -> None:
    recording = record(town, card)
    recorded = town.read("cam-07", recording)
    changes: dict[str, dict[str, object]] = {
        "by another key": {},
        "other camera": {"camera_key": "00" * 16},
        "other town": {"org": "rotterdam"},
        "other head": {"head_sha256": "00" * 32},
        "fewer segments": {"segments": 4},
        "other last hash": {"last_hash": "00" * 32},
        "other size": {"total_bytes": 1},
    }
    key = Ed25519PrivateKey.generate() if forgery == "by another key" else None
    town.put_receipt("cam-07", recording, town.receipt("cam-07", recorded, key=key, **changes[forgery]))
    before = files(card)
    (refused,) = card.wipe_receipted().refused
    assert refused[0] == f"{recording}.receipt"
    assert files(card) == before
    assert card.wipe_receipted().refused == ()  # said once, not twice a second


@pytest.mark.rule("R-06")
def test_another_recordings_receipt_wipes_nothing_and_a_replayed_one_neither(town: Town, card: MemoryCard) -> None:
    first, second = record(town, card), record(town, card)
    receipt = town.receipt("cam-07", town.read("cam-07", first))
    town.put_receipt("cam-07", second, receipt)
    assert len(card.wipe_receipted().refused) == 1
    assert card.recordings() == tuple(sorted((first, second)))
    town.put_receipt("cam-07", first, receipt)
    assert len(card.wipe_receipted().receipts) == 1
    third = record(town, card)
    town.put_receipt("cam-07", third, receipt)
    assert card.wipe_receipted().receipts == ()
    assert card.recordings() == tuple(sorted((second, third)))


@pytest.mark.rule("R-06")
def test_an_open_recording_is_not_wiped_whatever_is_signed(town: Town, card: MemoryCard) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0)])
    other = town.read("cam-07", record(town, card))
    here = town.read("cam-07", recording)
    receipt = town.receipt(
        "cam-07",
        other,
        recording=recording,
        head_sha256=here.head.sha256.hex(),
        segments=1,
        last_hash=here.facts[0].digest.hex(),
        total_bytes=here.facts[0].ciphertext_bytes,
    )
    town.put_receipt("cam-07", recording, receipt)
    assert len(card.wipe_receipted().refused) == 1
    assert recording in card.recordings()


@pytest.mark.parametrize("left", ["everything", "no end", "no head", "half of the segments", "empty"])
def test_a_wipe_that_a_power_cut_interrupted_is_finished_at_boot(town: Town, card: MemoryCard, left: str) -> None:
    recording = record(town, card)
    leaving = card.folder / "wiping" / str(recording)
    card.folder_of(recording).rename(leaving)
    remove = {"everything": 0, "no end": 1, "no head": 2, "half of the segments": 4, "empty": 7}[left]
    for name in ["end.voe", "head.voh", *(f"{number:08}.vos" for number in range(5))][:remove]:
        (leaving / name).unlink()
    again = town.card("cam-07")
    assert again.recover(now=NOON).closed == ()
    assert not leaving.exists()
    assert again.recordings() == ()


# --- a power cut ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments", [0, 1, 4])
def test_boot_closes_what_a_power_cut_interrupted(town: Town, card: MemoryCard, segments: int) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(second) for second in range(segments)])
    (closed,) = town.card("cam-07").recover(now=NOON + timedelta(hours=1)).closed
    recorded = town.read("cam-07", recording)
    assert (closed.recording, closed.segments, closed.reason) == (recording, segments, StopReason.INTERRUPTED)
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT
    if segments:
        assert closed.ended_at == NOON + timedelta(seconds=segments)


def test_a_recording_is_never_continued_in_another_boot(town: Town, card: MemoryCard) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0)])
    again = town.card("cam-07")
    again.recover(now=NOON)
    before = files(card)
    assert again.recover(now=NOON + timedelta(days=1)).closed == ()
    assert files(card) == before
    assert recording in again.recordings()


@pytest.mark.parametrize("cut_at", [0, 100, 160, 400, 1_500, 2_060, -100, -1])
def test_a_segment_that_was_cut_off_gives_what_reached_the_card(town: Town, card: MemoryCard, cut_at: int) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0), plain(1)])
    folder = card.folder_of(recording)
    last = folder / "00000001.vos"
    part = last.read_bytes()[:cut_at]
    last.unlink()
    (folder / "00000001.vos.part").write_bytes(part)
    can_be_saved = salvage_segment(part, signing_key=town.keys["cam-07"], ended_at=NOON) is not None
    (closed,) = town.card("cam-07").recover(now=NOON).closed
    recorded = town.read("cam-07", recording)
    assert closed.segments == 1 + can_be_saved
    expected = ChainState.SALVAGED if can_be_saved else ChainState.INTACT
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is expected


def test_a_segment_that_only_missed_its_name_is_whole(town: Town, card: MemoryCard) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0), plain(1)])
    last = card.folder_of(recording) / "00000001.vos"
    last.rename(last.with_name(last.name + ".part"))
    town.card("cam-07").recover(now=NOON)
    recorded = town.read("cam-07", recording)
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT
    assert len(recorded.facts) == 2


@pytest.mark.parametrize("named", [{1}, {1, 3}, set()])
def test_a_batch_of_which_names_are_missing_is_whole(town: Town, card: MemoryCard, named: set[int]) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0)])
    writing.append([plain(second) for second in range(1, 5)])
    for number in {1, 2, 3, 4} - named:
        segment = card.folder_of(recording) / f"{number:08}.vos"
        segment.rename(segment.with_name(segment.name + ".part"))
    found = town.card("cam-07").recover(now=NOON)
    recorded = town.read("cam-07", recording)
    assert (found.closed[0].segments, found.strange) == (5, ())
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT
    assert len(recorded.facts) == 5
    assert not list(card.folder_of(recording).glob("*.part"))


def test_what_lies_behind_a_hole_is_kept_apart_and_reported(town: Town, card: MemoryCard) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(second) for second in range(5)])
    (card.folder_of(recording) / "00000002.vos").unlink()
    found = town.card("cam-07").recover(now=NOON)
    assert found.closed[0].segments == 2
    assert "2 set apart" in found.strange[0]
    assert len(list(card.folder_of(recording).glob("*.orphan"))) == 2


def test_a_damaged_recording_is_kept_and_reported_never_repaired_away(town: Town, card: MemoryCard) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0), plain(1)])
    spoiled = card.folder_of(recording) / "00000000.vos"
    raw = bytearray(spoiled.read_bytes())
    raw[20] ^= 1
    spoiled.write_bytes(raw)
    found = town.card("cam-07").recover(now=NOON)
    assert found.closed == ()
    assert str(recording) in found.strange[0]
    assert recording in card.recordings()


def test_a_head_that_never_got_its_name_leaves_nothing(town: Town, card: MemoryCard) -> None:
    half = card.folder / "recordings" / ".0193"
    half.mkdir()
    (half / "head.voh.part").write_bytes(b"half a head")
    assert town.card("cam-07").recover(now=NOON).strange == ()
    assert not half.exists()


# --- a full card ------------------------------------------------------------------------------------------------


def test_a_full_card_keeps_what_it_has_and_can_still_close_it(town: Town) -> None:
    town.enrol("cam-07")
    card = town.card("cam-07", limit_bytes=RESERVE_BYTES + 20_000)
    recording, writing = begin(town, card)
    with pytest.raises(CardFull):
        writing.append([plain(second, 4_000) for second in range(10)])
    closed = writing.finish(reason=StopReason.CARD_FULL, ended_at=NOON + timedelta(seconds=4))
    recorded = town.read("cam-07", recording)
    assert 0 < closed.segments == len(recorded.facts) < 10
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT
    assert recorded.end is not None
    assert recorded.end.stop_reason is StopReason.CARD_FULL


def test_wiping_gives_the_room_back(town: Town, card: MemoryCard) -> None:
    full = card.free_pct
    small = town.card("cam-07", limit_bytes=200_000)
    recording = record(town, small, seconds=40)
    assert small.free_pct < full
    town.put_receipt("cam-07", recording, town.receipt("cam-07", town.read("cam-07", recording)))
    small.wipe_receipted()
    assert small.free_pct >= full - 2


def test_a_disk_that_fails_once_is_written_anew(town: Town, card: MemoryCard, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, writing = begin(town, card)
    fails = iter([OSError(5, "Input/output error")])
    real = os.fsync

    def sometimes(descriptor: int) -> None:
        for problem in fails:
            raise problem
        real(descriptor)

    monkeypatch.setattr("edge.durable.os.fsync", sometimes)
    writing.append([plain(0)])
    writing.finish(reason=StopReason.OFFICER, ended_at=NOON)
    recorded = town.read("cam-07", recording)
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT


def test_a_disk_without_room_ends_the_recording_with_what_is_there(
    town: Town, card: MemoryCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, writing = begin(town, card)
    writing.append([plain(0)])

    def full(folder: Path, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge.card.durable.write_part", full)
        with pytest.raises(CardFull):
            writing.append([plain(1)])
    closed = writing.finish(reason=StopReason.CARD_FULL, ended_at=NOON + timedelta(seconds=2))
    recorded = town.read("cam-07", recording)
    assert closed.segments == 1
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT


@pytest.mark.rule("R-06")
def test_footage_whose_name_failed_is_in_the_closed_recording_all_the_same(
    town: Town, card: MemoryCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is there and its sync failed: an end record without it would leave footage on the card for ever."""
    recording, writing = begin(town, card)
    writing.append([plain(0)])

    def fails(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as sick:
        sick.setattr("edge.durable.sync_folder", fails)
        with pytest.raises(CardBroken):
            writing.append([plain(1)])
    closed = writing.finish(reason=StopReason.INTERRUPTED, ended_at=NOON + timedelta(seconds=2))
    recorded = town.read("cam-07", recording)
    assert (closed.segments, len(recorded.facts)) == (2, 2)
    town.put_receipt("cam-07", recording, town.receipt("cam-07", recorded))
    card.wipe_receipted()
    assert card.recordings() == ()


def test_a_camera_switched_on_in_a_bay_reads_its_card_while_the_dock_writes_to_it(town: Town, card: MemoryCard) -> None:
    record(town, card)
    switched_on = threading.Event()

    def dock() -> None:
        while not switched_on.is_set():
            durable.replace(card.folder / "from-dock" / "keylist.json", b"keys")

    with ThreadPoolExecutor() as pool:
        docking = pool.submit(dock)
        try:
            free = {town.card("cam-07").free_pct for _ in range(2_000)}
        finally:
            switched_on.set()
        docking.result()
    assert free == {card.free_pct}


def test_what_is_closed_in_a_bay_is_never_what_is_being_recorded(town: Town, card: MemoryCard) -> None:
    """Taken out and pressed while the card is gone through: two threads, one card."""
    left, _ = begin(town, card)
    again = town.card("cam-07")
    recording, writing = begin(town, again, NOON + timedelta(minutes=1))
    writing.append([plain(0)])
    assert [each.recording for each in again.recover(now=NOON).closed] == [left]
    writing.append([plain(1)])
    closed = writing.finish(reason=StopReason.OFFICER, ended_at=NOON + timedelta(seconds=2))
    recorded = town.read("cam-07", recording)
    assert (closed.segments, closed.reason) == (2, StopReason.OFFICER)
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT
    assert again.recover(now=NOON).closed == ()


def test_a_recording_that_is_just_beginning_is_not_swept_away(
    town: Town, card: MemoryCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = durable_of_the_camera.put

    def go_through_it(folder: Path, name: str, data: bytes) -> None:
        put(folder, name, data)
        card.recover(now=NOON)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("edge.card.durable.put", go_through_it)
        recording, writing = begin(town, card)
    writing.append([plain(0)])
    assert card.recordings() == (recording,)
