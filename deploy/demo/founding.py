"""Makes a town for a demonstration: identities, cameras, docks, people, policy, Kluis, ledger, database. Once.

Half a town is worse than none: everything is made in a folder beside its place and moved there when it is whole.
"""

import base64
import json
import random
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.clock import DemonstrationClock, system_clock
from broker.identities import Authority
from broker.rules.access import Role
from broker.wire.card import sign_card
from broker.wire.ids import DeviceId, Org, camera_key_id, parse_org, uuid7
from broker.wire.policy import read_policy
from broker.wire.statements import software_credential
from cloud.config import CloudConfig, Listen, TownFolder
from cloud.database.engine import Database
from cloud.database.migrate import upgrade
from cloud.database.tables import appointments, cameras, docks, officials, policies, shifts
from cloud.kluis.founding import Founded, found
from cloud.kluis.rules.roster import Appointment, EnrolledKey, Official
from cloud.ledger.log import Ledger
from cloud.rules.retention import HERE
from edge.enrolment import Enrolment

SERVICES: Final = {
    "svc-fleet": Role.FLEET,
    "svc-clock": Role.RETENTION_CLOCK,
    "svc-retention": Role.RETENTION_WORKER,
    "svc-desk": Role.DESK,
    "svc-command": Role.COMMAND,
    "svc-registrar": Role.REGISTRAR,
}
ROOM_BYTES: Final = 2 * 1024**3
"""A demonstration that cannot keep two gigabytes soon shows a full disk and little else."""
DAYS_OF_DUTY: Final = 60
"""How many mornings have a change of shift: twice day 28, and some."""


class CannotFound(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A town cannot be made here; one sentence says what is in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make: which municipality, how many cameras, which ports, how fast its clock runs."""

    municipality: str
    cameras: int = 50
    desk_port: int = 8480
    receiver_port: int = 8481
    broker_port: int = 8482
    rate: float = 1.0
    seed: int = 7


class _TownHall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    oin: str
    stations: list[dict[str, Any]]
    teams: list[str]
    places: list[dict[str, Any]]
    officials: list[dict[str, Any]]


def available() -> tuple[str, ...]:
    """The municipalities that have both a policy and a made-up town hall."""
    halls = resources.files("deploy.demo")
    return tuple(
        sorted(
            Path(item.name).stem
            for item in resources.files("deploy").joinpath("policy").iterdir()
            if item.name.endswith(".toml") and halls.joinpath(item.name).is_file()
        )
    )


async def found_town(folder: Path, plan: Plan, *, say: Callable[[str], None]) -> TownFolder:
    """Make the town in `folder`, which must not exist; raise CannotFound when this machine has no room for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < ROOM_BYTES:
        raise CannotFound(
            f"{folder.parent}: expected {ROOM_BYTES // 1024**2} MB free for a demonstration, got {free // 1024**2} MB; "
            "make room, or choose another folder with --data"
        )
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    await _Founding(TownFolder(building), plan, say).run()
    building.rename(folder)
    return TownFolder(folder)


class _Founding:
    """The steps, in order; each leaves its files behind."""

    def __init__(self, town: TownFolder, plan: Plan, say: Callable[[str], None]) -> None:
        self._town, self._plan, self._say = town, plan, say
        self._org: Org = parse_org(plan.municipality)
        self._hall = _read_town_hall(plan.municipality)
        self._policy_toml = policy_text(plan.municipality)
        self._policy = read_policy(self._policy_toml)
        self._now = system_clock()
        self._chance = random.Random(plan.seed)  # noqa: S311 - a story to tell, not a secret
        self._origin = f"vier-ogen.example/{self._org}"

    async def run(self) -> None:
        self._clock()
        self._identities()
        keys = self._keys()
        people = self._people()
        founded = self._kluis(people, keys["ledger"])
        public = self._cameras(founded, keys)
        self._stations()
        self._settings()
        await self._cloud(people, public, keys["ledger"])

    def _clock(self) -> None:
        clock = DemonstrationClock.create(self._town.clock, shown=self._now, rate=self._plan.rate)
        self._now = clock()

    def _identities(self) -> None:
        self._say(f"certificaten voor {self._plan.cameras} camera's … / certificates")
        authority = Authority.create(self._town.pki, self._org)
        for camera in self._camera_ids():
            authority.issue(camera, Role.CAMERA)
        for station in self._hall.stations:
            authority.issue(station["id"], Role.DOCK)
        for service, role in SERVICES.items():
            authority.issue(service, role)
        authority.issue_server("svc-receiver", Role.RECEIVER)

    def _keys(self) -> dict[str, Ed25519PrivateKey]:
        """Make the cloud's signing keys: ledger, receipts, commands, and for what comes in from outside."""
        self._town.cloud.mkdir(mode=0o700)
        made = {}
        for name, path in (
            ("ledger", self._town.ledger_key),
            ("receipt", self._town.receipt_key),
            ("command", self._town.command_key),
            ("outside", self._town.outside_key),
        ):
            made[name] = Ed25519PrivateKey.generate()
            _write_secret(path, made[name].private_bytes_raw())
        return made

    def _people(self) -> list[dict[str, Any]]:
        """The officials of the town hall and as many officers as there are cameras; each official a software key."""
        names = tomllib.loads(resources.files("deploy.demo").joinpath("officers.toml").read_text())["names"]
        people = [dict(person) for person in self._hall.officials]
        people.extend(
            {
                "id": f"h-{index + 1:03d}",
                "name": names[index % len(names)],
                "roles": ["officer"],
                "function": "boa" if index % 5 else "toezichthouder",
                "department": self._hall.officials[0]["department"],
                "team": self._hall.teams[index % len(self._hall.teams)],
            }
            for index in range(self._plan.cameras)
        )
        keys = {}
        for person in people:
            key = Ed25519PrivateKey.generate()
            keys[person["id"]] = _text(key.private_bytes_raw())
            enrolled = software_credential(key.public_key())
            person["key"] = EnrolledKey(id=enrolled.id, kind=enrolled.kind, public_key=enrolled.public_key)
        _write_secret(self._town.software_keys, json.dumps(keys, indent=1).encode())
        return people

    def _kluis(self, people: list[dict[str, Any]], ledger_key: Ed25519PrivateKey) -> Founded:
        """Found the Kluis, with software keys on its roster. Its recovery shares go to the file a town would burn."""
        self._say("de Kluis wordt gesticht … / founding the Kluis")
        founded = found(
            self._town.kluis,
            org=self._org,
            policy_toml=self._policy_toml,
            roster=[
                Official(
                    id=person["id"],
                    department=person.get("department"),
                    employed_from=_long_ago(self._now),
                    appointments=tuple(
                        Appointment(role=role, from_at=_long_ago(self._now)) for role in person["roles"]
                    ),
                    credentials=(person["key"],),
                )
                for person in people
            ],
            ledger_origin=self._origin,
            ledger_key=ledger_key.public_key(),
            mode="demonstration",
            now=self._now,
        )
        _write_secret(self._town.root / "recovery-shares.txt", "\n\n".join(founded.shares).encode())
        return founded

    def _cameras(self, founded: Founded, keys: dict[str, Ed25519PrivateKey]) -> dict[DeviceId, bytes]:
        """Make each camera's own key and memory card, and what it is told at its enrolment; return the public keys."""
        public = {}
        for camera in self._camera_ids():
            device, card = self._town.cameras / camera / "device", self._town.cameras / camera / "card"
            device.mkdir(parents=True, mode=0o700)
            card.mkdir()
            key = Ed25519PrivateKey.generate()
            public[camera] = key.public_key().public_bytes_raw()
            _write_secret(device / "signing.key", key.private_bytes_raw())
            (card / "card.json").write_bytes(sign_card(self._org, camera, key))
            enrolment = Enrolment(
                org=self._org,
                camera=camera,
                oin=self._hall.oin,
                receipt_key=_text(keys["receipt"].public_key().public_bytes_raw()),
                kluis_key=_text(founded.signing_key),
                command_key=_text(keys["command"].public_key().public_bytes_raw()),
                keylist=founded.keylist.decode(),
            )
            (device / "enrolment.json").write_bytes(msgspec.json.encode(enrolment))
        return public

    def _stations(self) -> None:
        self._town.buttons.mkdir()
        (self._town.root / "places.json").write_text(json.dumps(self._hall.places))
        for station in self._hall.stations:
            (self._town.stations / station["id"] / "bays").mkdir(parents=True)
            (self._town.docks / station["id"]).mkdir(parents=True)

    def _settings(self) -> None:
        final = self._town.cloud.parent.with_name(self._town.root.name.removesuffix(".building"))
        config = CloudConfig(
            org=self._org,
            name=self._hall.name,
            oin=self._hall.oin,
            mode="demonstration",
            ledger_origin=self._origin,
            database_url=f"sqlite+aiosqlite:///{(final / 'cloud' / 'vierogen.sqlite').resolve()}",
            desk=Listen(port=self._plan.desk_port),
            receiver=Listen(port=self._plan.receiver_port),
            broker=Listen(port=self._plan.broker_port),
            demonstration=True,
        )
        self._town.config.write_bytes(msgspec.json.format(msgspec.json.encode(config)))

    async def _cloud(
        self, people: list[dict[str, Any]], public: dict[DeviceId, bytes], ledger_key: Ed25519PrivateKey
    ) -> None:
        """Create database and ledger; every camera and the policy stand in the ledger from the first second."""
        self._say("database en logboek … / database and ledger")
        database = Database(f"sqlite+aiosqlite:///{(self._town.cloud / 'vierogen.sqlite').resolve()}")
        await upgrade(database)
        ledger = Ledger.create(self._town.ledger, origin=self._origin, key=ledger_key)
        digest = sha256(self._policy_toml.encode()).hexdigest()
        await ledger.append(
            "policy.adopted", subject=self._org, actor="system", at=self._now, facts={"version": 1, "sha256": digest}
        )
        for camera, key in public.items():
            await ledger.append(
                "camera.enrolled",
                subject=camera,
                actor="system",
                at=self._now,
                facts={"public_key": key.hex(), "key_id": camera_key_id(key).hex()},
            )
        async with database.transaction() as t:
            await t.execute(
                policies.insert().values(
                    org=self._org, version=1, adopted_at=_long_ago(self._now), document=self._policy_toml, sha256=digest
                )
            )
            await t.execute(officials.insert(), [self._official(person) for person in people])
            await t.execute(
                appointments.insert(),
                [
                    {
                        "org": self._org,
                        "official": person["id"],
                        "role": role,
                        "from_at": _long_ago(self._now),
                        "until_at": None,
                        "appointed_by": "founding",
                    }
                    for person in people
                    for role in person["roles"]
                ],
            )
            await t.execute(
                cameras.insert(),
                [
                    {
                        "org": self._org,
                        "id": camera,
                        "public_key": key,
                        "key_id": camera_key_id(key),
                        "state": "enrolled",
                        "team": self._hall.teams[index % len(self._hall.teams)],
                        "enrolled_at": self._now,
                    }
                    for index, (camera, key) in enumerate(public.items())
                ],
            )
            await t.execute(
                docks.insert(),
                [
                    {"org": self._org, "id": s["id"], "station": s["station"], "state": "enrolled"}
                    for s in self._hall.stations
                ],
            )
            await t.execute(
                shifts.insert(),
                [
                    {
                        "id": str(self._uuid()),
                        "org": self._org,
                        "official": f"h-{index + 1:03d}",
                        "camera": camera,
                        "starts_at": starts_at,
                        "ends_at": ends_at,
                    }
                    for index, camera in enumerate(public)
                    for starts_at, ends_at in days_of_duty(self._now)
                ],
            )
        await ledger.close()
        await database.close()

    def _official(self, person: dict[str, Any]) -> dict[str, Any]:
        return {
            "org": self._org,
            "id": person["id"],
            "display_name": person["name"],
            "function": person.get("function"),
            "department": person.get("department"),
            "team": person.get("team"),
            "contact": None,
            "employed_from": _long_ago(self._now),
        }

    def _camera_ids(self) -> list[DeviceId]:
        return [DeviceId(f"cam-{number:02d}") for number in range(1, self._plan.cameras + 1)]

    def _uuid(self) -> UUID:
        return uuid7(self._now, self._chance.randbytes(10))


def _read_town_hall(municipality: str) -> _TownHall:
    try:
        text = resources.files("deploy.demo").joinpath(f"{municipality}.toml").read_text()
    except FileNotFoundError as cause:
        raise CannotFound(
            f"municipality: expected one of {', '.join(available())}, got {municipality!r}; "
            "deploy/policy/README.md says how to add one"
        ) from cause
    return msgspec.convert(tomllib.loads(text), _TownHall)


def policy_text(municipality: str) -> str:
    """The policy file of a municipality, as it is deployed."""
    return resources.files("deploy").joinpath("policy", f"{municipality}.toml").read_text()


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def days_of_duty(now: datetime) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return when each shift of an officer begins and ends, from an hour ago: a new one each morning at six.

    The last has no end, so that each camera has a wearer however far the clock is moved.
    """
    morning = now.astimezone(HERE).replace(hour=6, minute=0, second=0, microsecond=0)
    changes = [
        change for day in range(DAYS_OF_DUTY) if (change := (morning + timedelta(days=day)).astimezone(UTC)) > now
    ]
    return tuple(zip([now - timedelta(hours=1), *changes], [*changes, None], strict=True))


def _long_ago(now: datetime) -> datetime:
    return datetime(now.year - 1, 1, 1, tzinfo=HERE).astimezone(UTC)
