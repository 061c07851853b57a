"""What is late is said by itself: of a report, to both whom it concerns; and of a prosecution that keeps silent."""

from datetime import timedelta

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.browser.pages import SLOW_MS, held_back, register_case, sign_in
from tests.browser.town import OFFICERS, ORG, TownHall

pytestmark = pytest.mark.browser


async def test_a_late_report_appears_at_both_who_are_reminded_without_a_click(
    town: TownHall, open_browser: Open
) -> None:
    recording = await town.press("cam-01")
    await town.fleet.acknowledge(recording, "o-101")
    officer, coordinator = await open_browser(width=320, height=640), await open_browser()
    for page, who in ((officer, OFFICERS[0]), (coordinator, "Marieke de Wit")):
        await sign_in(page, town.address, who)
        await page.goto(f"{town.address}/meldingen")
        await expect(page.locator("#link-state")).to_have_attribute("data-state", "live", timeout=SLOW_MS)
        await expect(page.locator("#late")).to_have_count(0)
    await expect(officer.locator("#owed")).to_contain_text("cam-01")

    town.clock.move_forward(timedelta(hours=30))
    await town.casework.settle(ORG)
    await expect(officer.locator("#late")).to_contain_text("Uzelf", timeout=SLOW_MS)
    await expect(officer.locator("#owed")).to_contain_text("te laat")
    await expect(coordinator.locator("#late")).to_contain_text(OFFICERS[0], timeout=SLOW_MS)
    for page in (officer, coordinator):
        await expect(page.locator("#link-state")).to_have_attribute("data-state", "live")  # and not "lost"
    await officer.route("**/concept", lambda route: route.fulfill(body="{"), times=1)  # half an answer
    async with held_back(officer, "report.js"):
        await officer.locator("#owed a").click()
        await officer.locator("textarea[name=cause]").fill("Een man weigerde weg te gaan")
    await expect(officer.locator("#draft-state")).to_contain_text("Nog niet bewaard", timeout=SLOW_MS)
    await expect(officer.locator("#draft-state")).to_have_text("Concept bewaard", timeout=SLOW_MS)


async def test_a_prosecution_that_keeps_silent_is_reminded_with_a_letter(town: TownHall, open_browser: Open) -> None:
    recording = await town.film("cam-07")
    page = await open_browser()
    await sign_in(page, town.address, "Yasmina El Amrani")
    await register_case(page, town.address, kind="aangifte", summary="Aangifte", recording=str(recording))
    await page.goto(f"{town.address}/dossiers")
    waits = page.get_by_role("heading", name="Wacht al lang op het Openbaar Ministerie")
    await expect(waits).to_have_count(0)
    policy = await town.policies.current(ORG)
    town.clock.move_forward(timedelta(days=policy.hold.review_days + 1))
    await page.reload()
    await expect(waits).to_be_visible()
    await page.locator(".panel--warn a").first.click()
    await expect(page.locator("article.letter")).to_contain_text("Mogen de beelden weg?", timeout=SLOW_MS)
