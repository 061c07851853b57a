"""Two people, two browsers, one recording: together it plays, alone it does not."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from playwright.async_api import Page, Route, expect
from sqlalchemy import select

from broker.wire.entries import LedgerEntry, read_entry
from cloud.database.tables import viewing_requests
from tests.browser.conftest import Open
from tests.browser.pages import (
    approve,
    held_back,
    leave,
    play,
    register_case,
    request_viewing,
    sign_in,
    sign_out,
    sit_down,
    until,
    watching,
)
from tests.browser.town import TownHall
from tests.promptness import AS_IT_IS, silence_allowed, within

pytestmark = pytest.mark.browser

GIVES_UP_AFTER = 2
"""The film's own player: it asks once more for a piece."""

NO_ANSWER = "Er kwam geen antwoord van de server. Laad de pagina opnieuw en kijk of het toch is gelukt"

PRIVACY, MANAGER, SECRETARY = "Yasmina El Amrani", "Hans Verhoeven", "Pieter Bosch"


@dataclass(frozen=True)
class Together:
    """Two people in one approved room."""

    first: Page
    second: Page
    room: str
    recording: UUID


async def entries(town: TownHall, kind: str) -> list[LedgerEntry]:
    found = [read_entry(raw) for _, raw in await town.ledger.read(0, town.ledger.checkpoint().size)]
    return [entry for entry in found if entry.kind == kind]


async def two_people(town: TownHall, open_browser: Open) -> Together:
    recording = await town.film("cam-07", kept=20)
    first, second = await open_browser(), await open_browser()
    await sign_in(first, town.address, PRIVACY)
    await sign_in(second, town.address, MANAGER)
    case = await register_case(first, town.address, kind="access_request", summary="Verzoek van een omstander")
    room = await request_viewing(first, town.address, case, second=MANAGER, reason="Staat de verzoeker erop?")
    await approve(second, town.address, room)
    return Together(first, second, room, recording)


async def get(page: Page, address: str) -> int:
    """Ask for an address with this person's session; return the status."""
    status: int = await page.evaluate("async a => (await fetch(a)).status", address)
    return status


@pytest.mark.rule("H-47", "E-30", "H-46", "H-56")
async def test_two_people_together_see_the_footage_and_one_leaving_stops_it(town: TownHall, open_browser: Open) -> None:
    both = await two_people(town, open_browser)
    await sit_down(both.first, town.address, both.room)
    await expect(both.first.locator("#room-facts")).to_contain_text("Wacht tot de ander ook plaatsneemt")
    assert await both.first.locator("#player").is_hidden(), "alone there is nothing to play"
    await sit_down(both.second, town.address, both.room)
    for page in (both.first, both.second):
        shown = await play(page)
        assert shown["width"] > 0
        assert shown["frames"] > 5
        assert shown["at"] > 1
    before = await watching(both.first)
    await until(
        both.first,
        "at => { const f = document.getElementById('film'); return f.currentTime > at || f.ended; }",
        before["at"],
    )
    released, watched = await entries(town, "viewing.released"), await entries(town, "viewing.watched")
    assert len(released) == 1
    assert {entry.actor for entry in watched} == {"o-103", "o-102"}
    assert {entry.subject for entry in watched} == {str(both.recording)}

    with silence_allowed(AS_IT_IS), within(5.0):
        await both.second.close()  # no goodbye but the page going away
        await expect(both.first.locator("#veil")).to_be_visible()
    await expect(both.first.locator("#room-facts")).to_have_attribute("data-state", "paused")
    left = await watching(both.first)
    assert left["width"] == 0, "what was fetched is dropped"
    assert left["paused"] == 1


@pytest.mark.rule("H-47", "E-30")
async def test_a_browser_that_vanishes_without_a_word_stops_it_within_five_seconds(
    town: TownHall, open_browser: Open
) -> None:
    both = await two_people(town, open_browser)
    await sit_down(both.first, town.address, both.room)
    await sit_down(both.second, town.address, both.room)
    await play(both.first)
    await play(both.second)
    with silence_allowed(AS_IT_IS), within(5.5):
        with within(5.0):
            await both.second.context.set_offline(True)  # a cable is pulled
            await expect(both.first.locator("#veil")).to_be_visible()
        await expect(both.second.locator("#veil")).to_be_visible()


@pytest.mark.rule("E-30")
async def test_who_left_comes_back_by_an_act_of_his_own(town: TownHall, open_browser: Open) -> None:
    both = await two_people(town, open_browser)
    await both.first.route("**/plaatsnemen", lambda route: route.abort(), times=1)
    await sit_down(both.first, town.address, both.room)
    await expect(both.first.locator("#key-says")).to_contain_text(NO_ANSWER)
    await sit_down(both.first, town.address, both.room)
    async with held_back(both.second, "player.js"):
        await both.second.goto(f"{town.address}/kijkkamer/{both.room}", wait_until="commit")
        await both.second.locator("#sit").click()
    await play(both.first)
    await both.second.route("**/weg", lambda route: route.abort(), times=1)
    await leave(both.second)
    await expect(both.second.locator("#key-says")).to_contain_text(NO_ANSWER)
    signs = list[str]()
    both.second.on("request", lambda request: signs.append(request.url))
    await both.second.wait_for_timeout(1500)
    assert not [url for url in signs if url.endswith("/aanwezig")], "who wanted to leave keeps no seat"
    await leave(both.second)
    await expect(both.first.locator("#veil")).to_be_visible()
    await both.first.wait_for_timeout(2500)
    await expect(both.first.locator("#room-facts")).to_have_attribute("data-state", "paused")
    await sit_down(both.second, town.address, both.room)
    shown = await play(both.first, seconds=0.5)
    assert shown["frames"] > 0


@pytest.mark.rule("E-32", "H-57")
async def test_an_address_of_footage_is_dead_alone_for_others_and_afterwards(
    town: TownHall, open_browser: Open
) -> None:
    both = await two_people(town, open_browser)
    await sit_down(both.first, town.address, both.room)
    await sit_down(both.second, town.address, both.room)
    await play(both.first)
    address = await both.first.locator("#room-facts").get_attribute("data-address")
    assert address
    segment = address.replace("index.m3u8", "5.m4s")
    assert await get(both.first, segment) == 200
    headers = await both.first.evaluate("async a => (await fetch(a)).headers.get('cache-control')", segment)
    assert "no-store" in headers
    stranger = await open_browser()
    await sign_in(stranger, town.address, SECRETARY)
    assert await get(stranger, segment) == 403
    assert [entry.actor for entry in await entries(town, "denial")] == ["o-104"]
    await leave(both.second)
    await expect(both.first.locator("#room-facts")).to_have_attribute("data-state", "paused")
    assert await get(both.first, segment) == 403, "alone"
    await sit_down(both.second, town.address, both.room)
    await expect(both.first.locator("#room-facts")).to_have_attribute("data-state", "open")
    assert await get(both.first, segment.replace("5.m4s", "4000.m4s")) == 404
    await both.second.get_by_role("button", name="Sluit de kamer").click()
    await expect(both.first.locator("#room-facts")).to_have_attribute("data-state", "closed")
    assert await get(both.first, segment) in {403, 404}
    assert len(await entries(town, "viewing.closed")) == 1


@pytest.mark.rule("H-47")
async def test_signing_out_is_leaving(town: TownHall, open_browser: Open) -> None:
    both = await two_people(town, open_browser)
    await sit_down(both.first, town.address, both.room)
    await sit_down(both.second, town.address, both.room)
    await play(both.first)
    await both.second.goto(f"{town.address}/opnamen")
    await sign_out(both.second)
    await expect(both.first.locator("#veil")).to_be_visible()


@pytest.mark.rule("H-47", "H-53")
async def test_nobody_is_asked_in_vain_and_nobody_approves_his_own_request(town: TownHall, open_browser: Open) -> None:
    await town.film("cam-07")
    page = await open_browser()
    await sign_in(page, town.address, MANAGER)
    case = await register_case(page, town.address, kind="complaint", summary="Klacht over de toon")
    await page.goto(f"{town.address}/kijkkamer/nieuw?dossier={case}")
    form = page.locator("#ask-form")
    await expect(form.locator(".choice", has_text=MANAGER)).to_have_count(0)
    await expect(form.locator(".choice", has_text=PRIVACY).locator("input")).to_be_disabled()
    await expect(form.locator(".choice", has_text=SECRETARY).locator("input")).to_be_enabled()
    room = await request_viewing(page, town.address, case, second=SECRETARY, reason="Klacht beoordelen")
    status = await page.evaluate(
        "async room => (await fetch(`/kijkkamer/${room}/goedkeuren`, {method: 'POST', "
        "headers: {'X-CSRF-Token': document.body.dataset.csrf}})).status",
        room,
    )
    assert status == 403
    async with town.database.transaction() as t:
        rows = (await t.execute(select(viewing_requests))).all()
    assert [row.state for row in rows] == ["requested"]


async def test_who_is_asked_may_say_no_and_then_it_is_over(town: TownHall, open_browser: Open) -> None:
    await town.film("cam-07")
    first, second = await open_browser(), await open_browser()
    await sign_in(first, town.address, PRIVACY)
    await sign_in(second, town.address, MANAGER)
    case = await register_case(first, town.address, kind="access_request", summary="Verzoek")
    room = await request_viewing(first, town.address, case, second=MANAGER, reason="Nieuwsgierig")
    await second.goto(f"{town.address}/kijkkamer")
    await second.get_by_role("link", name="Lees het verzoek").click()
    await second.get_by_text("Ik keur dit niet goed").click()
    await second.locator("input[name=reden]").fill("Geen goede reden")
    await second.get_by_role("button", name="Weiger").click()
    await expect(first.locator("#room-facts")).to_have_attribute("data-state", "refused")
    await expect(first.locator("#room-facts")).to_contain_text("Geen goede reden")
    assert room
    assert len(await entries(town, "viewing.refused")) == 1


LEAVES_OUT = """{ const ask = HTMLVideoElement.prototype.requestVideoFrameCallback; let shown = 0, at = 0;
  HTMLVideoElement.prototype.requestVideoFrameCallback = function (heard) { return ask.call(this, now => {
    shown += 1; at += (shown < 4 ? 1 : 2) / 15; heard(now, { presentedFrames: shown, mediaTime: at }); }); }; }"""
"""A busy machine: after the first few, every second picture of fifteen in a second is not shown."""


async def test_the_player_obeys_the_keyboard_and_tells_what_it_does_though_a_piece_fails(
    town: TownHall, open_browser: Open
) -> None:
    both = await two_people(town, open_browser)
    page, failed = both.first, list[str]()

    async def fail_at_first(route: Route) -> None:
        failed.append(route.request.url)
        await (route.fulfill(status=503) if len(failed) <= GIVES_UP_AFTER else route.continue_())

    await page.route("**/*.m4s", fail_at_first)
    await page.add_init_script(LEAVES_OUT)
    await page.reload()
    await sit_down(both.first, town.address, both.room)
    await sit_down(both.second, town.address, both.room)
    await play(both.first)
    await page.locator("#play").focus()
    await page.keyboard.press("k")
    assert (await watching(page))["paused"] == 1
    await page.locator("#to-press").click()
    assert (await watching(page))["at"] == pytest.approx(3.0, abs=0.05)
    await page.keyboard.press(".")
    assert (await watching(page))["at"] == pytest.approx(3 + 1.5 / 15, abs=0.02)
    await page.keyboard.press("ArrowLeft")
    assert (await watching(page))["at"] < 0.2
    value = await page.locator("#seek").get_attribute("aria-valuetext")
    assert value is not None
    assert "vooropname" in value
    assert await page.locator("#room-says").text_content() == "De kamer is open. U kunt afspelen."


async def test_a_bookmark_of_one_is_seen_by_the_other_and_goes_when_the_room_shuts(
    town: TownHall, open_browser: Open
) -> None:
    """Een bladwijzer: met het toetsenbord gezet, de ander ziet hem, en buiten de kamer is hij er niet."""
    both = await two_people(town, open_browser)
    await sit_down(both.first, town.address, both.room)
    await sit_down(both.second, town.address, both.room)
    await play(both.first)
    await play(both.second)
    await both.first.locator("#play").focus()
    await both.first.keyboard.press("b")
    await both.first.keyboard.type("<b>hier staat de verzoeker</b>")
    await both.first.route("**/bladwijzers", lambda route: route.abort(), times=1)
    await both.first.keyboard.press("Enter")
    await expect(both.first.locator("#key-says")).to_contain_text(NO_ANSWER)
    await both.first.keyboard.press("Enter")
    for page in (both.first, both.second):
        await expect(page.locator("#marks")).to_contain_text("<b>hier staat de verzoeker</b>")
        await expect(page.locator(".player__mark")).to_have_count(1)
    await expect(both.second.locator("#marks li button")).to_have_count(1)  # only who made it takes it away
    await leave(both.second)
    await expect(both.first.locator("#marks")).to_be_empty()
    marks = f"/kijkkamer/{both.room}/bladwijzers?opname={both.recording}"
    assert await both.first.evaluate("async a => (await fetch(a)).json()", marks) == []
