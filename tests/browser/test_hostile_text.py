"""Hostile text goes into every form that can be found, and into what cameras and lists say; every page is opened."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Dialog
from sqlalchemy import insert, update

from broker.wire.enrolment import REQUEST
from broker.wire.ids import DeviceId
from broker.wire.policy import CaseKind
from cloud.alerting.routes import Routes
from cloud.database.tables import alert_channels, cameras, cases, officials, recordings, security_keys
from cloud.desk import words
from cloud.desk.sessions import COOKIE
from cloud.desk.town import TOWN, loop_s
from edge.joining import NewCamera
from tests.browser.conftest import Open
from tests.browser.hostile import ALL, MARK, SHORT, Visitor, visitor
from tests.browser.pages import sign_in
from tests.browser.standard_town import open_standard_town
from tests.browser.town import OFFICERS, OFFICIALS, ORG, TownHall, fill_the_streets, open_town

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEMPLATES = Path(words.__file__).parent / "templates"
ASKS = re.compile(r'<(?:textarea|input|select)[^>]*\bname="([a-z_]+)"')
KEYS = "keys.html"
"""The one page that a town whose people have no keys of their own does not have; it has a test of its own."""

NOT_WRITTEN = {"csrf": "a token, tested as such"}

EVERYBODY = ("o-101", "o-103", "o-102", "o-106", "o-107", "h-001")
AGAIN = ("o-102", "o-103", "h-001")


@pytest_asyncio.fixture(loop_scope="module")
async def town(tmp_path: Path) -> AsyncIterator[TownHall]:
    """A town with a way to reach its people, at which nobody answers."""
    async with open_town(tmp_path, routes=Routes({"telefoon": "json://127.0.0.1:9/{address}"})) as hall:
        await fill_the_streets(hall)
        yield hall


async def something_to_write_on(town: TownHall, folder: Path) -> dict[str, list[str]]:
    """Let there be something in every state in which a page asks for text; return who finds it where."""
    footage = [str(await town.film("cam-01"))]
    await town.film("cam-03", heard=False)  # kept apart
    register, by, now = town.casework.register_case, "o-103", town.clock()
    told = await register(ORG, by=by, kind=CaseKind.AANGIFTE, summary=SHORT, recordings=footage)
    hurry = await town.casework.emergency_hold(
        ORG, by=by, kind=CaseKind.COMPLAINT, summary=SHORT, from_at=now - timedelta(hours=1), until_at=now
    )
    asked = {
        state: (await register(ORG, by=by, kind=CaseKind.ACCESS_REQUEST, summary=SHORT, recordings=footage)).id
        for state in ("received", "identity_check", "assessment", "objection")
    }
    channel = {"id": str(UUID(int=1)), "org": ORG, "official": "o-101", "route": "telefoon", "address": SHORT}
    async with town.database.transaction() as t:
        for state, case in asked.items():
            await t.execute(update(cases).where(cases.c.id == case).values(state=state))
        await t.execute(insert(alert_channels).values(channel | {"added_at": now, "code": "000042", "tries": 0}))
    assert town.administration is not None
    newcomer = await asyncio.to_thread(_letter, NewCamera(folder))
    await town.administration.enrolments.ask(newcomer, dock=DeviceId("dock-01"))
    paths = [f"/dossiers/{each}" for each in (told.id, hurry.id, *asked.values())]
    return {"o-101": ["/waarschuwingen"], by: [*paths, f"/verstrekken/nieuw?dossier={told.id}"]}


def _letter(camera: NewCamera) -> bytes:
    return (camera.card / "to-dock" / REQUEST).read_bytes()


async def test_no_text_that_anybody_writes_becomes_part_of_a_page(
    town: TownHall, open_browser: Open, tmp_path: Path
) -> None:
    begins = await something_to_write_on(town, tmp_path / "camera")
    await town.press("cam-08", place=ALL)
    async with town.database.transaction() as t:
        await t.execute(update(officials).where(officials.c.id.in_(("o-105", "h-008"))).values(display_name=ALL))
        await t.execute(update(officials).where(officials.c.id == "h-009").values(team=SHORT, department=ALL))
        await t.execute(update(cameras).where(cameras.c.id == "cam-09").values(reason=ALL))
        await t.execute(update(recordings).values(reason=ALL))
    wrote: set[tuple[str, ...]] = set()
    pages: dict[str, dict[str, str]] = {}
    for who in (*EVERYBODY, *AGAIN):  # the second time there is something to open
        async with visitor(town.address, who, wrote) as somebody:
            await somebody.walk([*begins.get(who, ()), "/"])
            assert somebody.broke == []
            pages[who] = somebody.pages
    written = {name for _, _, *free in wrote for name in free}
    asked = {
        each.name: set(ASKS.findall(each.read_text())) - written - set(NOT_WRITTEN) for each in TEMPLATES.glob("*.html")
    }
    missed = {name: fields for name, fields in asked.items() if fields and name != KEYS}
    assert not missed, f"nothing hostile was sent for {missed}"

    names = {who: name for who, name, *_ in OFFICIALS} | {"h-001": OFFICERS[0]}
    said: list[str] = []

    async def refuse(dialog: Dialog) -> None:
        said.append(dialog.message)
        await dialog.dismiss()

    opened: set[str] = set()
    marked = 0
    for who in EVERYBODY:
        new = {shape: path for shape, path in pages[who].items() if shape not in opened}
        page = await open_browser()
        page.on("dialog", refuse)
        await sign_in(page, town.address, names[who])
        for shape, path in new.items():
            opened.add(shape)
            answer = await page.goto(f"{town.address}{path}", wait_until="domcontentloaded")
            assert answer is not None
            assert answer.status < 500, path
            alien = await page.evaluate(
                f"() => window.{MARK} !== undefined || document.querySelector('[data-{MARK}]') !== null"
                " || new URL(document.baseURI).host !== location.host"
            )
            assert not alien, f"{who} {path}"
            marked += MARK in (await page.locator("body").inner_text())
        await page.context.close()
    assert said == []
    assert marked > 10, "or nothing of it was shown, and this test saw nothing"


async def test_no_text_of_a_key_becomes_part_of_the_page_of_keys(tmp_path: Path) -> None:
    async with open_standard_town(tmp_path) as town:
        now, desk = town.hall.clock(), town.hall.runner
        assert desk is not None
        key = {"org": ORG, "id": SHORT, "official": "o-103", "public_key": b"-", "registered_at": now, "count": 0}
        async with town.hall.database.transaction() as t:
            await t.execute(insert(security_keys).values(key))
            await t.execute(update(officials).where(officials.c.id == "o-103").values(display_name=ALL))
        session = desk.app[TOWN].sessions.begin("o-103", how="key", now_s=loop_s(), at=now)
        async with aiohttp.ClientSession(town.address, cookies={COOKIE: session.token}) as client:
            somebody = Visitor(who="o-103", client=client)
            await somebody.walk(["/sleutels"])
            assert somebody.broke == []
            assert {"sleutel"} <= {name for _, _, *names in somebody.wrote for name in names}
            async with client.get("/sleutels") as answer:
                drawn = await answer.text()
        assert MARK in drawn
        assert f"<script>window.{MARK}" not in drawn
        assert f"data-{MARK} " not in re.sub(r"&lt;.*?&gt;", "", drawn)
