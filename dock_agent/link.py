"""What the dock tells over MQTT: its bays and their progress, retained; and, by last will, that it is gone."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

from broker.client import Connection, Endpoint, NotConnected, PublishRefused, Will, connect, stay_connected
from broker.clock import Clock
from broker.wire.events import BayState, DockState, Event, encode, source_of
from broker.wire.ids import DeviceId, Org, uuid7
from broker.wire.topics import dock_state

SAY_AGAIN_S: Final = 30.0  # also when nothing changed: who listens can tell silence from calm
AT_MOST_EVERY_S: Final = 0.5
GOODBYE_S: Final = 2.0  # the broker has so long to hear that we go


class Link:
    """The dock's MQTT side."""

    def __init__(
        self, *, org: Org, dock: DeviceId, oin: str, clock: Clock, bays: Callable[[], tuple[BayState, ...]]
    ) -> None:
        self._topic = dock_state(org, dock)
        self._dock = dock
        self._source = source_of(oin, org, "dock", dock)
        self._session = secrets.token_hex(8)
        self._sequence = 0
        self._clock = clock
        self._bays = bays

    async def run(self, endpoint: Endpoint) -> None:
        """Stay connected and tell, until cancelled."""

        def open_connection() -> AbstractAsyncContextManager[Connection]:
            will = Will(topic=self._topic, payload=self._event("lost", ()))
            return connect(endpoint, client_id=self._dock, will=will, clean_session=True)

        await stay_connected(open_connection, self._tell)

    async def _tell(self, connection: Connection) -> None:
        """Publish what changed, at most twice a second; on the way out say that we went on purpose."""
        loop = asyncio.get_running_loop()
        before: tuple[BayState, ...] | None = None
        said_at = 0.0
        try:
            while True:
                now = self._bays()
                if now != before or loop.time() - said_at > SAY_AGAIN_S:
                    await connection.publish(self._topic, self._event("online", now), retain=True)
                    before, said_at = now, loop.time()
                await asyncio.sleep(AT_MOST_EVERY_S)
        except asyncio.CancelledError:
            await self._say_goodbye(connection)
            raise

    async def _say_goodbye(self, connection: Connection) -> None:
        """A goodbye that is not heard leaves the word to the last will: *online* must not stay for ever."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await connection.publish(self._topic, self._event("offline", self._bays()), retain=True)
        except (TimeoutError, NotConnected, PublishRefused):
            connection.vanish()

    def _event(self, status: Literal["online", "offline", "lost"], bays: tuple[BayState, ...]) -> bytes:
        self._sequence += 1
        now = self._clock()
        return encode(
            Event(
                id=uuid7(now, secrets.token_bytes(10)),
                source=self._source,
                session=self._session,
                sequence=self._sequence,
                time=now,
                said=DockState(status=status, bays=bays),
            )
        )
