"""A municipality that runs: founded as a demonstration is, wired as `python -m cloud serve` is, in one process.

Real are database, ledger, vault, Kluis (over its socket), receiver (TLS with certificates), desk (HTTP) and the worker
that shows footage. Only MQTT is not: what a camera says and what the expiry clock names is handed over directly.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock
from uuid import UUID

import aiohttp
from aiohttp import ClientSession, TCPConnector, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select, update
from yarl import URL

from broker.identities import Authority
from broker.rules.access import Role
from broker.wire import events, topics
from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.events import Event
from broker.wire.ids import DeviceId, Org, RecordingId, parse_org, tenant_id, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.recording import Checkpoint, Flag, Kind, Sealer, StopReason, segment_digest
from cloud.casework.casework import Casework
from cloud.casework.policies import Policies
from cloud.casework.roster import KluisRoster, SoftwareRoster
from cloud.config import CloudConfig, TownFolder, read_config
from cloud.database.engine import Database
from cloud.database.tables import recordings, segments, shifts
from cloud.desk.app import desk
from cloud.desk.demo import Demo
from cloud.desk.made_of import Besides, Entrance, Nameplate, Services
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.intake.doors import server_tls
from cloud.intake.receiver import INTAKE, receiver, serving
from cloud.kluis import service
from cloud.kluis.client import KluisClient
from cloud.kluis.service import serve as serve_kluis
from cloud.ledger.log import Ledger
from cloud.retention.clock import ExpiryClock
from cloud.retention.worker import RetentionWorker
from cloud.vault.store import Vault, VaultEraser
from deploy.demo import founding
from tests.adapters.viewing.footage import film as make_film
from tests.promptness import silence_allowed

START = datetime(2027, 1, 11, 12, 0, tzinfo=UTC)
"""A Monday in winter; the clocks change on 28 March and 31 October of this year."""


@dataclass
class Wall:
    """The town's clock: stands still until a test moves it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> datetime:
        """Let time pass."""
        self.now += timedelta(**by)
        return self.now


@dataclass(frozen=True, kw_only=True)
class Footage:
    """A recording as a camera has it on its card."""

    recording: RecordingId
    head: bytes
    segments: tuple[bytes, ...]
    end: bytes
    plaintext: tuple[bytes, ...]

    @property
    def id(self) -> str:
        return str(self.recording)

    @property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(segment_digest(raw) for raw in self.segments)


class Answer(aiohttp.ClientResponseError):
    """The desk or the receiver did not say what the test expected."""


@dataclass(kw_only=True)
class Town:
    """What a test can see and do in one municipality."""

    org: Org
    folder: TownFolder
    config: CloudConfig
    clock: Wall
    database: Database
    ledger: Ledger
    vault: Vault
    kluis: KluisClient
    casework: Casework
    policies: Policies
    fleet: Fleet
    worker: RetentionWorker
    expiry: ExpiryClock
    rooms: Any = None
    receiver_url: str = ""
    desk_url: str = ""
    sequences: dict[str, int] = field(default_factory=dict)

    # --- the street ---------------------------------------------------------------------------------------------

    async def say(self, camera: str, said: events.Said) -> None:
        """Let a camera say something, as if it came over the broker."""
        self.sequences[camera] = self.sequences.get(camera, 0) + 1
        now, device = self.clock(), DeviceId(camera)
        event = Event(
            id=uuid7(now, os.urandom(10)),
            source=events.source_of(self.config.oin, self.org, "cam", device),
            session="boot-1",
            sequence=self.sequences[camera],
            time=now,
            said=said,
        )
        await self.fleet.on_message(topics.camera_event(self.org, device, events.kind_of(said)), events.encode(event))

    async def press(self, camera: str = "cam-01", *, pre_record_s: float = 3.0, recording: UUID | None = None) -> str:
        """Press the button of a camera now."""
        name = recording or uuid7(self.clock(), os.urandom(10))
        await self.say(camera, events.Activation(recording=name, activated_at=self.clock(), pre_record_s=pre_record_s))
        return str(name)

    async def make(
        self, camera: str = "cam-01", *, pre_record_s: int = 3, kept_s: int = 5, real: bool = False
    ) -> Footage:
        """Make a recording whose button is pressed now, sealed to the Kluis; it stays on the card."""
        public = await self.kluis.public()
        listed = read_keylist(await self.kluis.keylist(), Ed25519PublicKey.from_public_bytes(public.signing_key))
        key = Ed25519PrivateKey.from_private_bytes(
            (self.folder.cameras / camera / "device" / "signing.key").read_bytes()
        )
        pressed_at = self.clock()
        started_at = pressed_at - timedelta(seconds=pre_record_s)
        recording = RecordingId(uuid7(pressed_at, os.urandom(10)))
        head, sealer = Sealer.start(
            tenant=tenant_id(self.org),
            signing_key=key,
            recording=recording,
            boot=os.urandom(16),
            data_key=os.urandom(32),
            recipients=listed.recipients,
            checkpoint=Checkpoint(size=0, root=bytes(32)),
        )
        init, pictures = _pictures(pre_record_s + kept_s) if real else (b"ftypmoov", _noise(pre_record_s + kept_s))
        made = [
            sealer.seal(
                init, kind=Kind.VIDEO, flags=Flag.NONE, starts_at=started_at, ends_at=started_at, monotonic_us=0
            )
        ]
        for n, picture in enumerate(pictures):
            flags = Flag.PRE_RECORD if n < pre_record_s else Flag.NONE
            if n == len(pictures) - 1:
                flags |= Flag.LAST
            begin = started_at + timedelta(seconds=n)
            made.append(
                sealer.seal(
                    picture,
                    kind=Kind.VIDEO,
                    flags=flags,
                    starts_at=begin,
                    ends_at=begin + timedelta(seconds=1),
                    monotonic_us=n * 1_000_000,
                )
            )
        ended_at = started_at + timedelta(seconds=len(pictures))
        return Footage(
            recording=recording,
            head=head,
            segments=tuple(made),
            end=sealer.finish(reason=StopReason.OFFICER, ended_at=ended_at),
            plaintext=tuple(pictures),
        )

    async def film(self, camera: str = "cam-01", *, pre_record_s: int = 3, kept_s: int = 5, real: bool = False) -> str:
        """Press, film, and dock at once; return the recording's id."""
        footage = await self.make(camera, pre_record_s=pre_record_s, kept_s=kept_s, real=real)
        await self.press(camera, pre_record_s=pre_record_s, recording=footage.recording)
        self.clock.move(seconds=kept_s + 1)
        status, said = await self.dock(footage)
        assert status == 200, said
        return footage.id

    async def dock(self, footage: Footage, *, dock: str = "dock-01") -> tuple[int, str]:
        """Offload through a dock, over TLS with the dock's own certificate; return the last status and what it said."""
        async with self.as_dock(dock) as session:
            for raw, digest in zip(footage.segments, footage.digests, strict=True):
                async with session.put(f"/v1/segments/{digest.hex()}", data=raw) as answer:
                    if answer.status not in (200, 201):
                        return answer.status, await answer.text()
            body = {
                "head": b64encode(footage.head).decode(),
                "digests": [digest.hex() for digest in footage.digests],
                "end": b64encode(footage.end).decode(),
            }
            async with session.put(f"/v1/recordings/{footage.id}", json=body) as answer:
                return answer.status, (await answer.read()).decode(errors="replace")

    @asynccontextmanager
    async def as_dock(self, dock: str) -> AsyncIterator[ClientSession]:
        """Be a dock; one that nobody enrolled gets its certificate here."""
        if not self.folder.certificate(dock).exists():
            await asyncio.to_thread(Authority.open(self.folder.pki).issue, dock, Role.DOCK)
        tls = ssl.create_default_context(cafile=self.folder.ca)
        tls.load_cert_chain(self.folder.certificate(dock), self.folder.private_key(dock))
        async with ClientSession(self.receiver_url, connector=TCPConnector(ssl=tls)) as session:
            yield session
        await asyncio.sleep(0)

    async def end_shifts(self) -> None:
        """Let every shift that runs end now."""
        still_running = shifts.c.ends_at.is_(None) | (shifts.c.ends_at > self.clock())
        async with self.database.transaction() as t:
            await t.execute(update(shifts).where(still_running).values(ends_at=self.clock()))

    # --- time ---------------------------------------------------------------------------------------------------

    async def round(self) -> None:
        """Let the expiry clock name what is due, and the worker do it, until nothing is left to name."""
        async with asyncio.timeout(60):
            while await self.expiry.look():
                pass

    # --- what is there ------------------------------------------------------------------------------------------

    async def row(self, recording: str) -> Any:
        async with self.database.transaction() as t:
            return (await t.execute(select(recordings).where(recordings.c.id == recording))).one_or_none()

    async def state(self, recording: str) -> str:
        row = await self.row(recording)
        return "absent" if row is None else str(row.state)

    async def bytes_left(self, recording: str) -> int:
        """How many of its segments the vault still has."""
        async with self.database.transaction() as t:
            names = select(segments.c.digest).where(segments.c.recording == recording)
            digests = [bytes.fromhex(each) for each in (await t.execute(names)).scalars()]
        return len(digests) - sum(await self.vault.missing(digests))

    async def key_state(self, recording: str) -> str:
        """What the Kluis says of its key: held, destroyed, or absent."""
        return next((each.state for each in await self.kluis.inventory() if each.recording == recording), "absent")

    async def is_whole(self, recording: str) -> bool:
        """Whether every byte and the key are there."""
        row = await self.row(recording)
        return await self.key_state(recording) == "held" and await self.bytes_left(recording) == row.segments

    async def is_gone(self, recording: str) -> bool:
        """Whether key and bytes are gone, and the register has the certificate."""
        row = await self.row(recording)
        return (
            row.state == "destroyed"
            and row.certificate is not None
            and await self.key_state(recording) in ("destroyed", "final")
            and await self.bytes_left(recording) == 0
        )

    async def entries(self, kind: str, *, subject: str | None = None) -> list[LedgerEntry]:
        """The ledger's entries of a kind."""
        found = [read_entry(raw) for _, raw in await self.ledger.read(0, self.ledger.checkpoint().size)]
        return [each for each in found if each.kind == kind and subject in (None, each.subject)]

    # --- people -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def signed_in(self, *names: str) -> AsyncIterator[Any]:
        """These people, each in a browser of their own; one of them, or a list."""
        async with AsyncExitStack() as stack:
            people = [await stack.enter_async_context(Visitor(self.desk_url, name)) for name in names]
            yield people[0] if len(people) == 1 else people

    async def case(self, by: str, kind: str, *recording: str, **fields: str) -> str:
        """Register a case at the desk; return its id."""
        async with self.signed_in(by) as person:
            status, path = await person.send(
                "/dossiers", {"soort": kind, "omschrijving": f"Zaak: {kind}", "opname": list(recording), **fields}
            )
            assert status == 200, person.said
            return str(path.rsplit("/", 1)[1])

    async def step(self, by: str, case: str, step: str, **facts: str) -> None:
        """Take a step of a case at the desk."""
        async with self.signed_in(by) as person:
            status, _ = await person.send(f"/dossiers/{case}/stap", {"stap": step, **facts})
            assert status == 200, person.said

    async def release(self, case: str, *people: str) -> list[int]:
        """Lift the holds of a case at the desk, as these people, one after the other; return what they were told."""
        told = []
        for name in people:
            async with self.signed_in(name) as person:
                for hold in (await self.casework.case(self.org, case)).holds:
                    if hold.released_at is None:
                        status, _ = await person.send(f"/bewaarplicht/{hold.id}/opheffen", {"grond": "afgerond"})
                        told.append(status)
        return told

    async def ask_room(
        self, by: str, second: str | None, case: str, recording: str, purpose: str
    ) -> tuple[int, str, str]:
        """Ask for a viewing room at the desk; return the status, the room's path, and what the page said."""
        async with self.signed_in(by) as person:
            status, path = await person.send(
                "/kijkkamer",
                {
                    "dossier": case,
                    "doel": purpose,
                    "opname": recording,
                    "reden": "Omdat het dossier het vraagt",
                    "tweede": second or "",
                    "alleen": "ja",
                },
            )
            return status, path, person.said

    async def why_not(self, by: str, second: str | None, case: str, recording: str, purpose: str) -> str:
        """Ask for a room that must be refused; return why, as the denial register has it."""
        before = len(await self.casework.denials(self.org))
        status, _, said = await self.ask_room(by, second, case, recording, purpose)
        assert status == 403, said
        written = await self.casework.denials(self.org)
        assert len(written) > before, "a refusal is written down"
        assert written[0].who == by
        return str(written[0].why)


class Visitor:
    """One person in one browser."""

    def __init__(self, base: str, name: str) -> None:
        self.name, self.said = name, ""
        jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=URL(base))
        self._session = ClientSession(base_url=base, cookie_jar=jar)
        self._csrf = ""

    async def __aenter__(self) -> Self:
        async with self._session.post("/aanmelden", data={"wie": self.name}, headers=SAME_SITE) as answer:
            text = await answer.text()
            found = re.search(r'data-csrf="([^"]+)"', text)
            assert found is not None, f"{self.name}: {text[:400]}"
            self._csrf = found[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()

    async def read(self, path: str) -> tuple[int, str]:
        """Return a page's status and text."""
        async with self._session.get(path, headers={"Accept": "text/html"}) as answer:
            return answer.status, await answer.text()

    async def fetch(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers of whatever is there."""
        async with self._session.get(path) as answer:
            return answer.status, await answer.read(), answer.headers

    async def send(
        self,
        path: str,
        fields: Mapping[str, str | Sequence[str]] | None = None,
        *,
        at: str = "",
        file: tuple[str, bytes] | None = None,
    ) -> tuple[int, str]:
        """Send a form; return the status and where it led. `at` is the address that a TLS front would name."""
        form = aiohttp.FormData({"csrf": self._csrf})
        if file is not None:
            form.add_field(file[0], file[1], filename="bestand", content_type="application/octet-stream")
        for name, values in (fields or {}).items():
            for value in [values] if isinstance(values, str) else values:
                form.add_field(name, value)
        headers = {**SAME_SITE, "X-Forwarded-For": at} if at else SAME_SITE
        async with self._session.post(path, data=form, headers=headers) as answer:
            self.said = re.sub(r"<[^>]+>|\s+", " ", await answer.text())
            return answer.status, str(answer.url.path)


SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def open_town(folder: Path, municipality: str, *, clock: Wall | None = None) -> AsyncIterator[Town]:
    """Found a municipality in this folder (a short path) and open its doors."""
    wall = clock or Wall()
    with _founding_at(wall.now):
        plan = founding.Plan(municipality=municipality, cameras=4)
        town = await founding.found_town(folder / municipality, plan, say=lambda _: None)
    config, org = read_config(town.config), parse_org(municipality)
    async with AsyncExitStack() as stack:
        stack.enter_context(silence_allowed())
        stack.enter_context(mock.patch.object(service, "HOUSEKEEPING_S", 3600.0))  # not while its folder is copied
        hub = LiveHub()
        database = Database(config.database_url)
        stack.push_async_callback(database.close)
        ledger = Ledger.open(town.ledger, origin=config.ledger_origin, key=_key(town.ledger_key))
        stack.push_async_callback(ledger.close)
        guarding = asyncio.create_task(serve_kluis(town.kluis, town.kluis_socket, wall))
        stack.push_async_callback(_stop, guarding)
        await _until_there(town.kluis_socket, guarding)
        kluis = KluisClient(town.kluis_socket)
        stack.push_async_callback(kluis.close)
        Vault.create(town.vault)
        vault = Vault.open(town.vault)
        stack.callback(vault.close)
        policies = Policies(database)
        keys = {
            official: Ed25519PrivateKey.from_private_bytes(b64decode(seed))
            for official, seed in json.loads(town.software_keys.read_bytes()).items()
        }
        roster = SoftwareRoster(KluisRoster(database, ledger, kluis, org=org, clock=wall), keys, clock=wall)
        casework = Casework(database, ledger, policies, wall, hub, roster=roster, kluis=kluis)
        intake = receiver(
            org=org,
            database=database,
            vault=vault,
            kluis=kluis,
            ledger=ledger,
            policies=policies,
            receipt_key=_key(town.receipt_key),
            clock=wall,
            hub=hub,
        )
        fleet = Fleet(database, ledger, hub, policies, wall, readmit=intake[INTAKE].readmit)
        await fleet.load(org)
        worker = RetentionWorker(database, ledger, kluis, VaultEraser(town.vault), policies, wall, hub)

        async def hand_over(_topic: str, event: Event) -> None:
            await worker.handle(event)

        running = Town(
            org=org,
            folder=town,
            config=config,
            clock=wall,
            database=database,
            ledger=ledger,
            vault=vault,
            kluis=kluis,
            casework=casework,
            policies=policies,
            fleet=fleet,
            worker=worker,
            expiry=ExpiryClock(
                database, hand_over, wall, org=org, oin=config.oin, service=DeviceId("svc-clock"), casework=casework
            ),
        )
        app = desk(
            Services(
                org=org,
                database=database,
                ledger=ledger,
                kluis=kluis,
                vault=vault,
                fleet=fleet,
                casework=casework,
                hub=hub,
                policies=policies,
                clock=wall,
            ),
            nameplate=Nameplate(name=config.name),
            entrance=Entrance(viewing_places=config.viewing_places),
            besides=Besides(
                packages=town.cloud / "packages",
                demo=Demo(officials=tuple(keys), keys=keys, buttons=town.buttons, move_clock=lambda _: wall()),
            ),
        )
        tls = server_tls(ca=town.ca, certificate=town.certificate("svc-receiver"), key=town.private_key("svc-receiver"))
        running.receiver_url = await _open(stack, serving(intake), tls)
        running.desk_url = await _open(stack, web.AppRunner(app, access_log=None, shutdown_timeout=1), None)
        running.rooms = app
        yield running


async def _open(stack: AsyncExitStack, runner: web.AppRunner, tls: ssl.SSLContext | None) -> str:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"


@contextlib.contextmanager
def _founding_at(now: datetime) -> Any:
    """A town is founded by the machine's clock; here it is founded at a day that does not change."""
    with mock.patch.object(founding, "system_clock", return_value=now):
        yield


async def _until_there(socket: Path, serving_it: asyncio.Task[None]) -> None:
    async with asyncio.timeout(60):
        while not socket.exists():
            if serving_it.done():
                await serving_it
            await asyncio.sleep(0.02)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _key(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


@cache
def _pictures(seconds: int) -> tuple[bytes, list[bytes]]:
    return make_film(seconds, sound=False)


def _noise(seconds: int) -> list[bytes]:
    return [random.randbytes(2_000) for _ in range(seconds)]
