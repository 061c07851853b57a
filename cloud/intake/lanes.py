"""More processes on the receiver's port: each ends TLS, verifies, stores and acknowledges segments by itself.

The process that has the database keeps its port, which is shared (SO_REUSEPORT): a connection lands in any of them. A
lane takes what the fast lane takes. Which dock this is and which key a camera has it asks the process with the
database, over a socket in a folder that only this account can enter; every other request goes there as it is, bytes for
bytes, together with what the client's certificate said. The vault is safe between processes: a name is taken once, and
believed only when it is synced. Whoever is killed leaves at most files without a name, which are swept.
"""

import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import msgspec
from aiohttp import ClientSession, ClientTimeout, UnixConnector, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.wire.ids import CameraKeyId, DeviceId, Org
from broker.wire.refusals import Code, Refused, refuse
from cloud.intake.bodies import Limits
from cloud.intake.doors import REGISTER_FRESH_S, Claim, read_claim
from cloud.intake.front import Lane
from cloud.intake.receiver import DOOR, INTAKE
from cloud.intake.segments import Segments
from cloud.vault.store import Vault

LOG: Final = logging.getLogger(__name__)

ASK, THROUGH = "ask.sock", "through.sock"
CLAIM_BYTES: Final = 512
"""What comes first on a connection that was passed through: what its certificate says, padded with spaces."""

ANSWER_S: Final = 10.0
RESTART_S: Final = 1.0
STOP_S: Final = 15.0


def share(limits: Limits, *, processes: int) -> Limits:
    """Return what one of so many processes takes on: together they stay within the budget."""
    return replace(limits, budget_bytes=limits.budget_bytes // processes)


# --- in the process that has the database ---------------------------------------------------------------------------


@asynccontextmanager
async def behind(app: web.Application, runner: web.AppRunner, folder: Path) -> AsyncIterator[None]:
    """Answer lanes through sockets in `folder`, which is made for this account only. `runner` serves `app`."""
    await asyncio.to_thread(_private, folder)
    async with AsyncExitStack() as stack:
        asked = web.AppRunner(_answers(app), access_log=None, handle_signals=False)
        await asked.setup()
        stack.push_async_callback(asked.cleanup)
        await web.UnixSite(asked, folder / ASK).start()
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Arrival(cast("Callable[[], asyncio.BaseProtocol]", runner.server)), str(folder / THROUGH)
        )
        stack.callback(server.close)
        yield


def _private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def _answers(app: web.Application) -> web.Application:
    async def dock(request: web.Request) -> web.Response:
        claim = msgspec.json.decode(await request.read(), type=Claim)
        try:
            await app[DOOR].look_up(claim)
        except Refused as refused:
            return web.Response(status=403, text=refused.refusal.code.name)
        return web.Response()

    async def camera(request: web.Request) -> web.Response:
        try:
            key = await app[INTAKE].camera_key(CameraKeyId(bytes.fromhex(request.match_info["key"])))
        except Refused as refused:
            return web.Response(status=403, text=refused.refusal.code.name)
        return web.Response(body=key.public_bytes_raw())

    answers = web.Application()
    answers.router.add_post("/dock", dock)
    answers.router.add_get("/cameras/{key:[0-9a-f]+}", camera)
    return answers


class _Arrival(asyncio.BufferedProtocol):
    """A connection from a lane, until its claim is read; then it is one like any other."""

    def __init__(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._make = make
        self._claim = bytearray(CLAIM_BYTES)
        self._came = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the transport's signature
        return memoryview(self._claim)[self._came :]  # no byte of the request

    def buffer_updated(self, nbytes: int) -> None:
        self._came += nbytes
        if self._came < CLAIM_BYTES:
            return
        assert self._transport is not None
        protocol = self._make()
        self._transport.set_protocol(protocol)
        claim = msgspec.json.decode(self._claim, type=Claim | None)
        protocol.connection_made(cast("asyncio.Transport", _Vouched(self._transport, claim)))


class _Vouched:
    """A transport that also knows whose certificate its other end showed to the lane."""

    def __init__(self, transport: asyncio.Transport, claim: Claim | None) -> None:
        self._transport = transport
        self._claim = claim

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._claim if name == "claim" else self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@asynccontextmanager
async def lanes(command: Sequence[str], *, count: int, vault: Vault) -> AsyncIterator[None]:
    """Keep `count` processes running that call `serve_lane`; they end with this one, however it ends."""
    tasks = [asyncio.create_task(_keep_one(command, vault), name=f"receiver.lane-{place}") for place in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_one(command: Sequence[str], vault: Vault) -> NoReturn:
    while True:
        # Its standard input is how a lane knows that we live: the kernel closes it when we are gone.
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        try:
            await process.wait()
        finally:
            await _stop(process)
            await vault.sweep(process.pid)
        LOG.error("receiver: a lane ended with %s; another one starts", process.returncode)
        await asyncio.sleep(RESTART_S)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# --- in a lane ------------------------------------------------------------------------------------------------------


async def serve_lane(
    *, org: Org, host: str, port: int, tls: ssl.SSLContext, vault: Vault, folder: Path, limits: Limits
) -> None:
    """Take segments on this port until the process that has the database is gone, or says so."""
    ended = await _end_of_input()
    async with ClientSession(
        "http://receiver", connector=UnixConnector(str(folder / ASK)), timeout=ClientTimeout(total=ANSWER_S)
    ) as session:
        asking = _Asking(session)
        segments = Segments(org=org, door=asking, keys=asking.camera_key, vault=vault, limits=limits)
        lane = Lane(segments, limits)
        server = await asyncio.get_running_loop().create_server(
            lambda: lane.connection(lambda: _Through(str(folder / THROUGH))), host, port, ssl=tls, reuse_port=True
        )
        try:
            await ended.wait()
        finally:
            server.close()
            await lane.close()


async def _end_of_input() -> asyncio.Event:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    loop.add_reader(sys.stdin.fileno(), ended.set)
    return ended


class _Asking:
    """Door and cameras' keys, asked of the process that has the database."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._known: dict[Claim, float] = {}

    async def dock(self, transport: asyncio.BaseTransport | None, what: str) -> DeviceId:  # noqa: ARG002 - of a Door
        """Return which dock this is; raise Refused, also when there is no answer: then it is asked where it counts."""
        claim, loop = read_claim(transport), asyncio.get_running_loop()
        if self._known.get(claim, -1.0) <= loop.time():
            await self._ask("POST", "/dock", msgspec.json.encode(claim))
            self._known = {known: until for known, until in self._known.items() if until > loop.time()}
            self._known[claim] = loop.time() + REGISTER_FRESH_S
        return claim.device

    async def camera_key(self, named: CameraKeyId) -> Ed25519PublicKey:
        """Return the key of an enrolled camera; raise Refused."""
        return Ed25519PublicKey.from_public_bytes(await self._ask("GET", f"/cameras/{named.hex()}"))

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        try:
            async with self._session.request(method, path, data=body) as answer:
                content = await answer.read()
        except (OSError, TimeoutError) as cause:  # aiohttp's own errors of a connection are both of these
            raise refuse(Code.UNAVAILABLE, "receiver", expected="an answer of the database", got=cause) from cause
        if answer.status == 200:
            return content
        code = Code[content.decode()] if content.decode() in Code.__members__ else Code.UNAVAILABLE
        raise refuse(code, path, expected="one that the register knows", got=f"{answer.status}")


class _Through(asyncio.Protocol):
    """A connection that is passed on as it is; what was read before goes first."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._waiting: list[bytes] = []
        self._near: asyncio.Transport | None = None
        self._far: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._near = cast("asyncio.Transport", transport)
        self._near.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._open(self._near), name="receiver.through")

    def data_received(self, data: bytes) -> None:
        if self._far is None:
            self._waiting.append(data)
        else:
            self._far.write(data)

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.pause_reading()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the transport's signature
        if self._far is not None:
            self._far.close()

    async def _open(self, near: asyncio.Transport) -> None:
        try:
            self._far, _ = await asyncio.get_running_loop().create_unix_connection(lambda: _Back(near), self._socket)
        except OSError as cause:
            LOG.warning("receiver: not passed through: %s", cause)
            near.close()
            return
        self._far.write(_claim_of(near).ljust(CLAIM_BYTES) + b"".join(self._waiting))
        self._waiting.clear()
        if near.is_closing():
            self._far.close()
        else:
            near.resume_reading()


def _claim_of(transport: asyncio.BaseTransport) -> bytes:
    try:
        return msgspec.json.encode(read_claim(transport))
    except Refused:
        return b"null"


class _Back(asyncio.Protocol):
    """The answers, on their way to the dock."""

    def __init__(self, near: asyncio.Transport) -> None:
        self._near = near

    def data_received(self, data: bytes) -> None:
        self._near.write(data)

    def pause_writing(self) -> None:
        self._near.pause_reading()

    def resume_writing(self) -> None:
        with suppress(RuntimeError):  # closed meanwhile
            self._near.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the transport's signature
        self._near.close()
