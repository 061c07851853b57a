"""Takes away what the broker keeps of cameras that left: their last state, their settings.

Each is taken away twice: a camera that is put out may have had its last will sent after the first time.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from broker.client import Connection, Endpoint, NotConnected, connect, stay_connected
from broker.clock import Clock
from broker.wire import topics
from broker.wire.ids import DeviceId, Org
from cloud.database.engine import Database
from cloud.database.tables import cameras
from cloud.fleet.voice import Voice

LOG: Final = logging.getLogger(__name__)

WILL_S: Final = 3.0
"""Wall time by which the broker has put out a revoked camera and sent its last will (it follows within a second)."""


class Registrar:
    """Keeps a broker free of what belongs to nobody. `run` for as long as the cloud is up."""

    def __init__(
        self, database: Database, *, org: Org, oin: str, service: DeviceId, endpoint: Endpoint, clock: Clock
    ) -> None:
        self._database = database
        self._org = org
        self._service = service
        self._endpoint = endpoint
        self._voice = Voice(org=org, oin=oin, service=service, clock=clock)
        self._left: asyncio.Queue[DeviceId] = asyncio.Queue()
        self._swept: set[DeviceId] = set()

    def swept(self, camera: DeviceId) -> bool:
        """Whether the broker keeps nothing of this camera any more, for all we know."""
        return camera in self._swept

    def left(self, camera: DeviceId) -> None:
        """Hear that a camera left. What the broker keeps of it is gone within moments, or at the next connection."""
        self._swept.discard(camera)
        self._left.put_nowait(camera)

    async def run(self) -> NoReturn:
        """Stay connected."""
        await stay_connected(self._open, self._session)

    def _open(self) -> AbstractAsyncContextManager[Connection]:
        return connect(self._endpoint, client_id=self._service, will=self._voice.will())

    async def _session(self, connection: Connection) -> None:
        await self._voice.hello(connection)
        for camera in await self._gone():
            self._left.put_nowait(camera)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take_away(connection, group), name=f"registrar[{self._org}].take-away")
                group.create_task(_until_lost(connection), name=f"registrar[{self._org}].listen")
        finally:
            await self._voice.goodbye(connection)

    async def _gone(self) -> list[DeviceId]:
        query = select(cameras.c.id).where(cameras.c.org == self._org, cameras.c.state != "enrolled")
        try:
            async with self._database.transaction() as t:
                return [DeviceId(camera) for camera in (await t.execute(query)).scalars()]
        except (SQLAlchemyError, OSError) as cause:
            raise NotConnected(f"the register cannot be read; trying again: {cause}") from cause

    async def _take_away(self, connection: Connection, group: asyncio.TaskGroup) -> NoReturn:
        while True:
            camera = await self._left.get()
            await self._empty(connection, camera)
            group.create_task(self._empty_again(connection, camera), name=f"registrar[{self._org}].{camera}")

    async def _empty_again(self, connection: Connection, camera: DeviceId) -> None:
        await asyncio.sleep(WILL_S)
        await self._empty(connection, camera)
        self._swept.add(camera)
        LOG.info("registrar[%s]: the broker keeps nothing of %s any more", self._org, camera)

    async def _empty(self, connection: Connection, camera: DeviceId) -> None:
        for topic in (topics.camera_state(self._org, camera), topics.camera_desired(self._org, camera)):
            await connection.publish(topic, b"", retain=True)


async def _until_lost(connection: Connection) -> None:
    """Nothing is subscribed to; reading is how a lost connection is noticed."""
    async for message in connection.messages():
        connection.ack(message)
