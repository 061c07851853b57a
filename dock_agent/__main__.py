"""`python -m dock_agent`: one station. Reads the cameras in its bays and delivers to the receiver; stops on SIGTERM."""

import argparse
import asyncio
import logging
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.atomic_storage import InUse
from broker.client import Endpoint
from broker.clock import Clock, open_clock
from broker.wire.ids import parse_device, parse_org
from dock_agent.letters import Letters
from dock_agent.link import Link
from dock_agent.progress import show
from dock_agent.rules.offload import limit_bytes_per_s
from dock_agent.settings import Settings, SettingsError, read_settings
from dock_agent.state import DockState
from dock_agent.station import Station
from dock_agent.uploader import Receiver, Uploader

MOST_BAYS = 64


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m dock_agent", description=__doc__)
    parser.add_argument("--dock", required=True, type=parse_device, help="this dock's id, as in its certificate")
    parser.add_argument("--org", required=True, type=parse_org, help="the municipality")
    parser.add_argument("--bays", required=True, type=Path, help="folder with an entry 01, 02 … for each bay in use")
    parser.add_argument("--state", required=True, type=Path, help="folder for the dock's own memory")
    parser.add_argument("--receiver", required=True, help="https://host:port")
    parser.add_argument("--broker", metavar="HOST:PORT", help="without it the dock works, and tells nobody")
    parser.add_argument("--ca", required=True, type=Path, help="certificate of the municipality's authority")
    parser.add_argument("--pki", required=True, type=Path, help="folder with this dock's cert.pem and key.pem")
    parser.add_argument("--oin", default="0" * 20, help="the municipality's OIN, for the source of events")
    parser.add_argument("--bay-count", type=int, default=8, help="how many bays the dock has (default 8)")
    parser.add_argument("--clock", type=Path, help="demonstration clock")
    parser.add_argument("--settings", type=Path, help="TOML: limits and time windows")
    parser.add_argument("--limit-mbit", type=float, help="send at most so many Mbit/s; goes before the settings")
    return parser.parse_args(argv)


async def work(chosen: argparse.Namespace, settings: Settings, state: DockState) -> None:
    """Run the station until it is cancelled."""
    clock, _ = open_clock(chosen.clock)
    receiver = Receiver.at(
        chosen.receiver, ca=chosen.ca, certificate=chosen.pki / "cert.pem", key=chosen.pki / "key.pem"
    )
    chance = random.SystemRandom().random
    uploader = Uploader(receiver, chance=chance, most=settings.connections)
    station = Station(org=chosen.org, bays=chosen.bay_count, uploader=uploader, state=state)
    uploader.on_acknowledged(station.acknowledged)
    async with uploader, asyncio.TaskGroup() as group:
        group.create_task(station.run(chosen.bays), name="dock.station")
        group.create_task(Letters(chosen.bays, uploader).run(), name="dock.letters")
        group.create_task(show(chosen.dock, station.bays), name="dock.progress")
        group.create_task(_keep_to_limits(uploader, settings, clock), name="dock.limits")
        if chosen.broker:
            host, _, port = chosen.broker.rpartition(":")
            endpoint = Endpoint(
                host=host, port=int(port), ca=chosen.ca, certificate=receiver.certificate, key=receiver.key
            )
            link = Link(org=chosen.org, dock=chosen.dock, oin=chosen.oin, clock=clock, bays=station.bays)
            group.create_task(link.run(endpoint), name="dock.link")


async def _keep_to_limits(uploader: Uploader, settings: Settings, clock: Clock) -> None:
    while True:
        uploader.throttle.limit(
            limit_bytes_per_s(clock(), windows=settings.windows, otherwise_mbit=settings.limit_mbit)
        )
        await asyncio.sleep(1)


async def _until_told(chosen: argparse.Namespace, settings: Settings, state: DockState) -> None:
    task = asyncio.create_task(work(chosen, settings, state), name="dock")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger("dock_agent").info("dock: stopped")


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return 0 after SIGTERM, 2 when the settings cannot be used or another process serves this dock."""
    chosen = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings() if chosen.settings is None else read_settings(chosen.settings)
        if chosen.limit_mbit is not None:
            settings = Settings(limit_mbit=chosen.limit_mbit, connections=settings.connections)
        chosen.state.mkdir(parents=True, exist_ok=True)
        chosen.bays.mkdir(parents=True, exist_ok=True)
        state = DockState(chosen.state / "state.json")
    except (SettingsError, InUse) as cause:
        print(cause, file=sys.stderr)
        return 2
    try:
        asyncio.run(_until_told(chosen, settings, state))
    finally:
        state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
