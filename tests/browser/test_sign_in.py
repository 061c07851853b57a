"""Signing in at the municipality, in a real browser, against a certified OpenID provider on another site."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect
from sqlalchemy import select, update

from broker.clock import system_clock
from broker.wire.entries import LedgerEntry, read_entry
from cloud.database.tables import denials, officials
from cloud.desk.oidc import OpenIdProvider
from cloud.desk.rules.sign_in import OpenId, SignIn
from cloud.desk.sessions import COOKIE
from tests.browser.conftest import Open
from tests.browser.pages import SLOW_MS
from tests.browser.standard_town import StandardTown, open_standard_town, register, with_authenticator
from tests.peers import Unavailable
from tests.peers.openid import CLIENT, SECRET, RunningProvider, open_provider
from tests.ports import free_port

pytestmark = pytest.mark.browser

PRIVACY = "Yasmina El Amrani"


@dataclass(kw_only=True)
class Municipal:
    """A town hall whose people sign in at the municipality."""

    town: StandardTown
    provider: RunningProvider
    ahead: timedelta = timedelta(0)

    def clock(self) -> datetime:
        """The desk's own idea of the world's time."""
        return system_clock() + self.ahead

    async def denied(self) -> list[tuple[str, str]]:
        """Who was refused, and why, oldest first."""
        async with self.town.hall.database.transaction() as t:
            rows = (await t.execute(select(denials).order_by(denials.c.id))).all()
        return [(row.who, row.why) for row in rows if row.what == "sign-in"]

    async def entries(self, kind: str) -> list[LedgerEntry]:
        """What the ledger says of this kind."""
        size = self.town.hall.ledger.checkpoint().size
        found = [read_entry(raw) for _, raw in await self.town.hall.ledger.read(0, size)]
        return [entry for entry in found if entry.kind == kind]


@pytest_asyncio.fixture(loop_scope="module")
async def municipal(tmp_path: Path) -> AsyncIterator[Municipal]:
    port = free_port()
    origin = f"http://localhost:{port}"
    try:
        opening = open_provider(origin)
        provider = await opening.__aenter__()
    except Unavailable as reason:
        pytest.skip(f"needs oidc-provider from npm: {reason}")
    try:
        settings = OpenId(
            issuer=provider.issuer,
            client_id=CLIENT,
            official_claim="employee",
            secret_file="open-id.secret",
            groups_claim="groups",
            groups={
                "bodycam-coordinatie": ("coordinator",),
                "bodycam-privacy": ("privacy_officer", "cluster_manager"),
                "bodycam-clustermanagers": ("cluster_manager",),
            },
            amr=("mfa",),
        )
        made: list[Municipal] = []
        open_id = OpenIdProvider(settings, origin=origin, secret=SECRET, clock=lambda: made[0].clock())  # noqa: PLW0108
        sign_in = SignIn(break_glass=("o-102",), open_id=settings)
        async with open_standard_town(tmp_path, port=port, sign_in=sign_in, open_id=open_id) as town:
            made.append(Municipal(town=town, provider=provider))
            yield made[0]
    finally:
        await opening.__aexit__(None, None, None)


async def at_the_provider(municipal: Municipal, page: Page) -> None:
    """Go from the desk to the provider."""
    await page.goto(f"{municipal.town.address}/aanmelden")
    await page.get_by_role("link", name="Meld mij aan bij de gemeente").click()
    await expect(page.get_by_label("Wie")).to_be_visible(timeout=SLOW_MS)


async def say_who(page: Page, who: str, *, second: bool = True) -> None:
    """Answer the provider's page."""
    await page.get_by_label("Wie").fill(who)
    await page.get_by_label("Tweede factor").set_checked(second)
    await page.get_by_role("button", name="Verder").click()


async def come_in(municipal: Municipal, page: Page, who: str, name: str) -> None:
    """Sign in at the municipality and arrive."""
    await at_the_provider(municipal, page)
    await say_who(page, who)
    await expect(page.locator(".bar__name")).to_have_text(name, timeout=SLOW_MS)


async def refused(page: Page, because: str) -> None:
    """See that one is not signed in, and why."""
    await expect(page.get_by_role("heading", name="U bent niet aangemeld")).to_be_visible(timeout=SLOW_MS)
    await expect(page.locator("main")).to_contain_text(because)
    desk = urlsplit(page.url)
    await page.goto(f"{desk.scheme}://{desk.netloc}/aanmelden")
    await expect(page.get_by_role("heading", name="Aanmelden")).to_be_visible()  # who is in would be sent inside


async def test_somebody_signs_in_at_the_municipality_and_out_again_at_both(
    municipal: Municipal, open_browser: Open
) -> None:
    page = await open_browser()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await come_in(municipal, page, "o-103", PRIVACY)
    (out,) = [parse_qs(urlsplit(url).query) for url in asked if url.startswith(f"{municipal.provider.issuer}/auth?")]
    assert (out["response_type"], out["code_challenge_method"]) == (["code"], ["S256"])
    assert len(out["state"][0]) >= 22, "at least 128 bits"
    assert len(out["nonce"][0]) >= 22, "at least 128 bits"
    cookies = {cookie["name"]: cookie for cookie in await page.context.cookies(municipal.town.address)}
    assert set(cookies) == {COOKIE}, "and what bound the way there and back is gone"
    mine = cookies[COOKIE]
    assert (mine["sameSite"], mine["httpOnly"], mine["secure"], mine["path"]) == ("Strict", True, True, "/")
    assert "code=" not in page.url
    await expect(page.locator(".bar__role")).to_have_text("privacy officer")
    await expect(page.locator(".bar__role")).not_to_contain_text("cluster", timeout=100)  # a group appoints nobody

    await page.locator(".bar__person summary").click()
    await page.get_by_role("link", name="Waar u bent aangemeld").click()
    await expect(page.locator("#open-sessions")).to_contain_text("bij de gemeente", timeout=SLOW_MS)
    await page.locator(".bar__person summary").click()
    await page.get_by_role("button", name="Afmelden").click()
    await page.get_by_role("button", name="Ook hier afmelden").click(timeout=SLOW_MS)
    await expect(page.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)
    await at_the_provider(municipal, page)  # who is asked again who one is


async def test_without_a_second_factor_a_known_name_or_a_function_nobody_gets_in(
    municipal: Municipal, open_browser: Open
) -> None:
    for who, second, because in (
        ("o-103", False, "zonder tweede factor"),
        ("vreemde", True, "hoort niet (meer) bij iemand die hier werkt"),
        ("o-105", True, "heeft hier geen functie"),  # works here; no group of theirs is ours
    ):
        page = await open_browser()
        await at_the_provider(municipal, page)
        await say_who(page, who, second=second)
        await refused(page, because)
        await page.context.close()
    assert [who for who, _ in await municipal.denied()] == ["o-103", "nobody", "o-105"]
    assert [entry.actor for entry in await municipal.entries("denial")] == ["o-103", "nobody", "o-105"]

    page = await open_browser()
    await come_in(municipal, page, "o-103", PRIVACY)
    hall = municipal.town.hall
    await page.goto("about:blank")  # a page that lives would leave by itself, in the middle of the next step
    async with hall.database.transaction() as t:
        await t.execute(update(officials).where(officials.c.id == "o-103").values(employed_until=hall.clock()))
    await page.goto(f"{municipal.town.address}/dossiers")
    await expect(page.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)
    await page.get_by_role("link", name="Meld mij aan bij de gemeente").click()
    await refused(page, "hoort niet (meer) bij iemand die hier werkt")


async def test_an_answer_works_once_in_the_browser_that_asked_and_while_it_is_fresh(
    municipal: Municipal, open_browser: Open
) -> None:
    page, other = await open_browser(), await open_browser()
    answers: list[str] = []

    async def keep_back(route: Route) -> None:
        """Let the provider decide, and keep the answer that the browser would have carried to the desk."""
        sent = await route.fetch(max_redirects=0)
        resumed = await page.request.get(sent.headers["location"], max_redirects=0)
        answers.append(resumed.headers["location"])
        await route.fulfill(body="kept back")

    await at_the_provider(municipal, page)
    await page.route("**/hier/*", keep_back)
    await say_who(page, "o-103")
    await expect(page.locator("body")).to_have_text("kept back", timeout=SLOW_MS)
    await page.unroute("**/hier/*")
    (answer,) = answers
    await other.goto(answer)  # stolen: the thief's browser never asked
    await refused(other, "hoort niet bij een aanmelding die in deze browser begon")
    await page.goto(answer)  # whose answer it was: the thief has used it up, and gained nothing
    await refused(page, "of is al gebruikt")

    page = await open_browser()
    page.on("request", lambda r: answers.append(r.url) if "/aanmelden/terug?" in r.url else None)
    await come_in(municipal, page, "o-103", PRIVACY)
    again = await other.goto(answers[-1])
    assert again is not None
    assert again.status == 403

    for changed, because in (("nonce", "nonce"), ("clock", "exp")):
        page = await open_browser()

        async def change(route: Route) -> None:
            sent = await route.fetch(max_redirects=0)
            address = sent.headers["location"].replace("nonce=", "nonce=x")
            await route.fulfill(response=sent, headers={**sent.headers, "location": address})

        if changed == "nonce":
            await page.route("**/aanmelden/gemeente", change)
        await at_the_provider(municipal, page)
        municipal.ahead = timedelta(hours=2) if changed == "clock" else timedelta(0)
        await say_who(page, "o-103")
        await refused(page, because)
        await page.context.close()
    whys = " ".join(why for _, why in await municipal.denied())
    assert "nonce" in whys
    assert "exp" in whys


async def test_while_the_provider_is_away_only_named_accounts_get_in_and_everybody_hears_of_it(
    municipal: Municipal, open_browser: Open
) -> None:
    town = municipal.town
    guard = await open_browser()
    await come_in(municipal, guard, "o-103", PRIVACY)
    await guard.goto(f"{town.address}/dossiers")
    await municipal.provider.stop()

    named, other = await with_authenticator(await open_browser()), await with_authenticator(await open_browser())
    for person, official in ((named, "o-102"), (other, "o-103")):
        await register(town, person, official)
        await person.page.get_by_role("link", name="Meld mij aan bij de gemeente").click()
        await expect(person.page.locator("#away")).to_be_visible(timeout=SLOW_MS)
        await person.page.get_by_role("button", name="Meld mij aan met mijn sleutel").click()
    await expect(other.page.locator("#key-says")).to_contain_text("sign in at the municipality", timeout=SLOW_MS)
    await expect(named.page.locator(".bar__name")).to_have_text("Hans Verhoeven", timeout=SLOW_MS)

    (used,) = await municipal.entries("emergency.used")
    assert (used.actor, used.subject) == ("o-102", "o-102")
    alarm = guard.locator("#emergency-list")
    await expect(alarm).to_contain_text("Hans Verhoeven", timeout=SLOW_MS)
    await expect(named.page.locator("#emergency-list")).to_be_visible(timeout=SLOW_MS)
    await expect(named.page.locator("#emergency-list button")).to_have_count(0)  # one's own use, for others to see
    await guard.goto(f"{town.address}/logboek")
    await expect(guard.locator("main")).to_contain_text("noodingang gebruikt")
    await guard.locator("#emergency-list").get_by_role("button", name="Ik heb dit gezien").click()
    await expect(guard.locator("#emergency-list")).to_have_count(0, timeout=SLOW_MS)
    (seen,) = await municipal.entries("emergency.seen")
    assert seen.actor == "o-103"
    assert seen.subject == "o-102"


async def test_one_signs_oneself_out_everywhere(municipal: Municipal, open_browser: Open) -> None:
    here, there = await open_browser(), await open_browser(width=320)
    for page in (here, there):
        await come_in(municipal, page, "o-103", PRIVACY)
    await here.goto(f"{municipal.town.address}/aanmeldingen")
    rows = here.locator("#open-sessions > li")
    await expect(rows).to_have_count(2)
    await expect(rows.filter(has_text="deze browser")).to_have_count(1)
    await here.get_by_role("button", name="Meld mij overal af").click()
    await expect(here.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)
    await expect(there.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)  # by itself
