"""What is refused changes nothing: steps that are not there, facts nobody was asked for, acts of who may not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from broker.wire.policy import CaseKind, EndsWhen, Recipient
from broker.wire.refusals import Code, Refused
from cloud.casework.cases import STEPS, Case
from cloud.casework.office import Denied
from cloud.database.tables import cases, denials, proposals
from cloud.rules import lifecycles
from tests.adapters.casework.office import Town
from tests.adapters.casework.test_cases_holds import case_of, refused, steps

EVERYTHING = {
    "method": "DigiD", "decision": "granted", "reason": "r", "attendees": ["b"], "told_no_copy": True,
    "sent_on": "2026-06-01", "objected_on": "2026-06-01", "objection_sent_on": "2026-06-01", "upheld": False,
    "appealed_on": "2026-06-01", "judged_final_on": "2026-06-01", "recordings": ["r"], "who": "OvJ",
    "date": "2026-06-01", "reference": "PL",
}  # fmt: skip


async def unchanged(town: Town, case: Case, act: Awaitable[object]) -> Refused:
    """The act is refused, and neither the case nor its holds nor the ledger have moved."""
    entries = [kind for kind in town.ledger.kinds() if kind != "denial"]
    answer = await refused(act)
    assert await town.casework.case(town.org, case.id) == case
    assert [kind for kind in town.ledger.kinds() if kind != "denial"] == entries
    return answer


@pytest.mark.rule("H-40", "H-41", "H-42")
@pytest.mark.parametrize("kind", list(dict.fromkeys(lifecycles.of_case(each).name for each in CaseKind)))
async def test_no_step_that_the_lifecycle_does_not_have_is_taken(heusden: Town, kind: str) -> None:
    """In elke stand: wat niet in de tabel staat, wordt geweigerd en verandert niets."""
    lifecycle = next(each for each in lifecycles.ALL if each.name == kind)
    of_kind = next(each for each in CaseKind if lifecycles.of_case(each) is lifecycle)
    if of_kind is CaseKind.LEARNING:
        case = await case_of(heusden, of_kind, await heusden.store(), by="boa1")
    elif lifecycle is lifecycles.OTHER:
        case = await case_of(heusden, CaseKind.COMPLAINT)
        async with heusden.database.transaction() as t:
            await t.execute(cases.update().values(kind=CaseKind.OTHER_LEGAL.value))
    else:
        case = await case_of(heusden, of_kind)
    for state in sorted(lifecycle.states):
        async with heusden.database.transaction() as t:
            await t.execute(cases.update().values(state=state))
        case = await heusden.casework.case("heusden", case.id)
        for event in STEPS:
            if (state, event) in lifecycle.moves:
                continue
            facts = {name: EVERYTHING[name] for name in STEPS[event].facts}
            step = heusden.casework.take_step("heusden", case.id, event, by="po", facts=facts)
            assert (await unchanged(heusden, case, step)).refusal.code is Code.CONFLICT, (state, event)


@pytest.mark.rule("H-40", "H-41", "H-42", "E-39")
@pytest.mark.parametrize(
    ("kind", "step", "facts"),
    [
        (CaseKind.AANGIFTE, "handle", {"consents": "RECORDING"}),
        (CaseKind.COMPLAINT, "handle", {"withdrawn": "ja"}),
        (
            CaseKind.ACCESS_REQUEST,
            "check_identity",
            {"method": "DigiD", "decision": "refused", "sent_on": "2020-01-01"},
        ),
        (CaseKind.ACCESS_REQUEST, "check_identity", {"method": "DigiD", "carried_out_at": "2020-01-01"}),
        (CaseKind.ACCESS_REQUEST, "extend", {"reason": "druk", "extended": ""}),
    ],
)
async def test_a_step_says_what_it_is_asked_and_nothing_that_ends_a_hold(
    heusden: Town, kind: CaseKind, step: str, facts: dict[str, Any]
) -> None:
    """Een stap vult alleen in wat erbij hoort: niemand schrijft er een akkoord of een afloop bij."""
    recording = await heusden.store()
    case = await case_of(heusden, kind, recording)
    said = {name: recording if value == "RECORDING" else value for name, value in facts.items()}
    answer = await unchanged(heusden, case, heusden.casework.take_step("heusden", case.id, step, by="po", facts=said))
    assert answer.refusal.code is Code.MALFORMED
    under_hold = await refused(heusden.casework.release_hold("heusden", case.holds[0].id, by="po", ground="x"))
    assert under_hold.refusal.code is Code.UNDER_HOLD


@pytest.mark.rule("E-12", "H-41")
async def test_only_an_emergency_hold_is_confirmed_and_only_once(heusden: Town) -> None:
    """Bevestigen kan alleen een noodrem, en eenmaal; een gewoon of afgesloten dossier krijgt zo geen feiten."""
    recording = await heusden.store()
    plain = await case_of(heusden, CaseKind.COMPLAINT, recording)
    brake = await case_of(heusden, CaseKind.COMPLAINT, recording, provisional=True)
    lapsed = await case_of(heusden, CaseKind.COMPLAINT, recording, provisional=True)

    def confirm(case: Case, **facts: Any) -> Awaitable[Case]:
        return heusden.casework.confirm_case("heusden", case.id, by="po", facts=facts)

    assert (await unchanged(heusden, plain, confirm(plain, withdrawn=True))).refusal.code is Code.CONFLICT
    assert (await unchanged(heusden, brake, confirm(brake, withdrawn=True))).refusal.code is Code.MALFORMED
    confirmed = await confirm(brake)
    assert [hold.state for hold in confirmed.holds] == ["active"]
    assert (await unchanged(heusden, confirmed, confirm(confirmed))).refusal.code is Code.CONFLICT
    lapsed = await steps(heusden, lapsed, ("withdraw", {}))
    assert (await unchanged(heusden, lapsed, confirm(lapsed))).refusal.code is Code.CONFLICT


@pytest.mark.rule("L-01", "L-10")
@pytest.mark.parametrize("kind", [CaseKind.ACCESS_REQUEST, CaseKind.COMPLAINT])
async def test_a_term_is_extended_once_and_that_of_a_request_only_while_it_runs(heusden: Town, kind: CaseKind) -> None:
    """Eenmaal verlengen; bij inzage alleen binnen de eerste maand: daarna is het te laat."""
    before: tuple[tuple[str, dict[str, Any]], ...] = () if kind is CaseKind.ACCESS_REQUEST else (("handle", {}),)
    once, late = [await steps(heusden, await case_of(heusden, kind), *before) for _ in range(2)]
    assert late.answer_by is not None
    once = await steps(heusden, once, ("extend", {"reason": "veel opnamen"}))
    again = heusden.casework.take_step("heusden", once.id, "extend", by="po", facts={"reason": "nog meer"})
    assert isinstance(await unchanged(heusden, once, again), Denied)
    heusden.clock.move(days=(late.answer_by - heusden.clock().date()).days + 1)
    too_late = heusden.casework.take_step("heusden", late.id, "extend", by="po", facts={"reason": "druk"})
    if kind is CaseKind.ACCESS_REQUEST:
        assert isinstance(await refused(too_late), Denied)
    else:
        assert (await too_late).facts["extended"]


@pytest.mark.rule("H-60", "E-45")
async def test_a_learning_request_grows_only_by_the_officers_own_footage_and_holds_nothing(heusden: Town) -> None:
    """Een leerverzoek groeit alleen door de medewerker zelf, met eigen beelden; er komt geen bewaarplicht van."""
    mine, also_mine, other = await heusden.store(), await heusden.store(), await heusden.store(officer="boa2")
    case = await case_of(heusden, CaseKind.LEARNING, mine, by="boa1")

    def add(recording: str, by: str) -> Awaitable[Case]:
        return heusden.casework.add_to_case("heusden", case.id, by=by, recordings=(recording,))

    assert isinstance(await unchanged(heusden, case, add(also_mine, "po")), Denied)
    assert isinstance(await unchanged(heusden, case, add(other, "boa1")), Denied)
    grown = await add(also_mine, "boa1")
    assert (set(grown.recordings), grown.holds) == ({mine, also_mine}, ())
    assert "hold.placed" not in heusden.ledger.kinds()


@pytest.mark.rule("E-36", "H-34")
async def test_what_nobody_proposed_is_not_withdrawn_and_what_was_withdrawn_is_not_confirmed(heusden: Town) -> None:
    """Intrekken kan alleen wat voorgesteld is; een ingetrokken voorstel telt niet als eerste persoon."""
    recording, casework = await heusden.store(), heusden.casework
    answer = await refused(casework.withdraw_destruction("heusden", recording, by="po"))
    assert answer.refusal.code is Code.CONFLICT
    assert heusden.ledger.kinds() == []
    assert await casework.destroy_by_hand("heusden", recording, by="po", ground="x") == "proposed"
    append = heusden.ledger.append

    async def withdrawn_meanwhile(kind: str, **facts: Any) -> Any:
        if kind == "destruction.confirmed":
            await casework.withdraw_destruction("heusden", recording, by="po")
        return await append(kind, **facts)

    heusden.ledger.append = withdrawn_meanwhile  # type: ignore[method-assign]
    answer = await refused(casework.destroy_by_hand("heusden", recording, by="cm", ground="y"))
    assert answer.refusal.code is Code.CONFLICT
    assert await heusden.state(recording) == "retained"


@pytest.mark.rule("C-18", "E-11", "T-06")
async def test_a_hold_that_comes_between_the_second_word_and_the_act_wins(heusden: Town) -> None:
    """Komt er een klacht terwijl de tweede bevestigt, dan blijven de beelden, en staat de weigering geboekt."""
    recording, casework = await heusden.store(), heusden.casework
    await casework.destroy_by_hand("heusden", recording, by="po", ground="x")
    append = heusden.ledger.append

    async def complained_meanwhile(kind: str, **facts: Any) -> Any:
        if kind == "destruction.confirmed":
            heusden.ledger.append = append  # type: ignore[method-assign]
            await case_of(heusden, CaseKind.COMPLAINT, recording)
        return await append(kind, **facts)

    heusden.ledger.append = complained_meanwhile  # type: ignore[method-assign]
    answer = await refused(casework.destroy_by_hand("heusden", recording, by="cm", ground="y"))
    assert answer.refusal.code is Code.UNDER_HOLD
    assert await heusden.state(recording) == "held"


@pytest.mark.rule("E-12", "H-33")
async def test_nothing_is_received_in_the_future_and_no_camera_comes_without_a_reason_of_the_list(
    heusden: Town,
) -> None:
    """Ontvangen is ontvangen: niet morgen. En een camera komt of gaat met een reden uit de lijst."""
    tomorrow = heusden.clock() + timedelta(days=1)
    assert (await refused(case_of(heusden, CaseKind.COMPLAINT, received_at=tomorrow))).refusal.code is Code.MALFORMED
    why: Any = "zomaar"
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for act in (
        heusden.casework.add_camera("heusden", "cam-90", by="co", public_key=key, reason=why),
        heusden.casework.remove_camera("heusden", "cam-01", by="co", reason=why),
    ):
        assert (await refused(act)).refusal.code is Code.MALFORMED
    assert set(heusden.ledger.kinds()) <= {"denial"}


@pytest.mark.rule("E-36")
async def test_two_people_who_propose_at_once_leave_one_proposal(heusden: Town) -> None:
    """Stellen twee mensen tegelijk vernietiging voor, dan staat er één voorstel en kan een ander het bevestigen."""
    recording, casework = await heusden.store(), heusden.casework
    asked = [casework.destroy_by_hand("heusden", recording, by=by, ground="x") for by in ("po", "cm")]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    async with heusden.database.transaction() as t:
        query = select(func.count()).select_from(proposals).where(proposals.c.subject == recording)
        assert (await t.execute(query)).scalar_one() == 1
    assert sorted(type(end).__name__ for end in ends) in (["Refused", "str"], ["str", "str"])
    if "destroying" not in ends:
        assert len(await casework.proposed_destructions("heusden")) == 1


@pytest.mark.parametrize("state", ["announced", "receiving", "verifying", "lost"])
async def test_what_is_not_here_yet_is_not_destroyed_by_hand(heusden: Town, state: str) -> None:
    """Wat nog binnenkomt of nooit kwam, kan niemand vernietigen: die stap is er niet."""
    recording = await heusden.store(state=state)
    answer = await refused(heusden.casework.destroy_by_hand("heusden", recording, by="po", ground="x"))
    assert isinstance(answer, Denied)
    assert await heusden.state(recording) == state


@pytest.mark.rule("E-13", "E-44")
@pytest.mark.parametrize("state", ["retained", "held", "due", "quarantined"])
async def test_only_what_is_restricted_is_decided_upon(heusden: Town, state: str) -> None:
    """Beslissen kan alleen over wat beperkt is; anders verandert er niets, ook niet in het logboek."""
    recording = await heusden.store(state=state)
    answer = await refused(heusden.casework.decide_restricted("heusden", recording, by="po", keep=True, ground="x"))
    assert answer.refusal.code is Code.CONFLICT
    assert (await heusden.state(recording), heusden.ledger.kinds()) == (state, [])


@pytest.mark.rule("H-30", "T-39", "H-09")
async def test_a_submitted_report_keeps_its_answers_and_is_nobody_elses(heusden: Town) -> None:
    """Een aanvulling wist geen verplicht antwoord; wie andermans melding wijzigt, staat in het logboek."""
    answers = {
        "cause": "dreiging", "event": "duwen", "bystanders_informed": True, "how": "gezegd", "when": "vooraf",
        "reason": "own_safety", "place_kind": "public_space", "present_staff": [], "warning_given": "no",
    }  # fmt: skip
    report = await heusden.casework.save_report("heusden", by="boa1", answers=answers)
    await heusden.casework.submit_report("heusden", report.id, by="boa1")

    def save(by: str, **more: Any) -> Awaitable[object]:
        return heusden.casework.save_report("heusden", by=by, report=report.id, answers=more)

    assert isinstance(await refused(save("boa2", cause="anders")), Denied)
    assert isinstance(await refused(save("boa1", how="")), Denied)
    assert (await heusden.casework.report("heusden", report.id)).answers == answers
    async with heusden.database.transaction() as t:
        query = select(denials.c.who, denials.c.what).order_by(denials.c.at)
        assert set((await t.execute(query)).all()) == {("boa2", "report.save"), ("boa1", "report.save")}
    more = await heusden.casework.save_report(
        "heusden", by="boa1", report=report.id, answers={"event": "duwen en trekken"}
    )
    assert (more.answers["event"], more.flags) == ("duwen en trekken", ("no_warning",)), "what differs stays visible"


@pytest.mark.rule("H-51", "H-52", "T-23")
@pytest.mark.parametrize("act", ["confirm", "withdraw"])
async def test_a_hand_over_is_confirmed_or_withdrawn_only_by_who_hands_over(heusden: Town, act: str) -> None:
    """Ontvangst vastleggen of intrekken doet wie verstrekt, en niemand anders."""
    casework, recording = heusden.casework, await heusden.store()
    case = await case_of(heusden, CaseKind.AANGIFTE, recording)
    name = await casework.prepare_disclosure(
        "heusden", case.id, by="po", recipient=Recipient.POLICE, recordings=(recording,)
    )

    def confirm(by: str) -> Awaitable[None]:
        return casework.confirm_receipt("heusden", name, by=by, received_at=heusden.clock(), receipt="ja")

    def withdraw(by: str) -> Awaitable[None]:
        return casework.withdraw_disclosure("heusden", name, by=by)

    do: Callable[[str], Awaitable[None]] = confirm if act == "confirm" else withdraw
    if act == "confirm":
        await casework.approve_disclosure("heusden", name, by="po")
        await casework.deliver_disclosure("heusden", name, by="po", package_sha256="00" * 32)
    before = await casework.disclosure("heusden", name)
    for stranger in ("co", "fb", "boa1", "gs"):
        assert isinstance(await refused(do(stranger)), Denied)
    assert await casework.disclosure("heusden", name) == before
    await do("po")
    assert (await casework.disclosure("heusden", name)).state in ("receipt_confirmed", "withdrawn")


def test_every_step_that_ends_a_hold_is_one_that_the_lifecycles_know() -> None:
    """Wat een bewaarplicht laat eindigen, is een stap die ergens in een tabel staat."""
    events = {event for each in CaseKind for _, event in lifecycles.of_case(each).moves}
    assert set(STEPS) == events
    assert {EndsWhen.DECISION_FINAL, EndsWhen.CARRIED_OUT, EndsWhen.CASE_CLOSED, EndsWhen.OM_CONSENT} == set(EndsWhen)
