"""How fast an event comes from a camera to the desk's side, and how many cameras one process can be.

``python -m tests.benchmarks.broker [--cameras 50] [--rate 1] [--seconds 20] [--broker embedded|mosquitto]``

Every camera has its own certificate and mTLS connection, publishes at QoS 1 at its own phase of the second, and one
subscriber acknowledges each message. Client, broker and subscriber share this machine: read ratios, not absolutes.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections import Counter
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from broker.client import Connection, NotConnected, connect
from broker.embedded import EmbeddedBroker
from broker.identities import Authority
from broker.mosquitto import MosquittoBroker
from broker.rules.access import Role

TOWN = "dorpstad"
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


def main() -> None:
    """Run one load from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.broker", description=__doc__)
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1.0, help="events per camera and second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert soft <= hard
    with tempfile.TemporaryDirectory(prefix="vo-bench-") as folder:
        figures = asyncio.run(
            measure(given.broker, cameras=given.cameras, rate=given.rate, seconds=given.seconds, folder=Path(folder))
        )
    print(f"{given.broker}: {figures}")


if __name__ == "__main__":
    main()
