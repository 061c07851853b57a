"""A municipality with its identities, both brokers, and a judge who hears everything."""

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.child import BrokerError
from broker.client import Connection, Endpoint, Message, _Client, _enter, _leave, connect
from broker.embedded import EmbeddedBroker
from broker.identities import Authority
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.rules.access import Rights, Role, rights
from broker.wire.ids import DeviceId, Org
from tests.ports import free_port

Broker = EmbeddedBroker | MosquittoBroker
TOWN = "dorpstad"
JUDGE = "watcher"
CAMERAS = ("cam-01", "cam-02", "cam-03")

both_brokers = pytest.mark.parametrize(
    "kind", ["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)], scope="module"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Debian's mosquitto its tests say so and are left out."""
    try:
        find_mosquitto()
    except BrokerError as cause:
        for item in items:
            if item.get_closest_marker("mosquitto"):
                item.add_marker(pytest.mark.skip(reason=str(cause)))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path, gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="vo-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def town(folder: Path) -> Authority:
    """An authority with cameras, services and identities gone wrong."""
    return found_town(folder / "pki")


def found_town(folder: Path) -> Authority:
    authority = Authority.create(folder, TOWN)
    for camera in CAMERAS:
        authority.issue(camera, Role.CAMERA)
    for device, role in (
        ("dock-01", Role.DOCK),
        ("svc-fleet", Role.FLEET),
        ("svc-command", Role.COMMAND),
        ("svc-clock", Role.RETENTION_CLOCK),
        ("svc-worker", Role.RETENTION_WORKER),
        (JUDGE, Role.OBSERVER),
    ):
        authority.issue(device, role)
    authority.issue(
        "cam-expired", Role.CAMERA, valid_from=datetime.now(UTC) - timedelta(days=9), valid_for=timedelta(days=8)
    )
    authority.issue("cam-revoked", Role.CAMERA)
    authority.revoke("cam-revoked")
    return authority


def judged(role: Role, org: Org, device: DeviceId) -> Rights:
    """The rights of the table, and a judge who hears whatever gets through, in the table or not."""
    return Rights(publish=(), subscribe=("#",)) if device == JUDGE else rights(role, org, device)


def start(kind: str, folder: Path, town: Authority, **rest: Any) -> AbstractAsyncContextManager[Broker]:
    broker = EmbeddedBroker if kind == "embedded" else MosquittoBroker
    return broker.start(folder, identities=town, port=rest.pop("port", None) or free_port(), **rest)


def camera_of(endpoint: Endpoint, device: str, **rest: Any) -> AbstractAsyncContextManager[Connection]:
    return connect(endpoint, client_id=device, **rest)


@dataclass(kw_only=True)
class Judge:
    """Hears everything. `heard_until` returns what came up to and including a marker."""

    connection: Connection

    async def heard_until(self, marker: bytes) -> list[Message]:
        heard: list[Message] = []
        async with asyncio.timeout(60):
            async for message in self.connection.messages():
                self.connection.ack(message)
                heard.append(message)
                if message.payload == marker:
                    return heard
        raise AssertionError("unreachable")


@asynccontextmanager
async def judge_at(broker: Broker) -> AsyncIterator[Judge]:
    async with connect(broker.endpoint(JUDGE), client_id=JUDGE, subscriptions=[("#", 1)], clean_session=True) as judge:
        yield Judge(connection=judge)


@asynccontextmanager
async def anyone(endpoint: Endpoint, *, tls: ssl.SSLContext | None, identifier: str, **rest: Any) -> AsyncIterator[Any]:
    """A client that keeps to none of our manners: any certificate or none, any client id, any will."""
    mqtt5 = endpoint.protocol == "5"
    client = _Client(endpoint, tls, identifier=identifier, **(_mqtt5(rest) if mqtt5 else rest))  # type: ignore[arg-type]
    await _enter(client, endpoint)
    client.watch_for_the_end()
    try:
        yield client
    finally:
        await _leave(client)


def _mqtt5(rest: dict[str, Any]) -> dict[str, Any]:
    from aiomqtt import ProtocolVersion

    clean = rest.pop("clean_session", True)
    return {**rest, "clean_start": clean, "protocol": ProtocolVersion.V5}


def trust(endpoint: Endpoint, certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(endpoint.ca))
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context
