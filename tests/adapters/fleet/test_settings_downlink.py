"""A policy that the municipality adopts reaches every camera, and the coordinator sees which has not followed yet."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from cloud.rules.alerts import AlertKind
from edge.device import Device
from edge.filming import encode
from edge.footage import HEIGHT, WIDTH, Loop, read_loop
from edge.pulse import Pulse
from edge.stations import Stations
from edge.threads import Threads
from tests.adapters.edge.conftest import OneFilm
from tests.adapters.edge.town import Town as Cameras
from tests.adapters.fleet.conftest import ORG, POLICY, TestClock, open_town
from tests.adapters.fleet.test_link import broker_for, link_of, running, until

CAMERAS = ("cam-01", "cam-02", "cam-03")


@pytest.fixture(scope="module")
def grey() -> Loop:
    return read_loop(*encode(np.full((HEIGHT, WIDTH, 3), 40 + number, np.uint8) for number in range(30)))


@pytest.fixture
def threads() -> Iterator[Threads]:
    pool = Threads()
    yield pool
    pool.close()


async def tick(clock: TestClock) -> None:
    """Let a test's clock run like the wall's."""
    began, shown = time.monotonic(), clock.now
    while True:
        clock.now = shown + timedelta(seconds=time.monotonic() - began)
        await asyncio.sleep(0.02)


def policy_text(*, version: int, pre_record_s: int) -> str:
    """The town's policy with another version and another pre-record."""
    text = re.sub(r"(?m)^version = \d+", f"version = {version}", POLICY.read_text(), count=1)
    head, table, rest = text.partition("[pre_record]")
    return head + table + re.sub(r"(?m)^seconds = \d+", f"seconds = {pre_record_s}", rest, count=1)


@asynccontextmanager
async def switched_on(device: Device) -> AsyncIterator[Device]:
    async with running(device.run()):
        await device.ready.wait()
        try:
            yield device
        finally:
            await device.settled()
    device.close()


async def test_a_policy_change_reaches_every_camera_and_one_that_was_away_is_seen_to_be_behind(
    tmp_path: Path, grey: Loop, threads: Threads
) -> None:
    made = Cameras(tmp_path / "made")
    for camera in CAMERAS:
        made.enrol(camera)
    async with broker_for(tmp_path, *CAMERAS) as broker, open_town(tmp_path, *CAMERAS) as town:

        def build(camera: str) -> Device:
            return Device(
                made.root / "cameras" / camera,
                endpoint=broker.endpoint(camera),
                films=OneFilm(grey),
                number=0,
                stations=Stations(made.station(), bays=4),
                clock=town.clock,
                pulse=Pulse(time.monotonic, lambda: 1.0),
                threads=threads,
                card_bytes=1 << 26,
            )

        def versions() -> dict[str, int | None]:
            return {card.camera: card.settings_version for card in town.fleet.cards(ORG)}

        async with running(tick(town.clock), link_of(town, broker).run()):  # noqa: SIM117 - they go off first
            async with switched_on(build("cam-01")) as first, switched_on(build("cam-02")) as second:
                async with switched_on(build("cam-03")):
                    await until(lambda: set(versions().values()) == {1})
                assert first.settings is not None
                before = first.settings.pre_record_s

                # cam-03 is off; the municipality adopts another policy
                await town.policies.adopt(
                    policy_text(version=2, pre_record_s=before - 10), by="o-100", ledger=town.ledger, clock=town.clock
                )
                await until(lambda: versions() == {"cam-01": 2, "cam-02": 2, "cam-03": 1})
                for device in (first, second):
                    assert device.settings is not None
                    assert (device.settings.version, device.settings.pre_record_s) == (2, before - 10)
                await until(
                    lambda: (
                        [(a.camera, a.kind) for a in town.fleet.alerts(ORG) if a.kind is AlertKind.WRONG_SETTINGS]
                        == [("cam-03", AlertKind.WRONG_SETTINGS)]
                    )
                )

                # it comes back, hears what waited for it, and is no longer behind
                async with switched_on(build("cam-03")) as third:
                    await until(lambda: set(versions().values()) == {2})
                    assert third.settings is not None
                    assert third.settings.pre_record_s == before - 10
                    await until(lambda: all(a.kind is not AlertKind.WRONG_SETTINGS for a in town.fleet.alerts(ORG)))
        assert [entry.facts["version"] for entry in await town.entries("policy.adopted")] == [2]
