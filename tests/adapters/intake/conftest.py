import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.intake.town import Town

MEMORY = Path("/dev/shm")


@pytest.fixture(params=["fast", pytest.param("ordinary", marks=pytest.mark.slow)])
async def town(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    """A town in memory where there is such a place: what survives a power cut is tested in tests/adapters/crash.

    Every test runs with the fast lane and, in the long run, without it: both must say the same.
    """
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        town = Town(Path(folder))
        town.fast = request.param == "fast"
        await town.open()
        yield town
        await town.close()
