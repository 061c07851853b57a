"""What stands before every page: who is there, was it them, and what a browser may do with what it gets."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from broker.wire.refusals import Refused
from cloud.desk.sessions import COOKIE, same_token
from cloud.desk.town import SESSION, SOMEONE, deny, page, session_of, town_of, words_of

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
OPEN_TO_ALL: Final = ("/static/", "/aanmelden", "/sleutels/nieuw/", "/openbaar", "/taal", "/thema.css", "/gezondheid")
READS: Final = frozenset({"GET", "HEAD"})


@web.middleware
async def with_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say to browsers what this page may do; a stream has said so itself before it began."""
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers.update(HEADERS)
        raise
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


@web.middleware
async def know_who(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find who is signed in; without anybody only the public pages open. Rights are read anew at each request."""
    town = town_of(request)
    session = town.sessions.find(request.cookies.get(COOKIE), now_s=asyncio.get_running_loop().time())
    if session is not None:
        someone = await town.people.find(session.official, town.now())
        if someone is None:
            town.sessions.end(session.token)
        else:
            request[SESSION], request[SOMEONE] = session, someone
    if SESSION in request or request.path.startswith(OPEN_TO_ALL):
        return await handler(request)
    if request.method in READS and "text/html" in request.headers.get("Accept", ""):
        raise web.HTTPSeeOther("/aanmelden")
    raise web.HTTPUnauthorized


@web.middleware
async def same_site_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a change that another site made this browser ask for: by Sec-Fetch-Site, and by the session's token."""
    if request.method in READS:
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
            token = str((await request.post()).get("csrf", ""))
        if not same_token(token, session.csrf):
            why = words_of(request)("Het formulier hoort niet bij deze aanmelding. Laad de pagina opnieuw.")
            return await deny(request, "form of another session", why)
    return await handler(request)


@web.middleware
async def answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A refusal of another part is an answer: show what was refused and what to do."""
    try:
        return await handler(request)
    except Refused as refused:
        refusal = refused.refusal
        return await page(request, "refused.html", status=refusal.code.status, refusal=refusal)


def _same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] == request.host
