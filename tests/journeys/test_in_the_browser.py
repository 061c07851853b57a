"""The story that README.md tells, as people see it: fifty cameras, an alert, a case, two people, day 28.

The pictures in docs/pictures come from here: `make pictures`.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.browser.conftest import CHROMIUM, FLAGS, PATIENT
from tests.browser.pages import (
    SLOW_MS,
    acknowledge,
    approve,
    move_clock,
    open_fleet,
    picture,
    play,
    press_button,
    register_case,
    request_viewing,
    sign_in,
    sit_down,
)
from tests.journeys.town import Running, eventually, running

COORDINATOR, PRIVACY, MANAGER = "Marieke de Wit", "Yasmina El Amrani", "Hans Verhoeven"
RATE = 4.0


async def person(browser: Browser, base: str, name: str) -> Page:
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, locale="nl-NL")
    context.set_default_timeout(SLOW_MS)
    await context.add_init_script(PATIENT)
    page = await context.new_page()
    await sign_in(page, base, name)
    return page


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(1200)
async def test_a_newcomer_walks_the_story_of_the_readme(folder: Path, three_ports: int) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    from playwright.async_api import async_playwright

    async with (
        running(folder, "heusden", three_ports, film=None, rate=RATE, cameras=50) as story,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS, timeout=SLOW_MS)
        try:
            await _story(story, browser)
        finally:
            await browser.close()


async def _story(story: Running, browser: Browser) -> None:
    coordinator = await person(browser, story.base, COORDINATOR)
    await _fifty_cameras_and_an_alert_without_reloading(story, coordinator)
    recording, forgotten = await _two_recordings_come_in(story)
    officer, manager = await person(browser, story.base, PRIVACY), await person(browser, story.base, MANAGER)
    case = await register_case(
        officer, story.base, kind="access_request", summary="Verzoek van een omstander", recording=recording
    )
    await _two_people_look(story, officer, manager, case)
    await _day_28(story, officer, recording, forgotten)


async def _fifty_cameras_and_an_alert_without_reloading(story: Running, page: Page) -> None:
    await open_fleet(page, story.base)
    for number in (12, 23, 34, 45):
        story.press(f"cam-{number}.dock")
    stand_by = page.locator(".tile", has_text="Stand-by")
    await expect(stand_by).to_have_count(46, timeout=300_000)
    await story.ring_is_full(46, 30)
    hand = await page.context.new_page()
    await press_button(hand, story.base, "cam-07")
    await hand.close()
    await expect(page.locator("#alarm .alarm__row")).to_have_count(1)
    await expect(page.locator("#alarm")).to_contain_text(re.compile(r"(29|30) s vooropname"))  # whole seconds
    await expect(page.locator(".tile", has_text="Neemt op")).to_have_count(1)
    await picture(page, "vloot")
    story.press("cam-19")
    await expect(page.locator("#alarm .alarm__row")).to_have_count(2)
    await acknowledge(page)
    await acknowledge(page)
    row = await story.row("SELECT count(*) FROM activations WHERE acknowledged_by = 'o-101'")
    assert row == (2,)


async def _two_recordings_come_in(story: Running) -> tuple[str, str]:
    """Both cameras are switched off and docked; the cloud has both, and lists them without content."""
    await asyncio.sleep(12 / RATE)
    for camera in ("cam-07", "cam-19"):
        story.press(f"{camera}.off")
    await story.hands_off()
    for camera in ("cam-07", "cam-19"):
        story.press(f"{camera}.dock")

    async def of(camera: str) -> str | None:
        row = await story.row("SELECT id FROM recordings WHERE state = 'retained' AND camera = ?", camera)
        return str(row[0]) if row else None

    first = await eventually("the recording of cam-07", lambda: of("cam-07"), within_s=180)
    return first, await eventually("the recording of cam-19", lambda: of("cam-19"), within_s=180)


@contextlib.asynccontextmanager
async def staying(*pages: Page) -> AsyncIterator[None]:
    """Let whoever a busy machine made fall silent sit down again, as a person would."""
    over = asyncio.Event()

    async def sit_again(page: Page) -> None:
        while not over.is_set():
            with contextlib.suppress(PlaywrightTimeout):  # still there
                await page.locator("#sit:enabled").click(timeout=1_000)

    async with asyncio.TaskGroup() as tasks:
        for page in pages:
            tasks.create_task(sit_again(page))
        try:
            yield
        finally:
            over.set()


async def _two_people_look(story: Running, first: Page, second: Page, case: str) -> None:
    room = await request_viewing(first, story.base, case, second=MANAGER, reason="Staat de verzoeker erop?")
    await approve(second, story.base, room)
    for page in (first, second):
        await sit_down(page, story.base, room)
    async with staying(first, second):
        for page in (first, second):
            seen = await play(page)
            assert seen["width"] > 0
            assert seen["frames"] > 5
        await picture(first, "kijkkamer")
    await second.close()  # in a seat, or just out of it: there may be no button to leave by
    await expect(first.locator("#veil")).to_be_visible()


async def _day_28(story: Running, page: Page, held: str, forgotten: str) -> None:
    await move_clock(page, story.base)

    async def destroyed() -> bool:
        return await story.row("SELECT state FROM recordings WHERE id = ?", forgotten) == ("destroyed",)

    await eventually("the recording that no case holds destroyed", destroyed, within_s=180)
    assert await story.row("SELECT state FROM recordings WHERE id = ?", held) == ("held",)
    await page.goto(f"{story.base}/opnamen/{forgotten}")
    await expect(page.locator("main")).to_contain_text("vernietigd", ignore_case=True)
