"""The camera's MQTT side, against a broker in memory that can go away, forget, and ask again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Connection, Message, NotConnected, PublishRefused
from broker.wire.commands import give
from broker.wire.events import (
    Activation,
    CameraState,
    Command,
    CommandResult,
    Deactivation,
    Event,
    EventReceipt,
    Said,
    Tamper,
    decode,
    encode,
    source_of,
)
from broker.wire.ids import DeviceId, uuid7
from edge.device import Device
from edge.rules.camera import Happening, Phase
from tests.adapters.edge.conftest import SwitchOn, Time
from tests.adapters.edge.test_device import alive, until
from tests.adapters.edge.town import HEUSDEN, OIN, Town, settings

ROOT = "vo/v1/heusden/cam/cam-07"


@pytest.fixture
def shown() -> Time:
    """An order lives a minute at most: half a second of ours is too little on a busy machine."""
    return Time(rate=10.0)


@dataclass
class Broker:
    """What a camera publishes, and what it is told. `there` lets it connect; `refuses` says no to a topic."""

    there: bool = True
    refuses: str = "nothing"
    heard: list[tuple[str, bytes, int, bool]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    _inbox: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)
    _number: int = 0

    @property
    def alive(self) -> bool:
        return self.there

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        if not self.there:
            raise NotConnected("gone")
        if topic.endswith(self.refuses):
            raise PublishRefused(topic, "not authorised")
        self.heard.append((topic, payload, qos, retain))

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            message = await self._inbox.get()
            if message is None:
                raise NotConnected("gone")
            yield message

    def ack(self, message: Message) -> None:
        self.acknowledged.append(message.mid)

    def vanish(self) -> None:
        self._inbox.put_nowait(None)

    def go_away(self) -> None:
        self.there = False
        self.vanish()

    def say(self, topic: str, said: Said, *, shown: Time, retain: bool = False) -> None:
        source = source_of(OIN, HEUSDEN, "svc", DeviceId("svc-fleet"))
        now = shown()
        event = Event(id=uuid7(now, bytes(10)), source=source, session="s", sequence=1, time=now, said=said)
        self.deliver(f"{ROOT}/{topic}", encode(event), retain=retain)

    def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._number += 1
        self._inbox.put_nowait(Message(topic=topic, payload=payload, qos=1, retain=retain, mid=self._number))

    def said(self, ending: str) -> list[Event]:
        return [decode(payload) for topic, payload, _, _ in self.heard if topic.endswith(ending)]

    def events(self) -> list[Event]:
        return [decode(payload) for topic, payload, _, _ in self.heard if "/evt/" in topic]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Connection]:
        if not self.there:
            raise NotConnected("no broker")
        self._inbox = asyncio.Queue()
        yield self  # type: ignore[misc]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Nothing is said again only because time passed, unless a test says so."""
    monkeypatch.setattr("edge.link.UNSET_HEARTBEAT_S", 1)
    monkeypatch.setattr("edge.link.RESEND_AFTER_S", 3600.0)
    return Broker()


@pytest.fixture
def camera(town: Town, switch_on: SwitchOn, broker: Broker) -> Device:
    town.enrol("cam-07")
    return switch_on(opened=broker.opened)


def state(broker: Broker) -> CameraState:
    newest = broker.said("/state")[-1].said
    assert isinstance(newest, CameraState)
    return newest


async def test_it_says_retained_how_it_is_and_that_it_does_not_buffer_without_settings(
    camera: Device, broker: Broker, shown: Time
) -> None:
    async with alive(camera):
        await until(lambda: bool(broker.said("/state")))
        assert (state(broker).status, state(broker).buffering, state(broker).settings_version) == ("standby", False, 0)
        assert broker.heard[0][2:] == (1, True)
        broker.say("desired", settings(30, version=3), shown=shown, retain=True)
        await until(lambda: state(broker).buffering)
        assert state(broker).settings_version == 3
        assert camera.link.welcome.is_set()
    assert state(broker).status == "off"


async def test_it_beats_and_measures(camera: Device, broker: Broker, shown: Time) -> None:
    async with alive(camera):
        broker.say("desired", msgspec.structs.replace(settings(30), heartbeat_s=1), shown=shown)
        await until(lambda: len(broker.said("/tlm")) >= 3)
    sequences = [event.sequence for event in broker.said("/state")]
    assert sequences == sorted(set(sequences))
    assert [qos for topic, _, qos, _ in broker.heard if topic.endswith("/tlm")][:3] == [0, 0, 0]


async def test_a_press_is_said_within_moments_and_kept_until_the_cloud_has_it(
    town: Town, camera: Device, broker: Broker, shown: Time
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        await camera.happen(Happening.PRESS)
        await until(lambda: bool(broker.events()))
        event = broker.events()[0]
        assert isinstance(event.said, Activation)
        assert event.sequence == 1
        assert town.said("cam-07") == [event.said]  # PUBACK alone empties nothing
        broker.say("rcpt", EventReceipt(boot=event.session, sequence=1), shown=shown)
        await until(lambda: town.said("cam-07") == [])


async def test_out_of_reach_everything_goes_on_and_is_said_later_with_the_same_ids(
    town: Town, camera: Device, broker: Broker, shown: Time
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        camera.link.cover(within_reach=False)
        await until(lambda: not camera.link.connected)
        await camera.happen(Happening.PRESS)
        await shown.passes(10)
        await camera.happen(Happening.SWITCH_OFF)
        await camera.settled()
        assert broker.events() == []
        written = camera.link.waiting
        camera.link.cover(within_reach=True)
        await until(lambda: len(broker.events()) == 2)
    assert [type(event.said) for event in broker.events()] == [Activation, Deactivation]
    assert [event.id for event in broker.events()] == [decode(each.payload).id for each in written]
    assert len(town.recordings("cam-07")) == 1


async def test_after_a_power_cut_the_events_of_the_boot_before_come_first(
    town: Town, switch_on: SwitchOn, broker: Broker
) -> None:
    town.enrol("cam-07")
    first = switch_on()  # nobody within reach
    async with alive(first):
        await first.happen(Happening.PRESS)
    first.close()
    second = switch_on(opened=broker.opened)
    async with alive(second):
        await until(lambda: len(broker.events()) == 2)
        await second.happen(Happening.PRESS)
        await until(lambda: len(broker.events()) >= 3)
    sessions = [event.session for event in broker.events()]
    assert sessions[0] == sessions[1] != sessions[2]
    assert [event.sequence for event in broker.events()][:3] == [1, 2, 1]


async def test_it_sends_again_what_the_cloud_misses(camera: Device, broker: Broker, shown: Time) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        await camera.happen(Happening.PRESS)
        await shown.passes(5)
        await camera.happen(Happening.SWITCH_OFF)
        await until(lambda: len(broker.events()) == 2)
        boot = broker.events()[0].session
        broker.say("rcpt", EventReceipt(boot=boot, sequence=2, missing=(1,)), shown=shown)
        await until(lambda: len(broker.events()) == 3)
    assert broker.events()[2].id == broker.events()[0].id


async def test_a_lost_connection_is_opened_again_and_begins_with_the_state_and_what_nobody_confirmed(
    camera: Device, broker: Broker
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        await camera.happen(Happening.PRESS)
        await until(lambda: len(broker.events()) == 1)
        broker.go_away()
        await until(lambda: not camera.link.connected)
        broker.there = True
        count = len(broker.heard)
        await until(lambda: len(broker.heard) > count)
        assert broker.heard[count][0].endswith("/state")
        await until(lambda: len(broker.events()) == 2)
    assert broker.events()[1].id == broker.events()[0].id


async def test_what_a_broker_took_and_lost_is_said_again_until_the_cloud_has_it(
    camera: Device, broker: Broker, shown: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.link.RESEND_AFTER_S", 0.05)
    async with alive(camera):
        await until(lambda: camera.link.connected)
        await camera.happen(Happening.PRESS)
        await until(lambda: len(broker.events()) >= 3)
        assert len({event.id for event in broker.events()}) == 1
        broker.say("rcpt", EventReceipt(boot=broker.events()[0].session, sequence=1), shown=shown)
        await until(lambda: camera.link.waiting == ())
        await camera.happen(Happening.SWITCH_OFF)
        await until(lambda: len(broker.said("/evt/deactivation")) >= 2)
        assert isinstance(broker.events()[-1].said, Deactivation)


async def test_a_broker_that_refuses_does_not_stop_the_camera_and_is_told_once_it_does_not(
    town: Town, camera: Device, broker: Broker, shown: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.link.REFUSED_PAUSE_S", 0.05)
    broker.refuses = "/evt/activation"
    async with alive(camera):
        await until(lambda: camera.link.connected)
        await camera.happen(Happening.PRESS)
        await shown.passes(10)
        assert camera.phase is Phase.RECORDING
        assert broker.events() == []
        broker.refuses = "nothing"
        await until(lambda: bool(broker.events()))
    assert len(town.recordings("cam-07")) == 1


async def test_what_it_cannot_understand_is_acknowledged_and_changes_nothing(
    camera: Device, broker: Broker, shown: Time
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        for payload in (b"", b"{}", b"\xff" * 100):
            broker.deliver(f"{ROOT}/desired", payload)
        broker.say("cmd/start", state(broker), shown=shown)
        broker.say("desired", settings(30), shown=shown)
        await until(lambda: camera.settings is not None)
        await until(lambda: broker.acknowledged == [1, 2, 3, 4, 5])
        assert camera.phase is Phase.STANDBY


# --- orders -----------------------------------------------------------------------------------------------------

Order = Callable[..., Command]


@pytest.fixture
def order(town: Town, shown: Time) -> Order:
    def make(*, counter: int = 1, key: Ed25519PrivateKey | None = None, kind: str = "start") -> Command:
        now = shown()
        return give(
            "start" if kind == "start" else "locate",
            command=uuid4(),
            org=HEUSDEN,
            camera=DeviceId("cam-07"),
            counter=counter,
            issued_at=now,
            expires_at=now + timedelta(seconds=60),
            key=key or town.command_key,
        )

    return make


def results(broker: Broker) -> list[CommandResult]:
    return [event.said for event in broker.events() if isinstance(event.said, CommandResult)]


async def test_a_signed_order_starts_a_recording_once(
    camera: Device, broker: Broker, shown: Time, order: Order
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        command = order()
        broker.say("cmd/start", command, shown=shown)
        await until(lambda: camera.phase is Phase.RECORDING)
        await until(lambda: bool(results(broker)))
        assert results(broker)[0].done
        await camera.happen(Happening.SWITCH_OFF)
        broker.say("cmd/start", command, shown=shown)  # replayed by the broker or by somebody else
        await until(lambda: len(broker.acknowledged) == 2)
        assert camera.phase is Phase.STANDBY


async def test_what_was_ordered_before_a_power_cut_is_not_obeyed_after_it(
    town: Town, switch_on: SwitchOn, broker: Broker, shown: Time, order: Order
) -> None:
    town.enrol("cam-07")
    first = switch_on(opened=broker.opened)
    async with alive(first):
        await until(lambda: first.link.connected)
        command = order(counter=5)
        broker.say("cmd/start", command, shown=shown)
        await until(lambda: first.phase is Phase.RECORDING)
    first.close()
    never_heard = order(counter=6)
    second = switch_on(opened=broker.opened)
    async with alive(second):
        await until(lambda: second.link.connected)
        broker.acknowledged.clear()
        for old in (command, never_heard, order(counter=4)):
            broker.say("cmd/start", old, shown=shown)
        await until(lambda: len(broker.acknowledged) == 3)
        await until(lambda: results(broker)[-1].reason == "a later order was obeyed before it")
        assert second.phase is Phase.STANDBY


async def test_a_forged_order_starts_nothing_and_raises_an_alert(
    camera: Device, broker: Broker, shown: Time, order: Order
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        broker.say("cmd/start", order(key=Ed25519PrivateKey.generate()), shown=shown)
        await until(lambda: any(isinstance(event.said, Tamper) for event in broker.events()))
        assert camera.phase is Phase.STANDBY


async def test_an_order_that_the_broker_kept_is_not_obeyed(
    camera: Device, broker: Broker, shown: Time, order: Order
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        broker.say("cmd/start", order(), shown=shown, retain=True)
        await until(lambda: bool(results(broker)))
        assert not results(broker)[0].done
        assert camera.phase is Phase.STANDBY


async def test_a_docked_camera_says_why_it_does_not_start(
    camera: Device, broker: Broker, shown: Time, order: Order
) -> None:
    async with alive(camera):
        await until(lambda: camera.link.connected)
        await camera.dock()
        broker.say("cmd/start", order(), shown=shown)
        await until(lambda: bool(results(broker)))
        assert results(broker)[0] == CommandResult(
            command=results(broker)[0].command, done=False, reason="the camera is in a bay and films nothing"
        )
