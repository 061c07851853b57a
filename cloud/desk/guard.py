"""What stands before every page: who is there, was it them, and what a browser may do with what it gets."""

from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Final

from aiohttp import web

from broker.wire.ids import NotAnIdentifier
from broker.wire.refusals import Code, Refused, refuse
from cloud.desk.names import refusals
from cloud.desk.people import as_allowed
from cloud.desk.programs import PROGRAM, brings_token, let_program_in
from cloud.desk.sessions import COOKIE, same_token
from cloud.desk.town import (
    SESSION,
    SOMEONE,
    asks_for_page,
    deny,
    for_machines,
    loop_s,
    must_wait_s,
    note_denial,
    page,
    session_of,
    town_of,
    words_of,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

POLICY: Final = (
    "default-src 'none'; style-src 'self'; font-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; "  # five drawings inside the component library
    "media-src 'self' blob:; "  # Media Source Extensions
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=()",
}
OPEN_TO_ALL: Final = (
    "/static/",
    "/aanmelden",
    "/sleutels/nieuw/",
    "/openbaar",
    "/toegankelijkheid",
    "/taal",
    "/thema.css",
    "/gezondheid",
    "/v1/openapi.json",
    "/v1/openbaar",
)
ATTEMPTS: Final = ("/aanmelden/", "/sleutels/nieuw/")
"""Where a stranger tries to come in: whoever failed too often waits, before anything is written down."""

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@web.middleware
async def with_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say to browsers what this page may do; a stream has said so itself before it began."""
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers.update(HEADERS)
        raise
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


@web.middleware
async def know_who(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find who is signed in; without anybody only the public pages open. Rights are read anew at each request."""
    town = town_of(request)
    if brings_token(request):
        await let_program_in(request)
        return await handler(request)
    session = town.sessions.find(request.cookies.get(COOKIE), now_s=loop_s())
    if session is not None:
        someone = await town.people.find(session.official, town.now())
        if someone is None:
            town.sessions.end(session.token)
        else:
            request[SESSION], request[SOMEONE] = session, as_allowed(someone, session.allowed)
    if SESSION in request:
        return await handler(request)
    if request.path.startswith(OPEN_TO_ALL):
        wait_s = must_wait_s(request) if _is_attempt(request) else 0.0
        return await handler(request) if wait_s == 0.0 else await _wait(request, wait_s)
    if request.method in READS and asks_for_page(request):
        raise web.HTTPSeeOther("/aanmelden")
    raise web.HTTPUnauthorized


@web.middleware
async def same_site_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a change that another site made this browser ask for: by Sec-Fetch-Site, and by the session's token."""
    if request.method in READS or PROGRAM in request:  # no browser adds a token by itself
        return await handler(request)
    site = request.headers.get("Sec-Fetch-Site", "same-origin" if _same_origin(request) else "cross-site")
    if site != "same-origin":
        return await deny(
            request, "request from another site", words_of(request)("Dit verzoek kwam van een andere site.")
        )
    session = session_of(request)
    if session is not None:
        token = request.headers.get("X-CSRF-Token")
        if token is None:
            token = str((await _posted(request)).get("csrf", ""))
        if not same_token(token, session.csrf):
            why = words_of(request)("Het formulier hoort niet bij deze aanmelding. Laad de pagina opnieuw.")
            return await deny(request, "form of another session", why)
    return await handler(request)


@web.middleware
async def answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A refusal of another part is an answer: show what was refused and what to do. So is a name that names nothing."""
    try:
        try:
            return await handler(request)
        except NotAnIdentifier as wrong:
            expected = "3 to 40 of a-z, 0-9 and inner hyphens"
            raise refuse(Code.MALFORMED, "identifier", expected=expected, got="something else") from wrong
    except Refused as refused:
        if for_machines(request):
            raise
        resource = request.match_info.route.resource
        await note_denial(request, refused, resource.canonical if resource else "page")
        refusal, verdict = refused.refusal, getattr(refused, "verdict", None)
        return await page(
            request,
            "refused.html",
            status=refusal.code.status,
            refusal=refusal,
            refusal_told=refusals(words_of(request)),
            verdict=verdict,
        )


def _is_attempt(request: web.Request) -> bool:
    return request.method not in READS or request.path.startswith(ATTEMPTS)


async def _wait(request: web.Request, wait_s: float) -> web.StreamResponse:
    answer = await page(request, "wait.html", status=429, minutes=ceil(wait_s / 60))
    answer.headers["Retry-After"] = str(ceil(wait_s))
    return answer


async def _posted(request: web.Request) -> Mapping[str, object]:
    """Return the fields of a form; raise Refused (MALFORMED) for bytes that are none."""
    try:
        return await request.post()
    except (ValueError, LookupError) as cause:
        raise refuse(Code.MALFORMED, "form", expected="the fields of a form", got="other bytes") from cause


def _same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] == request.host
