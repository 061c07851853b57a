"""A program at the desk: what it reads, what it does, and what it is refused."""

import asyncio
import io
import zipfile
from base64 import b64decode
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import event, insert

from broker.wire.tlog import check_proof
from cloud.casework.casework import Casework
from cloud.database import tables
from tests.adapters.api.people import Answer, Caller, calling, denied
from tests.browser.town import MORNING, ORG, TownHall, open_town

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLAINT = {"soort": "complaint", "samenvatting": "Klacht over optreden"}
DEMAND = {
    "soort": "om_demand",
    "samenvatting": "Vordering",
    "feiten": {
        "bevoegdheid": "arrondissementsparket Oost-Brabant",
        "kenmerk": "OB-2026-117",
        "datum": "2026-11-20",
        "artikel": "126nda Sv",
        "reikwijdte": "de hele opname",
    },
}


def next_of(answer: Answer) -> str | None:
    link = answer.headers.get("Link")
    return None if link is None else link.partition(">")[0].removeprefix("</v1")


async def five_thousand(town: TownHall) -> None:
    """Put five thousand recordings in the register, many of them of the same moment."""
    rows = [
        {
            "id": str(UUID(int=n)),
            "org": ORG,
            "camera": f"cam-{n % 50 + 1:02}",
            "policy_version": 1,
            "state": "retained",
            "reason": "its term runs",
            "started_at": MORNING - timedelta(minutes=n // 3),
            "ended_at": MORNING - timedelta(minutes=n // 3 - 1),
            "expires_at": MORNING + timedelta(days=28),
            "pre_record_s": 30.0,
            "segments": 61,
            "total_bytes": 7,
            "chain": "intact",
            "stop_reason": "officer",
            "head_sha256": "0" * 64,
            "last_hash": "0" * 64,
            "via": "dock",
            "received_at": MORNING,
            "deviations": [],
        }
        for n in range(5000)
    ]
    async with town.database.transaction() as t:
        await t.execute(insert(tables.recordings), rows)


async def test_five_thousand_recordings_come_by_the_page_each_once_and_no_page_costs_more(tmp_path: Path) -> None:
    async with open_town(tmp_path) as town, calling(town, "o-103") as privacy_officer:
        await five_thousand(town)
        await read_them_all(town, privacy_officer)


async def read_them_all(town: TownHall, privacy_officer: Caller) -> None:
    seen: list[str] = []
    costs = set[int]()
    statements: list[str] = []
    event.listen(town.database.engine.sync_engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    path: str | None = "/opnamen?limiet=200"
    while path is not None:
        statements.clear()
        answer = await privacy_officer.get(path)
        costs.add(len([each for each in statements if "recordings" in each or "holds" in each]))
        seen += [each["id"] for each in answer.said["resultaten"]]
        path = next_of(answer)
    assert len(seen) == len(set(seen)) == 5000
    assert costs == {3}  # the page, the holds, and whose footage nobody told us of: each once


async def test_what_comes_in_meanwhile_shifts_no_page(town: TownHall, coordinator: Caller) -> None:
    for n in range(1, 6):
        await town.press(f"cam-{n:02}")
    first = await coordinator.get("/activeringen?limiet=3")  # newest first
    await town.press("cam-06")
    second = await coordinator.get(str(next_of(first)))
    cameras = [each["camera"] for answer in (first, second) for each in answer.said["resultaten"]]
    assert cameras[:5] == [f"cam-{n:02}" for n in range(5, 0, -1)]


async def test_cameras_are_found_by_state_and_name(coordinator: Caller) -> None:
    silent = await coordinator.get("/cameras?stand=silent")
    assert [each["id"] for each in silent.said["resultaten"]] == ["cam-23"]
    named = await coordinator.get("/cameras?zoek=aydin")
    assert [each["handhaver"] for each in named.said["resultaten"]] == ["h-001"]


async def test_an_activation_is_acknowledged_once_by_name(town: TownHall, coordinator: Caller) -> None:
    recording = await town.press("cam-07")
    waiting = await coordinator.get("/activeringen?onbevestigd=true")
    assert str(recording) in [each["opname"] for each in waiting.said["resultaten"]]
    first = await coordinator.post(f"/activeringen/{recording}/bevestigingen", {})
    async with calling(town, "o-102") as cluster_manager:
        second = await cluster_manager.post(f"/activeringen/{recording}/bevestigingen", {})
    assert first.said["bevestigdDoor"] == second.said["bevestigdDoor"] == "o-101"


async def test_asked_twice_with_one_key_a_case_is_registered_once(privacy_officer: Caller) -> None:
    key = {"Idempotency_Key": "a1b2"}
    said = COMPLAINT | {"samenvatting": "Klacht over wachten"}
    answers = await asyncio.gather(*(privacy_officer.post("/dossiers", said, **key) for _ in range(3)))
    assert {each.status for each in answers} == {201}
    assert len({each.headers["Location"] for each in answers}) == 1
    other = await privacy_officer.post("/dossiers", COMPLAINT | {"samenvatting": "Iets anders"}, **key)
    assert (other.status, other.headers["Content-Type"]) == (409, "application/problem+json")
    cases = await privacy_officer.get("/dossiers")
    assert [each["samenvatting"] for each in cases.said["resultaten"]].count("Klacht over wachten") == 1


async def test_what_was_refused_may_be_tried_again_with_the_same_key(privacy_officer: Caller) -> None:
    key = {"Idempotency_Key": "c3"}
    early = COMPLAINT | {"ontvangstTijdstip": "2030-01-01T00:00:00Z"}
    assert (await privacy_officer.post("/dossiers", early, **key)).status == 400
    assert (await privacy_officer.post("/dossiers", early, **key)).status == 400


async def test_a_case_holds_its_recording_from_the_moment_it_is_registered(
    town: TownHall, privacy_officer: Caller
) -> None:
    recording = str(await town.film("cam-03"))
    case = await privacy_officer.post("/dossiers", COMPLAINT | {"opnamen": [recording]})
    there = await privacy_officer.get(case.headers["Location"].removeprefix("/v1"))
    assert there.said == case.said
    card = await privacy_officer.get(f"/opnamen/{recording}")
    assert (card.said["stand"], card.said["dossiernummers"]) == ("held", [case.said["nummer"]])
    hold = case.said["bewaarplichten"][0]["id"]
    early = await privacy_officer.post(f"/bewaarplichten/{hold}/opheffingen", {"grond": "klaar"})
    assert (early.status, early.said["type"]) == (409, "urn:vier-ogen:refusal:under-hold")
    assert ("o-103", "hold.release") in await denied(town)


async def test_a_step_is_taken_only_on_the_case_as_it_was_seen(privacy_officer: Caller) -> None:
    made = await privacy_officer.post("/dossiers", COMPLAINT)
    address = f"/dossiers/{made.said['id']}"
    seen = (await privacy_officer.get(address)).headers["ETag"]
    first = await privacy_officer.post(f"{address}/stappen", {"stap": "handle"}, If_Match=seen)
    assert (first.status, first.said["stand"]) == (200, "handling")
    late = await privacy_officer.post(
        f"{address}/stappen", {"stap": "extend", "feiten": {"motivering": "druk"}}, If_Match=seen
    )
    assert (late.status, late.headers["Content-Type"]) == (412, "application/problem+json")


async def test_the_emergency_brake_holds_a_stretch_of_time(town: TownHall, privacy_officer: Caller) -> None:
    recording = str(await town.film("cam-03"))
    stretch = {"vanafTijdstip": "2026-11-20T13:00:00Z", "totTijdstip": "2026-11-20T16:00:00+01:00"}
    held = await privacy_officer.post("/noodremmen", COMPLAINT | stretch)
    assert held.status == 201
    assert recording in held.said["opnamen"]
    assert held.said["bewaarplichten"][0]["stand"] == "provisional"
    confirmed = await privacy_officer.post(f"/dossiers/{held.said['id']}/bevestigingen", {})
    assert confirmed.said["bewaarplichten"][0]["stand"] == "active"


async def test_an_officer_reports_and_what_is_missing_is_said(town: TownHall) -> None:
    recording = await town.press("cam-01")
    async with calling(town, "h-001") as officer:
        owed = await officer.get("/meldplichten")
        assert str(recording) in [each["opname"] for each in owed.said["resultaten"]]
        draft = await officer.post("/gebruiksmeldingen", {"opname": str(recording), "antwoorden": {}})
        address = f"/gebruiksmeldingen/{draft.said['id']}"
        early = await officer.post(f"{address}/inzendingen", {})
        assert (early.status, "aanleiding" in early.said["detail"] or "cause" in early.said["detail"]) == (400, True)
        answers = {
            "aanleiding": "ruzie op het plein",
            "gebeurtenis": "een man werd vastgehouden",
            "motivering": "escalation",
            "soortPlaats": "public_space",
            "gewaarschuwd": True,
            "omstandersGeinformeerd": False,
            "achterafGeinformeerd": True,
        }
        await officer.ask("PUT", address, {"antwoorden": answers})
        done = await officer.post(f"{address}/inzendingen", {})
        assert (done.status, done.said["stand"]) == (200, "submitted")
    async with calling(town, "h-002") as another:
        assert str(recording) not in [
            each["opname"] for each in (await another.get("/meldplichten")).said["resultaten"]
        ]
        assert (await another.get(address)).status == 403
        assert (await another.ask("PUT", address, {"antwoorden": {}})).status == 403
    assert ("h-002", "report.save") in await denied(town)


async def room_of_two(town: TownHall, first: Caller, second: Caller) -> tuple[str, str]:
    """Ask and approve; return the room's address and the recording."""
    recording = str(await town.film("cam-03"))
    case = await first.post("/dossiers", {"soort": "access_request", "samenvatting": "inzage", "opnamen": [recording]})
    beside = await first.get(f"/dossiers/{case.said['id']}/kandidaten?doel=access_request&opname={recording}")
    assert "o-104" in [each["id"] for each in beside.said["resultaten"] if each["toegestaan"]]
    asked = {"dossier": case.said["id"], "doel": "access_request", "opname": recording, "motivering": "inzage"}
    alone = await first.post("/kijkkamers", asked | {"tweede": "o-104"})
    assert alone.status == 400  # nobody said that nobody else watches
    room = await first.post("/kijkkamers", asked | {"tweede": "o-104", "niemandKijktMee": True})
    address = room.headers["Location"].removeprefix("/v1")
    assert (await first.post(f"{address}/goedkeuringen", {})).status == 403
    approved = await second.post(f"{address}/goedkeuringen", {})
    assert approved.said["stand"] == "approved"
    return address, recording


@pytest.mark.rule("E-30")
async def test_footage_goes_to_two_who_sit_and_to_nobody_when_one_gets_up(
    town: TownHall, privacy_officer: Caller
) -> None:
    async with calling(town, "o-104") as secretary, calling(town, "o-105") as stranger:
        address, recording = await room_of_two(town, privacy_officer, secretary)
        footage = f"{address}/beelden/{recording}"
        assert (await privacy_officer.post(f"{address}/zetels", {})).said["stand"] == "approved"
        assert (await privacy_officer.get(f"{footage}/afspeellijst")).status == 403
        assert (await secretary.post(f"{address}/zetels", {})).said["stand"] == "open"
        playlist = await privacy_officer.get(f"{footage}/afspeellijst")
        assert playlist.headers["Content-Type"] == "application/vnd.apple.mpegurl"
        pieces = [line for line in playlist.body.decode().splitlines() if line.endswith(".m4s")]
        for piece in ("init.mp4", pieces[0]):
            film = await secretary.get(f"{footage}/{piece}")
            assert (film.status, film.headers["Content-Type"], film.body[4:8]) in [
                (200, "video/mp4", b"ftyp"),
                (200, "video/mp4", b"moof"),
                (200, "video/mp4", b"styp"),
            ]
        assert (await stranger.get(f"{footage}/{pieces[0]}")).status == 403
        assert ("o-105", "kijkkamer") in await denied(town)
        assert (await secretary.ask("DELETE", f"{address}/zetels")).status == 204
        assert (await privacy_officer.get(f"{footage}/{pieces[0]}")).status == 403
        beat = await privacy_officer.ask("PUT", f"{address}/aanwezigheid", {})
        assert (beat.said["stand"], beat.said["aanwezig"]["o-104"]) == ("paused", False)
        assert (await privacy_officer.ask("DELETE", address)).status == 204
        seen = await privacy_officer.get(f"/opnamen/{recording}/weergaven")
        assert seen.said["resultaten"][0]["mensen"] == ["o-103", "o-104"]


@pytest.mark.rule("H-63")
async def test_nobody_asks_or_looks_from_outside_a_viewing_place(town: TownHall, privacy_officer: Caller) -> None:
    async with calling(town, "o-104") as secretary:
        address, recording = await room_of_two(town, privacy_officer, secretary)
        before = await denied(town)
        home = {"X_Forwarded_For": "203.0.113.7"}
        sit = await privacy_officer.post(f"{address}/zetels", {}, **home)
        look = await privacy_officer.get(f"{address}/beelden/{recording}/init.mp4", **home)
        assert (sit.status, look.status) == (403, 403)
        quiet = await privacy_officer.ask("PUT", f"{address}/aanwezigheid", {}, **home)
        assert quiet.status == 403
        assert (await denied(town))[len(before) :] == [("o-103", "viewing place")] * 2


async def test_a_package_goes_out_by_two_and_is_fetched_once(town: TownHall, privacy_officer: Caller) -> None:
    recording = str(await town.film("cam-03"))
    case = await privacy_officer.post("/dossiers", DEMAND | {"opnamen": [recording]})
    asked = {"dossier": case.said["id"], "ontvanger": "om", "opnamen": [recording], "motivering": "OB"}
    made = await privacy_officer.post("/verstrekkingen", asked | {"tweede": "o-102"})
    assert made.status == 201, made.said
    room, disclosure = f"/kijkkamers/{made.said['kamer']}", f"/verstrekkingen/{made.said['verstrekking']}"
    async with calling(town, "o-102") as cluster_manager:
        assert (await cluster_manager.post(f"{room}/goedkeuringen", {})).status == 200
        assert (await cluster_manager.post(f"{room}/bewijspakketten", {})).status == 403
        assert (await cluster_manager.get(disclosure)).status == 403
    packed = await privacy_officer.post(f"{room}/bewijspakketten", {})
    assert (packed.status, packed.said["stand"], packed.said["pakketAanwezig"]) == (201, "delivered", True)
    package = await privacy_officer.post(f"{disclosure}/ophalingen", {})
    assert "manifest.json" in zipfile.ZipFile(io.BytesIO(package.body)).namelist()
    assert (await privacy_officer.post(f"{disclosure}/ophalingen", {})).status == 404
    receipt = {"ontvangstTijdstip": "2026-11-20T14:00:00Z", "ontvangstbewijs": "ontvangen"}
    confirmed = await privacy_officer.post(f"{disclosure}/ontvangstbevestigingen", receipt)
    assert confirmed.said["stand"] == "receipt_confirmed"


async def test_an_entry_is_proven_without_us(town: TownHall, privacy_officer: Caller) -> None:
    await privacy_officer.post("/dossiers", COMPLAINT)
    found = await privacy_officer.get("/logregels?soort=case.registered")
    entry, promise = found.said["resultaten"][0], (await privacy_officer.get("/controlepunt")).said
    proof = await privacy_officer.get(f"/logregels/{entry['nummer']}/bewijs")
    key = Ed25519PublicKey.from_public_bytes(b64decode(promise["sleutel"]))
    checked = check_proof(proof.body, leaf=entry["ruw"].encode(), origin=promise["herkomst"], key=key)
    assert checked.size == promise["omvang"]
    whole = await privacy_officer.post("/logboekcontroles", {})
    assert (whole.said["gebroken"], whole.said["omvang"]) == (None, promise["omvang"])
    assert (await privacy_officer.get(f"/groeibewijzen?vanaf=1&tweede={promise['omvang']}")).said["hashes"]
    assert (await privacy_officer.get("/groeibewijzen?vanaf=2&tweede=1")).status == 400


async def test_news_comes_by_the_stream_without_a_personal_word(town: TownHall, coordinator: Caller) -> None:
    async with coordinator.http.get("/v1/gebeurtenissen") as stream:
        assert (stream.content_type, stream.headers["API-Version"]) == ("text/event-stream", "1.0.0")
        await town.press("cam-07")
        async with asyncio.timeout(60):
            while b"event: activation" not in (line := await stream.content.readline()):
                assert line
            told = await stream.content.readline()
        assert b"Jacobs" not in told
        assert b"h-007" not in told


async def test_whoever_signs_out_is_out(privacy_officer: Caller) -> None:
    assert (await privacy_officer.ask("DELETE", "/sessie")).status == 204
    assert (await privacy_officer.get("/sessie")).status == 401


async def test_http_itself_is_kept_to(privacy_officer: Caller) -> None:
    async def status(method: str, path: str, said: object = None, **headers: str) -> tuple[int, Any]:
        answer = await privacy_officer.ask(method, path, said, **headers)
        assert answer.headers["API-Version"] == "1.0.0"
        assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert not [
            each for each in answer.headers if each.startswith(("Access-Control", "Server"))
        ]  # nobody's business
        if answer.status >= 400 and method != "HEAD":
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.said["status"] == answer.status
        return answer.status, answer.headers.get("Allow")

    assert await status("GET", "/opnamen/") == (404, None)
    assert await status("GET", "/opnamen/geen-kenmerk") == (404, None)
    assert await status("PUT", "/opnamen", {}) == (405, "GET, HEAD")
    assert await status("PATCH", "/dossiers", {}) == (405, "GET, HEAD, POST")
    assert await status("OPTIONS", "/dossiers", Origin="https://elders.example") == (204, "GET, HEAD, POST")
    assert await status("OPTIONS", "/bestaat-niet") == (404, None)
    assert await status("HEAD", "/opnamen") == (200, None)
    assert await status("GET", "/opnamen", Accept="text/html") == (406, None)
    assert await status("GET", "/opnamen?kleur=rood") == (400, None)
    assert await status("GET", "/opnamen?camera=cam-01&camera=cam-02") == (400, None)
    assert await status("GET", "/opnamen?cursor=AAAA") == (400, None)
    assert await status("GET", "/opnamen?vanafTijdstip=0001-01-01T00:00:00Z") == (400, None)
    assert await status("POST", "/dossiers", COMPLAINT | {"kleur": "rood"}) == (400, None)
    assert await status("POST", "/dossiers", COMPLAINT | {"samenvatting": "a\0b"}) == (400, None)
    assert await status("POST", "/dossiers", COMPLAINT, Content_Type="text/plain") == (415, None)
    assert await status("POST", "/dossiers", {"samenvatting": "x" * 300_000}) == (413, None)


async def test_two_programs_of_two_people_declare_where_footage_comes_from(
    town: TownHall, privacy_officer: Caller
) -> None:
    recording = str(await town.film("cam-09", heard=False))
    apart = await privacy_officer.get("/apart-gezette-opnamen")
    (found,) = [each for each in apart.said["resultaten"] if each["opname"]["id"] == recording]
    assert found["afwijkingen"] == ["press_not_heard"]
    origin = {
        "camera": "bodycam 9",
        "medewerker": found["opname"]["medewerker"],
        "tijdstip": found["opname"]["startTijdstip"],
        "aanleiding": "own_safety",
    }
    address = f"/opnamen/{recording}/herkomstbesluiten"
    asked = {"grond": "Het rooster", "herkomst": origin}
    assert (await privacy_officer.post(address, asked | {"herkomst": origin | {"aanleiding": "zomaar"}})).status == 400
    made = await privacy_officer.post(address, asked)
    assert (made.status, made.headers["Location"]) == (201, f"/v1{address}")
    besluit = made.said["id"]
    alone = await privacy_officer.post(f"{address}/{besluit}/bevestigingen", {"grond": "nogmaals"})
    assert alone.status == 403
    async with calling(town, "o-102") as manager:
        elsewhere = f"/opnamen/{UUID(int=7)}/herkomstbesluiten/{besluit}/bevestigingen"
        assert (await manager.post(elsewhere, {"grond": "Zelf gezien"})).status == 404
        done = await manager.post(f"{address}/{besluit}/bevestigingen", {"grond": "Zelf gezien"})
        assert (done.status, done.said) == (200, {"stand": "retained"})
        assert (await manager.ask("DELETE", f"{address}/{besluit}")).status == 409
    (told,) = (await privacy_officer.get(address)).said["resultaten"]
    assert (told["mensen"], told["gronden"]) == (["o-103", "o-102"], ["Het rooster", "Zelf gezien"])
    assert "origin_declared" in (await privacy_officer.get(f"/opnamen/{recording}")).said["afwijkingen"]


async def test_the_document_is_open_to_every_site(town: TownHall) -> None:
    async with aiohttp.ClientSession(town.address) as stranger, stranger.get("/v1/openapi.json") as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert (await answer.json())["openapi"] == "3.1.0"


async def test_a_failure_of_ours_is_a_problem_that_tells_nothing(
    privacy_officer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(Casework, "recordings", fail)
    answer = await privacy_officer.get("/opnamen")
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert b"secret" not in answer.body


async def test_clock_and_buttons_are_a_demonstrations(tmp_path: Path) -> None:
    async with open_town(tmp_path) as town, calling(town, "o-101") as coordinator:
        later = await coordinator.post("/klokzetten", {"seconden": 86_400})
        assert later.said["tijdstip"] > "2026-11-21"
        assert (await coordinator.post("/cameras/cam-07/knopdrukken", {"handeling": "press"})).status == 204
        assert (tmp_path / "buttons" / "cam-07").exists()
        assert (await coordinator.post("/cameras/cam-99/knopdrukken", {"handeling": "press"})).status == 403
