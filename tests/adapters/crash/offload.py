"""A whole small offload, camera -> dock -> receiver, as three processes of which one is struck at its n-th system call.

The real device, the real dock and the real receiver over mutual TLS; only the broker is out of reach, the picture is
noise, and the Kluis a folder that keeps heads. Each is forked from a process that has everything loaded. Whatever dies
is started again, as a service manager does; nobody puts anything right by hand. The run is over when the camera has
nothing left on its card, and then everything is looked at: `judge`.
"""

import asyncio
import errno
import logging
import os
import random
import shutil
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, NoReturn
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select

import dock_agent.__main__ as dock
from broker.client import Endpoint, NotConnected
from broker.durable import replace
from broker.wire.entries import read_entry
from broker.wire.events import Activation, decode
from broker.wire.ids import DeviceId, RecordingId, parse_recording
from broker.wire.receipts import read_receipt
from broker.wire.recording import read_head
from cloud.database.tables import recordings, segments
from cloud.intake import receiver as receiving
from cloud.vault.shelf import Content, Shelf, is_what_it_is_called
from dock_agent import bays, letters, station
from dock_agent.rules import offload as rules
from dock_agent.settings import Settings
from dock_agent.state import DockState
from edge import device as cameras
from edge.card import Writing
from edge.device import Device
from edge.outbox import Outbox
from edge.rules.camera import Happening
from edge.state import DeviceState
from edge.stations import Stations
from edge.threads import Threads
from tests.adapters.crash.calls import Call, Fault, Trap, end_with, serve, watched
from tests.adapters.edge.conftest import Time
from tests.adapters.edge.town import NOON, settings
from tests.adapters.edge.town import Town as Field
from tests.adapters.intake.town import Camera, FakeKluis
from tests.adapters.intake.town import Town as Cloud
from tests.ports import free_port

Part = Literal["camera", "dock", "receiver"]
PARTS: Final[tuple[Part, ...]] = ("camera", "dock", "receiver")
CAMERA: Final = DeviceId("cam-07")
WITHIN_S: Final = 150.0
SEGMENTS: Final = 4
CHAINS: Final = {"intact", "intact with gaps", "salvaged"}
MEMORY: Final = Path("/dev/shm")

SWEPT_AT_THE_NEXT_START: Final = {".lock", ".state.json.part"}
"""What a run may leave whose last act was a death: one file that is written over, and a lock that nobody holds."""

Way = Literal["bundles", "one by one"]
WAYS: Final[tuple[Way, ...]] = ("bundles", "one by one")


# --- what is there before -------------------------------------------------------------------------------------------


def found_town(folder: Path) -> None:
    """Make a town with one enrolled camera and one dock; it is copied for each run."""

    async def found() -> None:
        (folder / "cloud").mkdir(parents=True)
        cloud = Cloud(folder / "cloud")
        await cloud.open()
        field_ = Field(folder / "field", receipt_key=cloud.receipt_key)
        home = field_.enrol(CAMERA)
        field_.station()
        await cloud.enrol(Camera(CAMERA, key=field_.keys[CAMERA]), at=NOON - timedelta(days=30))
        await cloud.close()
        state = DeviceState(home / "device" / "state.json")
        state.change(settings=settings(2))
        state.close()
        (folder / "dock").mkdir()
        (folder / "kluis").mkdir()

    asyncio.run(found())


class Noise:
    """A film of which each second is other noise, and a source that gives it."""

    init = b"ftypmoov"

    def second(self, number: int) -> Any:
        return _Second(number)

    async def of(self, number: int, *, sound: bool) -> Any:
        del number, sound
        return self


@dataclass(frozen=True)
class _Second:
    number: int

    def render(self, **_: Any) -> bytes:
        return random.Random(self.number).randbytes(3000)


class KeptKluis(FakeKluis):
    """Keeps each head in a folder, durably: what it took is still there after the receiver died."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    async def intake(self, head: bytes, *, camera_public_key: bytes, end: bytes | None = None) -> None:
        await super().intake(head, camera_public_key=camera_public_key, end=end)
        (recording,) = self.taken
        self.taken.clear()
        await asyncio.to_thread(replace, self._folder / str(recording), head)


# --- the three processes --------------------------------------------------------------------------------------------


def live_camera(folder: Path, promise: int) -> None:
    """Record, dock, wait until all is wiped. `promise`: a pipe that hears which segments are said to be on the card."""
    append = Writing.append

    def told(self: Writing, batch: Any) -> None:
        append(self, batch)
        os.write(promise, self._recording.bytes + struct.pack(">I", self.segments))

    Writing.append = told  # type: ignore[method-assign]
    cameras.FAST_TICK_S, cameras.WIPE_LOOK_S = 0.01, 0.02  # type: ignore[misc]
    asyncio.run(_live_camera(folder))


async def _live_camera(folder: Path) -> None:
    shown, threads = Time(), Threads()
    nowhere = Endpoint(host="127.0.0.1", port=9, ca=Path("x"), certificate=Path("x"), key=Path("x"))
    device = Device(
        folder / "field" / "cameras" / CAMERA,
        endpoint=nowhere,
        films=Noise(),
        number=0,
        stations=Stations(folder / "field" / "stations", bays=1),
        clock=shown,
        pulse=shown.pulse,
        threads=threads,
        card_bytes=10**8,
        opened=_out_of_reach,
    )
    living = asyncio.create_task(device.run())
    shift = asyncio.create_task(_shift(device, folder))
    await asyncio.wait({living, shift}, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        living.result()
    shift.result()
    await device.switch_off()
    os._exit(0)


def _out_of_reach() -> NoReturn:
    raise NotConnected("no broker in this run")


async def _shift(device: Device, folder: Path) -> None:
    """Press until something is on the card that can be delivered; then into the bay until the card is empty."""
    await device.ready.wait()
    card = folder / "field" / "cameras" / CAMERA / "card"
    while device.bay is None and not _enough(card):  # in a bay it died there, with what it had
        await device.happen(Happening.PRESS)
        async with asyncio.timeout(60):
            while device.busy and not _enough(card):
                await asyncio.sleep(0.005)
        await device.happen(Happening.SWITCH_OFF)
        await device.settled()
    while device.bay is None:
        if await device.dock() is not None:  # the disk would not have it: one pushes again
            await asyncio.sleep(0.02)
    while _left_on(card):  # also what is on its way out: ended in the middle of that, it is no fault of the camera
        await asyncio.sleep(0.02)


def _left_on(card: Path) -> bool:
    recordings = (each for each in (card / "recordings").iterdir() if not each.name.startswith("."))
    return any(recordings) or any((card / "wiping").iterdir())


def _enough(card: Path) -> bool:
    return any(card.glob(f"recordings/*/{SEGMENTS - 1:08}.vos"))


def serve_dock(folder: Path, port: int, way: Way) -> None:
    station.IDLE_S = station.SICK_S = 0.02  # type: ignore[misc]
    station.TRY_AGAIN_S = 0.1  # type: ignore[misc]
    bays.LOOK_AGAIN_MS = 50  # type: ignore[misc]
    letters.LOOK_S = 0.5  # type: ignore[misc]
    rules.LONGEST_WAIT_S = 0.05  # type: ignore[misc]
    if way == "one by one":
        rules.FIRST_BUNDLE_BYTES = 1  # type: ignore[misc]
    state = DockState(folder / "dock" / "state.json")
    chosen = dock.arguments(
        [
            *("--dock", "dock-01", "--org", "heusden", "--bays", str(folder / "field/stations/dock-01/bays")),
            *("--state", str(folder / "dock"), "--receiver", f"https://127.0.0.1:{port}", "--bay-count", "1"),
            *("--ca", str(folder / "cloud/pki/ca.crt"), "--pki", str(folder / "cloud/pki/dock-01")),
        ]
    )
    asyncio.run(dock.work(chosen, Settings(), state))


def _put_carelessly(
    self: Shelf, contents: Sequence[tuple[bytes, Content]], *, approved: Callable[[], Sequence[bool]] | None = None
) -> list[bool]:
    """The control: under its own name at once, in two halves, and asking nobody."""
    for digest, raw in contents:
        with self.path(digest).open("wb", buffering=0) as file:
            file.write(raw[: len(raw) // 2])
            file.write(raw[len(raw) // 2 :])
    return [True for _ in contents]


def serve_receiver(folder: Path, port: int, way: Way, *, careless: bool = False) -> None:
    if careless:
        Shelf.put_all = _put_carelessly  # type: ignore[method-assign]
    for code in receiving.RETRY_AFTER_S:
        receiving.RETRY_AFTER_S[code] = 0

    async def run() -> None:
        cloud = Cloud(folder / "cloud")
        cloud.fast = way == "bundles"
        cloud.clock.now = NOON + timedelta(hours=2)
        cloud.kluis = KeptKluis(folder / "kluis")
        await cloud.open()
        async with cloud.serving(port=port):
            await asyncio.Event().wait()

    asyncio.run(run())


# --- one run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strike:
    """Who is struck, at which of its durable system calls, and how: an errno for `lasts` calls, or None: killed."""

    part: Part
    at: int | None
    fault: Fault = None
    lasts: int = 1
    way: Way = "bundles"
    careless: bool = False  # a control: the receiver writes segments under their own names

    def __str__(self) -> str:
        how = "killed at" if self.fault is None else f"{errno.errorcode[self.fault]} ({self.lasts}) at"
        return f"{self.part}, {self.way}: {how} call {self.at}"


@dataclass
class Ended:
    """What came of it."""

    strike: Strike
    calls: int = 0
    stopped_at: tuple[Call, ...] = ()
    all_calls: tuple[Call, ...] = field(default=(), repr=False)
    restarts: int = 0
    took_s: float = 0.0
    faults: tuple[str, ...] = ()
    story: str = field(default="", repr=False)


class Run:
    """Three processes on a copy of the town."""

    def __init__(self, folder: Path, strike: Strike) -> None:
        self.folder = folder
        self._strike = strike
        self._port = free_port()
        self._log = (folder.parent / "log").open("ab")
        self._promised, self._promise = os.pipe()
        os.set_blocking(self._promised, False)
        self.promises: dict[RecordingId, int] = {}
        self._processes: dict[Part, int] = {}
        self._trap: Trap | None = None
        self._wiped = False
        self.ended = Ended(strike)

    def play(self) -> Ended:
        """Let it all happen, then judge."""
        began = time.monotonic()
        try:
            for part in ("receiver", "dock", "camera"):
                self._start(part, struck=part == self._strike.part)
            while not self._wiped and time.monotonic() - began < WITHIN_S:
                self._turn()
            self._wiped = self._wiped or self._note("it never ended: something waits for a person")
        finally:
            self._stop()
        self.ended.took_s = time.monotonic() - began
        self.ended.faults += tuple(judge(self.folder, self.promises))
        if self.ended.faults:
            self.ended.story = (self.folder.parent / "log").read_text()[-6000:]
        self._log.close()
        os.close(self._promise)
        os.close(self._promised)
        return self.ended

    def _turn(self) -> None:
        if self._trap is None:
            time.sleep(0.005)
        else:
            serve([self._trap], within_s=0.01)
        self._hear()
        for part, process in list(self._processes.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            self._drop_trap(part)
            if part == "camera" and status == 0:
                del self._processes[part]
                self._wiped = True
                continue
            self.ended.restarts += 1
            self._hear()
            for fault in halfway(self.folder, self.promises):
                self._note(f"when {part} had died: {fault}")
            self._start(part, struck=False)
            if self.ended.restarts > 40:
                self._note("it dies again and again")
                self._wiped = True

    def _start(self, part: Part, *, struck: bool) -> None:
        works: dict[Part, Callable[[], None]] = {
            "camera": lambda: live_camera(self.folder, self._promise),
            "dock": lambda: serve_dock(self.folder, self._port, self._strike.way),
            "receiver": lambda: serve_receiver(
                self.folder, self._port, self._strike.way, careless=self._strike.careless
            ),
        }
        work = works[part]

        def quietly() -> None:
            os.dup2(self._log.fileno(), 1)
            os.dup2(self._log.fileno(), 2)
            print(f"--- {part} starts", file=sys.stderr, flush=True)
            logging.basicConfig(level=logging.INFO, force=True, format=f"{part}: %(message)s", stream=sys.stderr)
            work()

        strike = self._strike
        if struck:
            child, self._trap = watched(quietly, root=self.folder, at=strike.at, fault=strike.fault, lasts=strike.lasts)
        elif (child := os.fork()) == 0:
            end_with(quietly)
        self._processes[part] = child

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while said := os.read(self._promised, 20):
                recording = RecordingId(UUID(bytes=said[:16]))
                self.promises[recording] = struct.unpack(">I", said[16:])[0]

    def _drop_trap(self, part: Part | None = None) -> None:
        if self._trap is not None and part in {None, self._strike.part}:
            self.ended.calls, self.ended.stopped_at = self._trap.seen, tuple(self._trap.stopped_at)
            self.ended.all_calls = tuple(self._trap.calls)
            self._trap.close()
            self._trap = None

    def _stop(self) -> None:
        for process in self._processes.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        self._hear()
        self._drop_trap()

    def _note(self, fault: str) -> bool:
        self.ended.faults += (fault,)
        return True


@contextmanager
def rig() -> Iterator[Callable[[Strike], Ended]]:
    """Found a town once; give what plays a strike on a copy of it."""
    with _folder() as place:
        found_town(place / "town")

        def play(strike: Strike) -> Ended:
            with _folder() as here:
                shutil.copytree(place / "town", here / "town", symlinks=True)
                return Run(here / "town", strike).play()

        yield play


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


# --- what must be true ----------------------------------------------------------------------------------------------


def halfway(folder: Path, promises: dict[RecordingId, int]) -> Iterator[str]:
    """At any moment: what was promised is on the card, or, once wiped, in the vault; and nothing is there in part."""
    vault = {path.name: path for path in (folder / "cloud" / "vault").glob("??/*") if not path.name.startswith(".")}
    for name, path in vault.items():
        if not is_what_it_is_called(path.read_bytes(), bytes.fromhex(name)):
            yield f"segment {name[:8]} is visible and not whole"
    for recording, count in promises.items():
        if (lies := folder / "field" / "cameras" / CAMERA / "card" / "recordings" / str(recording)).exists():
            missing = [number for number in range(count) if not (lies / f"{number:08}.vos").exists()]
            if missing and lies.exists():
                yield f"recording {recording}: segments {missing} are not on the card"


def judge(folder: Path, promises: dict[RecordingId, int]) -> Iterator[str]:
    """At the end: all in the vault, once, in custody, in the ledger, behind a receipt; nothing else anywhere."""
    yield from halfway(folder, promises)
    yield from asyncio.run(_judge(folder, promises))


async def _judge(folder: Path, promises: dict[RecordingId, int]) -> list[str]:
    faults = list[str]()
    cloud = Cloud(folder / "cloud")
    try:
        await cloud.open()
        async with cloud.database.transaction() as t:
            rows = {parse_recording(row.id): row for row in (await t.execute(select(recordings))).all()}
            kept = (await t.execute(select(segments.c.recording, segments.c.sequence, segments.c.digest))).all()
        size = cloud.ledger.checkpoint().size
        entered = Counter(read_entry(raw).subject for _, raw in await cloud.ledger.read(0, size))
        faults += _rows(folder, cloud, promises, rows, kept, entered)
    finally:
        await cloud.close()
    named = Counter(digest for _, _, digest in kept)
    there = {each.hex() for each in cloud.vault._shelf.digests()}
    if twice := [digest[:8] for digest, times in named.items() if times > 1]:
        faults.append(f"segments {twice} belong to more than one recording")
    if lost := set(named) - there:
        faults.append(f"{len(lost)} segments of recordings are not in the vault")
    if stray := there - set(named):
        faults.append(f"{len(stray)} segments belong to no recording")
    faults += [
        f"left behind: {path.relative_to(folder)}"
        for part in ("cloud", "dock", "field")
        for path in (folder / part).rglob("*")
        if (path.name.startswith(".") or path.suffix == ".part") and path.name not in SWEPT_AT_THE_NEXT_START
    ]
    said = Outbox(folder / "field" / "cameras" / CAMERA / "device" / "outbox")
    pressed = {event.recording for each in said.waiting() if isinstance(event := decode(each.payload).said, Activation)}
    if silent := [recording for recording in promises if recording not in pressed]:
        faults.append(f"the presses of {silent} are not in the outbox")
    return faults


def _rows(
    folder: Path,
    cloud: Cloud,
    promises: dict[RecordingId, int],
    rows: dict[RecordingId, Any],
    kept: Any,
    entered: Counter[str],
) -> Iterator[str]:
    if not rows:
        yield "nothing was ever delivered"
    for recording, count in promises.items():
        row = rows.get(recording)
        if row is None or row.receipt is None:
            yield f"recording {recording}: {count} segments were promised, and it has no receipt"
            continue
        receipt = read_receipt(row.receipt, cloud.receipt_key.public_key())
        mine = [digest for owner, _, digest in kept if owner == str(recording)]
        if not count <= len(mine) == receipt.segments == row.segments:
            yield f"recording {recording}: {count} promised, {len(mine)} kept, {receipt.segments} in the receipt"
        if not 1 <= entered[str(recording)] <= 2:
            yield f"recording {recording}: {entered[str(recording)]} entries in the ledger"
        head = folder / "kluis" / str(recording)
        if not head.exists() or read_head(head.read_bytes(), _camera_key(folder)).recording != recording:
            yield f"recording {recording}: its key is not in custody"
        if row.chain not in CHAINS:
            yield f"recording {recording}: its chain is {row.chain}"


def _camera_key(folder: Path) -> Ed25519PublicKey:
    raw = (folder / "field" / "cameras" / CAMERA / "device" / "signing.key").read_bytes()
    return Ed25519PrivateKey.from_private_bytes(raw).public_key()
