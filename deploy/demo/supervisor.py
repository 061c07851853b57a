"""Runs the parts of a town as separate processes: started in order, started again when they die, stopped in reverse."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
STOP_S: Final = 12.0  # a camera closes its recording, a dock its segment; longer is a hang
RESTART_S: Final = 1.0


class NotReady(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A part did not come up; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process: its name, its command, and what tells that it is ready."""

    name: str
    command: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    ready_within_s: float = 120.0  # on a busy machine; one that cannot start ends by itself, and that is seen at once


class Supervisor:
    """Keeps parts alive between `start` and `stop`."""

    def __init__(self, log_folder: Path, say: Callable[[str], None]) -> None:
        self._logs = log_folder
        self._say = say
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._order: list[Part] = []
        self._stopping = False

    async def start(self, part: Part) -> None:
        """Start one part and wait until it is ready; raise NotReady with the end of its log otherwise."""
        process = await self._spawn(part)
        deadline = asyncio.get_running_loop().time() + part.ready_within_s
        while not await part.ready():
            if process.returncode is not None:
                raise NotReady(f"{part.name} stopped at once (exit code {process.returncode}).\n{self._tail(part)}")
            if asyncio.get_running_loop().time() > deadline:
                raise NotReady(f"{part.name} was not ready within {part.ready_within_s:.0f} s.\n{self._tail(part)}")
            await asyncio.sleep(0.05)
        self._order.append(part)
        self._keepers.append(asyncio.create_task(self._keep(part), name=f"supervisor[{part.name}]"))

    async def stop(self) -> None:
        """Ask every part to stop, the last started first; end what does not within STOP_S."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for name in reversed(list(self._processes)):
            process = self._processes[name]
            if process.returncode is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                self._say(f"{name}: stopte niet binnen {STOP_S:.0f} s en is beëindigd / did not stop and was ended")
                process.kill()
                await process.wait()

    def process(self, name: str) -> asyncio.subprocess.Process:
        """Return the running process of a part."""
        return self._processes[name]

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{part.name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches the supervisor alone, which stops the parts in order
                preexec_fn=_die_with_parent,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        self._processes[part.name] = process
        return process

    async def _keep(self, part: Part) -> None:
        while True:
            code = await self._processes[part.name].wait()
            if self._stopping:
                return
            self._say(f"{part.name}: viel weg (code {code}) en wordt opnieuw gestart / died and is started again")
            await asyncio.sleep(RESTART_S)
            await self._spawn(part)

    def _tail(self, part: Part) -> str:
        lines = (self._logs / f"{part.name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-12:])


def python(*arguments: str | Path) -> list[str]:
    """Return the command that runs a module with this same interpreter."""
    return [sys.executable, "-m", *map(str, arguments)]


def _die_with_parent() -> None:
    """Let the kernel stop this child when the supervisor dies without a word (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
