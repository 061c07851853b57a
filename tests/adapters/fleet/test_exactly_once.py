"""Each thing said has its effect once, however often and in whatever order it comes."""

import random
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.wire.events import Activation, Deactivation, Docked, Tamper, decode
from broker.wire.ids import uuid7
from broker.wire.refusals import Code, Refusal, Refused
from cloud.database import tables
from cloud.fleet.register import Outcome, ReceiptDue
from cloud.rules.fleet import Showing
from tests.adapters.fleet.conftest import NOON, ORG, Speaker, Town, open_town


async def test_a_press_becomes_one_row_one_entry_and_one_alert(town: Town, camera: Speaker) -> None:
    said = camera.press()

    first, second = await town.hear(said), await town.hear(said)

    assert (first.outcome, second.outcome) == (Outcome.TAKEN, Outcome.AGAIN)
    assert len(await town.rows(tables.activations)) == 1
    assert len(await town.rows(tables.events)) == 1
    assert len(await town.entries("activation.received")) == 1
    assert len(town.events("activation")) == 1
    card = town.fleet.card(ORG, "cam-01")
    assert card is not None
    assert card.state is Showing.RECORDING


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), presses=st.integers(1, 5), crashes=st.booleans())
async def test_any_delivery_gives_the_same_town(
    tmp_path_factory: pytest.TempPathFactory, seed: int, presses: int, crashes: bool
) -> None:
    """The law: duplicated, reordered and replayed delivery of what a camera said leaves what it said once, in order."""
    chance = random.Random(seed)
    async with open_town(tmp_path_factory.mktemp("town"), "cam-01") as town:
        camera = Speaker(town.clock)
        said = []
        for _ in range(presses):
            recording = uuid7(town.clock(), uuid4().bytes[:10])
            said.append(camera.press(recording))
            ended = town.clock.forward(5)
            said.append(
                camera.say(Deactivation(recording=recording, ended_at=ended, segments=6, stop_reason="officer"))
            )
            town.clock.forward(1)
        delivered = said + chance.choices(said, k=len(said))
        chance.shuffle(delivered)
        for message in delivered:
            if crashes and chance.random() < 0.2:
                await town.fresh_fleet().load(ORG)
            await town.hear(message)

        rows = await town.rows(tables.activations)
        assert {row.recording for row in rows} == {
            str(event.said.recording) for _, raw in said if isinstance((event := decode(raw)).said, Activation)
        }
        assert all(row.ended_at is not None and row.ledger_entry is not None for row in rows)
        assert len(await town.rows(tables.events)) == len(said)
        assert len(await town.entries("activation.received")) == presses
        due = ReceiptDue(org=ORG, camera=camera.device, session=camera.boot)
        assert town.fleet.receipt(due) == (len(said), ())
        card = town.fleet.card(ORG, "cam-01")
        assert card is not None
        assert card.missing == 0


async def test_a_lost_event_is_found_and_asked_again(town: Town, camera: Speaker) -> None:
    first, lost, third = camera.press(), camera.say(Tamper(what="opened")), camera.press()
    await town.hear(first)
    heard = await town.hear(third)

    assert heard.receipt is not None
    assert town.fleet.receipt(heard.receipt) == (1, (2,))
    assert town.fleet.receipts_open(ORG) == (heard.receipt,)

    await town.hear(lost)
    assert town.fleet.receipt(heard.receipt) == (3, ())
    assert town.fleet.receipts_open(ORG) == ()


async def test_a_gap_is_still_known_after_a_restart(town: Town, camera: Speaker) -> None:
    first, _, third = camera.press(), camera.press(), camera.press()
    await town.hear(first)
    await town.hear(third)

    await town.fresh_fleet().load(ORG)
    heard = await town.hear(camera.state())

    assert heard.receipt is not None
    assert town.fleet.receipt(heard.receipt) == (1, (2,))


async def test_a_crash_before_the_commit_leaves_nothing_and_the_next_delivery_all(
    town: Town, camera: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    said = camera.press()
    with monkeypatch.context() as broken:
        broken.setattr("cloud.fleet.records.keep_cards", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            await town.hear(said)
    assert await town.rows(tables.events) == []
    assert await town.rows(tables.activations) == []

    assert (await town.hear(said)).outcome is Outcome.TAKEN
    assert len(await town.rows(tables.activations)) == 1


class _Ledger:
    """The real ledger, that stops before or after an entry is durable."""

    def __init__(self, town: Town, *, persisted: bool) -> None:
        self._real, self._persisted = town.ledger, persisted

    async def append(self, *args: object, **facts: object) -> object:
        if self._persisted:
            await self._real.append(*args, **facts)  # type: ignore[arg-type]
        raise Refused(Refusal(code=Code.LEDGER_UNWRITABLE, what="entry", expected="room", got="none"))

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed-but-persisted"])
async def test_an_alert_does_not_wait_for_the_ledger_and_the_entry_follows_once(
    town: Town, camera: Speaker, persisted: bool
) -> None:
    healthy = town.ledger
    fleet = town.fresh_fleet(ledger=_Ledger(town, persisted=persisted))
    await fleet.load(ORG)

    heard = await town.hear(camera.press())

    assert heard.outcome is Outcome.TAKEN
    assert len(town.events("activation")) == 1

    fleet._ledger = healthy
    await fleet.look(ORG)
    assert len(await town.entries("activation.received")) == 1
    assert [row.ledger_entry for row in await town.rows(tables.activations)] == [0]


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed-but-persisted"])
async def test_a_crash_between_commit_and_ledger_is_finished_at_the_next_start(
    town: Town, camera: Speaker, persisted: bool
) -> None:
    await town.fresh_fleet(ledger=_Ledger(town, persisted=persisted)).load(ORG)
    said = camera.press()
    await town.hear(said)

    await town.fresh_fleet().load(ORG)

    assert len(await town.entries("activation.received")) == 1
    assert [row.ledger_entry for row in await town.rows(tables.activations)] == [0]
    assert (await town.hear(said)).outcome is Outcome.AGAIN
    assert len(await town.entries("activation.received")) == 1


async def test_other_words_under_the_same_id_are_refused(town: Town, camera: Speaker) -> None:
    topic, raw = camera.press()
    await town.hear((topic, raw))

    heard = await town.hear((topic, raw.replace(b'"pre_record_s":30.0', b'"pre_record_s":10.0')))

    assert heard.outcome is Outcome.DENIED
    [press] = await town.fleet.activations(ORG)
    assert press.pre_record_s == 30.0


async def test_the_officer_of_a_press_comes_from_the_roster_and_the_cameras_clock_is_corrected(
    town: Town, camera: Speaker
) -> None:
    ends = NOON + timedelta(minutes=1)
    for official, starts, until in (("o-1", NOON - timedelta(hours=8), ends), ("o-2", ends, None)):
        await town.write(
            tables.shifts,
            id=str(uuid4()),
            org=ORG,
            official=official,
            camera="cam-01",
            starts_at=starts,
            ends_at=until,
        )
    await town.hear(camera.state(clock_offset_ms=120_000, at=NOON + timedelta(minutes=2)))

    await town.hear(camera.press(at=NOON + timedelta(minutes=2)))  # by our clock: noon

    [press] = await town.fleet.activations(ORG)
    assert press.official == "o-1"
    assert not press.late


async def test_a_late_activation_is_marked_and_footage_put_apart_is_looked_at_again(
    town: Town, camera: Speaker
) -> None:
    said = camera.press()
    town.clock.forward(31)

    await town.hear(said)

    [press] = await town.fleet.activations(ORG)
    assert press.late
    assert town.readmitted == [press.recording]


async def test_an_activation_in_time_is_live(town: Town, camera: Speaker) -> None:
    said = camera.press()
    town.clock.forward(29)
    await town.hear(said)

    [press] = await town.fleet.activations(ORG)
    assert not press.late
    assert town.readmitted == []


async def test_a_docked_camera_of_another_boot_keeps_its_own_numbers(town: Town, camera: Speaker) -> None:
    await town.hear(camera.press())
    again = Speaker(town.clock, boot="boot-2")
    heard = await town.hear(again.say(Docked(dock="dock-01", bay=3)))

    assert heard.receipt == ReceiptDue(org=ORG, camera=camera.device, session="boot-2")
    assert town.fleet.receipt(heard.receipt) == (1, ())


async def test_a_fleet_of_fifty_costs_no_row_for_a_heartbeat(town: Town, camera: Speaker, tmp_path: Path) -> None:
    for _ in range(20):
        town.clock.forward(10)
        await town.hear(camera.state())
    assert len(await town.rows(tables.events)) == 1  # its birth
