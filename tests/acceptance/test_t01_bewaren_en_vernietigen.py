"""Bewaartermijn, bewaarplicht en vernietiging: T-01 tot en met T-09, T-33 tot en met T-35, T-40, T-41 en T-44.

T-08 (duizendmaal, ook op PostgreSQL) staat in tests/adapters/retention; T-09 (een gedood proces) in test_kill daar.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from broker.wire.policy import CaseKind
from broker.wire.refusals import Code
from cloud.casework.office import Denied
from tests.acceptance.town import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE = ZoneInfo("Europe/Amsterdam")


def day(moment: datetime) -> str:
    return moment.astimezone(HERE).date().isoformat()


@pytest.mark.rule("T-01", "R-09", "R-10")
async def test_t01_na_28_dagen_zijn_beeld_en_sleutel_weg_en_staat_dat_vast(rotterdam: Town) -> None:
    """T-01: na 28 dagen zonder bewaarplicht zijn beelden en sleutel weg, en staat vast wanneer en waarom."""
    recording = await rotterdam.film()
    rotterdam.clock.move(days=27, hours=23)
    await rotterdam.round()
    assert await rotterdam.is_whole(recording)
    rotterdam.clock.move(hours=1)
    await rotterdam.round()
    assert await rotterdam.is_gone(recording)
    (ordered,) = await rotterdam.entries("retention.destroying", subject=recording)
    (done,) = await rotterdam.entries("retention.destroyed", subject=recording)
    assert "28 calendar_days (maximum)" in str(ordered.facts["rule"])
    assert ordered.at <= done.at == rotterdam.clock()


@pytest.mark.rule("T-02", "R-11", "H-41", "E-08")
async def test_t02_een_klacht_op_dag_27_houdt_de_beelden_tot_hij_is_afgerond(rotterdam: Town) -> None:
    """T-02: een klacht op dag 27 houdt de beelden vast; is hij op dag 60 afgerond, dan gaan ze in de volgende ronde."""
    recording = await rotterdam.film()
    rotterdam.clock.move(days=27)
    case = await rotterdam.case("o-204", "complaint", recording)
    rotterdam.clock.move(days=1, hours=1)
    await rotterdam.round()
    assert await rotterdam.state(recording) == "held"
    assert await rotterdam.is_whole(recording)
    rotterdam.clock.move(days=32)
    handler = await who_handles(rotterdam)
    await rotterdam.step(handler, case, "handle")
    await rotterdam.step(handler, case, "close")
    await rotterdam.round()
    assert await rotterdam.is_whole(recording), "closing alone lifts nothing"
    told = await rotterdam.release(case, *await who_release(rotterdam))
    assert set(told) == {200}
    await rotterdam.round()
    assert await rotterdam.is_gone(recording)


async def who_handles(town: Town) -> str:
    policy = await town.policies.current(town.org)
    return next(
        card.id for card in await town.casework.officials(town.org) if set(policy.casework.handle) & card.person.roles
    )


async def who_release(town: Town) -> list[str]:
    policy = await town.policies.current(town.org)
    able = [
        card.id for card in await town.casework.officials(town.org) if set(policy.casework.release) & card.person.roles
    ]
    return able[:2]


async def refused_request(town: Town) -> tuple[str, str]:
    """Een inzageverzoek op dag 20, dat wordt afgewezen en verstuurd."""
    recording = await town.film()
    town.clock.move(days=20)
    case = await town.case("o-103", "access_request", recording)
    await town.step("o-103", case, "check_identity", method="DigiD")
    await town.step("o-103", case, "assess")
    await town.step("o-103", case, "decide", decision="refused", reason="belangen van anderen")
    await town.step("o-103", case, "send_refusal", sent_on=day(town.clock()))
    return recording, case


async def to_the_last_day(town: Town, case: str) -> None:
    """Naar de laatste dag van de termijn: zes weken vanaf de dag na verzending, en niet op een zon- of feestdag."""
    final_from = (await town.casework.case(town.org, case)).final_from
    assert final_from is not None
    left = (final_from - town.clock().astimezone(HERE).date()).days
    assert 43 <= left <= 47
    town.clock.move(days=left - 1)
    await town.round()


@pytest.mark.rule("T-03", "H-40", "H-69", "E-07")
async def test_t03_na_een_afwijzing_blijft_het_beeld_tot_de_bezwaartermijn_voorbij_is(heusden: Town) -> None:
    """T-03: een afgewezen inzageverzoek houdt de beelden tot zes weken na verzending; daarna gaan ze."""
    recording, case = await refused_request(heusden)
    await to_the_last_day(heusden, case)
    assert await heusden.is_whole(recording), "the objection term runs"
    heusden.clock.move(days=1)
    await heusden.round()
    assert (await heusden.casework.case(heusden.org, case)).state == "final"
    assert await heusden.is_gone(recording)


@pytest.mark.rule("T-04", "E-07")
async def test_t04_bezwaar_houdt_het_beeld_tot_zes_weken_na_het_besluit_daarop(heusden: Town) -> None:
    """T-04: bezwaar in week 5, beslist in week 12: de beelden blijven tot zes weken nadat dát besluit is verzonden."""
    recording, case = await refused_request(heusden)
    heusden.clock.move(weeks=5)
    await heusden.step("o-103", case, "object", objected_on=day(heusden.clock()))
    heusden.clock.move(weeks=7)
    await heusden.round()
    assert await heusden.is_whole(recording)
    await heusden.step("o-103", case, "decide_objection", objection_sent_on=day(heusden.clock()), upheld="nee")
    await to_the_last_day(heusden, case)
    assert await heusden.is_whole(recording), "the appeal term runs"
    heusden.clock.move(days=1)
    await heusden.round()
    assert await heusden.is_gone(recording)


@pytest.mark.rule("T-05", "H-40")
async def test_t05_toegewezen_maar_nog_niet_bekeken_blijft_bewaard(heusden: Town) -> None:
    """T-05: is de inzage toegewezen maar nog niet gegeven, dan blijft het beeld, al staat het besluit vast."""
    recording = await heusden.film()
    case = await heusden.case("o-103", "access_request", recording)
    await heusden.step("o-103", case, "check_identity", method="DigiD")
    await heusden.step("o-103", case, "assess")
    await heusden.step("o-103", case, "decide", decision="granted", reason="staat erop")
    heusden.clock.move(days=120)
    await heusden.round()
    assert await heusden.is_whole(recording)
    assert 409 in await heusden.release(case, "o-103")
    await heusden.step("o-103", case, "carry_out", attendees="de verzoeker", told_no_copy="ja")
    heusden.clock.move(days=60)
    await heusden.round()
    assert await heusden.is_gone(recording)


@pytest.mark.rule("T-06", "C-18", "H-42")
async def test_t06_vernietigen_met_de_hand_kan_niet_onder_een_aangifte(heusden: Town) -> None:
    """T-06: op beelden van een aangifte weigert vernietigen met de hand (409), en die weigering staat vast."""
    recording = await heusden.film()
    await heusden.case("o-103", "aangifte", recording)
    with pytest.raises(Denied) as denied:
        await heusden.casework.destroy_by_hand(heusden.org, recording, by="o-103", ground="opruimen")
    assert denied.value.refusal.code is Code.UNDER_HOLD
    assert denied.value.refusal.code.status == 409
    written = (await heusden.casework.denials(heusden.org))[0]
    assert (written.who, written.what) == ("o-103", "recording.destroy")
    assert (await heusden.entries("denial"))[-1].actor == "o-103"
    assert await heusden.is_whole(recording)


@pytest.mark.rule("T-07", "E-38", "H-42")
async def test_t07_toestemming_van_het_om_geldt_per_opname(heusden: Town) -> None:
    """T-07: het OM stemt in met vernietiging van één van twee opnamen: die gaat, de andere blijft."""
    first, second = await heusden.film(), await heusden.film("cam-02")
    case = await heusden.case("o-103", "aangifte", first, second)
    heusden.clock.move(days=90)
    told = {"who": "officier van justitie", "date": day(heusden.clock()), "reference": "PL-1"}
    await heusden.step("o-103", case, "consent", recordings=first, **told)
    (hold,) = [each for each in (await heusden.casework.case(heusden.org, case)).holds if each.recording == first]
    async with heusden.signed_in("o-103", "o-102") as people:
        for person in people:
            status, _ = await person.send(f"/bewaarplicht/{hold.id}/opheffen", {"grond": "akkoord OM"})
            assert status == 200
    (other,) = [each for each in (await heusden.casework.case(heusden.org, case)).holds if each.recording == second]
    async with heusden.signed_in("o-103") as person:
        status, _ = await person.send(f"/bewaarplicht/{other.id}/opheffen", {"grond": "ook maar"})
        assert status == 409
    await heusden.round()
    assert await heusden.is_gone(first)
    assert await heusden.is_whole(second)


@pytest.mark.rule("T-08", "E-11")
async def test_t08_bewaarplicht_en_vernietiging_tegelijk_eindigen_altijd_goed(heusden: Town) -> None:
    """T-08: komt een klacht op hetzelfde ogenblik als de vernietiging, dan wint wie het eerst vastligt; nooit half."""
    wins = {"held": 0, "destroyed": 0}
    for _ in range(4):
        recording = await heusden.film()
        heusden.clock.move(days=28, hours=1)

        async def hold(which: str = recording) -> str:
            case = await heusden.casework.register_case(
                heusden.org, by="o-103", kind=CaseKind.COMPLAINT, summary="klacht", recordings=[which]
            )
            return str(case.holds[0].outcome)

        _, outcome = await asyncio.gather(heusden.round(), hold())
        await heusden.round()
        state = await heusden.state(recording)
        wins[state] += 1  # whichever committed first
        if state == "held":
            assert await heusden.is_whole(recording)
            assert outcome == "None"
        else:
            assert await heusden.is_gone(recording)
            assert outcome == "already_destroyed"
    assert sum(wins.values()) == 4


@pytest.mark.rule("T-33", "E-05", "E-16")
async def test_t33_wat_later_komt_valt_onder_de_bewaarplicht_van_zijn_voorval(heusden: Town) -> None:
    """T-33: staat er bewaarplicht op het voorval uit een melding, dan valt beeld dat drie dagen later komt eronder."""
    footage = await heusden.make("cam-03")
    await heusden.press("cam-03", recording=footage.recording)
    incident = await heusden.casework.open_incident(heusden.org, by="h-003", label="Vechtpartij op het plein")
    report = await heusden.casework.save_report(
        heusden.org, by="h-003", answers=whole_report(), recording=footage.id, incident=incident
    )
    await heusden.casework.submit_report(heusden.org, report.id, by="h-003")
    await heusden.casework.register_case(
        heusden.org, by="o-103", kind=CaseKind.COMPLAINT, summary="klacht", incidents=[incident]
    )
    heusden.clock.move(days=3)
    assert (await heusden.dock(footage))[0] == 200
    assert await heusden.state(footage.id) == "held"
    heusden.clock.move(days=60)
    await heusden.round()
    assert await heusden.is_whole(footage.id)


def whole_report() -> dict[str, object]:
    return {
        "cause": "dreiging",
        "event": "een man dreigde",
        "bystanders_informed": True,
        "how": "mondeling",
        "when": "vooraf",
        "reason": "own_safety",
        "present_staff": [],
    }


@pytest.mark.rule("T-34", "E-06")
async def test_t34_te_laat_binnengekomen_beeld_wordt_nooit_bekeken_en_gaat_weg(heusden: Town) -> None:
    """T-34: beeld dat dertig dagen na de opname binnenkomt, is nooit te bekijken en wordt vernietigd."""
    footage = await heusden.make("cam-04")
    await heusden.press("cam-04", recording=footage.recording)
    heusden.clock.move(days=30)
    assert (await heusden.dock(footage))[0] == 200
    assert await heusden.state(footage.id) == "due"
    await heusden.round()
    assert await heusden.is_gone(footage.id)
    assert await heusden.entries("retention.destroyed", subject=footage.id)


@pytest.mark.rule("T-35", "E-12")
async def test_t35_een_verzoek_dat_te_laat_is_ingevoerd_wordt_eerlijk_verantwoord(heusden: Town) -> None:
    """T-35: ontvangen op dag 27, ingevoerd op dag 30: het dossier zegt dat het beeld vóór de registratie weg was."""
    recording = await heusden.film()
    received = heusden.clock.move(days=27)
    heusden.clock.move(days=3)
    await heusden.round()
    assert await heusden.is_gone(recording)
    case = await heusden.case("o-103", "access_request", recording, ontvangen=day(received))
    (hold,) = (await heusden.casework.case(heusden.org, case)).holds
    assert hold.outcome == "destroyed_before_registration"
    register = {row.case_id: row for row in await heusden.casework.access_requests(heusden.org)}
    assert register[case].outcome == "destroyed_before_registration"
    assert register[case].received_at < register[case].registered_at
    async with heusden.signed_in("o-103") as person:
        status, text = await person.read(f"/dossiers/{case}")
    assert status == 200
    assert "Dossier" in text


@pytest.mark.rule("T-44", "H-68")
async def test_t44_het_register_van_inzageverzoeken_overleeft_de_beelden(heusden: Town) -> None:
    """T-44: zijn de beelden vernietigd, dan staat het inzageverzoek met zijn afhandeling nog in het register."""
    recording, case = await refused_request(heusden)
    heusden.clock.move(days=50)
    await heusden.round()
    assert await heusden.is_gone(recording)
    register = {row.case_id: row for row in await heusden.casework.access_requests(heusden.org)}
    assert (register[case].decision, register[case].state) == ("refused", "final")


@pytest.mark.rule("T-41", "E-15")
@pytest.mark.parametrize("change", [date(2028, 3, 26), date(2028, 10, 29)])
async def test_t41_de_zomertijd_verschuift_de_vernietiging_geen_uur(rotterdam: Town, change: date) -> None:
    """T-41: over de laatste zondag van maart en van oktober wordt op hetzelfde plaatselijke uur vernietigd."""
    begin = datetime(change.year, change.month, change.day, 15, 30, tzinfo=HERE) - timedelta(days=10)
    assert begin > rotterdam.clock(), "the story of this module reached this year"
    rotterdam.clock.now = begin.astimezone(UTC)
    recording = await rotterdam.film()
    ended = (await rotterdam.row(recording)).ended_at.astimezone(HERE)
    due = datetime.combine(ended.date() + timedelta(days=28), ended.time(), tzinfo=HERE)
    rotterdam.clock.now = due.astimezone(UTC) - timedelta(seconds=1)
    await rotterdam.round()
    assert await rotterdam.is_whole(recording)
    rotterdam.clock.move(seconds=1)
    await rotterdam.round()
    assert await rotterdam.is_gone(recording)


@pytest.mark.rule("T-40", "E-18")
async def test_t40_een_strenger_beleid_geldt_ook_voor_wat_er_ligt_een_ruimer_niet(rotterdam: Town) -> None:
    """T-40: versie 2 verkort tot 14 dagen: wat er ligt gaat eerder; versie 3 verlengt: wat er ligt houdt zijn dag."""
    old = await rotterdam.film()
    text = founding_text("rotterdam")
    await rotterdam.policies.adopt(
        versioned(text, 2, days=14), by="o-203", ledger=rotterdam.ledger, clock=rotterdam.clock
    )
    row = await rotterdam.row(old)
    assert (row.expires_at.astimezone(HERE).date() - row.ended_at.astimezone(HERE).date()).days == 14
    await rotterdam.policies.adopt(
        versioned(text, 3, days=28), by="o-203", ledger=rotterdam.ledger, clock=rotterdam.clock
    )
    assert (await rotterdam.row(old)).expires_at == row.expires_at
    new = await rotterdam.film()
    rotterdam.clock.move(days=15)
    await rotterdam.round()
    assert await rotterdam.is_gone(old)
    assert await rotterdam.is_whole(new)


def founding_text(municipality: str) -> str:
    from deploy.demo.founding import policy_text

    return policy_text(municipality)


def versioned(text: str, version: int, *, days: int) -> str:
    found = text.replace("version = 1", f"version = {version}", 1).replace("\ndays = 28", f"\ndays = {days}", 1)
    assert found != text
    return found
