# ruff: noqa: E501 - the questions to a page are one line of its own language each
"""Somebody who has no mouse: goes by Tab from one thing to the next, and must see at each stop where that is."""

from dataclasses import dataclass, field
from typing import Any, Final

from playwright.async_api import Page

from tests.browser.pages import SLOW_MS

MOST_STOPS: Final = 150

_STOP: Final = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  const drawn = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== 'none';
  const points = [[0.5, 0.5], [0.02, 0.1], [0.98, 0.9], [0.02, 0.9], [0.98, 0.1]].map(([x, y]) => [box.left + box.width * x, box.top + box.height * y]);
  const seen = points.some(([x, y]) => { const top = document.elementFromPoint(x, y); return top && (at.contains(top) || top.contains(at) || top.closest('label')?.contains(at)); });
  const name = at.getAttribute('aria-label') || [...(at.labels || [])].map(each => each.innerText).join(' ') || at.innerText || at.value || '';
  return { name: name.replace(/\\s+/g, ' ').trim(), tag: at.tagName, html: at.outerHTML.slice(0, 120), drawn, seen, positive: at.tabIndex > 0 };
}"""


@dataclass(kw_only=True)
class Keyboard:
    """The keys under somebody's hands. What is wrong with a stop is remembered in `wrong`."""

    page: Page
    wrong: list[str] = field(default_factory=list)
    stops: int = 0

    async def stop(self) -> dict[str, Any] | None:
        """Return where the focus is, or None when it is nowhere; a stop must be drawn and not lie under something."""
        at: dict[str, Any] | None = await self.page.evaluate(_STOP)
        if at is not None:
            self.stops += 1
            for problem, there in (
                ("no outline", not at["drawn"]),
                ("hidden", not at["seen"]),
                ("jumps", at["positive"]),
            ):
                if there:
                    self.wrong.append(f"{problem}: {self.page.url} {at['html']}")
        return at

    async def to(self, name: str, *, most: int = MOST_STOPS) -> None:
        """Press Tab until what has the focus is called like this, on a page that is all there."""
        await self.page.wait_for_load_state()
        passed = []
        for _ in range(most):
            await self.page.keyboard.press("Tab")
            at = await self.stop()
            if at is not None and name in at["name"]:
                return
            passed.append(at["name"][:30] if at else "-")
        raise AssertionError(f"no {name!r} on {self.page.url} after {most} stops: {passed}")

    async def enter(self, name: str) -> None:
        """Go there and press Enter."""
        await self.to(name)
        await self.page.keyboard.press("Enter")

    async def tick(self, name: str) -> None:
        """Go to a box and tick it."""
        await self.to(name)
        await self.page.keyboard.press("Space")

    async def write(self, name: str, text: str) -> None:
        """Go to a field and write into it."""
        await self.to(name)
        await self.page.keyboard.type(text)

    async def choose(self, first: str, wanted: str) -> None:
        """Go to a group of choices and walk through it with the arrows; `first` is what Tab comes to."""
        await self.to(first)
        for _ in range(20):
            at = await self.stop()
            if at is not None and wanted in at["name"]:
                break
            await self.page.keyboard.press("ArrowDown")
        else:
            raise AssertionError(f"no {wanted!r} among {first!r} on {self.page.url}")
        await self.page.keyboard.press("Space")

    async def arrive(self, path: str) -> None:
        """Wait until the page with this in its address is there."""
        await self.page.wait_for_url(lambda address: path in address, wait_until="load", timeout=SLOW_MS)

    async def around(self) -> list[str]:
        """Go from the top past everything there is, to the top again; return the names. A trap would never end."""
        await self.to("Naar de inhoud")
        names = ["Naar de inhoud"]
        for _ in range(MOST_STOPS):
            await self.page.keyboard.press("Tab")
            at = await self.stop()
            if at is not None and at["name"] == names[0]:
                return names
            if at is not None:
                names.append(at["name"])
        raise AssertionError(f"no way around {self.page.url}: {names[-5:]}")
