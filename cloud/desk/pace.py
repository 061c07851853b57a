"""How fast a program may ask: so many at once, and then so many a second. The memory has a fixed size."""

from collections import OrderedDict
from typing import Final

from broker.wire.refusals import Code, Refusal, Refused

AT_ONCE: Final = 60
"""Requests that may come together: a dashboard that draws itself."""

PER_SECOND: Final = 2.0
"""What it may go on with. A person clicks slower, a wall that asks each second twice is not held up."""

MOST_REMEMBERED: Final = 10_000


class MustWait(Refused):
    """Somebody asks too fast or failed too often; `wait_s` is how long to wait."""

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(
            Refusal(code=Code.TOO_MANY, what=what, expected="fewer requests", got=f"too many; wait {wait_s:.0f} s")
        )
        self.wait_s = wait_s


class Pace:
    """What each account has left. Give it seconds of one clock."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, account: str, *, now_s: float) -> None:
        """Let one request through, or raise MustWait."""
        left, since_s = self._left.pop(account, (float(AT_ONCE), now_s))
        left = min(float(AT_ONCE), left + (now_s - since_s) * PER_SECOND)
        self._left[account] = (max(0.0, left - 1.0) if left >= 1.0 else left, now_s)
        while len(self._left) > MOST_REMEMBERED:
            self._left.popitem(last=False)
        if left < 1.0:
            raise MustWait(account, (1.0 - left) / PER_SECOND)
