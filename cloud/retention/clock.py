"""Says on the expiry topic that a recording's term is over, again and again until it is settled.

At least once, and only a hint: the worker reads the truth itself. So this clock needs no memory that survives it.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Final, NoReturn, Protocol
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from broker.client import NotConnected
from broker.clock import Clock, pause
from broker.wire import topics
from broker.wire.events import Event, RetentionDue, source_of
from broker.wire.ids import DeviceId, Org, parse_recording, uuid7
from broker.wire.refusals import Refused
from cloud.database.engine import Database
from cloud.retention.claims import mark_due, to_look_at

LOG: Final = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often the clock looks, in shown seconds: a recording is named at most this long after its moment."""

AGAIN_S: Final = 60.0
"""After how long a recording that is not settled is named again; a worker that was away misses nothing by it."""

HELD_AGAIN_S: Final = 24 * 3600.0
"""After how long one that is held past its term is named again: its release names it at once anyway."""

AT_ONCE: Final = 500
"""Recordings named in one look; a shift of fifty cameras is far less, and the rest follows in the next."""


class Settles(Protocol):
    """Whatever does what time alone does: lapse emergency holds, let final decisions go."""

    async def settle(self, org: Org | str) -> int:
        """Do it, and return how many holds ended."""


Publish = Callable[[str, Event], Awaitable[None]]


class ExpiryClock:
    """One municipality's expiry clock. Give `casework` so that holds which time ends are ended before each look."""

    def __init__(
        self,
        database: Database,
        publish: Publish,
        clock: Clock,
        *,
        org: Org,
        oin: str,
        service: DeviceId,
        casework: Settles | None = None,
        rate: float = 1.0,
        look_s: float = LOOK_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._database = database
        self._publish = publish
        self._clock = clock
        self._org = org
        self._casework = casework
        self._rate = rate
        self._look_s = look_s
        self._again = timedelta(seconds=again_s)
        self._source = source_of(oin, org, "svc", service)
        self._session = str(uuid4())
        self._numbers = count(1)
        self._named: dict[tuple[str, str], datetime] = {}

    async def run(self) -> NoReturn:
        """Look for ever. Broker, ledger or database away: what was not named is named in the next look."""
        while True:
            try:
                await self.look()
            except NotConnected:
                self._named.clear()
            except (Refused, SQLAlchemyError, OSError) as cause:
                LOG.warning("retention: the expiry clock of %s looks again later: %s", self._org, cause)
            await pause(self._look_s, rate=self._rate)

    async def look(self) -> Sequence[UUID]:
        """Name every recording that is to be looked at now and was not named lately; return them, longest due first."""
        if self._casework is not None:
            try:
                await self._casework.settle(self._org)
            except Refused as cause:  # no ledger: holds stay, and what is due is named all the same
                LOG.warning("retention: holds of %s are settled later: %s", self._org, cause)
        now = self._clock()
        rows = await to_look_at(self._database, self._org, now, most=AT_ONCE)
        self._named = {each: at for each, at in self._named.items() if now - at < self._wait(each[1])}
        named = []
        for row in rows:
            if (row.id, row.state) in self._named:
                continue
            recording = parse_recording(row.id)
            if row.state == "retained":
                await mark_due(self._database, self._org, row.id, now)
            topic = topics.retention_due(self._org, topics.retention_shard(recording))
            await self._publish(topic, self._event(RetentionDue(recording=recording, due_at=row.expires_at), now))
            self._named[row.id, "due" if row.state == "retained" else row.state] = now
            named.append(recording)
        return named

    def _wait(self, state: str) -> timedelta:
        return timedelta(seconds=HELD_AGAIN_S) if state == "held" else self._again

    def _event(self, said: RetentionDue, now: datetime) -> Event:
        return Event(
            id=uuid7(now, secrets.token_bytes(10)),
            source=self._source,
            session=self._session,
            sequence=next(self._numbers),
            time=now,
            said=said,
        )
