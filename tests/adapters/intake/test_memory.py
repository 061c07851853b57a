"""The receiver's memory does not grow with what is sent to it."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.rules.access import Role
from broker.wire.ids import DeviceId
from cloud.intake.bodies import Limits
from tests.adapters.dock.agent import eventually
from tests.adapters.intake.town import Camera, Town

CONNECTIONS = 40
SEGMENT_BYTES = 4_000_000


@asynccontextmanager
async def receiver_process(town: Town) -> AsyncIterator[int]:
    """The receiver as a process of its own; its number."""
    await town.close()
    (town.folder / "serving").unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.adapters.intake.serve", str(town.folder), "0"
    )
    try:
        await eventually(lambda: (town.folder / "serving").exists() and (town.folder / "serving").read_text())
        town.port = int((town.folder / "serving").read_text())
        yield process.pid
    finally:
        process.kill()
        await process.wait()


@pytest.mark.slow
async def test_two_hundred_connections_of_which_most_are_slow_keep_memory_flat_and_nobody_out(town: Town) -> None:
    """Ninety never finish a head, a hundred crawl in a body, ten send: these get through, at a bounded price."""
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    await town.enrol_dock("dock-02")
    slow_dock = town.authority.issue("dock-02", Role.DOCK)
    made = camera.record(seconds=60, bytes_each=1_000_000)
    head = f"PUT /v1/segments/{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: {SEGMENT_BYTES}\r\n"
    async with receiver_process(town) as pid:
        tls, slow = town.tls(slow_dock, ca=town.authority.ca), list[asyncio.StreamWriter]()
        for number in range(190):
            _, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=tls)
            writer.write(head.encode() + (b"" if number < 90 else b"\r\n" + bytes(1000)))
            slow.append(writer)

        async def crawl() -> None:
            while True:
                await asyncio.sleep(0.1)
                for writer in slow[90:]:
                    writer.write(bytes(100))

        crawling = asyncio.create_task(crawl())
        turns = asyncio.Semaphore(10)
        async with town.as_dock() as session:

            async def put(raw: bytes, digest: bytes) -> None:
                async with turns, session.put(f"/v1/segments/{digest.hex()}", data=raw) as answer:
                    assert answer.status == 201

            async with asyncio.timeout(300):
                await asyncio.gather(*map(put, made.segments[:20], made.digests[:20]))
                early = peak_bytes(pid)
                await asyncio.gather(*map(put, made.segments[20:], made.digests[20:]))
        grown = peak_bytes(pid) - early
        assert early < 60_000_000 + Limits().budget_bytes + 60_000_000
        assert grown < 10_000_000
        crawling.cancel()
        for writer in slow:
            writer.transport.abort()


@pytest.mark.slow
async def test_forty_connections_with_large_segments_stay_within_the_budget(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    made = camera.record(seconds=105, bytes_each=SEGMENT_BYTES)  # more than three budgets
    async with receiver_process(town) as pid:
        before = peak_bytes(pid)
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
        grown = peak_bytes(pid) - before
    assert sum(map(len, made.segments)) > 3 * Limits().budget_bytes
    assert grown < Limits().budget_bytes + 60_000_000


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
