import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.wire.policy import Via
from tests.adapters.axis.world import AxisTown, prepare, serving
from tests.adapters.intake.conftest import MEMORY
from tests.adapters.intake.town import Town


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    """A town whose policy takes footage of Axis docks too."""
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        town = prepare(Town(Path(folder)), Via.AXIS)
        await town.open()
        yield town
        await town.close()


@pytest.fixture
async def axis_town(town: Town) -> AsyncIterator[AxisTown]:
    async with serving(town) as served:
        yield served
