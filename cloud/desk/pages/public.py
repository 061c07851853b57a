"""What everybody may read without signing in."""

from typing import Final

from aiohttp import web

from cloud.desk.pages.figures import PUBLISHED, cell_names, public_figures, quarter_name, titles
from cloud.desk.town import page, town_of, words_of


async def show(request: web.Request) -> web.StreamResponse:
    """What the policy says, in plain words, and how often it was used; nothing personal."""
    town, words = town_of(request), words_of(request)
    quarter, counted = await public_figures(town, request.config_dict[PUBLISHED])
    return await page(
        request,
        "public.html",
        checkpoint=town.ledger.checkpoint(),
        quarter=quarter_name(words)(quarter),
        figures=[each for each in counted if each.total != 0],
        titles=titles(words),
        cell_names=cell_names(words, await town.policy()),
    )


ROUTES: Final = (web.get("/openbaar", show),)
