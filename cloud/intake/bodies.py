"""Taking in request bodies without trusting the sender's size, speed or patience."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.wire.refusals import Code, refuse
from cloud.vault.store import PIECE_BYTES

SOCKET_BYTES: Final = 256 * 1024
"""What one request holds beside its own piece: TLS records, the transport's and the parser's buffers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one receiver takes on at the same time.

    A dock at 1 Mbit/s with eight connections gives each 16 kB/s; whoever stays far below that for a minute is stuck.
    """

    budget_bytes: int = 128 * 1024 * 1024  # memory for bodies in flight, of all docks together
    share_of_one: float = 0.5  # of what the other docks leave, for one: slow ones cannot keep the others out
    idle_s: float = 30.0  # longest silence within a body
    grace_s: float = 60.0  # from then on the mean rate counts
    least_bytes_per_s: float = 1024.0


class Budget:
    """Memory that bodies in flight may take. What does not fit is refused before its body: nothing queues in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()

    def cost(self, size: int) -> int:
        """Return what a body of this size takes at most, in bytes: one piece of it, and the buffers on the way."""
        return min(size, PIECE_BYTES) + SOCKET_BYTES

    def guard(self, dock: str, size: int) -> None:
        """Raise Refused (TOO_MANY) when there is no room for such a body now."""
        self._guard(dock, self.cost(size))

    def _guard(self, dock: str, cost: int) -> None:
        most, taken = self._limits.budget_bytes, self._taken.total()
        mine = (most - taken + self._taken[dock]) * self._limits.share_of_one
        if self._taken[dock] + cost > mine:
            raise refuse(
                Code.TOO_MANY,
                "receiver",
                expected=f"at most {int(mine)} bytes in flight of this dock, of {most}",
                got=f"{self._taken[dock]} and {cost} more, {taken} of all docks",
            )

    def take(self, dock: str, size: int) -> AbstractContextManager[None]:
        """Return room for one body that streams; raise Refused (TOO_MANY)."""
        self.guard(dock, size)
        return self._hold(dock, self.cost(size))

    def take_whole(self, dock: str, room: int) -> AbstractContextManager[None]:
        """Return room for one body that is held as a whole, in `room` bytes; raise Refused (TOO_MANY)."""
        self._guard(dock, room + SOCKET_BYTES)
        return self._hold(dock, room + SOCKET_BYTES)

    @contextmanager
    def _hold(self, dock: str, cost: int) -> Iterator[None]:
        self._taken[dock] += cost
        try:
            yield
        finally:
            self._taken[dock] -= cost
            if not self._taken[dock]:
                del self._taken[dock]


def announced_size(request: web.Request, *, most: int) -> int:
    """Return Content-Length; raise Refused (LENGTH_REQUIRED, TOO_LARGE, MALFORMED)."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise refuse(Code.MALFORMED, "body", expected="no content encoding", got=request.headers["Content-Encoding"])
    size = request.content_length
    if size is None:
        raise refuse(Code.LENGTH_REQUIRED, "body", expected="Content-Length", got="none")
    if size > most:
        raise refuse(Code.TOO_LARGE, "body", expected=f"at most {most} bytes", got=size)
    return size


async def pieces(request: web.Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the body as it comes; raise Refused (UNAVAILABLE) when the sender stalls or crawls."""
    loop = asyncio.get_running_loop()
    start, came = loop.time(), 0
    while True:
        try:
            async with asyncio.timeout(limits.idle_s):
                piece = await request.content.readany()
        except TimeoutError as cause:
            raise refuse(
                Code.UNAVAILABLE, "body", expected=f"bytes within {limits.idle_s} s", got=f"none after {came} bytes"
            ) from cause
        if not piece:
            return
        came += len(piece)
        took = loop.time() - start
        if took > limits.grace_s and came < took * limits.least_bytes_per_s:
            raise refuse(
                Code.UNAVAILABLE,
                "body",
                expected=f"at least {limits.least_bytes_per_s} bytes/s",
                got=f"{came} bytes in {took:.0f} s",
            )
        yield piece


async def whole(request: web.Request, limits: Limits, *, size: int) -> bytearray:
    """Return a body that is small enough to hold; raise Refused (MALFORMED when it is not as long as announced)."""
    body = bytearray()
    async for piece in pieces(request, limits):
        body += piece
    if len(body) != size:
        raise refuse(Code.MALFORMED, "body", expected=f"{size} bytes as announced", got=len(body))
    return body
