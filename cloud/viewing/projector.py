"""The desk's end of one worker process: started with a room, killed with it."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from broker.wire.refusals import Code, Refusal, Refused, refuse
from cloud.viewing.messages import (
    Answer,
    Declined,
    Open,
    Opened,
    OpenRecording,
    Order,
    Ready,
    Show,
    Shown,
    length_of,
    pack,
    read_answer,
)

STARTS_WITHIN_S: Final = 30.0
"""Loading OpenCV and FFmpeg on a busy small machine; normally one second."""

ANSWERS_WITHIN_S: Final = 20.0
"""One second of footage takes a tenth of one; beyond this the process hangs and the room is closed."""


class Projector:
    """Shows the footage of one room. Every method raises Refused; UNAVAILABLE when the process is gone."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.public_key = b""

    @classmethod
    async def start(cls) -> "Projector":
        """Start the process; it makes the session's key pair and keeps the private half."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # nothing of the environment or the working folder decides what is loaded
            "-m",
            "cloud.viewing.worker",
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
            raise _gone() from None
        if not isinstance(ready, Ready):
            await projector.close()
            raise _gone()
        projector.public_key = ready.public_key
        return projector

    async def open(self, request_sha256: bytes, recordings: Sequence[OpenRecording]) -> None:
        """Hand over what the Kluis released; only this process can open it."""
        answer = await self._ask(Open(request_sha256=request_sha256, recordings=tuple(recordings)))
        if not isinstance(answer, Opened):
            raise _gone()

    async def show(self, recording: str, raw: bytes, *, mark: tuple[str, ...], pre_record: str) -> bytes:
        """Return a segment with `mark` burnt in, and `pre_record` where it is from before the press."""
        answer = await self._ask(Show(raw=raw, recording=recording, mark=mark, pre_record=pre_record))
        if not isinstance(answer, Shown):
            raise _gone()
        return answer.media

    async def close(self) -> None:
        """End the process: its key, and with it what was released, is gone. Closing twice is fine."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    async def _ask(self, order: Order) -> Answer:
        async with self._turn:
            if self._process.stdin is None or self._process.returncode is not None:
                raise _gone()
            try:
                self._process.stdin.write(pack(order))
                async with asyncio.timeout(ANSWERS_WITHIN_S):
                    await self._process.stdin.drain()
                    answer = await self._receive()
            except (TimeoutError, ConnectionError) as cause:
                await self.close()
                raise _gone() from cause
        if isinstance(answer, Declined):
            raise Refused(Refusal(code=Code[answer.code], what=answer.what, expected=answer.expected, got=answer.got))
        return answer

    async def _receive(self) -> Answer:
        if self._process.stdout is None:
            raise _gone()
        try:
            prefix = await self._process.stdout.readexactly(4)
            return read_answer(await self._process.stdout.readexactly(length_of(prefix)))
        except (asyncio.IncompleteReadError, ValueError, msgspec.DecodeError) as cause:
            raise _gone() from cause


def _gone() -> Refused:
    return refuse(Code.UNAVAILABLE, "viewing room", expected="its process", got="none that answers")
