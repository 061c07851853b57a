"""The fleet of a region: five thousand cameras, of which a browser gets what it shows."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import insert

from broker.wire.ids import DeviceId, camera_key_id
from cloud.database import tables
from cloud.desk.pages.fleet import PER_PAGE
from tests.adapters.desk.test_desk import sign_in
from tests.browser.town import MORNING, ORG, TownHall, fill_the_streets, open_town

CAMERAS = 5_000


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    async with open_town(tmp_path) as hall:
        await fill_the_streets(hall)
        rows = []
        for number in range(51, CAMERAS + 1):
            public = number.to_bytes(32, "big")
            rows.append(
                {
                    "org": ORG,
                    "id": DeviceId(f"cam-{number}"),
                    "public_key": public,
                    "key_id": camera_key_id(public),
                    "state": "enrolled",
                    "team": f"Team {number % 20:02}",
                    "enrolled_at": MORNING,
                }
            )
        async with hall.database.transaction() as t:
            await t.execute(insert(tables.cameras), rows)
        await hall.fleet.refresh(ORG)
        yield hall


async def test_of_five_thousand_cameras_a_browser_gets_one_page(town: TownHall, client: aiohttp.ClientSession) -> None:
    """Vijfduizend camera's: de tellingen gaan over alles, de pagina over wat u ziet."""
    await sign_in(client, "o-101")

    async def shown(query: str) -> tuple[list[str], str]:
        async with client.get(f"/vloot/deel?{query}") as answer:
            assert answer.status == 200
            text = await answer.text()
        return re.findall(r'data-key="([^"]+)"', text), text

    first, text = await shown("")
    assert len(first) == PER_PAGE
    assert len(text) < 300_000
    counts = [int(each) for each in re.findall(r'class="count count--\w+[^>]*>.*?<strong>(\d+)</strong>', text)]
    assert sum(counts[:5]) == CAMERAS
    last, _ = await shown("blad=50")
    assert len(last) == PER_PAGE
    assert not set(first) & set(last)
    beyond, _ = await shown("blad=99999")
    assert beyond == last
    team, text = await shown("team=Team 07&sorteer=nummer")
    assert len(team) == PER_PAGE
    assert "blad 1 van 3" in text
    (one,), _ = await shown("zoek=cam-4321")
    assert one == "cam-4321"
    every = set()
    for number in range(1, 51):
        every |= set((await shown(f"sorteer=nummer&blad={number}"))[0])
    assert len(every) == CAMERAS  # nobody falls between two pages
