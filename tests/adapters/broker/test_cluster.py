"""Three nodes on one machine: any may die, all may die, and every acknowledged event is found."""

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from broker import cluster
from broker.client import Connection, Endpoint, NotConnected, connect
from broker.embedded import Cluster, EmbeddedBroker
from broker.identities import Authority
from tests.adapters.broker.conftest import TOWN, found_town, trust
from tests.ports import free_port

EVENTS = f"vo/v1/{TOWN}/cam/+/evt/+"
ONE = f"vo/v1/{TOWN}/cam/cam-01/evt/activation"


@pytest.fixture
async def nodes(folder: Path) -> AsyncIterator[list[EmbeddedBroker]]:
    town = found_town(folder / "cluster-pki")
    ports = [free_port() for _ in range(3)]
    routes = tuple(f"localhost:{port}" for port in ports)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                EmbeddedBroker.start(
                    folder / f"node-{number}",
                    identities=town,
                    port=free_port(),
                    name=f"broker-{number}",
                    ack_wait_s=2,
                    cluster=Cluster(name=TOWN, host="127.0.0.1", port=port, routes=routes),
                )
            )
            for number, port in enumerate(ports, start=1)
        ]


async def opened(endpoints: list[Endpoint], device: str, stack: AsyncExitStack) -> Connection:
    """A connection to whichever node takes us, as a camera with three addresses would find one."""
    for number in range(600):
        try:
            return await stack.enter_async_context(
                connect(
                    endpoints[number % len(endpoints)],
                    client_id=device,
                    subscriptions=[(EVENTS, 1)] if device == "svc-fleet" else [],
                )
            )
        except NotConnected:
            await asyncio.sleep(0.1)
    raise AssertionError("no node took us in a minute")


async def publish(endpoints: list[Endpoint], numbers: range, acknowledged: set[bytes]) -> None:
    """Say each until a node has acknowledged it, as a camera's outbox does: a node may go in the middle of a word."""
    left = [b"%d" % number for number in numbers]
    while left:
        async with AsyncExitStack() as stack:
            camera = await opened(endpoints, "cam-01", stack)
            with suppress(NotConnected):
                while left:
                    await camera.publish(ONE, left[0])
                    acknowledged.add(left.pop(0))


async def no_device_can_pose_as_a_node(nodes: list[EmbeddedBroker]) -> None:
    """A camera's certificate is of the same authority, and must not open the door between the nodes."""
    routes = int(json.loads((nodes[0].folder / "nats.conf").read_text())["cluster"]["listen"].rsplit(":")[-1])
    for device, welcome in (("cam-01", False), ("svc-fleet", False), ("broker-2", True)):
        own = nodes[0].endpoint(device)
        tls = trust(own, (own.certificate, own.key))
        said = await asyncio.to_thread(_speak_as_a_node, routes, tls)
        assert (b"Authorization Violation" in said) is not welcome, (device, said)


def _speak_as_a_node(port: int, tls: ssl.SSLContext) -> bytes:
    """Return what it says until it welcomes us or closes the door."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        said = b""
        with suppress(ConnectionError, ssl.SSLError), tls.wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(b'CONNECT {"echo":true,"verbose":false,"name":"x"}\r\nPING\r\n')
            while b"PONG" not in said and (part := secure.recv(4096)):
                said += part
        return said


@pytest.mark.slow
async def test_every_acknowledged_event_is_found_after_one_and_after_all_nodes_die(nodes: list[EmbeddedBroker]) -> None:
    await no_device_can_pose_as_a_node(nodes)
    fleet = [node.endpoint("svc-fleet") for node in nodes]
    camera = [node.endpoint("cam-01") for node in nodes]
    acknowledged: set[bytes] = set()
    async with asyncio.timeout(400):
        async with AsyncExitStack() as stack:
            await opened(fleet, "svc-fleet", stack)
        await publish(camera, range(50), acknowledged)

        os.kill(nodes[0].pid, signal.SIGKILL)
        await publish(camera[1:], range(50, 100), acknowledged)

        for node in nodes:
            os.kill(node.pid, signal.SIGKILL)
        await publish(camera, range(100, 110), acknowledged)
        assert len(acknowledged) == 110

        found: set[bytes] = set()
        while not found >= acknowledged:
            async with AsyncExitStack() as stack:
                back = await opened(fleet[::-1], "svc-fleet", stack)
                try:
                    while not found >= acknowledged:
                        message = await anext(back.messages())
                        found.add(message.payload)
                        back.ack(message)
                except NotConnected:
                    continue
    assert all(node.restarts >= 1 for node in nodes)


def test_the_three_configurations_come_from_the_registry_and_differ_only_in_their_own_place(tmp_path: Path) -> None:
    town = Authority.create(tmp_path / "pki", TOWN)
    written = cluster.write(town, tmp_path / "out", hosts=("mqtt-1.example", "mqtt-2.example", "mqtt-3.example"))
    for wrong in ("mqtt-1", "10.0.0.1"):
        with pytest.raises(ValueError, match="full host name"):
            cluster.write(town, tmp_path / "out", hosts=(wrong,))
    assert [path.parent.name for path in written] == ["mqtt-1", "mqtt-2", "mqtt-3"]
    settings = [json.loads(path.read_text()) for path in written]
    assert len({one["server_name"] for one in settings}) == 3
    for one in settings:
        assert one["cluster"]["routes"] == [f"nats-route://mqtt-{number}.example:6222" for number in (1, 2, 3)]
        assert one["cluster"]["tls"]["verify_cert_and_check_known_urls"]
        assert one["mqtt"]["stream_replicas"] == 3
        assert one["authorization"] == settings[0]["authorization"]
