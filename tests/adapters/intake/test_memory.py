"""The receiver's memory does not grow with what is sent to it."""

import asyncio
import io
import sys
from pathlib import Path

import pytest

from broker.wire.ids import DeviceId
from cloud.intake.bodies import Limits
from tests.adapters.intake.town import Camera, Town

CONNECTIONS = 40
SEGMENT_BYTES = 4_000_000


@pytest.mark.slow
async def test_forty_connections_with_large_segments_stay_within_the_budget(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    made = camera.record(seconds=105, bytes_each=SEGMENT_BYTES)  # more than three budgets
    await town.close()
    (town.folder / "serving").unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.adapters.intake.serve", str(town.folder), "0"
    )
    try:
        while not (town.folder / "serving").exists():
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        town.port = int((town.folder / "serving").read_text())
        before = peak_bytes(process.pid)
        turns = asyncio.Semaphore(CONNECTIONS)
        async with town.as_dock() as session:

            async def put(raw: bytes, digest: bytes) -> None:
                async with turns:
                    while True:
                        async with session.put(f"/v1/segments/{digest.hex()}", data=io.BytesIO(raw)) as answer:
                            if answer.status == 201:
                                return
                            assert answer.status == 429
                        await asyncio.sleep(0.2)

            await asyncio.gather(*map(put, made.segments, made.digests))
        grown = peak_bytes(process.pid) - before
    finally:
        process.kill()
        await process.wait()
    assert sum(map(len, made.segments)) > 3 * Limits().budget_bytes
    assert grown < Limits().budget_bytes + 60_000_000


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
