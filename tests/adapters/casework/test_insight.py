"""What can be asked afterwards, and what is recorded so that it can be."""

from collections import Counter
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from broker.wire.policy import CaseKind, Copy
from broker.wire.refusals import Refused
from cloud.casework.casework import Casework
from cloud.casework.counting import observations
from cloud.casework.office import Denied
from cloud.database.tables import activations, cameras, decisions_apart, openings, usage_reports, viewing_requests
from cloud.retention.forgetting import forget_people
from cloud.rules.duties import judge_report
from cloud.rules.quarters import Quarter, quarter_of
from cloud.rules.seats import judge_pair
from cloud.rules.statistics import DIMENSIONS, Figure
from tests.adapters.casework.office import Town
from tests.adapters.casework.test_apart import kept_apart, propose
from tests.adapters.casework.test_cases_holds import CARRIED_OUT, case_of, refusal, steps
from tests.adapters.casework.test_staff_reports import WHOLE


async def denied(act: Awaitable[object]) -> None:
    with pytest.raises(Denied):
        await act


async def viewed(town: Town, case: str, purpose: str, *recordings: str) -> None:
    request = msgspec.json.encode({"v": 1, "recordings": [{"id": each, "first": 1, "last": 9} for each in recordings]})
    async with town.database.transaction() as t:
        await t.execute(
            insert(viewing_requests).values(
                id=town.name(),
                org=town.org,
                case_id=case,
                purpose=purpose,
                state="closed",
                request=request,
                requester="cm",
                second="gs",
                requested_at=town.clock(),
                opened_at=town.clock(),
                closed_at=town.clock(),
                because="",
                statements=[],
            )
        )


@pytest.mark.rule("E-49")
async def test_an_officer_can_ask_who_viewed_footage_he_is_on(heusden: Town) -> None:
    """Wie op de beelden staat, mag weten wie ze bekeek; een ander niet, de toezichthouders wel."""
    mine, other = await heusden.store(officer="boa1"), await heusden.store(officer="boa2")
    case = await case_of(heusden, CaseKind.COMPLAINT, mine, other)
    await viewed(heusden, case.id, "complaint", mine)
    (seen,) = await heusden.casework.viewings("heusden", mine, by="boa1")
    assert (seen.people, seen.purpose, seen.case) == (("cm", "gs"), "complaint", case.id)
    assert await heusden.casework.viewings("heusden", other, by="boa2") == ()
    await denied(heusden.casework.viewings("heusden", mine, by="boa2"))
    assert len(await heusden.casework.viewings("heusden", mine, by="po")) == 1


@pytest.mark.rule("E-05")
async def test_footage_that_never_came_is_named(heusden: Town) -> None:
    """Beelden die uitblijven, komen op de lijst: misschien een datalek."""
    pressed, came = await heusden.press(), await heusden.press()
    await heusden.store(name=came)
    heusden.clock.move(days=7)
    assert await heusden.casework.missing_footage("heusden") == ()
    heusden.clock.move(seconds=1)
    (missing,) = await heusden.casework.missing_footage("heusden")
    assert (missing.recording, missing.official) == (pressed, "boa1")


async def figures_of(town: Town, quarter: Quarter) -> dict[str, Figure]:
    """The figures of this quarter, read when it is counted or, if that was already, now."""
    town.clock.now = max(town.clock(), quarter.counted_at)
    return {each.dimension: each for each in await town.casework.figures(town.org, quarter)}


async def counted_by_now(town: Town, quarter: Quarter) -> dict[str, Counter[str]]:
    """What would be written of this quarter if it were counted at this moment."""
    async with town.database.transaction() as t:
        return {name: Counter(found) for name, found in (await observations(t, town.org, quarter)).items()}


async def cameras_of(town: Town, *teams: str | None) -> None:
    """Let cam-0, cam-1 and so on be of these teams."""
    async with town.database.transaction() as t:
        for at, team in enumerate(teams):
            key = {"public_key": bytes(32), "key_id": bytes([at] * 16), "enrolled_at": town.clock()}
            await t.execute(insert(cameras).values(org=town.org, id=f"cam-{at}", state="enrolled", team=team, **key))


async def report(town: Town, **answers: Any) -> str:
    """One use by boa1, reported."""
    pressed = await town.press(officer="boa1")
    told = {**WHOLE, "reason": "own_safety", "at_risk": "officer", **answers}
    draft = await town.casework.save_report(town.org, by="boa1", recording=pressed, answers=told)
    await town.casework.submit_report(town.org, draft.id, by="boa1")
    return pressed


@pytest.mark.rule("T-43", "R-23", "E-46", "H-59", "R-15")
async def test_figures_name_nobody_and_hide_what_is_small(heusden: Town) -> None:
    """Cijfers: geen naam, geen aantal onder de vijf, en leren telt nooit mee."""
    quarter = quarter_of(heusden.clock())
    for at in range(7):
        await report(heusden, warning_given=at != 0)
    recording = await heusden.store(officer="boa1")
    learning = await case_of(heusden, CaseKind.LEARNING, recording, by="boa1")
    await viewed(heusden, learning.id, "learning", recording)
    found = await figures_of(heusden, quarter)
    assert set(found) == DIMENSIONS - {"feels_safe"}
    assert found["activations"] == Figure(dimension="activations", cells={"2026-06": 7}, total=7, threshold=5)
    assert (found["warning_given"].cells, found["warning_given"].total) == ({}, 7), "one without a warning"
    assert found["activation_reason"].cells == {"own_safety": 7}
    assert found["warned_not_recorded"].cells == {"no": 7}
    assert found["reports_on_time"].cells == {"yes": 7}
    assert found["views_by_purpose"].total == 0
    assert "boa1" not in str(found)


@pytest.mark.rule("T-43", "E-46")
async def test_a_quarter_is_shown_only_when_nothing_can_come_to_it_any_more(heusden: Town) -> None:
    """Wie elke dag kijkt, ziet nooit wat er op één dag gebeurde: eerst niets, daarna altijd hetzelfde."""
    quarter = quarter_of(heusden.clock())
    for _ in range(6):
        await heusden.press()
    for moment in (heusden.clock(), quarter.ends_at, quarter.counted_at - timedelta(seconds=1)):
        heusden.clock.now = moment
        with pytest.raises(Refused, match="2026-2") as caught:
            await heusden.casework.figures(heusden.org, quarter)
        assert "2026-07-29" in caught.value.refusal.expected
    await figures_of(heusden, quarter)
    counted = await counted_by_now(heusden, quarter)
    late = await heusden.press()
    async with heusden.database.transaction() as t:
        await t.execute(
            update(activations).where(activations.c.recording == late).values(activated_at=quarter.begins_at)
        )
    assert await counted_by_now(heusden, quarter) == counted, "a camera that told of it only now"


@pytest.mark.rule("T-43", "E-46")
async def test_a_finished_quarter_says_what_was_true_then(heusden: Town) -> None:
    """Gaat een camera later naar een ander team, dan blijft het kwartaal zoals het was; ook na een herstart."""
    quarter = quarter_of(heusden.clock())
    await cameras_of(heusden, "noord", "zuid")
    for camera, times in (("cam-0", 9), ("cam-1", 7)):
        for _ in range(times):
            await heusden.press(camera=camera)
    heusden.clock.now = quarter.counted_at
    await heusden.casework.settle(heusden.org)
    async with heusden.database.transaction() as t:
        await t.execute(update(cameras).values(team="oost"))
    as_it_was = {"noord": 9, "zuid": 7}
    assert (await figures_of(heusden, quarter))["area"].cells == as_it_was
    heusden.casework = Casework(heusden.database, heusden.ledger, heusden.policies, heusden.clock, heusden.hub)
    assert (await figures_of(heusden, quarter))["area"].cells == as_it_was
    assert heusden.ledger.kinds().count("figures.counted") == 1


@pytest.mark.rule("E-46", "R-04")
async def test_a_press_that_two_people_declared_is_counted_and_said_to_be_declared(heusden: Town) -> None:
    """Verklaarde opnamen tellen mee in hun maand, één keer, en er staat bij dat het een verklaring is."""
    quarter = quarter_of(heusden.clock())
    for _ in range(5):
        await heusden.press()
        decision = await propose(heusden, await kept_apart(heusden))
        await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground="Zelf nagevraagd")
    await propose(heusden, await kept_apart(heusden))  # of one person only
    heard_too = await kept_apart(heusden, activated_at=heusden.clock())
    await heusden.press(name=heard_too)
    decision = await propose(heusden, heard_too, pressed_at=heusden.clock())
    await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground="Zelf nagevraagd")
    found = await figures_of(heusden, quarter)
    assert found["press_known_by"].cells == {"declared": 5, "heard": 6}
    assert found["activations"].cells == {"2026-06": 11}
    async with heusden.database.transaction() as t:
        late = update(decisions_apart).values(confirmed_at=quarter.counted_at)
        await t.execute(late.where(decisions_apart.c.id == decision))
        await t.execute(update(activations).values(received_at=quarter.counted_at))
    known_by = (await counted_by_now(heusden, quarter))["press_known_by"]
    assert known_by == {"declared": 5}, "what was heard and said after it was counted"


@pytest.mark.rule("E-46")
async def test_areas_and_presses_add_up_to_the_same(heusden: Town) -> None:
    """Hangt een camera bij geen gebied, dan telt zij als onbekend: het verschil van twee totalen zegt niets."""
    quarter = quarter_of(heusden.clock())
    await cameras_of(heusden, "noord", "zuid", None)
    for camera, times in (("cam-0", 9), ("cam-1", 7), ("cam-2", 3)):
        for _ in range(times):
            await heusden.press(camera=camera)
    found = await figures_of(heusden, quarter)
    assert found["area"].cells == {"noord": 9, "not_known": None, "zuid": None}
    assert found["area"].total == found["activations"].total == 19


@pytest.mark.rule("E-46", "T-43")
async def test_figures_do_not_melt_when_the_people_of_a_report_are_forgotten(heusden: Town) -> None:
    """Vergeet de termijn ook mensen, dan blijven de aantallen: anders toonde elk verschil één melding."""
    quarter = quarter_of(heusden.clock())
    presses = [await report(heusden, place_kind="public_space") for _ in range(6)]
    draft = await heusden.press()
    await heusden.casework.save_report(heusden.org, by="boa1", recording=draft, answers=WHOLE)
    counted = await counted_by_now(heusden, quarter)
    for recording in (*presses, presses[0], draft):
        await forget_people(heusden.database, heusden.org, recording)
        assert await counted_by_now(heusden, quarter) == counted
    assert await heusden.casework.reports(heusden.org) == ()
    async with heusden.database.transaction() as t:
        left = (await t.execute(select(usage_reports))).all()
    assert {(row.official, row.recording, row.incident) for row in left} == {("", None, None)}
    assert not {row.submitted_at for row in left} - {quarter.begins_at}


@pytest.mark.rule("E-46")
async def test_what_happens_at_the_turn_of_a_quarter_is_counted_once(heusden: Town) -> None:
    """Wie twee kwartalen naast elkaar legt, ziet geen enkel moment in allebei."""
    quarter = quarter_of(heusden.clock())
    heusden.clock.now = quarter.ends_at
    for _ in range(5):
        await heusden.press()
    counted = [(await figures_of(heusden, period))["activations"].total for period in (quarter, quarter.next())]
    assert counted == [0, 5]


@pytest.mark.rule("R-02", "H-04")
@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ({"at_risk": "both"}, True),
        ({"at_risk": "iedereen"}, False),
        ({"aggression_against": "third_party"}, True),
        ({"aggression_against": "Jan"}, False),
        ({"place_kind": "kroeg"}, False),
    ],
)
async def test_a_report_can_say_who_was_at_risk_from_a_list(heusden: Town, answer: dict[str, Any], taken: bool) -> None:
    """Wie gevaar liep en tegen wie het ging, komt uit een lijst."""
    policy = await heusden.policies.current("heusden")
    assert judge_report(policy, {**WHOLE, **answer}).allowed is taken


@pytest.mark.rule("H-54", "H-55", "H-66", "E-24", "L-03")
async def test_the_assessment_is_recorded_and_a_missing_reason_blocks_nothing(heusden: Town) -> None:
    """Per opname: staat de verzoeker erop, worden anderen geschaad; noodzaak mag leeg; het regime staat erbij."""
    recording = await heusden.store()
    await case_of(heusden, CaseKind.AANGIFTE, recording)
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST, recording)
    assessment = {
        "necessity": "",
        "regime": "wpg",
        "per_recording": {recording: {"requester_visible": True, "third_parties": "gezicht van een kind"}},
    }
    case = await steps(heusden, case, ("check_identity", {"method": "DigiD"}), ("assess", assessment))
    assert case.steps[-1].facts == assessment
    assert case.facts["regime"] == "wpg"
    sent = heusden.clock().date().isoformat()
    case = await steps(heusden, case, *refusal(sent)[2:])
    assert case.state == "objection_window", "also with a criminal case running a refusal can be fought"


@pytest.mark.rule("E-20", "E-21", "H-69")
@pytest.mark.parametrize("decision", ["not_on_footage", "no_footage"])
async def test_not_found_is_a_decision_that_can_be_fought(heusden: Town, decision: str) -> None:
    """Niet op de beelden of geen beelden: een besluit met bezwaar, en de zoekvraag blijft bewaard."""
    now = heusden.clock()
    recording = await heusden.store()
    case = await heusden.casework.emergency_hold(
        "heusden", by="po", kind=CaseKind.ACCESS_REQUEST, summary="x",
        from_at=now - timedelta(hours=1), until_at=now, officer="boa1",
    )  # fmt: skip
    case = await steps(
        heusden,
        case,
        ("check_identity", {"method": "DigiD"}),
        ("assess", {}),
        ("decide", {"decision": decision, "reason": "niet gevonden"}),
        ("send_refusal", {"sent_on": now.date().isoformat()}),
    )
    assert case.state == "objection_window"
    assert case.facts["searched"]["officer"] == "boa1"
    assert case.recordings == (recording,)
    with pytest.raises(Refused, match="carry_out"):
        await heusden.casework.take_step("heusden", case.id, "carry_out", by="po", facts=CARRIED_OUT)


@pytest.mark.rule("E-28")
async def test_an_officer_who_asks_as_a_citizen_gets_the_citizens_rules(heusden: Town) -> None:
    """Vraagt een medewerker inzage als betrokkene, dan gelden de regels voor inzage, niet die voor leren."""
    recording = await heusden.store(officer="boa1")
    case = await heusden.casework.register_case(
        "heusden", by="po", kind=CaseKind.ACCESS_REQUEST, summary="medewerker vraagt inzage", recordings=(recording,),
        facts={"requester_is_staff": True},
    )  # fmt: skip
    assert [hold.state for hold in case.holds] == ["active"]
    policy = await heusden.policies.current("heusden")
    officer, po = await heusden.casework.person("heusden", "boa1"), await heusden.casework.person("heusden", "po")
    involvement = await heusden.casework.involvement("heusden", (recording,))
    verdict = judge_pair(
        policy=policy, purpose="access_request", case_kind="access_request", case_open=True,
        requester=po, second=officer, involvement=involvement, learner="boa1",
    )  # fmt: skip
    assert not verdict
    assert policy.purposes["access_request"].copy is Copy.NO_COPY


@pytest.mark.rule("E-37", "E-36", "H-34")
async def test_the_reason_of_a_destruction_by_hand_is_kept(heusden: Town) -> None:
    """Waarom iemand met de hand vernietigde, blijft na te gaan."""
    recording = await heusden.store()
    await heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="camera ging per ongeluk aan")
    async with heusden.database.transaction() as t:
        assert (await t.execute(select(openings.c.text))).scalars().all() == ["camera ging per ongeluk aan"]
    assert heusden.ledger.entries[-1][:3] == ("destruction.proposed", recording, "po")
