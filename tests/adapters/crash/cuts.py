"""`python -m tests.adapters.crash.cuts [EVERY]`: an upload cut at each KiB (or each EVERY KiB), and sent again.

One segment of 2 MiB, and a bundle of eight small ones, through the fast lane and the ordinary one. After each cut
nothing of it may be visible, what was acknowledged before stays, and the receiver says so when the dock asks what it
has. In the end the whole goes in, byte for byte, and no temporary is left.
"""

import asyncio
import io
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from broker.wire.delivery import bundle_name, length_in_bundle
from broker.wire.ids import DeviceId
from cloud.vault.shelf import INCOMING
from tests.adapters.crash.tally import Tally
from tests.adapters.intake.town import Camera, Town

KIB = 1024
MEMORY = Path("/dev/shm")


@dataclass
class Table:
    """One line: what was sent, by which lane; what was visible of it after a cut, or wrong in the end."""

    what: str
    lane: str
    cuts: int = 0
    visible: int = 0
    wrong: str = ""
    took_s: float = 0.0


async def cut(town: Town, path: str, body: bytes, at: int) -> None:
    """Send so many bytes of a body, and vanish."""
    _, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=town.tls())
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:at])
    await writer.drain()
    writer.transport.abort()


async def put(session: ClientSession, path: str, body: bytes) -> str:
    """Send it whole, again when the receiver has no time now, as a dock does; return why it was refused, or nothing."""
    for _ in range(30):
        async with session.put(path, data=io.BytesIO(body)) as answer:
            if answer.status not in {429, 503}:
                return "" if answer.status == 201 else f"{answer.status} {await answer.text()}"
            said = await answer.text()
        await asyncio.sleep(1)
    return f"thirty times: {said}"


async def here(session: ClientSession, digests: list[bytes]) -> int:
    """Return how many of these the receiver says it has."""
    async with session.post("/v1/segments/have", data=b"".join(digests)) as answer:
        return int.from_bytes(await answer.read(), "big").bit_count()


async def table(town: Town, camera: Camera, what: str, *, every: int, tally: Tally) -> Table:
    """Cut one upload at each place; the segment before it was acknowledged, and must stay."""
    found, began = Table(what, "fast" if town.fast else "ordinary"), time.monotonic()
    size, count = (2 * KIB * KIB - 304, 1) if what == "segment" else (100 * KIB, 8)
    made = camera.record(seconds=count + 1, pre_record_s=0, bytes_each=size)
    first, *rest = zip(made.digests[1:], made.segments[1:], strict=True)
    digests = [digest for digest, _ in rest]
    if what == "segment":
        path, body = f"/v1/segments/{digests[0].hex()}", rest[0][1]
    else:
        path, body = f"/v1/bundles/{bundle_name(digests)}", b"".join(length_in_bundle(len(r)) + r for _, r in rest)
    async with town.serving(), town.as_dock() as dock:
        refused = await put(dock, f"/v1/segments/{first[0].hex()}", first[1])
        assert not refused, refused
        for at in range(0, len(body), every * KIB):
            await cut(town, path, body, at)
            found.cuts += 1
            tally.points += 1
            found.visible += await here(dock, [first[0], *digests]) != 1
            tally.still(f"{found.what}, {found.lane} lane, cut at {at // KIB} of {len(body) // KIB} KiB")
        if refused := await put(dock, path, body):
            found.wrong = f"the whole was refused: {refused}"
        if await here(dock, [first[0], *digests]) != len(digests) + 1:
            found.wrong = "the whole is not there"
    for digest, raw in (first, *rest):
        if await town.vault.read(digest) != raw:
            found.wrong = f"{digest.hex()[:8]} is not what was sent"
    for _ in range(300):  # the last one may still be on its way out
        if not (left := list((town.folder / "vault" / INCOMING).iterdir())):
            break
        await asyncio.sleep(0.1)
    else:
        found.wrong = f"{len(left)} temporaries are left"
    found.took_s = time.monotonic() - began
    tally.failures += bool(found.visible or found.wrong)
    return found


async def tables(*, every: int, tally: Tally) -> AsyncIterator[Table]:
    """Yield the four lines."""
    for fast in (True, False):
        with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
            town = Town(Path(folder))
            town.fast = fast
            await town.open()
            camera = await town.enrol(Camera(DeviceId("cam-01")))
            for what in ("segment", "bundle"):
                yield await table(town, camera, what, every=every, tally=tally)
            await town.close()


def main(every: int, tally: Tally) -> None:
    """Print the table; a failure is a line with half of anything visible, or of which the whole did not go in."""

    async def lines() -> None:
        async for each in tables(every=every, tally=tally):
            end = each.wrong or "whole"
            print(
                f"{each.what:9} {each.lane:9} {each.cuts:>5} {each.visible:>8} {each.took_s:>6.1f}  {end}", flush=True
            )

    print(f"{'sent':9} {'lane':9} {'cuts':>5} {'visible':>8} {'s':>6}  in the end")
    asyncio.run(lines())


if __name__ == "__main__":
    alone = Tally()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, alone)
    sys.exit(alone.exit_code)
