"""The dock when things go wrong: killed, cut off, lied to, and given cards that are no cards."""

import asyncio
import hashlib
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from broker.wire.ids import DeviceId, Org
from dock_agent.card_reader import CardGone, CardSick, DockedCard
from tests.adapters.dock.agent import Agent, dock_camera, eventually, running
from tests.adapters.dock.test_offloading import as_camera
from tests.adapters.intake.town import Camera, Made, Town, put_on_card, submit, write_card
from tests.ports import free_port


def receipts(card: Path) -> set[str]:
    return {path.stem for path in (card / "receipts").glob("*.receipt")}


async def a_full_card(town: Town, *, recordings: int = 2, seconds: int = 20) -> tuple[Camera, Path, list[Made]]:
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    card = write_card(camera, town.folder / "card")
    made = [camera.record(seconds=seconds, bytes_each=40_000) for _ in range(recordings)]
    for each in made:
        await town.press(camera, each)
        put_on_card(each, card)
    return camera, card, made


@asynccontextmanager
async def a_receiver(town: Town, port: int, *, processes: int = 1) -> AsyncIterator[asyncio.subprocess.Process]:
    """The receiver as its own process; the test's own hands are off the town meanwhile."""
    (town.folder / "serving").unlink(missing_ok=True)
    log = (town.folder / "receiver.log").open("ab")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.intake.serve", str(town.folder), str(port), str(processes)),
        stdout=log,
        stderr=log,
    )
    log.close()
    try:
        await eventually((town.folder / "serving").exists)
        yield process
    except BaseException:
        print((town.folder / "receiver.log").read_text()[-3000:])
        raise
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def check_whole(town: Town, made: list[Made], card: Path, camera: Camera) -> None:
    """One row each, every segment byte for byte, and the camera agrees that it may wipe."""
    rows = await town.rows()
    assert {row.id for row in rows} == {str(each.recording) for each in made}
    assert {row.state for row in rows} == {"retained"}
    for each in made:
        assert [await town.vault.read(digest) for digest in each.digests] == list(each.segments)
    assert await town.vault.digests() == sorted(digest for each in made for digest in each.digests)
    assert len(as_camera(camera, town, card).wipe_receipted().receipts) == len(made)


@pytest.mark.rule("T-29", "E-41")
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
async def test_a_dock_that_is_killed_again_and_again_loses_and_doubles_nothing(town: Town, seed: int) -> None:
    dice = random.Random(seed)
    camera, card, made = await a_full_card(town, recordings=2, seconds=60)
    async with town.serving(), running(town, "--limit-mbit", "8") as agent:
        dock_camera(town, card)
        for _ in range(4):
            await asyncio.sleep(0.5 + 0.7 * dice.random())
            await agent.kill()
            await agent.start()
        await agent.kill()
        agent.options = ()
        await agent.start()
        await eventually(lambda: len(receipts(card)) == 2)
    await check_whole(town, made, card, camera)


@pytest.mark.slow
@pytest.mark.rule("T-29")
@pytest.mark.parametrize("seed", range(3))
async def test_a_receiver_that_is_killed_again_and_again_loses_and_doubles_nothing(town: Town, seed: int) -> None:
    dice, port = random.Random(seed), free_port()
    camera, card, made = await a_full_card(town, recordings=3, seconds=60)
    await town.close()
    async with running(town, "--limit-mbit", "16", receiver=f"https://127.0.0.1:{port}"):
        dock_camera(town, card)
        for _ in range(4):
            async with a_receiver(town, port):
                await asyncio.sleep(dice.uniform(0.05, 1.2))
        async with a_receiver(town, port):
            await eventually(lambda: len(receipts(card)) == 3, within_s=60)
    again = Town(town.folder)
    await check_whole(again, made, card, camera)
    await again.close()


@pytest.mark.rule("E-35")
async def test_while_the_cloud_is_away_the_dock_waits_and_says_so_and_then_goes_on(town: Town) -> None:
    camera, card, made = await a_full_card(town, recordings=1, seconds=3)
    port = free_port()
    async with running(town, receiver=f"https://127.0.0.1:{port}") as agent:
        dock_camera(town, card)
        await eventually(lambda: "cam-01 waiting" in agent.log.read_text())
        assert receipts(card) == set()
        async with town.serving(port=port):
            await eventually(lambda: receipts(card) == {str(made[0].recording)})
    await check_whole(town, made, card, camera)


async def test_a_receipt_that_is_known_is_handed_over_also_while_the_cloud_is_away(town: Town) -> None:
    _, card, made = await a_full_card(town, recordings=1, seconds=3)
    async with running(town, receiver="https://127.0.0.1:1") as agent:
        link = dock_camera(town, card)
        await agent.kill()
        agent.receiver = ""
        async with town.serving():
            await agent.start()
            await eventually(lambda: receipts(card) == {str(made[0].recording)})
            await agent.stop()
        for path in (card / "receipts").iterdir():
            path.unlink()  # the camera was pulled before it was written, say
        agent.receiver = "https://127.0.0.1:1"
        await agent.start()
        await eventually(lambda: receipts(card) == {str(made[0].recording)})
        link.unlink()
        assert await agent.stop() == 0


async def test_a_camera_pulled_out_half_way_goes_on_where_it_was_at_the_next_docking(town: Town) -> None:
    camera, card, made = await a_full_card(town, recordings=1, seconds=80)
    async with town.serving(), running(town, "--limit-mbit", "1") as agent:
        link = dock_camera(town, card)
        await eventually(lambda: any((town.folder / "vault").glob("*/[0-9a-f]*")))
        link.unlink()  # all of it would take half a minute
        await eventually(lambda: "bay 01 - empty" in agent.log.read_text())
        first = len(await town.vault.digests())
        assert 0 < first < len(made[0].segments)
        await agent.kill()
        agent.options = ()
        await agent.start()
        dock_camera(town, card, bay=2)
        await eventually(lambda: len(receipts(card)) == 1)
    await check_whole(town, made, card, camera)


async def test_two_cameras_share_the_line_and_both_get_home(town: Town) -> None:
    cards = []
    for number in (1, 2):
        camera = await town.enrol(Camera(DeviceId(f"cam-{number:02}")))
        card = write_card(camera, town.folder / f"card-{number}")
        made = camera.record(seconds=10)
        await town.press(camera, made)
        put_on_card(made, card)
        cards.append(card)
    async with town.serving(), running(town):
        for number, card in enumerate(cards, 1):
            dock_camera(town, card, bay=number)
        await eventually(lambda: all(len(receipts(card)) == 1 for card in cards))


@pytest.mark.rule("E-42")
async def test_a_damaged_segment_is_kept_apart_the_camera_keeps_all_and_the_light_turns_red(town: Town) -> None:
    _, card, made = await a_full_card(town, recordings=2, seconds=5)
    broken = card / "recordings" / str(made[0].recording) / "00000003.vos"
    raw = bytearray(broken.read_bytes())
    raw[1000] ^= 1
    broken.write_bytes(raw)
    async with town.serving(), running(town) as agent:
        dock_camera(town, card)
        await eventually(lambda: "cam-01 attention" in agent.log.read_text())
    assert receipts(card) == {str(made[1].recording)}
    assert {row.id: row.state for row in await town.rows()} == {
        str(made[0].recording): "quarantined",
        str(made[1].recording): "retained",
    }
    assert await town.vault.read(hashlib.sha256(raw).digest()) == bytes(raw)


async def test_a_recording_that_the_camera_wipes_under_our_hands_is_no_trouble(town: Town) -> None:
    _, card, made = await a_full_card(town, recordings=2, seconds=5)
    folder = card / "recordings" / str(made[0].recording)
    (folder / "00000003.vos").unlink()  # half wiped, as far as a reader can tell
    async with town.serving(), running(town) as agent:
        dock_camera(town, card)
        await eventually(lambda: "cam-01 attention" in agent.log.read_text())
        shutil.rmtree(folder)
        await eventually(lambda: "cam-01 wiping" in agent.log.read_text())


@pytest.mark.rule("R-06")
async def test_a_camera_does_not_wipe_on_a_receipt_that_was_swapped(town: Town) -> None:
    camera, card, made = await a_full_card(town, recordings=2, seconds=3)
    async with town.serving(), town.as_dock() as session:
        for each in made:
            for raw, digest in zip(each.segments, each.digests, strict=True):
                await session.put(f"/v1/segments/{digest.hex()}", data=raw)
        _, receipt = await submit(session, made[0])
    (card / "receipts" / f"{made[1].recording}.receipt").write_bytes(receipt)
    wiped = as_camera(camera, town, card).wipe_receipted()
    assert (wiped.receipts, len(wiped.refused)) == ((), 1)
    assert len(list((card / "recordings").iterdir())) == 2


@pytest.mark.rule("E-47", "H-35")
async def test_a_camera_of_another_municipality_is_not_read(town: Town) -> None:
    stranger = Camera(DeviceId("cam-05"), org=Org("rotterdam"))
    card = write_card(stranger, town.folder / "card")
    put_on_card(stranger.record(), card)
    async with town.serving(), running(town) as agent:
        dock_camera(town, card)
        await eventually(lambda: "cam-05 attention" in agent.log.read_text())
    assert await town.vault.digests() == []


async def test_two_docks_with_one_memory_do_not_start(town: Town) -> None:
    dock_camera(town, write_card(Camera(DeviceId("cam-01")), town.folder / "card"))
    async with town.serving(), running(town) as first:
        await eventually(lambda: "cam-01" in first.log.read_text())
        second = Agent(town)
        await second.start()
        assert second.process is not None
        assert await second.process.wait() == 2


# --- cards that are no cards ----------------------------------------------------------------------------------------


@pytest.fixture
def card(tmp_path: Path) -> Path:
    camera = Camera(DeviceId("cam-01"))
    folder = write_card(camera, tmp_path / "card")
    put_on_card(camera.record(seconds=2), folder)
    (tmp_path / "bay").symlink_to(folder)
    return folder


def test_no_link_on_a_card_is_followed(card: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 500)
    bay = DockedCard(tmp_path / "bay")
    (recording,) = bay.closed()
    segment = card / "recordings" / str(recording) / "00000001.vos"
    segment.unlink()
    segment.symlink_to(secret)
    with pytest.raises(CardSick):
        bay.contents(recording)
    shutil.move(card / "recordings", tmp_path / "elsewhere")
    (card / "recordings").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CardSick):
        bay.closed()
    shutil.rmtree(card / "receipts")
    (card / "receipts").symlink_to(tmp_path)
    with pytest.raises(CardSick):
        bay.hand_receipt(recording, b"receipt")
    assert not list(tmp_path.glob("*.receipt"))


def test_a_pipe_or_a_giant_on_a_card_does_not_stop_the_dock(card: Path, tmp_path: Path) -> None:
    bay = DockedCard(tmp_path / "bay")
    (recording,) = bay.closed()
    folder = card / "recordings" / str(recording)
    (folder / "head.voh").unlink()
    os.mkfifo(folder / "head.voh")
    with pytest.raises(CardSick):
        bay.contents(recording)
    (folder / "head.voh").unlink()
    with (folder / "head.voh").open("wb") as giant:
        giant.truncate(10**12)
    with pytest.raises(CardSick):
        bay.contents(recording)


def test_names_that_are_no_recordings_and_open_recordings_are_left_alone(card: Path, tmp_path: Path) -> None:
    bay = DockedCard(tmp_path / "bay")
    (recording,) = bay.closed()
    for name in ("..hidden", "0" * 36, str(recording).upper() + "x", "lost+found"):
        (card / "recordings" / name).mkdir()
    (card / "recordings" / str(recording) / "end.voe").unlink()
    assert bay.closed() == ()


def test_another_camera_in_the_same_bay_is_never_taken_for_the_first(card: Path, tmp_path: Path) -> None:
    bay = DockedCard(tmp_path / "bay")
    (recording,) = bay.closed()
    other = write_card(Camera(DeviceId("cam-02")), tmp_path / "other")
    (tmp_path / "bay").unlink()
    (tmp_path / "bay").symlink_to(other)
    assert not bay.still_there()
    with pytest.raises(CardGone):
        bay.hand_receipt(recording, b"receipt")
    assert not list((other / "receipts").iterdir())


def test_a_missing_segment_is_the_card_s_trouble_and_not_a_pulled_camera(card: Path, tmp_path: Path) -> None:
    bay = DockedCard(tmp_path / "bay")
    (recording,) = bay.closed()
    (card / "recordings" / str(recording) / "00000002.vos").unlink()
    with pytest.raises(CardSick):
        bay.contents(recording)
