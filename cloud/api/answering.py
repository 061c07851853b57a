"""How every operation is answered: who, may they, what did they send, do it, say what came of it."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec
from aiohttp import web

from broker.wire.refusals import Code, Refused, refuse
from cloud.api import problems
from cloud.api.declaration import BASE, STRANGER, Call, Created, Given, Listed, Operation, Raw, out_of_reach
from cloud.casework.office import Denied
from cloud.database.kept_answers import KeptAnswers
from cloud.desk.programs import PROGRAM, admit_program
from cloud.desk.town import deny, for_machines, record_denial, someone_of, town_of
from cloud.desk.viewing_place import judge_here
from cloud.rules.programs import judge_program

LOG: Final = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION: Final = "1.0.0"
"""Of the interface (semver). In every answer, and in the document."""

JSON: Final = "application/json"
HEADERS: Final = {"API-Version": VERSION, "Cache-Control": "no-store", "X-Frame-Options": "DENY"}

LONGEST_KEY: Final = 255


class Repeats:
    """The answers to acts that create: asked again with the same key, the act is not done again, also after a restart.

    What runs now lies in memory, so that who asks meanwhile waits for it; what came to its end is kept.
    """

    def __init__(self, kept: KeptAnswers) -> None:
        self._kept = kept
        self._running: dict[tuple[str, str], tuple[str, asyncio.Future[web.Response]]] = {}

    async def once(self, who: str, key: str, *, asked: str, do: Callable[[], Awaitable[web.Response]]) -> web.Response:
        """Return the answer under this key, doing it now if it is new; raise Refused (CONFLICT) for another act, and
        where the act was cut off.
        """
        running = self._running.get((who, key))
        if running is not None:
            _check_same(running[0], asked)
            return _copy(await asyncio.shield(running[1]))
        done: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self._running[who, key] = (asked, done)
        try:
            answer = await self._do(who, key, asked, do)
        except BaseException as failure:
            done.set_exception(failure if isinstance(failure, Exception) else ConnectionResetError())
            done.exception()  # seen, also when nobody waits
            raise
        finally:
            del self._running[who, key]
        done.set_result(_copy(answer))
        return answer

    async def _do(self, who: str, key: str, asked: str, do: Callable[[], Awaitable[web.Response]]) -> web.Response:
        known = await self._kept.begin(who, key, asked=asked)
        if known is not None:
            _check_same(known.asked, asked)
            if known.status is None:
                raise refuse(
                    Code.CONFLICT,
                    "Idempotency-Key",
                    expected="an act that came to its end",
                    got="one that was cut off: read whether it was done, and ask anew with another key",
                )
            return web.Response(status=known.status, body=known.body, headers=known.headers)
        try:
            answer = await do()
        except Exception:
            await self._kept.forget(who, key)  # nothing was created: the next try may do it
            raise
        body = answer.body if isinstance(answer.body, bytes) else b""
        await self._kept.keep(who, key, status=answer.status, headers=dict(answer.headers), body=body)
        return answer


REPEATS: Final = web.AppKey("api_repeats", Repeats)


class Turns:
    """One act at a time on each thing that has a stand: between looking at its ETag and acting nobody else acts."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, bytes], asyncio.Lock] = WeakValueDictionary()

    def of(self, operation: Operation, parts: Mapping[str, Given]) -> AbstractAsyncContextManager[None]:
        """Return the turn that this act waits for; none where nothing is guarded."""
        if operation.guarded_by is None:
            return nullcontext()
        return self._locks.setdefault(
            (operation.guarded_by.name, msgspec.json.encode(parts.get("path"))), asyncio.Lock()
        )


TURNS: Final = web.AppKey("api_turns", Turns)


def handler_of(operation: Operation) -> Handler:
    """Return what aiohttp calls for this operation."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await _may_enter(operation, request)
        _acceptable(operation, request)
        parts = await _parts(operation, request)
        call = Call(request, town_of(request), STRANGER if operation.public else someone_of(request))
        key = request.headers.get("Idempotency-Key", "")
        if not operation.created or not key:
            return await _answer(operation, call, parts)
        if len(key) > LONGEST_KEY:
            raise refuse(Code.MALFORMED, "Idempotency-Key", expected=f"at most {LONGEST_KEY} characters", got=len(key))
        asked = hashlib.sha256(request.path_qs.encode() + b"\n" + await request.read()).hexdigest()
        return await request.app[REPEATS].once(
            call.me.id, key, asked=asked, do=lambda: _answer_whole(operation, call, parts)
        )

    return handle


@web.middleware
async def answer_machines(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer whoever calls the API in its own form, whatever happens on the way."""
    if not for_machines(request):
        return await handler(request)
    try:
        return await handler(request)
    except Refused as refused:
        return problems.of_refusal(refused)
    except web.HTTPException as refused:
        return _of_http(request, refused)
    except Exception:
        LOG.exception("%s %s failed", request.method, request.path)
        return problems.of_http(500, "Er ging iets mis bij ons; het is vastgelegd.")


async def say_version(request: web.Request, answer: web.StreamResponse) -> None:
    """Put what every answer carries on this one, just before it goes: also on a stream. What serves it is not told."""
    if for_machines(request):
        answer.headers.pop("Server", None)
        answer.headers.update(HEADERS)


def _of_http(request: web.Request, refused: web.HTTPException) -> web.Response:
    if isinstance(refused, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(refused.allowed_methods))
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": allow})
        return problems.of_http(405, f"Hier kan alleen: {allow}.", allow=allow)
    if isinstance(refused, web.HTTPUnauthorized):
        challenge = refused.headers.get("WWW-Authenticate", "")
        told = refused.reason if challenge else "Meld u eerst aan."
        return problems.of_http(401, told, challenge=challenge or "Bearer")
    return problems.of_http(refused.status, refused.reason or "")


async def _may_enter(operation: Operation, request: web.Request) -> None:
    """Let in by role, a program by what it was given, and where footage is concerned by place; raise Denied, which has
    been written down.
    """
    program = request.get(PROGRAM)
    if operation.public:
        return
    if program is not None:
        await admit_program(request, program, operation.name, judge_program(program.scopes, operation.wanted))
        return
    roles = someone_of(request).roles
    if operation.roles is not None and not operation.roles & roles:
        await deny(request, operation.name, "Uw functie geeft hier geen toegang toe.")
    if operation.in_viewing_place:
        verdict = await judge_here(request)
        if not verdict and operation.quiet:
            raise Denied("viewing place", verdict)
        if not verdict:
            await deny(request, "viewing place", verdict.waarom)


def _acceptable(operation: Operation, request: web.Request) -> None:
    offered = {operation.media, problems.MEDIA}
    wanted = [part.split(";")[0].strip().lower() for part in request.headers.get("Accept", "*/*").split(",")]
    kinds = {"*/*", *offered, *(f"{media.split('/')[0]}/*" for media in offered)}
    if not kinds & set(wanted):
        raise web.HTTPNotAcceptable(reason=f"Hier komt alleen {operation.media} vandaan.")


async def _parts(operation: Operation, request: web.Request) -> dict[str, Given]:
    parts = {}
    if operation.path_type is not None:
        try:
            parts["path"] = msgspec.convert(dict(request.match_info), operation.path_type, strict=False)
        except msgspec.ValidationError as cause:
            raise refuse(Code.NOT_FOUND, operation.name, expected="an address that exists", got=cause) from cause
    query = _query(operation, request)
    if operation.query_type is not None:
        parts["query"] = _checked(operation, lambda: msgspec.convert(query, operation.query_type, strict=False))
    if operation.body_type is not None:
        raw = await request.read()
        if request.content_type != JSON:
            raise web.HTTPUnsupportedMediaType(reason=f"Stuur {JSON}.")
        parts["body"] = _checked(operation, lambda: msgspec.json.decode(raw, type=operation.body_type))
    return parts


def _query(operation: Operation, request: web.Request) -> dict[str, Any]:
    """Return the query's values: a list where the operation takes several, otherwise exactly one."""
    known = msgspec.structs.fields(operation.query_type) if operation.query_type else ()
    several = {field.encode_name for field in known if "tuple" in str(field.type)}
    found: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        if name not in {field.encode_name for field in known}:
            raise refuse(Code.MALFORMED, "query", expected="known parameters", got=name[:80])
        if name not in several and len(values) > 1:
            raise refuse(Code.MALFORMED, "query", expected=f"{name} once", got=f"{len(values)} times")
        found[name] = values if name in several else values[0]
    return found


def _checked(operation: Operation, read: Callable[[], Any]) -> Given:
    try:
        given: Given = read()
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, operation.name, expected="the documented form", got=cause) from cause
    if (far := out_of_reach(given)) is not None:
        raise refuse(Code.MALFORMED, operation.name, expected="a year from 2000 to 2200", got=far)
    return given


async def _as_they_saw_it(operation: Operation, call: Call, parts: dict[str, Given]) -> None:
    """Go on only when the thing is still as the caller saw it (RFC 9110 13.1.1)."""
    seen = call.request.headers.get("If-Match")
    if seen is None or operation.guarded_by is None:
        return
    now = _tag(msgspec.json.encode(await operation.guarded_by.run(call, path=parts["path"])))
    if seen.strip() != "*" and now not in {each.strip() for each in seen.split(",")}:
        raise web.HTTPPreconditionFailed(reason="Het is intussen veranderd: lees het opnieuw.")


async def _answer_whole(operation: Operation, call: Call, parts: dict[str, Given]) -> web.Response:
    answer = await _answer(operation, call, parts)
    if not isinstance(answer, web.Response):
        raise TypeError(f"{operation.name}: expected an answer that can be kept, got {type(answer).__name__}")
    return answer


async def _answer(operation: Operation, call: Call, parts: dict[str, Given]) -> web.StreamResponse:
    try:
        async with call.request.app[TURNS].of(operation, parts):
            await _as_they_saw_it(operation, call, parts)
            found = await operation.run(call, **parts)
    except Denied:
        raise  # it has been written down where it was decided
    except Refused as refused:
        if refused.refusal.code in (Code.NOT_ALLOWED, Code.UNKNOWN_IDENTITY) and not operation.quiet:
            await record_denial(call.town, who=call.me.id, what=operation.name, why=str(refused))
        raise
    return _respond(operation, call.request, found)


def _respond(operation: Operation, request: web.Request, found: Any) -> web.StreamResponse:
    match found:
        case web.StreamResponse():
            return found
        case None:
            return web.Response(status=204)
        case Raw():
            answer = web.Response(body=found.body, content_type=operation.media, headers=dict(found.headers))
            if found.file_name is not None:
                answer.headers["Content-Disposition"] = f'attachment; filename="{found.file_name}"'
            return answer
        case Created():
            body = msgspec.json.encode(found.shown)
            headers = {"Location": f"{BASE}{found.location}"}
            return web.Response(status=201, body=body, content_type=JSON, headers=headers)
        case Listed():
            answer = web.Response(body=msgspec.json.encode(found.shown), content_type=JSON)
            if found.following is not None:
                following = request.rel_url.update_query(cursor=found.following)
                answer.headers["Link"] = f'<{following}>; rel="next"'
            return answer
        case _:
            body = msgspec.json.encode(found)
            answer = web.Response(body=body, content_type=JSON)
            if operation.tagged:
                answer.headers["ETag"] = _tag(body)
            return answer


def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _check_same(known: str, asked: str) -> None:
    if known != asked:
        raise refuse(Code.CONFLICT, "Idempotency-Key", expected="the same request", got="another one")


def _copy(answer: web.Response) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
