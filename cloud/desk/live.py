"""The stream of news: numbered, so that who was away asks for what it missed. Pages and programs follow the same."""

import asyncio
import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from aiohttp import web

from cloud.casework.programs import Program
from cloud.desk.addresses import client_address
from cloud.desk.guard import HEADERS
from cloud.desk.programs import PROGRAM
from cloud.desk.sessions import Session
from cloud.desk.town import SESSION, Town, loop_s, town_of
from cloud.fleet.live import RESET, LiveEvent, Subscription
from cloud.rules.programs import judge_news, judge_standing

TICK_S: Final = 3.0
"""A sign of life this often: a browser that hears nothing for three of them says that the connection is lost."""

STUCK_S: Final = 30.0
"""Who takes nothing for so long is cut off; it comes back with the number of the last news that it read whole."""

MOST_OF_A_PROGRAM: Final = 4
"""Streams that one program may have open, beyond it the oldest ends: of one that vanished we may not hear for long."""

SENT: Final = frozenset({"camera", "dock", "recording", "activation", "room", "case", "incident"})
"""Which identifiers of an event are told: enough to know what to ask for again, and no personal data."""


_CLOSED: Final = "het bureau stopt, of dit programma opende er te veel"


class Follower(Protocol):
    """Who follows the news."""

    def hears(self, event: LiveEvent) -> bool:
        """Whether it may be told of this."""

    def sign_of_life(self) -> Mapping[str, object]:
        """Return what a tick says."""

    async def why_over(self, event: LiveEvent | None) -> str | None:
        """Return why it may not be told of this, nor of anything after it; None: go on. No event: a tick."""


class PageFollower:
    """A page of somebody who signed in. That it is open is a sign of life: a coordinator's wall does not go blind for
    want of a click.
    """

    def __init__(self, town: Town, session: Session) -> None:
        self._town, self._session = town, session

    def hears(self, event: LiveEvent) -> bool:  # noqa: ARG002 - asking again by it is what takes a right
        """Everything: it says only what to ask for again."""
        return True

    def sign_of_life(self) -> Mapping[str, object]:
        """Return which session this is of, and how long that lasts at most."""
        left = int(self._town.sessions.left_s(self._session, now_s=loop_s()))
        return {"session": self._session.id, "left": left}

    async def why_over(self, event: LiveEvent | None) -> str | None:  # noqa: ARG002 - whatever it is about
        """Until the session ends."""
        there = self._town.sessions.find(self._session.token, now_s=loop_s())
        return None if there else "deze aanmelding is voorbij"


class ProgramFollower:
    """A program: it hears what its account may read, until that ends."""

    def __init__(self, town: Town, program: Program, address: IPv4Address | IPv6Address) -> None:
        self._town, self._program, self._address = town, program, address

    def hears(self, event: LiveEvent) -> bool:
        """What its scopes open; and that everything must be read anew."""
        return event.kind == RESET or bool(judge_news(self._program.scopes, event.kind, event.data))

    def sign_of_life(self) -> Mapping[str, object]:
        """Return nothing: that it comes is enough."""
        return {}

    async def why_over(self, event: LiveEvent | None) -> str | None:
        """Until the account ends, which is news itself, and its day, which is looked at each time."""
        if event is None or event.kind in ("program", RESET):
            self._program = await self._town.programs.program(self._town.org, self._program.id)
        verdict = judge_standing(self._program.standing, address=self._address, now=self._town.now())
        return None if verdict else verdict.waarom


async def stream(request: web.Request) -> web.StreamResponse:
    """Send news until whoever asked leaves or may not go on, or the desk stops.

    After `Last-Event-ID` comes what was missed, or `reset`, as for who reads slower than things happen.
    """
    town, program = town_of(request), request.get(PROGRAM)
    follower: Follower
    if program is None:
        follower = PageFollower(town, request[SESSION])
    else:
        follower = ProgramFollower(town, program, client_address(request))
        own = [news for news, whose in town.streams.items() if whose == program.id]
        for oldest in own[: max(0, len(own) - MOST_OF_A_PROGRAM + 1)]:
            oldest.close()
    last = request.headers.get("Last-Event-ID", "")
    after = int(last) if re.fullmatch(r"[0-9]{1,18}", last) else None
    with town.hub.subscribe(town.org, after) as news:
        seen = town.hub.newest if after is None else after
        town.streams[news] = program.id if program else ""
        try:
            response = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
            response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
            await response.prepare(request)
            await _tell(response, news, follower, seen)
        except ConnectionResetError:
            pass  # whoever asked left
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            del town.streams[news]
    return response


async def _tell(response: web.StreamResponse, news: Subscription, follower: Follower, seen: int) -> None:
    """Write what comes, numbered; on a tick the number of what was last let pass, so that nothing comes twice."""
    await _write(response, b"retry: 1000\n")
    event: LiveEvent | None = None
    while (over := _CLOSED if news.closed else await follower.why_over(event)) is None:
        if event is None:
            await _write(response, _said("tick", follower.sign_of_life(), seen))
        elif follower.hears(event):
            told = {name: str(value) for name, value in event.data.items() if name in SENT and value}
            await _write(response, _said(event.kind, told, event.id))
        event = await _next(news)
        seen = event.id if event is not None else seen
    await _write(response, _said("end", {"reden": over}))


async def _next(news: Subscription) -> LiveEvent | None:
    """Return the next event, or None when it is time for a sign of life, or the end."""
    try:
        async with asyncio.timeout(TICK_S):
            return await anext(news, None)
    except TimeoutError:
        return None


async def _write(response: web.StreamResponse, raw: bytes) -> None:
    async with asyncio.timeout(STUCK_S):
        await response.write(raw)


def _said(kind: str, data: Mapping[str, object], number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


ROUTES: Final = (web.get("/live", stream),)
