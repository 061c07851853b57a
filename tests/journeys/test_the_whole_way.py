"""The whole way, once: from the press to the provable destruction, over real processes, sockets, broker and film.

The clock of the town runs twenty times as fast as the wall's, and is moved to the end of the retention period.
"""

import asyncio
import contextlib
import io
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av
import pytest

from cloud.config import TownFolder
from cloud.rules.retention import HERE
from deploy.demo.supervisor import python
from tests.journeys.town import Running, eventually, running
from tests.journeys.visitor import Visitor, address_together, fetch_together
from tests.promptness import within

T = TypeVar("T")
RATE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who plays which part in a town's story."""

    coordinator: str
    registrar: str
    requester: str
    second: str | None
    purpose: str
    pre_record_s: int


CASTS = {
    "heusden": Cast(
        coordinator="o-101",
        registrar="o-103",
        requester="o-102",
        second="o-104",
        purpose="complaint",
        pre_record_s=30,
    ),
    "rotterdam": Cast(
        coordinator="o-201",
        registrar="o-203",
        requester="o-204",
        second=None,
        purpose="complaint",
        pre_record_s=120,
    ),
}


@pytest.mark.footage
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("municipality", ["heusden", "rotterdam"])
async def test_from_the_press_to_the_provable_destruction(
    municipality: str, folder: Path, three_ports: int, street_film: Path
) -> None:
    cast = CASTS[municipality]
    async with running(folder, municipality, three_ports, film=street_film, rate=RATE, cameras=4) as story:
        await story.ring_is_full(4, cast.pre_record_s)
        kept = await _a_press_alerts_the_coordinator(story, cast)
        gone = await _another_press(story)
        await _the_dock_brings_both_in_though_everything_dies_once(story, kept, gone)
        case = await _a_case_holds_one_of_them(story, cast, kept)
        await _two_people_view_it(story, cast, case, kept)
        await _the_last_day_comes(story, cast, kept, gone)
        town = story.town
    assert await _check(town) == 0


async def _a_press_alerts_the_coordinator(story: Running, cast: Cast) -> str:
    """The alert comes by itself; acknowledging it is recorded; what came before the press is on the card."""
    async with Visitor(story.base, cast.coordinator) as coordinator, coordinator.live() as live:
        with within(5.0):
            story.press("cam-01")
            async with asyncio.timeout(60):
                data = await live.until("activation")
        found = re.search(r'"recording": "([0-9a-f-]{36})"', data)
        assert found is not None, data
        recording = found[1]
        page = await coordinator.read("/activeringen")
        assert "cam-01" in page
        status, _ = await coordinator.send(f"/activeringen/{recording}/gezien")
        assert status == 200
    row = await story.row("SELECT acknowledged_by, pre_record_s FROM activations WHERE recording = ?", recording)
    assert row is not None
    assert row[0] == cast.coordinator
    assert cast.pre_record_s - 1.0 <= float(str(row[1])) <= cast.pre_record_s
    await asyncio.sleep(10 / RATE)
    story.press("cam-01.off")
    await story.hands_off()
    return recording


async def _another_press(story: Running) -> str:
    """A second officer presses too; nobody will ask for this one."""
    story.press("cam-02")

    async def announced() -> str | None:
        row = await story.row("SELECT recording FROM activations WHERE camera = 'cam-02'")
        return str(row[0]) if row else None

    recording = await eventually("the second activation", announced)
    await asyncio.sleep(8 / RATE)
    story.press("cam-02.off")
    await story.hands_off()
    return recording


async def _the_dock_brings_both_in_though_everything_dies_once(story: Running, *recordings: str) -> None:
    """Dock agent, cloud and cameras are killed in the middle; both recordings arrive whole, and the cards are wiped."""
    for camera, recording in zip(("cam-01", "cam-02"), recordings, strict=True):
        end = story.town.cameras / camera / "card" / "recordings" / recording / "end.voe"

        async def closed(end: Path = end) -> bool:
            return end.exists()  # killed before that, it would be salvaged

        await eventually(f"the recording of {camera} closed", closed)
    story.press("cam-01.dock")
    story.press("cam-02.dock")
    await story.hands_off()
    await asyncio.sleep(0.4)
    for part in ("dock-01", "cloud", "edge"):
        story.supervisor.process(part).send_signal(signal.SIGKILL)
        await asyncio.sleep(0.2)
    for recording in recordings:

        async def arrived(which: str = recording) -> bool:
            row = await story.row("SELECT state, chain FROM recordings WHERE id = ?", which)
            return row == ("retained", "intact")

        await eventually(f"recording {recording} in the vault", arrived, within_s=180.0)
    for camera in ("cam-01", "cam-02"):

        async def wiped(card: Path = story.town.cameras / camera / "card" / "recordings") -> bool:
            return not any(card.iterdir())

        await eventually(f"the card of {camera} wiped", wiped, within_s=180.0)
    await eventually("the desk back", story.answers, within_s=180.0)


async def _a_case_holds_one_of_them(story: Running, cast: Cast, recording: str) -> str:
    """A complaint is registered; its hold stands at once."""
    async with Visitor(story.base, cast.registrar) as registrar:
        page = await registrar.read("/opnamen")
        assert recording in page
        today = story.clock().astimezone(HERE).date().isoformat()
        status, path = await registrar.send(
            "/dossiers",
            {"soort": "complaint", "ontvangen": today, "omschrijving": "Klacht over optreden", "opname": [recording]},
        )
        assert status == 200, path
    case = path.rsplit("/", 1)[1]
    assert await story.row("SELECT state FROM recordings WHERE id = ?", recording) == ("held",)
    return case


async def _two_people_view_it(story: Running, cast: Cast, case: str, recording: str) -> None:
    """One asks, the other approves with an own key; both sit: it plays, the vooropname marked. One leaves: it stops."""
    async with contextlib.AsyncExitStack() as stack:
        requester = await stack.enter_async_context(Visitor(story.base, cast.requester))
        status, path = await requester.send(
            "/kijkkamer",
            {
                "dossier": case,
                "doel": cast.purpose,
                "opname": recording,
                "reden": "Beoordelen van de klacht",
                "tweede": cast.second or "",
                "alleen": "ja",
            },
        )
        assert status == 200, path
        room = path
        seats = [requester]
        if cast.second:
            second = await stack.enter_async_context(Visitor(story.base, cast.second))
            seats.append(second)
            page = await requester.read(room)
            assert "index.m3u8" not in page
            status, _ = await second.send(f"{room}/goedkeuren")
            assert status == 200
        for seat in seats:
            status, _ = await seat.send(f"{room}/plaatsnemen")
            assert status == 200
        beating = asyncio.create_task(_stay(seats, room))
        stack.callback(beating.cancel)

        playlist = await address_together(requester, seats=seats, room=room)
        footage = await _play(requester, playlist, seats=seats, room=room)
        assert footage.frames > cast.pre_record_s * 10
        beating.cancel()
        with within(5.0):
            await seats[-1].send(f"{room}/weg")

            async def stopped() -> bool:
                return (await requester.fetch(footage.segment))[0] != 200

            await eventually("the footage stops", stopped)
        await requester.send(f"{room}/sluiten")
        assert (await requester.fetch(footage.segment))[0] != 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """What a player saw."""

    frames: int
    segment: str


async def _play(viewer: Visitor, playlist: str, *, seats: list[Visitor], room: str) -> Footage:
    status, body = await fetch_together(viewer, playlist, seats=seats, room=room)
    assert status == 200, body[:500]
    text, folder = body.decode(), playlist.rsplit("/", 1)[0]
    start = re.search(r'#EXT-X-MAP:URI="([^"]+)"', text)
    assert start is not None, text
    names = [line for line in text.splitlines() if line and not line.startswith("#")]
    film = b""
    for name in [start[1], *names]:
        status, part = await fetch_together(viewer, f"{folder}/{name}", seats=seats, room=room)
        assert status == 200, (name, part[:300])
        film += part
    for other in seats:
        assert (await fetch_together(other, f"{folder}/{names[0]}", seats=seats, room=room))[0] == 200
    with av.open(io.BytesIO(film), "r") as opened:
        frames = sum(1 for _ in opened.decode(video=0))
    return Footage(frames=frames, segment=f"{folder}/{names[-1]}")


async def _stay(seats: list[Visitor], room: str) -> None:
    while True:
        for seat in seats:
            await seat.send(f"{room}/aanwezig")
        await asyncio.sleep(0.5)


async def _the_last_day_comes(story: Running, cast: Cast, kept: str, gone: str) -> None:
    """The clock moves past the term: what no hold keeps is destroyed, with a certificate; the held one stays."""
    async with Visitor(story.base, cast.coordinator) as coordinator:
        status, _ = await coordinator.send("/demo/klok", {"stap": "bewaartermijn"})
        assert status == 200

    async def destroyed() -> bool:
        row = await story.row("SELECT state, certificate IS NOT NULL FROM recordings WHERE id = ?", gone)
        return row == ("destroyed", 1)

    await eventually("the recording without a hold destroyed", destroyed, within_s=180.0)
    assert await story.row("SELECT state FROM recordings WHERE id = ?", kept) == ("held",)


async def _check(town: TownFolder) -> int:
    """Re-derive from what lies on disk that everything adds up."""
    process = await asyncio.create_subprocess_exec(
        *python("deploy.command", "check", "--municipality", town.root.name, "--data", town.root.parent)
    )
    return await process.wait()
