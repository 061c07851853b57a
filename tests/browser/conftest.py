"""A town and browsers to look at it with. Skipped, with the reason, where Debian's chromium is not installed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.browser.pages import SLOW_MS
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

PATIENT = "{ const never = new AbortController().signal; AbortSignal.timeout = () => never; }"
"""No answer of a busy machine is too late for a page: what `silence_allowed` is to the server. A lost network is."""

Open = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Play a module's tests in one loop, that of its browser. A fixture of its own says `loop_scope="module"` too."""
    for item in items:
        if item.path.parent == Path(__file__).parent and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(loop_scope="module")
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    """A municipality on an ordinary afternoon, with its desk open."""
    async with open_town(tmp_path) as hall:
        await fill_the_streets(hall)
        yield hall


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as Debian packages it: one for a module, in which each person has a place of their own."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS, timeout=SLOW_MS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_browser(browser: Browser) -> AsyncIterator[Open]:
    """Give each person a browser of their own; a page that raises an error or breaks its own policy fails the test."""
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    async def open_one(*, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, locale="nl-NL", color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        context.set_default_timeout(SLOW_MS)
        await context.add_init_script(PATIENT)
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None,
        )
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert not problems, problems
