"""Signing in at the municipality: out to its provider, and back.

Coming back is a visit that another site began, so the browser withholds our session's cookie (SameSite=Strict). What
binds the answer to the browser is a cookie of its own for the way there and back (Lax, ten minutes); and a page of
ours, not a redirect, goes on inside, so that the first visit with the new session is one that we began ourselves.
"""

import logging
import secrets
from typing import Final

from aiohttp import web

from cloud.desk.oidc import BEGUN_LIVES_S, NotSignedIn, OpenIdProvider, ProviderAway
from cloud.desk.pages.door import go_on, let_in, ways_in
from cloud.desk.people import as_allowed
from cloud.desk.rules.sign_in import granted, judge_strength, official_in
from cloud.desk.town import count_failure, loop_s, must_wait_s, page, record_denial, town_of, words_of
from cloud.rules.verdicts import deny as denied

UNDER_WAY: Final = "__Host-vierogen-onderweg"
"""Known to the browser that began a sign-in, and worth nothing else."""

_STRANGER: Final = denied(
    "your account belongs to nobody who works here (any more)", "uw account hoort niet (meer) bij iemand die hier werkt"
)
_NO_ROLE: Final = denied(
    "your account has no function here; ask the administrator", "uw account heeft hier geen functie; vraag de beheerder"
)
_WAIT: Final = denied("signing in failed too often; wait five minutes", "het ging te vaak mis; wacht vijf minuten")


async def go(request: web.Request) -> web.StreamResponse:
    """Send this browser to the municipality's provider; where that is away, say so and show the emergency entrance."""
    provider = _provider(request)
    browser = request.cookies.get(UNDER_WAY, "")
    if len(browser) != 43:  # a second tab shares the first one's
        browser = secrets.token_urlsafe(32)
    try:
        address = await provider.begin(browser=browser, now_s=loop_s())
    except ProviderAway as away:
        return await _away(request, away)
    answer = web.HTTPSeeOther(address)
    answer.set_cookie(
        UNDER_WAY, browser, path="/", secure=True, httponly=True, samesite="Lax", max_age=int(BEGUN_LIVES_S)
    )
    raise answer


async def come_back(request: web.Request) -> web.StreamResponse:
    """Let in who signed in at the provider, with a second factor, and works here; everybody else hears why not."""
    town, provider = town_of(request), _provider(request)
    account: str | None = None
    try:
        arrived = await provider.finish(dict(request.query), browser=request.cookies.get(UNDER_WAY, ""), now_s=loop_s())
        account = official_in(arrived.claims, provider.settings)
        if must_wait_s(request, account) > 0:
            raise NotSignedIn(_WAIT)
        strong = judge_strength(arrived.claims, provider.settings)
        if not strong:
            raise NotSignedIn(strong)
        someone = await town.people.find(account, town.now()) if account else None
        if someone is None:
            raise NotSignedIn(_STRANGER)
        allowed = granted(arrived.claims, provider.settings)
        if not as_allowed(someone, allowed).roles:
            raise NotSignedIn(_NO_ROLE)
    except ProviderAway as away:
        return await _away(request, away)
    except NotSignedIn as refused:
        verdict = refused.verdict
        count_failure(request, account)
        why = verdict.waarom if words_of(request).language == "nl" else verdict.because
        if verdict is not _WAIT:  # or whoever keeps trying fills the ledger
            known = account in await town.people.names()  # the ledger takes pseudonyms, not what a claim may hold
            await record_denial(town, who=account if account and known else "nobody", what="sign-in", why=why)
        return await page(request, "not_signed_in.html", status=403, why=why)
    answer = await go_on(request, "/")
    let_in(request, answer, someone.id, how="municipality", allowed=allowed, id_token=arrived.id_token)
    answer.del_cookie(UNDER_WAY, path="/", secure=True, httponly=True, samesite="Lax")
    return answer


async def _away(request: web.Request, away: ProviderAway) -> web.StreamResponse:
    logging.getLogger("cloud.desk").warning("sign-in of the municipality: %s", away)
    return await ways_in(request, away=True)


def _provider(request: web.Request) -> OpenIdProvider:
    provider = town_of(request).open_id
    if provider is None:
        raise web.HTTPNotFound
    return provider


ROUTES: Final = (
    web.get("/aanmelden/gemeente", go),
    web.get("/aanmelden/terug", come_back),
)
