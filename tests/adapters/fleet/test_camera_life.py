"""The life of one camera over real lines: out of its box into a bay, by TLS to the registrar, onto the broker, and out.

Every part is the real one: the dock agent is a process of its own, the receiver speaks mutual TLS, the broker is
nats-server, the camera's voice is edge's own link.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Endpoint, NotConnected, connect
from broker.embedded import EmbeddedBroker
from broker.rules.access import Role
from broker.wire import topics
from broker.wire.ids import DeviceId
from cloud.database import tables
from cloud.fleet.enrolment import Enrolments
from cloud.fleet.letterbox import add_letterbox
from cloud.fleet.registrar import Registrar
from cloud.intake.doors import server_tls
from cloud.intake.receiver import receiver, serving
from cloud.vault.store import Vault
from edge.joining import NewCamera
from edge.outbox import Outbox
from tests.adapters.fleet.cameras import Spoken, edge_link
from tests.adapters.fleet.conftest import OIN, ORG, Town, open_town
from tests.adapters.fleet.enrolling import COORDINATOR, authority_of, issue, registrar_of
from tests.adapters.fleet.test_link import link_of, running, until
from tests.adapters.intake.town import FakeKluis
from tests.ports import free_port
from tests.promptness import within

CAM = DeviceId("cam-51")


@asynccontextmanager
async def letters_taken(town: Town, enrolments: Enrolments) -> AsyncIterator[int]:
    """The receiver as it is served, with the letterbox; yields its port."""
    authority = authority_of(town)
    server = authority.issue_server("svc-receiver", Role.RECEIVER)
    Vault.create(town.folder / "vault")
    vault = Vault.open(town.folder / "vault")
    app = receiver(
        org=ORG,
        database=town.database,
        vault=vault,
        kluis=FakeKluis(),
        ledger=town.ledger,
        policies=town.policies,
        receipt_key=Ed25519PrivateKey.generate(),
        clock=town.clock,
        hub=town.hub,
    )
    add_letterbox(app, enrolments)
    runner = serving(app)
    await runner.setup()
    try:
        tls = server_tls(ca=server.ca, certificate=server.certificate, key=server.key)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        vault.close()


@asynccontextmanager
async def dock_agent(town: Town, port: int) -> AsyncIterator[Path]:
    """A dock as a process of its own; yields its bays."""
    authority = authority_of(town)
    files = authority.issue("dock-01", Role.DOCK)
    await town.write(tables.docks, org=ORG, id="dock-01", station="town hall", state="enrolled")
    bays = town.folder / "bays"
    bays.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dock_agent", "--dock", "dock-01", "--org", ORG, "--bays", str(bays)),
        *("--state", str(town.folder / "dock"), "--receiver", f"https://127.0.0.1:{port}"),
        *("--ca", str(authority.ca), "--pki", str(files.certificate.parent)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield bays
    finally:
        process.kill()
        await process.wait()


def registrar_at(town: Town, broker: EmbeddedBroker) -> Registrar:
    return Registrar(
        town.database,
        org=ORG,
        oin=OIN,
        service=DeviceId("svc-registrar"),
        endpoint=broker.endpoint("svc-registrar"),
        clock=town.clock,
    )


async def keeps(broker: EmbeddedBroker, *camera: str, expected: int) -> set[str]:
    """Wait until the broker shows a newcomer so many messages that it keeps for these cameras; return their topics."""
    async with asyncio.timeout(60):
        while len(kept := await kept_for(broker, *camera)) != expected:
            pass
    return set(kept)


async def kept_for(broker: EmbeddedBroker, *camera: str) -> dict[str, bytes]:
    """What the broker shows a newcomer who may hear everything."""
    kept: dict[str, bytes] = {}
    wanted = [(f"vo/v1/{ORG}/cam/{each}/{what}", 1) for each in camera for what in ("state", "desired")]
    async with connect(
        broker.endpoint("svc-watcher"), client_id="svc-watcher", subscriptions=wanted, clean_session=True
    ) as watcher:
        try:
            async with asyncio.timeout(1.0):
                async for message in watcher.messages():
                    kept[message.topic] = message.payload
        except TimeoutError:
            return {topic: payload for topic, payload in kept.items() if payload}
    raise AssertionError("unreachable")


@pytest.mark.rule("H-33")
async def test_from_the_box_to_the_broker_and_out_within_two_seconds_of_its_loss(tmp_path: Path) -> None:
    async with open_town(tmp_path, "cam-01") as town:
        authority = authority_of(town)
        issue(authority, "cam-01")
        async with EmbeddedBroker.start(tmp_path / "broker", identities=authority, port=free_port()) as broker:
            registrar = registrar_at(town, broker)
            desk = registrar_of(town, authority_of(town), on_leave=registrar.left)
            async with (
                letters_taken(town, desk) as port,
                dock_agent(town, port) as bays,
                running(link_of(town, broker).run(), registrar.run()),
            ):
                # it comes out of its box, and into a bay
                box = tmp_path / "cam"
                camera = NewCamera(box)
                (bays / "07").symlink_to(box / "card")
                await until(lambda: len(desk.waiting()) == 1)
                await desk.confirm(camera.code or "", camera=CAM, by=COORDINATOR, reason="extension")
                await until(lambda: camera.look() is None and camera.enrolled)

                # it speaks with its own keys, and is told what to do
                endpoint = Endpoint(
                    host=broker.host,
                    port=broker.port,
                    ca=box / "device" / "ca.pem",
                    certificate=box / "device" / "cert.pem",
                    key=box / "device" / "key.pem",
                )
                said = Spoken()
                link = edge_link(town, CAM, endpoint=endpoint, outbox=Outbox(box / "device" / "outbox"), spoken=said)
                async with running(link.run()):
                    await until(lambda: any(card.camera == CAM and card.boot for card in town.fleet.cards(ORG)))
                    await until(lambda: bool(said.settings))
                    await until(lambda: link.connected)
                    assert await keeps(broker, CAM, expected=2)

                    # it is lost: out within two seconds, and nothing is kept of it
                    with within(2.0):
                        await desk.leave(CAM, by=COORDINATOR, reason="loss")
                        await until(lambda: not link.connected)
                    assert CAM not in {card.camera for card in town.fleet.cards(ORG)}
                    await link.tell(said.press(town.clock()))
                    await until(lambda: registrar.swept(CAM), within_s=60)
                    assert await kept_for(broker, CAM) == {}
                    assert not link.connected
                    with pytest.raises(NotConnected):
                        async with connect(endpoint, client_id=CAM):
                            pass
        assert await town.rows(tables.activations) == []
        assert [entry.subject for entry in await town.entries("camera.enrolled")] == [CAM]
        assert [entry.facts for entry in await town.entries("camera.revoked")] == [{"reason": "loss"}]
        assert await town.rows(tables.denials) == []  # its last will is what a broker says when it puts it out


async def test_what_a_broker_kept_of_a_camera_that_left_while_the_registrar_was_away_goes_at_its_return(
    tmp_path: Path,
) -> None:
    async with open_town(tmp_path, "cam-01", "cam-02") as town:
        authority = authority_of(town)
        issue(authority, "cam-01", "cam-02")
        async with EmbeddedBroker.start(tmp_path / "broker", identities=authority, port=free_port()) as broker:
            for camera in ("cam-01", "cam-02"):
                async with connect(broker.endpoint(camera), client_id=camera) as connection:
                    await connection.publish(topics.camera_state(ORG, DeviceId(camera)), b"{}", retain=True)
            await registrar_of(town, authority_of(town)).leave("cam-02", by=COORDINATOR, reason="replacement")
            await keeps(broker, "cam-01", "cam-02", expected=2)
            registrar = registrar_at(town, broker)
            async with running(registrar.run()):
                await until(lambda: registrar.swept(DeviceId("cam-02")), within_s=60)
            assert await keeps(broker, "cam-01", "cam-02", expected=1) == {topics.camera_state(ORG, DeviceId("cam-01"))}
        assert await town.rows(tables.denials) == []
