"""What an officer marked on a camera of another maker stands on its recording's page, for who may see that page."""

import re
from html import unescape

import aiohttp
from sqlalchemy import insert

from cloud.database.tables import outside_objects
from cloud.retention.forgetting import forget_letters
from tests.adapters.desk.test_desk import sign_in
from tests.browser.town import ORG, TownHall

CONTAINER = "o-7_B8A44F3024BB_20261120T133000Z"
FILES: tuple[tuple[str, dict[str, str], int], ...] = (
    ("20261120_133000_7CF7.mp4", {"starttime": "1"}, 9),
    ("20261120_133000_7CF7_b_gpstrail.json", {"filetype": "json"}, 400),
    (
        "bookmark_2",
        {
            "starttime": "2026-11-20T13:31:30Z",
            "categoryname": "Aanhouding %3Cscript%3E",
            "tags": "TriggerOn:Button;niveau:2",
            "location": "51.6969%205.2206",
        },
        12,
    ),
    ("bookmark_1", {"starttime": "2026-11-20T13:30:10Z", "categoryname": "Gesprek"}, 0),
    ("bookmark_3", {"x-later": "1"}, 0),
)


async def noted(town: TownHall, recording: str) -> None:
    about = {"org": ORG, "container": CONTAINER, "version": 1, "recording": recording, "received_at": town.clock()}
    rows = [
        about | {"name": name, "letter": letter, "size_bytes": size, "first": n, "last": n, "sha256": "", "md5": ""}
        for n, (name, letter, size) in enumerate(FILES)
    ]
    async with town.database.transaction() as t:
        await t.execute(insert(outside_objects), rows)


async def panel(client: aiohttp.ClientSession, recording: str) -> str:
    """The panel of bookmarks on a recording's page, as text; empty where there is none."""
    async with client.get(f"/opnamen/{recording}") as answer:
        assert answer.status == 200
        found = re.search(r'<section class="panel" id="noted">(.*?)</section>', await answer.text(), re.DOTALL)
    return "" if found is None else " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


async def test_bookmarks_of_a_camera_stand_on_its_recordings_page_until_its_footage_goes(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    recording = str(await town.film("cam-07"))
    await sign_in(client, "o-101")
    assert await panel(client, recording) == ""
    await noted(town, recording)
    said = await panel(client, recording)
    assert "Aanhouding &lt;script&gt; TriggerOn:Button, niveau:2 met tekst" in said
    order = [said.index(each) for each in ("14:30:10: Gesprek", "14:31:30: Aanhouding", "tijd onbekend: zonder naam")]
    assert order == sorted(order)
    assert "De camera hield bij waar hij was." in said
    assert "51.6969" not in unescape(said), "where it was is sealed with the footage"
    await forget_letters(town.database, ORG, recording)
    assert await panel(client, recording) == ""
