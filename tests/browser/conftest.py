"""A town and browsers to look at it with. Skipped, with the reason, where Debian's chromium is not installed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.town import TownHall, fill_the_streets, open_town

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]

Open = Callable[..., Awaitable[Page]]


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    """A municipality on an ordinary afternoon, with its desk open."""
    async with open_town(tmp_path) as hall:
        await fill_the_streets(hall)
        yield hall


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as Debian packages it."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield started
        await started.close()


@pytest.fixture
async def open_browser(browser: Browser) -> AsyncIterator[Open]:
    """Give each person a browser of their own; a page that raises an error or breaks its own policy fails the test."""
    problems: list[str] = []

    async def open_one(*, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, locale="nl-NL", color_scheme="dark" if dark else "light"
        )
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None,
        )
        return page

    yield open_one
    assert not problems, problems
