"""``python -m edge``: a fleet of simulated bodycams. The only place here that reads the clock and the command line."""

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from broker.client import Endpoint
from broker.clock import DemonstrationClock, open_clock
from broker.ending import end
from broker.wire.events import Place
from edge.device import Device
from edge.enrolment import NotEnrolled
from edge.fleet import Act, Fleet, Plan, read_script
from edge.footage import Films, FootageProblem, LiveFilms, Source
from edge.joining import CA, CERTIFICATE, TLS_KEY
from edge.newcomers import Newcomers, unenrolled
from edge.pulse import Pulse
from edge.stations import Stations
from edge.threads import Threads

LOG = logging.getLogger("edge")


def _words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m edge", description="A fleet of simulated bodycams.")
    words.add_argument("--cameras-folder", type=Path, required=True, help="one folder per camera; a new one too")
    words.add_argument("--buttons", type=Path, help="drop a file cam-07 here to press that camera's button")
    words.add_argument("--stations", type=Path, required=True, help="docking stations: <dock>/bays")
    words.add_argument("--bays", type=int, default=64, help="bays per station (64)")
    words.add_argument("--broker", required=True, metavar="HOST:PORT", help="the MQTT broker (mutual TLS)")
    words.add_argument("--ca", type=Path, required=True, help="certificate authority of the broker")
    words.add_argument("--pki", type=Path, required=True, help="<camera>/cert.pem and key.pem of each camera")
    words.add_argument("--mqtt", choices=("3.1.1", "5"), default="3.1.1", help="protocol version of the broker")
    words.add_argument("--clock", type=Path, help="demonstration clock; the system's clock without it")
    words.add_argument("--places", type=Path, help="JSON list of {name, latitude, longitude} to walk around")
    words.add_argument("--footage", help="a video file, or webcam:0; a street is drawn without it")
    words.add_argument("--footage-cache", type=Path, help="where encoded footage is kept (~/.cache/vier-ogen/footage)")
    words.add_argument("--card-mib", type=int, default=32_768, help="size of each memory card in MiB (32768)")
    words.add_argument("--seed", type=int, default=7, help="the same seed gives the same fleet (7)")
    words.add_argument("--calm", action="store_true", help="nobody acts but the buttons folder and the script")
    words.add_argument("--shift-minutes", type=float, default=480.0, help="length of a shift (480)")
    words.add_argument("--rest-minutes", type=float, default=15.0, help="least time in a bay between shifts (15)")
    words.add_argument("--press-every", type=float, default=45.0, help="seconds between presses in the fleet (45)")
    words.add_argument("--script", type=Path, help="acts, one a line: <seconds> <camera> <act>")
    words.add_argument("--quiet", action="store_true", help="say warnings only")
    return words


async def _live(said: argparse.Namespace) -> None:
    """Build the fleet and let it live until SIGTERM or SIGINT; then switch it off."""
    clock, _ = open_clock(said.clock)
    rate = (lambda: clock.rate) if isinstance(clock, DemonstrationClock) else (lambda: 1.0)
    pulse = Pulse(time.monotonic, rate)
    threads = Threads()
    stop = asyncio.Event()
    for wish in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wish, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        films: Source
        if said.footage is not None and said.footage.startswith("webcam:"):
            films = await stack.enter_async_context(LiveFilms.open(said.footage.removeprefix("webcam:"), pulse=pulse))
        else:
            films = Films(said.footage, cache=said.footage_cache or _cache())
            films.check()
        stack.callback(threads.close)
        stations, numbers = Stations(said.stations, bays=said.bays), itertools.count()

        def switch_on(folder: Path) -> Device:
            device = Device(
                folder,
                endpoint=_endpoint(said, folder),
                films=films,
                number=next(numbers),
                stations=stations,
                clock=clock,
                pulse=pulse,
                threads=threads,
                card_bytes=said.card_mib * 1024 * 1024,
            )
            stack.callback(device.close)
            return device

        new = unenrolled(said.cameras_folder)
        devices = [
            switch_on(path.parent) for path in sorted(said.cameras_folder.glob("*/device")) if path.parent not in new
        ]
        if not devices and not new:
            raise NotEnrolled(
                f"{said.cameras_folder}: no camera is here; make the town first, or a folder for a new one"
            )
        if devices and (settings := devices[0].settings) is not None:  # the first time, they have yet to come
            await films.of(0, sound=settings.sound)  # nobody waits for an encoder once the cameras are on
        fleet = Fleet(devices, buttons=said.buttons, plan=_plan(said), pulse=pulse, script=_script(said))
        newcomers = Newcomers(
            said.cameras_folder,
            stations=stations,
            threads=threads,
            switch_on=lambda folder: fleet.join(switch_on(folder)),
        )
        LOG.info("%d cameras switched on", len(devices))
        async with asyncio.TaskGroup() as group:
            living = group.create_task(fleet.run(), name="edge")
            joining = group.create_task(newcomers.run(), name="edge.newcomers")
            await stop.wait()
            LOG.info("switching off")
            await end(joining)
            await fleet.switch_off()
            await end(living)


def _cache() -> Path:
    """Return where encoded footage is shared by all fleets of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vier-ogen" / "footage"


def _endpoint(said: argparse.Namespace, folder: Path) -> Endpoint:
    """A camera that enrolled itself has its key and certificate in its own folder, and only there."""
    host, _, port = said.broker.rpartition(":")
    own = folder / "device"
    by_itself = (own / CERTIFICATE).exists()
    made_here = said.pki / folder.name
    return Endpoint(
        host=host,
        port=int(port),
        ca=own / CA if by_itself else said.ca,
        certificate=own / CERTIFICATE if by_itself else made_here / "cert.pem",
        key=own / TLS_KEY if by_itself else made_here / "key.pem",
        protocol=said.mqtt,
    )


def _plan(said: argparse.Namespace) -> Plan:
    places: tuple[Place, ...] = ()
    if said.places is not None:
        places = msgspec.json.decode(said.places.read_bytes(), type=tuple[Place, ...])
    return Plan(
        seed=said.seed,
        calm=said.calm,
        shift_s=said.shift_minutes * 60,
        rest_s=said.rest_minutes * 60,
        press_every_s=said.press_every,
        places=places,
    )


def _script(said: argparse.Namespace) -> tuple[Act, ...]:
    return () if said.script is None else read_script(said.script.read_text())


def main(argv: list[str] | None = None) -> int:
    """Run the fleet; return 2 with one sentence for what the user can mend."""
    said = _words().parse_args(argv)
    logging.basicConfig(
        level=logging.WARNING if said.quiet else logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("mqtt").setLevel(logging.CRITICAL)  # paho repeats in its words what broker.client says in ours
    outcome = 0
    try:
        asyncio.run(_live(said))
    except* (FootageProblem, NotEnrolled) as problems:
        sys.stderr.write(f"{_first(problems)}\n")
        outcome = 2
    return outcome


def _first(problems: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception inside."""
    inside = problems.exceptions[0]
    return _first(inside) if isinstance(inside, BaseExceptionGroup) else inside


if __name__ == "__main__":
    sys.exit(main())
