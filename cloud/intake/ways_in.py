"""Opens the ways in for footage of others: each only where the policy names it *and* the settings say where it is.

What came in before is finished whatever the policy says by now: it was acknowledged.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.clock import Clock
from broker.wire.ids import Org
from broker.wire.policy import Via
from broker.wire.refusals import Refused
from cloud.database.engine import Database
from cloud.intake.axis.door import AXIS_DOOR, Category, axis, axis_tls
from cloud.intake.axis.tokens import Account
from cloud.intake.importer import IMPORT_DOOR, Importer
from cloud.intake.outside import Outside
from cloud.intake.recordings import Hub, Policies
from cloud.kluis.client import KluisClient
from cloud.ledger.log import Ledger
from cloud.vault.store import Vault

LOG: Final = logging.getLogger(__name__)

TRIES_AGAIN_S: Final = 2.0
"""While the Kluis does not answer: nothing can be sealed without its keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPlace:
    """Where Axis docks find their door, and who may come in."""

    host: str
    port: int
    public_url: str
    accounts: Sequence[Account]
    categories: Sequence[Category]
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What taking in footage works with: the stores of one town, and who hears of it."""

    org: Org
    database: Database
    vault: Vault
    kluis: KluisClient
    ledger: Ledger
    policies: Policies
    clock: Clock
    hub: Hub


async def take_in(
    means: Means, *, key: Ed25519PrivateKey, spool: Path, axis_place: AxisPlace | None, watched: Path | None
) -> None:
    """Finish what came in, and open the ways in that the policy of this moment names; until cancelled.

    `key` signs for the cameras of others; `spool` lies on the vault's disk.
    """
    kluis_key = await _kluis_key(means.kluis)
    outside = await Outside.open(
        spool,
        org=means.org,
        database=means.database,
        vault=means.vault,
        kluis=means.kluis,
        kluis_key=kluis_key,
        ledger=means.ledger,
        policies=means.policies,
        clock=means.clock,
        hub=means.hub,
        key=key,
        doors=(AXIS_DOOR, IMPORT_DOOR),
    )
    named = (await means.policies.of(means.org, means.clock())).ingest.via
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        group.create_task(outside.run(), name="cloud.outside")
        if axis_place is not None and _may_open(Via.AXIS, named):
            await _listen(stack, means, outside, axis_place)
        if watched is not None and _may_open(Via.IMPORT, named):
            LOG.info("import: %s is watched", watched)
            group.create_task(Importer(watched, outside).run(), name="cloud.importer")


def _may_open(via: Via, named: Sequence[Via]) -> bool:
    if via not in named:
        LOG.warning("%s: the settings give it a place, but the policy does not name it: it stays shut", via)
    return via in named


async def _kluis_key(kluis: KluisClient) -> Ed25519PublicKey:
    while True:
        try:
            return Ed25519PublicKey.from_public_bytes((await kluis.public()).signing_key)
        except Refused as refused:
            LOG.warning("footage of others waits for the Kluis: %s", refused)
            await asyncio.sleep(TRIES_AGAIN_S)


async def _listen(stack: contextlib.AsyncExitStack, means: Means, outside: Outside, place: AxisPlace) -> None:
    app = axis(
        org=means.org,
        outside=outside,
        accounts=place.accounts,
        public_url=place.public_url,
        clock=means.clock,
        categories=place.categories,
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    tls = axis_tls(certificate=place.certificate, key=place.key)
    await web.TCPSite(runner, place.host, place.port, ssl_context=tls).start()
    LOG.info("axis: open on %s port %d, as %s", place.host, place.port, place.public_url)
