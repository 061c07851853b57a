from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.intake.town import Town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    town = Town(tmp_path)
    await town.open()
    yield town
    await town.close()
