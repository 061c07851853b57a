"""Puts the interface for programs beside the pages, behind the same guard."""

from typing import Final

from aiohttp import web

from cloud.api.answering import JSON, REPEATS, TURNS, Repeats, Turns, answer_machines, handler_of, say_version
from cloud.api.declaration import BASE
from cloud.api.document import encoded
from cloud.api.operations import OPERATIONS
from cloud.api.publisher import Publisher
from cloud.database.kept_answers import KeptAnswers
from cloud.desk.town import Town

ANYWHERE: Final = {"Access-Control-Allow-Origin": "*"}
"""Who reads the document may be any site (design rule /core/publish-openapi); it says nothing about anybody."""


def mount_api(app: web.Application, town: Town, publisher: Publisher) -> None:
    """Add every operation to the desk. Called before the desk starts."""
    document = encoded(publisher)

    async def show_document(_request: web.Request) -> web.Response:
        return web.Response(body=document, content_type=JSON, headers=ANYWHERE)

    app[REPEATS], app[TURNS] = Repeats(KeptAnswers(town.database, town.clock, org=town.org)), Turns()
    app.middlewares.insert(1, answer_machines)  # inside the headers for browsers, around everything that refuses
    app.on_response_prepare.append(say_version)
    app.router.add_get(f"{BASE}/openapi.json", show_document)
    for each in OPERATIONS:
        address, handle = f"{BASE}{each.path}", handler_of(each)
        if each.method == "GET":
            app.router.add_get(address, handle, allow_head=each.head)
        else:
            app.router.add_route(each.method, address, handle)
