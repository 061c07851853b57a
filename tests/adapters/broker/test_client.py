"""The four ways in which aiomqtt alone loses messages, each shown not to happen here; and what a session is for."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

from broker.client import (
    Connection,
    ConnectRefused,
    Message,
    NotConnected,
    PublishRefused,
    SubscriptionRefused,
    Will,
    connect,
    session_name,
    stay_connected,
)
from broker.identities import Authority
from broker.rules.access import Role
from tests.adapters.broker.conftest import Broker, both_brokers, camera_of, start
from tests.promptness import within

EVENTS = "vo/v1/dorpstad/cam/+/evt/+"
ONE = "vo/v1/dorpstad/cam/cam-01/evt/activation"


@pytest.fixture
async def broker(kind: str, tmp_path: Path, town: Authority) -> AsyncIterator[Broker]:
    extra = {"ack_wait_s": 2} if kind == "embedded" else {}
    async with start(kind, tmp_path / "b", town, **extra) as running:
        yield running


def fleet_at(broker: Broker) -> AbstractAsyncContextManager[Connection]:
    return connect(broker.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[(EVENTS, 1)])


async def take(connection: Connection, count: int, *, ack: bool = True, known: Sequence[bytes] = ()) -> list[bytes]:
    """Return so many that are news; a broker that waited long for a word says it twice."""
    taken: list[bytes] = []
    async with asyncio.timeout(60):
        while len(taken) < count:
            message = await anext(connection.messages())
            if message.payload not in (*known, *taken):
                taken.append(message.payload)
            if ack or message.payload in known:
                connection.ack(message)
    return taken


async def send(broker: Broker, count: int, *, begin: int = 0) -> list[bytes]:
    payloads = [f"event-{number}".encode() for number in range(begin, begin + count)]
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera, asyncio.TaskGroup() as group:
        for payload in payloads:
            group.create_task(camera.publish(ONE, payload))
    return payloads


@both_brokers
async def test_a_message_whose_work_was_not_finished_comes_again(broker: Broker) -> None:
    async with fleet_at(broker) as first:
        sent = await send(broker, 5)
        done = await take(first, 2)
        assert sorted(done) == sorted(sent)[:2]
        assert len(await take(first, 3, ack=False, known=done)) == 3
        await first.subscribe("vo/v1/dorpstad/cam/+/state")  # answered after the two acknowledgements were read
        first.vanish()
    async with fleet_at(broker) as second:
        again = await take(second, 3)
    assert sorted(again) == sorted(sent)[2:]


@both_brokers
async def test_what_came_while_a_service_was_away_is_delivered_when_it_is_back(broker: Broker) -> None:
    async with fleet_at(broker) as first:
        assert not first.session_present
    sent = await send(broker, 10)
    async with fleet_at(broker) as second:
        assert second.session_present
        assert sorted(await take(second, 10)) == sorted(sent)


@both_brokers
async def test_a_burst_on_a_slow_reader_loses_nothing(broker: Broker) -> None:
    async with fleet_at(broker) as slow:
        sent = await send(broker, 300)
        found: set[bytes] = set()
        while not found.issuperset(sent):  # a broker that waited long for a word says it twice
            found |= set(await take(slow, 1))
        assert found == set(sent)


@pytest.mark.mosquitto
@pytest.mark.parametrize("kind", ["mosquitto"], scope="module")
async def test_a_negative_acknowledgement_is_raised_and_only_for_its_own_publish(broker: Broker) -> None:
    refused: list[str] = []
    other = "vo/v1/dorpstad/cam/cam-02/evt/activation"

    async def publish(camera: Connection, topic: str) -> None:
        try:
            await camera.publish(topic, b"{}")
        except PublishRefused as refusal:
            refused.append(refusal.topic)

    async with (
        fleet_at(broker) as reader,
        camera_of(broker.endpoint("cam-01"), "cam-01") as camera,
    ):
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(publish(camera, other if number % 2 else ONE))
        assert refused == [other] * 100
        assert len([await anext(reader.messages()) for _ in range(100)]) == 100


@both_brokers
async def test_cancelling_a_wait_for_a_message_loses_none(broker: Broker) -> None:
    async with fleet_at(broker) as reader:
        sending = asyncio.create_task(send(broker, 200))
        taken: list[bytes] = []
        async with asyncio.timeout(60):
            while len(set(taken)) < 200:
                try:
                    message = await asyncio.wait_for(anext(reader.messages()), 0.001)
                except TimeoutError:
                    continue
                taken.append(message.payload)
                reader.ack(message)
        assert set(taken) == set(await sending)


@pytest.mark.parametrize("kind", ["embedded"], scope="module")
async def test_a_forbidden_subscription_is_raised(broker: Broker) -> None:
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera:
        with pytest.raises(SubscriptionRefused, match="refused"):
            await camera.subscribe("vo/v1/dorpstad/cam/cam-02/cmd/#")
        await camera.subscribe("vo/v1/dorpstad/cam/cam-01/cmd/#")


@both_brokers
async def test_a_will_is_sent_for_who_vanishes_and_not_for_who_says_goodbye(broker: Broker) -> None:
    state = "vo/v1/dorpstad/cam/cam-01/state"
    will = Will(topic=state, payload=b"lost")
    async with connect(
        broker.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[("vo/v1/dorpstad/cam/+/state", 1)]
    ) as reader:
        async with camera_of(broker.endpoint("cam-01"), "cam-01", will=will) as camera:
            await camera.publish(state, b"off", retain=True)
        async with camera_of(broker.endpoint("cam-01"), "cam-01", will=will) as camera:
            camera.vanish()
            with pytest.raises(NotConnected):
                await anext(camera.messages())
        assert await take(reader, 2) == [b"off", b"lost"]


async def publish_for_ever(camera: Connection) -> None:
    while True:
        await camera.publish(ONE, b"{}")


@both_brokers
async def test_a_publish_that_waits_is_told_at_once_that_the_connection_is_gone(broker: Broker) -> None:
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera:
        camera.vanish()
        with within(2.0), pytest.raises(NotConnected):
            await asyncio.wait_for(publish_for_ever(camera), 60)
        with pytest.raises(NotConnected):
            camera.ack(Message(topic=ONE, payload=b"", qos=1, retain=False, mid=1))


@both_brokers
async def test_a_publish_without_an_answer_ends_with_its_connection(broker: Broker) -> None:
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera:
        os.kill(broker.pid, signal.SIGSTOP)
        while not _stands_still(broker.pid):
            await asyncio.sleep(0.01)
        publishing = asyncio.create_task(camera.publish(ONE, b"{}"))
        await asyncio.sleep(0.05)
        assert not publishing.done()
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(NotConnected):
            await asyncio.wait_for(publishing, 60)


def _stands_still(pid: int) -> bool:
    try:
        return all(" T " in thread.read_text() for thread in Path(f"/proc/{pid}/task").glob("*/stat"))
    except (FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
        return False


@both_brokers
async def test_staying_connected_survives_the_death_of_the_broker(broker: Broker) -> None:
    sessions: list[bool] = []
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def session(connection: Connection) -> None:
        sessions.append(connection.session_present)
        async for message in connection.messages():
            heard.put_nowait(message.payload)
            connection.ack(message)

    staying = asyncio.create_task(
        stay_connected(lambda: fleet_at(broker), session, first_s=0.05, most_s=0.2, jitter=lambda: 1)
    )
    async with asyncio.timeout(60):
        while not sessions:
            await asyncio.sleep(0.01)
        await send(broker, 1)
        assert await heard.get() == b"event-0"
        os.kill(broker.pid, signal.SIGKILL)
        while len(sessions) < 2:
            await asyncio.sleep(0.01)
        await send(broker, 1, begin=1)
        while await heard.get() != b"event-1":
            pass
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying


@pytest.mark.parametrize(
    ("jitter", "lives_s", "waits", "warnings"),
    [
        (1.0, 0, [1, 2, 4, 5, 5], 1),
        (0.5, 0, [0.5, 1, 2, 2.5, 2.5], 1),
        (1.0, 6, [1, 1, 1, 1, 1], 5),
        (1.0, 5, [1, 2, 4, 5, 5], 1),
    ],
    ids=["doubles to its most", "by chance", "a connection that lived begins anew", "one that hardly lived does not"],
)
async def test_the_wait_between_attempts_grows_until_a_connection_has_lived(
    jitter: float,
    lives_s: float,
    waits: list[float],
    warnings: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And an outage is warned of once: the first, and each that comes after a connection that had lived."""
    waited: list[float] = []
    now = 0.0

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == len(waits):
            raise ZeroDivisionError

    @asynccontextmanager
    async def opened() -> AsyncIterator[Connection]:
        nonlocal now
        now += lives_s
        raise NotConnected("no broker")
        yield

    async def nothing(_: Connection) -> None:
        raise AssertionError

    monkeypatch.setattr("broker.client.asyncio.sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    with pytest.raises(ZeroDivisionError):
        await stay_connected(opened, nothing, first_s=1, most_s=5, jitter=lambda: jitter)
    assert waited == waits
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == ["MQTT: no broker"] * warnings


@both_brokers
async def test_a_fault_of_our_own_ends_the_session_loudly(broker: Broker) -> None:
    async def faulty(_: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise(ValueError("ours")))

    with pytest.raises(BaseExceptionGroup) as raised:
        await stay_connected(lambda: fleet_at(broker), faulty)
    assert raised.group_contains(ValueError)


async def _raise(error: Exception) -> None:
    raise error


async def test_who_stops_staying_connected_stops_also_when_the_connection_is_lost_in_that_moment() -> None:
    began, lost = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Connection]:
        yield None  # type: ignore[misc]  # the session below does not use it

    async def lose() -> None:
        began.set()
        await lost.wait()
        raise NotConnected("the broker went away")

    async def session(_: Connection) -> None:
        async with asyncio.TaskGroup() as group:  # of Python 3.11: raises the failure and forgets the cancellation
            group.create_task(lose())

    staying = asyncio.create_task(stay_connected(opened, session, first_s=3600, most_s=3600, jitter=lambda: 1))
    await began.wait()
    lost.set()
    staying.cancel()
    done, _ = await asyncio.wait({staying}, timeout=60)
    assert done, "it waits for its next attempt as if nobody had asked it to stop"
    assert staying.cancelled()


async def test_a_connection_lost_while_its_session_was_ending_is_opened_again() -> None:
    """A link that nobody asked to stop goes on: a TaskGroup of Python 3.11 leaves a cancellation behind here."""
    again = asyncio.Event()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Connection]:
        yield None  # type: ignore[misc]  # the session below does not use it

    async def lose() -> None:
        await asyncio.sleep(0.01)
        raise NotConnected("the broker went away")

    attempts = 0

    async def session(_: Connection) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 3:
            again.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(lose())  # fails when the block is over and the group waits

    staying = asyncio.create_task(stay_connected(opened, session, first_s=0.001, jitter=lambda: 1))
    async with asyncio.timeout(60):
        done, _ = await asyncio.wait({staying, asyncio.create_task(again.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert staying not in done
    staying.cancel()
    await asyncio.wait({staying})


@both_brokers
async def test_a_server_with_another_name_or_authority_is_not_trusted(broker: Broker, tmp_path: Path) -> None:
    stranger = Authority.create(tmp_path / "other", "dorpstad")
    mine = broker.endpoint("cam-01")
    with pytest.raises(NotConnected, match="certificate verify failed"):
        async with camera_of(dataclasses.replace(mine, ca=stranger.ca), "cam-01"):
            raise AssertionError
    with pytest.raises(NotConnected):
        async with camera_of(dataclasses.replace(mine, host="127.0.0.2"), "cam-01"):
            raise AssertionError


def test_a_session_name_is_readable_stable_and_not_to_be_guessed() -> None:
    kept = "cam-01-a08c8861d47df390def61881"  # another one, and the broker has nothing for a camera that comes back
    assert session_name("cam-01", b"a private key") == kept
    assert session_name("cam-01", b"key") != session_name("cam-01", b"another key")


def test_the_private_names_of_aiomqtt_that_we_touch_are_still_there() -> None:
    for name in ("_on_connect", "_on_disconnect", "_on_message", "_on_publish"):
        assert hasattr(aiomqtt.Client, name)


async def test_a_refused_identity_is_told_at_once(tmp_path: Path, town: Authority) -> None:
    async with start("embedded", tmp_path / "b", town) as broker:
        unknown = Authority.create(tmp_path / "other", "dorpstad")
        files = unknown.issue("cam-01", Role.CAMERA)
        endpoint = dataclasses.replace(broker.endpoint("cam-01"), certificate=files.certificate, key=files.key)
        with within(3.0):
            with pytest.raises(NotConnected):
                async with camera_of(endpoint, "cam-01"):
                    raise AssertionError
            with pytest.raises(ConnectRefused, match="known and not revoked"):
                async with camera_of(broker.endpoint("cam-revoked"), "cam-revoked"):
                    raise AssertionError
