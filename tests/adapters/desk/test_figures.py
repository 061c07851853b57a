"""Figures and the survey at the desk: how often, never who."""

import re
from datetime import timedelta

import aiohttp
import pytest

from cloud.rules.quarters import quarter_of
from tests.adapters.desk.test_desk import denied, sign_in
from tests.browser.town import OFFICERS, OFFICIALS, TownHall

SAME = {"Sec-Fetch-Site": "same-origin"}
SURVEY = {"naam": "najaar 2026", "stelling-0": "Ik voel mij veilig tijdens mijn dienst.", "dagen": "14"}


async def read(client: aiohttp.ClientSession, path: str, *, status: int = 200) -> str:
    async with client.get(path) as answer:
        assert answer.status == status
        return await answer.text()


@pytest.mark.rule("T-43", "E-46", "R-23")
async def test_management_reads_figures_in_which_nobody_is_named(town: TownHall, client: aiohttp.ClientSession) -> None:
    """Cijfers: per kwartaal, en nergens een naam of een nummer van iemand."""
    quarter = quarter_of(town.clock())
    for camera in ("cam-11", "cam-12", "cam-13", "cam-14", "cam-15", "cam-16"):
        await town.press(camera)
    await sign_in(client, "o-102")
    assert f'kwartaal={quarter.name}"' not in await read(client, "/cijfers"), "it still grows"
    assert "2027-01-29" in await read(client, f"/cijfers?kwartaal={quarter.name}", status=409)
    client.cookie_jar.clear()
    town.clock.move_forward(quarter.counted_at - town.clock())
    await sign_in(client, "o-102")
    shown = (await read(client, "/cijfers")).partition("<main")[2]
    assert len(re.findall(r"data-figure=", shown)) >= 10
    assert not [name for name in (*OFFICERS, *(each[1] for each in OFFICIALS)) if name in shown]
    lines = (await read(client, "/cijfers/bestand.csv?kwartaal=2026-4")).splitlines()
    assert lines[0] == "quarter,figure,category,count,suppressed_below"
    (total, *months) = [line.split(",") for line in lines if line.startswith("2026-4,activations,")]
    assert (total[2], [month[2] for month in months]) == ("", ["2026-11"])
    assert total[3] == months[0][3] >= "6"
    assert not re.search(r"\b[oh]-\d{3}\b|cam-\d\d", "\n".join(lines))


async def test_a_period_of_ones_own_choosing_can_not_be_asked_for(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    """Wie zelf een periode kiest, kan kleine aantallen uitrekenen: dat kan dus niet."""
    await sign_in(client, "o-103")
    assert "2026-4" in await read(client, "/cijfers?kwartaal=november", status=400)


async def test_a_coordinator_gets_no_figures_and_that_is_written_down(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    """De coördinator stuurt op meldingen, niet op cijfers."""
    await sign_in(client, "o-101")
    await read(client, "/cijfers", status=403)
    assert "cijfers" in await denied(town)


@pytest.mark.rule("R-23")
async def test_an_officer_is_asked_once_and_what_he_said_is_nowhere(
    town: TownHall, client: aiohttp.ClientSession
) -> None:
    """De vragenlijst: de leiding zet hem uit, een handhaver vult hem in, en één antwoord blijft verborgen."""
    token = await sign_in(client, "o-102")
    async with client.post("/cijfers/vragenlijst", data={"csrf": token, **SURVEY}, headers=SAME) as answer:
        assert answer.status == 200
    client.cookie_jar.clear()
    token = await sign_in(client, "h-001")
    asked = await read(client, "/vragenlijst")
    survey = re.search(r'name="vragenlijst" value="([^"]+)"', asked)
    assert survey is not None
    given = {"csrf": token, "vragenlijst": survey[1], "stelling-0": "2"}
    async with client.post("/vragenlijst", data=given, headers=SAME) as answer:
        assert "geen vragenlijst voor u open" in await answer.text()
    async with client.post("/vragenlijst", data=given, headers=SAME) as answer:
        assert answer.status == 403
    town.clock.move_forward(timedelta(days=15))
    client.cookie_jar.clear()
    await sign_in(client, "o-102")
    assert "te weinig antwoorden om te tonen" in await read(client, "/cijfers")
