"""What the coordinator is warned of, when, and what acknowledging does."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from broker.wire.events import Deactivation, Tamper
from broker.wire.ids import DeviceId, uuid7
from broker.wire.refusals import Code, Refusal, Refused
from cloud.database import tables
from cloud.rules.alerts import AlertKind
from cloud.rules.fleet import Showing, Silence
from tests.adapters.fleet.conftest import NOON, ORG, Speaker, Town


async def pressed(town: Town, camera: Speaker) -> UUID:
    recording = uuid7(town.clock(), uuid4().bytes[:10])
    await town.hear(camera.press(recording))
    return recording


async def pass_time(town: Town, seconds: int) -> None:
    for _ in range(seconds):
        town.clock.forward(1)
        await town.fleet.look(ORG)


def kinds(town: Town) -> list[AlertKind]:
    return [alert.kind for alert in town.fleet.alerts(ORG)]


async def test_a_camera_that_says_nothing_is_silent_after_the_policys_time_and_not_before(
    town: Town, camera: Speaker
) -> None:
    await town.hear(camera.state())
    await pass_time(town, 34)
    assert kinds(town) == []

    await pass_time(town, 1)
    [alert] = town.fleet.alerts(ORG)
    assert (alert.kind, alert.about) == (AlertKind.SILENT, "cam-01")
    card = town.fleet.card(ORG, "cam-01")
    assert card is not None
    assert (card.state, card.silence) == (Showing.SILENT, Silence.TIMER)


async def test_an_alert_is_raised_once_cleared_once_and_kept(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state())
    await pass_time(town, 60)
    await town.fresh_fleet().load(ORG)
    town.fleet.listen(ORG, hearing=True)
    await pass_time(town, 60)
    await town.hear(camera.state())
    await pass_time(town, 5)

    assert kinds(town) == []
    [row] = await town.rows(tables.alerts)
    assert row.kind == "silent"
    assert row.cleared_at is not None
    assert [event.data["open"] for event in town.events("alert")] == [True, False]


async def test_a_clock_that_was_moved_makes_nobody_silent(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state())
    await pass_time(town, 5)
    town.clock.forward(28 * 24 * 3600)
    await pass_time(town, 30)
    assert AlertKind.SILENT not in kinds(town)
    await pass_time(town, 10)
    assert AlertKind.SILENT in kinds(town)


async def test_nobody_is_silent_while_we_are_deaf(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state())
    town.fleet.listen(ORG, hearing=False)
    await pass_time(town, 100)
    assert kinds(town) == []
    assert not town.fleet.is_listening(ORG)


async def test_each_trouble_of_a_camera_shows_at_once(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state(buffering=False, settings_version=7))
    await town.hear(camera.say(Tamper(what="opened")))
    assert set(kinds(town)) == {AlertKind.NOT_BUFFERING, AlertKind.WRONG_SETTINGS, AlertKind.TAMPER}


@pytest.mark.rule("R-07")
async def test_a_camera_not_docked_a_day_after_its_shift_is_an_alert(town: Town, camera: Speaker) -> None:
    await town.write(
        tables.shifts,
        id=str(uuid4()),
        org=ORG,
        official="o-1",
        camera="cam-01",
        starts_at=NOON - timedelta(hours=8),
        ends_at=NOON + timedelta(seconds=2),
    )
    await town.hear(camera.state("off"))
    await pass_time(town, 6)
    assert kinds(town) == []
    town.clock.forward(24 * 3600)
    await pass_time(town, 6)
    assert kinds(town) == [AlertKind.NOT_DOCKED]


async def test_an_activation_nobody_acknowledges_goes_to_the_next_role_once(town: Town, camera: Speaker) -> None:
    recording = await pressed(town, camera)
    for _ in range(12):
        await town.hear(camera.state("recording", recording=recording))
        await pass_time(town, 9)
    assert AlertKind.UNACKNOWLEDGED not in kinds(town)
    await pass_time(town, 12)

    [alert] = [alert for alert in town.fleet.alerts(ORG) if alert.kind is AlertKind.UNACKNOWLEDGED]
    assert (alert.role, alert.about) == ("cluster_manager", str(recording))
    [press] = await town.fleet.activations(ORG)
    assert press.escalated_at == NOON + timedelta(seconds=120)


async def test_an_activation_escalates_at_once_when_the_coordinator_is_absent(town: Town, camera: Speaker) -> None:
    async with town.database.transaction() as t:
        await t.execute(tables.officials.update().values(absent_until=NOON + timedelta(days=7)))
    await pressed(town, camera)
    await pass_time(town, 1)
    assert AlertKind.UNACKNOWLEDGED in kinds(town)


async def test_a_substitute_of_the_coordinator_is_the_coordinator(town: Town, camera: Speaker) -> None:
    async with town.database.transaction() as t:
        await t.execute(tables.officials.update().values(absent_until=NOON + timedelta(days=7)))
    await town.write(tables.officials, org=ORG, id="o-109", display_name="S.", employed_from=NOON - timedelta(days=9))
    await town.write(
        tables.substitutions,
        id=str(uuid4()),
        org=ORG,
        role="coordinator",
        replaced="o-101",
        substitute="o-109",
        from_at=NOON - timedelta(days=1),
        until_at=NOON + timedelta(days=1),
        appointed_by="o-102",
        ground="leave",
    )
    await pressed(town, camera)
    await pass_time(town, 1)
    assert AlertKind.UNACKNOWLEDGED not in kinds(town)


async def test_acknowledging_is_in_the_ledger_first_and_ends_the_alert(town: Town, camera: Speaker) -> None:
    recording = await pressed(town, camera)
    await pass_time(town, 121)
    town.clock.forward(3)

    press = await town.fleet.acknowledge(recording, "o-101")

    assert (press.acknowledged_by, press.acknowledged_at) == ("o-101", town.clock())
    [entry] = await town.entries("activation.acknowledged")
    assert (entry.subject, entry.actor, entry.at) == (str(recording), "o-101", press.acknowledged_at)
    assert AlertKind.UNACKNOWLEDGED not in kinds(town)
    assert len(town.events("acknowledged")) == 1
    assert await town.fleet.activations(ORG, open_only=True) == ()


async def test_two_who_acknowledge_at_once_give_one_entry_and_the_first_stays(town: Town, camera: Speaker) -> None:
    recording = await pressed(town, camera)
    both = await asyncio.gather(*(town.fleet.acknowledge(recording, who) for who in ("o-101", "o-102")))
    assert {press.acknowledged_by for press in both} == {"o-101"}
    assert len(await town.entries("activation.acknowledged")) == 1


async def test_an_unknown_activation_cannot_be_acknowledged(town: Town) -> None:
    with pytest.raises(Refused) as refused:
        await town.fleet.acknowledge(UUID(int=5), "o-101")
    assert refused.value.refusal.code is Code.NOT_FOUND


async def test_without_a_ledger_nothing_is_acknowledged(
    town: Town, camera: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await pressed(town, camera)

    async def full(*_: object, **__: object) -> None:
        raise Refused(Refusal(code=Code.LEDGER_UNWRITABLE, what="entry", expected="room", got="none"))

    monkeypatch.setattr(town.ledger, "append", full)
    with pytest.raises(Refused):
        await town.fleet.acknowledge(recording, "o-101")
    [press] = await town.fleet.activations(ORG)
    assert press.acknowledged_at is None


async def test_a_crash_between_ledger_and_database_is_finished_at_the_next_start(
    town: Town, camera: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = await pressed(town, camera)

    async def crash(*_: object, **__: object) -> None:
        raise OSError("the machine went down")

    with monkeypatch.context() as broken:
        broken.setattr("cloud.fleet.records.acknowledge_press", crash)
        with pytest.raises(OSError, match="went down"):
            await town.fleet.acknowledge(recording, "o-101")

    await town.fresh_fleet().load(ORG)

    [press] = await town.fleet.activations(ORG)
    assert press.acknowledged_by == "o-101"
    assert len(await town.entries("activation.acknowledged")) == 1


async def test_what_a_camera_did_can_be_read_back(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state())
    town.clock.forward(10)
    recording = await pressed(town, camera)
    town.clock.forward(10)
    await town.hear(
        camera.say(Deactivation(recording=recording, ended_at=town.clock(), segments=11, stop_reason="officer"))
    )
    history = await town.fleet.history(ORG, "cam-01")
    assert [type(moment.said).__name__ for moment in history] == ["Deactivation", "Activation", "CameraState"]
    [press] = await town.fleet.activations(ORG)
    assert press.ended_at == town.clock()


async def test_counts_and_cards_survive_a_restart(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state("recording", recording=uuid7(town.clock(), bytes(10))))
    await pass_time(town, 1)
    before = town.fleet.cards(ORG)
    await town.fresh_fleet().load(ORG)
    assert town.fleet.cards(ORG) == before


async def test_history_is_kept_as_long_as_footage_may_be_and_no_longer(town: Town, camera: Speaker) -> None:
    other = Speaker(town.clock, device=DeviceId("cam-02"), boot="boot-a")
    await town.hear(camera.state())
    await town.hear(camera.press())
    await town.hear(other.state())
    await town.hear(other.press())
    await town.fleet.look(ORG)
    town.clock.forward(27 * 86_400)
    await town.hear(Speaker(town.clock, device=other.device, boot="boot-b").state())
    await town.fleet.look(ORG)
    assert len(await town.fleet.history(ORG, "cam-02")) == 3

    town.clock.forward(2 * 86_400)
    await town.fleet.look(ORG)

    assert [moment.boot for moment in await town.fleet.history(ORG, "cam-02")] == ["boot-b"]
    assert {moment.boot for moment in await town.fleet.history(ORG, "cam-01")} == {"boot-1"}  # on all this time
    assert len(await town.rows(tables.activations)) == 2  # what became of the footage is not history


async def test_alerts_that_are_over_are_forgotten_too(town: Town, camera: Speaker) -> None:
    await town.hear(camera.state(card_free_pct=2))
    await town.fleet.look(ORG)
    await town.hear(camera.state())
    await town.fleet.look(ORG)
    raised = [past for past in await town.fleet.past_alerts(ORG) if past.cleared_at is not None]
    assert raised
    town.clock.forward(29 * 86_400)
    await town.fleet.look(ORG)
    assert not [
        past for past in await town.fleet.past_alerts(ORG) if past.cleared_at and past.cleared_at <= raised[0].raised_at
    ]
