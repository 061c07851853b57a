"""Signing with security keys outside the access request: a policy by two, and an officer who looks back to learn."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from broker.wire.entries import read_entry
from tests.browser.conftest import Open
from tests.browser.pages import SLOW_MS, follow, play, sit_down
from tests.browser.standard_town import (
    Person,
    StandardTown,
    open_standard_town,
    register,
    sign_in,
    with_authenticator,
)
from tests.browser.town import OFFICERS, ORG, POLICY

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PEOPLE = {"o-101": "Marieke de Wit", "o-102": "Hans Verhoeven", "o-103": "Yasmina El Amrani", "h-007": OFFICERS[6]}


@pytest_asyncio.fixture(loop_scope="module")
async def standard(tmp_path: Path) -> AsyncIterator[StandardTown]:
    async with open_standard_town(tmp_path) as town:
        yield town


async def come_in(town: StandardTown, open_browser: Open, *officials: str) -> list[Person]:
    """Let these people register a key each, found the Kluis on those, and sign them in."""
    found = [await with_authenticator(await open_browser()) for _ in officials]
    for person, official in zip(found, officials, strict=True):
        await register(town, person, official)
    await town.found_kluis()
    for person, official in zip(found, officials, strict=True):
        await sign_in(town, person, PEOPLE[official])
    return found


async def actors(town: StandardTown, kind: str) -> list[str]:
    """Who did this, by the ledger, oldest first."""
    ledger = town.hall.ledger
    found = [read_entry(raw) for _, raw in await ledger.read(0, ledger.checkpoint().size)]
    return [entry.actor for entry in found if entry.kind == kind]


async def test_a_policy_comes_into_force_by_two_keys_and_not_by_one(standard: StandardTown, open_browser: Open) -> None:
    privacy, manager = await come_in(standard, open_browser, "o-103", "o-102")
    text = await asyncio.to_thread(POLICY.read_text)
    changed = re.sub(r"(?m)^days = 28", "days = 21", text.replace("version = 1", "version = 2", 1), count=1)
    page = privacy.page
    await page.goto(f"{standard.address}/beleid")
    await page.locator("input[name=bestand]").set_input_files(
        {"name": "heusden-2.toml", "mimeType": "application/toml", "buffer": changed.encode()}
    )
    await follow(page, page.get_by_role("button", name="Stel deze versie voor"))
    for person, signed in ((privacy, PEOPLE["o-103"]), (manager, None)):
        await person.page.goto(f"{standard.address}/beleid")
        await expect(person.page.locator("#proposal")).to_contain_text("21 dagen", timeout=SLOW_MS)
        await follow(person.page, person.page.get_by_role("button", name="Ik heb dit gelezen en onderteken"))
        if signed:
            await expect(person.page.locator("#proposal")).to_contain_text(f"Getekend door: {signed}", timeout=SLOW_MS)
            assert (await standard.hall.policies.current(ORG)).version == 1
    await expect(manager.page.locator(".badge", has_text="versie 2")).to_be_visible(timeout=SLOW_MS)
    assert (await standard.hall.policies.current(ORG)).retention.days == 21
    assert len(privacy.assertions) == len(manager.assertions) == 2, "one to come in, one to sign"


@pytest.mark.rule("H-47")
async def test_an_officer_looks_back_to_learn_with_two_keys(standard: StandardTown, open_browser: Open) -> None:
    officer, coordinator = await come_in(standard, open_browser, "h-007", "o-101")
    await standard.hall.film("cam-07", kept=20)
    page = officer.page
    await page.goto(f"{standard.address}/leren")
    await page.locator("#ask input[name=opname]").check()
    await page.locator("#ask input[name=vraag]").fill("Wat had ik eerder kunnen zeggen?")
    await page.get_by_role("button", name="Vraag om terug te kijken").click()
    await expect(page.locator("#mine")).to_contain_text("gevraagd", timeout=SLOW_MS)
    await coordinator.page.goto(f"{standard.address}/leren")
    await follow(coordinator.page, coordinator.page.get_by_role("button", name="Keur goed"))
    await page.goto(f"{standard.address}/leren")
    await page.get_by_role("link", name="Vraag om de beelden").click()
    form = page.locator("#ask-form")
    await form.locator(".choice", has_text=PEOPLE["o-101"]).locator("input").check()
    await form.locator("textarea[name=reden]").fill("Samen terugkijken")
    await form.locator("input[name=alleen]").check()
    await form.get_by_role("button", name="Onderteken en vraag").click()
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "drafted", timeout=SLOW_MS)
    await follow(page, page.get_by_role("button", name="Onderteken met mijn sleutel"))
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)
    room = page.url.rsplit("/", 1)[1]
    await coordinator.page.goto(f"{standard.address}/kijkkamer/{room}")
    await follow(coordinator.page, coordinator.page.get_by_role("button", name="Ik keur dit goed en onderteken"))
    await expect(coordinator.page.locator("#room-facts")).to_have_attribute("data-state", "approved", timeout=SLOW_MS)
    for person in (officer, coordinator):
        await sit_down(person.page, standard.address, room)
    assert (await play(page))["frames"] > 5
    assert await actors(standard, "viewing.approved") == ["o-101"]
    await expect(page.locator("#mark")).to_have_count(0)  # who learns leaves no marks
