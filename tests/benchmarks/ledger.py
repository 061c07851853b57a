"""How fast the ledger takes entries, proves them and is verified: `python -m tests.benchmarks.ledger`.

Every append counts as done when it is durable: files and folders synced. Read ratios, not absolute values: the disk
decides the first lines.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.tlog import check_proof
from cloud.ledger.log import Entry, Ledger
from cloud.ledger.verify import verify

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ORIGIN = "ledger.example/bench"


async def add(ledger: Ledger, n: int) -> Entry:
    facts = {"request_sha256": "0" * 64, "n": n}
    return await ledger.append("viewing.requested", subject=f"case-{n}", actor="o-1", at=NOW, facts=facts)


async def one_by_one(ledger: Ledger, count: int) -> list[float]:
    spent = []
    for n in range(count):
        started = time.perf_counter()
        await add(ledger, n)
        spent.append(time.perf_counter() - started)
    return spent


async def at_once(ledger: Ledger, count: int, *, writers: int) -> float:
    numbers = itertools.count()

    async def write() -> None:
        while next(numbers) < count:
            await add(ledger, 0)

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return count / (time.perf_counter() - started)


async def main() -> None:
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder), origin=ORIGIN, key=key)
        single = sorted(await one_by_one(ledger, 300))
        show("appends, one after the other", f"{len(single) / sum(single):8.0f} /s")
        show("  time of one, median", f"{statistics.median(single) * 1000:8.2f} ms")
        show("  time of one, p99", f"{single[int(len(single) * 0.99)] * 1000:8.2f} ms")
        for writers, count in ((16, 1600), (256, 8000), (4096, 20000)):
            show(f"appends, {writers} writers at a time", f"{await at_once(ledger, count, writers=writers):8.0f} /s")
        entry = await add(ledger, 1)
        started = time.perf_counter()
        for _ in range(1000):
            check_proof(entry.proof, leaf=entry.raw, origin=ORIGIN, key=key.public_key())
        show("proofs checked", f"{1000 / (time.perf_counter() - started):8.0f} /s")
        show("bytes of a proof", f"{len(entry.proof):8d}")
        size = ledger.checkpoint().size
        await ledger.close()
        started = time.perf_counter()
        await Ledger.open(Path(folder), origin=ORIGIN, key=key).close()
        show(f"opened, {size} entries", f"{(time.perf_counter() - started) * 1000:8.0f} ms")
        started = time.perf_counter()
        found = await asyncio.to_thread(verify, Path(folder), origin=ORIGIN, key=key.public_key())
        assert found.intact
        show("verified from the files", f"{size / (time.perf_counter() - started):8.0f} entries/s")


def show(what: str, figure: str) -> None:
    sys.stdout.write(f"{what:<36}{figure}\n")


if __name__ == "__main__":
    asyncio.run(main())
