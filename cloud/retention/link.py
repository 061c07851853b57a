"""The MQTT side of retention: the clock speaks as one identity, the worker listens as another.

The worker's session outlives its connection, so what was named while it was away is delivered when it is back.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn

from broker.client import Connection, Endpoint, NotConnected, connect, stay_connected
from broker.clock import Clock
from broker.wire.events import Event, encode
from broker.wire.ids import DeviceId, Org
from broker.wire.topics import ROOT
from cloud.fleet.voice import Voice
from cloud.retention.worker import RetentionWorker


def due_subscriptions(org: Org) -> tuple[tuple[str, int], ...]:
    """Return what a worker listens to: every shard of the expiry topic."""
    return ((f"{ROOT}/{org}/retention/due/+", 1),)


class ClockLine:
    """The expiry clock's own connection: `publish` is what an ExpiryClock is given."""

    def __init__(self, *, org: Org, oin: str, service: DeviceId, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint = endpoint
        self._voice: Final = Voice(org=org, oin=oin, service=service, clock=clock)
        self._connection: Connection | None = None

    async def run(self) -> NoReturn:
        """Stay connected."""
        await stay_connected(self._connect, self._session)

    async def publish(self, topic: str, event: Event) -> None:
        """Return when the broker has it; raise NotConnected while there is no connection."""
        if self._connection is None:
            raise NotConnected(f"publish on {topic}: no connection yet")
        await self._connection.publish(topic, encode(event))

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return connect(self._endpoint, client_id=self._voice.service, will=self._voice.will())

    async def _session(self, connection: Connection) -> None:
        await self._voice.hello(connection)
        self._connection = connection
        try:
            async for message in connection.messages():
                connection.ack(message)  # subscribes to nothing: waits here for the end of the connection
        finally:
            self._connection = None


class WorkerLine:
    """The retention worker's own connection, with a session that the broker keeps for it."""

    def __init__(
        self, worker: RetentionWorker, *, org: Org, oin: str, service: DeviceId, endpoint: Endpoint, clock: Clock
    ) -> None:
        self._worker = worker
        self._org = org
        self._endpoint = endpoint
        self._voice: Final = Voice(org=org, oin=oin, service=service, clock=clock)

    async def run(self) -> NoReturn:
        """Stay connected and work through what is due."""
        await stay_connected(self._connect, self._session)

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return connect(
            self._endpoint,
            client_id=self._voice.service,
            will=self._voice.will(),
            subscriptions=due_subscriptions(self._org),
        )

    async def _session(self, connection: Connection) -> None:
        await self._voice.hello(connection)
        try:
            await self._worker.run(connection, org=self._org, say=self._voice.say)
        finally:
            await asyncio.shield(self._voice.goodbye(connection))
