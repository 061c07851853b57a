"""How fast an event comes from a camera to the desk's side, and what very many cameras cost.

``python -m tests.benchmarks.broker [load|presses|swarm|intake] [--cameras 50] [--rate 1] [--seconds 20]``

    load      MQTT alone, to one subscriber; also ``--broker mosquitto``
    presses   real links with their outboxes -> broker -> cloud's database and ledger -> browser; what was lost or twice
    swarm     very many cameras at their real rates -> broker -> cloud; then the broker is killed
    intake    what one process of the cloud takes in, without a broker

docs/figures/broker.md has what came out. In *load*, every camera has its own certificate and mTLS connection and
publishes at QoS 1 at its own phase of the second; one subscriber acknowledges each message. Clients, broker and
subscriber share this machine: read ratios, not absolutes.
"""

import argparse
import asyncio
import itertools
import json
import os
import resource
import secrets
import signal
import tempfile
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Connection, Endpoint, NotConnected, connect
from broker.clock import system_clock
from broker.embedded import EmbeddedBroker
from broker.identities import Authority
from broker.mosquitto import MosquittoBroker
from broker.rules.access import Role
from broker.wire import topics
from broker.wire.events import Activation, LowStorage
from broker.wire.ids import DeviceId, uuid7
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.fleet.link import LANES
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.ledger.log import Ledger
from edge.enrolment import Enrolment
from edge.link import Camera, Link
from edge.outbox import Outbox
from edge.pulse import Pulse
from edge.threads import Threads
from tests.adapters.fleet.cameras import Spoken
from tests.adapters.fleet.test_nothing_lost import count
from tests.benchmarks import town
from tests.benchmarks.swarm import Voice
from tests.benchmarks.town import part

TOWN = "dorpstad"
PRESS_EVERY = 10
"""Every so many events is a press; the others are reports of the card's space."""
_PADDING = b" " * 480
"""An activation is about 500 bytes of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run. Times in milliseconds; memory in MiB; CPU in percent of one core while publishing."""

    cameras: int
    sent: int
    lost: int
    twice: int
    connect_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    broker_mib: float
    broker_cpu_pct: float
    clients_cpu_pct: float

    def __str__(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.cameras} cameras, connected in {self.connect_s:.1f} s; {self.sent} events, {self.lost} lost, "
            f"{self.twice} twice; p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, worst {self.worst_ms:.1f} ms; "
            f"broker {self.broker_mib:.0f} MiB, {self.broker_cpu_pct:.0f} % CPU; "
            f"all clients together {self.clients_cpu_pct:.0f} % CPU"
        )


async def measure(kind: str, *, cameras: int, rate: float, seconds: float, folder: Path) -> Figures:
    """Run one load and return its figures."""
    authority = Authority.create(folder / "pki", TOWN)
    names = [f"cam-{number:05}" for number in range(cameras)]
    for name in names:
        authority.issue(name, Role.CAMERA)
    authority.issue("svc-fleet", Role.FLEET)
    starting: AbstractAsyncContextManager[EmbeddedBroker | MosquittoBroker]
    if kind == "embedded":
        starting = EmbeddedBroker.start(folder / "broker", identities=authority, port=0)
    else:
        starting = MosquittoBroker.start(folder / "broker", identities=authority, port=0)
    arrived: Counter[bytes] = Counter()
    taken_s: list[float] = []
    async with AsyncExitStack() as stack:
        broker: EmbeddedBroker | MosquittoBroker = await stack.enter_async_context(starting)
        fleet = await stack.enter_async_context(
            connect(
                broker.endpoint("svc-fleet"),
                client_id="svc-fleet",
                subscriptions=[(f"vo/v1/{TOWN}/cam/+/evt/+", 1)],
            )
        )

        async def listen() -> None:
            async for message in fleet.messages():
                now = time.perf_counter()
                fleet.ack(message)
                key, _, at = message.payload.partition(b"@")
                arrived[key] += 1
                taken_s.append(now - float(at))

        listening = asyncio.create_task(listen())
        began = time.perf_counter()
        doors = asyncio.Semaphore(20)

        async def open_one(name: str) -> tuple[str, Connection]:
            async with doors:
                return name, await stack.enter_async_context(connect(broker.endpoint(name), client_id=name))

        opened = await asyncio.gather(*(open_one(name) for name in names))
        connect_s = time.perf_counter() - began
        sent: list[bytes] = []
        cpu, own = _cpu_s(broker.pid), time.process_time()
        start = time.perf_counter()

        async def press(number: int, name: str, camera: Connection) -> None:
            await asyncio.sleep(number / len(names) / rate)
            for turn in range(int(seconds * rate)):
                key = f"{name}-{turn}".encode()
                sent.append(key)
                said = b"%s@%.6f%s" % (key, time.perf_counter(), _PADDING)
                await camera.publish(f"vo/v1/{TOWN}/cam/{name}/evt/activation", said)
                due = start + (number / len(names) + turn + 1) / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        await asyncio.gather(*(press(number, name, camera) for number, (name, camera) in enumerate(opened)))
        lasted = time.perf_counter() - start
        async with asyncio.timeout(30):
            while len(arrived) < len(sent):
                await asyncio.sleep(0.05)
        figures = Figures(
            cameras=cameras,
            sent=len(sent),
            lost=len(set(sent) - set(arrived)),
            twice=sum(count - 1 for count in arrived.values()),
            connect_s=connect_s,
            p50_ms=_at(taken_s, 0.5) * 1000,
            p99_ms=_at(taken_s, 0.99) * 1000,
            worst_ms=max(taken_s) * 1000,
            broker_mib=_memory_mib(broker.pid),
            broker_cpu_pct=(_cpu_s(broker.pid) - cpu) / lasted * 100,
            clients_cpu_pct=(time.process_time() - own) / lasted * 100,
        )
        listening.cancel()
        await asyncio.wait([listening])
        if not listening.cancelled() and isinstance(listening.exception(), NotConnected):
            raise RuntimeError("the subscriber lost its connection during the measurement")
    return figures


def _at(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # USER_HZ


def _memory_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Presses:
    """One run of presses. Milliseconds from the press (before it is written to the camera's outbox)."""

    cameras: int
    said: int
    in_database: int
    caught_up_s: float
    pressed: int
    rows: int
    rows_twice: int
    entries: int
    entries_twice: int
    database_p50_ms: float
    database_p99_ms: float
    browser_p50_ms: float
    browser_p99_ms: float
    cloud_cpu_pct: float

    def __str__(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.cameras} cameras, {self.said} events, {self.in_database} in the database, the last receipt after "
            f"{self.caught_up_s:.1f} s; {self.pressed} presses; {self.rows} rows, {self.rows_twice} twice; "
            f"{self.entries} ledger entries, {self.entries_twice} twice; "
            f"press to database p50 {self.database_p50_ms:.1f} ms, p99 {self.database_p99_ms:.1f} ms; "
            f"press to browser p50 {self.browser_p50_ms:.1f} ms, p99 {self.browser_p99_ms:.1f} ms; "
            f"cloud {self.cloud_cpu_pct:.0f} % CPU"
        )


async def measure_presses(*, cameras: int, rate: float, seconds: float, folder: Path) -> Presses:
    """Press buttons of real links with their outboxes; see when database and browser know."""
    names = [f"cam-{number:05}" for number in range(cameras)]
    authority = await town.found(folder, names)
    pressed: dict[str, float] = {}
    shown: dict[str, float] = {}
    told = [0]
    threads = Threads()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker.start(folder / "broker", identities=authority, port=0))
        cloud = await stack.enter_async_context(part("tests.benchmarks.cloud", str(folder), str(broker.port)))
        await _until(lambda: cloud.last.get("connected"))
        browser = await stack.enter_async_context(ClientSession())
        watching = asyncio.create_task(_watch(browser, cloud.last["sse"], shown))
        links = [_link(folder, name, broker, threads) for name in names]
        running = [asyncio.create_task(link.run()) for link in links]
        await _until(lambda: all(link.connected for link in links) and cloud.last["standby"] == cameras)
        await asyncio.sleep(2)
        cpu, start = _cpu_s(cloud.pid), time.perf_counter()

        async def press(number: int, link: Link) -> None:
            for turn in range(int(seconds * rate)):
                due = start + (number / len(links) + turn) / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                now = system_clock()
                told[0] += 1
                if (turn + number) % PRESS_EVERY:
                    await link.tell(LowStorage(card_free_pct=50))
                    continue
                recording = uuid7(now, secrets.token_bytes(10))
                pressed[str(recording)] = time.perf_counter()
                await link.tell(Activation(recording=recording, activated_at=now, pre_record_s=30.0))

        await asyncio.gather(*(press(number, link) for number, link in enumerate(links)))
        lasted = time.perf_counter() - start
        cloud_pct = (_cpu_s(cloud.pid) - cpu) / lasted * 100
        await _until(lambda: not any(link._outbox.waiting() for link in links), within_s=120)
        caught_up_s = time.perf_counter() - start - lasted
        await _until(lambda: len(shown) == len(pressed), within_s=30)
        await asyncio.sleep(1)
        for task in (watching, *running):
            task.cancel()
        await asyncio.gather(watching, *running, return_exceptions=True)
    threads.close()
    written = dict(line.split() for line in (folder / "written.log").read_text().splitlines())
    counted = await count(folder)
    assert set(counted.activations) == set(counted.entries) == set(pressed)
    in_database = [float(at) - pressed[name] for name, at in written.items()]
    on_screen = [at - pressed[name] for name, at in shown.items()]
    return Presses(
        cameras=cameras,
        said=told[0],
        in_database=counted.events,
        caught_up_s=caught_up_s,
        pressed=len(pressed),
        rows=len(counted.activations),
        rows_twice=counted.activations.total() - len(counted.activations),
        entries=len(counted.entries),
        entries_twice=counted.entries.total() - len(counted.entries),
        database_p50_ms=_at(in_database, 0.5) * 1000,
        database_p99_ms=_at(in_database, 0.99) * 1000,
        browser_p50_ms=_at(on_screen, 0.5) * 1000,
        browser_p99_ms=_at(on_screen, 0.99) * 1000,
        cloud_cpu_pct=cloud_pct,
    )


def _link(folder: Path, name: str, broker: EmbeddedBroker, threads: Threads) -> Link:
    key = b64encode(bytes(32)).decode()
    pem = folder / "swarm" / f"{name}.pem"
    spoken = Spoken(boot=f"boot-{name}")
    return Link(
        enrolment=Enrolment(org=town.ORG, camera=name, oin="0" * 20, receipt_key=key, kluis_key=key, command_key=key),
        endpoint=Endpoint(host=broker.host, port=broker.port, ca=folder / "pki" / "ca.crt", certificate=pem, key=pem),
        outbox=Outbox(folder / "outbox" / name),
        camera=Camera(state=spoken.state, telemetry=spoken.telemetry, settings=spoken.take, obey=spoken.obey),
        boot=spoken.boot,
        clock=system_clock,
        pulse=Pulse(time.monotonic, lambda: 1.0),
        threads=threads,
    )


async def _watch(browser: ClientSession, port: int, shown: dict[str, float]) -> None:
    """A browser that looks at the coordinator's page."""
    kind = b""
    async with browser.get(f"http://127.0.0.1:{port}/nieuws", timeout=ClientTimeout(total=None)) as news:
        async for line in news.content:
            if line.startswith(b"event: "):
                kind = line[7:].strip()
            elif line.startswith(b"data: ") and kind == b"activation":
                shown.setdefault(json.loads(line[6:])["recording"], time.perf_counter())


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarmed:
    """One run of very many cameras at their real rates. Memory in MiB, CPU in percent of one core."""

    cameras: int
    connected_in_s: float
    quiet_s: float
    said_per_s: float
    heard_per_s: float
    broker_cpu_pct: float
    broker_mib: float
    broker_kib_per_camera: float
    cloud_cpu_pct: float
    cloud_mib: float
    swarm_cpu_pct: float
    slowest_ack_s: float
    silent: int
    refused: int
    back_half_s: float
    back_all_s: float
    most_connects_per_s: float

    def __str__(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.cameras} cameras, connected in {self.connected_in_s:.0f} s; {self.quiet_s:.0f} s at their rates: "
            f"{self.said_per_s:.0f} msg/s said at QoS 1, {self.heard_per_s:.0f} msg/s taken in, {self.silent} silent, "
            f"{self.refused} subscriptions refused, slowest acknowledgement {self.slowest_ack_s:.2f} s; "
            f"broker {self.broker_cpu_pct:.0f} % CPU, "
            f"{self.broker_mib:.0f} MiB, {self.broker_kib_per_camera:.0f} KiB a camera; "
            f"cloud {self.cloud_cpu_pct:.0f} % CPU, {self.cloud_mib:.0f} MiB; cameras {self.swarm_cpu_pct:.0f} % CPU; "
            f"broker killed: half back in {self.back_half_s:.0f} s, all in {self.back_all_s:.0f} s, "
            f"at most {self.most_connects_per_s:.0f} connections/s"
        )


async def measure_swarm(*, cameras: int, seconds: float, folder: Path, processes: int = 2) -> Swarmed:
    """Let so many cameras live; kill the broker once."""
    names = [f"cam-{number:05}" for number in range(cameras)]
    authority = await town.found(folder, names)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker.start(folder / "broker", identities=authority, port=0))
        empty_mib = _memory_mib(broker.pid)
        cloud = await stack.enter_async_context(part("tests.benchmarks.cloud", str(folder), str(broker.port)))
        await _until(lambda: cloud.last.get("connected"), within_s=120)
        share = -(-cameras // processes)
        began = time.perf_counter()
        swarms = [
            await stack.enter_async_context(
                part(
                    "tests.benchmarks.swarm",
                    *(str(folder), str(broker.port), str(first), str(min(share, cameras - first))),
                )
            )
            for first in range(0, cameras, share)
        ]

        def connected() -> int:
            return sum(each.last.get("connected", 0) for each in swarms)

        def connects() -> int:
            return sum(each.last.get("connects", 0) for each in swarms)

        def said() -> int:
            return sum(each.last["said"] for each in swarms)

        await _until(lambda: connected() == cameras, within_s=1200, say=lambda: f"{connected()} connected")
        connected_in_s = time.perf_counter() - began
        await asyncio.sleep(min(30.0, 5 + cameras / 300))
        parts = (broker.pid, cloud.pid, *(each.pid for each in swarms))
        cpu, start = [_cpu_s(pid) for pid in parts], time.perf_counter()
        before = (said(), cloud.last["heard"])
        for each in swarms:
            each.slowest_ack_s = 0.0
        await asyncio.sleep(seconds)
        lasted = time.perf_counter() - start
        spent = [(_cpu_s(pid) - used) / lasted * 100 for pid, used in zip(parts, cpu, strict=True)]
        after = (said(), cloud.last["heard"])
        broker_mib, cloud_mib = _memory_mib(broker.pid), _memory_mib(cloud.pid)
        slowest, silent = max(each.slowest_ack_s for each in swarms), cloud.last["silent"]

        refused = sum(each.last["refused"] for each in swarms)
        print(
            f"  at their rates: {(after[0] - before[0]) / lasted:.0f} /s said, {(after[1] - before[1]) / lasted:.0f} "
            f"taken in; CPU broker {spent[0]:.0f} %, cloud {spent[1]:.0f} %, cameras {sum(spent[2:]):.0f} %; "
            f"broker {broker_mib:.0f} MiB ({empty_mib:.0f} when empty), cloud {cloud_mib:.0f} MiB; {silent} silent, "
            f"{refused} refused, slowest acknowledgement {slowest:.2f} s",
            flush=True,
        )
        killed, back_half_s, most = time.perf_counter(), 0.0, 0.0
        os.kill(broker.pid, signal.SIGKILL)
        gone = cameras / 10 if cameras >= 1000 else cameras  # a small fleet is back before anybody has looked
        await _until(lambda: connected() < gone, within_s=30)
        seen, seen_at = connects(), time.perf_counter()
        said_at = seen_at
        while connected() < cameras:
            await asyncio.sleep(1)
            now = time.perf_counter()
            most, seen, seen_at = max(most, (connects() - seen) / (now - seen_at)), connects(), now
            if not back_half_s and connected() >= cameras / 2:
                back_half_s = now - killed
            if now >= said_at + 10:
                print(f"  {now - killed:.0f} s: {connected()} back", flush=True)
                said_at = now
            if now - killed > 600:
                raise TimeoutError(f"{connected()} of {cameras} cameras back after 600 s")
        back_all_s = time.perf_counter() - killed
    return Swarmed(
        cameras=cameras,
        connected_in_s=connected_in_s,
        quiet_s=lasted,
        said_per_s=(after[0] - before[0]) / lasted,
        heard_per_s=(after[1] - before[1]) / lasted,
        broker_cpu_pct=spent[0],
        broker_mib=broker_mib,
        broker_kib_per_camera=(broker_mib - empty_mib) * 1024 / cameras,
        cloud_cpu_pct=spent[1],
        cloud_mib=cloud_mib,
        swarm_cpu_pct=sum(spent[2:]),
        slowest_ack_s=slowest,
        silent=silent,
        refused=refused,
        back_half_s=back_half_s,
        back_all_s=back_all_s,
        most_connects_per_s=most,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How many messages a second one process takes in: heartbeats (memory), state changes and presses (database)."""

    heartbeats_per_s: float
    changes_per_s: float
    presses_per_s: float

    def __str__(self) -> str:
        """One line for a terminal."""
        return (
            f"taken in by one process: {self.heartbeats_per_s:.0f} heartbeats/s, "
            f"{self.changes_per_s:.0f} changes of state/s into the database, "
            f"{self.presses_per_s:.0f} presses/s into database and ledger"
        )


async def measure_intake(*, cameras: int, seconds: float, folder: Path) -> Taken:
    """Give the fleet messages as fast as it takes them, as many at the same time as its link does."""
    names = [f"cam-{number:05}" for number in range(cameras)]
    await town.found(folder, names)
    database = Database(f"sqlite+aiosqlite:///{folder / 'town.sqlite'}")
    key = Ed25519PrivateKey.from_private_bytes((folder / "ledger.key").read_bytes())
    ledger = Ledger.open(folder / "ledger", origin="test/ledger", key=key)
    fleet = Fleet(database, ledger, LiveHub(), Policies(database), system_clock)
    await fleet.load(town.ORG)
    fleet.listen(town.ORG, hearing=True)
    voices = [Voice(town.ORG, DeviceId(name)) for name in names]

    async def rate(say: Callable[[Voice, int], tuple[str, bytes]]) -> float:
        turn = itertools.count()
        until, taken = time.perf_counter() + seconds, 0

        async def lane(mine: list[Voice]) -> None:
            nonlocal taken
            while mine and time.perf_counter() < until:
                for voice in mine:
                    await fleet.on_message(*say(voice, next(turn)))
                    taken += 1
                    if time.perf_counter() > until:
                        return

        began = time.perf_counter()
        await asyncio.gather(*(lane(voices[first::LANES]) for first in range(LANES)))
        return taken / (time.perf_counter() - began)

    def beat(voice: Voice, _: int) -> tuple[str, bytes]:
        return topics.camera_state(town.ORG, voice.device), voice.state()

    def change(voice: Voice, turn: int) -> tuple[str, bytes]:
        return topics.camera_state(town.ORG, voice.device), voice.state("off" if turn % 2 else "standby")

    def press(voice: Voice, _: int) -> tuple[str, bytes]:
        now = system_clock()
        said = Activation(recording=uuid7(now, secrets.token_bytes(10)), activated_at=now, pre_record_s=30.0)
        return topics.camera_event(town.ORG, voice.device, "activation"), voice.say(said)

    try:
        for voice in voices:
            await fleet.on_message(*beat(voice, 0))
        taken = Taken(
            heartbeats_per_s=await rate(beat), changes_per_s=await rate(change), presses_per_s=await rate(press)
        )
    finally:
        await ledger.close()
        await database.close()
    return taken


async def _until(what: Callable[[], object], *, within_s: float = 60.0, say: Callable[[], str] | None = None) -> None:
    began = said = time.perf_counter()
    while not what():
        await asyncio.sleep(0.1)
        now = time.perf_counter()
        if now - began > within_s:
            raise TimeoutError(f"not within {within_s:.0f} s")
        if say is not None and now - said > 10:
            print(f"  {now - began:.0f} s: {say()}", flush=True)
            said = now


def main() -> None:
    """Run one measurement from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.broker", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["load", "presses", "swarm", "intake"], default="load")
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1.0, help="events per camera and second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded", help="for `load`")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert soft <= hard
    figures: object
    with tempfile.TemporaryDirectory(prefix="vo-bench-") as made:
        many: dict[str, Any] = {"cameras": given.cameras, "seconds": given.seconds, "folder": Path(made)}
        match given.what:
            case "presses":
                figures = asyncio.run(measure_presses(rate=given.rate, **many))
            case "swarm":
                figures = asyncio.run(measure_swarm(**many))
            case "intake":
                figures = asyncio.run(measure_intake(**many))
            case _:
                figures = asyncio.run(measure(given.broker, rate=given.rate, **many))
    print(f"{given.what}, {given.broker}: {figures}")


if __name__ == "__main__":
    main()
