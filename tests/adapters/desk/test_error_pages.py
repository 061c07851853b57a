"""Where there is no page, and where something of ours broke: a browser sees a page, a program the bare answer."""

import logging
import re

import aiohttp
import pytest

from tests.browser.town import TownHall

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OWN = {"Sec-Fetch-Site": "same-origin"}


async def come_in(client: aiohttp.ClientSession, who: str) -> str:
    """Sign in; return the token that every form carries."""
    async with client.post("/aanmelden", data={"wie": who}, headers=OWN) as answer:
        found = re.search(r'data-csrf="([^"]+)"', await answer.text())
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/bestaat-niet", 404, "Deze pagina is er niet"),
        ("/vloot/cam-99", 404, "Deze pagina is er niet"),
        ("/afmelden", 405, "alleen voor een knop"),
        ("/opnamen/0190a0a0-0000-7000-8000-000000000000", 404, "Dit bestaat niet, of niet meer."),
    ],
)
async def test_a_browser_that_finds_nothing_gets_a_page_with_a_way_on(
    client: aiohttp.ClientSession, path: str, status: int, said: str
) -> None:
    await come_in(client, "o-101")
    async with client.get(path, headers=BROWSER) as answer:
        shown = await answer.text()
        assert answer.status == status
        assert answer.content_type == "text/html"
        assert "Content-Security-Policy" in answer.headers
    assert said in shown
    assert shown.count("<h1") == 1
    assert 'href="/"' in shown


async def test_a_program_and_a_part_of_a_page_get_the_bare_answer(client: aiohttp.ClientSession) -> None:
    await come_in(client, "o-101")
    for headers in ({"Accept": "application/json"}, BROWSER | {"X-Part": "1"}):
        async with client.get("/bestaat-niet", headers=headers) as answer:
            assert answer.status == 404
            assert answer.content_type == "text/plain"


async def test_what_breaks_is_logged_once_and_tells_a_stranger_nothing_of_it(
    town: TownHall, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_ledger: object) -> None:
        raise RuntimeError("the disk says: secret")

    monkeypatch.setattr(type(town.ledger), "checkpoint", broken)
    with caplog.at_level(logging.ERROR):
        async with client.get("/openbaar", headers=BROWSER) as answer:
            shown = await answer.text()
            assert answer.status == 500
    assert "Er ging iets mis bij ons" in shown
    assert "secret" not in shown
    ours = [record for record in caplog.records if record.name == "cloud.desk.error_pages"]
    assert [record.exc_info is not None for record in ours] == [True]


async def test_who_is_no_longer_signed_in_is_told_so_and_no_part_of_a_page_becomes_the_way_in(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("/dossiers", data={"omschrijving": "x"}, headers=BROWSER | OWN) as answer:
        assert answer.status == 401
        assert "U bent niet meer aangemeld" in await answer.text()
    async with client.get("/alarm", headers=BROWSER | {"X-Part": "1"}, allow_redirects=False) as answer:
        assert answer.status == 401
        assert "Aanmelden" not in await answer.text()


async def test_choosing_a_language_stays_on_the_page_with_what_it_is_about(client: aiohttp.ClientSession) -> None:
    csrf = await come_in(client, "o-101")
    async with client.get("/vloot?team=noord&vorm=tabel", headers=BROWSER) as answer:
        found = re.search(r'name="terug" value="([^"]+)"><button[^>]+name="taal"', await answer.text())
    assert found
    back = found[1].replace("&amp;", "&")
    assert back == "/vloot?team=noord&vorm=tabel"
    async with client.post(
        "/taal", data={"csrf": csrf, "terug": back, "taal": "en"}, headers=OWN | BROWSER, allow_redirects=False
    ) as answer:
        assert answer.headers["Location"] == back
