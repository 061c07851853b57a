"""What has arrived is known whatever the order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from cloud.rules.sequences import ASKED_AT_ONCE, Arrived, arrived

NUMBERS = st.lists(st.integers(1, 300), max_size=60)


@given(numbers=NUMBERS, shuffled=st.randoms())
def test_order_and_repetition_do_not_matter(numbers: list[int], shuffled: random.Random) -> None:
    again = [*numbers, *numbers]
    shuffled.shuffle(again)
    assert arrived(again) == arrived(numbers)
    assert arrived(again[: len(numbers)]).plus(*again[len(numbers) :]) == arrived(numbers)


@given(numbers=NUMBERS)
def test_what_arrived_and_what_is_missing_are_everything(numbers: list[int]) -> None:
    """The law: up to the highest, each number has arrived or is missing."""
    got = arrived(numbers)
    expected = set(range(1, max(numbers, default=0) + 1)) - set(numbers)
    assert got.missing_count == len(expected)
    assert got.missing == tuple(sorted(expected))[:ASKED_AT_ONCE]
    assert got.upto == min(expected, default=max(numbers, default=0) + 1) - 1
    assert not got.has(0)
    assert all(got.has(number) for number in numbers)
    assert not any(got.has(number) for number in expected)


def test_a_leap_to_a_huge_number_costs_nothing() -> None:
    got = Arrived().plus(2**53)
    assert got.missing == tuple(range(1, ASKED_AT_ONCE + 1))
    assert got.missing_count == 2**53 - 1
