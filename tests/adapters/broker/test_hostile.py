"""Hostile clients at both brokers. What counts is what a judge hears who hears everything: no exit code, no SUBACK.

Every credential meets every attempt. Only the right certificate gets anything through, and only on its own topics.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiomqtt
import pytest
import pytest_asyncio

from broker.client import Connection, Endpoint, NotConnected, PublishRefused, _Client, connect, session_name
from broker.identities import Authority
from broker.rules.access import Role
from broker.wire import topics
from broker.wire.events import MAX_EVENT_BYTES
from broker.wire.ids import DeviceId, Org
from tests.adapters.broker.conftest import TOWN, Broker, Judge, anyone, camera_of, judge_at, judged, start, trust

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORG = Org(TOWN)
VICTIM = DeviceId("cam-02")
VICTIM_ORDERS = f"vo/v1/{TOWN}/cam/{VICTIM}/cmd/start"
CREDENTIALS = ("none", "other authority", "expired", "revoked", "right")


@dataclass(kw_only=True)
class Stage:
    """A broker, a judge, a victim who is connected all the time, and the command service that speaks to it."""

    kind: str
    broker: Broker
    judge: Judge
    victim: Connection
    command: Connection
    strangers: Authority

    def attacker(self, credential: str) -> tuple[str, Endpoint, ssl.SSLContext]:
        """Who attacks, and with what in hand."""
        device = {"expired": "cam-expired", "revoked": "cam-revoked"}.get(credential, "cam-01")
        endpoint = self.broker.endpoint(device)
        files = self.strangers.credentials("cam-01") if credential == "other authority" else None
        pair = (files.certificate, files.key) if files else (endpoint.certificate, endpoint.key)
        return device, endpoint, trust(endpoint, None if credential == "none" else pair)

    async def heard(self) -> set[bytes]:
        """What the judge heard up to a marker of the victim's own, sent after the attempt."""
        marker = uuid4().hex.encode()
        await self.victim.publish(topics.camera_event(ORG, VICTIM, "activation"), marker)
        return {message.payload for message in await self.judge.heard_until(marker)}

    async def victim_still_hears(self) -> bool:
        order = uuid4().hex.encode()
        await self.command.publish(VICTIM_ORDERS, order)
        async with asyncio.timeout(60):
            async for message in self.victim.messages():
                self.victim.ack(message)
                if message.payload == order:
                    return True
        return False


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)],
)
async def stage(request: pytest.FixtureRequest, folder: Path, town: Authority) -> AsyncIterator[Stage]:
    kind = str(request.param)
    strangers = Authority.create(folder / f"strangers-{kind}", TOWN)
    strangers.issue("cam-01", Role.CAMERA)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(start(kind, folder / kind, town, may=judged))
        victim = camera_of(broker.endpoint(VICTIM), VICTIM, subscriptions=[(f"vo/v1/{TOWN}/cam/{VICTIM}/cmd/#", 1)])
        yield Stage(
            kind=kind,
            broker=broker,
            judge=await stack.enter_async_context(judge_at(broker)),
            victim=await stack.enter_async_context(victim),
            command=await stack.enter_async_context(connect(broker.endpoint("svc-command"), client_id="svc-command")),
            strangers=strangers,
        )


async def say(client: _Client, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
    """Publish without manners; a refusal may be told or not."""
    if qos == 2:
        client._client.publish(topic, payload, qos, retain)
        await asyncio.sleep(0.1)
        return
    with suppress(NotConnected, PublishRefused):
        await client.publish_and_hear(topic, payload, qos=qos, retain=retain, properties=None)


def saying(topic: str, **how: Any) -> Callable[[str, Endpoint, ssl.SSLContext, bytes], Awaitable[None]]:
    """The attempt to publish on this topic; ``{own}`` is the attacker's id."""

    async def attempt(device: str, endpoint: Endpoint, tls: ssl.SSLContext, payload: bytes) -> None:
        async with anyone(endpoint, tls=tls, identifier=f"x-{device}") as client:
            await say(client, topic.replace("{own}", device), payload, **how)

    return attempt


async def a_will(device: str, endpoint: Endpoint, tls: ssl.SSLContext, payload: bytes) -> None:
    will = aiomqtt.Will(f"vo/v1/{TOWN}/cam/{VICTIM}/state", payload, 1, True)
    async with anyone(endpoint, tls=tls, identifier=f"x-{device}", will=will) as client:
        client.vanish()
    await asyncio.sleep(0.1)


async def too_large(device: str, endpoint: Endpoint, tls: ssl.SSLContext, payload: bytes) -> None:
    async with anyone(endpoint, tls=tls, identifier=f"x-{device}") as client:
        body = payload + bytes(MAX_EVENT_BYTES + 4096)
        with suppress(NotConnected, PublishRefused, TimeoutError):
            async with asyncio.timeout(2):
                await client.publish_and_hear(
                    f"vo/v1/{TOWN}/cam/{device}/evt/tamper", body, qos=1, retain=False, properties=None
                )


async def without_tls(device: str, endpoint: Endpoint, tls: ssl.SSLContext, payload: bytes) -> None:
    """A plain MQTT CONNECT and PUBLISH on the same port."""
    connect_packet = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc"
    topic = f"vo/v1/{TOWN}/cam/{device}/evt/tamper".encode()
    publish = b"\x30" + bytes([2 + len(topic) + len(payload)]) + len(topic).to_bytes(2) + topic + payload
    with socket.create_connection((endpoint.host, endpoint.port), timeout=2) as raw, suppress(OSError):
        raw.sendall(connect_packet + publish)
        raw.settimeout(0.2)
        raw.recv(64)


async def a_name_of_somebody_else(device: str, endpoint: Endpoint, tls: ssl.SSLContext, payload: bytes) -> None:
    """The right certificate may be joined by a user name; it must not count."""
    name = f"spiffe://vier-ogen/{TOWN}/command/svc-command" if endpoint.protocol == "3.1.1" else "svc-command"
    async with anyone(endpoint, tls=tls, identifier=f"x-{device}", username=name, password="") as client:
        await say(client, VICTIM_ORDERS, payload)


ATTEMPTS: dict[str, Callable[[str, Endpoint, ssl.SSLContext, bytes], Awaitable[None]]] = {
    "own event": saying(f"vo/v1/{TOWN}/cam/{{own}}/evt/activation"),
    "another camera's event": saying(f"vo/v1/{TOWN}/cam/{VICTIM}/evt/activation"),
    "another camera's event, QoS 0": saying(f"vo/v1/{TOWN}/cam/{VICTIM}/evt/activation", qos=0),
    "another camera's event, QoS 2": saying(f"vo/v1/{TOWN}/cam/{VICTIM}/evt/activation", qos=2),
    "another camera's retained state": saying(f"vo/v1/{TOWN}/cam/{VICTIM}/state", retain=True),
    "another town's event": saying("vo/v1/anderstad/cam/{own}/evt/activation"),
    "a command": saying(VICTIM_ORDERS),
    "a receipt for itself": saying(f"vo/v1/{TOWN}/cam/{{own}}/rcpt"),
    "expiry": saying(f"vo/v1/{TOWN}/retention/due/3"),
    "an outcome": saying(f"vo/v1/{TOWN}/retention/evt/destroyed"),
    "the store's topics": saying("$JS/API/STREAM/DELETE/$MQTT_msgs"),
    "a will for another": a_will,
    "an oversize event": too_large,
    "without TLS": without_tls,
    "another's user name": a_name_of_somebody_else,
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_only_the_right_certificate_gets_through_and_only_on_its_own_topics(
    stage: Stage, credential: str, attempt: str
) -> None:
    payload = f"attempt-{uuid4().hex}".encode()
    device, endpoint, tls = stage.attacker(credential)
    refused = False
    try:
        await ATTEMPTS[attempt](device, endpoint, tls, payload)
    except NotConnected:
        refused = True
    heard = await stage.heard()
    through = any(said.startswith(payload) for said in heard)
    assert through is (credential == "right" and attempt == "own event")
    assert refused is (credential != "right" and attempt != "without TLS")


@pytest.mark.parametrize("wish", ["#", f"vo/v1/{TOWN}/#", f"vo/v1/{TOWN}/cam/{VICTIM}/#", "vo/#", "$MQTT/#", "+/+/+/#"])
@pytest.mark.parametrize("clean", [True, False])
async def test_a_camera_that_subscribes_to_everything_hears_nothing_of_others(
    stage: Stage, wish: str, clean: bool
) -> None:
    device, endpoint, tls = stage.attacker("right")
    secret = uuid4().hex.encode()
    await stage.victim.publish(topics.camera_state(ORG, VICTIM), secret, retain=True)
    async with anyone(endpoint, tls=tls, identifier="x-everything", clean_session=clean) as client:
        with suppress(aiomqtt.MqttError):
            await client.subscribe(wish, 1)
        await stage.victim.publish(topics.camera_event(ORG, VICTIM, "tamper"), secret)
        await stage.command.publish(VICTIM_ORDERS, secret)
        assert secret in await stage.heard()
        await asyncio.sleep(0.15)
        got = [client.incoming.get_nowait() for _ in range(client.incoming.qsize())]
        assert not [message for message in got if message is not None], device


@pytest.mark.parametrize("credential", ["none", "other authority", "expired", "revoked"])
@pytest.mark.parametrize("clean", [True, False])
async def test_a_refused_attacker_with_the_victims_client_id_does_not_disturb_the_victim(
    stage: Stage, credential: str, clean: bool
) -> None:
    _, endpoint, tls = stage.attacker(credential)
    stolen = session_name(VICTIM, stage.broker.endpoint(VICTIM).key.read_bytes())
    for identifier in (VICTIM, stolen):
        with pytest.raises(NotConnected):
            async with anyone(endpoint, tls=tls, identifier=identifier, clean_session=clean):
                raise AssertionError
    assert stage.victim.alive
    assert await stage.victim_still_hears()


@pytest.mark.parametrize("clean", [True, False])
async def test_an_enrolled_camera_with_anothers_device_id_as_client_id_does_not_disturb_it(
    stage: Stage, clean: bool
) -> None:
    _, endpoint, tls = stage.attacker("right")
    async with anyone(endpoint, tls=tls, identifier=VICTIM, clean_session=clean) as client:
        assert await stage.victim_still_hears()
        assert client.incoming.empty()
    assert stage.victim.alive
    assert await stage.victim_still_hears()


@pytest.mark.parametrize("clean", [True, False])
async def test_who_knows_a_client_id_can_end_a_session_on_nats_but_hears_nothing_of_it(
    stage: Stage, clean: bool
) -> None:
    """The known weakness of the embedded broker, as it is: a client id is not bound to a certificate.

    Here the victim is a foreign client that uses its plain id. The attacker is enrolled, and can be revoked.
    """
    _, endpoint, tls = stage.attacker("right")
    plain = stage.broker.endpoint("cam-03")
    known = f"cam-03-{clean}"
    orders = f"vo/v1/{TOWN}/cam/cam-03/cmd/start"
    mine = trust(plain, (plain.certificate, plain.key))
    secret = uuid4().hex.encode()
    async with anyone(plain, tls=mine, identifier=known, clean_session=False) as foreign:
        await foreign.subscribe(orders, 1)
        async with anyone(endpoint, tls=tls, identifier=known, clean_session=clean) as attacker:
            if stage.kind == "embedded":
                async with asyncio.timeout(60):
                    while not foreign.ended:
                        await asyncio.sleep(0.02)
            else:
                await asyncio.sleep(0.2)
                assert not foreign.ended
            await stage.command.publish(orders, secret)
            await stage.heard()
            await asyncio.sleep(0.15)
            assert not [got for got in _drained(attacker) if got is not None]
        if stage.kind == "mosquitto":
            message = await asyncio.wait_for(foreign.incoming.get(), 60)
            assert message is not None
            assert message.payload == secret
    if stage.kind == "embedded" and not clean:
        async with anyone(plain, tls=mine, identifier=known, clean_session=False) as again:
            await again.subscribe(orders, 1)
            first = await asyncio.wait_for(again.incoming.get(), 60)
            assert first is None or first.payload == secret


def _drained(client: _Client) -> list[Any]:
    return [client.incoming.get_nowait() for _ in range(client.incoming.qsize())]


async def test_a_kept_message_is_not_shown_without_the_right(stage: Stage) -> None:
    secret = uuid4().hex.encode()
    desired = topics.camera_state(ORG, VICTIM)
    await stage.victim.publish(desired, secret, retain=True)
    _, endpoint, tls = stage.attacker("right")
    async with anyone(endpoint, tls=tls, identifier="x-kept") as client:
        with suppress(aiomqtt.MqttError):
            await client.subscribe(desired, 1)
        await stage.heard()
        await asyncio.sleep(0.1)
        assert not [got for got in _drained(client) if got is not None]
    async with connect(
        stage.broker.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[(desired, 1)], clean_session=True
    ) as fleet:
        kept = await asyncio.wait_for(anext(fleet.messages()), 60)
        assert kept.retain
        assert kept.payload == secret
