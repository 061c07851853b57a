"""The emergency entrance: a few named accounts come in with their own security key when the municipality's sign-in
does not work. Each use stands in the ledger before the door opens, and is an alarm until somebody else has seen it.

The alarms live in this process, as sessions do; what the ledger says stays.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.clock import Clock
from broker.wire.refusals import Code, refuse
from cloud.casework.seams import Ledger
from cloud.fleet.live import LiveHub

USED: Final = "emergency.used"
SEEN: Final = "emergency.seen"
MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One time that somebody came in this way. `entry` is its number in the ledger."""

    entry: int
    official: str
    at: datetime
    address: str


class BreakGlass:
    """The emergency entrance of one municipality: who may use it, who did, and who has seen that."""

    def __init__(self, accounts: tuple[str, ...], *, org: str, ledger: Ledger, hub: LiveHub, clock: Clock) -> None:
        self._accounts, self._org, self._ledger, self._hub, self._clock = frozenset(accounts), org, ledger, hub, clock
        self._waiting: deque[Use] = deque(maxlen=MOST_SHOWN)

    async def use(self, official: str, *, address: str) -> None:
        """Write down and sound the alarm that `official` comes in here; raise Refused (NOT_ALLOWED).

        Where the ledger cannot be written nobody comes in: LedgerUnwritable.
        """
        if official not in self._accounts:
            raise refuse(
                Code.NOT_ALLOWED,
                "emergency entrance",
                expected="an account that was named for it; sign in at the municipality",
                got=official,
            )
        now = self._clock()
        entry = await self._ledger.append(USED, subject=official, actor=official, at=now, facts={}, private=address)
        self._waiting.append(Use(entry=entry.index, official=official, at=now, address=address))
        self._tell(official, now, still_open=True)

    def waiting(self) -> tuple[Use, ...]:
        """Return the uses that nobody else has seen yet, newest first."""
        return tuple(reversed(self._waiting))

    async def see(self, entry: int, *, by: str) -> None:
        """Write down that `by` has seen this use; raise Refused (NOT_FOUND; NOT_ALLOWED for the user itself)."""
        use = next((each for each in self._waiting if each.entry == entry), None)
        if use is None:
            raise refuse(Code.NOT_FOUND, "emergency entrance", expected="a use that nobody has seen", got=entry)
        if use.official == by:
            raise refuse(Code.NOT_ALLOWED, "emergency entrance", expected="somebody else", got=by)
        now = self._clock()
        await self._ledger.append(SEEN, subject=use.official, actor=by, at=now, facts={"entry": entry})
        if use in self._waiting:
            self._waiting.remove(use)
        self._tell(use.official, now, still_open=False)

    def _tell(self, official: str, now: datetime, *, still_open: bool) -> None:
        self._hub.publish(
            self._org,
            "alert",
            {
                "org": self._org,
                "kind": "break-glass",
                "about": official,
                "since": now.isoformat(),
                "because": "Somebody came in by the emergency entrance.",
                "waarom": "Iemand kwam binnen door de noodingang.",
                "open": still_open,
            },
        )
