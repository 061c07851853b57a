"""What must happen within so many seconds, on a machine that is busy with something else too."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from cloud.viewing.rules import presence

TICK_S = 0.02
AS_IT_IS = presence.LEAVES_AFTER_S
HOPS = 4
"""A promise passes through so many waits for the machine, about: a browser, a broker, a service, and back."""


@dataclass
class Lateness:
    """By how much short sleeps of a thread were too long so far: next to nothing on a quiet machine, in seconds."""

    total_s: float = 0.0
    worst_s: float = 0.0


@contextmanager
def lateness() -> Iterator[Lateness]:
    """Measure how late the machine is, by a thread of its own: how long the product works counts for little."""
    over, late = threading.Event(), Lateness()

    def tick() -> None:
        began = time.monotonic()
        while not over.wait(TICK_S):
            now = time.monotonic()
            too_long = max(now - began - TICK_S, 0.0)
            late.total_s, late.worst_s = late.total_s + too_long, max(late.worst_s, too_long)
            began = now

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        yield late
    finally:
        over.set()
        ticking.join()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer than this. What the machine itself was late meanwhile is allowed for.

    Raise AssertionError. Where the machine keeps up, the promise is held to the letter.
    """
    with lateness() as late:
        started = time.monotonic()
        yield
        took = time.monotonic() - started
    allowed = seconds + HOPS * late.total_s
    assert took < allowed, f"{took:.1f} s, expected within {seconds} s ({late.total_s:.1f} s late was the machine)"


def silence_allowed(seconds: float = 30.0) -> AbstractContextManager[Any]:
    """Let a seat stay taken for so long without a sign of life: a busy machine is no person who got up."""
    return mock.patch.object(presence, "LEAVES_AFTER_S", seconds)
