"""The coordinator's screen: what happens outside is there without touching anything."""

import pytest
from playwright.async_api import expect
from sqlalchemy import select

from broker.wire import events
from broker.wire.entries import read_entry
from cloud.database.tables import denials
from tests.browser.conftest import Open
from tests.browser.pages import acknowledge, open_fleet, sign_in, sign_out
from tests.browser.town import TownHall
from tests.promptness import within

pytestmark = pytest.mark.browser

COORDINATOR = "Marieke de Wit"
IN_SIGHT = """() => {
  document.documentElement.style.fontSize = '200%';
  scrollTo({ top: 600, behavior: 'instant' });
  const button = document.querySelector('#alarm-banner button').getBoundingClientRect();
  return document.elementFromPoint(button.x + button.width / 2, button.y + 2)?.closest('#alarm-banner') != null;
}"""


async def entries(town: TownHall, kind: str) -> list[str]:
    """Return the actors of the ledger's entries of this kind."""
    found = [read_entry(raw) for _, raw in await town.ledger.read(0, town.ledger.checkpoint().size)]
    return [entry.actor for entry in found if entry.kind == kind]


async def test_fifty_cameras_stand_on_one_screen_and_the_counts_add_up(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    await expect(page.locator(".tile")).to_have_count(50)
    counts = [int(text) for text in await page.locator(".counts .count strong").all_text_contents()]
    assert sum(counts) == 50
    # asked in one go: news may put another tile in the place of one that was found a moment ago
    bottom = await page.evaluate("() => [...document.querySelectorAll('.tile')].at(-1).getBoundingClientRect().bottom")
    assert bottom <= 900, "nothing to scroll for"


async def test_an_alert_appears_within_a_second_without_reloading(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    await page.evaluate("() => { window.same = true; }")
    with within(1.0):
        await town.press("cam-07")
        await expect(page.locator("#alarm-banner")).to_contain_text("Dirk van Dijk")
    await expect(page.locator(".tile[data-key=cam-07]")).to_contain_text("Neemt op")
    assert (await page.title()).startswith("(1) ALARM")
    assert await page.evaluate("() => window.same"), "the page was not loaded again"
    await page.set_viewport_size({"width": 1280, "height": 800})
    assert await page.evaluate(IN_SIGHT), "far down the page, with letters twice as large"


async def test_acknowledging_is_recorded_with_name_and_time(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    recording = await town.press("cam-07")
    await page.route("**/gezien", lambda route: route.fulfill(status=503), times=1)
    await page.locator("#alarm .alarm__row button").click()
    await expect(page.locator("#unsure")).to_contain_text("De server bevestigde dit niet")
    await acknowledge(page)
    await expect(page.locator("#unsure")).to_be_hidden()
    press = await town.fleet.activation(recording)
    assert press is not None
    assert press.acknowledged_by == "o-101"
    assert await entries(town, "activation.acknowledged") == ["o-101"]
    await page.goto(f"{town.address}/activeringen")
    await expect(page.locator("#alerts-list")).to_contain_text(COORDINATOR)
    await expect(page.locator("#alarm-banner")).to_have_count(0)


async def test_a_browser_that_lost_the_server_says_so_and_catches_up(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    await page.context.set_offline(True)
    await expect(page.locator("#lost")).to_be_visible()
    await town.press("cam-05")
    await page.context.set_offline(False)
    await expect(page.locator("#alarm-banner")).to_contain_text("Daan de Boer")
    await expect(page.locator("#lost")).to_be_hidden()


async def test_an_alarm_that_could_not_be_fetched_is_asked_for_until_shown(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    await page.route("**/alarm", lambda route: route.fulfill(status=503))
    await town.press("cam-05")
    await expect(page.locator("#lost")).to_be_visible()
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "lost")
    await page.unroute("**/alarm")
    await expect(page.locator("#alarm-banner")).to_contain_text("Daan de Boer")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
    await page.route("**/vloot/deel?*", lambda route: route.fulfill(status=403))
    await expect(page.locator("main .outdated")).to_contain_text("wordt niet meer bijgewerkt")


BREAKS = """() => {
  const parse = DOMParser.prototype.parseFromString;
  DOMParser.prototype.parseFromString = function (...given) {
    if (window.broken) throw new Error('cannot be drawn');
    return parse.apply(this, given);
  };
  window.broken = true;
}"""


async def test_a_part_that_could_not_be_drawn_says_so_and_is_tried_again(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    await page.evaluate(BREAKS)
    await town.press("cam-05")
    await expect(page.locator("#alarm > .outdated")).to_contain_text("kon niet worden bijgewerkt")
    await page.evaluate("() => { window.broken = false; }")
    await expect(page.locator("#alarm-banner")).to_contain_text("Daan de Boer")
    await expect(page.locator(".outdated")).to_have_count(0)


async def test_a_stream_of_news_that_was_refused_once_is_asked_for_again(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await page.route("**/static/live.js", lambda route: route.abort(), times=1)
    await page.goto(f"{town.address}/vloot")
    await expect(page.locator("#incomplete")).to_contain_text("niet helemaal geladen")
    await page.route("**/live", lambda route: route.fulfill(status=503))
    await page.goto(f"{town.address}/vloot")
    await expect(page.locator("#lost")).to_be_visible()
    await page.unroute("**/live")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
    await town.press("cam-05")
    await expect(page.locator("#alarm-banner")).to_contain_text("Daan de Boer")


async def test_searching_filtering_and_the_table_show_the_same_cameras(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await page.goto(f"{town.address}/vloot?stand=docked&vorm=tabel")
    rows = await page.locator("tbody tr").count()
    shown = await page.locator(".count--docked strong").text_content()
    assert rows == int(shown or 0)
    await page.goto(f"{town.address}/vloot?zoek=zeeman")
    await expect(page.locator(".tile")).to_have_count(1)
    await page.goto(f"{town.address}/vloot?aandacht=1")
    await expect(page.locator(".tile")).to_have_count(3)


async def test_hostile_text_from_outside_is_shown_as_text(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    await open_fleet(page, town.address)
    nasty = "<img src=x onerror=document.title='gekaapt'>\"'&"
    await town.press("cam-07", place=nasty)
    await town.say("cam-08", events.Tamper(what="<script>document.title='gekaapt'</script>"))
    await town.fleet.look("heusden")
    await expect(page.locator("#alarm-banner")).to_contain_text(nasty)
    await page.goto(f"{town.address}/vloot/cam-08")
    await expect(page.locator("#camera-reasons")).to_contain_text("<script>")
    assert "gekaapt" not in await page.title()
    assert await page.locator("main img").count() == 0


@pytest.mark.rule("H-32", "H-09")
async def test_a_page_that_is_not_yours_stays_closed_and_that_is_written_down(
    town: TownHall, open_browser: Open
) -> None:
    page = await open_browser()
    await sign_in(page, town.address, "Pieter Bosch")
    answer = await page.goto(f"{town.address}/vloot")
    assert answer is not None
    assert answer.status == 403
    async with town.database.transaction() as t:
        rows = (await t.execute(select(denials))).all()
    assert [(row.who, row.what) for row in rows] == [("o-104", "vloot")]
    assert await entries(town, "denial") == ["o-104"]


async def test_every_page_says_that_hardware_keys_do_not_enforce_this(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await page.goto(f"{town.address}/openbaar")
    await expect(page.locator(".demo-strip")).to_contain_text("niet afgedwongen door hardwaresleutels")
    await sign_in(page, town.address, COORDINATOR)
    for path in ("/vloot", "/activeringen", "/opnamen", "/kijkkamer", "/demo"):
        await page.goto(town.address + path)
        await expect(page.locator(".demo-strip")).to_contain_text("niet afgedwongen door hardwaresleutels")


async def test_signing_out_ends_the_session_and_its_live_page(town: TownHall, open_browser: Open) -> None:
    page = await open_browser()
    await sign_in(page, town.address, COORDINATOR)
    cookie = next(each for each in await page.context.cookies() if each["name"] == "__Host-vierogen")
    assert cookie["secure"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    await sign_out(page)
    await page.goto(f"{town.address}/vloot")
    await expect(page).to_have_url(f"{town.address}/aanmelden")


@pytest.mark.rule("R-26", "H-70")
async def test_residents_read_the_policy_in_plain_words_without_signing_in(town: TownHall, open_browser: Open) -> None:
    page = await open_browser(width=320)
    await page.goto(f"{town.address}/openbaar")
    text = await page.locator("main").inner_text()
    assert "30 seconden" in text
    assert "28 dagen" in text.replace("\n", " ")
    assert "2 personen tegelijk" in text.replace("\n", " ")
    wide = await page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 320, "nothing to scroll sideways"
