"""`python -m cloud kluis TOWN`, `python -m cloud serve TOWN`: builds the objects, hands each no more than it needs.

The only place of this part that reads the clock, the environment and the settings. `kluis` runs the key vault alone;
`serve` runs receiver, fleet, retention clock, retention worker and desk, each with a broker identity of its own; it
starts a `lane` for each further process that shall take segments.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Endpoint
from broker.clock import Clock, DemonstrationClock, open_clock, system_clock
from broker.identities import Authority
from broker.wire.ids import DeviceId, Org, parse_org
from broker.wire.refusals import Refused
from broker.wire.tlog import COSIGNATURE, read_verifier_key
from cloud.alerting.caller import Caller
from cloud.alerting.channels import Channels
from cloud.alerting.routes import Routes
from cloud.api.publisher import Publisher
from cloud.casework.casework import Casework
from cloud.casework.personnel import Personnel
from cloud.casework.policies import Policies
from cloud.casework.reviews import Reviews
from cloud.casework.roster import KluisRoster, SoftwareRoster
from cloud.casework.wearing import Wearing
from cloud.config import CloudConfig, ConfigError, TownFolder, read_config
from cloud.database.engine import Database
from cloud.database.migrate import CannotMigrate, upgrade
from cloud.desk.administration import Administration
from cloud.desk.app import desk
from cloud.desk.demo import Demo
from cloud.desk.made_of import Besides, Entrance, KeyPlace, Nameplate, Services
from cloud.desk.oidc import OpenIdProvider, ProviderAway, open_provider
from cloud.fleet.commands import Commands
from cloud.fleet.enrolment import Enrolments, Trust
from cloud.fleet.letterbox import add_letterbox
from cloud.fleet.link import FleetLink
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.fleet.registrar import Registrar
from cloud.fleet.stations import Docks
from cloud.intake.axis.door import Category
from cloud.intake.axis.tokens import Account
from cloud.intake.bodies import Limits
from cloud.intake.doors import server_tls
from cloud.intake.lanes import behind, lanes, serve_lane, share
from cloud.intake.receiver import INTAKE, receiver, serving
from cloud.intake.strays import Strays
from cloud.intake.ways_in import AxisPlace, Means, take_in
from cloud.kluis.client import KluisClient
from cloud.kluis.service import serve as serve_kluis
from cloud.ledger.eyes import Asking
from cloud.ledger.log import Ledger
from cloud.ledger.witness import WitnessAsked
from cloud.retention.clock import ExpiryClock
from cloud.retention.link import ClockLine, WorkerLine
from cloud.retention.reapplying import reapply
from cloud.retention.worker import RetentionWorker
from cloud.rules.self_check import TIMESTAMPS, WITNESS
from cloud.self_check import Outside, SelfCheck
from cloud.vault.shelf import Shelf
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
    parser.add_argument("role", choices=("kluis", "serve", "lane"))
    parser.add_argument("town", type=Path, help="the town's folder")
    parser.add_argument("--clock", type=Path, help="a demonstration clock; default: the system's")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    clock, rate = open_clock(arguments.clock)
    town = TownFolder(arguments.town.resolve())
    try:
        if arguments.role == "kluis":
            return asyncio.run(_until_told(serve_kluis(town.kluis, town.kluis_socket, clock)))
        if arguments.role == "lane":
            return asyncio.run(_until_told(_lane(town, read_config(town.config))))
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


class _Line(TypedDict):
    org: Org
    oin: str
    service: DeviceId
    endpoint: Endpoint
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hall(Means):
    """What several services of one town share: the means to take footage in, and more. Only one service may erase."""

    town: TownFolder
    config: CloudConfig
    rate: float
    hub: LiveHub
    policies: Policies
    casework: Casework
    demo: Demo | None

    def line(self, service: str) -> _Line:
        """Return what a service needs to stand on the broker with an identity of its own."""
        return {
            "org": self.org,
            "oin": self.config.oin,
            "service": DeviceId(service),
            "endpoint": Endpoint(
                host=self.config.broker.host,
                port=self.config.broker.port,
                ca=self.town.ca,
                certificate=self.town.certificate(service),
                key=self.town.private_key(service),
            ),
            "clock": self.clock,
        }


async def _serve(town: TownFolder, config: CloudConfig, clock: Clock, rate: float) -> None:
    """Open the town: first what an old backup brought back is destroyed again, then the doors, then the lines."""
    async with contextlib.AsyncExitStack() as stack:
        hall = await _hall(stack, town, config, clock, rate)
        intake_app = _receiver(hall)
        fleet = Fleet(hall.database, hall.ledger, hall.hub, hall.policies, clock, readmit=intake_app[INTAKE].readmit)
        registrar = Registrar(hall.database, **hall.line("svc-registrar"))
        enrolments = _enrolments(hall, fleet, registrar)
        add_letterbox(intake_app, enrolments)
        worker = RetentionWorker(
            hall.database, hall.ledger, hall.kluis, VaultEraser(town.vault), hall.policies, clock, hall.hub
        )
        catching_up = asyncio.create_task(_catch_up(hall, worker), name="cloud.retention.reapply")
        stack.callback(catching_up.cancel)
        await asyncio.wait([catching_up], timeout=CATCH_UP_S)  # before anybody can ask, where the Kluis is there
        await fleet.load(hall.org)
        await enrolments.finish()
        tls = await _listen(stack, intake_app, hall)
        open_id = _open_id(hall)
        eyes = _eyes(hall)
        strays = _strays(hall)
        self_check = _self_check(hall, fleet, enrolments, open_id, eyes, strays)
        routes = _routes(hall)
        desk_app = _desk(hall, fleet, enrolments, self_check, open_id, routes)
        await _show(stack, web.AppRunner(desk_app, access_log=None, handle_signals=False), config)
        async with asyncio.TaskGroup() as group:
            for name, work in {
                "cloud.retention.catch-up": _ended(catching_up),
                "cloud.fleet": FleetLink(fleet, rate=rate, **hall.line("svc-fleet")).run(),
                "cloud.registrar": registrar.run(),
                "cloud.commands": _commands(hall, fleet).run(),
                "cloud.certificate": _show_renewed(tls, town),
                "cloud.self-check": self_check.run(),
                **{f"cloud.{each.name}": each.run() for each in eyes},
                **_calling(hall, routes),
                **_outside(hall),
                **_retention(hall, worker, strays),
            }.items():
                group.create_task(work, name=name)


async def _hall(
    stack: contextlib.AsyncExitStack, town: TownFolder, config: CloudConfig, clock: Clock, rate: float
) -> _Hall:
    """Open every store of the town; `stack` closes them, the last opened first."""
    org, hub = parse_org(config.org), LiveHub()
    database = await stack.enter_async_context(_database(config))
    ledger = Ledger.open(town.ledger, origin=config.ledger_origin, key=_key(town.ledger_key))
    stack.push_async_callback(ledger.close)
    kluis = KluisClient(town.kluis_socket)
    stack.push_async_callback(kluis.close)
    Vault.create(town.vault)
    vault = Vault.open(town.vault, reserve_bytes=RESERVE_BYTES, alone=config.receiver_processes == 1)
    stack.callback(vault.close)
    policies = Policies(database)
    demo = _demonstration(town) if config.demonstration else None
    roster = KluisRoster(database, ledger, kluis, org=org, clock=clock)
    carried = SoftwareRoster(roster, demo.keys, clock=clock) if demo and config.mode == "demonstration" else None
    return _Hall(
        org=org,
        town=town,
        config=config,
        clock=clock,
        rate=rate,
        hub=hub,
        database=database,
        ledger=ledger,
        kluis=kluis,
        vault=vault,
        policies=policies,
        casework=Casework(database, ledger, policies, clock, hub, roster=carried, kluis=kluis),
        demo=demo,
    )


def _receiver(hall: _Hall) -> web.Application:
    """Return the door of the docks."""
    return receiver(
        org=hall.org,
        database=hall.database,
        vault=hall.vault,
        kluis=hall.kluis,
        ledger=hall.ledger,
        policies=hall.policies,
        receipt_key=_key(hall.town.receipt_key),
        clock=hall.clock,
        hub=hall.hub,
        limits=share(Limits(), processes=hall.config.receiver_processes),
    )


def _desk(
    hall: _Hall,
    fleet: Fleet,
    enrolments: Enrolments,
    self_check: SelfCheck,
    open_id: OpenIdProvider | None,
    routes: Routes | None,
) -> web.Application:
    """Return the door of the people."""
    config = hall.config
    return desk(
        Services(
            org=hall.org,
            database=hall.database,
            ledger=hall.ledger,
            kluis=hall.kluis,
            vault=hall.vault,
            fleet=fleet,
            casework=hall.casework,
            hub=hall.hub,
            policies=hall.policies,
            clock=hall.clock,
        ),
        nameplate=Nameplate(
            name=config.name,
            publisher=Publisher(name=config.name, address=config.desk_address, contact=config.contact),
        ),
        entrance=Entrance(
            keys=_key_place(hall),
            sign_in=config.sign_in,
            open_id=open_id,
            viewing_places=config.viewing_places,
        ),
        besides=Besides(
            packages=hall.town.cloud / "packages",
            channels=Channels(hall.database, routes, hall.clock, org=hall.org, name=config.name) if routes else None,
            administration=_administration(hall, fleet, enrolments),
            self_check=self_check,
            demo=hall.demo,
        ),
    )


def _key_place(hall: _Hall) -> KeyPlace | None:
    """Return where people use security keys; None in a demonstration, where they are chosen from a list."""
    if hall.config.mode == "demonstration":
        return None
    if hall.config.place is None:  # never a demonstration because an address is missing
        raise ConfigError(f"settings: {hall.town.config}: standard mode needs desk_origin")
    return KeyPlace(place=hall.config.place, invitations=hall.town.invitations)


def _routes(hall: _Hall) -> Routes | None:
    """Return how people are reached who are not at the desk; None where the settings name no route."""
    if not hall.config.alert_routes:
        return None
    try:
        return Routes(hall.config.alert_routes)
    except ValueError as cause:
        raise ConfigError(f"settings: {hall.town.config}: alert_routes: {cause}") from None


def _calling(hall: _Hall, routes: Routes | None) -> dict[str, Coroutine[Any, Any, None]]:
    """Return who calls people about what is open; nobody where no route leads to them."""
    if routes is None:
        return {}
    caller = Caller(
        hall.database,
        routes,
        hall.policies,
        hall.hub,
        hall.clock,
        org=hall.org,
        name=hall.config.name,
        address=f"{hall.config.desk_address}/activeringen",
    )
    return {"cloud.alerting": caller.run()}


def _administration(hall: _Hall, fleet: Fleet, enrolments: Enrolments) -> Administration:
    """Return who lets devices and people come and go."""
    office = (hall.database, hall.ledger, hall.policies, hall.clock, hall.hub)
    return Administration(
        enrolments=enrolments,
        docks=Docks(*office, org=hall.org, authority=Authority.open(hall.town.pki), fleet=fleet),
        wearing=Wearing(*office),
        personnel=Personnel(*office, roster=hall.casework.roster),
        reviews=Reviews(*office),
    )


def _eyes(hall: _Hall) -> tuple[Asking, ...]:
    """Return who asks others to look at the ledger; nobody where no settings name them."""
    ledger, town, found = hall.ledger, hall.town, []
    if (settings := hall.config.witness) is not None:
        name, key = read_verifier_key(settings.key, kind=COSIGNATURE)
        witness = WitnessAsked(ledger, url=settings.url, name=name, key=key, file=town.witnessed)
        found.append(Asking(WITNESS, witness, every_s=settings.every_s))
    if (stamped := hall.config.timestamps) is not None:
        try:
            from cloud.ledger.stamps import StampAsked  # its package comes with the extra `timestamps` only
        except ImportError as cause:
            raise ConfigError(f"settings: {town.config}: timestamps: install vier-ogen[timestamps]: {cause}") from cause
        certificates = stamped.certificates()
        stamps = StampAsked(ledger, url=stamped.url, certificates=certificates, folder=town.stamps)
        found.append(Asking(TIMESTAMPS, stamps, every_s=stamped.every_s))
    return tuple(found)


def _self_check(
    hall: _Hall,
    fleet: Fleet,
    enrolments: Enrolments,
    open_id: OpenIdProvider | None,
    eyes: Sequence[Asking],
    strays: Strays,
) -> SelfCheck:
    """Return who looks whether this town's cloud is well."""

    async def provider() -> tuple[str, bool] | None:
        if open_id is None:
            return None
        try:
            return (await open_id.look()).issuer, True
        except ProviderAway:
            return "OpenID", False

    return SelfCheck(
        org=hall.org,
        database=hall.database,
        ledger=hall.ledger,
        kluis=hall.kluis,
        fleet=fleet,
        policies=hall.policies,
        clock=hall.clock,
        outside=Outside(
            identities=enrolments.identities,
            provider=provider,
            eyes=lambda: {each.name: each.state() for each in eyes},
        ),
        folder=hall.town.cloud,
        vault=hall.town.vault,
        reserve_bytes=RESERVE_BYTES,
        strays=lambda: strays.left,
    )


def _open_id(hall: _Hall) -> OpenIdProvider | None:
    """Return the municipality's sign-in, where it has one. Its clock is the world's, also in a demonstration."""
    settings, origin = hall.config.sign_in.open_id, hall.config.desk_origin
    if settings is None or origin is None:
        return None
    try:
        return open_provider(settings, folder=hall.town.cloud, origin=origin, clock=system_clock)
    except ValueError as cause:
        raise ConfigError(str(cause)) from cause


def _enrolments(hall: _Hall, fleet: Fleet, registrar: Registrar) -> Enrolments:
    """Return the office that new cameras write to."""

    async def trust() -> Trust:
        return Trust(
            oin=hall.config.oin,
            receipt_key=_key(hall.town.receipt_key).public_key().public_bytes_raw(),
            kluis_key=(await hall.kluis.public()).signing_key,
            command_key=_key(hall.town.command_key).public_key().public_bytes_raw(),
            keylist=await hall.kluis.keylist(),
        )

    return Enrolments(
        hall.database,
        hall.ledger,
        hall.policies,
        hall.clock,
        hall.hub,
        org=hall.org,
        authority=Authority.open(hall.town.pki),
        trust=trust,
        fleet=fleet,
        on_leave=registrar.left,
    )


def _commands(hall: _Hall, fleet: Fleet) -> Commands:
    """Return who signs what a camera is told to do."""
    return Commands(
        key=_key(hall.town.command_key),
        database=hall.database,
        ledger=hall.ledger,
        fleet=fleet,
        **hall.line("svc-command"),
    )


def _outside(hall: _Hall) -> dict[str, Coroutine[Any, Any, None]]:
    """Return who takes in what other makers' cameras filmed; nobody where no settings speak of it."""
    config, town = hall.config, hall.town
    if config.axis is None and config.watch_folder is None and not town.outside.exists():
        return {}
    watched = None if config.watch_folder is None else Path(config.watch_folder)
    way_in = take_in(
        hall,
        key=_key(town.outside_key),
        spool=town.outside,
        axis_place=_axis_place(config, town),
        watched=watched,
    )
    return {"cloud.ways-in": way_in}


def _axis_place(config: CloudConfig, town: TownFolder) -> AxisPlace | None:
    settings = config.axis
    if settings is None:
        return None
    return AxisPlace(
        host=settings.listen.host,
        port=settings.listen.port,
        public_url=settings.public_url,
        accounts=tuple(Account(user=each.user, key_sha256=each.key_sha256) for each in settings.accounts),
        categories=tuple(Category(id=each.id, name=each.name) for each in settings.categories),
        certificate=Path(settings.certificate) if settings.certificate else town.certificate("svc-receiver"),
        key=Path(settings.key) if settings.key else town.private_key("svc-receiver"),
    )


def _strays(hall: _Hall) -> Strays:
    return Strays(
        org=hall.org,
        database=hall.database,
        shelf=Shelf(hall.town.vault),
        eraser=VaultEraser(hall.town.vault),
        ledger=hall.ledger,
        policies=hall.policies,
        clock=hall.clock,
        hub=hall.hub,
    )


def _retention(hall: _Hall, worker: RetentionWorker, strays: Strays) -> dict[str, Coroutine[Any, Any, None]]:
    """Return the clock that says what is due, the worker that hears it over the broker, and the look for strays."""
    line = ClockLine(**hall.line("svc-clock"))
    expiry = ExpiryClock(
        hall.database,
        line.publish,
        hall.clock,
        org=hall.org,
        oin=hall.config.oin,
        service=DeviceId("svc-clock"),
        casework=hall.casework,
        rate=hall.rate,
    )
    return {
        "cloud.retention.line": line.run(),
        "cloud.retention.clock": expiry.run(),
        "cloud.retention.worker": WorkerLine(worker, **hall.line("svc-retention")).run(),
        "cloud.retention.strays": strays.run(rate=hall.rate),
    }


async def _catch_up(hall: _Hall, worker: RetentionWorker) -> None:
    """Destroy again what an old backup brought back; until the Kluis answers, nothing opens either."""
    while True:
        try:
            await reapply(
                org=hall.org,
                database=hall.database,
                ledger=hall.ledger,
                kluis=hall.kluis,
                eraser=VaultEraser(hall.town.vault),
                worker=worker,
                clock=hall.clock,
            )
        except Refused as refused:
            logging.getLogger("cloud").warning("destructions are looked at again later: %s", refused)
            await asyncio.sleep(CATCH_UP_S)
        else:
            return


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


async def _listen(stack: contextlib.AsyncExitStack, app: web.Application, hall: _Hall) -> ssl.SSLContext:
    """Open the dock's door: TLS with client certificates, nothing else. Return what its certificate is in."""
    config, town = hall.config, hall.town
    runner, tls, beside = serving(app), _receiver_tls(town), config.receiver_processes - 1
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, config.receiver.host, config.receiver.port, ssl_context=tls, reuse_port=beside > 0)
    await site.start()
    if beside:
        command = [sys.executable, "-m", "cloud", "lane", str(town.root)]
        await stack.enter_async_context(behind(app, runner, town.lanes))
        await stack.enter_async_context(lanes(command, count=beside, vault=hall.vault))
    return tls


async def _lane(town: TownFolder, config: CloudConfig) -> None:
    """Take segments beside the process that serves the town, which starts this one and ends it."""
    tls = _receiver_tls(town)
    vault = Vault.join(town.vault, reserve_bytes=RESERVE_BYTES)
    renewing = asyncio.create_task(_show_renewed(tls, town), name="cloud.certificate")
    try:
        await serve_lane(
            org=parse_org(config.org),
            host=config.receiver.host,
            port=config.receiver.port,
            tls=tls,
            vault=vault,
            folder=town.lanes,
            limits=share(Limits(), processes=config.receiver_processes),
        )
    finally:
        renewing.cancel()
        vault.close()


def _receiver_tls(town: TownFolder) -> ssl.SSLContext:
    return server_tls(ca=town.ca, certificate=town.certificate("svc-receiver"), key=town.private_key("svc-receiver"))


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
        cameras=town.cameras,
    )


def _key(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
