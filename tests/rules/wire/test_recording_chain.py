"""Whether a recording is whole, said in words; and what a power cut leaves of one."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.recording import (
    ChainState,
    ChainVerdict,
    Flag,
    StopReason,
    check_chain,
    close_interrupted,
    open_segment,
    read_end,
    read_head,
    read_segment,
    salvage_segment,
)
from broker.wire.refusals import Code, Refused
from tests.rules.wire.recordings import NOON, Made, camera_key, record, seal, seeded, start


def _judged(made: Made, segments: tuple[bytes, ...] | None = None, *, end: bytes | None = None) -> ChainVerdict:
    facts = tuple(read_segment(raw, made.public) for raw in (made.segments if segments is None else segments))
    return check_chain(
        read_head(made.head, made.public), facts, read_end(made.end if end is None else end, made.public)
    )


def test_a_whole_recording_is_intact() -> None:
    assert _judged(record()).state is ChainState.INTACT


def test_a_recording_of_nothing_is_intact_too() -> None:
    assert _judged(record(())).state is ChainState.INTACT


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_missing_segment_is_found_wherever_it_was(missing: int) -> None:
    made = record()
    verdict = _judged(made, made.segments[:missing] + made.segments[missing + 1 :])
    assert verdict.state is ChainState.TAMPERED
    assert str(missing) in verdict.because


@pytest.mark.parametrize("order", [each for each in permutations(range(4)) if each != (0, 1, 2, 3)])
def test_segments_in_another_order_are_not_the_recording(order: tuple[int, ...]) -> None:
    made = record()
    assert _judged(made, tuple(made.segments[i] for i in order)).state is ChainState.TAMPERED


@pytest.mark.parametrize("doubled", [0, 1, 2, 3])
def test_a_segment_that_is_there_twice_is_found(doubled: int) -> None:
    made = record()
    verdict = _judged(made, (*made.segments[: doubled + 1], *made.segments[doubled:]))
    assert verdict.state is ChainState.TAMPERED
    assert "twice" in verdict.because


@given(keep=st.sets(st.integers(0, 5)))
@settings(max_examples=40, deadline=None)
def test_only_all_segments_together_are_intact(keep: set[int]) -> None:
    made = record(tuple(bytes([n]) for n in range(6)))
    verdict = _judged(made, tuple(made.segments[n] for n in sorted(keep)))
    assert (verdict.state is ChainState.INTACT) == (keep == set(range(6)))


def test_without_its_end_record_a_recording_is_open_and_never_complete() -> None:
    made = record()
    facts = tuple(read_segment(raw, made.public) for raw in made.segments)
    head = read_head(made.head, made.public)
    for count in range(len(facts) + 1):
        assert check_chain(head, facts[:count], None).state is ChainState.OPEN


def test_a_gap_that_the_camera_reports_is_said() -> None:
    made = record((b"a", b"b", b"c"), flags=(Flag.NONE, Flag.GAP_BEFORE, Flag.NONE))
    verdict = _judged(made)
    assert verdict.state is ChainState.INTACT_WITH_GAPS
    assert "segment 1" in verdict.because


def test_a_last_segment_that_is_followed_is_found() -> None:
    assert _judged(record((b"a", b"b"), flags=(Flag.LAST, Flag.NONE))).state is ChainState.TAMPERED
    assert _judged(record((b"a", b"b"), flags=(Flag.NONE, Flag.LAST))).state is ChainState.INTACT


def test_a_second_boot_never_continues_a_recording() -> None:
    made = record((b"a", b"b"))
    again = record((b"a", b"b"), boot=b"second boot.....")
    verdict = _judged(made, (made.segments[0], again.segments[1]))
    assert verdict.state is ChainState.TAMPERED
    assert "another boot" in verdict.because


def test_segments_of_another_recording_or_camera_do_not_fit() -> None:
    made, other = record(), record(name="another")
    assert _judged(made, other.segments).state is ChainState.TAMPERED
    assert _judged(made, end=other.end).state is ChainState.TAMPERED
    theirs = record(camera=camera_key("other camera"))
    facts = tuple(read_segment(raw, theirs.public) for raw in theirs.segments)
    assert check_chain(read_head(made.head, made.public), facts, None).state is ChainState.TAMPERED


def test_the_same_place_filled_twice_by_the_camera_does_not_fit() -> None:
    made = record((b"a", b"b"))
    _, again = start()
    other_first = seal(again, b"another first segment")
    assert _judged(made, (other_first, made.segments[1])).state is ChainState.TAMPERED


@pytest.mark.parametrize(
    "change", [{"segments": 3}, {"segments": 5}, {"last_hash": bytes(32)}, {"total_bytes": 1}, {"recording": None}]
)
def test_an_end_record_that_counts_otherwise_does_not_fit(change: dict[str, object]) -> None:
    made, other = record(), record(name="another")
    facts = tuple(read_segment(raw, made.public) for raw in made.segments)
    end = read_end(made.end, made.public)
    changed = {name: other.recording if value is None else value for name, value in change.items()}
    verdict = check_chain(read_head(made.head, made.public), facts, replace(end, **changed))  # type: ignore[arg-type]
    assert verdict.state is ChainState.TAMPERED


# --- power cuts ---------------------------------------------------------------------------------------------------


@given(size=st.integers(0, 70_000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_segment_yields_its_authenticated_prefix_as_salvaged(size: int, data: st.DataObject) -> None:
    footage = seeded("footage", size)
    made = record((footage,))
    whole = made.segments[0]
    cut = data.draw(st.integers(0, len(whole) - 1))
    salvaged = salvage_segment(whole[:cut], signing_key=made.camera, ended_at=NOON)
    if salvaged is None:
        assert cut < 160 + 72
        return
    facts = read_segment(salvaged, made.public)
    opened = open_segment(salvaged, made.key(0))
    assert facts.salvaged
    assert footage.startswith(opened)
    assert len(opened) >= (min(cut, len(whole) - 128) - 160 - 56) // 16_400 * 16_384
    if cut >= len(whole) - 128 + 8:
        assert opened == footage, "only the trailer was cut"


@pytest.mark.rule("H-37")
def test_a_salvaged_segment_opens_with_no_other_key() -> None:
    made = record((seeded("footage", 50_000), b"x"))
    salvaged = salvage_segment(made.segments[0][:40_000], signing_key=made.camera, ended_at=NOON)
    assert salvaged is not None
    with pytest.raises(Refused):
        open_segment(salvaged, made.key(1))


def test_what_a_cut_filled_with_zeros_is_left_out() -> None:
    footage = seeded("footage", 50_000)
    made = record((footage,))
    torn = made.segments[0][:30_000] + bytes(30_000)
    salvaged = salvage_segment(torn, signing_key=made.camera, ended_at=NOON)
    assert salvaged is not None
    assert open_segment(salvaged, made.key(0)) == footage[:16_384]


def test_a_whole_segment_that_only_missed_its_name_stays_as_it_is() -> None:
    made = record()
    assert salvage_segment(made.segments[1], signing_key=made.camera, ended_at=NOON) == made.segments[1]


@pytest.mark.parametrize("part", [b"", bytes(159), bytes(300), b"VOSEG1\r\n" + bytes(300)])
def test_a_leftover_that_never_was_a_segment_is_nothing(part: bytes) -> None:
    assert salvage_segment(part, signing_key=camera_key(), ended_at=NOON) is None


def test_another_cameras_leftover_is_nothing() -> None:
    theirs = record((bytes(40_000),), camera=camera_key("other"))
    assert salvage_segment(theirs.segments[0][:30_000], signing_key=camera_key(), ended_at=NOON) is None


def test_a_changed_byte_in_a_salvaged_segment_is_refused_and_not_called_a_cut() -> None:
    made = record((seeded("footage", 50_000),))
    salvaged = salvage_segment(made.segments[0][:40_000], signing_key=made.camera, ended_at=NOON)
    assert salvaged is not None
    changed = salvaged[:30_000] + bytes([salvaged[30_000] ^ 1]) + salvaged[30_001:]
    for refusal in (lambda: read_segment(changed, made.public), lambda: open_segment(changed, made.key(0))):
        with pytest.raises(Refused) as caught:
            refusal()
        assert caught.value.refusal.code is Code.DIGEST_DIFFERS


@pytest.mark.parametrize("count", [0, 1, 4])
def test_what_a_power_cut_left_is_closed_as_interrupted(count: int) -> None:
    made = record()
    raw = close_interrupted(head=made.head, tails=made.tails[:count], signing_key=made.camera, ended_at=NOON)
    end = read_end(raw, made.public)
    assert (end.segments, end.stop_reason, end.ended_at) == (count, StopReason.INTERRUPTED, NOON)
    verdict = _judged(made, made.segments[:count], end=raw)
    assert verdict.state is ChainState.INTACT
    assert "power cut" in verdict.because


def test_a_recording_whose_last_segment_was_cut_is_salvaged() -> None:
    made = record((seeded("a", 30_000), seeded("b", 30_000)))
    cut = salvage_segment(made.segments[1][:20_000], signing_key=made.camera, ended_at=NOON)
    assert cut is not None
    tails = (made.tails[0], cut[:160] + cut[-128:])
    raw = close_interrupted(head=made.head, tails=tails, signing_key=made.camera, ended_at=NOON)
    verdict = _judged(made, (made.segments[0], cut), end=raw)
    assert verdict.state is ChainState.SALVAGED
    assert "segment 1" in verdict.because


@pytest.mark.parametrize("order", [(1,), (0, 2), (1, 0), (0, 0)])
def test_a_hole_is_never_closed_over(order: tuple[int, ...]) -> None:
    made = record()
    with pytest.raises(Refused) as caught:
        close_interrupted(
            head=made.head, tails=tuple(made.tails[i] for i in order), signing_key=made.camera, ended_at=NOON
        )
    assert caught.value.refusal.code is Code.BROKEN_CHAIN
