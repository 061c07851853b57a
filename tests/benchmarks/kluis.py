"""How long the Kluis takes over its socket: `python -m tests.benchmarks.kluis`.

A release is everything: two signatures, two ledger proofs, roster, seats, journal synced, the keys of a range sealed.
The ledger in front of it is in memory, so that the figures are the Kluis's own.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from broker.clock import system_clock
from broker.wire.approvals import Range
from broker.wire.keylist import read_keylist
from cloud.kluis.client import KluisClient
from cloud.kluis.rules.release import Mode
from cloud.kluis.service import serve
from tests.adapters.kluis.conftest import build
from tests.benchmarks.ledger import show
from tests.rules.kluis.world import Submission, heusden


async def timed(count: int, act: Callable[[int], Awaitable[object]]) -> list[float]:
    spent = []
    for n in range(count):
        started = time.perf_counter()
        await act(n)
        spent.append(time.perf_counter() - started)
    return sorted(spent)


def line(what: str, spent: list[float]) -> None:
    median, p99 = statistics.median(spent) * 1000, spent[min(len(spent) - 1, int(len(spent) * 0.99))] * 1000
    show(what, f"{median:8.2f} ms median{p99:10.2f} ms p99{len(spent) / sum(spent):8.0f} /s")


async def measure(mode: Mode, *, count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="vo-") as folder:
        world = heusden(mode)
        world.now = system_clock()
        town = build(Path(folder) / "kluis", world)
        socket = town.folder / "kluis.sock"
        task = asyncio.ensure_future(serve(town.folder, socket, system_clock))
        while not socket.exists():
            await asyncio.sleep(0.01)
        client = KluisClient(socket)
        keylist = read_keylist(await client.keylist(), town.key)
        films = [world.film(keylist) for _ in range(count)]

        async def take(n: int) -> None:
            await client.intake(films[n].head, camera_public_key=films[n].camera)

        requests: list[tuple[bytes, Submission]] = []

        async def release(n: int) -> None:
            raw, submission = requests[n]
            await client.release(raw, **submission.arguments())

        line(f"{mode.value}: intake", await timed(count, take))
        for last in (60, 1800):
            requests.clear()
            for footage in films:
                world.now = system_clock()
                raw = world.request(Range(id=str(footage.id), first=1, last=last))
                requests.append((raw, world.submit(raw)))
            line(f"{mode.value}: release of {last} s", await timed(count, release))
        orders = [world.order(footage.id) for footage in films]

        async def destroy(n: int) -> None:
            await client.destroy(films[n].id, entry=orders[n][0], proof=orders[n][1])

        line(f"{mode.value}: destroy", await timed(count, destroy))
        await client.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def main() -> None:
    for mode in Mode:
        await measure(mode, count=200)
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
