"""A town that is up: its processes, its folder, its clock."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
import aiosqlite

from broker.clock import DemonstrationClock
from cloud.config import TownFolder, read_config
from deploy.demo.command import run_town
from deploy.demo.founding import Plan, found_town
from deploy.demo.supervisor import Supervisor

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A town that is up."""

    town: TownFolder
    base: str
    supervisor: Supervisor
    clock: DemonstrationClock

    def press(self, what: str) -> None:
        """Do with a camera what a hand does: cam-01, cam-01.off, cam-01.dock."""
        (self.town.buttons / what).touch()

    async def hands_off(self) -> None:
        """Wait until every hand is off its button: what was pressed has been felt."""

        async def felt() -> bool:
            return not any(self.town.buttons.iterdir())

        await eventually("all buttons felt", felt)

    async def ring_is_full(self, cameras: int, pre_record_s: int) -> None:
        """Wait until so many cameras stand by and have buffered the seconds that the policy lets them keep."""

        async def all_buffer() -> bool:
            row = await self.row(
                "SELECT count(*) FROM camera_states WHERE json_extract(state, '$.state') = 'standby' "
                "AND json_extract(state, '$.buffering')"
            )
            return row == (cameras,)

        await eventually(f"{cameras} cameras in stand-by that buffer", all_buffer, within_s=300.0)
        await asyncio.sleep((pre_record_s + 5) / self.clock.rate)

    async def answers(self) -> bool:
        """Return whether somebody is at the desk's door."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.base}/gezondheid"):
                return True
        except aiohttp.ClientConnectionError:
            return False

    async def row(self, query: str, *values: str) -> tuple[object, ...] | None:
        """Look into the database beside the running cloud, without touching it."""
        uri = f"file:{self.town.cloud / 'vierogen.sqlite'}?mode=ro"
        async with aiosqlite.connect(uri, uri=True, timeout=60) as database, database.execute(query, values) as found:
            row = await found.fetchone()
            return tuple(row) if row else None


@contextlib.asynccontextmanager
async def running(
    folder: Path, municipality: str, port: int, *, film: Path | None, rate: float, cameras: int
) -> AsyncIterator[Running]:
    """A town of real processes in which nobody acts but the test. `film` None: the drawn street."""
    plan = Plan(
        municipality=municipality,
        cameras=cameras,
        desk_port=port,
        receiver_port=port + 1,
        broker_port=port + 2,
        rate=rate,
    )
    town = await found_town(folder / municipality, plan, say=print)
    config = read_config(town.config)
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await run_town(
            town, config, stack, edge_options=["--calm", "--seed=7", *([f"--footage={film}"] if film else [])]
        )
        stack.enter_context(errors_told(supervisor))
        yield Running(
            town=town,
            base=f"http://localhost:{port}",
            supervisor=supervisor,
            clock=DemonstrationClock(town.clock),
        )


@contextlib.contextmanager
def errors_told(supervisor: Supervisor) -> Iterator[None]:
    """When the test fails, print the last error in each part's log: the logs go with the folder."""
    try:
        yield
    except BaseException:
        for log in sorted(supervisor._logs.glob("*.log")):
            before, found, story = log.read_text(errors="replace").rpartition("Traceback (most recent call last)")
            if found:
                print(f"--- {log.name}\n{before[-500:]}{found}{story[:4000]}")
        raise


async def eventually(what: str, look: Callable[[], Awaitable[T | None]], *, within_s: float = 120.0) -> T:
    """Return the first thing that `look` finds; fail with this sentence when it finds nothing in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = await look()
        if found is not None and found is not False:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {within_s:.0f} s: {what}")
