"""`python -m tests.benchmarks.upload [SCALE [ROUNDS [ext4|xfs]]]`: the receiver beside its peers and the floor.

All arms take the same bytes from the same eight connections, on the same disk, in turns within one run; each figure is
the median of the rounds, and a ratio is the median of the rounds' ratios. *durable* is the time until the last answer
and one ``syncfs``: what a server that answers too early still owes. CPU is user and system of the serving process tree.
On a busy machine only the ratios mean something. Memory is touched before every arm: a virtual machine's host takes
back what was not used for a while, and the arm that comes next would pay for having it again.

nginx stores into a folder with ``chattr +S`` and so is as durable as the receiver; it checks neither digest nor
signature, and SHA-256 alone shows what that saves. @tus/server checks nothing and is not durable at its answer. The
floor hashes and writes in plain threads behind a bare socket. Small segments reach the receiver as the dock sends them,
64 in a bundle.
"""

import asyncio
import hashlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from broker.wire.delivery import bundle_name, length_in_bundle
from broker.wire.ids import DeviceId
from cloud.intake.bodies import Limits
from cloud.intake.doors import Door
from cloud.vault.shelf import Shelf
from cloud.vault.store import Vault
from tests.adapters.crash.loop import NoLoop, loop_disk
from tests.adapters.intake.test_memory import peak_bytes
from tests.adapters.intake.town import Camera, Town, holders
from tests.benchmarks.peers import node_peers

CONNECTIONS = 8
IN_BUNDLE = 64
KIB, MIB = 1024, 1024 * 1024
MANY = 32
HASH_ALONE = "SHA-256 alone"
Segments = Sequence[tuple[str, bytes]]
TO_REACH = {
    ("4 MiB", "nginx, chattr +S"): ("≥ 1.4", "≤ 0.7"),
    ("4 MiB", "@tus/server"): ("≥ 2", "–"),
    ("64 KiB", "nginx, chattr +S"): ("≥ 1.5", "–"),
    ("64 KiB", "@tus/server"): ("≥ 5", "–"),
    ("4 MiB, mTLS", "@tus/server"): ("≥ 2", "–"),
}
"""What was set as the goal: durable MB/s, CPU."""


@dataclass(frozen=True)
class Request:
    """One request of the load: the same bytes, as each arm's protocol wants them."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Run:
    """One arm in one round."""

    mb_per_s: float
    durable_mb_per_s: float
    cpu_s_per_gb: float
    grown_mb: float = 0.0


@dataclass(frozen=True)
class Work:
    """One table of the report."""

    title: str
    bytes_each: int
    count: int
    tls: bool


def main(scale: float, rounds: int, kind: str) -> int:
    """Print the tables and the ratios."""
    runs: dict[Work, dict[str, list[Run]]] = {}
    for work in (
        Work("4 MiB", 4 * MIB, max(int(200 * scale), 16), tls=False),
        Work("64 KiB", 64 * KIB, max(int(3000 * scale), 512), tls=False),
        Work("4 MiB, mTLS", 4 * MIB, max(int(200 * scale), 16), tls=True),
        Work("64 KiB, mTLS", 64 * KIB, max(int(3000 * scale), 512), tls=True),
    ):
        runs[work] = measure(work, rounds, kind)
        _print(work, runs[work], rounds, kind)
    plain, _, secured, _ = runs.values()
    if "nginx, chattr +S" in plain:
        least = _cpu(plain[HASH_ALONE], plain["nginx, chattr +S"])
        _ratio("4 MiB", f"CPU of {HASH_ALONE} / nginx, chattr +S", "–", least)
    _ratio("4 MiB, mTLS", "CPU TLS / CPU plain", "≤ 1.9", _cpu(secured["receiver"], plain["receiver"]))
    grown = memory(max(int(200 * scale), 40), kind)
    budget = Limits().budget_bytes / 1e6
    print(f"| 4 MiB, {MANY} connections | memory, MB | ≤ {budget + 60:.0f} (budget + 60) | {grown:.0f} |")
    return 0


def memory(count: int, kind: str) -> float:
    """Return how much the receiver's memory grows with many connections, in MB."""
    with fresh_disk(kind=kind) as folder:
        camera = Camera(DeviceId("cam-01"))
        town = asyncio.run(found(folder, camera))
        made = camera.record(seconds=count, pre_record_s=0, bytes_each=4 * MIB - 304)
        load = [(digest.hex(), raw) for digest, raw in zip(made.digests[1:], made.segments[1:], strict=True)]
        run = _receiver(town, load, Work("", 4 * MIB, count, tls=True), bundles=False, connections=MANY)
    return run.grown_mb


def measure(work: Work, rounds: int, kind: str) -> dict[str, list[Run]]:
    """Return what each arm did in each round."""
    results: dict[str, list[Run]] = {}
    peers = node_peers()
    with fresh_disk(kind=kind) as folder:
        camera = Camera(DeviceId("cam-01"))
        town = asyncio.run(found(folder, camera))
        for number in range(rounds):
            made = camera.record(seconds=work.count, pre_record_s=0, bytes_each=work.bytes_each - 304)
            load = [(digest.hex(), raw) for digest, raw in zip(made.digests[1:], made.segments[1:], strict=True)]
            bundles = work.bytes_each <= 256 * KIB
            arms: dict[str, Callable[[], Run]] = {
                "floor": partial(_floor, folder / f"floor-{number}", load),
                "receiver": partial(_receiver, town, load, work, bundles=bundles),
            }
            if work.bytes_each == 4 * MIB and not work.tls:
                arms[HASH_ALONE] = partial(_hash_alone, load)
            if work.tls:
                arms["receiver, 2 processes"] = partial(_receiver, town, load, work, bundles=bundles, processes=2)
            if bundles and not work.tls:
                arms["receiver, one by one"] = partial(_receiver, town, load, work, bundles=False)
            if shutil.which("nginx"):
                arms["nginx, chattr +S"] = partial(_nginx, town, folder / f"nginx-{number}", load, work)
            if peers is not None:
                arms["@tus/server"] = partial(_tus, town, peers, folder / f"tus-{number}", load, work)
            names = list(arms)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                _warm(sum(len(raw) for _, raw in load))
                results.setdefault(name, []).append(arms[name]())
                _make_room(town, folder, number)
    return results


@contextmanager
def fresh_disk(megabytes: int = 12_000, *, kind: str = "ext4") -> Iterator[Path]:
    """A fresh file system with a journal on a loop device, else (said so) a folder: one run must not slow the next."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a disk is unmounted also then
    with ExitStack() as stack:
        home = "var" if Path("var").is_dir() else None
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vo-bench-", dir=home))).resolve()
        try:
            here = stack.enter_context(loop_disk(here, megabytes=megabytes, kind=kind, written=True)).mount
        except NoLoop as why:
            print(f"on the disk as it is: {why}")
        yield here


def _warm(size: int) -> None:
    """Have as much memory as an arm will want touched, and given back, by a process of its own."""
    subprocess.run([sys.executable, "-c", f"b = bytearray({2 * size}); b[::4096] = bytes(len(b[::4096]))"], check=True)


def _print(work: Work, results: dict[str, list[Run]], rounds: int, kind: str) -> None:
    load, _, _ = os.getloadavg()
    print(f"\n{work.count} × {work.title}, {CONNECTIONS} connections, {rounds} rounds, {kind}, load {load:.1f}\n")
    print("| arm | MB/s | durable MB/s | CPU s/GB |\n| --- | --- | --- | --- |")
    for name, runs in results.items():
        middle = [
            statistics.median(column)
            for column in zip(*((run.mb_per_s, run.durable_mb_per_s, run.cpu_s_per_gb) for run in runs), strict=True)
        ]
        print(f"| {name} | {middle[0]:.0f} | {middle[1]:.0f} | {middle[2]:.2f} |")
    print("\n| work | ratio | to reach | median [least..most] |\n| --- | --- | --- | --- |")
    for name in results.keys() - {"receiver", HASH_ALONE}:
        goals = TO_REACH.get((work.title, name), ("–", "–"))
        pairs = list(zip(results["receiver"], results[name], strict=True))
        speed = [mine.durable_mb_per_s / other.durable_mb_per_s for mine, other in pairs]
        _ratio(work.title, f"durable MB/s / {name}", goals[0], speed)
        _ratio(work.title, f"CPU / {name}", goals[1], _cpu(results["receiver"], results[name]))


def _cpu(mine: Sequence[Run], other: Sequence[Run]) -> list[float]:
    return [one.cpu_s_per_gb / two.cpu_s_per_gb for one, two in zip(mine, other, strict=True)]


def _ratio(work: str, what: str, goal: str, found: Sequence[float]) -> None:
    print(f"| {work} | {what} | {goal} | {statistics.median(found):.2f} [{min(found):.2f}..{max(found):.2f}] |")


async def found(folder: Path, camera: Camera) -> Town:
    """Found a town with one camera, and leave it to the process that will serve it."""
    town = Town(folder)
    await town.open()
    await town.enrol(camera)
    await town.close()
    return town


def _make_room(town: Town, folder: Path, number: int) -> None:
    """Take away what an arm has stored: the next one must not find its bytes, nor a full disk."""
    shutil.rmtree(town.folder / "vault")
    Vault.create(town.folder / "vault")
    for peer in ("floor", "nginx", "tus"):
        shutil.rmtree(folder / f"{peer}-{number}", ignore_errors=True)
    os.sync()


# --- the arms -------------------------------------------------------------------------------------------------------


def _hash_alone(load: Segments) -> Run:
    """Hash what is in memory, and nothing else: the least that whoever verifies can spend."""
    started, before_s = time.monotonic(), time.thread_time()
    for _, raw in load:
        hashlib.sha256(raw).digest()
    spent_s, size = time.thread_time() - before_s, sum(len(raw) for _, raw in load)
    speed = size / (time.monotonic() - started) / 1e6
    return Run(mb_per_s=speed, durable_mb_per_s=speed, cpu_s_per_gb=spent_s / (size / 1e9))


def _floor(folder: Path, load: Segments) -> Run:
    """Receive, hash, write, sync: a thread for each connection, and nothing else."""
    Vault.create(folder)
    kept, spent = Shelf(folder), SimpleQueue[float]()
    size = len(load[0][1])

    def serve(incoming: socket.socket) -> None:
        buffer = memoryview(bytearray(size))
        with incoming:
            while (name := _receive(incoming, buffer[:32])) is not None:
                digest = bytes(name)
                body = _receive(incoming, buffer)
                assert body is not None
                hashlib.sha256(body).digest()
                kept.put(digest, body)
                incoming.sendall(b".")
        spent.put(time.thread_time())

    def send(outgoing: socket.socket) -> None:
        with outgoing, suppress(Empty):
            while True:
                name, raw = work.get_nowait()
                outgoing.sendall(bytes.fromhex(name))
                outgoing.sendall(raw)
                outgoing.recv(1)

    work, started = _queue(load), time.monotonic()
    pairs = [socket.socketpair() for _ in range(CONNECTIONS)]
    _in_threads([partial(serve, a) for a, _ in pairs] + [partial(send, b) for _, b in pairs])
    return _run(load, started, folder, sum(spent.get() for _ in pairs))


def _receive(incoming: socket.socket, into: memoryview) -> memoryview | None:
    """Fill the buffer; None when the other side is done."""
    filled = 0
    while filled < len(into):
        came = incoming.recv_into(into[filled:])
        if not came:
            return None
        filled += came
    return into


def _receiver(
    town: Town, load: Segments, work: Work, *, bundles: bool, connections: int = CONNECTIONS, processes: int = 1
) -> Run:
    ready = town.folder / "serving"
    ready.unlink(missing_ok=True)
    if bundles:
        groups = [load[start : start + IN_BUNDLE] for start in range(0, len(load), IN_BUNDLE)]
        requests = [bundle_request(group) for group in groups]
    else:
        requests = [Request("PUT", f"/v1/segments/{name}", {}, raw) for name, raw in load]
    command = [sys.executable, "-m", "tests.benchmarks.upload", "serve", str(town.folder)]
    with _process([*command, "tls" if work.tls else "plain", "0", str(processes)]) as pid:
        while not ready.exists() or not ready.read_text():
            time.sleep(0.05)
        before = peak_bytes(pid)
        run = _send(town, int(ready.read_text()), requests, load, work, pid, town.folder, connections=connections)
        return replace(run, grown_mb=(peak_bytes(pid) - before) / 1e6)


def bundle_request(group: Segments) -> Request:
    """Return these segments in one request."""
    body = b"".join(length_in_bundle(len(raw)) + raw for _, raw in group)
    return Request("PUT", f"/v1/bundles/{bundle_name(bytes.fromhex(name) for name, _ in group)}", {}, body)


def _nginx(town: Town, folder: Path, load: Segments, work: Work) -> Run:
    with nginx(town, folder, tls=work.tls, durable=True) as (pid, port):
        requests = [Request("PUT", f"/{name}", {}, raw) for name, raw in load]
        return _send(town, port, requests, load, work, pid, folder)


@contextmanager
def nginx(town: Town, folder: Path, *, tls: bool, durable: bool) -> Iterator[tuple[int, int]]:
    """Serve WebDAV PUT; yield (process, port). Durable is ``chattr +S`` on everything it writes into."""
    store, port = folder / "store", free_port()
    store.mkdir(parents=True)
    if durable:
        subprocess.run(["chattr", "+S", str(store)], check=True)
    listen = f"""listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;
            ssl_certificate {town.server.certificate}; ssl_certificate_key {town.server.key};
            ssl_client_certificate {town.authority.ca}; ssl_verify_client on;"""
    (folder / "nginx.conf").write_text(f"""
        worker_processes 2; daemon off; pid {folder}/pid; error_log {folder}/error.log; user root;
        events {{}}
        http {{
          access_log off; client_body_temp_path {store}/tmp; client_max_body_size 20m; client_body_buffer_size 1m;
          server {{
            {listen if tls else f"listen 127.0.0.1:{port};"}
            keepalive_requests 1000000;
            location / {{ root {store}; dav_methods PUT; create_full_put_path on; }}
          }}
        }}
    """)
    with _process(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as pid:
        wait_for(port)
        yield pid, port


def _tus(town: Town, peers: Path, folder: Path, load: Segments, work: Work) -> Run:
    with tus(town, peers, folder, tls=work.tls) as (pid, port):
        requests = [tus_request(raw) for _, raw in load]
        return _send(town, port, requests, load, work, pid, folder)


def tus_request(raw: bytes) -> Request:
    """One upload in one request (creation-with-upload), which is the quickest way tus has."""
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(raw)),
        "Content-Type": "application/offset+octet-stream",
    }
    return Request("POST", "/files", headers, raw)


@contextmanager
def tus(town: Town, peers: Path, folder: Path, *, tls: bool) -> Iterator[tuple[int, int]]:
    """Serve tus with the file store; yield (process, port)."""
    (folder / "store").mkdir(parents=True)
    port = free_port()
    secured = [str(town.server.certificate), str(town.server.key), str(town.authority.ca)] if tls else []
    with _process(["node", str(peers / "tus.mjs"), str(folder / "store"), str(port), *secured]) as pid:
        wait_for(port)
        yield pid, port


def _send(
    town: Town,
    port: int,
    requests: Sequence[Request],
    load: Segments,
    work: Work,
    pid: int,
    folder: Path,
    *,
    connections: int = CONNECTIONS,
) -> Run:
    context, waiting, bad = town.tls() if work.tls else None, SimpleQueue[Request](), list[int]()
    for each in requests:
        waiting.put(each)

    def one() -> None:
        connection = connect(port, context)
        with suppress(Empty):
            while True:
                request = waiting.get_nowait()
                while (status := ask(connection, request)) == 429:
                    time.sleep(0.05)
                if status not in {200, 201, 204}:
                    bad.append(status)
        connection.close()

    before, started = cpu_of(pid), time.monotonic()
    _in_threads([one] * connections)
    run = _run(load, started, folder, cpu_of(pid) - before)
    assert not bad, bad[:5]
    return run


def connect(port: int, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """Return a connection, over TLS where a context is given."""
    if context is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)


def ask(connection: http.client.HTTPConnection, request: Request) -> int:
    """Send a request and return the status."""
    connection.putrequest(request.method, request.path, skip_accept_encoding=True)
    for name, value in {"Content-Length": str(len(request.body)), **request.headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(request.body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


# --- around them ----------------------------------------------------------------------------------------------------


def _run(load: Segments, started: float, folder: Path, cpu_s: float) -> Run:
    answered_s = time.monotonic() - started
    subprocess.run(["sync", "-f", str(folder)], check=True)
    durable_s = time.monotonic() - started
    size = sum(len(raw) for _, raw in load)
    return Run(
        mb_per_s=size / answered_s / 1e6, durable_mb_per_s=size / durable_s / 1e6, cpu_s_per_gb=cpu_s / (size / 1e9)
    )


def _queue(load: Segments) -> "SimpleQueue[tuple[str, bytes]]":
    work: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    for each in load:
        work.put(each)
    return work


def _in_threads(all_of: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=do) for do in all_of]
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


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int) -> None:
    """Return as soon as somebody listens there; raise TimeoutError."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(port)


def cpu_of(pid: int) -> float:
    """User and system time of a process and its children, in seconds."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(path.parent.name) == pid or int(fields[1]) == pid:
                total += (int(fields[11]) + int(fields[12])) / ticks
    return total


async def _serve(folder: Path, how: str, port: int = 0, processes: int = 1) -> None:
    """The receiver; *plain* has neither TLS nor a check of who comes, and everything else."""

    async def anybody(self: Door, transport: object, what: str) -> DeviceId:
        return DeviceId("dock-01")

    if how == "plain":
        Door.dock = anybody  # type: ignore[method-assign]
    town = Town(folder, processes=processes)
    await town.open()
    async with town.serving(port=port, tls=how == "tls"):
        while holders(town.port) < processes:
            await asyncio.sleep(0.02)
        (folder / "serving").write_text(str(town.port))
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(_serve(Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:])))
    given = sys.argv[1:]
    sys.exit(
        main(float(given[0]) if given else 1, int(given[1]) if given[1:] else 3, given[2] if given[2:] else "ext4")
    )
