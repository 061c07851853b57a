"""Work for everybody who waits: nobody gets another's result, one that fails fails alone, a cancelled one is let go."""

import asyncio
from collections.abc import Sequence

import pytest

from cloud.fleet.together import Together


class Counter:
    """Doubles numbers; remembers what came together; cannot do 13."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def work(self, items: Sequence[int]) -> list[int]:
        self.batches.append(tuple(items))
        await asyncio.sleep(0)
        await self.go.wait()
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


async def test_a_burst_is_one_piece_of_work_and_each_gets_his_own_result() -> None:
    counter = Counter()
    double = Together(counter.work, most=4)
    assert await asyncio.gather(*(double(number) for number in range(7))) == [2 * number for number in range(7)]
    assert counter.batches == [(0,), (1, 2, 3, 4), (5, 6)]  # the first waits for nobody


async def test_one_that_cannot_be_done_fails_alone() -> None:
    double = Together(Counter().work, most=9)
    results = await asyncio.gather(*(double(number) for number in (12, 13, 14)), return_exceptions=True)
    assert results[0] == 24
    assert isinstance(results[1], ValueError)
    assert results[2] == 28
    with pytest.raises(ValueError, match="13"):
        await double(13)


async def test_whoever_is_cancelled_takes_nobody_along() -> None:
    counter = Counter()
    double = Together(counter.work, most=9)
    counter.go.clear()
    first, second, third = (asyncio.create_task(double(number)) for number in (1, 2, 3))
    while not counter.batches:
        await asyncio.sleep(0)
    first.cancel()  # it was working for all three
    third.cancel()
    counter.go.set()
    assert await second == 4
    for gone in (first, third):
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert 3 not in counter.batches[-1]
    assert await double(5) == 10
