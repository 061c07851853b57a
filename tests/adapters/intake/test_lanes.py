"""Several processes on the receiver's port: whichever a dock meets, the answer is as true, also when one is killed."""

import asyncio
import io
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientError

from broker.wire.delivery import bundle_name, length_in_bundle
from broker.wire.ids import DeviceId
from broker.wire.recording import segment_digest
from cloud.vault.shelf import INCOMING
from tests.adapters.dock.agent import eventually
from tests.adapters.intake.conftest import MEMORY
from tests.adapters.intake.town import Camera, Made, Town, holders, submit


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        town = Town(Path(folder), processes=3)
        await town.open()
        yield town
        await town.close()


def children() -> list[int]:
    """The lanes that run now."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if b"intake.lane" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


async def put(town: Town, raw: bytes, *, kind: str = "segments", name: str | None = None) -> int:
    """Send on a connection of its own, which lands in one of the processes; again until somebody answers."""
    while True:
        with suppress(ClientError, ConnectionError):
            async with town.as_dock() as session:
                path = f"/v1/{kind}/{name or segment_digest(raw).hex()}"
                async with session.put(path, data=io.BytesIO(raw)) as answer:
                    if answer.status not in {429, 503}:
                        return answer.status
        await asyncio.sleep(0.05)


async def check_whole(town: Town, made: Made) -> None:
    for raw, digest in zip(made.segments, made.digests, strict=True):
        assert await town.vault.read(digest) == raw
    await eventually(lambda: not list((town.folder / "vault" / INCOMING).iterdir()))


async def test_the_same_segment_to_all_processes_at_once_is_one_and_everybody_hears_so(town: Town) -> None:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    made = camera.record(seconds=4, bytes_each=700_000)
    async with town.serving():
        await eventually(lambda: holders(town.port) == 3)
        for raw in made.segments:
            said = await asyncio.gather(*(put(town, raw) for _ in range(12)))
            assert set(said) <= {200, 201}
            assert said.count(201) == 1
        small = camera.record(seconds=4, bytes_each=50_000)
        body, name = b"".join(length_in_bundle(len(raw)) + raw for raw in small.segments), bundle_name(small.digests)
        said = await asyncio.gather(*(put(town, body, kind="bundles", name=name) for _ in range(6)))
        assert set(said) <= {200, 201}
        assert await put(town, body, kind="bundles", name=name) == 200
        await town.press(camera, made)
        async with town.as_dock() as session:
            status, _ = await submit(session, made)
        assert status == 200
    await check_whole(town, made)


@pytest.mark.slow
async def test_a_killed_process_loses_nothing_that_was_acknowledged_and_another_takes_its_place(town: Town) -> None:
    camera, dice = await town.enrol(Camera(DeviceId("cam-01"))), random.Random(7)
    async with town.serving():
        for _ in range(2):
            await eventually(lambda: holders(town.port) == 3)
            made = camera.record(seconds=20, bytes_each=1_500_000)
            acknowledged, turns, victim = list[bytes](), asyncio.Semaphore(8), dice.choice(children())

            async def send(
                raw: bytes, digest: bytes, *, acknowledged: list[bytes] = acknowledged, turns: asyncio.Semaphore = turns
            ) -> None:
                async with turns:
                    assert await put(town, raw) in {200, 201}
                    acknowledged.append(digest)

            sending = asyncio.gather(*map(send, made.segments, made.digests))
            await eventually(lambda done=acknowledged: len(done) >= 5)  # type: ignore[misc]
            os.kill(victim, signal.SIGKILL)
            assert not any(await town.vault.missing(list(acknowledged)))
            await sending
            await town.press(camera, made)
            async with town.as_dock() as session:
                status, _ = await submit(session, made)
            assert status == 200
            await eventually(lambda victim=victim: victim not in children() and len(children()) == 2)  # type: ignore[misc]
            await check_whole(town, made)
    assert children() == []


async def test_whoever_is_refused_is_refused_in_every_process(town: Town) -> None:
    stranger = Camera(DeviceId("cam-09"))
    made = stranger.record(seconds=1)
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    good = camera.record(seconds=1)
    async with town.serving():
        await eventually(lambda: holders(town.port) == 3)
        assert {await put(town, made.segments[1]) for _ in range(8)} == {403}
        changed = good.segments[1][:-1] + bytes([good.segments[1][-1] ^ 1])
        assert {await put(town, changed) for _ in range(8)} <= {400, 403, 422}
        await town.strike_dock("dock-01")
        await eventually_refused(town, good.segments[1])
    assert await town.vault.digests() in ([], [good.digests[1]])  # it may have come before the register was asked again


async def eventually_refused(town: Town, raw: bytes) -> None:
    """What a process was told is believed for a moment; then whichever one meets says no."""
    async with asyncio.timeout(60):
        while {await put(town, raw) for _ in range(8)} != {403}:
            pass
