"""People, reports, cameras, hand-overs and policies."""

from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from broker.wire.policy import CaseKind, PolicyError
from broker.wire.refusals import Code, Refused
from cloud.casework.office import Denied
from cloud.database.tables import cameras, device_changes, recordings, usage_reports, wearer_corrections
from cloud.rules.rights import DEMAND_FIELDS
from tests.adapters.casework.office import Town
from tests.rules.rules.towns import changed_text, document

KEY = bytes(range(32))
WHOLE: dict[str, Any] = {
    "cause": "dreiging",
    "event": "duwen",
    "bystanders_informed": True,
    "how": "mondeling",
    "when": "20:14",
}


async def denied(act: Awaitable[object]) -> Denied:
    with pytest.raises(Denied) as caught:
        await act
    return caught.value


def substitute(town: Town, **facts: Any) -> Awaitable[str]:
    now = town.clock()
    plain: dict[str, Any] = {
        "by": "gs",
        "role": "privacy_officer",
        "replaced": "po",
        "substitute": "jz",
        "from_at": now,
        "until_at": now + timedelta(days=14),
        "ground": "vakantie",
    }
    return town.casework.appoint_substitute(town.org, **{**plain, **facts})


@pytest.mark.rule("T-24", "R-16")
async def test_a_third_viewer_is_appointed_only_after_one_is_withdrawn(rotterdam: Town) -> None:
    """Een derde geautoriseerde persoon wordt geweigerd tot er een is ingetrokken."""
    await denied(rotterdam.casework.appoint("rotterdam", by="fb", official="v3", role="authorised_viewer"))
    await rotterdam.casework.withdraw("rotterdam", by="fb", official="v1", role="authorised_viewer")
    await rotterdam.casework.appoint("rotterdam", by="fb", official="v3", role="authorised_viewer")
    people = {card.id: card.person.roles for card in await rotterdam.casework.officials("rotterdam")}
    assert "authorised_viewer" in people["v3"]
    assert "authorised_viewer" not in people["v1"]
    assert rotterdam.ledger.kinds() == ["denial", "roster.changed", "roster.changed"]


async def test_a_role_that_somebody_does_not_hold_is_not_taken_and_nothing_is_written(rotterdam: Town) -> None:
    """Wie een rol niet heeft, nooit had of al kwijt is, kan haar niet verliezen: dat wordt gezegd, en niet geboekt."""
    await rotterdam.casework.withdraw("rotterdam", by="fb", official="v1", role="authorised_viewer")
    for official, role in (("v1", "authorised_viewer"), ("v2", "coordinator"), ("boa1", "officer"), ("nobody", "x")):
        with pytest.raises(Refused, match="role that this person was given") as caught:
            await rotterdam.casework.withdraw("rotterdam", by="fb", official=official, role=role)
        assert caught.value.refusal.code is Code.CONFLICT
    assert rotterdam.ledger.kinds() == ["roster.changed"]
    roles = {card.id: card.person.roles for card in await rotterdam.casework.officials("rotterdam")}
    assert "authorised_viewer" in roles["v2"], "another holder keeps it"
    rotterdam.clock.move(seconds=-1)
    assert "authorised_viewer" in (await rotterdam.casework.person("rotterdam", "v1")).roles, "until then he held it"


async def test_nobody_appoints_himself_or_gives_an_unknown_role(heusden: Town) -> None:
    """Niemand geeft zichzelf een rol, en een rol die het beleid niet kent bestaat niet."""
    await denied(heusden.casework.appoint("heusden", by="fb", official="fb", role="privacy_officer"))
    await denied(heusden.casework.appoint("heusden", by="boa1", official="boa2", role="privacy_officer"))
    with pytest.raises(Refused, match="role"):
        await heusden.casework.appoint("heusden", by="fb", official="jz", role="mayor")
    with pytest.raises(Refused, match="official"):
        await heusden.casework.appoint("heusden", by="fb", official="nobody", role="coordinator")


@pytest.mark.rule("H-48", "E-02", "E-01")
async def test_a_substitution_gives_rights_for_its_period_only(heusden: Town) -> None:
    """Vervanging geeft rechten van begin tot eind, en stopt eerder als iemand haar beëindigt."""
    await substitute(heusden, from_at=heusden.clock() + timedelta(days=1))
    assert (await heusden.casework.person("heusden", "jz")).substitutes == {}
    heusden.clock.move(days=2)
    assert (await heusden.casework.person("heusden", "jz")).substitutes == {"privacy_officer": "po"}
    heusden.clock.move(days=13)
    assert (await heusden.casework.person("heusden", "jz")).substitutes == {}
    again = await substitute(heusden)
    await heusden.casework.end_substitution("heusden", again, by="po")
    assert (await heusden.casework.person("heusden", "jz")).substitutes == {}


@pytest.mark.rule("H-48", "E-02")
async def test_a_substitution_that_may_not_be_is_denied(heusden: Town, rotterdam: Town) -> None:
    """Niet door wie niet mag, niet voor zichzelf, niet met terugwerkende kracht, niet waar vervanging niet bestaat."""
    await denied(substitute(heusden, by="boa1"))
    await denied(substitute(heusden, substitute="gs"))
    await denied(substitute(heusden, from_at=heusden.clock() - timedelta(days=1)))
    await denied(substitute(heusden, replaced="cm"))
    await denied(substitute(rotterdam, by="fb", role="authorised_viewer", replaced="v1", substitute="v3"))
    assert heusden.ledger.kinds() == ["denial"] * 5


@pytest.mark.rule("E-48")
async def test_who_leaves_has_no_rights_the_same_day(heusden: Town) -> None:
    """Uit dienst: dezelfde dag geen rechten meer, de naam blijft in oude regels."""
    recording = await heusden.store()
    await heusden.leave("po")
    heusden.clock.move(seconds=1)
    await denied(heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="x"))
    assert all(card.id != "po" for card in await heusden.casework.officials("heusden"))


@pytest.mark.rule("E-43")
async def test_the_wearer_is_corrected_and_the_old_value_stays(heusden: Town) -> None:
    """Droeg een ander de camera, dan corrigeert de coördinator dat; de oude waarde blijft leesbaar."""
    recording = await heusden.store(officer="boa1")
    await denied(heusden.casework.correct_wearer("heusden", recording, by="boa1", official="boa2", ground="wissel"))
    await heusden.casework.correct_wearer("heusden", recording, by="co", official="boa2", ground="wissel")
    assert (await heusden.casework.recording("heusden", recording)).official == "boa2"
    async with heusden.database.transaction() as t:
        (row,) = (await t.execute(select(wearer_corrections))).all()
    assert (row.was, row.becomes, row.by) == ("boa1", "boa2", "co")


@pytest.mark.rule("H-28", "H-29", "E-05")
async def test_a_report_is_made_without_footage_and_reaches_the_coordinator(heusden: Town) -> None:
    """De melding kan zonder beelden, en gaat naar de coördinator."""
    await heusden.shift("boa1", hours=4)
    pressed = await heusden.press()
    draft = await heusden.casework.save_report("heusden", by="boa1", recording=pressed, answers={"cause": "dreiging"})
    assert draft.due_at == heusden.clock() + timedelta(hours=4)
    await denied(heusden.casework.submit_report("heusden", draft.id, by="boa1"))
    await heusden.casework.save_report("heusden", by="boa1", report=draft.id, answers=WHOLE)
    done = await heusden.casework.submit_report("heusden", draft.id, by="boa1")
    assert (done.state, done.notified, done.late) == ("submitted", ("co",), False)
    assert await heusden.casework.owed("heusden") == ()


@pytest.mark.rule("T-31", "E-03", "H-29")
async def test_an_absent_coordinator_is_passed_over(heusden: Town) -> None:
    """Is de coördinator afwezig, dan krijgt de clustermanager de melding."""
    until = heusden.clock() + timedelta(days=3)
    await heusden.casework.mark_absent("heusden", by="co", official="co", until_at=until)
    draft = await heusden.casework.save_report("heusden", by="boa1", answers=WHOLE)
    assert (await heusden.casework.submit_report("heusden", draft.id, by="boa1")).notified == ("cm",)


@pytest.mark.rule("T-32", "H-30")
async def test_a_report_without_how_is_refused(heusden: Town) -> None:
    """Zonder 'hoe ingelicht' wordt de melding geweigerd, en genoemd wat ontbreekt."""
    answers = {name: answer for name, answer in WHOLE.items() if name != "how"}
    draft = await heusden.casework.save_report("heusden", by="boa1", answers=answers)
    refusal = await denied(heusden.casework.submit_report("heusden", draft.id, by="boa1"))
    assert refusal.refusal.code is Code.MALFORMED
    assert "hoe zij zijn geïnformeerd" in refusal.verdict.waarom


@pytest.mark.rule("T-30", "H-28")
async def test_a_missing_report_is_overdue_at_the_end_of_the_shift(heusden: Town) -> None:
    """Einde dienst zonder melding: op de lijst, herinnering aan drager en coördinator."""
    await heusden.shift("boa1", hours=4)
    pressed = await heusden.press()
    assert await heusden.casework.overdue_reports("heusden") == ()
    heusden.clock.move(hours=4, seconds=1)
    ((late, to),) = await heusden.casework.overdue_reports("heusden")
    assert (late.recording, late.official, to) == (pressed, "boa1", ("boa1", "co"))


async def test_a_report_is_the_wearers_own(heusden: Town) -> None:
    """Een ander meldt niet voor mij, en verandert mijn melding niet."""
    recording = await heusden.store(officer="boa1")
    await denied(heusden.casework.save_report("heusden", by="boa2", recording=recording, answers=WHOLE))
    mine = await heusden.casework.save_report("heusden", by="boa1", recording=recording, answers=WHOLE)
    with pytest.raises(Refused, match="report"):
        await heusden.casework.save_report("heusden", by="boa2", report=mine.id, answers={"cause": "anders"})
    await denied(heusden.casework.submit_report("heusden", mine.id, by="boa2"))
    assert [report.id for report in await heusden.casework.reports("heusden", of="boa1")] == [mine.id]


@pytest.mark.rule("R-17", "R-03")
async def test_a_report_that_differs_is_flagged_and_blocks_nothing(rotterdam: Town) -> None:
    """Geen waarschuwing en een vreemde reden: gemeld aan wie het aangaat, de beelden blijven."""
    recording = await rotterdam.store()
    answers = {"cause": "x", "event": "y", "warning_given": False, "when": "20:14", "reason": "own_safety"}
    draft = await rotterdam.casework.save_report("rotterdam", by="boa1", recording=recording, answers=answers)
    done = await rotterdam.casework.submit_report("rotterdam", draft.id, by="boa1")
    assert set(done.flags) == {"no_warning", "reason_not_listed"}
    assert await rotterdam.state(recording) == "retained"


@pytest.mark.rule("H-25", "E-16", "E-17")
async def test_recordings_of_one_incident_are_grouped_and_held_together(heusden: Town) -> None:
    """Aan, uit, aan: één incident, en een dossier erop houdt alles vast."""
    first, other, apart = await heusden.store(), await heusden.store(), await heusden.store()
    incident = await heusden.casework.open_incident("heusden", by="boa1", label="markt", recordings=(first,))
    await heusden.casework.register_case(
        "heusden", by="po", kind=CaseKind.COMPLAINT, summary="x", incidents=(incident,)
    )
    assert [await heusden.state(each) for each in (first, other, apart)] == ["held", "retained", "retained"]
    await heusden.casework.join_incident("heusden", incident, by="boa1", recordings=(other,))
    assert await heusden.state(other) == "held"
    cards = await heusden.casework.recordings("heusden", incident=incident)
    assert {card.id for card in cards} == {first, other}


@pytest.mark.rule("T-22", "H-33")
async def test_only_the_coordinator_adds_and_removes_cameras(heusden: Town) -> None:
    """De coördinator voegt toe en verwijdert, met een reden; clustermanager en privacy officer niet."""
    for other in ("cm", "po", "gs", "boa1", "fb"):
        await denied(heusden.casework.add_camera("heusden", "cam-90", by=other, public_key=KEY, reason="extension"))
    await heusden.casework.add_camera("heusden", "cam-90", by="co", public_key=KEY, reason="extension")
    with pytest.raises(Refused, match="reason"):
        await heusden.casework.remove_camera("heusden", "cam-90", by="co", reason="zomaar")  # type: ignore[arg-type]
    await heusden.casework.remove_camera("heusden", "cam-90", by="co", reason="loss")
    with pytest.raises(Refused, match="cam-90"):
        await heusden.casework.add_camera("heusden", "cam-90", by="co", public_key=KEY, reason="extension")
    async with heusden.database.transaction() as t:
        assert (await t.execute(select(cameras.c.state))).scalar_one() == "lost"
        changes = (await t.execute(select(device_changes.c.change, device_changes.c.reason))).all()
    assert sorted(tuple(row) for row in changes) == [("add", "extension"), ("remove", "loss")]


@pytest.mark.rule("T-23", "H-51", "E-01", "H-52", "E-40", "H-50")
async def test_a_hand_over_by_the_substitute_is_recorded_as_such_until_receipt(heusden: Town) -> None:
    """Verstrekken door de clustermanager kan alleen als vervanger, en eindigt met de ontvangst."""
    recording = await heusden.store()
    demand = dict.fromkeys(DEMAND_FIELDS, "x")
    case = await heusden.casework.register_case(
        "heusden", by="po", kind=CaseKind.OM_DEMAND, summary="x", recordings=(recording,), facts=demand
    )
    office = heusden.casework

    def prepare(to: str = "om") -> Awaitable[str]:
        return office.prepare_disclosure("heusden", case.id, by="cm", recipient=to, recordings=(recording,))

    await denied(prepare())
    await substitute(heusden, substitute="cm")
    await denied(prepare("press"))
    identity = await prepare()
    with pytest.raises(Refused, match="disclosure"):
        await office.deliver_disclosure("heusden", identity, by="cm", package_sha256="ab" * 32)
    await office.approve_disclosure("heusden", identity, by="cm")
    await office.deliver_disclosure("heusden", identity, by="cm", package_sha256="ab" * 32)
    heusden.clock.move(days=1)
    await office.confirm_receipt("heusden", identity, by="po", received_at=heusden.clock(), receipt="brief 12")
    row = await office.disclosure("heusden", identity)
    assert (row.state, row.substitute_of, row.package_sha256) == ("receipt_confirmed", "po", "ab" * 32)
    assert row.receipt_at == heusden.clock()
    with pytest.raises(Refused, match="disclosure"):
        await office.withdraw_disclosure("heusden", identity, by="po")
    assert "disclosure.made" in heusden.ledger.kinds()
    assert len(await office.disclosures("heusden", case=case.id)) == 1
    assert await heusden.state(recording) == "held"


@pytest.mark.rule("E-01")
async def test_a_substitution_that_ended_no_longer_delivers(heusden: Town) -> None:
    """Eindigt de vervanging tussentijds, dan gaat er niets meer uit."""
    recording = await heusden.store()
    demand = dict.fromkeys(DEMAND_FIELDS, "x")
    case = await heusden.casework.register_case(
        "heusden", by="po", kind=CaseKind.OM_DEMAND, summary="x", recordings=(recording,), facts=demand
    )
    await substitute(heusden, substitute="cm", until_at=heusden.clock() + timedelta(days=1))
    identity = await heusden.casework.prepare_disclosure(
        "heusden", case.id, by="cm", recipient="police", recordings=(recording,)
    )
    heusden.clock.move(days=2)
    await denied(heusden.casework.approve_disclosure("heusden", identity, by="cm"))
    await heusden.casework.approve_disclosure("heusden", identity, by="po")
    await denied(heusden.casework.deliver_disclosure("heusden", identity, by="cm", package_sha256="00" * 32))
    assert (await heusden.casework.disclosure("heusden", identity)).state == "approved"
    assert "disclosure.made" not in heusden.ledger.kinds()
    outside = await heusden.store()
    with pytest.raises(Refused, match="recordings of this case"):
        await heusden.casework.prepare_disclosure(
            "heusden", case.id, by="po", recipient="police", recordings=(outside,)
        )


@pytest.mark.rule("E-36", "H-34", "T-22", "E-04c")
async def test_destruction_by_hand_takes_two_different_people(heusden: Town) -> None:
    """Vernietigen met de hand: één stelt voor, een ander bevestigt; de coördinator nooit."""
    recording = await heusden.store()
    await denied(heusden.casework.destroy_by_hand("heusden", recording, by="co", ground="x"))
    assert await heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="per abuis") == "proposed"
    await denied(heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="per abuis"))
    assert await heusden.state(recording) == "retained"
    assert await heusden.casework.destroy_by_hand("heusden", recording, by="cm", ground="per abuis") == "destroying"
    assert await heusden.state(recording) == "destroying"


@pytest.mark.rule("E-13", "E-44")
async def test_restricted_footage_waits_for_a_decision(heusden: Town) -> None:
    """Afwijkende beelden wachten op een besluit van de privacy officer."""
    recording = await heusden.store(state="restricted")
    await denied(heusden.casework.decide_restricted("heusden", recording, by="co", keep=True, ground="x"))
    assert await heusden.casework.decide_restricted("heusden", recording, by="po", keep=True, ground="x") == "retained"
    other = await heusden.store(state="restricted")
    answer = await heusden.casework.decide_restricted("heusden", other, by="po", keep=False, ground="te veel")
    assert answer == "proposed"


async def expiry(town: Town, recording: str) -> datetime:
    return (await town.casework.recording(town.org, recording)).expires_at


@pytest.mark.rule("T-40", "E-18", "H-01")
async def test_a_stricter_policy_counts_for_what_is_there_and_a_looser_one_does_not(heusden: Town) -> None:
    """Versie 2 met veertien dagen vervroegt; versie 3 met negentig dagen laat alles staan."""
    recording = await heusden.store()
    ended = heusden.clock()
    for version, days, expected in ((2, 14, 14), (3, 90, 14)):
        heusden.clock.move(days=1)
        text = changed_text("heusden", ("version = 1", f"version = {version}"), ("days = 28", f"days = {days}"))
        await heusden.policies.adopt(text, by="college", ledger=heusden.ledger, clock=heusden.clock)
        assert await expiry(heusden, recording) == ended + timedelta(days=expected)
    assert (await heusden.policies.of("heusden", ended)).retention.days == 28
    assert (await heusden.policies.of("heusden", ended + timedelta(days=1))).retention.days == 14
    assert (await heusden.policies.current("heusden")).version == 3
    assert (await heusden.policies.of("heusden", ended - timedelta(days=999))).version == 1


@pytest.mark.rule("E-18")
async def test_a_new_policys_grace_after_a_hold_is_for_new_footage(heusden: Town) -> None:
    """Krijgt versie 2 uitloop na een bewaarplicht, dan houden beelden van daarvoor hun eigen dag."""
    old = await heusden.store()
    before = await expiry(heusden, old)
    text = changed_text(
        "heusden",
        ("version = 1", "version = 2"),
        ('on_release = "next_run"', 'on_release = "grace_days"'),
        ('grace_days = "none"', "grace_days = 90"),
    )
    await heusden.policies.adopt(text, by="college", ledger=heusden.ledger, clock=heusden.clock)
    new = await heusden.store()
    async with heusden.database.transaction() as t:
        await t.execute(update(recordings).where(recordings.c.id == new).values(policy_version=2))
    await heusden.casework.register_case(
        "heusden", by="po", kind=CaseKind.COMPLAINT, summary="noodrem", recordings=[old, new], provisional=True
    )
    lapsed = heusden.clock.move(days=8)
    await heusden.casework.settle("heusden")
    assert (await expiry(heusden, old), await expiry(heusden, new)) == (before, lapsed + timedelta(days=90))


async def test_a_policy_is_adopted_in_order_or_not_at_all(heusden: Town) -> None:
    """Geen versie overslaan, geen bestand met fouten, geen onbekende gemeente."""
    with pytest.raises(Refused, match="version 2"):
        await heusden.policies.adopt(document("heusden"), by="x", ledger=heusden.ledger, clock=heusden.clock)
    with pytest.raises(PolicyError):
        await heusden.policies.adopt("schema = 1", by="x", ledger=heusden.ledger, clock=heusden.clock)
    with pytest.raises(Refused, match="nowhere"):
        await heusden.policies.current("nowhere")
    assert heusden.ledger.entries == []


async def test_the_list_of_recordings_can_be_narrowed(heusden: Town) -> None:
    """De lijst van opnamen is te beperken op stand, camera, medewerker, tijd en dossier."""
    first = await heusden.store(camera="cam-01", officer="boa1")
    heusden.clock.move(days=2)
    other = await heusden.store(camera="cam-02", officer="boa2")
    office, now = heusden.casework, heusden.clock()
    case = await office.register_case("heusden", by="po", kind=CaseKind.COMPLAINT, summary="x", recordings=(first,))

    async def found(**wanted: Any) -> list[str]:
        return [card.id for card in await office.recordings("heusden", **wanted)]

    assert await found() == [other, first]
    assert await found(camera="cam-02") == [other]
    assert await found(official="boa1") == [first]
    assert await found(states=("held",)) == [first]
    assert await found(from_at=now - timedelta(hours=1)) == [other]
    assert await found(until_at=now - timedelta(hours=1)) == [first]
    assert await found(case=case.id) == [first]
    assert (await office.recording("heusden", other)).days_left == 28
    async with heusden.database.transaction() as t:
        assert (await t.execute(select(recordings.c.id))).scalars().all()
        assert (await t.execute(select(usage_reports))).all() == []
