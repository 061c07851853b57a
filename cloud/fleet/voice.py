"""How a service of the cloud speaks over MQTT: its own source, its own boot, its own numbers."""

import asyncio
import itertools
import logging
import secrets
from typing import Final
from uuid import uuid4

from broker.client import Connection, NotConnected, Will
from broker.clock import Clock
from broker.wire import topics
from broker.wire.events import Event, Said, ServiceState, encode, source_of
from broker.wire.ids import DeviceId, Org, uuid7

LOG: Final = logging.getLogger(__name__)

GOODBYE_S: Final = 1.0
"""How long leaving may take; after that the broker speaks for us."""


class Voice:
    """One life of one service. `org` is the municipality whose broker it speaks to."""

    def __init__(self, *, org: Org, oin: str, service: DeviceId, clock: Clock) -> None:
        self.org: Final = org
        self.service: Final = service
        self._source = source_of(oin, org, "svc", service)
        self._session = str(uuid4())
        self._numbers = itertools.count(1)
        self._clock = clock

    def say(self, said: Said) -> bytes:
        """Return the event that says this, as it crosses the wire."""
        now = self._clock()
        return encode(
            Event(
                id=uuid7(now, secrets.token_bytes(10)),
                source=self._source,
                session=self._session,
                sequence=next(self._numbers),
                time=now,
                said=said,
            )
        )

    @property
    def state_topic(self) -> str:
        """Where this service says whether it is there."""
        return topics.service_state(self.org, self.service)

    def will(self) -> Will:
        """Return what the broker says when this service is gone without a goodbye."""
        return Will(topic=self.state_topic, payload=self.say(ServiceState(status="lost")))

    async def hello(self, connection: Connection) -> None:
        """Say that this service is there."""
        await connection.publish(self.state_topic, self.say(ServiceState(status="online")), retain=True)

    async def goodbye(self, connection: Connection) -> None:
        """Say that this service leaves, if anybody still listens; else the last will says it is lost."""
        if not connection.alive:
            return
        try:
            async with asyncio.timeout(GOODBYE_S):
                await connection.publish(self.state_topic, self.say(ServiceState(status="offline")), retain=True)
        except (TimeoutError, NotConnected) as cause:
            LOG.info("%s: no goodbye: %s", self.service, cause)
