"""The worker's process is killed between the commit and the last byte."""

import asyncio
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, select

from cloud.database.engine import Database
from cloud.database.tables import recordings, segments
from cloud.ledger.log import Ledger
from cloud.vault.store import Vault
from tests.adapters.casework.office import founded
from tests.adapters.database.postgresql import address_of
from tests.adapters.retention.killed import KEY, ORIGIN, destroy

SEGMENTS = 3


async def prepare(folder: Path) -> tuple[str, str, list[bytes]]:
    """A town with one recording on its day; return (recording, now, digests)."""
    Vault.create(folder / "vault")
    vault = Vault.open(folder / "vault")
    kept = [(await vault.keep_raw(f"segment {at}".encode()))[0] for at in range(SEGMENTS)]
    vault.close()
    await Ledger.create(folder / "ledger", origin=ORIGIN, key=Ed25519PrivateKey.from_private_bytes(KEY)).close()
    async with founded(folder) as (town, _):
        recording = await town.store(digests=())
        async with town.database.transaction() as t:
            for at, digest in enumerate(kept):
                await t.execute(
                    insert(segments).values(
                        recording=recording,
                        sequence=at,
                        digest=digest.hex(),
                        ciphertext_bytes=1,
                        starts_at=town.clock(),
                        ends_at=town.clock(),
                        flags=0,
                        kind=1,
                    )
                )
        now = (town.clock() + timedelta(days=28)).isoformat()
    (folder / f"{recording}.key").write_bytes(b"key")
    return recording, now, kept


async def there(folder: Path, digests: list[bytes]) -> int:
    vault = Vault.open(folder / "vault")
    missing = await vault.missing(digests)
    vault.close()
    return missing.count(False)


async def state_of(folder: Path, recording: str) -> str:
    database = Database(address_of(folder / "vierogen.sqlite"))
    try:
        async with database.transaction() as t:
            return str((await t.execute(select(recordings.c.state).where(recordings.c.id == recording))).scalar_one())
    finally:
        await database.close()


@pytest.mark.rule("T-09", "E-11")
@pytest.mark.parametrize("die_at", [0, 2])
async def test_a_killed_worker_finishes_at_its_next_start(tmp_path: Path, die_at: int) -> None:
    """Proces gedood tussen vastleggen en wissen: na de start zijn sleutel en bytes weg, stand 'vernietigd'."""
    recording, now, digests = await prepare(tmp_path)
    command = [sys.executable, "-m", "tests.adapters.retention.killed", str(tmp_path), recording, now, str(die_at)]
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == -signal.SIGKILL
    assert await state_of(tmp_path, recording) == "destroying"
    assert not (tmp_path / f"{recording}.key").exists(), "the key went first"
    assert await there(tmp_path, digests) == SEGMENTS - die_at
    assert await destroy(tmp_path, recording, datetime.fromisoformat(now), die_at=-1) == "resumed"
    assert await state_of(tmp_path, recording) == "destroyed"
    assert await there(tmp_path, digests) == 0
    assert await destroy(tmp_path, recording, datetime.fromisoformat(now), die_at=-1) == "not-due"
