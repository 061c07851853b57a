"""The hub: nobody waits for a slow reader, nobody misses anything without being told."""

import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.fleet.live import LiveEvent, LiveHub, Subscription


async def take(subscription: Subscription, count: int) -> list[LiveEvent]:
    async with asyncio.timeout(60):
        return [await anext(subscription) for _ in range(count)]


async def test_a_reader_gets_what_happens_in_its_own_town_in_order() -> None:
    hub = LiveHub()
    with hub.subscribe("heusden") as reader:
        hub.publish("rotterdam", "camera", {"n": 0})
        for number in range(3):
            hub.publish("heusden", "camera", {"n": number})
        assert [event.data["n"] for event in await take(reader, 3)] == [0, 1, 2]


async def test_who_comes_back_within_the_window_misses_nothing() -> None:
    hub = LiveHub(window=10)
    seen = hub.publish("heusden", "camera", {"n": 0})
    for number in range(1, 6):
        hub.publish("heusden", "camera", {"n": number})
    reader = hub.subscribe("heusden", after=seen)
    hub.publish("heusden", "camera", {"n": 6})
    assert [event.data["n"] for event in await take(reader, 6)] == [1, 2, 3, 4, 5, 6]


async def test_who_was_away_for_too_long_is_told_to_reset_and_goes_on() -> None:
    hub = LiveHub(first=1, window=2)
    for number in range(5):
        hub.publish("heusden", "camera", {"n": number})
    reader = hub.subscribe("heusden", after=1)
    hub.publish("heusden", "camera", {"n": 5})
    reset, following = await take(reader, 2)
    assert (reset.kind, reset.id) == ("reset", 5)
    assert following.data["n"] == 5


async def test_two_lives_of_a_hub_do_not_share_ids() -> None:
    ids = {LiveHub().publish("o", "camera", {}) for _ in range(100)}
    assert len(ids) == 100
    assert max(ids) < 2**53  # a browser's numbers


@pytest.mark.parametrize("after", [0, 99, 5000])
async def test_an_id_of_an_earlier_life_of_the_hub_resets(after: int) -> None:
    hub = LiveHub(first=1000)
    hub.publish("heusden", "camera", {})
    [event] = await take(hub.subscribe("heusden", after=after), 1)
    assert event.kind == "reset"


async def test_a_page_drawn_before_anything_happened_misses_nothing() -> None:
    hub = LiveHub(first=1000)
    drawn = hub.newest
    hub.publish("heusden", "camera", {"n": 1})
    [event] = await take(hub.subscribe("heusden", after=drawn), 1)
    assert event.data["n"] == 1


async def test_a_slow_reader_is_reset_and_blocks_nobody() -> None:
    hub = LiveHub(window=100, queue=3)
    slow, quick = hub.subscribe("heusden"), hub.subscribe("heusden")
    got = []
    for number in range(10):
        hub.publish("heusden", "camera", {"n": number})
        got += await take(quick, 1)
    assert [event.data["n"] for event in got] == list(range(10))
    first, *rest = await take(slow, 1)
    assert first.kind == "reset"
    assert rest == []
    assert len(slow._waiting) < 3


async def test_cancelling_one_wait_loses_no_event() -> None:
    hub = LiveHub()
    reader = hub.subscribe("heusden")
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    hub.publish("heusden", "camera", {"n": 1})
    [event] = await take(reader, 1)
    assert event.data["n"] == 1


async def test_closing_ends_the_iteration_and_a_forgotten_reader_goes_away() -> None:
    hub = LiveHub()
    reader = hub.subscribe("heusden")
    assert hub.readers("heusden") == 1
    ends = asyncio.create_task(_drain(reader))
    await asyncio.sleep(0)
    reader.close()
    assert await ends == 0
    assert hub.readers("heusden") == 0
    del reader, ends
    forgotten = hub.subscribe("heusden")
    del forgotten
    gc.collect()
    assert hub.readers("heusden") == 0


async def _drain(reader: Subscription) -> int:
    return len([event async for event in reader])


@given(published=st.integers(0, 30), after=st.integers(0, 40), window=st.integers(1, 10))
def test_a_replay_is_complete_or_says_that_it_is_not(published: int, after: int, window: int) -> None:
    """The law: what comes after `after` is delivered whole, or a reset is."""

    async def check() -> None:
        hub = LiveHub(first=1, window=window, queue=100)
        for number in range(published):
            hub.publish("o", "camera", {"n": number})
        got = list(hub.subscribe("o", after=after)._waiting)
        whole = list(range(after + 1, published + 1))
        assert [event.id for event in got] == whole or [event.kind for event in got] == ["reset"]
        if after <= published and published - after <= window:
            assert [event.id for event in got] == whole

    asyncio.run(check())
