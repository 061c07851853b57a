"""What a browser sees where there is no page, and where something of ours broke: a page, with a way on."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from cloud.desk.town import asks_for_page, page

LOG: Final = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LAST_RESORT: Final = (
    "Er ging iets mis bij ons. Probeer het over een minuut opnieuw, of meld het aan uw beheerder.\n"
    "Something went wrong on our side. Try again in a minute, or tell your administrator.\n"
)
"""Said when not even a page can be drawn: the database may be what broke."""


@web.middleware
async def with_error_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a browser that asked for a page with a page, also where there is none (4xx) and where we failed (500).

    A program, and a page that asks for a part of itself, keep the bare answer. A failure is logged here, once.
    """
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400 or not asks_for_page(request):
            raise
        drawn = await page(request, "no_page.html", status=answer.status)
        if hdrs.ALLOW in answer.headers:
            drawn.headers[hdrs.ALLOW] = answer.headers[hdrs.ALLOW]
        return drawn
    except ConnectionResetError:
        raise  # the browser left
    except Exception:
        if not asks_for_page(request):
            raise
        LOG.exception("%s %s failed", request.method, request.path)
        return await _broken(request)


async def _broken(request: web.Request) -> web.Response:
    try:
        return await page(request, "no_page.html", status=500)
    except Exception:
        LOG.exception("the page that says so failed as well")
        return web.Response(text=LAST_RESORT, status=500)
