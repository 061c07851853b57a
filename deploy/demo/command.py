"""`vierogen demo` and what one does in a demonstration: press a button, move the clock, check, start anew."""

import argparse
import asyncio
import contextlib
import errno
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import aiohttp

from broker.child import BrokerError
from broker.clock import DemonstrationClock
from broker.embedded import EmbeddedBroker
from broker.identities import Authority, IdentityError
from broker.wire.policy import read_policy
from cloud.config import CloudConfig, TownFolder, read_config
from deploy.demo.founding import SERVICES, CannotFound, Plan, available, found_town, policy_text
from deploy.demo.supervisor import NotReady, Part, Supervisor, python
from edge.footage import Films, FootageProblem, library


def _parser(name: str, says: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"vierogen {name}", description=says)
    parser.add_argument("--municipality", default="heusden", help=f"one of {', '.join(available())}")
    parser.add_argument("--data", type=Path, default=Path("var"), help="where towns are kept (default: var)")
    return parser


def demo(argv: Sequence[str]) -> int:
    """Start a town, or go on with it, until Ctrl-C."""
    parser = _parser("demo", "Start a whole town on this machine: broker, Kluis, cloud, dock and fifty cameras.")
    parser.add_argument("--footage", help="a video file, or webcam:0; default: a drawn street")
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--port", type=int, default=8480, help="the first of three ports (default 8480)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=1.0, help="how fast a new town's clock runs")
    parser.add_argument("--shift-minutes", type=float, default=10.0, help="length of a shift")
    parser.add_argument("--calm", action="store_true", help="nobody presses or docks by himself")
    arguments = parser.parse_args(argv)
    try:
        return asyncio.run(_demo(arguments))
    except (CannotFound, NotReady, BrokerError) as cannot:
        print(f"vierogen demo: {cannot}", file=sys.stderr)
        return 1
    except OSError as cause:
        if cause.errno != errno.ENOSPC:
            raise
        print(f"vierogen demo: {arguments.data}: the disk is full; make room, or choose --data", file=sys.stderr)
        return 1


def reset(argv: Sequence[str]) -> int:
    """Throw a town away; never while it runs."""
    arguments = _parser("demo-reset", "Throw the demonstration's data away.").parse_args(argv)
    folder = arguments.data / arguments.municipality
    config = folder / "cloud" / "cloud.json"
    if config.exists() and not _is_free(read_config(config).desk.port):
        print(f"vierogen demo-reset: {folder} is running; stop it first (Ctrl-C)", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{folder}: weg / gone")
    return 0


def press(argv: Sequence[str]) -> int:
    """Press a camera's button by hand."""
    parser = _parser("press", "Press a camera's button, or do with it what a person does with a camera.")
    parser.add_argument("camera", help="cam-07")
    what = parser.add_mutually_exclusive_group()
    for other in ("off", "dock", "undock"):
        what.add_argument(f"--{other}", action="store_const", dest="what", const=f".{other}", default="")
    arguments = parser.parse_args(argv)
    town = TownFolder(arguments.data / arguments.municipality)
    if not (town.cameras / arguments.camera).is_dir():
        print(f"vierogen press: expected a camera in {town.cameras}, got {arguments.camera!r}", file=sys.stderr)
        return 1
    (town.buttons / f"{arguments.camera}{arguments.what or ''}").touch()
    return 0


def clock(argv: Sequence[str]) -> int:
    """Show the demonstration's clock, or move it forward."""
    parser = _parser("clock", "Show the demonstration's clock, or move it forward.")
    parser.add_argument("--days", type=float, default=0.0)
    arguments = parser.parse_args(argv)
    shown = DemonstrationClock(TownFolder(arguments.data / arguments.municipality).clock)
    print(shown.move_forward(timedelta(days=arguments.days)).isoformat() if arguments.days else shown().isoformat())
    return 0


def check(argv: Sequence[str]) -> int:
    """Re-derive from what lies on disk that everything adds up."""
    arguments = _parser("check", "Re-derive from what lies on disk that everything adds up.").parse_args(argv)
    from cloud.check import main as check_town

    return check_town([str(arguments.data / arguments.municipality)])


async def _demo(arguments: argparse.Namespace) -> int:
    if arguments.footage and not arguments.footage.startswith("webcam:"):
        try:
            Films(arguments.footage, cache=arguments.data / "footage").check()
        except FootageProblem as cause:
            raise CannotFound(str(cause)) from cause
    folder = arguments.data / arguments.municipality
    if not folder.exists():
        plan = Plan(
            municipality=arguments.municipality,
            cameras=arguments.cameras,
            desk_port=arguments.port,
            receiver_port=arguments.port + 1,
            broker_port=arguments.port + 2,
            rate=arguments.rate,
            seed=arguments.seed,
        )
        _check_ports(plan.desk_port, plan.receiver_port, plan.broker_port)
        await found_town(folder, plan, say=_say)
    town = TownFolder(folder)
    config = read_config(town.config)
    _check_ports(config.desk.port, config.receiver.port, config.broker.port)
    await _prepare_footage(arguments, town)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        await run_town(
            town,
            config,
            stack,
            edge_options=[
                f"--seed={arguments.seed}",
                f"--shift-minutes={arguments.shift_minutes}",
                *(["--calm"] if arguments.calm else []),
                "--rest-minutes=3",
                *([f"--footage={arguments.footage}"] if arguments.footage else []),
            ],
        )
        _welcome(config, arguments.data)
        await stop.wait()
        _say("stoppen … / stopping")
    _say("gestopt; `make demo` gaat verder waar het was / stopped; it goes on from here")
    return 0


async def _prepare_footage(arguments: argparse.Namespace, town: TownFolder) -> None:
    """Encode what the cameras will film, once: an officer's first press must not wait for an encoder."""
    if arguments.footage and arguments.footage.startswith("webcam:"):
        return
    policy = read_policy(policy_text(arguments.municipality))
    cache = town.root.parent / "footage"
    if not cache.exists() or arguments.footage:
        _say("de film wordt klaargemaakt … / preparing the film")
    try:
        await library(arguments.footage, sound=policy.recording.sound, cache=cache)
    except FootageProblem as cause:
        raise CannotFound(str(cause)) from cause


async def run_town(
    town: TownFolder, config: CloudConfig, stack: contextlib.AsyncExitStack, *, edge_options: Sequence[str] = ()
) -> Supervisor:
    """Start the processes of a town in order, each when the one before is ready; the stack stops them in reverse."""
    authority = Authority.open(town.pki)
    await asyncio.to_thread(_renew_certificates, authority)
    renewing = asyncio.create_task(_keep_certificates(authority), name="certificates")
    stack.callback(renewing.cancel)
    broker = EmbeddedBroker.start(town.broker, identities=authority, port=config.broker.port)
    await stack.enter_async_context(broker)
    supervisor = Supervisor(town.log, _say)
    stack.push_async_callback(supervisor.stop)
    time = ["--clock", str(town.clock)]
    mqtt = f"{config.broker.host}:{config.broker.port}"
    await supervisor.start(
        Part(name="kluis", command=python("cloud", "kluis", town.root, *time), ready=_socket_there(town.kluis_socket))
    )
    await supervisor.start(
        Part(name="cloud", command=python("cloud", "serve", town.root, *time), ready=_answers(config, town))
    )
    for station in sorted(town.stations.iterdir()):
        dock = python(
            "dock_agent", "--dock", station.name, "--org", config.org, "--oin", config.oin, "--bay-count", "56",
            "--bays", station / "bays", "--state", town.docks / station.name,
            "--receiver", f"https://{config.receiver.host}:{config.receiver.port}", "--broker", mqtt,
            "--ca", town.ca, "--pki", town.pki / station.name, *time,
        )  # fmt: skip
        await supervisor.start(Part(name=station.name, command=dock, ready=_at_once))
    cameras = python(
        "edge", "--cameras-folder", town.cameras, "--buttons", town.buttons, "--stations", town.stations,
        "--bays", "56", "--broker", mqtt, "--ca", town.ca, "--pki", town.pki, "--places", town.root / "places.json",
        "--footage-cache", town.root.parent / "footage", *time, *edge_options,
    )  # fmt: skip
    await supervisor.start(Part(name="edge", command=cameras, ready=_at_once))
    return supervisor


def _renew_certificates(authority: Authority) -> None:
    """Renew what is past two thirds of its life; give the services of a later version their identity."""
    for service, role in SERVICES.items():
        if service not in authority.registry.identities:
            authority.issue(service, role)
    for renewed in authority.renew_due():
        _say(f"{renewed}: nieuw certificaat / new certificate")


async def _keep_certificates(authority: Authority) -> NoReturn:
    """Renew each day what is due. Brokers follow the registry; clients read their certificate at each connection."""
    while True:
        await asyncio.sleep(24 * 3600)
        try:
            await asyncio.to_thread(_renew_certificates, authority)
        except (OSError, IdentityError) as cause:
            _say(f"certificaten niet vernieuwd, morgen weer / certificates not renewed, again tomorrow: {cause}")


def _welcome(config: CloudConfig, data: Path) -> None:
    where = f"--municipality {config.org}" + ("" if data == Path("var") else f" --data {data}")
    print(
        f"\n  {config.name}\n\n"
        f"  http://localhost:{config.desk.port}\n\n"
        "  Meld u aan als wie u wilt; de lijst staat op de eerste pagina.\n"
        "  Sign in as anyone; the list is on the first page.\n\n"
        f"  een knop indrukken / press a button:  .venv/bin/vierogen press cam-07 {where}\n"
        f"  naar dag 28 / to day 28:              .venv/bin/vierogen clock --days 28 {where}\n"
        f"  klopt alles? / does it add up?        .venv/bin/vierogen check {where}\n"
        "  stoppen / stop:                       Ctrl-C\n",
        flush=True,
    )


def _check_ports(*ports: int) -> None:
    for port in ports:
        if not _is_free(port):
            raise CannotFound(
                f"port {port} is in use; stop what listens there (is a demonstration running already?), "
                "or give a new town other ports: make demo DEMO='--port 9480'"
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _socket_there(path: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        writer.close()
        await writer.wait_closed()
        return True

    return ready


def _answers(config: CloudConfig, town: TownFolder) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        dock = next(town.stations.iterdir()).name  # the receiver speaks to docks only
        trust = ssl.create_default_context(cafile=str(town.ca))
        trust.load_cert_chain(town.certificate(dock), town.private_key(dock))
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{config.desk.port}/gezondheid"):
                    pass
                async with session.get(f"https://127.0.0.1:{config.receiver.port}/v1/health", ssl=trust):
                    pass
        except aiohttp.ClientError:
            return False
        return True

    return ready


async def _at_once() -> bool:
    return True


def _say(line: str) -> None:
    print(f"· {line}", flush=True)
