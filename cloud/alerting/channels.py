"""Each person's own channels: added, confirmed with a code that came over them, tried, removed."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import uuid7
from broker.wire.refusals import Code, refuse
from cloud.alerting.routes import Routes
from cloud.database.engine import Database
from cloud.database.tables import alert_calls, alert_channels

CODE_VALID: Final = timedelta(minutes=15)
MOST_TRIES: Final = 5
MOST_CHANNELS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnChannel:
    """One channel as its owner sees it. `failing`: the last thing said over it did not arrive."""

    id: str
    route: str
    address: str
    confirmed_at: datetime | None
    failing: bool


class Channels:
    """The channels of everybody in one municipality; each person reaches only his own."""

    def __init__(
        self,
        database: Database,
        routes: Routes,
        clock: Clock,
        *,
        org: str,
        name: str,
        draw: Callable[[], int] = lambda: secrets.randbelow(1_000_000),
    ) -> None:
        """`draw` gives the number of a code, 0 to 999,999."""
        self._database = database
        self._routes = routes
        self._clock = clock
        self._org = org
        self._name = name
        self._draw = draw

    @property
    def routes(self) -> tuple[str, ...]:
        """What people choose from; empty where the municipality has set up none."""
        return self._routes.names

    async def of(self, official: str) -> tuple[OwnChannel, ...]:
        """Return this person's channels, oldest first."""
        mine = (alert_channels.c.org == self._org) & (alert_channels.c.official == official)
        async with self._database.transaction() as t:
            rows = (await t.execute(select(alert_channels).where(mine).order_by(alert_channels.c.added_at))).all()
            late = select(alert_calls.c.channel).where(
                alert_calls.c.channel.in_([row.id for row in rows]), alert_calls.c.delivered_at.is_(None)
            )
            failing = set((await t.execute(late)).scalars())
        return tuple(
            OwnChannel(
                id=row.id,
                route=row.route,
                address=row.address,
                confirmed_at=row.confirmed_at,
                failing=row.id in failing,
            )
            for row in rows
        )

    async def add(self, official: str, route: str, address: str) -> str:
        """Add one and send a code over it; return its id. Raise Refused when nothing can be sent over it."""
        own = self._routes.check(route, address)
        if len(await self.of(official)) >= MOST_CHANNELS:
            raise refuse(Code.CONFLICT, "channel", expected=f"at most {MOST_CHANNELS} channels", got="one more")
        now, code = self._clock(), f"{self._draw():06}"
        channel = str(uuid7(now, secrets.token_bytes(10)))
        title, text = self._name, f"Code: {code}"
        if not await self._routes.send(route, own, title=title, text=text):
            raise refuse(Code.CONFLICT, "channel", expected="a service that takes the code", got="none that did")
        async with self._database.transaction() as t:
            await t.execute(
                insert(alert_channels).values(
                    id=channel,
                    org=self._org,
                    official=official,
                    route=route,
                    address=own,
                    added_at=now,
                    code=code,
                    tries=0,
                )
            )
        return channel

    async def confirm(self, official: str, channel: str, code: str) -> None:
        """Confirm it with the code that came over it, within 15 minutes and five tries."""
        now = self._clock()
        async with self._database.transaction() as t:
            row = await self._one(t, official, channel)
            right = (
                row.code is not None
                and row.tries < MOST_TRIES
                and now - row.added_at < CODE_VALID
                and hmac.compare_digest(row.code.encode(), code.strip().encode())
            )
            done = {"confirmed_at": now, "code": None} if right else {"tries": row.tries + 1}
            await t.execute(update(alert_channels).where(alert_channels.c.id == channel).values(**done))
        if not right:
            raise refuse(
                Code.NOT_ALLOWED,
                "channel",
                expected="the code that was sent, within 15 minutes",
                got="another code, or too late",
            )

    async def try_out(self, official: str, channel: str) -> bool:
        """Send a trial message; return whether the service took it."""
        async with self._database.transaction() as t:
            row = await self._one(t, official, channel)
        if row.confirmed_at is None:
            raise refuse(Code.CONFLICT, "channel", expected="a confirmed channel", got="one that is not")
        return await self._routes.send(row.route, row.address, title=self._name, text="Proefbericht. / Trial message.")

    async def remove(self, official: str, channel: str) -> None:
        """Forget it, and what was said over it."""
        async with self._database.transaction() as t:
            await self._one(t, official, channel)
            await t.execute(delete(alert_calls).where(alert_calls.c.channel == channel))
            await t.execute(delete(alert_channels).where(alert_channels.c.id == channel))

    async def _one(self, t: AsyncConnection, official: str, channel: str) -> Row[Any]:
        row: Row[Any] | None = (
            await t.execute(
                select(alert_channels).where(
                    alert_channels.c.org == self._org,
                    alert_channels.c.official == official,
                    alert_channels.c.id == channel,
                )
            )
        ).one_or_none()
        if row is None:
            raise refuse(Code.NOT_FOUND, "channel", expected="a channel of your own", got=channel[:40])
        return row
