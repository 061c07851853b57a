"""A town hall to look at: real ledger, register, hub and desk in one process; only streets and docks are made up."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert

from broker.clock import DemonstrationClock
from broker.wire import events, topics
from broker.wire.ids import DeviceId, Org, uuid7
from cloud.casework.policies import Policies
from cloud.database import tables
from cloud.database.engine import Database
from cloud.desk.app import desk
from cloud.desk.demo import Demo
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.ledger.log import Ledger

ORG = Org("heusden")
OIN = "00000000000000000000"
MORNING = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
POLICY = Path(__file__).parents[2] / "deploy" / "policy" / "heusden.toml"
OFFICIALS = [
    ("o-101", "Marieke de Wit", "coordinator", "veiligheid-en-handhaving"),
    ("o-102", "Hans Verhoeven", "cluster_manager", "veiligheid-en-handhaving"),
    ("o-103", "Yasmina El Amrani", "privacy_officer", "juridische-zaken"),
    ("o-104", "Pieter Bosch", "municipal_secretary", "directie"),
    ("o-105", "Anouk van Dam", "safety_coordinator", "bedrijfsvoering"),
    ("o-106", "Ruben Kuijpers", "app_admin", "informatie"),
    ("o-107", "Ingrid Smeets", "dpo", "concerncontrol"),
]
OFFICERS = (
    "Amir Aydin|Anne Bakker|Bas Bos|Chantal Brouwer|Daan de Boer|Dewi Dekkers|Dirk van Dijk|Eline Evers|Emre Erdogan|"
    "Esther van den Berg|Farid Fadil|Femke Faber|Floor Franken|Gerrit Gerritsen|Hanna Haan|Ibrahim Idrissi|Ilse Jacobs|"
    "Jasper Jansen|Joost Janssen|Karin Kok|Kees Klaassen|Laila Lahlou|Lars Linders|Lotte Lammers|Maarten Maas|Mees Meijer|"
    "Mila Mulder|Mohamed Mansouri|Nadia Naji|Niels Nijland|Noor Noordhoek|Olaf Oosterhuis|Paula Peeters|Peter Pronk|"
    "Quinten Quist|Rachid Rahmani|Renske Roos|Rik Reinders|Sanne Schouten|Sem Smit|Sharon Simons|Stijn Scholten|"
    "Tess Timmer|Thijs Thomassen|Umut Uysal|Vera Vos|Wim Wouters|Xandra Xhoffer|Youssef Yildiz|Zoë Zeeman"
).split("|")
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
    keys: dict[str, Ed25519PrivateKey]
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


async def found(folder: Path) -> TownHall:
    """Make a town with its people, its policy and fifty cameras in the registry; nothing runs yet."""
    clock = DemonstrationClock.create(folder / "clock.json", shown=MORNING, rate=1.0)
    database = Database(f"sqlite+aiosqlite:///{folder / 'vierogen.sqlite'}")
    await database.create()
    key = Ed25519PrivateKey.generate()
    ledger = await asyncio.to_thread(Ledger.create, folder / "ledger", origin="heusden.example/log", key=key)
    hub, policies = LiveHub(), Policies(database)
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
                    department="veiligheid-en-handhaving",
                    team=TEAMS[n % 5],
                    employed_from=begun,
                )
            )
            await t.execute(
                insert(tables.cameras).values(
                    org=ORG,
                    id=f"cam-{n:02}",
                    public_key=bytes([n] * 32),
                    key_id=bytes([n] * 16),
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
    await policies.adopt(await asyncio.to_thread(POLICY.read_text), by="o-104", ledger=ledger, clock=clock)
    fleet = Fleet(database, ledger, hub, policies, clock)
    await fleet.load(ORG)
    fleet.listen(ORG, hearing=True)
    return TownHall(
        folder=folder,
        clock=clock,
        database=database,
        ledger=ledger,
        hub=hub,
        policies=policies,
        fleet=fleet,
        keys={official: Ed25519PrivateKey.generate() for official, *_ in OFFICIALS},
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
async def open_town(folder: Path) -> AsyncIterator[TownHall]:
    """Found the town and open its desk on a free port of this machine."""
    town = await found(folder)
    buttons = folder / "buttons"
    buttons.mkdir()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(town.database.close)
        stack.push_async_callback(town.ledger.close)
        app = desk(
            org=ORG,
            name="Gemeente Heusden",
            database=town.database,
            ledger=town.ledger,
            kluis=None,
            vault=None,
            fleet=town.fleet,
            casework=None,
            hub=town.hub,
            policies=town.policies,
            clock=town.clock,
            mode="demonstration",
            demo=Demo(
                officials=tuple(official for official, *_ in OFFICIALS) + ("h-001", "h-002"),
                keys=town.keys,
                buttons=buttons,
                move_clock=town.clock.move_forward,
            ),
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        town.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        town.runner = runner
        yield town
