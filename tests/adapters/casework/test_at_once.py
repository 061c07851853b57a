"""Two acts in one moment, and acts that come again: what was judged is what is done, or nothing is."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import select

from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, Refused
from cloud.casework.cases import Case, decided_of
from cloud.casework.office import Denied
from cloud.database.tables import holds, openings, proposals
from tests.adapters.casework.office import Town
from tests.adapters.casework.test_cases_holds import case_of, gone, refused, steps


def meanwhile(town: Town, kind: str, act: Callable[[], Awaitable[object]]) -> None:
    """Let somebody do this between the judgement of an act and its entry of this kind, once."""
    append = town.ledger.append

    async def interrupted(said: str, **facts: Any) -> Any:
        if said == kind:
            town.ledger.append = append  # type: ignore[method-assign]
            await act()
        return await append(said, **facts)

    town.ledger.append = interrupted  # type: ignore[method-assign,assignment]


async def closed_case(town: Town, recording: str) -> Case:
    case = await case_of(town, CaseKind.COMPLAINT, recording)
    return await steps(town, case, ("handle", {}), ("close", {}), by="cm")


async def questions(town: Town, hold: str) -> list[str]:
    async with town.database.transaction() as t:
        query = select(proposals.c.state).where(proposals.c.subject == hold).order_by(proposals.c.state)
        return list((await t.execute(query)).scalars())


@pytest.mark.rule("E-08", "E-10")
async def test_one_person_who_ends_two_holds_at_once_is_still_one_person(heusden: Town) -> None:
    """Wie de laatste twee bewaarplichten tegelijk opheft, doet dat bij de laatste niet in zijn eentje."""
    recording = await heusden.store()
    first, second = [(await closed_case(heusden, recording)).holds[0].id for _ in range(2)]
    heusden.clock.move(days=40)
    release = heusden.casework.release_hold
    meanwhile(heusden, "hold.released", lambda: release("heusden", second, by="po", ground="x"))
    answer = await refused(release("heusden", first, by="po", ground="x"))
    assert answer.refusal.code is Code.CONFLICT
    assert (await heusden.state(recording), await gone(heusden, recording)) == ("held", False)
    await release("heusden", first, by="po", ground="x")
    assert (await release("heusden", first, by="cm", ground="y")).holds[0].state == "released"


@pytest.mark.rule("E-08")
async def test_who_asks_twice_leaves_one_question_that_can_be_answered(heusden: Town) -> None:
    """Tweemaal klikken, of twee mensen tegelijk: er staat één vraag, en een ander kan die beantwoorden."""
    recording = await heusden.store()
    hold = (await closed_case(heusden, recording)).holds[0].id
    heusden.clock.move(days=40)
    release = heusden.casework.release_hold
    twice = [release("heusden", hold, by="po", ground="x") for _ in range(2)]
    ends = await asyncio.gather(*twice, return_exceptions=True)
    assert {type(end) for end in ends} <= {Case, Refused, Denied}
    assert await questions(heusden, hold) == ["open"]
    assert (await release("heusden", hold, by="cm", ground="y")).holds[0].state == "released"


@pytest.mark.rule("E-08", "E-10")
async def test_a_hold_that_ended_is_not_woken_by_a_question_that_came_too_late(heusden: Town) -> None:
    """Werd de bewaarplicht intussen opgeheven, dan zet een late vraag haar niet terug."""
    recording = await heusden.store()
    hold = (await closed_case(heusden, recording)).holds[0].id
    heusden.clock.move(days=40)

    async def another_case_comes_and_one_person_suffices() -> None:
        await case_of(heusden, CaseKind.COMPLAINT, recording)
        await heusden.casework.release_hold("heusden", hold, by="cm", ground="y")

    meanwhile(heusden, "hold.release-asked", another_case_comes_and_one_person_suffices)
    answer = await refused(heusden.casework.release_hold("heusden", hold, by="po", ground="x"))
    assert answer.refusal.code is Code.CONFLICT
    async with heusden.database.transaction() as t:
        query = select(holds.c.state).where(holds.c.id == hold)
        assert (await t.execute(query)).scalar_one() == "released"
    assert await questions(heusden, hold) == []


@pytest.mark.rule("E-08")
async def test_a_question_that_was_refused_meanwhile_ends_nothing(heusden: Town) -> None:
    """Weigert iemand terwijl een ander bevestigt, dan blijft de bewaarplicht."""
    recording, casework = await heusden.store(), heusden.casework
    hold = (await closed_case(heusden, recording)).holds[0].id
    heusden.clock.move(days=40)
    await casework.release_hold("heusden", hold, by="po", ground="x")
    meanwhile(heusden, "hold.released", lambda: casework.refuse_release("heusden", hold, by="po"))
    with pytest.raises(Refused):
        await casework.release_hold("heusden", hold, by="cm", ground="y")
    assert await heusden.state(recording) == "held"


@pytest.mark.rule("H-40", "E-12")
@pytest.mark.parametrize("ended", ["lifted", "lapsed"])
async def test_what_a_case_held_once_it_can_hold_again(heusden: Town, ended: str) -> None:
    """Is een noodrem opgeheven of vervallen, dan houdt hetzelfde dossier de beelden bij een nieuwe vraag weer vast."""
    recording, casework = await heusden.store(), heusden.casework
    case = await case_of(heusden, CaseKind.COMPLAINT, recording, provisional=True)
    if ended == "lifted":
        await casework.release_hold("heusden", case.holds[0].id, by="po", ground="vergissing")
    else:
        heusden.clock.move(days=8)
        await casework.settle("heusden")
    assert await heusden.state(recording) == "retained"
    again = await casework.place_hold("heusden", case.id, by="po", recording=recording)
    assert (await heusden.state(recording), len(again.recordings)) == ("held", 1)
    await casework.place_hold("heusden", case.id, by="po", recording=recording)
    assert len((await casework.case("heusden", case.id)).holds) == 2


@pytest.mark.rule("E-12")
@pytest.mark.parametrize("swept", [True, False])
async def test_an_emergency_hold_that_is_confirmed_after_it_lapsed_holds_what_is_left(
    heusden: Town, swept: bool
) -> None:
    """Wordt een vervallen noodrem alsnog bevestigd, dan staat er weer bewaarplicht op wat er nog is."""
    recording = await heusden.store()
    case = await case_of(heusden, CaseKind.COMPLAINT, recording, provisional=True)
    heusden.clock.move(days=8)
    if swept:
        await heusden.casework.settle("heusden")
    await heusden.casework.confirm_case("heusden", case.id, by="po")
    await heusden.casework.settle("heusden")
    heusden.clock.move(days=60)
    assert not await gone(heusden, recording)
    assert await heusden.state(recording) == "held"


@pytest.mark.rule("E-12")
async def test_what_is_added_while_a_case_is_confirmed_does_not_lapse(heusden: Town) -> None:
    """Wordt de noodrem bevestigd terwijl er een opname bij komt, dan vervalt die niet na een week."""
    first, late = await heusden.store(), await heusden.store()
    case = await case_of(heusden, CaseKind.COMPLAINT, first, provisional=True)
    casework = heusden.casework
    meanwhile(heusden, "hold.placed", lambda: casework.confirm_case("heusden", case.id, by="po"))
    answer = await refused(casework.place_hold("heusden", case.id, by="po", recording=late))
    assert answer.refusal.code is Code.CONFLICT
    await casework.place_hold("heusden", case.id, by="po", recording=late)
    heusden.clock.move(days=8)
    assert await casework.settle("heusden") == 0
    assert await heusden.state(late) == "held"


@pytest.mark.rule("H-43")
async def test_two_consents_in_one_moment_do_not_swallow_one_another(heusden: Town) -> None:
    """Geven twee mensen tegelijk toestemmingen op, dan gaat er geen verloren zonder dat iemand het hoort."""
    recordings = [await heusden.store() for _ in range(2)]
    case = await case_of(heusden, CaseKind.OM_DEMAND, *recordings)

    def consent(recording: str) -> Awaitable[Case]:
        facts = {"recordings": [recording], "who": "OvJ", "date": "2026-06-01", "reference": "PL"}
        return heusden.casework.take_step("heusden", case.id, "consent", by="po", facts=facts)

    meanwhile(heusden, "case.moved", lambda: consent(recordings[1]))
    assert (await refused(consent(recordings[0]))).refusal.code is Code.CONFLICT
    assert set((await consent(recordings[0])).facts["consents"]) == set(recordings)


@pytest.mark.rule("E-11", "H-40")
async def test_another_incident_does_not_end_a_hold(heusden: Town) -> None:
    """Wie een opname bij een ander voorval zet, haalt haar niet onder de bewaarplicht van het eerste vandaan."""
    casework = heusden.casework
    incident = await casework.open_incident("heusden", by="co", label="markt")
    case = await case_of(heusden, CaseKind.COMPLAINT, incidents=(incident,))
    late = await heusden.store()
    await casework.join_incident("heusden", incident, by="co", recordings=(late,))
    assert await heusden.state(late) == "held"
    await casework.open_incident("heusden", by="co", label="plein", recordings=(late,))
    assert await heusden.state(late) == "held"
    assert late in (await casework.case("heusden", case.id)).recordings
    heusden.clock.move(days=40)
    assert not await gone(heusden, late)


async def test_an_incident_that_is_named_twice_is_held_once(heusden: Town) -> None:
    """Tweemaal hetzelfde voorval toevoegen geeft één bewaarplicht, die met één besluit eindigt."""
    incident = await heusden.casework.open_incident("heusden", by="co", label="markt")
    case = await case_of(heusden, CaseKind.COMPLAINT, incidents=(incident,))
    case = await heusden.casework.add_to_case("heusden", case.id, by="po", incidents=(incident,))
    assert (len(case.holds), case.incidents) == (1, (incident,))


@pytest.mark.rule("E-36")
async def test_what_was_confirmed_meanwhile_is_not_said_to_be_withdrawn(heusden: Town) -> None:
    """Wie een voorstel intrekt dat net bevestigd is, hoort dat het te laat is."""
    recording, casework = await heusden.store(), heusden.casework
    await casework.destroy_by_hand("heusden", recording, by="po", ground="x")
    confirm = lambda: casework.destroy_by_hand("heusden", recording, by="cm", ground="y")  # noqa: E731
    meanwhile(heusden, "destruction.withdrawn", confirm)
    answer = await refused(casework.withdraw_destruction("heusden", recording, by="po"))
    assert answer.refusal.code is Code.CONFLICT
    assert await heusden.state(recording) == "destroying"


@pytest.mark.rule("T-41")
async def test_a_decision_after_midnight_is_of_the_new_day(heusden: Town) -> None:
    """Wat om half een 's nachts is besloten, is van die dag, niet van de dag ervoor."""
    case = await case_of(heusden, CaseKind.ACCESS_REQUEST)
    heusden.clock.now = datetime(2026, 6, 10, 22, 30, tzinfo=UTC)
    decided = {"decision": "granted", "reason": "r"}
    case = await steps(
        heusden, case, ("check_identity", {"method": "DigiD"}), ("assess", {"necessity": ""}), ("decide", decided)
    )
    assert decided_of(case).sent_on == date(2026, 6, 11)


@pytest.mark.rule("T-39")
async def test_the_words_of_a_denial_can_be_proven_by_the_ledger(heusden: Town) -> None:
    """Van een weigering staat in het logboek een hash; wat die opent, wordt bewaard."""
    await refused(case_of(heusden, CaseKind.COMPLAINT, by="fb"))
    async with heusden.database.transaction() as t:
        (kept,) = (await t.execute(select(openings))).all()
    kind, *_, private = heusden.ledger.entries[kept.entry]
    assert (kind, kept.text) == ("denial", private)
