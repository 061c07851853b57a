"""What must happen within so many seconds, on a machine that is busy with something else too."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from cloud.viewing.rules import presence

TICK_S = 0.02
AS_IT_IS = presence.LEAVES_AFTER_S
HOPS = 4
"""A promise passes through so many waits for the machine, about: a browser, a broker, a service, and back."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer than this. What the machine itself was late meanwhile is allowed for.

    Raise AssertionError. A thread of its own measures by how much its short sleeps were too long: next to nothing on
    a quiet machine, where the promise is held to the letter.
    """
    over, late = threading.Event(), [0.0]

    def tick() -> None:
        began = time.monotonic()
        while not over.wait(TICK_S):
            now = time.monotonic()
            late[0] += max(now - began - TICK_S, 0.0)
            began = now

    ticking = threading.Thread(target=tick)
    ticking.start()
    started = time.monotonic()
    try:
        yield
    finally:
        took = time.monotonic() - started
        over.set()
        ticking.join()
    allowed = seconds + HOPS * late[0]
    assert took < allowed, f"{took:.1f} s, expected within {seconds} s ({late[0]:.1f} s late was the machine)"


def silence_allowed(seconds: float = 30.0) -> AbstractContextManager[Any]:
    """Let a seat stay taken for so long without a sign of life: a busy machine is no person who got up."""
    return mock.patch.object(presence, "LEAVES_AFTER_S", seconds)
