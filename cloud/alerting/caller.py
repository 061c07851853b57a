"""Calls people about what is open, until it arrived. What is open is read from the database, not remembered here: a
restart neither forgets a call nor repeats one.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NoReturn

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import Org
from broker.wire.refusals import Refused
from cloud.alerting.routes import Routes
from cloud.casework.office import as_recipients, everybody
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.database.tables import activations, alert_calls, alert_channels, alerts
from cloud.fleet.live import LiveHub
from cloud.rules.calling import ACTIVATION, FRESH, Attempts, Channel, Made, Matter, calls_due, message, next_attempt

LOG: Final = logging.getLogger("cloud.alerting")

LOOK_S: Final = 5.0
"""How long at the most until it is looked at again when nothing happens: a retry may be due."""

SEND_S: Final = 20.0
AT_ONCE: Final = 8
FORGOTTEN_AFTER: Final = timedelta(days=2)
WAKES: Final = frozenset({"activation", "acknowledged", "alert", "reset"})


class Caller:
    """Tells each person once about each matter, over every channel he confirmed."""

    def __init__(
        self,
        database: Database,
        routes: Routes,
        policies: Policies,
        hub: LiveHub,
        clock: Clock,
        *,
        org: Org,
        name: str,
        address: str,
    ) -> None:
        """`address` is the desk's, as people open it from elsewhere."""
        self._database = database
        self._routes = routes
        self._policies = policies
        self._hub = hub
        self._clock = clock
        self._org = org
        self._name = name
        self._address = address

    async def run(self) -> NoReturn:
        """Look whenever something happens, and every few seconds. A database that is away delays a call, no more."""
        with self._hub.subscribe(str(self._org)) as happening:
            while True:
                try:
                    await self.look()
                except (Refused, SQLAlchemyError, OSError) as cause:
                    LOG.warning("alerting: who is to be called is looked up again later: %s", cause)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        while (await anext(happening)).kind not in WAKES:
                            pass

    async def look(self) -> int:
        """Make every call that is due now; return how many arrived."""
        now = self._clock()
        due, addresses = await self._due(now)
        limit = asyncio.Semaphore(AT_ONCE)

        async def call(channel: Channel, matters: tuple[Matter, ...]) -> bool:
            route, address = addresses[channel.id]
            title, text = message(matters, town=self._name, address=self._address)
            arrived = False
            with contextlib.suppress(TimeoutError):
                async with limit, asyncio.timeout(SEND_S):
                    arrived = await self._routes.send(route, address, title=title, text=text)
            if not arrived:
                LOG.warning("a call over %s did not arrive", route)
            await self._write(channel, matters, arrived=arrived)
            return arrived

        return sum(await asyncio.gather(*(call(channel, matters) for channel, matters in due.items())))

    async def _due(self, now: datetime) -> tuple[dict[Channel, tuple[Matter, ...]], dict[str, tuple[str, str]]]:
        policy = await self._policies.current(self._org)
        mine = (alert_channels.c.org == self._org) & alert_channels.c.confirmed_at.is_not(None)
        async with self._database.transaction() as t:
            rows = (await t.execute(select(alert_channels).where(mine))).all()
            if not rows:
                return {}, {}
            pressed = (
                await t.execute(
                    select(activations.c.recording, activations.c.received_at).where(
                        activations.c.org == self._org,
                        activations.c.acknowledged_at.is_(None),
                        activations.c.received_at > now - FRESH,
                    )
                )
            ).all()
            raised = (
                await t.execute(
                    select(alerts).where(
                        alerts.c.org == self._org, alerts.c.cleared_at.is_(None), alerts.c.raised_at > now - FRESH
                    )
                )
            ).all()
            officials = as_recipients(await everybody(t, self._org, now))
            made = await self._made(t, now)
        matters = [
            Matter(kind=ACTIVATION, about=row.recording, role=policy.alerts.first, since=row.received_at)
            for row in pressed
        ] + [Matter(kind=row.kind, about=row.about, role=row.role, since=row.raised_at) for row in raised]
        channels = [Channel(id=row.id, official=row.official) for row in rows]
        due = calls_due(matters, officials=officials, channels=channels, made=made, now=now)
        return dict(due), {row.id: (row.route, row.address) for row in rows}

    async def _made(self, t: AsyncConnection, now: datetime) -> Made:
        await t.execute(delete(alert_calls).where(alert_calls.c.next_at < now - FORGOTTEN_AFTER))
        rows = await t.execute(select(alert_calls).where(alert_calls.c.org == self._org))
        return {
            (row.channel, row.kind, row.about): Attempts(
                count=row.attempts, next_at=row.next_at, delivered=row.delivered_at is not None
            )
            for row in rows
        }

    async def _write(self, channel: Channel, matters: Iterable[Matter], *, arrived: bool) -> None:
        now = self._clock()
        async with self._database.transaction() as t:
            for matter in matters:
                same = (
                    (alert_calls.c.channel == channel.id)
                    & (alert_calls.c.kind == matter.kind)
                    & (alert_calls.c.about == matter.about)
                )
                before = (await t.execute(select(alert_calls.c.attempts).where(same))).scalar_one_or_none()
                count = (before or 0) + 1
                values = {
                    "attempts": count,
                    "next_at": next_attempt(count, now),
                    "delivered_at": now if arrived else None,
                }
                if before is None:
                    key = {"org": self._org, "channel": channel.id, "kind": matter.kind, "about": matter.about}
                    await t.execute(insert(alert_calls).values(**key, **values))
                else:
                    await t.execute(update(alert_calls).where(same).values(**values))
