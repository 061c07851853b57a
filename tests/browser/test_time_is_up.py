"""A session ends, and nothing that was typed is lost by it: warned before, kept after, sent when one is back."""

from contextlib import suppress

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, expect

from cloud.desk.rules.sign_in import SignIn
from cloud.desk.sessions import Session
from cloud.desk.town import TOWN
from tests.browser.conftest import Open
from tests.browser.pages import SLOW_MS, held_back, sign_in
from tests.browser.town import TownHall

pytestmark = pytest.mark.browser

TYPED = "Een omstander vraagt om de beelden van de markt"
WHO = "Yasmina El Amrani"


def session_of(town: TownHall) -> Session:
    """The one session of the privacy officer."""
    assert town.runner is not None
    sessions = town.runner.app[TOWN].sessions
    (mine,) = [each for each in sessions._open.values() if each.official == "o-103"]
    return mine


def end(town: TownHall) -> None:
    """Let the session end, as its time does."""
    assert town.runner is not None
    town.runner.app[TOWN].sessions.end(session_of(town).token)


async def type_something(page: Page, base: str) -> None:
    async with held_back(page, "live.js"):
        await page.goto(f"{base}/dossiers/nieuw", wait_until="commit")
        await page.locator("textarea[name=omschrijving]").fill(TYPED)
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "live", timeout=SLOW_MS)


async def come_back(page: Page) -> None:
    """Look at this tab again. It may begin anew at once, and then hears no more of it."""
    await page.bring_to_front()
    with suppress(PlaywrightError):
        await page.evaluate("() => window.dispatchEvent(new Event('focus'))")


async def test_one_is_warned_and_what_was_typed_is_sent_after_signing_in_again(
    town: TownHall, open_browser: Open
) -> None:
    page = await open_browser()
    await sign_in(page, town.address, WHO)
    await type_something(page, town.address)
    says = page.locator("#ends")
    await expect(says).to_be_hidden()
    session_of(town).begun_s -= SignIn().absolute_hours * 3600 - 290
    await expect(says).to_contain_text("over 5 minuten afgemeld", timeout=SLOW_MS)
    await expect(page.locator("#inhoud")).to_contain_text("Nieuw dossier")

    end(town)
    await expect(says).to_contain_text("U bent afgemeld", timeout=SLOW_MS)
    await expect(page.locator("textarea[name=omschrijving]")).to_have_value(TYPED)
    await expect(page.locator("h1")).to_be_hidden()  # what was not typed here is not for who comes by
    await page.get_by_role("button", name="Leg vast en bewaar de beelden").click()
    assert page.url.endswith("/dossiers/nieuw"), "nothing is sent into a session that ended"

    async with page.context.expect_page() as opening:
        await says.get_by_role("link").click()
    other = await opening.value
    await other.get_by_role("button", name=WHO).click()
    await expect(other.locator(".bar__name")).to_have_text(WHO, timeout=SLOW_MS)
    await other.close()
    await page.route("**/toegankelijkheid", lambda route: route.abort(), times=1)  # looked again by itself
    await come_back(page)
    await expect(says).to_be_hidden(timeout=SLOW_MS)
    await expect(page.locator("h1")).to_be_visible()
    await page.get_by_role("button", name="Leg vast en bewaar de beelden").click()
    await expect(page.locator("#holds")).to_be_visible(timeout=SLOW_MS)
    await expect(page.locator("main")).to_contain_text(TYPED)


async def test_nothing_of_one_person_is_left_for_another_who_signs_in(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, WHO)
    await type_something(page, town.address)
    end(town)
    await expect(page.locator("#ends")).to_contain_text("U bent afgemeld", timeout=SLOW_MS)
    other = await page.context.new_page()
    await sign_in(other, town.address, "Hans Verhoeven")
    await come_back(page)
    await expect(page.locator(".bar__name")).to_have_text("Hans Verhoeven", timeout=SLOW_MS)
    assert TYPED not in await page.content()
