"""Standard mode in a real browser: two people, two authenticators, one viewing; and everybody who may not."""

import asyncio
import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.async_api import Page, expect
from sqlalchemy import insert, select, update

from broker.wire.approvals import (
    REQUEST_SHA256,
    Statement,
    approval_challenge,
    canonical,
    change_challenge,
    request_sha256,
    sign_in_software,
)
from broker.wire.entries import LedgerEntry, read_entry
from broker.wire.recording import xwing_from_seed
from broker.wire.refusals import Code, Refused
from broker.wire.tlog import verifier_key
from cloud.database.tables import appointments, officials, security_keys, viewing_requests
from cloud.desk.rules.ceremonies import seat_challenge
from cloud.desk.town import ROOMS
from cloud.kluis.rules.roster import write_roster
from cloud.ledger.log import Entry
from cloud.verifier.command import main as verify
from cloud.viewing.rooms import Rooms
from cloud.viewing.rules.lifecycle import RoomState
from cloud.viewing.rules.presence import sit
from tests.browser.conftest import Open
from tests.browser.pages import SLOW_MS, follow, play, register_case, sit_down, watching
from tests.browser.standard_town import (
    SECOND_ACCOUNT,
    Person,
    StandardTown,
    ask,
    draft,
    get,
    open_standard_town,
    post,
    register,
    sign_in,
    with_authenticator,
)
from tests.promptness import AS_IT_IS, silence_allowed, within
from tests.rules.kluis.security_key import SecurityKey

pytestmark = pytest.mark.browser

PRIVACY, MANAGER, SECRETARY = "Yasmina El Amrani", "Hans Verhoeven", "Pieter Bosch"


@pytest_asyncio.fixture(loop_scope="module")
async def standard(tmp_path: Path) -> AsyncIterator[StandardTown]:
    async with open_standard_town(tmp_path) as town:
        yield town


@dataclass(frozen=True)
class Two:
    """Two people who registered their keys, and the recording of a case."""

    first: Person
    second: Person
    recording: UUID
    case: str


async def entries(town: StandardTown, kind: str) -> list[LedgerEntry]:
    found = [read_entry(raw) for _, raw in await town.hall.ledger.read(0, town.hall.ledger.checkpoint().size)]
    return [entry for entry in found if entry.kind == kind]


async def two_with_a_case(town: StandardTown, open_browser: Open) -> Two:
    first, second = await with_authenticator(await open_browser()), await with_authenticator(await open_browser())
    await register(town, first, "o-103")
    await register(town, second, "o-102")
    await town.found_kluis()
    recording = await town.hall.film("cam-07", kept=20)
    await sign_in(town, first, PRIVACY)
    await sign_in(town, second, MANAGER)
    case = await register_case(first.page, town.address, kind="access_request", summary="Verzoek van een omstander")
    return Two(first, second, recording, case)


async def approve(town: StandardTown, person: Person, room: str) -> None:
    await person.page.goto(f"{town.address}/kijkkamer/{room}")
    await follow(person.page, person.page.get_by_role("button", name="Ik keur dit goed en onderteken"))
    await expect(person.page.locator("#room-facts")).to_have_attribute("data-state", "approved", timeout=SLOW_MS)


@pytest.mark.rule("H-47", "E-30", "H-46")
async def test_two_people_with_two_security_keys_see_one_viewing(standard: StandardTown, open_browser: Open) -> None:
    two = await two_with_a_case(standard, open_browser)
    await expect(two.first.page.locator(".demo-strip")).to_have_count(0)
    room = await ask(standard, two.first, two.case, second=MANAGER, reason="Staat de verzoeker erop?")
    await approve(standard, two.second, room)
    await sit_down(two.first.page, standard.address, room)
    await expect(two.first.page.locator("#room-facts")).to_contain_text("Wacht tot de ander ook plaatsneemt")
    assert await two.first.page.locator("#player").is_hidden(), "alone there is nothing to play"
    await sit_down(two.second.page, standard.address, room)
    for person in (two.first, two.second):
        shown = await play(person.page)
        assert shown["width"] > 0
        assert shown["frames"] > 5
    (released,) = await entries(standard, "viewing.released")
    assert released.subject == str(two.recording)
    journal = await standard.hall.kluis.journal(0, 1000)
    (given,) = [entry for entry in map(read_entry, journal) if entry.kind == "keys.released"]
    assert given.facts["people"] == ["o-103", "o-102"]
    assert given.facts["mode"] == "standard"

    with silence_allowed(AS_IT_IS), within(5.0):
        await two.second.page.close()
        await expect(two.first.page.locator("#veil")).to_be_visible()
    await expect(two.first.page.locator("#room-facts")).to_have_attribute("data-state", "paused")
    assert (await watching(two.first.page))["width"] == 0


async def in_one_room(town: StandardTown, open_browser: Open) -> tuple[Two, str]:
    """Bring two people into one open room, playing."""
    two = await two_with_a_case(town, open_browser)
    room = await ask(town, two.first, two.case, second=MANAGER, reason="Staat de verzoeker erop?")
    await approve(town, two.second, room)
    for person in (two.first, two.second):
        await sit_down(person.page, town.address, room)
    for person in (two.first, two.second):
        await play(person.page)
    return two, room


async def steal_session(of: Person, thief: Person, address: str) -> None:
    """Put somebody's cookies into another browser."""
    await thief.page.goto("about:blank")  # a page that lives would leave by itself once its session is gone
    await thief.page.context.clear_cookies()
    cookies: list[Any] = list(await of.page.context.cookies())
    await thief.page.context.add_cookies(cookies)
    await thief.page.goto(f"{address}/kijkkamer")


async def releases(town: StandardTown) -> int:
    journal = await town.hall.kluis.journal(0, 1000)
    return sum(read_entry(raw).kind == "keys.released" for raw in journal)


def said_at(person: Person, path: str) -> dict[str, str]:
    """Return what this person's browser handed in at the address that ends so."""
    body: dict[str, str] = json.loads(next(each["body"] for each in person.assertions if each["url"].endswith(path)))
    return body


@pytest.mark.rule("H-47", "E-32")
async def test_a_stolen_session_cookie_gets_no_frame(standard: StandardTown, open_browser: Open) -> None:
    two, room = await in_one_room(standard, open_browser)
    address = await two.first.page.locator("#room-facts").get_attribute("data-address")
    assert address
    segment = address.replace("index.m3u8", "5.m4s")
    assert await get(two.first.page, segment) == 403, "not even the thief of a whole browser profile"
    thief = await with_authenticator(await open_browser())
    false_key = SecurityKey(standard.place)
    for victim in (two.first, two.second):
        await steal_session(victim, thief, standard.address)
        for seat in ("", "x" * 43):
            for name in ("index.m3u8", "init.mp4", "5.m4s"):
                assert await get(thief.page, address.replace("index.m3u8", name), seat=seat) == 403
        status, answer = await post(thief.page, f"/kijkkamer/{room}/getal")
        assert status == 200
        nonce = json.loads(answer)["nonce"]
        forged = false_key.sign("o-102", seat_challenge(bytes.fromhex(nonce), room)).assertion
        status, _ = await post(thief.page, f"/kijkkamer/{room}/plaatsnemen", {"nonce": nonce, "assertion": forged})
        assert status in {401, 403, 404, 409, 422, 400}
        status, _ = await post(thief.page, f"/kijkkamer/{room}/plaatsnemen")
        assert status >= 400
    assert (await watching(two.first.page))["frames"] > 5, "those who sit there notice nothing"

    with silence_allowed(AS_IT_IS), within(5.0):  # a thief cannot keep a seat warm
        await two.second.page.close()
        async with asyncio.timeout(SLOW_MS / 1000):
            while await two.first.page.locator("#room-facts").get_attribute("data-state") == "open":
                await post(thief.page, f"/kijkkamer/{room}/aanwezig")
                await asyncio.sleep(0.3)
    assert await releases(standard) == 1


@pytest.mark.rule("H-47")
async def test_a_stolen_session_cookie_signs_nothing(standard: StandardTown, open_browser: Open) -> None:
    two = await two_with_a_case(standard, open_browser)
    room = await ask(standard, two.first, two.case, second=MANAGER, reason="Alleen kijken")
    thief = await with_authenticator(await open_browser())
    await steal_session(two.second, thief, standard.address)
    await thief.page.goto(f"{standard.address}/kijkkamer/{room}")
    await thief.page.get_by_role("button", name="Ik keur dit goed en onderteken").click()
    await expect(thief.page.locator("#key-says")).to_be_visible(timeout=SLOW_MS)
    raw = await town_request(thief.page, room)
    forged = SecurityKey(standard.place).sign("o-102", approval_challenge(raw)).assertion
    status, _ = await post(thief.page, f"/kijkkamer/{room}/goedkeuren", {"assertion": forged})
    assert status >= 400
    status, _ = await post(thief.page, f"/kijkkamer/{room}/goedkeuren", said_at(two.first, "/ondertekenen"))
    assert status >= 400, "the requester's own signature does not serve"
    assert await entries(standard, "viewing.approved") == []
    assert await releases(standard) == 0


async def town_request(page: Page, room: str) -> bytes:
    text: str = await page.evaluate("async path => (await fetch(path)).text()", f"/kijkkamer/{room}/verzoek")
    return text.encode()


@pytest.mark.rule("H-47")
async def test_a_replayed_assertion_gets_no_frame(standard: StandardTown, open_browser: Open) -> None:
    two, room = await in_one_room(standard, open_browser)
    async with standard.hall.database.transaction() as t:
        (row,) = (await t.execute(select(viewing_requests))).all()
    signed = row.statements["signed"]
    statements = [msgspec.convert(each["statement"], Statement) for each in signed]
    for person in (two.first, two.second):
        await person.page.get_by_role("button", name="Ik ga weg").click()
    with pytest.raises(Refused) as told:
        await standard.hall.kluis.release(
            bytes(row.request),
            statements=statements,
            entries=[each["raw"].encode() for each in signed],
            proofs=[each["proof"].encode() for each in signed],
        )
    assert told.value.refusal.code in {Code.CONFLICT, Code.BAD_SIGNATURE}, "a request, and a key's count, are used once"

    for page, path in ((two.first.page, "/ondertekenen"), (two.second.page, "/goedkeuren")):
        status, _ = await post(page, f"/kijkkamer/{room}{path}", said_at(two.second, "/goedkeuren"))
        assert status >= 400
    for person in (two.first, two.second):
        status, _ = await post(person.page, f"/kijkkamer/{room}/plaatsnemen", said_at(person, "/plaatsnemen"))
        assert status >= 400, "a seat is taken with a new signature each time"
    signed_in = said_at(two.first, "/aanmelden/sleutel")
    stranger = await open_browser()
    await stranger.goto(f"{standard.address}/aanmelden")
    status, _ = await post(stranger, "/aanmelden/sleutel", signed_in)
    assert status >= 400
    _, answer = await post(stranger, "/aanmelden/getal")
    status, _ = await post(stranger, "/aanmelden/sleutel", {**signed_in, "nonce": json.loads(answer)["nonce"]})
    assert status >= 400, "an old signature does not fit a new number"

    other = await draft(standard, two.first, two.case, second=MANAGER, reason="Nog een keer")
    status, _ = await post(two.first.page, f"/kijkkamer/{other}/ondertekenen", said_at(two.first, "/ondertekenen"))
    assert status >= 400
    assert await releases(standard) == 1


@pytest.mark.rule("H-47")
async def test_one_person_with_two_accounts_and_two_keys_gets_no_frame(
    standard: StandardTown, open_browser: Open
) -> None:
    one, other = await with_authenticator(await open_browser()), await with_authenticator(await open_browser())
    await register(standard, one, "o-102")
    await register(standard, other, SECOND_ACCOUNT)
    await standard.found_kluis(people={SECOND_ACCOUNT: "o-102"})
    await standard.hall.film("cam-07", kept=5)
    await sign_in(standard, one, MANAGER)
    await sign_in(standard, other, "H. Verhoeven (tweede account)")
    case = await register_case(other.page, standard.address, kind="access_request", summary="Verzoek")
    room = await ask(standard, other, case, second=MANAGER, reason="Met mijzelf")
    await approve(standard, one, room)
    await sit_down(other.page, standard.address, room)
    await expect(other.page.locator("#room-facts")).to_contain_text("Wacht tot de ander ook plaatsneemt")
    await sit_down(one.page, standard.address, room)
    await expect(one.page.locator("#key-says")).to_contain_text("two different people", timeout=SLOW_MS)
    for person in (one, other):
        assert await person.page.locator("#player").is_hidden()
        assert await person.page.locator("#room-facts").get_attribute("data-address") == ""
    assert await releases(standard) == 0
    assert await entries(standard, "viewing.released") == []


@pytest.mark.rule("H-47", "E-34")
async def test_an_administrator_with_database_and_web_process_gets_no_frame(
    standard: StandardTown, open_browser: Open, tmp_path: Path
) -> None:
    two = await two_with_a_case(standard, open_browser)
    hall, own = standard.hall, SecurityKey(standard.place)
    room_id = await ask(standard, two.first, two.case, second=MANAGER, reason="Staat de verzoeker erop?")
    assert hall.runner is not None
    rooms: Rooms = hall.runner.app[ROOMS]
    room = rooms.find(room_id)
    asked, asked_entry = room.statements[0], room.entries[0]
    approved_entry = await hall.ledger.append(
        "viewing.approved",
        subject=str(two.recording),
        actor="o-102",
        at=hall.clock(),
        facts={REQUEST_SHA256: request_sha256(room.raw).hex()},
    )

    async def refused(raw: bytes, statements: list[Statement], *, with_entries: list[Entry] | None = None) -> Code:
        given = with_entries or [asked_entry, approved_entry]
        with pytest.raises(Refused) as told:
            await hall.kluis.release(
                raw,
                statements=statements,
                entries=[each.raw for each in given],
                proofs=[each.proof for each in given],
            )
        return told.value.refusal.code

    challenge = approval_challenge(room.raw)
    software = Ed25519PrivateKey.generate()
    renamed = replace(asked, official="o-102")
    mine = own.sign("o-102", challenge)
    assert await refused(room.raw, [asked, mine]) is Code.UNKNOWN_IDENTITY, "an own key, in a colleague's name"
    assert await refused(room.raw, [asked, sign_in_software("o-102", software, challenge)]) is Code.NOT_ALLOWED
    assert await refused(room.raw, [asked, renamed]) is Code.UNKNOWN_IDENTITY, "one signature for two"
    assert await refused(room.raw, [asked], with_entries=[asked_entry]) is Code.NOT_ALLOWED, "one person alone"

    async with hall.database.transaction() as t:  # whatever the register says
        await t.execute(
            update(security_keys)
            .where(security_keys.c.official == "o-102")
            .values(id=own.credential.id, public_key=own.credential.public_key, count=0)
        )
        await t.execute(
            insert(officials).values(
                org="heusden", id="o-999", display_name="Beheerder", employed_from=hall.clock() - timedelta(days=9)
            )
        )
        await t.execute(
            insert(appointments).values(
                org="heusden",
                official="o-999",
                role="cluster_manager",
                from_at=hall.clock() - timedelta(days=9),
                appointed_by="o-999",
            )
        )
        await t.execute(update(viewing_requests).values(state="approved", second="o-999"))
    assert await refused(room.raw, [asked, own.sign("o-102", challenge)]) is Code.UNKNOWN_IDENTITY

    session = xwing_from_seed(os.urandom(32))  # a request of one's own, to a session of one's own
    for changed in (
        {"session_key": b64encode(session.public_key).decode()},
        {"second": "o-999"},
        {"second": None},
        {"requester": "o-999", "second": "o-102"},
    ):
        raw = canonical(msgspec.structs.replace(room.request, **changed))
        entered = [
            await hall.ledger.append(
                kind,
                subject=str(two.recording),
                actor=str(actor),
                at=hall.clock(),
                facts={REQUEST_SHA256: request_sha256(raw).hex()},
            )
            for kind, actor in (
                ("viewing.requested", changed.get("requester", "o-103")),
                ("viewing.approved", changed.get("second", "o-102")),
            )
        ]
        named = str(changed.get("second", "o-102"))
        wanted = [asked, own.sign(named, approval_challenge(raw))]
        assert await refused(raw, wanted, with_entries=entered) in {
            Code.BAD_SIGNATURE,
            Code.UNKNOWN_IDENTITY,
            Code.NOT_ALLOWED,
        }

    roster = await standard.office.in_force()  # a list of one's own
    false_list = write_roster(msgspec.structs.replace(roster, version=roster.version + 1))
    entry = await hall.ledger.append(
        "roster.changed",
        subject="heusden",
        actor="o-999",
        at=hall.clock(),
        facts={"sha256": hashlib.sha256(false_list).hexdigest()},
    )
    with pytest.raises(Refused):
        await hall.kluis.change(
            "roster",
            false_list,
            statements=[own.sign(each, change_challenge(false_list)) for each in ("o-102", "o-103")],
            entry=entry.raw,
            proof=entry.proof,
        )

    room.statements.append(mine)  # in the web process itself
    room.entries.append(approved_entry)
    room.state = RoomState.OPEN
    for official in room.seats:
        room.seats[official] = sit(room.seats[official], now_s=asyncio.get_running_loop().time())
    with pytest.raises(Refused):
        await rooms._release(room)
    (reel,) = room.reels
    for piece in (reel.first_digest, reel.pieces[5].digest):
        stored = await hall.vault.read(piece)
        with pytest.raises(Refused):
            await room.projector.show(reel.recording, stored, mark=(), pre_record="")
        assert b"ftyp" not in stored
        assert b"moof" not in stored
    assert await releases(standard) == 0
    refusals = [entry for entry in map(read_entry, await hall.kluis.journal(0, 1000)) if "refused" in entry.kind]
    assert len(refusals) >= 9, "and each attempt stands in the Kluis's own journal"


async def test_a_new_key_opens_nothing_until_two_people_put_it_on_the_kluis_list(
    standard: StandardTown, open_browser: Open
) -> None:
    two = await two_with_a_case(standard, open_browser)
    third = await with_authenticator(await open_browser())
    await register(standard, third, "o-104")
    await sign_in(standard, third, SECRETARY)
    await third.page.goto(f"{standard.address}/sleutels")
    await expect(third.page.locator("#my-keys")).to_contain_text("staat nog niet op de lijst van de Kluis")
    await expect(third.page.locator("#roster")).to_have_count(0)
    case = await register_case(third.page, standard.address, kind="complaint", summary="Klacht")
    await draft(standard, third, case, second=MANAGER, reason="Klacht beoordelen")
    await third.page.get_by_role("button", name="Onderteken met mijn sleutel").click()
    await expect(third.page.locator("#key-says")).to_be_visible(timeout=SLOW_MS)
    assert await entries(standard, "viewing.requested") == []

    await two.first.page.goto(f"{standard.address}/sleutels")
    await expect(two.first.page.locator("#roster")).to_contain_text(SECRETARY)
    await two.first.page.get_by_role("button", name="Stel deze wijziging voor").click()
    await expect(two.first.page.locator("#roster")).to_contain_text("nog niemand", timeout=SLOW_MS)
    await follow(two.first.page, two.first.page.get_by_role("button", name="Ik heb dit gelezen en onderteken"))
    await expect(two.first.page.locator("#roster")).to_contain_text(f"Getekend door: {PRIVACY}", timeout=SLOW_MS)
    assert (await standard.office.in_force()).version == 1, "one signature changes nothing"
    proposed = two.first.assertions[-1]
    status, _ = await post(two.first.page, proposed["url"], json.loads(proposed["body"]))
    assert status >= 400, "nor does one person's twice"
    await two.second.page.goto(f"{standard.address}/sleutels")
    await follow(two.second.page, two.second.page.get_by_role("button", name="Ik heb dit gelezen en onderteken"))
    await expect(two.second.page.locator("#roster")).to_contain_text("zijn gelijk", timeout=SLOW_MS)
    assert (await standard.office.in_force()).version == 2
    (changed,) = [entry for entry in await entries(standard, "roster.changed") if "sha256" in entry.facts]
    assert changed.facts["signers"] == ["o-103", "o-102"]

    room = await ask(standard, third, case, second=MANAGER, reason="Klacht beoordelen")
    await approve(standard, two.second, room)
    await sit_down(third.page, standard.address, room)
    await sit_down(two.second.page, standard.address, room)
    assert (await play(third.page))["frames"] > 5


async def test_a_key_without_its_pin_is_not_registered_and_an_invitation_works_once(
    standard: StandardTown, open_browser: Open
) -> None:
    loose = await with_authenticator(await open_browser(), verified=False)
    code = await asyncio.to_thread(lambda: standard.invitations.invite("o-103", now=standard.hall.clock()))
    await loose.page.goto(f"{standard.address}/sleutels/nieuw/{code}")
    await loose.page.get_by_role("button", name="Registreer mijn sleutel").click()
    await expect(loose.page.locator("#key-says")).to_be_visible(timeout=SLOW_MS)
    person = await with_authenticator(await open_browser())
    await person.page.goto(f"{standard.address}/sleutels/nieuw/{code}")
    await person.page.get_by_role("button", name="Registreer mijn sleutel").click()
    await expect(person.page.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)
    again = await person.page.goto(f"{standard.address}/sleutels/nieuw/{code}")
    assert again is not None
    assert again.status == 403
    (registered,) = await entries(standard, "key.registered")
    assert registered.subject == "o-103"

    await person.page.goto(f"{standard.address}/aanmelden")
    for fail, told in (
        (lambda route: route.abort(), "Er kwam geen antwoord van de server. Laad de pagina opnieuw"),
        (lambda route: route.fulfill(status=500), "Het ging mis op de server. Probeer het over een minuut opnieuw"),
    ):
        await person.page.route("**/aanmelden/getal", fail, times=1)
        await person.page.get_by_role("button", name="Meld mij aan met mijn sleutel").click()
        await expect(person.page.locator("#key-says")).to_contain_text(told)


async def test_a_package_signed_with_two_security_keys_is_checked_by_a_stranger(
    standard: StandardTown, open_browser: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hall = standard.hall
    public_key = hall.camera_keys["cam-07"].public_key().public_bytes_raw().hex()
    facts = {"public_key": public_key}
    await hall.ledger.append("camera.enrolled", subject="cam-07", actor="o-106", at=hall.clock(), facts=facts)
    two = await two_with_a_case(standard, open_browser)
    page = two.first.page
    case = await register_case(page, standard.address, kind="om_request", summary="Verzoek van het OM")
    await page.goto(f"{standard.address}/verstrekken/nieuw?dossier={case}")
    form = page.locator("#handover-form")
    await form.locator(".choice", has_text=MANAGER).locator("input").check()
    await form.locator("textarea[name=reden]").fill("Verzoek van het OM")
    await form.get_by_role("button", name="Onderteken en vraag").click()
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "drafted", timeout=SLOW_MS)
    await follow(page, page.get_by_role("button", name="Onderteken met mijn sleutel"))
    await expect(page.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)
    await approve(standard, two.second, page.url.rsplit("/", 1)[1])
    await page.get_by_role("button", name="Maak het bewijspakket").click(timeout=SLOW_MS)
    await expect(page.locator("#package")).to_be_visible(timeout=SLOW_MS)
    address = await page.get_by_role("link", name="Haal het bewijspakket op").get_attribute("href")
    packed: str = await page.evaluate(
        "async path => { const bytes = new Uint8Array(await (await fetch(path)).arrayBuffer()); let text = ''; "
        "for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text); }",
        address,
    )
    path = tmp_path / "verstrekking.zip"
    path.write_bytes(b64decode(packed))
    public = await hall.kluis.public()
    letter = ["--ledger-key", verifier_key(hall.ledger.origin, hall.ledger.key)]
    letter += ["--kluis-key", b64encode(public.signing_key).decode()]
    assert await asyncio.to_thread(verify, [str(path), "--json", *letter]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "intact"
    assert {step["number"] for step in said["steps"] if step["outcome"] == "holds"} == set(range(1, 13)) - {11}
    assert "software" not in json.dumps(said).lower(), "nothing here was signed by a file"
