"""The fleet's MQTT side: hears cameras and docks, tells cameras how far they are heard and what they must do.

The broker may forget a message when its effect is on disk, not before, and in the order in which it came. Messages of
one camera are worked on in order, those of different cameras side by side. What the database cannot take comes again
on the next connection.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from broker.client import Connection, Endpoint, Message, NotConnected, connect, stay_connected
from broker.clock import Clock, pause
from broker.wire import topics
from broker.wire.events import EventReceipt
from broker.wire.ids import DeviceId, Org
from broker.wire.topics import ROOT
from cloud.fleet.register import Fleet, Heard, ReceiptDue
from cloud.fleet.voice import Voice

LOG: Final = logging.getLogger(__name__)

LANES: Final = 64
"""Messages worked on at the same time; a camera keeps to one lane, so its messages stay in order. As many as one
transaction takes: what waits for the database goes there together."""

UNDERWAY: Final = 256
"""Messages taken from the connection and not acknowledged yet; the broker holds back the rest."""

LOOK_S: Final = 1.0
"""How often the clock is looked at: silence and escalation show at most this much late."""

ASK_AGAIN_S: Final = 10.0
"""How often a camera is asked again for events that are missing."""

RECEIPT_S: Final = 0.1
"""Receipts wait this long for each other (wall time): one receipt covers all events of a burst."""

SUBSCRIBE_AGAIN_S: Final = 2.0
"""Wall time after which the kept states are asked for again: nats-server 2.15.1 loses those that change while a
subscription is being made (7 of 50 in a start of a whole fleet), and a dock has no heartbeat that would repair it."""

_Work = tuple[Message, "asyncio.Future[Heard]"]


def subscriptions(org: Org) -> tuple[tuple[str, int], ...]:
    """Return what the fleet listens to; no two of them overlap."""
    return (
        (f"{ROOT}/{org}/cam/+/state", 1),
        (f"{ROOT}/{org}/cam/+/tlm", 0),
        (f"{ROOT}/{org}/cam/+/evt/#", 1),
        (f"{ROOT}/{org}/dock/+/state", 1),
        (f"{ROOT}/{org}/dock/+/evt/#", 1),
        (f"{ROOT}/{org}/svc/+/state", 1),
    )


class FleetLink:
    """Keeps one municipality's fleet connected to its broker. `run` for as long as the cloud is up."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        org: Org,
        oin: str,
        service: DeviceId,
        endpoint: Endpoint,
        clock: Clock,
        rate: float = 1.0,
        opened: Callable[[], AbstractAsyncContextManager[Connection]] | None = None,
    ) -> None:
        """`rate`: how many seconds the clock shows in one of the wall. `opened` replaces the connection in tests."""
        self._fleet = fleet
        self._org = org
        self._service = service
        self._endpoint = endpoint
        self._clock = clock
        self._rate = rate
        self._voice = Voice(org=org, oin=oin, service=service, clock=clock)
        self._open = opened or self._connect
        self._due: set[ReceiptDue] = set()
        self._receipts = asyncio.Event()
        self._desired: dict[DeviceId, int] = {}
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether cameras are heard now."""
        return self._connection is not None and self._connection.alive

    async def run(self) -> NoReturn:
        """Stay connected, and look at the clock every second, also while there is no connection."""
        await self._fleet.load(self._org)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_on(), name=f"fleet[{self._org}].look")
            group.create_task(stay_connected(self._open, self._session), name=f"fleet[{self._org}].talk")
        raise AssertionError("unreachable: neither task returns")

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        return connect(
            self._endpoint, client_id=self._service, will=self._voice.will(), subscriptions=subscriptions(self._org)
        )

    async def _session(self, connection: Connection) -> None:
        self._connection = connection
        self._desired.clear()
        self._due.update(self._fleet.receipts_open(self._org))
        self._receipts.set()
        self._fleet.listen(self._org, hearing=True)
        name = f"fleet[{self._org}]"
        try:
            await self._voice.hello(connection)
            async with asyncio.TaskGroup() as group:
                lanes: list[asyncio.Queue[_Work]] = [asyncio.Queue() for _ in range(LANES)]
                arrived: asyncio.Queue[_Work] = asyncio.Queue(UNDERWAY)
                for number, lane in enumerate(lanes):
                    group.create_task(self._work(lane), name=f"{name}.lane-{number}")
                group.create_task(self._acknowledge(connection, arrived), name=f"{name}.acknowledge")
                group.create_task(self._read(connection, lanes, arrived), name=f"{name}.read")
                group.create_task(self._say_receipts(connection), name=f"{name}.receipts")
                group.create_task(self._say_desired(connection), name=f"{name}.desired")
                group.create_task(self._subscribe_again(connection), name=f"{name}.subscribe-again")
        finally:
            self._connection = None
            self._fleet.listen(self._org, hearing=False)
            await self._voice.goodbye(connection)

    async def _read(
        self, connection: Connection, lanes: list[asyncio.Queue[_Work]], arrived: asyncio.Queue[_Work]
    ) -> None:
        loop = asyncio.get_running_loop()
        async for message in connection.messages():
            work = (message, loop.create_future())
            await arrived.put(work)  # waits when much is underway
            lanes[_lane(message.topic)].put_nowait(work)

    async def _subscribe_again(self, connection: Connection) -> None:
        await asyncio.sleep(SUBSCRIBE_AGAIN_S)
        for topic, qos in subscriptions(self._org):
            if topic.endswith("/state"):
                await connection.subscribe(topic, qos=qos)

    async def _work(self, lane: asyncio.Queue[_Work]) -> NoReturn:
        while True:
            message, done = await lane.get()
            try:
                heard = await self._fleet.on_message(message.topic, message.payload, kept=message.retain)
            except (SQLAlchemyError, OSError) as cause:
                raise NotConnected(f"the database did not take a message; it will come again: {cause}") from cause
            done.set_result(heard)

    async def _acknowledge(self, connection: Connection, arrived: asyncio.Queue[_Work]) -> NoReturn:
        while True:
            message, done = await arrived.get()
            heard = await done
            if message.qos:
                connection.ack(message)
            if heard.receipt is not None:
                self._due.add(heard.receipt)
                self._receipts.set()

    async def _say_receipts(self, connection: Connection) -> NoReturn:
        while True:
            await self._receipts.wait()
            await asyncio.sleep(RECEIPT_S)
            self._receipts.clear()
            while self._due:
                due = self._due.pop()
                try:
                    await self._say_receipt(connection, due)
                except BaseException:
                    self._due.add(due)
                    raise

    async def _say_receipt(self, connection: Connection, due: ReceiptDue) -> None:
        upto, missing = self._fleet.receipt(due)
        receipt = EventReceipt(boot=due.session, sequence=upto, missing=missing)
        await connection.publish(topics.camera_receipt(self._org, due.camera), self._voice.say(receipt))

    async def _say_desired(self, connection: Connection) -> NoReturn:
        """Keep the settings that follow from the policy before each camera."""
        while True:
            settings = self._fleet.settings(self._org)
            cards = self._fleet.cards(self._org)
            for gone in set(self._desired) - {card.camera for card in cards}:
                await connection.publish(topics.camera_desired(self._org, gone), b"", retain=True)
                del self._desired[gone]
            if settings is not None:
                for card in cards:
                    if self._desired.get(card.camera) != settings.version:
                        said = self._voice.say(settings)
                        await connection.publish(topics.camera_desired(self._org, card.camera), said, retain=True)
                        self._desired[card.camera] = settings.version
            await pause(LOOK_S, rate=self._rate)

    async def _look_on(self) -> NoReturn:
        asked = self._clock()
        while True:
            try:
                await self._fleet.look(self._org)
            except (SQLAlchemyError, OSError):
                LOG.exception("fleet[%s]: could not look; trying again", self._org)
            now = self._clock()
            if not 0 <= (now - asked).total_seconds() < ASK_AGAIN_S:
                asked = now
                self._due.update(self._fleet.receipts_open(self._org))
                if self._due:
                    self._receipts.set()
            await pause(LOOK_S, rate=self._rate)


def _lane(topic: str) -> int:
    """The same lane for everything that one device says."""
    return zlib.crc32("/".join(topic.split("/")[:5]).encode()) % LANES
