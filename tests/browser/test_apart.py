"""Footage that is kept apart: one declares where it comes from, another agrees on a telephone at night, by keyboard."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.axe import faults, too_wide
from tests.browser.conftest import Open
from tests.browser.keyboard import Keyboard
from tests.browser.pages import SLOW_MS, picture, sign_in
from tests.browser.town import OFFICERS, TownHall
from tests.peers import Unavailable, axe

pytestmark = pytest.mark.browser

PRIVACY, MANAGER = "Yasmina El Amrani", "Hans Verhoeven"


async def nothing_is_wrong(page: Page) -> None:
    await page.evaluate("() => document.querySelectorAll('main details').forEach(each => { each.open = true; })")
    assert await faults(page) + await too_wide(page) == [], page.url


@pytest.mark.rule("R-04", "H-10")
async def test_two_people_declare_where_footage_comes_from_each_on_an_own_page(
    town: TownHall, open_browser: Open
) -> None:
    recording = str(await town.film("cam-03", heard=False))
    first, second = await open_browser(), await open_browser(width=320, height=640, dark=True)
    try:
        script = axe.script()
    except Unavailable as reason:
        pytest.skip(f"needs axe-core from npm: {reason}")
    for page, who in ((first, PRIVACY), (second, MANAGER)):
        await page.context.add_init_script(path=script)
        await sign_in(page, town.address, who)
    await first.goto(f"{town.address}/opnamen")
    await first.get_by_role("link", name="Apart gezet").click()
    row = first.locator("#apart-list tbody tr")
    await expect(row).to_contain_text("van een druk op de knop is niets gehoord", timeout=SLOW_MS)
    await expect(row).to_contain_text("nog 28 dagen")
    await nothing_is_wrong(first)
    await row.get_by_role("link").click()
    form = first.locator("#admit-form")
    await form.get_by_label("Welke camera?").fill("bodycam met sticker 3")
    await form.get_by_label("Wie drukte op de knop?").select_option(label=OFFICERS[2])
    await form.get_by_label("de eigen veiligheid").check()
    await form.get_by_label("Waarom?").fill("Het rooster, en haar eigen verhaal")
    await picture(first, "apart")
    await nothing_is_wrong(first)
    await form.get_by_role("button", name="Stel voor: toelaten").click()
    await expect(first.locator("#waiting")).to_contain_text("Een ander moet dit ook verklaren", timeout=SLOW_MS)

    keys = Keyboard(page=second)
    await second.goto(f"{town.address}/opnamen/apart")
    await expect(second.locator("#apart-list")).to_contain_text(f"voorgesteld door {PRIVACY}", timeout=SLOW_MS)
    await nothing_is_wrong(second)
    await second.goto(f"{town.address}/opnamen/{recording}/apart")
    await expect(second.locator("#waiting")).to_contain_text("bodycam met sticker 3", timeout=SLOW_MS)
    await expect(second.locator("#waiting")).to_contain_text("Het rooster, en haar eigen verhaal")
    await nothing_is_wrong(second)
    await keys.write("Waarom?", "Ik zag haar met deze camera vertrekken")
    await keys.enter("Ik verklaar dit ook")
    await expect(second.locator("#declared")).to_contain_text("niet bewezen", timeout=SLOW_MS)
    await expect(second.locator("#declared")).to_contain_text(f"{PRIVACY} en {MANAGER}")
    await expect(second.locator("main")).to_contain_text("van een druk op de knop is niets gehoord")
    assert keys.wrong == []
    await nothing_is_wrong(second)

    await first.goto(f"{town.address}/opnamen")
    await expect(first.locator("#recordings-list")).to_contain_text("herkomst verklaard", timeout=SLOW_MS)
    await first.goto(f"{town.address}/opnamen/apart")
    await expect(first.locator("#apart-list")).to_contain_text("Er staat niets apart", timeout=SLOW_MS)
