"""Orders to cameras: *start* and *locate*, signed, numbered and gone in a minute. Nothing stops or erases from afar.

The number is in the database and the order in the ledger before it leaves: a camera never gets the same number twice,
also after a crash or a restored backup that is older than the camera's memory (then it refuses, and the next works).
"""

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final, Literal, NoReturn
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Connection, Endpoint, NotConnected, connect, stay_connected
from broker.clock import Clock
from broker.wire import topics
from broker.wire.commands import give
from broker.wire.events import Command
from broker.wire.ids import DeviceId, Org, uuid7
from broker.wire.refusals import Code, refuse
from cloud.database.engine import Database
from cloud.fleet import records
from cloud.fleet.register import Fleet, Ledger
from cloud.fleet.voice import Voice

LIFE: Final = timedelta(seconds=30)
"""How long an order is good: time for one reconnect of a camera, too short to surprise anybody later."""


class Commands:
    """Gives orders over a connection of its own, which may do nothing else. `run` it, then `give`."""

    def __init__(
        self,
        *,
        org: Org,
        oin: str,
        service: DeviceId,
        endpoint: Endpoint,
        key: Ed25519PrivateKey,
        database: Database,
        ledger: Ledger,
        fleet: Fleet,
        clock: Clock,
        opened: Callable[[], AbstractAsyncContextManager[Connection]] | None = None,
    ) -> None:
        self._org = org
        self._service = service
        self._endpoint = endpoint
        self._key = key
        self._database = database
        self._ledger = ledger
        self._fleet = fleet
        self._clock = clock
        self._voice = Voice(org=org, oin=oin, service=service, clock=clock)
        self._open = opened or self._connect
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether an order can be given now."""
        return self._connection is not None and self._connection.alive

    async def run(self) -> NoReturn:
        """Stay connected."""
        await stay_connected(self._open, self._session)

    async def give(self, camera: DeviceId, order: Literal["start", "locate"], *, by: str) -> Command:
        """Send the order and return it; what becomes of it comes back as an event.

        Raises Refused: NOT_FOUND (no such camera), UNAVAILABLE (no broker), LEDGER_UNWRITABLE. After the first two
        nothing was sent.
        """
        if self._fleet.card(self._org, camera) is None:
            raise refuse(Code.NOT_FOUND, "order", expected="an enrolled camera", got=camera)
        connection = self._connection
        if connection is None or not connection.alive:
            raise refuse(Code.UNAVAILABLE, "order", expected="a connection to the broker", got="none")
        now = self._clock()
        command = uuid7(now, secrets.token_bytes(10))
        await self._ledger.append(
            "command.given", subject=camera, actor=by, at=now, facts={"command": str(command), "order": order}
        )
        signed = await self._number_and_sign(command, camera, order, by=by)
        try:
            await connection.publish(
                topics.camera_command(self._org, camera, order),
                self._voice.say(signed),
                expires_s=int(LIFE.total_seconds()),
            )
        except NotConnected as cause:
            raise refuse(Code.UNAVAILABLE, "order", expected="a connection to the broker", got=cause) from cause
        return signed

    async def _number_and_sign(
        self, command: UUID, camera: DeviceId, order: Literal["start", "locate"], *, by: str
    ) -> Command:
        issued = self._clock()
        async with self._database.transaction() as t:
            counter = await records.add_command(
                t,
                command=command,
                org=self._org,
                camera=camera,
                order=order,
                given_by=by,
                issued_at=issued,
                expires_at=issued + LIFE,
            )
        return give(
            order,
            command=command,
            org=self._org,
            camera=camera,
            counter=counter,
            issued_at=issued,
            expires_at=issued + LIFE,
            key=self._key,
        )

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return connect(self._endpoint, client_id=self._service, will=self._voice.will())

    async def _session(self, connection: Connection) -> None:
        self._connection = connection
        try:
            await self._voice.hello(connection)
            async for message in connection.messages():
                connection.ack(message)  # nothing is subscribed to; a leftover session must not hold the broker up
        finally:
            self._connection = None
            await self._voice.goodbye(connection)
