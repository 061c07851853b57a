"""Making people unrecognisable: two people, two browsers, from the case to a recording in which nobody is known."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.adapters.redaction.filmed import face
from tests.browser.conftest import Open
from tests.browser.pages import SLOW_MS, approve, play, register_case, sign_in, sit_down
from tests.browser.town import TownHall

pytestmark = pytest.mark.browser

PRIVACY, MANAGER = "Yasmina El Amrani", "Hans Verhoeven"
SECONDS = 6


async def request_redaction(page: Page, base: str, case: str) -> str:
    """Ask for a room from the case's own page; return the room's id."""
    await page.goto(f"{base}/dossiers/{case}")
    await page.get_by_role("link", name="Maak mensen onherkenbaar").click()
    form = page.locator("#redaction-form")
    await form.locator(".choice", has_text=MANAGER).locator("input").check()
    await form.locator("textarea[name=reden]").fill("Iedereen behalve de verzoeker")
    await form.locator("input[name=alleen]").check()
    await form.get_by_role("button", name="Onderteken en vraag").click()
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)
    return page.url.rsplit("/", 1)[1]


@pytest.mark.rule("H-55", "P-17", "H-47")
async def test_two_people_make_a_recording_in_which_nobody_is_known(town: TownHall, open_browser: Open) -> None:
    filmed = await asyncio.to_thread(face, SECONDS, begin=3600)
    original = str(await town.film("cam-07", filmed=filmed))
    first, second = await open_browser(), await open_browser()
    await sign_in(first, town.address, PRIVACY)
    await sign_in(second, town.address, MANAGER)
    case = await register_case(first, town.address, kind="access_request", summary="Verzoek van een omstander")
    room = await request_redaction(first, town.address, case)
    await approve(second, town.address, room)
    await sit_down(first, town.address, room)
    await sit_down(second, town.address, room)
    await play(first)
    part = first.locator("#redaction")
    await expect(part).to_be_visible(timeout=SLOW_MS)
    await expect(second.locator("#red-make")).to_have_count(0)
    await first.route("**/zoeken", lambda route: route.abort(), times=1)
    await part.get_by_role("button", name="Zoek gezichten").click()
    await expect(part.locator("#red-problem")).to_contain_text("Er kwam geen antwoord van de server", timeout=SLOW_MS)
    await part.get_by_role("button", name="Zoek gezichten").click()
    await expect(part.locator("#red-says")).to_contain_text("gezichten en kaders", timeout=SLOW_MS)
    lanes = part.locator("#red-lanes > li")
    found = await lanes.count()
    assert found >= 1

    await _draw_by_keyboard(first)
    await expect(lanes).to_have_count(found + 1, timeout=SLOW_MS)
    drawn = lanes.last
    await drawn.get_by_role("button", expanded=False).click()
    await drawn.get_by_role("button", name="Laat zien").click()
    await expect(drawn).to_contain_text("zichtbaar", timeout=SLOW_MS)
    await expect(second.locator("#red-lanes > li")).to_have_count(found + 1, timeout=SLOW_MS)
    make = part.get_by_role("button", name="Maak de onherkenbare opname")

    await _watch_preview(first)
    await expect(part.locator("#red-watched > li", has_text=PRIVACY)).to_contain_text("0:06 van 0:06")
    settle = part.get_by_role("button", name="Ik bekeek alles wat onzeker is")
    if await settle.is_visible():
        await settle.click()
    await expect(part.locator("#red-why")).to_contain_text("nog niet door u beiden bekeken", timeout=SLOW_MS)
    await expect(make).to_be_disabled()
    await play(second)
    await _watch_preview(second)
    await expect(make).to_be_enabled(timeout=SLOW_MS)
    await make.click()
    await expect(part.locator("#red-made")).to_be_visible(timeout=SLOW_MS)
    await part.get_by_role("link", name="Naar het dossier").click()
    there = await town.casework.case("heusden", case)
    assert original in there.recordings
    assert len(there.recordings) == 2
    derivative = next(each for each in there.recordings if each != original)
    card = await town.casework.recording("heusden", derivative)
    assert card.state == "held"
    assert card.held_by == (there.number,)


async def _watch_preview(page: Page) -> None:
    """Watch it from its begin to its end; anew where the player stopped because a busy machine fell silent."""
    todo = page.locator("#red-todo-list > button")
    await expect(todo.first).to_be_visible(timeout=SLOW_MS)
    await page.locator("#red-preview").click()
    async with asyncio.timeout(150):
        while await todo.count():
            await page.evaluate(
                "() => { const f = document.getElementById('film'); if (!f.paused || f.readyState < 2) return; "
                "f.currentTime = 0; f.muted = true; f.play().catch(() => {}); }"
            )
            await asyncio.sleep(0.2)


async def _draw_by_keyboard(page: Page) -> None:
    await page.locator("#red-follow").uncheck()
    await page.locator("#red-seconds").fill("2")
    await page.locator("#red-draw").click()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowRight", "Enter"):
        await page.keyboard.press(key)
