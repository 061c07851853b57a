"""What browsers see happen: one stream per town, numbered, with a window to catch up from.

Nobody here waits for a slow reader. A subscriber whose queue is full, or who asks for what is no longer in the window,
is told `reset` (read the page's whole state anew) and goes on from the newest event.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

RESET: Final = "reset"

WINDOW: Final = 2_000
"""Events per town that can be replayed: minutes of a fleet of fifty, far more than a lost Wi-Fi connection lasts."""

QUEUE: Final = 500
"""Events that may wait for one reader; beyond it the whole state is cheaper to send than the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """One thing that happened. `id` grows; `kind` is camera, dock, activation, acknowledged, recording … or reset."""

    id: int
    kind: str
    data: Mapping[str, Any]


class Subscription:
    """The events of one town for one reader: an async iterator that ends when closed. Also a context manager."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._waiting: deque[LiveEvent] = deque()
        self._woken = asyncio.Event()
        self._closed = False

    def offer(self, event: LiveEvent) -> None:
        """Queue the event, or a `reset` in place of everything when the reader is too far behind."""
        if self._closed:
            return
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            event = LiveEvent(id=event.id, kind=RESET, data={})
        self._waiting.append(event)
        self._woken.set()

    def close(self) -> None:
        """End the iteration; nothing more is queued."""
        self._closed = True
        self._waiting.clear()
        self._woken.set()

    async def aclose(self) -> None:
        """As `close`, for code that treats this as an async generator."""
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the subscription has ended."""
        return self._closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveEvent:
        """Return the next event; cancelling the wait loses none."""
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._woken.clear()
            await self._woken.wait()
        return self._waiting.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class LiveHub:
    """Hands what happens to whoever watches, in this process. `publish` never waits."""

    def __init__(self, *, first: int | None = None, window: int = WINDOW, queue: int = QUEUE) -> None:
        """`first` is the first event's id; by chance when None, so that a browser that comes back with an id of an
        earlier life of this process is told to reset instead of being shown half of what it missed.
        """
        first = secrets.randbits(48) + 1 if first is None else first
        self._next = first
        self._window = window
        self._queue = queue
        self._kept: dict[str, deque[LiveEvent]] = {}
        self._forgotten: dict[str, int] = {}  # per town, the newest id that is no longer in the window
        self._first = first
        self._readers: dict[str, WeakSet[Subscription]] = {}

    @property
    def newest(self) -> int:
        """The id of the newest event of any town; a page that was drawn now continues `after` it."""
        return self._next - 1

    def publish(self, org: str, kind: str, data: Mapping[str, Any]) -> int:
        """Tell every reader of this town; return the event's id."""
        event = LiveEvent(id=self._next, kind=kind, data=data)
        self._next += 1
        kept = self._kept.setdefault(org, deque())
        kept.append(event)
        if len(kept) > self._window:
            self._forgotten[org] = kept.popleft().id
        for reader in list(self._readers.get(org, ())):
            reader.offer(event)
        return event.id

    def subscribe(self, org: str, after: int | None = None) -> Subscription:
        """Follow a town from now, or from `after`: first what was missed, or `reset` when that is gone."""
        reader = Subscription(most=self._queue)
        if after is not None:
            if self._missed(org, after):
                reader.offer(LiveEvent(id=self.newest, kind=RESET, data={}))
            else:
                for event in self._kept.get(org, ()):
                    if event.id > after:
                        reader.offer(event)
        self._readers.setdefault(org, WeakSet()).add(reader)
        return reader

    def readers(self, org: str) -> int:
        """Return how many follow this town now."""
        return sum(1 for reader in self._readers.get(org, ()) if not reader.closed)

    def _missed(self, org: str, after: int) -> bool:
        oldest_known = self._forgotten.get(org, self._first - 1)
        return after < oldest_known or after > self.newest
