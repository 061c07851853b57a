"""Two people at the same thing: what one does the other sees at once, and what the other was typing stays."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from broker.wire.enrolment import REQUEST
from broker.wire.ids import DeviceId
from broker.wire.policy import CaseKind
from edge.joining import NewCamera
from tests.browser.conftest import Open
from tests.browser.pages import follow, request_viewing, sign_in, until
from tests.browser.town import ORG, TownHall
from tests.promptness import within

pytestmark = pytest.mark.browser

PRIVACY, SECRETARY, MANAGER, COORDINATOR = "Yasmina El Amrani", "Pieter Bosch", "Hans Verhoeven", "Marieke de Wit"
REPORT = {
    "cause": "ruzie",
    "event": "er werd geduwd",
    "reason": "escalation",
    "place_kind": "public_space",
    "warning_given": "yes",
    "bystanders_informed": False,
    "information_given": True,
}


HEARS = """mine => { let asks = false; const ask = window.fetch;
  window.fetch = (...given) => { asks = true; queueMicrotask(() => { asks = false; }); return ask(...given); };
  document.addEventListener('news', ({ detail }) => {
    if (detail.kind === 'case' && detail.data.case !== mine) window.heard = { asks }; }); }"""
"""Remembers whether a page asked for anything at the very moment it heard of another case."""


async def look_at(page: Page, base: str, name: str, path: str) -> None:
    """Sign in and look at a page until it is live."""
    await sign_in(page, base, name)
    await page.goto(f"{base}{path}")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
    await page.evaluate("() => { window.same = true; }")


async def take_step(page: Page, step: str, **facts: str) -> None:
    """Take a step of the case that this page shows."""
    form = page.locator("details.step", has=page.locator(f"button[value={step}]"))
    await form.locator("summary").click()
    for name, said in facts.items():
        await form.locator(f"[name={name}]").fill(said)
    await follow(page, form.locator(f"button[value={step}]"))


async def test_one_decides_while_the_other_types_and_nothing_typed_is_lost(town: TownHall, open_browser: Open) -> None:
    recording = str(await town.film("cam-03"))
    case = await town.casework.register_case(
        ORG, by="o-103", kind=CaseKind.COMPLAINT, summary="Klacht over optreden", recordings=(recording,)
    )
    await town.casework.take_step(ORG, case.id, "handle", by="o-103")
    types, acts = await open_browser(), await open_browser()
    await look_at(types, town.address, PRIVACY, f"/dossiers/{case.id}")
    await look_at(acts, town.address, SECRETARY, f"/dossiers/{case.id}")
    form = types.locator("details.step", has=types.locator("button[value=close]"))
    await form.locator("summary").click()
    typed = form.locator("[name=outcome_told]")
    await typed.fill("De klacht is gegrond.")

    await take_step(acts, "extend", reason="druk")
    await expect(types.locator("#done")).to_contain_text("termijn verlengen")
    await expect(types.locator("#about")).to_contain_text("eenmaal verlengd")
    await expect(typed).to_be_focused()
    await expect(types.locator("button[value=extend]")).to_have_count(1)  # not under the hands of who types there
    await types.locator("h1").click()
    await expect(types.locator("button[value=extend]")).to_have_count(0)
    await expect(typed).to_have_value("De klacht is gegrond.")
    await expect(typed).to_be_visible()

    await take_step(acts, "close", outcome_told="Afgedaan.")
    await expect(types.locator("#looking")).to_contain_text("Dit dossier is afgesloten")
    await expect(types.locator("#steps .outdated")).to_contain_text("Dit is intussen veranderd")
    await expect(typed).to_have_value("De klacht is gegrond.")
    assert await types.evaluate("() => window.same"), "the page was not loaded again"


async def test_a_case_shows_at_once_what_happens_to_it_and_nothing_of_others(
    town: TownHall, open_browser: Open
) -> None:
    recording, other = str(await town.film("cam-01")), str(await town.film("cam-04"))
    case = await town.casework.register_case(
        ORG, by="o-103", kind=CaseKind.ACCESS_REQUEST, summary="inzage", recordings=(recording,)
    )
    watches, acts = await open_browser(), await open_browser()
    await look_at(watches, town.address, SECRETARY, f"/dossiers/{case.id}")
    with within(1.0):
        await town.casework.add_to_case(ORG, case.id, by="o-103", recordings=(other,))
        await expect(watches.locator("#holds")).to_contain_text("cam-04")
    report = await town.casework.save_report(ORG, by="h-001", recording=recording, answers=REPORT)
    with within(1.0):
        await town.casework.submit_report(ORG, report.id, by="h-001")
        await expect(watches.locator("#holds")).to_contain_text("gebruik gemeld")
    await sign_in(acts, town.address, PRIVACY)
    await request_viewing(acts, town.address, case.id, second=MANAGER, reason="Staat de verzoeker erop?")
    await expect(watches.locator("#looking")).to_contain_text("wacht op goedkeuring")
    await expect(watches.locator("#looking")).to_contain_text(PRIVACY)
    await acts.goto(f"{town.address}/dossiers")
    await expect(acts.locator("#link-state")).to_have_attribute("data-state", "live")
    await watches.evaluate(HEARS, case.id)
    await town.casework.register_case(ORG, by="o-103", kind=CaseKind.COMPLAINT, summary="van een ander")
    await expect(acts.locator("#open-cases")).to_contain_text("van een ander")
    await until(watches, "() => window.heard")
    assert await watches.evaluate("() => window.heard") == {"asks": False}, "news of another case draws nothing"
    await town.casework.take_step(ORG, case.id, "withdraw", by="o-103")
    await expect(watches.locator("#done")).to_contain_text("ingetrokken")
    await town.casework.take_step(ORG, case.id, "close", by="o-103")
    await expect(watches.locator("#steps")).to_be_hidden()
    assert await watches.evaluate("() => window.same")


async def test_a_new_camera_at_a_dock_appears_by_itself_and_a_half_typed_code_stays(
    town: TownHall, open_browser: Open, tmp_path: Path
) -> None:
    assert town.administration is not None
    enrolments, page = town.administration.enrolments, await open_browser()
    await look_at(page, town.address, COORDINATOR, "/beheer")
    await expect(page.locator("#enrol")).to_contain_text("verschijnt hier vanzelf")
    first, second = (NewCamera(tmp_path / name) for name in ("een", "twee"))
    with within(1.0):
        await enrolments.ask(_letter(first), dock=DeviceId("dock-01"))
        await expect(page.locator("input[name=sleutel]")).to_have_count(1)
    await page.locator("input[name=sleutel]").check()
    await page.locator("input[name=code]").fill("7K3M-9Q")
    await page.locator("h1").click()
    for each in (first, second):  # a dock asks again and again, for each
        await enrolments.ask(_letter(each), dock=DeviceId("dock-01"))
    await expect(page.locator("input[name=sleutel]")).to_have_count(2)
    await expect(page.locator("input[name=code]")).to_have_value("7K3M-9Q")
    await expect(page.locator("input[name=sleutel]").first).to_be_checked()

    await enrolments.confirm(str(second.code), camera="cam-52", by="o-101", reason="extension")
    await expect(page.locator("#cameras")).to_contain_text("cam-52")
    await expect(page.locator("input[name=sleutel]")).to_have_count(1)
    await expect(page.locator("input[name=code]")).to_have_value("7K3M-9Q")
    assert await page.evaluate("() => window.same")


def _letter(camera: NewCamera) -> bytes:
    """Return what this camera leaves on its card for a dock."""
    return (camera.card / "to-dock" / REQUEST).read_bytes()
