"""Puts the interface for programs beside the pages, behind the same guard."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from cloud.api.answering import JSON, REPEATS, TURNS, Repeats, Turns, answer_machines, handler_of, say_version
from cloud.api.declaration import BASE
from cloud.api.document import encoded
from cloud.api.operations import OPERATIONS
from cloud.api.publisher import Publisher
from cloud.database.kept_answers import KeptAnswers
from cloud.desk.town import Town

LOG: Final = logging.getLogger(__name__)

FORGET_EVERY_S: Final = 3600.0

ANYWHERE: Final = {"Access-Control-Allow-Origin": "*"}
"""Who reads the document may be any site (design rule /core/publish-openapi); it says nothing about anybody."""


def mount_api(app: web.Application, town: Town, publisher: Publisher) -> None:
    """Add every operation to the desk. Called before the desk starts."""
    document = encoded(publisher)

    async def show_document(_request: web.Request) -> web.Response:
        return web.Response(body=document, content_type=JSON, headers=ANYWHERE)

    kept = KeptAnswers(town.database, town.clock, org=town.org)
    app[REPEATS], app[TURNS] = Repeats(kept), Turns()
    app.middlewares.insert(1, answer_machines)  # inside the headers for browsers, around everything that refuses
    app.on_response_prepare.append(say_version)
    app.router.add_get(f"{BASE}/openapi.json", show_document)
    for each in OPERATIONS:
        address, handle = f"{BASE}{each.path}", handler_of(each)
        if each.method == "GET":
            app.router.add_get(address, handle, allow_head=each.head)
        else:
            app.router.add_route(each.method, address, handle)

    async def forgetting(_app: web.Application) -> AsyncIterator[None]:
        """Forget old answers while the desk is open."""
        task = asyncio.create_task(_forget_old(kept), name="cloud.api.kept-answers")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.cleanup_ctx.append(forgetting)


async def _forget_old(kept: KeptAnswers) -> None:
    while True:
        try:
            await kept.forget_old()
        except Exception:
            LOG.exception("old answers stay until the next time")
        await asyncio.sleep(FORGET_EVERY_S)
