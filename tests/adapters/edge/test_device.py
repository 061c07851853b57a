"""One camera alive: what it keeps, what it never keeps, and what it says. Its time runs RATE times as fast as ours."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import av
import pytest

from broker import durable
from broker.ending import end
from broker.wire.events import (
    Activation,
    CameraSettings,
    Deactivation,
    Docked,
    LowStorage,
    Said,
    Tamper,
    Undocked,
    decode,
)
from broker.wire.recording import ChainState, Flag, StopReason, check_chain, xwing_from_seed
from edge.card import RESERVE_BYTES, Found
from edge.device import Device
from edge.footage import Template
from edge.rules.camera import Happening, Phase
from edge.state import DeviceState
from tests.adapters.edge.conftest import SwitchOn, Time
from tests.adapters.edge.town import NOON, Recorded, Town, settings


@pytest.fixture
def told(town: Town) -> Callable[[CameraSettings], None]:
    """Enrol cam-07 and let it remember these settings."""

    def tell(wanted: CameraSettings) -> None:
        state = DeviceState(town.enrol("cam-07") / "device" / "state.json")
        state.change(settings=wanted)
        state.close()

    return tell


@asynccontextmanager
async def alive(device: Device) -> AsyncIterator[Device]:
    """Let the camera live for as long as the test needs it."""
    living = asyncio.create_task(device.run())
    try:
        await asyncio.wait({living, asyncio.create_task(device.ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
        yield device
        await device.switch_off()
    finally:
        await end(living)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def press_and_stop(device: Device, shown: Time, *, before_s: float, after_s: float) -> None:
    await shown.passes(before_s)
    assert await device.happen(Happening.PRESS) is None
    await shown.passes(after_s)
    assert await device.happen(Happening.SWITCH_OFF) is None
    await device.settled()


def only(town: Town) -> Recorded:
    (recording,) = town.recordings("cam-07")
    return town.read("cam-07", recording)


# --- the ring, as two municipalities want it --------------------------------------------------------------------


@pytest.mark.rule("H-17", "H-20")
async def test_heusden_gets_thirty_seconds_from_before_the_press_on_the_card(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(30))
    async with alive(switch_on()) as device:
        await press_and_stop(device, shown, before_s=50, after_s=10)
    activation = next(each for each in town.said("cam-07") if isinstance(each, Activation))
    recorded = only(town)
    before = [each for each in recorded.facts[1:] if Flag.PRE_RECORD in each.flags]
    assert 29 <= len(before) <= 30
    assert activation.activated_at - timedelta(seconds=30) <= before[0].starts_at
    assert before[-1].starts_at < activation.activated_at
    assert 29 < activation.pre_record_s <= 30
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT


@pytest.mark.rule("R-14", "R-22")
async def test_rotterdam_gets_two_minutes_from_before_the_press_on_the_card(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(120))
    async with alive(switch_on()) as device:
        await press_and_stop(device, shown, before_s=140, after_s=5)
    activation = next(each for each in town.said("cam-07") if isinstance(each, Activation))
    before = [each for each in only(town).facts[1:] if Flag.PRE_RECORD in each.flags]
    assert 119 <= len(before) <= 120
    assert activation.activated_at - timedelta(minutes=2) <= before[0].starts_at


@pytest.mark.rule("H-17", "H-20")
async def test_a_press_that_is_carried_out_late_keeps_what_was_before_it_all_the_same(
    town: Town,
    told: Callable[[CameraSettings], None],
    switch_on: SwitchOn,
    shown: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine stands still for twenty shown seconds between the press and the look at the ring."""
    told(settings(30))
    async with alive(switch_on()) as device:
        await shown.passes(50)
        load = device._load_film

        async def late() -> None:
            time.sleep(20 / shown.rate)
            await load()

        with monkeypatch.context() as slow:
            slow.setattr(device, "_load_film", late)
            assert await device.happen(Happening.PRESS) is None
        await device.happen(Happening.SWITCH_OFF)
        await device.settled()
    activation = next(each for each in town.said("cam-07") if isinstance(each, Activation))
    assert 29 < activation.pre_record_s <= 30
    facts = only(town).facts[1:]
    assert 29 <= len([each for each in facts if Flag.PRE_RECORD in each.flags]) <= 30
    assert all(earlier.ends_at == later.starts_at for earlier, later in pairwise(facts))


@pytest.mark.rule("R-12", "H-18", "H-10")
async def test_stand_by_footage_never_becomes_a_file_nor_even_this_cameras_own(
    town: Town,
    told: Callable[[CameraSettings], None],
    switch_on: SwitchOn,
    shown: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered: list[object] = []
    monkeypatch.setattr(Template, "render", lambda self, **_: rendered.append(self))
    told(settings(30))
    async with alive(switch_on()) as device:
        await shown.passes(20)
        before = {path: path.read_bytes() for path in town.root.rglob("*") if path.is_file()}
        await shown.passes(100)
        after = {path: path.read_bytes() for path in town.root.rglob("*") if path.is_file()}
        assert 29 <= len(device.ring) <= 30
        assert after == before
    assert rendered == []
    assert town.recordings("cam-07") == ()
    assert not any(isinstance(each, (Activation, Deactivation)) for each in town.said("cam-07"))


@pytest.mark.rule("H-18")
async def test_switching_off_forgets_what_was_in_the_ring(
    told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(30))
    async with alive(switch_on()) as device:
        await shown.passes(40)
        assert device.ring
        await device.happen(Happening.POWER_OFF)
        await until(lambda: not device.ring)


async def test_a_camera_without_settings_buffers_nothing_and_a_press_keeps_what_follows_it(
    town: Town, switch_on: SwitchOn, shown: Time
) -> None:
    town.enrol("cam-07")
    async with alive(switch_on()) as device:
        await shown.passes(20)
        assert device.ring == ()
        await press_and_stop(device, shown, before_s=20, after_s=10)
    activation = next(each for each in town.said("cam-07") if isinstance(each, Activation))
    recorded = only(town)
    assert activation.pre_record_s == 0
    assert all(each.starts_at >= activation.activated_at for each in recorded.facts)
    assert len(recorded.facts) > 5


async def test_a_shorter_ring_in_new_settings_counts_from_the_next_second(
    told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(60))
    async with alive(switch_on()) as device:
        await shown.passes(80)
        assert len(device.ring) > 50
        await device.take_settings(settings(10, version=2))
        await until(lambda: len(device.ring) <= 10)
        await device.take_settings(settings(60, version=1))  # older ones come too late
        assert device.settings == settings(10, version=2)


# --- a recording ------------------------------------------------------------------------------------------------


async def test_a_recording_plays_without_a_gap_from_before_the_press_to_the_end(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time, tmp_path: Path
) -> None:
    told(settings(10))
    async with alive(switch_on()) as device:
        await press_and_stop(device, shown, before_s=30, after_s=12)
    recorded = only(town)
    film = tmp_path / "film.mp4"
    film.write_bytes(town.play(recorded))
    with av.open(str(film)) as opened:
        shown_at = [frame.time for frame in opened.decode(video=0)]
    assert len(shown_at) == 15 * (len(recorded.facts) - 1)
    assert shown_at[0] == 0
    assert {round(later - earlier, 4) for earlier, later in pairwise(shown_at)} == {0.0667}
    assert f"cam-07|{recorded.facts[1].starts_at.isoformat(timespec='milliseconds')}".encode() in film.read_bytes()
    assert b"SIMULATIE" in film.read_bytes()


async def test_segment_zero_holds_the_initialisation_alone_and_the_last_one_says_so(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    async with alive(switch_on()) as device:
        await press_and_stop(device, shown, before_s=10, after_s=5)
    facts = only(town).facts
    assert facts[0].starts_at == facts[0].ends_at == facts[1].starts_at
    assert [Flag.LAST in each.flags for each in facts] == [False] * (len(facts) - 1) + [True]
    for earlier, later in pairwise(facts[1:]):
        assert earlier.ends_at == later.starts_at
        assert later.monotonic_us - earlier.monotonic_us == pytest.approx(1_000_000, abs=2)


async def test_post_record_keeps_filming_for_as_long_as_the_policy_says(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5, post_record_s=20))
    async with alive(switch_on()) as device:
        await shown.passes(10)
        await device.happen(Happening.PRESS)
        await shown.passes(5)
        released_at = shown()
        await device.happen(Happening.SWITCH_OFF)
        assert device.phase is Phase.POST_RECORD
        await until(lambda: device.phase is Phase.STANDBY)
        over_by = shown()
        await device.settled()
    end = only(town).end
    assert end is not None
    assert timedelta(seconds=20) <= end.ended_at - released_at
    assert end.ended_at <= over_by + timedelta(seconds=1)  # the second that was being filmed


async def test_a_full_card_ends_the_recording_and_says_so(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    async with alive(switch_on(card_bytes=RESERVE_BYTES + 60_000)) as device:
        await shown.passes(10)
        await device.happen(Happening.PRESS)
        await until(lambda: device.phase is Phase.STANDBY)
        await device.settled()
    recorded = only(town)
    assert recorded.end is not None
    assert recorded.end.stop_reason is StopReason.CARD_FULL
    assert any(isinstance(each, LowStorage) for each in town.said("cam-07"))
    stopped = next(each for each in town.said("cam-07") if isinstance(each, Deactivation))
    assert (stopped.stop_reason, stopped.segments) == ("card-full", len(recorded.facts))


async def test_an_empty_battery_closes_the_recording_and_switches_off(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    async with alive(switch_on()) as device:
        await shown.passes(10)
        await device.happen(Happening.PRESS)
        device.drain_to(0.0)
        await until(lambda: device.phase is Phase.OFF)
        await device.settled()
    end = only(town).end
    assert end is not None
    assert end.stop_reason is StopReason.BATTERY


async def test_a_clock_that_jumps_four_weeks_closes_the_recording_and_the_camera_goes_on(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    async with alive(switch_on()) as device:
        await shown.passes(10)
        await device.happen(Happening.PRESS)
        await shown.passes(10)
        shown.move(timedelta(days=28))
        await until(lambda: device.phase is Phase.STANDBY)
        await device.settled()
        first = only(town)
        await press_and_stop(device, shown, before_s=20, after_s=5)
    assert Flag.CLOCK_UNSYNCHRONISED in first.facts[-1].flags
    assert Flag.LAST in first.facts[-1].flags
    assert first.facts[-1].ends_at < NOON + timedelta(days=27)
    assert first.end is not None
    assert first.end.ended_at == first.facts[-1].ends_at
    assert check_chain(first.head, first.facts, first.end).state is ChainState.INTACT
    second = town.read("cam-07", town.recordings("cam-07")[1])
    assert second.facts[0].starts_at > NOON + timedelta(days=28)
    assert Flag.CLOCK_UNSYNCHRONISED not in second.facts[1].flags


async def test_a_press_right_after_a_clock_jump_keeps_nothing_of_before_it(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(30))
    async with alive(switch_on()) as device:
        await shown.passes(40)
        shown.move(timedelta(days=28))
        await device.happen(Happening.PRESS)
        await shown.passes(10)
        await device.happen(Happening.SWITCH_OFF)
        await device.settled()
    facts = only(town).facts
    assert all(each.starts_at > NOON + timedelta(days=28) for each in facts)


async def test_a_camera_without_keys_records_nothing_that_nobody_could_open(
    town: Town, switch_on: SwitchOn, shown: Time
) -> None:
    town.enrol("cam-07", keylist=False)
    async with alive(switch_on()) as device:
        refused = await device.happen(Happening.PRESS)
    assert refused is not None
    assert "no key list" in refused
    assert town.recordings("cam-07") == ()
    assert any(isinstance(each, Tamper) for each in town.said("cam-07"))


# --- in the bay -------------------------------------------------------------------------------------------------


@pytest.mark.rule("R-06")
async def test_docked_it_waits_for_the_receipt_then_wipes_and_only_then(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    async with alive(switch_on()) as device:
        await press_and_stop(device, shown, before_s=10, after_s=5)
        assert await device.dock() is None
        link = town.root / "stations" / "dock-01" / "bays" / "01"
        assert str(link.readlink()) == "../../../cameras/cam-07/card"
        await asyncio.sleep(0.4)
        recorded = only(town)
        town.put_receipt("cam-07", recorded.head.recording, town.receipt("cam-07", recorded))
        await until(lambda: town.recordings("cam-07") == ())
        assert await device.undock() is None
        assert not link.is_symlink()
        assert device.phase is Phase.STANDBY
    assert Docked(dock="dock-01", bay=1) in town.said("cam-07")
    assert Undocked(dock="dock-01", bay=1) in town.said("cam-07")


async def test_a_recording_that_fails_while_the_card_is_gone_through_is_seen_to_by_the_next_look(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken out of the bay and pressed in that moment, it failed after the look had passed it by."""
    told(settings(5))
    looks = 0
    async with alive(switch_on()) as device:
        recover = device.card.recover

        def looking(*, now: datetime) -> Found:
            nonlocal looks
            looks += 1
            device._mishaps += looks == 1
            return recover(now=now)

        monkeypatch.setattr(device.card, "recover", looking)
        device._mishaps += 1
        assert await device.dock() is None
        await until(lambda: looks == 2)
        await until(lambda: device._seen_to == device._mishaps)


async def test_docking_closes_a_running_recording(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    async with alive(switch_on()) as device:
        await shown.passes(10)
        await device.happen(Happening.PRESS)
        await shown.passes(10)
        await device.dock()
        await device.settled()
        assert device.ring == () or device.phase is Phase.DOCKED
    recorded = only(town)
    assert check_chain(recorded.head, recorded.facts, recorded.end).state is ChainState.INTACT


async def test_it_takes_newer_keys_from_the_dock_only_if_the_kluis_signed_them(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(5))
    other = xwing_from_seed(os.urandom(32))
    offered = town.root / "cameras" / "cam-07" / "card" / "from-dock" / "keylist.json"
    async with alive(switch_on()) as device:
        await device.dock()
        true = town.keylist(at=NOON + timedelta(hours=1), intake=other)
        durable.replace(offered, true.replace(b'"epoch":1', b'"epoch":2'))
        await until(lambda: any(isinstance(each, Tamper) for each in town.said("cam-07")))
        durable.replace(offered, true)
        await until(lambda: device._keys is not None and device._keys.recipients[0].key_id == other.key_id)
        await device.undock()
        await press_and_stop(device, shown, before_s=5, after_s=5)
    recorded = only(town)
    assert recorded.head.shares[0].key_id == other.key_id


async def test_a_camera_that_wakes_up_in_a_bay_knows_it(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn
) -> None:
    told(settings(5))
    first = switch_on()
    async with alive(first) as device:
        await device.dock()
    first.close()
    async with alive(switch_on()) as again:
        assert again.phase is Phase.DOCKED
        assert again.bay is not None
        assert again.bay.number == 1


# --- a disk that takes nothing ------------------------------------------------------------------------------------


@asynccontextmanager
async def alive_until_the_battery_is_pulled(device: Device) -> AsyncIterator[Device]:
    """Let the camera live, and die without a word: what was on its way to the disk arrives now or never."""
    living = asyncio.create_task(device.run())
    try:
        await device.ready.wait()
        yield device
    finally:
        await end(living)
        device._threads.close()
        device.close()


def _refuse(path: Path, lines: bytes) -> None:
    del lines
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def presses(town: Town) -> list[Said]:
    return [each for each in town.said("cam-07") if isinstance(each, Activation | Deactivation)]


@pytest.mark.rule("R-04")
async def test_a_press_that_was_only_in_memory_when_the_camera_died_is_told_from_the_card(
    town: Town,
    told: Callable[[CameraSettings], None],
    switch_on: SwitchOn,
    shown: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(settings(5))
    async with alive_until_the_battery_is_pulled(switch_on()) as device:
        await press_and_stop(device, shown, before_s=10, after_s=5)
        known = presses(town)
        with monkeypatch.context() as sick:
            sick.setattr("edge.outbox._append", _refuse)
            await press_and_stop(device, shown, before_s=10, after_s=5)
        (first, second), lost = town.recordings("cam-07"), [decode(e.payload).said for e in device.link.in_memory]
    assert presses(town) == known

    async with alive(switch_on()):
        again = presses(town)
        assert again[:2] == known
        press, stop = again[2:]
        before = next(each for each in lost if isinstance(each, Activation))
        assert isinstance(press, Activation)
        assert (press.recording, press.place) == (second, None)
        assert abs(press.activated_at - before.activated_at) < timedelta(milliseconds=2)
        assert abs(press.pre_record_s - before.pre_record_s) < 0.01
        assert 4 < press.pre_record_s <= 5
        assert stop in lost
        assert first != second


async def test_a_press_of_an_open_recording_is_told_before_its_end(
    town: Town,
    told: Callable[[CameraSettings], None],
    switch_on: SwitchOn,
    shown: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(settings(0))
    async with alive_until_the_battery_is_pulled(switch_on()) as device:
        with monkeypatch.context() as sick:
            sick.setattr("edge.outbox._append", _refuse)
            await device.happen(Happening.PRESS)
            await until(lambda: len(town.segments("cam-07")) > 2)
    async with alive(switch_on()):
        press, stop = presses(town)
    (recording,) = town.recordings("cam-07")
    assert isinstance(press, Activation)
    assert isinstance(stop, Deactivation)
    assert (press.recording, stop.recording, stop.stop_reason) == (recording, recording, "interrupted")


@pytest.mark.rule("R-04")
async def test_a_camera_switched_off_while_it_boots_tells_at_the_next_boot_what_it_closed(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(settings(0))
    async with alive_until_the_battery_is_pulled(switch_on()) as device:
        await device.happen(Happening.PRESS)
        await until(lambda: len(town.segments("cam-07")) > 2)
    on = threading.Event()
    with monkeypatch.context() as slow:
        slow.setattr("edge.device.told_anew", lambda *_, **__: on.wait() and [])
        booting = switch_on()
        living = asyncio.create_task(booting.run())
        await until(lambda: only(town).end is not None)
        await booting.switch_off()
        await end(living)
        on.set()
        booting.close()
    assert [type(each) for each in presses(town)] == [Activation]
    async with alive(switch_on()):
        assert [type(each) for each in presses(town)] == [Activation, Deactivation]


async def test_what_was_confirmed_is_not_told_again_after_the_camera_was_switched_off_as_usual(
    town: Town, told: Callable[[CameraSettings], None], switch_on: SwitchOn, shown: Time
) -> None:
    told(settings(0))
    first = switch_on()
    async with alive(first) as device:
        await press_and_stop(device, shown, before_s=1, after_s=3)
    first.close()
    for path in (town.root / "cameras" / "cam-07" / "device" / "outbox").iterdir():
        path.unlink()  # as a receipt does that covers all
    async with alive(switch_on()):
        assert presses(town) == []


async def test_two_processes_never_share_one_camera(town: Town, switch_on: SwitchOn) -> None:
    town.enrol("cam-07")
    switch_on()
    with pytest.raises(BlockingIOError):
        switch_on()
