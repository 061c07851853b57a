"""Hostile text goes into every form that can be found, and into what cameras and lists say; every page is opened."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Dialog
from sqlalchemy import update

from cloud.database.tables import cameras, officials, recordings
from cloud.desk import words
from tests.browser.conftest import Open
from tests.browser.hostile import ALL, MARK, SHORT, visitor
from tests.browser.pages import sign_in
from tests.browser.town import OFFICERS, OFFICIALS, TownHall

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEMPLATES = Path(words.__file__).parent / "templates"
ASKS = re.compile(r'<(?:textarea|input|select)[^>]*\bname="([a-z_]+)"')
ELSEWHERE = {
    "apart_one.html": "footage that is kept apart",
    "channels.html": "a municipality with routes to warn people by",
    "handover_new.html": "a case on which footage may be handed over",
    "keys.html": "security keys",
    "part_administration.html": "a camera that waits to be enrolled",
    "part_case.html": "the later steps of a case",
}
"""Pages whose fields are filled in elsewhere, and where: what it takes to get there is more than a walk."""

NOT_WRITTEN = {"csrf": "a token, tested as such"}

EVERYBODY = ("o-101", "o-103", "o-102", "o-106", "o-107", "h-001")
AGAIN = ("o-102", "o-103", "h-001")


async def test_no_text_that_anybody_writes_becomes_part_of_a_page(town: TownHall, open_browser: Open) -> None:
    await town.film("cam-01")
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
            await somebody.walk()
            assert somebody.broke == []
            pages[who] = somebody.pages
    written = {name for _, _, *free in wrote for name in free}
    asked = {
        each.name: set(ASKS.findall(each.read_text())) - written - set(NOT_WRITTEN) for each in TEMPLATES.glob("*.html")
    }
    missed = {name: fields for name, fields in asked.items() if fields and name not in ELSEWHERE}
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
