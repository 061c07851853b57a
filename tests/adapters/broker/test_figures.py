from pathlib import Path

import pytest

from tests.benchmarks.broker import measure
from tests.promptness import HOPS, lateness


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
async def test_fifty_cameras_at_one_event_a_second_lose_none_and_are_heard_within_a_quarter_of_a_second(
    kind: str, folder: Path
) -> None:
    with lateness() as late:
        figures = await measure(kind, cameras=50, rate=1, seconds=10, folder=folder / kind)
    assert figures.sent == 500
    assert figures.lost == figures.twice == 0
    assert figures.p99_ms < 250 + HOPS * 1000 * late.worst_s
