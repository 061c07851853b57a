"""The one MQTT client of all parts: aiomqtt, with at-least-once delivery carried through to the application.

aiomqtt 2.5 alone is at most once for its user. Four things are done differently here, each with a test in
tests/adapters/broker/test_client.py:

1. A message is acknowledged when the work is done (`Connection.ack`), not when it arrives.
2. A session outlives its connection (`clean_session=False`): what came while away is delivered afterwards.
3. The queue of incoming messages has no bound that drops. The broker bounds what is not acknowledged.
4. An answer of the broker that says no is raised: `PublishRefused`, `SubscriptionRefused`. (MQTT 3.1.1 has no
   negative PUBACK: there, a forbidden publish looks delivered. Hence the receipts inside the events.)

Each connection is a fresh client object: paho keeps unsent messages in its own memory and would send them twice next
to the outboxes of ours. Delivery is at least once: receivers remember (`source`, `id`).
"""

import asyncio
import hashlib
import logging
import math
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.ending import end

LOG: Final = logging.getLogger(__name__)

ANSWER_S: Final = 10.0
"""How long a broker may take to answer a connect, a subscribe or a publish (aiomqtt's default)."""

SESSION_KEPT_S: Final = 14 * 24 * 3600
"""How long a broker keeps the session of an absent identity (MQTT 5). Both brokers' configurations say the same."""

_DICE: Final = secrets.SystemRandom()

PUBLISHES_AT_ONCE: Final = 20
"""Publishes of one connection without an answer yet. Also paho's own bound, above which it queues in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A broker, and who we are to it. There is no way to connect without a certificate of our own."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    protocol: Literal["3.1.1", "5"] = "3.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says for us when our connection breaks without a goodbye."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as it came. `retain`: it was kept by the broker for us, and is not news."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int


class NotConnected(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The connection is gone, or never came. Connecting again later may help."""


class ConnectRefused(NotConnected):
    """The broker answered, and said no: unknown or revoked identity, or a certificate it does not accept."""


class PublishRefused(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The broker will never take this message from this identity."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"publish on {topic}: refused ({reason}); look at this identity's role in broker/README.md")
        self.topic = topic
        self.reason = reason


class SubscriptionRefused(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The broker will never deliver this filter to this identity."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"subscribe to {topic}: refused ({reason}); look at this identity's role in broker/README.md")
        self.topic = topic
        self.reason = reason


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


class _Client(aiomqtt.Client):
    """aiomqtt 2.5 with acknowledgement after the work. Touches private names of it: keep `aiomqtt<3`."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext, **rest: Any) -> None:
        super().__init__(endpoint.host, endpoint.port, tls_context=tls, timeout=ANSWER_S, **rest)
        self._client.manual_ack_set(True)
        self._client.connect_timeout = ANSWER_S
        self._answers: dict[int, asyncio.Future[ReasonCode | None]] = {}
        self.incoming: asyncio.Queue[Message | None] = asyncio.Queue()
        self.session_present = False

    def watch_for_the_end(self) -> None:
        """Wake everybody who waits when the connection ends. Call once, when connected."""
        self._disconnected.add_done_callback(self._ended)

    @property
    def ended(self) -> bool:
        """Whether the connection is over."""
        return self._disconnected.done()

    @property
    def end(self) -> BaseException | None:
        """Why the connection is over, when it is and not by our own goodbye."""
        return self._disconnected.exception() if self.ended else None

    def _ended(self, disconnected: asyncio.Future[None]) -> None:
        disconnected.exception()  # seen here; it is told to each waiter as NotConnected
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)  # there will be none
        self.incoming.put_nowait(None)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        self.session_present = bool(flags.session_present)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        """Also end the wait for a CONNACK: TLS 1.3 tells a refused certificate only after the handshake."""
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("the broker closed the connection before its answer"))
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        del client, userdata
        self.incoming.put_nowait(
            Message(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                retain=message.retain,
                mid=message.mid,
            )
        )

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Any) -> None:
        del client, userdata, properties
        answer = self._answers.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(reason_code)

    async def publish_and_hear(
        self, topic: str, payload: bytes, *, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        """Return when the broker has taken the message (QoS 0: when it is sent)."""
        sent = self._client.publish(topic, payload, qos, retain, properties)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise NotConnected(f"publish on {topic}: {paho.error_string(sent.rc)}")
        if qos == 0:
            return
        answer: asyncio.Future[ReasonCode | None] = self._loop.create_future()
        self._answers[sent.mid] = answer
        try:
            async with asyncio.timeout(ANSWER_S):
                reason = await answer
        except TimeoutError as cause:
            raise NotConnected(f"publish on {topic}: no answer in {ANSWER_S:.0f} s") from cause
        finally:
            self._answers.pop(sent.mid, None)
        if reason is None:
            raise NotConnected(f"publish on {topic}: {self.end or 'closed'}") from self.end
        if reason.is_failure:
            raise PublishRefused(topic, str(reason))

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that it may forget the message."""
        self._client.ack(message.mid, message.qos)

    def vanish(self) -> None:
        """Close the socket without a goodbye."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with suppress(OSError):  # it was gone already
                sock.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Close the socket if it is still open: aiomqtt leaves it so when a connect or a goodbye is not answered."""
        self._client._sock_close()  # noqa: SLF001 - no public way without a goodbye


class _Incoming:
    """The messages of one connection. Cancelling one `anext` loses nothing, unlike a generator or aiomqtt's own."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """Return the next message; raise NotConnected when the connection is over (unread ones come again)."""
        if self._client.ended:
            raise NotConnected(f"connection lost: {self._client.end or 'closed'}") from self._client.end
        message = await self._client.incoming.get()
        if message is None:
            self._client.incoming.put_nowait(None)  # for the next reader of a dead connection
            raise NotConnected(f"connection lost: {self._client.end or 'closed'}") from self._client.end
        return message


class Connection:
    """One live connection. Made by `connect`."""

    def __init__(self, client: _Client, *, publishes_at_once: int, speaks_mqtt5: bool) -> None:
        self._client = client
        self._gate = asyncio.Semaphore(publishes_at_once)
        self._speaks_mqtt5 = speaks_mqtt5
        self._incoming = _Incoming(client)

    @property
    def session_present(self) -> bool:
        """Whether the broker still had our session, with our subscriptions and what we missed."""
        return self._client.session_present

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as this side knows."""
        return not self._client.ended

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, expires_s: int | None = None
    ) -> None:
        """Return when the broker has the message (QoS 1) or it is sent (QoS 0).

        The broker's word is not the cloud's: what must not be lost stays in an outbox until a receipt names it.
        `expires_s` lets an MQTT 5 broker drop it undelivered after so many seconds; with 3.1.1 it is not sent.
        Raises NotConnected (try again on the next connection) or PublishRefused (never; MQTT 5 only).
        """
        properties = None
        if expires_s is not None and self._speaks_mqtt5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expires_s
        async with self._gate:
            if self._client.ended:
                raise NotConnected(f"publish on {topic}: connection lost") from self._client.end
            await self._client.publish_and_hear(topic, payload, qos=qos, retain=retain, properties=properties)

    async def subscribe(self, topic: str, *, qos: int = 1) -> None:
        """Return when the broker promises delivery; raise SubscriptionRefused or NotConnected.

        Mosquitto grants any filter and then delivers only what the identity may read.
        """
        try:
            granted = await self._client.subscribe(topic, qos)
        except aiomqtt.MqttError as cause:
            raise NotConnected(f"subscribe to {topic}: {cause}") from cause
        for code in granted:
            if isinstance(code, ReasonCode) and code.is_failure:
                raise SubscriptionRefused(topic, str(code))

    def messages(self) -> AsyncIterator[Message]:
        """Iterate over what comes in, until NotConnected. One reader; `ack` each message when its work is done.

        A message that cannot be understood is stored aside and acknowledged too: it would come for ever.
        """
        return self._incoming

    def ack(self, message: Message) -> None:
        """Tell the broker that this message's work is done. After a lost connection: the message comes again."""
        if self._client.ended:
            raise NotConnected("acknowledge: connection lost; the message will come again") from self._client.end
        self._client.acknowledge(message)

    def vanish(self) -> None:
        """Break the connection without a goodbye, as an empty battery does: the last will is sent."""
        self._client.vanish()


@asynccontextmanager
async def connect(
    endpoint: Endpoint,
    *,
    client_id: str,
    will: Will | None = None,
    clean_session: bool = False,
    subscriptions: Sequence[tuple[str, int]] = (),
    keepalive_s: int = 20,
    publishes_at_once: int = PUBLISHES_AT_ONCE,
) -> AsyncIterator[Connection]:
    """Open a connection with its subscriptions made; say goodbye on the way out (which silences the will).

    With `clean_session=False` the broker keeps what comes for `client_id` while it is away. A dead peer is noticed
    after twice `keepalive_s`. Certificates are read anew on each call, so a renewed one is used at once.
    Raises NotConnected, ConnectRefused or SubscriptionRefused.
    """
    tls, session = await asyncio.to_thread(_credentials, endpoint, client_id)
    mqtt5 = endpoint.protocol == "5"
    client = _Client(
        endpoint,
        tls,
        identifier=session,
        keepalive=keepalive_s,
        will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        **(_session_of_mqtt5(clean=clean_session) if mqtt5 else {"clean_session": clean_session}),
    )
    client.pending_calls_threshold = publishes_at_once + len(subscriptions)
    await _enter(client, endpoint)
    client.watch_for_the_end()
    try:
        connection = Connection(client, publishes_at_once=publishes_at_once, speaks_mqtt5=mqtt5)
        for topic, qos in subscriptions:
            await connection.subscribe(topic, qos=qos)
        yield connection
    finally:
        await _leave(client)


async def stay_connected(
    open_connection: Callable[[], AbstractAsyncContextManager[Connection]],
    session: Callable[[Connection], Awaitable[None]],
    *,
    first_s: float = 0.5,
    most_s: float = 30.0,
    jitter: Callable[[], float] = _DICE.random,
) -> NoReturn:
    """Run `session` on a connection, and on the next one when it is lost, for ever.

    Waits `jitter()` (0 to 1) times a term that doubles from `first_s` to `most_s` between attempts, so that a whole
    fleet does not come back in the same second. A connection that lived longer than `most_s` starts afresh. A session
    that returns is opened again. Everything but NotConnected is a fault of ours and is raised. Cancelled is cancelled,
    also in the moment in which the connection is lost.
    """
    loop = asyncio.get_running_loop()
    attempt = 0

    async def try_once() -> None:
        async with open_connection() as connection:
            await session(connection)

    while True:
        began = loop.time()
        lost: BaseException | None = None
        try:
            await _in_a_task_of_its_own(try_once())
        except NotConnected as cause:
            lost = cause
        except BaseExceptionGroup as several:
            lost = _lost_in(several)
        if loop.time() - began > most_s:
            attempt = 0
        if lost is not None:
            _say_lost(lost, attempt)
        await asyncio.sleep(min(most_s, first_s * math.pow(2, min(attempt, 30))) * jitter())
        attempt += 1


async def _in_a_task_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """Do the work in a task of its own, and end that when this one is cancelled.

    A TaskGroup of Python 3.11 in which something fails in the moment of a cancellation raises the failure and forgets
    the cancellation; and one in which something fails while it ends leaves a cancellation behind that nobody asked for.
    Neither reaches the task that waits here.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await end(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.info("MQTT: while it was cancelled: %s", type(error).__name__)
        raise
    await task


def session_name(client_id: str, key: bytes) -> str:
    """Return the client id under which the broker keeps our session: readable, and not to be guessed by others.

    NATS does not bind a client id to a certificate: who knows it can end the session. So it carries a digest of our
    private key, the same on every connection and known to nobody else. (Mosquitto replaces it by the certificate's.)
    """
    return f"{client_id}-{hashlib.sha256(b'vier-ogen/mqtt-session/v1' + bytes(1) + key).hexdigest()[:24]}"


def _credentials(endpoint: Endpoint, client_id: str) -> tuple[ssl.SSLContext, str]:
    tls = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(endpoint.ca))
    tls.sslsocket_class = _TlsSocket
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(endpoint.certificate, endpoint.key)
    return tls, session_name(client_id, endpoint.key.read_bytes())


def _session_of_mqtt5(*, clean: bool) -> dict[str, Any]:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0 if clean else SESSION_KEPT_S
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": clean, "properties": properties}


async def _enter(client: _Client, endpoint: Endpoint) -> None:
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        await client.__aenter__()
    except MqttConnectError as cause:
        raise ConnectRefused(f"connect to {where}: {cause}; is this identity known and not revoked?") from cause
    except aiomqtt.MqttError as cause:
        client.abandon()
        raise NotConnected(f"connect to {where}: {cause}") from cause
    except asyncio.CancelledError:
        client.abandon()
        raise


async def _leave(client: _Client) -> None:
    try:
        await client.__aexit__(None, None, None)
    except aiomqtt.MqttError as cause:
        LOG.debug("MQTT: no goodbye: %s", cause)
    finally:
        client.abandon()


def _say_lost(lost: BaseException, attempt: int) -> None:
    """Say it once per outage, not once per attempt of fifty cameras."""
    LOG.log(logging.DEBUG if attempt else logging.WARNING, "MQTT: %s", lost)


def _lost_in(several: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the lost connection that a session's TaskGroup reports once per task; raise anything else in it."""
    lost, rest = several.split(NotConnected)
    if rest is not None:
        raise rest
    first: BaseException | None = lost
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
