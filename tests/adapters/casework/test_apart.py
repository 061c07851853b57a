"""Footage that is kept apart: two people declare where it comes from, or leave it apart; and what follows."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from broker.wire.policy import CaseKind
from broker.wire.refusals import Code, Refused
from cloud.casework.office import Denied
from cloud.database.tables import cameras, decisions_apart, denials, recordings
from cloud.ledger.log import LedgerUnwritable
from cloud.retention.forgetting import forget_people
from cloud.rules.apart import DECLARED, Origin
from tests.adapters.casework.office import Town

WHY = "Het dienstrooster en de sticker op de camera"


async def kept_apart(town: Town, **facts: Any) -> str:
    """Footage of five minutes that a dock brought, and of which no press was ever heard."""
    async with town.database.transaction() as t:
        known = await t.execute(select(cameras.c.id).where(cameras.c.org == town.org, cameras.c.id == "cam-01"))
        if known.first() is None:
            key = {"public_key": bytes(32), "key_id": bytes(16), "enrolled_at": town.clock()}
            await t.execute(insert(cameras).values(org=town.org, id="cam-01", state="enrolled", **key))
    recording = await town.store(state="quarantined")
    values = {"activated_at": None, "official": None, "pre_record_s": 0.0, "reason": "nobody pressed the button"}
    await change(town, recording, **{**values, **facts})
    return recording


async def change(town: Town, recording: str, **values: Any) -> None:
    async with town.database.transaction() as t:
        await t.execute(update(recordings).where(recordings.c.id == recording).values(**values))


async def row_of(town: Town, recording: str) -> Any:
    async with town.database.transaction() as t:
        return (await t.execute(select(recordings).where(recordings.c.id == recording))).one()


async def origin(town: Town, recording: str, **facts: Any) -> Origin:
    plain = {
        "camera": "bodycam 3",
        "official": "boa1",
        "pressed_at": (await row_of(town, recording)).started_at + timedelta(seconds=10),
        "reason": "own_safety",
    }
    return Origin(**{**plain, **facts})


async def propose(town: Town, recording: str, *, by: str = "po", **facts: Any) -> str:
    told = await origin(town, recording, **facts)
    return await town.casework.propose_apart(town.org, recording, by=by, origin=told, ground=WHY)


async def denied(act: Awaitable[object]) -> Denied:
    with pytest.raises(Denied) as caught:
        await act
    return caught.value


@pytest.mark.rule("R-04", "H-10")
async def test_two_people_declare_who_pressed_and_then_it_is_a_recording_like_any_other(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    before = await row_of(heusden, recording)
    decision = await propose(heusden, recording)
    assert await heusden.state(recording) == "quarantined", "one person's word is not enough"
    assert await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground="Zelf nagevraagd") == "retained"
    after = await row_of(heusden, recording)
    assert (after.official, after.activated_at) == ("boa1", before.started_at + timedelta(seconds=10))
    assert (after.pre_record_s, after.deviations) == (10.0, ["press_not_heard", DECLARED])
    assert (after.expires_at, after.ended_at) == (before.expires_at, before.ended_at), "its day is its own"
    assert heusden.ledger.kinds() == ["apart.proposed", "recording.admitted"]
    _, subject, actor, facts, private = heusden.ledger.entries[-1]
    assert (subject, actor, private) == (recording, "cm", "Zelf nagevraagd")
    assert (facts["proposed_by"], facts["recorder"], facts["wrong"]) == ("po", "boa1", ["press_not_heard"])
    assert not any("sticker" in str(each[3]) or "bodycam" in str(each[3]) for each in heusden.ledger.entries)
    told = await heusden.casework.declaration(heusden.org, recording)
    assert told is not None
    assert (told.people, told.words) == (("po", "cm"), (WHY, "Zelf nagevraagd"))


@pytest.mark.rule("H-62")
async def test_who_pressed_was_involved_from_then_on_and_does_not_decide(heusden: Town) -> None:
    await heusden.casework.appoint(heusden.org, by="fb", official="boa1", role="cluster_manager")
    recording = await kept_apart(heusden)
    verdict = await denied(propose(heusden, recording, by="boa1"))
    assert "wie de opname maakte" in verdict.verdict.waarom
    decision = await propose(heusden, recording)
    await denied(heusden.casework.confirm_apart(heusden.org, decision, by="boa1", ground=WHY))
    await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY)
    (involvement,) = await heusden.casework.involvements(heusden.org, (recording,))
    assert involvement.recorder == "boa1"


@pytest.mark.rule("E-04c", "T-39")
async def test_nobody_decides_alone_or_without_the_role_and_each_denial_is_written_down(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    await denied(propose(heusden, recording, by="co"))
    decision = await propose(heusden, recording)
    assert not await heusden.casework.may_decide_apart(heusden.org, recording, by="po")
    assert await heusden.casework.may_decide_apart(heusden.org, recording, by="cm")
    await denied(heusden.casework.confirm_apart(heusden.org, decision, by="po", ground=WHY))
    await denied(heusden.casework.confirm_apart(heusden.org, decision, by="gs", ground=WHY))
    async with heusden.database.transaction() as t:
        written = (await t.execute(select(denials.c.who, denials.c.what).order_by(denials.c.id))).all()
    assert [tuple(each) for each in written] == [(who, "recording.apart") for who in ("co", "po", "gs")]
    assert await heusden.state(recording) == "quarantined"


async def test_each_says_why_and_one_proposal_waits_at_a_time(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    for ground in ("", "  "):
        with pytest.raises(Refused) as caught:
            await heusden.casework.propose_apart(heusden.org, recording, by="po", origin=None, ground=ground)
        assert caught.value.refusal.code is Code.MALFORMED
    decision = await propose(heusden, recording)
    with pytest.raises(Refused) as second:
        await propose(heusden, recording, by="cm")
    assert second.value.refusal.code is Code.CONFLICT
    assert heusden.ledger.kinds() == ["apart.proposed"]
    with pytest.raises(Refused) as elsewhere:
        await heusden.casework.decision_apart(heusden.org, await kept_apart(heusden), decision)
    assert elsewhere.value.refusal.code is Code.NOT_FOUND
    await heusden.casework.withdraw_apart(heusden.org, decision, by="cm")
    with pytest.raises(Refused) as gone:
        await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY)
    assert gone.value.refusal.code is Code.CONFLICT
    with pytest.raises(Refused) as other:
        await heusden.casework.confirm_apart("rotterdam", decision, by="v1", ground=WHY)
    assert other.value.refusal.code is Code.NOT_FOUND


async def test_what_is_left_apart_stays_apart_and_can_be_looked_at_again(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    leave = await heusden.casework.propose_apart(heusden.org, recording, by="cm", origin=None, ground="Onbekend")
    assert await heusden.casework.confirm_apart(heusden.org, leave, by="po", ground="Ook niets") == "quarantined"
    assert heusden.ledger.kinds() == ["apart.proposed", "recording.left-apart"]
    assert await heusden.casework.declaration(heusden.org, recording) is None
    decision = await propose(heusden, recording)
    assert await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground="Nieuw feit") == "retained"


async def test_who_proposed_and_lost_the_role_is_not_one_of_two_any_more(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    decision = await propose(heusden, recording, by="cm")
    await heusden.casework.withdraw(heusden.org, by="fb", official="cm", role="cluster_manager")
    verdict = await denied(heusden.casework.confirm_apart(heusden.org, decision, by="po", ground=WHY))
    assert "only these" in verdict.verdict.because
    assert heusden.ledger.entries[-1][:3] == ("denial", "recording.apart", "po")
    assert await heusden.state(recording) == "quarantined"


@pytest.mark.rule("E-10", "E-09")
async def test_a_hold_goes_on_and_its_end_gives_the_old_day_back(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    day = (await row_of(heusden, recording)).expires_at
    await heusden.casework.register_case(
        heusden.org, by="po", kind=CaseKind.COMPLAINT, summary="klacht", received_at=heusden.clock(),
        recordings=(recording,),
    )  # fmt: skip
    assert await heusden.state(recording) == "quarantined"
    decision = await propose(heusden, recording)
    heusden.clock.move(days=30)
    assert await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY) == "held"
    assert (await row_of(heusden, recording)).expires_at == day


async def test_what_cannot_be_declared_is_refused(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    for wrong in ({"official": "po"}, {"official": "nobody"}, {"reason": "curiosity"}, {"camera": " "},
                  {"pressed_at": heusden.clock() + timedelta(hours=1)}):  # fmt: skip
        await denied(propose(heusden, recording, **wrong))
    await change(heusden, recording, via="import")
    assert "import" in (await denied(propose(heusden, recording))).verdict.because
    await change(heusden, recording, via="dock", deviations=["key_gone"])
    await denied(propose(heusden, recording))
    await change(heusden, recording, deviations=[])
    heusden.clock.move(days=29)
    assert "term" in (await denied(propose(heusden, recording))).verdict.because


async def test_nothing_happens_without_the_ledger(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    decision = await propose(heusden, recording)
    heusden.ledger.away = True
    with pytest.raises(Refused) as caught:
        await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY)
    assert caught.value.refusal.code is Code.LEDGER_UNWRITABLE
    assert isinstance(caught.value.__cause__, LedgerUnwritable)
    assert await heusden.state(recording) == "quarantined"
    assert await heusden.casework.declaration(heusden.org, recording) is None


@pytest.mark.rule("E-13", "E-42")
async def test_too_much_from_before_the_press_waits_and_a_broken_seal_stays_said(heusden: Town) -> None:
    recording = await kept_apart(heusden, chain="tampered")
    late = (await row_of(heusden, recording)).started_at + timedelta(seconds=90)
    decision = await propose(heusden, recording, pressed_at=late)
    assert await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY) == "restricted"
    told = ["seal_broken", "press_not_heard", "pre_record_too_long", DECLARED]
    assert (await row_of(heusden, recording)).deviations == told
    assert (
        await heusden.casework.decide_restricted(heusden.org, recording, by="po", keep=True, ground=WHY) == "retained"
    )
    assert (await row_of(heusden, recording)).deviations == told


@pytest.mark.rule("H-28", "H-29")
async def test_the_named_officer_owes_a_report_from_the_declaration_on(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    heusden.clock.move(days=3)
    assert await heusden.casework.owed(heusden.org) == ()
    decision = await propose(heusden, recording)
    await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY)
    (owed,) = await heusden.casework.owed(heusden.org, of="boa1")
    assert (owed.recording, owed.due_at) == (recording, heusden.clock() + timedelta(days=1))
    await heusden.shift("boa1", hours=5)
    (owed,) = await heusden.casework.owed(heusden.org, of="boa1")
    assert owed.due_at == heusden.clock() + timedelta(hours=5)
    heusden.clock.move(hours=6)
    (late,) = await heusden.casework.overdue_reports(heusden.org)
    assert late[1] == ("boa1", "co")
    answers = {"cause": "dreiging", "event": "duwen", "bystanders_informed": False}
    report = await heusden.casework.save_report(heusden.org, by="boa1", answers=answers, recording=recording)
    assert report.due_at == owed.due_at
    done = await heusden.casework.submit_report(heusden.org, report.id, by="boa1")
    assert (done.late, done.notified) == (True, ("co",))
    assert await heusden.casework.owed(heusden.org) == ()


@pytest.mark.rule("E-05")
async def test_a_report_that_was_written_before_is_tied_to_the_declared_press(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    began = (await row_of(heusden, recording)).started_at
    written = await heusden.casework.save_report(
        heusden.org, by="boa1", answers={"cause": "dreiging", "used_at": began.isoformat()}
    )
    assert await heusden.casework.link_to_presses(heusden.org) == 0
    decision = await propose(heusden, recording)
    await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY)
    assert await heusden.casework.link_to_presses(heusden.org) == 1
    assert (await heusden.casework.report(heusden.org, written.id)).recording == recording


async def test_where_data_go_with_the_footage_the_words_of_the_two_go_too(heusden: Town) -> None:
    recording = await kept_apart(heusden)
    decision = await propose(heusden, recording)
    await heusden.casework.confirm_apart(heusden.org, decision, by="cm", ground=WHY)
    await forget_people(heusden.database, heusden.org, recording)
    async with heusden.database.transaction() as t:
        row = (await t.execute(select(decisions_apart))).one()
    assert (row.official, row.camera, row.ground, row.confirmed_ground) == (None, None, "", "")
    assert (row.proposed_by, row.confirmed_by, row.state) == ("po", "cm", "confirmed")
