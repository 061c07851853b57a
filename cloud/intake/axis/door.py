"""The Axis Body Worn content destination: docks of another maker deliver here, in the dialect of OpenStack Swift.

    GET  /auth/v1.0                                   X-Auth-User, X-Auth-Key -> X-Auth-Token, X-Storage-Url
    GET  {storage}/System/Capabilities.json           what we take; Categories.json: what officers may choose from
    PUT  {storage}/{container}                        201 new, 202 was here; metadata is added
    POST {storage}/{container}                        204; Status Complete: nothing more is expected
    PUT  {storage}/{container}/{object}               201 durable; ETag is the MD5 of what is here
    POST {storage}/{container}/{object}               202; replaces the metadata
    HEAD {storage}/{container}[/{object}]             metadata only

Nothing can be read, listed, copied or deleted by this door. What a status means to a dock: 400 never storable (it then
leaves our custody: only for what no dock sends), 401 sign in again, 403 this policy keeps the door shut, 422 damaged on
the way, 503 busy, 507 disk full; a dock keeps its footage until it is confirmed.
"""

import asyncio
import hashlib
import logging
import re
import ssl
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import ClientError, web
from sqlalchemy.exc import SQLAlchemyError

from broker.clock import Clock
from broker.wire.ids import Org
from broker.wire.policy import Via
from broker.wire.refusals import Code, Refused, refuse
from cloud.intake.axis import meaning
from cloud.intake.axis.tokens import Account, Tokens
from cloud.intake.bodies import Limits, pieces
from cloud.intake.outside import Arriving, Door, Outside, camera_id
from cloud.ledger.log import LedgerUnwritable

LOG: Final = logging.getLogger(__name__)

AXIS_DOOR: Final = Door(via=Via.AXIS, camera_of=meaning.camera_of, describe=meaning.describe, quiet=meaning.quiet)

CAPABILITIES: Final = {
    "Read": {"ReadCategories": True},
    "Store": {
        "StoreBookmarks": True,
        "StoreRejectedContent": True,
        "StoreUserIDKey": True,
        "StoreSignedVideo": True,
        "StoreGNSSTrackRecording": True,
    },
    "StoreAndRead": {"StoreReadSystemID": True},
}
"""Once declared, a body-worn system counts on it for ever: nothing may leave this list."""

MOST_AT_ONCE: Final = 64
"""Uploads at the same time; each holds a piece of 4 MiB and its sealed copy. Forty cameras hang on one controller."""

MOST_NAME: Final = 256
MOST_OBJECT_NAME: Final = 512

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no dock puts into a name. Whatever else people type is one: 400 would make a dock let go of its footage."""

_USER: Final = web.RequestKey("user", str)
_STATUS: Final[Mapping[Code, int]] = {Code.TOO_MANY: 503, Code.LEDGER_UNWRITABLE: 503, Code.CONFLICT: 503}
_RETRY_AFTER_S: Final[Mapping[int, str]] = {503: "5", 507: "60"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """What an officer may call a bookmark; read by the body-worn system once a day."""

    id: str
    name: str


def axis(
    *,
    org: Org,
    outside: Outside,
    accounts: Sequence[Account],
    public_url: str,
    clock: Clock,
    categories: Sequence[Category] = (),
    limits: Limits | None = None,
) -> web.Application:
    """Return the application; serve it on a TLS port of its own, and run `outside.run()` beside it.

    `public_url` (``https://host:port``) stands in connection files and is near-permanent: a configured name, never one
    that a request brings along. `outside` must know AXIS_DOOR.
    """
    door = _AxisDoor(
        outside=outside,
        tokens=Tokens(tuple(accounts)),
        storage=f"{public_url.rstrip('/')}/v1/{org}",
        clock=clock,
        documents={
            "Capabilities.json": msgspec.json.encode(CAPABILITIES),
            "Categories.json": msgspec.json.encode([{"Name": each.name, "Id": each.id} for each in categories]),
        },
        limits=limits or Limits(),
    )

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await door.answer(request, handler)

    app = web.Application(middlewares=[guarded])
    app.router.add_route("*", "/auth/v1.0", door.sign_in)
    storage = f"/v1/{org}"
    both = {"container": "{container:[^/]+}", "object": "{container:[^/]+}/{object:.+}"}
    for path in ("", "/"):
        app.router.add_route("HEAD", storage + path, door.nothing_here)
    app.router.add_route("HEAD", f"{storage}/{both['container']}", door.head_container)
    app.router.add_route("PUT", f"{storage}/{both['container']}", door.put_container)
    app.router.add_route("POST", f"{storage}/{both['container']}", door.post_container)
    app.router.add_route("HEAD", f"{storage}/{both['object']}", door.head_object)
    app.router.add_route("GET", f"{storage}/{both['object']}", door.get_object)
    app.router.add_route("PUT", f"{storage}/{both['object']}", door.put_object, expect_handler=door.expect)
    app.router.add_route("POST", f"{storage}/{both['object']}", door.post_object)
    app.router.add_route("*", f"{storage}{{rest:.*}}", door.not_by_this_door)
    return app


def axis_tls(*, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the door's TLS. Docks of this maker have no client certificate: their account is what lets them in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # what Axis's system controllers speak beyond it is not published
    context.load_cert_chain(certificate, key)
    return context


class _AxisDoor:
    def __init__(
        self,
        *,
        outside: Outside,
        tokens: Tokens,
        storage: str,
        clock: Clock,
        documents: Mapping[str, bytes],
        limits: Limits,
    ) -> None:
        self._outside, self._tokens, self._storage = outside, tokens, storage
        self._clock, self._documents, self._limits = clock, documents, limits
        self._at_once = 0

    # --- around every request -------------------------------------------------------------------------------------

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let those in who signed in, and turn refusals into answers."""
        try:
            if request.path != "/auth/v1.0":
                request[_USER] = self._who(request)
            return await handler(request)
        except Refused as refused:
            return _refusal(refused, close=_is_unread(request))
        except (ConnectionError, ClientError) as gone:
            LOG.info("axis: %s left during %s %s: %s", request.get(_USER), request.method, request.path, gone)
            return _plain(503, close=True)
        except (LedgerUnwritable, SQLAlchemyError) as cause:
            LOG.warning("axis: %s %s must wait: %s", request.method, request.path, cause)
            return _plain(503, close=_is_unread(request))
        except web.HTTPException:
            raise
        except Exception:
            LOG.exception("axis: %s %s failed", request.method, request.path)
            return _plain(500, close=_is_unread(request))

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer ``Expect: 100-continue``: refuse before the body, or ask for it.

        A client whose token ended between two clips would otherwise send a body that is used up when it repeats, and
        an empty file would be stored.
        """

        async def go_on(request: web.Request) -> web.StreamResponse:
            await self._admit(request)
            return _GO_ON

        answer = await self.answer(request, go_on)
        if answer is not _GO_ON:
            answer.force_close()
            return answer
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # so that aiohttp knows that no header of the answer was sent yet
        return None

    # --- the routes -------------------------------------------------------------------------------------------------

    async def sign_in(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            return _plain(400)
        user, key = request.headers.get("X-Auth-User", ""), request.headers.get("X-Auth-Key", "")
        if not user:
            user, key = _basic(request.headers.get("Authorization", ""))
        token = self._tokens.sign_in(user, key, now_s=_now_s())
        if token is None:
            LOG.warning("axis: nobody signed in as %r from %s", user[:64], request.remote)
            return _plain(401)
        headers = {"X-Auth-Token": token, "X-Storage-Token": token, "X-Storage-Url": self._storage}
        return web.Response(status=200, headers=headers)

    async def nothing_here(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def not_by_this_door(self, _request: web.Request) -> web.Response:
        return _plain(403)

    async def get_object(self, request: web.Request) -> web.Response:
        container, name = _names(request)
        document = self._documents.get(name) if container == meaning.SYSTEM else None
        if document is None:
            return _plain(403 if container != meaning.SYSTEM else 404)
        headers = {"ETag": _md5(document), "Content-Type": "application/json"}
        return web.Response(body=document, headers=headers)

    async def head_container(self, request: web.Request) -> web.Response:
        row = await self._outside.container(_container(request), via=Via.AXIS)
        return web.Response(status=204, headers=_headers(row.letter, "X-Container-Meta-"))

    async def put_container(self, request: web.Request) -> web.Response:
        container = _container(request)
        await self._outside.guard(Via.AXIS, who=request[_USER])
        letter = meaning.letter_of(request.headers.items(), meaning.CONTAINER_PREFIX)
        new = await self._outside.put_container(container, letter, via=Via.AXIS)
        await self._complete_if_said(container, letter)
        return web.Response(status=201 if new else 202)

    async def post_container(self, request: web.Request) -> web.Response:
        container = _container(request)
        await self._outside.container(container, via=Via.AXIS)
        letter = meaning.letter_of(request.headers.items(), meaning.CONTAINER_PREFIX)
        await self._outside.put_container(container, letter, via=Via.AXIS)
        await self._complete_if_said(container, letter)
        return web.Response(status=204)

    async def head_object(self, request: web.Request) -> web.Response:
        container, name = _names(request)
        document = self._documents.get(name) if container == meaning.SYSTEM else None
        if document is not None:
            return web.Response(body=document, headers={"ETag": _md5(document), "Content-Type": "application/json"})
        row = await self._outside.file(container, name)
        if row is None:
            return web.Response(status=404)
        headers = {
            "ETag": row.md5,
            "Content-Length": str(row.size_bytes),
            "Content-Type": "application/octet-stream",
            "Last-Modified": row.received_at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        }
        return web.Response(status=200, headers=headers | _headers(row.letter, "X-Object-Meta-"))

    async def post_object(self, request: web.Request) -> web.Response:
        container, name = _names(request)
        letter = meaning.letter_of(request.headers.items(), meaning.OBJECT_PREFIX)
        if container in meaning.REGISTERS:
            if await self._outside.file(container, name) is None:
                return _plain(404)
            await self._put_register(container, name, letter)
        elif not await self._outside.replace_letter(container, name, letter):
            return _plain(404)
        return web.Response(status=202)

    async def put_object(self, request: web.Request) -> web.Response:
        await self._admit(request)
        container, name = _names(request)
        letter = meaning.letter_of(request.headers.items(), meaning.OBJECT_PREFIX)
        if container in meaning.REGISTERS:
            async for _ in pieces(request, self._limits):
                raise refuse(Code.MALFORMED, "object", expected=f"no content in {container}", got="some")
            await self._put_register(container, name, letter)
            return web.Response(status=201, headers={"ETag": _md5(b"")})
        starts_at = meaning.moment(letter, "StartTime") or self._clock()
        ends_at = meaning.moment(letter, "StopTime") or starts_at
        async with (
            self._place(),
            self._outside.arriving(
                container,
                name,
                letter | _around(request),
                starts_at=starts_at,
                ends_at=max(starts_at, ends_at),
            ) as arriving,
        ):
            return await self._receive(request, arriving)

    async def _receive(self, request: web.Request, arriving: Arriving) -> web.Response:
        announced, came = request.content_length, 0
        async for piece in pieces(request, self._limits):
            came += len(piece)
            await arriving.write(piece)
        if announced is not None and came != announced:
            raise refuse(Code.UNAVAILABLE, "object", expected=f"{announced} bytes as announced", got=came)
        sums = await arriving.sums()
        wanted = request.headers.get("ETag", "").strip('"').lower()
        if wanted and wanted != sums.md5:
            raise refuse(Code.DIGEST_DIFFERS, "object", expected=wanted, got=sums.md5)
        await arriving.keep()
        return web.Response(status=201, headers={"ETag": sums.md5})

    # --- what the routes share --------------------------------------------------------------------------------------

    def _who(self, request: web.Request) -> str:
        user = self._tokens.whose(request.headers.get("X-Auth-Token", ""), now_s=_now_s())
        if user is None:
            raise refuse(Code.NOT_SIGNED_IN, "axis", expected="a token that lives", got="none")
        return user

    async def _admit(self, request: web.Request) -> None:
        """Raise Refused for what must not even be sent: the same before the body and after it."""
        container, name = _names(request)
        if container in meaning.REGISTERS:
            await self._outside.guard(Via.AXIS, who=request[_USER])
            if name in self._documents:
                raise refuse(Code.NOT_ALLOWED, "object", expected="another name", got=name)
            return
        if "X-Object-Manifest" in request.headers or "multipart-manifest" in request.query:
            raise web.HTTPNotImplemented(text="files in several parts are not taken: send each whole")
        await self._outside.guard(Via.AXIS, who=request[_USER], size=request.content_length or 0)
        await self._outside.container(container, via=Via.AXIS)
        if self._at_once >= MOST_AT_ONCE:
            raise refuse(Code.TOO_MANY, "axis", expected=f"at most {MOST_AT_ONCE} uploads at once", got="more")

    def _place(self) -> "_Place":
        return _Place(self)

    async def _put_register(self, container: str, name: str, letter: Mapping[str, str]) -> None:
        await self._outside.put_letter(container, name, letter)
        if container == meaning.DEVICES:
            active = meaning.text(letter, "Active").lower() != "false"
            await self._outside.register(camera_id(name, Via.AXIS), via=Via.AXIS, known=active)

    async def _complete_if_said(self, container: str, letter: Mapping[str, str]) -> None:
        if meaning.text(letter, "Status").lower() == "complete":
            await self._outside.complete(container)


class _Place:
    """One of the uploads that happen at the same time."""

    def __init__(self, door: _AxisDoor) -> None:
        self._door = door

    async def __aenter__(self) -> None:
        self._door._at_once += 1  # noqa: SLF001 - counts for its owner

    async def __aexit__(self, *_: object) -> None:
        self._door._at_once -= 1  # noqa: SLF001


_GO_ON: Final = web.Response()


def _names(request: web.Request) -> tuple[str, str]:
    name = request.match_info["object"]
    if not 0 < len(name) <= MOST_OBJECT_NAME or _CONTROL.search(name):
        raise refuse(Code.MALFORMED, "object", expected=f"a name of at most {MOST_OBJECT_NAME} characters", got=name)
    return _container(request), name


def _container(request: web.Request) -> str:
    name = request.match_info["container"]
    if not 0 < len(name) <= MOST_NAME or _CONTROL.search(name):
        raise refuse(Code.MALFORMED, "container", expected=f"a name of at most {MOST_NAME} characters", got=name)
    return name


def _around(request: web.Request) -> dict[str, str]:
    """Return what else a file came with: the sender's clock and software. No sender can use these names."""
    return {
        f"@{name.lower()}": request.headers[name][:256]
        for name in ("Date", "User-Agent", "Content-Type")
        if name in request.headers
    }


def _headers(letter: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return metadata as headers: percent-encoded, as Swift wants it; what was encoded already comes out the same."""
    return {
        prefix + name: quote(meaning.text(letter, name), safe="/:;,.-_~ +")
        for name in letter
        if not name.startswith("@")
    }


def _refusal(refused: Refused, *, close: bool) -> web.Response:
    code = refused.refusal.code
    response = _plain(_STATUS.get(code, code.status), close=close, text=str(refused))
    if code is Code.NOT_SIGNED_IN:
        response.headers["WWW-Authenticate"] = "Swift"
    return response


def _plain(status: int, *, close: bool = False, text: str = "") -> web.Response:
    response = web.Response(status=status, text=text)
    if status in _RETRY_AFTER_S:
        response.headers["Retry-After"] = _RETRY_AFTER_S[status]
    if close:
        response.force_close()  # what is left of the body is not read for its own sake
    return response


def _is_unread(request: web.Request) -> bool:
    return request.can_read_body and not request.content.at_eof()


def _basic(header: str) -> tuple[str, str]:
    kind, _, encoded = header.partition(" ")
    try:
        user, _, key = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (user, key) if kind.lower() == "basic" else ("", "")


def _md5(body: bytes) -> str:
    """Return what Swift calls an ETag: for the sender's check, worth nothing as evidence."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
