"""Cases and their holds, as timelines."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, Refused
from cloud.casework.cases import Case
from cloud.casework.office import Denied
from cloud.database.tables import holds, openings, recordings
from cloud.rules.rights import DEMAND_FIELDS
from tests.adapters.casework.office import Town
from tests.adapters.database.away import away_once_entered

DEMAND = dict.fromkeys(DEMAND_FIELDS, "x")
CARRIED_OUT = {"attendees": ["betrokkene"], "told_no_copy": True}


async def refused(act: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as caught:
        await act
    return caught.value


async def case_of(town: Town, kind: CaseKind, *named: str, by: str = "po", **rest: Any) -> Case:
    facts = DEMAND if kind is CaseKind.OM_DEMAND else {}
    return await town.casework.register_case(
        town.org, by=by, kind=kind, summary="op de markt", recordings=named, facts=facts, **rest
    )


async def steps(town: Town, case: Case, *events: tuple[str, dict[str, Any]], by: str = "po") -> Case:
    for name, facts in events:
        case = await town.casework.take_step(town.org, case.id, name, by=by, facts=facts)
    return case


def refusal(on: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    return (
        ("check_identity", {"method": "DigiD"}),
        ("assess", {"necessity": ""}),
        ("decide", {"decision": "refused", "reason": "rechten van anderen"}),
        ("send_refusal", {"sent_on": on}),
    )


async def gone(town: Town, recording: str) -> bool:
    """Whether nothing stops destruction now."""
    card = await town.casework.recording(town.org, recording)
    return not card.held_by and card.expires_at <= town.clock()


@pytest.mark.rule("H-40", "L-06", "R-21")
async def test_a_case_and_its_hold_are_one_transaction(heusden: Town) -> None:
    """Een verzoek registreren houdt de beelden meteen vast, voor elke beoordeling."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    assert (case.state, case.number) == ("received", "2026-0001")
    assert [hold.state for hold in case.holds] == ["active"]
    assert await heusden.state(recording) == "held"
    assert heusden.ledger.kinds() == ["case.registered", "hold.placed"]
    card = await heusden.casework.recording("heusden", recording)
    assert card.held_by == ("2026-0001",)
    assert card.days_left is None


@pytest.mark.rule("E-35")
async def test_without_a_ledger_nothing_is_registered(heusden: Town) -> None:
    """Geen logboek, geen handeling: er verandert niets."""
    recording = await heusden.store()
    heusden.ledger.away = True
    answer = await refused(case_of(heusden, CaseKind.COMPLAINT, recording))
    assert answer.refusal.code is Code.LEDGER_UNWRITABLE
    answer = await refused(heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="x"))
    assert answer.refusal.code is Code.LEDGER_UNWRITABLE
    assert await heusden.casework.cases("heusden") == ()
    assert await heusden.state(recording) == "retained"


async def test_peoples_words_are_not_in_the_ledger(heusden: Town) -> None:
    """In het logboek staat geen vrije tekst; die ligt apart en kan weg."""
    await case_of(heusden, CaseKind.COMPLAINT)
    assert all("markt" not in str(facts) for *_, facts, _ in heusden.ledger.entries)
    async with heusden.database.transaction() as t:
        assert [row.text for row in await t.execute(select(openings))] == ["op de markt"]


@pytest.mark.rule("T-02", "R-11", "H-41", "E-08")
async def test_a_complaint_on_day_27_keeps_it_until_it_is_closed(heusden: Town) -> None:
    """Klacht op dag 27: op dag 28 blijft alles; afgerond op dag 60 mag het weg, met een tweede persoon."""
    recording = await heusden.store()
    heusden.clock.move(days=27)
    case = await case_of(heusden, CaseKind.COMPLAINT, recording)
    heusden.clock.move(days=1)
    assert not await gone(heusden, recording)
    hold = case.holds[0].id
    answer = await refused(heusden.casework.release_hold("heusden", hold, by="po", ground="klaar"))
    assert answer.refusal.code is Code.UNDER_HOLD
    heusden.clock.move(days=32)
    await steps(heusden, case, ("handle", {}), ("close", {}), by="cm")
    (then,) = await heusden.casework.release_preview("heusden", hold)
    assert (then.state, then.people_needed) == ("due", 2)
    await heusden.casework.release_hold("heusden", hold, by="po", ground="afgerond")
    assert await heusden.state(recording) == "held"
    assert "another person" in str(await refused(heusden.casework.release_hold("heusden", hold, by="po", ground="x")))
    done = await heusden.casework.release_hold("heusden", hold, by="cm", ground="afgerond")
    assert done.holds[0].state == "released"
    assert await heusden.state(recording) == "due"
    assert await gone(heusden, recording)


@pytest.mark.rule("E-10", "E-08")
async def test_one_person_ends_a_hold_that_two_had_to_end_before_another_came(heusden: Town) -> None:
    """Vroeg iemand om opheffing met zijn tweeën en kwam er daarna een tweede dossier bij, dan volstaat hij alleen."""
    recording = await heusden.store()
    first = await case_of(heusden, CaseKind.COMPLAINT, recording)
    await steps(heusden, first, ("handle", {}), ("close", {}), by="cm")
    heusden.clock.move(days=40)
    hold = first.holds[0].id
    await heusden.casework.release_hold("heusden", hold, by="po", ground="afgerond")
    await case_of(heusden, CaseKind.COMPLAINT, recording)
    done = await heusden.casework.release_hold("heusden", hold, by="po", ground="afgerond")
    assert done.holds[0].state == "released"
    assert await heusden.state(recording) == "held"


async def test_who_asked_to_release_may_be_told_no(heusden: Town) -> None:
    """De tweede persoon kan ook weigeren: dan blijft de bewaarplicht staan."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.COMPLAINT, recording)
    await steps(heusden, case, ("close", {}) if "close" in case.can else ("handle", {}))
    await steps(heusden, case, ("close", {}))
    heusden.clock.move(days=40)
    hold = case.holds[0].id
    await heusden.casework.release_hold("heusden", hold, by="po", ground="klaar")
    after = await heusden.casework.refuse_release("heusden", hold, by="cm")
    assert after.holds[0].state == "active"
    assert await heusden.state(recording) == "held"


@pytest.mark.rule("T-03", "H-69", "E-07", "H-65", "H-66")
async def test_a_refused_request_keeps_the_footage_until_nobody_can_object(heusden: Town) -> None:
    """Geweigerd op dag 20: vast tot zes weken na verzending, daarna vanzelf los."""
    recording = await heusden.store()
    heusden.clock.move(days=20)
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    sent = heusden.clock().date()
    case = await steps(heusden, case, *refusal(sent.isoformat()))
    assert case.state == "objection_window"
    assert sent.isoweekday() == 7
    assert case.final_from == sent + timedelta(weeks=6, days=2)  # the last day would be a Sunday: it is the Monday
    heusden.clock.move(weeks=6, days=1)
    assert await heusden.casework.settle("heusden") == 0
    assert not await gone(heusden, recording)
    heusden.clock.move(days=1)
    assert await heusden.casework.settle("heusden") == 1
    assert (await heusden.casework.case("heusden", case.id)).state == "final"
    assert await gone(heusden, recording)
    assert await heusden.casework.settle("heusden") == 0


@pytest.mark.rule("T-04", "E-07")
async def test_an_objection_keeps_it_until_its_own_decision_is_final(heusden: Town) -> None:
    """Bezwaar in week vijf, beslist in week twaalf: pas zes weken daarna los."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    case = await steps(heusden, case, *refusal(heusden.clock().date().isoformat()))
    objected = heusden.clock.move(weeks=5).date().isoformat()
    case = await steps(heusden, case, ("object", {"objected_on": objected}))
    heusden.clock.move(weeks=7)
    await heusden.casework.settle("heusden")
    assert not await gone(heusden, recording)
    sent = heusden.clock().date().isoformat()
    await steps(heusden, case, ("decide_objection", {"objection_sent_on": sent, "upheld": False}))
    heusden.clock.move(weeks=6)
    await heusden.casework.settle("heusden")
    assert not await gone(heusden, recording)
    heusden.clock.move(days=1)
    await heusden.casework.settle("heusden")
    assert await gone(heusden, recording)


@pytest.mark.rule("T-05", "H-40")
async def test_a_granted_request_keeps_it_until_it_was_carried_out(heusden: Town) -> None:
    """Toegekend maar nog niet bekeken: het blijft, ook al staat het besluit vast."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    case = await steps(
        heusden,
        case,
        ("check_identity", {"method": "DigiD"}),
        ("assess", {}),
        ("decide", {"decision": "granted", "reason": "staat zelf op de beelden"}),
    )
    heusden.clock.move(days=90)
    await heusden.casework.settle("heusden")
    assert not await gone(heusden, recording)
    await steps(heusden, case, ("carry_out", CARRIED_OUT))
    await heusden.casework.settle("heusden")
    assert await gone(heusden, recording)


@pytest.mark.rule("E-07", "H-40")
async def test_an_objection_that_is_upheld_must_be_carried_out_before_it_goes(heusden: Town) -> None:
    """Gegrond bezwaar: eerst alsnog uitvoeren, dan pas los."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    today = heusden.clock().date().isoformat()
    case = await steps(
        heusden,
        case,
        *refusal(today),
        ("object", {"objected_on": today}),
        ("decide_objection", {"objection_sent_on": today, "upheld": True}),
    )
    heusden.clock.move(weeks=30)
    await heusden.casework.settle("heusden")
    assert (await heusden.casework.case("heusden", case.id)).state == "final"
    assert not await gone(heusden, recording)
    answer = await refused(heusden.casework.take_step("heusden", case.id, "close", by="po"))
    assert "carried out" in str(answer)
    await steps(heusden, case, ("carry_out_after_objection", CARRIED_OUT))
    await heusden.casework.settle("heusden")
    assert await gone(heusden, recording)


@pytest.mark.rule("T-06", "C-18", "H-42", "E-36")
async def test_nobody_destroys_by_hand_under_a_hold(heusden: Town) -> None:
    """Aangifte: vernietigen door de privacy officer wordt geweigerd en vastgelegd."""
    recording = await heusden.store()
    await case_of(heusden, CaseKind.AANGIFTE, recording)
    answer = await refused(heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="opruimen"))
    assert (answer.refusal.code, answer.refusal.code.status) == (Code.UNDER_HOLD, 409)
    (denial,) = await heusden.casework.denials("heusden")
    assert (denial.who, denial.what) == ("po", "recording.destroy")
    assert "hold" in denial.why


@pytest.mark.rule("T-07", "E-38", "H-42", "H-39", "E-16")
async def test_consent_of_the_prosecution_is_per_recording(heusden: Town) -> None:
    """Akkoord voor één van twee opnamen van het incident: die ene mag weg, de andere blijft."""
    first, other = await heusden.store(), await heusden.store()
    incident = await heusden.casework.open_incident("heusden", by="cm", label="markt", recordings=(first, other))
    case = await case_of(heusden, CaseKind.AANGIFTE, incidents=(incident,))
    assert set(case.recordings) == {first, other}
    heusden.clock.move(days=40)
    consent = {"recordings": [first], "who": "OvJ", "date": "2026-07-10", "reference": "PV-1"}
    case = await steps(heusden, case, ("consent", consent))
    by_recording = {hold.recording: hold for hold in case.holds}
    assert by_recording[first].waits_for == ()
    for person in ("po", "cm"):
        await heusden.casework.release_hold("heusden", by_recording[first].id, by=person, ground="akkoord OM")
    assert await gone(heusden, first)
    answer = await refused(heusden.casework.release_hold("heusden", by_recording[other].id, by="po", ground="ook"))
    assert answer.refusal.code is Code.UNDER_HOLD
    assert not await gone(heusden, other)


@pytest.mark.rule("E-38", "E-16")
async def test_consent_also_reaches_a_recording_that_joined_late(heusden: Town) -> None:
    """Ook voor een opname die later bij het incident kwam, geldt het akkoord apart."""
    incident = await heusden.casework.open_incident("heusden", by="cm", label="markt")
    case = await case_of(heusden, CaseKind.AANGIFTE, incidents=(incident,))
    first, other = await heusden.store(), await heusden.store()
    await heusden.casework.join_incident("heusden", incident, by="cm", recordings=(first, other))
    heusden.clock.move(days=40)
    consent = {"recordings": [first], "who": "OvJ", "date": "2026-07-10", "reference": "PV-1"}
    case = await steps(heusden, case, ("consent", consent))
    assert await heusden.casework.standing_on("heusden", first) == (case.number,)
    for person in ("po", "cm"):
        await heusden.casework.release_case("heusden", case.id, by=person, ground="akkoord OM")
    assert await gone(heusden, first)
    assert not await gone(heusden, other)


@pytest.mark.rule("H-41", "E-08")
async def test_all_holds_of_a_case_end_together_by_the_same_two_people(heusden: Town) -> None:
    """Eén dossier met drie opnamen: twee mensen heffen alles samen op, eerder niet."""
    found = [await heusden.store() for _ in range(3)]
    case = await case_of(heusden, CaseKind.COMPLAINT, *found)
    answer = await refused(heusden.casework.release_case("heusden", case.id, by="po", ground="x"))
    assert answer.refusal.code is Code.UNDER_HOLD
    heusden.clock.move(days=40)
    await steps(heusden, case, ("withdraw", {}))
    asked = await heusden.casework.release_case("heusden", case.id, by="po", ground="ingetrokken")
    assert {hold.state for hold in asked.holds} == {"release_requested"}
    done = await heusden.casework.release_case("heusden", case.id, by="cm", ground="ingetrokken")
    assert {hold.state for hold in done.holds} == {"released"}
    assert [await heusden.state(each) for each in found] == ["due"] * 3


@pytest.mark.rule("E-39", "H-42")
async def test_time_never_ends_a_hold_of_the_prosecution(heusden: Town) -> None:
    """Antwoordt het OM nooit, dan blijft het, hoe lang ook."""
    recording = await heusden.store()
    await case_of(heusden, CaseKind.OM_DEMAND, recording)
    heusden.clock.move(days=3650)
    await heusden.casework.settle("heusden")
    assert not await gone(heusden, recording)


@pytest.mark.rule("E-16", "H-39", "T-33", "E-05")
async def test_footage_that_comes_late_joins_the_hold_of_its_incident(heusden: Town) -> None:
    """Dossier op het incident, beelden drie dagen later: vastgehouden."""
    pressed = await heusden.press()
    incident = await heusden.casework.open_incident("heusden", by="cm", label="markt")
    await heusden.casework.save_report(
        "heusden", by="boa1", recording=pressed, incident=incident, answers={"cause": "dreiging"}
    )
    case = await case_of(heusden, CaseKind.COMPLAINT, incidents=(incident,))
    heusden.clock.move(days=3)
    await heusden.store(name=pressed)
    await heusden.casework.settle("heusden")
    assert await heusden.state(pressed) == "held"
    assert (await heusden.casework.case("heusden", case.id)).recordings == (pressed,)


@pytest.mark.rule("T-33", "E-05")
async def test_a_hold_waits_for_footage_that_was_only_announced(heusden: Town) -> None:
    """Bewaarplicht op een melding zonder beelden: de beelden zijn vast zodra zij er zijn."""
    pressed = await heusden.press()
    await case_of(heusden, CaseKind.COMPLAINT, pressed)
    heusden.clock.move(days=3)
    await heusden.store(name=pressed)
    assert await heusden.casework.standing_on("heusden", pressed) == ("2026-0001",)


@pytest.mark.rule("E-12", "T-35")
async def test_the_emergency_hold_needs_only_a_time_and_lapses_by_itself(
    heusden: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """De noodrem houdt alles van een tijdvak vast, ook wat nog onderweg is, en vervalt zonder dossier."""
    here, coming, other = await heusden.store(), await heusden.press(), await heusden.store(camera="cam-02")
    now = heusden.clock()
    case = await heusden.casework.emergency_hold(
        "heusden",
        by="po",
        kind=CaseKind.ACCESS_REQUEST,
        summary="vrouw aan de balie",
        from_at=now - timedelta(hours=1),
        until_at=now + timedelta(hours=1),
        camera="cam-01",
    )
    assert set(case.recordings) == {here, coming}
    assert {hold.state for hold in case.holds} == {"provisional"}
    assert await heusden.state(other) == "retained"
    heusden.clock.move(days=7, seconds=1)
    with monkeypatch.context() as patch:
        away_once_entered(patch, heusden.ledger, heusden.database, "hold.lapsed")
        with pytest.raises(OperationalError):
            await heusden.casework.settle("heusden")
    assert await heusden.state(here) == "held"
    assert await heusden.casework.settle("heusden") == 2
    assert heusden.ledger.kinds().count("hold.lapsed") == 2, "one for each hold, however often it was tried"
    assert await heusden.state(here) == "retained"


@pytest.mark.rule("E-12")
async def test_a_confirmed_emergency_hold_no_longer_lapses(heusden: Town) -> None:
    """Volgt het dossier, dan blijft de bewaarplicht."""
    here, now = await heusden.store(), heusden.clock()
    case = await heusden.casework.emergency_hold(
        "heusden",
        by="po",
        kind=CaseKind.COMPLAINT,
        summary="x",
        from_at=now - timedelta(hours=1),
        until_at=now + timedelta(hours=1),
    )
    await heusden.casework.confirm_case("heusden", case.id, by="po")
    heusden.clock.move(days=60)
    await heusden.casework.settle("heusden")
    assert await heusden.state(here) == "held"


@pytest.mark.rule("T-35", "E-12")
async def test_a_request_typed_in_too_late_is_registered_with_that_outcome(heusden: Town) -> None:
    """Ontvangen op dag 27, ingevoerd op dag 30: 'vernietigd voor registratie', geteld."""
    recording = await heusden.store()
    received = heusden.clock.move(days=27)
    heusden.clock.move(days=1)
    await _destroy(heusden, recording)
    heusden.clock.move(days=2)
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording, received_at=received)
    assert [hold.outcome for hold in case.holds] == ["destroyed_before_registration"]
    (entry,) = await heusden.casework.access_requests("heusden")
    assert (entry.outcome, entry.received_at) == ("destroyed_before_registration", received)
    late = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    assert [hold.outcome for hold in late.holds] == ["already_destroyed"]


@pytest.mark.rule("T-44", "H-68")
async def test_the_register_of_requests_stands_when_the_footage_is_gone(heusden: Town) -> None:
    """Het register van inzageverzoeken toont het dossier ook na de vernietiging."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    await steps(heusden, case, *refusal(heusden.clock().date().isoformat()))
    await _destroy(heusden, recording)
    (entry,) = await heusden.casework.access_requests("heusden")
    assert (entry.number, entry.decision, entry.decided_by) == ("2026-0001", "refused", "po")


@pytest.mark.rule("E-10", "E-27", "E-26", "E-22")
async def test_each_case_has_its_own_hold_and_the_longest_decides(heusden: Town) -> None:
    """Inzage, klacht en aangifte over hetzelfde: drie bewaarplichten met drie einden."""
    recording = await heusden.store()
    request = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    await case_of(heusden, CaseKind.COMPLAINT, recording)
    await case_of(heusden, CaseKind.AANGIFTE, recording)
    await steps(heusden, request, ("withdraw", {}))
    await heusden.casework.settle("heusden")
    heusden.clock.move(days=100)
    assert await heusden.casework.standing_on("heusden", recording) == ("2026-0002", "2026-0003")
    assert await heusden.state(recording) == "held"


@pytest.mark.rule("E-09")
async def test_a_hold_that_ends_in_time_gives_the_day_back(heusden: Town) -> None:
    """Opgeheven voor dag 28: de oude dag keert terug, door één persoon."""
    recording = await heusden.store()
    before = (await heusden.casework.recording("heusden", recording)).expires_at
    case = await case_of(heusden, CaseKind.COMPLAINT, recording)
    heusden.clock.move(days=10)
    await steps(heusden, case, ("withdraw", {}))
    await heusden.casework.release_hold("heusden", case.holds[0].id, by="po", ground="ingetrokken")
    card = await heusden.casework.recording("heusden", recording)
    assert (card.state, card.expires_at, card.days_left) == ("retained", before, 18)


@pytest.mark.rule("E-45", "H-58", "H-06", "T-19", "T-17")
async def test_learning_holds_nothing_and_is_asked_by_the_officer(heusden: Town) -> None:
    """Leren houdt niets vast en begint alleen bij de medewerker zelf."""
    recording = await heusden.store(officer="boa1")
    assert isinstance(await refused(case_of(heusden, CaseKind.LEARNING, recording, by="cm")), Denied)
    assert isinstance(await refused(case_of(heusden, CaseKind.LEARNING, recording, by="boa2")), Denied)
    case = await case_of(heusden, CaseKind.LEARNING, recording, by="boa1")
    assert (case.state, case.holds) == ("requested", ())
    assert await heusden.state(recording) == "retained"
    assert isinstance(await refused(heusden.casework.take_step("heusden", case.id, "approve", by="po")), Denied)
    case = await heusden.casework.take_step("heusden", case.id, "approve", by="co")
    assert case.state == "approved"


@pytest.mark.rule("T-18", "H-62", "E-04", "E-03")
async def test_a_coordinator_named_in_the_report_may_not_decide(heusden: Town) -> None:
    """Staat de coördinator in de melding als aanwezig, dan beslist de clustermanager."""
    recording = await heusden.store(officer="boa1")
    case = await case_of(heusden, CaseKind.LEARNING, recording, by="boa1")
    await heusden.casework.save_report("heusden", by="boa1", recording=recording, answers={"present_staff": ["co"]})
    involvement = await heusden.casework.involvement("heusden", (recording,))
    assert involvement.people == {"boa1", "co"}
    assert "coordinator" in involvement.roles
    assert isinstance(await refused(heusden.casework.take_step("heusden", case.id, "approve", by="co")), Denied)
    assert (await heusden.casework.take_step("heusden", case.id, "approve", by="cm")).state == "approved"


@pytest.mark.rule("R-19")
async def test_a_demand_is_recorded_whole(heusden: Town) -> None:
    """Een vordering zonder artikel of kenmerk wordt niet geregistreerd."""
    answer = await refused(
        heusden.casework.register_case(
            "heusden", by="po", kind=CaseKind.OM_DEMAND, summary="x", facts={"authority": "OM"}
        )
    )
    assert answer.refusal.code is Code.MALFORMED


@pytest.mark.rule("H-65", "E-23", "H-54")
async def test_only_the_privacy_officer_decides_and_a_representative_shows_authority(heusden: Town) -> None:
    """De privacy officer beslist, per verzoek; een gemachtigde toont zijn machtiging."""
    recording = await heusden.store()
    case = await heusden.casework.register_case(
        "heusden", by="po", kind=CaseKind.ACCESS_REQUEST, summary="x", recordings=(recording,),
        facts={"representative": True},
    )  # fmt: skip
    await steps(heusden, case, ("check_identity", {"method": "DigiD"}))
    answer = await refused(heusden.casework.take_step("heusden", case.id, "assess", by="po"))
    assert "authority" in str(answer)
    await steps(heusden, case, ("assess", {"authority": "volmacht 12 mei"}))
    wish = {"decision": "granted", "reason": "x"}
    assert isinstance(
        await refused(heusden.casework.take_step("heusden", case.id, "decide", by="cm", facts=wish)), Denied
    )
    maybe = {"decision": "perhaps", "reason": "x"}
    answer = await refused(heusden.casework.take_step("heusden", case.id, "decide", by="po", facts=maybe))
    assert answer.refusal.code is Code.MALFORMED
    assert (await steps(heusden, case, ("decide", wish))).state == "decided"


@pytest.mark.rule("E-11")
async def test_an_illegal_step_changes_nothing(heusden: Town) -> None:
    """Een stap die niet kan, verandert niets en noemt wat wel kan."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    entries = len(heusden.ledger.entries)
    answer = await refused(heusden.casework.take_step("heusden", case.id, "close", by="po"))
    assert (answer.refusal.code, answer.refusal.expected) == (Code.CONFLICT, "check_identity | extend | withdraw")
    assert await heusden.casework.case("heusden", case.id) == case
    assert len(heusden.ledger.entries) == entries


@pytest.mark.rule("T-39", "H-09")
async def test_every_denial_says_who_what_and_why(heusden: Town) -> None:
    """Elke weigering staat vast: wie, wat, waarom; ook in het logboek, zonder de woorden."""
    recording = await heusden.store()
    await refused(case_of(heusden, CaseKind.COMPLAINT, recording, by="boa1"))
    await refused(heusden.casework.destroy_by_hand("heusden", recording, by="co", ground="x"))
    found = [(row.who, row.what) for row in await heusden.casework.denials("heusden")]
    assert found == [("co", "recording.destroy"), ("boa1", "case.register complaint")]
    assert heusden.ledger.kinds() == ["denial", "denial"]
    assert all(private for *_, private in heusden.ledger.entries)


@pytest.mark.rule("T-42", "E-47")
async def test_nothing_crosses_municipalities(heusden: Town, rotterdam: Town) -> None:
    """Twee gemeenten, één installatie: andere rechten, en niemand ziet iets van de ander."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.COMPLAINT, recording)
    for act in (
        rotterdam.casework.case("rotterdam", case.id),
        rotterdam.casework.recording("rotterdam", recording),
        rotterdam.casework.release_hold("rotterdam", case.holds[0].id, by="po", ground="x"),
        rotterdam.casework.destroy_by_hand("rotterdam", recording, by="v1", ground="x"),
    ):
        assert (await refused(act)).refusal.code is Code.NOT_FOUND
    assert await rotterdam.casework.cases("rotterdam") == ()
    assert await rotterdam.casework.recordings("rotterdam") == ()
    assert await rotterdam.casework.denials("rotterdam") == []
    other = await rotterdam.store()
    assert isinstance(await refused(case_of(rotterdam, CaseKind.LEARNING, other, by="boa1")), Denied)


async def _destroy(town: Town, recording: str) -> None:
    async with town.database.transaction() as t:
        await t.execute(
            recordings.update()
            .where(recordings.c.id == recording)
            .values(state="destroyed", destroying_at=town.clock(), destroyed_at=town.clock())
        )
        await t.execute(holds.update().where(holds.c.recording == recording).values(state="released"))


async def test_a_longer_list_of_cases_asks_no_more_of_the_database(heusden: Town) -> None:
    """Een lijst van vijf keer zo veel dossiers kost evenveel vragen, en elk dossier staat er net zo in als alleen."""
    asked: list[str] = []
    event.listen(heusden.database.engine.sync_engine, "before_cursor_execute", lambda *told: asked.append(told[2]))

    async def questions() -> int:
        asked.clear()
        await heusden.casework.cases("heusden")
        return len(asked)

    first, second = await heusden.store(), await heusden.store()
    incident = await heusden.casework.open_incident("heusden", by="cm", label="markt", recordings=(first, second))
    about = await case_of(heusden, CaseKind.AANGIFTE, incidents=(incident,))
    counted = []
    for many in (2, 8):
        for _ in range(many):
            await case_of(heusden, CaseKind.ACCESS_REQUEST, await heusden.store(), await heusden.store())
        counted.append(await questions())
    assert counted[0] == counted[1]
    there = await heusden.casework.cases("heusden")
    assert there == tuple([await heusden.casework.case("heusden", each.id) for each in there])
    assert {len(each.recordings) for each in there} == {2}
    assert [each.id for each in await heusden.casework.cases("heusden", recording=second)] == [about.id]
    assert [each.id for each in await heusden.casework.cases("heusden", incident=incident)] == [about.id]
    named = there[0].recordings[1]
    assert await heusden.casework.cases("heusden", recording=named) == there[:1]
