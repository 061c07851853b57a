# ruff: noqa: E501 - the questions to a page are one line of its own language each
"""Every page as three people see it: on a screen on the wall, on a telephone, and at night.

Set VIEROGEN_LOOKS to a folder to keep a picture of each, in each look; the documentation's come from elsewhere.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.pages import register_case, request_viewing, sign_in
from tests.browser.town import TownHall

pytestmark = [pytest.mark.browser, pytest.mark.slow]

UNNAMED = """() => [...document.querySelectorAll('main button, main a[href], main input:not([type=hidden]), main select, main textarea, header button, header a')]
  .filter(e => e.checkVisibility() && !(e.innerText || '').trim() && !e.getAttribute('aria-label') && !e.closest('label') && !(e.labels && e.labels.length))
  .map(e => e.outerHTML.slice(0, 120))"""
SMALL = """() => [...document.querySelectorAll('main button, main input:not([type=hidden]), main select')]
  .filter(e => e.checkVisibility()).map(e => [e, e.getBoundingClientRect()])
  .filter(([e, r]) => (r.width < 18 || r.height < 18) && !e.closest('label')).map(([e]) => e.outerHTML.slice(0, 120))"""
FAINT = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const bright = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (let at = e; at; at = at.parentElement) { const c = parse(getComputedStyle(at).backgroundColor); if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest('.player, .visually-hidden, :disabled, .skip, .choice:has(input:disabled), option')) continue;
    const style = getComputedStyle(e), ink = parse(style.color);
    if (ink.length > 3 && ink[3] < 1) continue;
    const [a, b] = [bright(ink.slice(0, 3)), bright(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.05) found.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
  }
  return [...new Set(found)];
}"""


LOOKS = [("nacht", 1440, 900, True), ("scherm", 1440, 900, False), ("telefoon", 320, 640, False)]
"""The first is always looked at; the others only for their pictures, as test_accessible.py looks at them too."""


@dataclass(frozen=True)
class Place:
    """A page, and who looks at it."""

    name: str
    path: str
    person: str


@pytest_asyncio.fixture(loop_scope="module")
async def places(town: TownHall, open_browser: Open) -> list[Place]:
    """A town in which something has happened on every page."""
    recording = await town.film("cam-03")
    await town.film("cam-11")
    page = await open_browser()
    await sign_in(page, town.address, "Yasmina El Amrani")
    case = await register_case(
        page,
        town.address,
        kind="access_request",
        summary="Een omstander vraagt om de beelden",
        recording=str(recording),
    )
    room = await request_viewing(
        page, town.address, case, second="Hans Verhoeven", reason="Beoordelen of de verzoeker in beeld is"
    )
    await town.press("cam-07")
    coordinator, privacy, manager = "Marieke de Wit", "Yasmina El Amrani", "Hans Verhoeven"
    return [
        Place("vloot", "/vloot", coordinator),
        Place("vloot-tabel", "/vloot?vorm=tabel", coordinator),
        Place("camera", "/vloot/cam-07", coordinator),
        Place("activeringen", "/activeringen", coordinator),
        Place("demo", "/demo", coordinator),
        Place("opnamen", "/opnamen", privacy),
        Place("opname", f"/opnamen/{recording}", privacy),
        Place("kalender", "/opnamen/kalender", privacy),
        Place("dossiers", "/dossiers", privacy),
        Place("dossier-nieuw", "/dossiers/nieuw", privacy),
        Place("dossier", f"/dossiers/{case}", privacy),
        Place("kijkkamer", "/kijkkamer", manager),
        Place("kijkkamer-verzoek", f"/kijkkamer/{room}", manager),
        Place("kijkkamer-nieuw", f"/kijkkamer/nieuw?dossier={case}", privacy),
        Place("logboek", "/logboek", privacy),
        Place("meldingen", "/meldingen", "Amir Aydin"),
        Place("melding", "/meldingen/nieuw", "Amir Aydin"),
        Place("openbaar", "/openbaar", privacy),
    ]


@pytest.mark.parametrize(("look", "width", "height", "dark"), LOOKS if "VIEROGEN_LOOKS" in os.environ else LOOKS[:1])
async def test_every_page_can_be_read_and_used(
    town: TownHall,
    open_browser: Open,
    places: list[Place],
    tmp_path: Path,
    look: str,
    width: int,
    height: int,
    dark: bool,
) -> None:
    folder = Path(os.environ.get("VIEROGEN_LOOKS", str(tmp_path / "looks")))
    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[str, Page] = {}
    wrong: list[str] = []
    for place in places:
        if place.person not in pages:
            pages[place.person] = await open_browser(width=width, height=height, dark=dark)
            await sign_in(pages[place.person], town.address, place.person)
        page = pages[place.person]
        await page.goto(town.address + place.path)
        await expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
        await page.screenshot(path=folder / f"{place.name}-{look}.png", full_page=width < 1000, animations="disabled")
        if await page.locator("h1").count() != 1:
            wrong.append(f"{place.name}: not one h1")
        across = await page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if across > 0:
            wrong.append(f"{place.name}: {across} px too wide")
        for question in (UNNAMED, SMALL, FAINT):
            wrong += [f"{place.name}: {each}" for each in await page.evaluate(question)]
    assert not wrong, "\n".join(wrong)
