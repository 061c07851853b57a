"""Where one is signed in: one's own browsers, ending them, and the alarm of the emergency entrance."""

from typing import Final

from aiohttp import web

from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.door import end_session
from cloud.desk.rules.doors import Door
from cloud.desk.sessions import COOKIE
from cloud.desk.town import back, deny, form, loop_s, may_open, page, part, session_of, someone_of, town_of, words_of

_BROWSERS: Final = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
_SYSTEMS: Final = ("Windows", "Android", "iPhone", "iPad", "Mac OS X", "Linux")


def browser_name(told: str) -> str:
    """Return what a browser calls itself, such as ``Firefox, Windows``; as it came when we know neither."""
    browser = next((name for mark, name in _BROWSERS.items() if f"{mark}/" in told), "")
    system = next((name for name in _SYSTEMS if name in told), "")
    return ", ".join(filter(None, (browser, system))) or told


async def show(request: web.Request) -> web.StreamResponse:
    """One's own sessions, newest first."""
    town = town_of(request)
    return await page(
        request,
        "sessions.html",
        open_sessions=town.sessions.of(someone_of(request).id, now_s=loop_s()),
        browser_name=browser_name,
        **await waiting_alarms(request),
    )


async def end(request: web.Request) -> web.StreamResponse:
    """End one of one's own sessions, or all of them."""
    town, session = town_of(request), session_of(request)
    wanted = (await form(request)).get("welke", "")
    for each in town.sessions.of(someone_of(request).id, now_s=loop_s()):
        if wanted in (each.id, "alle"):
            await end_session(town, each)
    answer = web.HTTPSeeOther("/aanmeldingen")
    if session is not None and wanted in (session.id, "alle"):
        answer = web.HTTPSeeOther("/aanmelden")
        answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    raise answer


async def show_emergencies(request: web.Request) -> web.StreamResponse:
    """Who came in by the emergency entrance and was not seen yet; nothing for who does not guard it."""
    town = town_of(request)
    guards = town.break_glass is not None and may_open(request, Door.LEDGER)
    uses = town.break_glass.waiting() if town.break_glass is not None and guards else ()
    return await part(request, "part_emergencies.html", uses=uses, names=await town.people.names())


async def see_emergency(request: web.Request) -> web.StreamResponse:
    """Write down who saw that somebody came in this way."""
    town = town_of(request)
    if town.break_glass is None:
        raise web.HTTPNotFound
    if not may_open(request, Door.LEDGER):
        return await deny(request, "noodingang", words_of(request)("Uw functie geeft geen toegang tot het logboek."))
    await town.break_glass.see(int(request.match_info["entry"]), by=someone_of(request).id)
    if request.headers.get("X-Part"):
        return web.Response(status=204)
    raise web.HTTPSeeOther(back(await form(request), "/"))


ROUTES: Final = (
    web.get("/aanmeldingen", show),
    web.post("/aanmeldingen/beeindigen", end),
    web.get("/noodingang", show_emergencies),
    web.post("/noodingang/{entry:[0-9]{1,15}}/gezien", see_emergency),
)
