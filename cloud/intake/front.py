"""The fast lane in front of the ordinary handler: whole segments and bundles, read straight into their own buffer.

A connection starts here. A request that is exactly ``PUT /v1/segments/<hex>`` or ``PUT /v1/bundles/<hex>``, with one
Content-Length and nothing unusual in its head, is read without a copy and kept with one hop to a thread. Everything
else (another route, ``Expect``, chunks, a refusal before the body, no room for the whole) is given to aiohttp together
with the bytes seen so far, and stays there: what this file does not understand it does not judge. Only public
interfaces: `asyncio.BufferedProtocol`, `transport.set_protocol`, `web.AppRunner.server`.
"""

import asyncio
import logging
import mmap
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol, cast

from aiohttp import web

from broker.wire.refusals import Code, Refused, refuse
from cloud.intake.bodies import Limits

LOG: Final = logging.getLogger(__name__)

HEAD_BYTES: Final = 8192
"""A longer head is aiohttp's."""

POOLED_BYTES: Final = 32 * 1024 * 1024
"""Buffers kept for the next request: fresh memory costs more than reading into it."""

KEEP_ALIVE_S: Final = 75.0
LEAVING_S: Final = 10.0  # what is being written when the receiver stops gets so long to be answered

Kind = Literal["segments", "bundles"]

_LINE: Final = re.compile(rb"PUT /v1/(segments|bundles)/([0-9a-f]{64}) HTTP/1\.1")
_FIELD: Final = re.compile(rb"([A-Za-z-]+): ?([!-~]+(?: [!-~]+)*)")
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,8}")
_PLAIN: Final = frozenset({b"host", b"content-length", b"user-agent", b"accept", b"accept-encoding", b"content-type"})
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a head asks for."""

    kind: Kind
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back. `close` when the rest of the body is not worth reading."""

    status: int
    body: bytes = b""
    content_type: str = "application/octet-stream"
    retry_after_s: int | None = None
    close: bool = False


class Desk(Protocol):
    """Who decides."""

    async def admit(self, transport: asyncio.BaseTransport, wanted: Wanted) -> AbstractContextManager[None] | None:
        """Return the room this body may take, to be held as long as it is here; None: let the ordinary handler say."""

    async def keep(self, wanted: Wanted, body: memoryview) -> Answer:
        """Make it durable and answer; never raises but on cancellation."""

    def refusal(self, refused: Refused) -> Answer:
        """Return a refusal as an answer."""


def read_head(head: bytes) -> Wanted | None:
    """Return what a head (up to and with the empty line) asks for; None when it is not plainly one of ours."""
    line, *fields = head[: -len(_END)].split(b"\r\n")
    asked, seen = _LINE.fullmatch(line), dict[bytes, bytes]()
    if asked is None:
        return None
    for field in fields:
        named = _FIELD.fullmatch(field)
        if named is None or (name := named[1].lower()) in seen or name not in _PLAIN:
            return None
        seen[name] = named[2]
    length = seen.get(b"content-length", b"")
    if b"host" not in seen or _LENGTH.fullmatch(length) is None:
        return None
    return Wanted(kind=cast("Kind", asked[1].decode()), name=asked[2].decode(), size=int(length))


def room_for(size: int) -> int:
    """Return how large a buffer a body of this size gets, in bytes: few sizes, so that buffers fit the next body."""
    step = max(64 * 1024, 1 << (size - 1).bit_length() >> 4)  # at most an eighth is never used
    return -(-size // step) * step


class FastRunner(web.AppRunner):
    """An `AppRunner` whose connections start in the fast lane."""

    def __init__(self, app: web.Application, *, desk: Desk, limits: Limits, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._lane = Lane(desk, limits)

    @property
    def server(self) -> Any:
        """What makes a protocol for each connection."""
        ordinary = super().server
        return None if ordinary is None else lambda: self._lane.connection(ordinary)

    async def shutdown(self) -> None:
        """Answer what is being written, and close."""
        await self._lane.close()
        await super().shutdown()


class Lane:
    """What the connections of one process share."""

    def __init__(self, desk: Desk, limits: Limits) -> None:
        self.desk = desk
        self.limits = limits
        self.open: set[_Front] = set()
        self._idle: dict[int, list[mmap.mmap]] = defaultdict(list)
        self._idle_bytes = 0

    def connection(self, ordinary: Callable[[], asyncio.Protocol]) -> asyncio.BufferedProtocol:
        """Return what reads a new connection; what it does not understand goes to an `ordinary` one."""
        return _Front(self, ordinary)

    def borrow(self, size: int) -> mmap.mmap:
        """Return a buffer of at least `size` bytes, with old bytes in it. It begins at a page, for direct writes."""
        room = room_for(size)
        if not self._idle[room]:
            return mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._idle_bytes -= room
        return self._idle[room].pop()

    def give_back(self, buffer: mmap.mmap) -> None:
        """Take a buffer that nobody uses any more."""
        if self._idle_bytes + len(buffer) > POOLED_BYTES:  # other sizes than those that come now
            self._idle.clear()
            self._idle_bytes = 0
        self._idle_bytes += len(buffer)
        self._idle[len(buffer)].append(buffer)

    async def close(self) -> None:
        """Answer what is being written, and close every connection."""
        tasks = [front.leave() for front in list(self.open)]
        if tasks:
            await asyncio.wait(tasks, timeout=LEAVING_S)


class _Front(asyncio.BufferedProtocol):
    """One connection, until it is handed over or closed.

    Bytes go into `_head` until a head is whole, then into the body's own buffer. While a body is being kept the next
    head may already come in; when it has, reading stops.
    """

    def __init__(self, lane: Lane, ordinary: Callable[[], asyncio.Protocol]) -> None:
        self._lane = lane
        self._ordinary = ordinary
        self._head = bytearray(HEAD_BYTES)
        self._head_filled = 0
        self._body: memoryview | None = None
        self._body_filled = 0
        self._came: asyncio.Future[None] | None = None
        self._gone = False
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    # --- what the transport calls -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._task = asyncio.get_running_loop().create_task(self._serve(), name="receiver.connection")
        self._lane.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the transport's signature
        self._gone = True
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if self._body is not None:
            return self._body[self._body_filled :]
        return memoryview(self._head)[self._head_filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._body is not None:
            self._body_filled += nbytes
            if self._body_filled == len(self._body):
                self._body = None
                self._wake()
            return
        self._head_filled += nbytes
        if self._is_head_done():
            assert self._transport is not None
            self._transport.pause_reading()
            self._wake()

    def eof_received(self) -> bool:
        return False

    def leave(self) -> asyncio.Task[None]:
        """Stop after what is being kept now."""
        assert self._task is not None
        self._gone = True
        self._wake()
        return self._task

    # --- one request after the other ----------------------------------------------------------------------------

    async def _serve(self) -> None:
        assert self._transport is not None
        handed_over = False
        try:
            while not handed_over and not self._gone:
                wanted = await self._next_head()
                if self._gone:
                    return
                handed_over = not await self._take(wanted)
        except Exception:
            LOG.exception("receiver: a connection failed")
        finally:
            self._lane.open.discard(self)
            if not handed_over:
                self._transport.close()

    async def _next_head(self) -> Wanted | None:
        """Wait for a head and return what it asks for; None when it is not ours."""
        if not self._is_head_done():
            assert self._transport is not None
            self._transport.resume_reading()
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await self._news()
            except TimeoutError:
                self._gone = True
                return None
        end = self._head.find(_END, 0, self._head_filled)
        return None if end < 0 else read_head(bytes(self._head[: end + len(_END)]))

    async def _take(self, wanted: Wanted | None) -> bool:
        """Serve one request; return False when the connection was handed over."""
        assert self._transport is not None
        room = None if wanted is None else await self._lane.desk.admit(self._transport, wanted)
        if wanted is None or room is None:
            if not self._gone:
                self._hand_over()
            return False
        with room:
            buffer = self._lane.borrow(wanted.size)
            try:
                answer = await self._answer(wanted, memoryview(buffer)[: wanted.size])
            finally:
                self._body = None
                self._lane.give_back(buffer)
        if answer is not None:
            self._say(answer)
        return True

    async def _answer(self, wanted: Wanted, body: memoryview) -> Answer | None:
        """Read the body and have it kept; None when the sender left meanwhile."""
        try:
            await self._read(body)
        except Refused as refused:
            return replace(self._lane.desk.refusal(refused), close=True)
        return None if self._gone else await self._lane.desk.keep(wanted, body)

    async def _read(self, body: memoryview) -> None:
        """Fill the buffer; raise Refused (UNAVAILABLE) when the sender stalls or crawls."""
        assert self._transport is not None
        start = self._head.find(_END, 0, self._head_filled) + len(_END)
        seen = min(self._head_filled - start, len(body))
        body[:seen] = self._head[start : start + seen]
        left = self._head_filled - start - seen
        self._head[:left] = self._head[start + seen : self._head_filled]
        self._head_filled = left
        if seen < len(body):
            self._body, self._body_filled = body, seen
            self._transport.resume_reading()
            await self._watched(_Watch(self._lane.limits, asyncio.get_running_loop().time()))

    async def _watched(self, watch: "_Watch") -> None:
        loop = asyncio.get_running_loop()
        while self._body is not None and not self._gone:
            try:
                async with asyncio.timeout(watch.every_s):
                    await self._news()
            except TimeoutError:
                watch.look(self._body_filled, at_s=loop.time())

    def _hand_over(self) -> None:
        assert self._transport is not None
        ordinary = self._ordinary()
        self._transport.set_protocol(ordinary)
        self._transport.resume_reading()
        ordinary.connection_made(self._transport)
        ordinary.data_received(bytes(self._head[: self._head_filled]))

    def _say(self, answer: Answer) -> None:
        assert self._transport is not None
        head = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Content-Length: {len(answer.body)}",
        ]
        if answer.body:
            head.append(f"Content-Type: {answer.content_type}")
        if answer.retry_after_s is not None:
            head.append(f"Retry-After: {answer.retry_after_s}")
        if answer.close:
            head.append("Connection: close")
            self._gone = True
        self._transport.write("\r\n".join([*head, "", ""]).encode() + answer.body)

    # --- waiting ------------------------------------------------------------------------------------------------

    def _is_head_done(self) -> bool:
        return self._head_filled == HEAD_BYTES or self._head.find(_END, 0, self._head_filled) >= 0

    def _news(self) -> Awaitable[None]:
        """Wait until something happened: a head or a body is whole, or the other side is gone."""
        self._came = asyncio.get_running_loop().create_future()
        if self._gone:
            self._came.set_result(None)
        return self._came

    def _wake(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)


class _Watch:
    """Looks at a body from time to time: whether anything comes, and fast enough."""

    def __init__(self, limits: Limits, at_s: float) -> None:
        self._limits = limits
        self._start_s = self._changed_s = at_s
        self._came = 0
        self.every_s = min(limits.idle_s, limits.grace_s)

    def look(self, came: int, *, at_s: float) -> None:
        """Raise Refused (UNAVAILABLE) when nothing came for too long, or less than the least rate."""
        limits, took_s = self._limits, at_s - self._start_s
        if came != self._came:
            self._came, self._changed_s = came, at_s
        elif at_s - self._changed_s >= limits.idle_s * 0.99:  # a timer may come a moment early
            raise refuse(
                Code.UNAVAILABLE, "body", expected=f"bytes within {limits.idle_s} s", got=f"none after {came} bytes"
            )
        if took_s >= limits.grace_s and came < took_s * limits.least_bytes_per_s:
            raise refuse(
                Code.UNAVAILABLE,
                "body",
                expected=f"at least {limits.least_bytes_per_s} bytes/s",
                got=f"{came} bytes in {took_s:.0f} s",
            )
