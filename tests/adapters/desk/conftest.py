"""A town hall with its desk open, and somebody who visits it without a browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cloud.alerting.routes import Routes
from tests.browser.town import TownHall, fill_the_streets, open_town

ROUTES = Routes({"telefoon": "json://127.0.0.1:9/{address}"})


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    async with open_town(tmp_path, routes=ROUTES) as hall:
        await fill_the_streets(hall)
        yield hall


@pytest.fixture
async def client(town: TownHall) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[town.address])
    async with aiohttp.ClientSession(town.address, cookie_jar=jar) as session:
        yield session
