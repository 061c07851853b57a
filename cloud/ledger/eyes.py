"""Has others look at the ledger now and then: a witness, and an authority that stamps the time. Both are optional.

Nothing waits for them: whoever does not answer is asked again, later each time; the self-check says since when.
Freshness goes by this machine's own calendar, as theirs does, never by a demonstration clock.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NoReturn, Protocol

import aiohttp

from broker.clock import Clock, system_clock
from broker.wire.refusals import Code, Refused
from cloud.rules.self_check import Eye

_DICE: Final = secrets.SystemRandom()

LOG: Final = logging.getLogger(__name__)

FIRST_S: Final = 10.0
"""Asked within so long after a start, so that what is about to open is not kept waiting."""

AGAIN_S: Final = 60.0
"""Asked again so long after no answer, then after twice that, up to the usual time between two."""

AWAY: Final = frozenset({Code.UNAVAILABLE, Code.LEDGER_UNWRITABLE})
"""Why there is no answer now; any other refusal is an answer that is not what was asked for."""


class Outsider(Protocol):
    """Somebody who can be asked."""

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Let them see the newest checkpoint and keep what they say; raise Refused, OSError."""

    def kept_at(self) -> datetime | None:
        """Return when something of theirs was kept last, by an earlier process perhaps. Blocks."""


class Asking:
    """Asks one outsider for as long as it runs. `state` is for the self-check."""

    def __init__(
        self,
        name: str,
        outsider: Outsider,
        *,
        every_s: float,
        clock: Clock = system_clock,
        dice: Callable[[], float] = _DICE.random,
    ) -> None:
        self.name = name
        self._outsider, self._every_s, self._clock, self._dice = outsider, every_s, clock, dice
        self._since = clock()
        self._seen_at: datetime | None = None
        self._refuses = False

    def state(self) -> Eye:
        """Return what is known of them now."""
        return Eye(
            every=timedelta(seconds=self._every_s),
            since=self._since,
            seen_at=self._seen_at,
            refuses=self._refuses,
        )

    async def run(self) -> NoReturn:
        """Ask, until cancelled; a process that starts goes on where the last one was."""
        self._seen_at = await asyncio.to_thread(self._outsider.kept_at)
        async with aiohttp.ClientSession() as session:
            await asyncio.sleep(max(self._left_s(), FIRST_S * self._dice()))
            failed = 0
            while True:
                failed = 0 if await self.ask(session) else failed + 1
                await asyncio.sleep(self.pause_s(failed))

    async def ask(self, session: aiohttp.ClientSession) -> bool:
        """Ask once; return whether they looked."""
        try:
            await self._outsider.look(session)
        except Refused as refused:
            self._refuses = refused.refusal.code not in AWAY
            LOG.log(logging.ERROR if self._refuses else logging.WARNING, "%s: %s", self.name, refused)
            return False
        except OSError as cause:
            LOG.warning("%s: what they said could not be kept: %s", self.name, cause)
            return False
        self._refuses, self._seen_at = False, self._clock()
        return True

    def pause_s(self, failed: int) -> float:
        """Return how long to wait after so many failures in a row, a tenth more or less: not all in one second."""
        usual = self._every_s if failed == 0 else min(self._every_s, AGAIN_S * 2 ** min(failed - 1, 20))
        return usual * (0.9 + 0.2 * self._dice())

    def _left_s(self) -> float:
        if self._seen_at is None:
            return 0.0
        ago_s = (self._clock() - self._seen_at).total_seconds()
        return min(max(self._every_s - ago_s, 0.0), self._every_s)
