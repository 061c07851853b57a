"""The receiver: where docks of one municipality deliver sealed segments, over TLS with their own certificates.

    POST /v1/segments/have              N digests of 32 bytes -> N bits, 1 = durably here
    PUT  /v1/segments/{digest}          201 durable and verified, 200 was here already
    PUT  /v1/damaged/{sha256}           bytes that do not verify, kept as they are: 201, 200
    PUT  /v1/bundles/{name}             many small segments in one body, each verified and acknowledged: 201, 200
    PUT  /v1/recordings/{id}            head, digests in order, end record -> the signed receipt
    GET  /v1/keylist                    the keys to which cameras seal, and the newest checkpoint
    GET  /v1/health

Every refusal is a problem document (RFC 9457) from broker/wire/refusals.py; 429, 503 and 507 carry Retry-After. A
sender that asks first (``Expect: 100-continue``) hears a refusal before its body: who it is, how much it wants to send
and whether there is room is decided then. Bytes stream to the disk while they are hashed; memory stays
within its budget, and one dock cannot take another's share of it. Whole segments and bundles usually never come here:
`cloud.intake.front` reads them past aiohttp, and has them kept by the same hands.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import ClientError, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.clock import Clock
from broker.wire.delivery import MAX_BUNDLE_BYTES
from broker.wire.ids import DeviceId, Org, parse_recording
from broker.wire.recording import MAX_SEGMENT_BYTES, SEGMENT_HEADER_BYTES
from broker.wire.refusals import Code, Refused, Retry, refuse
from cloud.database.engine import Database
from cloud.intake.bodies import Limits, announced_size, pieces, whole
from cloud.intake.delivery import MOST_SEGMENTS, Submission
from cloud.intake.doors import Door
from cloud.intake.front import FastRunner
from cloud.intake.recordings import Custody, Hub, Intake, Policies
from cloud.intake.segments import RETRY_AFTER_S, Segments, problem_document, sorry
from cloud.ledger.log import Ledger
from cloud.vault.store import PIECE_BYTES, Approve, Vault

__all__ = ["DOOR", "INTAKE", "RETRY_AFTER_S", "SEGMENTS", "receiver", "serving"]

LOG: Final = logging.getLogger(__name__)

INTAKE: Final = web.AppKey("intake", Intake)
"""Where the other parts of the cloud find `Intake.readmit`."""

DIGEST_BYTES: Final = 32
MAX_HAVE_BYTES: Final = MOST_SEGMENTS * DIGEST_BYTES
MAX_SUBMISSION_BYTES: Final = MOST_SEGMENTS * 80  # a digest in hexadecimal, quoted, and what stands around it

SEGMENTS: Final = web.AppKey("segments", Segments)
DOOR: Final = web.AppKey("door", Door)
_DOCK: Final = web.RequestKey("dock", str)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def receiver(
    *,
    org: Org,
    database: Database,
    vault: Vault,
    kluis: Custody,
    ledger: Ledger,
    policies: Policies,
    receipt_key: Ed25519PrivateKey,
    clock: Clock,
    hub: Hub,
    limits: Limits | None = None,
) -> web.Application:
    """Return the application; serve it with `serving` (TLS from `cloud.intake.doors.server_tls`)."""
    intake = Intake(
        org=org,
        database=database,
        vault=vault,
        kluis=kluis,
        ledger=ledger,
        policies=policies,
        receipt_key=receipt_key,
        clock=clock,
        hub=hub,
    )
    door = Door(org=org, database=database, clock=clock)
    segments = Segments(org=org, door=door, keys=intake.camera_key, vault=vault, limits=limits or Limits())
    desk = _Receiver(door=door, segments=segments, vault=vault, kluis=kluis, ledger=ledger, intake=intake)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await desk.answer(request, handler)

    app = web.Application(middlewares=[guarded])
    app[INTAKE], app[SEGMENTS], app[DOOR] = intake, segments, door
    for method, path, handler, most in (
        ("POST", "/v1/segments/have", desk.have, MAX_HAVE_BYTES),
        ("PUT", "/v1/segments/{digest:[0-9a-f]{64}}", desk.put_segment, MAX_SEGMENT_BYTES),
        ("PUT", "/v1/damaged/{digest:[0-9a-f]{64}}", desk.put_damaged, MAX_SEGMENT_BYTES),
        ("PUT", "/v1/bundles/{digest:[0-9a-f]{64}}", desk.put_bundle, MAX_BUNDLE_BYTES),
        ("PUT", "/v1/recordings/{recording}", desk.put_recording, MAX_SUBMISSION_BYTES),
    ):
        app.router.add_route(method, path, handler, expect_handler=desk.expect(most))
    app.router.add_get("/v1/keylist", desk.keylist)
    app.router.add_get("/v1/health", desk.health)
    return app


def serving(app: web.Application, *, fast: bool = True) -> web.AppRunner:
    """Return the runner with the settings this application needs; `fast=False` leaves everything to aiohttp."""
    settings: dict[str, Any] = {
        "access_log": None,
        "keepalive_timeout": 75,
        "lingering_time": 1.0,  # how long the rest of a refused body is read before the connection is closed
        "handler_cancellation": False,
        "handle_signals": False,
    }
    if not fast:
        return web.AppRunner(app, **settings)
    return FastRunner(app, desk=app[SEGMENTS], limits=app[SEGMENTS].limits, **settings)


class _Receiver:
    def __init__(
        self, *, door: Door, segments: Segments, vault: Vault, kluis: Custody, ledger: Ledger, intake: Intake
    ) -> None:
        self._door = door
        self._segments = segments
        self._vault = vault
        self._kluis = kluis
        self._ledger = ledger
        self._intake = intake
        self._limits = segments.limits

    # --- around every request -----------------------------------------------------------------------------------

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let docks in, and turn refusals into answers."""
        try:
            request[_DOCK] = await self._door.dock(request.transport, f"{request.method} {request.path}")
            return await handler(request)
        except Refused as refused:
            return _problem(refused, close=_is_unread(request))
        except (ConnectionError, ClientError) as gone:
            LOG.info("receiver: %s left during %s %s: %s", request.get(_DOCK), request.method, request.path, gone)
            unheard = refuse(Code.UNAVAILABLE, "receiver", expected="a sender that stays", got="one that left")
            return _problem(unheard, close=True)
        except web.HTTPException:
            raise
        except Exception:
            LOG.exception("receiver: %s %s failed", request.method, request.path)
            return _problem(sorry(), close=_is_unread(request))

    def expect(self, most: int) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
        """Answer ``Expect: 100-continue``: refuse now, or ask for the body."""

        async def decide(request: web.Request) -> web.StreamResponse | None:
            async def go_on(request: web.Request) -> web.StreamResponse:
                size = announced_size(request, most=most)
                self._segments.budget.guard(request[_DOCK], size)
                self._vault.guard_space(size)
                if request.headers["Expect"].lower() != "100-continue":
                    raise refuse(Code.MALFORMED, "Expect", expected="100-continue", got=request.headers["Expect"])
                return _GO_ON

            answer = await self.answer(request, go_on)
            if answer is not _GO_ON:
                answer.force_close()
                return answer
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # so that aiohttp knows that no header of the answer was sent yet
            return None

        return decide

    # --- the routes ---------------------------------------------------------------------------------------------

    async def have(self, request: web.Request) -> web.Response:
        size = announced_size(request, most=MAX_HAVE_BYTES)
        if size % DIGEST_BYTES:
            raise refuse(Code.MALFORMED, "have", expected=f"digests of {DIGEST_BYTES} bytes", got=f"{size} bytes")
        with self._segments.budget.take(request[_DOCK], size):
            body = await whole(request, self._limits, size=size)
        digests = [bytes(body[start : start + DIGEST_BYTES]) for start in range(0, size, DIGEST_BYTES)]
        missing = await self._vault.missing(digests)
        return web.Response(body=_bitmap([not gone for gone in missing]), content_type="application/octet-stream")

    async def put_segment(self, request: web.Request) -> web.Response:
        name = request.match_info["digest"]
        size = announced_size(request, most=MAX_SEGMENT_BYTES)
        with self._segments.budget.take(request[_DOCK], size):
            if size <= PIECE_BYTES:
                body = memoryview(await whole(request, self._limits, size=size))
                return web.Response(status=await self._segments.keep_segment(bytes.fromhex(name), body))
            return web.Response(status=await self._stream_segment(request, bytes.fromhex(name), size=size))

    async def put_damaged(self, request: web.Request) -> web.Response:
        size = announced_size(request, most=MAX_SEGMENT_BYTES)
        with self._segments.budget.take(request[_DOCK], size):
            raw = await whole(request, self._limits, size=size)
            came, name = hashlib.sha256(raw).hexdigest(), request.match_info["digest"]
            if came != name:
                raise refuse(Code.DIGEST_DIFFERS, "body", expected=name, got=came)
            _, new = await self._vault.keep_raw(bytes(raw))
        return web.Response(status=201 if new else 200)

    async def put_bundle(self, request: web.Request) -> web.Response:
        size = announced_size(request, most=MAX_BUNDLE_BYTES)
        with self._segments.budget.take_whole(request[_DOCK], size):
            body = memoryview(await whole(request, self._limits, size=size))
            return web.Response(status=await self._segments.keep_bundle(request.match_info["digest"], body))

    async def put_recording(self, request: web.Request) -> web.Response:
        size = announced_size(request, most=MAX_SUBMISSION_BYTES)
        with self._segments.budget.take(request[_DOCK], size):
            body = await whole(request, self._limits, size=size)
        try:
            recording = parse_recording(request.match_info["recording"])
            submission = msgspec.json.decode(body, type=Submission)
        except (ValueError, msgspec.DecodeError) as cause:
            raise refuse(Code.MALFORMED, "recording", expected="head, digests and end", got=cause) from cause
        # A dock that leaves now must not leave half of the steps behind it: shielded, they run to their end.
        work = asyncio.ensure_future(self._intake.receive(recording, submission, dock=DeviceId(request[_DOCK])))
        receipt = await asyncio.shield(work)
        return web.Response(body=receipt, content_type="application/json")

    async def keylist(self, _request: web.Request) -> web.Response:
        checkpoint = self._ledger.checkpoint()
        answer = {"keylist": await self._kluis.keylist(), "checkpoint": checkpoint.note.decode()}
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "online"})

    # --- a segment that is too large, or comes too slowly, to be held as a whole -----------------------------------

    async def _stream_segment(self, request: web.Request, digest: bytes, *, size: int) -> int:
        async with self._vault.receive(digest, size=size) as incoming:
            approve: Approve | None = None
            async for piece in pieces(request, self._limits):
                await incoming.write(piece)
                if approve is None and len(incoming.header) == SEGMENT_HEADER_BYTES:
                    approve = await self._segments.must_pass(incoming.header, size=size)
            if approve is None:
                raise refuse(Code.MALFORMED, "segment", expected=f"{size} bytes as announced", got="fewer")
            return 201 if await incoming.keep(approve) else 200


_GO_ON: Final = web.Response()


def _is_unread(request: web.Request) -> bool:
    return request.can_read_body and not request.content.at_eof()


def _problem(refused: Refused, *, close: bool) -> web.Response:
    code = refused.refusal.code
    response = web.Response(status=code.status, body=problem_document(refused), content_type="application/problem+json")
    if code.retry is Retry.AFTER:
        response.headers["Retry-After"] = str(RETRY_AFTER_S[code])
    if close:
        response.force_close()  # what is left of the body is not read for its own sake
    return response


def _bitmap(bits: list[bool]) -> bytes:
    """Return the bits packed, the first one in bit 7 of byte 0, padded with zeros."""
    packed = bytearray((len(bits) + 7) // 8)
    for place, bit in enumerate(bits):
        packed[place // 8] |= bit << 7 - place % 8
    return bytes(packed)
