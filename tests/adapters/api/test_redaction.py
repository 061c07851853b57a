"""Making people unrecognisable through the interface: for the two who sit in the open room, and for nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.adapters.api.people import Caller, calling, denied
from tests.browser.town import TownHall

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOX = {"x": 0.1, "y": 0.2, "breedte": 0.3, "hoogte": 0.3, "vanafSeconde": 0, "totSeconde": 1}


@asynccontextmanager
async def open_room(town: TownHall, first: Caller, second: Caller) -> AsyncIterator[tuple[str, str]]:
    """Ask for a room, sit down both, and stay; give its address and the recording."""
    recording = str(await town.film("cam-03"))
    case = await first.post("/dossiers", {"soort": "access_request", "samenvatting": "inzage", "opnamen": [recording]})
    wish = {"dossier": case.said["id"], "doel": "access_request", "opname": recording, "motivering": "inzage"}
    room = await first.post(
        "/kijkkamers", wish | {"tweede": "o-104", "niemandKijktMee": True, "maaktOnherkenbaar": True}
    )
    address = room.headers["Location"].removeprefix("/v1")
    await second.post(f"{address}/goedkeuringen", {})

    async def stay() -> None:
        while True:
            for each in (first, second):
                await each.ask("PUT", f"{address}/aanwezigheid", {})
            await asyncio.sleep(0.2)

    for each in (first, second):
        await each.post(f"{address}/zetels", {})
    staying = asyncio.create_task(stay())
    yield address, recording
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)
    await first.ask("DELETE", address)


@pytest.mark.rule("H-55", "H-47")
async def test_two_who_sit_decide_what_is_hidden_and_a_stranger_sees_nothing(
    town: TownHall, privacy_officer: Caller
) -> None:
    async with (
        calling(town, "o-104") as secretary,
        calling(town, "o-105") as stranger,
        open_room(town, privacy_officer, secretary) as (address, recording),
    ):
        work = f"{address}/onherkenbaar"
        drawn = await privacy_officer.post(f"{work}/kaders", BOX)
        assert (drawn.status, drawn.said["doorzocht"], drawn.said["magAfronden"]) == (200, False, False)
        (track,) = (await secretary.get(f"{work}/plan")).said["sporen"]
        assert (track["getekend"], track["verborgen"], track["onzeker"]) == (True, True, [])
        shown = await secretary.ask("PUT", f"{work}/sporen/{track['id']}", {"verborgen": False})
        assert shown.status == 200
        assert (await secretary.ask("PUT", f"{work}/sporen/nobody", {"verborgen": False})).status == 404
        await secretary.ask("PUT", f"{work}/omgeving", {"verborgen": True})
        await secretary.post(f"{work}/stiltes", {"vanafSeconde": 0, "totSeconde": 1})
        plan = (await privacy_officer.get(f"{work}/plan")).said
        assert (plan["omgevingVerborgen"], len(plan["stiltes"]), plan["sporen"][0]["verborgen"]) == (True, 1, False)

        preview = f"{address}/beelden/{recording}/onherkenbaar"
        pieces = (await privacy_officer.get(f"{preview}/afspeellijst")).body.decode().splitlines()
        piece = next(line for line in pieces if line.endswith(".m4s"))
        film = await privacy_officer.get(f"{preview}/{piece}")
        assert (film.status, film.headers["Content-Type"], film.headers["Cache-Control"]) == (
            200,
            "video/mp4",
            "no-store",
        )
        stand = (await privacy_officer.get(work)).said
        played = {"voorbeeld": stand["voorbeeld"], "stukken": [{"vanafSeconde": 0, "totSeconde": 999}]}
        for caller, seconds in ((privacy_officer, 1), (secretary, 0)):
            said = (await caller.ask("PUT", f"{work}/bekeken", played)).said
            mine = {each["medewerker"]: each["bekekenSeconden"] for each in said["bekeken"]}
            assert mine["o-103" if seconds else "o-104"] == seconds, "only what was sent to this person counts"
        finish = await privacy_officer.ask("PUT", f"{work}/afronding", {})
        assert finish.status == 403
        for refused in (
            await stranger.get(work),
            await stranger.get(f"{preview}/{piece}"),
            await stranger.post(f"{work}/kaders", BOX),
        ):
            assert refused.status == 403
        assert ("o-105", "kijkkamer") in await denied(town)
