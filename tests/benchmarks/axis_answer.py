"""`python -m tests.benchmarks.axis_answer MEGABYTES... [--below FOLDER]`: how long a dock waits after its last byte.

The door is this process, over TLS; the sender is another one, which notes when the kernel took its last byte and when
the answer came. A dock gives up after 60 s. FOLDER is where the town lies: a slow disk, for one.
"""

import argparse
import asyncio
import secrets
import ssl
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from broker.wire.policy import Via
from tests.adapters.axis.world import CONTAINER, clip_meta, prepare, serving
from tests.adapters.intake.town import Town
from tests.benchmarks.axis import MIB, Watch

ME = "tests.benchmarks.axis_answer"
BLOCK = secrets.token_bytes(MIB)


async def send(url: str, token: str, ca: Path, megabytes: int) -> None:
    """Send one clip; print the seconds it took to send, and those from its last byte to the answer."""
    place = urlsplit(url)
    tls = ssl.create_default_context(cafile=ca)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=tls)
    said = [f"X-Object-Meta-{name}: {value}" for name, value in clip_meta().items()]
    head = [f"PUT {place.path} HTTP/1.1", f"Host: {place.netloc}", f"X-Auth-Token: {token}"]
    writer.write("\r\n".join([*head, *said, f"Content-Length: {megabytes * MIB}", "", ""]).encode())
    begun_s = time.perf_counter()
    for number in range(megabytes):
        writer.write(number.to_bytes(8) + BLOCK[8:])
        await writer.drain()
    while writer.transport.get_write_buffer_size():
        await asyncio.sleep(0.001)
    sent_s = time.perf_counter()
    status = (await reader.readline()).split()[1].decode()
    print(f"| {megabytes} | {sent_s - begun_s:.1f} | {time.perf_counter() - sent_s:.2f} | {status} |", flush=True)
    writer.close()


async def main(sizes: list[int], below: Path | None) -> None:
    """Take in one clip of each size, one after the other, in a town of its own."""
    with tempfile.TemporaryDirectory(prefix="vo-", dir=below) as folder:
        town = prepare(Town(Path(folder)), Via.AXIS)
        await town.open()
        async with serving(town) as axis, axis.dock() as dock:
            await dock.introduce()
            print("| MiB | sending, s | last byte to answer, s | status |\n| --- | --- | --- | --- |", flush=True)
            for megabytes in sizes:
                container = f"{CONTAINER}-{megabytes}"
                await dock.begin(container)
                url, token = f"{dock.storage}/{container}/clip.mp4", dock.headers["X-Auth-Token"]
                with Watch("at the door"):
                    words = ("--to", url, token, str(axis.ca), str(megabytes))
                    sender = await asyncio.create_subprocess_exec(sys.executable, "-m", ME, *words)
                    assert await sender.wait() == 0
        await town.close()


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("megabytes", type=int, nargs="*", default=[400, 2048])
    words.add_argument("--below", type=Path)
    words.add_argument("--to", nargs=4, metavar=("URL", "TOKEN", "CA", "MEGABYTES"))
    given = words.parse_args()
    if given.to:
        asyncio.run(send(given.to[0], given.to[1], Path(given.to[2]), int(given.to[3])))
    else:
        asyncio.run(main(given.megabytes, given.below))
