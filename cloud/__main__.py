"""`python -m cloud kluis TOWN`, `python -m cloud serve TOWN`: builds the objects, hands each no more than it needs.

The only place of this part that reads the clock, the environment and the settings. `kluis` runs the key vault alone;
`serve` runs receiver, fleet, retention clock, retention worker and desk, each with a broker identity of its own.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import ssl
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Endpoint
from broker.clock import Clock, DemonstrationClock, open_clock
from broker.identities import Authority
from broker.wire.ids import DeviceId, parse_org
from broker.wire.refusals import Refused
from cloud.casework.casework import Casework
from cloud.casework.policies import Policies
from cloud.casework.roster import KluisRoster, SoftwareRoster
from cloud.config import CloudConfig, ConfigError, TownFolder, read_config
from cloud.database.engine import Database
from cloud.database.migrate import CannotMigrate, upgrade
from cloud.desk.app import desk
from cloud.desk.demo import Demo
from cloud.fleet.commands import Commands
from cloud.fleet.enrolment import Enrolments, Trust
from cloud.fleet.letterbox import add_letterbox
from cloud.fleet.link import FleetLink
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.fleet.registrar import Registrar
from cloud.intake.doors import server_tls
from cloud.intake.receiver import INTAKE, receiver, serving
from cloud.kluis.client import KluisClient
from cloud.kluis.service import serve as serve_kluis
from cloud.ledger.log import Ledger
from cloud.retention.clock import ExpiryClock
from cloud.retention.link import ClockLine, WorkerLine
from cloud.retention.reapplying import reapply
from cloud.retention.worker import RetentionWorker
from cloud.vault.store import Vault, VaultEraser

CATCH_UP_S = 5.0
"""How long the doors wait for that; and how long until it is tried again."""

RESERVE_BYTES = 256 * 1024**2
"""Kept free on the vault's disk for database and ledger: intake stops before they do."""

CERTIFICATE_LOOK_S = 3600.0
"""How often the receiver reads its own certificate anew."""


def main(argv: Sequence[str]) -> int:
    """Run one role until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m cloud", description=__doc__)
    parser.add_argument("role", choices=("kluis", "serve"))
    parser.add_argument("town", type=Path, help="the town's folder")
    parser.add_argument("--clock", type=Path, help="a demonstration clock; default: the system's")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    clock, rate = open_clock(arguments.clock)
    town = TownFolder(arguments.town.resolve())
    try:
        if arguments.role == "kluis":
            return asyncio.run(_until_told(serve_kluis(town.kluis, town.kluis_socket, clock)))
        return asyncio.run(_until_told(_serve(town, read_config(town.config), clock, rate)))
    except (ConfigError, CannotMigrate) as cause:
        print(f"cloud: {cause}", file=sys.stderr)
        return 2


async def _until_told(work: Coroutine[Any, Any, None]) -> int:
    """Run until SIGTERM or SIGINT, then let everything close itself."""
    task = asyncio.create_task(work, name="cloud")
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 0


async def _serve(town: TownFolder, config: CloudConfig, clock: Clock, rate: float) -> None:
    org = parse_org(config.org)
    hub = LiveHub()
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(_database(config))
        ledger = Ledger.open(town.ledger, origin=config.ledger_origin, key=_key(town.ledger_key))
        stack.push_async_callback(ledger.close)
        kluis = KluisClient(town.kluis_socket)
        stack.push_async_callback(kluis.close)
        Vault.create(town.vault)
        vault = Vault.open(town.vault, reserve_bytes=RESERVE_BYTES)
        stack.callback(vault.close)
        policies = Policies(database)
        demo = _demonstration(town) if config.demonstration else None
        roster = KluisRoster(database, ledger, kluis, org=org, clock=clock)
        carried = SoftwareRoster(roster, demo.keys, clock=clock) if demo and config.mode == "demonstration" else None
        casework = Casework(database, ledger, policies, clock, hub, roster=carried)

        intake_app = receiver(
            org=org,
            database=database,
            vault=vault,
            kluis=kluis,
            ledger=ledger,
            policies=policies,
            receipt_key=_key(town.receipt_key),
            clock=clock,
            hub=hub,
        )
        fleet = Fleet(database, ledger, hub, policies, clock, readmit=intake_app[INTAKE].readmit)
        desk_app = desk(
            org=org,
            name=config.name,
            database=database,
            ledger=ledger,
            kluis=kluis,
            vault=vault,
            fleet=fleet,
            casework=casework,
            hub=hub,
            policies=policies,
            clock=clock,
            mode=config.mode,
            demo=demo,
            place=config.place,
            invitations=town.invitations,
            packages=town.cloud / "packages",
            places=config.viewing_places,
        )
        worker = RetentionWorker(database, ledger, kluis, VaultEraser(town.vault), policies, clock, hub)

        def endpoint(service: str) -> Endpoint:
            return Endpoint(
                host=config.broker.host,
                port=config.broker.port,
                ca=town.ca,
                certificate=town.certificate(service),
                key=town.private_key(service),
            )

        registrar = Registrar(
            database,
            org=org,
            oin=config.oin,
            service=DeviceId("svc-registrar"),
            endpoint=endpoint("svc-registrar"),
            clock=clock,
        )

        async def trust() -> Trust:
            return Trust(
                oin=config.oin,
                receipt_key=_key(town.receipt_key).public_key().public_bytes_raw(),
                kluis_key=(await kluis.public()).signing_key,
                command_key=_key(town.command_key).public_key().public_bytes_raw(),
                keylist=await kluis.keylist(),
            )

        enrolments = Enrolments(
            database,
            ledger,
            policies,
            clock,
            hub,
            org=org,
            authority=Authority.open(town.pki),
            trust=trust,
            fleet=fleet,
            on_leave=registrar.left,
        )
        add_letterbox(intake_app, enrolments)

        async def catch_up() -> None:
            """Destroy again what an old backup brought back; until the Kluis answers, nothing opens either."""
            while True:
                try:
                    await reapply(
                        org=org,
                        database=database,
                        ledger=ledger,
                        kluis=kluis,
                        eraser=VaultEraser(town.vault),
                        worker=worker,
                        clock=clock,
                    )
                except Refused as refused:
                    logging.getLogger("cloud").warning("destructions are looked at again later: %s", refused)
                    await asyncio.sleep(CATCH_UP_S)
                else:
                    return

        catching_up = asyncio.create_task(catch_up(), name="cloud.retention.reapply")
        stack.callback(catching_up.cancel)
        await asyncio.wait([catching_up], timeout=CATCH_UP_S)  # before anybody can ask, where the Kluis is there
        await fleet.load(org)
        await enrolments.finish()
        tls = await _listen(stack, serving(intake_app), config, town)
        await _show(stack, web.AppRunner(desk_app, access_log=None, handle_signals=False), config)
        async with asyncio.TaskGroup() as group:
            group.create_task(_ended(catching_up), name="cloud.retention.catch-up")
            group.create_task(
                FleetLink(
                    fleet,
                    org=org,
                    oin=config.oin,
                    service=DeviceId("svc-fleet"),
                    endpoint=endpoint("svc-fleet"),
                    clock=clock,
                    rate=rate,
                ).run(),
                name="cloud.fleet",
            )
            group.create_task(registrar.run(), name="cloud.registrar")
            group.create_task(
                Commands(
                    org=org,
                    oin=config.oin,
                    service=DeviceId("svc-command"),
                    endpoint=endpoint("svc-command"),
                    key=_key(town.command_key),
                    database=database,
                    ledger=ledger,
                    fleet=fleet,
                    clock=clock,
                ).run(),
                name="cloud.commands",
            )
            group.create_task(_show_renewed(tls, town), name="cloud.certificate")
            line = ClockLine(
                org=org, oin=config.oin, service=DeviceId("svc-clock"), endpoint=endpoint("svc-clock"), clock=clock
            )
            expiry = ExpiryClock(
                database,
                line.publish,
                clock,
                org=org,
                oin=config.oin,
                service=DeviceId("svc-clock"),
                casework=casework,
                rate=rate,
            )
            group.create_task(line.run(), name="cloud.retention.line")
            group.create_task(expiry.run(), name="cloud.retention.clock")
            group.create_task(
                WorkerLine(
                    worker,
                    org=org,
                    oin=config.oin,
                    service=DeviceId("svc-retention"),
                    endpoint=endpoint("svc-retention"),
                    clock=clock,
                ).run(),
                name="cloud.retention.worker",
            )


async def _ended(task: asyncio.Task[None]) -> None:
    await task


@contextlib.asynccontextmanager
async def _database(config: CloudConfig) -> AsyncIterator[Database]:
    database = Database(config.database_url)
    try:
        await upgrade(database)
        yield database
    finally:
        await database.close()


async def _listen(
    stack: contextlib.AsyncExitStack, runner: web.AppRunner, config: CloudConfig, town: TownFolder
) -> ssl.SSLContext:
    """Open the dock's door: TLS with client certificates, nothing else. Return what its certificate is in."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    tls = server_tls(ca=town.ca, certificate=town.certificate("svc-receiver"), key=town.private_key("svc-receiver"))
    await web.TCPSite(runner, config.receiver.host, config.receiver.port, ssl_context=tls).start()
    return tls


async def _show_renewed(tls: ssl.SSLContext, town: TownFolder) -> NoReturn:
    """Show docks the certificate as it is on disk: it is renewed long before it ends, while this process lives on."""
    while True:
        await asyncio.sleep(CERTIFICATE_LOOK_S)
        try:
            tls.load_cert_chain(town.certificate("svc-receiver"), town.private_key("svc-receiver"))
        except OSError as cause:  # an SSLError too: the two files are written one after the other
            logging.getLogger("cloud").warning("receiver: certificate not read, again later: %s", cause)


async def _show(stack: contextlib.AsyncExitStack, runner: web.AppRunner, config: CloudConfig) -> None:
    """Open the desk. Plain HTTP on loopback: in earnest a TLS front stands before it."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, config.desk.host, config.desk.port).start()


def _demonstration(town: TownFolder) -> Demo:
    keys = {
        official: Ed25519PrivateKey.from_private_bytes(b64decode(seed))
        for official, seed in json.loads(town.software_keys.read_bytes()).items()
    }
    return Demo(
        officials=tuple(keys),
        keys=keys,
        buttons=town.buttons,
        move_clock=DemonstrationClock(town.clock).move_forward,
    )


def _key(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
