"""A town hall whose desk answers programs: one for all tests of a module, which therefore share what happened."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.adapters.api.people import Caller, calling
from tests.browser.town import TownHall, fill_the_streets, open_town


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TownHall]:
    """A municipality on an ordinary afternoon."""
    async with open_town(tmp_path_factory.mktemp("town")) as hall:
        await fill_the_streets(hall)
        yield hall


@pytest_asyncio.fixture(loop_scope="module")
async def privacy_officer(town: TownHall) -> AsyncIterator[Caller]:
    """The privacy officer's program."""
    async with calling(town, "o-103") as caller:
        yield caller


@pytest_asyncio.fixture(loop_scope="module")
async def coordinator(town: TownHall) -> AsyncIterator[Caller]:
    """The coordinator's program."""
    async with calling(town, "o-101") as caller:
        yield caller
