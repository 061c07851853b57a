"""A founded town with its real Kluis: what came in by the Axis door adds up, is destroyed for good, and still does."""

import asyncio
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.clock import DemonstrationClock
from broker.wire.ids import Org, parse_recording
from broker.wire.policy import Policy, Via
from cloud.casework.casework import Casework
from cloud.casework.policies import Policies
from cloud.check import check
from cloud.config import TownFolder, read_config
from cloud.database.engine import Database
from cloud.fleet.live import LiveHub
from cloud.intake.axis.door import AXIS_DOOR, axis
from cloud.intake.axis.tokens import Account
from cloud.intake.outside import Outside
from cloud.kluis.client import KluisClient
from cloud.ledger.log import Ledger
from cloud.retention.worker import RetentionWorker
from cloud.vault.store import Vault, VaultEraser
from deploy.demo.founding import Plan, found_town
from tests.adapters.axis.world import SERIAL, USER, Dock
from tests.adapters.check.conftest import MEMORY, ORG, _Clock, _key, kluis_of
from tests.ports import free_port


class OpenPolicies:
    """The town's own policies, with the Axis door open besides."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies

    async def of(self, org: Org, at: datetime) -> Policy:
        policy = await self.policies.of(org, at)
        return replace(policy, ingest=replace(policy.ingest, via=(*policy.ingest.via, Via.AXIS)))


async def test_a_town_with_an_axis_dock_adds_up_before_and_after_day_28() -> None:
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        town = await found_town(Path(folder) / ORG, Plan(municipality=ORG, cameras=1), say=lambda _: None)
        clock = _Clock(DemonstrationClock(town.clock)())
        async with kluis_of(town, clock) as kluis:
            await _live(town, clock, kluis)


async def _live(town: TownFolder, clock: _Clock, kluis: KluisClient) -> None:
    config = read_config(town.config)
    database, hub = Database(config.database_url), LiveHub()
    ledger = Ledger.open(town.ledger, origin=config.ledger_origin, key=_key(town.ledger_key))
    Vault.create(town.vault)
    vault = Vault.open(town.vault)
    policies = Policies(database)
    outside = await Outside.open(
        town.cloud / "outside",
        org=ORG,
        database=database,
        vault=vault,
        kluis=kluis,
        kluis_key=Ed25519PublicKey.from_public_bytes((await kluis.public()).signing_key),
        ledger=ledger,
        policies=OpenPolicies(policies),
        clock=clock,
        hub=hub,
        key=Ed25519PrivateKey.generate(),
        doors=(AXIS_DOOR,),
    )
    account, key = Account.new("axis")
    url = f"http://127.0.0.1:{free_port()}"
    runner = web.AppRunner(
        axis(org=ORG, outside=outside, accounts=(account,), public_url=url, clock=clock), access_log=None
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(url.rsplit(":", 1)[1])).start()
    running = asyncio.create_task(outside.run())
    try:
        pressed_at = clock.now - timedelta(hours=1)
        names = [f"{USER}_{SERIAL}_{at:%Y%m%dT%H%M%SZ}" for at in (pressed_at, pressed_at + timedelta(minutes=9))]
        async with ClientSession() as session:
            dock = Dock(session, url)
            await dock.sign_in(account.user, key)
            await dock.introduce()
            for name in names:
                assert await dock.put(name, meta={"SCUSerialNumber": "SCU1"}) == 201
                assert await dock.put(f"{name}/a.mp4", b"film" * 100_000) == 201
                assert await dock.put(f"{name}/bookmark_1_a", b"") == 201
                assert (await dock.say("POST", name, meta={"Status": "Complete"}))[0] == 204
        casework = Casework(database, ledger, policies, clock, hub)
        async with asyncio.timeout(60):
            while len(rows := await casework.recordings(ORG)) < 2:
                await asyncio.sleep(0.05)
        assert {row.state for row in rows} == {"retained"}
        async with asyncio.timeout(60):
            while any((town.cloud / "outside").iterdir()):
                await asyncio.sleep(0.05)
        assert (report := await check(town.root)).adds_up, report.first

        clock.now += timedelta(days=29)
        worker = RetentionWorker(database, ledger, kluis, VaultEraser(town.vault), policies, clock, hub)
        for row in rows:
            outcome = await worker.look_at(ORG, parse_recording(row.id))
            assert outcome.outcome == "destroyed", outcome
        assert await vault.digests() == []
        assert (report := await check(town.root)).adds_up, report.first
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()
        vault.close()
        await ledger.close()
        await database.close()
