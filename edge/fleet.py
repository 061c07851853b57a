"""A fleet of cameras living through shifts, from a seed: walking, pressing, docking, waiting, charging.

All times are device time (edge/pulse.py): a jump of the shared clock moves nobody's shift. The buttons folder is the
one way in for people: a file dropped there is a finger on a camera.
"""

import asyncio
import logging
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.wire.events import Place
from broker.wire.ids import DeviceId
from edge.device import Device
from edge.pulse import Pulse
from edge.rules.camera import Happening, Phase, keeps_footage

LOG: Final = logging.getLogger(__name__)

BUTTONS_LOOK_S: Final = 0.2
"""Wall time between looks into the buttons folder: a press is felt at once."""

CONNECT_PATIENCE_S: Final = 15.0
"""Wall time that the first press waits for all cameras to be connected."""

FIRST_PRESS_AFTER_S: Final = 4.0
"""Device time from then to the first press: whoever starts a demonstration should see one soon."""

STEP_S: Final = 5.0
"""Device time of one step of a shift."""

STEP_WALL_S: Final = 0.2
"""And at least so much of the wall, however fast the clock runs."""

WALK_DEGREES: Final = 0.0006
"""How far somebody strays from a place's middle: about 60 m."""

GAP_EVERY_S, GAP_S = 3600.0, (20.0, 90.0)
"""Device time: how often a camera loses coverage on average, and for how long."""

RECORDING_S: Final = (25.0, 150.0)
"""Device time: how long a seeded recording lasts."""

LEAST_BATTERY_PCT: Final = 30
"""Nobody takes an emptier camera out of its bay."""

MOVES_ON_EVERY_S: Final = 600.0
"""Device time: how long somebody stays at a place on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the fleet lives. `press_every_s`: between two presses in the whole fleet, on average; device time."""

    seed: int
    calm: bool = False
    shift_s: float = 8 * 3600.0
    rest_s: float = 900.0
    press_every_s: float = 45.0
    docked_at_start: float = 0.15
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something somebody does to a camera, so many seconds of device time after all have booted."""

    at_s: float
    camera: str
    what: str


ACTS: Final = ("press", "off", "dock", "undock", "lose-coverage", "regain-coverage")


def read_script(text: str) -> tuple[Act, ...]:
    """Return the acts of a script, one a line: ``<seconds> <camera> <act>``; raise ValueError naming the line."""
    acts = []
    for number, line in enumerate(text.splitlines(), start=1):
        match line.split("#")[0].split():
            case []:
                continue
            case [at, camera, what] if what in ACTS:
                acts.append(Act(at_s=float(at), camera=camera, what=what))
            case _:
                raise ValueError(f"script line {number}: expected <seconds> <camera> <{'|'.join(ACTS)}>, got {line!r}")
    return tuple(sorted(acts, key=lambda act: act.at_s))


class Fleet:
    """All cameras of one process."""

    def __init__(
        self, devices: Sequence[Device], *, buttons: Path | None, plan: Plan, pulse: Pulse, script: Sequence[Act] = ()
    ) -> None:
        self._devices = {device.id: device for device in devices}
        self._buttons = buttons
        self._plan = plan
        self._pulse = pulse
        self._script = script
        self._ours: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Live until cancelled. Whatever stops one camera stops the program: nothing may fail in silence."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for number, device in enumerate(self._devices.values()):
                self._begin(group, device, number)
            if not self._plan.calm:
                group.create_task(self._first_press(), name="edge.first-press")
            if self._buttons is not None:
                group.create_task(self._feel(self._buttons), name="edge.buttons")
            if self._script:
                group.create_task(self._play(), name="edge.script")

    def join(self, device: Device) -> None:
        """Let a camera that was enrolled just now live with the others."""
        self._devices[device.id] = device
        if self._group is not None:
            self._begin(self._group, device, len(self._devices) - 1)

    def _begin(self, group: asyncio.TaskGroup, device: Device, number: int) -> None:
        group.create_task(device.run(), name=f"edge[{device.id}]")
        if not self._plan.calm:
            chance = random.Random(f"{self._plan.seed}/{device.id}")  # noqa: S311 - a simulation, repeatable
            group.create_task(self._life(device, chance, number), name=f"edge[{device.id}].life")

    async def switch_off(self) -> None:
        """Let every camera close what it records and say goodbye."""
        await asyncio.gather(*(device.switch_off() for device in self._devices.values()))

    async def act(self, camera: str, what: str) -> str | None:
        """Do something to a camera; return why nothing changed, or None."""
        device = self._devices.get(DeviceId(camera))
        if device is None:
            return f"there is no camera {camera} here"
        match what:
            case "press":
                self._ours.discard(camera)
                return await device.happen(Happening.PRESS)
            case "off":
                return await device.happen(Happening.SWITCH_OFF)
            case "dock":
                return await device.dock()
            case "undock":
                return await device.undock()
            case "lose-coverage" | "regain-coverage":
                device.link.cover(within_reach=what == "regain-coverage")
                return None
            case _:
                return f"expected one of {', '.join(ACTS)}, got {what!r}"

    # --- people -------------------------------------------------------------------------------------------------

    async def _feel(self, buttons: Path) -> None:
        """Look for dropped files; each is removed before it is acted upon, so that it acts once.

        One for a camera that is still booting stays until it has: a press in those seconds is no press that is lost.
        """
        strangers: set[str] = set()
        while True:
            for name in sorted(os.listdir(buttons)):  # noqa: PTH208 - names are all that is needed, five times a second
                camera, _, what = name.partition(".")
                what = what or "press"
                if camera not in self._devices or what not in ACTS:
                    if name not in strangers:
                        LOG.warning("buttons: %s is no camera of this fleet or no act; it is left there", name)
                        strangers.add(name)
                    continue
                if not self._devices[DeviceId(camera)].ready.is_set():
                    continue
                (buttons / name).unlink(missing_ok=True)
                refused = await self.act(camera, what)
                LOG.info("%s: %s by hand%s", camera, what, f": {refused}" if refused else "")
            await asyncio.sleep(BUTTONS_LOOK_S)

    async def _play(self) -> None:
        """Play the script, which counts from when all cameras have booted: nothing in it is for one that is not on."""
        for device in tuple(self._devices.values()):
            await device.ready.wait()
        began = self._pulse()
        for act in self._script:
            await self._pulse.sleep(began + act.at_s - self._pulse())
            refused = await self.act(act.camera, act.what)
            LOG.info("%s: %s by script%s", act.camera, act.what, f": {refused}" if refused else "")

    # --- shifts -------------------------------------------------------------------------------------------------

    async def _first_press(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                for device in tuple(self._devices.values()):
                    await device.ready.wait()
                    await device.link.welcome.wait()
        except TimeoutError:
            LOG.info("not every camera is connected and has its settings yet; going on")
        await self._pulse.sleep(FIRST_PRESS_AFTER_S)
        ready = [device for device in self._devices.values() if device.phase is Phase.STANDBY]
        if ready:
            device = ready[self._plan.seed % len(ready)]
            if await device.happen(Happening.PRESS) is None:
                self._ours.add(device.id)
                await self._pulse.sleep(RECORDING_S[0])
                await self._let_go(device)

    async def _life(self, device: Device, chance: random.Random, number: int) -> None:
        """Shift after shift. Cameras begin somewhere in the middle of one, most of them in stand-by."""
        walk = _Walk(self._plan.places, chance, number)
        device.place = walk.here
        await device.ready.wait()
        device.drain_to(chance.uniform(55, 100))
        left_s = self._plan.shift_s * chance.uniform(0.3, 1.0)
        if chance.random() < self._plan.docked_at_start:
            await self._dock(device)
        while True:
            if device.phase is Phase.DOCKED:
                await self._rest(device, chance)
                left_s = self._plan.shift_s * chance.uniform(0.85, 1.15)
            await self._shift(device, chance, walk, left_s)
            await self._dock(device)

    async def _shift(self, device: Device, chance: random.Random, walk: "_Walk", left_s: float) -> None:
        began = self._pulse()
        press_s = self._plan.press_every_s * len(self._devices)
        press_at = began + chance.expovariate(1 / press_s)
        gap_at = began + chance.expovariate(1 / GAP_EVERY_S)
        let_go_at: float | None = None
        while (now := self._pulse()) < began + left_s and device.phase not in (Phase.DOCKED, Phase.OFF):
            device.place = walk.on(STEP_S)
            if now >= press_at:
                press_at = now + chance.expovariate(1 / press_s)
                if await device.happen(Happening.PRESS) is None:
                    self._ours.add(device.id)
                    let_go_at = now + chance.uniform(*RECORDING_S)
            if let_go_at is not None and now >= let_go_at:
                await self._let_go(device)
                let_go_at = None
            if now >= gap_at:
                await self._walk_out_of_reach(device, chance)
                gap_at = self._pulse() + chance.expovariate(1 / GAP_EVERY_S)
            await self._pulse.sleep(STEP_S, at_least_wall_s=STEP_WALL_S)

    async def _let_go(self, device: Device) -> None:
        """End a recording that the seed began; one that a person began is that person's to end."""
        if device.id in self._ours and keeps_footage(device.phase):
            await device.happen(Happening.SWITCH_OFF)
        self._ours.discard(device.id)

    async def _walk_out_of_reach(self, device: Device, chance: random.Random) -> None:
        device.link.cover(within_reach=False)
        try:
            await self._pulse.sleep(chance.uniform(*GAP_S))
        finally:
            device.link.cover(within_reach=True)

    async def _dock(self, device: Device) -> None:
        while not _docked(device):
            why = await device.dock()
            if why is not None:
                LOG.warning("%s: cannot dock: %s", device.id, why)
                await self._pulse.sleep(STEP_S, at_least_wall_s=1.0)

    @staticmethod
    def _may_leave(device: Device) -> bool:
        return not _docked(device) or (device.battery_pct >= LEAST_BATTERY_PCT and not device.card.recordings())

    async def _rest(self, device: Device, chance: random.Random) -> None:
        """Stay in the bay until the card is wiped, the rest is over and the battery will do."""
        await self._pulse.sleep(self._plan.rest_s * chance.uniform(0.5, 1.5), at_least_wall_s=1.0)
        while not self._may_leave(device):  # noqa: ASYNC110 - a dock's receipt is a file, the battery a number
            await asyncio.sleep(1.0)
        if device.phase is Phase.DOCKED:
            await device.undock()


def _docked(device: Device) -> bool:
    return device.phase is Phase.DOCKED


class _Walk:
    """Somebody walking around a town's places."""

    def __init__(self, places: Sequence[Place], chance: random.Random, number: int) -> None:
        self._places = places
        self._chance = chance
        self._at = places[number % len(places)] if places else None
        self._middle = self._at

    @property
    def here(self) -> Place | None:
        """Where this is."""
        return self._at

    def on(self, seconds: float) -> Place | None:
        """Walk for so long."""
        if self._at is None or self._middle is None:
            return None
        if self._chance.random() < seconds / MOVES_ON_EVERY_S:
            self._middle = self._chance.choice(self._places)
        self._at = Place(
            name=self._middle.name,
            latitude=round(self._middle.latitude + self._chance.uniform(-WALK_DEGREES, WALK_DEGREES), 6),
            longitude=round(self._middle.longitude + self._chance.uniform(-WALK_DEGREES, WALK_DEGREES), 6),
        )
        return self._at
