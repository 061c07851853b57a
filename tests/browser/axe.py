# ruff: noqa: E501 - the questions to a page are one line of its own language each
"""What axe, and an eye for the width of a telephone, find wrong on a page."""

from typing import Any, Final

from playwright.async_api import Page

_TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
EVERYTHING: Final[dict[str, Any]] = {
    "runOnly": {"type": "tag", "values": _TAGS},
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],
}
"""The rules of WCAG 2.0 to 2.2, A and AA, and what axe's makers think good practice."""

LOOKS: Final[dict[str, Any]] = {
    "runOnly": {"type": "rule", "values": ["color-contrast", "target-size", "scrollable-region-focusable"]},
    "resultTypes": ["violations"],
}
"""Those that come out differently with other colours or another width."""

_RUN: Final = """async options => (await axe.run(document, options)).violations.flatMap(v => v.nodes.map(
  n => `${v.id} (${v.impact}): ${n.target.join(' ')} | ${n.html.slice(0, 160)} | ${(n.any.concat(n.all, n.none)[0] || {message: ''}).message.slice(0, 160)}`))"""
_TOO_WIDE: Final = """() => { const over = document.documentElement.scrollWidth - innerWidth; return over <= 0 ? [] : [`${over} px too wide: ` +
  [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.table-wrap, .bar__nav, .visually-hidden')).slice(0, 3).map(e => e.outerHTML.slice(0, 90)).join(' ~ ')]; }"""


async def faults(page: Page, options: dict[str, Any] = EVERYTHING) -> list[str]:
    """Return what axe finds on the page as it is now, a line for each place.

    Only once its style sheets have come: until then what a page says is there, and nothing looks as it will.
    """
    await page.wait_for_load_state("load")
    found: list[str] = await page.evaluate(_RUN, options)
    return found


async def too_wide(page: Page) -> list[str]:
    """Return what sticks out of the page, which then scrolls sideways."""
    found: list[str] = await page.evaluate(_TOO_WIDE)
    return found
