"""The program as it is started: buttons, a kill in the middle, a clean stop, and what it touches while it stands by."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from broker.clock import DemonstrationClock
from broker.identities import Authority
from broker.rules.access import Role
from broker.wire.events import Activation, Deactivation
from broker.wire.recording import ChainState, Flag, StopReason, check_chain
from edge.footage import Loop, _key, write_loops
from edge.state import DeviceState
from tests.adapters.edge.town import NOON, Recorded, Town, settings


@dataclass
class Program:
    """How to start the fleet of a town, with a broker that nobody answers for."""

    town: Town

    @property
    def words(self) -> list[str]:
        root = self.town.root
        return [
            *("-m", "edge", "--cameras-folder", str(root / "cameras"), "--buttons", str(root / "buttons")),
            *("--stations", str(root / "stations"), "--broker", "127.0.0.1:9", "--ca", str(root / "pki" / "ca.crt")),
            *("--pki", str(root / "pki"), "--clock", str(root / "clock.json"), "--calm"),
            *("--footage", str(root / "film.mp4"), "--footage-cache", str(root / "footage")),
        ]

    def press(self, camera: str = "cam-07", what: str = "") -> None:
        (self.town.root / "buttons" / f"{camera}{what}").touch()

    @property
    def segments(self) -> list[Path]:
        return self.town.segments("cam-07")

    def only(self) -> Recorded:
        (recording,) = self.town.recordings("cam-07")
        return self.town.read("cam-07", recording)

    @asynccontextmanager
    async def running(self, *before: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start the program; it is there when its camera has booted, films, and looks for its broker."""
        said = self.town.root / "said"
        with said.open("wb") as log:
            process = await asyncio.create_subprocess_exec(*before, sys.executable, *self.words, stderr=log)
        try:
            await until(lambda: "MQTT: connect to" in said.read_text() or process.returncode is not None)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
def program(town: Town, grey: Loop) -> Program:
    state = DeviceState(town.enrol("cam-07") / "device" / "state.json")
    state.change(settings=settings(10))
    state.close()
    Authority.create(town.root / "pki", "heusden").issue("cam-07", Role.CAMERA)
    town.station()
    (town.root / "buttons").mkdir()
    film = town.root / "film.mp4"
    film.write_bytes(b"its library is already there")
    folder = town.root / "footage" / _key(str(film), sound=False)
    write_loops(folder, [(grey.init, [template.raw for template in grey.seconds])], source=str(film), sound=False)
    DemonstrationClock.create(town.root / "clock.json", shown=NOON, rate=5.0)
    return Program(town)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.rule("R-06")
async def test_a_camera_killed_while_recording_closes_what_it_had_at_the_next_boot(program: Program) -> None:
    async with program.running() as process:
        await asyncio.sleep(1.5)
        program.press()
        await until(lambda: len(program.segments) > 14)
        process.kill()
        await process.wait()
    assert program.only().end is None
    kept = {path.name for path in program.segments}
    async with program.running() as process:
        await until(lambda: any(isinstance(each, Deactivation) for each in program.town.said("cam-07")))
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    recorded = program.only()
    assert kept <= {path.name for path in program.segments}
    verdict = check_chain(recorded.head, recorded.facts, recorded.end)
    assert verdict.state in (ChainState.INTACT, ChainState.SALVAGED)
    assert recorded.end is not None
    assert recorded.end.stop_reason is StopReason.INTERRUPTED
    assert any(Flag.PRE_RECORD in each.flags for each in recorded.facts)
    assert [type(each) for each in program.town.said("cam-07")] == [Activation, Deactivation]


@pytest.mark.slow
async def test_killed_again_and_again_it_never_loses_a_segment_that_was_on_the_card(program: Program) -> None:
    kept: set[Path] = set()
    for after_s in (0.4, 0.9, 1.4, 2.1, 0.6, 1.1):
        async with program.running() as process:
            await asyncio.sleep(0.8)
            program.press()
            await asyncio.sleep(after_s)
            process.kill()
            await process.wait()
            assert kept <= set(program.segments)
            kept = set(program.segments)
    async with program.running() as process:
        await until(
            lambda: all(program.town.read("cam-07", each).end is not None for each in program.town.recordings("cam-07"))
        )
    for each in program.town.recordings("cam-07"):
        recorded = program.town.read("cam-07", each)
        verdict = check_chain(recorded.head, recorded.facts, recorded.end)
        assert verdict.state in (ChainState.INTACT, ChainState.SALVAGED), verdict
    assert kept <= set(program.segments)


async def test_a_clean_stop_closes_what_is_being_recorded(program: Program) -> None:
    async with program.running() as process:
        await asyncio.sleep(1.5)
        program.press()
        await until(lambda: len(program.segments) > 14)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    recorded = program.only()
    assert recorded.end is not None
    assert recorded.end.stop_reason is StopReason.OFFICER
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT


@pytest.mark.slow
async def test_the_buttons_folder_presses_releases_docks_and_undocks(program: Program) -> None:
    bay = program.town.root / "stations" / "dock-01" / "bays" / "01"
    async with program.running() as process:
        await asyncio.sleep(1.5)
        program.press()
        await until(lambda: len(program.segments) > 12)
        program.press(what=".off")
        await until(lambda: program.only().end is not None)
        program.press(what=".dock")
        await until(bay.is_symlink)
        recorded = program.only()
        program.town.put_receipt("cam-07", recorded.head.recording, program.town.receipt("cam-07", recorded))
        await until(lambda: program.segments == [])
        program.press(what=".undock")
        await until(lambda: not bay.is_symlink())
        assert list((program.town.root / "buttons").iterdir()) == []
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


@pytest.mark.rule("R-12", "H-18")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
async def test_standing_by_the_program_opens_no_file_for_writing_but_its_own_small_ones(program: Program) -> None:
    log = program.town.root / "strace.log"
    strace = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=openat,open,creat,memfd_create,mmap", "--")
    async with program.running(*strace) as process:
        await asyncio.sleep(8)  # forty seconds of stand-by, four times the ring
        (traced,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(traced), signal.SIGTERM)
        await process.wait()
    opened = [
        Path(found[1])
        for line in log.read_text().splitlines()
        if re.search(r"O_WRONLY|O_RDWR|O_CREAT|creat\(|memfd_create", line) and (found := re.search(r'"([^"]+)"', line))
    ]
    cameras = program.town.root / "cameras" / "cam-07"
    small = {"card.json.part", "state.json.lock", ".state.json.part"}
    own = [path for path in opened if path.is_relative_to(program.town.root)]
    assert own
    assert {path.name for path in own} <= small
    assert all(path.is_relative_to(cameras) for path in own)
    elsewhere = [path for path in opened if not path.is_relative_to(program.town.root)]
    assert all(path.is_relative_to("/dev") or "__pycache__" in path.parts for path in elsewhere), elsewhere


@pytest.mark.slow
async def test_a_jump_of_the_shared_clock_is_survived(program: Program) -> None:
    clock = DemonstrationClock(program.town.root / "clock.json")
    async with program.running() as process:
        await asyncio.sleep(1.5)
        program.press()
        await until(lambda: len(program.segments) > 8)
        clock.move_forward(timedelta(days=28))
        await until(lambda: program.only().end is not None)
        program.press()
        await until(lambda: len(program.town.recordings("cam-07")) == 2)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    first, second = (program.town.read("cam-07", each) for each in program.town.recordings("cam-07"))
    assert Flag.CLOCK_UNSYNCHRONISED in first.facts[-1].flags
    assert second.facts[0].starts_at - first.facts[-1].ends_at > timedelta(days=27)


@pytest.mark.parametrize(
    ("footage", "says"),
    [("/no/such/film.mp4", "there is no such file"), ("webcam:97", "there is no such webcam")],
)
async def test_what_the_user_can_mend_is_said_in_one_sentence(program: Program, footage: str, says: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program.words, "--footage", footage, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert says in said.decode()
    assert "Traceback" not in said.decode()
