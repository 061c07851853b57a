"""A small town in which everything has happened once: pressed, acknowledged, held, destroyed. Copied often."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire import topics
from broker.wire.events import Activation, Event, encode, source_of
from broker.wire.ids import DeviceId, Org, RecordingId, tenant_id, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.policy import CaseKind
from broker.wire.recording import Checkpoint, Flag, Kind, Sealer, StopReason, segment_digest
from cloud.casework.casework import Casework
from cloud.casework.policies import Policies
from cloud.config import CloudConfig, TownFolder, read_config
from cloud.database.engine import Database
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.intake.delivery import Submission
from cloud.intake.recordings import Intake
from cloud.kluis.client import KluisClient
from cloud.kluis.service import serve
from cloud.ledger.log import Ledger
from cloud.retention.worker import RetentionWorker
from cloud.vault.shelf import Shelf
from cloud.vault.store import Vault, VaultEraser
from deploy.demo.founding import Plan, found_town

ORG = Org("heusden")
CAMERA = DeviceId("cam-01")
MEMORY = Path("/dev/shm")


class _Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Story:
    """Where the town lies, and the recordings in it."""

    folder: Path
    kept: str
    held: str
    destroyed: str
    gone: tuple[tuple[bytes, bytes], ...]  # digest and bytes of the destroyed footage


@asynccontextmanager
async def kluis_of(town: TownFolder, clock: _Clock) -> AsyncIterator[KluisClient]:
    """The real Kluis, in this process."""
    running = asyncio.create_task(serve(town.kluis, town.kluis_socket, clock))
    client = KluisClient(town.kluis_socket)
    try:
        async with asyncio.timeout(60):
            while not town.kluis_socket.exists():
                await asyncio.sleep(0.02)
        yield client
    finally:
        await client.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class _Builder:
    def __init__(self, town: TownFolder, config: CloudConfig, clock: _Clock, kluis: KluisClient) -> None:
        self.town, self.config, self.clock, self.kluis = town, config, clock, kluis
        self.database = Database(config.database_url)
        self.ledger = Ledger.open(town.ledger, origin=config.ledger_origin, key=_key(town.ledger_key))
        self.hub, self.policies = LiveHub(), Policies(self.database)
        Vault.create(town.vault)
        self.vault = Vault.open(town.vault, reserve_bytes=0)
        self.intake = Intake(
            org=ORG,
            database=self.database,
            vault=self.vault,
            kluis=kluis,
            ledger=self.ledger,
            policies=self.policies,
            receipt_key=_key(town.receipt_key),
            clock=clock,
            hub=self.hub,
        )
        self.fleet = Fleet(self.database, self.ledger, self.hub, self.policies, clock, readmit=self._readmit)
        self.casework = Casework(self.database, self.ledger, self.policies, clock, self.hub)
        self.pressed = 0

    async def _readmit(self, recording: RecordingId) -> None:
        await self.intake.readmit(recording)

    async def close(self) -> None:
        self.vault.close()
        await self.ledger.close()
        await self.database.close()

    async def film(self) -> tuple[str, tuple[tuple[bytes, bytes], ...]]:
        """Press, film four seconds, dock; return the recording and its segments."""
        now = self.clock()
        recording = RecordingId(uuid7(now, secrets.token_bytes(10)))
        self.pressed += 1
        event = Event(
            id=uuid7(now, secrets.token_bytes(10)),
            source=source_of(self.config.oin, ORG, "cam", CAMERA),
            session="boot-1",
            sequence=self.pressed,
            time=now,
            said=Activation(recording=recording, activated_at=now, pre_record_s=1.0),
        )
        await self.fleet.on_message(topics.camera_event(ORG, CAMERA, "activation"), encode(event))
        submission, segments = await self._sealed(recording, now)
        self.clock.now += timedelta(seconds=10)
        for digest, raw in segments:
            await asyncio.to_thread(Shelf(self.town.vault).put, digest, raw)
        await self.intake.receive(recording, submission, dock=DeviceId("dock-01"))
        return str(recording), segments

    async def _sealed(
        self, recording: RecordingId, now: datetime
    ) -> tuple[Submission, tuple[tuple[bytes, bytes], ...]]:
        public = await self.kluis.public()
        keylist = read_keylist(await self.kluis.keylist(), Ed25519PublicKey.from_public_bytes(public.signing_key))
        signing = _key(self.town.cameras / CAMERA / "device" / "signing.key")
        head, sealer = Sealer.start(
            tenant=tenant_id(ORG),
            signing_key=signing,
            recording=recording,
            boot=bytes(16),
            data_key=secrets.token_bytes(32),
            recipients=keylist.recipients,
            checkpoint=Checkpoint(size=0, root=bytes(32)),
        )
        raws = [
            sealer.seal(
                secrets.token_bytes(2000),
                kind=Kind.VIDEO,
                flags=Flag.PRE_RECORD if second < 1 else Flag.NONE,
                starts_at=now + timedelta(seconds=second - 1),
                ends_at=now + timedelta(seconds=second),
                monotonic_us=second * 1_000_000,
            )
            for second in range(4)
        ]
        end = sealer.finish(reason=StopReason.OFFICER, ended_at=now + timedelta(seconds=3))
        segments = tuple((segment_digest(raw), raw) for raw in raws)
        return Submission(head=head, digests=tuple(digest.hex() for digest, _ in segments), end=end), segments


async def _build(folder: Path) -> Story:
    town = await found_town(folder, Plan(municipality=ORG, cameras=1), say=lambda _: None)
    from broker.clock import DemonstrationClock

    clock = _Clock(DemonstrationClock(town.clock)())
    async with kluis_of(town, clock) as kluis:
        builder = _Builder(town, read_config(town.config), clock, kluis)
        try:
            await builder.fleet.load(ORG)
            kept, _ = await builder.film()
            held, _ = await builder.film()
            destroyed, gone = await builder.film()
            await builder.fleet.acknowledge(RecordingId(uuid_of(kept)), "o-101")
            await builder.casework.register_case(
                ORG, by="o-103", kind=CaseKind.COMPLAINT, summary="een klacht", recordings=[held]
            )
            clock.now += timedelta(days=29)
            worker = RetentionWorker(
                builder.database,
                builder.ledger,
                kluis,
                VaultEraser(town.vault),
                builder.policies,
                clock,
                builder.hub,
            )
            outcome = await worker.look_at(ORG, RecordingId(uuid_of(destroyed)))
            assert outcome.outcome == "destroyed", outcome
        finally:
            await builder.close()
    return Story(folder=folder, kept=kept, held=held, destroyed=destroyed, gone=gone)


def uuid_of(text: str) -> RecordingId:
    from broker.wire.ids import parse_recording

    return parse_recording(text)


def _key(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


@pytest.fixture(scope="package")
def original() -> Iterator[Story]:
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield asyncio.run(_build(Path(folder) / ORG))


@pytest.fixture
def copied(original: Story) -> Iterator[Callable[[], Story]]:
    made: list[Path] = []

    def copy() -> Story:
        folder = original.folder.parent / uuid4().hex[:8]
        shutil.copytree(original.folder, folder, symlinks=True)
        made.append(folder)
        town = TownFolder(folder)
        config = read_config(town.config)
        moved = msgspec.structs.replace(
            config, database_url=f"sqlite+aiosqlite:///{folder / 'cloud' / 'vierogen.sqlite'}"
        )
        town.config.write_bytes(msgspec.json.encode(moved))
        return Story(folder, original.kept, original.held, original.destroyed, original.gone)

    yield copy
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def story(copied: Callable[[], Story]) -> Story:
    """A copy of its own, to break."""
    return copied()
