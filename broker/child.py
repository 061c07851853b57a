"""A server program as our child: it is there when `launch` returns, comes back when it dies, and ends with us."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOG: Final = logging.getLogger(__name__)

READY_S: Final = 600.0
"""From start to listening: 0.1 s with an empty store; with the sessions of ten thousand cameras more than 20 s on a
busy machine, and who loses patience kills it while it reads, again and again. One that cannot start ends by itself."""

ANSWER_S: Final = 30.0
"""From a signal to the line in the log that answers it. 500 identities: 0.05 s; a busy machine has its time."""

STOP_S: Final = 10.0
_LOOK_S: Final = 0.02
_MOST_PAUSE_S: Final = 5.0

_ENDS_WITH_US: Final = (
    "import ctypes,os,sys\n"
    "if sys.platform=='linux': ctypes.CDLL(None).prctl(1,15)\n"  # PR_SET_PDEATHSIG, SIGTERM
    "if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)
"""Run in the child before the program: it gets SIGTERM when its parent is gone, also after ``kill -9`` of the parent.

A program of its own and not a `preexec_fn`, which may deadlock in a process with threads.
"""


class BrokerError(Exception):
    """A broker does not start, or does not take its configuration: says what, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, where it writes its log, and the line by which it says that it serves."""

    name: str
    arguments: tuple[str, ...]
    log: Path
    ready: str


class Child:
    """One running program."""

    def __init__(self, program: Program, *, prepare: Callable[[], Awaitable[None]]) -> None:
        self._program = program
        self._prepare = prepare
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, program: Program, *, prepare: Callable[[], Awaitable[None]]) -> AsyncIterator["Child"]:
        """Run the program until the end of the block, and start it again when it dies before that.

        `prepare` writes its configuration, before each start. Raises BrokerError when it does not come up.
        """
        child = cls(program, prepare=prepare)
        await child._launch()
        keeper = asyncio.create_task(child._keep_running(), name=f"{program.name}.keep-running")
        try:
            yield child
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            await child._stop()

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        if self._process is None:
            raise BrokerError(f"{self._program.name}: not started")
        return self._process.pid

    async def reload(self, *, answered_by: str, refused_by: str | None = None) -> None:
        """Send SIGHUP and wait for the line that answers it; raise BrokerError on the other line, or silence."""
        process = self._process
        if process is None or process.returncode is not None:
            return  # it reads what is new when it comes up
        seen = await asyncio.to_thread(_size, self._program.log)
        process.send_signal(signal.SIGHUP)
        try:
            async with asyncio.timeout(ANSWER_S):
                while answered_by not in (said := await asyncio.to_thread(_said, self._program.log, seen)):
                    if refused_by is not None and refused_by in said:
                        line = said.strip().splitlines()[-1]
                        raise BrokerError(f"{self._program.name}: kept its old configuration: {line}")
                    if process.returncode is not None:
                        return
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as cause:
            raise BrokerError(
                f"{self._program.name}: no new configuration in {ANSWER_S:.0f} s; see {self._program.log}"
            ) from cause

    async def _launch(self) -> None:
        await self._prepare()
        early = self._program.log.with_name("start.log")
        seen = await asyncio.to_thread(_size, self._program.log)
        with early.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _ENDS_WITH_US, str(os.getpid()), *self._program.arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        self._process = process
        try:
            async with asyncio.timeout(READY_S):
                while self._program.ready not in await asyncio.to_thread(_said, self._program.log, seen):
                    if process.returncode is not None:
                        words = await asyncio.to_thread(_last_words, early, self._program.log, seen)
                        raise BrokerError(f"{self._program.name}: ended at its start: {words}")
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as cause:
            await self._stop()
            raise BrokerError(f"{self._program.name}: not ready in {READY_S:.0f} s; see {self._program.log}") from cause
        except asyncio.CancelledError:
            await self._stop()
            raise

    async def _keep_running(self) -> None:
        pause_s = 0.1
        while True:
            if self._process is not None:
                code = await self._process.wait()
                LOG.error("%s: ended (%s); starting it again", self._program.name, code)
            try:
                await self._launch()
                self.restarts += 1
                pause_s = 0.1
            except (BrokerError, OSError) as cause:
                LOG.error("%s; trying again", cause)  # noqa: TRY400 - a sentence for an administrator, not a traceback
                await asyncio.sleep(pause_s)
                pause_s = min(_MOST_PAUSE_S, pause_s * 2)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def choose_port(host: str, port: int) -> int:
    """Return the port (a free one for 0) when it can be listened on; raise BrokerError when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as cause:
            raise BrokerError(
                f"broker: cannot listen on {host}:{port} ({cause.strerror}); "
                "stop the other program or choose another port"
            ) from cause
        return int(probe.getsockname()[1])


async def what_it_says(arguments: Sequence[str]) -> str:
    """Run a program to its end and return what it said."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return said.decode(errors="replace").strip()


def _last_words(early: Path, log: Path, seen: int) -> str:
    said = early.read_text(errors="replace").strip() or _said(log, seen).strip()
    return said.splitlines()[-1] if said else "it said nothing"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # none yet, or rotated at this moment
        return 0


def _said(path: Path, offset: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset if offset <= os.fstat(file.fileno()).st_size else 0)  # smaller: rotated meanwhile
            return file.read().decode(errors="replace")
    except FileNotFoundError:  # none yet, or rotated at this moment
        return ""
