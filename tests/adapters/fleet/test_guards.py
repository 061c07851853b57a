"""Nobody speaks for another, and what cannot be understood is written down and let go."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.wire import topics
from broker.wire.events import DockState, RetentionDue, ServiceState
from broker.wire.ids import DeviceId, Org
from cloud.database import tables
from cloud.fleet.register import Outcome
from tests.adapters.fleet.conftest import NOON, ORG, POLICY, Speaker, Town, enrol, open_town

Message = tuple[str, bytes]


def _changed(message: Message, **envelope: object) -> Message:
    topic, raw = message
    return topic, json.dumps({**json.loads(raw), **envelope}).encode()


def _with_data(message: Message, **data: object) -> Message:
    topic, raw = message
    said = json.loads(raw)
    return topic, json.dumps({**said, "data": {**said["data"], **data}}).encode()


FORGERIES: dict[str, Callable[[Speaker], Message]] = {
    "another-camera-in-the-topic": lambda c: (topics.camera_event(ORG, DeviceId("cam-02"), "activation"), c.press()[1]),
    "another-camera-in-the-source": lambda c: (c.press()[0], Speaker(c.clock, device=DeviceId("cam-02")).press()[1]),
    "another-town-in-the-topic": lambda c: (
        topics.camera_event(Org("rotterdam"), c.device, "activation"),
        c.press()[1],
    ),
    "another-town-in-both": lambda c: Speaker(c.clock, org=Org("rotterdam")).press(),
    "a-camera-nobody-enrolled": lambda c: Speaker(c.clock, device=DeviceId("cam-99")).press(),
    "another-kind-of-event": lambda c: (topics.camera_event(ORG, c.device, "tamper"), c.press()[1]),
    "a-state-as-an-event": lambda c: (topics.camera_event(ORG, c.device, "state"), c.state()[1]),
    "a-service-by-a-camera": lambda c: (topics.camera_state(ORG, c.device), c.say_as(ServiceState(status="online"))),
    "an-expiry-by-a-camera": lambda c: (
        topics.camera_state(ORG, c.device),
        c.say_as(RetentionDue(recording=UUID(int=1), due_at=NOON)),
    ),
    "a-dock-by-a-camera": lambda c: (topics.dock_state(ORG, c.device), c.say_as(DockState(status="online"))),
    "no-json": lambda c: (c.press()[0], b"\xff\x00"),
    "nothing": lambda c: (c.press()[0], b""),
    "too-large": lambda c: (c.press()[0], b" " * 70_000),
    "an-unknown-type": lambda c: _changed(c.press(), type="nl.bodycams.wis.alles.v1"),
    "an-unknown-field": lambda c: _changed(c.press(), admin=True),
    "another-version": lambda c: _changed(c.press(), specversion="2.0"),
    "sequence-zero": lambda c: _changed(c.press(), sequence="0"),
    "sequence-negative": lambda c: _changed(c.press(), sequence="-1"),
    "sequence-too-large": lambda c: _changed(c.press(), sequence=str(2**64)),
    "sequence-no-number": lambda c: _changed(c.press(), sequence="one"),
    "an-endless-session": lambda c: _changed(c.press(), session="x" * 41),
    "no-session": lambda c: _changed(c.press(), session=""),
    "a-time-before-time": lambda c: _changed(c.press(), time="0001-01-01T00:00:00+14:00"),
    "a-press-before-time": lambda c: _with_data(c.press(), activated_at="0001-01-01T00:00:00+14:00"),
    "a-press-without-a-zone": lambda c: _with_data(c.press(), activated_at="2026-11-20T12:00:00"),
    "a-recording-that-is-no-uuid7": lambda c: _with_data(c.press(), recording=str(UUID(int=1))),
    "a-nul-in-a-name": lambda c: _with_data(c.press(), place={"name": "a\x00b", "latitude": 1.0, "longitude": 1.0}),
    "a-clock-beyond-measure": lambda c: c.state(clock_offset_ms=10**15),
    "another-boot-than-its-session": lambda c: c.state(boot="boot-9"),
    "no-topic-of-ours": lambda c: ("vo/v2/heusden/cam/cam-01/state", c.state()[1]),
    "a-camera-on-a-command": lambda c: (topics.camera_command(ORG, c.device, "start"), c.press()[1]),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_or_broken_message_has_no_effect_and_is_written_down(
    town: Town, camera: Speaker, forgery: Callable[[Speaker], Message]
) -> None:
    before = town.fleet.cards(ORG)

    heard = await town.hear(forgery(camera))

    assert heard.outcome is Outcome.DENIED
    assert heard.receipt is None
    assert await town.rows(tables.events) == []
    assert await town.rows(tables.activations) == []
    assert town.fleet.cards(ORG) == before
    [denial] = await town.rows(tables.denials)
    assert denial.why
    assert (await town.hear(camera.press())).outcome is Outcome.TAKEN


@pytest.mark.rule("T-39")
async def test_a_denial_stands_in_the_ledger_with_who_and_why(town: Town, camera: Speaker) -> None:
    await town.hear(FORGERIES["another-camera-in-the-source"](camera))

    [entry] = await town.entries("denial")
    assert (entry.actor, entry.facts["code"]) == ("cam-01", "not_allowed")
    [denial] = await town.rows(tables.denials)
    assert (denial.who, denial.org) == ("cam-01", ORG)
    assert "source" in denial.why


async def test_a_broken_device_does_not_fill_the_log(town: Town, camera: Speaker) -> None:
    for _ in range(100):
        await town.hear((camera.press()[0], b"?"))
    assert len(await town.rows(tables.denials)) == 1
    town.clock.forward(61)
    await town.hear((camera.press()[0], b"?"))
    assert len(await town.rows(tables.denials)) == 2


async def test_a_camera_enrolled_a_moment_ago_is_heard(town: Town) -> None:
    town.clock.forward(2)
    await enrol(town, "cam-03")
    heard = await town.hear(Speaker(town.clock, device=DeviceId("cam-03")).state())
    assert heard.outcome is Outcome.TAKEN


@pytest.mark.parametrize("state", ["revoked", "lost", "removed"])
async def test_a_camera_that_may_no_longer_speak_is_refused_and_leaves_the_fleet(
    town: Town, camera: Speaker, state: str
) -> None:
    await town.hear(camera.state())
    async with town.database.transaction() as t:
        await t.execute(tables.cameras.update().where(tables.cameras.c.id == "cam-01").values(state=state))
    town.clock.forward(6)
    await town.fleet.look(ORG)

    assert [card.camera for card in town.fleet.cards(ORG)] == ["cam-02"]
    assert (await town.hear(camera.press())).outcome is Outcome.DENIED


@pytest.mark.rule("T-42")
async def test_two_towns_in_one_installation_never_see_each_other(town: Town, camera: Speaker) -> None:
    document = (POLICY.parent / "rotterdam.toml").read_text()
    await town.write(tables.policies, org="rotterdam", version=1, adopted_at=NOON, document=document, sha256="0" * 64)
    await enrol(town, "cam-01", org="rotterdam")
    await town.fleet.load("rotterdam")

    await town.hear(Speaker(town.clock, org=Org("rotterdam")).press())

    assert await town.fleet.activations(ORG) == ()
    assert len(await town.fleet.activations("rotterdam")) == 1
    assert all(card.recording is None for card in town.fleet.cards(ORG))
    assert town.events("activation") == []


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(payload=st.binary(max_size=200), cut=st.integers(0, 600))
async def test_no_bytes_whatever_stop_the_fleet(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, cut: int
) -> None:
    async with open_town(tmp_path_factory.mktemp("town"), "cam-01") as town:
        camera = Speaker(town.clock)
        topic, raw = camera.press()
        for broken in (payload, raw[:cut] + payload + raw[cut:]):
            heard = await town.hear((topic, broken))
            assert heard.outcome in (Outcome.DENIED, Outcome.TAKEN)


async def test_the_last_will_of_a_camera_that_left_is_no_denial_and_anything_else_it_says_is_one(
    tmp_path: Path,
) -> None:
    async with open_town(tmp_path, "cam-01", "cam-02") as town:
        gone = Speaker(town.clock, device=DeviceId("cam-02"))
        async with town.database.transaction() as t:
            await t.execute(tables.cameras.update().where(tables.cameras.c.id == "cam-02").values(state="lost"))
        await town.fleet.refresh(ORG)
        will = gone.state("lost")
        assert (await town.hear(will)).outcome is Outcome.TAKEN
        assert (await town.hear(will, kept=True)).outcome is Outcome.TAKEN  # the broker kept it for a newcomer
        assert await town.rows(tables.denials) == []
        for said in (gone.state("lost"), gone.state("standby"), gone.press()):  # it is on the broker again
            town.clock.forward(61)  # the same refusal is written down once a minute
            assert (await town.hear(said)).outcome is Outcome.DENIED
        assert len(await town.rows(tables.denials)) == 3
        never = Speaker(town.clock, device=DeviceId("cam-99"))
        assert (await town.hear(never.state("lost"))).outcome is Outcome.DENIED
