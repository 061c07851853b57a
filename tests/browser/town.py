"""A town hall to look at: real ledger, register, hub and desk in one process; only streets and docks are made up."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import insert

from broker.clock import DemonstrationClock
from broker.identities import Authority
from broker.wire import events, topics
from broker.wire.approvals import software_credential
from broker.wire.ids import DeviceId, Org, camera_key_id, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.recording import segment_digest
from cloud.alerting.channels import Channels
from cloud.alerting.routes import Routes
from cloud.casework.casework import Casework
from cloud.casework.personnel import Personnel
from cloud.casework.policies import Policies
from cloud.casework.reviews import Reviews
from cloud.casework.wearing import Wearing
from cloud.database import tables
from cloud.database.engine import Database
from cloud.desk.administration import Administration
from cloud.desk.app import desk
from cloud.desk.demo import Demo
from cloud.desk.made_of import Besides, Entrance, Nameplate, Services
from cloud.fleet.enrolment import Enrolments, Trust
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.fleet.stations import Docks
from cloud.intake.delivery import Submission
from cloud.intake.recordings import Intake
from cloud.kluis.client import KluisClient
from cloud.kluis.founding import found as found_kluis
from cloud.kluis.rules.roster import Appointment, EnrolledKey, Official
from cloud.kluis.service import serve as serve_kluis
from cloud.ledger.log import Ledger
from cloud.self_check import Outside, SelfCheck
from cloud.vault.store import Vault
from cloud.viewing.rooms import Rooms
from tests.adapters.viewing.footage import Made, seal
from tests.promptness import silence_allowed

ORG = Org("heusden")
OIN = "00000000000000000000"
MORNING = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
POLICY = Path(__file__).parents[2] / "deploy" / "policy" / "heusden.toml"
OFFICIALS = [
    ("o-101", "Marieke de Wit", "coordinator", "Veiligheid en Handhaving"),
    ("o-102", "Hans Verhoeven", "cluster_manager", "Veiligheid en Handhaving"),
    ("o-103", "Yasmina El Amrani", "privacy_officer", "juridische-zaken"),
    ("o-104", "Pieter Bosch", "municipal_secretary", "directie"),
    ("o-105", "Anouk van Dam", "safety_coordinator", "bedrijfsvoering"),
    ("o-106", "Ruben Kuijpers", "app_admin", "informatie"),
    ("o-107", "Ingrid Smeets", "dpo", "concerncontrol"),
]
OFFICERS = [
    "Amir Aydin", "Anne Bakker", "Bas Bos", "Chantal Brouwer", "Daan de Boer", "Dewi Dekkers", "Dirk van Dijk",
    "Eline Evers", "Emre Erdogan", "Esther van den Berg", "Farid Fadil", "Femke Faber", "Floor Franken",
    "Gerrit Gerritsen", "Hanna Haan", "Ibrahim Idrissi", "Ilse Jacobs", "Jasper Jansen", "Joost Janssen",
    "Karin Kok", "Kees Klaassen", "Laila Lahlou", "Lars Linders", "Lotte Lammers", "Maarten Maas", "Mees Meijer",
    "Mila Mulder", "Mohamed Mansouri", "Nadia Naji", "Niels Nijland", "Noor Noordhoek", "Olaf Oosterhuis",
    "Paula Peeters", "Peter Pronk", "Quinten Quist", "Rachid Rahmani", "Renske Roos", "Rik Reinders",
    "Sanne Schouten", "Sem Smit", "Sharon Simons", "Stijn Scholten", "Tess Timmer", "Thijs Thomassen", "Umut Uysal",
    "Vera Vos", "Wim Wouters", "Xandra Xhoffer", "Youssef Yildiz", "Zoë Zeeman",
]  # fmt: skip
TEAMS = ("centrum", "noord", "zuid", "west", "oost")
PLACES = ("Plein, Vlijmen", "Vismarkt, Heusden", "Station Drunen-Noord", "Raadhuisplein, Drunen")


@dataclass(kw_only=True)
class TownHall:
    """What a test can see and do."""

    folder: Path
    clock: DemonstrationClock
    database: Database
    ledger: Ledger
    hub: LiveHub
    policies: Policies
    fleet: Fleet
    casework: Casework
    vault: Vault
    kluis: KluisClient
    intake: Intake
    keys: dict[str, Ed25519PrivateKey]
    camera_keys: dict[str, Ed25519PrivateKey]
    administration: Administration | None = None
    address: str = ""
    runner: web.AppRunner | None = None
    sequences: dict[str, int] = field(default_factory=dict)

    async def say(self, camera: str, said: events.Said, *, at: datetime | None = None) -> None:
        """Let a camera say something, as if it came over the broker."""
        self.sequences[camera] = self.sequences.get(camera, 0) + 1
        now = at or self.clock()
        event = events.Event(
            id=uuid7(now, os.urandom(10)),
            source=events.source_of(OIN, ORG, "cam", DeviceId(camera)),
            session="boot-1",
            sequence=self.sequences[camera],
            time=now,
            said=said,
        )
        device = DeviceId(camera)
        match said:
            case events.CameraState():
                topic = topics.camera_state(ORG, device)
            case events.Telemetry():
                topic = topics.camera_telemetry(ORG, device)
            case _:
                topic = topics.camera_event(ORG, device, events.kind_of(said))
        await self.fleet.on_message(topic, events.encode(event))

    async def press(self, camera: str, *, place: str | None = PLACES[0], recording: UUID | None = None) -> UUID:
        """Press a camera's button."""
        now = self.clock()
        recording = recording or uuid7(now, os.urandom(10))
        where = None if place is None else events.Place(name=place, latitude=51.6969, longitude=5.2206)
        await self.say(camera, events.Activation(recording=recording, activated_at=now, pre_record_s=29.6, place=where))
        await self.say(
            camera,
            events.CameraState(
                status="recording",
                boot="boot-1",
                buffering=True,
                battery_pct=64,
                card_free_pct=81,
                settings_version=1,
                recording=recording,
            ),
        )
        return recording

    async def film(
        self,
        camera: str,
        *,
        pre_record: int = 3,
        kept: int = 9,
        filmed: tuple[bytes, list[bytes]] | None = None,
        heard: bool = True,
    ) -> UUID:
        """Let a camera make a recording that ends now, and bring it in through the intake as a dock does.

        Not `heard`: nothing ever came in about the press.
        """
        public = await self.kluis.public()
        listed = read_keylist(await self.kluis.keylist(), Ed25519PublicKey.from_public_bytes(public.signing_key))
        made = await asyncio.to_thread(
            lambda: seal(
                now=self.clock(),
                recipients=listed.recipients,
                camera=self.camera_keys[camera],
                pre_record=pre_record,
                kept=kept,
                filmed=filmed,
            )
        )
        for raw in made.segments:
            async with self.vault.receive(segment_digest(raw), size=len(raw)) as incoming:
                await incoming.write(raw)
                await incoming.keep(lambda _header, _tail, _digest: None)
        if heard:
            await self._hear(camera, made, pre_record=pre_record)
        submission = Submission(
            head=made.head, digests=tuple(segment_digest(raw).hex() for raw in made.segments), end=made.end
        )
        await self.intake.receive(made.recording, submission, dock=DeviceId("dock-01"))
        return made.recording

    async def _hear(self, camera: str, made: Made, *, pre_record: int) -> None:
        await self.say(
            camera,
            events.Activation(
                recording=made.recording,
                activated_at=made.activated_at,
                pre_record_s=float(pre_record),
                place=events.Place(name=PLACES[1], latitude=51.7338, longitude=5.1391),
            ),
        )
        await self.say(
            camera,
            events.Deactivation(
                recording=made.recording,
                ended_at=made.ended_at,
                segments=len(made.segments),
                stop_reason="officer",
            ),
        )
        await self.fleet.acknowledge(made.recording, "o-101")


async def found(folder: Path) -> TownHall:
    """Make a town with its people, its policy and fifty cameras in the registry; nothing runs yet."""
    clock = DemonstrationClock.create(folder / "clock.json", shown=MORNING, rate=1.0)
    database = Database(f"sqlite+aiosqlite:///{folder / 'vierogen.sqlite'}")
    await database.create()
    key = Ed25519PrivateKey.generate()
    ledger = await asyncio.to_thread(Ledger.create, folder / "ledger", origin="heusden.example/log", key=key)
    hub, policies = LiveHub(), Policies(database)
    camera_keys = {f"cam-{n:02}": Ed25519PrivateKey.generate() for n in range(1, len(OFFICERS) + 1)}
    begun = MORNING - timedelta(days=400)
    async with database.transaction() as t:
        for official, name, role, department in OFFICIALS:
            await t.execute(
                insert(tables.officials).values(
                    org=ORG, id=official, display_name=name, department=department, employed_from=begun
                )
            )
            await t.execute(
                insert(tables.appointments).values(
                    org=ORG, official=official, role=role, from_at=begun, appointed_by="o-104"
                )
            )
        await t.execute(
            insert(tables.docks).values(org=ORG, id="dock-01", station="Gemeentehuis Vlijmen", state="enrolled")
        )
        for n, name in enumerate(OFFICERS, start=1):
            await t.execute(
                insert(tables.officials).values(
                    org=ORG,
                    id=f"h-{n:03}",
                    display_name=name,
                    function="boa" if n % 3 else "toezichthouder",
                    department="Veiligheid en Handhaving",
                    team=TEAMS[n % 5],
                    employed_from=begun,
                )
            )
            await t.execute(
                insert(tables.cameras).values(
                    org=ORG,
                    id=f"cam-{n:02}",
                    public_key=(public_key := camera_keys[f"cam-{n:02}"].public_key().public_bytes_raw()),
                    key_id=camera_key_id(public_key),
                    state="enrolled",
                    team=TEAMS[n % 5],
                    enrolled_at=begun,
                )
            )
            await t.execute(
                insert(tables.shifts).values(
                    id=str(UUID(int=n)),
                    org=ORG,
                    official=f"h-{n:03}",
                    camera=f"cam-{n:02}",
                    starts_at=MORNING - timedelta(hours=4),
                    ends_at=MORNING + timedelta(hours=5),
                )
            )
    policy_toml = await asyncio.to_thread(POLICY.read_text)
    await policies.adopt(policy_toml, by="o-104", ledger=ledger, clock=clock)
    keys = {official: Ed25519PrivateKey.generate() for official, *_ in OFFICIALS}
    await asyncio.to_thread(_found_kluis, folder, policy_toml, keys, key)
    fleet = Fleet(database, ledger, hub, policies, clock)
    await fleet.load(ORG)
    fleet.listen(ORG, hearing=True)
    Vault.create(folder / "vault")
    vault, kluis = Vault.open(folder / "vault"), KluisClient(folder / "kluis" / "s")
    return TownHall(
        folder=folder,
        clock=clock,
        database=database,
        ledger=ledger,
        hub=hub,
        policies=policies,
        fleet=fleet,
        casework=Casework(database, ledger, policies, clock, hub),
        vault=vault,
        kluis=kluis,
        intake=Intake(
            org=ORG,
            database=database,
            vault=vault,
            kluis=kluis,
            ledger=ledger,
            policies=policies,
            receipt_key=Ed25519PrivateKey.generate(),
            clock=clock,
            hub=hub,
        ),
        keys=keys,
        camera_keys=camera_keys,
    )


def _found_kluis(
    folder: Path, policy_toml: str, keys: dict[str, Ed25519PrivateKey], ledger_key: Ed25519PrivateKey
) -> None:
    begun = MORNING - timedelta(days=400)
    roster = []
    for official, _, role, department in OFFICIALS:
        credential = software_credential(keys[official].public_key())
        enrolled = EnrolledKey(id=credential.id, kind="software", public_key=credential.public_key)
        roster.append(
            Official(
                id=official,
                department=department,
                employed_from=begun,
                appointments=(Appointment(role=role, from_at=begun),),
                credentials=(enrolled,),
            )
        )
    found_kluis(
        folder / "kluis",
        org=ORG,
        policy_toml=policy_toml,
        roster=roster,
        ledger_origin="heusden.example/log",
        ledger_key=ledger_key.public_key(),
        mode="demonstration",
        now=MORNING,
    )


async def fill_the_streets(town: TownHall, *, quiet: Sequence[str] = ("cam-23",)) -> None:
    """Let every camera say how it is, as on an ordinary afternoon."""
    dice = random.Random(7)
    for n in range(1, 51):
        camera = f"cam-{n:02}"
        docked = n > 19 and n != 23
        off = n in (18, 19)
        await town.say(
            camera,
            events.CameraState(
                status="off" if off else "docked" if docked else "standby",
                boot="boot-1",
                buffering=not docked and not off and n != 11,
                battery_pct=100 if docked and n % 4 else 12 if n == 9 else dice.randint(38, 99),
                card_free_pct=7 if n == 14 else dice.randint(55, 100),
                settings_version=1,
                clock_offset_ms=dice.randint(-400, 400),
                dock="dock-01" if docked else None,
                bay=n if docked else None,
            ),
        )
    for camera in quiet:
        await town.say(
            camera,
            events.CameraState(
                status="lost", boot="boot-1", buffering=False, battery_pct=41, card_free_pct=77, settings_version=1
            ),
        )
    await town.fleet.look(ORG)


@asynccontextmanager
async def open_town(folder: Path, *, routes: Routes | None = None) -> AsyncIterator[TownHall]:
    """Found the town and open its desk on a free port of this machine. `routes`: how people are warned elsewhere."""
    town = await found(folder)
    buttons = folder / "buttons"
    buttons.mkdir()
    async with AsyncExitStack() as stack:
        stack.enter_context(silence_allowed())
        stack.push_async_callback(town.database.close)
        stack.push_async_callback(town.ledger.close)
        stack.callback(town.vault.close)
        stack.push_async_callback(town.kluis.close)
        guarding = asyncio.create_task(serve_kluis(folder / "kluis", folder / "kluis" / "s", town.clock))
        stack.push_async_callback(_stop, guarding)
        await _until_there(folder / "kluis" / "s", guarding)
        authority = await asyncio.to_thread(Authority.create, folder / "pki", ORG)
        cameras = folder / "cameras"
        cameras.mkdir()
        administration = _administration(town, authority)
        outside = Outside(identities=administration.enrolments.identities)
        app = desk(
            services_of(town),
            nameplate=Nameplate(name="Gemeente Heusden"),
            entrance=Entrance(),
            besides=Besides(
                packages=folder / "packages",
                administration=administration,
                channels=Channels(town.database, routes, town.clock, org=ORG, name="Heusden", draw=lambda: 42)
                if routes
                else None,
                self_check=SelfCheck(
                    org=ORG,
                    database=town.database,
                    ledger=town.ledger,
                    kluis=town.kluis,
                    fleet=town.fleet,
                    policies=town.policies,
                    clock=town.clock,
                    outside=outside,
                    folder=folder,
                    vault=folder / "vault",
                    reserve_bytes=0,
                ),
                demo=Demo(
                    officials=(*(official for official, *_ in OFFICIALS), "h-001", "h-002"),
                    keys=town.keys,
                    buttons=buttons,
                    move_clock=town.clock.move_forward,
                    cameras=cameras,
                ),
            ),
        )
        town.administration = administration
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        town.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        town.runner = runner
        yield town


def rooms_of(town: TownHall) -> Rooms:
    """Return viewing rooms of this town that are no desk's."""

    async def names() -> dict[str, str]:
        return {who: name for who, name, *_ in OFFICIALS}

    return Rooms(
        org=ORG,
        database=town.database,
        ledger=town.ledger,
        kluis=town.kluis,
        vault=town.vault,
        office=town.casework,
        policies=town.policies,
        hub=town.hub,
        clock=town.clock,
        name_of=names,
    )


def services_of(town: TownHall) -> Services:
    """Return what a desk of this town stands on."""
    return Services(
        org=ORG,
        database=town.database,
        ledger=town.ledger,
        kluis=town.kluis,
        vault=town.vault,
        fleet=town.fleet,
        casework=town.casework,
        hub=town.hub,
        policies=town.policies,
        clock=town.clock,
    )


def _administration(town: TownHall, authority: Authority) -> Administration:
    office = (town.database, town.ledger, town.policies, town.clock, town.hub)

    async def trust() -> Trust:
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        kluis = (await town.kluis.public()).signing_key
        keylist = await town.kluis.keylist()
        return Trust(oin=OIN, receipt_key=key, kluis_key=kluis, command_key=key, keylist=keylist)

    return Administration(
        enrolments=Enrolments(*office, org=ORG, authority=authority, trust=trust, fleet=town.fleet),
        docks=Docks(*office, org=ORG, authority=authority, fleet=town.fleet),
        wearing=Wearing(*office),
        personnel=Personnel(*office),
        reviews=Reviews(*office),
    )


async def _until_there(socket: Path, serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(60):
        while not socket.exists():
            if serving.done():
                await serving
            await asyncio.sleep(0.02)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
