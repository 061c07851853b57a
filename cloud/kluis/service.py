"""The Kluis as a process: its methods behind a unix socket in a folder that only its own user can enter.

One thread does all the work, so that no two requests ever race; what waits is bounded by who can reach the socket.
"""

import asyncio
import logging
import os
import socket as sockets
import sqlite3
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from broker.clock import Clock
from broker.wire.ids import parse_recording
from broker.wire.refusals import Code, Refused, refuse
from cloud.kluis.about import Settings
from cloud.kluis.custody import Kluis
from cloud.kluis.founding import Founded, found
from cloud.kluis.messages import ChangeOrder, CloseCaseOrder, ContentKeyOrder, DestroyOrder, IntakeOrder, ReleaseOrder

__all__ = ["Founded", "Settings", "found", "serve"]

MAX_ORDER_BYTES: Final = 4 * 1024 * 1024
"""A head is a few kilobytes, a request with its proofs at most some tens, a roster of a large town below a megabyte."""

HOUSEKEEPING_S: Final = 5.0
"""Wall seconds between two looks at what is over; each look costs a few queries."""

_log = logging.getLogger("vierogen.kluis")
_T = TypeVar("_T")
_O = TypeVar("_O")


async def serve(folder: Path, socket: Path, clock: Clock) -> None:
    """Answer on the socket until cancelled; raise KluisDamaged, LedgerUnwritable or FileNotFoundError at the start.

    The socket's folder is made with mode 0700 when it is not there, and refused (PermissionError) when others can
    enter it.
    """
    _check_folder(socket.parent)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kluis")
    loop = asyncio.get_running_loop()
    kluis = await loop.run_in_executor(thread, Kluis.open, folder)
    try:
        runner = web.AppRunner(_Doors(kluis, thread, clock).application(), access_log=None)
        try:
            await runner.setup()
            _forget(socket)  # of a process that died: the store's lock says that none lives
            await web.UnixSite(runner, socket).start()
            _only_for_us(socket)
            while True:
                await _keep_house(kluis, thread, clock)
                await asyncio.sleep(HOUSEKEEPING_S)
        finally:
            await runner.cleanup()
            _forget(socket)
    finally:
        await loop.run_in_executor(thread, kluis.close)
        thread.shutdown()


def _check_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        raise PermissionError(f"{folder}: expected a folder that only its owner enters (0700), got {mode:04o}")


def _forget(socket: Path) -> None:
    socket.unlink(missing_ok=True)


def _only_for_us(socket: Path) -> None:
    socket.chmod(0o600)


async def _keep_house(kluis: Kluis, thread: ThreadPoolExecutor, clock: Clock) -> None:
    """A round that fails is tried again: nothing is released or lost by it, only destroyed later."""
    try:
        done = await asyncio.get_running_loop().run_in_executor(thread, lambda: kluis.keep_house(clock()))
    except (Refused, OSError, sqlite3.Error):
        _log.exception("housekeeping failed; trying again in %s s", HOUSEKEEPING_S)
        return
    if done.rotated_to or done.made_final or done.epochs_destroyed or done.generations_destroyed:
        _log.info(
            "generation %s, %s epochs and %s generations destroyed, %s certificates final",
            done.rotated_to,
            len(done.epochs_destroyed),
            len(done.generations_destroyed),
            len(done.made_final),
        )


class _Doors:
    """The routes. Each reads its order, calls one method in the Kluis's thread, and writes the answer."""

    def __init__(self, kluis: Kluis, thread: ThreadPoolExecutor, clock: Clock) -> None:
        self._kluis, self._thread, self._clock = kluis, thread, clock

    def application(self) -> web.Application:
        """Return the routes, with the answer to every refusal."""
        application = web.Application(middlewares=[_only_our_user, _answer_refusals], client_max_size=MAX_ORDER_BYTES)
        application.add_routes(
            [
                web.get("/v1/public", self.public),
                web.get("/v1/documents", self.documents),
                web.get("/v1/keylist", self.keylist),
                web.get("/v1/inventory", self.inventory),
                web.get("/v1/certificates/{recording}", self.certificates),
                web.get("/v1/journal/{first:[0-9]+}/{last:[0-9]+}", self.journal),
                web.get("/v1/checkpoint", self.checkpoint),
                web.post("/v1/intake", self.intake),
                web.post("/v1/release", self.release),
                web.post("/v1/content-key", self.content_key),
                web.post("/v1/destroy", self.destroy),
                web.post("/v1/close-case", self.close_case),
                web.post("/v1/rotate", self.rotate),
                web.post("/v1/{kind:roster|policy}", self.change),
            ]
        )
        return application

    async def public(self, _: web.Request) -> web.Response:
        return _json(await self._run(self._kluis.public))

    async def documents(self, _: web.Request) -> web.Response:
        return _json(await self._run(lambda: self._kluis.documents(self._clock())))

    async def keylist(self, _: web.Request) -> web.Response:
        keylist = await self._run(lambda: self._kluis.keylist(self._clock()))
        return web.Response(body=keylist, content_type="application/json")

    async def inventory(self, _: web.Request) -> web.Response:
        return _json(await self._run(self._kluis.inventory))

    async def certificates(self, request: web.Request) -> web.Response:
        try:
            recording = parse_recording(request.match_info["recording"])
        except ValueError as cause:
            raise refuse(Code.MALFORMED, "recording", expected="a UUIDv7", got=cause) from cause
        return _json(await self._run(lambda: self._kluis.certificates(recording)))

    async def journal(self, request: web.Request) -> web.Response:
        first, last = int(request.match_info["first"]), int(request.match_info["last"])
        return _json(await self._run(lambda: self._kluis.journal(first, min(last, first + 1000))))

    async def checkpoint(self, _: web.Request) -> web.Response:
        checkpoint = await self._run(self._kluis.checkpoint)
        return web.Response(body=checkpoint.note, content_type="text/plain", charset="utf-8")

    async def intake(self, request: web.Request) -> web.Response:
        order = await _order(request, IntakeOrder)
        await self._run(
            lambda: self._kluis.intake(
                order.head, camera_public_key=order.camera_public_key, end=order.end, now=self._clock()
            )
        )
        return web.Response(status=204)

    async def release(self, request: web.Request) -> web.Response:
        order = await _order(request, ReleaseOrder)
        return _json(
            await self._run(
                lambda: self._kluis.release(
                    order.request,
                    statements=order.statements,
                    entries=order.entries,
                    proofs=order.proofs,
                    now=self._clock(),
                )
            )
        )

    async def content_key(self, request: web.Request) -> web.Response:
        order = await _order(request, ContentKeyOrder)
        sealed = await self._run(
            lambda: self._kluis.content_key(
                order.request,
                journal_index=order.journal_index,
                camera_public_key=order.camera_public_key,
                segment=order.segment,
                now=self._clock(),
            )
        )
        return web.Response(body=sealed, content_type="application/octet-stream")

    async def destroy(self, request: web.Request) -> web.Response:
        order = await _order(request, DestroyOrder)
        try:
            recording = parse_recording(order.recording)
        except ValueError as cause:
            raise refuse(Code.MALFORMED, "recording", expected="a UUIDv7", got=cause) from cause
        certificate = await self._run(
            lambda: self._kluis.destroy(recording, entry=order.entry, proof=order.proof, now=self._clock())
        )
        return web.Response(body=certificate, content_type="application/json")

    async def close_case(self, request: web.Request) -> web.Response:
        order = await _order(request, CloseCaseOrder)
        await self._run(lambda: self._kluis.close_case(entry=order.entry, proof=order.proof, now=self._clock()))
        return web.Response(status=204)

    async def rotate(self, _: web.Request) -> web.Response:
        await self._run(lambda: self._kluis.rotate(self._clock()))
        return _json(await self._run(lambda: self._kluis.keep_house(self._clock())))

    async def change(self, request: web.Request) -> web.Response:
        order = await _order(request, ChangeOrder)
        await self._run(
            lambda: self._kluis.change(
                "roster" if request.match_info["kind"] == "roster" else "policy",
                order.document,
                statements=order.statements,
                entry=order.entry,
                proof=order.proof,
                now=self._clock(),
            )
        )
        return web.Response(status=204)

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Do it in the Kluis's thread, to its end even when the asker has gone: half an act is no act."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))


async def _order(request: web.Request, kind: type[_O]) -> _O:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "order", expected=kind.__name__, got=cause) from cause


def _json(answer: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


@web.middleware
async def _only_our_user(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """The folder's mode keeps others out; this says so once more, by the kernel's word about who connected."""
    socket = request.get_extra_info("socket")
    _, user, _ = struct.unpack("3i", socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, struct.calcsize("3i")))
    if user not in (os.getuid(), 0):
        raise web.HTTPForbidden(text=f"expected user {os.getuid()}, got {user}")
    return await handler(request)


@web.middleware
async def _answer_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        answer = refused.refusal
    except (OSError, sqlite3.Error) as failure:
        _log.exception("%s failed", request.path)
        answer = refuse(Code.UNAVAILABLE, "Kluis", expected="a store that can be written", got=failure).refusal
    return web.Response(status=answer.code.status, body=answer.problem(), content_type="application/problem+json")
