"""A dock agent as a process of its own, and the bays in front of it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.adapters.intake.town import Town


async def eventually(true: Callable[[], object], *, within_s: float = 60.0) -> None:
    """Wait until it holds; fail with what it last was."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while not (last := true()):
        assert loop.time() < until, f"still {last!r} after {within_s} s"
        await asyncio.sleep(0.02)


def dock_camera(town: Town, card: Path, *, bay: int = 1, dock: str = "dock-01") -> Path:
    """Put a camera in a bay, in one step, as the simulated camera does."""
    bays = bays_of(town, dock)
    bays.mkdir(exist_ok=True)
    link = bays / f"{bay:02}"
    link.symlink_to(card)
    return link


def bays_of(town: Town, dock: str) -> Path:
    return town.folder / ("bays" if dock == "dock-01" else f"bays-of-{dock}")


@dataclass
class Agent:
    """The process, and what it needs to be started again."""

    town: Town
    options: tuple[str, ...] = ()
    receiver: str = ""
    dock: str = "dock-01"
    runs: tuple[str, ...] = ("-m", "dock_agent")
    process: asyncio.subprocess.Process | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        bays_of(self.town, self.dock).mkdir(exist_ok=True)
        self.log = self.town.folder / ("dock.log" if self.dock == "dock-01" else f"{self.dock}.log")

    async def start(self) -> None:
        town = self.town
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(*self.runs, "--dock", self.dock, "--org", town.org),
                *("--bays", str(bays_of(town, self.dock)), "--state", str(self.log.with_suffix(""))),
                *("--receiver", self.receiver or town.address, "--ca", str(town.authority.ca)),
                *("--pki", str(town.authority.credentials(self.dock).certificate.parent)),
                *self.options,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def running(town: Town, *options: str, receiver: str = "") -> AsyncIterator[Agent]:
    agent = Agent(town, options=options, receiver=receiver)
    await agent.start()
    try:
        yield agent
    except BaseException:
        print(agent.log.read_text()[-4000:])
        raise
    finally:
        if agent.process is not None and agent.process.returncode is None:
            with suppress(ProcessLookupError):
                agent.process.kill()
            await agent.process.wait()
