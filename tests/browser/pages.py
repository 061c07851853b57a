"""What a person does in the desk, one function per act; each waits for what it says."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

from playwright.async_api import Locator, Page, Route, expect

SLOW_MS = 120_000
"""How long a page may take on a busy machine; also where an expectation says nothing of it."""

expect.set_options(timeout=SLOW_MS)


async def follow(page: Page, button: Locator) -> None:
    """Press what leads to another page, and arrive there.

    A page that lives may say what came of it before the way there is gone, and what is then done on it is lost.
    """
    async with page.expect_navigation():
        await button.click()


@asynccontextmanager
async def held_back(page: Page, script: str) -> AsyncIterator[None]:
    """Let this script of a page not come before the block is over: a fast thumb on a slow line."""
    over = asyncio.Event()

    async def later(route: Route) -> None:
        await over.wait()
        await route.continue_()

    await page.route(f"**/static/{script}", later)
    yield
    over.set()


async def sign_in(page: Page, base: str, person: str) -> None:
    """Become one of the people of the demonstration, by name."""
    await page.goto(f"{base}/aanmelden")
    await page.get_by_role("button", name=person).click()
    await expect(page.locator(".bar__name")).to_have_text(person, timeout=SLOW_MS)


async def sign_out(page: Page) -> None:
    """Leave."""
    await page.locator(".bar__person summary").click()
    await page.get_by_role("button", name="Afmelden").click()
    await expect(page.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)


async def open_fleet(page: Page, base: str) -> None:
    """Look at the whole fleet, live."""
    await page.goto(f"{base}/vloot")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "live", timeout=SLOW_MS)


async def press_button(page: Page, base: str, camera: str, act: str = "press") -> None:
    """Press a camera's button in the demonstration; `act`: press, off, dock or undock."""
    await page.goto(f"{base}/vloot/{camera}")
    await follow(page, page.locator(f"button[name=doe][value={act}]"))


async def acknowledge(page: Page) -> None:
    """Say of the newest activation: I have seen this."""
    rows = page.locator("#alarm .alarm__row")
    await expect(rows.first).to_be_visible(timeout=SLOW_MS)
    before = await rows.count()
    await rows.first.get_by_role("button").click()
    await expect(rows).to_have_count(before - 1, timeout=SLOW_MS)


async def register_case(page: Page, base: str, *, kind: str, summary: str, recording: str | None = None) -> str:
    """Register a case about a recording (the newest when None); return the case's id. `kind` as in the policy."""
    await page.goto(f"{base}/dossiers/nieuw" + (f"?opname={recording}" if recording else ""))
    await page.locator(f"input[name=soort][value={kind}]").check()
    await page.locator("textarea[name=omschrijving]").fill(summary)
    if recording is None:
        await page.locator("input[name=opname]").first.check()
    await page.get_by_role("button", name="Leg vast en bewaar de beelden").click()
    await expect(page.locator("#holds")).to_be_visible(timeout=SLOW_MS)
    return page.url.rsplit("/", 1)[1]


async def request_viewing(page: Page, base: str, case: str, *, second: str, reason: str) -> str:
    """Ask for a case's footage with this second person (by name); return the room's id."""
    await page.goto(f"{base}/kijkkamer/nieuw?dossier={case}")
    form = page.locator("#ask-form")
    await form.locator(".choice", has_text=second).locator("input").check()
    await form.locator("textarea[name=reden]").fill(reason)
    await form.locator("input[name=alleen]").check()
    await form.get_by_role("button", name="Onderteken en vraag").click()
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)
    return page.url.rsplit("/", 1)[1]


async def approve(page: Page, base: str, room: str) -> None:
    """Read the request and agree."""
    await page.goto(f"{base}/kijkkamer/{room}")
    await follow(page, page.get_by_role("button", name="Ik keur dit goed en onderteken"))
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "approved", timeout=SLOW_MS)


async def sit_down(page: Page, base: str, room: str) -> None:
    """Take one's seat in the room."""
    if not page.url.endswith(f"/kijkkamer/{room}"):
        await page.goto(f"{base}/kijkkamer/{room}")
    await page.locator("#sit").click(timeout=SLOW_MS)


async def play(page: Page, *, seconds: float = 1.0) -> dict[str, float]:
    """Press play and wait until pictures have really moved; return width, frames and position of the film.

    A player that heard nothing from a busy machine for three seconds stops, as it must: then play is pressed again.
    """
    await expect(page.locator("#player")).to_be_visible(timeout=SLOW_MS)
    film: dict[str, float] = {}
    try:
        async with asyncio.timeout(SLOW_MS / 1000):
            while True:
                film = await watching(page)
                if film["width"] > 0 and film["at"] > seconds and film["frames"] > 5:
                    return film
                if film["paused"] and film["ready"] >= 2:
                    await page.locator("#play").click()
                await asyncio.sleep(0.1)
    except TimeoutError as too_long:
        raise AssertionError(f"it does not play: {film}, {await page.locator('#room-says').inner_text()}") from too_long


async def until(page: Page, expression: str, argument: object = None, *, within_s: float = SLOW_MS / 1000) -> None:
    """Wait until this is true in the page. (Playwright's own wait needs eval, which the desk's pages do not allow.)"""
    async with asyncio.timeout(within_s):
        while not await page.evaluate(expression, argument):
            await asyncio.sleep(0.1)


async def watching(page: Page) -> dict[str, float]:
    """Return what the film is doing: width of the picture, frames shown, position, whether it is paused (1.0), and how
    ready it is (2: there is a picture).
    """
    found: dict[str, float] = await page.evaluate(
        "() => { const f = document.getElementById('film'); return { width: f.videoWidth, at: f.currentTime, "
        "frames: f.getVideoPlaybackQuality().totalVideoFrames, paused: Number(f.paused), ready: f.readyState }; }"
    )
    return found


async def leave(page: Page) -> None:
    """Get up from one's seat."""
    await page.locator("#leave").click()


async def move_clock(page: Page, base: str, step: str = "bewaartermijn") -> None:
    """Move the demonstration's clock forward: uur, dag, week or bewaartermijn."""
    await page.goto(f"{base}/demo")
    await follow(page, page.locator(f"button[name=stap][value={step}]"))


DOCUMENTS: Final = (Path(__file__).parents[2] / "README.md", *(Path(__file__).parents[2] / "docs").rglob("*.md"))
COLOURS: Final = 256
"""Of a picture in the documentation: a page needs no more, and a clone stays small."""


async def picture(page: Page, name: str) -> None:
    """Keep a picture of what is on the screen for the documentation: where VIEROGEN_PICTURES names a folder, and only
    one that the documentation shows.
    """
    folder = os.environ.get("VIEROGEN_PICTURES")
    if not folder or not any(f"pictures/{name}.png" in each.read_text(encoding="utf-8") for each in DOCUMENTS):
        return
    from PIL import Image  # here, because only whoever makes the pictures needs it

    raw = await page.screenshot(animations="disabled")
    shown = Image.open(BytesIO(raw)).convert("RGB")
    few = shown.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # keeps what is small
    few.save(Path(folder) / f"{name}.png", optimize=True)
