"""The accessibility statement: what was tested, how, and what does not work for everybody yet. Open to everybody.

After the model of https://www.digitoegankelijk.nl, which the Besluit digitale toegankelijkheid overheid asks for. The
municipality whose desk this is publishes it under its own name; what is said here is about the program.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from aiohttp import web

from cloud.desk.town import page


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """When and by what the pages were last tested."""

    on: date
    axe: str
    standard: str = "EN 301 549 / WCAG 2.2 A + AA"


TESTED: Final = Tested(on=date(2026, 11, 22), axe="4.14.1")
OMBUDSMAN: Final = "https://www.nationaleombudsman.nl/"


async def show(request: web.Request) -> web.StreamResponse:
    """Say it."""
    return await page(request, "accessibility.html", tested=TESTED, ombudsman=OMBUDSMAN)


ROUTES: Final = (web.get("/toegankelijkheid", show),)
