"""`python -m tests.adapters.crash.power_cut [SECONDS]`: a real file system shut down under load; what was promised?

Each receiver takes segments onto a fresh file system in an image. Some time in, the file system is shut down without a
last write (``XFS_IOC_GOINGDOWN``, NOLOGFLUSH), the receiver is killed, the image is mounted again, its journal
replayed, and every segment that was acknowledged is looked for and hashed. nginx without sync and @tus/server run as
controls: when they lose nothing, it is the test that is broken. What a disk's own cache does on a power cut is not
modelled.
"""

import asyncio
import hashlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue

from broker.wire.delivery import MAX_IN_BUNDLE_BYTES
from broker.wire.ids import DeviceId
from tests.adapters.crash.loop import LoopDisk, NoLoop, loop_disk
from tests.adapters.crash.tally import Tally
from tests.adapters.intake.town import Camera
from tests.benchmarks.peers import node_peers
from tests.benchmarks.upload import (
    IN_BUNDLE,
    KIB,
    MIB,
    Request,
    Segments,
    ask,
    bundle_request,
    connect,
    found,
    tus_request,
    wait_for,
)
from tests.ports import free_port

CONNECTIONS = 8
LEAST, MOST_S = 10, 60.0
"""The power does not go before so many were acknowledged, unless that takes this long: then something is wrong."""

DISK_MB = 3000
SIZES = ((4 * MIB, 250), (MIB, 2000), (64 * KIB, 6000))
"""Bytes of a segment, and how many there are to send."""

Load = list[tuple[Request, Segments]]


@dataclass(frozen=True)
class Arm:
    """One receiver: what starts it (mount, folder beside it, port), its load, whether it must lose, what it needs."""

    name: str
    command: Callable[[Path, Path, int], list[str]]
    requests: Callable[[Segments], Load]
    control: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one cut left: acknowledged segments, those that are gone, and names with other bytes than they promise."""

    acknowledged: int
    lost: int
    wrong: int


def cut(arm: Arm, camera: Camera, load: Segments, *, kind: str, after_s: float) -> Outcome:
    """Send until the power goes; return what is left of what was acknowledged. Raise NoLoop."""
    if arm.needs and shutil.which(arm.needs) is None:
        raise NoLoop(f"needs Debian's {arm.needs}")
    names = {hashlib.sha256(raw).digest(): name for name, raw in load}
    home = "var" if Path("var").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vo-cut-", dir=home) as it:
        place = Path(it).resolve()
        with loop_disk(place, megabytes=DISK_MB, kind=kind) as disk:
            asyncio.run(found(disk.mount, camera))
            subprocess.run(["sync", "-f", str(disk.mount)], check=True)
            acknowledged = _run(arm, disk, place, arm.requests(load), after_s)
            disk.power_on_again()
            files = [(path.name, hashlib.sha256(path.read_bytes()).digest()) for path in _files(disk.mount)]
    there = {names[content] for _, content in files if content in names}
    named = set(names.values())
    return Outcome(
        acknowledged=len(acknowledged),
        lost=sum(name not in there for name in acknowledged),
        wrong=sum(name in named and names.get(content) != name for name, content in files),
    )


def _files(mount: Path) -> list[Path]:
    return [path for path in mount.rglob("*") if path.is_file() and not path.name.startswith(".")]


def _run(arm: Arm, disk: LoopDisk, place: Path, requests: Load, after_s: float) -> list[str]:
    """Return which segments were acknowledged, until long after the cut: no dead disk may be taken for a good one."""
    port, acknowledged = free_port(), list[str]()
    process = subprocess.Popen(
        arm.command(disk.mount, place, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        waiting, over = SimpleQueue[tuple[Request, Segments]](), threading.Event()
        for each in requests:
            waiting.put(each)

        def send() -> None:
            connection = connect(port, None)
            with suppress(Empty, OSError, HTTPException):
                while not over.is_set():
                    request, inside = waiting.get_nowait()
                    if ask(connection, request) in {200, 201, 204}:
                        acknowledged.extend(name for name, _ in inside)
            connection.close()

        threads = [threading.Thread(target=send) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            waited_s = time.monotonic() - began
            if waited_s > MOST_S or (waited_s > after_s and len(acknowledged) >= LEAST):
                break
            time.sleep(0.01)
        disk.cut_the_power()
        if arm.control:
            over.set()  # what writes into memory only does not notice the cut: what it answers from now on is no news
        time.sleep(0.3)
        over.set()
    finally:
        process.kill()
        process.wait()
    for thread in threads:
        thread.join()
    return acknowledged


# --- the arms -------------------------------------------------------------------------------------------------------


def arms(*, peers: bool = True) -> list[Arm]:
    """Return the receiver, in both ways, and the controls that can be had here."""
    every = [
        Arm("receiver", _serve, _one_by_one),
        Arm("receiver, bundles", _serve, _bundles),
        Arm("nginx dav", _nginx, _puts, control=True, needs="nginx"),
    ]
    if peers and (node := node_peers()) is not None:
        every.append(Arm("@tus/server", partial(_tus, node), _tuses, control=True))
    return every


def _serve(mount: Path, _: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.upload", "serve", str(mount), "plain", str(port)]


def _one_by_one(load: Segments) -> Load:
    return [(Request("PUT", f"/v1/segments/{name}", {}, raw), [(name, raw)]) for name, raw in load]


def _bundles(load: Segments) -> Load:
    each = max(IN_BUNDLE * 64 * KIB // len(load[0][1]), 1)
    groups = [load[start : start + each] for start in range(0, len(load), each)]
    return [(bundle_request(group), group) for group in groups]


def _nginx(mount: Path, place: Path, port: int) -> list[str]:
    (mount / "store").mkdir()
    (place / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;
        events {{}}
        http {{
          access_log off; client_body_temp_path {mount}/store/tmp; client_max_body_size 20m;
          server {{ listen 127.0.0.1:{port}; location / {{ root {mount}/store; dav_methods PUT; }} }}
        }}
    """)
    return ["nginx", "-c", str(place / "nginx.conf"), "-p", str(place)]


def _puts(load: Segments) -> Load:
    return [(Request("PUT", f"/{name}", {}, raw), [(name, raw)]) for name, raw in load]


def _tus(peers: Path, mount: Path, _: Path, port: int) -> list[str]:
    (mount / "store").mkdir()
    return ["node", str(peers / "tus.mjs"), str(mount / "store"), str(port)]


def _tuses(load: Segments) -> Load:
    return [(tus_request(raw), [(name, raw)]) for name, raw in load]


def main(after_s: float, tally: Tally, *, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """Print the table; a failure is a receiver that lost anything, or a control that lost nothing."""
    camera, bad = Camera(DeviceId("cam-01")), list[str]()
    print(f"{'receiver':20} {'file system':11} {'size':>7} {'acknowledged':>12} {'lost':>6} {'wrong':>6}")
    for size, count in sizes:
        made = camera.record(seconds=count, pre_record_s=0, bytes_each=size - 304)
        load = [(digest.hex(), raw) for digest, raw in zip(made.digests[1:], made.segments[1:], strict=True)]
        for arm in arms():
            if "bundles" in arm.name and size > MAX_IN_BUNDLE_BYTES:
                continue
            for kind in ("ext4", "xfs"):
                try:
                    outcome = cut(arm, camera, load, kind=kind, after_s=after_s)
                except NoLoop as why:
                    tally.skipped = str(why)
                    print(f"{arm.name:20} {kind:11} skipped: {why}")
                    continue
                tally.states, tally.points = tally.states + 1, tally.points + 1
                what = f"{arm.name:20} {kind:11} {size // KIB:>3} KiB"
                print(f"{what} {outcome.acknowledged:>12} {outcome.lost:>6} {outcome.wrong:>6}", flush=True)
                if bool(outcome.lost) != arm.control or (outcome.wrong and not arm.control) or not outcome.acknowledged:
                    tally.failures += 1
                    bad.append(what)
    for each in bad:
        print(f"FAILED: {each}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a disk is unmounted also then
    alone = Tally()
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0, alone)
    sys.exit(alone.exit_code)
