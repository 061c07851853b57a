import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.intake.town import Town

MEMORY = Path("/dev/shm")


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    """A town in memory where there is such a place: what survives a power cut is tested in tests/adapters/crash."""
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        town = Town(Path(folder))
        await town.open()
        yield town
        await town.close()
