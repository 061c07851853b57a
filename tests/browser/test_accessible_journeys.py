"""The work of each role with the keyboard alone: it always shows where one is, and nothing holds one fast."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.keyboard import Keyboard
from tests.browser.pages import SLOW_MS, open_fleet, picture, sign_in, until, watching
from tests.browser.town import OFFICERS, TownHall

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COORDINATOR, PRIVACY, MANAGER = "Marieke de Wit", "Yasmina El Amrani", "Hans Verhoeven"
ADMINISTRATOR, DPO, OFFICER = "Ruben Kuijpers", "Ingrid Smeets", OFFICERS[0]

SCREEN = {"width": 1200, "height": 675}

Hands = Callable[[Page], Keyboard]


@pytest_asyncio.fixture(loop_scope="module")
async def hands() -> AsyncIterator[Hands]:
    """Lay hands on a page's keyboard; a stop that cannot be seen fails the test."""
    laid: list[Keyboard] = []

    def lay(page: Page) -> Keyboard:
        laid.append(Keyboard(page=page))
        return laid[-1]

    yield lay
    assert laid
    wrong = [each for keyboard in laid for each in keyboard.wrong]
    assert not wrong, "\n".join(dict.fromkeys(wrong))


async def come_in(town: TownHall, page: Page, who: str, hands: Hands) -> Keyboard:
    """Sign in, with keys."""
    keys = hands(page)
    await page.goto(f"{town.address}/aanmelden")
    await keys.enter(who)
    await expect(page.locator(".bar__name")).to_have_text(who, timeout=SLOW_MS)
    return keys


async def test_a_coordinator_sees_an_alarm_and_acknowledges_it(
    town: TownHall, open_browser: Open, hands: Hands
) -> None:
    page = await open_browser(**SCREEN)
    keys = await come_in(town, page, COORDINATOR, hands)
    await page.keyboard.press("Tab")
    at = await keys.stop()
    assert at is not None
    assert at["name"] == "Naar de inhoud", "the first stop skips what is on every page"
    recording = await town.press("cam-07")
    await expect(page.locator("#alarm-banner")).to_be_visible(timeout=SLOW_MS)
    await keys.to("Ik heb dit gezien")
    await picture(page, "rol-coordinator")
    await page.keyboard.press("Enter")
    await expect(page.locator("#alarm-banner")).to_have_count(0, timeout=SLOW_MS)
    press = await town.fleet.activation(recording)
    assert press is not None
    assert press.acknowledged_by == "o-101"
    names = await keys.around()
    assert sum("Dirk van Dijk" in name for name in names) == 1, "each camera is one stop"
    assert names[-1] == "Toegankelijkheid"


async def test_an_officer_reports_a_use_on_a_telephone(town: TownHall, open_browser: Open, hands: Hands) -> None:
    await town.press("cam-01")
    page = await open_browser(width=320, height=640)
    keys = await come_in(town, page, OFFICER, hands)
    await page.goto(f"{town.address}/meldingen")
    await keys.enter("cam-01")
    await keys.arrive("/meldingen/nieuw")
    await picture(page, "rol-handhaver")
    await keys.write("aanleiding", "Een man weigerde weg te gaan")
    await keys.write("gebeurde", "Hij begon te duwen en liep daarna weg")
    await keys.write("gevaar", "i")  # the first that begins so
    await keys.write("gericht", "i")
    await keys.choose("ja", "ja")
    await keys.choose("ja", "ja")
    await keys.write("Hoe?", "Met de sticker")
    await keys.write("Wanneer?", "Meteen")
    await keys.choose("ja", "ja")
    await keys.enter("Stuur in")
    await expect(page.locator("main")).to_contain_text("ingestuurd op", timeout=SLOW_MS)


async def test_two_people_ask_approve_sit_play_and_leave(town: TownHall, open_browser: Open, hands: Hands) -> None:
    await town.film("cam-07")
    first, second = await open_browser(**SCREEN), await open_browser(**SCREEN)
    asking = await come_in(town, first, PRIVACY, hands)
    approving = await come_in(town, second, MANAGER, hands)
    await first.goto(f"{town.address}/dossiers/nieuw")
    await asking.choose("verzoek tot inzage", "verzoek tot inzage")
    await asking.write("Waar gaat het over?", "Verzoek van een omstander")
    await asking.tick("cam-07")
    await asking.enter("Leg vast en bewaar de beelden")
    await expect(first.locator("#holds")).to_be_visible(timeout=SLOW_MS)
    await picture(first, "rol-privacy-officer")
    await asking.enter("Vraag om de beelden")
    await asking.arrive("/kijkkamer/nieuw")
    await asking.choose("Anouk van Dam", MANAGER)
    await asking.write("Waarom wilt u dit zien?", "Staat de verzoeker erop?")
    await asking.tick("niemand anders kan meekijken")
    await asking.enter("Onderteken en vraag")
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)

    await second.goto(f"{town.address}/kijkkamer")
    await approving.enter("Lees het verzoek")
    await approving.arrive("/kijkkamer/")
    await picture(second, "rol-clustermanager")
    async with second.expect_navigation():  # the page that lives says so before
        await approving.enter("Ik keur dit goed en onderteken")
    await expect(second.locator("#room-facts")).to_have_attribute("data-state", "approved", timeout=SLOW_MS)
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "approved", timeout=SLOW_MS)
    await asking.enter("Neem plaats")
    await approving.enter("Neem plaats")
    while (film := await watching(first))["at"] <= 0.3:
        if film["paused"] and film["ready"] >= 2:  # again, where a busy machine made it stop
            await asking.enter("Afspelen")
        await asyncio.sleep(0.1)
    await first.keyboard.press("k")
    assert (await watching(first))["paused"] == 1
    await asking.around()
    await approving.enter("Ik ga weg")
    await expect(first.locator("#veil")).to_be_visible(timeout=SLOW_MS)
    async with first.expect_navigation():
        await asking.enter("Sluit de kamer")
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "closed", timeout=SLOW_MS)


async def test_an_administrator_enters_somebody_new(town: TownHall, open_browser: Open, hands: Hands) -> None:
    page = await open_browser(**SCREEN)
    keys = await come_in(town, page, ADMINISTRATOR, hands)
    await page.goto(f"{town.address}/beheer/mensen")
    await keys.enter("Schrijf iemand in")
    await keys.write("Naam", "Nieuwe Collega")
    await keys.write("Kenmerk", "h-051")
    await keys.enter("Schrijf in")
    await keys.arrive("/beheer/mensen/h-051")
    await expect(page.locator("h1")).to_be_visible()
    await picture(page, "rol-beheerder")
    assert "h-051" in {each.id for each in await town.casework.officials("heusden")}
    await keys.around()


async def test_an_auditor_checks_the_ledger_and_carries_it_away(
    town: TownHall, open_browser: Open, hands: Hands
) -> None:
    page = await open_browser(**SCREEN)
    keys = await come_in(town, page, DPO, hands)
    await page.goto(f"{town.address}/logboek")
    await keys.enter("Controleer het hele logboek")
    await expect(page.get_by_role("heading", name="Het logboek klopt", exact=True)).to_be_visible(timeout=SLOW_MS)
    await picture(page, "rol-auditor")
    await keys.to("Handeling")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await keys.stop()  # walking through the list sends nothing
    assert "/controleren" in page.url
    async with page.expect_download() as downloading:
        await keys.enter("CSV")
    assert (await downloading.value).suggested_filename.endswith(".csv")


async def test_a_resident_reads_the_rules_and_how_accessible_this_is(
    town: TownHall, open_browser: Open, hands: Hands
) -> None:
    page = await open_browser(width=320, height=640)
    keys = hands(page)
    await page.goto(f"{town.address}/openbaar")
    await picture(page, "rol-inwoner")
    await keys.enter("Toegankelijkheid")
    await expect(page.locator("main")).to_contain_text("Laatst getest", timeout=SLOW_MS)
    assert (await keys.around())[-1] == "Toegankelijkheid"


async def test_nothing_moves_for_who_asked_for_less_motion(town: TownHall, open_browser: Open) -> None:
    await town.press("cam-07")
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    moving = "() => document.getAnimations().filter(each => each.playState === 'running').length"
    await until(page, f"({moving})() > 1")  # the alarm and the tile: or there was nothing to stop
    await page.emulate_media(reduced_motion="reduce")
    for path in ("/vloot", "/activeringen", "/vloot/cam-07"):
        await page.goto(town.address + path)
        await expect(page.locator("#alarm-banner")).to_be_visible(timeout=SLOW_MS)
        assert await page.evaluate(moving) == 0, path
