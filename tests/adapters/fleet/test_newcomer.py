"""A camera out of its box as the fleet's own program runs it: joins by itself, records, renews, and starts again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from broker.clock import system_clock
from broker.embedded import EmbeddedBroker
from broker.wire.ids import DeviceId
from cloud.database import tables
from cloud.fleet.enrolment import Enrolments, Trust
from cloud.rules.fleet import CameraCard, Showing
from edge.filming import encode
from edge.footage import HEIGHT, WIDTH, _key, read_loop, write_loops
from tests.adapters.edge.town import Town as Keys
from tests.adapters.fleet.conftest import OIN, ORG, Town, open_town
from tests.adapters.fleet.enrolling import COORDINATOR, authority_of, issue
from tests.adapters.fleet.test_camera_life import dock_agent, letters_taken, registrar_at
from tests.adapters.fleet.test_link import link_of, running, until
from tests.ports import free_port

CAM = DeviceId("cam-51")


class Calendar:
    """What day the authority believes it is."""

    days_ago = 70.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=self.days_ago)


def desk_of(town: Town, calendar: Calendar, keys: Keys) -> Enrolments:
    async def trust() -> Trust:
        return Trust(
            oin=OIN,
            receipt_key=keys.receipt_key.public_key().public_bytes_raw(),
            kluis_key=keys.kluis_key.public_key().public_bytes_raw(),
            command_key=keys.command_key.public_key().public_bytes_raw(),
            keylist=keys.keylist(at=system_clock()),
        )

    return Enrolments(
        town.database,
        town.ledger,
        town.policies,
        town.clock,
        town.hub,
        org=ORG,
        authority=authority_of(town, clock=calendar),
        trust=trust,
        fleet=town.fleet,
    )


@asynccontextmanager
async def edge(root: Path, broker: EmbeddedBroker) -> AsyncIterator[None]:
    """The fleet's program; it ends cleanly, or this fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge", "--cameras-folder", str(root / "cameras"), "--buttons", str(root / "buttons")),
        *("--stations", str(root / "stations"), "--broker", f"{broker.host}:{broker.port}", "--calm", "--quiet"),
        *("--ca", str(root / "pki" / "ca.crt"), "--pki", str(root / "pki")),
        *("--footage", str(root / "film.mp4"), "--footage-cache", str(root / "footage")),
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def film(root: Path) -> None:
    loop = read_loop(*encode(np.full((HEIGHT, WIDTH, 3), 40 + number, np.uint8) for number in range(60)))
    path = root / "film.mp4"
    path.write_bytes(b"its library is already there")
    for sound in (False, True):
        folder = root / "footage" / _key(str(path), sound=sound)
        write_loops(folder, [(loop.init, [each.raw for each in loop.seconds])], source=str(path), sound=sound)


def holds_footage(recordings: Path) -> bool:
    """Whether a segment lies there: the camera makes, renames and takes away folders while we look."""
    return any(name.endswith(".vos") for _, _, names in os.walk(recordings) for name in names)


@pytest.mark.slow
async def test_a_camera_out_of_its_box_joins_records_renews_and_starts_again_by_itself(tmp_path: Path) -> None:
    async with open_town(tmp_path) as town:
        town.clock.now = system_clock()
        issue(authority_of(town))
        for folder in ("cameras/new-1", "buttons", "stations/dock-01"):
            (tmp_path / folder).mkdir(parents=True)
        film(tmp_path)
        box, calendar = tmp_path / "cameras" / "new-1", Calendar()
        certificate = box / "device" / "cert.pem"

        def card() -> CameraCard | None:
            return next((card for card in town.fleet.cards(ORG) if card.camera == CAM and card.boot), None)

        def shows(state: Showing) -> bool:
            return (found := card()) is not None and found.state is state

        async with EmbeddedBroker.start(tmp_path / "broker", identities=authority_of(town), port=free_port()) as broker:
            desk = desk_of(town, calendar, Keys(tmp_path))
            async with (
                letters_taken(town, desk) as port,
                dock_agent(town, port) as bays,
                running(link_of(town, broker).run(), registrar_at(town, broker).run()),
            ):
                (tmp_path / "stations" / "dock-01" / "bays").symlink_to(bays)
                async with edge(tmp_path, broker):
                    # the coordinator reads the code from the display, and sees the same key
                    await until(lambda: len(desk.waiting()) == 1)
                    (newcomer,) = desk.waiting()
                    code, shown = (box / "display.txt").read_text().split()
                    assert shown == newcomer.key
                    await desk.confirm(code, camera=CAM, by=COORDINATOR, reason="extension", key=shown)
                    await until(lambda: shows(Showing.DOCKED))
                    assert not (box / "display.txt").exists()

                    # its certificate is 70 of its 90 days old: in the bay it gets a new one, for the same key
                    first = certificate.read_bytes()
                    calendar.days_ago = 0.0
                    await until(lambda: certificate.read_bytes() != first)

                    # and it is a camera like the others
                    (tmp_path / "buttons" / f"{CAM}.undock").touch()
                    await until(lambda: shows(Showing.STANDBY))
                    (tmp_path / "buttons" / CAM).touch()
                    await until(lambda: shows(Showing.RECORDING))
                    await until(lambda: holds_footage(box / "card" / "recordings"))
                    (tmp_path / "buttons" / f"{CAM}.off").touch()
                    await until(lambda: shows(Showing.STANDBY))
                before = card()
                assert before is not None
                async with edge(tmp_path, broker):
                    await until(lambda: (now := card()) is not None and now.boot != before.boot)
        assert [row.camera for row in await town.rows(tables.activations)] == [CAM]
        assert await town.rows(tables.denials) == []
