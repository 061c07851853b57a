"""A retention worker that is killed in the middle: run as its own process by test_kill.py."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.ids import RecordingId, parse_recording
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.ledger.log import Ledger
from cloud.retention.worker import RetentionWorker
from cloud.vault.store import VaultEraser
from tests.adapters.casework.office import RememberingHub
from tests.adapters.database.postgresql import address_of

ORIGIN = "heusden.example/ledger"
KEY = bytes(range(32))


class FileKluis:
    """A key is a file; destroying it leaves a certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def destroy(self, recording: RecordingId, *, entry: bytes, proof: bytes) -> bytes:
        assert proof.startswith(b"c2sp.org/tlog-proof@v1")
        self._folder.joinpath(f"{recording}.key").unlink(missing_ok=True)
        certificate = self._folder / f"{recording}.certificate"
        if not certificate.exists():
            certificate.write_bytes(entry)
        return certificate.read_bytes()


class DeadlyEraser:
    """Kills its own process before the erasure with this number; the real one otherwise."""

    def __init__(self, folder: Path, *, die_at: int) -> None:
        self._eraser = VaultEraser(folder)
        self._left = die_at

    async def erase(self, digest: bytes) -> bool:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        return await self._eraser.erase(digest)


async def destroy(folder: Path, recording: str, now: datetime, *, die_at: int) -> str:
    """Do what a worker does at its start and then with this recording; return the outcome."""
    database = Database(address_of(folder / "vierogen.sqlite"))
    ledger = Ledger.open(folder / "ledger", origin=ORIGIN, key=Ed25519PrivateKey.from_private_bytes(KEY))
    try:
        eraser = DeadlyEraser(folder / "vault", die_at=die_at)
        worker = RetentionWorker(
            database, ledger, FileKluis(folder), eraser, Policies(database), lambda: now, RememberingHub()
        )
        if await worker.resume("heusden"):
            return "resumed"
        return (await worker.look_at("heusden", parse_recording(recording))).outcome
    finally:
        await ledger.close()
        await database.close()


if __name__ == "__main__":
    where, which, at, dies = sys.argv[1:]
    moment = datetime.fromisoformat(at).astimezone(UTC)
    sys.exit(0 if asyncio.run(destroy(Path(where), which, moment, die_at=int(dies))) else 1)
