"""A fleet lives through shifts on its own, or stays calm; people reach it through a folder of buttons."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.ending import end
from broker.wire.events import Activation, Deactivation, Docked, Place, Undocked
from edge.device import Device
from edge.fleet import Act, Fleet, Plan, read_script
from edge.rules.camera import Phase, keeps_footage
from edge.state import DeviceState
from tests.adapters.edge.conftest import SwitchOn, Time
from tests.adapters.edge.test_device import until
from tests.adapters.edge.town import NOON, Town, settings

CAMERAS = ("cam-01", "cam-02", "cam-03")
PLACES = (
    Place(name="Plein", latitude=51.7, longitude=5.2),
    Place(name="Markt", latitude=51.71, longitude=5.21),
)


@pytest.fixture
def devices(town: Town, switch_on: SwitchOn) -> tuple[Device, ...]:
    for camera in CAMERAS:
        state = DeviceState(town.enrol(camera) / "device" / "state.json")
        state.change(settings=settings(5))
        state.close()
    (town.root / "buttons").mkdir()
    return tuple(switch_on(camera) for camera in CAMERAS)


@asynccontextmanager
async def living(fleet: Fleet, devices: tuple[Device, ...]) -> AsyncIterator[Fleet]:
    task = asyncio.create_task(fleet.run())
    try:
        for device in devices:
            await device.ready.wait()
        yield fleet
        assert not task.done()
        await fleet.switch_off()
    finally:
        await end(task)


def recordings(town: Town) -> int:
    return sum(len(town.recordings(camera)) for camera in CAMERAS)


async def test_nobody_presses_in_a_calm_fleet(town: Town, devices: tuple[Device, ...], shown: Time) -> None:
    fleet = Fleet(devices, buttons=town.root / "buttons", plan=Plan(seed=7, calm=True), pulse=shown.pulse)
    async with living(fleet, devices):
        await shown.passes(120)
        assert {device.phase for device in devices} == {Phase.STANDBY}
    assert recordings(town) == 0


async def test_a_living_fleet_presses_docks_waits_for_its_receipts_and_goes_out_again(
    town: Town, devices: tuple[Device, ...], shown: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.fleet.CONNECT_PATIENCE_S", 0.1)
    plan = Plan(seed=3, shift_s=150, rest_s=10, press_every_s=10, docked_at_start=0.0, places=PLACES)
    fleet = Fleet(devices, buttons=None, plan=plan, pulse=shown.pulse)
    async with living(fleet, devices):
        await until(lambda: any(device.phase is Phase.RECORDING for device in devices))
        await until(lambda: all(device.phase is Phase.DOCKED and not device.busy for device in devices))
        full = [camera for camera in CAMERAS if town.recordings(camera)]
        assert full
        await shown.passes(60)
        assert all(device.phase is Phase.DOCKED for device in devices if device.id in full)  # nothing wiped, nobody out
        for camera in full:
            for recording in town.recordings(camera):
                town.put_receipt(camera, recording, town.receipt(camera, town.read(camera, recording)))
        await until(lambda: all(any(isinstance(each, Undocked) for each in town.said(camera)) for camera in full))
    for camera in full:
        assert any(isinstance(each, Docked) for each in town.said(camera))
        activation = next(each for each in town.said(camera) if isinstance(each, Activation))
        assert activation.place is not None
        assert activation.place.name in {place.name for place in PLACES}


async def test_a_recording_that_a_person_began_is_not_ended_by_the_seed(
    town: Town, devices: tuple[Device, ...], shown: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.fleet.CONNECT_PATIENCE_S", 3600.0)
    plan = Plan(seed=3, shift_s=36_000, press_every_s=1e9, docked_at_start=0.0)
    fleet = Fleet(devices, buttons=town.root / "buttons", plan=plan, pulse=shown.pulse)
    async with living(fleet, devices):
        (town.root / "buttons" / "cam-02").touch()
        await until(lambda: devices[1].phase is Phase.RECORDING)
        await shown.passes(160)
        assert devices[1].phase is Phase.RECORDING
        assert not keeps_footage(devices[0].phase)


async def test_what_is_no_button_is_left_alone(town: Town, devices: tuple[Device, ...], shown: Time) -> None:
    fleet = Fleet(devices, buttons=town.root / "buttons", plan=Plan(seed=7, calm=True), pulse=shown.pulse)
    strange = [town.root / "buttons" / name for name in ("cam-99", "cam-01.format", "README")]
    for file in strange:
        file.touch()
    button = town.root / "buttons" / "cam-03.off"
    async with living(fleet, devices):
        for _ in range(2):  # felt twice: in between it looked at all of them
            button.touch()
            await until(lambda: not button.exists())
    assert all(file.exists() for file in strange)


async def test_a_press_while_a_camera_boots_is_taken_when_it_has(
    town: Town, devices: tuple[Device, ...], shown: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(devices, buttons=town.root / "buttons", plan=Plan(seed=7, calm=True), pulse=shown.pulse)
    early, wake_up, may_boot = town.root / "buttons" / "cam-01", devices[0]._wake_up, asyncio.Event()

    async def slowly() -> None:
        await may_boot.wait()
        await wake_up()

    async def boot() -> None:
        await until(lambda: devices[1].phase is Phase.RECORDING)
        assert early.exists()
        may_boot.set()

    monkeypatch.setattr(devices[0], "_wake_up", slowly)
    for camera in CAMERAS[:2]:
        (town.root / "buttons" / camera).touch()
    booting = asyncio.create_task(boot())
    async with living(fleet, devices):
        await booting
        await until(lambda: devices[0].phase is Phase.RECORDING)
    assert not early.exists()


async def test_a_script_is_played_at_its_times_once_the_cameras_have_booted(
    town: Town, devices: tuple[Device, ...], shown: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake_up, may_boot = devices[0]._wake_up, asyncio.Event()

    async def slowly() -> None:
        await may_boot.wait()
        await wake_up()

    monkeypatch.setattr(devices[0], "_wake_up", slowly)
    script = read_script("10 cam-01 press  # somebody shouts\n\n40 cam-01 off\n50 cam-02 dock\n")
    fleet = Fleet(devices, buttons=None, plan=Plan(seed=7, calm=True), pulse=shown.pulse, script=script)
    booting = asyncio.create_task(shown.passes(30))
    booting.add_done_callback(lambda _: may_boot.set())
    async with living(fleet, devices):
        await until(lambda: devices[1].phase is Phase.DOCKED)
        docked_at = shown()
    activation, stopped = town.said("cam-01")
    assert isinstance(activation, Activation)
    assert isinstance(stopped, Deactivation)
    assert activation.activated_at - NOON >= timedelta(seconds=30 + 10)
    assert stopped.ended_at - NOON >= timedelta(seconds=30 + 40)
    assert docked_at - NOON >= timedelta(seconds=30 + 50)


def test_a_script_is_read_in_order_of_time_and_a_wrong_line_is_named() -> None:
    assert read_script("5 cam-02 dock\n1 cam-01 press") == (
        Act(at_s=1.0, camera="cam-01", what="press"),
        Act(at_s=5.0, camera="cam-02", what="dock"),
    )
    with pytest.raises(ValueError, match=r"script line 2: expected <seconds> <camera> <press"):
        read_script("1 cam-01 press\n2 cam-01 erase")
