"""Nobody is shut out: axe finds nothing on any page, in any state, for anyone, by day and by night, large and small."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import hdrs
from playwright.async_api import Browser, Page, expect

from broker.clock import system_clock
from cloud.desk.attempts import PER_PLACE
from cloud.desk.oidc import OpenIdProvider
from cloud.desk.pages import ROUTES, accessibility
from cloud.desk.rules.sign_in import OpenId, SignIn
from cloud.desk.town import TOWN
from tests.browser.axe import EVERYTHING, LOOKS, faults, too_wide
from tests.browser.conftest import PATIENT, Open
from tests.browser.hostile import visitor
from tests.browser.pages import (
    SLOW_MS,
    approve,
    follow,
    leave,
    play,
    register_case,
    request_viewing,
    sign_in,
    sit_down,
)
from tests.browser.standard_town import SECOND_ACCOUNT, draft, open_standard_town, register, with_authenticator
from tests.browser.standard_town import sign_in as come_in
from tests.browser.town import OFFICERS, OFFICIALS, POLICY, TownHall
from tests.peers import Unavailable, axe
from tests.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = {who: name for who, name, *_ in OFFICIALS} | {"h-001": OFFICERS[0]}
EVERYBODY = ("o-101", "o-103", "o-102", "o-106", "o-107", "o-104", "h-001")
AGAIN = ("o-102", "o-103", "h-001")
SENTENCE = "Een gewone zin van zes woorden"
NOT_A_PAGE = re.compile(
    r"/(deel|stuk|pakket|verzoek|bladwijzers)$|/beeld/|/bestand\.|\.(csv|toml|json)$"
    r"|^/(live|alarm|noodingang|thema\.css|gezondheid)$|^/aanmelden/(gemeente|terug)$|^/kijkkamer/\{room\}/onherkenbaar$"
)
"""Parts of pages, files, streams, and ways through to another site."""

ELSEWHERE = {
    "/": "goes on to another page",
    "/kijkkamer/nieuw": "a viewing room in every state",
    "/kijkkamer/{room}": "a viewing room in every state",
    "/onherkenbaar/nieuw": "a viewing room in every state",
    "/opnamen/{recording}/apart": "footage that is kept apart (test_apart.py)",
    "/sleutels": "signing in with keys",
    "/sleutels/nieuw/{code}": "signing in with keys",
}
"""Pages that the long walk does not come by, and the test that looks at them."""


@dataclass(kw_only=True)
class Inspection:
    """Looks at pages as they are, in each light and at each width, and remembers what is wrong."""

    browser: Browser
    address: str
    script: Path
    opened: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    pages: dict[str, Page] = field(default_factory=dict)

    async def page_of(self, who: str = "") -> Page:
        """Return this person's browser, signed in; without a person, a stranger's."""
        if who not in self.pages:
            context = await self.browser.new_context(viewport={"width": 1440, "height": 900}, locale="nl-NL")
            context.set_default_timeout(SLOW_MS)
            await context.add_init_script(path=self.script)
            await context.add_init_script(PATIENT)
            self.pages[who] = await context.new_page()
            if who:
                await sign_in(self.pages[who], self.address, NAMES[who])
        return self.pages[who]

    async def open(self, who: str, path: str) -> None:
        """Open a page and look at it."""
        page = await self.page_of(who)
        await page.goto(self.address + path, wait_until="load")
        await self.look(page, who)

    async def look(self, page: Page, called: str) -> None:
        """Look at what is on the page now, with everything unfolded."""
        await page.wait_for_load_state()
        path = page.url.removeprefix(self.address).split("?")[0]
        self.opened.add(path)
        called = f"{called} {path}"
        await page.evaluate("() => document.querySelectorAll('main details').forEach(each => { each.open = true; })")
        found = {f"{called}: {each}" for each in await faults(page, EVERYTHING)}
        await page.emulate_media(color_scheme="dark")
        await page.set_viewport_size({"width": 320, "height": 640})
        found |= {f"{called}, small and dark: {each}" for each in await faults(page, LOOKS) + await too_wide(page)}
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size({"width": 1440, "height": 900})
        self.wrong += sorted(found)

    def nothing_is_wrong(self) -> bool:
        """Say so, or fail with everything that is."""
        assert not self.wrong, "\n".join(self.wrong)
        return True


@pytest.fixture
def script() -> Path:
    try:
        return axe.script()
    except Unavailable as reason:
        pytest.skip(f"needs axe-core from npm: {reason}")


@pytest_asyncio.fixture(loop_scope="module")
async def inspection(town: TownHall, browser: Browser, script: Path) -> AsyncIterator[Inspection]:
    inspecting = Inspection(browser=browser, address=town.address, script=script)
    yield inspecting
    for page in inspecting.pages.values():
        await page.context.close()


@pytest.mark.timeout(1200)  # some fifty pages, three times each
async def test_axe_finds_nothing_on_any_page_of_anybody(town: TownHall, inspection: Inspection) -> None:
    for path in ("/opnamen", "/dossiers", "/kijkkamer", "/meldingen", "/logboek"):
        await inspection.open("o-103", path)  # nothing in them yet
    recording = await town.film("cam-03")
    await town.press("cam-07")
    plain = [each.path for each in ROUTES if each.method == hdrs.METH_GET and not re.search(r"[{]", each.path)]
    start = [path for path in plain if not NOT_A_PAGE.search(path)]
    wrote: set[tuple[str, ...]] = set()
    pages: dict[str, dict[str, str]] = {}
    for who in (*EVERYBODY, *AGAIN):  # the second time there is something to open
        async with visitor(town.address, who, wrote, texts=[SENTENCE]) as somebody:
            await somebody.walk(start)
            assert somebody.broke == []
            pages[who] = somebody.pages
    seen: set[str] = set()
    for who in EVERYBODY:
        for kind, path in pages[who].items():
            if kind not in seen and not NOT_A_PAGE.search(path):
                seen.add(kind)
                await inspection.open(who, path)
    privacy = await inspection.page_of("o-103")
    case = await register_case(
        privacy, town.address, kind="aangifte", summary="Aangifte van een omstander", recording=str(recording)
    )
    await inspection.open("o-103", f"/verstrekken/nieuw?dossier={case}")
    hold = (await town.casework.case("heusden", case)).holds[0].id
    await inspection.open("o-103", f"/bewaarplicht/{hold}")
    await inspection.open("o-101", "/vloot?vorm=tabel")
    await inspection.open("o-102", "/activeringen")  # who may pull the emergency brake there
    await inspection.open("h-001", "/logboek")  # denied
    await inspection.open("o-103", "/opnamen/0190a0a0-0000-7000-8000-000000000000")  # refused
    for path in ("/openbaar", "/toegankelijkheid", "/aanmelden"):
        await inspection.open("", path)
    assert inspection.nothing_is_wrong()
    for route in ROUTES:
        if route.method == hdrs.METH_GET and not NOT_A_PAGE.search(route.path) and route.path not in ELSEWHERE:
            like = re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))
            assert any(like.fullmatch(path) for path in inspection.opened), f"{route.path} was not looked at"


async def test_axe_finds_nothing_in_any_state_of_a_viewing_room(town: TownHall, inspection: Inspection) -> None:
    await town.film("cam-07")
    first, second = await inspection.page_of("o-103"), await inspection.page_of("o-102")
    case = await register_case(first, town.address, kind="access_request", summary="Verzoek van een omstander")
    await inspection.open("o-103", f"/kijkkamer/nieuw?dossier={case}")
    room = await request_viewing(first, town.address, case, second=NAMES["o-102"], reason="Wie staat erop?")
    await second.goto(f"{town.address}/kijkkamer/{room}")
    await inspection.look(second, "asked")
    await second.locator("input[name=reden]").fill("Geen goede reden")
    await follow(second, second.get_by_role("button", name="Weiger"))
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "refused", timeout=SLOW_MS)
    await inspection.look(first, "refused")
    await inspection.open("o-103", f"/onherkenbaar/nieuw?dossier={case}")
    form = first.locator("#redaction-form")
    await form.locator(".choice", has_text=NAMES["o-102"]).locator("input").check()
    await form.locator("textarea[name=reden]").fill("Iedereen behalve de verzoeker")
    await form.locator("input[name=alleen]").check()
    await follow(first, form.get_by_role("button", name="Onderteken en vraag"))
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)
    await inspection.look(first, "requested")
    room = first.url.rsplit("/", 1)[1]
    await approve(second, town.address, room)
    await inspection.look(second, "approved")
    await sit_down(first, town.address, room)
    await sit_down(second, town.address, room)
    await play(first)
    await expect(first.locator("#redaction")).to_be_visible(timeout=SLOW_MS)
    await first.locator("#mark").click()
    await inspection.look(first, "open, in which people are made unrecognisable")
    await leave(second)
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "paused", timeout=SLOW_MS)
    await expect(first.locator("#veil")).to_be_visible(timeout=SLOW_MS)
    await inspection.look(first, "paused")
    await follow(first, first.get_by_role("button", name="Sluit de kamer"))
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "closed", timeout=SLOW_MS)
    await inspection.look(first, "closed")
    assert inspection.nothing_is_wrong()


async def test_axe_finds_nothing_while_the_server_is_lost_and_in_the_menu(
    town: TownHall, inspection: Inspection
) -> None:
    await town.press("cam-07")
    page = await inspection.page_of("o-101")
    await page.goto(f"{town.address}/vloot")
    await expect(page.locator("#alarm-banner")).to_be_visible(timeout=SLOW_MS)
    await page.locator(".bar__person summary").click()
    await page.context.set_offline(True)
    await expect(page.locator("#lost")).to_be_visible(timeout=SLOW_MS)
    await inspection.look(page, "lost, with an alarm")
    assert inspection.nothing_is_wrong()
    assert await page.evaluate("() => axe.version") == accessibility.TESTED.axe, "as the statement says"
    lock = json.loads((axe.HERE / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/axe-core"]["version"] == accessibility.TESTED.axe


SUBMIT = """([path, fields]) => { const form = document.createElement('form'); form.method = 'post'; form.action = path;
  for (const [name, value] of Object.entries({ csrf: document.body.dataset.csrf ?? '', ...fields })) {
    const field = document.createElement('input'); field.name = name; field.value = value; form.append(field); }
  document.body.append(form); form.submit(); }"""
"""Send a form that no page of ours offers: to be refused."""


async def test_axe_finds_nothing_on_any_refusal(
    town: TownHall, inspection: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = str(await town.film("cam-01"))
    privacy, officer = await inspection.page_of("o-103"), await inspection.page_of("h-001")
    case = await register_case(privacy, town.address, kind="complaint", summary="Klacht", recording=recording)
    (hold,) = (await town.casework.case("heusden", case)).holds
    await inspection.open("o-103", "/bestaat-niet")
    await inspection.open("o-103", "/afmelden")
    for page, path, fields, said in (
        (privacy, "/dossiers", {"soort": "complaint"}, "Er klopt iets niet in wat u invulde."),
        (privacy, f"/bewaarplicht/{hold.id}/opheffen", {"grond": "x"}, "Dat lukt niet"),
        (officer, "/opnamen/x/sparen", {}, "Dat lukt niet"),
        (officer, "/logboek/controleren", {"csrf": "another's"}, "Dat mag niet"),
    ):
        await page.goto(f"{town.address}/kijkkamer")
        async with page.expect_navigation():
            await page.evaluate(SUBMIT, [path, fields])
        await expect(page.locator("main")).to_contain_text(said, timeout=SLOW_MS)
        await inspection.look(page, "refused")

    await officer.goto(f"{town.address}/meldingen")
    await officer.locator("#owed a").first.click()
    await follow(officer, officer.get_by_role("button", name="Stuur in"))
    await expect(officer.locator("#missing")).to_be_visible(timeout=SLOW_MS)
    await inspection.look(officer, "what is missing is said")

    await privacy.goto(f"{town.address}/dossiers/nieuw")
    await privacy.locator("textarea[name=omschrijving]").fill("Een omstander vraagt om de beelden")
    await privacy.context.clear_cookies()
    async with privacy.expect_navigation():
        await privacy.evaluate(SUBMIT, ["/dossiers", {"soort": "complaint"}])
    await expect(privacy.locator("h1")).to_have_text("U bent niet meer aangemeld", timeout=SLOW_MS)
    await inspection.look(privacy, "signed out meanwhile")
    assert town.runner is not None
    for _ in range(PER_PLACE):  # somebody here tried many names
        town.runner.app[TOWN].attempts.failed(place="127.0.0.1", now_s=asyncio.get_running_loop().time())
    await inspection.open("", "/sleutels/nieuw/x")
    await expect((await inspection.page_of()).locator("h1")).to_have_text("Even wachten")

    def broken(_ledger: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as breaking:
        breaking.setattr(type(town.ledger), "checkpoint", broken)
        await inspection.open("", "/openbaar")
    assert inspection.nothing_is_wrong()


async def test_axe_finds_nothing_where_people_sign_in_and_sign_with_keys(
    tmp_path: Path, browser: Browser, open_browser: Open, script: Path
) -> None:
    async with open_standard_town(tmp_path) as town:
        inspection = Inspection(browser=browser, address=town.address, script=script)
        page = await inspection.page_of()
        await inspection.open("", "/aanmelden")
        code = await asyncio.to_thread(lambda: town.invitations.invite("o-103", now=town.hall.clock()))
        await inspection.open("", f"/sleutels/nieuw/{code}")
        person = await with_authenticator(page)
        second = await with_authenticator(await open_browser())
        await register(town, person, "o-103")
        await register(town, second, "o-102")
        await town.found_kluis()
        await come_in(town, person, NAMES["o-103"])
        await inspection.open("", "/sleutels")
        await town.hall.film("cam-07", kept=5)
        case = await register_case(page, town.address, kind="access_request", summary="Verzoek")
        await draft(town, person, case, second=NAMES["o-102"], reason="Wie staat erop?")
        await inspection.look(page, "a request that is not signed yet")

        await register(town, second, SECOND_ACCOUNT)
        await inspection.open("", "/sleutels")  # the register differs from the list
        await follow(page, page.get_by_role("button", name="Stel deze wijziging voor"))
        await expect(page.locator("#roster")).to_contain_text("stelt versie", timeout=SLOW_MS)
        await inspection.look(page, "another list, proposed")
        policy = (await asyncio.to_thread(POLICY.read_text)).replace("version = 1", "version = 2", 1)
        await page.goto(f"{town.address}/beleid")
        await page.locator("input[name=bestand]").set_input_files(
            {
                "name": "2.toml",
                "mimeType": "application/toml",
                "buffer": policy.replace("days = 28", "days = 21", 1).encode(),
            }
        )
        await follow(page, page.get_by_role("button", name="Stel deze versie voor"))
        await expect(page.locator("#proposal")).to_be_visible(timeout=SLOW_MS)
        await inspection.look(page, "another policy, proposed")
        for each in (page, second.page):
            await each.context.close()
        assert inspection.nothing_is_wrong()


async def test_axe_finds_nothing_where_people_sign_in_at_the_municipality(
    tmp_path: Path, browser: Browser, script: Path
) -> None:
    port = free_port()
    settings = OpenId(
        issuer=f"http://localhost:{free_port()}",  # nobody answers there
        client_id="desk",
        official_claim="employee",
        secret_file="open-id.secret",
        groups_claim="groups",
        groups={"bodycam-privacy": ("privacy_officer",)},
        amr=("mfa",),
    )
    provider = OpenIdProvider(settings, origin=f"http://localhost:{port}", secret="-", clock=system_clock)
    sign_in = SignIn(break_glass=("o-102",), open_id=settings)
    async with open_standard_town(tmp_path, port=port, sign_in=sign_in, open_id=provider) as town:
        inspection = Inspection(browser=browser, address=town.address, script=script)
        page = await inspection.page_of()
        await inspection.open("", "/aanmelden")
        await page.get_by_role("link", name="Meld mij aan bij de gemeente").click()
        await expect(page.locator("#away")).to_be_visible(timeout=SLOW_MS)
        await inspection.look(page, "the municipality's sign-in does not answer")
        await page.context.close()
        assert inspection.nothing_is_wrong()
