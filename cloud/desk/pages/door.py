"""Signing in and out, the language, and what is open to everybody."""

from typing import Final

from aiohttp import web

from cloud.desk.addresses import client_address
from cloud.desk.sessions import COOKIE, How, Session
from cloud.desk.town import (
    LANGUAGE_COOKIE,
    SESSION,
    SOMEONE,
    Town,
    back,
    deny,
    form,
    loop_s,
    page,
    session_of,
    someone_of,
    town_of,
    words_of,
)

YEAR_S: Final = 31_536_000
MOST_OF_A_BROWSERS_NAME: Final = 200


async def home(request: web.Request) -> web.StreamResponse:
    """Go to the first page that opens for who is signed in."""
    from cloud.desk.rules.doors import doors_of

    doors = doors_of(someone_of(request).roles)
    raise web.HTTPSeeOther(f"/{doors[0].value}" if doors else "/openbaar")


async def show_sign_in(request: web.Request) -> web.StreamResponse:
    """The ways in: the municipality's own, a security key, or the list of people to be in a demonstration. Who is in
    is sent inside, unless he comes to sign in anew because his time is nearly over (``?opnieuw=ja``).
    """
    if session_of(request) is not None and "opnieuw" not in request.query:
        raise web.HTTPSeeOther("/")
    return await ways_in(request)


async def ways_in(request: web.Request, *, away: bool = False) -> web.Response:
    """Draw the sign-in page; `away`: the municipality's own sign-in does not answer."""
    town = town_of(request)
    people = await town.people.all(town.now())
    chosen = [people[each] for each in town.demo.officials if each in people] if town.demo else []
    return await page(
        request,
        "sign_in.html",
        status=503 if away else 200,
        away=away,
        officials=[person for person in chosen if person.function is None],
        officers=[person for person in chosen if person.function is not None],
    )


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Become one of the people of the demonstration."""
    town, words = town_of(request), words_of(request)
    wanted = (await form(request)).get("wie", "")
    if town.demo is None or wanted not in town.demo.officials:
        return await deny(
            request, "sign-in", words("Zo aanmelden kan alleen in een demonstratie, als iemand uit de lijst.")
        )
    answer = web.HTTPSeeOther("/")
    let_in(request, answer, wanted, how="list")
    raise answer


def let_in(
    request: web.Request,
    answer: web.StreamResponse,
    official: str,
    *,
    how: How,
    allowed: frozenset[str] | None = None,
    id_token: str = "",
) -> None:
    """Begin a session for this person and give its cookie along with the answer; what was open here before ends."""
    town = town_of(request)
    town.sessions.end(request.cookies.get(COOKIE, ""))
    session = town.sessions.begin(
        official,
        how=how,
        now_s=loop_s(),
        at=town.now(),
        browser=request.headers.get("User-Agent", "")[:MOST_OF_A_BROWSERS_NAME],
        address=str(client_address(request)),
        allowed=allowed,
        id_token=id_token,
    )
    answer.set_cookie(COOKIE, session.token, path="/", secure=True, httponly=True, samesite="Strict")


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End this browser's session; whoever leaves also leaves the viewing room.

    Who came in by the municipality is sent on to sign out there as well, where it has a place for that. A page takes
    them there, not a redirect: what a form of ours leads to stays with us (CSP form-action).
    """
    session, town = session_of(request), town_of(request)
    away = None
    if session is not None:
        await end_session(town, session)
        del request[SESSION], request[SOMEONE]
        if session.id_token and town.open_id is not None:
            away = await town.open_id.leave(session.id_token)
    answer: web.Response = web.HTTPSeeOther("/aanmelden") if away is None else await go_on(request, away)
    answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    if isinstance(answer, web.HTTPException):
        raise answer
    return answer


async def end_session(town: Town, session: Session) -> None:
    """End one session; its person leaves the viewing room."""
    town.sessions.end(session.token)
    for leave in town.on_sign_out:
        await leave(session)


async def go_on(request: web.Request, address: str) -> web.Response:
    """Draw the page that goes on to `address` by itself, without telling where from."""
    answer = await page(request, "go_on.html", address=address)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


async def choose_language(request: web.Request) -> web.StreamResponse:
    """Remember the language in this browser."""
    fields = await form(request)
    answer = web.HTTPSeeOther(back(fields, "/"))
    answer.set_cookie(
        LANGUAGE_COOKIE,
        "en" if fields.get("taal") == "en" else "nl",
        path="/",
        secure=True,
        httponly=True,
        samesite="Strict",
        max_age=YEAR_S,
    )
    raise answer


async def show_theme(request: web.Request) -> web.StreamResponse:
    """The municipality's own look; empty when it has none."""
    return web.Response(text=town_of(request).theme, content_type="text/css", headers={"Cache-Control": "no-cache"})


async def health(request: web.Request) -> web.StreamResponse:
    """Say that the desk answers."""
    return web.json_response({"status": "ok", "org": town_of(request).org})


ROUTES: Final = (
    web.get("/", home),
    web.get("/aanmelden", show_sign_in),
    web.post("/aanmelden", sign_in),
    web.post("/afmelden", sign_out),
    web.post("/taal", choose_language),
    web.get("/thema.css", show_theme),
    web.get("/gezondheid", health),
)
