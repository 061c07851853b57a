"""The ring: what survives a press, by law and by the two municipalities' own numbers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rules.ring import kept_before_press, still_needed, survivors

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Fragment:
    starts_at: datetime

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + SECOND


def fragments(count: int) -> tuple[Fragment, ...]:
    """A row of seconds that ends at noon."""
    return tuple(Fragment(NOON - (count - number) * SECOND) for number in range(count))


def in_ring(count: int, pre_record: timedelta) -> tuple[Fragment, ...]:
    """What is left of so many seconds when the ring forgets after each of them."""
    ring: tuple[Fragment, ...] = ()
    for fragment in fragments(count):
        ring = still_needed((*ring, fragment), now=fragment.ends_at, pre_record=pre_record)
    return ring


@given(st.integers(0, 400), st.integers(0, 300), st.integers(0, 1_000_000))
def test_never_more_than_the_policy_and_at_most_one_fragment_less(
    seconds: int, pre_record_s: int, late_us: int
) -> None:
    pressed_at, pre_record = NOON + timedelta(microseconds=late_us), timedelta(seconds=pre_record_s)
    kept = survivors(in_ring(seconds, pre_record), pressed_at=pressed_at, pre_record=pre_record)
    reach = kept_before_press(kept, pressed_at=pressed_at)
    assert reach <= pre_record
    buffered = timedelta(seconds=seconds) + timedelta(microseconds=late_us)
    if min(pre_record, buffered) > SECOND:
        assert reach > min(pre_record, buffered) - SECOND - timedelta(microseconds=1)


@given(st.integers(0, 400), st.integers(0, 300), st.integers(0, 1_000_000))
def test_forgetting_early_costs_no_press_anything(seconds: int, pre_record_s: int, late_us: int) -> None:
    pressed_at, pre_record = NOON + timedelta(microseconds=late_us), timedelta(seconds=pre_record_s)
    from_all = survivors(fragments(seconds), pressed_at=pressed_at, pre_record=pre_record)
    assert survivors(in_ring(seconds, pre_record), pressed_at=pressed_at, pre_record=pre_record) == from_all


@given(st.integers(0, 400), st.integers(0, 300))
def test_what_is_kept_is_one_unbroken_row_up_to_the_press(seconds: int, pre_record_s: int) -> None:
    kept = survivors(fragments(seconds), pressed_at=NOON, pre_record=timedelta(seconds=pre_record_s))
    assert all(one.ends_at == next_.starts_at for one, next_ in pairwise(kept))
    assert not kept or kept[-1].ends_at == NOON


@pytest.mark.rule("H-17", "H-18", "H-20")
def test_heusden_keeps_the_thirty_seconds_before_the_press() -> None:
    ring = in_ring(600, timedelta(seconds=30))
    assert len(ring) == 30
    kept = survivors(ring, pressed_at=NOON, pre_record=timedelta(seconds=30))
    assert kept_before_press(kept, pressed_at=NOON) == timedelta(seconds=30)


@pytest.mark.rule("R-14", "R-22")
def test_rotterdam_keeps_the_two_minutes_before_the_press() -> None:
    ring = in_ring(600, timedelta(seconds=120))
    kept = survivors(ring, pressed_at=NOON, pre_record=timedelta(seconds=120))
    assert kept_before_press(kept, pressed_at=NOON) == timedelta(minutes=2)


def test_footage_of_after_the_press_is_not_pre_recorded() -> None:
    for pressed_at in (NOON - 20 * SECOND, NOON - 10 * SECOND):  # the second one just as the first fragment begins
        assert survivors(fragments(10), pressed_at=pressed_at, pre_record=timedelta(seconds=30)) == ()
