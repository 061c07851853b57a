"""Signing in and out, the language, and what is open to everybody."""

import asyncio
from typing import Final

from aiohttp import web

from cloud.desk.sessions import COOKIE
from cloud.desk.town import LANGUAGE_COOKIE, Town, back, deny, form, page, session_of, someone_of, town_of, words_of

YEAR_S: Final = 31_536_000


async def home(request: web.Request) -> web.StreamResponse:
    """Go to the first page that opens for who is signed in."""
    from cloud.desk.rules.doors import doors_of

    doors = doors_of(someone_of(request).roles)
    raise web.HTTPSeeOther(f"/{doors[0].value}" if doors else "/openbaar")


async def show_sign_in(request: web.Request) -> web.StreamResponse:
    """The list of people to be, in a demonstration."""
    town = town_of(request)
    if session_of(request) is not None:
        raise web.HTTPSeeOther("/")
    people = await town.people.all(town.now())
    chosen = [people[each] for each in town.demo.officials if each in people] if town.demo else []
    return await page(
        request,
        "sign_in.html",
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
    let_in(town, answer, wanted)
    raise answer


def let_in(town: Town, answer: web.StreamResponse, official: str) -> None:
    """Begin a session for this person and give its cookie along with the answer."""
    session = town.sessions.begin(official, now_s=asyncio.get_running_loop().time())
    answer.set_cookie(COOKIE, session.token, path="/", secure=True, httponly=True, samesite="Strict")


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End this browser's session; whoever leaves also leaves the viewing room."""
    session, town = session_of(request), town_of(request)
    if session is not None:
        town.sessions.end(session.token)
        for leave in town.on_sign_out:
            await leave(session)
    answer = web.HTTPSeeOther("/aanmelden")
    answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    raise answer


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


async def show_public(request: web.Request) -> web.StreamResponse:
    """What the policy says, in plain words; nothing personal."""
    return await page(request, "public.html", checkpoint=town_of(request).ledger.checkpoint())


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
    web.get("/openbaar", show_public),
    web.get("/thema.css", show_theme),
    web.get("/gezondheid", health),
)
