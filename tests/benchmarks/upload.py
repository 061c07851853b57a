"""`python -m tests.benchmarks.upload [SEGMENTS] [ROUNDS]`: the receiver beside nginx made durable, and the floor.

All arms take the same bytes over TLS 1.3 with client certificates from the same eight connections, on the same disk, in
turns; each row is the median of the rounds. nginx (WebDAV PUT into a folder with ``chattr +S``) is durable as the
receiver is, but checks nothing: neither digest nor signature. The floor is SHA-256 of everything and a synced file for
each segment in plain threads, without any network. CPU is user and system of the serving process tree in s/GB;
MB/s count until the last answer. On a busy machine only ratios within one run mean something.
"""

import asyncio
import hashlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from broker.wire.ids import DeviceId
from cloud.vault.shelf import Shelf
from cloud.vault.store import WORKERS, Vault
from tests.adapters.intake.town import Camera, Town

CONNECTIONS = 8
SEGMENT_BYTES = 1_000_000  # about a second of a body-worn camera in full HD


@dataclass(frozen=True)
class Run:
    """One arm in one round."""

    mb_per_s: float
    cpu_s_per_gb: float


def main(segments: int, rounds: int) -> int:
    """Print the table and the ratios."""
    results: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(
        prefix="vo-bench-", dir=Path.cwd() / "var" if Path("var").is_dir() else None
    ) as it:
        town = asyncio.run(_found(Path(it)))
        camera = Camera(DeviceId("cam-01"))
        asyncio.run(_enrol(town, camera))
        for number in range(rounds):
            made = camera.record(seconds=segments, pre_record_s=0, bytes_each=SEGMENT_BYTES)
            load = [(digest.hex(), raw) for digest, raw in zip(made.digests[1:], made.segments[1:], strict=True)]
            arms: dict[str, Callable[[], Run]] = {
                "floor": partial(_floor, Path(it) / f"floor-{number}", load),
                "receiver": partial(_receiver, town, load),
            }
            if shutil.which("nginx"):
                arms["nginx, chattr +S"] = partial(_nginx, town, Path(it) / f"nginx-{number}", load)
            names = list(arms)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                results.setdefault(name, []).append(arms[name]())
    _print(results, segments=segments, rounds=rounds)
    return 0


def _print(results: dict[str, list[Run]], *, segments: int, rounds: int) -> None:
    print(f"{segments} segments of {SEGMENT_BYTES / 1e6:.0f} MB, {CONNECTIONS} connections, {rounds} rounds")
    print(f"{'arm':20} {'MB/s':>8} {'CPU s/GB':>9}")
    middle = {
        name: Run(statistics.median(run.mb_per_s for run in runs), statistics.median(run.cpu_s_per_gb for run in runs))
        for name, runs in results.items()
    }
    for name, run in middle.items():
        print(f"{name:20} {run.mb_per_s:>8.0f} {run.cpu_s_per_gb:>9.2f}")
    for name in results.keys() - {"receiver"}:
        pairs = list(zip(results["receiver"], results[name], strict=True))
        speed = statistics.median(mine.mb_per_s / other.mb_per_s for mine, other in pairs)
        cpu = statistics.median(mine.cpu_s_per_gb / other.cpu_s_per_gb for mine, other in pairs)
        print(f"receiver / {name}: {speed:.2f} of the MB/s, {cpu:.2f} of the CPU")


async def _found(folder: Path) -> Town:
    town = Town(folder)
    await town.open()
    return town


async def _enrol(town: Town, camera: Camera) -> None:
    await town.enrol(camera)
    await town.close()


def _floor(folder: Path, load: list[tuple[str, bytes]]) -> Run:
    Vault.create(folder)
    kept, work = Shelf(folder), _queue(load)
    before, started = _own_cpu(), time.monotonic()

    def one() -> None:
        with suppress(Empty):
            while True:
                name, raw = work.get_nowait()
                hashlib.sha256(raw).digest()
                kept.put(bytes.fromhex(name), raw)

    _in_threads(one, WORKERS)
    return _run(load, time.monotonic() - started, _own_cpu() - before)


def _receiver(town: Town, load: list[tuple[str, bytes]]) -> Run:
    ready = town.folder / "serving"
    ready.unlink(missing_ok=True)
    with _process([sys.executable, "-m", "tests.adapters.intake.serve", str(town.folder), "0"]) as pid:
        while not ready.exists() or not ready.read_text():
            time.sleep(0.05)
        return _send(town, int(ready.read_text()), "/v1/segments/", load, pid)


def _nginx(town: Town, folder: Path, load: list[tuple[str, bytes]]) -> Run:
    store = folder / "store"
    store.mkdir(parents=True)
    subprocess.run(["chattr", "+S", str(store)], check=True)
    port = 47_213
    (folder / "nginx.conf").write_text(f"""
        worker_processes 2; daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;
        events {{}}
        http {{
          access_log off; client_body_temp_path {store}/tmp; client_max_body_size 20m; client_body_buffer_size 1m;
          server {{
            listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;
            ssl_certificate {town.server.certificate}; ssl_certificate_key {town.server.key};
            ssl_client_certificate {town.authority.ca}; ssl_verify_client on;
            location / {{ root {store}; dav_methods PUT; create_full_put_path on; }}
          }}
        }}
    """)
    with _process(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as pid:
        while not (folder / "pid").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        return _send(town, port, "/", load, pid)


def _send(town: Town, port: int, path: str, load: list[tuple[str, bytes]], pid: int) -> Run:
    tls, work, bad = town.tls(), _queue(load), list[int]()

    def one() -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=60)
        with suppress(Empty):
            while True:
                name, raw = work.get_nowait()
                connection.putrequest("PUT", path + name, skip_accept_encoding=True)
                connection.putheader("Content-Length", str(len(raw)))
                connection.endheaders()
                connection.send(raw)
                answer = connection.getresponse()
                answer.read()
                if answer.status not in {200, 201, 204}:
                    bad.append(answer.status)
        connection.close()

    before, started = _cpu(pid), time.monotonic()
    _in_threads(one, CONNECTIONS)
    took = time.monotonic() - started
    assert not bad, bad
    return _run(load, took, _cpu(pid) - before)


def _run(load: list[tuple[str, bytes]], took_s: float, cpu_s: float) -> Run:
    size = sum(len(raw) for _, raw in load)
    return Run(mb_per_s=size / took_s / 1e6, cpu_s_per_gb=cpu_s / (size / 1e9))


def _queue(load: list[tuple[str, bytes]]) -> "SimpleQueue[tuple[str, bytes]]":
    work: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    for each in load:
        work.put(each)
    return work


def _in_threads(do: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=do) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _process(command: list[str]) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _cpu(pid: int) -> float:
    """User and system time of a process and its children, in seconds."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(path.parent.name) == pid or int(fields[1]) == pid:
                total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def _own_cpu() -> float:
    mine = os.times()
    return mine.user + mine.system


if __name__ == "__main__":
    sys.exit(main(*(int(each) for each in (sys.argv[1:] + ["96", "3"][len(sys.argv) - 1 :]))))
