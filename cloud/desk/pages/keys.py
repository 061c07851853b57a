"""Security keys in standard mode: registering one, signing in with it, and the Kluis's list of officials."""

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import web

from broker.wire.refusals import Code, Refused, refuse
from cloud.desk.addresses import client_address
from cloud.desk.keys import SecurityKeys, statement_of
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.door import let_in
from cloud.desk.roster import RosterOffice
from cloud.desk.town import (
    count_failure,
    deny,
    form,
    loop_s,
    must_wait_s,
    noting_denials,
    page,
    record_denial,
    someone_of,
    town_of,
    words_of,
)

NO_STORE: Final = {"Cache-Control": "no-store, private"}


class KeyAnswer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a page hands in: the browser's own JSON of an assertion or a registration."""

    assertion: str = ""
    registration: str = ""
    nonce: str = ""


async def read_answer(request: web.Request) -> KeyAnswer:
    """Return what the page handed in; raise Refused (MALFORMED)."""
    try:
        return msgspec.json.decode(await request.read(), type=KeyAnswer)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "security key", expected="the browser's answer", got="something else") from cause


def problem(refused: Refused) -> web.Response:
    """Answer a script: the refusal as a problem document."""
    return web.Response(
        status=refused.refusal.code.status,
        body=refused.refusal.problem(),
        content_type="application/problem+json",
        headers={**NO_STORE, "Pragma": "no-cache"},
    )


# --- a way in ---------------------------------------------------------------------------------------------------------


async def begin_sign_in(request: web.Request) -> web.StreamResponse:
    """Return the number that a key signs to sign in."""
    return web.json_response({"nonce": _keys(request).nonces.make("sign-in", now_s=loop_s())}, headers=NO_STORE)


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Let in whoever holds a registered key. Beside the municipality's own sign-in this is the emergency entrance."""
    town, named = town_of(request), None
    try:
        said = await read_answer(request)
        named = await _keys(request).named(said.assertion)
        if must_wait_s(request, named) > 0:
            raise refuse(Code.TOO_MANY, "sign-in", expected="fewer failures in a row", got="too many")
        official = await _keys(request).sign_in(said.assertion, nonce=said.nonce, now_s=loop_s())
        if await town.people.find(official, town.now()) is None:
            raise refuse(Code.NOT_ALLOWED, "sign-in", expected="somebody who works here", got=official)
        if town.break_glass is not None:
            await town.break_glass.use(official, address=str(client_address(request)))
    except Refused as refused:
        if refused.refusal.code is not Code.TOO_MANY:  # or whoever keeps trying fills the ledger
            count_failure(request, named)
            await record_denial(town, who="nobody", what="sign-in", why=str(refused))
        return problem(refused)
    answer = web.json_response({"next": "/"}, headers=NO_STORE)
    let_in(request, answer, official, how="break-glass" if town.break_glass is not None else "key")
    return answer


async def show_new(request: web.Request) -> web.StreamResponse:
    """The page on which somebody with a code registers a key."""
    town, words = town_of(request), words_of(request)
    keys, code = _keys(request), request.match_info["code"]
    official = await _invited(request, code)
    if official is None:
        return await deny(request, "key", words("Deze uitnodiging werkt niet (meer)."))
    names = await town.people.names()
    nonce = keys.nonces.make(f"enrol {official}", now_s=loop_s())
    return await page(
        request, "key_new.html", code=code, nonce=nonce, official=official, name=names.get(official, official)
    )


async def register(request: web.Request) -> web.StreamResponse:
    """Put the key in the register; the code works no more."""
    town, code = town_of(request), request.match_info["code"]
    try:
        said, official = await read_answer(request), await _invited(request, code)
        if official is None or town.invitations is None:
            raise refuse(Code.NOT_ALLOWED, "invitation", expected="one that works", got="none")
        if not await asyncio.to_thread(town.invitations.use_up, code):
            raise refuse(Code.NOT_ALLOWED, "invitation", expected="one that was not used", got="a used one")
        key = await _keys(request).register(official, said.registration, nonce=said.nonce, now_s=loop_s())
    except Refused as refused:
        if refused.refusal.code is Code.NOT_ALLOWED:
            await record_denial(town, who="nobody", what="key", why=str(refused))
        return problem(refused)
    return web.json_response({"key": key.id}, headers=NO_STORE)


# --- one's own keys, and the list of the Kluis ------------------------------------------------------------------------


async def show(request: web.Request) -> web.StreamResponse:
    """One's own keys; for those on the Kluis's list also that list, and what is proposed."""
    town, someone, keys, office = town_of(request), someone_of(request), _keys(request), _office(request)
    mine = await keys.of(someone.id)
    facts: dict[str, Any] = {"listed": False, "unreachable": False, "on_list": frozenset(), "pending": ()}
    try:
        roster = await office.in_force()
        listed = {each.id: {key.id for key in each.credentials} for each in roster.officials}
        facts |= {"listed": someone.id in listed, "on_list": listed.get(someone.id, frozenset())}
        facts["pending"] = await office.pending() if someone.id in listed else ()
    except Refused as refused:
        if refused.refusal.code is not Code.UNAVAILABLE:
            raise
        facts |= {"listed": True, "unreachable": True}
    return await page(
        request,
        "keys.html",
        me=someone,
        mine=mine,
        my_keys=" ".join(key.id for key in mine),
        names=await town.people.names(),
        proposal=office.proposal(),
        **facts,
        **await waiting_alarms(request),
    )


async def withdraw(request: web.Request) -> web.StreamResponse:
    """Let one's own key count no more."""
    await _keys(request).withdraw(someone_of(request).id, (await form(request)).get("sleutel", ""))
    raise web.HTTPSeeOther("/sleutels")


async def propose(request: web.Request) -> web.StreamResponse:
    """Write down the list that the register would make; only who is on the present list proposes."""
    someone, office = someone_of(request), _office(request)
    (await office.in_force()).find(someone.id)
    await office.propose(someone.id)
    raise web.HTTPSeeOther("/sleutels")


async def show_document(request: web.Request) -> web.StreamResponse:
    """The very bytes that are signed: a page hashes these itself."""
    waiting = _office(request).proposal()
    if waiting is None or waiting.id != request.match_info["proposal"]:
        raise web.HTTPNotFound
    return web.Response(body=waiting.document, content_type="application/json", headers=NO_STORE)


async def sign(request: web.Request) -> web.StreamResponse:
    """Sign the proposal; with two signatures the Kluis gets it."""
    try:
        async with noting_denials(request, "keys.sign"):
            statement = statement_of(someone_of(request).id, (await read_answer(request)).assertion)
            in_force = await _office(request).sign(request.match_info["proposal"], statement)
    except Refused as refused:
        return problem(refused)
    return web.json_response({"in_force": in_force}, headers=NO_STORE)


async def _invited(request: web.Request, code: str) -> str | None:
    town = town_of(request)
    if town.invitations is None:
        return None
    return await asyncio.to_thread(town.invitations.find, code, now=town.now())


def _keys(request: web.Request) -> SecurityKeys:
    keys = town_of(request).keys
    if keys is None:
        raise web.HTTPNotFound
    return keys


def _office(request: web.Request) -> RosterOffice:
    office = town_of(request).roster
    if office is None:
        raise web.HTTPNotFound
    return office


ROUTES: Final = (
    web.post("/aanmelden/getal", begin_sign_in),
    web.post("/aanmelden/sleutel", sign_in),
    web.get("/sleutels", show),
    web.get("/sleutels/nieuw/{code}", show_new),
    web.post("/sleutels/nieuw/{code}", register),
    web.post("/sleutels/intrekken", withdraw),
    web.post("/sleutels/voorstel", propose),
    web.get("/sleutels/voorstel/{proposal}/stuk", show_document),
    web.post("/sleutels/voorstel/{proposal}/tekenen", sign),
)
