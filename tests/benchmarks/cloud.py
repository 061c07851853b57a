"""The fleet's side of a town as a process of its own, for measuring: ``python -m tests.benchmarks.cloud FOLDER PORT``.

Real database, ledger, fleet and stream to browsers; says each second in one line of JSON how it does. When an
activation is in the database it writes the moment (CLOCK_MONOTONIC, which all processes share) to ``written.log``.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Endpoint
from broker.clock import system_clock
from broker.wire.ids import DeviceId, Org
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.desk.guard import Handler
from cloud.desk.live import stream
from cloud.desk.sessions import Session
from cloud.desk.town import SESSION, TOWN, Town
from cloud.fleet.link import FleetLink
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet, Heard
from cloud.ledger.log import Ledger
from cloud.rules.fleet import Showing

ORG = Org("heusden")
ORIGIN = "test/ledger"


class Counting(Fleet):
    """Counts what it takes in."""

    heard = 0

    async def on_message(self, topic: str, payload: bytes, *, kept: bool = False) -> Heard:
        done = await super().on_message(topic, payload, kept=kept)
        self.heard += 1
        return done


class _Open:
    """Sessions that never end."""

    def find(self, token: str, *, now_s: float) -> str:  # noqa: ARG002 - as the desk asks
        return token

    def left_s(self, session: Session, *, now_s: float) -> float:  # noqa: ARG002 - as the desk asks
        return 0.0


@web.middleware
async def _signed_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A stream ends with its session: whoever measures has one."""
    request[SESSION] = cast("Session", SimpleNamespace(token="benchmark", id="benchmark"))
    return await handler(request)


async def serve(folder: Path, port: int) -> None:
    """Hear cameras until killed."""
    database = Database(f"sqlite+aiosqlite:///{folder / 'town.sqlite'}")
    key = Ed25519PrivateKey.from_private_bytes((folder / "ledger.key").read_bytes())
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, key=key)
    hub = LiveHub()
    fleet = Counting(database, ledger, hub, Policies(database), system_clock)
    pki = folder / "pki"
    own = pki / "svc-fleet"
    endpoint = Endpoint(
        host="127.0.0.1", port=port, ca=pki / "ca.crt", certificate=own / "cert.pem", key=own / "key.pem"
    )
    link = FleetLink(fleet, org=ORG, oin="0" * 20, service=DeviceId("svc-fleet"), endpoint=endpoint, clock=system_clock)
    app = web.Application(middlewares=[_signed_in])
    app[TOWN] = cast(
        "Town", SimpleNamespace(hub=hub, org=ORG, streams={}, sessions=_Open())
    )  # all that a stream asks for
    app.router.add_get("/nieuws", stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        group.create_task(_write_down(hub, folder / "written.log"))
        group.create_task(_report(fleet, link, runner.addresses[0][1]))


async def _write_down(hub: LiveHub, path: Path) -> None:
    with path.open("w", buffering=1) as file:
        async for event in hub.subscribe(ORG):
            if event.kind == "activation":
                file.write(f"{event.data['recording']} {time.perf_counter()}\n")


async def _report(fleet: Counting, link: FleetLink, sse: int) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(1)
        cards = fleet.cards(ORG)
        facts = {
            "sse": sse,
            "connected": link.connected,
            "heard": fleet.heard,
            "standby": sum(card.state is Showing.STANDBY for card in cards),
            "silent": sum(card.state is Showing.SILENT for card in cards),
            "late_s": time.perf_counter() - began - 1,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
