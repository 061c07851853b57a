"""The demonstration's own page: the clock, every button, and what to do next in the story."""

from datetime import timedelta
from typing import Final

from aiohttp import web

from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.fleet import state_names, tiles_of
from cloud.desk.town import back, deny, form, page, someone_of, town_of, words_of

STEPS: Final = {"uur": timedelta(hours=1), "dag": timedelta(days=1), "week": timedelta(days=7)}


async def show(request: web.Request) -> web.StreamResponse:
    """The panel."""
    town, words = town_of(request), words_of(request)
    if town.demo is None:
        return await deny(request, "demo", words("Dit is geen demonstratie."))
    return await page(
        request,
        "demo.html",
        tiles=await tiles_of(town, words),
        state_names=state_names(words),
        **await waiting_alarms(request),
    )


async def move_clock(request: web.Request) -> web.StreamResponse:
    """Let the whole town be later; the ledger says by whom and by how much."""
    town, words, fields = town_of(request), words_of(request), await form(request)
    if town.demo is None:
        return await deny(request, "clock", words("Dit is geen demonstratie."))
    step = fields.get("stap", "")
    term = timedelta(days=(await town.policy()).retention.days) + timedelta(minutes=1)
    by = term if step == "bewaartermijn" else STEPS.get(step)
    if by is None:
        return await deny(request, "clock", words("Kies hoeveel later het wordt."))
    await town.ledger.append(
        "clock.moved",
        subject=town.org,
        actor=someone_of(request).id,
        at=town.now(),
        facts={"seconds": int(by.total_seconds())},
    )
    town.demo.move_clock(by)
    town.hub.publish(town.org, "reset", {})
    raise web.HTTPSeeOther(back(fields, "/demo"))


ROUTES: Final = (
    web.get("/demo", show),
    web.post("/demo/klok", move_clock),
)
