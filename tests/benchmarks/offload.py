"""What sending costs a dock, a whole dock, an evening.

`python -m tests.benchmarks.offload [GIGABYTES [ROUNDS]] [--only clients|dock|evening] [--segment BYTES]
[--evening GIGABYTES] [--processes N]`. Says on its standard error how far it is.

The clients send the same 4 MiB segments over eight connections and TLS 1.3 with client certificates, in turns: the
dock's own senders and ``curl --parallel`` to nginx, aiotus to @tus/server. CPU is the client's own; of the two in
Python what they spend after their imports. The whole dock is a receiver and a dock as processes of their own, eight
bays with GIGABYTES, from the docking to the last wipe; beside it a copy of the same cards with one sync, before and
after. Nothing of the cards is in memory when either begins: a camera comes from outside. It comes twice: with
segments of 90 kB, as a second of the drawn film of the demonstration is, and of 1 MB, as a second of a real camera's
full HD is; `--segment` chooses another. The evening is fifty cameras that come to seven docks within a minute, each
with footage of a press and without: a third of GIGABYTES or what `--evening` says, where a real one brings a hundred.
So that those fit, its cards are files with holes (their ciphertext is zeros, which nobody can tell on this way), and
what has its receipt is taken off the receiver's disk. `--processes` is how many the receiver has.
"""

import argparse
import asyncio
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest.mock import patch

from broker.rules.access import Role
from broker.wire.ids import DeviceId
from broker.wire.recording import SEGMENT_HEADER_BYTES, SEGMENT_TAIL_BYTES
from cloud.vault.shelf import Shelf
from dock_agent.card_reader import DockedCard
from dock_agent.uploader import Receiver, Uploader
from tests.adapters.dock.agent import Agent, dock_camera, eventually
from tests.adapters.dock.test_hardship import a_receiver
from tests.adapters.dock.test_offloading import as_camera
from tests.adapters.intake.test_memory import peak_bytes
from tests.adapters.intake.town import NOW, Camera, Made, Town, put_on_card, write_card
from tests.benchmarks.peers import aiotus_folder, node_peers
from tests.benchmarks.upload import MIB, cpu_of, found, free_port, fresh_disk, nginx, tus

CONNECTIONS = 8
BAYS = 8
SEGMENT_BYTES = 90_000  # a second of the demonstration's drawn film
REAL_SEGMENT_BYTES = 1_000_000  # a second of full HD, as body cameras write it
CAMERAS, DOCKS = 50, 7
ARRIVE_S = 60.0
SAY_EVERY_S = 10.0
SILENCE_S = 30.0
IMPATIENT = (
    "-c",
    "import sys; from dock_agent import __main__, uploader; uploader.CONNECT_S = 0.5; sys.exit(__main__.main())",
)
TO_REACH = {"curl --parallel": "≤ 1.2", "aiotus": "≤ 0.6"}


def main(given: argparse.Namespace) -> int:
    """Print the tables."""
    dock, late = int(given.gigabytes * 1e9), int(1e9 * (given.evening or given.gigabytes / 3))
    work = Work(segment_bytes=given.segment or SEGMENT_BYTES, processes=given.processes)
    if given.only in {None, "clients"}:
        with fresh_disk() as disk:
            clients(disk, max(int(200 * min(given.gigabytes, 1)), 16), given.rounds)
    if given.only in {None, "dock"}:
        for each in [work] if given.segment else [work, replace(work, segment_bytes=REAL_SEGMENT_BYTES)]:
            ratios = []
            for _ in range(given.rounds):
                with fresh_disk(dock * 4 // 10**6 + 2_000) as disk:
                    ratios.append(asyncio.run(whole_dock(disk, bytes_each=dock // BAYS, work=each)))
            middle = statistics.median(ratios)
            print(f"\ncard to wipe / plain copy: {middle:.2f} [{min(ratios):.2f}..{max(ratios):.2f}]")
    if given.only in {None, "evening"}:
        with fresh_disk(late * 6 // 10**7 + 3_000) as disk:  # no camera is all in before half of everything is
            asyncio.run(evening(disk, bytes_each=late // CAMERAS, work=work))
    return 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is on the cards, and who receives it."""

    segment_bytes: int
    processes: int

    def __str__(self) -> str:
        return f"{self.segment_bytes / 1e3:.0f} kB segments, receiver of {self.processes}"


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


# --- clients --------------------------------------------------------------------------------------------------------


def clients(disk: Path, count: int, rounds: int) -> None:
    """Send the same card with each client."""
    camera = Camera(DeviceId("cam-01"))
    town = asyncio.run(found(disk, camera))
    card = write_card(camera, disk / "card")
    made = camera.record(seconds=count, pre_record_s=0, bytes_each=4 * MIB - 304)
    folder = put_on_card(made, card)
    size = sum(map(len, made.segments))
    peers, tus_client = node_peers(), aiotus_folder()
    arms: dict[str, Callable[[Path], float]] = {
        "dock": partial(_dock, town, card),
        "curl --parallel": partial(_curl, town, folder),
    }
    if peers is not None and tus_client is not None:
        arms["aiotus"] = partial(_aiotus, town, folder, peers, tus_client)
    spent: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        names = list(arms)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            place = disk / f"round-{number}-{name.split()[0]}"
            spent[name].append(arms[name](place) / (size / 1e9))
            shutil.rmtree(place)
    print(f"\n{count} × 4 MiB, TLS, {CONNECTIONS} connections, {rounds} rounds, load {os.getloadavg()[0]:.1f}\n")
    print("| client | CPU s/GB | dock's CPU / this | to reach |\n| --- | --- | --- | --- |")
    for name, runs in spent.items():
        ratio = statistics.median(mine / other for mine, other in zip(spent["dock"], runs, strict=True))
        print(f"| {name} | {statistics.median(runs):.2f} | {ratio:.2f} | {TO_REACH.get(name, '–')} |")


def _client(town: Town, *command: str, path: str = "") -> float:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.offload", *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{path}"},
    )
    return float(done.stdout)


def _dock(town: Town, card: Path, place: Path) -> float:
    with nginx(town, place, tls=True, durable=False) as (_, port):
        return _client(town, "as-dock", str(card), str(town.folder), str(port))


def _curl(town: Town, folder: Path, place: Path) -> float:
    with nginx(town, place, tls=True, durable=False) as (_, port):
        lines = [
            f'upload-file = "{path}"\nurl = "https://127.0.0.1:{port}/v1/segments/{path.name}"\noutput = "/dev/null"'
            for path in sorted(folder.glob("*.vos"))
        ]
        (place / "curl").write_text("\n".join(lines))
        keys = ["--cacert", town.authority.ca, "--cert", town.dock.certificate, "--key", town.dock.key]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [
                *(
                    "curl",
                    "-s",
                    "-f",
                    "--no-progress-meter",
                    "--parallel",
                    "--parallel-max",
                    str(CONNECTIONS),
                    "-H",
                    "Expect:",
                ),
                *map(str, keys),
                *("-K", str(place / "curl")),
            ],
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _aiotus(town: Town, folder: Path, peers: Path, path: Path, place: Path) -> float:
    with tus(town, peers, place, tls=True) as (_, port):
        return _client(town, "as-aiotus", str(folder), str(town.folder), str(port), path=str(path))


async def as_dock(card: Path, town: Town, port: int) -> None:
    """The dock's senders, against a server that only takes segments."""
    docked = DockedCard(card)
    contents = docked.contents(docked.closed()[0])
    receiver = Receiver.at(
        f"https://127.0.0.1:{port}", ca=town.authority.ca, certificate=town.dock.certificate, key=town.dock.key
    )
    async with Uploader(receiver, chance=lambda: 0.5, most=CONNECTIONS) as uploader:
        await uploader._send(1, docked, False, [each for each in contents.segments if each.size > MIB])


async def as_aiotus(folder: Path, town: Town, port: int) -> None:
    """Eight uploads at a time with aiotus, in one session."""
    import aiohttp
    import aiotus  # type: ignore[import-not-found]

    turns = asyncio.Semaphore(CONNECTIONS)
    connector = aiohttp.TCPConnector(ssl=town.tls())
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(path: Path) -> None:
            async with turns:
                with path.open("rb") as file:
                    where: Any = await aiotus.upload(f"https://127.0.0.1:{port}/files", file, client_session=session)
                assert where is not None

        await asyncio.gather(*(one(path) for path in folder.glob("*.vos")))


# --- a whole dock ---------------------------------------------------------------------------------------------------


async def whole_dock(disk: Path, *, bytes_each: int, work: Work) -> float:
    """Eight cameras at once, from docking to the last wipe, beside a plain copy of the same cards: return the ratio."""
    town = Town(disk, processes=work.processes)
    await town.open()
    cards = await full_cards(town, BAYS, bytes_each=bytes_each, work=work)
    total = bytes_each * BAYS
    await town.close()
    copied_s = [_copy([card for _, card in cards], disk / "before")]
    port = free_port()
    async with a_receiver(town, port, processes=work.processes) as receiver:
        agent = Agent(town, receiver=f"https://127.0.0.1:{port}")
        await agent.start()
        assert agent.process is not None
        early = write_card(Camera(DeviceId("cam-99")), disk / "early")
        dock_camera(town, early, bay=BAYS + 1)  # shows that the dock is up: it hands over the newest key list
        await eventually(lambda: any((early / "from-dock").iterdir()), within_s=60)
        _out_of_memory([card for _, card in cards])
        started, before_s = time.monotonic(), (cpu_of(agent.process.pid), cpu_of(receiver.pid))
        for bay, (_, card) in enumerate(cards, 1):
            dock_camera(town, card, bay=bay)
        async with asyncio.timeout(60 + total / 5e6):
            await _until_wiped(town, cards)
        took_s = time.monotonic() - started
        dock_s, receiver_s = cpu_of(agent.process.pid) - before_s[0], cpu_of(receiver.pid) - before_s[1]
        dock_mb, receiver_mb = peak_bytes(agent.process.pid) / 1e6, peak_bytes(receiver.pid) / 1e6
        await agent.kill()
    for _, card in cards:
        assert not any((card / "recordings").iterdir())
    copied_s.append(_copy([disk / "before" / card.name for _, card in cards], disk / "after"))
    speed, copy = total / took_s / 1e6, total / statistics.mean(copied_s) / 1e6
    print(f"\none dock, {BAYS} bays, {total / 1e9:.2f} GB of {work}, load {os.getloadavg()[0]:.1f}\n")
    print("| what | to reach | |\n| --- | --- | --- |")
    print(f"| card to wipe, MB/s | – | {speed:.0f} |\n| plain copy and one sync, MB/s | – | {copy:.0f} |")
    print(f"| card to wipe / plain copy | ≥ 0.6 | {speed / copy:.2f} |")
    print(f"| CPU s/GB: dock, receiver | – | {dock_s / (total / 1e9):.2f}, {receiver_s / (total / 1e9):.2f} |")
    print(f"| dock agent, MB at most | ≤ 100 | {dock_mb:.0f} |\n| receiver, MB at most | – | {receiver_mb:.0f} |")
    return speed / copy


async def _until_wiped(town: Town, cards: list[tuple[Camera, Path]]) -> None:
    """Be the cameras: wipe what a receipt is there for, until nothing is left."""
    left, say_at = list(cards), 0.0
    while left:
        await asyncio.sleep(0.05)
        if time.monotonic() >= say_at:
            _say(f"offloading: {len(left)} of {len(cards)} cards are not wiped yet")
            say_at = time.monotonic() + SAY_EVERY_S
        for camera, card in list(left):
            if any((card / "receipts").iterdir()):
                await asyncio.to_thread(as_camera(camera, town, card).wipe_receipted)
            if not any((card / "recordings").iterdir()):
                left.remove((camera, card))


async def full_cards(
    town: Town,
    count: int,
    *,
    bytes_each: int,
    work: Work,
    put: Callable[[Made, Path], object] = put_on_card,
    filler: "Blank | None" = None,
) -> list[tuple[Camera, Path]]:
    """Return so many cameras and their cards."""
    cards = []
    for number in range(1, count + 1):
        _say(f"writing card {number} of {count}, {bytes_each / 1e9:.2f} GB of {work}")
        camera = await town.enrol(Camera(DeviceId(f"cam-{number:02}")))
        card = write_card(camera, town.folder / f"card-{camera.id}")
        segment_bytes = work.segment_bytes
        async for made in two_recordings(
            town, camera, bytes_each=bytes_each, segment_bytes=segment_bytes, filler=filler
        ):
            put(made, card)
        cards.append((camera, card))
    return cards


async def two_recordings(
    town: Town, camera: Camera, *, bytes_each: int, segment_bytes: int, filler: "Blank | None"
) -> AsyncIterator[Made]:
    """Yield half footage without a press, then half of one; the press is the younger one."""
    seconds = max(bytes_each // 2 // segment_bytes, 3)
    for pressed in (False, True):
        at, before_s = NOW - timedelta(hours=2 - pressed), 2 * pressed
        made = camera.record(
            pressed_at=at,
            seconds=seconds - before_s,
            pre_record_s=before_s,
            bytes_each=segment_bytes,
            filler=cast("Random | None", filler),
        )
        await town.press(camera, made)
        yield made


def _copy(cards: list[Path], to: Path) -> float:
    """Copy cards and sync once; return how long that took, in seconds."""
    _say("a plain copy")
    _out_of_memory(cards)
    started = time.monotonic()
    for card in cards:
        shutil.copytree(card, to / card.name)
    subprocess.run(["sync", "-f", str(to)], check=True)
    return time.monotonic() - started


def _out_of_memory(cards: list[Path]) -> None:
    """Have everything on these cards on the disk, and nothing of it in the page cache."""
    os.sync()
    for path in (path for card in cards for path in card.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# --- an evening -----------------------------------------------------------------------------------------------------


class Blank:
    """Noise, and a cipher, of zeros only."""

    def __init__(self, *_: object) -> None: ...

    def randbytes(self, size: int) -> bytes:
        """Return the noise."""
        return bytes(size)

    def update(self, plaintext: bytes) -> bytes:
        """Return the ciphertext."""
        return bytes(len(plaintext))

    def finalize(self) -> bytes:
        """Return as much as the real one adds."""
        return bytes(72)


async def blank_cards(town: Town, *, bytes_each: int, work: Work) -> tuple[list[Path], dict[str, tuple[bytes, ...]]]:
    """Return fifty cards that take no room, and the digests of what is on them, by recording."""
    digests = {}

    def put(made: Made, card: Path) -> None:
        _put_with_holes(made, card)
        digests[str(made.recording)] = made.digests

    with patch("broker.wire.sealing.Cobblestone256Encryptor", Blank):
        cards = await full_cards(town, CAMERAS, bytes_each=bytes_each, work=work, put=put, filler=Blank())
    return [card for _, card in cards], digests


def _put_with_holes(made: Made, card: Path) -> None:
    folder = put_on_card(replace(made, segments=()), card)
    for sequence, raw in enumerate(made.segments):
        with (folder / f"{sequence:08}.vos").open("wb") as file:
            file.write(raw[:SEGMENT_HEADER_BYTES])
            file.seek(len(raw) - SEGMENT_TAIL_BYTES)
            file.write(raw[-SEGMENT_TAIL_BYTES:])


async def evening(disk: Path, *, bytes_each: int, work: Work) -> None:
    """Fifty cameras come to seven docks; who waits how long, and what memory it takes."""
    town = Town(disk, processes=work.processes)
    await town.open()
    cards, digests = await blank_cards(town, bytes_each=bytes_each, work=work)
    docks = ["dock-01", *(f"dock-{number:02}" for number in range(2, DOCKS + 1))]
    for dock in docks[1:]:
        await town.enrol_dock(dock)
        town.authority.issue(dock, Role.DOCK)
    await town.close()
    control = await before_silence(town)
    port, shelf = free_port(), Shelf(disk / "vault")
    async with a_receiver(town, port, processes=work.processes) as receiver:
        agents = [Agent(town, receiver=f"https://127.0.0.1:{port}", dock=dock) for dock in docks]
        for agent in agents:
            await agent.start()
        started, links = time.monotonic(), list[Path]()
        async with asyncio.timeout(240 + bytes_each * CAMERAS / 2e6):
            for number, card in enumerate(cards):
                links.append(dock_camera(town, card, bay=number // DOCKS + 1, dock=docks[number % DOCKS]))
                await asyncio.sleep(ARRIVE_S / CAMERAS)
            early_mb, say_at = peak_bytes(receiver.pid) / 1e6, 0.0
            while left := sum(2 - len(_receipts(card)) for card in cards):
                for name in [path.stem for card in cards for path in _receipts(card) if path.stem in digests]:
                    await asyncio.to_thread(_take_off, shelf, digests.pop(name))
                await asyncio.sleep(0.1)
                if time.monotonic() >= say_at:
                    in_gb = (sum(map(len, digests.values())) * work.segment_bytes) / 1e9
                    _say(f"offloading: {left} of {2 * CAMERAS} receipts are still to come, of {in_gb:.0f} GB")
                    say_at = time.monotonic() + SAY_EVERY_S
        took_s, peak_mb = time.monotonic() - started, peak_bytes(receiver.pid) / 1e6
        dock_mb = max(peak_bytes(agent.process.pid) for agent in agents if agent.process) / 1e6
        for agent in agents:
            await agent.kill()
    said = "\n".join(agent.log.read_text() for agent in agents)
    presses, all_of_it = [], []
    for link, card in zip(links, cards, strict=True):
        plain, pressed = (path.stat().st_mtime - link.lstat().st_mtime for path in _receipts(card))
        presses.append(pressed)
        all_of_it.append(max(plain, pressed))
    at_dock = [all_of_it[dock::DOCKS] for dock in range(DOCKS)]
    spread = statistics.median(max(of_one) / statistics.median(of_one) for of_one in at_dock)
    size, load = bytes_each * CAMERAS / 1e9, os.getloadavg()[0]
    print(f"\n{CAMERAS} cameras at {DOCKS} docks within {ARRIVE_S:.0f} s, {size:.2f} GB of {work}, load {load:.1f}\n")
    print(f"| what | |\n| --- | --- |\n| until the last receipt, s | {took_s:.1f} |")
    print(f"| footage of a press, s from docking: median, most | {_middle_and_most(presses)} |")
    print(f"| everything of a camera, s from docking: median, most | {_middle_and_most(all_of_it)} |")
    print(f"| slowest bay of a dock / its median bay | {spread:.2f} |")
    print(f"| times a bay was seen to wait for the cloud | {said.count(' waiting')} |")
    print(f"| times a dock ran out of time | {out_of_time(said) if control else 'the count is blind'} |")
    print(f"| the same of a dock before a receiver that says nothing | {control} |")
    print(f"| receiver, MB: when all have come, at most | {early_mb:.0f}, {peak_mb:.0f} |")
    print(f"| largest dock agent, MB | {dock_mb:.0f} |")


def out_of_time(log: str) -> int:
    """Return how many lines of docks' logs name a request that took too long."""
    return sum("TimeoutError" in line for line in log.splitlines())


async def before_silence(town: Town) -> int:
    """Return how often a dock says that it ran out of time before a receiver that takes connections, and no more."""
    dock = "dock-99"
    town.authority.issue(dock, Role.DOCK)
    camera = Camera(DeviceId("cam-99"))
    card = write_card(camera, town.folder / "card-silence")
    put_on_card(camera.record(seconds=3), card)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        agent = Agent(town, receiver=f"https://127.0.0.1:{silent.getsockname()[1]}", dock=dock, runs=IMPATIENT)
        await agent.start()
        dock_camera(town, card, dock=dock)
        try:
            await eventually(lambda: out_of_time(agent.log.read_text()), within_s=SILENCE_S)
        except AssertionError:
            _say("a dock that gets no answer says nothing of it")
        finally:
            await agent.kill()
    return out_of_time(agent.log.read_text())


def _take_off(shelf: Shelf, digests: tuple[bytes, ...]) -> None:
    for digest in digests:
        shelf.path(digest).unlink()


def _receipts(card: Path) -> list[Path]:
    """Return the receipts on a card, of the oldest recording first: that of the press comes last."""
    return sorted((card / "receipts").glob("*.receipt"))


def _middle_and_most(values: list[float]) -> str:
    return f"{statistics.median(values):.1f}, {max(values):.1f}"


if __name__ == "__main__":
    if sys.argv[1:2] in (["as-dock"], ["as-aiotus"]):
        client = as_dock if sys.argv[1] == "as-dock" else as_aiotus
        before = time.process_time()
        asyncio.run(client(Path(sys.argv[2]), Town(Path(sys.argv[3])), int(sys.argv[4])))
        print(time.process_time() - before)
        sys.exit(0)
    asked = argparse.ArgumentParser(prog="python -m tests.benchmarks.offload")
    asked.add_argument("gigabytes", nargs="?", type=float, default=1.0)
    asked.add_argument("rounds", nargs="?", type=int, default=3)
    asked.add_argument("--only", choices=["clients", "dock", "evening"])
    asked.add_argument("--segment", type=int, metavar="BYTES")
    asked.add_argument("--evening", type=float, metavar="GIGABYTES")
    asked.add_argument("--processes", type=int, default=1)
    sys.exit(main(asked.parse_args()))
