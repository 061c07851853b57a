"""What must happen within so many seconds, on a machine that is busy with something else too."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cloud.viewing.rules import presence

TICK_S = 0.02
PRESSURE = Path("/proc/pressure/cpu")
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


def queued_s() -> float:
    """Return for how many seconds so far something that could run waited for a processor; 0 where Linux does not tell.

    A promise is kept by more processes than this one: a browser's own may wait while this one's are woken in time.
    """
    if not PRESSURE.exists():
        return 0.0
    return int(PRESSURE.read_text().split("total=", 1)[1].split()[0]) / 1e6


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer than this. What the machine itself was late meanwhile is allowed for.

    Raise AssertionError. Where the machine keeps up, the promise is held to the letter.
    """
    with lateness() as late:
        started, queued = time.monotonic(), queued_s()
        yield
        took, queued = time.monotonic() - started, queued_s() - queued
    allowed = seconds + max(HOPS * late.total_s, queued)
    machine = f"the machine was {late.total_s:.1f} s late, and for {queued:.1f} s had more to do than it could"
    assert took < allowed, f"{took:.1f} s, expected within {seconds} s ({machine})"


def silence_allowed(seconds: float = 30.0) -> AbstractContextManager[Any]:
    """Let a seat stay taken for so long without a sign of life: a busy machine is no person who got up."""
    return mock.patch.object(presence, "LEAVES_AFTER_S", seconds)
