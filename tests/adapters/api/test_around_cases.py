"""What stands around a case, by program: letters, bookmarks, survey, review of rights, what everybody may know."""

import asyncio
from datetime import timedelta

import aiohttp
import pytest
from sqlalchemy import select

from cloud.database.tables import survey_counts, viewing_marks
from tests.adapters.api.people import Caller, calling, denied
from tests.adapters.api.test_api import COMPLAINT, room_of_two
from tests.browser.town import OFFICERS, OFFICIALS, TownHall

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = (*OFFICERS, *(name for _, name, *_ in OFFICIALS))
ACCESS = {"soort": "access_request", "samenvatting": "inzage"}


async def test_a_case_gives_the_letters_that_fit_it_and_no_other(privacy_officer: Caller) -> None:
    case = await privacy_officer.post("/dossiers", ACCESS)
    address = f"/dossiers/{case.said['id']}/brieven"
    listed = [each["id"] for each in (await privacy_officer.get(address)).said["resultaten"]]
    letter = await privacy_officer.get(f"{address}/{listed[0]}")
    assert letter.said["nummer"] == case.said["nummer"]
    assert "20 november 2026" in " ".join(letter.said["alineas"])
    assert not [name for name in NAMES if name in str(letter.said)]
    assert "decision" not in listed
    assert (await privacy_officer.get(f"{address}/decision")).status == 404


async def test_bookmarks_are_made_and_read_by_the_two_in_an_open_room(town: TownHall, privacy_officer: Caller) -> None:
    async with calling(town, "o-104") as secretary, calling(town, "o-105") as stranger:
        address, recording = await room_of_two(town, privacy_officer, secretary)
        marks, mark = f"{address}/bladwijzers", {"opname": recording, "positieSeconden": 2.5, "omschrijving": "duw"}
        assert (await privacy_officer.post(marks, mark)).status == 403, "the room is not open yet"
        for each in (privacy_officer, secretary):
            await each.post(f"{address}/zetels", {})
        made = await privacy_officer.post(marks, mark)
        assert (made.status, made.said["door"]) == (201, "o-103")
        shown = await secretary.get(f"{marks}?opname={recording}")
        assert [each["omschrijving"] for each in shown.said["resultaten"]] == ["duw"]
        assert (await secretary.ask("DELETE", f"{marks}/{made.said['id']}")).status == 404, "it is not hers"
        assert (await privacy_officer.post(marks, mark | {"positieSeconden": 9000})).status == 400
        assert (await stranger.get(f"{marks}?opname={recording}")).status == 403
        assert (await privacy_officer.ask("DELETE", f"{marks}/{made.said['id']}")).status == 204
        await privacy_officer.ask("DELETE", address)
    async with town.database.transaction() as t:
        assert (await t.execute(select(viewing_marks))).all() == []


async def test_rights_are_reviewed_as_they_were_seen(town: TownHall) -> None:
    async with calling(town, "o-104") as secretary:
        seen = (await secretary.get("/rechten")).said
        assert {"coordinator", "privacy_officer"} <= {each["rol"] for each in seen["resultaten"]}
        review = {"soort": "quarterly", "gezien": seen["gezien"], "opmerking": "alles klopt"}
        assert (await secretary.post("/rechtencontroles", review)).status == 204
        assert (await secretary.get("/rechtencontroles")).said["resultaten"][0]["opmerking"] == "alles klopt"
        await secretary.post("/medewerkers/o-105/rollen", {"rol": "coordinator"})
        late = await secretary.post("/rechtencontroles", review)
        assert (late.status, late.said["type"]) == (409, "urn:vier-ogen:refusal:conflict")
    async with calling(town, "o-107") as dpo:
        assert (await dpo.post("/rechtencontroles", review)).status == 403
    assert ("o-107", "rights.review") in await denied(town)


@pytest.mark.rule("T-45", "T-43")
async def test_everybody_may_know_the_rules_and_the_figures_and_nobodys_name(town: TownHall) -> None:
    async with aiohttp.ClientSession(town.address) as stranger:
        async with stranger.get("/v1/openbaar?taal=en") as answer:
            told, text = await answer.json(), await answer.text()
            assert (answer.status, answer.headers["API-Version"]) == (200, "1.0.0")
        async with stranger.get("/v1/beleid") as answer:
            assert answer.status == 401
        async with stranger.post("/v1/openbaar") as answer:
            assert answer.status in (403, 405)
    assert "28 days" in str(told["uitleg"])
    assert told["kwartaal"] == "2026-3"
    assert told["omvang"] > 0
    assert not [name for name in NAMES if name in text]


@pytest.mark.rule("H-58", "H-59")
async def test_an_officer_asks_to_look_back_and_the_coordinator_decides(town: TownHall, coordinator: Caller) -> None:
    recording = str(await town.film("cam-01"))
    async with calling(town, "h-001") as officer, calling(town, "h-002") as colleague:
        assert recording in [each["opname"] for each in (await officer.get("/leerverzoeken")).said["eigenBeelden"]]
        asked = {"soort": "learning", "samenvatting": "hoe kwam dit zo?", "opnamen": [recording]}
        case = (await officer.post("/dossiers", asked)).said["id"]
        assert (await colleague.get("/leerverzoeken")).said["resultaten"] == []
        (waiting,) = (await coordinator.get("/leerverzoeken")).said["resultaten"]
        assert (waiting["dossier"], waiting["teBeslissen"], waiting["handhaver"]) == (case, True, "h-001")
        assert (await coordinator.get(f"/dossiers/{case}")).status == 403, "cases are not the coordinator's"


async def test_of_two_who_saw_the_same_case_one_adds_and_the_other_looks_again(
    town: TownHall, privacy_officer: Caller
) -> None:
    first, second = str(await town.film("cam-03")), str(await town.film("cam-04"))
    case = await privacy_officer.post("/dossiers", COMPLAINT)
    address = f"/dossiers/{case.said['id']}"
    async with calling(town, "o-104") as secretary:
        seen = (await secretary.get(address)).headers["ETag"]
        answers = await asyncio.gather(
            privacy_officer.post(f"{address}/opnamen", {"opnamen": [first]}, If_Match=seen),
            secretary.post(f"{address}/opnamen", {"opnamen": [second]}, If_Match=seen),
        )
    assert sorted(each.status for each in answers) == [200, 412]


async def test_a_hold_is_kept_or_ended_only_as_it_was_seen(town: TownHall, privacy_officer: Caller) -> None:
    recording = str(await town.film("cam-05"))
    held = await privacy_officer.post("/noodremmen", COMPLAINT | {"opnamen": [recording]})
    hold = f"/bewaarplichten/{held.said['bewaarplichten'][0]['id']}"
    seen = (await privacy_officer.get(hold)).headers["ETag"]
    assert (await privacy_officer.get(hold)).said["stand"] == "provisional"
    await privacy_officer.post(f"/dossiers/{held.said['id']}/bevestigingen", {})
    late = await privacy_officer.post(f"{hold}/opheffingen", {"grond": "vergissing"}, If_Match=seen)
    assert (late.status, late.headers["Content-Type"]) == (412, "application/problem+json")
    assert (await privacy_officer.post("/noodremmen", COMPLAINT)).status == 400, "nothing to hold was named"


async def test_a_report_is_read_by_whom_it_was_told_to_and_by_nobody_else(
    town: TownHall, privacy_officer: Caller
) -> None:
    answers = {
        "aanleiding": "ruzie",
        "gebeurtenis": "er werd geduwd",
        "motivering": "escalation",
        "soortPlaats": "public_space",
        "gewaarschuwd": True,
        "omstandersGeinformeerd": False,
        "achterafGeinformeerd": True,
        "gebruiktTijdstip": "2026-11-20T13:00:00Z",
        "camera": "cam-02",
    }
    async with calling(town, "h-002") as officer, calling(town, "h-001") as colleague:
        draft = await officer.post("/gebruiksmeldingen", {"antwoorden": answers})
        address = f"/gebruiksmeldingen/{draft.said['id']}"
        assert (await officer.post(f"{address}/inzendingen", {})).said["stand"] == "submitted"
        assert (await privacy_officer.get(address)).said["antwoorden"]["camera"] == "cam-02"
        told, *_ = (await officer.get(address)).said["ingelicht"]
        assert (await colleague.get(address)).status == 403
    assert ("h-001", "melding") in await denied(town)
    async with calling(town, told) as supervisor:
        to_me = (await supervisor.get("/gebruiksmeldingen?aanMij=true")).said["resultaten"]
    assert draft.said["id"] in [each["id"] for each in to_me]


@pytest.mark.rule("R-23", "E-46")
async def test_a_survey_is_answered_once_and_nothing_says_by_whom(town: TownHall) -> None:
    asked = {"omschrijving": "najaar", "stellingen": ["Ik voel mij veilig.", "De camera helpt."], "dagen": 14}
    async with calling(town, "o-102") as manager, calling(town, "h-001") as officer:
        made = await manager.post("/vragenlijsten", asked)
        assert made.status == 201
        (open_,) = (await officer.get("/te-beantwoorden-vragenlijsten")).said["resultaten"]
        address = f"/vragenlijsten/{open_['id']}/antwoorden"
        assert (await officer.post(address, {"antwoorden": [4]})).status == 400
        assert (await officer.post(address, {"antwoorden": [4, 6]})).status == 400
        key = {"Idempotency_Key": "once"}  # means nothing here: what it keeps would tie the answers to a person
        assert (await officer.post(address, {"antwoorden": [4, 2]}, **key)).status == 204
        assert (await officer.post(address, {"antwoorden": [4, 2]}, **key)).status == 403
        assert (await officer.get("/te-beantwoorden-vragenlijsten")).said["resultaten"] == []
        assert (await manager.post(address, {"antwoorden": [1, 1]})).status == 403
        town.clock.move_forward(timedelta(days=14))
        (over,) = (await manager.get("/vragenlijsten")).said["resultaten"]
        assert (over["open"], over["deelnemers"], over["tabellen"]) == (False, None, []), "one answer is one person"
    async with town.database.transaction() as t:
        counted = {(row.statement, row.answer, row.times) for row in await t.execute(select(survey_counts))}
    assert counted == {(0, "4", 1), (1, "2", 1)}
