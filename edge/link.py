"""The camera's MQTT side: says who it is, what happened, and obeys only what is signed for it.

Retained state with a last will, heartbeats, telemetry (QoS 0), events from the outbox (QoS 1, until a receipt covers
them), settings (retained), orders. Recording never waits for any of it: without a connection everything goes on.

Sequences: events count from 1 per boot without a hole, so that the cloud sees what it misses; state and telemetry count
on their own.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

from broker.client import (
    Connection,
    Endpoint,
    Message,
    NotConnected,
    PublishRefused,
    SubscriptionRefused,
    Will,
    connect,
    stay_connected,
)
from broker.clock import Clock
from broker.ending import end
from broker.wire import topics
from broker.wire.events import (
    CameraSettings,
    CameraState,
    Command,
    Event,
    EventReceipt,
    Said,
    Telemetry,
    decode,
    encode,
    kind_of,
    source_of,
)
from broker.wire.ids import uuid7
from broker.wire.refusals import Refused
from edge.enrolment import Enrolment
from edge.outbox import Outbox, Waiting
from edge.pulse import Pulse
from edge.threads import Threads

LOG: Final = logging.getLogger(__name__)

RESEND_AFTER_S: Final = 30.0
"""Wall time after which an event without a receipt is sent again: a broker may have lost what it acknowledged."""

REFUSED_PAUSE_S: Final = 30.0
"""Wall time between attempts while the broker refuses this identity: only an administrator can end that."""

UNSET_HEARTBEAT_S: Final = 30
"""Heartbeat of a camera that has no settings yet; only so that somebody sees that it has none."""

_MENDABLE: Final = (PublishRefused, SubscriptionRefused, OSError)
"""What an administrator can mend while the camera goes on: rights, certificates that are not there."""

LEAST_PAUSE_S: Final = 0.05
"""However fast the demonstration clock runs, one camera says no more than this often how it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What the link asks of the camera it speaks for. `obey` gets an order and whether the broker had kept it."""

    state: Callable[[], CameraState]
    telemetry: Callable[[], Telemetry]
    settings: Callable[[CameraSettings], Awaitable[None]]
    obey: Callable[[Command, bool], Awaitable[None]]


class Link:
    """One camera's voice and ears. `run` for as long as the camera is on."""

    def __init__(
        self,
        *,
        enrolment: Enrolment,
        endpoint: Endpoint,
        outbox: Outbox,
        camera: Camera,
        boot: str,
        clock: Clock,
        pulse: Pulse,
        threads: Threads,
        opened: Callable[[], AbstractAsyncContextManager[Connection]] | None = None,
    ) -> None:
        self._org = enrolment.municipality
        self._device = enrolment.device
        self._source = source_of(enrolment.oin, self._org, "cam", self._device)
        self._endpoint = endpoint
        self._outbox = outbox
        self._camera = camera
        self._boot = boot
        self._clock = clock
        self._pulse = pulse
        self._threads = threads
        self._open = opened or self._connect
        self._heartbeat_s = UNSET_HEARTBEAT_S
        self._event_numbers = itertools.count(1)
        self._state_numbers = itertools.count(1)
        self._telemetry_numbers = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()
        self._news = asyncio.Event()
        self._changed = asyncio.Event()
        self._sent: set[tuple[str, int]] = set()
        self._covered = asyncio.Event()
        self._uncovered = asyncio.Event()
        self._connection: Connection | None = None
        self.welcome = asyncio.Event()
        self.cover(within_reach=True)

    @property
    def connected(self) -> bool:
        """Whether the broker hears this camera now."""
        return self._connection is not None and self._connection.alive

    @property
    def strange(self) -> tuple[str, ...]:
        """What this camera's outbox held at boot that cannot be explained."""
        return self._outbox.strange

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """What was said and is not confirmed yet."""
        return self._outbox.waiting()

    @property
    def in_memory(self) -> tuple[Waiting, ...]:
        """What of it the disk refused."""
        return self._outbox.in_memory()

    def heartbeat(self, seconds: int) -> None:
        """Beat this often from now on, in shown seconds."""
        self._heartbeat_s = seconds

    def cover(self, *, within_reach: bool) -> None:
        """Let the camera walk into or out of the reach of the network."""
        (self._covered if within_reach else self._uncovered).set()
        (self._uncovered if within_reach else self._covered).clear()

    def tell_state(self) -> None:
        """Say soon how the camera is; several changes may become one message."""
        self._changed.set()

    async def tell(self, said: Said) -> None:
        """Return when this event is on disk. It is sent as soon as there is a connection, until it is confirmed."""
        async with self._one_at_a_time:
            event = self._event(said, next(self._event_numbers))
            waiting = Waiting(
                boot=self._boot,
                sequence=event.sequence,
                topic=topics.camera_event(self._org, self._device, kind_of(said)),
                payload=encode(event),
            )
            try:
                await self._threads(self._outbox.append, waiting)
            except OSError as cause:
                LOG.error("%s: an event is only in memory: %s", self._device, cause)  # noqa: TRY400
                self._outbox.hold(waiting)
        self._news.set()

    async def run(self) -> NoReturn:
        """Stay connected while within reach. Nothing that a broker says or does ends this."""
        while True:
            await self._covered.wait()
            async with asyncio.TaskGroup() as group:
                talking = group.create_task(self._talk(), name=f"edge[{self._device}].talk")
                await self._uncovered.wait()
                if self._connection is not None:
                    self._connection.vanish()  # out of reach there is no goodbye: the last will speaks
                await end(talking)

    async def say_goodbye(self, *, within_s: float) -> None:
        """Say the last state, when there is still a connection: a clean goodbye keeps the last will silent."""
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(within_s):
                await self._say_state(self._connection)
        except (TimeoutError, NotConnected, PublishRefused) as cause:
            LOG.info("%s: no goodbye: %s", self._device, cause)

    async def _talk(self) -> NoReturn:
        while True:
            try:
                await stay_connected(self._within_reach, self._session)
            except _MENDABLE as cause:
                LOG.error("%s: %s", self._device, cause)  # noqa: TRY400 - the sentence says it all
            except ExceptionGroup as several:
                refused, rest = several.split(_MENDABLE)
                if rest is not None:
                    raise rest from None
                LOG.error("%s: %s", self._device, refused)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(REFUSED_PAUSE_S)

    @asynccontextmanager
    async def _within_reach(self) -> AsyncIterator[Connection]:
        if not self._covered.is_set():
            raise NotConnected("out of reach of the network")
        async with self._open() as connection:
            yield connection

    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        state = topics.camera_state(self._org, self._device)
        lost = self._event(self._lost(), next(self._state_numbers))
        return connect(
            self._endpoint,
            client_id=self._device,
            will=Will(topic=state, payload=encode(lost)),
            subscriptions=(
                # Settings are kept and receipts repeated, so the broker need not remember them for each camera (on NATS
                # that costs more than all else together); an order may wait for a camera that comes back in time.
                (topics.camera_desired(self._org, self._device), 0),
                (topics.camera_receipt(self._org, self._device), 0),
                (topics.camera_command(self._org, self._device, "+"), 1),
            ),
        )

    def _lost(self) -> CameraState:
        now = self._camera.state()
        return CameraState(
            status="lost",
            boot=self._boot,
            buffering=False,
            battery_pct=now.battery_pct,
            card_free_pct=now.card_free_pct,
            settings_version=now.settings_version,
        )

    welcome: asyncio.Event
    """Set once the cloud has told this camera its settings in this boot."""

    async def _session(self, connection: Connection) -> None:
        self._connection = connection
        self._sent.clear()
        try:
            await self._say_state(connection)
            async with asyncio.TaskGroup() as group:
                name = f"edge[{self._device}]"
                group.create_task(self._listen(connection), name=f"{name}.listen")
                group.create_task(self._empty_outbox(connection), name=f"{name}.outbox")
                group.create_task(self._beat(connection), name=f"{name}.heartbeat")
                group.create_task(self._say_changes(connection), name=f"{name}.state")
        finally:
            self._connection = None

    async def _say_state(self, connection: Connection) -> None:
        event = self._event(self._camera.state(), next(self._state_numbers))
        await connection.publish(topics.camera_state(self._org, self._device), encode(event), qos=1, retain=True)

    async def _say_changes(self, connection: Connection) -> NoReturn:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._say_state(connection)

    async def _beat(self, connection: Connection) -> NoReturn:
        """Beat, and measure: telemetry comes after the outbox has had its turn."""
        while True:
            await asyncio.sleep(max(LEAST_PAUSE_S, self._heartbeat_s / self._pulse.rate))
            await self._say_state(connection)
            event = self._event(self._camera.telemetry(), next(self._telemetry_numbers))
            await connection.publish(topics.camera_telemetry(self._org, self._device), encode(event), qos=0)

    async def _empty_outbox(self, connection: Connection) -> NoReturn:
        while True:
            self._news.clear()
            for waiting in self._outbox.waiting():
                name = (waiting.boot, waiting.sequence)
                if name not in self._sent:
                    await connection.publish(waiting.topic, waiting.payload, qos=1)
                    self._sent.add(name)
            try:
                async with asyncio.timeout(RESEND_AFTER_S if self._outbox.waiting() else None):
                    await self._news.wait()
            except TimeoutError:
                self._sent.clear()

    async def _listen(self, connection: Connection) -> None:
        async for message in connection.messages():
            await self._hear(message)
            connection.ack(message)

    async def _hear(self, message: Message) -> None:
        """Do what the message asks; what cannot be understood is logged and acknowledged, or it would come for ever."""
        if not message.payload:
            return  # a retained message that was taken away
        try:
            said = decode(message.payload).said
        except Refused as cause:
            LOG.warning("%s: %s on %s", self._device, cause, message.topic)
            return
        match said:
            case EventReceipt():
                await self._confirmed(said)
            case CameraSettings():
                await self._camera.settings(said)
                self.welcome.set()
            case Command():
                await self._camera.obey(said, message.retain)
            case _:
                LOG.warning("%s: did not expect %s on %s", self._device, type(said).__name__, message.topic)

    async def _confirmed(self, receipt: EventReceipt) -> None:
        async with self._one_at_a_time:
            again = await self._threads(self._outbox.confirm, receipt)
        self._sent.difference_update((waiting.boot, waiting.sequence) for waiting in again)
        if again:
            self._news.set()

    def _event(self, said: Said, sequence: int) -> Event:
        now = self._clock()
        return Event(
            id=uuid7(now, secrets.token_bytes(10)),
            source=self._source,
            session=self._boot,
            sequence=sequence,
            time=now,
            said=said,
        )
