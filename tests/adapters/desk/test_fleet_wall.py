"""The fleet of a region: five thousand cameras, of which a browser gets what it shows."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

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


async def test_of_many_activations_a_browser_gets_one_page_and_what_waits_is_on_the_first(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    presses = [
        {
            "recording": str(UUID(int=number)),
            "org": ORG,
            "camera": f"cam-{number % 50 + 1:02}",
            "official": f"h-{number % 50 + 1:03}",
            "activated_at": (at := MORNING - timedelta(minutes=number)),
            "received_at": at,
            "pre_record_s": 30.0,
            "place": "Plein 1_A, Vlijmen" if number == 60 else "Markt",
            "ended_at": at,
            "acknowledged_at": None if number == 239 else at,
            "escalated_at": at if number == 61 else None,
        }
        for number in range(240)
    ]
    async with town.database.transaction() as t:
        await t.execute(insert(tables.activations), presses)
    await sign_in(client, "o-101")

    async def shown(query: str) -> tuple[list[str], str]:
        async with client.get(f"/activeringen/deel?{query}") as answer:
            assert answer.status == 200
            text = await answer.text()
        return re.findall(r'<time datetime="([^"]+)"', text), text

    pages = [await shown(f"blad={number}") for number in range(1, 6)]
    assert sorted(len(times) for times, _ in pages) == [40, 50, 50, 50, 50]
    assert len({each for times, _ in pages for each in times}) == 240, "nobody falls between two pages"
    assert "Ik heb dit gezien" in pages[0][1], "the oldest, that nobody saw, is on the first"
    assert (await shown("blad=99"))[0] == pages[4][0]
    assert len((await shown("zoek=amir"))[0]) == 5
    assert len((await shown("zoek=plein+1_a"))[0]) == 1
    assert len((await shown("zoek=amir+cam-02"))[0]) == 0
    assert len((await shown("stand=wacht"))[0]) == len((await shown("stand=doorgezet"))[0]) == 1
    empty, text = await shown("stand=bezig")
    assert not empty
    assert "Geen activering past bij deze keuze." in text
    _, text = await shown("zoek=amir&stand=onzin&blad=x")
    assert "blad" not in text
