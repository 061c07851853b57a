"""The stream of news to one browser: numbered, so that a browser that was away asks for what it missed."""

import asyncio
import json
from typing import Final

from aiohttp import web

from cloud.desk.guard import HEADERS
from cloud.desk.sessions import Session
from cloud.desk.town import Town, loop_s, session_of, town_of

TICK_S: Final = 3.0
"""A sign of life this often: a browser that hears nothing for three of them says that the connection is lost."""

SENT: Final = frozenset({"camera", "dock", "recording", "activation", "room", "case", "incident"})
"""Which identifiers of an event reach a browser: enough to know what to ask for again, and no personal data."""


async def stream(request: web.Request) -> web.StreamResponse:
    """Send news until the browser leaves, its session ends or the desk stops. An open page is a sign of life: a
    coordinator's wall does not go blind for want of a click.
    """
    town, session = town_of(request), session_of(request)
    last = request.headers.get("Last-Event-ID", "")
    response = web.StreamResponse(
        headers=HEADERS | {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    with town.hub.subscribe(town.org, int(last) if last.isdigit() else None) as news:
        town.streams.add(news)
        await response.write(b"retry: 1000\n" + _tick(town, session))
        following = asyncio.ensure_future(anext(news))
        try:
            while not news.closed:
                done, _ = await asyncio.wait({following}, timeout=TICK_S)
                if session is None or town.sessions.find(session.token, now_s=loop_s()) is None:
                    break
                if not done:
                    await response.write(_tick(town, session))
                    continue
                event = following.result()
                data = json.dumps({name: str(value) for name, value in event.data.items() if name in SENT})
                await response.write(f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode())
                following = asyncio.ensure_future(anext(news))
        except (ConnectionResetError, StopAsyncIteration):
            pass  # the browser left, or the desk stops
        finally:
            following.cancel()
    return response


def _tick(town: Town, session: Session | None) -> bytes:
    """Return a sign of life: which session it is of, and how long that lasts at most."""
    if session is None:
        return b"event: tick\ndata: {}\n\n"
    left = int(town.sessions.left_s(session, now_s=loop_s()))
    return f'event: tick\ndata: {{"session": "{session.id}", "left": {left}}}\n\n'.encode()


ROUTES: Final = (web.get("/live", stream),)
