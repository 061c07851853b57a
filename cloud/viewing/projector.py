"""The desk's end of one worker process: started with a room, killed with it."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol, Self, TypeVar

import msgspec

from broker.wire.refusals import Code, Refusal, Refused, refuse
from cloud.viewing.messages import (
    Clip,
    Declined,
    Given,
    Open,
    Opened,
    OpenRecording,
    Playable,
    Ready,
    Show,
    Shown,
    ShowSlice,
    Splice,
    Spliced,
    Wanted,
    WantedKey,
    length_of,
    pack,
    read_answer,
)

LOG: Final = logging.getLogger(__name__)

_T = TypeVar("_T")

STARTS_WITHIN_S: Final = 120.0
"""Loading OpenCV and FFmpeg takes one second, and half a minute where ten others want the processor too."""

MOST_QUESTIONS: Final = 20_000
"""In one order: looking through a film without an index of tens of gigabytes. A process that asks more hangs."""


class Supply(Protocol):
    """What the process may ask for in the middle of an order. Both raise Refused."""

    async def segment(self, recording: str, sequence: int, /) -> bytes:
        """Return a segment, still encrypted."""

    async def content_key(self, recording: str, sequence: int, /) -> bytes:
        """Return the key of the clip whose key file is this segment, sealed to the session."""


class Projector:
    """Shows the footage of one room. Every method raises Refused; UNAVAILABLE when the process is gone."""

    MODULE: ClassVar[str] = "cloud.viewing.worker"
    """What runs in the process."""

    ANSWERS_WITHIN_S: ClassVar[float] = 20.0
    """One second of footage takes a tenth of one; beyond this the process hangs and the room is closed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.public_key = b""

    @classmethod
    async def start(cls) -> Self:
        """Start the process; it makes the session's key pair and keeps the private half."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # nothing of the environment or the working folder decides what is loaded
            "-m",
            cls.MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
        )
        projector = cls(process)
        try:
            async with asyncio.timeout(STARTS_WITHIN_S):
                ready = await projector._receive()
        except (TimeoutError, Refused):
            await projector.close()
            raise gone() from None
        if not isinstance(ready, Ready):
            await projector.close()
            raise gone()
        projector.public_key = ready.public_key
        return projector

    async def open(self, request_sha256: bytes, recordings: Sequence[OpenRecording]) -> None:
        """Hand over what the Kluis released; only this process can open it."""
        await self._answered(Open(request_sha256=request_sha256, recordings=tuple(recordings)), Opened)

    async def show(self, recording: str, raw: bytes, *, mark: tuple[str, ...], pre_record: str) -> bytes:
        """Return a segment with `mark` burnt in, and `pre_record` where it is from before the press."""
        order = Show(raw=raw, recording=recording, mark=mark, pre_record=pre_record)
        return (await self._answered(order, Shown)).media

    async def splice(self, recording: str, clips: Sequence[Clip], supply: Supply) -> tuple[Playable, ...]:
        """Return what can be played of each of these clips."""
        return (await self._answered(Splice(recording=recording, clips=tuple(clips)), Spliced, supply)).clips

    async def show_slice(
        self, recording: str, clip: int, number: int, *, mark: tuple[str, ...], pre_record: str, supply: Supply
    ) -> bytes:
        """Return one slice of a clip that was spliced, with `mark` burnt in."""
        order = ShowSlice(recording=recording, clip=clip, number=number, mark=mark, pre_record=pre_record)
        return (await self._answered(order, Shown, supply)).media

    async def close(self) -> None:
        """End the process: its key, and with it what was released, is gone. Closing twice is fine."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    def _read(self, body: bytes) -> Any:
        return read_answer(body)

    async def _answered(self, order: msgspec.Struct, kind: type[_T], supply: Supply | None = None) -> _T:
        answer = await self._ask(order, supply)
        if not isinstance(answer, kind):
            raise gone()
        return answer

    async def _ask(self, order: msgspec.Struct, supply: Supply | None = None) -> Any:
        async with self._turn:
            answer = await self._say(order)
            for _ in range(MOST_QUESTIONS):
                if supply is None or not isinstance(answer, Wanted | WantedKey):
                    break
                answer = await self._say(Given(content=await _fetched(supply, answer)))
        if isinstance(answer, Wanted | WantedKey):
            await self.close()
            raise gone()
        if isinstance(answer, Declined):
            raise Refused(Refusal(code=Code[answer.code], what=answer.what, expected=answer.expected, got=answer.got))
        return answer

    async def _say(self, order: msgspec.Struct) -> Any:
        if self._process.stdin is None or self._process.returncode is not None:
            raise gone()
        try:
            self._process.stdin.write(pack(order))
            async with asyncio.timeout(self.ANSWERS_WITHIN_S):
                await self._process.stdin.drain()
                return await self._receive()
        except (TimeoutError, ConnectionError) as cause:
            await self.close()
            raise gone() from cause
        except asyncio.CancelledError:
            await self.close()  # an answer to nobody would be taken for the next one's
            raise

    async def _receive(self) -> Any:
        if self._process.stdout is None:
            raise gone()
        try:
            prefix = await self._process.stdout.readexactly(4)
            return self._read(await self._process.stdout.readexactly(length_of(prefix)))
        except (asyncio.IncompleteReadError, ValueError, msgspec.DecodeError) as cause:
            raise gone() from cause


async def _fetched(supply: Supply, wanted: Wanted | WantedKey) -> bytes:
    """Return what the process asks for; nothing where it cannot be had, which the process then says."""
    try:
        if isinstance(wanted, Wanted):
            return await supply.segment(wanted.recording, wanted.sequence)
        return await supply.content_key(wanted.recording, wanted.sequence)
    except Refused as refused:
        LOG.warning("viewing: %s", refused)
        return b""


def gone() -> Refused:
    """Return the refusal of a room whose process does not answer."""
    return refuse(Code.UNAVAILABLE, "viewing room", expected="its process", got="none that answers")
