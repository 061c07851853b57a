"""Failed sign-ins, counted per account and per place: whoever fails too often waits. The memory has a fixed size.

Only failures count, so a town hall behind one address does not lock itself out by coming to work.
"""

from collections import OrderedDict, deque
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

WINDOW_S: Final = 300.0
"""How long a failure counts."""

PER_ACCOUNT: Final = 10
"""Failures of one account in that time: a person with the wrong key stops long before."""

PER_PLACE: Final = 60
"""Failures from one address in that time: more than a building full of people makes."""

MOST_REMEMBERED: Final = 20_000
"""Accounts and places at once, about 10 MB; beyond it whoever failed longest ago is forgotten."""


class Attempts:
    """Failures of the last while. Give it seconds of one clock."""

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def wait_s(self, *, place: str, account: str | None = None, now_s: float) -> float:
        """Return how many seconds this account or place must wait, 0.0 when it may try."""
        waits = [self._wait(("place", place), PER_PLACE, now_s)]
        if account is not None:
            waits.append(self._wait(("account", account), PER_ACCOUNT, now_s))
        return max(waits)

    def failed(self, *, place: str, account: str | None = None, now_s: float) -> None:
        """Count a failure."""
        self._count(("place", place), PER_PLACE, now_s)
        if account is not None:
            self._count(("account", account), PER_ACCOUNT, now_s)

    def __len__(self) -> int:
        """Return how many accounts and places are remembered."""
        return len(self._failed)

    def _wait(self, who: tuple[str, str], most: int, now_s: float) -> float:
        moments = self._failed.get(who)
        if moments is None or len(moments) < most:
            return 0.0
        return max(0.0, moments[0] + WINDOW_S - now_s)

    def _count(self, who: tuple[str, str], most: int, now_s: float) -> None:
        moments = self._failed.pop(who, None) or deque(maxlen=most)
        moments.append(now_s)
        self._failed[who] = moments
        while len(self._failed) > MOST_REMEMBERED:
            self._failed.popitem(last=False)


def place_of_address(address: IPv4Address | IPv6Address) -> str:
    """Return what counts as one place: an IPv4 address, or the /64 that one IPv6 subscriber has to itself."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Network((address, 64), strict=False))
    return str(address)
