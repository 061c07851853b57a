"""The expiry topic over a real broker: named once or ten times, it is destroyed once and answered."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from broker.client import NotConnected, connect
from broker.embedded import EmbeddedBroker
from broker.identities import Authority
from broker.rules.access import Role
from broker.wire.events import RetentionOutcome, decode
from broker.wire.ids import DeviceId, Org
from cloud.retention.clock import ExpiryClock
from cloud.retention.link import ClockLine, WorkerLine, due_subscriptions
from tests.adapters.casework.office import Town
from tests.adapters.retention.means import CertifyingKluis, RememberingVault, worker_of
from tests.adapters.retention.test_destruction import OIN, row_of, stored
from tests.ports import free_port

ORG = Org("heusden")
CLOCK, WORKER, FLEET = DeviceId("svc-expiry"), DeviceId("svc-retention"), DeviceId("svc-fleet")


@pytest.fixture
def short() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="vo-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def running(*tasks: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run these beside the test and end them with it."""
    jobs = [asyncio.ensure_future(task()) for task in tasks]
    try:
        yield
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def until(true: Callable[[], Awaitable[bool]], *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not await true():
            await asyncio.sleep(0.05)


@pytest.mark.rule("R-10", "H-36", "T-01")
async def test_what_is_named_on_the_expiry_topic_is_destroyed_and_answered(
    heusden: Town, kluis: CertifyingKluis, vault: RememberingVault, short: Path
) -> None:
    """De klok noemt het, de werker vernietigt het, de vloot hoort het; ook wat genoemd werd toen de werker weg was."""
    recording = await stored(heusden, kluis, vault)
    heusden.clock.move(days=28)
    authority = Authority.create(short / "pki", ORG)
    for device, role in ((CLOCK, Role.RETENTION_CLOCK), (WORKER, Role.RETENTION_WORKER), (FLEET, Role.FLEET)):
        authority.issue(device, role)
    async with EmbeddedBroker.start(short / "broker", identities=authority, port=free_port()) as broker:
        line = ClockLine(org=ORG, oin=OIN, service=CLOCK, endpoint=broker.endpoint(CLOCK), clock=heusden.clock)
        clock = ExpiryClock(
            heusden.database, line.publish, heusden.clock, org=ORG, oin=OIN, service=CLOCK, casework=heusden.casework
        )
        worker = WorkerLine(
            worker_of(heusden, kluis, vault),
            org=ORG,
            oin=OIN,
            service=WORKER,
            endpoint=broker.endpoint(WORKER),
            clock=heusden.clock,
        )
        answers = (f"vo/v1/{ORG}/retention/evt/+", 1)
        async with connect(broker.endpoint(WORKER), client_id=WORKER, subscriptions=due_subscriptions(ORG)):
            pass  # the worker was here once: the broker keeps its session
        async with connect(broker.endpoint(FLEET), client_id=FLEET, subscriptions=(answers,)) as fleet:
            with pytest.raises(NotConnected):
                await clock.look()
            async with running(line.run):
                heusden.clock.move(seconds=61)

                async def named() -> bool:
                    try:
                        return len(await clock.look()) == 1
                    except NotConnected:
                        return False

                await until(named)
                async with running(worker.run):
                    heard = await asyncio.wait_for(anext(fleet.messages()), 60)
                    said = decode(heard.payload).said
                    assert isinstance(said, RetentionOutcome)
                    assert (str(said.recording), said.outcome) == (recording, "destroyed")
                    fleet.ack(heard)
                    heusden.clock.now += timedelta(minutes=5)
                    assert await clock.look() == []
    assert (await row_of(heusden, recording)).state == "destroyed"
    assert kluis.orders == 1
