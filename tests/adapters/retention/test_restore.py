"""An old backup of every store is put back after a destruction: nothing comes back, and it is destroyed again."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select

from broker.wire.approvals import (
    REQUEST_SHA256,
    Range,
    ViewingRequest,
    approval_challenge,
    canonical,
    request_challenge,
    request_sha256,
    sign_in_software,
    split_keys,
)
from broker.wire.certificates import read_certificate
from broker.wire.events import RetentionOutcome
from broker.wire.ids import DeviceId, RecordingId, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.recording import open_sealed, open_segment, read_head, segment_digest, xwing_from_seed
from broker.wire.refusals import Code, Refused
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.database.tables import recordings
from cloud.intake.delivery import Submission
from cloud.intake.recordings import Intake
from cloud.kluis import service
from cloud.kluis.client import KluisClient
from cloud.kluis.messages import Released
from cloud.kluis.service import serve as serve_kluis
from cloud.retention.reapplying import Again, reapply
from cloud.retention.worker import RetentionWorker
from cloud.vault.store import Vault, VaultEraser
from tests.adapters.viewing.footage import Made, seal
from tests.browser.town import ORG, TownHall, found

TERM = timedelta(days=28, minutes=5)
SESSION = xwing_from_seed(os.urandom(32))


@dataclass(kw_only=True)
class Running:
    """The parts that hold stores, as they run between two restarts. The ledger and the clock are the town's."""

    town: TownHall
    database: Database
    vault: Vault
    kluis: KluisClient
    worker: RetentionWorker

    async def again(self) -> Again:
        """Do what the cloud does when it starts."""
        return await reapply(
            org=ORG,
            database=self.database,
            ledger=self.town.ledger,
            kluis=self.kluis,
            eraser=VaultEraser(self.town.folder / "vault"),
            worker=self.worker,
            clock=self.town.clock,
        )

    async def state(self, recording: UUID) -> str:
        async with self.database.transaction() as t:
            query = select(recordings.c.state).where(recordings.c.id == str(recording))
            return str((await t.execute(query)).scalar_one())

    async def destroy(self, recording: RecordingId) -> RetentionOutcome:
        return await self.worker.look_at(ORG, recording)

    async def stored(self, made: Made) -> int:
        return (await self.vault.missing([segment_digest(raw) for raw in made.segments])).count(False)

    async def in_custody(self, recording: UUID) -> str:
        (item,) = [each for each in await self.kluis.inventory() if each.recording == str(recording)]
        return item.state

    async def watch(self, made: Made) -> bytes:
        """Open the first second of footage with two signatures, as a viewing does; raise Refused."""
        town, now = self.town, self.town.clock()
        request = canonical(
            ViewingRequest(
                id=str(uuid7(now, os.urandom(10))),
                org=ORG,
                recordings=(Range(id=str(made.recording), first=1, last=1),),
                from_at=now,
                until_at=now,
                purpose="access_request",
                case="01a1f2b0-0000-7000-8000-000000000001",
                case_kind="access_request",
                requester="o-103",
                second="o-102",
                session_key=b64encode(SESSION.public_key).decode(),
                issued_at=now,
                not_after=now + timedelta(minutes=10),
                policy_version=1,
            )
        )
        facts = {REQUEST_SHA256: request_sha256(request).hex()}
        entries = [
            await town.ledger.append(kind, subject=str(made.recording), actor=actor, at=now, facts=facts)
            for kind, actor in (("viewing.requested", "o-103"), ("viewing.approved", "o-102"))
        ]
        released: Released = await self.kluis.release(
            request,
            statements=[
                sign_in_software("o-103", town.keys["o-103"], request_challenge(request)),
                sign_in_software("o-102", town.keys["o-102"], approval_challenge(request)),
            ],
            entries=[each.raw for each in entries],
            proofs=[each.proof for each in entries],
        )
        opened = open_sealed(SESSION, released.recordings[0].sealed, info=request_sha256(request))
        return open_segment(made.segments[1], split_keys(opened, first=1, last=1)[1])

    async def take_in(self, made: Made) -> None:
        """Deliver as a dock does; raise Refused."""
        for raw in made.segments:
            async with self.vault.receive(segment_digest(raw), size=len(raw)) as incoming:
                await incoming.write(raw)
                await incoming.keep(lambda _header, _tail, _digest: None)
        intake = Intake(
            org=ORG,
            database=self.database,
            vault=self.vault,
            kluis=self.kluis,
            ledger=self.town.ledger,
            policies=Policies(self.database),
            receipt_key=Ed25519PrivateKey.generate(),
            clock=self.town.clock,
            hub=self.town.hub,
        )
        digests = tuple(segment_digest(raw).hex() for raw in made.segments)
        submission = Submission(head=made.head, digests=digests, end=made.end)
        await intake.receive(made.recording, submission, dock=DeviceId("dock-01"))


@asynccontextmanager
async def running(town: TownHall) -> AsyncIterator[Running]:
    """Start the parts that hold stores; stop them afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        database = Database(f"sqlite+aiosqlite:///{town.folder / 'vierogen.sqlite'}")
        stack.push_async_callback(database.close)
        vault = Vault.open(town.folder / "vault")
        stack.callback(vault.close)
        socket = town.folder / "kluis" / "s"
        guarding = asyncio.create_task(serve_kluis(town.folder / "kluis", socket, town.clock))
        stack.push_async_callback(_stop, guarding)
        async with asyncio.timeout(60):
            while not socket.exists():
                if guarding.done():
                    await guarding
                await asyncio.sleep(0.02)
        kluis = KluisClient(socket)
        stack.push_async_callback(kluis.close)
        eraser = VaultEraser(town.folder / "vault")
        worker = RetentionWorker(database, town.ledger, kluis, eraser, Policies(database), town.clock, town.hub)
        yield Running(town=town, database=database, vault=vault, kluis=kluis, worker=worker)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    hall = await found(tmp_path)
    hall.vault.close()
    await hall.kluis.close()
    await hall.database.close()
    yield hall
    await hall.ledger.close()


async def sealed(parts: Running, *, kept: int = 3) -> Made:
    public = await parts.kluis.public()
    listed = read_keylist(await parts.kluis.keylist(), Ed25519PublicKey.from_public_bytes(public.signing_key))
    key, now = parts.town.camera_keys["cam-07"], parts.town.clock()
    return await asyncio.to_thread(lambda: seal(now=now, recipients=listed.recipients, camera=key, kept=kept))


def back_up(folder: Path, *names: str) -> Path:
    """Copy these stores while nothing runs."""
    backup = folder / "backup"
    for name in names:
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, backup / name, ignore=shutil.ignore_patterns("s", "*.lock"))
        else:
            (backup / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, backup / name)
    return backup


def put_back(folder: Path, name: str) -> None:
    """Put one store back as it was."""
    target = folder / name
    if target.is_dir():
        shutil.rmtree(target)
        shutil.copytree(folder / "backup" / name, target)
    else:
        for each in folder.glob(f"{target.name}*"):
            each.unlink()
        shutil.copy(folder / "backup" / name, target)


DATABASE, VAULT, KLUIS, KLUIS_STORE = "vierogen.sqlite", "vault", "kluis", "kluis/store.sqlite"


@pytest.mark.rule("E-34")
@pytest.mark.parametrize(
    "stores",
    [(DATABASE, VAULT, KLUIS), (DATABASE, VAULT, KLUIS_STORE), (VAULT,), (DATABASE,), (KLUIS,)],
    ids="+".join,
)
async def test_an_old_backup_of_any_store_brings_nothing_back_and_is_destroyed_again(
    town: TownHall, stores: tuple[str, ...]
) -> None:
    async with running(town) as parts:
        made = await sealed(parts)
        await parts.take_in(made)
        assert b"moof" in await parts.watch(made), "until then two people see it"
        assert await parts.stored(made) == len(made.segments)
    await asyncio.to_thread(back_up, town.folder, *stores)
    town.clock.move_forward(TERM)
    async with running(town) as parts:
        assert (await parts.destroy(made.recording)).outcome == "destroyed"
        assert not await parts.again(), "on a day without a restore there is nothing to do"

    for name in stores:
        await asyncio.to_thread(put_back, town.folder, name)
    async with running(town) as parts:
        if DATABASE in stores:
            assert await parts.state(made.recording) != "destroyed"
        if VAULT in stores:
            assert await parts.stored(made) == len(made.segments), "the bytes are back"
        expected = "held" if KLUIS in stores else "destroyed"
        assert await parts.in_custody(made.recording) == expected
        assert await parts.again(), "and gone again"
        assert await parts.state(made.recording) == "destroyed"
        assert await parts.stored(made) == 0
        assert await parts.in_custody(made.recording) == "destroyed"
        assert not await parts.again()
        with pytest.raises(Refused) as told:
            await parts.watch(made)
        assert told.value.refusal.code is Code.DESTROYED
        with pytest.raises(Refused) as told:
            await parts.take_in(made)
        assert told.value.refusal.code is Code.DESTROYED
        certificate = (await parts.kluis.certificates(made.recording)).executed
        signed_by = Ed25519PublicKey.from_public_bytes((await parts.kluis.public()).signing_key)
        assert read_certificate(certificate, signed_by).state == "executed"


async def test_a_certificate_becomes_final_by_itself_when_the_last_backup_expired(
    town: TownHall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HOUSEKEEPING_S", 0.05)
    async with running(town) as parts:
        made = await sealed(parts)
        await parts.take_in(made)
        town.clock.move_forward(TERM)
        await parts.destroy(made.recording)
        generation = (await parts.kluis.public()).generation
        assert (await parts.kluis.certificates(made.recording)).final is None
        signed_by = Ed25519PublicKey.from_public_bytes((await parts.kluis.public()).signing_key)
        executed = read_certificate((await parts.kluis.certificates(made.recording)).executed, signed_by)
        town.clock.move_forward(timedelta(hours=24, minutes=1))
        await _until(parts, lambda public: public > generation)
        assert (await parts.kluis.certificates(made.recording)).final is None, "a backup may still hold it"
        town.clock.move_forward(timedelta(days=7, minutes=1))
        async with asyncio.timeout(60):
            while (final := (await parts.kluis.certificates(made.recording)).final) is None:
                await asyncio.sleep(0.05)
        said = read_certificate(final, signed_by)
        assert said.state == "final"
        assert said.final_at is not None
        assert executed.final_after is not None
        assert said.final_at >= executed.final_after - timedelta(minutes=5)


async def _until(parts: Running, true: Callable[[int], bool]) -> None:
    async with asyncio.timeout(60):
        while not true((await parts.kluis.public()).generation):
            await asyncio.sleep(0.05)


@pytest.mark.rule("E-34")
async def test_a_camera_or_dock_found_later_holds_only_noise(town: TownHall) -> None:
    async with running(town) as parts:
        docked, forgotten = await sealed(parts), await sealed(parts)
        await parts.take_in(docked)
        town.clock.move_forward(TERM)
        await parts.destroy(docked.recording)
        with pytest.raises(Refused) as told:
            await parts.take_in(docked)  # a dock that had kept its copy
        assert told.value.refusal.code is Code.DESTROYED
        town.clock.move_forward(timedelta(days=60))
        await parts.kluis.rotate()
        town.clock.move_forward(timedelta(days=9))
        await parts.kluis.rotate()
        camera = town.camera_keys["cam-07"].public_key().public_bytes_raw()
        with pytest.raises(Refused) as told:  # a camera that never docked
            await parts.kluis.intake(forgotten.head, camera_public_key=camera)
        assert told.value.refusal.code is Code.NOT_FOUND, "its week's key is gone: nobody opens this any more"
        with pytest.raises(Refused):
            await parts.kluis.intake(docked.head, camera_public_key=camera)
    for made in (docked, forgotten):
        head = read_head(made.head, made.camera.public_key())
        assert {share.key_id for share in head.shares}.isdisjoint(await asyncio.to_thread(_living_keys, town.folder))
        for raw in (made.head, *made.segments, made.end):
            assert not any(plain in raw for plain in (b"ftyp", b"moov", b"moof", b"mdat", made.data_key))


def _living_keys(folder: Path) -> set[bytes]:
    """The ids of every intake key whose private half the Kluis still has."""
    with contextlib.closing(sqlite3.connect(folder / "kluis" / "store.sqlite")) as store:
        return {bytes(row[0]) for row in store.execute("SELECT key_id FROM epochs")}
