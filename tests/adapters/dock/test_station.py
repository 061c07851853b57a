"""One station: what it makes of cameras that come and go faster than it looks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.wire.ids import DeviceId
from dock_agent import station
from dock_agent.bays import Occupant, occupants
from dock_agent.state import DockState
from dock_agent.station import Station
from dock_agent.uploader import NoAnswer, Uploader
from tests.adapters.dock.agent import eventually
from tests.adapters.intake.town import ORG, Camera, write_card


class Away:
    """An uploader whose receiver nobody reaches."""

    trouble = rate = None

    def new_visit(self, bay: int) -> None:
        del bay

    async def keylist(self) -> tuple[bytes, bytes]:
        raise NoAnswer("nobody")

    def pause_s(self, attempt: int) -> float:
        return 3600.0 * attempt


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Station]:
    """A station with a camera in its first bay, which is looked at once only."""

    async def look_once(bays: Path) -> AsyncIterator[frozenset[Occupant]]:
        yield occupants(bays)
        await asyncio.Event().wait()

    monkeypatch.setattr(station, "watch", look_once)
    monkeypatch.setattr(station, "IDLE_S", 0.02)
    (tmp_path / "bays").mkdir()
    write_card(Camera(DeviceId("cam-01")), tmp_path / "card")
    (tmp_path / "bays" / "01").symlink_to(tmp_path / "card")
    state = DockState(tmp_path / "state.json")
    uploader: Uploader = Away()  # type: ignore[assignment]
    station_ = Station(org=ORG, bays=1, uploader=uploader, state=state)
    running = asyncio.create_task(station_.run(tmp_path / "bays"))
    yield station_
    running.cancel()
    await asyncio.wait({running})
    state.close()


async def test_a_camera_that_was_out_for_less_than_a_look_is_served_again(
    here: Station, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A contact that bounces: the watch sees the same card in the same bay, and says nothing."""
    await eventually(lambda: here.bays()[0].doing == "done")
    link = tmp_path / "bays" / "01"
    link.unlink()
    await eventually(lambda: here.bays()[0].doing == "empty")
    link.symlink_to(tmp_path / "card")
    await eventually(lambda: here.bays()[0].doing == "done")
    assert not [each for each in caplog.records if each.exc_info], "a camera taken out is no error of the dock"
